package usage

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"acctpull/export"
	"acctpull/record"
)

const minute = 60 * second

// at makes a point whose collection interval ends at a minute and took 15,
// with all its readings there.
func at(end int64, values ...uint64) *Point {
	return &Point{Start: (end - 15) * minute, End: end * minute, Semantics: Cumulative, Values: values,
		Present: []uint64{1<<len(values) - 1}, Source: &Source{File: fmt.Sprintf("f%d", end), SHA256: "aa"}}
}

func (p *Point) with(change func(*Point)) *Point { change(p); return p }

// told is a Delta in short: the reason, the seconds, the gap in seconds, and the
// deltas.
func told(p *Point, d *Delta) string {
	s := d.Break.String()
	if d.Known {
		s += fmt.Sprint(d.Values)
		if d.From != NoTime {
			s += fmt.Sprint((p.End - d.From) / second)
		}
	}
	if d.Gap > 0 {
		s += fmt.Sprint(" gap ", d.Gap/second)
	}
	return s
}

// run gives rows, which lie in the order of their ends, to a series.
func run(s *Series, rows ...*Point) (out []string) {
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].End == rows[0].End {
			n++
		}
		s.Add(slices.Clone(rows[:n]), func(p *Point, d *Delta) { out = append(out, told(p, d)) })
		rows = rows[n:]
	}
	return out
}

