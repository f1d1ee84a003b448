package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/gen"
	"acctpull/internal/need"
	"acctpull/ledger"
	"acctpull/record"
)

// sha is the hash of a text in hex.
func sha(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// memReader is a reader over records in memory, for what a file cannot easily
// be made to hold. Its files go by name.
type memReader struct {
	files  map[string][]step
	header record.Header
	rest   []step
}

// step is one answer of Next.
type step struct {
	rec *record.Record
	err error
}

func (m *memReader) Reset(src io.Reader, file string)    { m.rest = m.files[file] }
func (m *memReader) ResetXML(src io.Reader, file string) { m.Reset(src, file) }
func (m *memReader) Header() record.Header               { return m.header }
func (m *memReader) Stats() record.Stats                 { return record.Stats{} }

func (m *memReader) Next(rec *record.Record) error {
	if len(m.rest) == 0 {
		return io.EOF
	}
	s := m.rest[0]
	m.rest = m.rest[1:]
	if s.err != nil {
		return s.err
	}
	*rec = *s.rec
	return nil
}

// memExport is an Exporter over a memReader.
type memExport struct {
	*Exporter
	mem   *memReader
	batch ledger.Batch
}

func newMemExport(t testing.TB) *memExport {
	t.Helper()
	x := newExporter(t, Options{Open: func(in ledger.Input) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(in.Device + in.Name)), nil
	}})
	mem := &memReader{files: map[string][]step{}, header: record.Header{Policy: 10, FileID: 11, Semantics: record.Cumulative}}
	x.reader = mem
	return &memExport{Exporter: x, mem: mem}
}

