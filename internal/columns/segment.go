package columns

// This file decides which rows of the windows come next, and gathers them.

// segment makes sorter.refs the rows that come next, none at the end: all rows
// in the windows that no row behind a window can precede.
func (m *merge) segment() error {
	m.sorter.refs, m.at = m.sorter.refs[:0], 0
	live := m.live[:0]
	for _, o := range m.live {
		if o.at == o.n {
			if !o.more() {
				*o = openRun{} // its buffers are the largest of what it holds
				continue
			}
			if err := m.refill(o); err != nil {
				return err
			}
		}
		live = append(live, o)
	}
	clear(m.live[len(live):])
	m.live = live
	limit, limited := m.limit()
	sorted, parts := true, 0
	for i, o := range m.live {
		to := o.n
		if limited >= 0 && i != limited {
			to = m.until(o, limit, i < limited)
		}
		if to == o.at {
			continue
		}
		refs := m.sorter.refs
		if parts++; parts > 1 && sorted {
			sorted = compareKeys(m.keys, refs[len(refs)-1], uint32(o.base+o.at)) <= 0
		}
		for row := o.base + o.at; row < o.base+to; row++ {
			refs = append(refs, uint32(row))
		}
		m.sorter.refs, o.at = refs, to
	}
	if m.single = parts == 1; !sorted {
		m.sorter.sort(m.keys)
	}
	return nil
}

// limit returns the last row in a window that rows of no other window with rows
// behind it can precede, and the index of its run in live, -1 if all rows are in
// the windows.
func (m *merge) limit() (ref uint32, at int) {
	at = -1
	for i, o := range m.live {
		if !o.more() {
			continue
		}
		if last := uint32(o.base + o.n - 1); at < 0 || compareKeys(m.keys, last, ref) < 0 {
			ref, at = last, i
		}
	}
	return ref, at
}

// until returns how many rows of the window come before the row limit, or are
// equal to it if equal is set.
func (m *merge) until(o *openRun, limit uint32, equal bool) int {
	before := func(row int) bool {
		c := compareKeys(m.keys, uint32(o.base+row), limit)
		return c < 0 || equal && c == 0
	}
	if before(o.n - 1) {
		return o.n
	}
	lo, hi := o.at, o.n-1
	for lo < hi {
		if mid := (lo + hi) / 2; before(mid) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// gather makes the batch of some rows.
func (m *merge) gather(refs []uint32) {
	n := len(refs)
	m.batch.Rows = n
	for i := range m.batch.Columns {
		v, s, w := &m.batch.Columns[i], &m.read[i], &m.out[i]
		m.vector(v, i, n)
		switch {
		case s.kind != slabFull:
		case m.single:
			s.cut(v, int(refs[0]), int(refs[0])+n)
		case s.texts != nil:
			w.ids = pick(w.ids, s.ids, refs)
			v.IDs = w.ids
		default:
			w.ints = pick(w.ints, s.ints, refs)
			if v.Ints = w.ints; s.null != nil {
				w.null = pick(w.null, s.null, refs)
				v.Null = w.null
			}
		}
	}
	m.origs = pick(m.origs, m.origin, refs)
	m.batch.Origin = m.origs
}

// vector begins a vector of a column; that is all if the slab is not full.
func (m *merge) vector(v *Vector, column, rows int) {
	s, w := &m.read[column], &m.out[column]
	*v = Vector{Rows: rows, AllNull: s.kind == slabNull, Const: s.kind == slabConst}
	if s.texts != nil {
		v.Texts = s.texts.texts
	}
	switch {
	case !v.Const:
	case s.texts != nil:
		w.ids = append(w.ids[:0], int32(s.value))
		v.IDs = w.ids
	default:
		w.ints = append(w.ints[:0], s.value)
		v.Ints = w.ints
	}
}

// cut makes the vector some rows that lie together.
func (s *slab) cut(v *Vector, from, to int) {
	if s.texts != nil {
		v.IDs = s.ids[from:to]
		return
	}
	v.Ints = s.ints[from:to]
	if s.null != nil {
		v.Null = s.null[from:to]
	}
}

// pick returns the values of some rows, in the memory of dst.
func pick[T any](dst, from []T, refs []uint32) []T {
	dst = grow(dst, len(refs))
	for i, ref := range refs {
		dst[i] = from[ref]
	}
	return dst
}
