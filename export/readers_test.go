package export

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"
	"acctpull/ledger"
	"acctpull/record"
)

// engine is a program that reads datasets, with the names it has for our types;
// %s stands for the name of the column.
type engine struct {
	module string // which python must be able to import; the script is read_<module>.py
	types  map[ColumnType]string
	date   string // type of the partition key
}

func engines() []engine {
	all := []engine{
		{"duckdb", map[ColumnType]string{String: "VARCHAR", Int32: "INTEGER", Int64: "BIGINT",
			Timestamp: "TIMESTAMP WITH TIME ZONE", Map: "MAP(VARCHAR, VARCHAR)"}, "DATE"},
		{"pyarrow", map[ColumnType]string{String: "string", Int32: "int32", Int64: "int64",
			Timestamp: "timestamp[us, tz=UTC]", Map: "map<string, string ('%s')>"}, "date32[day]"},
		{"pandas", map[ColumnType]string{String: "string[pyarrow]", Int32: "int32[pyarrow]", Int64: "int64[pyarrow]",
			Timestamp: "timestamp[us, tz=UTC][pyarrow]", Map: "map<string, string ('%s')>[pyarrow]"}, "dictionary<values=string, indices=int32, ordered=0>[pyarrow]"},
		{"polars", map[ColumnType]string{String: "String", Int32: "Int32", Int64: "Int64",
			Timestamp: "Datetime(time_unit='us', time_zone='UTC')", Map: "Map(String, String)"}, "Date"},
	}
	if os.Getenv("ACCTPULL_PROOF") == "1" { // its JVM takes ten seconds to start, and as many more than the others to read
		all = append(all, engine{"pyspark", map[ColumnType]string{String: "string", Int32: "int", Int64: "bigint",
			Timestamp: "timestamp", Map: "map<string,string>"}, "date"})
	}
	return all
}

// question is what an engine is told about a table.
type question struct {
	Name    string           `json:"name"`
	Path    string           `json:"path"`
	Columns []questionColumn `json:"columns"`
}

type questionColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// answer is what an engine found in a table. Numbers are text, so that none of
// them passes through a float; nil is no number.
type answer struct {
	Rows    int64              `json:"rows"`
	Types   map[string]string  `json:"types"`
	Present map[string]int64   `json:"present"`
	Sums    map[string]*string `json:"sums"`
	Least   map[string]*string `json:"least"`
	Most    map[string]*string `json:"most"`
	Days    map[string]int64   `json:"days"`
	Digest  string             `json:"digest"`
}

// ask runs the script of an engine on a dataset.
func (e engine) ask(t testing.TB, dataset string, tables []*Table) map[string]answer {
	t.Helper()
	var all []question
	for _, table := range tables {
		q := question{Name: table.Name, Path: filepath.Join(dataset, filepath.FromSlash(table.Name+"/v1"))}
		for _, c := range table.Columns {
			q.Columns = append(q.Columns, questionColumn{c.Name, c.Type.String()})
		}
		all = append(all, q)
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "tables.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if e.module == "pyspark" {
		need.Tool(t, "java")
	}
	cmd := exec.Command(need.PythonModule(t, e.module), "testdata/readers/read_"+e.module+".py", file, dir)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", e.module, err, &stderr)
	}
	var got map[string]answer
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v: %.500s", e.module, err, out)
	}
	return got
}

// tableTruth is what was put into a table, known without reading it.
type tableTruth struct {
	table *Table
	rows  []map[string]any // nil, string, int64, time.Time or map[string]string by column, and date
}

