package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"acctpull/ledger"
)

func testRequeue(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-010000.xml.gz")
	refused(t, l.Requeue(t.Context(), start, k), ledger.ErrUnknownFile, k.Name)
	c := claim(t, l, "a", k)[0]
	refused(t, l.Requeue(t.Context(), start, k), ledger.ErrConflict, "discovered, not in quarantine")
	ok(t, l.Quarantine(t.Context(), start, c, "quarantine/x", "gzip ends early", time.Time{}))
	if r := must(l.Discover(t.Context(), start, []ledger.Key{k}))(t)[0]; r.State != ledger.Quarantined {
		t.Errorf("row %+v", r)
	}
	ok(t, l.Requeue(t.Context(), start.Add(time.Minute), k))
	if r := must(l.Discover(t.Context(), start.Add(time.Minute), []ledger.Key{k}))(t)[0]; r.State != ledger.Discovered || r.Stored != "quarantine/x" {
		t.Errorf("row %+v", r)
	}
	c = must(l.Claim(t.Context(), start.Add(time.Minute), "a", time.Hour, "r1", 0))(t)[0]
	must(l.Store(t.Context(), start, c, digest("whole"), "devices/x"))(t)
}

var accept = ledger.Acceptance{SHA256: digest("q"), Stored: "devices/r1/act/q", By: "ana", Why: "checked by hand"}

func testReleaseQuarantined(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-010000.xml.gz")
	c := claim(t, l, "a", k)[0]
	refused(t, l.ReleaseQuarantined(t.Context(), start, k, accept), ledger.ErrConflict, "not in quarantine")
	ok(t, l.Quarantine(t.Context(), start, c, "quarantine/x", "gzip ends early", time.Time{}))
	for text, change := range map[string]func(*ledger.Acceptance){
		"not a SHA-256": func(a *ledger.Acceptance) { a.SHA256 = "x" }, "no stored path": func(a *ledger.Acceptance) { a.Stored = "" },
		"who decides": func(a *ledger.Acceptance) { a.By = "" }, "and why": func(a *ledger.Acceptance) { a.Why = "" },
		"policy -1": func(a *ledger.Acceptance) { a.Facts = &ledger.Facts{Policy: -1} },
	} {
		a := accept
		change(&a)
		refused(t, l.ReleaseQuarantined(t.Context(), start, k, a), nil, text)
	}
	a := accept
	a.Facts = &ledger.Facts{Policy: 11, Spans: spansFrom(start, 2, 7), Truncated: true}
	ok(t, l.ReleaseQuarantined(t.Context(), start, k, a))
	r := row(t, l, k)
	if r.State != ledger.Stored || r.Stored != a.Stored || r.SHA256 != a.SHA256 ||
		r.Reason != "released by ana: checked by hand (was in quarantine: gzip ends early)" {
		t.Errorf("row %+v", r)
	}
	if f := factsOf(t, l, "r1", start, start.Add(time.Hour))[k.Name]; !sameFacts(f, a.Facts) {
		t.Errorf("facts %+v", f)
	}
	b := plan(t, l, 0, 0)
	outputs, results := outcome(b)
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
	if r := row(t, l, k); r.State != ledger.Exported || !strings.HasPrefix(r.Reason, "released by ana") {
		t.Errorf("row %+v", r)
	}
	// A second file turns out to be the same one.
	k.MTime++
	ok(t, l.Quarantine(t.Context(), start, claim(t, l, "a", k)[0], "quarantine/y", "gzip ends early", time.Time{}))
	ok(t, l.ReleaseQuarantined(t.Context(), start, k, accept))
	if r := row(t, l, k); r.State != ledger.Exported || r.AliasOf != k.Name {
		t.Errorf("row %+v", r)
	}
}

// testReleaseExported: files that an export refused leave their batch, once and
// again, and the sums still add up.
func testReleaseExported(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"a1": "A", "b1": "B", "c1": "C"})
	put(t, l, "r1", map[string]string{"a2": "A"})
	refuse := func(names string) ledger.Batch {
		b := plan(t, l, 0, 0)
		outputs, results := outcome(b)
		for i, in := range b.Inputs {
			if strings.Contains(names, in.Name[:1]) {
				results[i] = ledger.InputResult{Device: in.Device, SHA256: in.SHA256, State: ledger.Quarantined, Reason: "bad value"}
				outputs[0].Rows -= 10
			}
		}
		if len(names) == len(b.Inputs) {
			outputs = nil
		}
		ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
		ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results)) // repeated
		return b
	}
	release := func(name, content string) error {
		return l.ReleaseQuarantined(t.Context(), start, key("r1", name), ledger.Acceptance{SHA256: digest(content), Stored: "x/" + name, By: "ana", Why: "profile mended"})
	}
	first := refuse("ab")
	refused(t, l.Requeue(t.Context(), start, key("r1", "a1")), ledger.ErrConflict, "the export refused")
	refused(t, release("a1", "other"), ledger.ErrConflict, "has the SHA-256")
	refused(t, release("a2", "A"), ledger.ErrConflict, `"a1" stands for it`)
	refused(t, release("c1", "C"), ledger.ErrConflict, "not in quarantine")
	ok(t, release("a1", "A"))
	ok(t, release("b1", "B"))
	ok(t, l.Check(t.Context()))
	if r := row(t, l, key("r1", "a2")); r.State != ledger.Stored || r.AliasOf != "a1" {
		t.Errorf("row %+v", r)
	}
	second := refuse("ab")
	if len(second.Inputs) != 2 || second.ID == first.ID || second.Inputs[0].Stored != "x/a1" {
		t.Fatalf("batch %+v", second)
	}
	// The same set once more: it is the same batch again.
	ok(t, release("a1", "A"))
	ok(t, release("b1", "B"))
	third := plan(t, l, 0, 0)
	if third.ID != second.ID || third.Attempt <= second.Attempt || third.Retry {
		t.Fatalf("batch %+v after %+v", third, second)
	}
	outputs, results := outcome(third)
	ok(t, l.FinishBatch(t.Context(), start, third.BatchClaim, outputs, results))
	for _, n := range []string{"a1", "a2", "b1", "c1"} {
		if r := row(t, l, key("r1", n)); r.State != ledger.Exported {
			t.Errorf("row %+v", r)
		}
	}
	ok(t, l.Check(t.Context()))
}

