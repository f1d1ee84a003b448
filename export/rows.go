package export

import (
	"math"
	"slices"
	"strconv"

	"acctpull/record"
)

// This file turns the values of one record into the cells of one row.

// object finds the number of the record's object. Most often it is the one that
// came after the last one in the interval before.
func (s *store) object(sh *shape, rec *record.Record) int32 {
	o := sh.ds.objects
	lbl := sh.label
	if lbl < 0 || sh.device != s.device {
		lbl = s.labelOf(sh, rec)
	}
	id := int32(null)
	if o.last >= 0 {
		id = o.heads[o.last].next
	}
	if id < 0 || o.heads[id].label != lbl || !s.sameKey(sh, rec, o.key(id)) {
		id = o.find(lbl, s.keyOf(sh, rec))
		if o.last >= 0 {
			o.heads[o.last].next = id
		}
	}
	o.last = id
	if rec.Final == 0 {
		h := &o.heads[id]
		switch {
		case h.seenIn != s.input || s.micros.end > s.names.intervals[h.seenAt].end:
			h.seenIn, h.seenAt = s.input, s.interval
		default:
			s.counts.repeated++
		}
	}
	return id
}

func (s *store) labelOf(sh *shape, rec *record.Record) int32 {
	n := s.names
	lbl := n.labelID(label{
		device: s.device, sub: n.optionalID(rec.Sub), scope: n.optionalID(rec.Set.Scope), mode: n.optionalID(rec.Set.CounterMode),
	})
	if !sh.loose {
		sh.label, sh.device = lbl, s.device
	}
	return lbl
}

// sameKey reports whether the key fields of rec are plainly those of key, which
// belongs to the same shape. False only means that keyOf has to tell.
func (s *store) sameKey(sh *shape, rec *record.Record, key []int32) bool {
	n := s.names
	for i := range sh.present {
		c := &sh.present[i]
		v, k := &rec.Values[c.value], key[c.column]
		switch {
		case k < 0 || (v.State == record.Number) != c.isNum:
			return false
		case c.isNum:
			if uint64(n.numbers.list[k]) != v.N {
				return false
			}
		case v.State != record.Text || n.texts.list[k] != v.Text:
			return false
		}
	}
	return !sh.loose
}

// keyOf returns the key columns of rec as ids, valid until the next call. What
// does not fit into its column becomes an extra.
func (s *store) keyOf(sh *shape, rec *record.Record) []int32 {
	s.key = s.key[:0]
	for i, column := range sh.ds.keys {
		at := null
		if sh.loose {
			at = sh.ds.field(rec.Set, column)
		} else {
			at = sh.keys[i]
		}
		id := int32(null)
		if at >= 0 {
			v := s.value(sh, rec, at, column)
			if id = int32(v); v >= 0 && sh.ds.objects.isNum[i] {
				id = s.names.numberID(v)
			}
		}
		s.key = append(s.key, id)
	}
	if sh.ds.def == nil {
		s.key[0] = s.names.optionalID(string(rec.Set.Record))
	}
	return s.key
}

// fill puts the cells of rec into the row at a place in the tail strips of its
// segment, and collects the extras.
func (s *store) fill(sh *shape, rec *record.Record, tail []*strip, at int) {
	if sh.loose {
		s.fillLoose(sh, rec, tail, at)
	} else {
		cells, values := sh.cells, rec.Values
		tail = tail[:len(cells)]
		for i := range cells {
			c := &cells[i]
			v := &values[c.value]
			n := int64(v.N)
			if v.State != record.Number || n < 0 || !c.isNum {
				n = s.value(sh, rec, c.value, c.column)
			}
			tail[i][uint(at)%stripRows] = n
		}
		for _, at := range sh.extra {
			s.unknown(rec.Set.Fields[at].Abbrev, &rec.Values[at])
		}
	}
	for _, p := range rec.Unknown {
		s.pair(extraUnknown, p.Name, p.Text)
	}
}

// fillLoose fills all columns that are no keys by name; other fields become
// extras.
func (s *store) fillLoose(sh *shape, rec *record.Record, tail []*strip, row int) {
	for i, c := range sh.cells {
		v := int64(null)
		if at := sh.ds.field(rec.Set, c.column); at >= 0 {
			v = s.value(sh, rec, at, c.column)
		}
		tail[i][row] = v
	}
	for at := range rec.Set.Fields {
		if _, ok := sh.ds.columnOf(&rec.Set.Fields[at]); !ok {
			s.unknown(rec.Set.Fields[at].Abbrev, &rec.Values[at])
		}
	}
}

// value returns a value in the form of its column: a number, a text id or null.
// What does not fit becomes an extra.
func (s *store) value(sh *shape, rec *record.Record, at, column int) int64 {
	v, c := &rec.Values[at], &sh.ds.table.Columns[column]
	isNum := c.Type == Int64
	switch {
	case v.State == record.Number && isNum && v.N <= math.MaxInt64:
		return int64(v.N)
	case v.State == record.Number && isNum:
		s.overflow(rec, c, v.N)
	case v.State == record.Number:
		return int64(s.names.textID(strconv.FormatUint(v.N, 10)))
	case v.State == record.Text && isNum:
		s.unknown(rec.Set.Fields[at].Abbrev, v)
	case v.State == record.Text:
		return int64(s.names.textID(v.Text))
	}
	return null
}

func (s *store) overflow(rec *record.Record, c *Column, n uint64) {
	text := strconv.FormatUint(n, 10)
	s.pair(extraOverflow, c.Name, text)
	s.counts.overflows++
	if len(s.counts.overflow) < maxOverflows {
		s.counts.overflow = append(s.counts.overflow, Overflow{
			Record: string(rec.Set.Record), Column: c.Name, Value: text, End: rec.End, Offset: rec.Offset,
		})
	}
}

// unknown keeps a value that has no column as text.
func (s *store) unknown(name string, v *record.Value) {
	switch v.State {
	case record.Number:
		s.pair(extraUnknown, name, strconv.FormatUint(v.N, 10))
	case record.Text:
		s.pair(extraUnknown, name, v.Text)
	case record.Empty:
		s.pair(extraUnknown, name, "")
	}
}

// pair adds an entry to a map of the row. A name that is there already gets a
// number, for the keys of a map are unique.
func (s *store) pair(kind byte, name, text string) {
	id := s.names.textID(name)
	for n := 2; slices.ContainsFunc(s.scratch, func(p extraPair) bool { return p.kind == kind && p.name == id }); n++ {
		id = s.names.textID(name + "#" + strconv.Itoa(n))
	}
	s.scratch = append(s.scratch, extraPair{kind, id, text})
}
