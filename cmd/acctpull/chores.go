package main

import (
	"context"
	"errors"
	"time"

	"acctpull/event"
	"acctpull/ledger"
)

const (
	// firstChores is how long after its start the service looks after its
	// dataset for the first time: what devices lose comes first.
	firstChores = 10 * time.Minute
	// choresEvery is how often it does after that, like the sweep of a device.
	choresEvery = time.Hour
)

// chore is work on what is here already. It takes up what an earlier run left, and
// two nodes may do it at once: one of them finds it done.
type chore struct {
	name string
	run  func(ctx context.Context, now time.Time) error
}

// choresNowAndThen does the chores in their order, for each stands on those
// before. A chore that fails is told and tried again the next time: fetching
// goes on, for devices do not wait.
func (r *fleetRun) choresNowAndThen(ctx context.Context, chores func() []chore) error {
	for pause := firstChores; r.a.pace.wait(ctx, pause); pause = choresEvery {
		mine, err := r.doesChores(ctx)
		if err != nil || !mine {
			continue // a ledger that does not answer is told by whoever keeps the leases
		}
		for _, c := range chores() {
			began := time.Now()
			err := c.run(ctx, r.a.pace.clock.Now())
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // what was stopped goes on at the next start
			}
			now := r.a.pace.clock.Now()
			r.a.metrics.Chore(now, c.name, time.Since(began), err == nil)
			if err != nil {
				r.a.events.Emit(event.ChoreFailed(now, c.name, err))
			}
		}
	}
	return nil
}

// doesChores reports whether this process is the one that looks after the dataset:
// of the nodes that are alive, the first by name. Should two take themselves
// for it, they do the same work twice and publish it once.
func (r *fleetRun) doesChores(ctx context.Context) (bool, error) {
	sh := r.store.sharing
	if sh == nil {
		return true, nil
	}
	nodes, err := sh.ledger.Nodes(ctx)
	if err != nil {
		return false, err
	}
	return firstAlive(nodes, sh.now()) == sh.node, nil
}

// firstAlive returns the first name among the nodes that are alive, "" if none is.
func firstAlive(nodes []ledger.Node, now time.Time) string {
	for _, n := range nodes {
		if n.Until.After(now) {
			return n.Name
		}
	}
	return ""
}
