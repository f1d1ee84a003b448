// Package scenario reads scenarios: text files that say what happens when. The
// package knows times, lines and sections; what can happen is said by whoever
// uses it, as a Language of verbs. docs/scenarios.md describes the format.
//
//	title: the flash is full for ten minutes
//	start: 2026-03-29T00:30:00Z
//	zone: Europe/Berlin
//	length: 3h
//
//	at +12m for 10m disk full
//	at 02:55 edge-1 edge-2: reboot
//	every 15m from +1h until +2h clear log 11
//	-- config.yaml --
//	...
//
// A file is read whole and strictly: every mistake is reported with its line,
// and a scenario with a mistake does not begin.
package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Language is what the scenarios of one user of this package may say.
type Language struct {
	// Settings that a scenario may have besides title, start, zone and length.
	Settings []Setting
	// Verbs are what can happen.
	Verbs []Verb
	// Sections are the names of sections that a scenario may have. A name
	// that ends in * stands for all that begin alike.
	Sections []string
}

// Setting is a line "name: value" at the top of a scenario.
type Setting struct {
	Name  string
	Check Check // nil for any text
	Doc   string
}

// Verb is something that can happen.
type Verb struct {
	// Name is one or more words: "disk full".
	Name string
	Args []Arg
	// Targets tells whether the verb happens to somebody: `at +5m r1 r2: reboot`.
	// Without targets the step has none; what that means is up to the user.
	Targets bool
	// Undo is the name of the verb that ends this one, which takes the same
	// first arguments; "" if it cannot be given a time with "for".
	Undo string
	Doc  string
}

// Arg is an argument of a verb.
type Arg struct {
	Name  string
	Check Check // nil for any word
	// Optional arguments stand last. Many, for the last one only, takes one or
	// more words, or any number if it is optional too.
	Optional, Many bool
}

// Check returns what is wrong with a word, in words that follow it: "is no
// number".
type Check func(word string) error

// Scenario is a text that keeps every rule.
type Scenario struct {
	// Title says what it is about; "" if it does not say.
	Title string
	// Start is when it begins, in its Zone.
	Start time.Time
	Zone  *time.Location
	// Length is how long it goes on: what the setting says, or until the last
	// step.
	Length time.Duration
	// Steps are what happens, in the order of time, and at one time in the
	// order of lines.
	Steps []Step
	// Sections are the parts behind the script.
	Sections []Section

	settings map[string]string
	text     string
}

// Step is one thing that happens.
type Step struct {
	// At is the time since the start.
	At time.Duration
	// Line of the text, from 1.
	Line    int
	Targets []string
	Verb    string // its Name
	Args    []string
}

// String writes the step as a line of a scenario.
func (s Step) String() string {
	words := []string{"at", "+" + FormatDuration(s.At)}
	for i, t := range s.Targets {
		t = quote(t)
		if i == len(s.Targets)-1 {
			t += ":"
		}
		words = append(words, t)
	}
	words = append(words, s.Verb)
	for _, a := range s.Args {
		words = append(words, quote(a))
	}
	return strings.Join(words, " ")
}

// Section is a part of the text under a line "-- name --".
type Section struct {
	Name string
	// Line is that of the first line of Text.
	Line int
	Text string
}

// Section returns the text of a section, false if there is none of the name.
func (s *Scenario) Section(name string) (string, bool) {
	i := slices.IndexFunc(s.Sections, func(x Section) bool { return x.Name == name })
	if i < 0 {
		return "", false
	}
	return s.Sections[i].Text, true
}

// Setting returns the value of a setting, "" if it is not given.
func (s *Scenario) Setting(name string) string { return s.settings[name] }

// With returns the text of the scenario with another text in a section, which
// is added at the end if there is none of the name. Nothing else changes.
func (s *Scenario) With(section, text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	var b strings.Builder
	found, skipping := false, false
	for line := range strings.Lines(s.text) {
		if name, ok := marker(line); ok {
			skipping = name == section
			if skipping {
				found = true
				b.WriteString("-- " + name + " --\n" + text)
				continue
			}
		}
		if !skipping {
			b.WriteString(line)
		}
	}
	if !found {
		if b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
			b.WriteByte('\n')
		}
		b.WriteString("-- " + section + " --\n" + text)
	}
	return b.String()
}

// Play waits until each step is due, counted from begin, and does it, until all
// are done and the length has passed, ctx ends, or a step has an error. Steps
// that take long delay those after them. It uses the clock of the machine; in a
// testing/synctest bubble that is a virtual one.
func (s *Scenario) Play(ctx context.Context, begin time.Time, do func(Step) error) error {
	for _, step := range s.Steps {
		if err := sleepUntil(ctx, begin.Add(step.At)); err != nil {
			return err
		}
		if err := do(step); err != nil {
			return fmt.Errorf("line %d: %s: %w", step.Line, step.Verb, err)
		}
	}
	return sleepUntil(ctx, begin.Add(s.Length))
}

func sleepUntil(ctx context.Context, at time.Time) error {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// marker returns the name in a line "-- name --".
func marker(line string) (string, bool) {
	line = strings.TrimRight(line, " \t\r\n")
	name, ok := strings.CutPrefix(line, "-- ")
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, " --")
	name = strings.TrimSpace(name)
	return name, ok && name != ""
}
