package policy

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"

	"acctpull/record"
)

// view is what the source linux knows of the objects of one record: the rows to
// make, the units they are made of, and what was read of those.
type view struct {
	objects []*Object
	rows    []viewRow // those of one object lie together, in the order of objects
	cells   []cell
	at      map[unitKey]int32
	index   map[objectKey]int32 // objects by key; nil until somebody asks
	resting map[unitKey]resting // units of earlier objects

	mu    sync.Mutex // held while the kernel is asked
	units []unit

	// Where what the kernel tells belongs.
	links    map[string]int32            // by name
	classes  map[int32]map[ClassID]int32 // by the unit of the link
	counters map[string]map[string]int32 // by table and name
	roots    bool                        // a root queueing discipline is wanted
	byIndex  map[int32]int32             // the unit of the link, by ifindex

	boot string // of the last collection
	now  string // the boot id of what the kernel says
	rec  record.Record
}

// resting is a unit that the objects of an earlier view had. A new configuration
// first asks for the objects that leave, and then for those that stay.
type resting struct {
	unit  unit
	views int // how many views have not had it
}

// maxResting is through how many views a unit is kept that none of them has.
const maxResting = 8

// viewRow is one row of one object.
type viewRow struct {
	objectRow
	object      int32
	first, last int32 // its cells
}

// cell is one counter of a row: the sum of up to two numbers.
type cell struct {
	field uint8
	n     uint8
	parts [2]cellPart
}

type cellPart struct {
	unit  int32
	at    uint8
	extra bool
}

// newView returns the view of a request.
func newView(req Request) *view {
	v := &view{
		objects: req.Objects, at: map[unitKey]int32{}, links: map[string]int32{}, classes: map[int32]map[ClassID]int32{},
		counters: map[string]map[string]int32{}, byIndex: map[int32]int32{},
	}
	rows := linuxRows(req.Record)
	var mine []objectRow
	for i, o := range req.Objects {
		mine = linuxObjectRows(mine[:0], rows, o)
		for _, r := range mine {
			v.add(int32(i), o, r)
		}
	}
	return v
}

// inherit takes over the last collection of the units of the view before, which
// may be nil.
func (v *view) inherit(old *view) {
	v.resting = map[unitKey]resting{}
	if old == nil {
		return
	}
	v.boot = old.boot
	for key, r := range old.resting {
		if r.views++; r.views < maxResting {
			v.resting[key] = r
		}
	}
	for i := range old.units {
		v.resting[old.units[i].key] = resting{unit: old.units[i]}
	}
	for i := range v.units {
		key := v.units[i].key
		if r, ok := v.resting[key]; ok {
			v.units[i] = r.unit
			delete(v.resting, key)
		}
	}
}

// epoch tells from what the counters of an object count.
func (v *view) epoch(k objectKey) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.index == nil {
		v.index = make(map[objectKey]int32, len(v.objects))
		for i, o := range v.objects {
			v.index[keyOf(o)] = int32(i)
		}
	}
	object, ok := v.index[k]
	if !ok || v.now == "" {
		return ""
	}
	first, _ := slices.BinarySearchFunc(v.rows, object, func(r viewRow, at int32) int { return cmp.Compare(r.object, at) })
	sum := fnv.New64a()
	for _, r := range v.rows[first:] {
		if r.object != object {
			break
		}
		for _, c := range v.cells[r.first:r.last] {
			for _, p := range c.parts[:c.n] {
				if u := &v.units[p.unit]; !p.extra {
					fmt.Fprintf(sum, "%s %d\n", u.key, u.id) // a hash takes everything
				}
			}
		}
	}
	return fmt.Sprintf("boot %s, counters %016x", v.now, sum.Sum64())
}

// of tells whether the view is that of these objects.
func (v *view) of(objects []*Object) bool { return slices.Equal(v.objects, objects) }

func (v *view) add(object int32, o *Object, r objectRow) {
	first := len(v.cells)
	var buf [2]ref
	for i := range r.row.fields {
		f := &r.row.fields[i]
		if !f.counter {
			continue
		}
		c := cell{field: uint8(i)}
		for _, ref := range o.refs(buf[:0], r.row.scope, r.row.egress, r.member, f.meaning) {
			c.parts[c.n] = cellPart{v.unit(ref.unitKey), ref.at, ref.extra}
			c.n++
		}
		if c.n > 0 {
			v.cells = append(v.cells, c)
		}
	}
	v.rows = append(v.rows, viewRow{r, object, int32(first), int32(len(v.cells))})
}

