package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/record"
	"acctpull/rollover"
)

// tape is a directory of recorded files.
type tape struct {
	t   *testing.T
	dir string
}

func newTape(t *testing.T) *tape { return &tape{t, t.TempDir()} }

// put records a file. Its text is compressed if the name says so, and cut by as
// many bytes as asked.
func (p *tape) put(name, text string, cut int) {
	p.t.Helper()
	data := []byte(text)
	if strings.HasSuffix(name, ".gz") {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		if _, err := zw.Write(data); err != nil {
			p.t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			p.t.Fatal(err)
		}
		data = b.Bytes()
	}
	if err := os.WriteFile(filepath.Join(p.dir, name), data[:len(data)-cut], 0o640); err != nil {
		p.t.Fatal(err)
	}
}

// recorded is a file in a shape that a device could have: rows nested in their
// SAP, everything in attributes, one time per SAP, and a field nobody knows.
func recorded(minute int, octets ...int) string {
	var b strings.Builder
	b.WriteString(`<stats record="service-ingress-octets" semantics="cumulative"><header software="x"/>`)
	for i, n := range octets {
		final := ""
		if n < 0 {
			n, final = -n, ` final="1"`
		}
		fmt.Fprintf(&b, `<sio svc="100" sap="1/1/1:%d" timestamp="2026-01-02T03:%02d:%02d.5Z"%s><meter mId="1" iof="%d" oof="0"/><ioo>%d</ioo><colour>blue</colour></sio>`, i+1, minute, i, final, n, n+1)
	}
	return b.String() + "</stats>"
}

// player makes the source of a configuration, and gathers its notes.
func player(t *testing.T, c Config) (*Set, *Replay, *[]ReplayNote) {
	t.Helper()
	c.Source.Kind = SourceReplay
	if c.Policies == nil {
		c.Policies = []AccountingPolicy{{ID: 10, Record: "service-ingress-octets", To: NoFile, Default: true}}
	}
	set, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	src, err := NewSource(set)
	if err != nil {
		t.Fatal(err)
	}
	var notes []ReplayNote
	r := src.(*Replay)
	r.OnNote = func(n ReplayNote) { notes = append(notes, n) }
	return set, r, &notes
}

// play collects an interval and says what came in short: SAP, final, ioo or iof.
func play(t *testing.T, set *Set, r *Replay) string {
	t.Helper()
	plan := set.Plan()[0]
	g := sample(t, r, Request{At: time.Now(), Record: plan.Definition, Objects: plan.Objects})
	var out []string
	for _, rec := range g.records {
		if !rec.End.IsZero() || !rec.Start.IsZero() || rec.Policy != 0 {
			t.Errorf("the record has times or a policy of its own: %+v", rec)
		}
		s := strings.TrimPrefix(rec.Get("sap").Text, "1/1/1:")
		if rec.Set.Scope == "per meter" {
			s += fmt.Sprintf("m%d=%d", rec.Get("mId").N, rec.Get("iof").N)
		} else {
			s += fmt.Sprintf("=%d", rec.Get("ioo").N)
		}
		if rec.Final > 0 {
			s += fmt.Sprintf("!%d", rec.Final)
		}
		for _, u := range rec.Unknown {
			s += "+" + u.Name + ":" + u.Text
		}
		out = append(out, s)
	}
	return strings.Join(append(out, g.notes...), "; ")
}

