package export

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/internal/gen"
	"acctpull/record"
)

// Every record name of the catalogue goes through, and DuckDB counts and sums
// what the generator says.
func TestEveryRecordSumsInDuckDB(t *testing.T) {
	m := newMemExport(t)
	want := map[string]string{}
	total := int64(0)
	for i, d := range record.Builtin().Definitions() {
		steps, truth := generate(t, gen.Options{Record: d.Name, Seed: uint64(i), Intervals: 3, FinalEvery: 2})
		m.add("router", fmt.Sprintf("act%02d", i), steps...)
		total += truth.Records
		exprs, values := []string{"count(*)"}, []string{fmt.Sprint(truth.Records)}
		for column, sum := range truth.Sums {
			exprs, values = append(exprs, "sum("+column+")"), append(values, sum.String())
		}
		want["SELECT concat_ws(' ', "+strings.Join(exprs, ", ")+") FROM "+viewName(string(d.Name))] = strings.Join(values, " ")
	}
	res := m.run(t)
	if res.Records != total {
		t.Errorf("%d records, want %d", res.Records, total)
	}
	rows, records := int64(0), int64(0)
	for _, o := range res.Outputs {
		rows += o.Rows
	}
	for _, in := range res.Inputs {
		records += in.Records
	}
	if rows != total || records != total {
		t.Errorf("outputs have %d rows, inputs %d records, want %d", rows, records, total)
	}
	wantDuck(t, m.o.Dataset, want)
}

// No column of the catalogue collides with a common one or with the partition
// key, and every view has a name of its own.
func TestSchemasAreSound(t *testing.T) {
	views := map[string]bool{}
	x := newMemExport(t)
	for _, table := range x.tables() {
		seen := map[string]bool{"date": true}
		for _, c := range table.Columns {
			if seen[c.Name] {
				t.Errorf("%s: column %s twice, or date", table.Name, c.Name)
			}
			if c.Meaning == "" || c.Name != strings.ToLower(c.Name) || strings.ContainsAny(c.Name, ` "'-`) {
				t.Errorf("%s: column %q, meaning %q", table.Name, c.Name, c.Meaning)
			}
			seen[c.Name] = true
		}
		for _, s := range table.Sorted {
			if table.Index(s) < 0 {
				t.Errorf("%s: sorted by %s, which is no column", table.Name, s)
			}
		}
		if v := viewName(table.Name); views[v] || v == "" || strings.ContainsAny(table.Name, "/\\'. ") || table.Name != strings.ToLower(table.Name) {
			t.Errorf("%s: not usable as a directory and a view", table.Name)
		}
		views[viewName(table.Name)] = true
	}
}