// newExporter makes an Exporter with a fresh dataset.
func newExporter(t testing.TB, o Options) *Exporter {
	t.Helper()
	dir := t.TempDir()
	o.Dataset, o.Quarantine, o.Version = filepath.Join(dir, "dataset"), filepath.Join(dir, "quarantine"), "test"
	x, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// add gives the exporter a file.
func (m *memExport) add(device, name string, steps ...step) {
	m.mem.files[name] = steps
	m.batch.Inputs = append(m.batch.Inputs, ledger.Input{Device: device, Name: name, SHA256: sha(device + name), Stored: name})
	m.batch.ID = ledger.BatchID(m.batch.Inputs)
}

func (m *memExport) run(t testing.TB) Result {
	t.Helper()
	res, err := m.Run(context.Background(), m.batch)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// memFiles are gzip files in memory, by the hash of their content.
type memFiles map[string][]byte

func (m memFiles) open(in ledger.Input) (io.ReadCloser, error) {
	b, ok := m[in.SHA256]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// add keeps a file and returns its input.
func (m memFiles) add(device, name string, content []byte) ledger.Input {
	sum := sha(string(content))
	m[sum] = content
	return ledger.Input{Device: device, Name: name, SHA256: sum, Stored: name, Size: int64(len(content))}
}

func batchOf(inputs ...ledger.Input) ledger.Batch {
	return ledger.Batch{BatchClaim: ledger.BatchClaim{ID: ledger.BatchID(inputs)}, Inputs: inputs}
}

// collect is a gen.Sink that keeps records as steps.
type collect struct{ steps []step }

func (c *collect) BeginInterval(start, end time.Time) error { return nil }
func (c *collect) EndInterval() error                       { return nil }
func (c *collect) Write(r *record.Record) error {
	c.steps = append(c.steps, step{rec: r.Clone()})
	return nil
}

// generate makes the records of one file.
func generate(t testing.TB, o gen.Options) ([]step, gen.Truth) {
	t.Helper()
	g, err := gen.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var c collect
	truth, err := g.Run(g.Options().Intervals, &c)
	if err != nil {
		t.Fatal(err)
	}
	return c.steps, truth
}

// set returns the first row set of a record that has all these fields.
func set(t testing.TB, name record.Name, fields ...string) *record.RowSet {
	t.Helper()
	def, ok := record.Builtin().Lookup(name)
	if !ok {
		t.Fatalf("no record %s", name)
	}
	for _, s := range def.RowSets {
		if !slices.ContainsFunc(fields, func(f string) bool { return s.Index(f) < 0 }) {
			return s
		}
	}
	t.Fatalf("no row set with %v in %s", fields, name)
	return nil
}

// meters is a row set with the keys svc, sap and mId and the counters iof and
// oof.
func meters(t testing.TB) *record.RowSet {
	return set(t, "service-ingress-octets", "svc", "sap", "mId", "iof", "oof")
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// rec makes a record of a row set at the n-th interval after noon.
func rec(s *record.RowSet, n int, values map[string]record.Value) *record.Record {
	r := &record.Record{}
	r.Reset(s)
	r.Sub = s.Sub
	r.Start, r.End = noon.Add(time.Duration(n)*5*time.Minute), noon.Add(time.Duration(n+1)*5*time.Minute)
	for abbrev, v := range values {
		r.Values[s.Index(abbrev)] = v
	}
	return r
}

// python runs a script and returns what it prints as JSON.
func python(t testing.TB, module, dir, script string, args ...string) map[string]any {
	t.Helper()
	cmd := exec.Command(need.PythonModule(t, module), append([]string{"-c", script}, args...)...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python: %v\n%s\n%s", err, out, &stderr)
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("python: %v: %s", err, out)
	}
	return v
}

// duck runs queries, each of one value, in the dataset after catalog.sql.
func duck(t testing.TB, dataset string, queries ...string) []string {
	t.Helper()
	v := python(t, "duckdb", dataset, `
import duckdb, json, sys
c = duckdb.connect()
c.execute("SET TimeZone='UTC'")
c.execute(open("catalog.sql").read())
print(json.dumps({"v": [str(c.execute(q).fetchone()[0]) for q in sys.argv[1:]]}))
`, queries...)
	var out []string
	for _, x := range v["v"].([]any) {
		out = append(out, x.(string))
	}
	return out
}

// wantDuck compares the answers of DuckDB.
func wantDuck(t testing.TB, dataset string, want map[string]string) {
	t.Helper()
	var queries []string
	for q := range want {
		queries = append(queries, q)
	}
	slices.Sort(queries)
	for i, got := range duck(t, dataset, queries...) {
		if got != want[queries[i]] {
			t.Errorf("%s: %s, want %s", queries[i], got, want[queries[i]])
		}
	}
}

// published returns the relative paths of all files below the dataset that are
// no sidecars, staged ones included.
func published(t testing.TB, dataset string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dataset, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Dir(path) == filepath.Clean(dataset) {
			return err
		}
		rel, err := filepath.Rel(dataset, path)
		all = append(all, filepath.ToSlash(rel))
		return err
	})
	if err != nil && !isMissing(err) {
		t.Fatal(err)
	}
	return all
}

// row is a row read back by parquet-go: its values by the index of their column
// in the Table, none for a map.
type row []parquet.Value

// readGroups returns the rows of each row group of a file.
func readGroups(t testing.TB, path string, table *Table) (groups [][]row, file *parquet.File) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err = parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var columnOf []int // of each leaf, -1 in a map
	for i, path := range file.Schema().Columns() {
		columnOf = append(columnOf, table.Index(path[0]))
		if len(path) > 1 {
			columnOf[i] = -1
		}
	}
	for _, g := range file.RowGroups() {
		var rows []row
		r := g.Rows()
		buf := make([]parquet.Row, 100)
		for {
			n, err := r.ReadRows(buf)
			for _, values := range buf[:n] {
				one := make(row, len(table.Columns))
				for _, v := range values {
					if c := columnOf[v.Column()]; c >= 0 {
						one[c] = v.Clone()
					}
				}
				rows = append(rows, one)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		groups = append(groups, rows)
	}
	return groups, file
}

// table is the schema of a record name.
func table(t testing.TB, name record.Name) *Table {
	t.Helper()
	def, ok := record.Builtin().Lookup(name)
	if !ok {
		t.Fatalf("no record %s", name)
	}
	return Schema(def)
}
