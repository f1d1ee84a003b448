package ledger_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"acctpull/ledger"
)

func testStatus(t *testing.T, s store) {
	l := s()
	if b := must(l.Backlog(t.Context()))(t); b != (ledger.Backlog{}) {
		t.Errorf("backlog of nothing: %+v", b)
	}
	if c := must(l.Counts(t.Context()))(t); len(c) != 0 {
		t.Errorf("counts of nothing: %+v", c)
	}
	put(t, l, "r1", map[string]string{"a": "1", "bb": "2", "cc": "1"})
	b := plan(t, l, 1, 0)
	outputs, results := outcome(b)
	ok(t, l.FinishBatch(t.Context(), start.Add(time.Hour), b.BatchClaim, outputs, results))
	must(l.Discover(t.Context(), start.Add(time.Minute), []ledger.Key{key("r0", "dddd"), key("r0", "eeeee")}))(t)
	must(l.Claim(t.Context(), start, "x", time.Hour, "r0", 1))(t)

	want := []ledger.Count{
		{Device: "r0", State: ledger.Discovered, Files: 2, Bytes: 9, Oldest: start.Add(time.Minute), Newest: start.Add(time.Minute), Latest: "eeeee"},
		{Device: "r1", State: ledger.Stored, Files: 1, Bytes: 2, Oldest: start, Newest: start, Latest: "bb"},
		{Device: "r1", State: ledger.Exported, Files: 2, Aliases: 1, Bytes: 3, Records: 10, Oldest: start, Newest: start.Add(time.Hour), Latest: "cc"},
	}
	if c := must(l.Counts(t.Context()))(t); !slices.Equal(c, want) {
		t.Errorf("counts %+v\nwant   %+v", c, want)
	}
	if d := must(l.Devices(t.Context()))(t); !slices.Equal(d, []string{"r0", "r1"}) {
		t.Errorf("devices %q", d)
	}
	backlog := ledger.Backlog{Fetch: 2, Export: 1, FetchBytes: 9, ExportBytes: 2, Oldest: start}
	if b := must(l.Backlog(t.Context()))(t); b != backlog {
		t.Errorf("backlog %+v, want %+v", b, backlog)
	}
	if o := must(l.Outputs(t.Context(), ""))(t); len(o) != 2 || o[0].Path >= o[1].Path {
		t.Errorf("outputs %+v", o)
	}
	if o := must(l.Outputs(t.Context(), digest("no such batch")))(t); len(o) != 0 {
		t.Errorf("outputs %+v", o)
	}
	var names []string
	for r, err := range l.Files(t.Context(), "r1") {
		ok(t, err)
		names = append(names, r.Name)
	}
	if !slices.Equal(names, []string{"a", "bb", "cc"}) {
		t.Errorf("files %q", names)
	}
}

// testFilesStops: a caller that leaves the loop, or writes in it, blocks nobody.
func testFilesStops(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"a": "1", "b": "2", "c": "3"})
	for range 10 {
		for _, err := range l.Files(t.Context(), "") {
			ok(t, err)
			must(l.Discover(t.Context(), start, []ledger.Key{key("r2", "x")}))(t)
			break
		}
	}
	if n := len(rows(t, l)); n != 4 {
		t.Errorf("%d rows", n)
	}
}

