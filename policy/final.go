package policy

import (
	"context"
	"maps"
	"slices"
	"time"

	"acctpull/record"
)

// An object that leaves a policy gets last records: record.Record.Final is its
// ordinal among the objects of the same identity that ended since the last
// collection (NSP 24.4 statistics guide). A source that sees an object end
// hands such records out itself.

// rowPlaces are the places of the keys in the records of a row set.
type rowPlaces struct {
	id, service, owner, member int // -1 if the row set has no such key
	row                        row // how many rows of the set an object has
}

func placesOf(set *record.RowSet) *rowPlaces {
	p := &rowPlaces{id: -1, service: -1, owner: -1, member: -1}
	p.row, _ = newRow(set)
	for i := range set.Fields {
		switch f := &set.Fields[i]; {
		case f.Role != record.Key:
		case keyFields[f.Abbrev] == keyID:
			p.id = i
		case keyFields[f.Abbrev] == keyService:
			p.service = i
		case keyFields[f.Abbrev] == keyOwner:
			p.owner = i
		case keyFields[f.Abbrev] == keyMember:
			p.member = i
		}
	}
	return p
}

// object returns which object a record is about.
func (p *rowPlaces) object(t Type, r *record.Record) objectKey {
	k := objectKey{t: t}
	if p.id >= 0 {
		k.id = r.Values[p.id].Text
	}
	switch {
	case t == SDP && p.service >= 0:
		k.under = r.Values[p.service].Text
	case t == SAA && p.owner >= 0:
		k.under = r.Values[p.owner].Text
	}
	return k
}

// number returns the number of the meter or queue, 0 if there is none.
func (p *rowPlaces) number(r *record.Record) uint64 {
	if p.member < 0 {
		return 0
	}
	return r.Values[p.member].N
}

// adapt returns the record as it has to be written, nil if it has not: with its
// baseline subtracted and the ordinal of an object that ended.
func (e *entry) adapt(r *record.Record) *record.Record {
	s := e.w.series
	p := s.placesOf(r.Set)
	k := p.object(e.w.plan.Policy.Type, r)
	values := append(e.rec.Values[:0], r.Values...)
	e.rec = *r
	e.rec.Values = values
	switch {
	case r.Final > 0:
		if e.given == nil {
			e.given = map[objectKey]int{}
		}
		e.given[k] = max(e.given[k], r.Final)
		e.reach(k, s.finals[k]+r.Final)
	case e.iv.Closing:
		if !e.ends(k, p, r) {
			return nil
		}
		e.reach(k, s.finals[k]+e.given[k]+1)
	}
	s.subtract(e, k, p, r)
	return &e.rec
}

// reach makes e.rec the last values of the n-th object.
func (e *entry) reach(k objectKey, n int) {
	if e.reached == nil {
		e.reached = map[objectKey]int{}
	}
	e.reached[k] = max(e.reached[k], n)
	e.rec.Final = n
}

// fate is what becomes of an object that a closing entry is about.
type fate struct {
	is    *Object // the object as it will be; nil if it leaves
	only  bool    // nothing of it was collected: no record ends
	fresh *baseline
}

// ends tells whether a row of a closing entry is a last one. Rows of an object
// that stays with other counts end if they are beyond the new count; those of an
// object that is reset all end, and its new rows become its baseline. The rows
// that do not depend on the counter mode come twice then.
func (e *entry) ends(k objectKey, p *rowPlaces, r *record.Record) bool {
	f, ok := e.fates[k]
	switch {
	case !ok:
		return false // it goes on
	case f.is == nil:
		return true
	case f.fresh == nil:
		return p.row.numbered() && p.number(r) > uint64(p.row.members(f.is))
	case r.Set.CounterMode != "" && r.Set.CounterMode != f.is.CounterMode.String():
		return true
	}
	return f.fresh.add(r, p.number(r)) && r.Set.CounterMode == "" && !f.only
}

// departure is what a new configuration takes from a policy that has the record
// it had.
type departure struct {
	leave  []*Object // objects that leave it, as they were
	stay   []stay    // objects that stay and lose rows
	resets []*Object // objects that are reset and not collected any more, as they will be
}

// stay is an object that stays in its policy and is not the same any more.
type stay struct {
	was, is *Object
	reset   bool // the counter mode has changed
}

func (d *departure) empty() bool { return len(d.leave)+len(d.stay)+len(d.resets) == 0 }

// fates returns what becomes of the objects, and their new baselines.
func (d *departure) fates(now time.Time) (map[objectKey]fate, baselines) {
	fates, fresh := map[objectKey]fate{}, baselines{}
	for _, o := range d.leave {
		fates[keyOf(o)] = fate{}
	}
	for _, s := range d.stay {
		f := fate{is: s.is}
		if s.reset {
			f.fresh = newBaseline(now)
			fresh[keyOf(s.is)] = f.fresh
		}
		fates[keyOf(s.is)] = f
	}
	for _, o := range d.resets {
		k := keyOf(o)
		_, leaves := fates[k]
		fresh[k] = newBaseline(now)
		fates[k] = fate{is: o, only: !leaves, fresh: fresh[k]}
	}
	return fates, fresh
}

// dismiss writes the last values of what leaves the policy as an entry of its
// own, and takes the new baselines. It asks the source for the whole policy: a
// source compares with the collection before, and what else ended since then is
// told once. The caller holds busy.
func (w *worker) dismiss(ctx context.Context, now time.Time, d *departure) error {
	e := w.entry(ctx, now, now, len(d.leave)+len(d.stay))
	e.iv.Closing = true
	var fresh baselines
	e.fates, fresh = d.fates(now)
	plan := w.next()
	objects := slices.Clip(plan.Objects)
	for _, s := range d.stay {
		if s.reset {
			objects = append(objects, s.is)
		}
	}
	objects = append(objects, d.resets...)
	var err error
	if e.writeErr = w.series.load(plan); e.writeErr == nil {
		err = w.c.o.Source.Sample(ctx, Request{At: now, Record: plan.Definition, Objects: objects, Closing: true}, e)
		w.series.install(fresh, err != nil, e.missing, w.c.o.Source)
	}
	e.finish(err)
	for _, o := range d.leave {
		delete(w.missing, keyOf(o))
	}
	w.note(e)
	return e.iv.Err
}

// settle counts the ordinals on: after a whole collection they begin again.
func (s *series) settle(e *entry) {
	switch {
	case e.iv.Err != nil:
	case e.iv.Closing:
		maps.Copy(s.finals, e.reached)
	default:
		clear(s.finals)
		s.complete()
	}
}
