package policy

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"acctpull/record"
)

// series is what is known of the rows of one record, whichever policy collects
// it: it outlives a policy that is restarted, or that gives its record to
// another one. It belongs to who holds the policy's worker.
type series struct {
	record record.Name
	places map[*record.RowSet]*rowPlaces
	finals map[objectKey]int // ordinals of the objects that ended since the last collection

	base  baselines          // what is subtracted from the counters
	dir   string             // where the baselines are kept; "" if nothing is
	gone  map[objectKey]bool // what is not to be taken from dir
	known bool               // what dir held is in base
	dirty bool               // base is not in dir
	stale map[string]bool    // where a copy lies that is out of date
	first map[objectKey]bool // the objects that were configured when the program began
	files *sync.Mutex
}

// seriesOf returns the series of a record.
func (c *Collector) seriesOf(name record.Name) *series {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.series[name]
	if s == nil {
		s = &series{record: name, places: map[*record.RowSet]*rowPlaces{}, finals: map[objectKey]int{}, base: baselines{}, gone: map[objectKey]bool{}, stale: map[string]bool{}, first: c.first, files: &c.files}
		c.series[name] = s
	}
	return s
}

// keys returns the identities of all objects of the set.
func (s *Set) keys() map[objectKey]bool {
	keys := make(map[objectKey]bool, len(s.c.Objects))
	for i := range s.c.Objects {
		keys[keyOf(&s.c.Objects[i])] = true
	}
	return keys
}

func (s *series) placesOf(set *record.RowSet) *rowPlaces {
	p := s.places[set]
	if p == nil {
		p = placesOf(set)
		s.places[set] = p
	}
	return p
}

// baselines are what the counters of objects held when they were reset. No
// kernel takes its counters back to zero when a counter mode changes, as the
// device does (7210 SAS, "Configuration Guidelines"), so the value of that
// moment is subtracted from then on.
type baselines map[objectKey]*baseline

// baseline is that of one object.
type baseline struct {
	at    time.Time // of the reset
	epoch string    // of the source's counters
	rows  []baselineRow
	// pending: the object could not be read at the reset; what a row holds
	// when it is read next is its baseline.
	pending bool
	trusted bool // epoch is that of the source
	ended   bool // the counters began again in this collection
}

// baselineRow is one row of an object.
type baselineRow struct {
	Sub      string          `json:"sub"`
	Scope    string          `json:"scope"`
	Mode     string          `json:"mode"`
	Member   uint64          `json:"member"`
	Counters []baselineValue `json:"counters"`
}

// baselineValue is what one counter held.
type baselineValue struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

func newBaseline(at time.Time) *baseline { return &baseline{at: at.UTC().Round(0), trusted: true} }

func (b *baseline) row(set *record.RowSet, member uint64) *baselineRow {
	i := slices.IndexFunc(b.rows, func(r baselineRow) bool {
		return r.Member == member && r.Sub == set.Sub && r.Scope == set.Scope && r.Mode == set.CounterMode
	})
	if i < 0 {
		return nil
	}
	return &b.rows[i]
}

// add makes the values of a record part of the baseline. It returns false if
// the row is there already.
func (b *baseline) add(r *record.Record, member uint64) bool {
	if b.row(r.Set, member) != nil {
		return false
	}
	row := baselineRow{Sub: r.Set.Sub, Scope: r.Set.Scope, Mode: r.Set.CounterMode, Member: member}
	for i := range r.Set.Fields {
		if f := &r.Set.Fields[i]; f.Role == record.Counter && r.Values[i].State == record.Number {
			row.Counters = append(row.Counters, baselineValue{f.Abbrev, r.Values[i].N})
		}
	}
	b.rows = append(b.rows, row)
	return true
}

// epochOf returns from what the source counts for an object, "" if it does not
// tell.
func (s *series) epochOf(source Source, k objectKey) string {
	e, ok := source.(Epocher)
	if !ok {
		return ""
	}
	o := &Object{Type: k.t, ID: k.id}
	switch k.t {
	case SDP:
		o.Service = k.under
	case SAA:
		o.Owner = k.under
	}
	return e.Epoch(s.record, o)
}

// install makes new baselines those of their objects. If the collection that
// read them ended early, what it did not come to is pending. An object that
// could not be read has none: its counters begin at zero when it comes back.
func (s *series) install(fresh baselines, early bool, missing map[objectKey]bool, source Source) {
	for k, b := range fresh {
		b.pending = early
		b.epoch = s.epochOf(source, k)
		delete(s.base, k)
		if !missing[k] {
			s.base[k] = b
		}
		s.dirty = true
	}
}

// restarted notes that the counters of an object began again at zero. What a
// source hands out of its last values before still has the baseline.
func (s *series) restarted(k objectKey) {
	if b := s.base[k]; b != nil {
		b.ended, s.dirty = true, true
	}
}

// complete ends a whole collection.
func (s *series) complete() {
	for k, b := range s.base {
		b.pending = false
		if b.ended {
			delete(s.base, k)
		}
	}
}

