package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"acctpull/ledger"
)

// take takes a device that must be free.
func take(t testing.TB, l *ledger.Ledger, now time.Time, device, owner string, seen int64) ledger.DeviceClaim {
	t.Helper()
	c, s, ok1, err := l.TakeDevice(t.Context(), now, device, owner, time.Minute, "", 0, seen)
	ok(t, err)
	if !ok1 || s.Owner == owner && s.Lease.After(now) {
		t.Fatalf("%s cannot have %s: %+v", owner, device, s)
	}
	return c
}

func testTakeDevice(t *testing.T, s store) {
	l, other := s(), s()
	c := take(t, l, start, "r1", "a", 0)
	if c != (ledger.DeviceClaim{Device: "r1", Owner: "a", Attempt: 1}) {
		t.Errorf("claim %+v", c)
	}
	// Held: nobody gets it, its own owner neither.
	for _, owner := range []string{"a", "b"} {
		got, st, yes, err := other.TakeDevice(t.Context(), start.Add(time.Minute), "r1", owner, time.Minute, "", 0, 0)
		ok(t, err)
		if yes || got != (ledger.DeviceClaim{}) || st.Owner != "a" || !st.Lease.Equal(start.Add(time.Minute)) || st.State != nil {
			t.Errorf("%v %+v %+v", yes, got, st)
		}
	}
	version := must(l.FinishDevice(t.Context(), start, c, []byte(`{"n":1}`), visit("r1", start, 3)))(t)
	if version < 1 {
		t.Errorf("version %d", version)
	}
	if v := visits(t, l, "r1", start, start.Add(time.Hour)); len(v) != 1 || v[0].Listed != 3 {
		t.Errorf("visits %+v", v)
	}
	// Its state is newer than what the other one decided by.
	_, st, yes, err := other.TakeDevice(t.Context(), start, "r1", "b", time.Minute, "", 0, version-1)
	ok(t, err)
	if yes || st.Version != version || string(st.State) != `{"n":1}` || st.Owner != "" {
		t.Errorf("%v %+v", yes, st)
	}
	c = take(t, other, start, "r1", "b", version)
	// No state: nothing is learned, and the version stays.
	if v := must(other.FinishDevice(t.Context(), start, c, nil))(t); v != version {
		t.Errorf("version %d, want %d", v, version)
	}
	c = take(t, l, start, "r1", "a", version)
	if c.Attempt != 3 {
		t.Errorf("claim %+v", c)
	}
	for _, bad := range []struct {
		device, owner, site string
		lease               time.Duration
		text                string
	}{
		{"", "a", "", 1, "no usable name"}, {"a\n", "a", "", 1, "no usable name"}, {"r1", "a", "\xff", 1, "no usable name"},
		{"r1", "", "", 1, "owner"}, {"r1", "a", "", 0, "lease"},
	} {
		_, _, _, err := l.TakeDevice(t.Context(), start, bad.device, bad.owner, bad.lease, bad.site, 0, 0)
		refused(t, err, nil, bad.text)
	}
	_, err = l.FinishDevice(t.Context(), start, c, []byte("\xff"))
	refused(t, err, nil, "no text")
	_, err = l.FinishDevice(t.Context(), start, c, []byte{})
	refused(t, err, nil, "no text")
	_, err = l.FinishDevice(t.Context(), start, c, nil, visit("r2", start, 1))
	refused(t, err, nil, "a visit of the device")
	_, err = l.RenewDevices(t.Context(), start, "a", 0)
	refused(t, err, nil, "lease")
}

