package columns

import (
	"math"
	"slices"
)

// This file merges runs. A window of rows of every run is in memory, all windows
// of a column in one slab, so that a row is one index into every slab. A key of
// one or two words stands for its place in the order. Rows that no unread row can
// precede are sorted by their keys, which costs a few nanoseconds a row whatever
// the number of runs, and gathered column by column.

// How many rows a window has: as many as keep the slabs in the caches.
const (
	smallWindow = 128
	slabRows    = 64 << 10
)

// signBit turns the order of signed numbers into that of unsigned ones.
const signBit = 1 << 63

// merge is a merge of runs that are all open at once.
type merge struct {
	r      *pageReader
	runs   []openRun
	live   []*openRun // that have rows left, in the order of runs
	read   []slab     // the columns wanted, then those that only the order needs
	wanted int
	fields []keyField
	keys   [][]uint64   // of the rows in the slabs, word by word
	onRead func(*Batch) // is given every window, if it is set
	origin []int32      // the same: their inputs
	sorter keySort
	at     int  // in sorter.refs
	single bool // they are of one run, in the order of its window
	batch  Batch
	origs  []int32
	out    []window
	idx    []int32 // scratch
	null   []bool  // scratch
}

// slab is a column of a merge.
type slab struct {
	Column
	texts *interner // of a String or Map column
	kind  slabKind
	value int64 // if kind is slabConst: the number or the id of the text
	ints  []int64
	null  []bool // nil as long as no number is NULL
	ids   []int32
}

// slabKind says what all rows of a column have in common so far.
type slabKind uint8

const (
	slabEmpty slabKind = iota // no row yet
	slabNull
	slabConst
	slabFull
)

// openRun is a run with a window of its rows.
type openRun struct {
	run
	base, size int // its place in the slabs
	pos        int // in groups: the next to open
	left       int // rows of the open group that were not read
	at, n      int // rows of the window that were returned, and all of them
	cursors    []cursor
	local      [][]int32 // of each column: ids of the texts of the group's dictionary
	place      [][]uint64
	always     []uint64 // what columns that are constant in the group add to each key
	last       []uint64 // key of the last row of the window before
	begun      bool     // last is set
	inputs     cursor   // reads the inputs of the rows, if origin
	window     window
}