// forget drops the baselines of objects.
func (s *series) forget(keys ...objectKey) {
	for _, k := range keys {
		if !s.known {
			s.gone[k] = true
		}
		if s.base[k] != nil {
			delete(s.base, k)
			s.dirty = true
		}
	}
}

// clear drops all baselines, of a record that no policy has any more.
func (s *series) clear(was Plan) error {
	s.base, s.gone, s.dirty = baselines{}, map[objectKey]bool{}, false
	dir := s.dir
	if dir == "" {
		dir = baselineDir(was)
	}
	s.dir, s.known = "", false
	if dir == "" {
		return nil
	}
	s.files.Lock()
	defer s.files.Unlock()
	return removeBaselines(dir, s.record)
}

// subtract takes the baseline of an object off the copy of r in e.rec.
func (s *series) subtract(e *entry, k objectKey, p *rowPlaces, r *record.Record) {
	b := s.base[k]
	if b == nil || b.ended && r.Final == 0 {
		return
	}
	if !b.trusted && !b.ended {
		if epoch := s.epochOf(e.w.c.o.Source, k); epoch != b.epoch {
			s.drop(e, k, fmt.Sprintf("its counters are those of %q, its baseline is of %q", bounded(epoch), bounded(b.epoch)))
			return
		}
		b.trusted = true
	}
	row := b.row(r.Set, p.number(r))
	if row == nil {
		if !b.pending || r.Final > 0 {
			return
		}
		b.add(r, p.number(r))
		s.dirty = true
		row = b.row(r.Set, p.number(r))
	}
	if field := row.above(r); field != "" {
		if b.ended {
			return
		}
		s.drop(e, k, fmt.Sprintf("counter %s is below its baseline", field))
		return
	}
	for _, c := range row.Counters {
		if i := fieldOf(r.Set, c.Name); i >= 0 && r.Values[i].State == record.Number {
			e.rec.Values[i].N -= c.Value
		}
	}
}

// above returns a counter that is below the baseline, which means that it began
// again; "" if there is none.
func (row *baselineRow) above(r *record.Record) string {
	for _, c := range row.Counters {
		if i := fieldOf(r.Set, c.Name); i >= 0 && r.Values[i].State == record.Number && r.Values[i].N < c.Value {
			return c.Name
		}
	}
	return ""
}

func fieldOf(set *record.RowSet, name string) int {
	return slices.IndexFunc(set.Fields, func(f record.FieldDef) bool { return f.Abbrev == name })
}

// drop ends the baseline of an object whose counters began again unseen.
func (s *series) drop(e *entry, k objectKey, why string) {
	s.forget(k)
	e.iv.Restarted++
	i := slices.IndexFunc(e.w.plan.Objects, func(o *Object) bool { return keyOf(o) == k })
	if i >= 0 {
		e.w.object(e.w.plan.Objects[i], ObjectRestarted, why)
	}
}

// baselineDir returns where the baselines of a policy's record lie, "" if the
// policy stores nothing.
func baselineDir(plan Plan) string {
	if plan.File.ID == 0 {
		return ""
	}
	return filepath.Join(plan.File.Location, stateDir)
}

// load reads the baselines below the location of the plan's file-id, and takes
// those it has there if the policy has moved.
func (s *series) load(plan Plan) error {
	dir := baselineDir(plan)
	if dir == "" || s.known && s.dir == dir {
		return nil
	}
	found := baselines{}
	if !s.stale[dir] {
		s.files.Lock()
		var err error
		found, err = readBaselines(dir, s.record)
		s.files.Unlock()
		if err != nil {
			return err
		}
	}
	for k, b := range found {
		if s.gone[k] || !s.known && !s.first[k] {
			s.dirty = true // what left the configuration, also while no program ran
			continue
		}
		if mine := s.base[k]; mine == nil || mine.at.Before(b.at) {
			s.base[k] = b
		}
	}
	if s.known {
		s.stale[s.dir] = true
	}
	delete(s.stale, dir)
	clear(s.gone)
	s.dirty = s.dirty || s.known || len(found) != len(s.base)
	s.dir, s.known = dir, true
	return nil
}

// saveGone makes durable also what was forgotten before the baselines were read.
func (s *series) saveGone(plan Plan) error {
	if len(s.gone) > 0 {
		if err := s.load(plan); err != nil {
			return err
		}
	}
	return s.save()
}

// save makes the baselines durable if they have changed.
func (s *series) save() error {
	if !s.dirty || s.dir == "" {
		return nil
	}
	s.files.Lock()
	defer s.files.Unlock()
	live := baselines{}
	for k, b := range s.base {
		if !b.ended {
			live[k] = b
		}
	}
	if err := writeBaselines(s.dir, s.record, live); err != nil {
		return err
	}
	s.dirty = false
	for dir := range s.stale {
		// The old place may be a broken card: what stays there is removed
		// another time, and is not read again.
		if removeBaselines(dir, s.record) == nil {
			delete(s.stale, dir)
		}
	}
	return nil
}
