package ledger_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"acctpull/ledger"
)

// store is one place for a ledger. Every open opens another handle on it, as
// another process would.
type store func() *ledger.Ledger

// Suite is what every ledger must do, whatever engine it stands on. fresh makes
// an empty store.
func Suite(t *testing.T, fresh func(*testing.T) store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store)
	}{
		{"Discover", testDiscover},
		{"DiscoverRefuses", testDiscoverRefuses},
		{"ClaimOldestFirst", testClaimOldestFirst},
		{"ClaimLease", testClaimLease},
		{"ClaimRefuses", testClaimRefuses},
		{"Fence", testFence},
		{"Repeated", testRepeated},
		{"Release", testRelease},
		{"ReleaseOwner", testReleaseOwner},
		{"Store", testStore},
		{"StoreRefuses", testStoreRefuses},
		{"SameContentOtherName", testSameContentOtherName},
		{"SameNameOtherContent", testSameNameOtherContent},
		{"Quarantine", testQuarantine},
		{"QuarantineAgain", testQuarantineAgain},
		{"LostAndFound", testLostAndFound},
		{"PlanBatch", testPlanBatch},
		{"PlanBatchLimits", testPlanBatchLimits},
		{"FinishBatch", testFinishBatch},
		{"FinishBatchRefuses", testFinishBatchRefuses},
		{"AliasesShareTheFate", testAliasesShareTheFate},
		{"AddLocal", testAddLocal},
		{"AddLocalMoved", testAddLocalMoved},
		{"BatchLease", testBatchLease},
		{"Facts", testFacts},
		{"FactsRefuses", testFactsRefuses},
		{"Visits", testVisits},
		{"VisitsRefuses", testVisitsRefuses},
		{"TakeDevice", testTakeDevice},
		{"Nodes", testNodes},
		{"DeviceFence", testDeviceFence},
		{"PerSite", testPerSite},
		{"DeviceStates", testDeviceStates},
		{"VoidClaims", testVoidClaims},
		{"Requeue", testRequeue},
		{"Recognise", testRecognise},
		{"ReleaseQuarantined", testReleaseQuarantined},
		{"ReleaseExported", testReleaseExported},
		{"Removal", testRemoval},
		{"Expire", testExpire},
		{"ExpireShared", testExpireShared},
		{"ExpireOutputs", testExpireOutputs},
		{"Holds", testHolds},
		{"KnownAmongMany", testKnownAmongMany},
		{"Status", testStatus},
		{"FilesStops", testFilesStops},
		{"Reexport", testReexport},
		{"Import", testImport},
		{"ImportRefuses", testImportRefuses},
		{"Cancelled", testCancelled},
		{"TwoOwners", testTwoOwners},
		{"RandomWalk", testRandomWalk},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
}

func TestSQLite(t *testing.T) {
	Suite(t, func(t *testing.T) store {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func() *ledger.Ledger { return mustOpen(t, path) }
	})
}