func expectPlay(t *testing.T, set *Set, r *Replay, want string) {
	t.Helper()
	if got := play(t, set, r); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Each collection takes the next recorded interval, in the order in which the
// files were made, whatever the times of their records are. Finals and unknown
// fields pass. Behind the last interval there is nothing.
func TestReplay(t *testing.T) {
	p := newTape(t)
	p.put("act1011-20260102-031000.xml.gz", recorded(10, 20, -21), 0)
	p.put("act1011-20260102-030500.xml.gz", recorded(5, 10), 0)
	p.put("act1011-20251231-235500.xml", recorded(0, 5, 6), 0)
	p.put("readme.txt", "not of the recording", 0)
	set, r, notes := player(t, Config{Source: SourceConfig{Path: []string{p.dir}}})
	expectPlay(t, set, r, "1m1=5; 1=6+colour:blue; 2m1=6; 2=7+colour:blue")
	expectPlay(t, set, r, "1m1=10; 1=11+colour:blue")
	expectPlay(t, set, r, "1m1=20; 1=21+colour:blue; 2m1=21!1; 2=22!1+colour:blue")
	expectPlay(t, set, r, "")
	expectPlay(t, set, r, "")
	if s := r.Semantics("service-ingress-octets"); s != record.Cumulative {
		t.Errorf("semantics %q", s)
	}
	if s := r.Semantics("service-egress-octets"); s != "" {
		t.Errorf("semantics of what was not read: %q", s)
	}
	want := []ReplayNote{
		{Record: "service-ingress-octets", File: filepath.Join(p.dir, "act1011-20251231-235500.xml"), Passed: 4, UnknownFields: 2},
		{Record: "service-ingress-octets", File: filepath.Join(p.dir, "act1011-20260102-030500.xml.gz"), Passed: 2, UnknownFields: 1},
		{Record: "service-ingress-octets", File: filepath.Join(p.dir, "act1011-20260102-031000.xml.gz"), Passed: 4, UnknownFields: 2},
		{Record: "service-ingress-octets"},
	}
	if !slices.Equal(*notes, want) {
		t.Errorf("notes %+v", *notes)
	}
}

// With objects of the type in the configuration only these pass; the others are
// counted, and those that an interval lacks are missing in it. A loop begins
// again, and says that the counters did.
func TestReplayListedObjects(t *testing.T) {
	p := newTape(t)
	p.put("a.xml", recorded(5, 10, 20), 0)
	p.put("b.xml", recorded(10, 11), 0)
	set, r, notes := player(t, Config{
		Source: SourceConfig{Path: []string{filepath.Join(p.dir, "b.xml"), filepath.Join(p.dir, "a.xml")}, Loop: true},
		Objects: []Object{
			{Type: Access, ID: "1/1/1:2", Service: "7", CollectStats: true},
			{Type: Access, ID: "1/1/1:1", Service: "7", CollectStats: false},
		},
	})
	for range 2 {
		expectPlay(t, set, r, "SAP 1/1/1:2 missing: the recorded interval has no record of it")
		expectPlay(t, set, r, "2m1=20; 2=21+colour:blue")
		(*notes)[0].File = filepath.Base((*notes)[0].File)
		if want := (ReplayNote{Record: "service-ingress-octets", File: "b.xml", Unlisted: 2}); (*notes)[0] != want {
			t.Errorf("notes %+v", (*notes)[0])
		}
		plan := set.Plan()[0]
		g := sample(t, r, Request{Record: plan.Definition, Objects: plan.Objects})
		if got := strings.Join(g.notes, "; "); got != "SAP 1/1/1:2 restarted: the recording began again; SAP 1/1/1:2 missing: the recorded interval has no record of it" {
			t.Errorf("notes of the first interval of the second round: %s", got)
		}
		if last := (*notes)[2]; !last.Again || last.File != "" {
			t.Errorf("notes %+v", *notes)
		}
		set, r, notes = player(t, set.Config())
	}
}

// What cannot pass is left out, counted and told; the rest passes.
func TestReplayOfBrokenFiles(t *testing.T) {
	p := newTape(t)
	p.put("1.xml", strings.Replace(recorded(5, 10, 20), `iof="10"`, `iof="-10"`, 1), 0)
	p.put("2.xml.gz", recorded(10, 11, 21)+" ", 1)
	damaged, err := os.ReadFile(filepath.Join(p.dir, "2.xml.gz"))
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2] ^= 0xff
	if err := os.WriteFile(filepath.Join(p.dir, "3.xml.gz"), damaged, 0o640); err != nil {
		t.Fatal(err)
	}
	p.put("4.xml.gz", strings.ReplaceAll(recorded(15, 12), "service-ingress-octets", "service-egress-octets"), 0)
	p.put("5.xml", strings.Replace(recorded(15, 13), "cumulative", "interval", 1), 0)
	p.put("6.xml", `<a><b/></a>`, 0)
	p.put("7.xml", recorded(20, 14), 0)
	set, r, notes := player(t, Config{Source: SourceConfig{Path: []string{p.dir}}})
	expectPlay(t, set, r, "1=11+colour:blue; 2m1=20; 2=21+colour:blue")
	expectPlay(t, set, r, "1m1=11; 1=12+colour:blue; 2m1=21; 2=22+colour:blue")
	expectPlay(t, set, r, "1m1=14; 1=15+colour:blue")
	expectPlay(t, set, r, "")
	var got []string
	for _, n := range *notes {
		err := ""
		if n.Err != nil {
			if err = n.Err.Error(); len(err) > 3*len(p.dir) {
				err = "…"
			}
			err = strings.ReplaceAll(err, p.dir, "")
		}
		got = append(got, fmt.Sprintf("%s passed %d other %d bad %d %s", filepath.Base(n.File), n.Passed, n.Other, n.Bad, err))
	}
	for i, want := range []string{"1.xml passed 3 other 0 bad 1 ", "2.xml.gz passed 4 other 0 bad 0 ", "3.xml.gz passed 0 other 0 bad 0 ", "4.xml.gz passed 0 other 2 bad 0 ", "5.xml passed 0 other 0 bad 0 ", "6.xml passed 0", "7.xml passed 2"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("notes\n%s", strings.Join(got, "\n"))
		}
		if wantErr := slices.Contains([]int{1, 2, 4, 5}, i); ((*notes)[i].Err != nil) != wantErr {
			t.Errorf("%s: %v", got[i], (*notes)[i].Err)
		}
	}
}

