package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/gen"
	"acctpull/record"
)

// recorder keeps what a generator made.
type recorder struct {
	start, end time.Time
	records    []*record.Record
}

func (c *recorder) BeginInterval(start, end time.Time) error {
	c.start, c.end = start, end
	return nil
}

func (c *recorder) Write(r *record.Record) error {
	k := r.Clone()
	k.Start, k.End = c.start, c.end
	c.records = append(c.records, k)
	return nil
}

func (c *recorder) EndInterval() error { return nil }

// readAll reads everything; record errors are returned beside the records.
func readAll(t *testing.T, r *record.Reader) (recs []*record.Record, bad []*record.RecordError, err error) {
	t.Helper()
	var rec record.Record
	for {
		err := r.Next(&rec)
		var re *record.RecordError
		switch {
		case err == nil:
			recs = append(recs, rec.Clone())
		case errors.As(err, &re):
			bad = append(bad, re)
		case err == io.EOF:
			return recs, bad, nil
		default:
			return recs, bad, err
		}
	}
}

// show is a Record in one line.
func show(r *record.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s", r.Set.Record, r.Sub)
	if !r.Set.Known {
		b.WriteString("?")
	}
	for _, s := range []string{r.Set.Scope, r.Set.CounterMode} {
		if s != "" {
			fmt.Fprintf(&b, " [%s]", s)
		}
	}
	if r.Policy != 0 {
		fmt.Fprintf(&b, " policy=%d", r.Policy)
	}
	for i, f := range r.Set.Fields {
		switch v := r.Values[i]; v.State {
		case record.Number:
			fmt.Fprintf(&b, " %s=%d", f.Abbrev, v.N)
		case record.Text:
			fmt.Fprintf(&b, " %s=%q", f.Abbrev, v.Text)
		case record.Empty:
			fmt.Fprintf(&b, " %s=EMPTY", f.Abbrev)
		}
	}
	for _, p := range r.Unknown {
		fmt.Fprintf(&b, " +%s=%q", p.Name, p.Text)
	}
	if !r.Start.IsZero() {
		fmt.Fprintf(&b, " from %s", r.Start.Format(time.RFC3339Nano))
	}
	if !r.End.IsZero() {
		fmt.Fprintf(&b, " to %s", r.End.Format(time.RFC3339Nano))
	}
	if r.Final != 0 {
		fmt.Fprintf(&b, " final=%d", r.Final)
	}
	return b.String()
}

// Whatever the shape, the records that come out are those that went in, for
// every record name on every platform.
func TestEveryRecordInEveryShape(t *testing.T) {
	readers := map[bool]*record.Reader{}
	for _, slow := range []bool{false, true} {
		o := record.ReaderOptions{}
		if slow {
			o = o.WithoutFastPath()
		}
		readers[slow] = record.NewReader(o)
	}
	for _, d := range record.Builtin().Definitions() {
		var platforms []string
		for _, s := range d.RowSets {
			for _, p := range s.Platforms {
				if !slices.Contains(platforms, p) {
					platforms = append(platforms, p)
				}
			}
		}
		for _, p := range platforms {
			modes := []string{"in-out-profile-count", "forward-drop-count"}
			if !slices.ContainsFunc(d.RowSets, func(s *record.RowSet) bool { return s.CounterMode != "" }) {
				modes = modes[:1]
			}
			for _, mode := range modes {
				for _, shape := range gen.Shapes() {
					foreign := slices.ContainsFunc(d.RowSets, func(s *record.RowSet) bool { return s.Sub == "" || s.Sub == "(custom)" || s.Sub == "png" })
					if foreign && shape != gen.Dialect {
						continue // the generator has no such shape for these
					}
					o := gen.Options{Record: d.Name, Platform: p, CounterMode: mode, Objects: 3, Meters: 2, FinalEvery: 2, Seed: 11, Shape: shape}
					for slow, r := range readers {
						t.Run(fmt.Sprintf("%s/%s/%s/%v/slow=%v", d.Name, p, mode, shape, slow), func(t *testing.T) { roundTrip(t, r, o) })
					}
				}
			}
		}
	}
}

func roundTrip(t *testing.T, r *record.Reader, o gen.Options) {
	g, err := gen.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var want recorder
	if _, err := g.Run(g.Options().Intervals, &want); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	truth, err := gen.File(&file, o)
	if err != nil {
		t.Fatal(err)
	}
	r.Reset(&file, "gen.xml.gz")
	got, bad, err := readAll(t, r)
	if err != nil || len(bad) > 0 {
		t.Fatalf("%v, %v", err, bad)
	}
	st := r.Stats()
	if st.Records != truth.Records || int64(len(got)) != truth.Records || st.XMLBytes != truth.XML || st.GzipBytes != truth.Gzip || !st.MinEnd.Equal(truth.First) || !st.MaxEnd.Equal(truth.Last) {
		t.Errorf("stats %+v, truth %+v", st, truth)
	}
	if len(st.UnknownFields) > 0 || len(st.UnknownSubs) > 0 {
		t.Errorf("unknown: %v %v", st.UnknownFields, st.UnknownSubs)
	}
	for i := range want.records {
		want.records[i].Policy = 10
		if g, w := show(got[i]), show(want.records[i]); g != w {
			t.Fatalf("record %d:\n got %s\nwant %s", i, g, w)
		}
	}
}