// newMerge readies a merge: it reads the dictionaries of the order's columns.
func newMerge(runs []run, columns, order []string, memory int) (*merge, error) {
	r, err := newPageReader()
	if err != nil {
		return nil, err
	}
	m := &merge{r: r, wanted: len(columns)}
	if len(runs) == 0 {
		return m, nil
	}
	names := slices.Clone(columns)
	for _, name := range order {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	schema := &runs[0].file.schema
	for _, name := range names {
		s := slab{Column: schema.Columns[schema.Index(name)]}
		if s.Type.text() {
			s.texts = newInterner()
		}
		m.read = append(m.read, s)
	}
	for _, name := range order {
		if err := m.addField(runs, slices.Index(names, name)); err != nil {
			return nil, err
		}
	}
	m.place(runs, memory)
	return m, nil
}

// addField ranks all values of a column of the order.
func (m *merge) addField(runs []run, column int) error {
	s := &m.read[column]
	f := keyField{column: column, texts: s.texts}
	seen := map[int64]bool{}
	var c cursor
	for i := range runs {
		r := &runs[i]
		at := r.file.schema.Index(s.Name)
		for _, g := range r.groups {
			if err := c.open(m.r, r.file, &r.file.groups[g], at); err != nil {
				return r.fail(g, s.Name, err)
			}
			for _, t := range c.texts {
				f.texts.id(t)
			}
			if c.kind == numbers {
				f.raw = true
			}
			for _, v := range c.ints {
				if !seen[v] {
					seen[v] = true
					f.numbers = append(f.numbers, v)
				}
			}
		}
	}
	if f.texts != nil {
		f.texts.sort()
		f.count = len(f.texts.texts)
	}
	slices.Sort(f.numbers)
	m.fields = append(m.fields, f)
	return nil
}

func (r *run) fail(group int, column string, err error) error {
	return &InputError{Input: int(r.input), Err: &Error{Group: group, Column: column, Err: err}}
}

// place gives every run its part of the slabs.
func (m *merge) place(runs []run, memory int) {
	words := layKeys(m.fields)
	rows := min(slabRows, memory/3/(rowCost*(len(m.read)+words+1))) / len(runs)
	rows = min(max(rows/deltaMini*deltaMini, smallWindow), scanRows)
	m.runs = make([]openRun, len(runs))
	total := 0
	for i, r := range runs {
		largest := 0
		for _, g := range r.groups {
			largest = max(largest, r.file.groups[g].rows)
		}
		o := &m.runs[i]
		*o = openRun{
			run: r, base: total, size: min(rows, largest), always: make([]uint64, words), last: make([]uint64, words),
			cursors: make([]cursor, len(m.read)), local: make([][]int32, len(m.read)), place: make([][]uint64, len(m.fields)),
		}
		total += o.size
		m.live = append(m.live, o)
	}
	for range words {
		m.keys = append(m.keys, make([]uint64, total))
	}
	m.origin = make([]int32, total)
	m.out = make([]window, m.wanted)
	m.batch.Columns = make([]Vector, m.wanted)
	m.idx, m.null = make([]int32, rows), make([]bool, rows)
}

// more reports whether there are rows behind the window.
func (o *openRun) more() bool { return o.left > 0 || o.pos < len(o.groups) }

// refill reads the next window of a run.
func (m *merge) refill(o *openRun) error {
	if o.n > 0 {
		for w := range m.keys {
			o.last[w] = m.keys[w][o.base+o.n-1]
		}
		o.begun = true
	}
	if o.left == 0 {
		if err := m.openGroup(o); err != nil {
			return err
		}
	}
	o.at, o.n = 0, min(o.size, o.left)
	o.left -= o.n
	for w := range m.keys {
		fill(m.keys[w][o.base:o.base+o.n], o.always[w])
	}
	for i := range m.read {
		if err := m.readColumn(o, i); err != nil {
			return o.fail(o.groups[o.pos-1], m.read[i].Name, err)
		}
	}
	if m.onRead != nil && !o.origin {
		m.onRead(m.view(o))
	}
	if err := m.readOrigin(o); err != nil {
		return o.fail(o.groups[o.pos-1], originColumn, err)
	}
	if !m.ordered(o) {
		return o.fail(o.groups[o.pos-1], "", damaged("the rows are not in the order that it declares"))
	}
	return nil
}

// view returns the columns wanted of the window of a run.
func (m *merge) view(o *openRun) *Batch {
	b := &Batch{Rows: o.n, Columns: make([]Vector, m.wanted)}
	for i := range b.Columns {
		m.vector(&b.Columns[i], i, o.n)
		if m.read[i].kind == slabFull {
			m.read[i].cut(&b.Columns[i], o.base, o.base+o.n)
		}
	}
	return b
}

// ordered reports whether the rows of the window are in order, and behind those
// of the window before.
func (m *merge) ordered(o *openRun) bool {
	if len(m.keys) == 1 {
		last := uint64(0)
		if o.begun {
			last = o.last[0]
		}
		for _, k := range m.keys[0][o.base : o.base+o.n] {
			if k < last {
				return false
			}
			last = k
		}
		return true
	}
	for i := o.base; i < o.base+o.n; i++ {
		if i > o.base {
			if compareKeys(m.keys, uint32(i-1), uint32(i)) > 0 {
				return false
			}
		} else if o.begun {
			for w := range m.keys {
				if k := m.keys[w][i]; k != o.last[w] {
					if k < o.last[w] {
						return false
					}
					break
				}
			}
		}
	}
	return true
}

// openGroup opens the next row group of a run.
func (m *merge) openGroup(o *openRun) error {
	at := o.groups[o.pos]
	g := &o.file.groups[at]
	o.pos++
	o.left = g.rows
	for i := range m.read {
		s, c := &m.read[i], &o.cursors[i]
		if err := c.open(m.r, o.file, g, o.file.schema.Index(s.Name)); err != nil {
			return o.fail(at, s.Name, err)
		}
		o.local[i] = o.local[i][:0]
		m.number(o, i)
		value := int64(0)
		if c.kind == constant {
			if s.texts != nil {
				value = int64(o.local[i][0])
			} else {
				value = c.ints[0]
			}
		}
		m.settle(o, i, value)
	}
	if o.origin {
		if err := o.inputs.open(m.r, o.file, g, len(o.file.schema.Columns)-1); err != nil {
			return o.fail(at, originColumn, err)
		}
	}
	clear(o.always)
	for i := range m.fields {
		if !m.placeField(o, i) {
			return o.fail(at, m.read[m.fields[i].column].Name, damaged("the file changed while it was read"))
		}
	}
	return nil
}

// number extends the ids of a column's texts to all that the cursor knows.
func (m *merge) number(o *openRun, column int) {
	s, c := &m.read[column], &o.cursors[column]
	if s.texts == nil {
		return
	}
	s.texts.last = null
	for _, t := range c.texts[len(o.local[column]):] {
		o.local[column] = append(o.local[column], s.texts.id(t))
	}
	if c.kind != maps {
		c.texts = nil // the ids are enough
	}
}

// settle takes in that a column of a run begins with a row group: it stays
// constant or NULL if all are, and is filled otherwise.
func (m *merge) settle(o *openRun, column int, value int64) {
	s, kind := &m.read[column], o.cursors[column].kind
	want := slabFull
	switch kind {
	case allNull:
		want = slabNull
	case constant:
		want = slabConst
	}
	if s.kind == slabEmpty && want != slabFull {
		s.kind, s.value = want, value
	}
	if s.kind == want && (want == slabNull || want == slabConst && s.value == value) {
		return
	}
	if s.kind != slabFull {
		m.spread(s)
	}
	switch want {
	case slabNull:
		s.fill(o.base, o.base+o.size, 0, true)
	case slabConst:
		s.fill(o.base, o.base+o.size, value, false)
	}
}

// spread makes a slab full; all rows that there are have its value, or NULL.
func (m *merge) spread(s *slab) {
	n := len(m.origin)
	if s.texts != nil {
		s.ids = make([]int32, n)
	} else {
		s.ints = make([]int64, n)
	}
	if s.kind != slabEmpty {
		s.fill(0, n, s.value, s.kind == slabNull)
	}
	s.kind = slabFull
}

// fill gives some rows one value, or NULL.
func (s *slab) fill(from, to int, value int64, isNull bool) {
	switch {
	case s.texts != nil && isNull:
		fill(s.ids[from:to], null)
		return
	case s.texts != nil:
		fill(s.ids[from:to], int32(value))
		return
	case isNull && s.null == nil:
		s.null = make([]bool, len(s.ints))
	}
	if isNull {
		value = 0
	}
	fill(s.ints[from:to], value)
	if s.null != nil {
		fill(s.null[from:to], isNull)
	}
}

// readOrigin notes the inputs of the rows of the window.
func (m *merge) readOrigin(o *openRun) error {
	dst := m.origin[o.base : o.base+o.n]
	if !o.origin {
		fill(dst, o.input)
		return nil
	}
	var v Vector
	if err := o.inputs.vector(&v, &o.window, o.n); err != nil {
		return err
	}
	for i := range dst {
		n, _ := v.Int(i)
		if n < 0 || n > math.MaxInt32 {
			return damaged("input %d", n)
		}
		dst[i] = int32(n)
	}
	return nil
}