// The numbers at the edges come back exactly, in DuckDB and in pyarrow: X8, X11.
func TestNumbersAtTheEdges(t *testing.T) {
	m := newMemExport(t)
	var seen []Overflow
	m.o.Hooks.OnOverflow = func(o Overflow) { seen = append(seen, o) }
	s := meters(t)
	numbers := []uint64{0, 1, 1 << 31, 1<<32 - 1, 1<<53 + 1, math.MaxInt64, 1 << 63, math.MaxUint64}
	var steps []step
	for i, n := range numbers {
		steps = append(steps, step{rec: rec(s, i, map[string]record.Value{
			"svc": record.Str("1"), "sap": record.Str("1/1/1:1"), "mId": record.Num(uint64(i)), "iof": record.Num(n),
		})})
	}
	absent := rec(s, 20, map[string]record.Value{"svc": record.Str("1"), "mId": record.Num(90)})
	empty := rec(s, 21, map[string]record.Value{"svc": record.Str("1"), "mId": record.Num(91), "iof": {State: record.Empty}})
	steps = append(steps, step{rec: absent}, step{rec: empty})
	m.add("r1", "act1", steps...)
	res := m.run(t)
	if f := res.Files[0]; f.Overflows != 2 || f.Clean() || !strings.Contains(f.Reason, "2 numbers are above 2^63-1") {
		t.Errorf("result %+v", f)
	}
	if len(seen) != 2 || seen[1].Value != "18446744073709551615" || seen[1].Device != "r1" || seen[1].File != "act1" ||
		seen[1].Column != "in_profile_octets_forwarded" || seen[1].Record != "service-ingress-octets" || !seen[1].End.Equal(steps[7].rec.End) {
		t.Errorf("overflows %+v", seen)
	}
	view := "FROM service_ingress_octets WHERE meter_id = "
	want := map[string]string{
		"SELECT count(*) FROM service_ingress_octets WHERE in_profile_octets_forwarded IS NULL":                                            "4",
		"SELECT count(*) FROM service_ingress_octets WHERE overflow IS NULL":                                                               "8",
		"SELECT count(*) FROM service_ingress_octets WHERE out_of_profile_octets_forwarded = 0":                                            "0",
		"SELECT overflow['in_profile_octets_forwarded'] " + view + "6":                                                                     "9223372036854775808",
		"SELECT overflow['in_profile_octets_forwarded'] " + view + "7":                                                                     "18446744073709551615",
		"SELECT typeof(date) FROM service_ingress_octets":                                                                                  "DATE",
		"SELECT typeof(interval_end) FROM service_ingress_octets":                                                                          "TIMESTAMP WITH TIME ZONE",
		"SELECT typeof(in_profile_octets_forwarded) FROM service_ingress_octets":                                                           "BIGINT",
		"SELECT typeof(overflow) FROM service_ingress_octets":                                                                              "MAP(VARCHAR, VARCHAR)",
		"SELECT min(date) FROM service_ingress_octets":                                                                                     "2026-03-04",
		"SELECT interval_end::VARCHAR " + view + "0":                                                                                       "2026-03-04 12:05:00+00",
		"SELECT interval_start::VARCHAR " + view + "0":                                                                                     "2026-03-04 12:00:00+00",
		"SELECT concat_ws(' ', device, policy_id, file_id, sub_record, scope, semantics, final, source_file, source_sha256) " + view + "0": "r1 10 11 sio per meter cumulative 0 act1 " + sha("r1act1"),
	}
	for i, n := range numbers[:6] {
		want[fmt.Sprintf("SELECT in_profile_octets_forwarded %s%d", view, i)] = fmt.Sprint(n)
	}
	wantDuck(t, m.o.Dataset, want)

	v := python(t, "pyarrow", m.o.Dataset, `
import pyarrow.dataset as ds, pyarrow.parquet as pq, glob, json
for f in glob.glob("*/v1/*/*.parquet"):
    pq.ParquetFile(f, page_checksum_verification=True).read().validate(full=True)
t = ds.dataset("service-ingress-octets", partitioning="hive").to_table().sort_by("meter_id")
print(json.dumps({
  "types": {f.name: str(f.type) for f in t.schema},
  "nullable": [f.name for f in t.schema if f.nullable],
  "values": t["in_profile_octets_forwarded"].to_pylist(),
  "overflow": t["overflow"].to_pylist(),
  "end": str(t["interval_end"][0]),
}))`)
	got, _ := json.Marshal(v["values"])
	if string(got) != "[0,1,2147483648,4294967295,9007199254740993,9223372036854775807,null,null,null,null]" {
		t.Errorf("pyarrow: values %s", got)
	}
	got, _ = json.Marshal(v["overflow"])
	if string(got) != `[null,null,null,null,null,null,[["in_profile_octets_forwarded","9223372036854775808"]],[["in_profile_octets_forwarded","18446744073709551615"]],null,null]` {
		t.Errorf("pyarrow: overflow %s", got)
	}
	types := v["types"].(map[string]any)
	for column, want := range map[string]string{
		"device": "string", "policy_id": "int32", "final": "int32", "interval_end": "timestamp[us, tz=UTC]",
		"meter_id": "int64", "in_profile_octets_forwarded": "int64", "unknown_fields": "map<string, string ('unknown_fields')>", "date": "string",
	} {
		if types[column] != want {
			t.Errorf("pyarrow: %s is %v, want %s", column, types[column], want)
		}
	}
}

