package record

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestDialectExample(t *testing.T) {
	d, _ := Builtin().Lookup("service-ingress-octets")
	set := d.RowSets[0]
	var out strings.Builder
	w := NewWriter(&out, Header{Policy: 10, FileID: 11, Record: d.Name, Created: time.Date(2026, 1, 2, 3, 4, 5, 678_999e3, time.UTC), Interval: 5 * time.Minute, Semantics: Cumulative, System: `edge "1"`, Description: "a & b", Reason: "rollover"})
	end := time.Date(2026, 1, 2, 4, 5, 0, 999, time.FixedZone("CET", 3600))
	if err := w.BeginInterval(end.Add(-5*time.Minute), end); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Record{
		{Set: set, Values: []Value{Str("100"), Str("1/1/1:100"), Num(1), Num(1 << 63), {State: Empty}}, Final: 2, Unknown: []Pair{{"x y", "<1>"}}},
		{Set: set, Values: []Value{Str("100"), Str("1/1/1:100"), Num(1), {}, Num(7)}, End: end, Policy: 10},
		{Set: set, Values: []Value{Num(100), Str(""), Num(1), Num(2), Num(3)}, Policy: 11},
		{Set: Builtin().SubRecord("nio")[0], Values: []Value{Str("1/1/1"), Num(1), Num(0), Num(0), Num(0), Num(0)}},
		{Set: set, Sub: "sox", Values: []Value{{}, {}, {}, {}, Num(7)}},
		{Set: &RowSet{Sub: "(custom)", Record: d.Name, Known: true, Fields: []FieldDef{{Abbrev: "data name"}, {Abbrev: "n", Numeric: true}}}, Values: []Value{Str("http"), Num(1)}},
		{Set: &RowSet{Record: d.Name, Known: true, Fields: []FieldDef{{Abbrev: "xmlx"}, {Abbrev: "interval"}}}, Values: []Value{Str("a"), {State: Empty}}},
	} {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := `<?xml version="1.0" encoding="UTF-8"?>
<accounting xmlns="urn:acctpull:accounting:1" version="1" policy="10" file="11" record="service-ingress-octets" created="2026-01-02T03:04:05.678Z" interval="300" semantics="cumulative" system="edge &quot;1&quot;">
<log description="a &amp; b" reason="rollover"/>
<interval start="2026-01-02T03:00:00.000Z" end="2026-01-02T03:05:00.000Z">
<sio final="2"><svc>100</svc><sap>1/1/1:100</sap><mId>1</mId><iof>9223372036854775808</iof><oof/><field name="x y">&lt;1&gt;</field></sio>
<sio scope="per meter" mode="in-out-profile-count"><svc>100</svc><sap>1/1/1:100</sap><mId>1</mId><oof>7</oof></sio>
<sio policy="11"><svc>100</svc><sap/><mId>1</mId><iof>2</iof><oof>3</oof></sio>
<nio record="network-ingress-octets"><port>1/1/1</port><qid>1</qid><iof>0</iof><iod>0</iod><oof>0</oof><ood>0</ood></nio>
<row sub="sox" scope="per meter" mode="in-out-profile-count"><field name="oof">7</field></row>
<row sub="(custom)"><field name="data name">http</field><n>1</n></row>
<row><field name="xmlx">a</field><field name="interval"/></row>
</interval>
</accounting>
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

// The example of docs/formats/accounting-xml.md is what the Writer writes, and
// valid.
func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile("../docs/formats/accounting-xml.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```xml\n")
	want, _, _ := strings.Cut(rest, "```")
	var out bytes.Buffer
	end := time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC)
	w := NewWriter(&out, Header{Policy: 10, FileID: 11, Record: "service-ingress-octets", Created: end.Add(-5 * time.Minute), Interval: 5 * time.Minute, Semantics: Cumulative, System: "edge-1", Description: "billing, 5 minutes", Reason: "rollover"})
	if err := w.BeginInterval(end.Add(-5*time.Minute), end); err != nil {
		t.Fatal(err)
	}
	d, _ := Builtin().Lookup("service-ingress-octets")
	meter, sap := d.RowSets[0], d.RowSets[1]
	for _, r := range []*Record{
		{Set: meter, Values: []Value{Str("100"), Str("1/1/1:100"), Num(1), Num(88213904), Num(0)}},
		{Set: meter, Values: []Value{Str("100"), Str("1/1/1:100"), Num(2), Num(1200), Num(640)}},
		{Set: sap, Values: []Value{Str("100"), Str("1/1/1:100"), Num(88215744)}},
		{Set: sap, Values: []Value{Str("200"), Str("1/1/2:200"), Num(55)}, Final: 1},
	} {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("the Writer writes\n%s\nthe document says\n%s", out.String(), want)
	}
	file := filepath.Join(t.TempDir(), "example.xml")
	if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := xmllint(t, file); err != nil {
		t.Errorf("%s", text)
	}
}

