package columns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

// scanRows is how many rows a batch of a Scanner has at most: half a page.
const scanRows = pageRows / 2

// Match asks for rows with one value in a column: Text in a String column,
// Number in any other but a Map.
type Match struct {
	Column string
	Text   string
	Number int64
}

// Range says which rows are wanted; the zero value wants all. Bounds in the
// footer and the page index tell what need not be read, so conditions on the
// columns of the order save most.
type Range struct {
	// Match has to hold for every one of them.
	Match []Match
	// Column is a number column, and a row is wanted if its value is at least
	// From and below To. "" means no such condition.
	Column   string
	From, To int64
}

// ScanOptions say what a Scanner returns.
type ScanOptions struct {
	// Columns are the columns wanted, in that order; nil means all.
	Columns []string
	Where   Range
}

// Scanner returns the rows of a file in their order.
type Scanner struct {
	f       *File
	r       *pageReader
	o       ScanOptions
	wanted  []int // columns of the file to return
	read    []int // and to read: those, then those that only conditions need
	tests   []test
	cursors []cursor
	group   int
	spans   []span
	windows []window
	batch   Batch
	keep    []int32
	groups  int
	err     error
}

// span is some rows of a row group.
type span struct{ from, to int }

// window is the memory of one column of a batch.
type window struct {
	ints []int64
	null []bool
	ids  []int32
}

// test is a condition on a column.
type test struct {
	column   int // in Scanner.read
	text     bool
	value    string
	from, to int64 // inclusive
}

// Scan returns a Scanner over the file. An unknown column is an error of Next.
func (f *File) Scan(o ScanOptions) *Scanner {
	s := &Scanner{f: f, o: o, group: -1}
	s.err = s.prepare()
	return s
}

func (s *Scanner) prepare() error {
	columns := s.f.schema.Columns
	if s.o.Columns == nil {
		for i := range columns {
			s.wanted = append(s.wanted, i)
		}
	}
	for _, name := range s.o.Columns {
		i, err := s.f.schema.find(name)
		if err != nil {
			return err
		}
		s.wanted = append(s.wanted, i)
	}
	s.read = slices.Clone(s.wanted)
	for _, m := range s.o.Where.Match {
		t := test{value: m.Text, from: m.Number, to: m.Number}
		if err := s.addTest(m.Column, t); err != nil {
			return err
		}
	}
	if w := s.o.Where; w.Column != "" {
		i, err := s.f.schema.find(w.Column)
		if err != nil {
			return err
		}
		if columns[i].Type.text() {
			return fmt.Errorf("scan: a range of column %s, which has no numbers", quote(w.Column))
		}
		if w.From >= w.To {
			s.group = len(s.f.groups) // nothing is wanted
			return nil
		}
		if err := s.addTest(w.Column, test{from: w.From, to: w.To - 1}); err != nil {
			return err
		}
	}
	s.cursors = make([]cursor, len(s.read))
	s.windows = make([]window, len(s.read))
	r, err := newPageReader()
	s.r = r
	return err
}

// find returns the index of a column that has to be there.
func (s *Schema) find(name string) (int, error) {
	i := s.Index(name)
	if i < 0 {
		return 0, fmt.Errorf("no column %s", quote(name))
	}
	return i, nil
}

func (s *Scanner) addTest(column string, t test) error {
	i, err := s.f.schema.find(column)
	if err != nil {
		return err
	}
	typ := s.f.schema.Columns[i].Type
	if typ == Map {
		return fmt.Errorf("scan: a condition on column %s, which is a map", quote(column))
	}
	t.text = typ == String
	if t.column = slices.Index(s.read, i); t.column < 0 {
		t.column = len(s.read)
		s.read = append(s.read, i)
	}
	s.tests = append(s.tests, t)
	return nil
}

// Groups returns how many row groups were opened so far: the others could not
// have a wanted row.
func (s *Scanner) Groups() int { return s.groups }

// Next returns the next wanted rows, at least one, or io.EOF.
func (s *Scanner) Next(ctx context.Context) (*Batch, error) {
	for s.err == nil {
		if s.err = ctx.Err(); s.err != nil {
			break
		}
		if len(s.spans) == 0 {
			s.err = s.nextGroup()
			continue
		}
		var n int
		if n, s.err = s.fill(); s.err == nil && n > 0 {
			return &s.batch, nil
		}
	}
	return nil, s.err
}

// nextGroup opens the next row group that may have wanted rows.
func (s *Scanner) nextGroup() error {
	if s.group++; s.group >= len(s.f.groups) {
		return io.EOF
	}
	g := &s.f.groups[s.group]
	if g.rows == 0 || !s.mayMatch(g) {
		return nil
	}
	for i, c := range s.read {
		if err := s.cursors[i].open(s.r, s.f, g, c); err != nil {
			return s.fail(c, err)
		}
	}
	s.groups++
	s.spans = []span{{0, g.rows}}
	return nil
}

func (s *Scanner) fail(column int, err error) error {
	return &Error{Group: s.group, Column: s.f.schema.Columns[column].Name, Err: err}
}