// What has no column is kept as text, whatever it is.
func TestNothingIsDropped(t *testing.T) {
	m := newMemExport(t)
	s := meters(t)
	long := strings.Repeat("ß", 50_000)
	odd := rec(s, 0, map[string]record.Value{
		"svc": record.Num(7), "sap": record.Str(long), "mId": record.Num(math.MaxUint64), "iof": record.Str("12a"), "oof": record.Num(5),
	})
	odd.Unknown = []record.Pair{{Name: "xyz", Text: "1"}, {Name: "xyz", Text: "2"}, {Name: "xyz#2", Text: "3"}, {Name: "ünï", Text: ""}}
	odd.Final = 3
	odd.Policy = 77
	m.add("r1", "act1", step{rec: odd})

	// A row set that the reader made: known record, unknown combination.
	made := &record.RowSet{Record: "service-ingress-octets", Sub: "sioX", Scope: "per moon", Fields: []record.FieldDef{
		{Abbrev: "sap", Column: "sap", Role: record.Key},
		{Abbrev: "iof", Column: "in_profile_octets_forwarded", Role: record.Counter, Numeric: true},
		{Abbrev: "oof", Column: "out_of_profile_octets_forwarded", Role: record.Info, Numeric: true}, // not the role of the column
		{Abbrev: "new", Column: "new", Role: record.Counter, Numeric: true},
	}}
	r := &record.Record{}
	r.Reset(made)
	r.Sub, r.End = "sioX", noon
	r.Values = []record.Value{record.Str("1/1/9"), record.Num(11), record.Num(12), record.Num(math.MaxUint64)}
	m.add("r1", "act2", step{rec: r})

	// The same from a catalogue that has a field without a column.
	known := *made
	known.Known = true
	k := *r
	k.Set = &known
	m.add("r1", "act5", step{rec: &k})

	// A record name that nobody knows, and none at all.
	for i, name := range []record.Name{"vendor-private", ""} {
		u := &record.Record{}
		u.Reset(&record.RowSet{Record: name, Sub: "blob", Fields: []record.FieldDef{{Abbrev: "a", Column: "a"}, {Abbrev: "b", Column: "b", Numeric: true}}})
		u.Sub, u.End = "../../etc", noon.Add(time.Duration(i)*time.Hour)
		u.Values = []record.Value{record.Str("x"), record.Num(math.MaxUint64)}
		m.add("r1", fmt.Sprintf("act%d", 3+i), step{rec: u})
	}
	res := m.run(t)
	if len(res.Outputs) != 2 || res.Outputs[0].Record != "service-ingress-octets" || res.Outputs[1].Record != UnknownRecords {
		t.Errorf("outputs %+v", res.Outputs)
	}
	sio, unknown := "FROM service_ingress_octets WHERE source_file = ", "FROM unknown_records WHERE source_file = "
	wantDuck(t, m.o.Dataset, map[string]string{
		"SELECT service_id " + sio + "'act1'":                                                                          "7",
		"SELECT sap = repeat('ß', 50000) " + sio + "'act1'":                                                            "True",
		"SELECT meter_id IS NULL " + sio + "'act1'":                                                                    "True",
		"SELECT overflow " + sio + "'act1'":                                                                            "{'meter_id': '18446744073709551615'}",
		"SELECT unknown_fields " + sio + "'act1'":                                                                      "{'iof': '12a', 'xyz': '1', 'xyz#2': '2', 'xyz#2#2': '3', 'ünï': ''}",
		"SELECT final || ' ' || policy_id " + sio + "'act1'":                                                           "3 77",
		"SELECT in_profile_octets_forwarded " + sio + "'act2'":                                                         "11",
		"SELECT sap || sub_record || scope " + sio + "'act2'":                                                          "1/1/9sioXper moon",
		"SELECT unknown_fields " + sio + "'act2'":                                                                      "{'oof': '12', 'new': '18446744073709551615'}",
		"SELECT interval_start IS NULL " + sio + "'act2'":                                                              "True",
		"SELECT concat_ws(' ', in_profile_octets_forwarded, sap, sub_record, scope, unknown_fields) " + sio + "'act5'": "11 1/1/9 sioX per moon {oof=12, new=18446744073709551615}",
		"SELECT record_name " + unknown + "'act3'":                                                                     "vendor-private",
		"SELECT record_name IS NULL " + unknown + "'act4'":                                                             "True",
		"SELECT sub_record " + unknown + "'act3'":                                                                      "../../etc",
		"SELECT unknown_fields " + unknown + "'act3'":                                                                  "{'a': 'x', 'b': '18446744073709551615'}",
	})
	for _, p := range published(t, m.o.Dataset) {
		if strings.Contains(p, "..") || strings.Count(p, "/") != 3 {
			t.Errorf("path %s", p)
		}
	}
}

// Text of a key that comes as a number, and the file's own ids where the file
// does not say them.
func TestIdentifyFillsTheGaps(t *testing.T) {
	m := newMemExport(t)
	m.o.Identify = func(name string) (int, int) { return len(name), 5 }
	m.mem.header = record.Header{FileID: 3}
	s := meters(t)
	m.add("r1", "act1", step{rec: rec(s, 0, nil)})
	m.run(t)
	wantDuck(t, m.o.Dataset, map[string]string{
		"SELECT policy_id || ' ' || file_id || ' ' || semantics FROM service_ingress_octets": "4 3 unknown",
	})
	_, f := readGroups(t, filepath.Join(m.o.Dataset, published(t, m.o.Dataset)[0]), table(t, "service-ingress-octets"))
	if v, _ := f.Lookup(metaSemantics); v != "unknown" {
		t.Errorf("semantics %q", v)
	}
}

// The date is that of the interval end, in UTC.
func TestPartitionIsTheDateOfTheIntervalEnd(t *testing.T) {
	m := newMemExport(t)
	s := meters(t)
	west := time.FixedZone("west", -8*3600)
	var steps []step
	for i, end := range []time.Time{
		time.Date(2026, 3, 4, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 3, 4, 20, 0, 0, 0, west), // 04:00 UTC on the 5th
		time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		r := rec(s, 0, map[string]record.Value{"mId": record.Num(uint64(i))})
		r.Start, r.End = time.Time{}, end
		steps = append(steps, step{rec: r})
	}
	m.add("r1", "act1", steps...)
	res := m.run(t)
	got := ""
	for _, o := range res.Outputs {
		got += fmt.Sprintf("%s:%d ", o.Date, o.Rows)
	}
	if got != "1990-01-01:1 2026-03-04:1 2026-03-05:2 " {
		t.Errorf("partitions %s", got)
	}
	wantDuck(t, m.o.Dataset, map[string]string{
		"SELECT count(*) FROM service_ingress_octets WHERE date = interval_end::DATE": "4",
	})
}
