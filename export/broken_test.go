package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/internal/gen"
	"acctpull/ledger"
	"acctpull/record"
)

// genFile makes one gzip file.
func genFile(t testing.TB, o gen.Options) ([]byte, gen.Truth) {
	t.Helper()
	var b bytes.Buffer
	truth, err := gen.File(&b, o)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), truth
}

// zipped compresses a text.
func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A broken file leaves no row, whether it breaks before or after rows of it
// were written, and the others are exported as if it had not been there.
func TestBrokenFileLeavesNoRow(t *testing.T) {
	for _, memory := range []int{DefaultMemory, 150_000} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			files := memFiles{}
			var good, all []ledger.Input
			total := int64(0)
			for i := range 6 {
				b, truth := genFile(t, gen.Options{Seed: uint64(i), Objects: 60, Intervals: 6})
				name := fmt.Sprintf("act%d.xml.gz", i)
				if i%3 == 1 {
					b = b[:len(b)*2/3]
					all = append(all, files.add("r1", name, b))
					continue
				}
				total += truth.Records
				good = append(good, files.add("r1", name, b))
				all = append(all, good[len(good)-1])
			}
			x := newExporter(t, Options{Open: files.open, Memory: memory})
			res, err := x.Run(context.Background(), batchOf(all...))
			if err != nil {
				t.Fatal(err)
			}
			if res.Records != total {
				t.Errorf("%d records, want %d", res.Records, total)
			}
			for i, f := range res.Files {
				broken := i%3 == 1
				if (f.State == ledger.Quarantined) != broken || (f.Records == 0) != broken || (f.Reason == "") == broken || (f.Hint == "") == broken {
					t.Errorf("file %d: %+v", i, f)
				}
				if res.Inputs[i].State != f.State || res.Inputs[i].Reason != f.Reason || res.Inputs[i].SHA256 != all[i].SHA256 {
					t.Errorf("input %d: %+v", i, res.Inputs[i])
				}
			}
			// Without the broken files, the same rows.
			y := newExporter(t, Options{Open: files.open, Memory: memory})
			without, err := y.Run(context.Background(), batchOf(good...))
			if err != nil {
				t.Fatal(err)
			}
			if a, b := allRows(t, x, res), allRows(t, y, without); a != b {
				t.Error("the rows differ from an export without the broken files")
			}
		})
	}
}

// allRows is the text of all rows of a result, in their order.
func allRows(t *testing.T, x *Exporter, res Result) string {
	t.Helper()
	var b strings.Builder
	for _, o := range res.Outputs {
		groups, _ := readGroups(t, filepath.Join(x.o.Dataset, o.Path), table(t, record.Name(o.Record)))
		for _, g := range groups {
			for _, r := range g {
				b.WriteString(r.text())
			}
		}
	}
	return b.String()
}

