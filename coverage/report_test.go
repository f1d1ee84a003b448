package coverage

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestCells(t *testing.T) {
	at := func(h int) time.Time { return dawn.Add(time.Duration(h) * time.Hour) }
	runs := []Run{{Verdict: Present, From: at(0), To: at(4)}, {Verdict: Idle, From: at(4), To: at(6)},
		{Verdict: Lost, From: at(6), To: at(6).Add(time.Minute)}, {Verdict: Present, From: at(6).Add(time.Minute), To: at(8)},
		{Verdict: Waiting, From: at(8), To: at(9)}, {Verdict: Open, From: at(9), To: at(20)}}
	for _, test := range []struct {
		from, to, width int
		want            string
	}{
		{0, 10, 10, "####--L#w."},
		{0, 10, 5, "##-Lw"},
		{0, 10, 1, "L"},
		{-2, 2, 4, "  ##"},
		{8, 9, 3, "www"},
		{5, 5, 3, "   "},
	} {
		if got := Cells(runs, at(test.from), at(test.to), test.width); got != test.want {
			t.Errorf("%d to %d: %q, not %q", test.from, test.to, got, test.want)
		}
	}
	seen := map[byte]bool{}
	for v := Unjudged; v < Verdicts; v++ {
		if seen[v.Letter()] {
			t.Errorf("two verdicts are %q", v.Letter())
		}
		seen[v.Letter()] = true
		var back Verdict
		if err := back.UnmarshalText([]byte(v.String())); err != nil || back != v {
			t.Errorf("%v is read as %v, %v", v, back, err)
		}
	}
}

// The page is one well-formed file: it refers to nothing outside, and what
// devices call themselves is text.
func TestHTML(t *testing.T) {
	const evil = `<script>alert("x")</script>'"&` + "\x1b[31m"
	r := Report{From: dawn, To: dawn.AddDate(0, 0, 31)}
	for n := range 200 {
		w := newWorld(t, policy(10))
		w.device.Name = fmt.Sprintf("%s%d", evil, n)
		if n < 3 {
			w.run(30 * time.Hour)
			w.device.Files[5].State, w.device.Files[5].Reason = Quarantined, evil
		}
		r.Devices = append(r.Devices, NewDeviceReport(w.device, Window{From: r.From, To: r.To}))
	}
	var b strings.Builder
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if strings.Contains(page, "<script") || strings.Contains(page, "javascript:") {
		t.Error("a name is a script")
	}
	for _, word := range []string{`src=`, `href=`, `@import`, `url(http`} {
		if strings.Contains(page, word) {
			t.Errorf("%q: it refers to something outside", word)
		}
	}
	if n := strings.Count(page, "<details>"); n != 200 {
		t.Errorf("%d rows", n)
	}
	if !strings.Contains(page, `class="corrupt"`) || strings.Contains(page, "ZgotmplZ") {
		t.Error("a file in quarantine is not drawn")
	}
	d := xml.NewDecoder(strings.NewReader(strings.ReplaceAll(page, "\x1b", "")))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta"}, xml.HTMLEntity
	depth := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
	}
	if depth != 0 {
		t.Errorf("%d elements are not closed", depth)
	}
}

// What sessions know of a clock holds the truth, gets narrower, and notices a
// step.
func TestSkew(t *testing.T) {
	at := func(min float64) time.Time { return dawn.Add(time.Duration(min * float64(time.Minute))) }
	session := func(before, now, closed float64, skew time.Duration) Session {
		return Session{Before: at(before), At: at(now), Earliest: at(closed).Add(skew), Latest: at(closed).Add(skew)}
	}
	const ahead = 95 * time.Second
	s, stepped := Skew{}.Note(Session{At: at(0), Earliest: at(-50), Latest: at(-1)}, 0)
	if s.Known() || stepped {
		t.Error("one listing alone says nothing:", s)
	}
	for i, closed := range []float64{3, 29.9, 31, 59} {
		before := float64(15 * int(closed/15))
		wide := s.Max - s.Min
		s, stepped = s.Note(session(before, before+15, closed, ahead), 0)
		if stepped || s.Min > ahead || s.Max < ahead || i > 0 && s.Max-s.Min > wide {
			t.Errorf("closed at %v: %v", closed, s)
		}
	}
	if off := s.Beyond(time.Minute); off <= time.Minute || off > ahead {
		t.Error("it is off by", off, "in", s)
	}
	if s, stepped = s.Note(session(60, 75, 70, -time.Hour), 0); !stepped || s.Min > -time.Hour || s.Max < -time.Hour || s.Beyond(time.Minute) >= 0 {
		t.Error("a step is not seen:", s)
	}
	if s, _ = s.Note(Session{At: at(80), Told: Skew{2 * time.Second, 4 * time.Second}}, 0); s.Min < 0 || s.Max > 5*time.Second || s.Beyond(time.Minute) != 0 {
		t.Error("the clock itself:", s)
	}
	if again, stepped := s.Note(Session{Before: at(80), At: at(95)}, 0); again != s || stepped {
		t.Error("a visit without news:", again)
	}
	if g := (Skew{-3 * time.Minute, 17 * time.Hour}).Guess(); g != 0 {
		t.Error("wide bounds:", g)
	}
	if Drift(1000*time.Hour) != 3*time.Minute || Drift(-1) != 0 {
		t.Error(Drift(1000 * time.Hour))
	}
}

// BenchmarkMonth judges a device with five policies over a month: a fleet has
// 200 of them.
func BenchmarkMonth(b *testing.B) {
	var policies []*writer
	for id := 1; id <= 5; id++ {
		policies = append(policies, policy(10*id))
	}
	w := newWorld(nil, policies...)
	w.run(31 * 24 * time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if s := w.judge(); len(s) != 5 {
			b.Fatal(len(s))
		}
	}
}