// Any text either is an error or comes back as it was, from an element and from
// an attribute.
func FuzzText(f *testing.F) {
	for _, s := range append(edgeTexts, "\x00", "\xff", "\ufffe", "\ufffd", "\u0085\u2028", "x\r\n", strings.Repeat("<", 300)) {
		f.Add(s)
	}
	set := &RowSet{Sub: "s", Known: true, Fields: []FieldDef{{Abbrev: "t"}}}
	f.Fuzz(func(t *testing.T, s string) {
		e := NewEncoder(Header{})
		e.AppendIntervalStart(nil, edgeStart, edgeEnd)
		text, err := e.AppendRecord(nil, &Record{Set: set, Values: []Value{Str(s)}, Unknown: []Pair{{s, s}}})
		if wrong := checkText(s); (err != nil) != (wrong != nil) {
			t.Fatalf("%q: %v, but %v", s, err, wrong)
		}
		if err != nil {
			return
		}
		var got anyNode
		if err := xml.Unmarshal(text, &got); err != nil {
			t.Fatalf("%q is written as %q: %v", s, text, err)
		}
		if got.Nodes[0].Text != s || got.Nodes[1].Text != s || got.Nodes[1].attr("name") != s {
			t.Errorf("%q is written as %q and read as %+v", s, text, got)
		}
	})
}

// Every row set with every kind of value comes back from encoding/xml as it was.
func TestEncoderAgainstEncodingXML(t *testing.T) {
	for _, d := range Builtin().Definitions() {
		e := NewEncoder(edgeHeader(d.Name))
		text := e.AppendIntervalStart(e.AppendHeader(nil), edgeStart, edgeEnd)
		var want []*Record
		for _, s := range d.RowSets {
			want = append(want, edgeRecords(s)...)
		}
		for _, r := range want {
			var err error
			if text, err = e.AppendRecord(text, r); err != nil {
				t.Fatalf("%s/%s: %v", d.Name, r.Sub, err)
			}
		}
		text = e.AppendFooter(e.AppendIntervalEnd(text))
		got := decodeDialect(t, text)
		if len(got) != len(want) {
			t.Fatalf("%s: %d records, want %d", d.Name, len(got), len(want))
		}
		for i, r := range want {
			if w := plainRecord(r); got[i] != w {
				t.Fatalf("%s/%s record %d:\ngot  %s\nwant %s", d.Name, r.Sub, i, got[i], w)
			}
		}
	}
}

// plainRecord prints what a file says of a record, whatever its row set.
func plainRecord(r *Record) string {
	var b strings.Builder
	b.WriteString(r.Sub + " final " + strconv.Itoa(r.Final))
	for i, v := range r.Values {
		if v.State != Absent {
			b.WriteString(" " + r.Set.Fields[i].Abbrev + "=" + strconv.Quote(plainValue(v)))
		}
	}
	for _, p := range r.Unknown {
		b.WriteString(" " + p.Name + "=" + strconv.Quote(p.Text))
	}
	return b.String()
}

func plainValue(v Value) string {
	if v.State == Number {
		return strconv.FormatUint(v.N, 10)
	}
	return v.Text
}

// decodeDialect prints the records of a file as plainRecord does, with
// encoding/xml, and checks what surrounds them.
func decodeDialect(t *testing.T, text []byte) []string {
	t.Helper()
	var file struct {
		XMLName  xml.Name `xml:"urn:acctpull:accounting:1 accounting"`
		System   string   `xml:"system,attr"`
		Interval string   `xml:"interval,attr"`
		Log      struct {
			Description string `xml:"description,attr"`
		} `xml:"log"`
		Intervals []struct {
			Start string    `xml:"start,attr"`
			End   string    `xml:"end,attr"`
			Rows  []anyNode `xml:",any"`
		} `xml:"interval"`
	}
	if err := xml.Unmarshal(text, &file); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	h := edgeHeader("")
	if file.System != h.System || file.Log.Description != h.Description || file.Interval != "1.5" {
		t.Errorf("header: %+v", file)
	}
	var out []string
	for _, in := range file.Intervals {
		if in.Start != "2026-03-29T00:55:00.000Z" || in.End != "2026-03-29T01:00:00.007Z" {
			t.Errorf("interval from %s to %s", in.Start, in.End)
		}
		for _, row := range in.Rows {
			out = append(out, row.plain())
		}
	}
	return out
}

