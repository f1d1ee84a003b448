// Package columns reads, merges and writes the Parquet files of a dataset
// column by column. A column of a batch is one slice, and a column that is
// constant or NULL costs nothing per row: a table has some 40 columns, of which
// half are one or the other.
//
// It is no general Parquet library. It writes the flat tables that
// docs/formats/dataset.md describes, with the encodings that are named there,
// and reads what it wrote. Anything else is an error, and so is every kind of
// damage: page checksums are verified, and no count or offset is believed.
package columns

import "slices"

// GroupRows is the most rows a row group holds.
const GroupRows = 122_880

// Type is the type of a column.
type Type uint8

// The column types and their Parquet form.
const (
	String    Type = iota // BYTE_ARRAY, UTF-8
	Int32                 // INT32
	Int64                 // INT64
	Timestamp             // INT64, TIMESTAMP(MICROS, isAdjustedToUTC=true)
	Map                   // MAP of string to string
)

var typeNames = [...]string{String: "string", Int32: "int32", Int64: "int64", Timestamp: "timestamp", Map: "map<string,string>"}

// String returns the name used in the metadata and in docs/formats/dataset.md.
func (t Type) String() string { return typeNames[t] }

// MarshalText makes the name the JSON form.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// text reports whether values are bytes and not numbers.
func (t Type) text() bool { return t == String || t == Map }

// Column is one column of a table. A map is always nullable.
type Column struct {
	Name     string
	Type     Type
	Nullable bool
}

// Schema is the columns of a table and its order.
type Schema struct {
	Columns []Column
	// Sorted are the columns by which rows are sorted, ascending, NULL first:
	// those of a row group, and those of a whole file that was merged.
	Sorted []string
}

// Index returns the position of a column, -1 if there is none.
func (s *Schema) Index(name string) int {
	return slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name })
}

// Equal reports whether both have the same columns and the same order.
func (s *Schema) Equal(o *Schema) bool {
	return slices.Equal(s.Columns, o.Columns) && slices.Equal(s.Sorted, o.Sorted)
}
