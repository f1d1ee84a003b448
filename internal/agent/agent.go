// Package agent puts the device side together: a Set of accounting policies, a
// source of counters, the Collector that makes files of them, the hourly sweep
// of every location, the lock that keeps a second agent out, and the events of
// all that. acctpull collect, the simulated devices and the scenarios are the
// same Agent with other surroundings.
//
// It decides nothing of its own: what is collected is decided by package
// policy, what is deleted by package retention. Nothing happens before Run or
// Once.
package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"acctpull/event"
	"acctpull/internal/durable"
	"acctpull/policy"
	"acctpull/retention"
	"acctpull/rollover"
)

// Options of an Agent. The zero value of every field but Set is usable.
type Options struct {
	// Set says what to collect. It must be given.
	Set *policy.Set
	// Source reads the counters; nil for the one that the Set asks for.
	Source policy.Source
	// Zone is the time zone of the times in file names (prefer-local-time);
	// nil for UTC.
	Zone *time.Location
	// Minute is how long a minute of the configuration lasts; 0 for a minute.
	Minute time.Duration
	// Software is the name and version of the program, for files with system
	// information.
	Software string
	// Rule is the retention rule of the sweeps.
	Rule retention.Kind
	// SweepEvery is the pause between sweeps; 0 for an hour (7210 SAS guide,
	// 5.2.4).
	SweepEvery time.Duration
	// Unguarded sweeps like the device itself, which believes its clock and
	// deletes as many files at once as have expired. It is meant for simulated
	// devices; see retention.Guard and retention.CheckClock.
	Unguarded bool
	// Events takes the events; nil for none.
	Events event.Sink
	// Hooks are told what the collector does, after the event of the same
	// thing. The rules of policy.Hooks hold.
	Hooks policy.Hooks
}

// Agent is one device side. Make it with New.
type Agent struct {
	o         Options
	source    policy.Source // that the Agent made itself, nil if it was given one
	collector *policy.Collector

	reload sync.Mutex // one change of the configuration at a time
	used   []string   // locations of every Set that was in force

	mu    sync.Mutex // held by who changes what follows
	set   *policy.Set
	locks map[string]*durable.Lock // by location
}

// New returns an Agent. It touches no file.
func New(o Options) (*Agent, error) {
	if o.Set == nil {
		return nil, &policy.Error{Op: "make agent", Err: errors.New("a set has to be given")}
	}
	if o.Events == nil {
		o.Events = event.Discard
	}
	var made policy.Source
	if o.Source == nil {
		source, err := policy.NewSource(o.Set)
		if err != nil {
			return nil, err
		}
		o.Source, made = source, source
	}
	if r, ok := o.Source.(*policy.Replay); ok && r.OnNote == nil {
		r.OnNote = func(n policy.ReplayNote) { replayed(o.Events, n) }
	}
	a := &Agent{o: o, source: made, locks: map[string]*durable.Lock{}}
	a.use(o.Set)
	c, err := policy.NewCollector(policy.Options{Set: o.Set, Source: o.Source, Location: o.Zone, Retention: o.Rule, Minute: o.Minute, Software: o.Software, Hooks: a.hooks()})
	if err != nil {
		return nil, err
	}
	a.collector = c
	return a, nil
}

// Run locks the locations, brings to order what an earlier run left, collects
// every policy on its interval and sweeps every location at once and then every
// hour, until ctx ends. Then it closes every file and gives the locks back. An
// Agent runs once.
//
// The error is a *durable.LockedError if another agent works in a location, or
// that of policy.Collector.Run.
func (a *Agent) Run(ctx context.Context) (err error) {
	if err := a.lock(a.Set()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.closeSource(), a.unlock()) }()
	ctx, cancel := context.WithCancel(ctx)
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		retention.Run(ctx, a.o.SweepEvery, a.Sweep)
	})
	err = a.collector.Run(ctx)
	cancel()
	sweeping.Wait()
	return err
}

// Once brings to order what an earlier run left, collects every policy in
// service one time, and closes the files. Each interval is handed to each, also
// one with an error.
func (a *Agent) Once(ctx context.Context, each func(policy.Interval)) (err error) {
	if err := a.lock(a.Set()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.closeSource(), a.unlock()) }()
	if _, err := a.collector.Recover(time.Now()); err != nil {
		return err
	}
	var errs []error
	for _, p := range a.Set().Plan() {
		in, err := a.collector.Collect(ctx, p.Policy.ID, time.Now())
		if err != nil {
			errs = append(errs, err)
		}
		each(in)
	}
	return errors.Join(append(errs, a.collector.Close())...)
}

// closeSource closes what the source holds open, if the Agent made it.
func (a *Agent) closeSource() error {
	if c, ok := a.source.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Set returns the configuration that is in force.
func (a *Agent) Set() *policy.Set {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.set
}

// Roll closes the open file of a policy, whatever its age: the device's "clear
// log". See [policy.Collector.Roll].
func (a *Agent) Roll(ctx context.Context, id int, now time.Time) (rollover.File, bool, error) {
	return a.collector.Roll(ctx, id, now)
}

// Status returns the state of every policy, by id. It can be called at any
// time, also from a hook.
func (a *Agent) Status() []policy.Status { return a.collector.Status() }
