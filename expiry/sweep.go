package expiry

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"acctpull/internal/depot"
	"acctpull/ledger"
	"acctpull/retention"
	"acctpull/rollover"
)

// DefaultBudget is how long a sweep of a service may take: as on the device, "as
// many files as possible during a ten second interval" (7210 SAS guide, 5.2.4).
const DefaultBudget = 10 * time.Second

// Options describe the sweeps of one data directory.
type Options struct {
	Policy Policy
	Ledger *ledger.Ledger
	// Data is where archive, quarantine and dataset are; Dataset and Quarantine
	// are paths in it.
	Data                depot.Depot
	Dataset, Quarantine string
	// Groups returns the groups of a device; nil means that there are none.
	Groups func(device string) []string
	// Derived returns the table that is derived from the rows of a table, and
	// for which these are kept until its day is there; "" if there is none.
	// nil means that there are none.
	Derived func(table string) string
	// Budget bounds a sweep; 0 is no bound.
	Budget time.Duration
	// Again is how long after files were to be removed another process takes
	// them up. 0 is right where no other process sweeps.
	Again time.Duration
	// Force allows the removal of more than half at once.
	Force bool
	// ClockFile is where the clock of the last sweep is kept, see
	// retention.CheckClock. Required for Sweep.
	ClockFile string
	// Witness is the present by another clock, such as that of a database;
	// zero if there is none.
	Witness time.Time
	// ConfirmClock is a person's word that the clock is right.
	ConfirmClock bool
	// OnRemove is called for everything that was removed, one call at a time;
	// nil means nobody.
	OnRemove func(Decision)

	look int // tests: the clock is looked at every so many files; 0 means 256
}

