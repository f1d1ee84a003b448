package policy

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/internal/need"
	"acctpull/record"
	"acctpull/rollover"
)

// members is how many rows each kind of an object has in a table test.
type members struct{ meters, egress, queues int }

// recordCases are the numbers of meters and queues to try on objects of a type.
func recordCases(t Type) []members {
	switch t {
	case Access:
		return []members{{1, 0, 0}, {3, 0, 0}, {1, 2, 0}, {32, 32, 0}}
	case AccessPort:
		return []members{{1, 0, 1}, {2, 0, 8}}
	case Network:
		return []members{{0, 0, 1}, {0, 0, 8}, {0, 0, 64}}
	case NetworkIf:
		return []members{{1, 0, 0}, {4, 0, 0}}
	}
	return []members{{}}
}

// recordObjects are objects of one type: both counter modes in one policy where
// the type has them, and each kind of SDP that the record is about.
func recordObjects(t Type, modes []CounterMode, m members, bindings bool) []Object {
	var out []Object
	for _, mode := range modes {
		for i := range 2 {
			o := Object{Type: t, ID: fmt.Sprintf("1/1/%d:%d", mode+1, i+1), CollectStats: true, CounterMode: mode, Meters: m.meters, EgressMeters: m.egress, Queues: m.queues}
			switch {
			case t == Access:
				o.Service = "100"
			case t == SAA:
				o.Owner, o.Policy = "ops & co", 28
			case t == SDP && i == 1 && bindings:
				o.Service = "100"
			}
			out = append(out, o)
		}
	}
	return out
}

// wantRows is how many records one object has, counted from the scopes that the
// record has in the object's counter mode.
func wantRows(d *record.Definition, o *Object) int {
	scopes := map[string]int{
		"per SAP": 1, "per meter": o.Meters, "per SAP egress meter": o.EgressMeters, "per queue": o.Queues,
		"per test": 1, "per run": 1, "per SDP": 1, "per SDP binding": 0,
	}
	if o.Type == SDP && o.Service != "" {
		scopes["per SDP"], scopes["per SDP binding"] = 0, 1
	}
	n := 0
	for _, s := range d.RowSets {
		device := false
		for _, p := range s.Platforms {
			device = device || p == "7210 SAS" || p == "7210 SAS-Mxp"
		}
		if device && (s.CounterMode == "" || s.CounterMode == o.CounterMode.String()) {
			n += scopes[s.Scope]
		}
	}
	return n
}

// collectFile collects three intervals of one policy and returns its one file
// and what the source said in the same moments.
func collectFile(t *testing.T, c Config, now time.Time) (rollover.File, []*record.Record) {
	t.Helper()
	set, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	src, err := NewSource(set)
	if err != nil {
		t.Fatal(err)
	}
	var files []rollover.File
	col, err := NewCollector(Options{Set: set, Source: src, Software: "acctpull 1", Hooks: Hooks{OnFile: func(f rollover.File) { files = append(files, f) }}})
	if err != nil {
		t.Fatal(err)
	}
	var want gather
	plan := set.Plan()[0]
	rows := 0
	for _, o := range plan.Objects {
		rows += wantRows(plan.Definition, o)
	}
	for i := range 3 {
		at := now.Add(time.Duration(i) * 5 * time.Minute)
		iv, err := col.Collect(context.Background(), plan.Policy.ID, at)
		if err != nil || iv.Missing != 0 || iv.Objects != len(c.Objects) || iv.Records != rows {
			t.Fatalf("%+v: %v; want %d records", iv, err, rows)
		}
		had := len(want.records)
		if err := src.Sample(context.Background(), Request{At: at, Record: plan.Definition, Objects: plan.Objects}, &want); err != nil {
			t.Fatal(err)
		}
		for _, r := range want.records[had:] {
			if r.End = at; i > 0 {
				r.Start = at.Add(-5 * time.Minute)
			}
		}
	}
	if err := col.Close(); err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Name.String() != "act2838-20260301-120000.xml.gz" {
		t.Fatalf("files %v", files)
	}
	return files[0], want.records
}