// A collection that is stopped loses the rest of its interval, and the next one
// takes the next interval.
func TestReplayAfterAStoppedCollection(t *testing.T) {
	p := newTape(t)
	p.put("1.xml", recorded(5, 10, 20, 30), 0)
	p.put("2.xml", recorded(10, 11), 0)
	set, r, notes := player(t, Config{Source: SourceConfig{Path: []string{p.dir}}})
	full := errors.New("full")
	plan := set.Plan()[0]
	if err := r.Sample(context.Background(), Request{Record: plan.Definition}, &failing{after: 3, err: full}); !errors.Is(err, full) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(ErrUnfinished)
	if err := r.Sample(ctx, Request{Record: plan.Definition}, &gather{}); !errors.Is(err, ErrUnfinished) {
		t.Fatal(err)
	}
	// The last values of an object that leaves are not to be had, and cost nothing.
	o := &Object{Type: Access, ID: "1/1/1:1", Service: "100"}
	if g := sample(t, r, Request{Record: plan.Definition, Objects: []*Object{o}, Closing: true}); len(g.records) != 0 || len(g.notes) != 1 {
		t.Errorf("%v", g.notes)
	}
	expectPlay(t, set, r, "1m1=11; 1=12+colour:blue")
	if n := (*notes)[0]; n.Passed != 3 || n.Late != 3 {
		t.Errorf("%+v", n)
	}
}

type failing struct {
	gather
	after int
	err   error
}

func (f *failing) Record(r *record.Record) error {
	if f.after--; f.after < 0 {
		return f.err
	}
	return f.gather.Record(r)
}

