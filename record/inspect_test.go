package record_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/internal/gen"
	"acctpull/record"
)

func input(name, content string) record.Input {
	return record.Input{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

func inspect(t *testing.T, o record.ReaderOptions, files ...record.Input) *record.Report {
	t.Helper()
	rep, err := record.Inspect(t.Context(), files, o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// withProfile reads plain XML with the profile that Inspect wrote.
func withProfile(t *testing.T, rep *record.Report, x string) (recs []*record.Record, st record.Stats) {
	t.Helper()
	p, err := record.LoadProfile(strings.NewReader(rep.Profile), nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, rep.Profile)
	}
	r := record.NewReader(record.ReaderOptions{Profile: p})
	r.ResetXML(strings.NewReader(x), "f.xml")
	recs, bad, err := readAll(t, r)
	if err != nil || len(bad) > 0 {
		t.Fatalf("%v %v", err, bad)
	}
	return recs, r.Stats()
}

const strange = `<stats rev="3">
 <coll te="2026-01-02T00:10:00" ts="2026-01-02T00:05:00">
  <obj ident="1/1/1:100">
   <row rowNo="1"><bytesIn>123</bytesIn><bytesOut>44</bytesOut><label>gold</label></row>
   <row rowNo="2"><bytesIn>1</bytesIn><bytesOut>0</bytesOut><label>silver</label></row>
  </obj>
  <obj ident="1/1/1:101">
   <row rowNo="1"><bytesIn>5</bytesIn><bytesOut>44</bytesOut><label>gold</label></row>
  </obj>
 </coll>
 <coll te="2026-01-02T00:15:00" ts="2026-01-02T00:10:00"/>
 <coll te="2026-01-02T00:20:00" ts="2026-01-02T00:15:00"/>
</stats>`

// Of a file in which nothing is known, the report shows everything, and the
// profile it writes makes the reader keep every value with its time and object.
func TestInspectWhollyUnknown(t *testing.T) {
	rep := inspect(t, record.ReaderOptions{}, input("strange.xml", strange))
	var names []string
	for _, u := range rep.Unknown {
		names = append(names, fmt.Sprintf("%s %s %d %s", u.Path, u.Looks, u.Count, u.Examples))
	}
	for _, want := range []string{
		"/stats/@rev number 1 [3]", "/stats/coll/@te time 3 [2026-01-02T00:10:00 2026-01-02T00:15:00 2026-01-02T00:20:00]",
		"/stats/coll/obj/@ident text 2 [1/1/1:100 1/1/1:101]", "/stats/coll/obj/row/@rowNo number 3 [1 2]",
		"/stats/coll/obj/row/bytesIn number 3 [123 1 5]", "/stats/coll/obj/row/label text 3 [gold silver]",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("no %q in %q", want, names)
		}
	}
	if len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], "nothing in the file is known") {
		t.Errorf("%q", rep.Problems)
	}
	recs, st := withProfile(t, rep, strange)
	if len(recs) != 3 || st.Records != 3 {
		t.Fatalf("%d records with\n%s", len(recs), rep.Profile)
	}
	want := `/row? +rowNo="2" +bytesIn="1" +bytesOut="0" +label="silver" +ident="1/1/1:100" from 2026-01-02T00:05:00Z to 2026-01-02T00:10:00Z`
	if got := show(recs[1]); got != want {
		t.Errorf("\n got %s\nwant %s\nwith\n%s", got, want, rep.Profile)
	}
}

