package columns

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// What is written comes back, whatever the values.
func TestScanReturnsWhatWasWritten(t *testing.T) {
	for seed := range uint64(12) {
		rng := seeded(t, seed)
		n := []int{1, 7, 200, 3000, 20_000}[rng.IntN(5)]
		s := randomSchema(rng)
		tab := randomTable(rng, s, n)
		group := []int{GroupRows, 500, 17_000}[rng.IntN(3)]
		f := open(t, tab.write(t, rng, group, WriterOptions{CreatedBy: "me"}))
		if v, ok := f.Metadata("a"); f.Rows() != int64(n) || f.CreatedBy() != "me" || v != "1" || !ok || !f.Schema().Equal(&s) {
			t.Fatalf("seed %d: rows %d, created by %q, a=%q", seed, f.Rows(), f.CreatedBy(), v)
		}
		got, _ := drain(t, f.Scan(ScanOptions{}), s.Columns)
		wantRows(t, got, tab.rows)
		some := s.Columns[2:5]
		got, _ = drain(t, f.Scan(ScanOptions{Columns: []string{some[0].Name, some[1].Name, some[2].Name}}), some)
		for i, row := range tab.rows {
			if !slices.Equal(got[i], row[2:5]) {
				t.Fatalf("seed %d, row %d: %q, want %q", seed, i, got[i], row[2:5])
			}
		}
	}
}

// mergeCase is some files and all their rows.
type mergeCase struct {
	files []*File
	all   *table
	from  []int32
}

func randomFiles(t *testing.T, rng *rand.Rand, s Schema) mergeCase {
	c := mergeCase{all: &table{schema: s}}
	for i := range 1 + rng.IntN(8) {
		tab := randomTable(rng, s, 1+[]int{0, 50, 900, 9000}[rng.IntN(4)])
		group := []int{GroupRows, 300, 5000}[rng.IntN(3)]
		whole := rng.IntN(2) == 0
		if whole {
			tab.sortGroups(len(tab.rows))
		} else {
			tab.sortGroups(group)
		}
		c.files = append(c.files, open(t, tab.write(t, rng, group, WriterOptions{WholeOrder: whole})))
		c.all.rows = append(c.all.rows, tab.rows...)
		for range tab.rows {
			c.from = append(c.from, int32(i))
		}
	}
	return c
}

// Merging is sorting, in one level or many.
func TestMergeIsAStableSort(t *testing.T) {
	for seed := range uint64(12) {
		rng := seeded(t, seed)
		s := randomSchema(rng)
		c := randomFiles(t, rng, s)
		o := MergeOptions{Memory: []int{0, 1, 300_000}[rng.IntN(3)], Temp: t.TempDir()}
		if rng.IntN(3) == 0 {
			o.Order = s.Sorted[:1+rng.IntN(4)]
		}
		m, err := Merge(c.files, o)
		if err != nil {
			t.Fatal(err)
		}
		got, origin := drain(t, m, s.Columns)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		by := o.Order
		if by == nil {
			by = s.Sorted
		}
		perm := make([]int, len(c.all.rows))
		for i := range perm {
			perm[i] = i
		}
		compare := c.all.compareRows(by)
		slices.SortStableFunc(perm, func(a, b int) int { return compare(c.all.rows[a], c.all.rows[b]) })
		for i, at := range perm {
			if !slices.Equal(got[i], c.all.rows[at]) || origin[i] != c.from[at] {
				t.Fatalf("seed %d, row %d of input %d\n got %q\nwant %q of input %d", seed, i, origin[i], got[i], c.all.rows[at], c.from[at])
			}
		}
		if len(got) != len(perm) {
			t.Fatalf("seed %d: %d rows, want %d", seed, len(got), len(perm))
		}
	}
}
