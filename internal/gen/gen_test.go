package gen

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/record"
)

// check is a Sink that counts, sums and looks for doubles by itself.
type check struct {
	records int64
	sums    map[string]*big.Int
	seen    map[string]bool
	doubles int
	end     time.Time
}

func (c *check) BeginInterval(start, end time.Time) error {
	c.end = end
	return nil
}

func (c *check) Write(r *record.Record) error {
	c.records++
	id := fmt.Sprint(c.end.UnixNano(), r.Sub, r.Set.Scope, r.Final)
	for i, f := range r.Set.Fields {
		v := r.Values[i]
		if f.Role == record.Key {
			id += fmt.Sprint("|", f.Abbrev, v.N, v.Text)
			continue
		}
		if f.Numeric {
			if c.sums[f.Column] == nil {
				c.sums[f.Column] = new(big.Int)
			}
			c.sums[f.Column].Add(c.sums[f.Column], new(big.Int).SetUint64(v.N))
		}
	}
	if c.seen[id] {
		c.doubles++
	}
	c.seen[id] = true
	return nil
}

func (c *check) EndInterval() error { return nil }

// Every record name on every platform: the truth is what a sink counts, and no
// two records have the same keys.
func TestTruthOfEveryRecord(t *testing.T) {
	for _, d := range record.Builtin().Definitions() {
		platforms := map[string]bool{}
		for _, s := range d.RowSets {
			for _, p := range s.Platforms {
				platforms[p] = true
			}
		}
		for p := range platforms {
			o := Options{Record: d.Name, Platform: p, Objects: 30, Intervals: 4, FinalEvery: 2, Seed: 7}
			g, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			c := &check{sums: map[string]*big.Int{}, seen: map[string]bool{}}
			truth, err := g.Run(4, c)
			if err != nil {
				t.Fatal(err)
			}
			if truth.Records != c.records || c.records == 0 || c.doubles > 0 {
				t.Errorf("%s on %s: truth %d, counted %d, doubles %d", d.Name, p, truth.Records, c.records, c.doubles)
			}
			for column, n := range c.sums {
				if truth.Sums[column] == nil || truth.Sums[column].Cmp(n) != 0 {
					t.Errorf("%s on %s: sum of %s: truth %v, counted %v", d.Name, p, column, truth.Sums[column], n)
				}
			}
			if len(truth.Sums) != len(c.sums) {
				t.Errorf("%s on %s: truth has %d columns, counted %d", d.Name, p, len(truth.Sums), len(c.sums))
			}
		}
	}
}

// The benchmark record has 3 keys and 14 counters, and gzip shrinks it as the
// real one: 8 to 12 times.
func TestDefaultRecordIsThatOfTheBenchmarks(t *testing.T) {
	g, err := New(Options{Objects: 500, Meters: 4, Intervals: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.sets) != 1 {
		t.Fatalf("%d row sets", len(g.sets))
	}
	n := map[record.Role]int{}
	for _, f := range g.sets[0].set.Fields {
		n[f.Role]++
	}
	if n[record.Key] != 3 || n[record.Counter] != 14 {
		t.Errorf("roles: %v", n)
	}
	truth, err := g.WriteFile(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ratio := float64(truth.XML) / float64(truth.Gzip)
	t.Logf("%d records, %d B of XML each, ratio %.1f", truth.Records, truth.XML/truth.Records, ratio)
	if ratio < 8 || ratio > 12 || truth.Records != 500*4*10 {
		t.Errorf("ratio %.2f, records %d", ratio, truth.Records)
	}
}

// Counters only grow, except after a final record.
func TestCountersGrow(t *testing.T) {
	g, err := New(Options{Objects: 5, Meters: 1, Seed: 3, Idle: -1, FinalEvery: 3})
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]uint64{}
	moved, restarts := 0, 0
	sink := sinkFunc(func(r *record.Record) error {
		id, now := r.Get("svc").Text, r.Get("iof").N
		if now < last[id] {
			t.Errorf("%s went from %d to %d", id, last[id], now)
		}
		if now > last[id] {
			moved++
		}
		last[id] = now
		if r.Final > 0 {
			last[id] = 0
			restarts++
		}
		return nil
	})
	if _, err := g.Run(9, sink); err != nil {
		t.Fatal(err)
	}
	if moved < 40 || restarts != 3 {
		t.Errorf("moved %d of 45 times, %d restarts", moved, restarts)
	}
}

type sinkFunc func(*record.Record) error

func (f sinkFunc) BeginInterval(time.Time, time.Time) error { return nil }
func (f sinkFunc) Write(r *record.Record) error             { return f(r) }
func (f sinkFunc) EndInterval() error                       { return nil }

// Every shape is well-formed XML and holds the same numbers.
func TestShapes(t *testing.T) {
	for _, shape := range Shapes() {
		var a, b bytes.Buffer
		o := Options{Shape: shape, Seed: 5, Record: "complete-service-ingress-egress", Platform: "7210 SAS", FinalEvery: 2}
		truth, err := File(&a, o)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := File(&b, o); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) || again.Records != truth.Records {
			t.Errorf("%v: a second run differs: %v", shape, err)
		}
		zr, err := gzip.NewReader(bytes.NewReader(a.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(zr)
		if err != nil || int64(len(text)) != truth.XML || int64(a.Len()) != truth.Gzip {
			t.Fatalf("%v: %d bytes of XML, truth %d; %d of gzip, truth %d; %v", shape, len(text), truth.XML, a.Len(), truth.Gzip, err)
		}
		rows := map[string]int64{}
		dec := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
		for {
			tok, err := dec.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v: %v", shape, err)
			}
			if el, ok := tok.(xml.StartElement); ok {
				rows[el.Name.Local]++
			}
		}
		for sub, n := range truth.Rows {
			if rows[sub] != n || n == 0 {
				t.Errorf("%v: %d elements %s, truth %d", shape, rows[sub], sub, n)
			}
		}
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	truth, err := Tree(dir, TreeOptions{Options: Options{Objects: 4, Meters: 2}, Devices: 3, Files: 2, Spread: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "gen-000?", "act1011-20260102-*.xml.gz"))
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += st.Size()
	}
	// 2, 4 and 6 objects with 2 meters, 3 intervals, 2 files
	if len(files) != 6 || truth.Files != 6 || truth.Records != (2+4+6)*2*3*2 || truth.Gzip != size {
		t.Errorf("%d files of %d B, truth %+v", len(files), size, truth)
	}
	if !truth.Last.Equal(time.Date(2026, 1, 2, 0, 30, 0, 0, time.UTC)) {
		t.Errorf("last interval ends at %v", truth.Last)
	}
	if _, err := Tree(dir, TreeOptions{}); err == nil {
		t.Error("files were overwritten")
	}
}

func TestNoSuchRecord(t *testing.T) {
	for _, o := range []Options{{Record: "nonsense"}, {Platform: "nonsense"}, {Sub: "nonsense"}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
