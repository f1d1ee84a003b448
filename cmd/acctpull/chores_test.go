package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
