package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"acctpull/event"
	"acctpull/export"
	"acctpull/internal/depot"
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

// chores are the works that the inventory in force asks for. Compaction comes
// before usage, so that no day is computed from files that are about to go.
func (r *fleetRun) chores() []chore {
	r.mu.Lock()
	inv := r.inv
	r.mu.Unlock()
	dataset, dir := depot.Sub(r.store.depot, "dataset"), r.store.dataset
	var list []chore
	if inv.Chores.Compact {
		list = append(list, chore{"compaction", func(ctx context.Context, _ time.Time) error {
			var failed []error
			err := r.a.compactDataset(ctx, dataset, dir, r.store.ledger, export.CompactOptions{OnDay: func(d export.CompactedDay) {
				if d.Err != nil {
					failed = append(failed, fmt.Errorf("%s of %s: %w", d.Table, d.Date, d.Err))
				}
			}})
			return errors.Join(err, errors.Join(failed...))
		}})
	}
	if inv.Chores.Usage {
		list = append(list, chore{"usage", func(ctx context.Context, _ time.Time) error {
			o, err := (&usageFlags{}).options()
			if err == nil {
				o.Narrow, err = narrows(inv.Chores.Counter32)
			}
			if err != nil {
				return err
			}
			_, _, err = r.a.refreshUsage(ctx, dataset, dir, o)
			return err
		}})
	}
	if len(inv.FileIDs) > 0 {
		list = append(list, chore{"retention", r.expire})
	}
	return append(list, chore{"cleaning", func(ctx context.Context, _ time.Time) error {
		return errors.Join(r.a.writeSidecars(ctx, dataset, r.store.ledger), r.a.cleanReplaced(ctx, dataset))
	}})
}
