package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"acctpull/event"
	"acctpull/internal/durable"
	"acctpull/policy"
	"acctpull/retention"
	"acctpull/rollover"
)

// LockName is the lock in every location that keeps a second agent out.
const LockName = ".acctpull.lock"

// Locations lists the different locations of file-ids, backups among them, in
// their order.
func Locations(files []policy.FileID) []string {
	var all []string
	for _, f := range files {
		for _, p := range f.Places() {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// lock keeps every other agent out of the locations of a Set that are not locked
// yet: all of them or none. A location that cannot be used now, because its card
// is missing or read-only, keeps no agent from starting: it is for the policies
// to use the backup or to go down, and the hourly sweep tries the lock again.
func (a *Agent) lock(set *policy.Set) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := map[string]*durable.Lock{}
	for _, location := range Locations(set.Config().FileIDs) {
		if a.locks[location] != nil {
			continue
		}
		l, err := lockLocation(location)
		if err == nil {
			fresh[location] = l
			continue
		}
		if _, other := errors.AsType[*durable.LockedError](err); other {
			for _, l := range fresh {
				err = errors.Join(err, l.Release())
			}
			return err
		}
	}
	for location, l := range fresh {
		a.locks[location] = l
	}
	return nil
}

func lockLocation(location string) (*durable.Lock, error) {
	if err := durable.MkdirAll(location); err != nil {
		return nil, err
	}
	return durable.AcquireLock(filepath.Join(location, LockName))
}

// relock takes the lock of a location that could not be locked before.
func (a *Agent) relock(location string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.locks[location] != nil {
		return nil
	}
	l, err := lockLocation(location)
	if err == nil {
		a.locks[location] = l
	}
	return err
}

// unlock gives every lock back.
func (a *Agent) unlock() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, l := range a.locks {
		errs = append(errs, l.Release())
	}
	clear(a.locks)
	return errors.Join(errs...)
}

// SweepOptions are the sweeps of a location: act/ and act-collect/ below it, and
// the clock of the last sweep beside them.
func SweepOptions(location string) retention.Options {
	return retention.Options{
		Dirs:      rollover.Dirs{Collect: filepath.Join(location, policy.CollectDir), Archive: filepath.Join(location, policy.ArchiveDir)},
		ClockFile: filepath.Join(location, ".acctpull.clock"),
		OwnClock:  true,
	}
}

// Sweep deletes what has expired in every location, ten seconds at most in each,
// every file by the rule of its own file-id. Run calls it every hour. What goes
// wrong is an event.
func (a *Agent) Sweep(ctx context.Context, now time.Time) {
	files := a.Set().Config().FileIDs
	for _, location := range Locations(files) {
		a.sweep(ctx, location, files, now)
	}
}

// sweep sweeps one location.
func (a *Agent) sweep(ctx context.Context, location string, files []policy.FileID, now time.Time) {
	o := SweepOptions(location)
	if a.o.Unguarded {
		o.ClockFile, o.Force = "", true
	}
	rules := map[int]retention.Rule{}
	for _, f := range files {
		if slices.Contains(f.Places(), location) {
			rules[f.ID] = retention.Rule{Kind: a.o.Rule, Retention: a.lasts(f.Retention), Rollover: a.lasts(f.Rollover), Location: a.o.Zone}
		}
	}
	o.RuleFor = func(n rollover.Name) (retention.Rule, bool) {
		r, ok := rules[n.FileID]
		return r, ok
	}
	o.OnRemove = func(f rollover.File) { a.o.Events.Emit(Expired(time.Now(), f)) }
	var result retention.Result
	err := a.relock(location)
	if err == nil {
		result, err = retention.Sweep(ctx, o, now)
	}
	if err != nil {
		a.o.Events.Emit(SweepRefused(now, o.Dirs.Archive, result, err))
	}
}

// lasts returns how long a duration of the configuration lasts.
func (a *Agent) lasts(d time.Duration) time.Duration {
	if a.o.Minute == 0 {
		return d
	}
	return d / time.Minute * a.o.Minute
}

// Expired is the event of a file that a sweep removed.
func Expired(now time.Time, f rollover.File) event.Event {
	return event.FileExpired(now, f.Name.ID, f.Name.FileID, f.Name.String(), fmt.Sprintf("%s, %d bytes", retention.Expired, f.Size))
}

// SweepRefused is the event of a sweep that did not do all that it should.
func SweepRefused(now time.Time, dir string, r retention.Result, err error) event.Event {
	return event.SweepRefused(now, dir, int64(r.Expired-r.Removed), err.Error())
}
