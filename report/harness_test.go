package report

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/need"
	"acctpull/record"
	"acctpull/usage"
)

// aRow is a row of a usage table in a test: columns by name, nothing where it is NULL.
type aRow map[string]any

var march = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// definition is a record name of the catalogue.
func definition(t testing.TB, name string) *record.Definition {
	t.Helper()
	def, ok := record.Builtin().Lookup(record.Name(name))
	if !ok {
		t.Fatalf("no record %s", name)
	}
	return def
}

// writeUsage writes rows as the usage table of a record, a file for each day and
// part, and returns the dataset. Rows go to parts in turn.
func writeUsage(t testing.TB, dir, name string, rows []aRow, parts int) {
	t.Helper()
	table := usage.Schema(export.Schema(definition(t, name)))
	days := map[string][][]aRow{}
	for i, r := range rows {
		day := r["interval_end"].(time.Time).Format(time.DateOnly)
		if days[day] == nil {
			days[day] = make([][]aRow, parts)
		}
		days[day][i%parts] = append(days[day][i%parts], r)
	}
	for day, parts := range days {
		for n, rows := range parts {
			if len(rows) == 0 {
				continue
			}
			at := filepath.Join(dir, table.Name, "v1", "date="+day)
			if err := os.MkdirAll(at, 0o750); err != nil {
				t.Fatal(err)
			}
			data := encodeRows(t, table, rows)
			if err := os.WriteFile(filepath.Join(at, string(rune('a'+n))+".parquet"), data, 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// encodeRows sorts rows as the table says and writes them.
func encodeRows(t testing.TB, table *export.Table, rows []aRow) []byte {
	t.Helper()
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b aRow) int {
		for _, c := range table.Sorted {
			if n := compareCells(a[c], b[c]); n != 0 {
				return n
			}
		}
		return 0
	})
	schema := columns.Schema{Sorted: table.Sorted}
	batch := &columns.Batch{Rows: len(rows)}
	for _, c := range table.Columns {
		schema.Columns = append(schema.Columns, columns.Column{Name: c.Name, Type: c.Type, Nullable: c.Nullable})
		v := columns.Vector{Rows: len(rows)}
		texts := map[string]int32{}
		for _, r := range rows {
			switch c.Type {
			case columns.String, columns.Map:
				text, ok := r[c.Name].(string)
				if !ok {
					v.IDs = append(v.IDs, -1)
					continue
				}
				id, known := texts[text]
				if !known {
					id = int32(len(v.Texts))
					texts[text] = id
					v.Texts = append(v.Texts, text)
				}
				v.IDs = append(v.IDs, id)
			default:
				n, ok := number(r[c.Name])
				v.Ints, v.Null = append(v.Ints, n), append(v.Null, !ok)
			}
		}
		batch.Columns = append(batch.Columns, v)
	}
	var b bytes.Buffer
	w := columns.NewWriter(&b, schema, columns.WriterOptions{})
	if err := w.WriteRows(batch); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(map[string]string{"acctpull.schema": table.Name + "/1"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func number(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case time.Time:
		return v.UnixMicro(), true
	}
	return 0, false
}

// compareCells orders NULL first.
func compareCells(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(b2i(a != nil), b2i(b != nil))
	}
	if s, ok := a.(string); ok {
		return strings.Compare(s, b.(string))
	}
	x, _ := number(a)
	y, _ := number(b)
	return cmp.Compare(x, y)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// aSeries makes the rows of one series; broken is how often something is wrong.
type aSeries struct {
	base     aRow
	counters []string
	step     time.Duration
	from, to time.Time
	broken   float64
	most     int64 // octets in an interval
}

// rows makes the rows with breaks, gaps and missing rows.
func (s *aSeries) rows(r *rand.Rand) []aRow {
	var out []aRow
	last := s.from
	seen, ended := false, false
	for end := s.from.Add(s.step); !end.After(s.to); end = end.Add(s.step) {
		if r.Float64() < s.broken/3 { // a row that is not there, or several
			end = end.Add(s.step * time.Duration(r.IntN(3)))
			continue
		}
		at := end
		if r.Float64() < s.broken {
			at = end.Add(time.Duration(r.IntN(3)-1) * time.Second)
		}
		row := s.row(r, last, at)
		switch {
		case !seen, ended && r.IntN(2) == 0:
			s.unknown(row, "first")
		case ended:
			row["break"] = "final"
		case at.Sub(last) > s.step*3/2:
			row["break"] = "gap"
			row["gap_seconds"] = int64((at.Sub(last) - s.step).Seconds())
		case r.Float64() < s.broken:
			s.unknown(row, []string{"reset", "mode-change", "overlap", "clock-step", "unknown"}[r.IntN(5)])
		case r.Float64() < s.broken:
			delete(row, s.counters[r.IntN(len(s.counters))]) // did not fit
		case r.Float64() < s.broken:
			row["break"] = "wrap32"
		}
		seen, ended = true, false
		if r.Float64() < s.broken/2 {
			row["final"] = 1
			ended = true
			if r.IntN(2) == 0 { // the object is there again in the same interval
				young := s.row(r, last, at)
				young["break"] = "final"
				out, ended = append(out, young), false
			}
		}
		out = append(out, row)
		last = at
		if ended && r.IntN(2) == 0 {
			end = end.Add(s.step * time.Duration(r.IntN(20)))
			last = end
		}
	}
	return out
}

func (s *aSeries) row(r *rand.Rand, start, end time.Time) aRow {
	row := aRow{"final": 0, "semantics": "cumulative", "interval_start": start, "interval_end": end, "interval_seconds": int64(end.Sub(start).Seconds()),
		"source_file": "act1011-" + end.Format("20060102-150405") + ".xml.gz", "source_sha256": strings.Repeat("ab", 32),
		"previous_file": "act1011-" + start.Format("20060102-150405") + ".xml.gz", "previous_sha256": strings.Repeat("cd", 32)}
	for k, v := range s.base {
		row[k] = v
	}
	for _, c := range s.counters {
		if row[c] = int64(0); r.IntN(4) > 0 {
			row[c] = r.Int64N(s.most)
		}
	}
	return row
}

func (s *aSeries) unknown(row aRow, reason string) {
	row["break"] = reason
	for _, c := range append([]string{"interval_start", "interval_seconds", "previous_file", "previous_sha256"}, s.counters...) {
		delete(row, c)
	}
}

// network makes the usage of two days on two platforms: objects with meters in both
// modes and a row of their own, and objects with queues, some of which come late or
// go early.
func network(seed uint64, broken float64) []aRow {
	r := rand.New(rand.NewPCG(seed, 5))
	var all []aRow
	to := march.AddDate(0, 0, 2)
	add := func(base aRow, counters ...string) {
		s := aSeries{base: base, counters: counters, step: 15 * time.Minute, from: march.Add(-2 * time.Hour), to: to.Add(2 * time.Hour), broken: broken, most: 1 << (20 + r.IntN(25))}
		if r.Float64() < broken*3 {
			s.from = march.Add(time.Duration(r.IntN(100)) * 15 * time.Minute)
		}
		all = append(all, s.rows(r)...)
	}
	for n, device := range []string{"pe-1", "pe-2"} {
		for sap := range 3 {
			base := func(scope, mode string, class string, id int) aRow {
				b := aRow{"device": device, "policy_id": 10 + sap%2, "sub_record": "sio", "scope": scope, "service_id": []string{"100", "200"}[sap%2], "sap": "1/1/" + string(rune('1'+sap)) + ":100"}
				if mode != "" {
					b["counter_mode"] = mode
				}
				if class != "" {
					b[class] = id
				}
				return b
			}
			if n == 1 {
				for q := range 3 {
					add(base("per queue", "", "queue_id", q+1), "high_priority_octets_offered", "high_priority_octets_dropped", "low_priority_octets_offered",
						"low_priority_octets_dropped", "uncoloured_octets_offered", "in_profile_octets_forwarded", "out_of_profile_octets_forwarded")
				}
				continue
			}
			add(base("per SAP", "", "", 0), "octets_offered_to_the_sap_ingress")
			for m := range 2 {
				if sap == 1 {
					add(base("per meter", "forward-drop-count", "meter_id", m+1), "octets_forwarded", "octets_dropped")
				} else {
					add(base("per meter", "in-out-profile-count", "meter_id", m+1), "in_profile_octets_forwarded", "out_of_profile_octets_forwarded")
				}
			}
		}
	}
	return all
}

// runReport makes a report of a dataset in a directory.
func runReport(t testing.TB, dir string, o Options, s Settings) (*Report, *Proof) {
	t.Helper()
	s.Catalogue, s.Scratch = record.Builtin(), t.TempDir()
	r, p, err := Run(context.Background(), depot.NewDir(dir), o, s)
	if err != nil {
		t.Fatal(err)
	}
	return r, p
}

// python runs a script that prints JSON.
func python(t testing.TB, dir, script string, input any) any {
	t.Helper()
	cmd := exec.Command(need.PythonModule(t, "duckdb"), "-c", script)
	cmd.Dir = dir
	data, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = bytes.NewReader(data)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python: %v\n%s", err, &stderr)
	}
	d := json.NewDecoder(bytes.NewReader(out))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("python: %v\n%s", err, out)
	}
	return v
}
