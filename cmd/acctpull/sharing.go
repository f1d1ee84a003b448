package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"acctpull/event"
	"acctpull/ledger"
	"acctpull/pull"
	"acctpull/pull/fleet"
)

// sharing is what a process does to work on one ledger with others: it takes a
// device before it visits it, keeps what it took, and learns what the others
// found. There is no leader: the ledger alone says who has what.
//
// Leases go by the clock of the database, which is the same for all nodes; the
// schedule and what is written into rows go by the clock of each node.
type sharing struct {
	a      *app
	ledger *ledger.Ledger
	node   string
	began  time.Time // by the clock of the database

	mu       sync.Mutex
	clock    time.Time // of the database, when it was read
	read     time.Time // when that was
	renewed  time.Time // when all leases were renewed last
	away     bool      // the ledger does not answer
	versions map[string]int64
	since    int64
	visits   map[string]context.CancelCauseFunc // of devices that this node holds
	tidy     map[string]bool                    // devices whose archive this process has put in order
	batch    *ledger.BatchClaim
	endBatch context.CancelCauseFunc
}

// errTaken ends what was begun under a lease that is lost.
var errTaken = errors.New("the lease is lost: another node may have taken it over")

// newSharing introduces this process to the others.
func (a *app) newSharing(ctx context.Context, l *ledger.Ledger, name string) (*sharing, error) {
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("name of this host for the ledger: %w", err)
		}
		name = host
	}
	var digits [4]byte
	if _, err := rand.Read(digits[:]); err != nil {
		return nil, fmt.Errorf("name of this node: %w", err)
	}
	sh := &sharing{a: a, ledger: l, node: name + "-" + hex.EncodeToString(digits[:]),
		versions: map[string]int64{}, visits: map[string]context.CancelCauseFunc{}, tidy: map[string]bool{}}
	if err := sh.setClock(ctx); err != nil {
		return nil, err
	}
	sh.began, sh.renewed = sh.now(), time.Now()
	return sh, l.SeeNode(ctx, sh.began, sh.self())
}

// self is this process as the others see it.
func (sh *sharing) self() ledger.Node {
	return ledger.Node{Name: sh.node, Began: sh.began, Until: sh.now().Add(sh.a.pace.lease)}
}

// close gives everything back at once, so that nobody has to wait for it.
func (sh *sharing) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), giveBackWithin)
	defer cancel()
	_, err := sh.ledger.ReleaseOwner(ctx, sh.node)
	return errors.Join(err, sh.ledger.ForgetNode(ctx, sh.node))
}

// giveBackWithin bounds what a process does for the others when it ends.
const giveBackWithin = 5 * time.Second

// setClock reads the clock of the database. It is read again with every renewal,
// so that no clock of ours can drift away from it.
func (sh *sharing) setClock(ctx context.Context) error {
	before := time.Now()
	at, err := sh.ledger.Clock(ctx)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.clock, sh.read = at, before
	return nil
}

// now is the time by the clock of the database.
func (sh *sharing) now() time.Time {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.clock.Add(time.Since(sh.read))
}

// states returns what is known of all devices, for the start.
func (sh *sharing) states(ctx context.Context) (map[string]fleet.State, error) {
	found, err := sh.ledger.DeviceStates(ctx, 0)
	if err != nil {
		return nil, err
	}
	all := make(map[string]fleet.State, len(found))
	for _, s := range found {
		all[s.Device] = sh.note(s)
	}
	return all, nil
}

// note remembers the version of a state, and returns the state.
func (sh *sharing) note(s ledger.DeviceState) fleet.State {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.versions[s.Device] = max(sh.versions[s.Device], s.Version)
	sh.since = max(sh.since, s.Version)
	return stateOf(s)
}

// stateOf reads the state that a node wrote. One that another version of the
// program wrote and this one cannot read is no state: the device is due.
func stateOf(s ledger.DeviceState) fleet.State {
	var known fleet.State
	if len(s.State) == 0 || json.Unmarshal(s.State, &known) != nil {
		return fleet.State{}
	}
	return known
}

