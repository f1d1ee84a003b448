package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/depot"
	"acctpull/record"
)

// The ranks of a billing month, as billing contracts say them.
func TestRanks(t *testing.T) {
	for _, c := range []struct {
		p    string
		n    int
		want int
	}{
		{"95", 0, 0}, {"95", 1, 1}, {"95", 20, 19}, {"95", 21, 20}, {"95", 8640, 8208}, {"95", 8928, 8482}, {"95", 8064, 7661},
		{"95", 2880, 2736}, {"95", 720, 684}, {"100", 7, 7}, {"50", 4, 2}, {"99.9", 1000, 999}, {"99.9", 1001, 1000}, {"0.001", 5, 1},
	} {
		p, err := ParsePercentile(c.p)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Rank(c.n); got != c.want || p.String() != c.p {
			t.Errorf("percentile %s of %d: rank %d, want %d; text %s", c.p, c.n, got, c.want, p)
		}
	}
	for _, bad := range []string{"", "0", "101", "-5", "95%", "1e2", "95.0001", "100.001", "0.0"} {
		if _, err := ParsePercentile(bad); err == nil {
			t.Errorf("%q is taken for a percentile", bad)
		}
	}
}

// smallest finds what sorting finds.
func TestSmallest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		v := make([]float64, 1+r.IntN(60))
		for i := range v {
			v[i] = float64(r.IntN(20))
		}
		k := 1 + r.IntN(len(v))
		sorted := slices.Sorted(slices.Values(v))
		if got := smallest(v, k); got != sorted[k-1] {
			t.Fatalf("%d of %v: %v", k, sorted, got)
		}
	}
}

// Sums are exact beyond every counter.
func TestSums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	want, got := new(big.Int), Sum{}
	for range 1000 {
		n := r.Uint64()
		want.Add(want, new(big.Int).SetUint64(n))
		got.add(n)
	}
	if got.String() != want.String() || got.Big().Cmp(want) != 0 {
		t.Errorf("%s, want %s", got, want)
	}
	f, _ := new(big.Float).SetInt(want).Float64()
	if got.Float() != f {
		t.Errorf("%v, want %v", got.Float(), f)
	}
	var back Sum
	data, err := json.Marshal(got)
	if err == nil {
		err = json.Unmarshal(data, &back)
	}
	if err != nil || back != got || got.Cmp(NewSum(5)) != 1 || NewSum(5).Cmp(got) != -1 || got.Cmp(back) != 0 {
		t.Errorf("%s came back as %s: %v", got, back, err)
	}
	for _, bad := range []string{"-1", "1.5", `"7"`, "340282366920938463463374607431768211456", "+1"} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is taken for a sum", bad)
		}
	}
}

// Every sub-record of the catalogue has the direction that its documents give it.
func TestDirections(t *testing.T) {
	for name, subs := range map[string]map[string]Direction{
		"service-ingress-octets":             {"sio": In},
		"service-egress-packets":             {"sep": Out},
		"complete-service-ingress-egress":    {"cpSipo": In, "cpSepo": Out},
		"combined-service-ing-egr-octets":    {"cmSio": In, "cmSeo": Out},
		"combined-network-ing-egr-octets":    {"cmNio": In, "cmNeo": Out},
		"complete-network-ingr-egr":          {"cpNipo": In, "cpNepo": Out},
		"complete-access-ingress-egress":     {"aio": In, "aip": In, "aeo": Out, "aep": Out},
		"combined-sdp-ingress-egress":        {"cmSdpipo": In, "cmSdpepo": Out},
		"complete-subscriber-ingress-egress": {"cpSBipooc": In, "cpSBepooc": Out},
		"custom-record-service":              {"(custom)": AnyDirection},
		"combined-network-interface-ingress": {"cmNifipo": In},
	} {
		def := definition(t, name)
		for _, s := range def.RowSets {
			want, ok := subs[s.Sub]
			if !ok {
				if len(subs) > 1 || def.Name == "custom-record-service" {
					t.Errorf("%s: sub-record %s is not in the test", name, s.Sub)
				}
				continue
			}
			if got := direction(def.Name, s.Sub); got != want {
				t.Errorf("%s %s: %q, want %q", name, s.Sub, got, want)
			}
		}
	}
}

