package retention

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"acctpull/rollover"
)

var base = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// archive is a pair of directories for a sweep.
type archive struct {
	testing.TB
	Options
	root string
}

func newArchive(t testing.TB) *archive {
	root := t.TempDir()
	a := &archive{TB: t, root: root, Options: Options{
		Dirs: rollover.Dirs{Collect: filepath.Join(root, "act-collect"), Archive: filepath.Join(root, "act")},
		Rule: Rule{Retention: time.Hour},
	}}
	for _, d := range []string{a.Dirs.Collect, a.Dirs.Archive} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a *archive) put(dir, name string, size int) {
	a.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
		a.Fatal(err)
	}
}

// fill puts n files, the i-th created i seconds after base, with i%100 bytes.
func (a *archive) fill(n int) []string {
	a.Helper()
	var names []string
	for i := range n {
		name := rollover.NewName(rollover.Act, 1+i%99, 1+i%7, base.Add(time.Duration(i)*time.Second), ".xml.gz").String()
		a.put(a.Dirs.Archive, name, i%100)
		names = append(names, name)
	}
	return names
}

func (a *archive) names() []string {
	a.Helper()
	var got []string
	for name, err := range rollover.Names(a.Dirs.Archive) {
		if err != nil {
			a.Fatal(err)
		}
		got = append(got, name)
	}
	slices.Sort(got)
	return got
}

// sweep sweeps and checks that the books are exact.
func (a *archive) sweep(now time.Time) (Result, error) {
	a.Helper()
	before := a.names()
	r, err := Sweep(context.Background(), a.Options, now)
	if r.Files != r.Expired+r.Retained+r.Future+r.NoDate+r.NoRule+r.Open || r.Expired != r.Removed+r.Gone+r.Protected+r.Failed+r.Left {
		a.Fatalf("the books do not add up: %+v", r)
	}
	if after := a.names(); len(before)-len(after) != r.Removed+r.Gone || !r.Partial && len(before) != r.Files+r.Foreign {
		a.Fatalf("%d names before, %d after: %+v", len(before), len(after), r)
	}
	return r, err
}

