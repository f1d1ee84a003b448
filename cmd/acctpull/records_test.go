package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"
	"acctpull/policy"
	"acctpull/record"
)

// datasetRows returns every row of every table of a dataset as text, as DuckDB
// reads it: the table, the columns that every table has, and each other column
// that is not NULL.
func datasetRows(t testing.TB, dataset string) []string {
	t.Helper()
	py := need.PythonModule(t, "duckdb")
	const script = `
import duckdb, json, os, sys
con = duckdb.connect()
con.execute("SET TimeZone='UTC'")
rows = []
common = ["policy_id", "file_id", "sub_record", "scope", "counter_mode", "semantics", "final"]
for table in sorted(os.listdir(sys.argv[1])):
    if table.startswith(".") or not os.path.isdir(os.path.join(sys.argv[1], table)):
        continue
    cur = con.execute(f"select *, epoch_ms(interval_start) s, epoch_ms(interval_end) e from read_parquet('{sys.argv[1]}/{table}/v1/date=*/*.parquet')")
    names = [d[0] for d in cur.description]
    skip = set(common) | {"device", "date", "interval_start", "interval_end", "source_file", "source_sha256", "s", "e"}
    for r in cur.fetchall():
        v = dict(zip(names, r))
        assert v["device"] == "dut"
        keys = sorted(n for n in names if n not in skip and v[n] is not None)
        rows.append("|".join([table] + [str(v[n]) for n in common] + [str(v["s"]), str(v["e"])] + [f"{n}={v[n]}" for n in keys]))
print(json.dumps(rows))`
	cmd := exec.Command(py, "-c", script, dataset)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	check(t, err)
	var rows []string
	check(t, json.Unmarshal(out, &rows))
	slices.Sort(rows)
	return rows
}

// wantRow is the row of a record in the form of datasetRows.
func wantRow(r *record.Record, policyID int, fileID, semantics string, start, end time.Time) string {
	orNone := func(s string) string {
		if s == "" {
			return "None"
		}
		return s
	}
	from := "None"
	if !start.IsZero() {
		from = strconv.FormatInt(start.UnixMilli(), 10)
	}
	row := []string{
		string(r.Set.Record), strconv.Itoa(policyID), fileID, r.Sub, orNone(r.Set.Scope), orNone(r.Set.CounterMode), semantics,
		strconv.Itoa(r.Final), from, strconv.FormatInt(end.UnixMilli(), 10),
	}
	var columns []string
	for i, f := range r.Set.Fields {
		switch v := r.Values[i]; v.State {
		case record.Number:
			columns = append(columns, fmt.Sprintf("%s=%d", f.Column, v.N))
		case record.Text:
			columns = append(columns, f.Column+"="+v.Text)
		}
	}
	slices.Sort(columns)
	return strings.Join(append(row, columns...), "|")
}

// sameRows compares two sorted lists of rows.
func sameRows(t testing.TB, got, want []string) {
	t.Helper()
	slices.Sort(want)
	if slices.Equal(got, want) {
		return
	}
	t.Errorf("%d rows in the dataset, want %d", len(got), len(want))
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("the first that differs\n%s, want\n%s", got[i], want[i])
		}
	}
}

// rowSink takes what a source says as rows of the dataset.
type rowSink struct {
	rows []string
	row  func(*record.Record) string
}

func (s *rowSink) Record(r *record.Record) error {
	s.rows = append(s.rows, s.row(r))
	return nil
}
func (s *rowSink) Missing(*policy.Object, error)    {}
func (s *rowSink) Restarted(*policy.Object, string) {}

// everyObject is what one policy of each type collects: both counter modes, one
// and many meters and queues.
func everyObject(t policy.Type, id int, bindings bool) []policy.Object {
	var out []policy.Object
	for i := range 3 {
		o := policy.Object{Type: t, ID: fmt.Sprintf("%d/1/1:%d", id, i), Policy: id, CollectStats: true}
		if t == policy.Access || t == policy.AccessPort {
			o.CounterMode = policy.CounterMode(i % 2)
		}
		switch t {
		case policy.Access:
			o.Service, o.Meters, o.EgressMeters = "100", 1+2*i, 2*i
		case policy.AccessPort, policy.Network:
			o.Queues = 1 + 7*i
		case policy.NetworkIf:
			o.Meters = 1 + i
		case policy.SAA:
			o.Owner = "ops"
		case policy.SDP:
			if i > 0 && bindings {
				o.Service = strconv.Itoa(i)
			}
		}
		out = append(out, o)
	}
	return out
}

