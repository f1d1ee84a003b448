package fleet

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Visit is one visit of a device, whose state is s, that begins at began. It has
// to end soon after ctx does.
type Visit func(ctx context.Context, d Device, s State, began time.Time) Outcome

// Clock is what the schedule goes by.
type Clock interface {
	Now() time.Time
	// Until is how long a timer has to run to end at t.
	Until(t time.Time) time.Duration
}

// SystemClock is the clock of this machine.
type SystemClock struct{}

// Now is time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// Until is time.Until.
func (SystemClock) Until(t time.Time) time.Duration { return time.Until(t) }

// Runner visits the devices of an inventory, for ever or once.
type Runner struct {
	// Visit is called for every visit, from several goroutines, never twice
	// at a time for one device.
	Visit Visit
	// OnVisit is called after every visit, one at a time, with the state
	// that is remembered. Nil means none.
	OnVisit func(d Device, o Outcome, s State, began time.Time, took time.Duration)
	// OnLate is called before OnVisit after a visit that began after its
	// deadline, when files may be lost already, and how late that was. Nil
	// means none.
	OnLate func(d Device, late time.Duration)
	// Clock is what the schedule goes by; nil for the clock of this machine.
	Clock Clock

	mu    sync.Mutex
	queue *Queue
	wake  chan struct{}
}

// Set gives the runner its devices, before Run or at any time while it runs.
// remember gives the state of a device that it did not have before; nil means
// none is remembered.
func (r *Runner) Set(inv *Inventory, remember func(name string) State) {
	if remember == nil {
		remember = func(string) State { return State{} }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue == nil {
		r.queue = NewQueue(inv.AtOnce, inv.PerSite)
		r.wake = make(chan struct{}, 1)
	}
	r.queue.Set(inv, remember)
	r.poke()
}

// Learn tells what another node found on a device.
func (r *Runner) Learn(name string, s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil {
		r.queue.Learn(name, s)
		r.poke()
	}
}

// clock is what the schedule goes by.
func (r *Runner) clock() Clock {
	if r.Clock == nil {
		return SystemClock{}
	}
	return r.Clock
}

// poke makes Run look at the queue again.
func (r *Runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// ErrNoDevices: Set was not called.
var ErrNoDevices = errors.New("no inventory was given")

// Run visits devices when they are due until ctx ends, and then waits for the
// visits under way, whose context has ended too.
func (r *Runner) Run(ctx context.Context) error {
	if r.queue == nil {
		return ErrNoDevices
	}
	var visits sync.WaitGroup
	defer visits.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		r.mu.Lock()
		again := r.start(ctx, &visits)
		r.mu.Unlock()
		if !again.IsZero() {
			timer.Reset(r.clock().Until(again))
		}
	}
}

// start begins every visit that can begin now, and returns when to look again.
func (r *Runner) start(ctx context.Context, visits *sync.WaitGroup) time.Time {
	for ctx.Err() == nil {
		now := r.clock().Now()
		d, s, ok, again := r.queue.Next(now)
		if !ok {
			return again
		}
		visits.Go(func() { r.visit(ctx, d, s, now) })
	}
	return time.Time{}
}

// visit visits one device and tells the queue.
func (r *Runner) visit(ctx context.Context, d Device, s State, began time.Time) {
	o := r.Visit(ctx, d, s, began)
	r.mu.Lock()
	defer r.mu.Unlock()
	if late := began.Sub(d.Deadline(s)); late > 0 && !s.Good.IsZero() && o.Held.IsZero() && r.OnLate != nil {
		r.OnLate(d, late)
	}
	s = r.queue.Done(d.Name, o)
	if r.OnVisit != nil && o.Held.IsZero() {
		r.OnVisit(d, o, s, began, r.clock().Now().Sub(began))
	}
	r.poke()
}

// States returns what is remembered of every device, by name.
func (r *Runner) States() map[string]State {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]State{}
	if r.queue != nil {
		r.queue.Look(func(d Device, s State, _ bool) { all[d.Name] = s })
	}
	return all
}

// Look calls f for every device with its state and whether a visit is running,
// in no order. No visit begins or ends meanwhile.
func (r *Runner) Look(f func(d Device, s State, running bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil {
		r.queue.Look(f)
	}
}

// Once visits every device one time, as many at once as the inventory allows,
// those first that are nearest to losing something. When ctx ends, no further
// visit begins.
func (r *Runner) Once(ctx context.Context, devices []Device, atOnce, perSite int, remember func(name string) State) {
	q := NewQueue(atOnce, perSite)
	q.once = true
	q.Set(&Inventory{AtOnce: atOnce, PerSite: perSite, Devices: devices}, remember)
	type result struct {
		d     Device
		o     Outcome
		began time.Time
	}
	done := make(chan result)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var again time.Time
		for ctx.Err() == nil {
			now := r.clock().Now()
			d, s, ok, next := q.Next(now)
			if !ok {
				again = next
				break
			}
			go func() { done <- result{d, r.Visit(ctx, d, s, now), now} }()
		}
		stop := ctx.Done()
		switch {
		case q.Running() > 0:
			stop = nil // visits end soon after ctx
		case again.IsZero():
			return
		}
		if !again.IsZero() {
			timer.Reset(r.clock().Until(again))
		}
		select {
		case res := <-done:
			s := q.Done(res.d.Name, res.o)
			if r.OnVisit != nil && res.o.Held.IsZero() {
				r.OnVisit(res.d, res.o, s, res.began, r.clock().Now().Sub(res.began))
			}
		case <-timer.C:
		case <-stop:
		}
	}
}
