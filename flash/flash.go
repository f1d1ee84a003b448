// Package flash keeps the files of one file-id on a flash card that can be
// full, read-only, removed or broken, as the 7210 SAS does on its own ("Log
// Files", "Accounting Files").
//
// A [Log] has the shape of rollover.Log: entries are begun, written and
// committed, and the open file rolls over by time. It adds
//
//   - a location and a backup location: a file is created at the location; if
//     that fails at the backup; if that fails too the log is down;
//   - space contention: when there is no room, files past retention are
//     deleted, then the oldest closed files one at a time, until there is;
//   - log-memory: committed entries are held in memory and written to the
//     flash when the memory is full, at rollover, at Roll and at Close;
//   - the return of a log that was down.
//
// An entry is compressed into memory and reaches the flash whole: there is
// never half an entry, and one that a location would not take is written again
// to the next.
//
// How a log comes back: a location where no file could be created, or that was
// full, is tried again each time. A location where a write, an fsync or the
// closing of a file failed is not trusted again, not even with a new card,
// before Roll (the device's "clear log") or a new Log (shutdown, no shutdown).
//
// The package logs nothing. A Log is used by one goroutine at a time, and one
// process at a time works on a location.
package flash

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"acctpull/retention"
	"acctpull/rollover"
)

// The two directories below a location (7210 SAS, "Accounting Files").
const (
	CollectDir = "act-collect" // files that are open
	ArchiveDir = "act"         // files that are closed
)

// Dirs returns the pair of directories below a location.
func Dirs(place string) rollover.Dirs {
	return rollover.Dirs{Collect: filepath.Join(place, CollectDir), Archive: filepath.Join(place, ArchiveDir)}
}

// MaxMemory is the largest log-memory: 128 KiB, as on the device.
const MaxMemory = 128 << 10

// Options describe a Log.
type Options struct {
	Prefix rollover.Prefix
	ID     int    // accounting-policy id or log id, 1 to 99
	FileID int    // 1 to 99
	Ext    string // has to end in ".gz"
	// Rollover is how long a file is written to; 0 means until Roll.
	Rollover time.Duration
	// Location is the time zone of the stamps in names; nil means UTC.
	Location *time.Location
	// Header and Footer return the first and the last bytes of a file, as in
	// rollover.Options.
	Header func(n rollover.Name, created time.Time, reason string) []byte
	Footer func() []byte
	Level  int // gzip level 1 to 9; 0 means 6
	// Places are the location and, if there is one, the backup location; they
	// must differ. act-collect/ and act/ are made below each.
	Places []string
	// Memory is the log-memory in bytes, up to MaxMemory; 0 means that every
	// entry is on the flash when it is committed. A crash loses what is in
	// memory, and nothing else.
	Memory int
	// RuleFor returns the retention rule of any file at a place: in space
	// contention those past retention go first. nil means that none is known.
	RuleFor func(rollover.Name) (retention.Rule, bool)
	Hooks   Hooks
}

// Hooks are told what happens to the files of a Log. Any may be nil. They are
// called by the goroutine that uses the Log, which waits for them; they must
// not call the Log.
type Hooks struct {
	// OnSeal is called after a file is durable in act/ (the device's
	// tmnxLogFileRollover).
	OnSeal func(rollover.File)
	// OnContention is called when something was refused for lack of space,
	// before anything is deleted (tmnxLogSpaceContention).
	OnContention func(place string, backup bool, err error)
	// OnDeleted is called after each file that space contention deleted
	// (tmnxLogFileDeleted). The reason is retention.Expired or
	// retention.SpaceContention.
	OnDeleted func(retention.Decision)
	// OnLocationFailed is called when a place stops being usable: once, until
	// it has been used again (tmnxLogAdminLocFailed, and for the backup
	// tmnxLogBackupLocFailed).
	OnLocationFailed func(place string, backup bool, err error)
	// OnState is called when the Log goes down and when it is up again.
	OnState func(up bool, err error)
}

func (o Options) validate() error {
	switch {
	case len(o.Places) == 0 || len(o.Places) > 2:
		return fmt.Errorf("%d places: a location and at most one backup have to be given", len(o.Places))
	case slices.Contains(o.Places, ""):
		return errors.New("a location without a name")
	case len(o.Places) == 2 && filepath.Clean(o.Places[0]) == filepath.Clean(o.Places[1]):
		return fmt.Errorf("location and backup location are both %s", o.Places[0])
	case o.Memory < 0 || o.Memory > MaxMemory:
		return fmt.Errorf("log-memory of %d bytes is outside 0–%d", o.Memory, MaxMemory)
	}
	return nil
}

// rollover returns the options of one file at a place.
func (l *Log) rollover(p *place) rollover.Options {
	o := l.o
	r := rollover.Options{
		Dirs: Dirs(p.path), Prefix: o.Prefix, ID: o.ID, FileID: o.FileID, Ext: o.Ext, Rollover: o.Rollover,
		Location: o.Location, Header: o.Header, Footer: o.Footer, Packer: l.packer,
		Reason: l.reason, After: l.last, OnSeal: l.onSeal,
	}
	for _, other := range l.places {
		if other != p {
			r.Elsewhere = append(r.Elsewhere, Dirs(other.path))
		}
	}
	return r
}

// Log is the series of files of one file-id. Make it with [Open].
type Log struct {
	o      Options
	packer *rollover.Packer
	places []*place // location and backup, then former ones that still hold a file
	cur    *place   // where the open file is, nil if there is none
	entry  *Entry   // the entry being written, nil if there is none
	held   []*rollover.Packed
	since  time.Time // the oldest of held

	reason string        // why the next file will be created
	last   rollover.Mark // the newest name
	sealed rollover.Name // the file sealed last
	err    error         // why the log is down, nil if it is up
	write  bool          // it is down because of a write, so a file alone does not bring it up
	closed bool
}

