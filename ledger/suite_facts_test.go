package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/ledger"
)

// spansFrom makes n spans of five minutes.
func spansFrom(from time.Time, n int, records int64) []ledger.Span {
	var spans []ledger.Span
	for i := range n {
		at := from.Add(time.Duration(i) * 5 * time.Minute)
		spans = append(spans, ledger.Span{Start: at, End: at.Add(5 * time.Minute), Records: records})
	}
	return spans
}

func sameFacts(a, b *ledger.Facts) bool {
	if a == nil || b == nil {
		return a == b
	}
	same := slices.EqualFunc(a.Spans, b.Spans, func(x, y ledger.Span) bool {
		return x.Start.Equal(y.Start) && x.End.Equal(y.End) && x.Records == y.Records
	})
	return same && a.Policy == b.Policy && a.FileID == b.FileID && a.Record == b.Record && a.Interval == b.Interval && a.Truncated == b.Truncated
}

func factsOf(t testing.TB, l *ledger.Ledger, device string, from, to time.Time) map[string]*ledger.Facts {
	t.Helper()
	all := map[string]*ledger.Facts{}
	for r, err := range l.FileFacts(t.Context(), device, from, to) {
		ok(t, err)
		if _, twice := all[r.Name]; twice || r.Device != device {
			t.Errorf("%s of %s is given twice, or of another device", r.Name, r.Device)
		}
		all[r.Name] = r.Facts
	}
	return all
}

func testFacts(t *testing.T, s store) {
	l := s()
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	name := func(i int) string {
		return "act1101-" + day.Add(time.Duration(i)*15*time.Minute).Format("20060102-150405") + ".xml.gz"
	}
	want := map[string]*ledger.Facts{}
	var keys []ledger.Key
	for i := range 96 {
		keys = append(keys, key("r1", name(i)))
	}
	var items []ledger.StoreItem
	for i, c := range claim(t, l, "a", keys...) {
		f := &ledger.Facts{Policy: 11, FileID: 1, Record: "service-ingress-octets", Interval: 5 * time.Minute,
			Spans: spansFrom(day.Add(time.Duration(i)*15*time.Minute), 3, int64(i)), Truncated: i == 7}
		if i == 8 {
			f.Spans[1].Start = time.Time{}
			f.Spans = f.Spans[1:]
		}
		want[c.Name] = f
		items = append(items, ledger.StoreItem{Claim: c, SHA256: digest(c.Name), Stored: c.Name, Facts: f})
	}
	for _, r := range must(l.StoreMany(t.Context(), start, items))(t) {
		ok(t, r.Err)
	}
	for _, w := range [][2]int{{0, 96}, {4, 5}, {8, 9}, {90, 96}} {
		got := factsOf(t, l, "r1", day.Add(time.Duration(w[0])*15*time.Minute), day.Add(time.Duration(w[1])*15*time.Minute))
		if len(got) != w[1]-w[0] {
			t.Errorf("%d files from quarter %d to %d", len(got), w[0], w[1])
		}
		for n, f := range got {
			if !sameFacts(f, want[n]) {
				t.Errorf("%s: facts %+v, want %+v", n, f, want[n])
			}
		}
	}
	if got := factsOf(t, l, "r2", day, day.Add(24*time.Hour)); len(got) != 0 {
		t.Errorf("another device has %d files", len(got))
	}
	// Files of which nothing is known: those whose name or first sight is near.
	old, near := key("r1", "act1101-20240101-000000.xml.gz"), key("r1", "act1101-20260103-000000.xml.gz")
	must(l.Discover(t.Context(), day.Add(-1000*24*time.Hour), []ledger.Key{old}))(t)
	must(l.Discover(t.Context(), day.Add(1000*24*time.Hour), []ledger.Key{near}))(t)
	got := factsOf(t, l, "r1", day, day.Add(time.Hour))
	if f, found := got[near.Name]; !found || f != nil || len(got) != 5 {
		t.Errorf("%d files, %s with %v", len(got), near.Name, f)
	}
	// Facts may come later, and in the place of others; none at all are facts too.
	empty := ledger.Facts{Policy: 11, FileID: 1}
	ok(t, l.SetFacts(t.Context(), near, empty))
	if f := factsOf(t, l, "r1", day, day.Add(time.Hour))[near.Name]; f != nil {
		t.Errorf("facts without spans came as %+v", f)
	}
	full := ledger.Facts{Record: "x", Spans: spansFrom(day.Add(5*24*time.Hour), 2000, 3)}
	ok(t, l.SetFacts(t.Context(), near, full))
	if _, found := factsOf(t, l, "r1", day, day.Add(time.Hour))[near.Name]; found {
		t.Error("a file is near although its spans are not")
	}
	if f := factsOf(t, l, "r1", day.Add(6*24*time.Hour), day.Add(7*24*time.Hour))[near.Name]; !sameFacts(f, &full) {
		t.Errorf("facts %+v", f)
	}
	refused(t, l.SetFacts(t.Context(), key("r1", "unknown"), full), ledger.ErrUnknownFile, "unknown")
	for _, err := range l.FileFacts(t.Context(), "r1", day, day) {
		refused(t, err, nil, "ends before it begins")
	}
	// Local and imported files have them too.
	must(l.AddLocal(t.Context(), start, []ledger.Input{{Device: "local", Name: "a", SHA256: digest("a"), Stored: "a", Facts: &full}}))(t)
	ok(t, l.Import(t.Context(), start, []ledger.Row{{Key: key("found", "b"), State: ledger.Stored, SHA256: digest("b"), Stored: "b", Facts: &full}}, nil))
	for device, n := range map[string]string{"local": "a", "found": "b"} {
		if f := factsOf(t, l, device, day, day.Add(30*24*time.Hour))[n]; !sameFacts(f, &full) {
			t.Errorf("%s: facts %+v", device, f)
		}
	}
}

