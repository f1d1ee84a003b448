package ledger

import (
	"slices"
	"testing"
	"time"
)

// TestPackSpans: a day of equal collections is one short text.
func TestPackSpans(t *testing.T) {
	at := time.UnixMilli(1767225600000).UTC()
	var day, open []Span
	for i := range 288 {
		end := at.Add(time.Duration(i+1) * 5 * time.Minute)
		day = append(day, Span{end.Add(-5 * time.Minute), end, 40})
		open = append(open, Span{time.Time{}, end, 40})
	}
	hole := slices.Delete(slices.Clone(day), 10, 12)
	hole[200].Records = 39
	for _, c := range []struct {
		spans []Span
		want  string
	}{
		{nil, ""},
		{day, "1767225900000/300000*288:40"},
		{open, "?1767225900000/300000*288:40"},
		{day[:1], "1767225900000/300000:40"},
		{open[:1], "?1767225900000/0:40"},
		{hole, "1767225900000/300000*10:40 1767229500000/300000*190:40 1767286500000/300000:39 1767286800000/300000*85:40"},
		{[]Span{{at, at, 0}, {at, at, 0}}, "1767225600000/0:0 1767225600000/0:0"},
	} {
		text := packSpans(c.spans)
		back, err := unpackSpans(text)
		if text != c.want || err != nil || !slices.Equal(back, c.spans) {
			t.Errorf("%d spans became %q and %d spans, %v; want %q", len(c.spans), text, len(back), err, c.want)
		}
	}
	for _, bad := range []string{"x", "1:2", "1/2", "1/1:1", "0/0:1", "5/1*0:1", "5/1*9999999:1", "-5/1:1", "5/1:-1", "9/1*1048576:1 9/1*1:1", "9007199254740993/1:1"} {
		if spans, err := unpackSpans(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, spans)
		}
	}
}

// FuzzSpans: whatever can be read comes back the same.
func FuzzSpans(f *testing.F) {
	f.Add("1767225900000/300000*288:40 ?1767225900000/0:40")
	f.Add("5/1*3:1 ?9/3*2:0")
	f.Fuzz(func(t *testing.T, text string) {
		spans, err := unpackSpans(text)
		if err != nil {
			return
		}
		again, err := unpackSpans(packSpans(spans))
		if err != nil || !slices.Equal(spans, again) {
			t.Fatalf("%q: %v became %v, %v", text, spans, again, err)
		}
	})
}
