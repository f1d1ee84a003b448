package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acctpull/event"
	"acctpull/ledger"
)

// eventList keeps events.
type eventList struct {
	mu   sync.Mutex
	list []event.Event
}

func (l *eventList) Emit(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, e)
}

// Chores are done in their order, hourly after the first ten minutes; one that
// fails is told, keeps no other back and is tried again.
func TestChores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		told := &eventList{}
		r := &fleetRun{a: &app{pace: realPace(), events: told}, store: &store{}}
		var done []string
		note := func(name string, err error) chore {
			return chore{name, func(_ context.Context, now time.Time) error {
				done = append(done, fmt.Sprint(name, " ", now.Sub(began)))
				return err
			}}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		check(t, r.choresNowAndThen(ctx, func() []chore {
			return []chore{note("usage", errors.New("no room")), note("compaction", nil)}
		}))
		want := []string{"usage 10m0s", "compaction 10m0s", "usage 1h10m0s", "compaction 1h10m0s"}
		if !slices.Equal(done, want) {
			t.Errorf("done %q, want %q", done, want)
		}
		if len(told.list) != 2 || told.list[0].Name != "choreFailed" {
			t.Errorf("told %+v", told.list)
		}
	})
}

// A chore that is stopped with the service is no failure.
func TestChoreStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := &eventList{}
		r := &fleetRun{a: &app{pace: realPace(), events: told}, store: &store{}}
		ctx, cancel := context.WithTimeout(t.Context(), 11*time.Minute)
		defer cancel()
		stopped, stop := context.WithCancel(ctx)
		check(t, r.choresNowAndThen(stopped, func() []chore {
			return []chore{{"usage", func(ctx context.Context, _ time.Time) error { stop(); return ctx.Err() }}}
		}))
		if len(told.list) != 0 {
			t.Errorf("told %+v", told.list)
		}
	})
}

// Of several nodes the first that is alive does the chores.
func TestFirstAlive(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	nodes := []ledger.Node{{Name: "a", Until: now}, {Name: "b", Until: now.Add(1)}, {Name: "c", Until: now.Add(time.Hour)}}
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{-1, "a"}, {0, "b"}, {1, "c"}, {time.Hour, ""}} {
		if got := firstAlive(nodes, now.Add(c.after)); got != c.want {
			t.Errorf("%s later: %q, want %q", c.after, got, c.want)
		}
	}
}

// The service compacts days that are over, makes usage of them, and finds the
// next time that there is nothing to do.
func TestChoresOfADataset(t *testing.T) {
	f := newFleet(t, 2, 3, nil)
	for range 2 {
		if _, stderr, code := command(t, "pull", "-c", f.file); code != exitOK {
			t.Fatal(stderr)
		}
		for _, feed := range f.feeds {
			feed.add(2)
		}
	}
	pattern := filepath.Join(f.data, "dataset", "*", "v1", "date=*", "*.parquet")
	before, err := filepath.Glob(pattern)
	check(t, err)
	told := &eventList{}
	a := &app{pace: realPace(), events: told, stderr: io.Discard, stdout: io.Discard}
	r, err := a.newFleetRun(t.Context(), f.file, false)
	check(t, err)
	var after [2][]string
	for i := range after {
		for _, c := range r.chores() {
			check(t, c.run(t.Context(), a.pace.clock.Now()))
		}
		after[i], err = filepath.Glob(pattern)
		check(t, err)
	}
	check(t, r.store.Close())
	days := map[string]int{}
	usages := 0
	for _, file := range after[0] {
		days[filepath.Dir(file)]++
		if strings.Contains(file, "-usage/") {
			usages++
		}
	}
	for day, n := range days {
		if n != 1 {
			t.Errorf("%s has %d files", day, n)
		}
	}
	if len(days)-usages >= len(before) || usages == 0 {
		t.Errorf("%d files before, after it %d, of which %d of usage", len(before), len(days), usages)
	}
	if !slices.Equal(after[0], after[1]) {
		t.Errorf("the second time made\n%q of\n%q", after[1], after[0])
	}
	expect(t, exitOK, nil, "check", "-c", f.file)
}
