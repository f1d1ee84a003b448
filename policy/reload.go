package policy

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"acctpull/record"
)

// Reconfigure puts another Set in force; whoever calls it has made the Set and
// so knows that it is valid. Policies that did not change go on, and their open
// files with them.
//
//   - A policy that goes away or is shut down writes the last values of its
//     objects as an entry of its own (Interval.Closing), and its file is sealed.
//   - A policy whose record or default has changed is restarted: its file is
//     sealed, and its first interval begins now. A policy that comes into
//     service begins now too.
//   - Objects that leave a policy that goes on get last records in its open
//     file. An object whose counter mode has changed gets them too, and its
//     counters begin again at zero. One that joins is collected in the interval
//     in progress.
//   - The collection interval counts from the beginning of the interval in
//     progress. A new destination is used from the next interval on, a new
//     location or rollover time from the next file on, and what stands in the
//     header in the next file.
//
// It waits for collections that are running, of the policies that lose an
// object only. If ctx ends before they did, nothing has changed; nor with
// ErrSource and ErrClosed. Any other error says which last values could not be
// written or which file not be sealed: the new Set is in force all the same.
func (c *Collector) Reconfigure(ctx context.Context, next *Set, now time.Time) error {
	if err := c.reload.lock(ctx); err != nil {
		return &Error{Op: "reconfigure", Err: err}
	}
	defer c.reload.unlock()
	c.mu.Lock()
	old, closed := c.set, c.closed
	c.mu.Unlock()
	switch {
	case next == nil:
		return &Error{Op: "reconfigure", Err: errors.New("a set has to be given")}
	case closed:
		return &Error{Op: "reconfigure", Err: ErrClosed}
	case !sameSource(old.c.Source, next.c.Source):
		return &Error{Op: "reconfigure", Err: ErrSource}
	}
	steps, removed := compareSets(old, next)
	var touched []*worker
	for i := range steps {
		steps[i].worker = c.worker(steps[i].id)
		if steps[i].touches() {
			touched = append(touched, steps[i].worker)
		}
	}
	if err := holdAll(ctx, touched); err != nil {
		return &Error{Op: "reconfigure", Err: err}
	}
	defer func() {
		for _, w := range touched {
			w.busy.unlock()
		}
	}()
	var errs []error
	for i := range steps {
		errs = append(errs, c.part(ctx, &steps[i], now))
	}
	errs = append(errs, c.remove(removed, steps))
	for i := range steps {
		errs = append(errs, c.move(&steps[i], steps))
	}
	for i := range steps {
		errs = append(errs, c.reset(ctx, &steps[i], now))
	}
	for _, w := range touched {
		if err := w.series.save(); err != nil {
			errs = append(errs, &Error{Op: opBaselines, Policy: w.id, Err: err})
		}
	}
	c.swap(next, steps, now)
	return errors.Join(errs...)
}

// sameSource tells whether two configurations have the same source.
func sameSource(a, b SourceConfig) bool {
	a.Line, a.given, b.Line, b.given = 0, nil, 0, nil
	return reflect.DeepEqual(a, b)
}

// step is what a new configuration is for one policy.
type step struct {
	id      int
	was, is *Plan // nil out of service
	restart bool
	out     departure
	homes   [2]Plan   // record and file-id of the policy in the old and the new configuration
	moves   bool      // the record of the old one has another home now, or none
	resets  []*Object // objects whose counters are reset, if was has another record
	worker  *worker   // of was
}

// touches tells whether the step changes what a collection uses.
func (s *step) touches() bool {
	return s.worker != nil && (s.is == nil || s.restart || s.moves || !s.out.empty())
}

// compareSets returns what becomes of every policy, by id, and the objects that
// are no longer configured.
func compareSets(old, next *Set) (steps []step, removed []objectKey) {
	steps = make([]step, MaxID+1)
	for id := range steps {
		steps[id].id = id
	}
	for _, p := range old.Plan() {
		steps[p.Policy.ID].was = &p
	}
	for _, p := range next.Plan() {
		steps[p.Policy.ID].is = &p
	}
	where := [2]map[record.Name]string{{}, {}}
	for i, set := range []*Set{old, next} {
		for _, p := range set.c.Policies {
			steps[p.ID].homes[i] = set.home(p)
			where[i][p.Record] = baselineDir(steps[p.ID].homes[i])
		}
	}
	for i := range steps {
		name := steps[i].homes[0].Policy.Record
		home, ok := where[1][name]
		steps[i].moves = name != "" && (!ok || home != where[0][name])
	}
	handled := map[objectKey]bool{}
	for i := range steps {
		steps[i].compare(handled)
	}
	removed = resets(steps, old, next, handled)
	return slices.DeleteFunc(steps, func(s step) bool { return s.homes[0].Policy.ID+s.homes[1].Policy.ID == 0 }), removed
}