// answer is what every engine must say of the table.
func (w *tableTruth) answer(e engine) answer {
	a := answer{Rows: int64(len(w.rows)), Types: map[string]string{"date": e.date}, Present: map[string]int64{"date": int64(len(w.rows))},
		Sums: map[string]*string{}, Least: map[string]*string{}, Most: map[string]*string{}, Days: map[string]int64{}}
	for _, c := range w.table.Columns {
		a.Types[c.Name] = e.types[c.Type]
		if strings.Contains(a.Types[c.Name], "%s") {
			a.Types[c.Name] = fmt.Sprintf(a.Types[c.Name], c.Name)
		}
		a.Present[c.Name] = 0
		var sum *big.Int
		var least, most int64
		for _, row := range w.rows {
			if row[c.Name] != nil {
				a.Present[c.Name]++
			}
			if n, ok := row[c.Name].(int64); ok {
				if sum == nil {
					sum, least, most = new(big.Int), n, n
				}
				sum.Add(sum, big.NewInt(n))
				least, most = min(least, n), max(most, n)
			}
		}
		if c.Type == Int32 || c.Type == Int64 {
			a.Sums[c.Name], a.Least[c.Name], a.Most[c.Name] = nil, nil, nil
			if sum != nil {
				text, l, m := sum.String(), strconv.FormatInt(least, 10), strconv.FormatInt(most, 10)
				a.Sums[c.Name], a.Least[c.Name], a.Most[c.Name] = &text, &l, &m
			}
		}
	}
	for _, row := range w.rows {
		a.Days[row["date"].(string)]++
	}
	a.Digest = w.digest()
	return a
}

// digest is that of testdata/readers/canonical.py.
func (w *tableTruth) digest() string {
	var high, low uint64
	for _, row := range w.rows {
		var b []byte
		for _, c := range w.table.Columns {
			b = appendCanonical(b, row[c.Name])
		}
		h := sha256.Sum256(appendCanonical(b, row["date"]))
		var carry uint64
		low, carry = bits.Add64(low, binary.BigEndian.Uint64(h[8:]), 0)
		high, _ = bits.Add64(high, binary.BigEndian.Uint64(h[:]), carry)
	}
	return fmt.Sprintf("%016x%016x", high, low)
}

func appendCanonical(dst []byte, v any) []byte {
	text := ""
	switch v := v.(type) {
	case nil:
		return append(dst, 'N')
	case string:
		text = v
	case int64:
		text = strconv.FormatInt(v, 10)
	case time.Time:
		text = strconv.FormatInt(v.UnixMicro(), 10)
	case map[string]string:
		var b []byte
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = appendCanonical(appendCanonical(b, k), v[k])
		}
		text = string(b)
	}
	return append(append(strconv.AppendInt(dst, int64(len(text)), 10), ':'), text...)
}

// compare fails the test for every difference.
func (w *tableTruth) compare(t *testing.T, e engine, got answer) {
	t.Helper()
	want := w.answer(e)
	if got.Rows != want.Rows || got.Digest != want.Digest {
		t.Errorf("%s: %s: %d rows with digest %s, want %d with %s", e.module, w.table.Name, got.Rows, got.Digest, want.Rows, want.Digest)
	}
	differ(t, e, w.table, "type", got.Types, want.Types)
	differ(t, e, w.table, "values", got.Present, want.Present)
	differ(t, e, w.table, "sum", text(got.Sums), text(want.Sums))
	differ(t, e, w.table, "least", text(got.Least), text(want.Least))
	differ(t, e, w.table, "most", text(got.Most), text(want.Most))
	differ(t, e, w.table, "rows of the day", got.Days, want.Days)
}

func text(m map[string]*string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = "none"
		if v != nil {
			out[k] = *v
		}
	}
	return out
}

// differ fails the test for every key that two maps do not agree about.
func differ[V comparable](t *testing.T, e engine, table *Table, what string, got, want map[string]V) {
	t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%s: %s: %s: %s: %v (%v), want %v", e.module, table.Name, k, what, g, ok, v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %s: %s: %d, want %d", e.module, table.Name, what, len(got), len(want))
	}
}