// testDeviceFence: whoever lost a device records nothing.
func testDeviceFence(t *testing.T, s store) {
	l := s()
	old := take(t, l, start, "r1", "a", 0)
	must(l.FinishDevice(t.Context(), start, take(t, l, start, "r2", "a", 0), []byte("x")))(t)
	take(t, l, start, "r3", "a", 0)
	if held := must(l.RenewDevices(t.Context(), start.Add(30*time.Second), "a", time.Minute))(t); !slices.Equal(held, []string{"r1", "r3"}) {
		t.Errorf("held %q", held)
	}
	_, st, yes, err := l.TakeDevice(t.Context(), start.Add(90*time.Second), "r1", "b", time.Minute, "", 0, 0)
	ok(t, err)
	if yes || !st.Lease.Equal(start.Add(90*time.Second)) {
		t.Errorf("the lease was renewed and is %+v", st)
	}
	late := start.Add(91 * time.Second)
	now := take(t, l, late, "r1", "b", 0)
	if held := must(l.RenewDevices(t.Context(), late, "a", time.Minute))(t); !slices.Equal(held, []string{"r3"}) {
		t.Errorf("held %q", held)
	}
	for _, stale := range []ledger.DeviceClaim{old, {Device: "r1", Owner: "b", Attempt: 1}, {Device: "r1", Owner: "", Attempt: 2},
		{Device: "r9", Owner: "b", Attempt: 1}} {
		_, err := l.FinishDevice(t.Context(), late, stale, []byte("stale"), visit(stale.Device, start, 1))
		refused(t, err, ledger.ErrLeaseLost, stale.Device)
		_, err = l.VoidClaims(t.Context(), stale)
		refused(t, err, ledger.ErrLeaseLost, stale.Device)
	}
	if v := visits(t, l, "r1", start, late); len(v) != 0 {
		t.Errorf("visits %+v", v)
	}
	for range 2 { // the second time as after an answer that was lost
		must(l.FinishDevice(t.Context(), late, now, []byte("good"), visit("r1", start, 1)))(t)
	}
	if v := visits(t, l, "r1", start, late); len(v) != 1 || v[0].Count != 1 {
		t.Errorf("visits %+v", v)
	}
	_, err = l.FinishDevice(t.Context(), late, now, []byte("twice"))
	refused(t, err, ledger.ErrLeaseLost, "r1")
	// A dead owner's devices are free at once.
	if n := must(l.ReleaseOwner(t.Context(), "a"))(t); n != 1 {
		t.Errorf("released %d", n)
	}
	take(t, l, start, "r3", "b", 0)
}

// testPerSite: owners that take at the same time never have more devices of a
// site than it allows.
func testPerSite(t *testing.T, s store) {
	handles := []*ledger.Ledger{s(), s(), s()}
	const bound = 3
	var mu sync.Mutex
	taken := map[string][]ledger.DeviceClaim{}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			l, site := handles[i%len(handles)], fmt.Sprint("site ", i%2)
			c, st, yes, err := l.TakeDevice(t.Context(), start, fmt.Sprint("r", i), fmt.Sprint("owner ", i%4), time.Minute, site, bound, 0)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if yes {
				taken[site] = append(taken[site], c)
			} else if st.Owner != "" || st.Version != 0 {
				t.Errorf("state %+v", st)
			}
		})
	}
	wg.Wait()
	for site, claims := range taken {
		if len(claims) != bound {
			t.Errorf("%s: %d devices at once, want %d", site, len(claims), bound)
		}
	}
	full := func(now time.Time) bool {
		_, _, yes, err := handles[0].TakeDevice(t.Context(), now, "more", "x", time.Minute, "site 0", bound, 0)
		ok(t, err)
		return !yes
	}
	if !full(start) {
		t.Error("one more than the site allows")
	}
	must(handles[1].FinishDevice(t.Context(), start, taken["site 0"][0], nil))(t)
	if full(start) {
		t.Error("a finished device still counts")
	}
}

