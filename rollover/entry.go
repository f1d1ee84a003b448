package rollover

// Entry is one entry on its way into the open file: a gzip member that is
// either committed whole or not there at all. It is ended by Commit or Abort.
// It is streamed, so it may be larger than memory.
type Entry struct {
	log   *Log
	begun bool // the gzip member was begun
	done  bool
	err   error // the first error of Write
}

// Write adds bytes to the entry. After an error only Abort is of use, and
// Commit returns the error again.
func (e *Entry) Write(p []byte) (int, error) {
	if e.done {
		return 0, &Error{Op: "write entry", Err: ErrEntryDone}
	}
	if e.err != nil {
		return 0, e.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	l := e.log
	if !e.begun {
		e.begun = true
		if err := l.out.begin(l.open.f, l.open.committed, ""); err != nil {
			e.err = l.fail("write entry", err)
			return 0, e.err
		}
	}
	n, err := l.out.zw.Write(p)
	if err != nil {
		e.err = l.fail("write entry", err)
		return n, e.err
	}
	return n, nil
}

// Commit ends the gzip member and fsyncs the file: after it returned nil the
// entry survives any crash. After an error nothing may be claimed about the
// entry, and the file takes no further one; what was committed before stays.
// An entry without a byte leaves no trace.
func (e *Entry) Commit() error {
	if e.done {
		return &Error{Op: "commit entry", Err: ErrEntryDone}
	}
	l := e.log
	e.done, l.entry = true, nil
	if e.err != nil || !e.begun {
		return e.err
	}
	at, err := l.out.end()
	if err != nil {
		return l.fail("commit entry", err)
	}
	if err := l.sync(at); err != nil {
		return l.fail("commit entry", err)
	}
	l.open.committed = at
	return nil
}

// Abort takes the entry back: the file is cut to the last committed entry.
// Aborting an entry that is done does nothing.
func (e *Entry) Abort() error {
	if e.done {
		return nil
	}
	l := e.log
	e.done, l.entry = true, nil
	if l.open.state != writable || !e.begun || l.out.at == l.open.committed {
		return nil // nothing reached the file, or Begin will cut it
	}
	if err := l.open.f.Truncate(l.open.committed); err != nil {
		return l.fail("abort entry", err)
	}
	return nil
}
