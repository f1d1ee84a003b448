package fleet

import (
	"errors"
	"testing"
	"time"
)

// The clock of this machine steps, forward and back, while the service runs and
// between two runs. Every device is visited soon after, none again and again, and
// no time of the future decides anything.
func TestClockSteps(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, step := range []time.Duration{year, time.Hour, -time.Hour, -year, -3 * time.Minute} {
		for _, restart := range []bool{false, true} {
			for what, err := range map[string]error{"good": nil, "failing": errors.New("away")} {
				inv := &Inventory{AtOnce: 8, PerSite: 8, Devices: []Device{dev("a"), dev("b"), dev("c")}}
				q := NewQueue(8, 8)
				q.Set(inv, func(string) State { return State{} })
				now := day
				visits := func(until time.Time) (n int) {
					for now.Before(until) {
						d, _, ok, again := q.Next(now)
						if ok {
							n++
							q.Done(d.Name, Outcome{Err: err})
							continue
						}
						// As the runner does: by the time that has to pass.
						now = now.Add(min(max(again.Sub(now), time.Second), time.Hour))
					}
					return n
				}
				visits(day.Add(2 * time.Hour))
				// What the clock says changes; two hours of life go on.
				now = now.Add(step)
				if restart {
					states := map[string]State{}
					q.Look(func(d Device, s State, _ bool) { states[d.Name] = s })
					q = NewQueue(8, 8)
					q.Set(inv, func(name string) State { return states[name] })
				}
				from := now
				n := visits(from.Add(2 * time.Hour))
				// Every 15 minutes, or after waits that grow to 30 minutes.
				if n < 3*3 || n > 3*2*60 || err == nil && n > 3*10 {
					t.Errorf("step of %v, restart %v, %s: %d visits in two hours", step, restart, what, n)
				}
				q.Look(func(d Device, s State, _ bool) {
					if s.Tried.After(now) || s.Good.After(now) {
						t.Errorf("step of %v: %s was visited in the future: %+v", step, d.Name, s)
					}
					if since := now.Sub(s.Tried); since > time.Hour {
						t.Errorf("step of %v, restart %v, %s: %s was visited %v ago", step, restart, what, d.Name, since)
					}
				})
			}
		}
	}
}

// A clock that jumped teaches no life of a year.
func TestClockStepTeachesNothing(t *testing.T) {
	s := State{Tried: day, Good: day.Add(365 * 24 * time.Hour), Oldest: "x", OldestSeen: day}
	if got := s.Note(Outcome{Oldest: "y", OldestSeen: day}, day.Add(366*24*time.Hour)).Learned; got > 500*time.Hour {
		t.Errorf("learned %v", got)
	}
}