func testFactsRefuses(t *testing.T, s store) {
	l := s()
	c := claim(t, l, "a", key("r1", "x"))[0]
	at := start
	for text, f := range map[string]ledger.Facts{
		"policy -1": {Policy: -1}, "file-id -2": {FileID: -2}, "interval": {Interval: -1}, "not UTF-8": {Record: "\xff"},
		"span 0":       {Spans: []ledger.Span{{Start: at}}},
		"span 0 of":    {Spans: []ledger.Span{{Start: at.Add(1e9), End: at}}},
		"in front":     {Spans: []ledger.Span{{End: at}, {End: at.Add(-time.Hour)}}},
		"-1 records":   {Spans: []ledger.Span{{End: at, Records: -1}}},
		"span 0 of th": {Spans: []ledger.Span{{End: time.Unix(-5, 0)}}},
	} {
		_, err := l.StoreMany(t.Context(), start, []ledger.StoreItem{{Claim: c, SHA256: digest("x"), Stored: "x", Facts: &f}})
		refused(t, err, nil, text)
	}
}

// visit is one of a device where n files lie.
func visit(device string, began time.Time, n int) ledger.Visit {
	return ledger.Visit{Device: device, Began: began, Ended: began.Add(3 * time.Second), Count: 1, Good: true,
		Listed: n, Oldest: fmt.Sprintf("act1101-%d", n), SkewMin: -time.Second, SkewMax: time.Second}
}

func visits(t testing.TB, l *ledger.Ledger, device string, from, to time.Time) []ledger.Visit {
	t.Helper()
	var all []ledger.Visit
	for v, err := range l.Visits(t.Context(), device, from, to) {
		ok(t, err)
		all = append(all, v)
	}
	return all
}