// take asks the ledger for a device. If it is refused, the outcome says when to
// ask again.
func (sh *sharing) take(ctx context.Context, d fleet.Device, perSite int, began time.Time) (c ledger.DeviceClaim, prior string, o fleet.Outcome, ok bool) {
	later := fleet.Outcome{Held: began.Add(askAgain)}
	sh.mu.Lock()
	away, seen := sh.away, sh.versions[d.Name]
	sh.mu.Unlock()
	if away {
		return c, "", later, false
	}
	c, s, ok, err := sh.ledger.TakeDevice(ctx, sh.now(), d.Name, sh.node, sh.a.pace.lease, d.Site, perSite, seen)
	switch {
	case err != nil: // keep finds out why
		return c, "", later, false
	case ok:
		return c, s.Owner, o, true
	case s.Version > seen:
		known := sh.note(s)
		return c, "", fleet.Outcome{Held: began, Known: &known}, false
	}
	return c, "", later, false
}

// askAgain is how soon a device is asked for again that another node holds, or
// whose site is full.
const askAgain = 15 * time.Second

// visit pulls a device that nobody else pulls meanwhile.
func (sh *sharing) visit(ctx context.Context, r *fleetRun, d fleet.Device, s fleet.State, began time.Time) fleet.Outcome {
	claim, prior, o, ok := sh.take(ctx, d, r.perSite(), began)
	if !ok {
		return o
	}
	under, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sh.begin(d.Name, cancel)
	defer sh.end(d.Name)
	err := sh.inherit(under, r, claim, prior, d)
	var v ledger.Visit
	if err == nil {
		o, v = r.fetch(under, d, began)
	} else {
		o, v = r.outcome(under, d, pull.Result{}, err), r.seen(ctx, d, began, pull.Result{}, err)
	}
	if errors.Is(context.Cause(under), errTaken) {
		return sh.lost(r, d, began)
	}
	return sh.finish(ctx, r, claim, d, s, began, o, v)
}

// inherit puts the archive of a device in order that another node left, or that
// this process visits for the first time: somebody may have died with it.
func (sh *sharing) inherit(ctx context.Context, r *fleetRun, claim ledger.DeviceClaim, prior string, d fleet.Device) error {
	sh.mu.Lock()
	tidy := sh.tidy[d.Name]
	sh.mu.Unlock()
	if tidy && prior == "" {
		return nil
	}
	if prior != "" {
		sh.a.events.Emit(event.DeviceTakenOver(sh.a.pace.clock.Now(), d.Name, prior))
	}
	if _, err := sh.ledger.VoidClaims(ctx, claim); err != nil {
		return err
	}
	found, err := pull.RecoverDevice(ctx, r.options(d), d.Name)
	sh.a.recovered(found)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.tidy[d.Name] = true
	return nil
}

// finish tells the ledger what the visit found and gives the device back.
func (sh *sharing) finish(ctx context.Context, r *fleetRun, claim ledger.DeviceClaim, d fleet.Device, s fleet.State, began time.Time, o fleet.Outcome, v ledger.Visit) fleet.Outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackWithin)
	defer cancel()
	var state []byte
	var visits []ledger.Visit
	if !o.Stopped {
		next := s.Note(o, began)
		text, err := json.Marshal(next)
		if err != nil {
			panic("state of a device: " + err.Error()) // it holds texts, numbers and times only
		}
		o.Known, state, visits = &next, text, []ledger.Visit{v}
	}
	version, err := sh.ledger.FinishDevice(ctx, sh.now(), claim, state, visits...)
	switch {
	case errors.Is(err, ledger.ErrLeaseLost):
		return sh.lost(r, d, began)
	case err != nil: // the ledger is away: the lease runs out by itself
		r.result(d.Name)
		return fleet.Outcome{Held: began.Add(askAgain)}
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.versions[d.Name] = max(sh.versions[d.Name], version)
	return o
}

// lost ends a visit whose device may be somebody else's now. What it published
// and could not record is found by whoever comes next; should that be this
// process, it looks.
func (sh *sharing) lost(r *fleetRun, d fleet.Device, began time.Time) fleet.Outcome {
	sh.mu.Lock()
	delete(sh.tidy, d.Name)
	sh.mu.Unlock()
	r.result(d.Name)
	sh.a.events.Emit(event.LeaseLost(sh.a.pace.clock.Now(), d.Name, sh.node))
	return fleet.Outcome{Held: began.Add(askAgain)}
}

func (sh *sharing) begin(device string, cancel context.CancelCauseFunc) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.visits[device] = cancel
}

