package export

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"acctpull/internal/gen"
)

// compactedMonth exports days of the realistic generator in batches of some hours
// and compacts them.
func compactedMonth(t testing.TB, days, objects, batches int) (*Exporter, CompactResult) {
	t.Helper()
	files := memFiles{}
	x := newExporter(t, Options{Open: files.open})
	start := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	g, err := gen.New(gen.Options{Seed: 1, Objects: objects, Intervals: 288 / batches, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	var results []Result
	for i := range days * batches {
		var b sizedBuffer
		if _, err := g.WriteFile(&b); err != nil {
			t.Fatal(err)
		}
		res, err := x.Run(context.Background(), batchOf(files.add("r1", fmt.Sprintf("act1011-%04d.xml.gz", i), b.b)))
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, res)
	}
	return x, compact(t, compaction(x, results...))
}

// A filtered query on a compacted month reads only the row groups that can have
// its rows: DuckDB's own profile says how many of them, and how many files and
// bytes, it read. A row takes 10 bytes at most.
func TestProofQueryReadsOnlyItsRowGroups(t *testing.T) {
	days, objects := proofScale(2, 31), 110 // 126,720 rows a day: two row groups
	x, res := compactedMonth(t, days, objects, 4)
	rows, bytes := int64(0), int64(0)
	for _, d := range res.Days {
		rows += d.Rows()
		for _, f := range d.Outputs {
			bytes += f.Bytes
		}
	}
	// 14 counters, as the generator makes them every five minutes.
	if perRow := float64(bytes) / float64(rows); perRow > 10 || perRow < 1 {
		t.Errorf("%.2f bytes a row", perRow)
	} else {
		t.Logf("%.2f bytes a row of 14 counters", perRow)
	}
	v := python(t, "duckdb", x.o.Dataset, `
import duckdb, json
con = duckdb.connect(); con.execute("SET TimeZone='UTC'; SET threads=1; SET enable_external_file_cache=false")
table = "read_parquet('combined-service-ingress/v1/*/*.parquet', hive_partitioning=true)"
def scan(node):
    if node["type"] == "TABLE_SCAN":
        return node
    for c in node.get("children", []):
        if (r := scan(c)): return r
def profile(where):
    query = f"SELECT count(*), sum(in_profile_octets_forwarded), sum(low_priority_octets_offered) FROM {table} WHERE {where}"
    found = con.execute(query).fetchone()[0]
    p = json.loads(con.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query).fetchone()[1])
    s = scan(p["operator"][0]) or {}
    return {"found": found, "bytes": p["io"]["total_bytes_read"], "groups": s.get("row_groups_scanned", 0),
            "files": int(s.get("extra_info", {}).get("Total Files Read", 0))}
ids = [r[0] for r in con.execute(f"SELECT DISTINCT service_id FROM {table} ORDER BY 1").fetchall()]
groups = con.execute("""SELECT file_name, row_group_id, min(stats_min_value) lo, max(stats_max_value) hi
  FROM parquet_metadata('combined-service-ingress/v1/*/*.parquet') WHERE path_in_schema = 'service_id' GROUP BY ALL""").fetchall()
can = lambda id, date="": sum(lo <= id <= hi and date in name for name, _, lo, hi in groups)
first = ids[0]
print(json.dumps({
  "groups": len(groups), "can": can(first), "canDay": can(first, "2026-01-03"),
  "all": profile("in_profile_octets_forwarded >= 0"),
  "day": profile("date = '2026-01-03'"),
  "object": profile(f"service_id = '{first}'"),
  "objectDay": profile(f"date = '2026-01-03' AND service_id = '{first}'"),
  "nobody": profile("service_id = 'zzz'"),
}))`)
	number := func(keys ...string) float64 {
		t.Helper()
		m := any(v)
		for _, k := range keys {
			m = m.(map[string]any)[k]
		}
		n, err := m.(json.Number).Float64()
		if err != nil {
			t.Fatalf("%v is %v in %v", keys, m, v)
		}
		return n
	}
	t.Logf("%v", v)
	groups, all := number("groups"), number("all", "bytes")
	if got := number("all", "groups"); got != groups || groups < float64(2*days) {
		t.Errorf("a query for everything scanned %v row groups of %v", got, groups)
	}
	for _, c := range []struct {
		query         string
		groups, files float64 // scanned at most
		share         float64 // of the bytes that everything takes
	}{
		{"day", 2, 1, 1.5 / float64(days)},
		{"object", number("can"), float64(days) + 1, 0.99},
		{"objectDay", number("canDay"), 1, 1 / float64(days)},
		{"nobody", 0, float64(days) + 1, 0.2},
	} {
		g, f, b := number(c.query, "groups"), number(c.query, "files"), number(c.query, "bytes")
		if g > c.groups || f > c.files || b > c.share*all {
			t.Errorf("%s: %v row groups, %v files and %v of %v bytes were read; %v, %v and a share of %.2f are enough", c.query, g, f, b, all, c.groups, c.files, c.share)
		}
	}
	if can := number("can"); can >= groups {
		t.Errorf("%v of %v row groups can have the object: the order is of no use", can, groups)
	}
	if got := number("objectDay", "found"); got != 4*288 {
		t.Errorf("%v rows of one object on one day", got)
	}
}
