package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const dialectFile = `<?xml version="1.0" encoding="UTF-8"?>
<accounting xmlns="urn:acctpull:accounting:1" version="1" policy="10" file="11" record="service-egress-octets" created="2026-01-02T03:04:05.678Z" interval="300.5" semantics="cumulative" system="edge-1">
<log description="billing" reason="rollover"/>
<interval start="2026-01-02T00:00:00.000Z" end="2026-01-02T00:05:00.000Z">
<seo><svc>1</svc><sap>2</sap><eof>3</eof></seo>
<seo><svc>1</svc><sap>3</sap><eof/></seo>
<seo><svc>1</svc><sap>4</sap><eof>-1</eof></seo>
</interval>
<interval end="2026-01-02T00:10:00.000Z">
<seo policy="12"><svc>1</svc><sap>2</sap><eof>4</eof><x>y</x></seo>
</interval>
</accounting>
`

func TestReaderHeaderAndStats(t *testing.T) {
	r := NewReader(ReaderOptions{})
	for range 2 { // the second time on the fast path
		file := pack(t, dialectFile)
		r.Reset(bytes.NewReader(file), "act1011-20260102-030405.xml.gz")
		st, err := r.Verify()
		if err != nil {
			t.Fatal(err)
		}
		want := Header{Policy: 10, FileID: 11, Record: "service-egress-octets", Created: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), Interval: 300*time.Second + 500*time.Millisecond, Semantics: Cumulative, System: "edge-1", Description: "billing", Reason: "rollover"}
		if h := r.Header(); h != want {
			t.Errorf("got  %+v\nwant %+v", h, want)
		}
		if st.Records != 3 || st.BadRecords != 1 || st.EmptyCounters != 1 || len(st.UnknownFields) != 1 || st.UnknownFields["x"] != 1 || len(st.UnknownSubs) != 0 ||
			st.MinEnd.Minute() != 5 || st.MaxEnd.Minute() != 10 || st.XMLBytes != int64(len(dialectFile)) || st.GzipBytes != int64(len(file)) || st.Members != 1 {
			t.Errorf("%+v", st)
		}
	}
}

// Verify tells apart what is damaged and what is merely not understood.
func TestVerify(t *testing.T) {
	aeo := `<f><i><aeo pId="1/1/1" mId="1" of="1" od="2"/></i>`
	for _, c := range []struct {
		file []byte
		kind Kind
	}{
		{pack(t, dialectFile), ""},
		{pack(t, aeo+"</f>"), KindShape},
		{pack(t, aeo+"</g>"), KindXML},
		{pack(t, aeo), KindTruncated},
		{append(pack(t, aeo+"</f>"), 0), KindGzip},
		{pack(t, "<html><p>x</p></html>"), KindShape},
	} {
		_, err := Verify(bytes.NewReader(c.file), "x.xml.gz", ReaderOptions{})
		if c.kind == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantFileError(t, err, c.kind)
	}
}

func TestReaderWithoutFile(t *testing.T) {
	if err := NewReader(ReaderOptions{}).Next(new(Record)); err == nil || !strings.Contains(err.Error(), "call Reset") {
		t.Error(err)
	}
}

func TestReaderLimits(t *testing.T) {
	rows := `<f record="service-egress-octets"><i>` + strings.Repeat(`<seo svc="1" sap="2" eof="3"/>`, 50) + `</i></f>`
	_, err := count(ReaderOptions{Limits: Limits{Records: 49}}, pack(t, rows))
	wantFileError(t, err, KindLimit, "49 records")
	for _, most := range []int64{50, -1} {
		if n, err := count(ReaderOptions{Limits: Limits{Records: most}}, pack(t, rows)); n != 50 || err != nil {
			t.Errorf("limit %d: %d %v", most, n, err)
		}
	}
	// X12: a name of 100,000 characters
	_, err = count(ReaderOptions{}, pack(t, `<f record="service-egress-octets"><seo svc="1" sap="`+strings.Repeat("x", 100_000)+`" eof="3"/></f>`))
	wantFileError(t, err, KindLimit, "attribute value longer than 65536 bytes")
	long := strings.Repeat("x", 65_536)
	if rec := first(t, ReaderOptions{}, "", `<f record="service-egress-octets"><seo svc="1" sap="`+long+`" eof="3"/></f>`); rec.Get("sap").Text != long {
		t.Error("a name of 64 KiB")
	}
}

