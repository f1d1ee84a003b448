package columns

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// The limits of what is read. They are far above what is written.
const (
	maxFooter    = 1 << 30
	maxGroupRows = 1 << 20
	maxPage      = 256 << 20
)

// File is a Parquet file that acctpull wrote. Only the footer is in memory.
// Several goroutines may use it at once, each with a Scanner of its own.
type File struct {
	r         io.ReaderAt
	size      int64
	schema    Schema
	leaves    []leaf
	firstLeaf []int // of each column
	groups    []group
	rows      int64
	metadata  []KeyValue
	createdBy string
}

// group is a row group.
type group struct {
	rows    int
	chunks  []chunkMeta // of each leaf
	sorting []int       // leaves
}

// chunkMeta is what the footer says of a column chunk.
type chunkMeta struct {
	typ          format.Type
	codec        format.CompressionCodec
	values       int64
	packed, size int64 // compressed and not
	dataAt       int64
	dictAt       int64
	indexAt      int64 // column index, 0 if there is none
	indexLen     int32
	offsetsAt    int64
	offsetsLen   int32
	nulls        int64
	min, max     []byte
}

// Open reads the footer of a file of a given size. It keeps r and does not close
// it. An error matches ErrDamaged unless reading failed.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	if err := f.open(); err != nil {
		return nil, &Error{Group: -1, Err: err}
	}
	return f, nil
}

func (f *File) open() error {
	const tail = 8
	if f.size < int64(len(parquetMagic))+tail {
		return damaged("%d bytes", f.size)
	}
	// The footer of a small file comes with the first read.
	end := make([]byte, min(f.size, 16<<10))
	if err := readAt(f.r, end, f.size-int64(len(end))); err != nil {
		return err
	}
	t := end[len(end)-tail:]
	n := int64(binary.LittleEndian.Uint32(t))
	if string(t[4:]) != parquetMagic || n > maxFooter || n > f.size-int64(len(parquetMagic))-tail {
		return damaged("no footer")
	}
	var footer []byte
	if n+tail <= int64(len(end)) {
		footer = end[int64(len(end))-tail-n : len(end)-tail]
	} else {
		footer = make([]byte, n)
		if err := readAt(f.r, footer, f.size-tail-n); err != nil {
			return err
		}
	}
	return f.parse(footer)
}

// readAt fills p.
func readAt(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF || err == nil:
		return damaged("it ends within the %d bytes at %d", len(p), at)
	}
	return err
}

// element is an entry of the schema as it stands in the footer.
type element struct {
	name       string
	typ        int32 // -1 if it is a group
	converted  int32 // -1 if there is none
	repetition int32
	children   int32
}

// parse reads the footer.
func (f *File) parse(footer []byte) error {
	r := &fields{b: footer}
	var elements []element
	rows := int64(-1)
	r.each(func(id int, typ byte) bool {
		switch {
		case id == 2 && typ == tList:
			r.list(tStruct, func() { elements = append(elements, r.element()) })
		case id == 3 && typ == tI64:
			rows = r.int()
		case id == 4 && typ == tList:
			r.list(tStruct, func() { f.groups = append(f.groups, r.group()) })
		case id == 5 && typ == tList:
			r.list(tStruct, func() { f.metadata = append(f.metadata, r.keyValue()) })
		case id == 6 && typ == tBinary:
			f.createdBy = string(r.bytes())
		default:
			return false
		}
		return true
	})
	if r.err != nil {
		return fmt.Errorf("%w: footer: %w", ErrDamaged, r.err)
	}
	if err := f.setSchema(elements); err != nil {
		return err
	}
	for i := range f.groups {
		if err := f.checkGroup(&f.groups[i]); err != nil {
			return &Error{Group: i, Err: err}
		}
		f.rows += int64(f.groups[i].rows)
	}
	if f.rows != rows {
		return damaged("%d rows, its row groups have %d", rows, f.rows)
	}
	return f.setSorted()
}

func (r *fields) keyValue() (kv KeyValue) {
	r.each(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tBinary:
			kv.Key = string(r.bytes())
		case id == 2 && typ == tBinary:
			kv.Value = string(r.bytes())
		default:
			return false
		}
		return true
	})
	return kv
}

