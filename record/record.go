// Package record knows accounting records: the catalogue of record names,
// sub-records and fields, the Record value, a streaming Writer in acctpull's own
// documented dialect, and a streaming Reader that takes accounting XML of any
// shape.
//
// No public document shows a literal accounting file of a device, so nothing in
// this package claims to be byte-compatible with one. The Writer's dialect is
// described in docs/formats/accounting-xml.md and by an XSD; the Reader depends
// on field names, not on the shape around them.
package record

import "time"

// Name is a record name such as "service-ingress-octets". Device documents
// spell names in several ways; Lookup compares them without regard to case.
type Name string

// State says how a Value was found.
type State uint8

// The states of a value.
const (
	// Absent is the zero value: the file has no such field for this record.
	// Absent is never the same as 0.
	Absent State = iota
	// Number is an exact unsigned 64-bit number in Value.N.
	Number
	// Text is a string in Value.Text.
	Text
	// Empty is a counter whose element is there and has no content. It is
	// exported as NULL and counted, never read as 0.
	Empty
)

// Value is the content of one field. Its zero value is an absent field.
type Value struct {
	State State
	N     uint64 // valid if State is Number
	Text  string // valid if State is Text
}

// Num returns a Value that holds the number n.
func Num(n uint64) Value { return Value{State: Number, N: n} }

// Str returns a Value that holds the text s.
func Str(s string) Value { return Value{State: Text, Text: s} }

// Pair is a field that the catalogue does not know, with its text as found.
type Pair struct{ Name, Text string }

// Record is one row of accounting data: the counters of one object, or of one
// meter or queue of it, at the end of one collection interval.
//
// A Reader fills the same Record again and again; Values and Unknown are valid
// until the next call. Clone keeps one.
type Record struct {
	// Set tells the meaning of Values: Values[i] belongs to Set.Fields[i].
	// It is never nil after Reader.Next.
	Set *RowSet
	// Sub is the sub-record name as it stands in the file, or as a profile
	// translates it. If the file names none it is that of Set, or the name of
	// the record's element if Set is not known either.
	Sub string
	// Policy is the accounting policy id given in the file, 0 if none is.
	Policy int
	// Start and End bound the collection interval; the zero time means the
	// file does not say.
	Start, End time.Time
	// Final is 0 for a normal record, and n for the n-th object of the same
	// identity that was deleted since the last collection (NSP 24.4
	// statistics guide: an ordinal, not a boolean).
	Final int
	// Values are the fields known to Set, in its order.
	Values []Value
	// Unknown are fields outside Set, in file order.
	Unknown []Pair
	// Offset is where the record's element begins in the decompressed file,
	// in bytes. Zero for a record that was not read from a file.
	Offset int64
}

// Clone returns a copy of r that shares nothing with it.
func (r *Record) Clone() *Record {
	c := *r
	c.Values = append([]Value(nil), r.Values...)
	c.Unknown = append([]Pair(nil), r.Unknown...)
	return &c
}

// Get returns the value of the field with the device's abbreviation, for
// example "iof". It is Absent if the row set has no such field.
func (r *Record) Get(abbrev string) Value {
	for i := range r.Set.Fields {
		if r.Set.Fields[i].Abbrev == abbrev {
			return r.Values[i]
		}
	}
	return Value{}
}

// Reset prepares r for a new row of set: all values absent, no unknown fields.
func (r *Record) Reset(set *RowSet) {
	*r = Record{Set: set, Values: r.Values[:0], Unknown: r.Unknown[:0]}
	for range set.Fields {
		r.Values = append(r.Values, Value{})
	}
}
