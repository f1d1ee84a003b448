package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acctpull/event"
	"acctpull/internal/durable"
	"acctpull/policy"
)

// load is a configuration over the location dir.
func load(t *testing.T, dir, text string) *policy.Set {
	t.Helper()
	set, err := policy.Load([]byte(strings.ReplaceAll(text, "FLASH", dir)))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

const onePolicy = `
source: {kind: synthetic}
file-ids: [{id: 11, location: FLASH, rollover: 60, retention: 1}]
accounting-policies: [{id: 10, record: service-egress-octets, to: file 11, default: true}]
objects: {saps: [{sap: "1/1/1:1", service: 1}]}
`

// A day of an agent: files roll over, live for two hours and a sweep, and each
// has its events.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var events event.Recorder
		intervals := 0
		a, err := New(Options{Set: load(t, dir, onePolicy), Events: &events, Unguarded: true,
			Hooks: policy.Hooks{OnInterval: func(policy.Interval) { intervals++ }}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(24*time.Hour + time.Minute)

		other, err := New(Options{Set: a.Set()})
		if err != nil {
			t.Fatal(err)
		}
		var locked *durable.LockedError
		if err := other.Run(ctx); !errors.As(err, &locked) {
			t.Errorf("a second agent in the same location: %v", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if intervals != 24*12 {
			t.Errorf("%d intervals", intervals)
		}
		files, err := os.ReadDir(filepath.Join(dir, policy.ArchiveDir))
		if err != nil {
			t.Fatal(err)
		}
		sealed, expired := len(events.Events("tmnxLogFileRollover")), len(events.Events("fileExpired"))
		if sealed != 24 || expired != sealed-len(files) || len(files) != 2 {
			t.Errorf("%d files sealed, %d expired, %d left", sealed, expired, len(files))
		}
		if len(events.Events()) != sealed+expired {
			t.Errorf("other events: %v", events.Events())
		}
		if err := other.Once(t.Context(), func(policy.Interval) {}); err != nil {
			t.Errorf("after the first one ended: %v", err)
		}
	})
}

// fickle is a source that says what it is told to.
type fickle struct {
	mu   sync.Mutex
	mood mood
}

type mood struct{ missing, restarted, fail error }

func (f *fickle) be(m mood) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mood = m
}

func (f *fickle) Sample(ctx context.Context, req policy.Request, out policy.Sink) error {
	f.mu.Lock()
	m := f.mood
	f.mu.Unlock()
	if m.missing != nil {
		out.Missing(req.Objects[0], m.missing)
		return nil
	}
	if m.restarted != nil {
		out.Restarted(req.Objects[0], m.restarted.Error())
	}
	if m.fail != nil {
		return m.fail
	}
	return new(policy.Synthetic).Sample(ctx, req, out)
}

// Everything that happens to a policy and its object is an event of its own,
// and what begins ends.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var events event.Recorder
		src := &fickle{}
		a, err := New(Options{Set: load(t, dir, onePolicy), Source: src, Events: &events, Unguarded: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		collect := filepath.Join(dir, policy.CollectDir)
		if err := os.WriteFile(collect, nil, 0o600); err != nil { // no directory: nothing can be written
			t.Fatal(err)
		}
		go func() { done <- a.Run(ctx) }()
		next := func() { time.Sleep(5 * time.Minute); synctest.Wait() }
		time.Sleep(time.Second)
		next()
		if err := os.Remove(collect); err != nil {
			t.Fatal(err)
		}
		next()
		src.be(mood{missing: errors.New("the link is gone")})
		next()
		src.be(mood{restarted: errors.New("made anew")})
		next()
		src.be(mood{fail: errors.New("the bus is on fire")})
		next()
		stop()
		if err := <-done; err == nil {
			t.Error("the recovery of a location without a directory has no error")
		}
		var got []string
		for _, e := range events.Events() {
			got = append(got, fmt.Sprintf("%s %s", e.Name, e.Severity))
		}
		want := []string{"recoveryFailed major", "tmnxLogAdminLocFailed minor", "tmnxLogAccountingDataLoss major", "policyDown major", "policyUp cleared",
			"objectMissing minor", "countersRestarted warning", "objectFound cleared", "tmnxLogAccountingDataLoss major", "tmnxLogFileRollover indeterminate"}
		if !slices.Equal(got, want) {
			t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A location of another agent is refused, and nothing has changed; a free one is
// locked when the configuration comes into force.
func TestReloadLocksLocations(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var events event.Recorder
		text := func(card string) string { return strings.ReplaceAll(onePolicy, "FLASH", filepath.Join(dir, card)) }
		start := func(card string) (*Agent, func()) {
			a, err := New(Options{Set: load(t, dir, text(card)), Events: &events, Unguarded: true})
			check(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			synctest.Wait()
			return a, func() { cancel(); check(t, <-done) }
		}
		a, stop := start("cf1")
		_, stopOther := start("cf2")
		before := a.Set()
		var locked *durable.LockedError
		if err := a.Load(t.Context(), "agent.yaml", []byte(text("cf2")), time.Now()); !errors.As(err, &locked) || a.Set() != before {
			t.Errorf("the location of another agent: %v", err)
		}
		stopOther()
		check(t, a.Load(t.Context(), "agent.yaml", []byte(text("cf2")), time.Now()))
		third, err := New(Options{Set: load(t, dir, text("cf2")), Events: &events})
		check(t, err)
		if err := third.Run(t.Context()); !errors.As(err, &locked) {
			t.Errorf("the location is not locked: %v", err)
		}
		time.Sleep(6 * time.Minute)
		stop()
		if files, err := os.ReadDir(filepath.Join(dir, "cf2", policy.ArchiveDir)); err != nil || len(files) != 1 {
			t.Errorf("files at the new location: %v, %v", files, err)
		}
		if n := len(events.Events("configRefused")); n != 1 {
			t.Errorf("%d refusals reported", n)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an agent without a set")
	}
}
