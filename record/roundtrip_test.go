package record

import (
	"math"
	"time"
)

var (
	edgeStart = time.Date(2026, 3, 29, 0, 55, 0, 0, time.UTC)
	edgeEnd   = edgeStart.Add(5*time.Minute + 7*time.Millisecond)
)

// edgeHeader uses every field of a Header.
func edgeHeader(n Name) Header {
	return Header{
		Policy: 99, FileID: 1, Record: n, Created: edgeStart.Add(123 * time.Millisecond), Interval: 1500 * time.Millisecond,
		Semantics: PerInterval, System: `süd <1> & "2"`, Description: "line 1\nline 2\ttab", Reason: "rollover",
	}
}

// edgeNumbers and edgeTexts are values that careless code changes.
var (
	edgeNumbers = []uint64{0, 1, 9, 10, 99, 100, 1 << 32, 1<<53 + 1, math.MaxInt64, 1 << 63, math.MaxUint64}
	edgeTexts   = []string{"1/1/1:100", "0", `a & b <c> "d" 'e'`, "]]>", "Zürich–東京 🚀", "lag-1:100.*", "a\tb\nc\rd", " a ", "\t"}
)

// edgeRecords returns records of one row set in which every field has every
// edge value once, is empty once and is absent once; some have a final mark,
// some have unknown fields.
func edgeRecords(s *RowSet) []*Record {
	var out []*Record
	for k := range len(edgeNumbers) + 2 {
		r := &Record{}
		r.Reset(s)
		r.Sub, r.Start, r.End = s.Sub, edgeStart, edgeEnd
		r.Final = k % 3
		for i := range r.Values {
			switch n := (k + i) % (len(edgeNumbers) + 2); {
			case n == len(edgeNumbers) && s.Fields[i].Numeric:
				r.Values[i] = Value{State: Empty}
			case n == len(edgeNumbers):
				r.Values[i] = Str("")
			case n > len(edgeNumbers):
			case s.Fields[i].Numeric:
				r.Values[i] = Num(edgeNumbers[n])
			default:
				r.Values[i] = Str(edgeTexts[n%len(edgeTexts)])
			}
		}
		if k%4 == 0 {
			r.Unknown = []Pair{{"new", "18446744073709551616"}, {"a b&c", `<"> ü`}, {"none", ""}}
		}
		out = append(out, r)
	}
	full := out[0].Clone() // and one record as most are
	for i := range full.Values {
		if full.Values[i].State == Absent || full.Values[i].State == Empty {
			full.Values[i] = out[1].Values[i]
		}
	}
	return append(out, full)
}
