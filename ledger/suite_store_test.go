package ledger_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/ledger"
)

func testStore(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-030405.xml.gz")
	c := claim(t, l, "a", k)[0]
	ok(t, l.Release(t.Context(), c, "reset", time.Time{}))
	c = claim(t, l, "a", k)[0]
	later := start.Add(time.Minute)
	if must(l.Store(t.Context(), later, c, digest("x"), "devices/r1/act/x"))(t) {
		t.Error("alias of nothing")
	}
	want := ledger.Row{Key: k, State: ledger.Stored, SHA256: digest("x"), Stored: "devices/r1/act/x",
		Attempt: 2, First: start, Changed: later}
	if r := row(t, l, k); r != want {
		t.Errorf("row %+v, want %+v", r, want)
	}
	if r := must(l.Discover(t.Context(), later, []ledger.Key{k}))(t)[0]; r.State != ledger.Stored {
		t.Errorf("listed again: %+v", r)
	}
	if c := must(l.Claim(t.Context(), later, "b", time.Hour, "r1", 0))(t); len(c) != 0 {
		t.Errorf("a stored file was claimed: %+v", c)
	}
}

func testStoreRefuses(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-030405.xml.gz")
	c := claim(t, l, "a", k)[0]
	for _, bad := range []struct{ sum, stored, text string }{
		{"", "x", "not a SHA-256"}, {strings.ToUpper(digest("x")), "x", "not a SHA-256"},
		{digest("x")[1:], "x", "not a SHA-256"}, {digest("x") + "0", "x", "not a SHA-256"},
		{digest("x"), "", "no stored path"}, {digest("x"), "a\xff", "not UTF-8"},
	} {
		_, err := l.Store(t.Context(), start, c, bad.sum, bad.stored)
		refused(t, err, nil, bad.text)
	}
	refused(t, l.Quarantine(t.Context(), start, c, "x", "", time.Time{}), nil, "no reason")
	refused(t, l.Quarantine(t.Context(), start, c, "\x00", "y", time.Time{}), nil, "not UTF-8")
	refused(t, l.Lost(t.Context(), start, c, ""), nil, "no reason")
	if r := row(t, l, k); r.State != ledger.Discovered || r.Owner != "a" {
		t.Errorf("row %+v", r)
	}
}

// testSameContentOtherName is case T5: exported once, the alias recorded.
func testSameContentOtherName(t *testing.T, s store) {
	l := s()
	a, b, touched := key("r1", "act1101-20260102-010000.xml.gz"), key("r1", "act1101-20260102-020000.xml.gz"), key("r1", "act1101-20260102-010000.xml.gz")
	touched.MTime++
	elsewhere := key("r2", a.Name)
	for i, c := range append(claim(t, l, "a", a, b, touched), claim(t, l, "a", elsewhere)...) {
		alias := must(l.Store(t.Context(), start, c, digest("same"), c.Name))(t)
		if want := i == 1 || i == 2; alias != want {
			t.Errorf("%d: %s of %s: alias %v, want %v", i, c.Name, c.Device, alias, want)
		}
	}
	for _, k := range []ledger.Key{b, touched} {
		if r := row(t, l, k); r.AliasOf != a.Name || r.State != ledger.Stored || r.Stored != k.Name {
			t.Errorf("row %+v", r)
		}
	}
	// The same content of two devices is two files.
	batch, found, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, 0, 0)
	ok(t, err)
	if !found || len(batch.Inputs) != 2 || batch.Inputs[0].Device != "r1" || batch.Inputs[0].Name != a.Name ||
		batch.Inputs[1].Device != "r2" {
		t.Errorf("batch %+v", batch)
	}
}

// testSameNameOtherContent is case T4: both are kept and both are exported.
func testSameNameOtherContent(t *testing.T, s store) {
	l := s()
	a := key("r1", "act1101-20260102-010000.xml.gz")
	b := a
	b.MTime += 3600
	for i, c := range claim(t, l, "a", a, b) {
		if must(l.Store(t.Context(), start, c, digest(c.Name+string(rune('0'+i))), c.Name))(t) {
			t.Error("other content is an alias")
		}
	}
	batch, _, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, 0, 0)
	ok(t, err)
	if len(batch.Inputs) != 2 || batch.Inputs[0].Name != a.Name || batch.Inputs[1].Name != a.Name ||
		batch.Inputs[0].SHA256 >= batch.Inputs[1].SHA256 {
		t.Errorf("batch %+v", batch)
	}
}