// All 21 records of the 7210 SAS and the four of the SAS-Mxp, in each counter
// mode and in both at once, with one and with many meters and queues: what is
// in the file is valid against the schema, and equal to what the source said,
// field by field. The header says what the policy is.
func TestEveryRecordReadsBack(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)
	dir := t.TempDir()
	var documents []string
	records := map[record.Name]bool{}
	reader := record.NewReader(record.ReaderOptions{})
	for _, d := range record.Builtin().Definitions() {
		typ, ok := ParseType(d.PolicyType)
		if !ok || len(deviceRows(d)) == 0 {
			continue
		}
		modes := [][]CounterMode{{InOutProfile}}
		if typ == Access || typ == AccessPort {
			modes = append(modes, []CounterMode{ForwardDrop}, []CounterMode{InOutProfile, ForwardDrop})
		}
		for _, mode := range modes {
			for _, m := range recordCases(typ) {
				name := fmt.Sprintf("%s %v %+v", d.Name, mode, m)
				c := Config{
					System:   `edge "1"`,
					Source:   SourceConfig{Kind: SourceSynthetic, Seed: 7},
					FileIDs:  []FileID{{ID: 38, Location: filepath.Join(dir, fmt.Sprint(len(documents))), Description: "of the file"}},
					Policies: []AccountingPolicy{{ID: 28, Record: d.Name, To: 38, Default: typ != SAA, IncludeSystemInfo: m.meters != 1, Description: `<of "the" policy & co>`}},
					Objects:  recordObjects(typ, mode, m, newRowFinder(SourceSynthetic).collectsBinding(d)),
				}
				file, want := collectFile(t, c, now)
				got := readFile(t, reader, file.Path)
				checkHeader(t, name, reader.Header(), d, c.Policies[0].IncludeSystemInfo, now)
				if len(got) != len(want) {
					t.Fatalf("%s: %d records read, %d sampled", name, len(got), len(want))
				}
				for i := range got {
					if g, w := describe(got[i]), describe(want[i]); g != w {
						t.Fatalf("%s:\nread    %s\nsampled %s", name, g, w)
					}
				}
				records[d.Name] = true
				documents = append(documents, unzip(t, file.Path))
			}
		}
	}
	if len(records) != 25 {
		t.Errorf("%d records, want the 21 of the 7210 SAS and 4 of the SAS-Mxp", len(records))
	}
	args := append([]string{"--noout", "--nonet", "--schema", "../record/accounting.xsd"}, documents...)
	if out, err := exec.Command(need.Tool(t, "xmllint"), args...).CombinedOutput(); err != nil || strings.Count(string(out), " validates\n") != len(documents) {
		t.Errorf("xmllint: %v\n%.4000s", err, out)
	}
}

func checkHeader(t *testing.T, name string, h record.Header, d *record.Definition, systemInfo bool, now time.Time) {
	t.Helper()
	want := record.Header{
		Policy: 28, FileID: 38, Record: d.Name, Created: h.Created, Interval: cmpInterval(d), Semantics: record.Cumulative,
		Description: `<of "the" policy & co>`, Reason: rollover.ReasonStart,
	}
	if d.Name == "saa" {
		want.Semantics = record.PerInterval
	}
	if systemInfo {
		want.System, want.Software, want.Zone = `edge "1"`, "acctpull 1", "UTC"
	}
	if h != want || !h.Created.Equal(now) {
		t.Errorf("%s: header\n%+v, want\n%+v", name, h, want)
	}
}

// unzip writes the decompressed file beside it.
func unzip(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	out := strings.TrimSuffix(path, ".gz")
	if err := os.WriteFile(out, text, 0o640); err != nil {
		t.Fatal(err)
	}
	return out
}

func cmpInterval(d *record.Definition) time.Duration {
	if d.DefaultInterval == 0 {
		return DefaultInterval
	}
	return d.DefaultInterval
}

func describe(r *record.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q final %d %v %v:", r.Sub, r.Set.Scope, r.Set.CounterMode, r.Final, r.Start.UTC(), r.End.UTC())
	for i, f := range r.Set.Fields {
		fmt.Fprintf(&b, " %s=%v", f.Abbrev, r.Values[i])
	}
	fmt.Fprintf(&b, " %v", r.Unknown)
	return b.String()
}

