package record

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"testing"
)

// What the Writer writes the Reader reads: every row set of the catalogue with
// every kind of value, and the header.
func TestRoundTrip(t *testing.T) {
	r := NewReader(ReaderOptions{})
	for _, d := range Builtin().Definitions() {
		var file bytes.Buffer
		w := NewWriter(&file, edgeHeader(d.Name))
		var want []*Record
		for _, s := range d.RowSets {
			if err := w.BeginInterval(edgeStart, edgeEnd); err != nil {
				t.Fatal(err)
			}
			for _, rec := range edgeRecords(s) {
				if err := w.Write(rec); err != nil {
					t.Fatal(err)
				}
				rec.Policy = edgeHeader(d.Name).Policy
				want = append(want, rec)
			}
			if err := w.EndInterval(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r.ResetXML(&file, string(d.Name))
		for i, rec := range want {
			var got Record
			if err := r.Next(&got); err != nil {
				t.Fatalf("%s record %d: %v", d.Name, i, err)
			}
			got.Offset = 0
			if diff := difference(&got, rec); diff != "" {
				t.Fatalf("%s record %d (%s, %s): %s", d.Name, i, rec.Sub, rec.Set.Scope, diff)
			}
		}
		var more Record
		if err := r.Next(&more); err != io.EOF {
			t.Errorf("%s: after the last record: %v", d.Name, err)
		}
		if got, want := r.Header(), edgeHeader(d.Name); got != want {
			t.Errorf("%s: header\ngot  %+v\nwant %+v", d.Name, got, want)
		}
	}
}

// difference tells the first thing in which two records differ.
func difference(got, want *Record) string {
	if got.Set != want.Set {
		return fmt.Sprintf("row set %s %s %q, want %s %s %q", got.Set.Sub, got.Set.Scope, got.Set.CounterMode, want.Set.Sub, want.Set.Scope, want.Set.CounterMode)
	}
	for i, v := range want.Values {
		if got.Values[i] != v {
			return fmt.Sprintf("field %s: %+v, want %+v", want.Set.Fields[i].Abbrev, got.Values[i], v)
		}
	}
	if len(got.Unknown) != len(want.Unknown) || len(want.Unknown) > 0 && !reflect.DeepEqual(got.Unknown, want.Unknown) {
		return fmt.Sprintf("unknown fields %q, want %q", got.Unknown, want.Unknown)
	}
	g, w := *got, *want
	g.Values, w.Values, g.Unknown, w.Unknown = nil, nil, nil, nil
	if !reflect.DeepEqual(g, w) {
		return fmt.Sprintf("%+v, want %+v", g, w)
	}
	return ""
}

// Whatever text a record has, the Reader gives it back.
func FuzzRoundTrip(f *testing.F) {
	for i, s := range edgeTexts {
		f.Add(s, edgeTexts[len(edgeTexts)-1-i], edgeNumbers[i])
	}
	set := Builtin().SubRecord("sio")[0]
	r := NewReader(ReaderOptions{Record: set.Record})
	f.Fuzz(func(t *testing.T, svc, unknown string, n uint64) {
		var file bytes.Buffer
		w := NewWriter(&file, Header{})
		if err := w.BeginInterval(edgeStart, edgeEnd); err != nil {
			t.Fatal(err)
		}
		want := &Record{Set: set, Sub: set.Sub, Start: edgeStart, End: edgeEnd, Values: []Value{Str(svc), Str(unknown), Num(n), {State: Empty}, Num(^n)}, Unknown: []Pair{{"u 1", unknown}, {"u 2", svc}}}
		if w.Write(want) != nil {
			return // FuzzText says when
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		text := file.String()
		r.ResetXML(&file, "")
		var got Record
		if err := r.Next(&got); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		got.Offset = 0
		if diff := difference(&got, want); diff != "" {
			t.Errorf("%s in\n%s", diff, text)
		}
	})
}