// mustOpen opens a ledger that is checked and closed at the end of the test.
func mustOpen(t *testing.T, path string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Check(context.Background()); err != nil && !t.Failed() {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func key(device, name string) ledger.Key {
	return ledger.Key{Device: device, Path: "cf1:/act", Name: name, Size: int64(len(name)), MTime: 1767323045}
}

// must returns the value of a call that must not fail.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks for an error of the package that wraps want and says text.
func refused(t testing.TB, err, want error, text string) {
	t.Helper()
	var e *ledger.Error
	if !errors.As(err, &e) || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want a *ledger.Error that wraps %v and says %q", err, want, text)
	}
}

// claim makes the keys known and claims all files of their device.
func claim(t testing.TB, l *ledger.Ledger, owner string, keys ...ledger.Key) []ledger.Claim {
	t.Helper()
	must(l.Discover(t.Context(), start, keys))(t)
	return must(l.Claim(t.Context(), start, owner, time.Hour, keys[0].Device, 0))(t)
}

// put stores files of the given contents and returns their rows.
func put(t testing.TB, l *ledger.Ledger, device string, contents map[string]string) {
	t.Helper()
	var keys []ledger.Key
	for name := range contents {
		keys = append(keys, key(device, name))
	}
	var items []ledger.StoreItem
	for _, c := range claim(t, l, "putter", keys...) {
		items = append(items, ledger.StoreItem{Claim: c, SHA256: digest(contents[c.Name]), Stored: "devices/" + device + "/act/" + c.Name})
	}
	for _, r := range must(l.StoreMany(t.Context(), start, items))(t) {
		ok(t, r.Err)
	}
}

func row(t testing.TB, l *ledger.Ledger, k ledger.Key) ledger.Row {
	t.Helper()
	for r, err := range l.Files(t.Context(), k.Device) {
		ok(t, err)
		if r.Key == k {
			return r
		}
	}
	t.Fatalf("no row of %v", k)
	return ledger.Row{}
}

func rows(t testing.TB, l *ledger.Ledger) []ledger.Row {
	t.Helper()
	var all []ledger.Row
	for r, err := range l.Files(t.Context(), "") {
		ok(t, err)
		all = append(all, r)
	}
	return all
}

func testDiscover(t *testing.T, s store) {
	l := s()
	if !must(l.Empty(t.Context()))(t) {
		t.Error("a new ledger is not empty")
	}
	var keys []ledger.Key
	for i := range 2345 {
		keys = append(keys, key("r1", fmt.Sprintf("act1101-%08d.xml.gz", i*7919%2345)))
	}
	variants := []ledger.Key{keys[0], keys[0], keys[0], keys[0], keys[0]}
	variants[0].Device, variants[1].Path, variants[2].Name = "r2", "cf2:/act", "act1101-x.xml"
	variants[3].Size, variants[4].MTime = 0, 0
	keys = append(keys, keys[7], keys[0]) // listed twice
	keys = append(keys, variants...)
	first := must(l.Discover(t.Context(), start, keys))(t)
	for i, r := range first {
		want := ledger.Row{Key: keys[i], State: ledger.Discovered, First: start, Changed: start}
		if r != want {
			t.Fatalf("row %d is %+v, want %+v", i, r, want)
		}
	}
	if n := len(rows(t, l)); n != 2345+len(variants) {
		t.Errorf("%d rows, want %d", n, 2345+len(variants))
	}
	if must(l.Empty(t.Context()))(t) {
		t.Error("a filled ledger is empty")
	}
	// The same listing later, through another handle, changes nothing.
	again := must(s().Discover(t.Context(), start.Add(time.Hour), keys))(t)
	for i := range again {
		if first[i] != again[i] {
			t.Fatalf("row %d changed from %+v to %+v", i, first[i], again[i])
		}
	}
	if r := must(l.Discover(t.Context(), start, nil))(t); len(r) != 0 {
		t.Errorf("no keys gave %d rows", len(r))
	}
}

func testDiscoverRefuses(t *testing.T, s store) {
	l := s()
	good := key("r1", "act1101-20260102-030405.xml.gz")
	for _, c := range []struct {
		change func(*ledger.Key)
		text   string
	}{
		{func(k *ledger.Key) { k.Device = "" }, "no name"},
		{func(k *ledger.Key) { k.Name = "" }, "no name"},
		{func(k *ledger.Key) { k.Size = -1 }, "size is -1"},
		{func(k *ledger.Key) { k.Device = "a\tb" }, "control character"},
		{func(k *ledger.Key) { k.Device = "a\nb" }, "control character"},
		{func(k *ledger.Key) { k.Name = "a\xffb" }, "not UTF-8"},
		{func(k *ledger.Key) { k.Path = "a\x00b" }, "without NUL"},
		{func(k *ledger.Key) { k.Name = strings.Repeat("x", 1200) }, "too long"},
	} {
		bad := good
		c.change(&bad)
		_, err := l.Discover(t.Context(), start, []ledger.Key{good, bad})
		refused(t, err, nil, c.text)
		if ledger.IsFatal(err) || strings.ContainsAny(err.Error(), "\n\x00") || !utf8.ValidString(err.Error()) {
			t.Errorf("error %q", err)
		}
	}
	if n := len(rows(t, l)); n != 0 {
		t.Errorf("%d rows after refused listings", n)
	}
	long := good // random bytes, which an index cannot compress
	for len(long.Device)+len(long.Path)+2*len(long.Name) < 2390 {
		long.Name += digest(long.Name)[:5]
	}
	must(l.Discover(t.Context(), start, []ledger.Key{long}))(t)
	odd := good
	odd.Name = "line\nbreak \x1b[2J é"
	if r := must(l.Discover(t.Context(), start, []ledger.Key{odd}))(t); r[0].Key != odd || row(t, l, odd).Key != odd {
		t.Errorf("the name %q came back as %q", odd.Name, r[0].Name)
	}
}

func testClaimOldestFirst(t *testing.T, s store) {
	l := s()
	names := []string{ // policies and file-ids mixed: time decides
		"act2201-20251231-235959.xml.gz", "act1101-20260101-000000.xml.gz", "act1102-20260101-000000.xml.gz",
		"act0101-20260101-001500.xml.gz", "plain",
	}
	var keys []ledger.Key
	for _, n := range slices.Backward(names) {
		keys = append(keys, key("r1", n), key("r2", n))
	}
	must(l.Discover(t.Context(), start, keys))(t)
	var got []string
	for range names {
		c := must(l.Claim(t.Context(), start, "a", time.Hour, "r1", 1))(t)
		if len(c) != 1 || c[0].Device != "r1" || c[0].Owner != "a" || c[0].Attempt != 1 {
			t.Fatalf("claims %+v", c)
		}
		got = append(got, c[0].Name)
	}
	if !slices.Equal(got, names) {
		t.Errorf("claimed %q, want %q", got, names)
	}
	if c := must(l.Claim(t.Context(), start, "a", time.Hour, "r1", 0))(t); len(c) != 0 {
		t.Errorf("claimed twice: %+v", c)
	}
	if c := must(l.Claim(t.Context(), start, "a", time.Hour, "r2", 0))(t); len(c) != len(names) {
		t.Errorf("%d files of the other device, want %d", len(c), len(names))
	}
	if c := must(l.Claim(t.Context(), start, "a", time.Hour, "r3", 0))(t); len(c) != 0 {
		t.Errorf("an unknown device gave %+v", c)
	}
}

func testClaimLease(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-030405.xml.gz")
	first := claim(t, l, "a", k)
	if r := row(t, l, k); r.Owner != "a" || !r.Lease.Equal(start.Add(time.Hour)) || r.Attempt != 1 || r.State != ledger.Discovered {
		t.Errorf("row %+v", r)
	}
	end := start.Add(time.Hour)
	for _, now := range []time.Time{start, end.Add(-time.Millisecond), end} {
		if c := must(l.Claim(t.Context(), now, "b", time.Hour, "r1", 0))(t); len(c) != 0 {
			t.Fatalf("claimed at %s although the lease runs to %s", now, end)
		}
	}
	second := must(l.Claim(t.Context(), end.Add(time.Millisecond), "b", time.Hour, "r1", 0))(t)
	if len(second) != 1 || second[0].Attempt != 2 || second[0].Owner != "b" {
		t.Fatalf("claims %+v", second)
	}
	_, err := l.Store(t.Context(), end, first[0], digest("x"), "x")
	refused(t, err, ledger.ErrLeaseLost, k.Name)
	// A lease that has run out and was not taken is still good.
	if alias := must(l.Store(t.Context(), end.Add(48*time.Hour), second[0], digest("x"), "x"))(t); alias {
		t.Error("alias of nothing")
	}
}

func testClaimRefuses(t *testing.T, s store) {
	l := s()
	for _, c := range []struct {
		owner string
		lease time.Duration
		text  string
	}{
		{"", time.Hour, "no name"}, {"a\x00", time.Hour, "no name"}, {"a", 0, "lease"}, {"a", -time.Second, "lease"},
	} {
		_, err := l.Claim(t.Context(), start, c.owner, c.lease, "r1", 0)
		refused(t, err, nil, c.text)
	}
}

// testFence: whoever lost a claim changes no row with any call.
func testFence(t *testing.T, s store) {
	l := s()
	k, other := key("r1", "act1101-20260102-030405.xml.gz"), key("r1", "act1101-20260102-040405.xml.gz")
	old := claim(t, l, "a", k)[0]
	later := start.Add(2 * time.Hour)
	must(l.Discover(t.Context(), later, []ledger.Key{other}))(t)
	held := must(l.Claim(t.Context(), later, "b", time.Hour, "r1", 0))(t)
	before := row(t, l, k)
	stale := []ledger.Claim{
		old, {Key: k, Owner: "b", Attempt: 1}, {Key: k, Owner: "a", Attempt: 2}, {Key: k, Owner: "", Attempt: 2},
		{Key: k, Owner: "b", Attempt: 3}, {Key: key("r1", "unknown"), Owner: "b", Attempt: 2},
	}
	for _, c := range stale {
		_, err := l.Store(t.Context(), later, c, digest("x"), "x")
		refused(t, err, ledger.ErrLeaseLost, "lease")
		refused(t, l.Quarantine(t.Context(), later, c, "x", "y", time.Time{}), ledger.ErrLeaseLost, c.Name)
		refused(t, l.Lost(t.Context(), later, c, "y"), ledger.ErrLeaseLost, c.Name)
		refused(t, l.Release(t.Context(), c, "y", start), ledger.ErrLeaseLost, c.Name)
		if ledger.IsFatal(err) {
			t.Error("a lost lease is fatal")
		}
		if r := row(t, l, k); r != before {
			t.Fatalf("the stale claim %+v changed the row from %+v to %+v", c, before, r)
		}
	}
	// In StoreMany a void claim fails alone.
	items := []ledger.StoreItem{
		{Claim: old, SHA256: digest("x"), Stored: "old"},
		{Claim: held[0], SHA256: digest("x"), Stored: "x"}, {Claim: held[1], SHA256: digest("y"), Stored: "y"},
	}
	results := must(l.StoreMany(t.Context(), later, items))(t)
	if !errors.Is(results[0].Err, ledger.ErrLeaseLost) || results[1].Err != nil || results[2].Err != nil {
		t.Errorf("results %+v", results)
	}
	if r := row(t, l, k); r.State != ledger.Stored || r.Stored != "x" || r.Owner != "" || !r.Lease.IsZero() {
		t.Errorf("row %+v", r)
	}
	// A claim is used up by its first outcome.
	for _, c := range held {
		refused(t, l.Lost(t.Context(), later, c, "y"), ledger.ErrLeaseLost, c.Name)
	}
}

func testRelease(t *testing.T, s store) {
	l := s()
	k := key("r1", "act1101-20260102-030405.xml.gz")
	c := claim(t, l, "a", k)[0]
	ok(t, l.Release(t.Context(), c, strings.Repeat("reset by peer\xff\x00", 500), start.Add(time.Minute)))
	r := row(t, l, k)
	if r.Owner != "" || r.Attempt != 1 || !r.NotBefore.Equal(start.Add(time.Minute)) || len(r.Reason) > 4096 ||
		!strings.HasPrefix(r.Reason, "reset by peer\uFFFD") {
		t.Errorf("row %+v", r)
	}
	if c := must(l.Claim(t.Context(), start.Add(time.Minute-time.Millisecond), "b", time.Hour, "r1", 0))(t); len(c) != 0 {
		t.Error("claimed before the back-off ended")
	}
	c = must(l.Claim(t.Context(), start.Add(time.Minute), "b", time.Hour, "r1", 0))(t)[0]
	if c.Attempt != 2 {
		t.Errorf("attempt %d", c.Attempt)
	}
	ok(t, l.Release(t.Context(), c, "", time.Time{}))
	if c := must(l.Claim(t.Context(), start, "b", time.Hour, "r1", 0))(t); len(c) != 1 || c[0].Attempt != 3 {
		t.Errorf("claims %+v", c)
	}
}

func testReleaseOwner(t *testing.T, s store) {
	l := s()
	a, b := key("r1", "act1101-20260102-030405.xml.gz"), key("r2", "act1101-20260102-030405.xml.gz")
	dead := claim(t, l, "dead", a)[0]
	claim(t, l, "alive", b)
	if n := must(l.ReleaseOwner(t.Context(), "dead"))(t); n != 1 {
		t.Errorf("released %d", n)
	}
	if n := must(l.ReleaseOwner(t.Context(), "dead"))(t); n != 0 {
		t.Errorf("released %d again", n)
	}
	_, err := l.Store(t.Context(), start, dead, digest("x"), "x")
	refused(t, err, ledger.ErrLeaseLost, "lease")
	if c := must(l.Claim(t.Context(), start, "dead", time.Hour, "r1", 0))(t); len(c) != 1 || c[0].Attempt != 2 {
		t.Errorf("claims %+v", c)
	}
	if r := row(t, l, b); r.Owner != "alive" {
		t.Errorf("row %+v", r)
	}
}

// testTwoOwners: many owners on several handles never hold the same file, and
// every file is stored once.
func testTwoOwners(t *testing.T, s store) {
	const files, owners = 400, 6
	l := s()
	var keys []ledger.Key
	for i := range files {
		keys = append(keys, key("r1", fmt.Sprintf("act1101-%06d.xml.gz", i)))
	}
	must(l.Discover(t.Context(), start, keys))(t)
	var mu sync.Mutex
	holder := map[ledger.Key]string{}
	stored := 0
	var wg sync.WaitGroup
	handles := []*ledger.Ledger{l, s(), s()}
	for i := range owners {
		wg.Go(func() {
			l, owner := handles[i%len(handles)], fmt.Sprintf("owner %d", i)
			for {
				claims, err := l.Claim(t.Context(), start, owner, time.Hour, "r1", 7)
				if err != nil {
					t.Error(err)
				}
				if len(claims) == 0 {
					return
				}
				var items []ledger.StoreItem
				mu.Lock()
				for _, c := range claims {
					if other, taken := holder[c.Key]; taken {
						t.Errorf("%s is held by %s and by %s", c.Name, other, owner)
					}
					holder[c.Key] = owner
					items = append(items, ledger.StoreItem{Claim: c, SHA256: digest(c.Name), Stored: c.Name})
				}
				mu.Unlock()
				results, err := l.StoreMany(t.Context(), start, items)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, r := range results {
					if r.Err != nil {
						t.Error(r.Err)
					}
					stored++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(holder) != files || stored != files {
		t.Errorf("%d files held and %d stored, want %d", len(holder), stored, files)
	}
	for _, r := range rows(t, l) {
		if r.State != ledger.Stored || r.Attempt != 1 {
			t.Fatalf("row %+v", r)
		}
	}
}