func (sh *sharing) end(device string) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.visits, device)
}

// keep renews what this node holds until ctx ends. A ledger that does not answer
// is waited for, and after a lease everything that was begun under one ends; one
// that cannot be trusted any more ends the process.
func (sh *sharing) keep(ctx context.Context) error {
	for wait(ctx, sh.a.pace.renew) {
		err := sh.renew(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && ledger.IsFatal(err) {
			return err
		}
		sh.answered(err)
	}
	return nil
}

// renew renews every lease, and ends what was begun under one that is lost.
func (sh *sharing) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sh.a.pace.lease/2)
	defer cancel()
	sh.mu.Lock()
	visits, batch, endBatch := maps.Clone(sh.visits), sh.batch, sh.endBatch
	sh.mu.Unlock()
	if err := sh.setClock(ctx); err != nil {
		return err
	}
	held, err := sh.ledger.RenewDevices(ctx, sh.now(), sh.node, sh.a.pace.lease)
	if err != nil {
		return err
	}
	for device, end := range visits {
		if !slices.Contains(held, device) {
			end(errTaken) // or it has ended meanwhile, and this does nothing
		}
	}
	if batch != nil {
		switch err := sh.ledger.RenewBatch(ctx, sh.now(), *batch, sh.a.pace.lease); {
		case errors.Is(err, ledger.ErrLeaseLost):
			endBatch(errTaken)
		case err != nil:
			return err
		}
	}
	return sh.ledger.SeeNode(ctx, sh.now(), sh.self())
}

// answered notes whether the ledger answered.
func (sh *sharing) answered(err error) {
	now := sh.a.pace.clock.Now()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	was := sh.away
	sh.away = err != nil
	switch {
	case err == nil:
		sh.renewed = time.Now()
		if was {
			sh.a.events.Emit(event.LedgerBack(now, sh.node))
		}
		return
	case !was:
		sh.a.events.Emit(event.LedgerAway(now, sh.node, err.Error()))
	}
	if time.Since(sh.renewed) < sh.a.pace.lease {
		return
	}
	for _, end := range sh.visits {
		end(errTaken)
	}
	if sh.endBatch != nil {
		sh.endBatch(errTaken)
	}
}

// learn tells the schedule what other nodes found, until ctx ends.
func (sh *sharing) learn(ctx context.Context, runner *fleet.Runner) error {
	for wait(ctx, sh.a.pace.sync) {
		sh.mu.Lock()
		since := sh.since
		sh.mu.Unlock()
		found, err := sh.ledger.DeviceStates(ctx, since)
		if err != nil {
			continue // keep finds out why
		}
		for _, s := range found {
			sh.mu.Lock()
			own := sh.versions[s.Device] >= s.Version
			sh.mu.Unlock()
			if known := sh.note(s); !own {
				runner.Learn(s.Device, known)
			}
		}
	}
	return nil
}

// forsaken is how long a node gives no sign of life before what it had in the
// making is removed: one that is starved or stopped may go on.
const forsaken = time.Hour

// living returns the nodes that may still be at work, by the names of their
// directories.
func (sh *sharing) living(ctx context.Context) (map[string]bool, error) {
	nodes, err := sh.ledger.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	now, all := sh.now(), map[string]bool{pull.DirName(sh.node): true}
	for _, n := range nodes {
		if n.Until.Add(forsaken).After(now) {
			all[pull.DirName(n.Name)] = true
		}
	}
	return all, nil
}

// export runs one batch under its lease, and records it. ledger.ErrLeaseLost
// means that another node has it.
func (sh *sharing) export(ctx context.Context, batch ledger.Batch, run func(context.Context) error) error {
	under, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sh.mu.Lock()
	sh.batch, sh.endBatch = &batch.BatchClaim, cancel
	sh.mu.Unlock()
	defer func() {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		sh.batch, sh.endBatch = nil, nil
	}()
	err := run(under)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if errors.Is(context.Cause(under), errTaken) {
		return ledger.ErrLeaseLost
	}
	// A node that was away for long finds its staged files removed.
	if held := sh.ledger.RenewBatch(ctx, sh.now(), batch.BatchClaim, sh.a.pace.lease); errors.Is(held, ledger.ErrLeaseLost) {
		return held
	}
	return err
}
