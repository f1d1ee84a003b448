package ledger_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"acctpull/ledger"
)

// export finishes everything that waits.
func export(t testing.TB, l *ledger.Ledger) ledger.Batch {
	t.Helper()
	b := plan(t, l, 0, 0)
	outputs, results := outcome(b)
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
	return b
}

// kept lists what KeptFiles yields.
func kept(t testing.TB, l *ledger.Ledger, from ledger.KeptFrom, before time.Time) (names []string, all []ledger.Kept) {
	t.Helper()
	for k, err := range l.KeptFiles(t.Context(), from, before) {
		ok(t, err)
		names, all = append(names, k.Name), append(all, k)
	}
	return names, all
}

func testExpire(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"act1101-1": "A", "act1101-2": "B", "act1101-3": "C"})
	ok(t, l.SetFacts(t.Context(), key("r1", "act1101-2"), ledger.Facts{Record: "a", Spans: spansFrom(start, 2, 7)}))
	if k := must(l.NewestKept(t.Context(), 2))(t); len(k) != 0 {
		t.Errorf("the newest are %+v", k)
	}
	if names, _ := kept(t, l, ledger.KeptFrom{}, start.Add(time.Hour)); len(names) != 0 {
		t.Errorf("kept before the export: %q", names)
	}
	if going := must(l.Expire(t.Context(), start, []ledger.Key{key("r1", "act1101-1")}, nil))(t); len(going) != 0 {
		t.Errorf("%+v goes, and was not exported", going)
	}
	b := export(t, l)
	put(t, l, "r1", map[string]string{"act1101-4": "D"}) // waits
	names, all := kept(t, l, ledger.KeptFrom{}, start.Add(time.Hour))
	slices.Sort(names)
	if !slices.Equal(names, []string{"act1101-1", "act1101-2", "act1101-3"}) {
		t.Fatalf("kept: %q", names)
	}
	for _, k := range all {
		if (k.Facts != nil) != (k.Name == "act1101-2") {
			t.Errorf("%s has facts %+v", k.Name, k.Facts)
		}
	}
	if names, _ := kept(t, l, ledger.KeptFrom{}, start); len(names) != 0 {
		t.Errorf("came before they came: %q", names)
	}
	if names, _ := kept(t, l, all[1].Next(), start.Add(time.Hour)); !slices.Equal(names, []string{all[2].Name}) {
		t.Errorf("behind the second: %q", names)
	}
	if k := must(l.NewestKept(t.Context(), 2))(t); len(k) != 2 || k[0].Key != all[2].Key || k[1].Key != all[1].Key {
		t.Errorf("the newest are %+v", k)
	}
	n, rest, err := l.CountKept(t.Context(), 100, all[0].Next(), start.Add(time.Hour))
	if n != 3 || rest != 2 || err != nil {
		t.Errorf("%d kept, %d behind the first, %v", n, rest, err)
	}
	if n, _, _ := l.CountKept(t.Context(), 2, ledger.KeptFrom{}, start); n != 2 {
		t.Errorf("%d kept, and 2 is enough", n)
	}
	at := start.Add(90 * 24 * time.Hour)
	_, err = l.Expire(t.Context(), at, []ledger.Key{key("r1", "act1101-1"), key("r1", "none")}, nil)
	refused(t, err, ledger.ErrUnknownFile, "none")
	keys := []ledger.Key{key("r1", "act1101-1"), key("r1", "act1101-2"), key("r1", "act1101-4")}
	going := must(l.Expire(t.Context(), at, keys, nil))(t)
	if len(going) != 2 || going[0].Stored != "devices/r1/act/act1101-1" || going[0].SHA256 != digest("A") || going[0].Device != "r1" || !going[0].Since.Equal(at) {
		t.Fatalf("going: %+v", going)
	}
	if again := must(s().Expire(t.Context(), at, keys, nil))(t); len(again) != 0 {
		t.Errorf("going twice: %+v", again)
	}
	r := row(t, l, key("r1", "act1101-1"))
	if r.State != ledger.Exported || !r.Expired.Equal(at) || r.Stored == "" || r.Records != 10 {
		t.Errorf("row %+v", r)
	}
	if names, _ := kept(t, l, ledger.KeptFrom{}, start.Add(time.Hour)); !slices.Equal(names, []string{"act1101-3"}) {
		t.Errorf("kept: %q", names)
	}
	if r := must(l.Removable(t.Context(), keys))(t); len(r) != 0 {
		t.Errorf("without a copy here: %+v", r)
	}
	// A device that lists it again is not asked for it.
	for _, r := range must(l.Discover(t.Context(), at, keys[:2]))(t) {
		if r.State != ledger.Exported {
			t.Errorf("row %+v", r)
		}
	}
	if c := must(l.Claim(t.Context(), at, "a", time.Hour, "r1", 0))(t); len(c) != 0 {
		t.Errorf("claimed: %+v", c)
	}
	// Who was to remove them died: they are given out again, once.
	if g := must(l.TakeExpiring(t.Context(), at, at, 10))(t); len(g) != 0 {
		t.Errorf("taken at once: %+v", g)
	}
	later := at.Add(time.Hour)
	taken := must(l.TakeExpiring(t.Context(), later, later, 1))(t)
	taken = append(taken, must(l.TakeExpiring(t.Context(), later, later, 10))(t)...)
	if len(taken) != 2 || taken[0].File == taken[1].File || !taken[0].Since.Equal(later) {
		t.Errorf("taken: %+v", taken)
	}
	for _, x := range taken {
		i := slices.IndexFunc(going, func(g ledger.Expiring) bool { return g.File == x.File })
		if i < 0 || x.Stored != going[i].Stored || x.SHA256 != going[i].SHA256 {
			t.Errorf("taken: %+v of %+v", x, going)
		}
	}
	ok(t, l.Check(t.Context()))
	ok(t, l.Gone(t.Context(), going))
	ok(t, l.Gone(t.Context(), going))
	ok(t, l.Gone(t.Context(), nil))
	if g := must(l.TakeExpiring(t.Context(), later, later.Add(time.Hour), 10))(t); len(g) != 0 {
		t.Errorf("gone, and taken: %+v", g)
	}
	// A batch whose files and outputs have expired is still the batch it was.
	must(l.ExpireOutputs(t.Context(), at, "a", "2026-01-01", nil))(t)
	outputs, results := outcome(b)
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
}