// The counters of a SAP agree across records, modes and scopes: the meters add
// up to the SAP, what is forwarded and dropped to what is offered, octets and
// packets come from the same packets.
func TestSyntheticRecordsAgree(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	src := &Synthetic{Seed: 11}
	read := func(name record.Name, mode CounterMode) map[string]uint64 {
		sums := map[string]uint64{} // sub-record, scope and field
		for i := range 20 {
			o := &Object{Type: Access, ID: fmt.Sprintf("1/1/1:%d", i), Service: "1", CounterMode: mode, Meters: 4, EgressMeters: 3}
			for _, r := range sample(t, src, Request{At: at, Record: definition(t, name), Objects: []*Object{o}}).records {
				for j, f := range r.Set.Fields {
					if f.Role == record.Counter {
						sums[r.Sub+" "+r.Set.Scope+" "+f.Abbrev] += r.Values[j].N
					}
				}
			}
		}
		return sums
	}
	whole := read("complete-service-ingress-egress", InOutProfile)
	other := read("complete-service-ingress-egress", ForwardDrop)
	dropped := other["cpSipo per meter od"]
	if dropped == 0 || whole["cpSipo per meter oof"] == 0 {
		t.Fatal("nothing was dropped, or everything was in profile")
	}
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"in + out = forwarded, octets", whole["cpSipo per meter iof"] + whole["cpSipo per meter oof"], other["cpSipo per meter of"]},
		{"in + out = forwarded, packets", whole["cpSipo per meter ipf"] + whole["cpSipo per meter opf"], other["cpSipo per meter pf"]},
		{"forwarded + dropped = offered, octets", other["cpSipo per meter of"] + dropped, whole["cpSipo per SAP ioo"]},
		{"forwarded + dropped = offered, packets", other["cpSipo per meter pf"] + other["cpSipo per meter pd"], whole["cpSipo per SAP ipo"]},
		{"offered in both modes", other["cpSipo per SAP ioo"], whole["cpSipo per SAP ioo"]},
		{"egress meters = egress", whole["cpSepo per SAP egress meter of"], whole["cpSepo per SAP eof"]},
		{"service-ingress-octets", read("service-ingress-octets", InOutProfile)["sio per SAP ioo"], whole["cpSipo per SAP ioo"]},
		{"service-ingress-packets", read("service-ingress-packets", ForwardDrop)["sip per meter pd"], other["cpSipo per meter pd"]},
		{"service-egress-octets", read("service-egress-octets", InOutProfile)["seo per SAP eof"], whole["cpSepo per SAP eof"]},
		{"service-egress-packets", read("service-egress-packets", InOutProfile)["sep per SAP egress meter pd"], whole["cpSepo per SAP egress meter pd"]},
		{"combined-service-ingress", read("combined-service-ingress", ForwardDrop)["cmSipo per meter od"], dropped},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}

// Runs of an SAA test: numbered one after the other, answers at most as many as
// probes, times in order; a run without an answer has no times.
func TestSyntheticTests(t *testing.T) {
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	d := definition(t, "saa")
	results := map[string]int{}
	for i := range 40 {
		o := &Object{Type: SAA, ID: fmt.Sprintf("t%d", i), Owner: "ops"}
		for step := range 50 {
			g := sample(t, &Synthetic{Seed: 1, Idle: 10}, Request{At: start.Add(time.Duration(step) * slot), Record: d, Objects: []*Object{o}})
			test, run := g.records[0], g.records[1]
			n := func(field string) uint64 { return run.Get(field).N }
			if len(g.records) != 2 || test.Get("tst").Text != o.ID || run.Get("own").Text != "ops" || n("rid") != uint64(step+1) {
				t.Fatalf("%s\n%s", describe(test), describe(run))
			}
			results[run.Get("trr").Text]++
			if n("pbr") == 0 {
				if run.Get("avr").State != record.Absent || run.Get("rss").State != record.Absent {
					t.Fatalf("a run without an answer has times: %s", describe(run))
				}
				continue
			}
			if n("pbr") > n("spb") || n("mnr") > n("avr") || n("avr") > n("mxr") || n("mnt") > n("avt") || n("avt") > n("mxt") || n("mxt") >= n("mxr") ||
				n("rss") < n("pbr")*n("mnr")*n("mnr") || n("rss") > n("pbr")*n("mxr")*n("mxr") {
				t.Fatal(describe(run))
			}
		}
	}
	if results[runSuccess] == 0 || results[runPartial] == 0 || results[runFailed] == 0 {
		t.Errorf("results %v", results)
	}
}

