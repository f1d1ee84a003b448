package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"acctpull/event"
	"acctpull/policy"
)

// Load reads a YAML configuration and puts it in force with Reload. A
// configuration with a mistake changes nothing: the *policy.ConfigError names
// every mistake with its line. file is what it is called in events.
func (a *Agent) Load(ctx context.Context, file string, text []byte, now time.Time) error {
	next, err := policy.Load(text)
	if err != nil {
		a.emit(event.ConfigRefused(now, file, oneLine(err)))
		return err
	}
	return a.Reload(ctx, file, next, now)
}

// Reload puts another Set in force, or leaves the old one in force and says why:
// a location is locked by another agent, the source is another one, ctx ended.
// What does not change goes on, with its open files; see
// policy.Collector.Reconfigure. Any other error says what could not be written
// while the new Set came into force. Both outcomes are events.
//
// Locations that are not used any more stay locked until Run ends: files may
// still be open there.
func (a *Agent) Reload(ctx context.Context, file string, next *policy.Set, now time.Time) error {
	a.reload.Lock()
	defer a.reload.Unlock()
	err := a.lock(next)
	if err == nil {
		err = a.collector.Reconfigure(ctx, next, now)
	}
	if a.collector.Set() != next {
		a.emit(event.ConfigRefused(now, file, oneLine(err)))
		return err
	}
	a.mu.Lock()
	a.set = next
	a.mu.Unlock()
	a.emit(event.ConfigLoaded(now, file, describe(next.Config())))
	return err
}

// describe says in one line what a configuration is about.
func describe(c policy.Config) string {
	var up, down []int
	for _, p := range c.Policies {
		if p.Shutdown {
			down = append(down, p.ID)
		} else {
			up = append(up, p.ID)
		}
	}
	return fmt.Sprintf("policies in service %s, shut down %s, %d objects", ids(up), ids(down), len(c.Objects))
}

// ids writes numbers as a list, "none" for no number.
func ids(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	slices.Sort(numbers)
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, " ")
}

// oneLine writes an error in one line.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "; ")
}
