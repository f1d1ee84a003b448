package columns

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// null stands for no value in an index.
const null = -1

// WriterOptions say how a Writer writes.
type WriterOptions struct {
	// CreatedBy is the writer's name in the footer.
	CreatedBy string
	// WholeOrder says that all rows come in the order of the schema, and not
	// only those of a row group: a Merger then takes the file as one input.
	WholeOrder bool
	// Encoder lends its buffers; nil means one of its own.
	Encoder *Encoder
}

// Writer writes a file from batches. It gathers row groups of GroupRows rows and
// writes them with the same encodings, bounds and page index as [ChunkWriter].
// Rows stay in the order they come in: who says in the schema that they are
// sorted has to bring them so.
type Writer struct {
	schema  Schema
	enc     *Encoder
	file    *ChunkWriter
	o       WriterOptions
	columns []gathered
	rows    int // gathered
	most    int // GroupRows but in tests
	err     error
}

// NewWriter begins a file in w, which it does not close. Errors come with the
// first use.
func NewWriter(w io.Writer, s Schema, o WriterOptions) *Writer {
	out := &Writer{schema: s, enc: o.Encoder, o: o, most: GroupRows, columns: make([]gathered, len(s.Columns))}
	if out.enc == nil {
		if out.enc, out.err = NewEncoder(); out.err != nil {
			return out
		}
	}
	for i, c := range s.Columns {
		out.columns[i].column = c
		out.columns[i].sorted = slices.Contains(s.Sorted, c.Name)
	}
	out.file = NewChunkWriter(w, &s, out.enc)
	return out
}

// Rows returns the number of rows written so far.
func (w *Writer) Rows() int64 {
	if w.file == nil {
		return 0
	}
	return w.file.Rows() + int64(w.rows)
}

// WriteRows adds the rows of a batch, whose columns are those of the schema. It
// keeps nothing of b.
func (w *Writer) WriteRows(b *Batch) error {
	if w.err == nil && len(b.Columns) != len(w.columns) {
		w.err = fmt.Errorf("write parquet: a batch of %d columns, want %d", len(b.Columns), len(w.columns))
	}
	for from := 0; from < b.Rows && w.err == nil; {
		to := min(b.Rows, from+w.most-w.rows)
		for i := range w.columns {
			if err := w.columns[i].add(&b.Columns[i], w.rows, from, to); err != nil {
				w.err = fmt.Errorf("write parquet, column %s: %w", quote(w.columns[i].column.Name), err)
				return w.err
			}
		}
		w.rows += to - from
		from = to
		if w.rows == w.most {
			w.flush()
		}
	}
	return w.err
}

// flush writes the gathered rows as a row group.
func (w *Writer) flush() {
	if w.rows == 0 || w.err != nil {
		return
	}
	if w.file.Groups() == MaxGroups {
		w.err = fmt.Errorf("write parquet: more than %d row groups", MaxGroups)
		return
	}
	w.file.BeginGroup(w.rows)
	for i := range w.columns {
		w.columns[i].write(w.file, w.rows)
		w.columns[i].reset()
	}
	w.err = w.file.EndGroup()
	w.rows = 0
}

// Close writes what is gathered and the footer, with the metadata in the order
// of its keys. It does not close the underlying writer.
func (w *Writer) Close(metadata map[string]string) error {
	w.flush()
	if w.err != nil {
		return w.err
	}
	pairs := make([]KeyValue, 0, len(metadata))
	for k, v := range metadata {
		pairs = append(pairs, KeyValue{k, v})
	}
	if w.o.WholeOrder {
		pairs = append(pairs, KeyValue{orderKey, orderFile})
	}
	slices.SortFunc(pairs, func(a, b KeyValue) int { return strings.Compare(a.Key, b.Key) })
	w.err = w.file.Finish(w.o.CreatedBy, pairs)
	if w.err == nil {
		w.err = errClosed
		return nil
	}
	return w.err
}

var errClosed = errors.New("write parquet: the file is closed")

// gathered is a column of the row group in the making. As long as all rows are
// NULL, or have the same value, there is nothing but that.
type gathered struct {
	column Column
	sorted bool // one of those by which rows are sorted
	full   bool // values are in ints or ids, row by row
	one    bool // all rows have ints[0] or ids[0]; neither: all are NULL
	ints   []int64
	nulls  bool   // some of ints is NULL
	null   []bool // as long as ints if nulls
	ids    []int32
	texts  []string // what ids point to
	index  map[string]int32
	known  []int32 // id of a text of the batch
	stamp  []uint32
	tick   uint32
	dict   Dictionary
	values []int64 // scratch: distinct numbers
}

func (g *gathered) reset() {
	g.full, g.one, g.nulls = false, false, false
	g.ints, g.null, g.ids = g.ints[:0], g.null[:0], g.ids[:0]
	clear(g.texts)
	g.texts = g.texts[:0]
	clear(g.index)
}

