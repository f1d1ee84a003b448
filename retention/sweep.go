package retention

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/rollover"
)

// DefaultBudget is how long a sweep may take: the device deletes "as many
// files as possible during a ten second interval" (7210 SAS guide, 5.2.4).
const DefaultBudget = 10 * time.Second

// DefaultEvery is the pause between sweeps: "once every hour" (same place).
const DefaultEvery = time.Hour

// Options describe the sweeps of one archive directory.
type Options struct {
	// Dirs is the pair of directories. Only Archive is swept; a name that is
	// also in Collect is left alone.
	Dirs rollover.Dirs
	// Rule is the rule for every file, unless RuleFor is set.
	Rule Rule
	// RuleFor returns the rule of a file; false means that there is none and
	// the file is kept. It is called for every name and has to be fast.
	RuleFor func(rollover.Name) (Rule, bool)
	// Keep protects a file that has expired: un-exported ones, for instance.
	// It is asked just before the file would be removed. nil protects none.
	Keep func(rollover.Name) (reason string, keep bool)
	// Budget bounds the whole sweep, from listing to fsync; 0 means 10 s.
	Budget time.Duration
	// Force allows the removal of more than half of the files at once.
	Force bool
	// ClockFile is where the clock of the last sweep is kept for CheckClock.
	// Empty switches that guard off: a device has none.
	ClockFile string
	// OwnClock and Witness are those of ClockCheck.
	OwnClock bool
	Witness  time.Time
	// ConfirmClock is a person's word that the clock is right.
	ConfirmClock bool
	// Remove removes a file; nil means unlink. A failure is counted and stops
	// nothing; fs.ErrNotExist means that somebody else did it.
	Remove func(path string) error
	// OnRemove is called after each removal, with the size. nil means none.
	OnRemove func(rollover.File)

	clock func(time.Time) (ClockState, error) // tests; nil means readClock
}

// Result says what a sweep found and did. The books are exact also when it was
// stopped by its budget:
//
//	Files   = Expired + Retained + Future + NoDate + NoRule + Open
//	Expired = Removed + Gone + Protected + Failed + Left
type Result struct {
	Files   int // names of ours
	Foreign int // other names, never touched

	Expired  int
	Retained int
	Future   int // warning: created in the future
	NoDate   int // warning: the stamp is no date
	NoRule   int // warning: nobody says how long to keep it
	Open     int // also in the collect directory

	Removed   int
	Bytes     int64 // their size
	Gone      int   // somebody else removed it first
	Protected int   // kept by Options.Keep
	Failed    int   // could not be removed
	Left      int   // not reached; the next sweep goes on with the oldest

	// Partial: the listing took half of the budget and was cut short. Oldest
	// first then holds among the files listed.
	Partial bool
}

// count books a decision.
func (r *Result) count(reason Reason) {
	r.Files++
	switch reason {
	case Expired:
		r.Expired++
	case Retained:
		r.Retained++
	case Future:
		r.Future++
	case NoDate:
		r.NoDate++
	case NoRule:
		r.NoRule++
	case Open:
		r.Open++
	}
}

// Decide says what a sweep would do with one file if it reached it: the dry
// run. The guards are not in it, see [Guard] and [CheckClock].
func (o Options) Decide(f rollover.File, now time.Time) Decision {
	d := o.decide(f, now)
	if d.Remove && o.Keep != nil {
		if note, keep := o.Keep(f.Name); keep {
			d.Remove, d.Reason, d.Note = false, Protected, note
		}
	}
	return d
}

func (o Options) decide(f rollover.File, now time.Time) Decision {
	if o.RuleFor == nil {
		return decide(f, o.Rule, o.Rule.Validate() == nil, now)
	}
	r, ok := o.RuleFor(f.Name)
	return decide(f, r, ok && r.Validate() == nil, now)
}

// Sweep removes the expired files of one archive directory, oldest first,
// until none is left or the budget is over. It removes at least one file
// however long the listing took, and leaves the rest to the next sweep. One
// fsync of the directory ends it. The memory is bounded whatever the number of
// files.
//
// The error joins what could not be removed (the first few, all are counted)
// or says why the sweep was refused as a whole: it matches [ErrTooMany] or
// [ErrClock] then, and nothing was removed.
func Sweep(ctx context.Context, o Options, now time.Time) (Result, error) {
	s := sweep{Options: o, now: now, start: time.Now()}
	if s.Budget == 0 {
		s.Budget = DefaultBudget
	}
	if s.clock == nil {
		s.clock = readClock
	}
	if err := s.check(); err != nil {
		return Result{}, &Error{Op: "sweep", Err: err}
	}
	if _, err := os.Stat(s.Dirs.Archive); errors.Is(err, fs.ErrNotExist) {
		return Result{}, nil // nothing was ever archived
	}
	if err := s.list(ctx); err != nil {
		return s.r, &Error{Op: "sweep", Err: err}
	}
	s.r.Left = s.r.Expired
	keep, err := s.guard()
	if err != nil {
		return s.r, &Error{Op: "sweep", Err: err}
	}
	err = s.remove(ctx)
	return s.r, errors.Join(err, keep())
}