// Sum counts items. A day of a table may have several files.
type Sum struct {
	Items int   `json:"items"`
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (s *Sum) add(it *Item) {
	s.Items, s.Files, s.Bytes = s.Items+1, s.Files+it.Files, s.Bytes+it.Bytes
}

// Result says what a sweep did in one location.
type Result struct {
	// Removed went. Their bytes are gone, durably.
	Removed Sum `json:"removed"`
	// Kept are those whose retention is over, by the reason why they stay.
	Kept map[Reason]Sum `json:"kept"`
	// Left were not reached; the next sweep goes on with them.
	Left int `json:"left"`
	// Failed could not be removed; the next sweep tries again.
	Failed int `json:"failed"`
	// Resumed were decided by a sweep that was cut off, and went now.
	Resumed int `json:"resumed"`
}

func (r *Result) kept(d *Decision) {
	if d.Reason == Retained {
		return
	}
	if r.Kept == nil {
		r.Kept = map[Reason]Sum{}
	}
	s := r.Kept[d.Reason]
	s.add(&d.Item)
	r.Kept[d.Reason] = s
}

// Report is what a sweep did.
type Report struct {
	Archive Result `json:"archive"`
	Dataset Result `json:"dataset"`
}

// Sweeper sweeps one data directory. Its sweeps must not overlap; other processes
// may sweep the same directory at the same time if they share its ledger.
type Sweeper struct {
	o    Options
	from ledger.KeptFrom // where the next sweep goes on in the archive
}

// New returns a sweeper. It does nothing by itself.
func New(o Options) *Sweeper { return &Sweeper{o: o} }

// Set changes the options; where the sweeper was it goes on.
func (s *Sweeper) Set(o Options) { s.o = o }

// Sweep removes what has expired: accounting files in the order in which they
// came, and then days of tables from the oldest on. It ends when all is done or
// the budget is over, and removes something in any case if there is anything to
// remove. What it leaves the next sweep does.
//
// The error joins what could not be removed (the first few, all are counted), or
// says why the sweep was refused: it matches retention.ErrTooMany or
// retention.ErrClock then. The archive and the dataset are judged apart.
func (s *Sweeper) Sweep(ctx context.Context, now time.Time) (Report, error) {
	w := &sweep{Options: s.o, now: now, begun: time.Now(), from: s.from}
	err := w.run(ctx)
	s.from = w.from
	if err != nil {
		var own *Error
		if !errors.As(err, &own) {
			err = &Error{Op: "sweep", Err: err}
		}
	}
	return w.r, err
}

// sweep is one sweep on its way.
type sweep struct {
	Options
	now   time.Time
	begun time.Time
	from  ledger.KeptFrom
	holds []ledger.Hold
	r     Report

	mu      sync.Mutex
	failed  []error
	rejects map[string]bool // files of unusable records in quarantine, nil before they are listed
}

// over reports whether a share of the budget is used up.
func (w *sweep) over(share time.Duration) bool {
	return w.Budget > 0 && time.Since(w.begun) > w.Budget/share
}

func (w *sweep) run(ctx context.Context) error {
	if w.ClockFile == "" {
		return errors.New("the file for the clock is not given")
	}
	if err := w.resume(ctx); err != nil {
		return err
	}
	keep, err := w.clock(ctx)
	if err != nil {
		return err
	}
	if w.holds, err = w.Ledger.Holds(ctx); err != nil {
		return err
	}
	err = w.archive(ctx)
	if err == nil || errors.Is(err, retention.ErrTooMany) {
		err = errors.Join(err, w.dataset(ctx))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(append([]error{err, keep()}, w.failed...)...)
}

// witnesses is how many files that came last are asked for the time.
const witnesses = 32

// clock refuses a sweep by a clock that jumped. The files that came last tell the
// time by the clocks of their devices; one that agrees is enough.
func (w *sweep) clock(ctx context.Context) (keep func() error, err error) {
	c := retention.ClockCheck{Witness: w.Witness}
	newest, err := w.Ledger.NewestKept(ctx, witnesses)
	if err != nil {
		return nil, err
	}
	for _, k := range newest {
		it := w.item(k)
		at := it.To
		if at.IsZero() {
			at = it.Came
		}
		if c.Newest.IsZero() || at.Sub(w.now).Abs() < c.Newest.Sub(w.now).Abs() {
			c.Newest = at
		}
	}
	return retention.BelieveClock(w.ClockFile, w.now, c, w.ConfirmClock)
}

// maxErrors is the number of failed removals that are returned one by one.
const maxErrors = 10

func (w *sweep) fail(r *Result, path string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Failed++
	if len(w.failed) < maxErrors {
		w.failed = append(w.failed, &Error{Op: "remove", Path: path, Err: err})
	}
}

func (w *sweep) removed(r *Result, d Decision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Removed.add(&d.Item)
	if w.OnRemove != nil {
		w.OnRemove(d)
	}
}

// ours reports whether a path of the ledger lies in archive or quarantine. Others
// are files that a person gave to acctpull export.
func ours(stored string) bool {
	return strings.HasPrefix(stored, "devices/") || strings.HasPrefix(stored, "quarantine/")
}

// item makes an item of a file of the archive.
func (o *Options) item(k ledger.Kept) Item {
	it := Item{Location: Archive, Path: k.Stored, Device: k.Device, Files: 1, Bytes: k.Size, Came: k.First, State: k.State}
	if o.Groups != nil {
		it.Groups = o.Groups(k.Device)
	}
	if f := k.Facts; f != nil {
		it.Record = f.Record
		for _, s := range f.Spans {
			start := s.Start
			if start.IsZero() {
				start = s.End.Add(-f.Interval)
			}
			if it.From.IsZero() || start.Before(it.From) {
				it.From = start
			}
			if s.End.After(it.To) {
				it.To = s.End
			}
		}
	}
	if it.To.IsZero() { // the name tells when it was opened, and no more
		if n, err := rollover.ParseName(k.Name); err == nil {
			if at, err := n.Time(time.UTC); err == nil {
				it.From, it.To = at, at.Add(openFor)
				if !it.Came.IsZero() && it.To.After(it.Came) && !at.After(it.Came) {
					it.To = it.Came
				}
			}
		}
	}
	return it
}

// openFor is how long a file is open at the most (SR OS, "rollover", at most
// 10,080 minutes).
const openFor = 7 * 24 * time.Hour

// due is a file that goes.
type due struct {
	key ledger.Key
	d   Decision
}

// mostDue bounds what one round of a sweep holds in memory: about 50 MB.
const mostDue = 100_000

// archive removes files until none is left or the budget is over.
func (w *sweep) archive(ctx context.Context) error {
	shortest, some := w.Policy.shortest(Archive)
	if !some {
		return nil
	}
	before := w.now.Add(-shortest)
	for first := true; ; first = false {
		todo, whole, err := w.planArchive(ctx, before, first)
		if err != nil || len(todo) == 0 && whole {
			return err
		}
		done, err := w.removeFiles(ctx, todo)
		w.r.Archive.Left += len(todo) - done
		if err != nil || done < len(todo) || whole || w.over(1) {
			return err
		}
	}
}

// planArchive decides about the next files. whole says that there are no more
// behind them; then the next sweep begins anew. With guard, the sweep is refused
// if it would remove more than half of all files.
func (w *sweep) planArchive(ctx context.Context, before time.Time, guard bool) (todo []due, whole bool, err error) {
	seen, next, look := 0, w.from, cmp.Or(w.look, 256)
	whole = true
	for k, err := range w.Ledger.KeptFiles(ctx, w.from, before) {
		if err != nil {
			return nil, false, err
		}
		if len(todo) == mostDue || seen%look == look-1 && w.over(2) {
			whole = false
			break
		}
		seen, next = seen+1, k.Next()
		if !ours(k.Stored) {
			continue
		}
		d := w.Policy.Decide(w.item(k), w.holds, w.now)
		if d.Remove {
			todo = append(todo, due{k.Key, d})
		} else {
			w.r.Archive.kept(&d)
		}
	}
	if guard {
		if err := w.guard(ctx, len(todo), seen, next, before); err != nil {
			return nil, false, err
		}
	}
	if w.from = next; whole {
		w.from = ledger.KeptFrom{}
	}
	return todo, whole, nil
}

// guard refuses to remove more than half of all files. Of those that were not
// looked at, as many count as of those that were.
func (w *sweep) guard(ctx context.Context, remove, seen int, next ledger.KeptFrom, before time.Time) error {
	if remove == 0 || w.Force {
		return nil
	}
	_, rest, err := w.Ledger.CountKept(ctx, 0, next, before)
	if err != nil {
		return err
	}
	remove += int(float64(rest) * float64(remove) / float64(seen))
	all, _, err := w.Ledger.CountKept(ctx, 2*remove+2, next, before)
	if err != nil {
		return err
	}
	if err := retention.Guard(all, remove); err != nil {
		w.r.Archive.Left += remove
		return &Error{Op: "sweep archive", Err: err}
	}
	return nil
}

// atOnce is how many files go in one step: it is what a crash leaves for the next
// sweep at the most. workers is how many are removed at the same time.
const (
	atOnce  = 256
	workers = 8
)

// removeFiles removes files step by step until the budget is over, one step at
// the least. It returns how many it has dealt with.
func (w *sweep) removeFiles(ctx context.Context, todo []due) (done int, err error) {
	for part := range slices.Chunk(todo, atOnce) {
		if err := context.Cause(ctx); err != nil {
			return done, err
		}
		if done > 0 && w.over(1) {
			return done, nil
		}
		keys := make([]ledger.Key, len(part))
		for i := range part {
			keys[i] = part[i].key
		}
		going, err := w.Ledger.Expire(ctx, w.now, keys, w.holds)
		if errors.Is(err, ledger.ErrHeld) {
			return done, nil // the next sweep knows the hold
		}
		if err != nil {
			return done, err
		}
		done += len(part)
		decided := make(map[string]Decision, len(part))
		for i := range part {
			decided[part[i].d.Path] = part[i].d
		}
		gone, err := w.unlink(ctx, going, false)
		for _, x := range gone {
			w.removed(&w.r.Archive, decided[x.Stored])
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// resume removes what sweeps that were cut off had decided.
func (w *sweep) resume(ctx context.Context) error {
	before := w.now.Add(-w.Again)
	if w.Again == 0 { // nobody else is at it, whatever the clock was
		before = w.now.AddDate(100, 0, 0)
	}
	for {
		going, err := w.Ledger.TakeExpiring(ctx, w.now, before, atOnce)
		if err != nil || len(going) == 0 {
			return err
		}
		gone, err := w.unlink(ctx, going, true)
		w.r.Archive.Resumed += len(gone)
		if err != nil || len(gone) < len(going) || w.over(2) {
			return err
		}
	}
}