// someNumbers are what a field of a numeric column is filled with, in turn: nothing,
// an empty element, the edges of the types that readers like to use, what is too
// large for the column, and text.
func someNumbers() []record.Value {
	all := []record.Value{{}, {State: record.Empty}, record.Str("n/a")}
	for _, n := range []uint64{0, 1, math.MaxInt32, math.MaxUint32 + 1, 1<<53 + 1, math.MaxInt64 - 1, math.MaxInt64, 1 << 63, math.MaxUint64} {
		all = append(all, record.Num(n))
	}
	return all
}

// someTexts are the same for a column of text.
func someTexts() []record.Value {
	all := []record.Value{{}, {State: record.Empty}, record.Num(math.MaxUint64)}
	for _, s := range []string{"", " ", "NULL", "1/1/1:100", `back\slash "quote" 'tick'`, "tab\tline\nend", "Müller & Söhne <ß>", "日本 🛰 \u2028 עברית", strings.Repeat("long ", 500)} {
		all = append(all, record.Str(s))
	}
	return all
}

// fill adds rows of a row set to the files and to the truth of its table: each
// field goes through all values of its kind.
func (w *tableTruth) fill(set *record.RowSet, file string, shift int) []step {
	var steps []step
	number, text := someNumbers(), someTexts()
	for n := range number {
		r := &record.Record{}
		r.Reset(set)
		r.Sub, r.Final, r.Policy = set.Sub, (n+shift)%3, n*1000
		// Every third row belongs to the day after; one in five does not say its start.
		r.End = noon.Add(time.Duration(n%3/2)*24*time.Hour + time.Duration(shift)*time.Minute + time.Duration(n)*time.Millisecond)
		if n%5 > 0 {
			r.Start = r.End.Add(-5 * time.Minute)
		}
		for i, f := range set.Fields {
			if f.Numeric {
				r.Values[i] = number[(n+i+shift)%len(number)]
			} else {
				r.Values[i] = text[(n+i+shift)%len(text)]
			}
		}
		switch n % 4 {
		case 1:
			r.Unknown = []record.Pair{{Name: "neu", Text: "Zähler ☃"}, {Name: "", Text: ""}}
		case 2:
			r.Unknown = []record.Pair{{Name: "x", Text: "1"}, {Name: "x", Text: "18446744073709551616"}}
		}
		w.add(r, file)
		steps = append(steps, step{rec: r})
	}
	return steps
}

// add books a record. It says in a few lines what docs/formats/dataset.md says,
// without any code of the exporter.
func (w *tableTruth) add(r *record.Record, file string) {
	optional := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	row := map[string]any{
		"device": "r1", "policy_id": int64(10), "file_id": int64(11), "sub_record": optional(r.Sub), "scope": optional(r.Set.Scope),
		"counter_mode": optional(r.Set.CounterMode), "semantics": "cumulative", "final": int64(r.Final),
		"interval_end": r.End, "date": r.End.UTC().Format(time.DateOnly), "source_file": file, "source_sha256": sha("r1" + file),
	}
	if r.Policy > 0 {
		row["policy_id"] = int64(r.Policy)
	}
	if !r.Start.IsZero() {
		row["interval_start"] = r.Start
	}
	overflow, unknown := map[string]string{}, map[string]string{}
	keep := func(name, text string) {
		if _, ok := unknown[name]; ok {
			name += "#2"
		}
		unknown[name] = text
	}
	nameless := w.table.Name == UnknownRecords
	if nameless {
		row["record_name"] = optional(string(r.Set.Record))
	}
	for i, f := range r.Set.Fields {
		v := r.Values[i]
		digits := strconv.FormatUint(v.N, 10)
		switch {
		case nameless && v.State == record.Number:
			keep(f.Abbrev, digits)
		case nameless && v.State != record.Absent:
			keep(f.Abbrev, v.Text)
		case v.State == record.Number && !f.Numeric:
			row[f.Column] = digits
		case v.State == record.Number && v.N > math.MaxInt64:
			overflow[f.Column] = digits
		case v.State == record.Number:
			row[f.Column] = int64(v.N)
		case v.State == record.Text && f.Numeric:
			keep(f.Abbrev, v.Text)
		case v.State == record.Text:
			row[f.Column] = v.Text
		}
	}
	for _, p := range r.Unknown {
		keep(p.Name, p.Text)
	}
	if len(overflow) > 0 {
		row["overflow"] = overflow
	}
	if len(unknown) > 0 {
		row["unknown_fields"] = unknown
	}
	w.rows = append(w.rows, row)
}

