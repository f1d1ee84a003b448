package flash

import (
	"time"

	"acctpull/rollover"
)

// Entry is one entry on its way: it is compressed in memory and committed whole
// or not at all. It is ended by Commit or Abort.
type Entry struct {
	log   *Log
	now   time.Time
	begun bool // it has a byte
	done  bool
}

// Write adds bytes to the entry.
func (e *Entry) Write(p []byte) (int, error) {
	if e.done {
		return 0, &Error{Op: "write entry", Err: rollover.ErrEntryDone}
	}
	e.begun = e.begun || len(p) > 0
	return e.log.packer.Write(p)
}

// Commit ends the entry. After it returned nil the entry is on the flash and
// survives any crash, or, with log-memory, it is in memory and will be written;
// [Log.State] tells. After an error the entry is not there; what was committed
// before stays. An entry without a byte leaves no trace.
func (e *Entry) Commit() error {
	if e.done {
		return &Error{Op: "commit entry", Err: rollover.ErrEntryDone}
	}
	l := e.log
	e.done, l.entry = true, nil
	if !e.begun {
		return nil
	}
	p, err := l.packer.End()
	if err != nil {
		return &Error{Op: "commit entry", Err: err}
	}
	return wrap("commit entry", l.commit(p, e.now))
}

// Abort takes the entry back. Aborting an entry that is done does nothing.
func (e *Entry) Abort() {
	if !e.done {
		e.done, e.log.entry = true, nil
	}
}

// commit takes an entry into the log-memory, or writes it with what is there.
func (l *Log) commit(p *rollover.Packed, now time.Time) error {
	if l.heldBytes()+p.Size() <= int64(l.o.Memory) {
		if len(l.held) == 0 {
			l.since = now
		}
		l.held = append(l.held, p)
		return nil
	}
	held := l.held
	l.held = append(held[:len(held):len(held)], p)
	err := l.flush(now)
	if err != nil {
		l.held = held
	}
	return err
}

func (l *Log) heldBytes() int64 {
	n := int64(0)
	for _, p := range l.held {
		n += p.Size()
	}
	return n
}
