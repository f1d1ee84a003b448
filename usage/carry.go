package usage

import (
	"errors"
	"io"
	"slices"

	"acctpull/export"
	"acctpull/internal/columns"
)

// What the days before a day leave for it is a table of its own, the carry: the
// state of every series after its last row, sorted by device, keys, sub-record
// and scope. It has the columns of the record table that a state has, and three
// more.
const (
	colDoubtful = "doubtful"
	colStep     = "step_us"
	colOdd      = "odd_us"
)

// carrySuffix ends the name of a file with a carry.
const carrySuffix = ".carry"

// The columns of a carry; the keys and then the counters follow.
const (
	carryDevice = iota
	carrySub
	carryScope
	carryMode
	carrySemantics
	carryFinal
	carryStart
	carryEnd
	carryOverflow
	carrySource
	carrySourceHash
	carryDoubtful
	carryStep
	carryOdd
	carryKeys
)

var carryNames = [carryKeys]string{colDevice, colSub, colScope, colMode, colSemantics, colFinal, colStart, colEnd, colOverflow, colSource, colSourceHash, colDoubtful, colStep, colOdd}

// carryTexts are the columns of a carry that hold the texts of a row.
var carryTexts = [textKeys]int{carryDevice, carrySub, carryScope, carryMode, carrySemantics, carrySource, carrySourceHash}

func carrySchema(l *layout) columns.Schema {
	var s columns.Schema
	add := func(name string) {
		c := columns.Column{Name: name, Type: columns.Int64}
		if i := l.record.Index(name); i >= 0 {
			of := l.record.Columns[i]
			c.Type, c.Nullable = of.Type, of.Nullable
		}
		s.Columns = append(s.Columns, c)
	}
	for _, name := range carryNames {
		add(name)
	}
	s.Sorted = []string{colDevice}
	for _, k := range l.keys {
		add(k.name)
		s.Sorted = append(s.Sorted, k.name)
	}
	for _, name := range l.counters {
		add(name)
	}
	s.Sorted = append(s.Sorted, colSub, colScope)
	return s
}

// carryReader goes through a carry.
type carryReader struct {
	l     *layout
	texts *texts
	from  rowSource
	batch *columns.Batch // nil at the end
	at    int            // the row that is next
	state State
	row   row
}

// newCarryReader stands before the first row. A day without a carry has a nil
// source.
func newCarryReader(l *layout, t *texts, from rowSource) (*carryReader, error) {
	r := &carryReader{l: l, texts: t, from: from, row: newRow(l)}
	if from == nil {
		return r, nil
	}
	return r, r.load()
}

func newRow(l *layout) row {
	return row{Point: Point{Values: make([]uint64, len(l.counters)), Present: make([]uint64, l.words)}, text: make([]int32, l.texts), nums: make([]number, l.nums)}
}

// load gets the next batch.
func (r *carryReader) load() error {
	for {
		b, err := r.from.next()
		if errors.Is(err, io.EOF) {
			r.batch = nil
			return nil
		}
		if err != nil {
			return err
		}
		if r.batch, r.at = b, 0; b.Rows > 0 {
			return nil
		}
	}
}

// step goes to the next row.
func (r *carryReader) step() error {
	if r.at++; r.at < r.batch.Rows {
		return nil
	}
	return r.load()
}

// compare orders the row by the group that a row belongs to.
func (r *carryReader) compare(w *row) int {
	v := r.batch.Columns
	of := r.texts.of
	if c := cellOf(&v[carryDevice], r.at).compare(of[textDevice].cell(w.text[textDevice])); c != 0 {
		return c
	}
	for i := range r.l.keys {
		k, c := &r.l.keys[i], 0
		if k.text >= 0 {
			c = cellOf(&v[carryKeys+i], r.at).compare(of[k.text].cell(w.text[k.text]))
		} else {
			c = numberOf(&v[carryKeys+i], r.at).compare(w.nums[k.num])
		}
		if c != 0 {
			return c
		}
	}
	return cellOf(&v[carrySub], r.at).compare(of[textSub].cell(w.text[textSub]))
}

