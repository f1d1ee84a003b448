package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// referenceSQL computes the figures independently, set by set instead of row by row.
//
//go:embed testdata/reference.sql
var referenceSQL string

// question is one report, as we ask it and as SQL does.
type question struct {
	name string
	o    Options
	// group is the label of a row in SQL, where an SQL condition on rows.
	group, where string
	join         string
}

const (
	forwardedSQL = "CASE WHEN scope = 'per meter' AND counter_mode = 'forward-drop-count' THEN octets_forwarded WHEN scope IN ('per meter', 'per queue') THEN in_profile_octets_forwarded::HUGEINT + out_of_profile_octets_forwarded END"
	droppedSQL   = "CASE WHEN scope = 'per queue' THEN high_priority_octets_dropped::HUGEINT + low_priority_octets_dropped WHEN counter_mode = 'forward-drop-count' THEN octets_dropped END"
	countsSQL    = "scope IN ('per meter', 'per queue')"
	dropsSQL     = "(scope = 'per queue' OR counter_mode = 'forward-drop-count')"
	perSAP       = "concat_ws('|', device, service_id, sap)"
)

func questions() []question {
	groups := []Group{
		{"blue", []Member{{Device: "pe-1", SAP: "1/1/1:100"}, {Device: "pe-2", SAP: "1/1/2:100"}}},
		{"red", []Member{{Service: "100"}, {Device: "pe-2", SAP: "1/1/2:100"}}},
	}
	return []question{
		{name: "sap", o: Options{By: BySAP}, group: perSAP},
		{name: "device", o: Options{By: ByDevice}, group: "device"},
		{name: "service on all devices", o: Options{By: ByService, Across: true}, group: "service_id"},
		{name: "class", o: Options{By: ByClass, Percentile: 99900}, group: "concat_ws('|', device, service_id, sap, coalesce(meter_id::VARCHAR, ''), coalesce(queue_id::VARCHAR, ''))"},
		{name: "sum of some", o: Options{Sum: true, Filter: Filter{SAPs: []string{"1/1/1:100", "1/1/3:100"}, Classes: []int64{1, 2}}, Percentile: 50000}, group: "'all'",
			where: "sap IN ('1/1/1:100', '1/1/3:100') AND coalesce(meter_id, queue_id) IN (1, 2)"},
		{name: "policy", o: Options{By: BySAP, Filter: Filter{Policies: []int64{11}}}, group: perSAP, where: "policy_id = 11"},
		{name: "groups", o: Options{Groups: groups}, group: "g.name",
			join: "JOIN (VALUES ('blue', 'pe-1', '1/1/1:100', NULL), ('blue', 'pe-2', '1/1/2:100', NULL), ('red', NULL, NULL, '100'), ('red', 'pe-2', '1/1/2:100', NULL)) AS g(name, d, s, v) ON (g.d IS NULL OR g.d = device) AND (g.s IS NULL OR g.s = sap) AND (g.v IS NULL OR g.v = service_id)"},
	}
}

func (q *question) sql(policy Policy) string {
	main, forward, counts := forwardedSQL, "0", countsSQL
	if q.o.Kind == Drops {
		main, forward, counts = droppedSQL, forwardedSQL, dropsSQL
	}
	where := q.where
	if where == "" {
		where = "true"
	}
	from, to := q.o.Window.From, q.o.Window.To
	return strings.NewReplacer("{main}", main, "{forward}", forward, "{counts}", counts, "{group}", q.group, "{where}", where, "{join}", q.join,
		"{from}", fmt.Sprint(from.UnixMicro()), "{to}", fmt.Sprint(to.UnixMicro()), "{policy}", string(policy),
		"{percentile}", fmt.Sprint(int(q.o.Percentile.value()))).Replace(referenceSQL)
}

