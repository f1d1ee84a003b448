package record

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// spansOf reads rows of the form "end start", or "-" for no time, and returns
// the spans.
func spansOf(t *testing.T, rows ...[2]string) []Span {
	t.Helper()
	var b strings.Builder
	b.WriteString(`<accounting record="service-ingress-octets">`)
	for i, row := range rows {
		times := ""
		if row[0] != "" {
			times += ` end="2026-01-02T` + row[0] + `:00Z"`
		}
		if row[1] != "" {
			times += ` start="2026-01-02T` + row[1] + `:00Z"`
		}
		fmt.Fprintf(&b, `<sio svc="1" sap="1/1/%d" mId="1" iof="1" oof="2"%s/>`, i, times)
	}
	b.WriteString(`</accounting>`)
	r := NewReader(ReaderOptions{})
	r.ResetXML(strings.NewReader(b.String()), "test")
	st, err := r.Verify()
	if err != nil || st.BadRecords > 0 || st.Records != int64(len(rows)) {
		t.Fatalf("%+v, %v", st, err)
	}
	return st.Spans
}

func TestSpans(t *testing.T) {
	at := func(s string) time.Time {
		if s == "" {
			return time.Time{}
		}
		v, err := time.Parse("2006-01-02 15:04", "2026-01-02 "+s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	span := func(start, end string, records int64) Span { return Span{at(start), at(end), records} }
	for _, test := range []struct {
		name string
		rows [][2]string
		want []Span
	}{
		{"interval by interval", [][2]string{{"01:00", "00:55"}, {"01:00", "00:55"}, {"01:05", "01:00"}}, []Span{span("00:55", "01:00", 2), span("01:00", "01:05", 1)}},
		{"object by object", [][2]string{{"01:00", ""}, {"01:05", ""}, {"01:00", ""}, {"01:05", ""}, {"00:55", ""}}, []Span{span("", "00:55", 1), span("", "01:00", 2), span("", "01:05", 2)}},
		{"the earliest start counts", [][2]string{{"01:00", "00:57"}, {"01:00", "00:55"}, {"01:00", ""}, {"01:00", "00:58"}}, []Span{span("00:55", "01:00", 4)}},
		{"records without an end are in none", [][2]string{{"01:00", ""}, {"", ""}, {"", "00:10"}, {"01:00", ""}, {"", ""}}, []Span{span("", "01:00", 2)}},
		{"no times at all", [][2]string{{"", ""}, {"", ""}}, nil},
	} {
		if got := spansOf(t, test.rows...); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v\nnot %v", test.name, got, test.want)
		}
	}
}

// Every record is in the span of its end, whatever the order.
func TestSpansBound(t *testing.T) {
	var b strings.Builder
	b.WriteString(`<accounting record="service-ingress-octets">`)
	for i := range maxSpans + 10 {
		fmt.Fprintf(&b, `<sio svc="1" sap="1/1/1" mId="1" iof="1" oof="2" end="%d"/>`, 1_800_000_000+i)
	}
	b.WriteString(`</accounting>`)
	r := NewReader(ReaderOptions{})
	for range 2 { // a reader that is used again has forgotten it
		r.ResetXML(strings.NewReader(b.String()), "test")
		st, err := r.Verify()
		if err != nil || st.Spans != nil || st.MaxEnd.Unix() != 1_800_000_000+maxSpans+9 {
			t.Errorf("%d spans to %v, %v", len(st.Spans), st.MaxEnd, err)
		}
	}
	r.ResetXML(strings.NewReader(strings.Replace(b.String(), "</accounting>", "", 1)[:400]+"</accounting>"), "test")
	if st, err := r.Verify(); err == nil && int64(len(st.Spans)) != st.Records {
		t.Errorf("%d spans of %d records", len(st.Spans), st.Records)
	}
}