// A counter mode that changes while the file is open: the same file goes on with
// other fields, after the last values in the old mode; the counters of the SAP
// begin at zero, agree with each other in the new mode, and the other SAP of the
// policy notices nothing. The file stays valid against the schema.
func TestCounterModeChangesInsideAFile(t *testing.T) {
	c := Config{
		Source:   SourceConfig{Kind: SourceSynthetic, Seed: 4},
		FileIDs:  []FileID{{ID: 38, Location: t.TempDir()}},
		Policies: []AccountingPolicy{{ID: 28, Record: "combined-service-ingress", To: 38, Default: true}},
		Objects:  recordObjects(Access, []CounterMode{InOutProfile}, members{meters: 2}, false),
	}
	set, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	var files []rollover.File
	col, err := NewCollector(Options{Set: set, Source: &Synthetic{Seed: 4}, Hooks: Hooks{OnFile: func(f rollover.File) { files = append(files, f) }}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 4 {
		if i == 2 {
			c.Objects[0].CounterMode = ForwardDrop
			next, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			if err := col.Reconfigure(context.Background(), next, now.Add(-time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := col.Collect(context.Background(), 28, now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(5 * time.Minute)
	}
	if err := col.Close(); err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 {
		t.Fatalf("files %v", files)
	}
	var story []string
	sums := map[string]uint64{} // of the interval
	offered := uint64(0)
	for _, r := range readFile(t, record.NewReader(record.ReaderOptions{}), files[0].Path) {
		if r.Get("sap").Text != "1/1/1:1" {
			if r.Final != 0 || r.Set.CounterMode == ForwardDrop.String() {
				t.Errorf("the other SAP: %s", describe(r))
			}
			continue
		}
		story = append(story, fmt.Sprintf("%s %s %s %d", r.End.Format("15:04"), r.Set.Scope, r.Set.CounterMode, r.Final))
		sums[r.End.Format("15:04")] += r.Get("of").N + r.Get("od").N
		if r.Set.Scope == "per SAP" && r.Set.CounterMode == "" {
			if n := r.Get("ioo").N; r.End.Minute() == 10 && n >= offered {
				t.Errorf("after the reset %d octets were offered, before it %d", n, offered)
			} else {
				offered = n
			}
		}
	}
	const in, fd = "in-out-profile-count", "forward-drop-count"
	want := []string{
		"12:00 per meter " + in + " 0", "12:00 per meter " + in + " 0", "12:00 per SAP  0",
		"12:05 per meter " + in + " 0", "12:05 per meter " + in + " 0", "12:05 per SAP  0",
		"12:09 per meter " + in + " 1", "12:09 per meter " + in + " 1", "12:09 per SAP  1",
		"12:10 per SAP  0", "12:10 per meter " + fd + " 0", "12:10 per meter " + fd + " 0",
		"12:15 per SAP  0", "12:15 per meter " + fd + " 0", "12:15 per meter " + fd + " 0",
	}
	if got := strings.Join(story, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
	if sums["12:15"] != offered {
		t.Errorf("forwarded + dropped is %d, offered is %d", sums["12:15"], offered)
	}
	if out, err := exec.Command(need.Tool(t, "xmllint"), "--noout", "--nonet", "--schema", "../record/accounting.xsd", unzip(t, files[0].Path)).CombinedOutput(); err != nil {
		t.Errorf("xmllint: %v\n%s", err, out)
	}
}