// Salvage takes the complete records of a file that was cut off, and says so in
// the result and in the metadata.
func TestSalvage(t *testing.T) {
	files := memFiles{}
	b, truth := genFile(t, gen.Options{Objects: 50, Intervals: 4})
	in := files.add("r1", "act.xml.gz", b[:len(b)-len(b)/4])
	x := newExporter(t, Options{Open: files.open, Reader: record.ReaderOptions{Salvage: true}})
	res, err := x.Run(context.Background(), batchOf(in))
	if err != nil {
		t.Fatal(err)
	}
	f := res.Files[0]
	if !f.Truncated || f.State != ledger.Exported || f.Clean() || f.Records == 0 || f.Records >= truth.Records {
		t.Errorf("%+v", f)
	}
	batches, err := Sources(t.Context(), x.o.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	if len(batches) != 1 || len(batches[0].Sources) != 1 || !batches[0].Sources[0].Truncated || batches[0].Sources[0].Records != f.Records {
		t.Errorf("sources %+v", batches)
	}
}

// One unusable record goes to the quarantine, whole and with its reason; the
// rest of the file is exported.
func TestUnusableRecordGoesToQuarantine(t *testing.T) {
	var b bytes.Buffer
	truth, err := gen.XML(&b, gen.Options{Objects: 5, Intervals: 2})
	if err != nil {
		t.Fatal(err)
	}
	text := b.String()
	field := strings.LastIndex(text, "</iof>")
	files := memFiles{}
	bad := files.add("r1", "act1.xml.gz", zipped(t, text[:field]+"-1"+text[field:]))
	good := files.add("r1", "act2.xml.gz", zipped(t, text))
	var told []FileResult
	x := newExporter(t, Options{Open: files.open, Hooks: Hooks{OnFile: func(f FileResult) { told = append(told, f) }}})
	for pass := range 2 { // a repeated run replaces the file of rejects
		res, err := x.Run(context.Background(), batchOf(bad, good))
		if err != nil {
			t.Fatal(err)
		}
		f := res.Files[0]
		if f.State != ledger.Exported || f.Rejected != 1 || f.Records != truth.Records-1 || f.Clean() || !res.Files[1].Clean() {
			t.Fatalf("pass %d: %+v", pass, f)
		}
		line, err := os.ReadFile(filepath.Join(x.o.Quarantine, f.Rejects))
		if err != nil {
			t.Fatal(err)
		}
		var r reject
		if err := errors.Join(json.NewDecoder(bytes.NewReader(line)).Decode(&r), CheckRejects(t.Context(), x.o.Rejects, f.Rejects)); err != nil {
			t.Fatal(err)
		}
		if r.Device != "r1" || r.File != "act1.xml.gz" || r.SHA256 != bad.SHA256 || r.Reason == "" || r.Path == "" ||
			!strings.Contains(text[:field]+"-1"+text[field:], r.Raw) || !strings.HasPrefix((text[:field] + "-1" + text[field:])[r.Offset:], r.Raw) {
			t.Errorf("reject %+v", r)
		}
		if left, err := os.ReadDir(x.o.Quarantine); err != nil || len(left) != 1 {
			t.Errorf("quarantine: %v %v", left, err)
		}
	}
	if len(told) != 4 || told[0].Input != bad || told[1].Input != good {
		t.Errorf("hooks: %+v", told)
	}
	if bytes.Count(mustRead(t, filepath.Join(x.o.Quarantine, told[0].Rejects)), []byte("\n")) != 2 { // and the digest
		t.Error("the quarantine file was appended to")
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A file whose times make no sense cannot be put into a partition: it goes to
// quarantine as a whole, also when rows of it were written already.
func TestTimesThatMakeNoSense(t *testing.T) {
	s := meters(t)
	at := func(year int) time.Time { return time.Date(year, 7, 1, 0, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		start, end time.Time
		reason     string
		hint       bool
	}{
		{end: time.Time{}, reason: "no interval end", hint: true},
		{end: at(1970), reason: "interval end 1970-07-01T00:00:00Z is not in the years 1990–2100", hint: true},
		{end: at(2101), reason: "is not in the years", hint: true},
		{start: at(1989), end: at(2026), reason: "interval start 1989", hint: true},
		{start: at(2027), end: at(2026), reason: "is after its end", hint: false},
		{start: at(2026), end: at(2026)},
		{end: at(2100)},
		{end: at(1990)},
	} {
		for _, memory := range []int{DefaultMemory, 40_000} {
			m := newMemExport(t)
			m.o.Memory = memory
			var steps []step
			for i := range 600 {
				steps = append(steps, step{rec: rec(s, 0, map[string]record.Value{"mId": record.Num(uint64(i))})})
			}
			last := rec(s, 0, nil)
			last.Start, last.End, last.Offset = c.start, c.end, 4711
			m.add("r1", "act1", append(steps, step{rec: last})...)
			m.add("r1", "act2", steps...)
			res := m.run(t)
			f, rows := res.Files[0], int64(1200+1)
			if c.reason != "" {
				rows = 600
				if f.State != ledger.Quarantined || !strings.Contains(f.Reason, c.reason) || !strings.Contains(f.Reason, "4711") || (f.Hint != "") != c.hint {
					t.Errorf("%v: %+v", c, f)
				}
			} else if !f.Clean() {
				t.Errorf("%v: %+v", c, f)
			}
			if res.Records != rows {
				t.Errorf("%v: %d rows, want %d", c, res.Records, rows)
			}
		}
	}
}

// Inputs that cannot be had: what is the input's own fault leaves the others
// alone, anything else stops the run.
func TestInputsThatCannotBeRead(t *testing.T) {
	b, truth := genFile(t, gen.Options{})
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		open  func(good io.ReadCloser) (io.ReadCloser, error)
		fatal bool
	}{
		{"missing", func(io.ReadCloser) (io.ReadCloser, error) { return nil, fs.ErrNotExist }, false},
		{"denied", func(io.ReadCloser) (io.ReadCloser, error) {
			return nil, &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}
		}, false},
		{"other", func(io.ReadCloser) (io.ReadCloser, error) { return nil, boom }, true},
		{"read", func(g io.ReadCloser) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(io.LimitReader(g, 1000), failing{boom})), nil
		}, true},
		{"close", func(g io.ReadCloser) (io.ReadCloser, error) { return failingClose{g, boom}, nil }, true},
		{"changed", func(io.ReadCloser) (io.ReadCloser, error) {
			other, _ := genFile(t, gen.Options{Seed: 9})
			return io.NopCloser(bytes.NewReader(other)), nil
		}, false},
		{"empty", func(io.ReadCloser) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := memFiles{}
			good := files.add("r2", "good.xml.gz", b)
			bad := ledger.Input{Device: "r1", Name: "bad.xml.gz", SHA256: good.SHA256}
			x := newExporter(t, Options{Open: func(in ledger.Input) (io.ReadCloser, error) {
				src, err := files.open(in)
				if in == bad {
					return c.open(src)
				}
				return src, err
			}})
			res, err := x.Run(context.Background(), batchOf(good, bad))
			if c.fatal {
				var e *Error
				if !errors.Is(err, boom) || !errors.As(err, &e) || e.Device != "r1" || e.File != "bad.xml.gz" {
					t.Fatalf("error %v", err)
				}
				if p := published(t, x.o.Dataset); len(p) != 0 {
					t.Errorf("left: %v", p)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.Files[0].State != ledger.Quarantined || res.Files[0].Reason == "" || !res.Files[1].Clean() || res.Records != truth.Records {
				t.Errorf("%+v", res.Files)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type failingClose struct {
	io.Reader
	err error
}

func (f failingClose) Close() error { return f.err }

// A batch of which nothing can be used has no outputs, and is done.
func TestNothingToPublish(t *testing.T) {
	files := memFiles{}
	x := newExporter(t, Options{Open: files.open})
	res, err := x.Run(context.Background(), batchOf(files.add("r1", "act1.xml.gz", []byte("x")), files.add("r1", "act2.xml.gz", nil)))
	if err != nil || len(res.Outputs) != 0 || len(res.Inputs) != 2 || res.Inputs[1].State != ledger.Quarantined {
		t.Fatalf("%v %+v", err, res)
	}
	if p := published(t, x.o.Dataset); len(p) != 0 {
		t.Errorf("published: %v", p)
	}
	if text := mustRead(t, filepath.Join(x.o.Dataset, catalogFile)); bytes.Contains(text, []byte("CREATE")) {
		t.Errorf("catalog:\n%s", text)
	}
}

// Plain XML is read by its name, and a file that is something else is refused.
func TestPlainXML(t *testing.T) {
	var b bytes.Buffer
	truth, err := gen.XML(&b, gen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	files := memFiles{}
	x := newExporter(t, Options{Open: files.open})
	plain, wrong := files.add("r1", "act.XML", b.Bytes()), files.add("r2", "act.xml.gz", b.Bytes())
	res, err := x.Run(context.Background(), batchOf(plain, wrong))
	if err != nil {
		t.Fatal(err)
	}
	if !res.Files[0].Clean() || res.Records != truth.Records || res.Files[1].State != ledger.Quarantined {
		t.Errorf("%+v", res.Files)
	}
}

// A record that stands twice in a file is exported as it came, and the result
// says so: X10.
func TestRepeatedRecordsAreTold(t *testing.T) {
	s := meters(t)
	m := newMemExport(t)
	key := map[string]record.Value{"svc": record.Str("1"), "mId": record.Num(1)}
	other := map[string]record.Value{"svc": record.Str("1"), "mId": record.Num(2)}
	final := rec(s, 1, key)
	final.Final = 1
	m.add("r1", "act1", step{rec: rec(s, 1, key)}, step{rec: rec(s, 1, other)}, step{rec: rec(s, 1, key)}, step{rec: rec(s, 0, other)},
		step{rec: final}, step{rec: rec(s, 2, key)})
	m.add("r1", "act2", step{rec: rec(s, 1, key)})
	res := m.run(t)
	if f := res.Files[0]; f.Repeated != 2 || f.Records != 6 || !strings.Contains(f.Reason, "2 records repeat") || f.State != ledger.Exported {
		t.Errorf("%+v", f)
	}
	if !res.Files[1].Clean() {
		t.Errorf("%+v", res.Files[1])
	}
}

// What is wrong with a batch or with the options is said before anything is
// done.
func TestRefusals(t *testing.T) {
	_, err := New(Options{Memory: -1})
	for _, part := range []string{"no dataset", "no way to open", "no quarantine", "memory"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	x := newExporter(t, Options{Open: memFiles{}.open})
	in := ledger.Input{Device: "r1", Name: "act1", SHA256: sha("x")}
	noSum, noName, twice := in, in, in
	noSum.SHA256, noName.Name, twice.Name = strings.ToUpper(sha("x")), "", "act2"
	for want, batch := range map[string]ledger.Batch{
		"no inputs":       batchOf(),
		"not a SHA-256":   batchOf(noSum),
		"need a name":     batchOf(noName),
		"twice":           batchOf(in, twice),
		"not that of the": {BatchClaim: ledger.BatchClaim{ID: sha("y")}, Inputs: []ledger.Input{in}},
	} {
		if _, err := x.Run(context.Background(), batch); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if _, err := os.Stat(x.o.Dataset); !isMissing(err) {
		t.Errorf("the dataset was made: %v", err)
	}
}

// A cancelled run leaves nothing.
func TestCancel(t *testing.T) {
	files := memFiles{}
	var inputs []ledger.Input
	for i := range 4 {
		b, _ := genFile(t, gen.Options{Seed: uint64(i), Objects: 40})
		inputs = append(inputs, files.add("r1", fmt.Sprintf("act%d.xml.gz", i), b))
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := newExporter(t, Options{Open: files.open, Memory: 60_000, Hooks: Hooks{OnProgress: func(n int, _ int64) {
		if n == 3 {
			cancel()
		}
	}}})
	if _, err := x.Run(ctx, batchOf(inputs...)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if p := published(t, x.o.Dataset); len(p) != 0 {
		t.Errorf("left: %v", p)
	}
}