// Of a file that lacks only its record name, the profile lists the names that
// come into question.
func TestInspectAmbiguousRecord(t *testing.T) {
	x := `<f><interval end="2026-01-02T00:05:00Z"><aeo pId="1/1/1" mId="3"><of>1</of><od>2</od><new>5</new></aeo></interval></f>`
	rep := inspect(t, record.ReaderOptions{}, input("a.xml", x), input("b.xml", x))
	for _, want := range []string{"# record: access-egress-octets ", "# record: combined-access-egress ", "#   new: iof "} {
		if strings.Count(rep.Profile, want) != 1 {
			t.Errorf("not once %q in\n%s", want, rep.Profile)
		}
	}
	if _, err := record.LoadProfile(strings.NewReader(rep.Profile), nil); err != nil {
		t.Error(err)
	}
	// with the line uncommented it reads
	p, err := record.LoadProfile(strings.NewReader(strings.Replace(rep.Profile, "# record: combined", "record: combined", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	rep = inspect(t, record.ReaderOptions{Profile: p}, input("a.xml", x))
	if len(rep.RowSets) != 1 || rep.RowSets[0].Record != "combined-access-egress" || !slices.Equal(rep.RowSets[0].Fields, []string{"pId", "mId", "of", "od", "+new"}) {
		t.Errorf("%+v", rep.RowSets)
	}
}

// Of known files in any shape, the report tells records, times and where the
// fields stand.
func TestInspectKnown(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		shape gen.Shape
		are   string
	}{
		{gen.Dialect, "child elements"}, {gen.Attributes, "attributes"}, {gen.Pairs, "name/value pairs"}, {gen.Nested, "child elements"}, {gen.Prefixed, "child elements"},
	} {
		path := filepath.Join(dir, c.shape.String()+".xml.gz")
		var b bytes.Buffer
		truth, err := gen.File(&b, gen.Options{Shape: c.shape, Objects: 20, Intervals: 4, FinalEvery: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		rep := inspect(t, record.ReaderOptions{}, record.FileInput(path))
		f := rep.Files[0]
		if !f.Gzip || f.Records != truth.Records || f.XMLBytes != truth.XML || f.GzipBytes != truth.Gzip || f.Error != "" || f.Truncated {
			t.Errorf("%v: %+v, truth %+v", c.shape, f, truth)
		}
		if rep.Interval != 300 || rep.Intervals != 4 || !rep.First.Equal(truth.First) || !rep.Last.Equal(truth.Last) {
			t.Errorf("%v: %v %v %v %v", c.shape, rep.Interval, rep.Intervals, rep.First, rep.Last)
		}
		if len(rep.FieldsAre) == 0 || rep.FieldsAre[0] != c.are {
			t.Errorf("%v: fields are %q, want %q", c.shape, rep.FieldsAre, c.are)
		}
		if len(rep.RowSets) != 1 || rep.RowSets[0].Record != "combined-service-ingress" || !rep.RowSets[0].Known || len(rep.RowSets[0].Fields) != 17 || len(rep.Unknown) > 0 {
			t.Errorf("%v: %+v, unknown %+v", c.shape, rep.RowSets, rep.Unknown)
		}
		if rep.Header.Policy != 10 || rep.Header.Record != "combined-service-ingress" {
			t.Errorf("%v: %+v", c.shape, rep.Header)
		}
		if _, err := record.LoadProfile(strings.NewReader(rep.Profile), nil); err != nil {
			t.Errorf("%v: %v", c.shape, err)
		}
	}
}

// Hostile and broken files are reported like any other; nothing of them reaches
// the terminal as it is.
func TestInspectHostile(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.WriteString(z, strange); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	whole := packed.String()
	deep := "<a>" + strings.Repeat("<x n='\u009b2J\u202e'>", 60)
	var wide strings.Builder
	wide.WriteString("<a>")
	for i := range 20_000 {
		fmt.Fprintf(&wide, "<n%d>1</n%d>", i, i)
	}
	files := []record.Input{
		input("cut.xml.gz", whole[:len(whole)-9]),
		input("empty.xml.gz", ""),
		input("plain.xml.gz", strange),
		input("zip\x1b[2J", "PK\x03\x04abc"),
		input("deep", deep),
		input("wide", wide.String()+"</a>"),
		input("no: yaml\nname", "<a \u0085\u00e9='1'><b \u00e4=\"x: {y\"/></a>"),
		{Name: "gone", Open: func() (io.ReadCloser, error) { return nil, os.ErrNotExist }},
	}
	rep := inspect(t, record.ReaderOptions{}, files...)
	var text strings.Builder
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexFunc(text.String(), func(r rune) bool { return r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e }); i >= 0 {
		t.Errorf("control character in %q", text.String()[max(0, i-40):i+10])
	}
	for _, want := range []string{"truncated", "not compressed", "0 bytes", "is a ZIP archive", "not exist"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if !rep.Files[0].Truncated || rep.Files[2].Gzip {
		t.Errorf("%+v", rep.Files[:3])
	}
	if _, err := record.LoadProfile(strings.NewReader(rep.Profile), nil); err != nil {
		t.Errorf("%v", err)
	}
	out, err := json.Marshal(rep)
	if err != nil || !json.Valid(out) {
		t.Error(err)
	}
	if n := text.Len(); n > 2<<20 {
		t.Errorf("%d bytes of text", n)
	}
}

func TestInspectStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := record.Inspect(ctx, []record.Input{input("a", strange)}, record.ReaderOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestInspectText(t *testing.T) {
	x := `<accounting xmlns="urn:acctpull:accounting:1" version="1" policy="10" file="11" record="service-ingress-octets" created="2026-01-02T03:04:05.678Z" interval="300" semantics="cumulative" system="edge &quot;1&quot;">
<interval end="2026-01-02T00:05:00Z"><sio><svc>1</svc><sap>1/1/1</sap><mId>1</mId><iof>5</iof><oof>x</oof></sio><sio><svc>1</svc><sap>1/1/1</sap><ioo>7</ioo><odd>o</odd></sio></interval></accounting>`
	rep := inspect(t, record.ReaderOptions{}, input("a.xml", x))
	var b strings.Builder
	if err := rep.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "reader", "inspect.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()+"\n"+rep.Profile), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "report", b.String()+"\n"+rep.Profile, string(want))
	if rep.First != time.Date(2026, 1, 2, 0, 5, 0, 0, time.UTC) {
		t.Error(rep.First)
	}
}