// read returns the row, its texts numbered, and its state. Both are valid until
// the next call.
func (r *carryReader) read() (*row, *State, error) {
	v, w := r.batch.Columns, &r.row
	id := func(text, column int) int32 {
		if t, ok := v[column].Text(r.at); ok {
			return r.texts.of[text].id(t)
		}
		return -1
	}
	for t, c := range carryTexts {
		w.text[t] = id(t, c)
	}
	for i := range r.l.keys {
		if k := &r.l.keys[i]; k.text >= 0 {
			w.text[k.text] = id(k.text, carryKeys+i)
		} else {
			w.nums[k.num] = numberOf(&v[carryKeys+i], r.at)
		}
	}
	final, _ := v[carryFinal].Int(r.at)
	w.Final = int32(final)
	var ok bool
	if w.Start, ok = v[carryStart].Int(r.at); !ok {
		w.Start = NoTime
	}
	w.End, _ = v[carryEnd].Int(r.at)
	w.Semantics = ParseSemantics(r.texts.of[textSemantics].text(w.text[textSemantics]))
	w.Mode = r.texts.of[textMode].text(w.text[textMode])
	w.Source = r.texts.source(w.text[textSource], w.text[textSourceHash])
	clear(w.Present)
	for c := range r.l.counters {
		n, ok := v[carryKeys+len(r.l.keys)+c].Int(r.at)
		if w.Values[c] = uint64(n); ok {
			w.Present[c/64] |= 1 << (c % 64)
		}
	}
	if text, ok := v[carryOverflow].Text(r.at); ok {
		if err := readOverflow(r.l, text, &w.Point); err != nil {
			return nil, nil, err
		}
	}
	doubtful, _ := v[carryDoubtful].Int(r.at)
	r.state = State{Last: w.Point, Doubtful: doubtful != 0}
	r.state.Step, _ = v[carryStep].Int(r.at)
	r.state.Odd, _ = v[carryOdd].Int(r.at)
	return w, &r.state, nil
}

// carryWriter writes the carry of a day.
type carryWriter struct {
	l        *layout
	texts    *texts
	rows     *gatherer
	counters []int
}

func newCarryWriter(l *layout, t *texts, sink rowSink) *carryWriter {
	w := &carryWriter{l: l, texts: t}
	for c := range l.counters {
		w.counters = append(w.counters, carryKeys+len(l.keys)+c)
	}
	w.rows = newGatherer(sink, &l.carry, func(column string) *interner {
		if column == colOverflow {
			return &t.maps
		}
		if i := slices.Index(carryNames[:], column); i >= 0 {
			return &t.of[slices.Index(carryTexts[:], i)]
		}
		return &t.of[l.keys[slices.IndexFunc(l.keys, func(k key) bool { return k.name == column })].text]
	})
	return w
}

// write writes the state of a series: group is a row of its group, and scope the
// number of its scope.
func (w *carryWriter) write(group *row, scope int32, s *State) error {
	g, of, p := w.rows, w.texts.of, &s.Last
	if err := g.next(); err != nil {
		return err
	}
	g.text(carryDevice, group.text[textDevice])
	g.text(carrySub, group.text[textSub])
	g.text(carryScope, scope)
	if p.Mode != "" {
		g.text(carryMode, of[textMode].id(p.Mode))
	}
	g.text(carrySemantics, of[textSemantics].id(p.Semantics.String()))
	g.text(carrySource, p.Source.file)
	g.text(carrySourceHash, p.Source.hash)
	g.int(carryFinal, int64(p.Final))
	if p.Start != NoTime {
		g.int(carryStart, p.Start)
	}
	g.int(carryEnd, p.End)
	doubtful := int64(0)
	if s.Doubtful {
		doubtful = 1
	}
	g.int(carryDoubtful, doubtful)
	g.int(carryStep, s.Step)
	g.int(carryOdd, s.Odd)
	for i := range w.l.keys {
		if k := &w.l.keys[i]; k.text >= 0 {
			g.text(carryKeys+i, group.text[k.text])
		} else {
			g.number(carryKeys+i, group.nums[k.num])
		}
	}
	writeCounters(w.l, g, w.counters, carryOverflow, &w.texts.maps, p.Values, p.Present)
	return nil
}

// columnsOf is the schema of a table as its files have it.
func columnsOf(t *export.Table) columns.Schema {
	s := columns.Schema{Sorted: t.Sorted}
	for _, c := range t.Columns {
		s.Columns = append(s.Columns, columns.Column{Name: c.Name, Type: c.Type, Nullable: c.Nullable || c.Type == columns.Map})
	}
	return s
}