// steady makes n rows of one series.
func steady(base aRow, counter string, step time.Duration, n int, octets int64) []aRow {
	var rows []aRow
	for i := range n {
		row := aRow{"final": 0, "semantics": "cumulative", "interval_start": march.Add(time.Duration(i) * step), "interval_end": march.Add(time.Duration(i+1) * step),
			"interval_seconds": int64(step.Seconds()), counter: octets, "source_file": "f", "source_sha256": strings.Repeat("ab", 32)}
		for k, v := range base {
			row[k] = v
		}
		rows = append(rows, row)
	}
	return rows
}

var oneDay = Window{march, march.AddDate(0, 0, 1)}

// An object that is counted as a whole and by class is not counted twice.
func TestNothingCountsTwice(t *testing.T) {
	dir := t.TempDir()
	base := func(sap, scope string) aRow {
		return aRow{"device": "pe-1", "sub_record": "seo", "scope": scope, "service_id": "1", "sap": sap}
	}
	var rows []aRow
	rows = append(rows, steady(base("1/1/1:1", "per SAP"), "octets_forwarded_at_the_sap_egress", 15*time.Minute, 96, 1000)...)
	for q := range 2 {
		for _, sap := range []string{"1/1/1:1", "1/1/1:2"} {
			b := base(sap, "per SAP egress meter")
			b["meter_id"] = q
			rows = append(rows, steady(b, "octets_forwarded", 15*time.Minute, 96, 500)...)
		}
	}
	for i := range rows {
		if rows[i]["scope"] != "per SAP" {
			rows[i]["octets_dropped"] = int64(1)
		}
	}
	writeUsage(t, dir, "service-egress-octets", rows, 3)
	for _, c := range []struct {
		o    Options
		want []string
	}{
		{Options{Kind: Volume}, []string{"96000 per SAP", "96000 per SAP egress meter"}},
		{Options{Kind: Volume, By: ByDevice}, []string{"192000 per SAP;per SAP egress meter"}},
		{Options{Kind: Volume, Sum: true}, []string{"192000 per SAP;per SAP egress meter"}},
		{Options{Kind: Volume, By: ByClass}, []string{"48000 per SAP egress meter", "48000 per SAP egress meter", "48000 per SAP egress meter", "48000 per SAP egress meter"}},
		{Options{Kind: Volume, Scope: "per SAP egress meter"}, []string{"96000 per SAP egress meter", "96000 per SAP egress meter"}},
		{Options{Kind: Drops}, []string{"192 per SAP egress meter", "192 per SAP egress meter"}},
		{Options{Kind: Volume, Groups: []Group{{"both", []Member{{SAP: "1/1/1:1"}, {Device: "pe-1", Service: "1"}}}}}, []string{"192000 per SAP;per SAP egress meter"}},
	} {
		c.o.Window = oneDay
		r, _ := runReport(t, dir, c.o, Settings{})
		var got []string
		for _, f := range r.Figures {
			got = append(got, f.Total.String()+" "+strings.Join(f.Scopes, ";"))
			if f.Direction != Out || f.Interval != 900 || f.Coverage.Expected != 96 || f.Coverage.Counted != 96 || f.Coverage.Partial != 0 || f.Refused != "" {
				t.Errorf("%+v: %+v", c.o, f)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.o, got, c.want)
		}
	}
}