// Every report, with every gap policy, says what DuckDB says, to the last digit.
func TestProofDuckDBSaysTheSame(t *testing.T) {
	levels := []float64{0.08}
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		levels = []float64{0, 0.01, 0.03, 0.1, 0.2}
	}
	for _, broken := range levels {
		dir := t.TempDir()
		seed := uint64(broken*100) + 1
		t.Logf("seed %d", seed)
		writeUsage(t, dir, "service-ingress-octets", network(seed, broken), 2)
		var asked []question
		var policies []Policy
		queries, at := []string{}, map[string]int{} // reports that differ in nothing but what they print share a query
		var answer []int
		for _, q := range questions() {
			for _, kind := range []Kind{Volume, P95, Drops, Top} {
				for _, policy := range []Policy{Exclude, Zero, Refuse} {
					q := q
					q.o.Kind, q.o.Gaps = kind, policy
					q.o.Window = Window{march, march.AddDate(0, 0, 2)}
					sql := q.sql(policy)
					if _, ok := at[sql]; !ok {
						at[sql] = len(queries)
						queries = append(queries, sql)
					}
					asked, policies, answer = append(asked, q), append(policies, policy), append(answer, at[sql])
				}
			}
		}
		answers := python(t, dir, `
import duckdb, json, sys
c = duckdb.connect()
c.execute("SET TimeZone='UTC'; SET threads=1; SET enable_progress_bar=false")
c.execute("CREATE TABLE source AS FROM read_parquet('service-ingress-octets-usage/v1/*/*.parquet')")
out = []
for q in json.load(sys.stdin):
    cur = c.execute(q)
    names = [d[0] for d in cur.description]
    out.append([dict(zip(names, row)) for row in cur.fetchall()])
print(json.dumps(out, default=str))
`, queries).([]any)
		refused, figures := 0, 0
		for i, q := range asked {
			r, _ := runReport(t, dir, q.o, Settings{})
			name := fmt.Sprintf("%v %s %s %s", broken, q.name, q.o.Kind, policies[i])
			want := answers[answer[i]].([]any)
			if len(want) != len(r.Figures) {
				t.Errorf("%s: %d figures, DuckDB has %d", name, len(r.Figures), len(want))
				continue
			}
			for _, f := range r.Figures {
				figures++
				refused += b2i(f.Refused != "" && f.Coverage.Absent == nil)
				compareDuck(t, name, r, &f, want)
			}
		}
		if broken > 0 && refused == 0 || broken == 0 && refused != 0 || figures == 0 {
			t.Errorf("broken %v: %d of %d figures refused", broken, refused, figures)
		}
	}
}

// compareDuck compares a figure with the row of its label.
func compareDuck(t *testing.T, name string, r *Report, f *Figure, rows []any) {
	t.Helper()
	label := strings.Join(f.Object, "|")
	for _, row := range rows {
		want := row.(map[string]any)
		if want["label"] != label {
			continue
		}
		got := map[string]string{
			"series": fmt.Sprint(f.Coverage.Series), "n_rows": fmt.Sprint(f.Coverage.Rows), "deltas": fmt.Sprint(f.Coverage.Deltas),
			"expected": fmt.Sprint(f.Coverage.Expected), "counted": fmt.Sprint(f.Coverage.Counted), "partial": fmt.Sprint(f.Coverage.Partial),
			"gap_seconds": fmt.Sprint(f.Coverage.GapSeconds), "missing": f.missing(), "refused": fmt.Sprint(f.Refused != "" && f.Coverage.Absent == nil),
		}
		if f.Coverage.Absent != nil && r.Gaps == Refuse { // DuckDB knows nothing of members
			want["refused"] = "false"
			if f.Refused == "" {
				t.Errorf("%s %s: not refused without %v", name, label, f.Coverage.Absent)
			}
		}
		if f.Refused == "" {
			got["total"], got["samples"] = f.Total.String(), fmt.Sprint(f.Samples)
			got["p"], got["most"] = exact(f.Rate), exact(f.Max)
			if r.Kind == Drops {
				got["forwarded"], got["percent"] = f.Forwarded.String(), exact(f.Percent)
			}
			if f.At != nil {
				got["at_us"] = fmt.Sprint(f.At.UnixMicro())
			}
		}
		for k, v := range got {
			if w := plainText(want[k]); v != w {
				t.Errorf("%s %s: %s is %s, DuckDB says %s", name, label, k, v, w)
			}
		}
		return
	}
	t.Errorf("%s: DuckDB has no %s", name, label)
}

// exact writes a float64 so that two are the same text only if all bits are.
func exact(v *float64) string {
	if v == nil {
		return "none"
	}
	b, _ := json.Marshal(*v)
	return string(b)
}

// plainText is a value of DuckDB as exact writes it.
func plainText(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case json.Number:
		if strings.ContainsAny(v.String(), ".e") {
			f, _ := v.Float64()
			return exact(&f)
		}
		return v.String()
	}
	return fmt.Sprint(v)
}
