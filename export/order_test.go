package export

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"acctpull/internal/gen"
	"acctpull/ledger"
	"acctpull/record"
)

// compareValues orders two values of one column, NULL first.
func compareValues(a, b parquet.Value) int {
	switch {
	case a.IsNull() && b.IsNull():
		return 0
	case a.IsNull():
		return -1
	case b.IsNull():
		return 1
	case a.Kind() == parquet.ByteArray:
		return bytes.Compare(a.ByteArray(), b.ByteArray())
	}
	return int(max(-1, min(1, a.Int64()-b.Int64())))
}

// text makes a row comparable.
func (r row) text() string {
	var b []byte
	for _, v := range r {
		switch {
		case v.IsNull():
			b = append(b, "NULL"...)
		case v.Kind() == parquet.ByteArray:
			b = append(b, v.ByteArray()...)
		default:
			b = strconv.AppendInt(b, v.Int64(), 10)
		}
		b = append(b, '|')
	}
	return string(b)
}

// Whatever the memory, the rows are the same, each row group is sorted as its
// metadata says, and the bounds in the metadata are those of the values.
func TestRowGroupsAreSortedAndComplete(t *testing.T) {
	var want []string
	for _, memory := range []int{0, 1 << 20, 150_000} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			m := newMemExport(t)
			if memory > 0 {
				m.o.Memory = memory
			}
			for i := range 4 {
				steps, _ := generate(t, gen.Options{
					Record: "complete-service-ingress-egress", Seed: uint64(i), Objects: 40, Intervals: 4, FinalEvery: 3,
				})
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				rng.Shuffle(len(steps), func(a, b int) { steps[a], steps[b] = steps[b], steps[a] })
				m.add(fmt.Sprintf("r%d", i%2), fmt.Sprintf("act%d", i), steps...)
			}
			res := m.run(t)
			if len(res.Outputs) != 1 {
				t.Fatalf("outputs %+v", res.Outputs)
			}
			table := table(t, "complete-service-ingress-egress")
			groups, file := readGroups(t, filepath.Join(m.o.Dataset, res.Outputs[0].Path), table)
			if many := memory == 150_000; many != (len(groups) > 3) {
				t.Errorf("%d row groups with %d bytes", len(groups), memory)
			}
			var got []string
			for g, rows := range groups {
				checkSorted(t, table, file.Metadata().RowGroups[g].SortingColumns, rows)
				checkBounds(t, table, file.RowGroups()[g], rows)
				for _, r := range rows {
					got = append(got, r.text())
				}
			}
			slices.Sort(got)
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d rows differ from the %d of the first run", len(got), len(want))
			}
		})
	}
}

// checkSorted checks the declared order of a row group against its rows.
func checkSorted(t *testing.T, table *Table, sorting []format.SortingColumn, rows []row) {
	t.Helper()
	if len(sorting) != len(table.Sorted) {
		t.Fatalf("%d sorting columns, want %v", len(sorting), table.Sorted)
	}
	for i := 1; i < len(rows); i++ {
		for _, s := range sorting {
			c := compareValues(rows[i-1][s.ColumnIdx], rows[i][s.ColumnIdx])
			if c > 0 {
				t.Fatalf("row %d comes after row %d by %s: %v, %v", i, i-1, table.Columns[s.ColumnIdx].Name, rows[i-1], rows[i])
			}
			if c < 0 {
				break
			}
		}
	}
	for i, s := range sorting {
		if s.Descending || !s.NullsFirst || table.Columns[s.ColumnIdx].Name != table.Sorted[i] {
			t.Fatalf("sorting column %d is %+v", i, s)
		}
	}
}

// checkBounds compares the statistics of the chunks and of the pages with the
// values.
func checkBounds(t *testing.T, table *Table, group parquet.RowGroup, rows []row) {
	t.Helper()
	for i, c := range table.Columns {
		if c.Type == Map {
			return // what follows has other leaf indexes
		}
		chunk := group.ColumnChunks()[i].(*parquet.FileColumnChunk)
		nulls := int64(0)
		var lo, hi parquet.Value
		for _, r := range rows {
			v := r[i]
			if v.IsNull() {
				nulls++
				continue
			}
			if lo.IsNull() || compareValues(v, lo) < 0 {
				lo = v
			}
			if hi.IsNull() || compareValues(v, hi) > 0 {
				hi = v
			}
		}
		if chunk.NullCount() != nulls {
			t.Errorf("%s: null count %d, want %d", c.Name, chunk.NullCount(), nulls)
		}
		from, to, ok := chunk.Bounds()
		if ok != (nulls < int64(len(rows))) || ok && (compareValues(from, lo) != 0 || compareValues(to, hi) != 0) {
			t.Errorf("%s: bounds %v–%v %v, want %v–%v", c.Name, from, to, ok, lo, hi)
		}
		index, err := chunk.ColumnIndex()
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		offsets, err := chunk.OffsetIndex()
		if err != nil {
			t.Fatal(err)
		}
		for p := range index.NumPages() {
			end := int64(len(rows))
			if p+1 < offsets.NumPages() {
				end = offsets.FirstRowIndex(p + 1)
			}
			pageNulls := int64(0)
			for _, r := range rows[offsets.FirstRowIndex(p):end] {
				v := r[i]
				if v.IsNull() {
					pageNulls++
				} else if compareValues(v, index.MinValue(p)) < 0 || compareValues(v, index.MaxValue(p)) > 0 {
					t.Fatalf("%s, page %d: %v is not in %v–%v", c.Name, p, v, index.MinValue(p), index.MaxValue(p))
				}
			}
			if index.NullCount(p) != pageNulls || index.NullPage(p) != (pageNulls == end-offsets.FirstRowIndex(p)) {
				t.Fatalf("%s, page %d: %d NULLs, want %d", c.Name, p, index.NullCount(p), pageNulls)
			}
		}
	}
}