func testRemoval(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"a": "1", "b": "2"})
	b := plan(t, l, 1, 0)
	outputs, results := outcome(b)
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
	listed := []ledger.Key{key("r1", "a"), key("r1", "b"), key("r1", "unknown"), key("r1", "a")}
	changed := listed[0]
	changed.MTime++
	free := must(l.Removable(t.Context(), append(listed, changed)))(t)
	if len(free) != 1 || free[0].Key != listed[0] {
		t.Errorf("removable %+v", free)
	}
	refused(t, l.MarkRemoved(t.Context(), start, listed[:2]), ledger.ErrConflict, "the file is stored")
	refused(t, l.MarkRemoved(t.Context(), start, listed[2:]), ledger.ErrUnknownFile, "unknown")
	for i := range 2 {
		ok(t, l.MarkRemoved(t.Context(), start.Add(time.Duration(i)*time.Hour), listed[:1]))
	}
	if free := must(l.Removable(t.Context(), listed))(t); len(free) != 0 {
		t.Errorf("removable %+v", free)
	}
	n := 0
	for r, err := range l.Removals(t.Context(), "r1") {
		ok(t, err)
		n++
		if r.Key != listed[0] || !r.Removed.Equal(start) || r.State != ledger.Exported {
			t.Errorf("removal %+v", r)
		}
	}
	if n != 1 {
		t.Errorf("%d removals", n)
	}
}

// testKnownAmongMany: a listing is found again whole among many rows of other
// times, also if the clock of the device jumped.
func testKnownAmongMany(t *testing.T, s store) {
	l := s()
	var all []ledger.Key
	for i := range 1000 {
		at := start.Add(time.Duration(i) * time.Hour)
		for _, policy := range []string{"act0101-", "act1102-"} {
			all = append(all, key("r1", policy+at.Format("20060102-150405")+".xml.gz"))
		}
	}
	rows := must(l.Discover(t.Context(), start, all))(t)
	for name, listed := range map[string][]int{
		"newest": {1994, 1995, 1996, 1997, 1998, 1999}, "jumped": {0, 1, 1000, 1998, 1999}, "one": {77}, "twice": {5, 5, 6},
	} {
		var keys []ledger.Key
		for _, i := range listed {
			keys = append(keys, all[i])
		}
		unknown := all[listed[0]]
		unknown.Size += 5
		keys = append(keys, unknown)
		got := must(l.Discover(t.Context(), start.Add(time.Hour), keys))(t)
		for j, i := range listed {
			if got[j] != rows[i] {
				t.Errorf("%s: row %+v, want %+v", name, got[j], rows[i])
			}
		}
		if r := got[len(listed)]; r.Key != unknown || !r.First.Equal(start.Add(time.Hour)) {
			t.Errorf("%s: %s", name, fmt.Sprintf("row %+v", r))
		}
	}
}

// A rebuild does not know what the device called its directory: a listing with
// the same name, size and time tells.
func testRecognise(t *testing.T, s store) {
	l := s()
	listed := key("r1", "act1101-20260102-010000.xml.gz")
	listed.MTime = 1767315600
	found := listed
	found.Path = ledger.RebuiltPath
	ok(t, l.Import(t.Context(), start, []ledger.Row{{Key: found, State: ledger.Exported, SHA256: digest("x"), Stored: "devices/x", Records: 0}}, nil))
	for _, other := range []ledger.Key{
		{Device: "r1", Path: listed.Path, Name: listed.Name, Size: listed.Size, MTime: listed.MTime + 1},
		{Device: "r1", Path: listed.Path, Name: listed.Name, Size: listed.Size + 1, MTime: listed.MTime},
		{Device: "r2", Path: listed.Path, Name: listed.Name, Size: listed.Size, MTime: listed.MTime},
	} {
		if r := must(l.Discover(t.Context(), start, []ledger.Key{other}))(t)[0]; r.State != ledger.Discovered {
			t.Errorf("%+v was taken for the file", r)
		}
	}
	for range 2 {
		r := must(l.Discover(t.Context(), start, []ledger.Key{listed}))(t)[0]
		if r.State != ledger.Exported || r.Key != listed || r.Stored != "devices/x" {
			t.Errorf("row %+v", r)
		}
	}
	// The twin is gone: the same file in another directory is another one.
	listed.Path = "cf2:/act"
	if r := must(l.Discover(t.Context(), start, []ledger.Key{listed}))(t)[0]; r.State != ledger.Discovered {
		t.Errorf("row %+v", r)
	}
	ok(t, l.Check(t.Context()))
}