func TestSeries(t *testing.T) {
	final := func(n int32) func(*Point) { return func(p *Point) { p.Final = n } }
	mode := func(m string) func(*Point) { return func(p *Point) { p.Mode = m } }
	start := func(m int64) func(*Point) { return func(p *Point) { p.Start = m * minute } }
	noStart := func(p *Point) { p.Start = NoTime }
	interval := func(p *Point) { p.Semantics = PerInterval }
	unknown := func(p *Point) { p.Semantics = NotSaid }
	const top = math.MaxUint64
	for _, c := range []struct {
		name string
		rows []*Point
		want string
	}{
		{"plain", []*Point{at(15, 100, 7), at(30, 110, 7), at(45, 150, 9)}, "first | [10 0]900 | [40 2]900"},
		{"reset of one counter is one of all", []*Point{at(15, 100, 7), at(30, 110, 6), at(45, 111, 8)}, "first | reset | [1 2]900"},
		{"reset after a gap", []*Point{at(15, 100), at(60, 90)}, "first | reset gap 1800"},
		{"gap", []*Point{at(15, 100), at(75, 190), at(90, 200)}, "first | gap[90]3600 gap 2700 | [10]900"},
		{"mode", []*Point{at(15, 100), at(30, 110).with(mode("m")), at(45, 120).with(mode("m"))}, "first | mode-change | [10]900"},
		{"set of counters", []*Point{at(15, 100, 5), at(30, 110), at(45, 120)}, "first | mode-change | [10]900"},
		{"wrap of 64 bits", []*Point{at(15, top-4), at(30, 5)}, "first | wrap64[10]900"},
		{"too far for a wrap", []*Point{at(15, 1<<63), at(30, 5)}, "first | reset"},
		{"no wrap of 32 bits unless told", []*Point{at(15, 1<<32-1), at(30, 5)}, "first | reset"},
		{"above 2^63", []*Point{at(15, 0), at(30, 1<<63+1), at(45, top)}, fmt.Sprintf("first | [%d]900 | [%d]900", uint64(1<<63+1), uint64(top-1<<63-1))},
		{"final and another object in one interval", []*Point{at(15, 100), at(30, 110).with(final(1)), at(30, 4), at(45, 6)}, "first | [10]900 | final[4]900 | [2]900"},
		{"order of finals", []*Point{at(15, 100), at(30, 4), at(30, 9).with(final(2)), at(30, 110).with(final(1))}, "first | [10]900 | final[9]900 | final[4]900"},
		{"second final without the first", []*Point{at(15, 100), at(30, 9).with(final(2))}, "first | final[9]900"},
		{"another object later", []*Point{at(15, 100).with(final(1)), at(30, 40), at(45, 41)}, "first | final[40]900 | [1]900"},
		{"perhaps the same object later", []*Point{at(15, 100).with(final(1)), at(30, 140), at(45, 141)}, "first | final | [1]900"},
		{"final first of all", []*Point{at(15, 100).with(final(1)), at(15, 5)}, "first | final[5]900"},
		{"final first of all, no start", []*Point{at(15, 100).with(final(1)).with(noStart), at(15, 5).with(noStart)}, "first | first"},
		{"overlap", []*Point{at(15, 100), at(30, 110), at(38, 114), at(53, 120)}, "first | [10]900 | overlap | [6]900"},
		{"within the one before", []*Point{at(15, 100), at(30, 110), at(45, 130).with(start(10)), at(60, 140)}, "first | [10]900 | clock-step | [10]900"},
		{"clock set back by whole intervals", []*Point{at(15, 1), at(30, 2), at(30, 5), at(45, 6), at(45, 3), at(60, 7), at(75, 8)},
			"first | clock-step | clock-step | clock-step | clock-step | clock-step | [1]900"},
		{"clock set back by half an interval", []*Point{at(15, 1), at(30, 2), at(37, 5), at(45, 3), at(52, 6), at(67, 7)},
			"first | [1]900 | overlap | overlap | overlap | [1]900"},
		{"interval", []*Point{at(15, 5).with(interval), at(30, 3).with(interval), at(75, 4).with(interval), at(80, 9).with(interval)},
			"[5]900 | [3]900 | gap[4]900 gap 1800 | overlap"},
		{"interval without a start", []*Point{at(15, 5).with(interval).with(noStart)}, "[5]"},
		{"interval, both objects", []*Point{at(15, 5).with(interval).with(final(1)), at(15, 3).with(interval)}, "[5]900 | [3]900"},
		{"interval, then cumulative", []*Point{at(15, 5).with(interval), at(30, 9), at(45, 10)}, "[5]900 | mode-change | [1]900"},
		{"unknown", []*Point{at(15, 5).with(unknown), at(30, 9).with(unknown), at(45, 10), at(60, 12)}, "unknown | unknown | mode-change | [2]900"},
		{"gap by the distance of rows", []*Point{at(15, 1).with(noStart), at(30, 2).with(noStart), at(60, 4).with(noStart), at(75, 5).with(noStart)},
			"first | [1]900 | gap[2]1800 gap 900 | [1]900"},
		{"another interval", []*Point{at(5, 1).with(noStart), at(10, 2).with(noStart), at(25, 4).with(noStart), at(40, 5).with(noStart), at(55, 6).with(noStart)},
			"first | [1]300 | gap[2]900 gap 600 | [1]900 | [1]900"},
	} {
		if got := strings.Join(run(&Series{}, c.rows...), " | "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// A counter of 32 bits is subtracted modulo 2^32 only if it cannot have passed
// its end twice.
func TestWrap32(t *testing.T) {
	for rate, want := range map[uint64]string{1_000_000: "wrap32[10]900", 4_772_185: "wrap32[10]900", 4_772_186: "reset"} {
		if got := run(&Series{Narrow: []uint64{rate}}, at(15, 1<<32-5), at(30, 5)); got[1] != want {
			t.Errorf("%d in a second: %s, want %s", rate, got[1], want)
		}
	}
	if got := run(&Series{Narrow: []uint64{1, 0}}, at(15, 1<<32-5, 7), at(30, 5, 6)); got[1] != "reset" {
		t.Errorf("beside a counter that fell: %s", got[1])
	}
}

func TestRepeated(t *testing.T) {
	a, b, c := at(30, 9), at(30, 9), at(30, 9)
	a.Source, b.Source, c.Source = &Source{File: "b", SHA256: "1"}, &Source{File: "a", SHA256: "2"}, &Source{File: "a", SHA256: "1"}
	for _, rows := range [][]*Point{{a, b, c}, {c, b, a}, {b, c, a}} {
		var s Series
		run(&s, at(15, 1))
		var kept []*Point
		n := s.Add(rows, func(p *Point, d *Delta) { kept = append(kept, p) })
		if n != 2 || len(kept) != 1 || kept[0] != c {
			t.Errorf("%d repeated, kept %v", n, kept)
		}
		if got := run(&s, at(45, 11)); got[0] != "[2]900" {
			t.Errorf("behind it: %s", got)
		}
	}
}

// A series that is resumed from its state goes on as if it had not been stopped.
func TestResume(t *testing.T) {
	rows := []*Point{at(15, 1), at(30, 2), at(60, 4), at(60, 5), at(75, 6), at(90, 7)}
	for _, p := range rows {
		p.Start = NoTime
	}
	want := run(&Series{}, rows...)
	for i := 1; i < len(rows); i++ {
		if rows[i-1].End == rows[i].End {
			continue
		}
		var a, b Series
		got := run(&a, rows[:i]...)
		b.Resume(a.State())
		if got = append(got, run(&b, rows[i:]...)...); !slices.Equal(got, want) {
			t.Errorf("stopped before row %d: %q, want %q", i, got, want)
		}
	}
}

func TestSchema(t *testing.T) {
	for _, def := range record.Builtin().Definitions() {
		r := export.Schema(def)
		u := Schema(r)
		seen := map[string]bool{}
		for _, c := range u.Columns {
			if seen[c.Name] {
				t.Errorf("%s has column %s twice", u.Name, c.Name)
			}
			seen[c.Name] = true
			if i := r.Index(c.Name); i >= 0 && c.Name != colStart && c.Name != colEnd && r.Columns[i].Type != c.Type {
				t.Errorf("%s: column %s is of another type", u.Name, c.Name)
			}
		}
		for _, name := range u.Sorted {
			if !seen[name] {
				t.Errorf("%s is sorted by %s, which it has not", u.Name, name)
			}
		}
		if name, ok := RecordOf(u.Name); !ok || name != r.Name {
			t.Errorf("%s is made from %q", u.Name, name)
		}
	}
	if HasUsage(export.UnknownSchema()) {
		t.Error("unknown records have usage")
	}
}
