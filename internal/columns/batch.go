package columns

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Vector is one column of a batch. Constant and NULL columns take no memory.
type Vector struct {
	Rows int
	// Ints are the values of an Int32, Int64 or Timestamp column (microseconds
	// since 1970 UTC): 0 where it is NULL, one value if Const, nil if AllNull.
	Ints []int64
	// Null tells which numbers are NULL; nil if none is.
	Null []bool
	// IDs are the values of a String or Map column: indexes into Texts, -1 for
	// NULL, one value if Const, nil if AllNull.
	IDs []int32
	// Texts has the values that IDs point to, and maybe others, each once; a map
	// in the form of EncodePairs. In the batches of one Scanner or Merger the
	// same ID means the same text as long as Texts begins at the same place.
	Texts []string
	// Const tells that all rows have the same value, and AllNull that they have none.
	Const, AllNull bool
}

// Int returns the number of a row; false if it is NULL.
func (v *Vector) Int(row int) (int64, bool) {
	switch {
	case v.AllNull:
		return 0, false
	case v.Const:
		return v.Ints[0], true
	case v.Null != nil && v.Null[row]:
		return 0, false
	}
	return v.Ints[row], true
}

// ID returns the index of a row's text, -1 if it is NULL.
func (v *Vector) ID(row int) int32 {
	switch {
	case v.AllNull:
		return -1
	case v.Const:
		return v.IDs[0]
	}
	return v.IDs[row]
}

// Text returns the text of a row; false if it is NULL.
func (v *Vector) Text(row int) (string, bool) {
	id := v.ID(row)
	if id < 0 {
		return "", false
	}
	return v.Texts[id], true
}

// Batch is some rows of a table, column by column. What a Scanner or Merger
// returns is valid until its next call.
type Batch struct {
	Rows    int
	Columns []Vector // in the order asked for
	// Origin is the index of the input each row came from, in the batches of a
	// Merger.
	Origin []int32
}

// Pair is an entry of a map.
type Pair struct{ Key, Value string }

// EncodePairs returns the form in which a Vector has a map: the entries in the
// order of their keys. It sorts pairs. Without entries it is "", which a writer
// takes for NULL.
func EncodePairs(pairs []Pair) string {
	slices.SortStableFunc(pairs, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	var b []byte
	for _, p := range pairs {
		for _, s := range [...]string{p.Key, p.Value} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return string(b)
}

// Pairs returns the entries of a map. It panics if text is not from EncodePairs
// or a Vector.
func Pairs(text string) []Pair {
	var list []Pair
	for len(text) > 0 {
		var p Pair
		p.Key, text = cutText(text)
		p.Value, text = cutText(text)
		list = append(list, p)
	}
	return list
}

// cutText takes a text with its length in front from s.
func cutText(s string) (text, rest string) {
	n, shift := uint64(0), 0
	for i := range len(s) {
		n |= uint64(s[i]&0x7f) << shift
		if shift += 7; s[i] < 0x80 {
			return s[i+1 : i+1+int(n)], s[i+1+int(n):]
		}
	}
	panic("columns: not a map: " + quote(s))
}