// everything exports a dataset in which every column of every record name has
// every kind of value, in two days of two files each, and returns its truth.
func everything(t *testing.T) (*memExport, []*tableTruth, []Result) {
	t.Helper()
	m := newMemExport(t)
	var truths []*tableTruth
	var results []Result
	for batch := range 2 {
		m.batch = ledger.Batch{}
		at := 0
		next := func(table *Table) *tableTruth {
			if batch == 0 {
				truths = append(truths, &tableTruth{table: table})
			}
			at++
			return truths[at-1]
		}
		for i, d := range record.Builtin().Definitions() {
			w, file := next(Schema(d)), fmt.Sprintf("act%02d-%d", i, batch)
			var steps []step
			for j, set := range d.RowSets {
				steps = append(steps, w.fill(set, file, 5*batch+j)...)
			}
			m.add("r1", file, steps...)
		}
		w, file := next(UnknownSchema()), fmt.Sprintf("actxx-%d", batch)
		var steps []step
		for _, name := range []record.Name{"", "vendor π"} {
			steps = append(steps, w.fill(&record.RowSet{Record: name, Sub: "blob", Fields: []record.FieldDef{
				{Abbrev: "a", Column: "a"}, {Abbrev: "b", Column: "b", Numeric: true},
			}}, file, batch)...)
		}
		m.add("r1", file, steps...)
		results = append(results, m.run(t))
	}
	return m, truths, results
}

// Every engine reads every table to the same types, counts, sums and values, to
// the last digit: one day of it compacted, the other as it was exported.
func TestProofEveryEngineReadsTheSame(t *testing.T) {
	m, truths, results := everything(t)
	o := compaction(m.Exporter, results...)
	o.Days = []string{"2026-03-04"}
	if res := compact(t, o); len(res.Days) != len(truths) {
		t.Fatalf("%d days were compacted, want one of each of %d tables", len(res.Days), len(truths))
	}
	if n := len(dataFiles(t, m.o.Dataset)); n != 3*len(truths) {
		t.Fatalf("%d files, want one and two of each of %d tables", n, len(truths))
	}
	var tables []*Table
	for _, w := range truths {
		tables = append(tables, w.table)
		w.checkFilled(t)
	}
	for _, e := range engines() {
		t.Run(e.module, func(t *testing.T) {
			got := e.ask(t, m.o.Dataset, tables)
			for _, w := range truths {
				w.compare(t, e, got[w.table.Name])
			}
		})
	}
}

// checkFilled proves that the truth has what the test is about: every column
// has a value, every number NULL, 0, 2^63-1 and one that is too large.
func (w *tableTruth) checkFilled(t *testing.T) {
	t.Helper()
	for _, c := range w.table.Columns {
		seen := map[any]bool{}
		for _, row := range w.rows {
			switch v := row[c.Name].(type) {
			case map[string]string:
				seen["map"] = true
			default:
				seen[v] = true
			}
			if m, ok := row["overflow"].(map[string]string); ok && m[c.Name] == "18446744073709551615" {
				seen["overflow"] = true
			}
		}
		if c.Role != "common" && (!seen[nil] || len(seen) < 2) {
			t.Errorf("%s: %s has not both values and NULL", w.table.Name, c.Name)
		}
		if c.Type == Int64 && (!seen[int64(0)] || !seen[int64(math.MaxInt64)] || !seen["overflow"]) {
			t.Errorf("%s: %s has not all edges", w.table.Name, c.Name)
		}
	}
}
