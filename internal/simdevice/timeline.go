package simdevice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"acctpull/internal/scenario"
)

// timeline is what was planned for a fleet, and how far it has come.
type timeline struct {
	mu    sync.Mutex
	begun time.Time // when the fleet was started first
	steps []planned
}

// planned is a step of a scenario with its devices.
type planned struct {
	scenario.Step
	devices []*Device
}

// begin starts the time of the scenario.
func (t *timeline) begin(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun.IsZero() {
		t.begun = now
	}
}

// Schedule plans a scenario in the words of Language. Its times count from
// Start and are those of the devices: with a short FleetOptions.Minute they
// pass faster. A target that no device matches is an error, and then nothing
// is planned; a step without targets happens to all devices. A fleet that goes
// by the clock of this machine has to have its plans before Start.
func (f *Fleet) Schedule(s *scenario.Scenario) error {
	var steps []planned
	var errs []error
	for _, step := range s.Steps {
		p := planned{Step: step}
		for _, target := range step.Targets {
			found, err := f.Match(target)
			if err != nil {
				errs = append(errs, fmt.Errorf("line %d: %w", step.Line, err))
			}
			for _, d := range found {
				if len(step.Targets) == 1 || !slices.Contains(p.devices, d) {
					p.devices = append(p.devices, d)
				}
			}
		}
		if len(step.Targets) == 0 {
			p.devices = f.devices
		}
		steps = append(steps, p)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	f.plan.mu.Lock()
	defer f.plan.mu.Unlock()
	f.plan.steps = append(f.plan.steps, steps...)
	slices.SortStableFunc(f.plan.steps, func(a, b planned) int { return int(min(max(a.At-b.At, -1), 1)) })
	return nil
}

// lasts is how long a duration of a scenario lasts.
func (f *Fleet) lasts(d time.Duration) time.Duration {
	if f.o.Minute == time.Minute {
		return d
	}
	return time.Duration(float64(d) * (float64(f.o.Minute) / float64(time.Minute)))
}

// next returns when the next step is due, false if there is none.
func (f *Fleet) next() (time.Time, bool) {
	f.plan.mu.Lock()
	defer f.plan.mu.Unlock()
	if len(f.plan.steps) == 0 {
		return time.Time{}, false
	}
	return f.plan.begun.Add(f.lasts(f.plan.steps[0].At)), true
}

// doNext does the next step.
func (f *Fleet) doNext() error {
	f.plan.mu.Lock()
	p := f.plan.steps[0]
	f.plan.steps = f.plan.steps[1:]
	f.plan.mu.Unlock()
	var errs []error
	for _, d := range p.devices {
		errs = append(errs, d.do(p.Step, f.lasts))
	}
	err := errors.Join(errs...)
	if f.o.Hooks.OnStep != nil {
		f.o.Hooks.OnStep(p.Step, err)
	}
	return err
}

// follow does what is planned, when it is due.
func (f *Fleet) follow(ctx context.Context) {
	for {
		due, ok := f.next()
		if !ok {
			return
		}
		timer := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			_ = f.doNext() // the hook has the error
		}
	}
}

// Step moves the clock of a fleet that has one of its own. What is planned for
// the time that passes happens in between.
func (f *Fleet) Step(d time.Duration) error {
	c := f.o.Clock
	if c == nil || d < 0 {
		return errors.New("step: only a fleet with a clock of its own can be moved, and only forward")
	}
	end := c.Now().Add(d)
	var errs []error
	for {
		due, ok := f.next()
		if !ok || due.After(end) {
			break
		}
		c.set(due)
		errs = append(errs, f.doNext())
	}
	c.set(end)
	return errors.Join(errs...)
}
