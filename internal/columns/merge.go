package columns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// DefaultMemory is the memory of a Merger if MergeOptions.Memory is 0.
const DefaultMemory = 96 << 20

// orderKey is the metadata of a file whose rows are sorted from its first row
// group to its last, and orderFile its value.
const (
	orderKey  = "acctpull.order"
	orderFile = "file"
)

// MergeOptions say what a Merger returns.
type MergeOptions struct {
	// Columns are the columns wanted, in that order; nil means all.
	Columns []string
	// Order is the order of the rows: the first columns of that in which the
	// files are sorted. Nil means all of it.
	Order []string
	// Memory is about how much memory the inputs may take in bytes; 0 means
	// DefaultMemory. If they need more, some are merged into temporary files
	// first. The different texts of the order's columns come on top.
	Memory int
	// OnRead is given the rows of every input as they are read, once and in no
	// order of inputs, in the columns of the batches. It may be nil.
	OnRead func(*Batch)
	// Temp is the directory for temporary files, "" that of the system.
	Temp string
}

// Merger returns the rows of all inputs in one order, NULL first. Rows equal in
// it come in the order of the inputs, and in that of their file.
type Merger struct {
	files  []*File
	o      MergeOptions
	schema Schema // what is returned
	m      *merge
	temps  []*temp
	err    error
}

// Merge returns a Merger over files that have the same columns and are sorted in
// the same way. Nothing is read yet. Close releases what it holds.
func Merge(files []*File, o MergeOptions) (*Merger, error) {
	if len(files) == 0 {
		return nil, errors.New("merge: no files")
	}
	first := files[0].Schema()
	for i, f := range files {
		if !f.schema.Equal(first) {
			return nil, fmt.Errorf("merge: file %d has other columns, or another order, than the first", i)
		}
	}
	if o.Order == nil {
		o.Order = first.Sorted
	}
	if len(o.Order) == 0 || len(o.Order) > len(first.Sorted) || !slices.Equal(o.Order, first.Sorted[:len(o.Order)]) {
		return nil, fmt.Errorf("merge: order %q, the files are sorted by %q", o.Order, first.Sorted)
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Columns == nil {
		for _, c := range first.Columns {
			o.Columns = append(o.Columns, c.Name)
		}
	}
	x := &Merger{files: files, o: o}
	for _, name := range o.Columns {
		i, err := first.find(name)
		if err != nil {
			return nil, fmt.Errorf("merge: %w", err)
		}
		x.schema.Columns = append(x.schema.Columns, first.Columns[i])
	}
	for _, name := range o.Order {
		if !slices.Contains(o.Columns, name) {
			break
		}
		x.schema.Sorted = append(x.schema.Sorted, name)
	}
	return x, nil
}

// Schema returns the columns of the batches, and by which of them their rows are
// sorted. It must not be changed.
func (x *Merger) Schema() *Schema { return &x.schema }

// Next returns the next rows, at least one, or io.EOF.
func (x *Merger) Next(ctx context.Context) (*Batch, error) {
	if x.err == nil && x.m == nil {
		x.err = x.start(ctx)
	}
	if x.err == nil {
		x.err = ctx.Err()
	}
	if x.err != nil {
		return nil, x.err
	}
	b, err := x.m.next()
	x.err = err
	return b, err
}

// Close removes temporary files. The inputs stay open.
func (x *Merger) Close() error {
	x.m = nil
	if x.err == nil {
		x.err = errors.New("merge: closed")
	}
	var errs []error
	for _, t := range x.temps {
		errs = append(errs, t.close())
	}
	x.temps = nil
	return errors.Join(errs...)
}

// start merges in levels until what is left fits into the memory.
func (x *Merger) start(ctx context.Context) error {
	var runs []run
	for i, f := range x.files {
		runs = append(runs, runsOf(f, int32(i))...)
	}
	columns := x.o.Columns
	for _, name := range x.o.Order {
		if !slices.Contains(columns, name) {
			columns = append(slices.Clip(columns), name)
		}
	}
	for {
		parts := x.divide(runs, columns)
		if len(parts) <= 1 {
			break
		}
		merged := make([]run, 0, len(parts))
		for _, part := range parts {
			r, err := x.toTemp(ctx, part, columns)
			if err != nil {
				return err
			}
			merged = append(merged, r)
		}
		runs = merged
	}
	m, err := newMerge(runs, x.o.Columns, x.o.Order, x.o.Memory)
	if err != nil {
		return err
	}
	m.onRead, x.m = x.onRead(), m
	return nil
}

// onRead is OnRead for a merge, whose batches may have more columns.
func (x *Merger) onRead() func(*Batch) {
	if x.o.OnRead == nil {
		return nil
	}
	return func(b *Batch) {
		b.Columns = b.Columns[:len(x.o.Columns)]
		x.o.OnRead(b)
	}
}

// divide cuts runs into parts that fit into the memory each; a part has two at
// least, or the parts would not become fewer.
func (x *Merger) divide(runs []run, columns []string) [][]run {
	var parts [][]run
	first, cost := 0, 0
	for i, r := range runs {
		c := r.cost(columns)
		if cost+c > x.o.Memory && i-first >= 2 {
			parts = append(parts, runs[first:i])
			first, cost = i, 0
		}
		cost += c
	}
	return append(parts, runs[first:])
}

// run is rows in one order: a row group, or all row groups of a file that says
// that they follow one another.
type run struct {
	file   *File
	groups []int
	input  int32
	origin bool // the last column of the file is the input of each row
}

// runsOf returns the runs of a file.
func runsOf(f *File, input int32) []run {
	var all []int
	for i, g := range f.groups {
		if g.rows > 0 {
			all = append(all, i)
		}
	}
	if v, _ := f.Metadata(orderKey); v == orderFile && len(all) > 0 {
		return []run{{file: f, groups: all, input: input}}
	}
	runs := make([]run, len(all))
	for i, g := range all {
		runs[i] = run{file: f, groups: []int{g}, input: input}
	}
	return runs
}

// What an open run costs: for each column that is not constant, beside a page,
// and for each entry of a page's dictionary.
const (
	columnCost = 4 << 10
	rowCost    = 8
)

// cost estimates the memory that the run takes while it is open.
func (r *run) cost(columns []string) int {
	worst := 0
	for _, i := range r.groups {
		g, sum := &r.file.groups[i], 0
		for _, name := range columns {
			at := r.file.firstLeaf[r.file.schema.Index(name)]
			c := &g.chunks[at]
			if c.size <= columnCost/16 {
				sum += columnCost / 16
				continue
			}
			page := c.size * pageRows / int64(max(g.rows, pageRows))
			if c.dictAt != 0 { // the whole dictionary, its texts and their numbers
				page += 4 * (c.dataAt - c.dictAt) * 2
			}
			sum += int(min(page, 4*c.size)) + columnCost + rowCost*min(g.rows, smallWindow)
		}
		worst = max(worst, sum)
	}
	return worst
}

// next returns the next rows of the merge.
func (m *merge) next() (*Batch, error) {
	if m.at == len(m.sorter.refs) {
		if err := m.segment(); err != nil {
			return nil, err
		}
		if len(m.sorter.refs) == 0 {
			return nil, io.EOF
		}
	}
	n := min(len(m.sorter.refs)-m.at, scanRows)
	m.gather(m.sorter.refs[m.at : m.at+n])
	m.at += n
	return &m.batch, nil
}