// A record that cannot be used comes back as it stood in the file, bounded.
func TestRecordErrorRaw(t *testing.T) {
	for _, n := range []int{0, 1000, 30_000, 300_000} {
		x := `<f record="service-egress-octets"><i>` + strings.Repeat(`<seo svc="1" sap="2" eof="3"/>`, 20_000) + `<seo><svc>1</svc>` + strings.Repeat("<pad>x</pad>", n/12) + `<eof>bad</eof></seo><seo svc="1" sap="3" eof="3"/></i></f>`
		for _, o := range []ReaderOptions{{}, ReaderOptions{}.WithoutFastPath()} {
			r := NewReader(o)
			r.ResetXML(strings.NewReader(x), "f")
			var bad *RecordError
			good := 0
			for {
				err := r.Next(new(Record))
				if err == io.EOF {
					break
				}
				if err == nil {
					good++
				} else if !errors.As(err, &bad) {
					t.Fatal(err)
				}
			}
			if good != 20_001 || bad == nil {
				t.Fatalf("%d good, %v", good, bad)
			}
			from := strings.Index(x, "<seo><svc>")
			want := x[from : strings.Index(x, "</seo>")+6]
			switch {
			case n/12 > maxFields:
				if !strings.Contains(bad.Reason, "more fields") || len(bad.Raw) > rawKept+4096 {
					t.Errorf("%d bytes: %s, raw %d", n, bad.Reason, len(bad.Raw))
				}
			case string(bad.Raw) != want || bad.Offset != int64(from) || bad.Path != "/f/i/seo" || bad.Field != "eof" || bad.Text != "bad":
				t.Errorf("%d bytes: offset %d (want %d), path %s, raw %d bytes (want %d)", n, bad.Offset, from, bad.Path, len(bad.Raw), len(want))
			}
		}
	}
}

// A Reader that met an error is as good as new after Reset.
func TestReaderReuse(t *testing.T) {
	r := NewReader(ReaderOptions{})
	for _, x := range []string{"<a>", "<a></b>", "", dialectFile[:500], `<f><aeo pId="1" mId="1" of="1" od="1"/></f>`, "\x00", "<!DOCTYPE x><x/>"} {
		r.ResetXML(strings.NewReader(x), "bad")
		if _, err := r.Verify(); err == nil {
			t.Errorf("%q: no error", x)
		}
		r.Reset(bytes.NewReader(pack(t, smallXML)), "good")
		if st, err := r.Verify(); err != nil || st.Records != 2 {
			t.Errorf("after %q: %+v %v", x, st, err)
		}
	}
}

// A file of rows costs no memory per row, and none per file.
func TestReaderAllocations(t *testing.T) {
	for _, shape := range []string{`<seo svc="1" sap="%d" eof="%d"/>`, `<seo><svc>1</svc><sap>%d</sap><eof>%d</eof></seo>`, `<seo><x n="svc">1</x><x n="sap" v="%d"/><x><name>eof</name><value>%d</value></x></seo>`} {
		var b strings.Builder
		b.WriteString(`<f record="service-egress-octets"><i end="2026-01-02T00:05:00Z">`)
		for i := range 2000 {
			fmt.Fprintf(&b, shape, i%100, i*7919)
		}
		b.WriteString("</i></f>")
		for _, o := range []ReaderOptions{{}, ReaderOptions{}.WithoutFastPath()} {
			r := NewReader(o)
			src := strings.NewReader(b.String())
			var rec Record
			read := func() {
				src.Reset(b.String())
				r.ResetXML(src, "f")
				for {
					if err := r.Next(&rec); err == io.EOF {
						return
					} else if err != nil {
						t.Fatal(err)
					}
				}
			}
			if n := testing.AllocsPerRun(5, read); n > 60 {
				t.Errorf("%s, %+v: %.0f allocations for 2000 rows", shape, o.slow, n)
			}
		}
	}
}

