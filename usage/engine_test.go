package usage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// bench is a dataset in a directory with one record table.
type bench struct {
	t       testing.TB
	dir     string
	dataset *depot.Dir
	l       *layout
	world   *world
	encoder *columns.Encoder
	files   int
	now     time.Time
}

func newBench(t testing.TB, dir string, w *world) *bench {
	encoder, err := columns.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, dir: dir, dataset: depot.NewDir(dir), l: newLayout(testTable()), world: w, encoder: encoder, now: time.Unix(1.8e9, 0)}
}

// publish puts rows into the record table, a file for each day, as an export
// does.
func (b *bench) publish(rows []stored) {
	b.files++
	days := map[string][]stored{}
	for _, r := range rows {
		days[r.date()] = append(days[r.date()], r)
	}
	for date, rows := range days {
		slices.SortStableFunc(rows, stored.compare)
		name := fmt.Sprintf("%s/%032x.parquet", export.PartitionPath(b.l.record.Name, 1, date), b.files)
		b.write(name, rows)
	}
}

func (b *bench) write(name string, rows []stored) {
	path := filepath.Join(b.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		b.t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		b.t.Fatal(err)
	}
	schema := columnsOf(b.l.record)
	var names []string
	for _, c := range schema.Columns {
		names = append(names, c.Name)
	}
	w := columns.NewWriter(f, schema, columns.WriterOptions{CreatedBy: createdBy, Encoder: b.encoder})
	for len(rows) > 0 {
		n := min(len(rows), 1+b.world.IntN(100))
		if err := w.WriteRows(batchOf(b.world.Rand, schema.Columns, names, rows[:n])); err != nil {
			b.t.Fatal(err)
		}
		rows = rows[n:]
	}
	if err := w.Close(map[string]string{"acctpull.schema": b.l.record.ID()}); err != nil {
		b.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) options() Options {
	o := Options{Dataset: b.dataset, Scratch: filepath.Join(b.dir, StateDir, "making"), Tables: []*export.Table{b.l.record}, Now: func() time.Time { return b.now }}
	for device := range b.world.narrow {
		for i := range counters {
			o.Narrow = append(o.Narrow, Narrow{device, fmt.Sprint("c", i), rate32})
		}
	}
	slices.SortFunc(o.Narrow, func(a, b Narrow) int { return compareText(a.Device+a.Column, b.Device+b.Column) })
	return o
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// refresh brings the usage up to date and returns the days that were computed.
func (b *bench) refresh() (report TableReport, computed []string) {
	o := b.options()
	o.OnDay = func(d Day) {
		if d.Outcome == Computed {
			computed = append(computed, d.Date)
		}
	}
	reports, err := Refresh(context.Background(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(reports) > 0 {
		report = reports[0]
	}
	return report, computed
}

// usage reads the usage table: its rows as fact.usage has them, sorted, and a
// digest of the rows in their order.
func (b *bench) usage() (lines []string, digest string) {
	s, err := export.ReadSnapshot(context.Background(), b.dataset, b.l.usage.Name)
	if err != nil {
		b.t.Fatal(err)
	}
	h := sha256.New()
	for _, f := range s.Files {
		got := b.read(f.Path)
		fmt.Fprintln(h, f.Date, got)
		lines = append(lines, got...)
	}
	slices.Sort(lines)
	return lines, sum(h)
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

func (b *bench) read(path string) []string {
	object, err := b.dataset.Open(context.Background(), path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer object.Close()
	f, err := columns.Open(object, object.Size())
	if err != nil {
		b.t.Fatal(err)
	}
	var all batches
	for scan := f.Scan(columns.ScanOptions{}); ; {
		in, err := scan.Next(context.Background())
		if err == io.EOF {
			return all.lines(b.l.usage)
		}
		if err != nil {
			b.t.Fatal(err)
		}
		if err := all.WriteRows(in); err != nil {
			b.t.Fatal(err)
		}
	}
}

// truth is what the usage table has to be.
func (w *world) truth() (lines []string) {
	for _, f := range w.facts {
		lines = append(lines, f.usage())
	}
	slices.Sort(lines)
	return lines
}

// TestProofArrival lets the files of generated worlds arrive in any order, and brings
// the usage up to date in between. After each time it is that which is made from
// scratch; at the end it is the truth.
func TestProofArrival(t *testing.T) {
	for seed := range seeds(4, 40) {
		w := newWorld(seed)
		dir := t.TempDir()
		b := newBench(t, dir, w)
		files := w.files()
		for len(files) > 0 {
			n := min(len(files), 1+w.IntN(1+len(files)/2))
			var rows []stored
			for _, f := range files[:n] {
				for _, r := range f.facts {
					rows = append(rows, stored{r, f.Source})
				}
			}
			files = files[n:]
			b.publish(rows)
			report, _ := b.refresh()
			_, got := b.usage()
			if seed%4 == 0 { // what is known is lost
				if err := os.RemoveAll(filepath.Join(dir, StateDir)); err != nil {
					t.Fatal(err)
				}
			}
			fresh := newBench(t, t.TempDir(), w)
			if err := os.CopyFS(filepath.Join(fresh.dir, b.l.record.Name), os.DirFS(filepath.Join(dir, b.l.record.Name))); err != nil {
				t.Fatal(err)
			}
			scratch, _ := fresh.refresh()
			if _, want := fresh.usage(); got != want {
				t.Fatalf("seed %d: with %d files to come the usage is not that made from scratch", seed, len(files))
			}
			if fmt.Sprint(report.Stats) != fmt.Sprint(scratch.Stats) {
				t.Fatalf("seed %d: %+v, from scratch %+v", seed, report.Stats, scratch.Stats)
			}
		}
		got, _ := b.usage()
		if d := diff(got, w.truth()); d != "" {
			t.Fatalf("seed %d:\n%s", seed, d)
		}
		if _, computed := b.refresh(); seed%4 != 0 && len(computed) > 0 {
			t.Fatalf("seed %d: computed %v again", seed, computed)
		}
	}
}

// steady is a world of one device that counts without any event on some days.
func steady(days int) *world {
	w := &world{Rand: rand.New(rand.NewPCG(1, 1)), slots: days * slotsADay}
	for i := range 3 {
		o := &object{fact: fact{device: "edge-1", service: "10", sap: fmt.Sprint("1/1/", i), meter: 1, sub: "sio", scope: "per meter", semantics: Cumulative}}
		w.start(o)
		o.noFall, o.calm = false, 0
		for t := 1; t <= w.slots; t++ {
			n, wrapped := w.grow(o)
			w.row(o, began+int64(t-1)*slot, began+int64(t)*slot, 0, n, wrapped)
		}
	}
	return w
}

// TestLateFile: a late file makes its day anew, and of the days behind only
// those whose carry it changes.
func TestLateFile(t *testing.T) {
	w := steady(5)
	b := newBench(t, t.TempDir(), w)
	all := map[string][]stored{}
	var late, night []stored
	for i, f := range w.facts {
		r := stored{f, Source{File: "act1011-" + f.date(), SHA256: "aa"}}
		f.sources = []Source{r.Source}
		switch at := i % w.slots; at {
		case slotsADay + 4: // in the second day
			late = append(late, r)
		case 2*slotsADay - 2: // the last one of the second day
			night = append(night, r)
		default:
			all[r.date()] = append(all[r.date()], r)
		}
	}
	for _, rows := range all {
		b.publish(rows)
	}
	days := []string{"2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05", "2026-03-06"}
	expect := func(what string, want ...string) {
		t.Helper()
		report, got := b.refresh()
		if !slices.Equal(got, want) {
			t.Errorf("%s: computed %v, want %v", what, got, want)
		}
		if report.Rows != int64(b.rows()) {
			t.Errorf("%s: %d rows reported, there are %d", what, report.Rows, b.rows())
		}
	}
	expect("first", days...)
	expect("nothing new")
	b.publish(late)
	expect("a row within a day", days[1])
	b.publish(night)
	expect("the last row of a day", days[1], days[2])
	if got, _ := b.usage(); diff(got, w.truth()) != "" {
		t.Error(diff(got, w.truth()))
	}
	_, before := b.usage()
	// The rows of a day in another file, as a compaction leaves them.
	b.compact(days[3])
	expect("compacted", days[3])
	if _, after := b.usage(); after != before {
		t.Error("compaction of the records changes the usage")
	}
	carries, err := filepath.Glob(filepath.Join(b.dir, StateDir, "test", "v1", "*.carry"))
	if err != nil || len(carries) != len(days) {
		t.Errorf("%d carries of %d days, %v", len(carries), len(days), err)
	}
	// Without the state everything is made anew, to the same bytes.
	files := b.paths()
	if err := os.RemoveAll(filepath.Join(b.dir, StateDir)); err != nil {
		t.Fatal(err)
	}
	expect("without the state", days...)
	if again := b.paths(); !slices.Equal(again, files) {
		t.Errorf("files %v, before %v", again, files)
	}
	// Without a carry, or with a damaged one, too.
	for _, harm := range []func(path string) error{os.Remove, func(path string) error { return os.Truncate(path, 4) }, flipByte} {
		if err := harm(carries[1]); err != nil {
			t.Fatal(err)
		}
		b.compact(days[2])
		expect("a lost carry", days...)
		if _, after := b.usage(); after != before {
			t.Error("a lost carry changes the usage")
		}
	}
}

// flipByte changes a byte of the first page of a file.
func flipByte(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text[40] ^= 0xff
	return os.WriteFile(path, text, 0o640)
}

func (b *bench) rows() int { lines, _ := b.usage(); return len(lines) }

// paths are the files of the usage table.
func (b *bench) paths() (paths []string) {
	s, err := export.ReadSnapshot(context.Background(), b.dataset, b.l.usage.Name)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range s.Files {
		paths = append(paths, f.Path)
	}
	return paths
}

// compact puts all rows of a day of the record table into one file.
func (b *bench) compact(date string) {
	dir := filepath.Join(b.dir, filepath.FromSlash(export.PartitionPath(b.l.record.Name, 1, date)))
	if err := os.RemoveAll(dir); err != nil {
		b.t.Fatal(err)
	}
	var rows []stored
	for _, f := range b.world.facts {
		if f.date() == date {
			for _, s := range f.sources {
				rows = append(rows, stored{f, s})
			}
		}
	}
	b.publish(rows)
}

// TestExpired: usage stays when its records have expired, and what they left
// goes on; it goes when records were replaced by none.
func TestExpired(t *testing.T) {
	w := steady(3)
	b := newBench(t, t.TempDir(), w)
	var rows []stored
	for _, f := range w.facts {
		f.sources = []Source{{File: "a", SHA256: "b"}}
		rows = append(rows, stored{f, f.sources[0]})
	}
	b.publish(rows)
	b.refresh()
	_, before := b.usage()
	ctx := context.Background()
	remove := func(date, reason string) {
		t.Helper()
		s, err := export.ReadSnapshot(ctx, b.dataset, b.l.record.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Files {
			if f.Date != date {
				continue
			}
			// Take it for a file that was made, as a compacted one is.
			at, err := b.dataset.Open(ctx, f.Path)
			if err != nil {
				t.Fatal(err)
			}
			at.Close()
			local := filepath.Join(b.dir, filepath.FromSlash(f.Path))
			sha, size, err := durable.Sum(local)
			if err != nil {
				t.Fatal(err)
			}
			moved := filepath.Join(b.dir, StateDir, "moved")
			if err := os.Rename(local, moved); err != nil {
				t.Fatal(err)
			}
			path := export.MadePath(b.l.record.Name, 1, date, sha, nil)
			for _, c := range []export.Change{
				{Reason: export.ReasonRebuild, Add: []depot.File{{Path: path, Local: moved, SHA256: sha, Size: size}}},
				{Reason: reason, Remove: []string{path}},
			} {
				if err := export.Replace(ctx, b.dataset, c, export.ReplaceOptions{Now: b.now}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	remove("2026-03-01", export.ReasonExpired)
	report, computed := b.refresh()
	if _, after := b.usage(); after != before || len(computed) > 0 || report.Kept != 1 {
		t.Errorf("computed %v, %d kept", computed, report.Kept)
	}
	remove("2026-03-02", export.ReasonRebuild)
	report, computed = b.refresh()
	if report.Removed != 1 || !slices.Equal(computed, []string{"2026-03-03", "2026-03-04"}) && !slices.Equal(computed, []string{"2026-03-03"}) {
		t.Errorf("computed %v, %d removed", computed, report.Removed)
	}
	lines, _ := b.usage()
	for _, f := range w.facts {
		if there := slices.Contains(lines, f.usage()); f.date() == "2026-03-02" && there {
			t.Error("usage of records that are gone")
		}
	}
}

// TestWindow: with bounds only the days between are brought up to date.
func TestWindow(t *testing.T) {
	w := steady(4)
	b := newBench(t, t.TempDir(), w)
	var rows []stored
	for _, f := range w.facts {
		f.sources = []Source{{File: "a", SHA256: "b"}}
		rows = append(rows, stored{f, f.sources[0]})
	}
	b.publish(rows)
	o := b.options()
	o.From, o.To = "2026-03-02", "2026-03-03"
	reports, err := Refresh(context.Background(), o)
	if err != nil || reports[0].Computed != 2 || reports[0].Breaks["first"] != 3 {
		t.Fatalf("%+v, %v", reports, err)
	}
	if report, computed := b.refresh(); len(computed) != 5 && len(computed) != 4 || report.Breaks["first"] != 3 {
		t.Errorf("then computed %v, %+v", computed, report)
	}
	if got, _ := b.usage(); diff(got, w.truth()) != "" {
		t.Error(diff(got, w.truth()))
	}
}