var (
	errNotNullable = errors.New("NULL in a column that has none")
	errShape       = errors.New("the vector does not fit the column or the number of rows")
	errWide        = errors.New("the number does not fit into 32 bits")
)

// add appends rows from..to of v to the have rows that there are.
func (g *gathered) add(v *Vector, have, from, to int) error {
	n := to - from
	switch {
	case v.AllNull:
	case g.column.Type.text() && len(v.IDs) < to && !(v.Const && len(v.IDs) == 1),
		!g.column.Type.text() && len(v.Ints) < to && !(v.Const && len(v.Ints) == 1),
		!v.Const && v.Null != nil && len(v.Null) < to:
		return errShape
	}
	if g.column.Type.text() {
		return g.addTexts(v, have, n, from, to)
	}
	return g.addInts(v, have, n, from, to)
}

func (g *gathered) addInts(v *Vector, have, n, from, to int) error {
	if v.AllNull && !g.column.Nullable {
		return errNotNullable
	}
	switch {
	case !g.full && v.AllNull && !g.one:
		return nil
	case !g.full && v.Const && (have == 0 || g.one && g.ints[0] == v.Ints[0]):
		g.ints, g.one = append(g.ints[:0], v.Ints[0]), true
		return g.checkWidth(v.Ints)
	}
	g.spread(have)
	at := len(g.ints)
	g.ints = extend(g.ints, n)
	switch {
	case v.AllNull:
		clear(g.ints[at:])
	case v.Const:
		fill(g.ints[at:], v.Ints[0])
	default:
		copy(g.ints[at:], v.Ints[from:to])
	}
	some := v.AllNull || !v.Const && v.Null != nil && slices.Contains(v.Null[from:to], true)
	if some && !g.column.Nullable {
		return errNotNullable
	}
	if some && !g.nulls {
		g.nulls = true
		g.null = extend(g.null[:0], at)
		clear(g.null)
	}
	if g.nulls {
		g.null = extend(g.null, n)
		switch {
		case v.AllNull:
			fill(g.null[at:], true)
		case some:
			copy(g.null[at:], v.Null[from:to])
		default:
			clear(g.null[at:])
		}
	}
	return g.checkWidth(g.ints[at:])
}

func (g *gathered) checkWidth(values []int64) error {
	if g.column.Type == Int32 {
		for _, v := range values {
			if int64(int32(v)) != v {
				return errWide
			}
		}
	}
	return nil
}

// spread makes the column full: a value for each of the rows there are.
func (g *gathered) spread(have int) {
	if g.full {
		return
	}
	g.full = true
	if g.column.Type.text() {
		id := int32(null)
		if g.one {
			id = g.ids[0]
		}
		g.ids = extend(g.ids[:0], have)
		fill(g.ids, id)
		return
	}
	v := int64(0)
	if g.one {
		v = g.ints[0]
	}
	g.ints = extend(g.ints[:0], have)
	fill(g.ints, v)
	if g.nulls = !g.one && have > 0; g.nulls {
		g.null = extend(g.null[:0], have)
		fill(g.null, true)
	}
}

// extend makes s longer by n; it has room for a row group at once.
func extend[T any](s []T, n int) []T {
	if cap(s)-len(s) < n {
		s = append(make([]T, 0, max(GroupRows, len(s)+n)), s...)
	}
	return s[:len(s)+n]
}

func (g *gathered) addTexts(v *Vector, have, n, from, to int) error {
	if v.AllNull && !g.column.Nullable {
		return errNotNullable
	}
	switch {
	case !g.full && v.AllNull && !g.one:
		return nil
	case !g.full && v.Const:
		id, err := g.textID(v, v.IDs[0])
		if err != nil {
			return err
		}
		if have == 0 || g.one && g.ids[0] == id {
			g.ids, g.one = append(g.ids[:0], id), true
			return nil
		}
	}
	g.spread(have)
	at := len(g.ids)
	g.ids = extend(g.ids, n)
	switch {
	case v.AllNull:
		fill(g.ids[at:], null)
	case v.Const:
		id, err := g.textID(v, v.IDs[0])
		if err != nil {
			return err
		}
		fill(g.ids[at:], id)
	default:
		return g.translate(g.ids[at:], v, v.IDs[from:to])
	}
	return nil
}

// textID returns the id of a text of v that is not NULL.
func (g *gathered) textID(v *Vector, id int32) (int32, error) {
	if id < 0 || int(id) >= len(v.Texts) {
		return 0, errShape
	}
	return g.intern(v.Texts[id]), nil
}

// intern returns the id of a text. A map without entries is NULL.
func (g *gathered) intern(s string) int32 {
	if g.column.Type == Map && s == "" {
		return null
	}
	id, ok := g.index[s]
	if !ok {
		if g.index == nil {
			g.index = map[string]int32{}
		}
		id = int32(len(g.texts))
		g.texts = append(g.texts, s)
		g.index[s] = id
	}
	return id
}