type anyNode struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Nodes   []anyNode  `xml:",any"`
}

func (n *anyNode) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (n *anyNode) plain() string {
	sub, final := n.XMLName.Local, n.attr("final")
	if sub == "row" {
		sub = n.attr("sub")
	}
	if final == "" {
		final = "0"
	}
	s := sub + " final " + final
	for _, f := range n.Nodes {
		name := f.XMLName.Local
		if name == "field" {
			name = f.attr("name")
		}
		s += " " + name + "=" + strconv.Quote(f.Text)
	}
	return s
}

// A record that cannot be encoded is an error that says why, and leaves no
// bytes behind.
func TestEncoderRefuses(t *testing.T) {
	set := Builtin().SubRecord("sio")[0] // svc sap mId iof oof
	good := func() *Record {
		return &Record{Set: set, Values: []Value{Str("1"), Str("2"), Num(3), Num(4), Num(5)}}
	}
	in := func(e *Encoder) { e.AppendIntervalStart(nil, edgeStart, edgeEnd) }
	for _, c := range []struct {
		name  string
		head  Header
		open  func(*Encoder)
		spoil func(*Record)
		want  string
	}{
		{"no interval", Header{}, func(*Encoder) {}, func(*Record) {}, "no interval is open"},
		{"interval is over", Header{}, func(e *Encoder) { in(e); e.AppendIntervalEnd(nil) }, func(*Record) {}, "no interval is open"},
		{"no end", Header{}, func(e *Encoder) { e.AppendIntervalStart(nil, edgeStart, time.Time{}) }, func(*Record) {}, "no end"},
		{"year 10000", Header{}, func(e *Encoder) { e.AppendIntervalStart(nil, edgeStart, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) }, func(*Record) {}, "1–9999"},
		{"bad header", Header{Policy: 100}, in, func(*Record) {}, "policy 100"},
		{"no row set", Header{}, in, func(r *Record) { r.Set = nil }, "no row set"},
		{"too few values", Header{}, in, func(r *Record) { r.Values = r.Values[:4] }, "4 values for 5 fields"},
		{"text in a number", Header{}, in, func(r *Record) { r.Values[3] = Str("1e3") }, `field "iof" is numeric and holds the text "1e3"`},
		{"empty text in a number", Header{}, in, func(r *Record) { r.Values[3] = Str("") }, `field "iof" is numeric`},
		{"unknown state", Header{}, in, func(r *Record) { r.Values[3].State = 9 }, "state 9"},
		{"control character", Header{}, in, func(r *Record) { r.Values[1] = Str("1/1\x07") }, `field "sap": "1/1\a" has the character U+0007`},
		{"null", Header{}, in, func(r *Record) { r.Unknown = []Pair{{"x", "\x00"}} }, `unknown field "x"`},
		{"not UTF-8", Header{}, in, func(r *Record) { r.Unknown = []Pair{{"x\xff", "1"}} }, "0xff"},
		{"U+FFFE", Header{}, in, func(r *Record) { r.Values[0] = Str("\ufffe") }, "U+FFFE"},
		{"surrogate", Header{}, in, func(r *Record) { r.Values[0] = Str("\xed\xa0\x80") }, "UTF-8"},
		{"sub-record name", Header{}, in, func(r *Record) { r.Sub = "a\x01" }, "U+0001"},
		{"negative final", Header{}, in, func(r *Record) { r.Final = -1 }, "final -1"},
		{"policy", Header{}, in, func(r *Record) { r.Policy = 100 }, "policy 100"},
		{"other end", Header{}, in, func(r *Record) { r.End = edgeEnd.Add(time.Millisecond) }, "it ends at"},
		{"other start", Header{}, in, func(r *Record) { r.Start = edgeStart.Add(-time.Minute) }, "it starts at"},
	} {
		e := NewEncoder(c.head)
		c.open(e)
		r := good()
		c.spoil(r)
		dst, err := e.AppendRecord([]byte("before"), r)
		if err == nil || !strings.Contains(err.Error(), c.want) || string(dst) != "before" {
			t.Errorf("%s: %q, error %v, want %q", c.name, dst, err, c.want)
		}
	}
	e := NewEncoder(Header{})
	in(e)
	r := good()
	r.End = edgeEnd.Add(999 * time.Microsecond).In(time.FixedZone("x", 7200)) // the same millisecond
	if _, err := e.AppendRecord(nil, r); err != nil {
		t.Errorf("same millisecond: %v", err)
	}
}

