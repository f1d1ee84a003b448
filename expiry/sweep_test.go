package expiry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/internal/pgserver"
	"acctpull/ledger"
	"acctpull/pull"
	"acctpull/retention"
)

// rig is a data directory with files of a few devices, one for every six hours, that
// came a minute after these, and a table with a day for each of their days.
type rig struct {
	t     testing.TB
	dir   string
	where string // the ledger
	l     *ledger.Ledger
	begin time.Time
	files []ledger.Input
	came  map[string]time.Time // by stored path
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// newRig makes a data directory and opens its ledger, which is in the directory if
// where is "".
func newRig(t testing.TB, dir, where string) *rig {
	t.Helper()
	if where == "" {
		where = filepath.Join(dir, "ledger.db")
	}
	r := &rig{t: t, dir: dir, where: where, begin: at("2026-01-01T00:00:00Z"), came: map[string]time.Time{}}
	var err error
	r.l, err = ledger.Open(t.Context(), where)
	r.ok(err)
	t.Cleanup(func() { _ = r.l.Close() })
	return r
}

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// step is the time of one file.
const step = 6 * time.Hour

// fill adds days of files of the devices and exports them, a batch for each day.
func (r *rig) fill(devices, n int) {
	r.t.Helper()
	ctx := r.t.Context()
	for h := range 4 * n {
		end := r.begin.Add(time.Duration(h+1) * step)
		came := end.Add(time.Minute)
		for d := range devices {
			device := fmt.Sprintf("r%d", d+1)
			name := "act1101-" + end.Add(-step).Format("20060102-150405") + ".xml.gz"
			content := device + name
			k := ledger.Key{Device: device, Path: "cf1:/act", Name: name, Size: int64(len(content)), MTime: end.Unix()}
			_, err := r.l.Discover(ctx, came, []ledger.Key{k})
			r.ok(err)
			claims, err := r.l.Claim(ctx, came, "rig", time.Hour, device, 0)
			r.ok(err)
			stored := pull.SealedPath(device) + "/" + name
			r.write(stored, content)
			facts := &ledger.Facts{Policy: 11, FileID: 1, Record: "service-ingress-octets", Interval: step, Spans: []ledger.Span{{Start: end.Add(-step), End: end, Records: 10}}}
			_, err = r.l.StoreMany(ctx, came, []ledger.StoreItem{{Claim: claims[0], SHA256: digest(content), Stored: stored, Facts: facts}})
			r.ok(err)
			r.came[stored] = came
		}
		if h%4 == 3 {
			r.export(came, end)
		}
	}
}

// export finishes what waits: one file in the day of end.
func (r *rig) export(now, end time.Time) {
	r.t.Helper()
	b, found, err := r.l.PlanBatch(r.t.Context(), now, "rig", time.Hour, 0, 0)
	r.ok(err)
	if !found {
		r.t.Fatal("nothing to export")
	}
	date := end.Add(-1).Format(time.DateOnly)
	p := export.PartitionPath("service-ingress-octets", 1, date) + "/" + b.ID[:32] + ".parquet"
	r.write("dataset/"+p, b.ID)
	var results []ledger.InputResult
	for _, in := range b.Inputs {
		results = append(results, ledger.InputResult{Device: in.Device, SHA256: in.SHA256, State: ledger.Exported, Records: 10})
		r.files = append(r.files, in)
	}
	r.ok(r.l.FinishBatch(r.t.Context(), now, b.BatchClaim, []ledger.Output{{Path: p, SHA256: digest(b.ID), Rows: int64(10 * len(results)), Record: "service-ingress-octets", Date: date}}, results))
}

func (r *rig) write(rel, content string) {
	r.t.Helper()
	p := filepath.Join(r.dir, filepath.FromSlash(rel))
	r.ok(os.MkdirAll(filepath.Dir(p), 0o750))
	r.ok(os.WriteFile(p, []byte(content), 0o640))
}

// there lists what is below a directory.
func (r *rig) there(dir string) []string {
	r.t.Helper()
	var all []string
	for e, err := range depot.NewDir(r.dir).List(r.t.Context(), dir) {
		r.ok(err)
		all = append(all, e.Path)
	}
	slices.Sort(all)
	return all
}

// expired maps the files that the ledger has as expired.
func (r *rig) expired() map[string]bool {
	r.t.Helper()
	all := map[string]bool{}
	for row, err := range r.l.Files(r.t.Context(), "") {
		r.ok(err)
		if !row.Expired.IsZero() {
			all[row.Stored] = true
		}
	}
	return all
}

func (r *rig) options() Options {
	return Options{Policy: weekly, Ledger: r.l, Data: depot.NewDir(r.dir), Dataset: "dataset", Quarantine: "quarantine",
		ClockFile: filepath.Join(r.dir, "clock.json"), ConfirmClock: true, Force: true}
}

// weekly keeps files for a week, and days for two; a month closes an hour after
// its end.
var weekly = Policy{FileIDs: []FileID{{ID: 1, Location: Archive, Retention: 7 * days}, {ID: 2, Location: Dataset, Retention: 14 * days}}, ClosesAfter: time.Hour}

// verify proves what holds at any moment: a file that is not there has expired in
// the ledger, one that has expired was due, and what is due and not held is gone
// once a sweep has ended (done).
func (r *rig) verify(now time.Time, p *Policy, held func(ledger.Row) bool, done bool) {
	r.t.Helper()
	r.ok(r.l.Check(r.t.Context()))
	here := map[string]bool{}
	for _, f := range r.there("devices") {
		here[f] = true
	}
	for k, err := range r.l.StoredFiles(r.t.Context(), "r1") {
		r.ok(err)
		base := r.came[k.Stored]
		due := now.Sub(base) > p.FileIDs[0].Retention && now.After(p.closes(base.Add(-1))) && (held == nil || !held(k.Row))
		switch {
		case !here[k.Stored] && k.Expired.IsZero():
			r.t.Fatalf("%s is gone, and the ledger does not say why", k.Stored)
		case !k.Expired.IsZero() && !due:
			r.t.Fatalf("%s has expired, and its time is not over", k.Stored)
		case done && here[k.Stored] && due:
			r.t.Fatalf("%s is there, and its time is over", k.Stored)
		}
	}
	for _, o := range must(r.l.Outputs(r.t.Context(), ""))(r.t) {
		_, err := os.Stat(filepath.Join(r.dir, "dataset", filepath.FromSlash(o.Path)))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			r.t.Fatal(err)
		case err != nil && o.Expired.IsZero():
			r.t.Fatalf("%s is gone, and the ledger does not say why", o.Path)
		case done && err == nil && !o.Expired.IsZero():
			r.t.Fatalf("%s is there, and has expired", o.Path)
		}
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestSweep(t *testing.T) {
	r := newRig(t, t.TempDir(), "")
	r.fill(2, 20)
	// One more that waits, one that the export refused, and what is beside a file.
	last := r.begin.Add(24 * 20 * time.Hour)
	in := ledger.Input{Device: "r1", Name: "act1101-20251201-000000.xml.gz", SHA256: digest("w"), Stored: pull.SealedPath("r1") + "/act1101-20251201-000000.xml.gz", Size: 1}
	must(r.l.AddLocal(t.Context(), r.begin, []ledger.Input{in}))(t)
	r.write(in.Stored, "w")
	r.came[in.Stored] = last.AddDate(1, 0, 0) // never due
	rejects := "quarantine/" + export.RejectsName("r1", r.files[0].SHA256)
	r.write(rejects, "{}")

	// In the month, nothing goes.
	o := r.options()
	if rep, err := New(o).Sweep(t.Context(), at("2026-01-31T23:59:59Z")); err != nil || rep.Archive.Removed.Items+rep.Dataset.Removed.Items != 0 || rep.Archive.Kept[OpenMonth].Items == 0 {
		t.Fatalf("%+v %v", rep, err)
	}
	r.verify(at("2026-01-31T23:59:59Z"), &weekly, nil, true)

	// A hold, and the month is over: the plan says what the sweep does.
	h := must(r.l.AddHold(t.Context(), ledger.Hold{Device: "r1", From: at("2026-01-05T00:00:00Z"), To: at("2026-01-07T00:00:00Z"), Reason: "a case", By: "ana", Added: last}))(t)
	now := at("2026-02-02T00:00:00Z")
	var planned []string
	sums := map[Reason]int{}
	s := New(o)
	refused, err := s.Plan(t.Context(), now, func(d Decision) bool {
		sums[d.Reason]++
		if d.Remove {
			planned = append(planned, d.Path)
		}
		return true
	})
	if err != nil || refused != nil {
		t.Fatal(refused, err)
	}
	var removed []string
	o.OnRemove = func(d Decision) { removed = append(removed, d.Path) }
	s.Set(o)
	rep, err := s.Sweep(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(planned)
	slices.Sort(removed)
	if !slices.Equal(planned, removed) || rep.Archive.Removed.Items+rep.Dataset.Removed.Items != len(removed) || len(removed) == 0 {
		t.Errorf("planned %d, removed %d: %+v", len(planned), len(removed), rep)
	}
	if sums[NotExported] != 1 || sums[Held] == 0 || rep.Archive.Kept[Held].Items+rep.Dataset.Kept[Held].Items != sums[Held] || rep.Archive.Failed+rep.Archive.Left != 0 {
		t.Errorf("%v, %+v", sums, rep)
	}
	held := func(row ledger.Row) bool {
		at := r.came[row.Stored]
		return row.Device == "r1" && at.After(h.From.Add(-slack)) && at.Add(-step-slack).Before(h.To)
	}
	r.verify(now, &weekly, held, true)
	if _, err := os.Stat(filepath.Join(r.dir, rejects)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unusable records are still there: %v", err)
	}
	again, err := s.Sweep(t.Context(), now)
	if err != nil || again.Archive.Removed.Items+again.Dataset.Removed.Items+again.Archive.Resumed != 0 {
		t.Errorf("swept twice: %+v %v", again, err)
	}

	// The hold ends: what it kept goes, by what came here then.
	must(r.l.ReleaseHold(t.Context(), now, h.ID, "ana", "closed"))(t)
	if _, err := s.Sweep(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	r.verify(now, &weekly, nil, true)
	if got := r.there("devices"); len(got) != 1 || got[0] != in.Stored {
		t.Errorf("left: %q", got)
	}
	// A device that still lists a file is not asked for it.
	for k, err := range r.l.StoredFiles(t.Context(), "r2") {
		if err != nil || k.State != ledger.Exported || k.Expired.IsZero() {
			t.Fatalf("%+v %v", k, err)
		}
		if row := must(r.l.Discover(t.Context(), now, []ledger.Key{k.Key}))(t)[0]; row.State != ledger.Exported {
			t.Errorf("%+v", row)
		}
	}
}

// TestSweepGuards: the clock jumps, the retention is made shorter.
func TestSweepGuards(t *testing.T) {
	r := newRig(t, t.TempDir(), "")
	r.fill(2, 6)
	o := r.options()
	o.Force, o.ConfirmClock = false, false
	s := New(o)
	now := r.begin.Add(24 * 6 * time.Hour)
	if rep, err := s.Sweep(t.Context(), now); err != nil {
		t.Fatalf("the first sweep, and the newest file is of that hour: %+v %v", rep, err)
	}
	jumped := now.AddDate(1, 0, 0)
	rep, err := s.Sweep(t.Context(), jumped)
	var e *Error
	if !errors.Is(err, retention.ErrClock) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "--confirm-clock") {
		t.Fatalf("the clock jumped by a year: %+v %v", rep, err)
	}
	if refused, err := s.Plan(t.Context(), jumped, func(Decision) bool { return true }); err != nil || !errors.Is(refused, retention.ErrClock) {
		t.Errorf("the plan says %v, %v", refused, err)
	}
	o.ConfirmClock = true
	s.Set(o)
	rep, err = s.Sweep(t.Context(), jumped)
	if !errors.Is(err, retention.ErrTooMany) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "--force") || rep.Archive.Left == 0 {
		t.Fatalf("all of them at once: %+v %v", rep, err)
	}
	if refused, err := s.Plan(t.Context(), jumped, func(Decision) bool { return true }); err != nil || !errors.Is(refused, retention.ErrTooMany) {
		t.Errorf("the plan says %v, %v", refused, err)
	}
	if n := len(r.expired()); n != 0 {
		t.Errorf("%d have expired", n)
	}
	// A database, or a device whose file came just now, knows the time.
	o.ConfirmClock, o.Force, o.Witness = false, true, jumped
	s.Set(o)
	if rep, err = s.Sweep(t.Context(), jumped); err != nil || rep.Archive.Removed.Items != 2*4*6 {
		t.Fatalf("%+v %v", rep, err)
	}
	if _, err := New(Options{Ledger: r.l, Data: o.Data}).Sweep(t.Context(), now); err == nil {
		t.Error("a sweep without a clock file")
	}
	nothing := Options{Ledger: r.l, Data: o.Data, ClockFile: o.ClockFile, ConfirmClock: true}
	if rep, err := New(nothing).Sweep(t.Context(), jumped); err != nil || rep.Dataset.Removed.Items != 0 {
		t.Errorf("without file-ids: %+v %v", rep, err)
	}
}

// TestSweepProgress: whatever the budget, and however many files are held in front
// of the others, every sweep that has something to do does something.
func TestSweepProgress(t *testing.T) {
	r := newRig(t, t.TempDir(), "")
	r.fill(1, 25)
	now := at("2026-03-01T00:00:00Z")
	must(r.l.AddHold(t.Context(), ledger.Hold{To: r.begin.AddDate(0, 0, 3), Reason: "a case", By: "ana", Added: now}))(t)
	o := r.options()
	o.Budget, o.look = 1, 5
	s := New(o)
	sweeps, idle := 0, 0
	for {
		rep, err := s.Sweep(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		sweeps++
		if idle++; rep.Archive.Removed.Items+rep.Dataset.Removed.Items > 0 {
			idle = 0
		}
		if idle > 30 { // once around
			break
		}
		if sweeps > 100 {
			t.Fatalf("after %d sweeps: %+v", sweeps, rep)
		}
	}
	held := func(row ledger.Row) bool {
		return r.came[row.Stored].Before(r.begin.AddDate(0, 0, 3).Add(slack + step + time.Minute))
	}
	r.verify(now, &weekly, held, true)
	t.Logf("%d sweeps", sweeps)
}

// TestSweepResumes: what was decided and not done is done, unless the name was
// given to another file.
func TestSweepResumes(t *testing.T) {
	r := newRig(t, t.TempDir(), "")
	r.fill(1, 1)
	now := at("2026-03-01T00:00:00Z")
	var keys []ledger.Key
	for k, err := range r.l.KeptFiles(t.Context(), ledger.KeptFrom{}, now) {
		r.ok(err)
		keys = append(keys, k.Key)
	}
	going := must(r.l.Expire(t.Context(), now, keys[:3], nil))(t)
	r.ok(os.Remove(filepath.Join(r.dir, going[1].Stored)))
	r.write(going[2].Stored, "another file of that name")
	o := r.options()
	o.Again = time.Hour
	if rep, err := New(o).Sweep(t.Context(), now); err != nil || rep.Archive.Resumed != 0 || rep.Archive.Removed.Items != 1 {
		t.Fatalf("another process is at it: %+v %v", rep, err)
	}
	if rep, err := New(o).Sweep(t.Context(), now.Add(time.Hour+1e6)); err != nil || rep.Archive.Resumed != 3 {
		t.Fatalf("%+v %v", rep, err)
	}
	if got := r.there("devices"); len(got) != 1 || got[0] != going[2].Stored {
		t.Errorf("left: %q", got)
	}
}

// TestSweepReleased: a file that a person let out of quarantine lies there, and its
// note says why it is gone.
func TestSweepReleased(t *testing.T) {
	r := newRig(t, t.TempDir(), "")
	ctx := t.Context()
	k := ledger.Key{Device: "r1", Path: "cf1:/act", Name: "act1101-20260101-000000.xml.gz", Size: 1, MTime: 1}
	must(r.l.Discover(ctx, r.begin, []ledger.Key{k}))(t)
	c := must(r.l.Claim(ctx, r.begin, "rig", time.Hour, "r1", 0))(t)[0]
	stored := pull.IsolatedPath("r1", k.Name, digest("q"))
	r.write(stored, "q")
	r.ok(pull.WriteNote(ctx, depot.NewDir(r.dir), stored, pull.Note{Key: k, SHA256: digest("q"), Reason: "cut off", Since: r.begin}))
	r.ok(r.l.Quarantine(ctx, r.begin, c, stored, "cut off", time.Time{}))
	now := at("2026-03-01T00:00:00Z")
	o := r.options()
	if rep, err := New(o).Sweep(ctx, now); err != nil || rep.Archive.Removed.Items != 0 {
		t.Fatalf("nobody has decided: %+v %v", rep, err)
	}
	r.ok(r.l.ReleaseQuarantined(ctx, r.begin, k, ledger.Acceptance{SHA256: digest("q"), Stored: stored, By: "ana", Why: "good"}))
	r.export(r.begin, r.begin)
	if rep, err := New(o).Sweep(ctx, now); err != nil || rep.Archive.Removed.Items != 1 {
		t.Fatalf("%+v %v", rep, err)
	}
	n, err := pull.ReadNote(ctx, o.Data, pull.NotePath(stored))
	if err != nil || !n.Purged.Equal(now) {
		t.Errorf("note %+v, %v", n, err)
	}
	if _, err := o.Data.Open(ctx, stored); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestSweepBusy: a day that a batch writes into stays, and readings stay until
// their usage is there.
func TestSweepBusy(t *testing.T) {
	r := newRig(t, t.TempDir(), "")
	r.fill(1, 2)
	now := at("2026-03-01T00:00:00Z")
	o := r.options()
	o.Derived = func(table string) string { return table + "-usage" }
	usage := func(date string) {
		r.write("dataset/"+export.PartitionPath("service-ingress-octets-usage", 1, date)+"/"+strings.Repeat("a", 32)+".parquet", "u")
	}
	usage("2026-01-01")
	o.Policy.FileIDs = []FileID{{ID: 1, Location: Dataset, Retention: 7 * days}, {ID: 2, Location: Dataset, Retention: 500 * days, Records: []string{"service-ingress-octets-usage"}}}
	rep, err := New(o).Sweep(t.Context(), now)
	if err != nil || rep.Dataset.Removed.Items != 1 || rep.Dataset.Kept[Busy].Items != 1 {
		t.Fatalf("%+v %v", rep, err)
	}
	usage("2026-01-02")
	in := ledger.Input{Device: "r1", Name: "act1101-20260102-000000.xml.gz", SHA256: digest("late"), Stored: "devices/r1/act/alt/x/act1101-20260102-000000.xml.gz", Size: 1}
	must(r.l.AddLocal(t.Context(), now, []ledger.Input{in}))(t)
	b, _, err := r.l.PlanBatch(t.Context(), now, "rig", time.Hour, 0, 0)
	r.ok(err)
	p := export.PartitionPath("service-ingress-octets", 1, "2026-01-02") + "/" + b.ID[:32] + ".parquet"
	r.write("dataset/"+p, b.ID)
	rep, err = New(o).Sweep(t.Context(), now)
	if err != nil || rep.Dataset.Removed.Items != 0 || rep.Dataset.Kept[Busy].Items != 1 {
		t.Fatalf("a batch is open: %+v %v", rep, err)
	}
	r.ok(r.l.FinishBatch(t.Context(), now, b.BatchClaim, []ledger.Output{{Path: p, SHA256: digest(b.ID), Rows: 1, Record: "service-ingress-octets", Date: "2026-01-02"}},
		[]ledger.InputResult{{Device: "r1", SHA256: digest("late"), State: ledger.Exported, Records: 1}}))
	if rep, err = New(o).Sweep(t.Context(), now); err != nil || rep.Dataset.Removed.Items != 0 || len(rep.Dataset.Kept) != 0 {
		t.Fatalf("it was written to just now: %+v %v", rep, err)
	}
	if rep, err = New(o).Sweep(t.Context(), now.AddDate(0, 1, 8)); err != nil || rep.Dataset.Removed.Items != 1 {
		t.Fatalf("%+v %v", rep, err)
	}
	if got := r.there("dataset"); len(got) < 2 || slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, "octets/v1") }) {
		t.Errorf("left: %q", got)
	}
}

// TestSweepNodes: nodes that share a ledger sweep at once, while holds are put in
// force. Every file goes once, and nothing that a hold in force touches.
func TestSweepNodes(t *testing.T) {
	r := newRig(t, t.TempDir(), pgserver.Start(t).Database())
	r.fill(2, 12)
	now := at("2026-03-01T00:00:00Z")
	var mu sync.Mutex
	removed := map[string]int{}
	var wg sync.WaitGroup
	for n := range 2 {
		l := must(ledger.Open(t.Context(), r.where))(t)
		defer l.Close()
		o := r.options()
		o.Ledger, o.ClockFile, o.Again = l, filepath.Join(r.dir, fmt.Sprint("clock", n)), time.Hour
		o.OnRemove = func(d Decision) {
			mu.Lock()
			defer mu.Unlock()
			removed[d.Path]++
		}
		wg.Go(func() {
			s := New(o)
			for range 3 {
				if _, err := s.Sweep(context.Background(), now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var before map[string]bool
	wg.Go(func() {
		if _, err := r.l.AddHold(context.Background(), ledger.Hold{Device: "r1", From: r.begin.AddDate(0, 0, 8), Reason: "a case", By: "ana", Added: now}); err != nil {
			t.Error(err)
		}
		before = r.expired()
	})
	wg.Wait()
	for p, n := range removed {
		if n != 1 && strings.HasPrefix(p, "devices/") { // of a day, both may say that it went

			t.Errorf("%s was removed %d times", p, n)
		}
	}
	held := func(row ledger.Row) bool {
		return row.Device == "r1" && !r.came[row.Stored].Add(slack).Before(r.begin.AddDate(0, 0, 8)) && !before[row.Stored]
	}
	r.verify(now, &weekly, held, true)
	t.Logf("%d had expired before the hold, %d went", len(before), len(removed))
}