func TestSweep(t *testing.T) {
	a := newArchive(t)
	names := a.fill(100)
	foreign := []string{"README", "act1011-20200101-000000.xml.gz.bak", ".tmp-0123456789abcdef-act1011-20200101-000000.xml.gz", "act0011-20200101-000000.xml.gz"}
	for _, n := range foreign {
		a.put(a.Dirs.Archive, n, 1)
	}
	a.put(a.Dirs.Archive, "act1011-20260230-000000.xml.gz", 1) // no date
	a.put(a.Dirs.Archive, "act1011-20990101-000000.xml.gz", 1) // future
	a.put(a.Dirs.Archive, "log1011-20200101-000000", 7)        // an event log, expired
	// The same name is open: the seal of it may be half done.
	a.put(a.Dirs.Collect, names[3], 1)
	a.put(a.Dirs.Collect, "act1011-20200101-000000.xml.gz", 1) // open and old: not ours to touch
	var announced []string
	a.OnRemove = func(f rollover.File) {
		announced = append(announced, filepath.Base(f.Path))
		if f.Path != filepath.Join(a.Dirs.Archive, f.Name.String()) {
			t.Errorf("%+v", f)
		}
	}
	// The files of the first 40 seconds have expired; the one at the boundary has not.
	r, err := a.sweep(base.Add(time.Hour + 40*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	want := Result{Files: 103, Foreign: 4, Expired: 40, Retained: 60, Future: 1, NoDate: 1, Open: 1, Removed: 40, Bytes: 7 + 39*40/2 - 3}
	if r != want {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	order := append([]string{"log1011-20200101-000000"}, slices.Delete(slices.Clone(names[:40]), 3, 4)...)
	if !slices.Equal(announced, order) {
		t.Errorf("not oldest first: %v", announced)
	}
	left := append(slices.Clone(names[40:]), names[3], "act1011-20260230-000000.xml.gz", "act1011-20990101-000000.xml.gz")
	left = append(left, foreign...)
	slices.Sort(left)
	if got := a.names(); !slices.Equal(got, left) {
		t.Errorf("left: %v", got)
	}
	for _, n := range []string{names[3], "act1011-20200101-000000.xml.gz"} {
		if _, err := os.Stat(filepath.Join(a.Dirs.Collect, n)); err != nil {
			t.Error(err)
		}
	}
}

// Each file-id has its own rule; a file without one is kept.
func TestSweepRuleFor(t *testing.T) {
	a := newArchive(t)
	for _, n := range []string{"act0101-20260301-000000.xml.gz", "act0102-20260301-000000.xml.gz", "act0103-20260301-000000.xml.gz", "act0104-20260301-000000.xml.gz"} {
		a.put(a.Dirs.Archive, n, 0)
	}
	a.Rule = Rule{}
	a.RuleFor = func(n rollover.Name) (Rule, bool) {
		return Rule{Retention: time.Duration(n.FileID) * time.Hour, Rollover: time.Minute}, n.FileID != 4
	}
	r, err := a.sweep(base.Add(2*time.Hour + 2*time.Minute))
	if err != nil || r.Removed != 2 || r.Retained != 1 || r.NoRule != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

// Ten seconds bound the whole sweep even if one removal takes a second and the
// next ten minutes; the rest is left to the next sweep, and none is lost.
func TestSweepBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		names := a.fill(25)
		slow := time.Second
		var order []string
		a.Remove = func(path string) error {
			time.Sleep(slow)
			order = append(order, filepath.Base(path))
			return os.Remove(path)
		}
		a.Force = true
		now := base.Add(24 * time.Hour)
		for i, want := range []Result{
			{Files: 25, Expired: 25, Removed: 10, Left: 15, Bytes: 45},
			{Files: 15, Expired: 15, Removed: 10, Left: 5, Bytes: 145},
			{Files: 5, Expired: 5, Removed: 5, Bytes: 110},
			{},
		} {
			start := time.Now()
			if r, err := a.sweep(now); err != nil || r != want {
				t.Fatalf("sweep %d: %+v, %v; want %+v", i, r, err, want)
			}
			if took := time.Since(start); took > DefaultBudget {
				t.Fatalf("sweep %d took %v", i, took)
			}
		}
		if !slices.Equal(order, names) {
			t.Fatalf("not oldest first: %v", order)
		}
		// One removal that takes longer than all: it is the one it may be over by.
		a.fill(3)
		slow = 10 * time.Minute
		if r, err := a.sweep(now); err != nil || r.Removed != 1 || r.Left != 2 {
			t.Fatalf("%+v %v", r, err)
		}
	})
}

// A listing that eats the budget still lets a file go.
func TestSweepAlwaysMakesProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.fill(1100)
		a.Force = true
		a.RuleFor = func(rollover.Name) (Rule, bool) {
			time.Sleep(10 * time.Millisecond) // 1,100 names take 11 s
			return Rule{Retention: time.Hour}, true
		}
		r, err := a.sweep(base.Add(24 * time.Hour))
		if err != nil || !r.Partial || r.Removed < 1 || r.Files >= 1100 {
			t.Fatalf("%+v %v", r, err)
		}
	})
}

func TestSweepGuards(t *testing.T) {
	a := newArchive(t)
	a.fill(100)
	now := base.Add(time.Hour + 60*time.Second)
	if r, err := a.sweep(now); !errors.Is(err, ErrTooMany) || r.Removed != 0 || r.Left != 60 {
		t.Fatalf("60 of 100: %+v %v", r, err)
	}
	a.Force = true
	if r, err := a.sweep(now); err != nil || r.Removed != 60 {
		t.Fatalf("forced: %+v %v", r, err)
	}

	a.Force = false
	a.ClockFile = filepath.Join(a.root, "clock.json")
	uptime := time.Hour
	a.clock = func(now time.Time) (ClockState, error) { return ClockState{now, "boot", uptime}, nil }
	if r, err := a.sweep(now.Add(5 * time.Second)); err != nil || r.Removed != 5 {
		t.Fatalf("first with a clock: %+v %v", r, err)
	}
	if st, err := os.Stat(a.ClockFile); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st, err)
	}
	// A year in an hour: held, and held again, for the jump is not forgotten.
	uptime += time.Hour
	for range 2 {
		if r, err := a.sweep(now.AddDate(1, 0, 0)); !errors.Is(err, ErrClock) || r.Removed != 0 || r.Left != 35 {
			t.Fatalf("a jump: %+v %v", r, err)
		}
	}
	if r, err := a.sweep(now.Add(time.Hour)); errors.Is(err, ErrClock) {
		t.Fatalf("the clock is right again: %+v %v", r, err)
	}
	a.Witness = now.AddDate(1, 0, 0)
	if r, err := a.sweep(now.AddDate(1, 0, 0)); !errors.Is(err, ErrTooMany) {
		t.Fatalf("a witness settles the clock, not the half: %+v %v", r, err)
	}
	a.Witness, a.ConfirmClock, a.Force = time.Time{}, true, true
	if r, err := a.sweep(now.AddDate(1, 0, 0)); err != nil || r.Removed != 35 {
		t.Fatalf("confirmed: %+v %v", r, err)
	}
	a.ConfirmClock = false
	if _, err := a.sweep(now.AddDate(1, 0, 0)); err != nil {
		t.Fatalf("a confirmed clock is remembered: %v", err)
	}
	// A state that cannot be read holds too.
	for _, text := range []string{"", "{}", "nonsense"} {
		if err := os.WriteFile(a.ClockFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.sweep(now); !errors.Is(err, ErrClock) || !strings.Contains(err.Error(), a.ClockFile) {
			t.Fatalf("state %q: %v", text, err)
		}
	}
	a.ConfirmClock = true
	if _, err := a.sweep(now); err != nil {
		t.Fatalf("confirmed over a damaged state: %v", err)
	}
	a.clock = func(time.Time) (ClockState, error) { return ClockState{}, syscall.ENOSYS }
	if _, err := a.sweep(now); !errors.Is(err, syscall.ENOSYS) {
		t.Fatalf("no clock: %v", err)
	}
}