func testQuarantine(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-010000.xml.gz")
	c := claim(t, l, "a", k)[0]
	ok(t, l.Quarantine(t.Context(), start.Add(time.Second), c, "quarantine/r1/x", "gzip ends early", time.Time{}))
	want := ledger.Row{Key: k, State: ledger.Quarantined, Stored: "quarantine/r1/x", Reason: "gzip ends early",
		Attempt: 1, First: start, Changed: start.Add(time.Second)}
	if r := row(t, l, k); r != want {
		t.Errorf("row %+v, want %+v", r, want)
	}
	if c := claim(t, l, "a", k); len(c) != 0 {
		t.Errorf("a broken file is tried again: %+v", c)
	}
	// Another size on the device is another file.
	grown := k
	grown.Size += 100
	if c := claim(t, l, "a", k, grown); len(c) != 1 || c[0].Key != grown {
		t.Errorf("claims %+v", c)
	}
	if _, found, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, 0, 0); found || err != nil {
		t.Errorf("a batch of broken files: %v %v", found, err)
	}
}

// testQuarantineAgain: a file that came broken is tried again when its time has
// come, if the device still lists it.
func testQuarantineAgain(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-010000.xml.gz")
	c := claim(t, l, "a", k)[0]
	again := start.Add(time.Hour)
	ok(t, l.Quarantine(t.Context(), start, c, "quarantine/r1/x", "gzip ends early", again))
	early := must(l.Discover(t.Context(), again.Add(-time.Second), []ledger.Key{k}))(t)
	if early[0].State != ledger.Quarantined || !early[0].NotBefore.Equal(again) {
		t.Errorf("row %+v", early[0])
	}
	due := must(l.Discover(t.Context(), again, []ledger.Key{k}))(t)
	if r := due[0]; r.State != ledger.Discovered || r.Stored != "quarantine/r1/x" || r.Reason != "gzip ends early" || !r.NotBefore.IsZero() {
		t.Errorf("row %+v", r)
	}
	c = must(l.Claim(t.Context(), again, "a", time.Hour, "r1", 0))(t)[0]
	if c.Attempt != 2 {
		t.Errorf("claim %+v", c)
	}
	// It vanishes now: what came first is all there is.
	ok(t, l.Lost(t.Context(), again, c, "no such file"))
	if r := row(t, l, k); r.State != ledger.Quarantined || r.Stored != "quarantine/r1/x" || r.Reason != "no such file" {
		t.Errorf("row %+v", r)
	}
	if rows := must(l.Discover(t.Context(), again.Add(time.Hour), []ledger.Key{k}))(t); rows[0].State != ledger.Quarantined {
		t.Errorf("row %+v", rows[0])
	}
	// Another one comes whole the second time.
	k = key("r1", "act1101-20260102-020000.xml.gz")
	c = claim(t, l, "a", k)[0]
	ok(t, l.Quarantine(t.Context(), start, c, "quarantine/r1/y", "gzip ends early", again))
	must(l.Discover(t.Context(), again, []ledger.Key{k}))(t)
	c = must(l.Claim(t.Context(), again, "a", time.Hour, "r1", 0))(t)[0]
	must(l.Store(t.Context(), again, c, digest("whole"), "devices/r1/act/y"))(t)
	if r := row(t, l, k); r.State != ledger.Stored || r.Stored != "devices/r1/act/y" || r.Reason != "" {
		t.Errorf("row %+v", r)
	}
	ok(t, l.Check(t.Context()))
}

func testLostAndFound(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-010000.xml.gz")
	c := claim(t, l, "a", k)[0]
	ok(t, l.Lost(t.Context(), start, c, "no such file"))
	if r := row(t, l, k); r.State != ledger.Lost || r.Reason != "no such file" {
		t.Errorf("row %+v", r)
	}
	if c := must(l.Claim(t.Context(), start, "a", time.Hour, "r1", 0))(t); len(c) != 0 {
		t.Errorf("claims %+v", c)
	}
	later := start.Add(time.Hour)
	r := must(l.Discover(t.Context(), later, []ledger.Key{k, k}))(t)
	if r[0].State != ledger.Discovered || r[0].Reason != "" || !r[0].Changed.Equal(later) || !r[0].First.Equal(start) || r[1] != r[0] {
		t.Errorf("rows %+v", r)
	}
	if c := must(l.Claim(t.Context(), later, "a", time.Hour, "r1", 0))(t); len(c) != 1 || c[0].Attempt != 2 {
		t.Errorf("claims %+v", c)
	}
}