// compare finds what leaves the policy. It notes in handled which objects are
// reset by it.
func (s *step) compare(handled map[objectKey]bool) {
	switch {
	case s.was == nil:
		return
	case s.is == nil:
		s.out.leave = s.was.Objects
		return
	}
	a, b := s.was.Policy, s.is.Policy
	s.restart = a.Record != b.Record || a.Default != b.Default
	if a.Record != b.Record {
		s.out.leave = s.was.Objects
		return
	}
	is := make(map[objectKey]*Object, len(s.is.Objects))
	for _, o := range s.is.Objects {
		is[keyOf(o)] = o
	}
	for _, o := range s.was.Objects {
		k := keyOf(o)
		switch n := is[k]; {
		case n == nil || !sameThing(o, n):
			s.out.leave = append(s.out.leave, o)
		case o.CounterMode != n.CounterMode:
			s.out.stay = append(s.out.stay, stay{o, n, true})
			handled[k] = true
		case n.Meters < o.Meters || n.EgressMeters < o.EgressMeters || n.Queues < o.Queues:
			s.out.stay = append(s.out.stay, stay{o, n, false})
		}
	}
}

// sameThing tells whether two objects of one identity have the same counters
// behind them, and the same keys in their records.
func sameThing(a, b *Object) bool {
	return thing(a) == thing(b) && a.sameCounters(b)
}

// thing is what an object is, without how it is collected.
func thing(o *Object) Object {
	t := *o
	t.Policy, t.CollectStats, t.CounterMode, t.Line, t.bad = 0, false, 0, 0, 0
	t.Meters, t.EgressMeters, t.Queues = 0, 0, 0
	t.NFT, t.TC = nil, nil // sameCounters looks at them
	return t
}

// resets finds the objects whose counter mode has changed while nothing was
// collected for them, as the device asks for (no collect-stats, counter-mode,
// collect-stats), or while they changed policy. It returns the objects that are
// no longer configured.
func resets(steps []step, old, next *Set, handled map[objectKey]bool) (removed []objectKey) {
	was := make(map[objectKey]*Object, len(old.c.Objects))
	for i := range old.c.Objects {
		was[keyOf(&old.c.Objects[i])] = &old.c.Objects[i]
	}
	for i := range next.c.Objects {
		o := &next.c.Objects[i]
		k := keyOf(o)
		before := was[k]
		delete(was, k)
		if before == nil || before.CounterMode == o.CounterMode || handled[k] || !sameThing(before, o) {
			continue // what has other counters behind it has none to reset
		}
		p := next.defaults[o.Type]
		if o.Policy != 0 {
			p = next.policies[o.Policy]
		}
		if p == nil || p.Record == "" {
			continue
		}
		if s := &steps[p.ID]; s.was != nil && s.was.Policy.Record == p.Record {
			s.out.resets = append(s.out.resets, o)
		} else {
			s.resets = append(s.resets, o)
		}
	}
	return slices.Collect(maps.Keys(was))
}

// holdAll waits until no collection of the workers runs and keeps the next ones
// from beginning. While it waits it holds none back.
func holdAll(ctx context.Context, workers []*worker) error {
	first := 0 // the one to wait for
	for len(workers) > 0 {
		if err := workers[first].busy.lock(ctx); err != nil {
			return err
		}
		running := slices.IndexFunc(workers, func(w *worker) bool { return w != workers[first] && !w.busy.try() })
		if running < 0 {
			return nil
		}
		for i, w := range workers {
			if i == first || i < running {
				w.busy.unlock()
			}
		}
		first = running
	}
	return nil
}

// part writes the last values of what leaves the policy, and seals its file if
// it does not go on.
func (c *Collector) part(ctx context.Context, s *step, now time.Time) error {
	w := s.worker
	if w == nil || !s.touches() {
		return nil
	}
	w.forget()
	var errs []error
	if !s.out.empty() {
		errs = append(errs, w.dismiss(ctx, now, &s.out))
	}
	if s.is != nil && !s.restart {
		return errors.Join(errs...)
	}
	w.end()
	if err := w.abandon(now); err != nil {
		errs = append(errs, &Error{Op: "close", Policy: w.id, Err: err})
	}
	return errors.Join(errs...)
}

