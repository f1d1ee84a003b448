package columns

import "slices"

// This file reads the windows of runs into the slabs, and the keys of their rows.

// placeField makes what a field adds to the keys of the open group's rows: for
// each entry of the dictionary, or for all rows. It reports false if a value has
// no rank.
func (m *merge) placeField(o *openRun, field int) bool {
	f := &m.fields[field]
	c := &o.cursors[f.column]
	table := o.place[field][:0]
	for _, id := range o.local[f.column] {
		if int(id) >= f.count {
			return false
		}
		table = append(table, uint64(id+1)<<f.shift)
	}
	for _, v := range c.ints {
		if f.raw {
			table = append(table, uint64(v)^signBit)
			continue
		}
		rank, ok := slices.BinarySearch(f.numbers, v)
		if !ok {
			return false
		}
		table = append(table, uint64(rank+1)<<f.shift)
	}
	o.place[field] = table
	if c.kind == constant {
		o.always[f.word] |= table[0]
		if f.raw {
			o.always[f.nullAt.word] |= 1 << f.nullAt.shift
		}
	}
	return true
}

// readColumn reads the window of one column and adds it to the keys.
func (m *merge) readColumn(o *openRun, column int) error {
	s, c := &m.read[column], &o.cursors[column]
	field := slices.IndexFunc(m.fields, func(f keyField) bool { return f.column == column })
	from, to := o.base, o.base+o.n
	switch c.kind {
	case numbers:
		nulls, err := c.readInts(s.ints[from:to], m.null[:o.n])
		if err != nil {
			return err
		}
		if nulls && s.null == nil {
			s.null = make([]bool, len(s.ints))
		}
		if s.null != nil {
			copy(s.null[from:to], m.null)
		}
		if field >= 0 {
			m.addNumbers(&m.fields[field], s, from, to)
		}
	case maps:
		if err := c.readMaps(s.ids[from:to]); err != nil {
			return err
		}
		m.number(o, column)
		translate(s.ids[from:to], o.local[column])
	case indexes:
		idx := m.idx[:o.n]
		if s.texts != nil {
			idx = s.ids[from:to]
		}
		if err := c.readIndexes(idx); err != nil {
			return err
		}
		if field >= 0 {
			m.addIndexes(&m.fields[field], o.place[field], idx, from)
		}
		if s.texts != nil {
			translate(idx, o.local[column])
		} else {
			s.lookup(from, idx, c.ints)
		}
	}
	return nil
}

// translate makes ids of the column from indexes into a dictionary.
func translate(ids, local []int32) {
	for i, id := range ids {
		if id >= 0 {
			ids[i] = local[id]
		}
	}
}

// lookup makes numbers from indexes into a dictionary.
func (s *slab) lookup(at int, idx []int32, values []int64) {
	nulls := false
	dst := s.ints[at : at+len(idx)]
	for i, id := range idx {
		if id >= 0 {
			dst[i] = values[id]
		} else {
			dst[i], nulls = 0, true
		}
	}
	if nulls && s.null == nil {
		s.null = make([]bool, len(s.ints))
	}
	if s.null != nil {
		for i, id := range idx {
			s.null[at+i] = id < 0
		}
	}
}

// addIndexes adds a field to the keys of rows that have it by a dictionary.
func (m *merge) addIndexes(f *keyField, place []uint64, idx []int32, at int) {
	keys := m.keys[f.word][at : at+len(idx)]
	for i, id := range idx {
		if id >= 0 {
			keys[i] |= place[id]
		}
	}
	if f.raw {
		for i, id := range idx {
			if id >= 0 {
				m.keys[f.nullAt.word][at+i] |= 1 << f.nullAt.shift
			}
		}
	}
}

// addNumbers adds a raw field to the keys.
func (m *merge) addNumbers(f *keyField, s *slab, from, to int) {
	for i := from; i < to; i++ {
		if s.null == nil || !s.null[i] {
			m.keys[f.word][i] |= uint64(s.ints[i]) ^ signBit
			m.keys[f.nullAt.word][i] |= 1 << f.nullAt.shift
		}
	}
}