// translate makes ids of the group from those of a batch. A text is looked up
// once in a batch.
func (g *gathered) translate(dst []int32, v *Vector, ids []int32) error {
	if len(g.stamp) < len(v.Texts) {
		g.stamp = make([]uint32, 2*len(v.Texts))
		g.known = make([]int32, 2*len(v.Texts))
		g.tick = 0
	}
	if g.tick++; g.tick == 0 { // once in 2^32 batches
		clear(g.stamp)
		g.tick = 1
	}
	stamp := g.stamp[:len(v.Texts)]
	for i, id := range ids {
		if id < 0 {
			if !g.column.Nullable {
				return errNotNullable
			}
			dst[i] = null
			continue
		}
		if int(id) >= len(stamp) {
			return errShape
		}
		if stamp[id] != g.tick {
			stamp[id], g.known[id] = g.tick, g.intern(v.Texts[id])
		}
		dst[i] = g.known[id]
	}
	return nil
}

// write writes the column chunk.
func (g *gathered) write(f *ChunkWriter, rows int) {
	switch {
	case g.column.Type == Map:
		g.writeMaps(f, rows)
	case !g.full && !g.one:
		f.Null(rows)
	case g.column.Type == String:
		g.writeTexts(f, rows)
	default:
		g.writeInts(f, rows)
	}
}

func (g *gathered) writeTexts(f *ChunkWriter, rows int) {
	order := make([]int32, len(g.texts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return strings.Compare(g.texts[a], g.texts[b]) })
	g.dict.Reset(true)
	place := grow(g.known, len(order)) // the texts of the batch are forgotten
	g.known, g.stamp = place[:cap(place)], grow(g.stamp, cap(place))
	clear(g.stamp)
	for i, id := range order {
		g.dict.AddText(g.texts[id])
		place[id] = int32(i)
	}
	if !g.full {
		f.Constant(rows, g.dict.Plain(), g.dict.Bound(0))
		return
	}
	nulls := false
	for i, id := range g.ids {
		if id >= 0 {
			g.ids[i] = place[id]
		} else {
			nulls = true
		}
	}
	g.emit(f, rows, nulls)
}

// emit writes ids as indexes into dict.
func (g *gathered) emit(f *ChunkWriter, rows int, nulls bool) {
	switch {
	case g.dict.Len() == 0:
		f.Null(rows)
	case g.dict.Len() == 1 && !nulls:
		f.Constant(rows, g.dict.Plain(), g.dict.Bound(0))
	default:
		f.Indexed(&g.dict, g.ids)
	}
}

// writeInts writes numbers: counters as differences, where the encoder's NULL, a
// negative number, is none of them; everything else by a dictionary.
func (g *gathered) writeInts(f *ChunkWriter, rows int) {
	if g.full && g.column.Type == Int64 && !g.sorted && slices.Min(g.ints) >= 0 {
		for i, isNull := range g.null {
			if isNull {
				g.ints[i] = null
			}
		}
		f.Integers(g.ints)
		return
	}
	g.dictionary()
	if !g.full {
		f.Constant(rows, g.dict.Plain(), g.dict.Bound(0))
		return
	}
	g.ids = extend(g.ids[:0], rows)
	last, at := int64(math.MinInt64), int32(null)
	for i, v := range g.ints {
		switch {
		case g.nulls && g.null[i]:
			g.ids[i] = null
			continue
		case v != last || at < 0:
			j, _ := slices.BinarySearch(g.values, v)
			last, at = v, int32(j)
		}
		g.ids[i] = at
	}
	g.emit(f, rows, g.nulls)
}

// dictionary makes dict and values from the numbers.
func (g *gathered) dictionary() {
	g.values = g.values[:0]
	seen := map[int64]bool{}
	for i, v := range g.ints {
		if g.nulls && g.null[i] || i > 0 && v == g.ints[i-1] && !(g.nulls && g.null[i-1]) || seen[v] {
			continue
		}
		seen[v] = true
		g.values = append(g.values, v)
	}
	slices.SortFunc(g.values, cmp.Compare[int64])
	g.dict.Reset(false)
	for _, v := range g.values {
		if g.column.Type == Int32 {
			g.dict.AddInt32(int32(v))
		} else {
			g.dict.AddInt64(v)
		}
	}
}

func (g *gathered) writeMaps(f *ChunkWriter, rows int) {
	if g.one && !g.full {
		g.spread(rows)
	}
	e := Entries{Counts: make([]int32, len(g.ids))}
	for i, id := range g.ids {
		if id < 0 {
			continue
		}
		pairs := Pairs(g.texts[id])
		for _, p := range pairs {
			e.Keys, e.Values = append(e.Keys, p.Key), append(e.Values, p.Value)
		}
		e.Counts[i] = int32(len(pairs))
	}
	if len(e.Keys) == 0 {
		f.Null(rows)
		f.Null(rows)
		return
	}
	f.Maps(&e)
}
