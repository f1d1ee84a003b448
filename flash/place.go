package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"acctpull/rollover"
)

// place is a location or the backup location. It has one rollover.Log per file:
// one is opened to create a file and dropped when the file is sealed.
type place struct {
	path   string
	backup bool
	former bool          // no longer configured, but it still has a file
	log    *rollover.Log // nil unless it has a file that is not sealed
	dev    uint64        // the file system on which files were created, 0 before the first
	err    error         // why it could not be used the last time, nil if it could
	bad    bool          // a write failed: it is not used before trust is called
}

// trust forgets what failed here.
func (p *place) trust() { p.bad, p.err, p.dev = false, nil, 0 }

// ensure makes sure that a file is open here that takes entries.
func (l *Log) ensure(p *place, now time.Time) error {
	if p.log != nil && p.log.Broken() {
		if _, _, err := p.seal(rollover.ReasonError); err != nil {
			return err
		}
	}
	if p.log != nil {
		return nil
	}
	dev, err := p.device()
	if err != nil {
		return err
	}
	o := l.rollover(p)
	log, err := rollover.Open(o)
	if errors.Is(err, rollover.ErrNotRecovered) {
		// A file from before this place failed, or from an earlier run.
		if _, err := rollover.Recover(o, now); err != nil {
			return err
		}
		log, err = rollover.Open(o)
	}
	if err != nil {
		return err
	}
	if err = log.Create(now); err != nil {
		// What was made of the file goes, or stays for the next attempt.
		if log.Broken() {
			p.log = log
			_, _, discardErr := p.seal(rollover.ReasonError)
			err = errors.Join(err, discardErr)
		}
		return err
	}
	p.log, p.dev, l.last = log, dev, log.Last()
	return nil
}

// seal seals the file here and drops its log once nothing is left of it.
func (p *place) seal(reason string) (rollover.File, bool, error) {
	f, ok, err := p.log.Seal(reason)
	if _, open := p.log.Current(); !open {
		p.log = nil
	}
	return f, ok, err
}

// device returns the file system of the place, or where it will be made. If it
// is another one than that of the files before, a card was taken out and its
// files must not land in the empty directory below.
func (p *place) device() (uint64, error) {
	for path := p.path; ; path = filepath.Dir(path) {
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !ok {
			return 0, nil
		}
		if dev := uint64(sys.Dev); p.dev == 0 || dev == p.dev {
			return dev, nil
		}
		return 0, fmt.Errorf("%q is %w", path, ErrOtherFileSystem)
	}
}