// testExpireShared: bytes that several rows share go with the last of them, and a
// content whose time is over does not come back under another name.
func testExpireShared(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"act1101-1": "A"})
	export(t, l)
	twin := key("r1", "act1101-1")
	twin.MTime++ // listed again with another time, and the same content: one file
	store := func(k ledger.Key, stored string) {
		t.Helper()
		c := claim(t, l, "a", k)[0]
		res := must(l.StoreMany(t.Context(), start, []ledger.StoreItem{{Claim: c, SHA256: digest("A"), Stored: stored}}))(t)
		if res[0].AliasOf != "act1101-1" || res[0].Err != nil {
			t.Fatalf("%+v", res)
		}
	}
	store(twin, "devices/r1/act/act1101-1")
	other := key("r1", "act1101-9")
	store(other, "devices/r1/act/act1101-9")
	at := start.Add(24 * time.Hour)
	if g := must(l.Expire(t.Context(), at, []ledger.Key{key("r1", "act1101-1")}, nil))(t); len(g) != 0 {
		t.Errorf("going, and a row has them: %+v", g)
	}
	if g := must(l.Expire(t.Context(), at, []ledger.Key{twin}, nil))(t); len(g) != 1 || g[0].Stored != "devices/r1/act/act1101-1" {
		t.Errorf("going: %+v", g)
	}
	if r := row(t, l, other); !r.Expired.IsZero() {
		t.Errorf("its bytes are its own: %+v", r)
	}
	third := key("r1", "act1101-5")
	store(third, "devices/r1/act/act1101-5")
	if r := row(t, l, third); r.State != ledger.Exported || !r.Expired.Equal(start) {
		t.Errorf("row %+v", r)
	}
	in := ledger.Input{Device: "r1", Name: "act1101-7", SHA256: digest("A"), Stored: "devices/r1/act/act1101-7", Size: 9}
	if n := must(l.AddLocal(t.Context(), at, []ledger.Input{in, in}))(t); n != 0 {
		t.Errorf("%d contents are new", n)
	}
	var paths []string
	for _, x := range must(l.TakeExpiring(t.Context(), at, at.Add(time.Hour), 10))(t) {
		paths = append(paths, x.Stored)
	}
	slices.Sort(paths)
	if want := []string{"devices/r1/act/act1101-1", "devices/r1/act/act1101-5", "devices/r1/act/act1101-7"}; !slices.Equal(paths, want) {
		t.Errorf("going: %q, want %q", paths, want)
	}
	// Every row of a device that has or had bytes here.
	names := []string{}
	for k, err := range l.StoredFiles(t.Context(), "r1") {
		ok(t, err)
		names = append(names, k.Name)
	}
	if want := []string{"act1101-1", "act1101-1", "act1101-5", "act1101-7", "act1101-9"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}