// Intervals of several lengths are refused, chosen, or accepted.
func TestMixedIntervals(t *testing.T) {
	dir := t.TempDir()
	base := aRow{"device": "pe-1", "sub_record": "neo", "scope": "per port", "port_id": "1/1/1"}
	rows := steady(base, "octets_forwarded", 5*time.Minute, 144, 300_000) // 8 kbit/s
	for _, r := range steady(base, "octets_forwarded", 15*time.Minute, 96, 1_800_000) {
		if r["interval_end"].(time.Time).After(march.Add(12 * time.Hour)) {
			rows = append(rows, r) // 16 kbit/s
		}
	}
	writeUsage(t, dir, "network-egress-octets", rows, 1)
	run := func(o Options) Figure {
		o.Kind, o.Window = P95, oneDay
		r, _ := runReport(t, dir, o, Settings{})
		if len(r.Figures) != 1 {
			t.Fatalf("%+v: %d figures", o, len(r.Figures))
		}
		return r.Figures[0]
	}
	if f := run(Options{}); f.Refused != "intervals of several lengths are mixed: 144 rows of 5m, 48 rows of 15m" || f.Rate != nil || !f.Total.IsZero() {
		t.Errorf("%+v", f)
	}
	if f := run(Options{Interval: 5 * time.Minute}); f.Refused != "" || *f.Rate != 8000 || f.Samples != 144 || f.Coverage.Expected != 288 || f.Total != NewSum(144*300_000) || f.Coverage.Missing["length"] != 48 {
		t.Errorf("%+v, rate %v", f, *f.Rate)
	}
	if f := run(Options{Interval: 15 * time.Minute, Gaps: Zero}); f.Refused != "" || *f.Rate != 16000 || f.Samples != 96 || f.Total != NewSum(48*1_800_000) {
		t.Errorf("%+v, rate %v", f, *f.Rate)
	}
	if f := run(Options{Mix: true}); f.Refused != "" || *f.Rate != 16000 || f.Samples != 192 || f.Coverage.Expected != -1 || f.Interval != 0 || f.Total != NewSum(144*300_000+48*1_800_000) {
		t.Errorf("%+v, rate %v", f, *f.Rate)
	}
	if _, _, err := Run(context.Background(), depot.NewDir(dir), Options{Kind: P95, Window: oneDay, Mix: true, Gaps: Zero}, Settings{Catalogue: record.Builtin()}); err == nil {
		t.Error("mixed lengths with zeros are accepted")
	}
}

