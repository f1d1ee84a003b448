package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// opens counts the files of a directory that are opened.
type opens struct {
	*depot.Dir
	parquet int
}

func (o *opens) Open(ctx context.Context, path string) (depot.Object, error) {
	if strings.HasSuffix(path, parquetSuffix) {
		o.parquet++
	}
	return o.Dir.Open(ctx, path)
}

// Documents of a dataset agree with its files: pyarrow finds in them what
// datapackage.json says, in that order.
func TestSidecarsTellTheTruth(t *testing.T) {
	m, truths, _ := everything(t)
	text := mustRead(t, filepath.Join(m.o.Dataset, packageFile))
	var doc dataPackageDoc
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Resources) != len(truths) {
		t.Fatalf("%d resources, want %d", len(doc.Resources), len(truths))
	}
	v := python(t, "pyarrow", m.o.Dataset, `
import glob, json, pyarrow.parquet as pq
types = {"string": "string", "int32": "integer", "int64": "integer", "timestamp[us, tz=UTC]": "datetime"}
out, files = {}, 0
for r in json.load(open("datapackage.json"))["resources"]:
    want = [(f["name"], f["type"], f.get("constraints", {}).get("required", False)) for f in r["schema"]["fields"]]
    for path in glob.glob(r["path"]):
        files += 1
        s = pq.read_schema(path)
        got = [(f.name, types.get(str(f.type), "object"), not f.nullable) for f in s]
        own = {c["name"]: (c.get("unit"), c.get("abbreviations"), c["meaning"]) for c in json.loads(s.metadata[b"acctpull.columns"])}
        said = {f["name"]: (f.get("acctpull:unit"), f.get("acctpull:abbreviations"), f["description"]) for f in r["schema"]["fields"]}
        if got != want or own != said:
            out[path] = [got, want]
print(json.dumps({"wrong": out, "files": files}))`)
	if fmt.Sprint(v["wrong"]) != "map[]" || fmt.Sprint(v["files"]) != fmt.Sprint(4*len(truths)) {
		t.Errorf("%v files; wrong: %v", v["files"], v["wrong"])
	}

	dictionary := string(mustRead(t, filepath.Join(m.o.Dataset, dictionaryFile)))
	readme := string(mustRead(t, filepath.Join(m.o.Dataset, readmeFile)))
	rows := int64(0)
	for _, w := range truths {
		rows += int64(len(w.rows))
		_, section, ok := strings.Cut(dictionary, "\n## "+w.table.Name+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		for _, c := range w.table.Columns {
			if !ok || !strings.Contains(section, "| `"+c.Name+"` | "+c.Type.String()+" |") {
				t.Errorf("dictionary: no %s of %s", c.Name, w.table.Name)
			}
		}
		if want := fmt.Sprintf("| `%s` | %s | 4 | ", w.table.Name, thousands(int64(len(w.rows)))); !strings.Contains(readme, want) {
			t.Errorf("README: no line %q in\n%s", want, readme)
		}
	}
	if want := fmt.Sprintf("%s records in %d files", thousands(rows), 4*len(truths)); !strings.Contains(readme, want) || !strings.Contains(readme, "from 2026-03-04 to 2026-03-05 (") {
		t.Errorf("README: no %q in\n%s", want, readme)
	}

	// Damage of any of them is told.
	dataset := depot.NewDir(m.o.Dataset)
	if wrong := CheckSidecars(t.Context(), dataset); len(wrong) != 0 {
		t.Errorf("undamaged: %v", wrong)
	}
	names := []string{readmeFile, catalogFile, dictionaryFile, packageFile}
	for _, name := range names {
		b := mustRead(t, filepath.Join(m.o.Dataset, name))
		b[len(b)/3] ^= 1
		if err := os.WriteFile(filepath.Join(m.o.Dataset, name), b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	wrong := CheckSidecars(t.Context(), dataset)
	if got := slices.Sorted(maps.Keys(wrong)); !slices.Equal(got, names) || !errors.Is(wrong[readmeFile], durable.ErrDigest) {
		t.Errorf("damaged: %v", wrong)
	}
}

// The figures follow what changes, and only partitions that changed are read.
func TestReadmeReadsWhatChanged(t *testing.T) {
	files, inputs, total := threeRecords(t)
	x := newExporter(t, Options{Open: files.open})
	now := time.Date(2026, 3, 5, 10, 0, 0, 0, time.UTC)
	run := func(o ...int) {
		t.Helper()
		for _, i := range o {
			if _, err := x.Run(t.Context(), batchOf(inputs[i])); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(0, 1, 2)
	d := &opens{Dir: depot.NewDir(x.o.Dataset)}
	s := x.sidecars()
	s.Dataset, s.Now = d, func() time.Time { return now }
	s.Devices = func(context.Context) ([]DeviceFiles, error) {
		return []DeviceFiles{{Device: "r`1", Exported: 7, Lost: 2}, {Device: "r2", Exported: 1000, Waiting: 3}, {Device: "r3", Quarantined: 4}}, nil
	}
	write := func() string {
		t.Helper()
		if err := s.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		return string(mustRead(t, filepath.Join(x.o.Dataset, readmeFile)))
	}
	text := write()
	for _, want := range []string{
		fmt.Sprintf("\n%s records in 6 files", thousands(total)), "as of 2026-03-05 10:00:00 UTC",
		"3 devices. Of their files 1,007 are exported, 3 wait, 4 are in quarantine and 2 were lost",
		"| `r3` | 0 | 4 | 0 | 0 |\n| `r'1` | 2 | 0 | 7 | 0 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if d.parquet != 0 {
		t.Errorf("%d files were opened, none changed", d.parquet)
	}

	// One partition goes: nothing is opened. The statistics are lost: all are.
	if err := os.RemoveAll(filepath.Join(x.o.Dataset, "saa/v1/date=2026-03-05")); err != nil {
		t.Fatal(err)
	}
	if text = write(); !strings.Contains(text, " records in 5 files") || d.parquet != 0 {
		t.Errorf("%d files were opened:\n%s", d.parquet, text)
	}
	if err := os.WriteFile(filepath.Join(x.o.Dataset, statisticsFile), []byte("{}\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if again := write(); again != text || d.parquet != 5 {
		t.Errorf("%d files were opened:\n%s", d.parquet, again)
	}

	// A file that is no Parquet file stops nothing.
	odd := filepath.Join(x.o.Dataset, "saa/v1/date=2026-03-04/odd.parquet")
	if err := os.WriteFile(odd, []byte("odd"), 0o640); err != nil {
		t.Fatal(err)
	}
	if text = write(); !strings.Contains(text, " records in 6 files") {
		t.Error(text)
	}
}

// The catalogue of a bucket reads what the newest manifest names, wherever the
// bucket is, and nothing else.
func TestCatalogOfABucket(t *testing.T) {
	files, inputs, total := threeRecords(t)
	bucket := newBucket("").(*memBucket)
	x := newExporter(t, Options{Open: files.open, Outputs: bucket})
	for _, in := range inputs {
		if _, err := x.Run(t.Context(), batchOf(in)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for name, text := range bucket.objects {
		at := filepath.Join(dir, "bucket", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, text, 0o640); err != nil {
			t.Fatal(err)
		}
		if isOutput(name) { // as a file that was replaced, or that is not yet part of it
			if err := os.WriteFile(strings.TrimSuffix(at, parquetSuffix)+"0"+parquetSuffix, text, 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	v := python(t, "duckdb", "/", `
import duckdb, json, sys
c = duckdb.connect()
c.execute("SET VARIABLE dataset = '" + sys.argv[1] + "/'")
c.execute(open(sys.argv[1] + "/catalog.sql").read())
views = [v for (v,) in c.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL").fetchall()]
print(json.dumps({"views": views, "total": sum(c.execute("SELECT count(*) FROM " + v).fetchone()[0] for v in views),
  "date": c.execute("SELECT DISTINCT typeof(date) FROM saa").fetchall()}))`, filepath.Join(dir, "bucket"))
	if got, want := fmt.Sprint(v["total"], v["views"], v["date"]), fmt.Sprint(total, "[combined_service_ingress network_ingress_octets saa] [[DATE]]"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if text := string(bucket.objects[readmeFile]); !strings.Contains(text, fmt.Sprintf("\n%s records in 6 files", thousands(total))) {
		t.Errorf("README:\n%s", text)
	}
	if wrong := CheckSidecars(t.Context(), bucket); len(wrong) != 0 {
		t.Errorf("%v", wrong)
	}
}

func TestReadmeIsDue(t *testing.T) {
	at := time.Date(2026, 3, 5, 10, 0, 0, 0, time.UTC)
	a, b := &Table{Name: "a", Version: 1}, &Table{Name: "b", Version: 1}
	made := func(files int64) []byte {
		return readme([]*Table{a}, map[string]*tableStats{"a": {Files: files}}, nil, false, at)
	}
	for _, c := range []struct {
		what   string
		old    []byte
		tables []*Table
		now    time.Time
		due    bool
	}{
		{"large and young", made(5000), []*Table{a}, at.Add(59 * time.Minute), false},
		{"large and old", made(5000), []*Table{a}, at.Add(time.Hour), true},
		{"from the future", made(5000), []*Table{a}, at.Add(-time.Minute), true},
		{"small", made(1000), []*Table{a}, at.Add(time.Second), true},
		{"a new table", made(5000), []*Table{a, b}, at.Add(time.Second), true},
		{"none of ours", []byte("# mine\n"), []*Table{a}, at, true},
	} {
		if got := readmeDue(c.old, c.tables, c.now); got != c.due {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestMissingDays(t *testing.T) {
	for _, c := range []struct{ days, want string }{
		{"", ""},
		{"2026-02-27", ""},
		{"2026-02-27 2026-02-28 2026-03-01", ""},
		{"2026-02-27 2026-03-01 2026-03-05", "2026-02-28, 2026-03-02 to 2026-03-04"},
		{"2026-01-01 2026-01-03 2026-01-05 2026-01-07 2026-01-09 2026-01-11 2026-01-13 2026-01-15 2026-01-17 2026-01-19 2026-01-21 2026-01-23",
			"2026-01-04, 2026-01-06, 2026-01-08, 2026-01-10, 2026-01-12, 2026-01-14, 2026-01-16, 2026-01-18, 2026-01-20, 2026-01-22, and 1 gaps before"},
	} {
		if got := missingDays(strings.Fields(c.days)); got != c.want {
			t.Errorf("%s: %q, want %q", c.days, got, c.want)
		}
	}
	for n, want := range map[int64]string{-1: "?", 0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
