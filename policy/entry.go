package policy

import (
	"context"
	"errors"
	"time"

	"acctpull/flash"
	"acctpull/record"
)

const (
	// flushAt is how many bytes are gathered before they are compressed.
	flushAt = 64 << 10
	// lookAt is how many records pass between two looks at the clock.
	lookAt = 64
)

// entry is one interval on its way into the policy's file. It is the Sink of
// one collection. The file is touched when the first record comes, so a policy
// that finds nothing neither makes a file nor rolls one over.
type entry struct {
	w        *worker
	ctx      context.Context
	stamp    time.Time // names the file and rolls it over
	iv       Interval
	out      *flash.Entry     // nil until the first record
	records  int              // taken so far
	written  bool             // the records are committed
	writeErr error            // what the disk said
	missing  map[*Object]bool // could not be read
}

// Record implements Sink.
func (e *entry) Record(r *record.Record) error {
	if e.records%lookAt == 0 && e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	if e.writeErr != nil {
		return e.writeErr
	}
	w := e.w
	if w.plan.File.ID == 0 {
		e.records++
		return nil
	}
	if e.out == nil {
		if e.out, e.writeErr = w.begin(e.stamp); e.writeErr != nil {
			return e.writeErr
		}
		w.buf = w.enc.AppendIntervalStart(w.buf[:0], e.iv.Start, e.iv.End)
	}
	var err error
	if w.buf, err = w.enc.AppendRecord(w.buf, r); err != nil {
		return err
	}
	e.records++
	if len(w.buf) >= flushAt {
		return e.flush()
	}
	return nil
}

func (e *entry) flush() error {
	_, e.writeErr = e.out.Write(e.w.buf)
	e.w.buf = e.w.buf[:0]
	return e.writeErr
}

// Missing implements Sink.
func (e *entry) Missing(o *Object, err error) {
	if e.missing[o] {
		return
	}
	e.missing[o] = true
	e.iv.Missing++
	if !e.w.missing[o] {
		e.w.object(o, ObjectMissing, err.Error())
	}
}

// Restarted implements Sink.
func (e *entry) Restarted(o *Object, why string) {
	e.iv.Restarted++
	e.w.object(o, ObjectRestarted, why)
}

// finish commits what was taken and sets the outcome. sampleErr is what Sample
// returned.
func (e *entry) finish(sampleErr error) {
	e.iv.Err = e.cause(sampleErr)
	if e.out == nil {
		if e.writeErr == nil {
			e.iv.Records = e.records
		}
		return
	}
	w := e.w
	if e.writeErr == nil {
		w.buf = w.enc.AppendIntervalEnd(w.buf)
		if e.flush() == nil {
			e.writeErr = e.out.Commit()
		}
	}
	if e.writeErr != nil {
		e.out.Abort() // after a failed Commit it does nothing
		e.iv.Err = e.writeErr
		return
	}
	e.written = true
	e.iv.Records = e.records
	e.iv.File, _ = w.log.Current()
}

// cause says why a collection ended early.
func (e *entry) cause(sampleErr error) error {
	switch {
	case sampleErr == nil:
		return e.writeErr // a Source may have taken no notice of it
	case e.writeErr != nil:
		return e.writeErr
	case e.ctx.Err() == nil:
		return sampleErr
	case errors.Is(context.Cause(e.ctx), ErrUnfinished):
		return ErrUnfinished
	}
	return ErrStopped
}