func (r *fields) element() element {
	e := element{typ: -1, converted: -1}
	r.each(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tI32:
			e.typ = r.int32()
		case id == 3 && typ == tI32:
			e.repetition = r.int32()
		case id == 4 && typ == tBinary:
			e.name = string(r.bytes())
		case id == 5 && typ == tI32:
			e.children = r.int32()
		case id == 6 && typ == tI32:
			e.converted = r.int32()
		default:
			return false
		}
		return true
	})
	return e
}

func (r *fields) group() (g group) {
	r.each(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tList:
			r.list(tStruct, func() { g.chunks = append(g.chunks, r.chunk()) })
		case id == 3 && typ == tI64:
			n := r.int()
			if n < 0 || n > maxGroupRows {
				r.fail()
			}
			g.rows = int(n)
		case id == 4 && typ == tList:
			r.list(tStruct, func() { g.sorting = append(g.sorting, r.sorting()) })
		default:
			return false
		}
		return true
	})
	return g
}

// sorting returns the leaf of a sorting column, -1 if the order is not ours.
func (r *fields) sorting() int {
	leaf, ok := -1, true
	r.each(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tI32:
			leaf = int(r.int32())
		case id == 2 && typ == tTrue, id == 3 && typ == tFalse: // descending, NULL last
			ok = false
		default:
			return false
		}
		return true
	})
	if !ok {
		return -1
	}
	return leaf
}

func (r *fields) chunk() (c chunkMeta) {
	r.each(func(id int, typ byte) bool {
		switch {
		case id == 3 && typ == tStruct:
			r.columnMeta(&c)
		case id == 4 && typ == tI64:
			c.offsetsAt = r.int()
		case id == 5 && typ == tI32:
			c.offsetsLen = r.int32()
		case id == 6 && typ == tI64:
			c.indexAt = r.int()
		case id == 7 && typ == tI32:
			c.indexLen = r.int32()
		default:
			return false
		}
		return true
	})
	return c
}

func (r *fields) columnMeta(c *chunkMeta) {
	r.each(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tI32:
			c.typ = format.Type(r.int32())
		case id == 4 && typ == tI32:
			c.codec = format.CompressionCodec(r.int32())
		case id == 5 && typ == tI64:
			c.values = r.int()
		case id == 6 && typ == tI64:
			c.size = r.int()
		case id == 7 && typ == tI64:
			c.packed = r.int()
		case id == 9 && typ == tI64:
			c.dataAt = r.int()
		case id == 11 && typ == tI64:
			c.dictAt = r.int()
		case id == 12 && typ == tStruct:
			r.each(func(id int, typ byte) bool {
				switch {
				case id == 3 && typ == tI64:
					c.nulls = r.int()
				case id == 5 && typ == tBinary:
					c.max = r.bytes()
				case id == 6 && typ == tBinary:
					c.min = r.bytes()
				default:
					return false
				}
				return true
			})
		default:
			return false
		}
		return true
	})
}

// setSchema turns the schema elements into columns.
func (f *File) setSchema(elements []element) error {
	if len(elements) == 0 || elements[0].typ != -1 {
		return damaged("no schema")
	}
	columns := int(elements[0].children)
	seen := map[string]bool{}
	rest := elements[1:]
	for len(rest) > 0 {
		c, used, err := columnOf(rest)
		if err != nil {
			return err
		}
		if seen[c.Name] {
			return damaged("column %s twice", quote(c.Name))
		}
		seen[c.Name] = true
		rest = rest[used:]
		f.schema.Columns = append(f.schema.Columns, c)
		f.firstLeaf = append(f.firstLeaf, len(f.leaves))
		f.leaves = append(f.leaves, leavesOf(c)...)
	}
	if columns != len(f.schema.Columns) {
		return damaged("%d columns, its schema has %d", len(f.schema.Columns), columns)
	}
	return nil
}