// A recording of our own is the same again: every record of the SAP, in both
// modes, through the agent twice, differs in nothing but the times. The
// configuration of the second agent lists no objects.
func TestReplayOfOurOwnFiles(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	for _, name := range []record.Name{"complete-service-ingress-egress", "complete-sdp-ingress-egress", "combined-network-egress", "saa"} {
		typ, _ := ParseType(definition(t, name).PolicyType)
		first := Config{
			Source:   SourceConfig{Kind: SourceSynthetic, Seed: 3},
			FileIDs:  []FileID{{ID: 38, Location: filepath.Join(dir, string(name), "first")}},
			Policies: []AccountingPolicy{{ID: 28, Record: name, To: 38, Default: typ != SAA}},
			Objects:  recordObjects(typ, []CounterMode{InOutProfile}, members{2, 1, 3}, true),
		}
		for i := range first.Objects {
			o := &first.Objects[i]
			if typ == Access {
				o.CounterMode = CounterMode(i)
			}
			if typ != Access {
				o.Meters, o.EgressMeters = 0, 0
			}
			if typ != Network {
				o.Queues = 0
			}
		}
		file, want := collectFile(t, first, start)
		set, r, _ := player(t, Config{
			Source:   SourceConfig{Path: []string{file.Path}},
			FileIDs:  []FileID{{ID: 3, Location: filepath.Join(dir, string(name), "second")}},
			Policies: []AccountingPolicy{{ID: 2, Record: name, To: 3}},
		})
		for _, w := range set.Warnings() {
			if w.Rule == WarnPolicyEmpty {
				t.Errorf("%v", w)
			}
		}
		var again rollover.File
		col, err := NewCollector(Options{Set: set, Source: r, Hooks: Hooks{OnFile: func(f rollover.File) { again = f }}})
		if err != nil {
			t.Fatal(err)
		}
		at := start.AddDate(1, 0, 0)
		for i := range 4 { // the last one finds nothing
			at = at.Add(time.Minute)
			if iv, err := col.Collect(context.Background(), 2, at); err != nil || (iv.Records == 0) != (i == 3) {
				t.Fatalf("%+v: %v", iv, err)
			}
		}
		if err := col.Close(); err != nil {
			t.Fatal(err)
		}
		reader := record.NewReader(record.ReaderOptions{})
		got := readFile(t, reader, again.Path)
		if h := reader.Header(); h.Policy != 2 || h.Semantics != semanticsOf(definition(t, name)) {
			t.Errorf("header %+v", h)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d records, want %d", name, len(got), len(want))
		}
		for i := range got {
			got[i].Start, got[i].End = want[i].Start, want[i].End
			if g, w := describe(got[i]), describe(want[i]); g != w {
				t.Fatalf("%s:\nagain    %s\nrecorded %s", name, g, w)
			}
		}
	}
}

// What is wrong with the place of a recording is said when the source is made.
func TestReplayRefused(t *testing.T) {
	empty := t.TempDir()
	p := newTape(t)
	p.put("a.xml", recorded(5, 1), 0)
	p.put("bad.yaml", "nonsense: 1\n", 0)
	for _, c := range []struct {
		source SourceConfig
		want   string
	}{
		{SourceConfig{Path: []string{filepath.Join(empty, "none")}}, "no such file"},
		{SourceConfig{Path: []string{p.dir, empty}}, "holds no .xml.gz"},
		{SourceConfig{Path: []string{p.dir}, Profile: filepath.Join(p.dir, "none.yaml")}, "no such file"},
		{SourceConfig{Path: []string{p.dir}, Profile: filepath.Join(p.dir, "bad.yaml")}, "bad.yaml: "},
	} {
		c.source.Kind = SourceReplay
		set, err := New(Config{Source: c.source})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewSource(set); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.source, err, c.want)
		}
	}
}

// The keys of a replay are read, and printed as they were read.
func TestReplayKeys(t *testing.T) {
	for _, text := range []string{
		"source:\n  kind: replay\n  path: recordings\n  profile: router.yaml\n  loop: true\n",
		"source:\n  kind: replay\n  path:\n    - a.xml.gz\n    - b.xml.gz\n",
	} {
		c, err := ParseYAML([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := c.YAML(); err != nil || string(out) != text {
			t.Errorf("%v\n%s\nwant\n%s", err, out, text)
		}
	}
}