// Open checks the options and returns a Log. It opens and creates nothing: the
// first file appears with the first entry.
func Open(o Options) (*Log, error) {
	l := &Log{packer: rollover.NewPacker(o.Level), reason: rollover.ReasonStart}
	if err := l.configure(o); err != nil {
		return nil, &Error{Op: "open log", Err: err}
	}
	return l, nil
}

// Reconfigure changes a Log whose configuration changed: everything but the
// identity of the files and the level. Rollover and log-memory count at once; places, header
// and the rest with the next file, so a new location takes effect at the next
// rollover or at Roll (7210 SAS, "location"). After an error nothing changed.
func (l *Log) Reconfigure(o Options) error {
	if o.Prefix != l.o.Prefix || o.ID != l.o.ID || o.FileID != l.o.FileID {
		return &Error{Op: "reconfigure log", Err: errors.New("the identity of the files would change")}
	}
	if err := l.configure(o); err != nil {
		return &Error{Op: "reconfigure log", Err: err}
	}
	if l.cur != nil {
		l.cur.log.SetRollover(o.Rollover)
	}
	return nil
}

func (l *Log) configure(o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := rollover.Check(rollover.Options{Dirs: Dirs(o.Places[0]), Prefix: o.Prefix, ID: o.ID, FileID: o.FileID,
		Ext: o.Ext, Rollover: o.Rollover, Level: o.Level}); err != nil {
		return err
	}
	var places []*place
	for i, path := range o.Places {
		p := l.place(filepath.Clean(path))
		if p == nil {
			p = &place{path: filepath.Clean(path)}
		}
		p.backup, p.former = i > 0, false
		places = append(places, p)
	}
	for _, p := range l.places {
		if !slices.Contains(places, p) && p.log != nil {
			p.former = true
			places = append(places, p)
		}
	}
	l.o, l.places = o, places
	return nil
}

func (l *Log) place(path string) *place {
	for _, p := range l.places {
		if p.path == path {
			return p
		}
	}
	return nil
}

// Current returns the file that is being written and the number of bytes
// committed to it on the flash, false if there is none.
func (l *Log) Current() (rollover.File, bool) {
	if l.cur == nil {
		return rollover.File{}, false
	}
	return l.cur.log.Current()
}

// Begin starts an entry. It is the one place where the rollover time is tested:
// if it has passed, what is in memory is written, the file is sealed and a new
// one created before the entry begins. Only one entry is open at a time.
//
// An error means that the log is down: there is no place for a file. What is in
// memory stays there.
func (l *Log) Begin(now time.Time) (*Entry, error) {
	switch {
	case l.closed:
		return nil, &Error{Op: "begin entry", Err: ErrClosed}
	case l.entry != nil:
		return nil, &Error{Op: "begin entry", Err: rollover.ErrEntryOpen}
	}
	l.tidy()
	if err := l.ready(now); err != nil {
		return nil, &Error{Op: "begin entry", Err: err}
	}
	if err := l.packer.Begin(); err != nil {
		return nil, &Error{Op: "begin entry", Err: err}
	}
	l.entry = &Entry{log: l, now: now}
	return l.entry, nil
}

// Roll is the device's "clear log": it writes what is in memory, seals the open
// file whatever its age and returns it; with no open file it returns false. It
// also makes every place usable again, whatever failed there, and changed
// places take effect.
func (l *Log) Roll(now time.Time) (rollover.File, bool, error) {
	switch {
	case l.closed:
		return rollover.File{}, false, &Error{Op: "roll over", Err: ErrClosed}
	case l.entry != nil:
		return rollover.File{}, false, &Error{Op: "roll over", Err: rollover.ErrEntryOpen}
	}
	for _, p := range l.places {
		p.trust()
	}
	l.write = false
	l.tidy()
	err := l.flush(now)
	if l.cur == nil {
		l.reason = rollover.ReasonManual
		return rollover.File{}, false, wrap("roll over", err)
	}
	f, ok, sealErr := l.seal(l.cur, rollover.ReasonManual, now)
	return f, ok, wrap("roll over", errors.Join(err, sealErr))
}

// Close takes an open entry back, writes what is in memory, seals the open file
// and ends the Log. After an error it can be called again; if it is not, what
// is in memory is lost and Recover finds the file.
func (l *Log) Close(now time.Time) error {
	if l.closed {
		return nil
	}
	if l.entry != nil {
		l.entry.Abort()
	}
	l.tidy()
	err := l.flush(now)
	if l.cur != nil {
		_, _, sealErr := l.seal(l.cur, rollover.ReasonManual, now)
		err = errors.Join(err, sealErr)
	}
	for _, p := range l.places {
		if p.log != nil {
			err = errors.Join(err, p.err)
		}
	}
	if n := len(l.held); n > 0 {
		err = fmt.Errorf("%d committed entries are in memory only: %w", n, err)
	}
	l.closed = err == nil
	return wrap("close log", err)
}

// Recover puts every place right after a crash, before anything else works on
// it: see rollover.Recover, which says what is done. With an ID of 0 it is done
// for every file that could be ours, and with a Prefix of "" for accounting and
// log files. A place that cannot be looked at is an error and stops no other.
func Recover(o Options, now time.Time) (rollover.Recovered, error) {
	var all rollover.Recovered
	var errs []error
	for _, path := range o.Places {
		r, err := rollover.Recover(rollover.Options{Dirs: Dirs(path), Prefix: o.Prefix, ID: o.ID, FileID: o.FileID,
			Footer: o.Footer, Level: o.Level, OnSeal: o.Hooks.OnSeal}, now)
		all.Add(r)
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}
