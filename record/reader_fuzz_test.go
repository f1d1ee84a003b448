package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"acctpull/record"
)

// outcome is all that reading a document gives, in order.
func outcome(r *record.Reader) string {
	var b strings.Builder
	var rec record.Record
	for {
		err := r.Next(&rec)
		var bad *record.RecordError
		switch {
		case err == nil:
			fmt.Fprintf(&b, "%d %s\n", rec.Offset, show(&rec))
			continue
		case errors.As(err, &bad):
			fmt.Fprintf(&b, "BAD %v raw %q\n", bad, bad.Raw)
			continue
		}
		fmt.Fprintf(&b, "end %v\n", err)
		break
	}
	st := r.Stats()
	if !strings.HasSuffix(b.String(), "end EOF\n") {
		st.XMLBytes = 0 // it has been read ahead of the error
	}
	fmt.Fprintf(&b, "%+v\n%+v\n", r.Header(), st)
	return b.String()
}

// seeds are the documents of the golden files, and rows that repeat with small
// differences, which is what patterns are learned from.
func seeds(tb testing.TB) [][]byte {
	tb.Helper()
	files, err := filepath.Glob("testdata/reader/*.xml")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no documents: %v", err)
	}
	var out [][]byte
	for _, f := range files {
		x, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, x)
	}
	row := `<sio><svc>100</svc><sap>1/1/1:100</sap><mId>1</mId><iof>5</iof><oof>6</oof></sio>`
	for _, variants := range [][2]string{
		{"", ""}, {"<mId>1</mId>", "<mId></mId>"}, {"<iof>5</iof>", "<iof/>"}, {">5<", ">18446744073709551615<"}, {">5<", ">18446744073709551616<"},
		{">5<", "> 5<"}, {">5<", ">&#53;<"}, {">5<", "><!-- -->5<"}, {"1/1/1:100", "a&amp;b"}, {"1/1/1:100", "ü"}, {"1/1/1:100", "\xff"}, {"1/1/1:100", "a]]>b"},
		{"<sio>", `<sio final="1">`}, {"<sio>", `<sio end="2026-01-02T00:10:00Z">`}, {"<sio>", `<sio policy="3">`}, {"<oof>6</oof>", "<oof>6</oof><x>y</x>"}, {"<oof>6</oof>", "<oof>6</oof><oof>6</oof>"},
		{"</sio>", "</sip>"}, {"</sio>", "</sio><sio>"}, {"<svc>100</svc>", ""}, {"<svc>100</svc>", "\n<svc>100</svc>"}, {"<sio>", "<sio >"}, {"<iof>5</iof><oof>6</oof>", "<of>5</of><od>6</od>"},
	} {
		other := strings.Replace(row, variants[0], variants[1], 1)
		out = append(out, []byte(`<a record="service-ingress-octets"><i end="2026-01-02T00:05:00Z">`+row+row+"\n"+other+other+row+other+`</i></a>`))
	}
	nested := `<object svc="1" sap="2"><sio><mId>1</mId><iof>5</iof><oof>6</oof></sio><sio><mId>2</mId><iof>5</iof><oof>6</oof></sio></object>`
	out = append(out, []byte(`<a record="service-ingress-octets"><i end="2026-01-02T00:05:00Z">`+nested+strings.ReplaceAll(nested, `sap="2"`, `sap="3"`)+strings.ReplaceAll(nested, `<mId>2</mId>`, `<svc>9</svc><mId>2</mId>`)+strings.ReplaceAll(nested, ` svc="1"`, "")+nested+`</i></a>`))
	return out
}

// tightLimits are limits that small documents reach.
var tightLimits = record.Limits{XMLBytes: 4000, Depth: 10, Attributes: 12, NameBytes: 40, TextBytes: 400, TokenBytes: 1000, Records: 9}

// FuzzReader: the fast path and the full one, and any size of pieces, give the
// same records, errors and statistics; and so does a Reader that has read
// another file before.
func FuzzReader(f *testing.F) {
	for _, x := range seeds(f) {
		f.Add(x, false)
		f.Add(x, true)
	}
	var o record.ReaderOptions
	fast, slow := record.NewReader(o), record.NewReader(o.WithoutFastPath())
	f.Fuzz(func(t *testing.T, x []byte, tight bool) {
		lim := record.Limits{XMLBytes: 1 << 20, Records: 1000}
		if tight {
			lim = tightLimits
		}
		slow.Refit(1024, lim)
		fast.Refit(1024, lim)
		slow.ResetXML(bytes.NewReader(x), "f.xml")
		want := outcome(slow)
		for round, src := range []*bytes.Reader{bytes.NewReader(x), bytes.NewReader(x)} {
			fast.ResetXML(src, "f.xml")
			if got := outcome(fast); got != want {
				t.Fatalf("round %d:\n got %s\nwant %s", round, got, want)
			}
		}
		fast.Refit(64, lim)
		fast.ResetXML(iotest.HalfReader(bytes.NewReader(x)), "f.xml")
		if got := outcome(fast); got != want {
			t.Fatalf("in pieces:\n got %s\nwant %s", got, want)
		}
	})
}