// remove drops the baselines of objects that are no longer configured: an object
// that is configured again is a new one. Policies that may be collecting do it
// themselves, before their next collection.
func (c *Collector) remove(keys []objectKey, steps []step) error {
	if len(keys) == 0 {
		return nil
	}
	var errs []error
	for i := range steps {
		s := &steps[i]
		if w := s.worker; w != nil && !s.touches() {
			w.mu.Lock()
			w.removed = append(w.removed, keys...)
			w.mu.Unlock()
			continue
		}
		for _, home := range s.homes {
			if home.Policy.Record == "" || !c.free(home.Policy.Record, steps) {
				continue
			}
			series := c.seriesOf(home.Policy.Record)
			series.forget(keys...)
			if err := series.saveGone(home); err != nil {
				errs = append(errs, &Error{Op: opBaselines, Policy: s.id, Err: err})
			}
		}
	}
	return errors.Join(errs...)
}

// free tells whether no collection can be using the series of a record.
func (c *Collector) free(name record.Name, steps []step) bool {
	return !slices.ContainsFunc(steps, func(s step) bool {
		return s.worker != nil && !s.touches() && s.homes[0].Policy.Record == name
	})
}

// opBaselines is what is tried when baselines are read or written.
const opBaselines = "keep the baselines of reset counters"

// move takes the baselines of a record that has another home to it. Those of a
// record that no policy has any more are dropped.
func (c *Collector) move(s *step, steps []step) error {
	if !s.moves {
		return nil
	}
	name := s.homes[0].Policy.Record
	series := c.seriesOf(name)
	i := slices.IndexFunc(steps, func(s step) bool { return s.homes[1].Policy.Record == name })
	var err error
	if i < 0 {
		err = series.clear(s.homes[0])
	} else if err = series.load(s.homes[0]); err == nil {
		if err = series.load(steps[i].homes[1]); err == nil {
			err = series.save()
		}
	}
	if err != nil {
		return &Error{Op: opBaselines, Policy: s.id, Err: err}
	}
	return nil
}

// reset takes the baselines of objects that are not collected at the moment.
func (c *Collector) reset(ctx context.Context, s *step, now time.Time) error {
	if len(s.resets) == 0 || s.homes[1].Definition == nil {
		return nil
	}
	fail := func(err error) error { return &Error{Op: "reset counters", Policy: s.id, Err: err} }
	series := c.seriesOf(s.homes[1].Policy.Record)
	if err := series.load(s.homes[1]); err != nil {
		return fail(err)
	}
	b := &resetSink{s: series, t: s.homes[1].Policy.Type, fresh: baselines{}, missing: map[objectKey]bool{}}
	for _, o := range s.resets {
		b.fresh[keyOf(o)] = newBaseline(now)
	}
	err := c.o.Source.Sample(ctx, Request{At: now, Record: s.homes[1].Definition, Objects: s.resets, Closing: true}, b)
	series.install(b.fresh, err != nil, b.missing, c.o.Source)
	if err := errors.Join(err, series.save()); err != nil {
		return fail(err)
	}
	return nil
}

// swap puts the new set and its workers in the place of the old.
func (c *Collector) swap(next *Set, steps []step, now time.Time) {
	var workers, begun []*worker
	past := map[int]Status{}
	for _, s := range steps {
		status := c.statusBefore(s)
		switch {
		case s.is == nil:
			if _, ok := next.policies[s.id]; ok {
				past[s.id] = status
			}
		case s.worker != nil && !s.restart:
			s.worker.change(*s.is)
			workers = append(workers, s.worker)
		default:
			w := newWorker(c, *s.is)
			w.status.remember(status)
			w.start(now)
			workers, begun = append(workers, w), append(begun, w)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set, c.workers, c.past = next, workers, past
	if c.running != nil {
		for _, w := range begun {
			c.running.group.Go(func() { w.run(c.running.ctx) })
		}
	}
}

// statusBefore returns what is known of a policy before the step.
func (c *Collector) statusBefore(s step) Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.worker == nil {
		return c.past[s.id]
	}
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	return s.worker.status
}

// resetSink takes the counters of objects that are reset.
type resetSink struct {
	s       *series
	t       Type
	fresh   baselines
	missing map[objectKey]bool
}

// Record implements Sink.
func (b *resetSink) Record(r *record.Record) error {
	p := b.s.placesOf(r.Set)
	if base := b.fresh[p.object(b.t, r)]; base != nil && r.Final == 0 {
		base.add(r, p.number(r))
	}
	return nil
}

// Missing implements Sink.
func (b *resetSink) Missing(o *Object, _ error) { b.missing[keyOf(o)] = true }

// Restarted implements Sink. The values come after it.
func (b *resetSink) Restarted(*Object, string) {}
