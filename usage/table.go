package usage

import (
	"acctpull/internal/columns"
)

// batchRows is how many rows are gathered before they are written.
const batchRows = 8192

// firstRows is how many there is room for at first: many tables are small.
const firstRows = 128

// rowSink takes batches of rows.
type rowSink interface {
	WriteRows(*columns.Batch) error
}

// gatherer gathers rows of a table column by column and hands them on in
// batches. Every cell is NULL until it is set.
type gatherer struct {
	sink    rowSink
	columns []gathered
	have    int // rows there is room for
	rows    int // of the batch that is gathered; the last one is being filled
	batch   columns.Batch
	total   int64
}

// gathered is one column of a gatherer.
type gathered struct {
	ints  []int64
	null  []bool
	ids   []int32
	texts *interner // of a column of texts or maps
	set   int       // cells that are not NULL
}

func newGatherer(sink rowSink, schema *columns.Schema, texts func(column string) *interner) *gatherer {
	g := &gatherer{sink: sink, columns: make([]gathered, len(schema.Columns))}
	for i, c := range schema.Columns {
		col := &g.columns[i]
		if c.Type == columns.String || c.Type == columns.Map {
			col.texts = texts(c.Name)
		}
	}
	g.extend(firstRows)
	g.batch.Columns = make([]columns.Vector, len(schema.Columns))
	return g
}

// extend makes room for more rows.
func (g *gatherer) extend(rows int) {
	for i := range g.columns {
		c := &g.columns[i]
		if c.texts != nil {
			for len(c.ids) < rows {
				c.ids = append(c.ids, -1)
			}
			continue
		}
		for len(c.ints) < rows {
			c.ints, c.null = append(c.ints, 0), append(c.null, true)
		}
	}
	g.have = rows
}

func (c *gathered) clear(rows int) {
	for i := range c.ids[:min(rows, len(c.ids))] {
		c.ids[i] = -1
	}
	if len(c.ints) > 0 {
		clear(c.ints[:rows])
		for i := range c.null[:rows] {
			c.null[i] = true
		}
	}
	c.set = 0
}

// next begins a row.
func (g *gatherer) next() error {
	switch {
	case g.rows == batchRows:
		if err := g.flush(); err != nil {
			return err
		}
	case g.rows == g.have:
		g.extend(min(8*g.have, batchRows))
	}
	g.rows++
	g.total++
	return nil
}

// int sets a number of the row.
func (g *gatherer) int(column int, n int64) {
	c := &g.columns[column]
	c.ints[g.rows-1], c.null[g.rows-1] = n, false
	c.set++
}

// number sets a number of the row that may be NULL.
func (g *gatherer) number(column int, n number) {
	if n.ok {
		g.int(column, n.n)
	}
}

// text sets a text of the row by its number; a negative one is NULL.
func (g *gatherer) text(column int, id int32) {
	if id >= 0 {
		c := &g.columns[column]
		c.ids[g.rows-1] = id
		c.set++
	}
}

// flush hands on what was gathered. After it texts may be forgotten.
func (g *gatherer) flush() error {
	if g.rows == 0 {
		return nil
	}
	g.batch.Rows = g.rows
	for i := range g.columns {
		g.batch.Columns[i] = g.columns[i].vector(g.rows)
	}
	err := g.sink.WriteRows(&g.batch)
	for i := range g.columns {
		if g.columns[i].set > 0 {
			g.columns[i].clear(g.rows)
		}
	}
	g.rows = 0
	return err
}

func (c *gathered) vector(rows int) columns.Vector {
	v := columns.Vector{Rows: rows}
	switch {
	case c.set == 0:
		v.AllNull = true
	case c.texts != nil:
		v.IDs, v.Texts = c.ids[:rows], c.texts.texts
	default:
		v.Ints = c.ints[:rows]
		if c.set < rows {
			v.Null = c.null[:rows]
		}
	}
	if c.set == rows {
		// A column of one value costs the writer nothing per row.
		if v.IDs != nil && constant(v.IDs) {
			v.IDs, v.Const = v.IDs[:1], true
		} else if v.Ints != nil && constant(v.Ints) {
			v.Ints, v.Const = v.Ints[:1], true
		}
	}
	return v
}

// constant reports whether all values are the same.
func constant[T comparable](values []T) bool {
	for _, v := range values {
		if v != values[0] {
			return false
		}
	}
	return true
}