// testImport: a ledger rebuilt from what lies on the disk exports nothing twice
// and forgets nothing that waits.
func testImport(t *testing.T, s store) {
	l := s()
	found := []ledger.Row{
		{Key: key("r1", "a"), State: ledger.Exported, SHA256: digest("1"), Stored: "devices/r1/act/a", Records: 7},
		{Key: key("r1", "b"), State: ledger.Stored, SHA256: digest("2"), Stored: "devices/r1/act/b"},
		{Key: key("r1", "c"), State: ledger.Stored, SHA256: digest("1"), Stored: "devices/r1/act/c"},
		{Key: key("r1", "d"), State: ledger.Quarantined, Stored: "quarantine/r1/d", Reason: "gzip ends early"},
		{Key: key("r1", "e"), State: ledger.Quarantined, SHA256: digest("5"), Stored: "devices/r1/act/e", Reason: "bad"},
		{Key: key("r1", "f"), State: ledger.Discovered},
		{Key: key("r1", "g"), State: ledger.Lost, Reason: "gone"},
	}
	outputs := []ledger.Output{{Path: "a/x.parquet", SHA256: digest("x"), Rows: 7, Record: "a", Date: "2026-01-01", Batch: "ignored"}}
	for range 2 { // a repeated import changes nothing
		ok(t, l.Import(t.Context(), start, found, outputs))
		got := rows(t, l)
		if len(got) != len(found) {
			t.Fatalf("%d rows, want %d", len(got), len(found))
		}
		for i, want := range found {
			want.First, want.Changed = start, start
			if want.Name == "c" {
				want.AliasOf, want.State = "a", ledger.Exported
			}
			if want != got[i] {
				t.Errorf("row %+v, want %+v", got[i], want)
			}
		}
	}
	if o := must(l.Outputs(t.Context(), ""))(t); len(o) != 1 || o[0].Batch != "" || o[0].Rows != 7 {
		t.Errorf("outputs %+v", o)
	}
	if b := plan(t, l, 0, 0); len(b.Inputs) != 1 || b.Inputs[0].Name != "b" {
		t.Errorf("batch %+v", b)
	}
	// What was exported before the loss is still known by content.
	c := claim(t, l, "x", key("r1", "f"), key("r1", "h"))
	if !must(l.Store(t.Context(), start, c[0], digest("1"), "x"))(t) {
		t.Error("an exported content came back as new")
	}
}

func testImportRefuses(t *testing.T, s store) {
	l := s()
	good := ledger.Row{Key: key("r1", "a"), State: ledger.Stored, SHA256: digest("1"), Stored: "x"}
	for _, c := range []struct {
		change func(*ledger.Row)
		text   string
	}{
		{func(r *ledger.Row) { r.SHA256 = "" }, "not a SHA-256"},
		{func(r *ledger.Row) { r.Stored = "" }, "no stored path"},
		{func(r *ledger.Row) { r.State = ledger.Discovered }, "has a SHA-256"},
		{func(r *ledger.Row) { r.State = ledger.Quarantined }, "no reason"},
		{func(r *ledger.Row) { r.State = 5 }, "state 5"},
		{func(r *ledger.Row) { r.State = -1 }, "state -1"},
		{func(r *ledger.Row) { r.Device = "" }, "no name"},
		{func(r *ledger.Row) { r.Records = -1 }, "-1 records"},
	} {
		bad := good
		c.change(&bad)
		refused(t, l.Import(t.Context(), start, []ledger.Row{good, bad}, nil), nil, c.text)
	}
	refused(t, l.Import(t.Context(), start, nil, []ledger.Output{{Path: "x"}}), nil, "not a SHA-256")
	if !must(l.Empty(t.Context()))(t) {
		t.Error("a refused import left rows")
	}
}