// X4: whatever the file holds, the memory stays bounded: many names, many
// texts, many record names, many combinations of fields.
func TestReaderMemory(t *testing.T) {
	many := func(rows int, f func(i int) string) io.Reader {
		i := 0
		return io.MultiReader(strings.NewReader(`<f record="service-egress-octets">`), &generated{func() string {
			if i++; i > rows {
				return ""
			}
			return f(i)
		}, nil}, strings.NewReader("</f>"))
	}
	fields := []string{"svc", "sap", "eof", "of", "od", "mId", "qid", "iof", "iod", "oof", "ood", "hoo", "hod", "loo", "lod", "uco", "ioo"}
	for name, f := range map[string]func(i int) string{
		"names":   func(i int) string { return fmt.Sprintf("<n%d>1</n%d>", i, i) },
		"texts":   func(i int) string { return fmt.Sprintf(`<seo svc="%d" sap="%0400d" eof="1"/>`, i, i) },
		"records": func(i int) string { return fmt.Sprintf(`<r record="rec-%d"><seo svc="1" sap="1" eof="1"/></r>`, i) },
		"subs":    func(i int) string { return fmt.Sprintf(`<r sub="sub-%d" svc="1" a="1"/>`, i) },
		"unknown": func(i int) string { return fmt.Sprintf(`<seo svc="1" sap="1" eof="1" u%d="1"/>`, i) },
		"combinations": func(i int) string {
			var b strings.Builder
			b.WriteString("<seo")
			for k, f := range fields {
				if i*2654435761>>7&(1<<k) != 0 {
					fmt.Fprintf(&b, ` %s="1"`, f)
				}
			}
			return b.String() + "/>"
		},
		"leaves of one element": func(i int) string { return "<svc>1</svc><x>1</x><end>2026-01-02T00:05:00Z</end><reason>x</reason>" },
	} {
		rows := 30_000
		if slices.Contains([]string{"records", "subs", "combinations"}, name) {
			rows = 120_000 // more kinds of rows than allowed
		}
		r := NewReader(ReaderOptions{})
		r.ResetXML(many(rows, f), "f")
		var rec Record
		var err error
		most := uint64(0)
		for i := 0; err == nil || errors.As(err, new(*RecordError)); i++ {
			if err = r.Next(&rec); i%25_000 == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
		switch name {
		case "records", "subs", "combinations":
			wantFileError(t, err, KindLimit, "kinds of rows")
		default:
			if err != io.EOF {
				t.Errorf("%s: %v", name, err)
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if most = max(most, m.HeapAlloc); most > 100<<20 {
			t.Errorf("%s: %d MiB on the heap", name, most>>20)
		}
		if st := r.Stats(); len(st.UnknownFields) > 1001 || len(st.UnknownSubs) > 1001 {
			t.Errorf("%s: %d and %d names", name, len(st.UnknownFields), len(st.UnknownSubs))
		}
		runtime.KeepAlive(r)
	}
}

// generated is a source made piece by piece.
type generated struct {
	next func() string
	rest []byte
}

func (g *generated) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		s := g.next()
		if s == "" {
			return 0, io.EOF
		}
		g.rest = append(g.rest[:0], s...)
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

func TestErrorTexts(t *testing.T) {
	bad := &RecordError{File: "a\nb", Offset: 7, Path: "/f/\u202eseo", Field: "eof\x1b", Text: "1\x9b2", Reason: "is bad"}
	if got, want := bad.Error(), `read "a\nb": record: field "eof\x1b": "1\x9b2" is bad (byte 7 in "/f/\u202eseo")`; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	fe := &FileError{File: strings.Repeat("f", 1000), Kind: KindXML, Err: errors.New("x")}
	if n := len(fe.Error()); n > 400 {
		t.Errorf("%d bytes", n)
	}
	if !slices.Contains([]string{"", hintAgain}, fe.Hint()) || fe.Truncated() {
		t.Error("an error without a hint has none, and is not truncated")
	}
}