// A threshold counts the intervals above it; the capacity that says most about an object
// holds.
func TestOverThreshold(t *testing.T) {
	dir := t.TempDir()
	var rows []aRow
	for i, port := range []string{"1/1/1", "1/1/2", "1/1/3"} {
		base := aRow{"device": "pe-1", "sub_record": "neo", "scope": "per port", "port_id": port}
		rows = append(rows, steady(base, "octets_forwarded", 15*time.Minute, 96-i, int64(900_000*(i+1)))...) // 8, 16, 24 kbit/s
	}
	writeUsage(t, dir, "network-egress-octets", rows, 1)
	c, err := ParseCapacities(strings.NewReader("speed,device,port\n100k,,\n# a slow one\n10k,pe-1,1/1/2\n20k,,1/1/2\n30000,pe-1,1/1/3\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := runReport(t, dir, Options{Kind: Top, Window: oneDay, Capacity: c, Over: 0.8}, Settings{})
	if len(r.Figures) != 1 || r.Of != 3 || r.Figures[0].Object[1] != "1/1/2" || r.Figures[0].OverCount != 95 || *r.Figures[0].Peak != 1.6 {
		t.Errorf("%+v", r.Figures) // 24 of 30 kbit/s is 80 % and not above
	}
	c.List[0].Speed = 40_000
	r, _ = runReport(t, dir, Options{Kind: Top, Window: oneDay, Capacity: c, Over: 0.3, Rank: ByMaximum}, Settings{})
	if len(r.Figures) != 2 || r.Figures[0].Object[1] != "1/1/2" || r.Figures[1].OverCount != 94 {
		t.Errorf("%+v", r.Figures)
	}
	r, _ = runReport(t, dir, Options{Kind: Top, Window: oneDay, Rank: ByRate, Limit: 2}, Settings{})
	if len(r.Figures) != 2 || r.Figures[0].Object[1] != "1/1/3" || *r.Figures[0].Percent != 100*24.*94/(8*96+16*95+24*94) {
		t.Errorf("%+v", r.Figures)
	}
}

// Groups that do not fit into memory together are made in passes, and say the same.
func TestPasses(t *testing.T) {
	dir := t.TempDir()
	writeUsage(t, dir, "service-ingress-octets", network(9, 0.05), 2)
	o := Options{Kind: P95, Window: Window{march, march.AddDate(0, 0, 2)}, By: BySAP, Across: true, Gaps: Zero, Percentile: DefaultPercentile}
	want, _ := runReport(t, dir, o, Settings{})
	src := &source{dataset: depot.NewDir(dir), from: o.Window.From.UnixMicro() - slack, to: o.Window.To.UnixMicro() + slack}
	e, err := newEngine(definition(t, "service-ingress-octets"), &o)
	if err != nil {
		t.Fatal(err)
	}
	got := &Report{}
	passes := 0
	e.budget = 1
	e.emit = func(f Figure) {
		passes++
		got.Figures = append(got.Figures, f)
	}
	if err := runTable(context.Background(), src, e, nil, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	got.arrange(&o)
	if a, b := mustText(want.Figures), mustText(got.Figures); a != b || passes < 3 {
		t.Errorf("%d passes:\n%s\n%s", passes, a, b)
	}
}

// Every mistake in a groups file is told with its line.
func TestMistakesInGroups(t *testing.T) {
	_, err := ParseGroups(strings.NewReader("group,device,sap\nblue,pe-1,1/1/1:1\n,pe-1,1\nred,,\nblue, pe-1 ,1/1/1:1\nx,y\nred,\x1b[2J,1\n# no\nred,pe-2,1/1/1:1\n"))
	want := []string{"line 3: no name of the group", `line 4: group "red": the member has no value in any column`, `line 5: group "blue" has "device=pe-1 sap=1/1/1:1" twice, first in line 2`,
		"line 6: 2 fields, the header has 3", `line 7: device "\x1b[2J" is longer than 256 bytes, not UTF-8, or has control characters`}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "group\n", "group,color\na,b\n", "device,sap\n", "group,device,device\n", "group,device\n\"a,b\n"} {
		if _, err := ParseGroups(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for groups", bad)
		}
	}
	groups, err := ParseGroups(strings.NewReader("\ufeffgroup,device,service,port\r\nred,pe-1,100,\r\nblue,,,1/1/1\r\nred,pe-2,100,\r\n"))
	if err != nil || len(groups) != 2 || len(groups[0].Members) != 2 || groups[0].Members[1] != (Member{Device: "pe-2", Service: "100"}) {
		t.Errorf("%+v, %v", groups, err)
	}
}

// What people ask that has no answer is said, before anything is read.
func TestQuestionsWithoutAnswer(t *testing.T) {
	dir := t.TempDir()
	writeUsage(t, dir, "service-egress-octets", steady(aRow{"device": "d", "sub_record": "seo", "scope": "per SAP", "service_id": "1", "sap": "1"}, "octets_forwarded_at_the_sap_egress", 15*time.Minute, 4, 1), 1)
	writeUsage(t, dir, "complete-service-ingress-egress", steady(aRow{"device": "d", "sub_record": "cpSepo", "scope": "per SAP", "service_id": "1", "sap": "1"}, "octets_forwarded_at_the_sap_egress", 15*time.Minute, 4, 1), 1)
	for _, c := range []struct {
		o     Options
		named []string
		want  string
	}{
		{Options{Kind: Volume}, nil, "together they would count twice"},
		{Options{Kind: Volume, By: ByPort}, nil, "no usage table of the dataset has the answer"},
		{Options{Kind: Volume, Counters: []string{"colour"}}, []string{"service-egress-octets"}, `no counter "colour"`},
		{Options{Kind: Volume, Counters: []string{"octets_forwarded", "packets_forwarded"}}, []string{"complete-service-ingress-egress"}, "counts octets, packets_forwarded packets"},
		{Options{Kind: Volume}, []string{"network-egress-octets"}, "the dataset has no usage of network-egress-octets"},
		{Options{Kind: Volume}, []string{"nonsense"}, `no record "nonsense"`},
		{Options{Kind: Volume, Sum: true, By: BySAP}, nil, "exclude each other"},
		{Options{Kind: Top, Over: 0.8}, nil, "how much the objects can carry"},
		{Options{Kind: "gossip"}, nil, `no report "gossip"`},
		{Options{Kind: Volume, Window: Window{march, march}}, nil, "no range of time"},
	} {
		if c.o.Window == (Window{}) {
			c.o.Window = oneDay
		}
		_, _, err := Run(context.Background(), depot.NewDir(dir), c.o, Settings{Catalogue: record.Builtin(), Tables: c.named})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.o, err, c.want)
		}
	}
	// Packets stand back behind octets.
	writeUsage(t, dir, "service-egress-packets", steady(aRow{"device": "d", "sub_record": "sep", "scope": "per SAP", "service_id": "1", "sap": "1"}, "packets_forwarded_at_the_sap_egress", 15*time.Minute, 4, 1), 1)
	writeUsage(t, dir, "network-egress-packets", steady(aRow{"device": "d", "sub_record": "nep", "scope": "per port", "port_id": "1"}, "packets_forwarded", 15*time.Minute, 4, 100), 1)
	writeUsage(t, dir, "network-ingress-octets", steady(aRow{"device": "d", "sub_record": "nio", "scope": "per port", "port_id": "1"}, "octets_forwarded", 15*time.Minute, 4, 100), 1)
	if r, _ := runReport(t, dir, Options{Kind: Volume, By: ByPort, Window: oneDay}, Settings{}); len(r.Figures) != 1 || r.Figures[0].Unit != Octets || r.Figures[0].Direction != In {
		t.Errorf("%+v", r.Figures)
	}
	r, _ := runReport(t, dir, Options{Kind: Volume, Window: oneDay}, Settings{Tables: []string{"service-egress-octets-usage"}})
	if len(r.Figures) != 1 || r.Figures[0].Total != NewSum(4) {
		t.Errorf("%+v", r.Figures)
	}
}