func testVisits(t *testing.T, s store) {
	l := s()
	const gap = 15 * time.Minute
	at := start
	add := func(change func(*ledger.Visit)) ledger.Visit {
		v := visit("r1", at, 12)
		change(&v)
		ok(t, l.AddVisit(t.Context(), v))
		at = at.Add(gap)
		return v
	}
	for range 99 {
		add(func(*ledger.Visit) {})
	}
	at = at.Add(time.Hour)
	last := add(func(*ledger.Visit) {})
	want := visit("r1", start, 12)
	want.Ended, want.Count, want.Widest = last.Ended, 100, gap+time.Hour-3*time.Second
	forever := start.Add(10000 * time.Hour)
	if got := visits(t, l, "r1", start, forever); len(got) != 1 || got[0] != want {
		t.Fatalf("visits %+v\nwant   %+v", got, want)
	}
	ok(t, l.AddVisit(t.Context(), visit("r2", at, 12)))
	// Anything that differs begins another one.
	changes := []func(*ledger.Visit){
		func(v *ledger.Visit) { v.Listed++ },
		func(v *ledger.Visit) { v.Oldest = "other" },
		func(v *ledger.Visit) { v.Good, v.Error = false, "no route" },
		func(v *ledger.Visit) { v.Good, v.Error = false, "reset by peer\x00\xff" },
		func(v *ledger.Visit) { v.SkewMin, v.SkewMax = time.Hour, time.Hour+time.Second },
		func(v *ledger.Visit) { v.Began, v.Ended = v.Began.Add(-24*time.Hour), v.Ended.Add(-24*time.Hour) },
	}
	for _, c := range changes {
		add(c)
		add(c)
	}
	got := visits(t, l, "r1", start.Add(-48*time.Hour), forever)
	if n := 1 + len(changes); len(got) != n {
		t.Errorf("%d visits, want %d", len(got), n)
	}
	for _, v := range got {
		if v.Count != 2 && v != want || strings.ContainsRune(v.Error, 0) {
			t.Errorf("visit %+v", v)
		}
	}
	if got := visits(t, l, "r1", start.Add(time.Hour), start.Add(2*time.Hour)); len(got) != 1 || got[0] != want {
		t.Errorf("visits %+v", got)
	}
	// What is known of the clock: never narrower than measured, unknown adds nothing.
	base := ledger.Visit{Device: "r3", Began: start, Ended: start, Good: true}
	for i, skew := range [][2]time.Duration{{0, 0}, {-1500 * time.Microsecond, 1500 * time.Microsecond}, {0, 0}, {0, 400 * time.Millisecond}} {
		v := base
		v.Began = start.Add(time.Duration(i) * time.Minute)
		v.Ended, v.SkewMin, v.SkewMax = v.Began, skew[0], skew[1]
		ok(t, l.AddVisit(t.Context(), v))
	}
	if got := visits(t, l, "r3", start, forever); len(got) != 1 || got[0].Count != 4 ||
		got[0].SkewMin != -2*time.Millisecond || got[0].SkewMax != 400*time.Millisecond {
		t.Errorf("visits %+v", got)
	}
	for i := range 60 { // a clock that drifts is not told as one vague interval
		v := visit("r4", start.Add(time.Duration(i)*gap), 1)
		drift := time.Duration(i) * 500 * time.Millisecond
		v.SkewMin, v.SkewMax = v.SkewMin+drift, v.SkewMax+drift
		ok(t, l.AddVisit(t.Context(), v))
	}
	got = visits(t, l, "r4", start, forever)
	for _, v := range got {
		if v.SkewMax-v.SkewMin > 6*time.Second {
			t.Errorf("the clock is from %v to %v", v.SkewMin, v.SkewMax)
		}
	}
	if len(got) < 3 || len(got) > 30 {
		t.Errorf("%d visits", len(got))
	}
}

func testVisitsRefuses(t *testing.T, s store) {
	l := s()
	for text, change := range map[string]func(*ledger.Visit){
		"no usable name": func(v *ledger.Visit) { v.Device = "" },
		"a visit from":   func(v *ledger.Visit) { v.Ended = v.Began.Add(-time.Second) },
		"-1 files":       func(v *ledger.Visit) { v.Listed = -1 },
		"a clock from":   func(v *ledger.Visit) { v.SkewMin = time.Hour },
		"says why not":   func(v *ledger.Visit) { v.Good = false },
		"or says":        func(v *ledger.Visit) { v.Error = "x" },
		"not UTF-8":      func(v *ledger.Visit) { v.Oldest = "\xff" },
	} {
		v := visit("r1", start, 1)
		change(&v)
		refused(t, l.AddVisit(t.Context(), v), nil, text)
	}
}