// A row group has at most groupRows rows, and more than one page.
func TestRowGroupsAreFull(t *testing.T) {
	m := newMemExport(t)
	s := meters(t)
	steps := make([]step, 0, groupRows+5)
	shared := rec(s, 0, map[string]record.Value{"svc": record.Str("1"), "sap": record.Str("1/1/1:1"), "mId": record.Num(1)})
	for i := range groupRows + 5 {
		r := *shared
		r.Values = slices.Clone(shared.Values)
		r.Values[s.Index("iof")] = record.Num(uint64(i))
		if i%3 == 0 {
			r.Values[s.Index("oof")] = record.Num(uint64(i % 100))
		}
		if i%1000 == 0 {
			r.Unknown = []record.Pair{{Name: "x", Text: fmt.Sprint(i)}}
		}
		steps = append(steps, step{rec: &r})
	}
	m.o.Memory = 64 << 20
	m.add("r1", "act1", steps...)
	res := m.run(t)
	if f := res.Files[0]; f.Repeated != groupRows+4 || f.Records != groupRows+5 {
		t.Errorf("result %+v", f)
	}
	table := table(t, "service-ingress-octets")
	groups, file := readGroups(t, filepath.Join(m.o.Dataset, res.Outputs[0].Path), table)
	if len(groups) != 2 || len(groups[0]) != groupRows || len(groups[1]) != 5 {
		t.Fatalf("%d row groups", len(groups))
	}
	for g := range groups {
		checkBounds(t, table, file.RowGroups()[g], groups[g])
	}
	wantDuck(t, m.o.Dataset, map[string]string{
		"SELECT sum(in_profile_octets_forwarded) FROM service_ingress_octets":                                          fmt.Sprint(int64(groupRows+5) * (groupRows + 4) / 2),
		"SELECT count(out_of_profile_octets_forwarded) FROM service_ingress_octets":                                    fmt.Sprint((groupRows + 5 + 2) / 3),
		"SELECT count(*) FROM service_ingress_octets WHERE unknown_fields['x'] = in_profile_octets_forwarded::VARCHAR": fmt.Sprint((groupRows + 5 + 999) / 1000),
	})
}

// With more objects than the memory has room for, names are forgotten and found
// again.
func TestNamesAreForgotten(t *testing.T) {
	var want string
	for _, memory := range []int{0, 400_000} {
		m := newMemExport(t)
		if memory > 0 {
			m.o.Memory = memory
		}
		for i := range 2 {
			steps, _ := generate(t, gen.Options{Record: "network-ingress-octets", Seed: uint64(i), Objects: 2_000, Meters: 2, Intervals: 2})
			m.add(fmt.Sprintf("r%d", i), fmt.Sprintf("act%d", i), steps...)
		}
		res := m.run(t)
		groups, _ := readGroups(t, filepath.Join(m.o.Dataset, res.Outputs[0].Path), table(t, "network-ingress-octets"))
		var rows []string
		for _, g := range groups {
			for _, r := range g {
				rows = append(rows, r.text())
			}
		}
		slices.Sort(rows)
		got := strings.Join(rows, "\n")
		if want == "" {
			want = got
		} else if len(groups) < 4 || got != want {
			t.Errorf("%d row groups with %d bytes; rows equal: %v", len(groups), memory, got == want)
		}
	}
}

// The bytes follow from the set of inputs alone: not from their order, the
// number of processors, or the state of the exporter.
func TestBytesFollowFromTheInputs(t *testing.T) {
	files := memFiles{}
	var inputs []ledger.Input
	for i := range 12 {
		var b bytes.Buffer
		if _, err := gen.File(&b, gen.Options{
			Seed: uint64(i), Objects: 40, Intervals: 3, FinalEvery: 2, Policy: 10 + i%2,
			Record: []record.Name{"combined-service-ingress", "network-ingress-octets", "saa"}[i%3],
		}); err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, files.add(fmt.Sprintf("r%d", i%4), fmt.Sprintf("act%02d.xml.gz", i), b.Bytes()))
	}
	var first map[string]string
	rng := rand.New(rand.NewPCG(7, 7))
	for pass := range 6 {
		x := newExporter(t, Options{Open: files.open, Memory: 600_000})
		if pass == 5 { // an exporter that has worked before
			if _, err := x.Run(context.Background(), batchOf(inputs[3:9]...)); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(x.o.Dataset); err != nil {
				t.Fatal(err)
			}
		}
		procs := runtime.GOMAXPROCS(1 + pass%3)
		res, err := x.Run(context.Background(), batchOf(inputs...))
		runtime.GOMAXPROCS(procs)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, o := range res.Outputs {
			b, err := os.ReadFile(filepath.Join(x.o.Dataset, o.Path))
			if err != nil {
				t.Fatal(err)
			}
			got[o.Path] = sha(string(b))
			if got[o.Path] != o.SHA256 {
				t.Errorf("%s: the result says %s", o.Path, o.SHA256)
			}
		}
		if first == nil {
			first = got
		}
		if len(got) != 3 || fmt.Sprint(got) != fmt.Sprint(first) {
			t.Errorf("pass %d: %v, want %v", pass, got, first)
		}
		rng.Shuffle(len(inputs), func(a, b int) { inputs[a], inputs[b] = inputs[b], inputs[a] })
	}
}
