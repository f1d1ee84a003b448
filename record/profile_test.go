package record

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func mustProfile(t *testing.T, text string) *Profile {
	t.Helper()
	p, err := LoadProfile(strings.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// first reads the first record of plain XML.
func first(t *testing.T, o ReaderOptions, file, x string) *Record {
	t.Helper()
	r := NewReader(o)
	r.ResetXML(strings.NewReader(x), file)
	var rec Record
	if err := r.Next(&rec); err != nil {
		t.Fatal(err)
	}
	return rec.Clone()
}

func TestProfileNamesWhatTheFileSpellsItsOwnWay(t *testing.T) {
	p := mustProfile(t, `
platform: 7210 SAS
policy: 12
semantics: cumulative
time-zone: Europe/Berlin
fields: {ident: sap, customer: svc, index: mId, bytesIn: iof, bytesOut: oof}
sub-records: {ingress: sio}
records: {svcIngressOctet: service-ingress-octets}
names:
  end: [te]
  start: [ts]
  record: [kind-of]
  ignore: [time]
extra-fields:
  - {name: vlan, role: key}
  - {name: colour, role: info}
  - {name: errors, role: counter}
`)
	x := `<stats kind-of="svcIngressOctet"><coll te="2026-07-02T00:05:00" ts="2026-07-02T00:00:00" time="whatever"><obj ident="1/1/1:100" customer="7" vlan="4">
<ingress index="1"><bytesIn>12</bytesIn><bytesOut>34</bytesOut><colour>red</colour><errors>5</errors></ingress>
<ingress index="2"><bytesIn>12</bytesIn><bytesOut>34</bytesOut><errors>five</errors></ingress></obj></coll></stats>`
	r := NewReader(ReaderOptions{Profile: p})
	for range 2 {
		r.ResetXML(strings.NewReader(x), "f.xml")
		var rec Record
		if err := r.Next(&rec); err != nil {
			t.Fatal(err)
		}
		if rec.Set.Record != "service-ingress-octets" || rec.Sub != "sio" || rec.Policy != 12 || rec.Get("sap") != Str("1/1/1:100") || rec.Get("svc") != Str("7") || rec.Get("mId") != Num(1) || rec.Get("iof") != Num(12) || rec.Get("oof") != Num(34) {
			t.Errorf("%+v", rec)
		}
		if want := time.Date(2026, 7, 1, 22, 5, 0, 0, time.UTC); !rec.End.Equal(want) {
			t.Errorf("end %v, want %v", rec.End, want)
		}
		want := []Pair{{"colour", "red"}, {"errors", "5"}, {"vlan", "4"}}
		if len(rec.Unknown) != 3 || rec.Unknown[0] != want[0] || rec.Unknown[1] != want[1] || rec.Unknown[2] != want[2] {
			t.Errorf("%+v", rec.Unknown)
		}
		var bad *RecordError
		if err := r.Next(&rec); !errors.As(err, &bad) || bad.Field != "errors" {
			t.Errorf("a counter of the profile is checked: %v", err)
		}
		if err := r.Next(&rec); err != io.EOF {
			t.Error(err)
		}
		if st, h := r.Stats(), r.Header(); len(st.UnknownFields) != 1 || st.UnknownFields["time"] != 1 || h.Semantics != Cumulative || h.Policy != 12 {
			t.Errorf("%+v %+v", st, h)
		}
	}
}

// What the file says goes before what the profile says, and options before both.
func TestProfilePrecedence(t *testing.T) {
	p := mustProfile(t, "record: combined-access-egress\npolicy: 3\n")
	aeo := `<aeo pId="1/1/1" mId="1" of="1" od="2"/>`
	if rec := first(t, ReaderOptions{Profile: p}, "", "<f>"+aeo+"</f>"); rec.Set.Record != "combined-access-egress" || rec.Policy != 3 {
		t.Errorf("%v %d", rec.Set.Record, rec.Policy)
	}
	if rec := first(t, ReaderOptions{Profile: p}, "", `<f record="access-egress-octets" policy="4">`+aeo+"</f>"); rec.Set.Record != "access-egress-octets" || rec.Policy != 4 {
		t.Errorf("%v %d", rec.Set.Record, rec.Policy)
	}
	if rec := first(t, ReaderOptions{Profile: p, Record: "access-egress-octets"}, "", "<f>"+aeo+"</f>"); rec.Set.Record != "access-egress-octets" {
		t.Errorf("%v", rec.Set.Record)
	}
	// the platform narrows down, here to one record name
	if rec := first(t, ReaderOptions{Record: "service-ingress-octets", Platform: "7705 SAR"}, "", `<f><sio svc="1" sap="2" qid="1" iof="1" oof="1"/></f>`); rec.Set.Scope != "per queue" {
		t.Errorf("%+v", rec.Set)
	}
}

func TestProfileTimeFromFileName(t *testing.T) {
	p := mustProfile(t, "time: file-name\ntime-zone: America/New_York\n")
	x := `<f record="service-egress-octets" time="1"><seo svc="1" sap="2" eof="3" end="never"/></f>`
	rec := first(t, ReaderOptions{Profile: p}, "some/dir/act1011-20260102-000500.xml.gz", x)
	if want := time.Date(2026, 1, 2, 5, 5, 0, 0, time.UTC); !rec.End.Equal(want) {
		t.Errorf("end %v, want %v", rec.End, want)
	}
	r := NewReader(ReaderOptions{Profile: p})
	for _, name := range []string{"", "act.xml", "act1011-20260230-000500.xml", "act1011-20260102.xml"} {
		r.ResetXML(strings.NewReader(x), name)
		var fe *FileError
		if err := r.Next(new(Record)); !errors.As(err, &fe) || fe.Kind != KindShape || fe.Hint() == "" {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// All mistakes come at once, each with its line.
func TestProfileMistakes(t *testing.T) {
	_, err := LoadProfile(strings.NewReader(`platform: Commodore 64
record: nonsense
policy: 100
semantics: sometimes
time-zone: Mars/Olympus
time: now
fields:
  a: iof
  b: nosuch
sub-records:
  c: nosub
records:
  d: norecord
names:
  end: [a, ""]
  start:
    - e
    - e
extra-fields:
  - {name: iof, role: counter}
  - {name: x, role: banana}
  - {name: x, role: key}
`), nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`line 1: platform "Commodore 64"`, `line 2: record name "nonsense"`, "line 3: policy 100", `line 4: semantics "sometimes"`, `line 5: time zone "Mars/Olympus"`, `line 6: time "now"`,
		`line 9: field "nosuch"`, `line 11: sub-record "nosub"`, `line 13: record name "norecord"`, `line 15: "a" is given as field and as end`, "line 15: an empty name", `line 18: "e" is given as start and as start`,
		`line 20: field "iof" is in the catalogue`, `line 21: role "banana"`, `extra field "x" stands twice`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
	for _, c := range []struct{ text, says string }{
		{"nosuchkey: 1\nrecord: x\n", "line 1: field nosuchkey not found"},
		{"nosuchkey: 1\nrecord: x\n", `line 2: record name "x"`},
		{"policy: many", "line 1: cannot unmarshal"},
		{"fields: [", "did not find"},
		{"policy: 1\n---\npolicy: 2\n", "second document"},
		{"policy: 1\npolicy: 2\n", "already defined"},
		{strings.Repeat("#", maxProfile+1), "longer than"},
		{"time-zone: Local", "time zone"},
	} {
		if _, err := LoadProfile(strings.NewReader(c.text), nil); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "record.") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, want %s", c.text, err, c.says)
		}
	}
	if p, err := LoadProfile(strings.NewReader(""), nil); err != nil || p == nil {
		t.Errorf("an empty profile: %v", err)
	}
}

// A profile made by hand is checked when it is used.
func TestReaderReportsInvalidProfile(t *testing.T) {
	r := NewReader(ReaderOptions{Profile: &Profile{Policy: 1000, Fields: map[string]string{"x": "nosuch"}}})
	r.Reset(bytes.NewReader(pack(t, smallXML)), "f")
	err := r.Next(new(Record))
	wantFileError(t, err, KindShape, "policy 1000", "nosuch", "correct the profile")
}
