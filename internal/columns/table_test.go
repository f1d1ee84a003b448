package columns

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// value is a cell: nil, int64 or string (a map is in the form of EncodePairs).
type value = any

// table is rows in memory, the plain way.
type table struct {
	schema Schema
	rows   [][]value
}

// compareValue orders two values, NULL first.
func compareValue(a, b value) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	if s, ok := a.(string); ok {
		return strings.Compare(s, b.(string))
	}
	return cmp.Compare(a.(int64), b.(int64))
}

// compareRows orders two rows by some columns.
func (t *table) compareRows(by []string) func(a, b []value) int {
	return func(a, b []value) int {
		for _, name := range by {
			i := t.schema.Index(name)
			if c := compareValue(a[i], b[i]); c != 0 {
				return c
			}
		}
		return 0
	}
}

// randomSchema has columns of every type.
func randomSchema(rng *rand.Rand) Schema {
	s := Schema{Columns: []Column{
		{"device", String, false}, {"sap", String, true}, {"queue", Int64, true}, {"end", Timestamp, false},
		{"policy", Int32, true}, {"final", Int32, false}, {"start", Timestamp, true},
		{"file", String, false}, {"info", String, true}, {"overflow", Map, true}, {"unknown", Map, true},
		{"plain", Int64, false}, {"signed", Int64, true},
	}}
	for i := range 1 + rng.IntN(6) {
		s.Columns = append(s.Columns, Column{fmt.Sprint("c", i), Int64, true})
	}
	s.Sorted = []string{"device", "sap", "queue", "end"}
	rng.Shuffle(len(s.Columns), func(i, j int) { s.Columns[i], s.Columns[j] = s.Columns[j], s.Columns[i] })
	return s
}

// style is how the values of a column are made.
type style struct {
	nulls  float64
	values []value
}

// randomStyle is constant, NULL, mixed, dense or wide.
func randomStyle(rng *rand.Rand, c Column) style {
	var s style
	if c.Nullable {
		s.nulls = []float64{0, 0, 0.01, 0.5, 1}[rng.IntN(5)]
	}
	for range []int{1, 1, 3, 40, 2000}[rng.IntN(5)] {
		switch c.Type {
		case String:
			s.values = append(s.values, []string{"", "é", "1/1/1:100"}[rng.IntN(3)]+fmt.Sprint(rng.IntN(1000)))
		case Int32:
			s.values = append(s.values, int64(int32(rng.Uint32())))
		case Timestamp:
			s.values = append(s.values, 1.8e15+300e6*int64(rng.IntN(288)))
		case Map:
			var pairs []Pair
			for i := range 1 + rng.IntN(3) {
				pairs = append(pairs, Pair{fmt.Sprint("key", i), strings.Repeat("9", rng.IntN(30))})
			}
			s.values = append(s.values, EncodePairs(pairs))
		default:
			v := int64(rng.Uint64() >> rng.IntN(64))
			if v < 0 && c.Name != "signed" {
				v &= math.MaxInt64
			}
			s.values = append(s.values, []value{v, v, v, int64(math.MaxInt64), int64(0)}[rng.IntN(5)])
		}
	}
	return s
}

// randomTable has n rows in any order.
func randomTable(rng *rand.Rand, s Schema, n int) *table {
	t := &table{schema: s}
	styles := make([]style, len(s.Columns))
	for i, c := range s.Columns {
		styles[i] = randomStyle(rng, c)
	}
	for range n {
		row := make([]value, len(s.Columns))
		for i, st := range styles {
			if rng.Float64() >= st.nulls {
				row[i] = st.values[rng.IntN(len(st.values))]
			}
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// batch puts rows into vectors, in the short forms where rng says so.
func (t *table) batch(rng *rand.Rand, rows [][]value) *Batch {
	b := &Batch{Rows: len(rows)}
	for i, c := range t.schema.Columns {
		v := Vector{Rows: len(rows)}
		ids := map[string]int32{}
		same := true
		for _, row := range rows {
			same = same && row[i] == rows[0][i]
		}
		for r, row := range rows {
			switch x := row[i].(type) {
			case nil:
				if c.Type.text() {
					v.IDs = append(v.IDs, -1)
					continue
				}
				if v.Null == nil {
					v.Null = make([]bool, len(rows))
				}
				v.Null[r] = true
				v.Ints = append(v.Ints, 0)
			case int64:
				v.Ints = append(v.Ints, x)
			case string:
				id, ok := ids[x]
				if !ok {
					id = int32(len(v.Texts))
					v.Texts, ids[x] = append(v.Texts, x), id
				}
				v.IDs = append(v.IDs, id)
			}
		}
		if same && rng.IntN(2) == 0 {
			if rows[0][i] == nil {
				v = Vector{Rows: len(rows), AllNull: true}
			} else {
				v.Const, v.Ints, v.IDs = true, v.Ints[:min(1, len(v.Ints))], v.IDs[:min(1, len(v.IDs))]
			}
		}
		b.Columns = append(b.Columns, v)
	}
	return b
}

// write writes the rows as they are, in row groups of groupRows.
func (t *table) write(tb testing.TB, rng *rand.Rand, groupRows int, o WriterOptions) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, t.schema, o)
	w.most = groupRows
	for rest := t.rows; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(20_000))
		if err := w.WriteRows(t.batch(rng, rest[:n])); err != nil {
			tb.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(map[string]string{"b": "2", "a": "1"}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// sortGroups sorts each row group.
func (t *table) sortGroups(groupRows int) {
	for rest := t.rows; len(rest) > 0; {
		n := min(len(rest), groupRows)
		slices.SortStableFunc(rest[:n], t.compareRows(t.schema.Sorted))
		rest = rest[n:]
	}
}

func open(tb testing.TB, b []byte) *File {
	tb.Helper()
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// source is a Scanner or Merger.
type source interface {
	Next(context.Context) (*Batch, error)
}

// drain returns all rows of a source.
func drain(tb testing.TB, src source, columns []Column) (rows [][]value, origin []int32) {
	tb.Helper()
	for {
		b, err := src.Next(context.Background())
		if err == io.EOF {
			return rows, origin
		}
		if err != nil {
			tb.Fatal(err)
		}
		if b.Rows == 0 || len(b.Columns) != len(columns) {
			tb.Fatalf("a batch of %d rows and %d columns", b.Rows, len(b.Columns))
		}
		origin = append(origin, b.Origin...)
		for r := range b.Rows {
			row := make([]value, len(columns))
			for i := range columns {
				v := &b.Columns[i]
				if v.Rows != b.Rows {
					tb.Fatalf("a vector of %d rows in a batch of %d", v.Rows, b.Rows)
				}
				if columns[i].Type.text() {
					if s, ok := v.Text(r); ok {
						row[i] = s
					}
				} else if n, ok := v.Int(r); ok {
					row[i] = n
				}
			}
			rows = append(rows, row)
		}
	}
}

// wantRows compares rows.
func wantRows(tb testing.TB, got, want [][]value) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range got {
		if !slices.Equal(got[i], want[i]) {
			tb.Fatalf("row %d\n got %q\nwant %q", i, got[i], want[i])
		}
	}
}

// seeded returns a generator and prints its seed if the test fails.
func seeded(t *testing.T, seed uint64) *rand.Rand {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 5))
}