func testAddLocal(t *testing.T, s store) {
	l := s()
	in := func(name, content string) ledger.Input {
		return ledger.Input{Device: "local", Name: name, SHA256: digest(content), Stored: "/files/" + name, Size: 10}
	}
	inputs := []ledger.Input{in("a", "1"), in("b", "2"), in("a", "3"), in("c", "1"), in("a", "1")}
	if n := must(l.AddLocal(t.Context(), start, inputs))(t); n != 3 {
		t.Errorf("%d new contents, want 3", n)
	}
	if n := must(l.AddLocal(t.Context(), start, inputs))(t); n != 0 {
		t.Errorf("%d new contents when repeated", n)
	}
	if n := len(rows(t, l)); n != 4 {
		t.Errorf("%d rows, want 3 files and 1 alias", n)
	}
	batch, _, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, 0, 0)
	ok(t, err)
	if len(batch.Inputs) != 3 || batch.ID != ledger.BatchID(inputs[:3]) {
		t.Errorf("batch %+v", batch)
	}
	// A file that came from a device is known by its content as well.
	put(t, l, "r1", map[string]string{"act1101-20260102-010000.xml.gz": "pulled"})
	again := ledger.Input{Device: "r1", Name: "copy", SHA256: digest("pulled"), Stored: "/copy", Size: 1}
	if n := must(l.AddLocal(t.Context(), start, []ledger.Input{again}))(t); n != 0 {
		t.Errorf("%d new contents, want 0", n)
	}
	for _, bad := range []struct {
		change func(*ledger.Input)
		text   string
	}{
		{func(i *ledger.Input) { i.Device = "" }, "no name"}, {func(i *ledger.Input) { i.Name = "" }, "no name"},
		{func(i *ledger.Input) { i.SHA256 = "x" }, "not a SHA-256"}, {func(i *ledger.Input) { i.Stored = "" }, "no stored path"},
		{func(i *ledger.Input) { i.Size = -1 }, "size is -1"}, {func(i *ledger.Input) { i.Stored = "\xff" }, "not UTF-8"},
	} {
		i := in("new", "new")
		bad.change(&i)
		_, err := l.AddLocal(t.Context(), start, []ledger.Input{in("good", "good"), i})
		refused(t, err, nil, bad.text)
	}
	if n := len(rows(t, l)); n != 6 {
		t.Errorf("%d rows, want 6", n)
	}
}

// testAddLocalMoved: files may be moved between two runs, even in mid-batch.
func testAddLocalMoved(t *testing.T, s store) {
	l := s()
	in := ledger.Input{Device: "local", Name: "a", SHA256: digest("1"), Stored: "/old/a", Size: 10}
	must(l.AddLocal(t.Context(), start, []ledger.Input{in}))(t)
	first, _, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, 0, 0)
	ok(t, err)
	in.Stored = "/new/a"
	must(l.AddLocal(t.Context(), start, []ledger.Input{in}))(t)
	second, _, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, 0, 0)
	ok(t, err)
	if second.ID != first.ID || !second.Retry || second.Inputs[0] != in {
		t.Errorf("batch %+v", second)
	}
	ok(t, l.FinishBatch(t.Context(), start, second.BatchClaim, nil, []ledger.InputResult{{Device: "local", SHA256: in.SHA256, State: ledger.Exported}}))
	in.Stored = "/newer/a"
	if n := must(l.AddLocal(t.Context(), start, []ledger.Input{in}))(t); n != 0 {
		t.Errorf("%d new contents", n)
	}
	if r := rows(t, l); len(r) != 1 || r[0].Stored != "/newer/a" || r[0].State != ledger.Exported {
		t.Errorf("rows %+v", r)
	}
}

// testRepeated: a call whose answer was lost may be made again and says the same.
func testRepeated(t *testing.T, s store) {
	l := s()
	names := []string{"stored", "alias", "bad", "gone", "freed"}
	var keys []ledger.Key
	for _, n := range names {
		keys = append(keys, key("r1", n))
	}
	claims := map[string]ledger.Claim{}
	for _, c := range claim(t, l, "a", keys...) {
		claims[c.Name] = c
	}
	var before []ledger.Row
	for i := range 3 {
		if must(l.Store(t.Context(), start, claims["stored"], digest("x"), "x"))(t) {
			t.Error("alias of itself")
		}
		if !must(l.Store(t.Context(), start, claims["alias"], digest("x"), "y"))(t) {
			t.Error("no alias")
		}
		ok(t, l.Quarantine(t.Context(), start, claims["bad"], "q", "bad", time.Time{}))
		ok(t, l.Lost(t.Context(), start, claims["gone"], "gone"))
		ok(t, l.Release(t.Context(), claims["freed"], "later", start))
		if i == 0 {
			before = rows(t, l)
		}
	}
	if after := rows(t, l); !slices.Equal(before, after) {
		t.Errorf("rows changed from %+v to %+v", before, after)
	}
	// Anything else is not the same call.
	_, err := l.Store(t.Context(), start, claims["stored"], digest("x"), "z")
	refused(t, err, ledger.ErrLeaseLost, "stored")
	refused(t, l.Quarantine(t.Context(), start, claims["stored"], "q", "bad", time.Time{}), ledger.ErrLeaseLost, "stored")
	refused(t, l.Lost(t.Context(), start, claims["gone"], "gone again"), ledger.ErrLeaseLost, "gone")
	stale := claims["bad"]
	stale.Attempt = 0
	refused(t, l.Quarantine(t.Context(), start, stale, "q", "bad", time.Time{}), ledger.ErrLeaseLost, "bad")
	visited := visit("r1", start, 1)
	for range 2 {
		ok(t, l.AddVisit(t.Context(), visited))
	}
	if v := visits(t, l, "r1", start, start.Add(time.Hour)); len(v) != 1 || v[0].Count != 1 {
		t.Errorf("visits %+v", v)
	}
}
