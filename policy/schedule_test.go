package policy

import (
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	base := time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)
	at := func(d time.Duration) time.Time { return base.Add(d) }
	clock := func(h, m, s int) time.Time { return time.Date(2026, 1, 2, h, m, s, 0, time.UTC) }
	free, aligned := schedule{5 * time.Minute, false}, schedule{5 * time.Minute, true}
	for _, c := range []struct {
		name      string
		got, want time.Time
	}{
		{"the first interval begins with the collector", free.first(base), at(5 * time.Minute)},
		{"the first aligned collection", aligned.first(base), clock(3, 5, 0)},
		{"aligned, started on the dot", aligned.first(clock(3, 5, 0)), clock(3, 10, 0)},
		{"late by little keeps the beat", free.next(base, at(time.Second)), at(5 * time.Minute)},
		{"late by more than an interval keeps the beat", free.next(base, at(12*time.Minute)), at(15 * time.Minute)},
		{"early by a clock that was set back", free.next(base, at(-time.Hour)), at(-time.Hour + 5*time.Minute)},
		{"aligned on the dot", aligned.next(clock(3, 5, 0), clock(3, 5, 0)), clock(3, 10, 0)},
		{"aligned, the clock is behind the timer", aligned.next(clock(3, 5, 0), clock(3, 4, 59)), clock(3, 10, 0)},
		{"aligned, late", aligned.next(clock(3, 5, 0), clock(3, 8, 30)), clock(3, 10, 0)},
		{"aligned, later than an interval", aligned.next(clock(3, 5, 0), clock(3, 11, 0)), clock(3, 15, 0)},
		{"named after the time it was due", free.stamp(base, at(time.Second)), base},
		{"or the last time it was due", free.stamp(base, at(12*time.Minute)), at(10 * time.Minute)},
		{"aligned names are round", aligned.stamp(clock(3, 5, 0), clock(3, 5, 1)), clock(3, 5, 0)},
	} {
		if !c.got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	for late, want := range map[time.Duration]int{0: 0, time.Second: 0, 5*time.Minute - 1: 0, 5 * time.Minute: 1, 16 * time.Minute: 3, -time.Hour: 0} {
		if got := free.missed(base, at(late)); got != want {
			t.Errorf("late by %v: %d missed, want %d", late, got, want)
		}
	}
	// A 60-minute file gets twelve 5-minute intervals although each begins a
	// little late, by another little each time.
	due, first := free.first(time.Now()), time.Time{}
	for i := range 13 {
		now := due.Add(time.Duration(7*i%5) * time.Millisecond)
		stamp := free.stamp(due, now)
		if i == 0 {
			first = stamp
		}
		if i == 12 && stamp.Sub(first) != time.Hour {
			t.Errorf("the twelfth interval after the first is %v later", stamp.Sub(first))
		}
		due = free.next(due, now)
	}
}
