package columns

import (
	"encoding/binary"
	"io"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// This file and pages.go put a Parquet file together from parquet-go's parts:
// its Thrift structures, its DELTA_BINARY_PACKED and RLE encoders. They take
// the place of its writer because that one works row by row: a nullable column
// of a Go struct costs it about 60 ns a row, and a dataset has some 40 columns
// of which half are constant or NULL. Here a column is encoded in one pass over
// a buffer, and a constant column costs nothing per row. See
// docs/formats/dataset.md for the figures.

// parquetMagic begins and ends a Parquet file.
const parquetMagic = "PAR1"

// leaf is a column that holds values: a column of the schema, or the key or the
// value of a map.
type leaf struct {
	path     []string
	typ      format.Type
	nullable bool // one definition level
	mapped   bool // inside a map: definition levels 0 and 2, repetition levels 0 and 1
}

// ChunkWriter writes one Parquet file, row group by row group, column by column,
// to a writer that it does not own. The first error sticks. It is for those who
// have whole columns of sorted rows at hand; [Writer] is for all others.
type ChunkWriter struct {
	w       io.Writer
	enc     *Encoder
	pos     int64
	err     error
	schema  []format.SchemaElement
	leaves  []leaf
	sorting []format.SortingColumn
	groups  []format.RowGroup
	indexes [][]chunkIndex // of each row group, one per leaf
	rows    int64
}

// chunkIndex is the page index of one column chunk.
type chunkIndex struct {
	columns format.ColumnIndex
	offsets format.OffsetIndex
	bounded bool // every page has bounds that fit into an index
}

// NewChunkWriter begins a file with the columns of t. Files that are written one
// after the other, or row group by row group in turn, can share enc.
func NewChunkWriter(w io.Writer, t *Schema, enc *Encoder) *ChunkWriter {
	f := &ChunkWriter{w: w, enc: enc}
	f.schema = append(f.schema, format.SchemaElement{Name: "schema", NumChildren: thrift.New(int32(len(t.Columns)))})
	leafOf := make(map[string]int32, len(t.Columns))
	for _, c := range t.Columns {
		leafOf[c.Name] = int32(len(f.leaves))
		f.addColumn(c)
	}
	for _, name := range t.Sorted {
		f.sorting = append(f.sorting, format.SortingColumn{ColumnIdx: leafOf[name], NullsFirst: true})
	}
	f.write([]byte(parquetMagic))
	return f
}

// addColumn appends the schema elements and leaves of one column.
func (f *ChunkWriter) addColumn(c Column) {
	f.leaves = append(f.leaves, leavesOf(c)...)
	if c.Type != Map {
		f.schema = append(f.schema, primitive(c.Name, c.Type, c.Nullable))
		return
	}
	f.schema = append(f.schema,
		format.SchemaElement{
			Name: c.Name, RepetitionType: thrift.New(format.Optional), NumChildren: thrift.New(int32(1)),
			ConvertedType: thrift.New(deprecated.Map), LogicalType: format.LogicalType{Value: &format.MapType{}},
		},
		format.SchemaElement{Name: "key_value", RepetitionType: thrift.New(format.Repeated), NumChildren: thrift.New(int32(2))},
		primitive("key", String, false), primitive("value", String, false))
}

// leavesOf returns the leaves of a column: two for a map, else one.
func leavesOf(c Column) []leaf {
	if c.Type != Map {
		return []leaf{{path: []string{c.Name}, typ: primitive(c.Name, c.Type, c.Nullable).Type.V, nullable: c.Nullable}}
	}
	var l []leaf
	for _, name := range [...]string{"key", "value"} {
		l = append(l, leaf{path: []string{c.Name, "key_value", name}, typ: format.ByteArray, mapped: true})
	}
	return l
}

// primitive returns the schema element of a column of a plain type.
func primitive(name string, t Type, nullable bool) format.SchemaElement {
	e := format.SchemaElement{Name: name, RepetitionType: thrift.New(format.Required)}
	if nullable {
		e.RepetitionType = thrift.New(format.Optional)
	}
	switch t {
	case String:
		e.Type = thrift.New(format.ByteArray)
		e.ConvertedType = thrift.New(deprecated.UTF8)
		e.LogicalType = format.LogicalType{Value: &format.StringType{}}
	case Int32:
		e.Type = thrift.New(format.Int32)
	case Int64:
		e.Type = thrift.New(format.Int64)
	case Timestamp:
		e.Type = thrift.New(format.Int64)
		e.ConvertedType = thrift.New(deprecated.TimestampMicros)
		e.LogicalType = format.LogicalType{Value: &format.TimestampType{
			IsAdjustedToUTC: true, Unit: format.TimeUnit{Value: &format.MicroSeconds{}},
		}}
	}
	return e
}

// outBuffer is how many bytes are gathered before they are written.
const outBuffer = 256 << 10

// write appends p to the file. What it gathers is written at the end of a row
// group at the latest, so the files of a run can share the buffer.
func (f *ChunkWriter) write(p []byte) {
	f.pos += int64(len(p))
	f.enc.out = append(f.enc.out, p...)
	if len(f.enc.out) >= outBuffer {
		f.flush()
	}
}

func (f *ChunkWriter) flush() {
	if f.err == nil && len(f.enc.out) > 0 {
		_, f.err = f.w.Write(f.enc.out)
	}
	f.enc.out = f.enc.out[:0]
}

// BeginGroup opens a row group. One call per leaf follows, in schema order,
// then EndGroup.
func (f *ChunkWriter) BeginGroup(rows int) {
	f.groups = append(f.groups, format.RowGroup{
		NumRows: int64(rows), SortingColumns: f.sorting, FileOffset: f.pos, Ordinal: int16(len(f.groups)),
		Columns: make([]format.ColumnChunk, 0, len(f.leaves)),
	})
	f.indexes = append(f.indexes, make([]chunkIndex, 0, len(f.leaves)))
	f.rows += int64(rows)
}

// MaxGroups is how many row groups a file may have: their ordinal is an int16.
const MaxGroups = 1<<15 - 1

// Groups returns the number of row groups begun so far.
func (f *ChunkWriter) Groups() int { return len(f.groups) }

// Rows returns the number of rows of all row groups begun so far.
func (f *ChunkWriter) Rows() int64 { return f.rows }

// EndGroup ends the row group; what it gathered is written. It returns the
// first error of the writer.
func (f *ChunkWriter) EndGroup() error {
	g := &f.groups[len(f.groups)-1]
	for i := range g.Columns {
		g.TotalByteSize += g.Columns[i].MetaData.TotalUncompressedSize
		g.TotalCompressedSize += g.Columns[i].MetaData.TotalCompressedSize
	}
	f.flush()
	return f.err
}

// KeyValue is an entry of the metadata of a file.
type KeyValue struct{ Key, Value string }

// Finish writes the page indexes and the footer, with the metadata in the order
// given.
func (f *ChunkWriter) Finish(createdBy string, metadata []KeyValue) error {
	for g := range f.groups {
		for i := range f.indexes[g] {
			if x := &f.indexes[g][i]; x.bounded {
				c := &f.groups[g].Columns[i]
				c.ColumnIndexOffset = f.pos
				c.ColumnIndexLength = f.encode(&x.columns)
			}
		}
	}
	for g := range f.groups {
		for i := range f.indexes[g] {
			c := &f.groups[g].Columns[i]
			c.OffsetIndexOffset = f.pos
			c.OffsetIndexLength = f.encode(&f.indexes[g][i].offsets)
		}
	}
	orders := make([]format.ColumnOrder, len(f.leaves))
	for i := range orders {
		orders[i].Value = &format.TypeDefinedOrder{}
	}
	pairs := make([]format.KeyValue, len(metadata))
	for i, m := range metadata {
		pairs[i] = format.KeyValue{Key: m.Key, Value: m.Value}
	}
	n := f.encode(&format.FileMetaData{
		Version: 2, Schema: f.schema, NumRows: f.rows, RowGroups: f.groups,
		KeyValueMetadata: pairs, CreatedBy: createdBy, ColumnOrders: orders,
	})
	f.write(append(binary.LittleEndian.AppendUint32(nil, uint32(n)), parquetMagic...))
	f.flush()
	return f.err
}

// encode writes a Thrift structure and returns its length.
func (f *ChunkWriter) encode(v any) int32 {
	b := f.enc.marshal(v)
	f.write(b)
	return int32(len(b))
}