// sweep is one sweep on its way.
type sweep struct {
	Options
	now    time.Time
	start  time.Time
	r      Result
	q      *queue
	newest time.Time // creation time of the newest file
}

// check refuses options that would sweep the wrong thing.
func (s *sweep) check() error {
	if s.Dirs.Archive == "" || s.Dirs.Collect == "" {
		return errors.New("collect and archive directory have to be given")
	}
	if s.RuleFor == nil {
		if err := s.Rule.Validate(); err != nil {
			return err
		}
	}
	archive, errA := os.Stat(s.Dirs.Archive)
	collect, errC := os.Stat(s.Dirs.Collect)
	if errA == nil && errC == nil && os.SameFile(archive, collect) {
		return fmt.Errorf("%s holds the open files", s.Dirs.Archive)
	}
	for _, err := range []error{errA, errC} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// list decides for every name and queues what has expired. It takes at most
// half of the budget, so that there is time to remove what it found.
func (s *sweep) list(ctx context.Context) error {
	open := map[string]bool{}
	for name, err := range rollover.Names(s.Dirs.Collect) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		open[name] = true
	}
	s.q = &queue{limit: queueLimit}
	seen := 0
	for name, err := range rollover.Names(s.Dirs.Archive) {
		if err != nil {
			return err
		}
		if seen++; seen%1024 == 0 {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if time.Since(s.start) > s.Budget/2 {
				s.r.Partial = true
				return nil
			}
		}
		s.name(name, open[name])
	}
	return nil
}

func (s *sweep) name(text string, open bool) {
	n, err := rollover.ParseName(text)
	if err != nil {
		s.r.Foreign++
		return
	}
	d := s.decide(rollover.File{Name: n}, s.now)
	if d.Created.After(s.newest) {
		s.newest = d.Created
	}
	if open {
		d.Reason = Open
	}
	s.r.count(d.Reason)
	if d.Reason == Expired {
		s.q.add(n)
	}
}

// guard refuses the sweep if the clock or the number of files says so. It
// returns what remembers the clock: that of a sweep that was refused is not
// remembered, or the next one would find nothing wrong.
func (s *sweep) guard() (keep func() error, err error) {
	keep = func() error { return nil }
	if s.ClockFile != "" {
		c := ClockCheck{Newest: s.newest, OwnClock: s.OwnClock, Witness: s.Witness}
		if keep, err = believeClock(s.ClockFile, s.now, c, s.ConfirmClock, s.clock); err != nil {
			return nil, err
		}
	}
	if err := Guard(s.r.Files, s.r.Expired); err != nil && !s.Force {
		return nil, err
	}
	return keep, nil
}

// maxErrors is the number of failed removals that are returned one by one.
const maxErrors = 10

// remove removes from the queue until the budget is over.
func (s *sweep) remove(ctx context.Context) error {
	dir, err := os.Open(s.Dirs.Archive)
	if err != nil {
		return &Error{Op: "sweep", Err: err}
	}
	var errs []error
	tried := 0
	for n := range s.q.oldestFirst {
		if err := context.Cause(ctx); err != nil {
			errs = append(errs, &Error{Op: "sweep", Err: err})
			break
		}
		if tried > 0 && time.Since(s.start) >= s.Budget {
			break
		}
		tried++
		s.r.Left--
		if err := s.one(dir, n); err != nil {
			s.r.Failed++
			if len(errs) < maxErrors {
				errs = append(errs, &Error{Op: "remove", File: n.String(), Err: err})
			}
		}
	}
	if s.r.Removed > 0 {
		if err := dir.Sync(); err != nil {
			errs = append(errs, &Error{Op: "sweep", Err: err})
		}
	}
	return errors.Join(append(errs, dir.Close())...)
}

// one removes one file, unless it is protected or no regular file.
func (s *sweep) one(dir *os.File, n rollover.Name) error {
	if s.Keep != nil {
		if _, keep := s.Keep(n); keep {
			s.r.Protected++
			return nil
		}
	}
	name := n.String()
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("not a regular file")
	case s.Remove != nil:
		err = s.Remove(filepath.Join(s.Dirs.Archive, name))
	default:
		err = unix.Unlinkat(int(dir.Fd()), name, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.r.Gone++
		return nil
	}
	if err != nil {
		return err
	}
	s.r.Removed++
	s.r.Bytes += st.Size
	if s.OnRemove != nil {
		s.OnRemove(rollover.File{Name: n, Path: filepath.Join(s.Dirs.Archive, name), Size: st.Size})
	}
	return nil
}

// Run calls sweep at once and then every so often (0 means hourly), until ctx
// ends. Sweeps never overlap: one that takes longer than the pause delays the
// next.
func Run(ctx context.Context, every time.Duration, sweep func(ctx context.Context, now time.Time)) {
	if every == 0 {
		every = DefaultEvery
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for ctx.Err() == nil {
		sweep(ctx, time.Now())
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}