// mayMatch tells by the bounds of a row group whether it can have wanted rows.
func (s *Scanner) mayMatch(g *group) bool {
	for _, t := range s.tests {
		c := &g.chunks[s.f.firstLeaf[s.read[t.column]]]
		if c.nulls == c.values || !t.mayMatch(c.typ, c.min, c.max) {
			return false
		}
	}
	return true
}

// mayMatch tells whether a value between two bounds in PLAIN form can pass the
// test. No bounds tell nothing.
func (t *test) mayMatch(typ format.Type, lowest, highest []byte) bool {
	if lowest == nil || highest == nil {
		return true
	}
	if t.text {
		return string(lowest) <= t.value && t.value <= string(highest)
	}
	lo, ok := number(typ, lowest)
	hi, ok2 := number(typ, highest)
	return !ok || !ok2 || lo <= t.to && hi >= t.from
}

// number returns a number in PLAIN form.
func number(typ format.Type, b []byte) (int64, bool) {
	switch {
	case typ == format.Int32 && len(b) == 4:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case typ == format.Int64 && len(b) == 8:
		return int64(binary.LittleEndian.Uint64(b)), true
	}
	return 0, false
}

// fill reads the next rows into the batch, and keeps those that are wanted.
func (s *Scanner) fill() (int, error) {
	sp := &s.spans[0]
	n := min(scanRows, sp.to-sp.from)
	s.batch.Columns = grow(s.batch.Columns, len(s.read))
	for i, c := range s.read {
		if err := s.cursors[i].vector(&s.batch.Columns[i], &s.windows[i], n); err != nil {
			return 0, s.fail(c, err)
		}
	}
	if sp.from += n; sp.from == sp.to {
		s.spans = s.spans[1:]
	}
	if len(s.tests) > 0 {
		if n = s.filter(n); n == 0 {
			return 0, nil
		}
	}
	s.batch.Rows = n
	s.batch.Columns = s.batch.Columns[:len(s.wanted)]
	return n, nil
}

// filter drops the rows that are not wanted and returns how many are left.
func (s *Scanner) filter(n int) int {
	s.keep = grow(s.keep, n)
	for i := range s.keep {
		s.keep[i] = int32(i)
	}
	for _, t := range s.tests {
		v := &s.batch.Columns[t.column]
		kept := s.keep[:0]
		for _, row := range s.keep {
			if t.pass(v, int(row)) {
				kept = append(kept, row)
			}
		}
		s.keep = kept
	}
	if len(s.keep) < n {
		for i := range s.wanted {
			s.batch.Columns[i].pick(s.keep)
		}
	}
	return len(s.keep)
}

// pass reports whether a row passes the test.
func (t *test) pass(v *Vector, row int) bool {
	if t.text {
		text, ok := v.Text(row)
		return ok && text == t.value
	}
	n, ok := v.Int(row)
	return ok && n >= t.from && n <= t.to
}

// pick keeps some rows, in ascending order.
func (v *Vector) pick(rows []int32) {
	v.Rows = len(rows)
	if v.Const || v.AllNull {
		return
	}
	for i, row := range rows {
		if v.Ints != nil {
			v.Ints[i] = v.Ints[row]
		}
		if v.IDs != nil {
			v.IDs[i] = v.IDs[row]
		}
		if v.Null != nil {
			v.Null[i] = v.Null[row]
		}
	}
	if v.Ints != nil {
		v.Ints = v.Ints[:len(rows)]
	}
	if v.IDs != nil {
		v.IDs = v.IDs[:len(rows)]
	}
	if v.Null != nil {
		v.Null = v.Null[:len(rows)]
	}
}

// vector reads the next n rows of a column.
func (c *cursor) vector(v *Vector, w *window, n int) error {
	*v = Vector{Rows: n}
	text := c.column.Type.text()
	if text {
		v.Texts = c.texts
	}
	var err error
	switch c.kind {
	case allNull:
		v.AllNull = true
	case constant:
		v.Const = true
		if text {
			v.IDs = append(w.ids[:0], 0)
			w.ids = v.IDs
		} else {
			v.Ints = append(w.ints[:0], c.ints[0])
			w.ints = v.Ints
		}
	case numbers:
		w.ints, w.null = grow(w.ints, n), grow(w.null, n)
		var nulls bool
		nulls, err = c.readInts(w.ints, w.null)
		if v.Ints = w.ints; nulls {
			v.Null = w.null
		}
	case maps:
		w.ids = grow(w.ids, n)
		err = c.readMaps(w.ids)
		v.IDs, v.Texts = w.ids, c.texts
	case indexes:
		w.ids = grow(w.ids, n)
		if err = c.readIndexes(w.ids); text {
			v.IDs = w.ids
		} else if err == nil {
			c.lookup(v, w)
		}
	}
	return err
}

// lookup turns indexes into the numbers of the dictionary.
func (c *cursor) lookup(v *Vector, w *window) {
	n := len(w.ids)
	w.ints, w.null = grow(w.ints, n), grow(w.null, n)
	nulls := false
	for i, id := range w.ids {
		if w.null[i] = id < 0; id < 0 {
			w.ints[i], nulls = 0, true
		} else {
			w.ints[i] = c.ints[id]
		}
	}
	if v.Ints = w.ints; nulls {
		v.Null = w.null
	}
}