// testRandomWalk does random things and compares the ledger with a model of a
// few maps: no content is exported twice, nothing that is stored is forgotten,
// and all totals add up.
func testRandomWalk(t *testing.T, s store) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	l := s()
	type content struct{ device, sum string }
	stored := map[content]bool{}  // everything that was ever stored
	settled := map[content]bool{} // what a finished batch had
	states := map[ledger.Key]ledger.State{}
	now := start
	var claims []ledger.Claim
	for range 400 {
		now = now.Add(time.Duration(rng.IntN(60)) * time.Second)
		device := fmt.Sprintf("r%d", rng.IntN(3))
		switch rng.IntN(6) {
		case 0:
			var keys []ledger.Key
			for range rng.IntN(8) {
				k := key(device, fmt.Sprintf("act1101-%03d", rng.IntN(200)))
				keys = append(keys, k)
			}
			for i, r := range must(l.Discover(t.Context(), now, keys))(t) {
				if states[keys[i]] == ledger.Lost {
					states[keys[i]] = ledger.Discovered
				}
				if r.State != states[keys[i]] {
					t.Fatalf("%v is %s, the model says %s", keys[i], r.State, states[keys[i]])
				}
				states[keys[i]] = r.State
			}
		case 1:
			claims = append(claims, must(l.Claim(t.Context(), now, "w", time.Minute, device, 1+rng.IntN(5)))(t)...)
		case 2, 3:
			for _, c := range claims {
				sum := digest(fmt.Sprint(rng.IntN(60)))
				var err error
				next := ledger.Stored
				switch rng.IntN(8) {
				case 0:
					next, err = ledger.Lost, l.Lost(t.Context(), now, c, "gone")
				case 1:
					next, err = ledger.Quarantined, l.Quarantine(t.Context(), now, c, "q", "bad", time.Time{})
				case 2:
					next, err = ledger.Discovered, l.Release(t.Context(), c, "later", now)
				default:
					var alias bool
					alias, err = l.Store(t.Context(), now, c, sum, "p")
					id := content{c.Device, sum}
					if err == nil {
						if alias != stored[id] {
							t.Fatalf("alias %v, the model says %v", alias, stored[id])
						}
						stored[id] = true
						if settled[id] {
							next = ledger.Exported
						}
					}
				}
				if err == nil {
					states[c.Key] = next
				} else {
					refused(t, err, ledger.ErrLeaseLost, "lease")
				}
			}
			claims = nil
		case 4:
			b, found, err := l.PlanBatch(t.Context(), now, "exporter", time.Hour, 1+rng.IntN(10), 0)
			ok(t, err)
			if !found {
				break
			}
			if rng.IntN(3) == 0 { // a crash before the end: the same set again
				again := plan(t, l, 0, 0)
				if again.ID != b.ID || !slices.Equal(again.Inputs, b.Inputs) {
					t.Fatalf("batch %+v became %+v", b, again)
				}
				b = again
			}
			outputs, results := outcome(b)
			ok(t, l.FinishBatch(t.Context(), now, b.BatchClaim, outputs, results))
			for _, in := range b.Inputs {
				id := content{in.Device, in.SHA256}
				if settled[id] || !stored[id] {
					t.Fatalf("%v is exported twice or was never stored", id)
				}
				settled[id] = true
			}
			for _, r := range rows(t, l) {
				if settled[content{r.Device, r.SHA256}] {
					states[r.Key] = ledger.Exported
				}
			}
		case 5:
			if rng.IntN(8) == 0 {
				l = s() // another process
			}
		}
	}
	counts := map[ledger.State]int{}
	for _, r := range rows(t, l) {
		if st, listed := states[r.Key]; !listed || r.State != st {
			t.Errorf("%v is %s, the model says %s", r.Key, r.State, st)
		}
		counts[r.State]++
	}
	if len(rows(t, l)) != len(states) {
		t.Errorf("%d rows, the model has %d", len(rows(t, l)), len(states))
	}
	var records int64
	for _, c := range must(l.Counts(t.Context()))(t) {
		counts[c.State] -= c.Files
		records += c.Records
	}
	for st, n := range counts {
		if n != 0 {
			t.Errorf("the model has %+d files that are %s", n, st)
		}
	}
	if records != int64(10*len(settled)) {
		t.Errorf("%d records, the model has %d", records, 10*len(settled))
	}
	ok(t, l.Check(t.Context()))
}

func testCancelled(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-030405.xml.gz")
	c := claim(t, l, "a", k)[0]
	before := row(t, l, k)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Discover(ctx, start, []ledger.Key{key("r1", "x")})
	refused(t, err, context.Canceled, "discover")
	_, err = l.Store(ctx, start, c, digest("x"), "x")
	refused(t, err, context.Canceled, "store")
	_, _, err = l.PlanBatch(ctx, start, "exporter", time.Hour, 0, 0)
	refused(t, err, context.Canceled, "plan")
	if ledger.IsFatal(err) {
		t.Error("a cancelled call is fatal")
	}
	if r := row(t, l, k); r != before {
		t.Errorf("a cancelled call changed %+v to %+v", before, r)
	}
}
