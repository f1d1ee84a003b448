package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/columns"
	"acctpull/ledger"
	"acctpull/record"
)

// compactTime is long after every generated day.
var compactTime = time.Date(2026, 6, 1, 3, 0, 0, 0, time.UTC)

// compaction is how the dataset of an exporter is compacted.
func compaction(x *Exporter, results ...Result) CompactOptions {
	return CompactOptions{
		Dataset: x.o.Outputs, Staging: filepath.Join(x.o.Dataset, stagingDir, "compact"),
		Finished: finished(results...), Now: compactTime, Version: "test",
	}
}

// compact runs a compaction in which no day may fail.
func compact(t testing.TB, o CompactOptions) CompactResult {
	t.Helper()
	res, err := Compact(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range res.Days {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	return res
}

// multiset counts the rows of all files of a table, as parquet-go reads them.
func multiset(t testing.TB, dataset string, tab *Table) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, p := range dataFiles(t, dataset) {
		if !strings.HasPrefix(p, tab.Name+"/") {
			continue
		}
		groups, _ := readGroups(t, filepath.Join(dataset, p), tab)
		for _, g := range groups {
			for _, r := range g {
				all[p[:strings.LastIndex(p, "/")]+"|"+r.text()]++
			}
		}
	}
	return all
}

// dataFiles are the paths of what readers of a dataset see.
func dataFiles(t testing.TB, dataset string) []string {
	t.Helper()
	return slices.DeleteFunc(published(t, dataset), func(p string) bool { return !isOutput(p) })
}

// oddSteps are records with everything that is rare: numbers too large, unknown
// fields, objects that ended, keys that are missing.
func oddSteps(t testing.TB, n int) []step {
	s := meters(t)
	var steps []step
	for i := range n {
		values := map[string]record.Value{"sap": record.Str(fmt.Sprint("1/1/", i%17)), "mId": record.Num(uint64(i % 5)), "iof": record.Num(uint64(i) * 1000)}
		if i%7 != 0 {
			values["svc"] = record.Num(uint64(i % 11))
		}
		if i%9 == 0 {
			values["oof"] = record.Num(math.MaxUint64 - uint64(i))
		}
		r := rec(s, i%100, values)
		if i%13 == 0 {
			r.Final, r.Policy = i%3, 77
		}
		if i%50 == 0 {
			r.Unknown = []record.Pair{{Name: "z", Text: fmt.Sprint(i)}, {Name: "a", Text: ""}}
		}
		steps = append(steps, step{rec: r})
	}
	return steps
}

// The rows stay, in one order, in one file; what it is called and every byte of it
// follow from the files.
func TestCompact(t *testing.T) {
	files := memFiles{}
	var before map[string]int
	tab := table(t, "combined-service-ingress")
	var outputs [2][]DataFile
	for pass := range outputs {
		x := newExporter(t, Options{Open: files.open})
		results := generatedDay(t, x, files, 30, 20)
		if pass == 0 {
			before = multiset(t, x.o.Dataset, tab)
		}
		o := compaction(x, results...)
		o.DryRun = true
		dry := compact(t, o)
		if len(dry.Days) != 1 || len(dry.Days[0].Inputs) != 20 || dry.Days[0].Outputs != nil || len(dataFiles(t, x.o.Dataset)) != 20 {
			t.Fatalf("dry run: %+v", dry)
		}
		o.DryRun = false
		res := compact(t, o)
		if len(res.Days) != 1 || len(res.Days[0].Outputs) != 1 || len(res.Days[0].Inputs) != 20 || res.Days[0].Rows() != 20*120 || res.Days[0].Reason != "" {
			t.Fatalf("%+v", res)
		}
		outputs[pass] = res.Days[0].Outputs
		paths := dataFiles(t, x.o.Dataset)
		if !slices.Equal(paths, []string{res.Days[0].Outputs[0].Path}) {
			t.Fatalf("files %q", paths)
		}
		if after := multiset(t, x.o.Dataset, tab); !maps.Equal(after, before) {
			t.Fatalf("%d different rows, want %d", len(after), len(before))
		}
		groups, f := readGroups(t, filepath.Join(x.o.Dataset, paths[0]), tab)
		if len(groups) != 1 {
			t.Fatalf("%d row groups", len(groups))
		}
		for key, want := range map[string]string{
			metaSchema: tab.ID(), metaColumns: tab.columnsJSON(), metaSemantics: "cumulative", metaVersion: "test", metaBatch: "", metaSources: "",
		} {
			if got, _ := f.Lookup(key); got != want {
				t.Errorf("metadata %s: %q", key, got)
			}
		}
		again := compact(t, o)
		if len(again.Days) != 0 {
			t.Errorf("again: %+v", again)
		}
		if left, err := os.ReadDir(o.Staging); err != nil || len(left) > 1 {
			t.Errorf("left in staging: %v %v", left, err)
		}
	}
	if !slices.Equal(outputs[0], outputs[1]) {
		t.Errorf("the same files were compacted to %+v and to %+v", outputs[0], outputs[1])
	}
}

// wantGlobalOrder fails if a row of some files, one after the other, is out of
// order.
func wantGlobalOrder(t testing.TB, dataset string, paths []string, tab *Table) {
	t.Helper()
	var last row
	for _, p := range paths {
		groups, _ := readGroups(t, filepath.Join(dataset, p), tab)
		for g, rows := range groups {
			for i, r := range rows {
				for _, name := range tab.Sorted {
					at := tab.Index(name)
					if last == nil {
						break
					}
					if c := compareValues(last[at], r[at]); c > 0 {
						t.Fatalf("%s: row %d of row group %d is out of order by %s", p, i, g, name)
					} else if c < 0 {
						break
					}
				}
				last = r
			}
		}
	}
}

// Nulls, maps, numbers too large, final rows and constants survive, a large day is
// split, and little memory makes no difference.
func TestCompactKeepsWhatIsRare(t *testing.T) {
	tab := table(t, "service-ingress-octets")
	for _, memory := range []int{0, 1} {
		m := newMemExport(t)
		var results []Result
		for i := range 9 {
			m.batch = ledger.Batch{}
			m.add(fmt.Sprint("r", i%2), fmt.Sprint("act", i), oddSteps(t, 1+i*300)...)
			results = append(results, m.run(t))
		}
		before := multiset(t, m.o.Dataset, tab)
		o := compaction(m.Exporter, results...)
		o.Memory, o.FileBytes = memory, 20_000
		res := compact(t, o)
		var paths []string
		for _, d := range res.Days {
			for _, f := range d.Outputs {
				paths = append(paths, f.Path)
			}
		}
		if after := multiset(t, m.o.Dataset, tab); !maps.Equal(after, before) {
			t.Fatalf("%d different rows, want %d", len(after), len(before))
		}
		wantGlobalOrder(t, m.o.Dataset, paths, tab)
	}
}

// What came late is added when there is enough of it, or when the day is named;
// what the ledger has not finished stays.
func TestCompactLateFiles(t *testing.T) {
	m := newMemExport(t)
	var results []Result
	add := func(n, rows int) {
		t.Helper()
		m.batch = ledger.Batch{}
		m.add("r1", fmt.Sprint("act", n), oddSteps(t, rows)...)
		results = append(results, m.run(t))
	}
	reason := func(o CompactOptions) string {
		t.Helper()
		var text []string
		for _, d := range compact(t, o).Days {
			text = append(text, fmt.Sprintf("%d->%d waiting %d %s", len(d.Inputs), len(d.Outputs), d.Waiting, d.Reason))
		}
		return strings.Join(text, "; ")
	}
	add(0, 500)
	add(1, 500)
	unfinished := compaction(m.Exporter, results[0])
	if got := reason(unfinished); got != "0->0 waiting 1 it has one file" {
		t.Error(got)
	}
	if got := reason(compaction(m.Exporter)); got != "0->0 waiting 2 its files are not recorded as finished" {
		t.Error(got)
	}
	early := compaction(m.Exporter, results...)
	early.Now = noon.Add(30 * time.Hour) // 18:00 on the day after
	if got := reason(early); got != "" {
		t.Error(got)
	}
	early.Now = noon.Add(36 * time.Hour) // the day ended a day ago
	if got := reason(early); got != "2->1 waiting 0 " {
		t.Error(got)
	}
	add(2, 1)
	named := compaction(m.Exporter, results...)
	named.Days = []string{noon.Format(time.DateOnly)}
	if got := reason(named); got != "2->1 waiting 0 " {
		t.Error(got)
	}
	if got := reason(named); got != "" {
		t.Error(got)
	}
	for i := range lateFiles {
		add(3+i, 1)
	}
	if got := reason(compaction(m.Exporter, results...)); got != "9->1 waiting 0 " {
		t.Error(got)
	}
}

func TestCompactIsDue(t *testing.T) {
	files := func(n int, bytes int64) []DataFile { return slices.Repeat([]DataFile{{Bytes: bytes}}, n) }
	const few = "few files came since it was compacted: "
	for _, c := range []struct {
		fresh, compacted []DataFile
		days             []string
		ok               bool
		reason           string
	}{
		{nil, nil, nil, false, "its files are not recorded as finished"},
		{files(1, 1), nil, nil, false, "it has one file"},
		{nil, files(1, 1), nil, false, "it has one file"},
		{nil, files(2, 1), []string{"2026-01-01"}, false, ""},
		{files(2, 1), nil, nil, true, ""},
		{files(1, 1), files(1, 100), nil, false, few + "1"},
		{files(1, 1), files(1, 100), []string{"2026-01-01"}, true, ""},
		{files(1, 10), files(1, 100), nil, true, ""},
		{files(3, 3), files(1, 100), nil, false, few + "3"},
		{files(lateFiles, 1), files(1, 1000), nil, true, ""},
	} {
		o := CompactOptions{Days: c.days}
		if ok, reason := o.due(c.fresh, c.compacted); ok != c.ok || reason != c.reason {
			t.Errorf("%d fresh, %d compacted, days %q: %v %q", len(c.fresh), len(c.compacted), c.days, ok, reason)
		}
	}
}

// A file that is damaged stops its day, is named, and nothing is replaced.
func TestCompactRefusesDamage(t *testing.T) {
	files := memFiles{}
	x := newExporter(t, Options{Open: files.open})
	results := generatedDay(t, x, files, 30, 3)
	paths := dataFiles(t, x.o.Dataset)
	name := filepath.Join(x.o.Dataset, paths[1])
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, f := readGroups(t, name, table(t, "combined-service-ingress"))
	chunk := f.Metadata().RowGroups[0].Columns[20].MetaData
	b[chunk.DataPageOffset+chunk.TotalCompressedSize-1] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := Compact(context.Background(), compaction(x, results...))
	if err != nil || len(res.Days) != 1 {
		t.Fatalf("%+v %v", res, err)
	}
	if err := res.Days[0].Err; !errors.Is(err, columns.ErrDamaged) || !strings.Contains(err.Error(), paths[1]) {
		t.Errorf("error %v", err)
	}
	if got := dataFiles(t, x.o.Dataset); !slices.Equal(got, paths) {
		t.Errorf("files %q", got)
	}
}
