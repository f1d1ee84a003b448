package policy

import (
	"context"
	"maps"
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

// ends tells whether the row of a closing entry ends with it. Rows of an object
// that stays with other counts end if they are beyond the new count; those of an
// object that is reset all end, and its new rows become its baseline. The rows
// that do not depend on the counter mode come twice.
func (e *entry) ends(k objectKey, p *rowPlaces, r *record.Record) bool {
	o := e.fates[k]
	switch {
	case o == nil:
		return true
	case e.fresh[k] == nil:
		return p.row.numbered() && p.number(r) > uint64(p.row.members(o))
	case r.Set.CounterMode != "" && r.Set.CounterMode != o.CounterMode.String():
		return true
	}
	return e.fresh[k].add(r, p.number(r)) && r.Set.CounterMode == ""
}

// departure is what a new configuration takes from a policy.
type departure struct {
	leave []*Object // objects that leave it, as they were
	stay  []stay    // objects that stay and lose rows
}

// stay is an object that stays in its policy and is not the same any more.
type stay struct {
	was, is *Object
	reset   bool // the counter mode has changed
}

func (d *departure) empty() bool { return len(d.leave)+len(d.stay) == 0 }

// dismiss writes the last values of what leaves the policy as an entry of its
// own. The caller holds busy.
func (w *worker) dismiss(ctx context.Context, now time.Time, d *departure) error {
	e := w.entry(ctx, now, now, len(d.leave)+len(d.stay))
	e.iv.Closing = true
	objects := append([]*Object(nil), d.leave...)
	e.fates, e.fresh = map[objectKey]*Object{}, baselines{}
	for _, s := range d.stay {
		k := keyOf(s.was)
		e.fates[k] = s.is
		objects = append(objects, s.was)
		if s.reset {
			e.fresh[k] = newBaseline(now)
			objects = append(objects, s.is)
		}
	}
	if e.writeErr = w.series.load(w.plan); e.writeErr == nil {
		err := w.c.o.Source.Sample(ctx, Request{At: now, Record: w.plan.Definition, Objects: objects, Closing: true}, e)
		w.series.install(e.fresh, err != nil, e.missing, w.c.o.Source)
		e.finish(err)
	} else {
		e.finish(nil)
	}
	for _, o := range d.leave {
		delete(w.missing, keyOf(o))
	}
	w.note(e)
	return e.iv.Err
}

// settle counts the ordinals on: after a whole collection they begin again.
func (s *series) settle(e *entry) {
	switch {
	case e.iv.Closing && e.iv.Err == nil:
		maps.Copy(s.finals, e.reached)
	case !e.iv.Closing && e.iv.Err == nil:
		clear(s.finals)
		s.complete()
	}
}