// The clocks of the real machine pass their own check.
func TestRealClock(t *testing.T) {
	a := newArchive(t)
	a.ClockFile = filepath.Join(a.root, "clock.json")
	for range 2 {
		if _, err := a.sweep(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := loadClock(a.ClockFile)
	if err != nil || s.Wall.IsZero() || s.Uptime <= 0 || s.BootID == "" {
		t.Fatalf("%+v %v", s, err)
	}
}

// What is in the way is counted, named, and stops nothing.
func TestSweepErrors(t *testing.T) {
	a := newArchive(t)
	names := a.fill(10)
	outside := filepath.Join(a.root, "outside")
	a.put(a.root, "outside", 5)
	at := func(n string) string { return filepath.Join(a.Dirs.Archive, n) }
	if err := errors.Join(os.Mkdir(at("act1011-20200101-000000.xml.gz"), 0o700), os.Symlink(outside, at("act1011-20200101-000001.xml.gz"))); err != nil {
		t.Fatal(err)
	}
	a.Remove = func(path string) error {
		switch filepath.Base(path) {
		case names[0]:
			return syscall.EPERM
		case names[1]:
			if err := os.Remove(path); err != nil {
				return err
			}
			return fs.ErrNotExist // the puller was faster
		}
		return os.Remove(path)
	}
	a.Keep = func(n rollover.Name) (string, bool) { return "not exported", n.String() == names[2] }
	r, err := a.sweep(base.Add(24 * time.Hour))
	want := Result{Files: 12, Expired: 12, Removed: 7, Bytes: 3 + 4 + 5 + 6 + 7 + 8 + 9, Gone: 1, Protected: 1, Failed: 3}
	if r != want {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	for _, text := range []string{"remove act1011-20200101-000000.xml.gz: not a regular file", "remove act1011-20200101-000001.xml.gz: not a regular file",
		"remove " + names[0] + ": operation not permitted"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("no error %q in %v", text, err)
		}
	}
	if !errors.Is(err, syscall.EPERM) {
		t.Error(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	// Of many failures a few are returned, all are counted.
	a.fill(100)
	a.Remove, a.Keep, a.Force = func(string) error { return syscall.EIO }, nil, true
	r, err = a.sweep(base.Add(24 * time.Hour))
	if r.Failed != 102 || strings.Count(err.Error(), "\n") != maxErrors-1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSweepRefuses(t *testing.T) {
	a := newArchive(t)
	a.fill(1)
	now := base.Add(24 * time.Hour)
	for what, change := range map[string]func(*Options){
		"no rule":              func(o *Options) { o.Rule = Rule{} },
		"no archive":           func(o *Options) { o.Dirs.Archive = "" },
		"no collect directory": func(o *Options) { o.Dirs.Collect = "" },
		"the collect directory": func(o *Options) {
			o.Dirs.Collect = filepath.Join(o.Dirs.Archive, "..", "act")
		},
		"a file": func(o *Options) { o.Dirs.Archive = filepath.Join(o.Dirs.Archive, a.names()[0]) },
	} {
		o := a.Options
		change(&o)
		var e *Error
		if r, err := Sweep(context.Background(), o, now); !errors.As(err, &e) || r != (Result{}) {
			t.Errorf("%s: %+v %v", what, r, err)
		}
	}
	if len(a.names()) != 1 {
		t.Fatal("something was removed")
	}
	o := a.Options
	o.Dirs.Archive = filepath.Join(a.root, "none")
	if r, err := Sweep(context.Background(), o, now); err != nil || r != (Result{}) {
		t.Errorf("nothing archived yet: %+v %v", r, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err := Sweep(ctx, a.Options, now); !errors.Is(err, context.Canceled) || r.Removed != 0 || r.Left != 1 {
		t.Errorf("cancelled: %+v %v", r, err)
	}
	if r, err := a.sweep(now); err != nil || r.Removed != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

// A year of hourly sweeps while a device archives a file every five minutes:
// never more files than the rule keeps, none gone too early.
func TestRunAYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		days := 4
		if os.Getenv("ACCTPULL_PROOF") == "1" {
			days = 365
		}
		a := newArchive(t)
		a.Rule = Rule{Retention: 2 * time.Hour, Rollover: 5 * time.Minute}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(days)*24*time.Hour-time.Minute)
		defer cancel()
		sweeps, removed, written := 0, 0, 0
		Run(ctx, 0, func(ctx context.Context, now time.Time) {
			r, err := Sweep(ctx, a.Options, now)
			if err != nil || r.Left != 0 || r.Files > 12*4 {
				t.Fatalf("sweep %d at %v: %+v %v", sweeps, now, r, err)
			}
			sweeps++
			removed += r.Removed
			for range 12 {
				name := rollover.NewName(rollover.Act, 1, 1, now.UTC(), ".xml.gz").String()
				now = now.Add(5*time.Minute - time.Second)
				a.put(a.Dirs.Archive, name, 0)
				written++
			}
		})
		if sweeps != 24*days || written-removed > 12*4 || removed == 0 {
			t.Fatalf("%d sweeps, %d written, %d removed", sweeps, written, removed)
		}
	})
}

// 8,760 sweeps; one that takes two hours delays the next and piles up nothing.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 365*24*time.Hour-time.Minute)
		defer cancel()
		n := 0
		Run(ctx, time.Hour, func(context.Context, time.Time) { n++ })
		if n != 8760 {
			t.Fatalf("%d sweeps in a year", n)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Hour+time.Minute)
		defer cancel()
		n = 0
		Run(ctx, time.Hour, func(context.Context, time.Time) {
			n++
			time.Sleep(2 * time.Hour)
		})
		if n != 6 {
			t.Fatalf("%d sweeps of two hours in ten", n)
		}
		Run(ctx, time.Hour, func(context.Context, time.Time) { t.Fatal("swept after the end") })
	})
}

// A million expired files take 8 bytes each and little more.
func TestQueueMemory(t *testing.T) {
	q := queue{limit: queueLimit}
	n := rollover.NewName(rollover.Act, 1, 1, base, ".xml.gz")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 2 * queueLimit {
		q.add(n)
	}
	for range q.oldestFirst {
		break
	}
	runtime.ReadMemStats(&after)
	if len(q.keys) != queueLimit || after.TotalAlloc-before.TotalAlloc > 9<<20 {
		t.Fatalf("%d held, %d bytes allocated", len(q.keys), after.TotalAlloc-before.TotalAlloc)
	}
}

// The queue gives back the oldest of what it was given, sorted, whatever the
// limit.
func TestQueue(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, limit := range []int{1, 2, 3, 100, 5000} {
		q := queue{limit: limit}
		var all []rollover.Name
		for range 3000 {
			n := rollover.NewName([]rollover.Prefix{rollover.Act, rollover.EventLog}[rng.IntN(2)], 1+rng.IntN(99), 1+rng.IntN(99),
				time.Unix(yearZero+rng.Int64N(315569520000), 0).UTC(), "")
			n.Ext = ".xml.gz"
			if n.Prefix == rollover.EventLog {
				n.Ext = []string{"", ".gz", ".txt.gz"}[rng.IntN(3)]
			}
			if !n.Valid() {
				t.Fatal(n)
			}
			all = append(all, n)
			q.add(n)
		}
		var got []rollover.Name
		for n := range q.oldestFirst {
			got = append(got, n)
		}
		slices.SortFunc(all, rollover.Compare)
		if len(got) != min(limit, len(all)) {
			t.Fatalf("seed %d: %d of %d", seed, len(got), limit)
		}
		for i := range got {
			if got[i].Stamp != all[i].Stamp || !slices.Contains(all, got[i]) {
				t.Fatalf("seed %d, limit %d: %d is %v, want %v", seed, limit, i, got[i], all[i])
			}
		}
	}
	// More extensions than there are bits for: the rest waits.
	q := queue{limit: 10_000}
	for i := range 3000 {
		q.add(rollover.NewName(rollover.EventLog, 1, 1, base, fmt.Sprintf(".x%d", i)))
	}
	if len(q.keys) != 1<<kindBits {
		t.Fatalf("%d held", len(q.keys))
	}
	for range q.oldestFirst {
		break
	}
}