func testDeviceStates(t *testing.T, s store) {
	l := s()
	if st := must(l.DeviceStates(t.Context(), -1))(t); len(st) != 0 {
		t.Errorf("states %+v", st)
	}
	last := map[string]int64{}
	finish := func(device string) {
		c := take(t, l, start, device, "a", last[device])
		last[device] = must(l.FinishDevice(t.Context(), start, c, []byte(device)))(t)
	}
	for _, d := range []string{"c", "a", "b", "a"} {
		finish(d)
	}
	take(t, l, start, "never", "a", 0)
	names := func(since int64) (names []string) {
		for _, st := range must(s().DeviceStates(t.Context(), since))(t) {
			names = append(names, st.Device)
			if st.Version != last[st.Device] || st.Version <= since || st.Version > 0 && string(st.State) != st.Device {
				t.Errorf("state %+v", st)
			}
		}
		return names
	}
	for since, want := range map[int64][]string{-1: {"never", "c", "b", "a"}, 0: {"c", "b", "a"}, last["c"]: {"b", "a"}, last["a"]: nil} {
		if got := names(since); !slices.Equal(got, want) {
			t.Errorf("since %d: %q, want %q", since, got, want)
		}
	}
	// Whoever reads what changed, again and again, misses nothing.
	before := last["a"]
	var wg sync.WaitGroup
	for i := range 4 {
		h := s()
		wg.Go(func() {
			for j := range 10 {
				device := fmt.Sprintf("d%d-%d", i, j)
				c, _, _, err := h.TakeDevice(t.Context(), start, device, "x", time.Minute, "", 0, 0)
				if err == nil {
					_, err = h.FinishDevice(t.Context(), start, c, []byte("x"))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	seen, since := map[string]bool{}, before
	for end := false; !end; {
		select {
		case <-done:
			end = true
		default:
		}
		for _, st := range must(l.DeviceStates(t.Context(), since))(t) {
			seen[st.Device], since = true, st.Version
		}
	}
	if len(seen) != 40 {
		t.Errorf("%d of 40 changes were seen", len(seen))
	}
}

func testVoidClaims(t *testing.T, s store) {
	l := s()
	a, b, free := key("r1", "act1101-20260102-030405.xml.gz"), key("r1", "act1101-20260102-040405.xml.gz"), key("r2", "act1101-20260102-030405.xml.gz")
	dead := claim(t, l, "dead", a, b)
	claim(t, l, "dead", free)
	ok(t, l.Lost(t.Context(), start, dead[1], "gone"))
	c := take(t, l, start, "r1", "alive", 0)
	if n := must(l.VoidClaims(t.Context(), c))(t); n != 1 {
		t.Errorf("voided %d", n)
	}
	_, err := l.Store(t.Context(), start, dead[0], digest("x"), "x")
	if !errors.Is(err, ledger.ErrLeaseLost) {
		t.Errorf("error %v", err)
	}
	if again := must(l.Claim(t.Context(), start, "alive", time.Hour, "r1", 0))(t); len(again) != 1 || again[0].Attempt != 2 {
		t.Errorf("claims %+v", again)
	}
	if r := row(t, l, free); r.Owner != "dead" {
		t.Errorf("row %+v", r)
	}
}

// testBatchLease: two exporters never have the same batch, and that of a dead one
// is taken over with the same inputs.
func testBatchLease(t *testing.T, s store) {
	l, other := s(), s()
	put(t, l, "r1", map[string]string{"a": "1", "b": "2", "c": "3"})
	plan := func(l *ledger.Ledger, now time.Time, owner string) (ledger.Batch, bool) {
		b, found, err := l.PlanBatch(t.Context(), now, owner, time.Minute, 1, 0)
		ok(t, err)
		return b, found
	}
	first, _ := plan(l, start, "a")
	second, _ := plan(other, start, "b")
	if first.ID == second.ID || first.Inputs[0].Name != "a" || second.Inputs[0].Name != "b" || second.Retry || second.Owner != "b" || second.Attempt != 1 {
		t.Fatalf("batches %+v and %+v", first, second)
	}
	mine, _ := plan(l, start, "a") // it began again
	if mine.ID != first.ID || !mine.Retry || mine.Attempt != 2 {
		t.Errorf("batch %+v", mine)
	}
	outputs, results := outcome(first)
	refused(t, l.FinishBatch(t.Context(), start, first.BatchClaim, outputs, results), ledger.ErrLeaseLost, first.ID)
	ok(t, l.RenewBatch(t.Context(), start.Add(time.Minute), mine.BatchClaim, time.Minute))
	refused(t, l.RenewBatch(t.Context(), start, first.BatchClaim, time.Minute), ledger.ErrLeaseLost, first.ID)
	refused(t, l.RenewBatch(t.Context(), start, mine.BatchClaim, 0), nil, "lease")
	late := start.Add(61 * time.Second)
	over, _ := plan(l, late, "c") // the one of b, whose lease is over
	if over.ID != second.ID || !over.Retry || !slices.Equal(over.Inputs, second.Inputs) {
		t.Errorf("batch %+v", over)
	}
	rest, _ := plan(l, late, "d")
	if rest.Retry || rest.Inputs[0].Name != "c" {
		t.Errorf("batch %+v", rest)
	}
	if b, found := plan(l, late, "e"); found {
		t.Errorf("batch %+v", b)
	}
	outputs, results = outcome(second)
	refused(t, other.FinishBatch(t.Context(), late, second.BatchClaim, outputs, results), ledger.ErrLeaseLost, second.ID)
	ok(t, l.FinishBatch(t.Context(), late, over.BatchClaim, outputs, results))
	// What is finished is finished for everybody who says the same.
	ok(t, other.FinishBatch(t.Context(), late, second.BatchClaim, outputs, results))
	refused(t, l.RenewBatch(t.Context(), late, over.BatchClaim, time.Minute), ledger.ErrLeaseLost, over.ID)
	refused(t, l.RenewBatch(t.Context(), late, ledger.BatchClaim{ID: "x", Owner: "a"}, time.Minute), ledger.ErrUnknownBatch, "x")
	if n := must(l.ReleaseOwner(t.Context(), "a"))(t); n != 1 {
		t.Errorf("released %d", n)
	}
	if b, _ := plan(l, late, "e"); b.ID != first.ID {
		t.Errorf("batch %+v", b)
	}
}

// What a node says of itself is seen by all; one that ends is gone at once, one
// that dies is seen as dead for a day.
func testNodes(t *testing.T, s store) {
	l, other := s(), s()
	one := ledger.Node{Name: "one", Began: start, Until: start.Add(time.Minute)}
	two := ledger.Node{Name: "two", Began: start.Add(time.Second), Until: start.Add(time.Minute)}
	ok(t, l.SeeNode(t.Context(), start, one))
	ok(t, other.SeeNode(t.Context(), start, two))
	one.Until = start.Add(2 * time.Minute)
	ok(t, l.SeeNode(t.Context(), start.Add(time.Minute), one))
	if got := must(other.Nodes(t.Context()))(t); !slices.Equal(got, []ledger.Node{one, two}) {
		t.Errorf("%+v", got)
	}
	ok(t, l.ForgetNode(t.Context(), "one"))
	ok(t, l.ForgetNode(t.Context(), "nobody"))
	if got := must(other.Nodes(t.Context()))(t); !slices.Equal(got, []ledger.Node{two}) {
		t.Errorf("%+v", got)
	}
	one.Until = start.Add(26 * time.Hour)
	ok(t, l.SeeNode(t.Context(), start.Add(25*time.Hour), one))
	if got := must(other.Nodes(t.Context()))(t); !slices.Equal(got, []ledger.Node{one}) {
		t.Errorf("a day later %+v", got)
	}
	if l.SeeNode(t.Context(), start, ledger.Node{}) == nil {
		t.Error("a node without a name was taken")
	}
	at := must(l.Clock(t.Context()))(t)
	if later := must(other.Clock(t.Context()))(t); later.Before(at.Truncate(time.Millisecond)) {
		t.Errorf("the clock went back from %v to %v", at, later)
	}
}