// hostile is a SAP whose name is a formula, a tag and a terminal sequence.
const hostile = `=HYPERLINK("http://x")<script>` + "\x1b[2J"

func hostileReport(t *testing.T) *Report {
	t.Helper()
	dir := t.TempDir()
	base := aRow{"device": "@pe", "sub_record": "seo", "scope": "per SAP", "service_id": "-1+2", "sap": hostile}
	rows := steady(base, "octets_forwarded_at_the_sap_egress", 15*time.Minute, 96, 1<<62)
	rows = slices.Delete(rows, 40, 44)
	rows[40]["break"] = "reset"
	delete(rows[40], "octets_forwarded_at_the_sap_egress")
	writeUsage(t, dir, "service-egress-octets", rows, 1)
	r, _ := runReport(t, dir, Options{Kind: Top, Window: oneDay}, Settings{Plots: 3})
	return r
}

// No cell of the CSV is a formula, and every value comes back exactly.
func TestCSVIsHarmless(t *testing.T) {
	var b bytes.Buffer
	r := hostileReport(t)
	if err := r.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(b.String(), "\r\n") {
		t.Error("lines do not end with CRLF")
	}
	lines, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(lines) != 2 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	for i, cell := range lines[1] {
		if strings.ContainsAny(cell[:min(1, len(cell))], "=+-@\t\r") {
			t.Errorf("%s is %q", lines[0][i], cell)
		}
	}
	get := func(name string) string { return lines[1][slices.Index(lines[0], name)] }
	if get("sap") != "'"+hostile || get("service_id") != "'-1+2" || get("total") != "419663427676892299264" || get("missing") != "absent:4 reset:1" {
		t.Errorf("%q", lines)
	}
	for in, want := range map[string]string{"": "", "5": "5", "-5.5": "-5.5", "+5": "'+5", "-a": "'-a", " =1": "' =1", "\t1": "'\t1", "＝1": "'＝1", "a=1": "a=1"} {
		if got := harmless(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// The page needs nothing from outside, escapes what devices say, and shows gaps.
func TestHTMLStandsAlone(t *testing.T) {
	var b bytes.Buffer
	if err := hostileReport(t).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"<script", "http://x\"", "src=", "href=", "@import", "NaN", "Inf"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"&lt;script&gt;", `class="gap"`, "5 intervals missing, 2026-03-01T10:00:00Z to 2026-03-01T11:15:00Z", "Content-Security-Policy", "prefers-color-scheme:dark", "absent:4 reset:1", "<path d=\"M0.0 "} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// A total above 2^63-1 is NULL in Parquet, and there as text.
func TestParquetReport(t *testing.T) {
	var b bytes.Buffer
	r := hostileReport(t)
	if err := r.WriteParquet(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.Read[line](bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if l := rows[0]; l.Total != nil || l.Exact != "419663427676892299264" || *l.Rate != *r.Figures[0].Rate || l.Missing["reset"] != 1 || l.Object[2] != hostile {
		t.Errorf("%+v", l)
	}
}

// A reset of every kind of thing is refused with the reason, if nothing may be missing.
func TestRefusalNamesReasons(t *testing.T) {
	dir := t.TempDir()
	base := aRow{"device": "d", "sub_record": "seo", "scope": "per SAP", "service_id": "1", "sap": "1"}
	rows := steady(base, "octets_forwarded_at_the_sap_egress", 15*time.Minute, 96, 5)
	rows[7]["break"] = "reset"
	delete(rows[7], "octets_forwarded_at_the_sap_egress")
	writeUsage(t, dir, "service-egress-octets", slices.Delete(rows, 3, 4), 1)
	r, _ := runReport(t, dir, Options{Kind: Volume, Window: oneDay, Gaps: Refuse, Groups: []Group{{"a", []Member{{SAP: "1"}, {SAP: "2"}}}, {"none", []Member{{Device: "x"}}}}}, Settings{})
	if len(r.Figures) != 2 || r.Figures[0].Refused != "absent 1 interval, reset 1 interval, no row of sap=2" || r.Figures[1].Refused != "no row of device=x" {
		t.Errorf("%+v", r.Figures)
	}
	if n, why := r.Refused(); n != 2 || why != r.Figures[0].Refused {
		t.Errorf("%d, %s", n, why)
	}
}

func FuzzGroups(f *testing.F) {
	f.Add("group,device,sap\na,b,c\n")
	f.Add("speed,port\n1G,1/1/1\n")
	f.Add("\ufeffgroup,sdp\r\n\"a\"\"b\",1\r\n#x\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		groups, err := ParseGroups(strings.NewReader(text))
		for _, g := range groups {
			if err != nil || g.Name == "" || len(g.Members) == 0 || unusable(g.Name) {
				t.Fatalf("%+v, %v", g, err)
			}
			for _, m := range g.Members {
				if m.String() == "" {
					t.Fatalf("an empty member in %q", g.Name)
				}
			}
		}
		if c, err := ParseCapacities(strings.NewReader(text)); err == nil {
			for _, l := range c.List {
				if l.Speed <= 0 || l.Member == (Member{}) {
					t.Fatalf("%+v", l)
				}
			}
		}
	})
}

func FuzzProof(f *testing.F) {
	sample, err := os.ReadFile(filepath.Join("testdata", "proof.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte(`{"format":"acctpull-proof/1","rules_version":1,"usage_rules_version":1,"answer":{},"rows":[{"series":0}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadProof(bytes.NewReader(data))
		if err != nil {
			return
		}
		p.index()
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		again, err := ReadProof(&b)
		if err != nil || len(again.Rows) != len(p.Rows) {
			t.Fatalf("written and read again: %v", err)
		}
	})
}