func TestHeaderValidateReportsAll(t *testing.T) {
	h := Header{Policy: -1, FileID: 100, Created: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), Interval: -1, Semantics: "delta", Record: "\x00", System: "\x01", Description: "\xff", Reason: "\uffff"}
	err := h.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"policy -1", "file id 100", "creation time", "interval", "semantics", "record: ", "system: ", "description: ", "reason: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if err := edgeHeader("x").Validate(); err != nil {
		t.Error(err)
	}
	text := append(NewEncoder(h).AppendHeader(nil), "</accounting>"...)
	if err := xml.Unmarshal(text, new(anyNode)); err != nil {
		t.Errorf("a spoilt header is not well-formed: %v in %q", err, text)
	}
}

func TestPutUint(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	check := func(n uint64) {
		buf := make([]byte, maxDigits)
		if got, want := string(buf[:putUint(buf, 0, n)]), strconv.FormatUint(n, 10); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
	for n, p := 0, uint64(1); n < maxDigits; n, p = n+1, p*10 {
		check(p - 1)
		check(p)
		check(p + 1)
	}
	for bit := range 64 {
		check(1<<bit - 1)
		check(1 << bit)
		check(math.MaxUint64 - 1<<bit)
		for range 200 {
			check(rng.Uint64() >> bit)
		}
	}
}

// Encoding costs no allocation per record, whatever the values are.
func TestEncoderAllocatesNothing(t *testing.T) {
	records := edgeRecords(Builtin().SubRecord("cpSipo")[0])
	records = append(records, edgeRecords(Builtin().SubRecord("sio")[0])...)
	e := NewEncoder(Header{})
	buf := e.AppendIntervalStart(nil, edgeStart, edgeEnd)
	run := func() {
		buf = buf[:0]
		for _, r := range records {
			var err error
			if buf, err = e.AppendRecord(buf, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations for %d records", n, len(records))
	}
}

func TestWriterOrderAndErrors(t *testing.T) {
	set := Builtin().SubRecord("sio")[0]
	r := &Record{Set: set, Values: []Value{Str("1"), Str("2"), Num(3), Num(4), Num(5)}}
	var out bytes.Buffer
	w := NewWriter(&out, Header{})
	var we *WriteError
	if err := w.Write(r); !errors.Is(err, errOrder) || !errors.As(err, &we) || we.Op != "write record" {
		t.Errorf("record before an interval: %v", err)
	}
	if err := w.EndInterval(); !errors.Is(err, errOrder) {
		t.Errorf("end before an interval: %v", err)
	}
	if err := w.BeginInterval(edgeStart, time.Time{}); err == nil {
		t.Error("interval without an end")
	}
	if out.Len() > 0 {
		t.Errorf("refused calls wrote %q", out.Bytes())
	}
	if err := w.BeginInterval(edgeStart, edgeEnd); err != nil {
		t.Fatal(err)
	}
	if err := w.BeginInterval(edgeStart, edgeEnd); !errors.Is(err, errOrder) {
		t.Errorf("interval in an interval: %v", err)
	}
	bad := *r
	bad.Final = -1
	if err := w.Write(&bad); err == nil {
		t.Error("bad record")
	}
	if err := w.Write(r); err != nil { // goes on after a bad record
		t.Error(err)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if err := w.BeginInterval(edgeStart, edgeEnd); !errors.Is(err, errOrder) {
		t.Errorf("interval after the end: %v", err)
	}
	if n := strings.Count(out.String(), "<sio "); n != 1 || !strings.HasSuffix(out.String(), "</interval>\n</accounting>\n") {
		t.Errorf("%d records in\n%s", n, out.String())
	}

	w = NewWriter(&out, Header{Policy: 1000})
	if err := w.BeginInterval(edgeStart, edgeEnd); err == nil || !strings.Contains(err.Error(), "policy 1000") {
		t.Errorf("bad header: %v", err)
	}
	w = NewWriter(failing{}, Header{})
	if err := w.BeginInterval(edgeStart, edgeEnd); err != nil {
		t.Fatal(err)
	}
	if err := w.EndInterval(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("failing writer: %v", err)
	}
	if err := w.Close(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("the first error stays: %v", err)
	}
}

type failing struct{}

func (failing) Write(p []byte) (int, error) { return 0, io.ErrShortWrite }

// Full records of one record name can be told apart by their fields alone, so
// only a record with absent fields needs scope and mode.
func TestFieldsTellTheRowSet(t *testing.T) {
	for _, d := range Builtin().Definitions() {
		seen := map[string]*RowSet{}
		for _, s := range d.RowSets {
			id := s.Sub
			for _, f := range s.Fields {
				id += " " + f.Abbrev
			}
			if o := seen[id]; o != nil {
				t.Errorf("%s/%s: %s and %s have the same fields", d.Name, s.Sub, o.Scope, s.Scope)
			}
			seen[id] = s
		}
	}
}