// unit returns the unit with the key.
func (v *view) unit(k unitKey) int32 {
	if at, ok := v.at[k]; ok {
		return at
	}
	at := int32(len(v.units))
	v.at[k] = at
	v.units = append(v.units, unit{key: k})
	switch k.kind {
	case linkUnit:
		v.links[k.name] = at
	case rootUnit:
		v.roots = true
		v.unit(unitKey{kind: linkUnit, name: k.name}) // for its ifindex
	case classUnit:
		link := v.unit(unitKey{kind: linkUnit, name: k.name})
		if v.classes[link] == nil {
			v.classes[link] = map[ClassID]int32{}
		}
		v.classes[link][k.class] = at
	case counterUnit:
		if v.counters[k.name] == nil {
			v.counters[k.name] = map[string]int32{}
		}
		v.counters[k.name][k.counter] = at
	}
	return at
}

// begin forgets what the kernel said.
func (v *view) begin() {
	for i := range v.units {
		u := &v.units[i]
		u.id, u.now, u.renamed = 0, counts{}, ""
	}
}

// finals hands out the final records, one for each time that everything a row is
// made of went away.
func (v *view) finals(ctx context.Context, out Sink) error {
	for i := range v.rows {
		r := &v.rows[i]
		for n := range v.endings(r) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			v.fill(r, func(p cellPart) (uint64, bool) {
				u := &v.units[p.unit]
				if n >= len(u.ended) {
					return 0, p.extra
				}
				return u.ended[n].n[p.at], u.ended[n].has(p.at) || p.extra
			})
			v.rec.Final = n + 1
			if err := out.Record(&v.rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// endings returns how often everything that the row is made of went away.
func (v *view) endings(r *viewRow) int {
	n := -1
	for _, c := range v.cells[r.first:r.last] {
		for _, p := range c.parts[:c.n] {
			if ended := len(v.units[p.unit].ended); !p.extra && (n < 0 || ended < n) {
				n = ended
			}
		}
	}
	return max(n, 0)
}

// records hands out the records of what is there.
func (v *view) records(ctx context.Context, out Sink) error {
	rows := v.rows
	for i, o := range v.objects {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := 0
		for n < len(rows) && rows[n].object == int32(i) {
			n++
		}
		why, missing := v.news(rows[:n])
		if why != "" {
			out.Restarted(o, why)
		}
		if missing != nil {
			out.Missing(o, missing)
		}
		for j := range rows[:n] {
			if !v.fill(&rows[j], v.current) {
				continue
			}
			if err := out.Record(&v.rec); err != nil {
				return err
			}
		}
		rows = rows[n:]
	}
	return nil
}

// news returns why the counters of an object began again, and what of it is
// missing: of both the first.
func (v *view) news(rows []viewRow) (why string, missing error) {
	if len(rows) == 0 {
		return "", errNothing
	}
	for _, c := range v.cells[rows[0].first:rows[len(rows)-1].last] {
		for _, p := range c.parts[:c.n] {
			u := &v.units[p.unit]
			if why == "" {
				why = u.why
			}
			if missing == nil && !p.extra {
				missing = u.missing()
			}
		}
	}
	return why, missing
}

func (v *view) current(p cellPart) (uint64, bool) {
	u := &v.units[p.unit]
	return u.now.n[p.at], u.id != 0 && u.now.has(p.at) || p.extra
}

// fill makes the record of a row. It returns false if no counter of it is known.
func (v *view) fill(r *viewRow, number func(cellPart) (uint64, bool)) bool {
	r.row.fillKeys(&v.rec, v.objects[r.object], r.member)
	any := false
	for _, c := range v.cells[r.first:r.last] {
		sum, ok := uint64(0), true
		for _, p := range c.parts[:c.n] {
			n, known := number(p)
			sum, ok = sum+n, ok && known
		}
		if ok {
			v.rec.Values[c.field] = record.Num(sum)
			any = true
		}
	}
	return any
}
