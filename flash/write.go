package flash

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"acctpull/rollover"
)

// ready makes sure that a file is open that is not due.
func (l *Log) ready(now time.Time) error {
	if l.cur != nil && l.cur.log.Due(now) {
		// What is in memory belongs to the file that ends. If its place fails
		// now, flush has gone on to another file.
		p := l.cur
		if err := l.flush(now); err != nil {
			return err
		}
		if l.cur == p {
			// An error has taken the place out of use and reached the hook.
			_, _, _ = l.seal(p, rollover.ReasonRollover, now)
		}
	}
	return l.create(now, nil)
}

// create makes the next file, if none is open, at the first place that takes
// it. Places in not are passed over.
func (l *Log) create(now time.Time, not []*place) error {
	if l.cur != nil {
		return nil
	}
	var errs []error
	for _, p := range l.places {
		if p.former {
			continue
		}
		err := p.err
		if p.bad {
			err = fmt.Errorf("%w; %w", err, ErrUntrusted)
		} else if !slices.Contains(not, p) {
			if err = l.room(p, 0, now, func() error { return l.ensure(p, now) }); err == nil {
				l.cur, p.err = p, nil
				if !l.write {
					l.up()
				}
				return nil
			}
			l.failed(p, err, false)
		}
		errs = append(errs, &Error{Op: "use location", Place: p.path, Err: err})
	}
	return l.down(errors.Join(errs...), len(not) > 0)
}

// flush writes what is in memory, to another place if this one fails. If none
// takes it, it stays in memory.
func (l *Log) flush(now time.Time) error {
	var tried []*place
	var full *place // its file takes entries as soon as there is room
	for len(l.held) > 0 {
		if err := l.create(now, tried); err != nil {
			if full != nil {
				l.cur = full
			}
			return err
		}
		p := l.cur
		err := l.room(p, l.heldBytes(), now, func() error {
			if err := l.ensure(p, now); err != nil {
				return err
			}
			return p.log.WritePacked(l.held...)
		})
		if err == nil {
			l.held, l.since = nil, time.Time{}
			l.up()
			return nil
		}
		tried = append(tried, p)
		if rollover.NoSpace(err) && p.log != nil && !p.log.Broken() {
			full, l.cur, l.reason = p, nil, rollover.ReasonError
			l.failed(p, err, false)
			continue
		}
		l.shelve(p, err)
	}
	return nil
}

// seal seals the open file.
func (l *Log) seal(p *place, reason string, now time.Time) (f rollover.File, ok bool, err error) {
	err = l.room(p, 0, now, func() (err error) {
		f, ok, err = p.seal(reason)
		return err
	})
	if err != nil {
		l.shelve(p, err)
		return f, ok, err
	}
	l.cur, l.reason = nil, reason
	return f, ok, nil
}

// shelve leaves a place after a write there failed. Its file is sealed if it
// can be; if not, tidy tries again.
func (l *Log) shelve(p *place, err error) {
	l.cur, l.reason = nil, rollover.ReasonError
	if p.log != nil {
		if _, _, sealErr := p.seal(rollover.ReasonError); sealErr != nil && !sameCause(err, sealErr) {
			err = errors.Join(err, sealErr)
		}
	}
	l.failed(p, err, !rollover.NoSpace(err))
}

// sameCause tells whether b is what the system said in a already.
func sameCause(a, b error) bool {
	var x, y syscall.Errno
	return !errors.Is(b, rollover.ErrGone) && errors.As(a, &x) && errors.As(b, &y) && x == y
}

// failed notes why a place cannot be used.
func (l *Log) failed(p *place, err error, bad bool) {
	first := p.err == nil
	p.err = err
	p.bad = p.bad || bad
	if first && l.o.Hooks.OnLocationFailed != nil {
		l.o.Hooks.OnLocationFailed(p.path, p.backup, err)
	}
}

// tidy seals files that were left where a place failed, if that is possible
// now, and forgets places that are no longer configured.
func (l *Log) tidy() {
	keep := l.places[:0:0]
	for _, p := range l.places {
		if p != l.cur && p.log != nil {
			if _, _, err := p.seal(rollover.ReasonError); err != nil && p.err == nil {
				p.err = err
			}
		}
		if !p.former || p.log != nil {
			keep = append(keep, p)
		}
	}
	l.places = keep
}

// down notes that no place takes a file, or an entry.
func (l *Log) down(err error, write bool) error {
	was := l.err
	l.err = fmt.Errorf("%w: %w", ErrDown, err)
	l.write = l.write || write
	if was == nil && l.o.Hooks.OnState != nil {
		l.o.Hooks.OnState(false, l.err)
	}
	return l.err
}

// up notes that the flash takes entries again.
func (l *Log) up() {
	was := l.err
	l.err, l.write = nil, false
	if was != nil && l.o.Hooks.OnState != nil {
		l.o.Hooks.OnState(true, nil)
	}
}

func (l *Log) onSeal(f rollover.File) {
	l.sealed = f.Name
	if l.o.Hooks.OnSeal != nil {
		l.o.Hooks.OnSeal(f)
	}
}