// columnOf returns the column that begins with an element, and how many it takes.
func columnOf(e []element) (Column, int, error) {
	c := Column{Name: e[0].name, Nullable: e[0].repetition == int32(format.Optional)}
	switch typ, converted := format.Type(e[0].typ), deprecated.ConvertedType(e[0].converted); {
	case e[0].repetition != int32(format.Required) && !c.Nullable:
	case e[0].typ == -1:
		if converted == deprecated.Map && c.Nullable && len(e) >= 4 && isMap(e[:4]) {
			c.Type = Map
			return c, 4, nil
		}
	case typ == format.ByteArray && converted == deprecated.UTF8:
		c.Type = String
		return c, 1, nil
	case typ == format.Int32 && e[0].converted == -1:
		c.Type = Int32
		return c, 1, nil
	case typ == format.Int64 && e[0].converted == -1:
		c.Type = Int64
		return c, 1, nil
	case typ == format.Int64 && converted == deprecated.TimestampMicros:
		c.Type = Timestamp
		return c, 1, nil
	}
	return c, 0, &Error{Group: -1, Column: c.Name, Err: damaged("a type that is not written")}
}

func isMap(e []element) bool {
	text := func(e element) bool {
		return e.typ == int32(format.ByteArray) && e.converted == int32(deprecated.UTF8) && e.repetition == int32(format.Required)
	}
	return e[0].children == 1 && e[1].typ == -1 && e[1].repetition == int32(format.Repeated) && e[1].children == 2 && text(e[2]) && text(e[3])
}

// checkGroup proves that what the footer says of a row group can be true.
func (f *File) checkGroup(g *group) error {
	if len(g.chunks) != len(f.leaves) {
		return damaged("%d column chunks, want %d", len(g.chunks), len(f.leaves))
	}
	for i := range g.chunks {
		c, l := &g.chunks[i], &f.leaves[i]
		err := f.checkChunk(g, c, l)
		if err != nil {
			return &Error{Group: -1, Column: l.path[0], Err: err}
		}
	}
	return nil
}

func (f *File) checkChunk(g *group, c *chunkMeta, l *leaf) error {
	inside := func(at, n int64) bool {
		return at >= int64(len(parquetMagic)) && n >= 0 && n <= f.size && at <= f.size-n
	}
	switch {
	case c.typ != l.typ:
		return damaged("type %d, want %d", c.typ, l.typ)
	case c.codec != format.Zstd:
		return damaged("compression %d", c.codec)
	case !l.mapped && c.values != int64(g.rows), l.mapped && c.values < int64(g.rows):
		return damaged("%d values for %d rows", c.values, g.rows)
	case !inside(c.start(), c.packed), c.dictAt != 0 && c.dictAt > c.dataAt, c.dataAt >= c.start()+c.packed:
		return damaged("pages outside the file")
	case c.indexAt != 0 && !inside(c.indexAt, int64(c.indexLen)), c.offsetsAt != 0 && !inside(c.offsetsAt, int64(c.offsetsLen)):
		return damaged("page index outside the file")
	}
	return nil
}

// start is where the first page begins.
func (c *chunkMeta) start() int64 {
	if c.dictAt != 0 {
		return c.dictAt
	}
	return c.dataAt
}

// setSorted takes the order from the row groups, which all declare the same.
func (f *File) setSorted() error {
	for i, g := range f.groups {
		var sorted []string
		for _, l := range g.sorting {
			if l < 0 || l >= len(f.leaves) || f.leaves[l].mapped {
				return &Error{Group: i, Err: damaged("an order that is not ours")}
			}
			sorted = append(sorted, f.leaves[l].path[0])
		}
		if i == 0 {
			f.schema.Sorted = sorted
		} else if !slices.Equal(sorted, f.schema.Sorted) {
			return &Error{Group: i, Err: damaged("another order than the first row group")}
		}
	}
	return nil
}

// Schema returns the columns of the file and the order of its row groups, nil if
// it has none. It must not be changed.
func (f *File) Schema() *Schema { return &f.schema }

// Rows returns the number of rows.
func (f *File) Rows() int64 { return f.rows }

// Groups returns the number of row groups.
func (f *File) Groups() int { return len(f.groups) }

// CreatedBy returns what the footer says of the writer.
func (f *File) CreatedBy() string { return f.createdBy }

// Metadata returns an entry of the file's metadata.
func (f *File) Metadata(key string) (string, bool) {
	for _, m := range f.metadata {
		if m.Key == key {
			return m.Value, true
		}
	}
	return "", false
}
