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

// entry is one interval on its way into the policy's file, or the last values
// of objects that leave the policy. It is the Sink of one collection. The file
// is touched when the first record comes, so a policy that finds nothing
// neither makes a file nor rolls one over.
type entry struct {
	w        *worker
	ctx      context.Context
	stamp    time.Time // names the file and rolls it over
	iv       Interval
	out      *flash.Entry       // nil until the first record
	records  int                // taken so far
	finals   int                // how many of them are last values
	written  bool               // the records are committed
	writeErr error              // what the disk said
	missing  map[objectKey]bool // could not be read

	rec     record.Record      // a record that is not written as it came
	given   map[objectKey]int  // the last final of the source
	reached map[objectKey]int  // the last final written
	fates   map[objectKey]fate // Closing: what becomes of objects
}

// entry begins an entry with so many objects.
func (w *worker) entry(ctx context.Context, stamp, now time.Time, objects int) *entry {
	e := &entry{w: w, ctx: ctx, stamp: stamp, iv: w.begins(now), missing: map[objectKey]bool{}}
	e.iv.Objects = objects
	return e
}

// Record implements Sink.
func (e *entry) Record(r *record.Record) error {
	if e.records%lookAt == 0 && e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	if e.writeErr != nil {
		return e.writeErr
	}
	if r.Final > 0 || e.iv.Closing || len(e.w.series.base) > 0 {
		if r = e.adapt(r); r == nil {
			return nil
		}
	}
	return e.write(r)
}

// write appends a record as it is.
func (e *entry) write(r *record.Record) error {
	w := e.w
	stored := w.plan.File.ID != 0
	if stored && e.out == nil {
		if e.out, e.writeErr = w.begin(e.stamp); e.writeErr != nil {
			return e.writeErr
		}
		w.buf = w.out.enc.AppendIntervalStart(w.buf[:0], e.iv.Start, e.iv.End)
	}
	if stored {
		var err error
		if w.buf, err = w.out.enc.AppendRecord(w.buf, r); err != nil {
			return err
		}
	}
	e.records++
	if r.Final > 0 {
		e.finals++
	}
	if stored && len(w.buf) >= flushAt {
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
	k := keyOf(o)
	if e.missing[k] {
		return
	}
	e.missing[k] = true
	if _, ok := e.fates[k]; e.iv.Closing && !ok {
		return // the next collection says so
	}
	e.iv.Missing++
	if !e.w.missing[k] {
		e.w.object(o, ObjectMissing, err.Error())
	}
}

// Restarted implements Sink.
func (e *entry) Restarted(o *Object, why string) {
	e.w.series.restarted(keyOf(o))
	e.iv.Restarted++
	e.w.object(o, ObjectRestarted, why)
}

// finish commits what was taken and sets the outcome. sampleErr is what Sample
// returned.
func (e *entry) finish(sampleErr error) {
	e.commit(e.cause(sampleErr))
	e.w.series.settle(e)
	if e.iv.Err != nil {
		e.iv.Err = &Error{Op: "collect", Policy: e.w.id, Err: e.iv.Err}
	}
}

func (e *entry) commit(cause error) {
	e.iv.Err = cause
	if e.out == nil {
		if e.writeErr == nil {
			e.iv.Records, e.iv.Finals = e.records, e.finals
		}
		return
	}
	w := e.w
	if e.writeErr == nil {
		w.buf = w.out.enc.AppendIntervalEnd(w.buf)
		// The file must not say less than a baseline that could be lost.
		if e.flush() == nil {
			e.writeErr = w.series.save()
		}
		if e.writeErr == nil {
			e.writeErr = e.out.Commit()
		}
	}
	if e.writeErr != nil {
		e.out.Abort() // after a failed Commit it does nothing
		e.iv.Err = e.writeErr
		return
	}
	e.written = true
	e.iv.Records, e.iv.Finals = e.records, e.finals
	e.iv.File, _ = w.out.log.Current()
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