// All 21 records of the 7210 SAS and the four of the SAS-Mxp, collected from the
// synthetic source into the files of one device, pulled over SSH, exported, and
// read by DuckDB: every row is what the source said, column by column, and no
// other row is there.
func TestEveryRecordThroughPull(t *testing.T) {
	d := newDevice(t, nil)
	c := policy.Config{Source: policy.SourceConfig{Kind: policy.SourceSynthetic, Seed: 21}}
	for _, def := range record.Builtin().Definitions() {
		typ, ok := policy.ParseType(def.PolicyType)
		if !ok || len(def.On("7210 SAS")) == 0 && len(def.On("7210 SAS-Mxp")) == 0 {
			continue
		}
		id := 10 + len(c.Policies)
		c.FileIDs = append(c.FileIDs, policy.FileID{ID: id + 40, Location: filepath.Dir(d.act)})
		c.Policies = append(c.Policies, policy.AccountingPolicy{ID: id, Record: def.Name, To: policy.Destination(id + 40)})
		c.Objects = append(c.Objects, everyObject(typ, id, def.Name == "complete-sdp-ingress-egress")...)
	}
	if len(c.Policies) != 25 {
		t.Fatalf("%d records, want 21 and 4", len(c.Policies))
	}
	set, err := policy.New(c)
	check(t, err)
	source, err := policy.NewSource(set)
	check(t, err)
	col, err := policy.NewCollector(policy.Options{Set: set, Source: source})
	check(t, err)
	var want rowSink
	start := time.Date(2026, 3, 28, 23, 50, 0, 0, time.UTC)
	for i := range 3 { // over midnight, so that tables have two days
		at := start.Add(time.Duration(i) * 5 * time.Minute)
		var before time.Time
		if i > 0 {
			before = at.Add(-5 * time.Minute)
		}
		for _, p := range set.Plan() {
			iv, err := col.Collect(context.Background(), p.Policy.ID, at)
			check(t, err)
			had := len(want.rows)
			semantics := record.Cumulative
			if p.Definition.Name == "saa" {
				semantics = record.PerInterval
			}
			want.row = func(r *record.Record) string {
				return wantRow(r, p.Policy.ID, strconv.Itoa(p.File.ID), semantics, before, at)
			}
			check(t, source.Sample(context.Background(), policy.Request{At: at, Record: p.Definition, Objects: p.Objects}, &want))
			if iv.Records == 0 || iv.Records != len(want.rows)-had {
				t.Fatalf("%+v: the source has %d records", iv, len(want.rows)-had)
			}
		}
	}
	check(t, col.Close())
	out := filepath.Join(t.TempDir(), "data")
	expect(t, exitOK, nil, d.pullArgs(out)...)
	sameRows(t, datasetRows(t, filepath.Join(out, "dataset")), want.rows)
}

// What happens to one SAP between and within intervals, through the whole of
// the program: two objects of one name end in one interval and a third one
// begins, then its counter mode changes inside the file, and then the object of
// before is there again. Every row stays, and each has the counter mode that its
// fields tell.
func TestFinalsAndCounterModesThroughPull(t *testing.T) {
	d := newDevice(t, nil)
	def, _ := record.Builtin().Lookup("service-ingress-octets")
	sets := map[string]*record.RowSet{}
	for _, s := range def.On("7210 SAS") {
		sets[s.Scope+" "+s.CounterMode] = s
	}
	inOut, forwardDrop, sap := sets["per meter in-out-profile-count"], sets["per meter forward-drop-count"], sets["per SAP "]
	row := func(set *record.RowSet, final int, counters ...uint64) *record.Record {
		var r record.Record
		r.Reset(set)
		r.Final = final
		for i, f := range set.Fields {
			switch {
			case f.Abbrev == "svc":
				r.Values[i] = record.Str("100")
			case f.Abbrev == "sap":
				r.Values[i] = record.Str("1/1/1:100")
			case f.Abbrev == "mId":
				r.Values[i] = record.Num(1)
			default:
				r.Values[i], counters = record.Num(counters[0]), counters[1:]
			}
		}
		r.Sub = set.Sub
		return &r
	}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	intervals := [][]*record.Record{
		{row(inOut, 0, 10, 1), row(sap, 0, 11)},
		{row(inOut, 1, 20, 2), row(sap, 1, 22), row(inOut, 2, 5, 0), row(sap, 2, 5), row(inOut, 0, 1, 0), row(sap, 0, 1)},
		{row(inOut, 1, 3, 0), row(sap, 1, 3), row(forwardDrop, 0, 7, 3), row(sap, 0, 10)},
		{row(forwardDrop, 0, 9, 3), row(sap, 0, 12)},
		{row(inOut, 0, 30, 3), row(sap, 0, 33)},
	}
	file := filepath.Join(t.TempDir(), "act1011-20260301-120000.xml")
	f, err := os.Create(file)
	check(t, err)
	w := record.NewWriter(f, record.Header{Policy: 10, FileID: 11, Record: def.Name, Semantics: record.Cumulative})
	var want []string
	for i, rows := range intervals {
		from, to := start.Add(time.Duration(i)*5*time.Minute), start.Add(time.Duration(i+1)*5*time.Minute)
		check(t, w.BeginInterval(from, to))
		for _, r := range rows {
			check(t, w.Write(r))
			want = append(want, wantRow(r, 10, "11", record.Cumulative, from, to))
		}
		check(t, w.EndInterval())
	}
	check(t, w.Close())
	check(t, f.Close())
	check(t, exec.Command(need.Tool(t, "gzip"), file).Run())
	check(t, os.Rename(file+".gz", filepath.Join(d.act, filepath.Base(file)+".gz")))

	out := filepath.Join(t.TempDir(), "data")
	expect(t, exitOK, nil, d.pullArgs(out)...)
	dataset := filepath.Join(out, "dataset")
	sameRows(t, datasetRows(t, dataset), want)

	// A second export of the same file and one of everything add nothing.
	expect(t, exitOK, nil, d.pullArgs(out)...)
	sameRows(t, datasetRows(t, dataset), want)
	expect(t, exitOK, []string{"final records", "6: the last values", "in-out-profile-count", "forward-drop-count"},
		"inspect", filepath.Join(d.act, filepath.Base(file)+".gz"))
	got := duck(t, fmt.Sprintf("select counter_mode, final, count(*) from read_parquet('%s/*/v1/date=*/*.parquet') group by all order by all", dataset))
	if text := fmt.Sprint(got); text != "[[forward-drop-count 0 2] [in-out-profile-count 0 3] [in-out-profile-count 1 2] [in-out-profile-count 2 1] [NULL 0 5] [NULL 1 2] [NULL 2 1]]" {
		t.Errorf("rows by counter mode and final: %s", text)
	}
}
