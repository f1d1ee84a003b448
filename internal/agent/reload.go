package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"acctpull/event"
	"acctpull/policy"
)

// errEmpty refuses a configuration that would end all collecting: a file that
// is only half written looks like that.
var errEmpty = errors.New("it has no accounting policy: to collect nothing, stop the agent")

// Load reads a YAML configuration and puts it in force with Reload. A
// configuration with a mistake changes nothing: the *policy.ConfigError names
// every mistake with its line. file is what it is called in events.
func (a *Agent) Load(ctx context.Context, file string, text []byte, now time.Time) error {
	return a.LoadFrom(ctx, file, func() (*policy.Set, error) { return policy.Load(text) }, now)
}

// LoadFrom is Load with a configuration that load gets from wherever it is. An
// error of load refuses it.
func (a *Agent) LoadFrom(ctx context.Context, file string, load func() (*policy.Set, error), now time.Time) error {
	next, err := load()
	if err != nil {
		a.emit(event.ConfigRefused(now, file, oneLine(err)))
		return err
	}
	return a.Reload(ctx, file, next, now)
}

// Reload puts another Set in force, or leaves the old one in force and says why:
// a location is locked by another agent, the source is another one, no policy is
// left, ctx ended. What does not change goes on, with its open files; see
// policy.Collector.Reconfigure. What an earlier run left in new locations is
// brought to order. Any other error says what could not be written while the new
// Set came into force. Both outcomes are events.
//
// Locations that are not used any more stay locked until Run ends: files may
// still be open there.
func (a *Agent) Reload(ctx context.Context, file string, next *policy.Set, now time.Time) error {
	a.reload.Lock()
	defer a.reload.Unlock()
	err := a.take(ctx, next, now)
	if a.collector.Set() != next {
		a.emit(event.ConfigRefused(now, file, oneLine(err)))
		return err
	}
	a.use(next)
	a.emit(event.ConfigLoaded(now, file, describe(next.Config())))
	return err
}

// take makes the collector take a Set, with every location of it locked.
func (a *Agent) take(ctx context.Context, next *policy.Set, now time.Time) error {
	if len(next.Config().Policies) == 0 && len(a.Set().Config().Policies) > 0 {
		return errEmpty
	}
	before := a.locked()
	if err := a.lock(next); err != nil {
		return err
	}
	fresh := slices.DeleteFunc(a.locked(), func(l string) bool { return slices.Contains(before, l) })
	// Where this agent works already, files may be open that it must not touch,
	// also if the lock could not be taken before.
	unknown := slices.DeleteFunc(slices.Clone(fresh), func(l string) bool { return slices.Contains(a.used, l) })
	if len(unknown) > 0 {
		// What fails here is an event of its own, and no reason to keep the old.
		_, _ = a.collector.RecoverPlaces(unknown, now)
	}
	err := a.collector.Reconfigure(ctx, next, now)
	if a.collector.Set() != next {
		err = errors.Join(err, a.release(fresh))
	}
	return err
}

// use notes that a Set is in force, and where it writes.
func (a *Agent) use(set *policy.Set) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.set = set
	for _, l := range Locations(set.Config().FileIDs) {
		if !slices.Contains(a.used, l) {
			a.used = append(a.used, l)
		}
	}
}

// locked lists the locations that are locked.
func (a *Agent) locked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.locks))
}

// release gives the locks of some locations back.
func (a *Agent) release(locations []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, l := range locations {
		errs = append(errs, a.locks[l].Release())
		delete(a.locks, l)
	}
	return errors.Join(errs...)
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
