package record

import (
	"strings"
	"testing"
	"time"
)

func TestDialectExample(t *testing.T) {
	d, _ := Builtin().Lookup("service-ingress-octets")
	set := d.RowSets[0]
	var out strings.Builder
	w := NewWriter(&out, Header{Policy: 10, FileID: 11, Record: d.Name, Created: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), Interval: 5 * time.Minute, Semantics: Cumulative, System: `edge "1"`, Description: "a & b", Reason: "rollover"})
	end := time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC)
	if err := w.BeginInterval(end.Add(-5*time.Minute), end); err != nil {
		t.Fatal(err)
	}
	rec := &Record{Set: set, Values: []Value{Str("100"), Str("1/1/1:100"), Num(1), Num(1 << 63), {State: Empty}}, Final: 2, Unknown: []Pair{{"x y", "<1>"}}}
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	rec = &Record{Set: set, Values: []Value{Str("100"), Str("1/1/1:100"), Num(1), {}, Num(7)}}
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
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
</interval>
</accounting>
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}