func testExpireOutputs(t *testing.T, s store) {
	l := s()
	if at := must(l.Published(t.Context(), "a", "2026-01-01"))(t); !at.IsZero() {
		t.Errorf("published at %v", at)
	}
	put(t, l, "r1", map[string]string{"x": "A"})
	b := plan(t, l, 0, 0)
	if open := must(l.OpenBatches(t.Context()))(t); !slices.Equal(open, []string{b.ID}) {
		t.Errorf("open: %q", open)
	}
	outputs, results := outcome(b)
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
	if open := must(l.OpenBatches(t.Context()))(t); len(open) != 0 {
		t.Errorf("open: %q", open)
	}
	if at := must(l.Published(t.Context(), "a", "2026-01-01"))(t); !at.Equal(start) {
		t.Errorf("published at %v", at)
	}
	h := must(l.AddHold(t.Context(), ledger.Hold{Service: "7", Reason: "a case", By: "ana", Added: start}))(t)
	at := start.Add(time.Hour)
	_, err := l.ExpireOutputs(t.Context(), at, "a", "2026-01-01", nil)
	refused(t, err, ledger.ErrHeld, "hold 1")
	if ledger.IsFatal(err) {
		t.Error("it is fatal")
	}
	done := must(l.ExpireOutputs(t.Context(), at, "a", "2026-01-01", []ledger.Hold{h}))(t)
	if len(done) != 1 || done[0].Path != outputs[0].Path || !done[0].Expired.Equal(at) {
		t.Errorf("expired: %+v", done)
	}
	for _, table := range []string{"a", "a-usage"} {
		again := must(l.ExpireOutputs(t.Context(), at.Add(time.Hour), table, "2026-01-01", []ledger.Hold{h}))(t)
		if table == "a" && !slices.Equal(again, done) || table != "a" && len(again) != 0 {
			t.Errorf("expired once more: %+v", again)
		}
	}
	all := must(l.Outputs(t.Context(), ""))(t)
	if len(all) != 2 || !all[0].Expired.Equal(at) || !all[1].Expired.IsZero() {
		t.Errorf("outputs %+v", all)
	}
}

func testHolds(t *testing.T, s store) {
	l := s()
	good := ledger.Hold{Device: "r1", Reason: "a case", By: "ana", Added: start}
	for text, change := range map[string]func(*ledger.Hold){
		"names a device":   func(h *ledger.Hold) { h.Device = "" },
		"before it begins": func(h *ledger.Hold) { h.From, h.To = start, start },
		"why":              func(h *ledger.Hold) { h.Reason = " " },
		"who holds":        func(h *ledger.Hold) { h.By = "" },
		"no time":          func(h *ledger.Hold) { h.Added = time.Time{} },
		"cannot be":        func(h *ledger.Hold) { h.SAP = "1/1/1\n" },
		"UTF-8":            func(h *ledger.Hold) { h.Service = "\xff" },
	} {
		h := good
		change(&h)
		_, err := l.AddHold(t.Context(), h)
		refused(t, err, nil, text)
	}
	one := must(l.AddHold(t.Context(), good))(t)
	if again := must(s().AddHold(t.Context(), good))(t); again != one || one.ID != 1 || !one.InForce() {
		t.Errorf("hold %+v, then %+v", one, again)
	}
	other := good
	other.Service, other.SAP, other.From, other.To = "1001", "1/1/3:100", start.Add(-time.Hour), start
	two := must(l.AddHold(t.Context(), other))(t)
	if got := must(l.Holds(t.Context()))(t); !slices.Equal(got, []ledger.Hold{one, two}) || two.ID != 2 {
		t.Errorf("holds %+v", got)
	}
	put(t, l, "r1", map[string]string{"x": "A"})
	export(t, l)
	_, err := l.Expire(t.Context(), start, []ledger.Key{key("r1", "x")}, []ledger.Hold{one})
	refused(t, err, ledger.ErrHeld, "hold 2")
	if r := row(t, l, key("r1", "x")); !r.Expired.IsZero() {
		t.Errorf("row %+v", r)
	}
	at := start.Add(time.Hour)
	for _, bad := range []struct{ by, why string }{{"", "x"}, {"x", ""}} {
		_, err := l.ReleaseHold(t.Context(), at, 2, bad.by, bad.why)
		refused(t, err, nil, "must be said")
	}
	gone := must(l.ReleaseHold(t.Context(), at, 2, "bert", "case closed"))(t)
	if gone.InForce() || gone.ReleasedBy != "bert" || gone.ReleaseReason != "case closed" || !gone.Released.Equal(at) || gone.SAP != two.SAP {
		t.Errorf("hold %+v", gone)
	}
	must(l.ReleaseHold(t.Context(), at, 2, "bert", "case closed"))(t)
	_, err = l.ReleaseHold(t.Context(), at.Add(1e9), 2, "bert", "case closed")
	refused(t, err, ledger.ErrUnknownHold, "was released")
	_, err = l.ReleaseHold(t.Context(), at, 9, "bert", "case closed")
	refused(t, err, ledger.ErrUnknownHold, "hold 9")
	must(l.Expire(t.Context(), start, []ledger.Key{key("r1", "x")}, []ledger.Hold{one}))(t)
	// An ID is never used again, and holds that are added at once are all there.
	var wg sync.WaitGroup
	for i := range 4 {
		h := good
		h.Added = start.Add(time.Duration(i+1) * time.Second)
		wg.Go(func() {
			if _, err := s().AddHold(t.Context(), h); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all := must(l.Holds(t.Context()))(t)
	for i, h := range all {
		if h.ID != int64(i+1) {
			t.Errorf("hold %d is %+v", i+1, h)
		}
	}
	if len(all) != 6 || all[1] != gone {
		t.Errorf("holds %+v", all)
	}
}
