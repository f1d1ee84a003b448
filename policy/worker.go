package policy

import (
	"context"
	"errors"
	"sync"
	"time"

	"acctpull/rollover"
)

// worker collects one policy from the day it comes into service until it leaves
// it, or is restarted.
type worker struct {
	c    *Collector
	id   int
	wake chan struct{} // the schedule has changed
	quit chan struct{} // closed when the policy leaves service

	busy    lock // held during a collection and during every change
	plan    Plan // of the interval in progress
	out     output
	buf     []byte
	series  *series
	missing map[objectKey]bool // could not be read in the last collection
	closed  bool

	mu      sync.Mutex  // held while what follows is looked at
	removed []objectKey // objects that left the configuration
	pending *Plan       // takes the place of plan when the next interval ends
	status  Status
	since   time.Time // when the interval in progress began; zero if that is not known
}

func newWorker(c *Collector, plan Plan) *worker {
	w := &worker{
		c: c, id: plan.Policy.ID, plan: plan, busy: newLock(),
		wake: make(chan struct{}, 1), quit: make(chan struct{}), series: c.seriesOf(plan.Policy.Record),
	}
	w.status = statusOf(plan.Policy)
	w.status.Objects = len(plan.Objects)
	return w
}

// next returns the plan of the next interval.
func (w *worker) next() Plan {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending != nil {
		return *w.pending
	}
	return w.plan
}

// change makes a plan that of the next interval: its schedule and its objects
// count from now on, its file from the next interval on.
func (w *worker) change(plan Plan) {
	w.mu.Lock()
	was := w.scheduleOf(w.status)
	p := plan.Policy
	w.pending = &plan
	s := &w.status
	s.FileID, s.Default, s.CollectionInterval, s.Align, s.Objects = plan.File.ID, p.Default, p.CollectionInterval, p.Align, len(plan.Objects)
	now := w.scheduleOf(w.status)
	w.mu.Unlock()
	if was == now {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

func (w *worker) scheduleOf(s Status) schedule {
	return schedule{w.c.lasts(s.CollectionInterval), s.Align}
}

// schedule returns when the policy collects, and when the interval in progress
// began.
func (w *worker) schedule() (schedule, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.scheduleOf(w.status), w.since
}

// run collects on every interval until ctx ends or the policy leaves service.
func (w *worker) run(ctx context.Context) {
	now := time.Now()
	w.start(now)
	sched, _ := w.schedule()
	due := sched.first(now)
	w.noteDue(due)
	defer w.noteDue(time.Time{})
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.quit:
			return
		case <-w.wake:
			sched, since := w.schedule()
			due = sched.again(since, time.Now())
			w.noteDue(due)
		case <-timer.C:
			due = w.tick(ctx, due)
		}
		timer.Reset(time.Until(due))
	}
}

// tick is the collection that was due at due. It returns when the next one is.
func (w *worker) tick(ctx context.Context, due time.Time) time.Time {
	if w.busy.lock(ctx) != nil {
		return due // run ends
	}
	defer w.busy.unlock()
	if w.closed {
		return due // run ends
	}
	sched, _ := w.schedule()
	now := time.Now()
	if n := sched.missed(due, now); n > 0 {
		w.lose(w.missed(now), n)
	}
	stamp, next := sched.stamp(due, now), sched.next(due, now)
	w.noteDue(next)
	collecting, cancel := context.WithDeadlineCause(ctx, next, ErrUnfinished)
	defer cancel()
	// What goes wrong has reached the hooks; the next interval is tried.
	_, _ = w.collect(collecting, stamp, now)
	return next
}

// noteDue notes when the next collection is due.
func (w *worker) noteDue(due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Next = due.Round(0)
}

// start makes now the start of the first interval.
func (w *worker) start(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		w.since = now
	}
}

// collect collects one interval that ends now. The file is named and rolls over
// by stamp. The caller holds busy.
func (w *worker) collect(ctx context.Context, stamp, now time.Time) (Interval, error) {
	if w.closed {
		return Interval{}, &Error{Op: "collect", Policy: w.id, Err: ErrClosed}
	}
	w.adopt(w.next())
	e := w.entry(ctx, stamp, now, len(w.plan.Objects))
	var err error
	if e.writeErr = errors.Join(w.follow(now), w.series.load(w.plan)); e.writeErr == nil && (len(w.plan.Objects) > 0 || w.c.current().discovers(w.plan.Policy.Type)) {
		err = w.c.o.Source.Sample(ctx, Request{At: now, Record: w.plan.Definition, Objects: w.plan.Objects}, e)
	}
	e.finish(err)
	w.note(e)
	return e.iv, e.iv.Err
}

// adopt begins to work by a plan.
func (w *worker) adopt(plan Plan) {
	w.forget()
	w.plan = plan
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = nil
}

// forget drops what is known of objects that left the configuration.
func (w *worker) forget() {
	w.mu.Lock()
	removed := w.removed
	w.removed = nil
	w.mu.Unlock()
	w.series.forget(removed...)
}

// begins returns the interval that ends now. Its times have no monotonic reading,
// as those in a file have none.
func (w *worker) begins(now time.Time) Interval {
	w.mu.Lock()
	defer w.mu.Unlock()
	iv := Interval{
		Policy: w.id, FileID: w.plan.File.ID, Record: w.plan.Policy.Record,
		Start: w.since.Round(0), End: now.Round(0), Objects: w.status.Objects,
	}
	if !iv.End.After(iv.Start) {
		iv.Start = time.Time{}
	}
	return iv
}

// missed is the interval of which nothing was collected.
func (w *worker) missed(now time.Time) Interval {
	iv := w.begins(now)
	iv.Err = &Error{Op: "collect", Policy: w.id, Err: ErrMissed}
	return iv
}

// note takes the outcome of a collection into the status and tells the hooks.
func (w *worker) note(e *entry) {
	if !e.iv.Closing {
		w.noteObjects(e)
	}
	w.mu.Lock()
	was := w.status.State
	if e.writeErr != nil {
		w.status.Up, w.status.Err = false, e.writeErr
	} else if e.written {
		w.status.Up, w.status.Err = true, nil
	}
	state := w.status.State
	if !e.iv.Closing {
		w.status.Last, w.since = e.iv, e.iv.End
	}
	if e.written {
		w.status.File = e.iv.File
	}
	if w.out.log != nil {
		w.status.Flash = w.out.log.State()
	}
	w.mu.Unlock()
	hooks := &w.c.o.Hooks
	quiet := e.iv.Closing && e.iv.Objects+e.iv.Records == 0 && e.iv.Err == nil
	if hooks.OnInterval != nil && !quiet {
		w.c.hook(func() { hooks.OnInterval(e.iv) })
	}
	if e.iv.Err != nil {
		w.lose(e.iv, 1)
	}
	w.tellState(was, state)
}

// tellState tells that the operational state has changed, if it has.
func (w *worker) tellState(was, is State) {
	if hook := w.c.o.Hooks.OnState; hook != nil && was.Up != is.Up {
		w.c.hook(func() { hook(is) })
	}
}

// noteObjects tells which objects are missing since this collection and which
// are found again. Of an object that the collection did not come to, nothing
// new is known.
func (w *worker) noteObjects(e *entry) {
	was := w.missing
	w.missing = e.missing
	if len(was) == 0 {
		return
	}
	for _, o := range w.plan.Objects {
		k := keyOf(o)
		switch {
		case !was[k] || e.missing[k]:
		case e.iv.Err != nil:
			w.missing[k] = true
		default:
			w.object(o, ObjectFound, "")
		}
	}
}

func (w *worker) object(o *Object, kind NoteKind, text string) {
	if hook := w.c.o.Hooks.OnObject; hook != nil {
		w.c.hook(func() { hook(ObjectNote{Policy: w.id, Object: o, Kind: kind, Text: text}) })
	}
}

// lose counts n lost intervals, of which iv is the last.
func (w *worker) lose(iv Interval, n int) {
	w.mu.Lock()
	w.status.DataLoss += uint64(n)
	w.status.LastDataLoss = iv.End
	loss := DataLoss{Interval: iv, Count: w.status.DataLoss}
	w.mu.Unlock()
	if hook := w.c.o.Hooks.OnDataLoss; hook != nil {
		w.c.hook(func() { hook(loss) })
	}
}

// roll seals the open file by hand. The caller holds busy.
func (w *worker) roll(now time.Time) (rollover.File, bool, error) {
	if w.out.log == nil {
		return rollover.File{}, false, nil
	}
	if next := w.next(); next.File.ID == w.plan.File.ID {
		w.adopt(next)
		if err := w.follow(now); err != nil {
			return rollover.File{}, false, err
		}
	}
	f, ok, err := w.out.log.Roll(now)
	if err != nil {
		return f, ok, err
	}
	w.mu.Lock()
	was := w.status.State
	is := w.out.log.State()
	w.status.Up, w.status.Err, w.status.Flash = is.Up, is.Err, is
	state := w.status.State
	w.mu.Unlock()
	w.tellState(was, state)
	return f, ok, nil
}

// close seals the open file and ends the worker. It can be repeated after an
// error.
func (w *worker) close() error {
	if err := w.busy.lock(context.Background()); err != nil {
		return err
	}
	defer w.busy.unlock()
	w.end()
	w.forget()
	return errors.Join(w.series.saveGone(w.plan), w.out.close(time.Now()))
}

// end ends the worker. The caller holds busy.
func (w *worker) end() {
	if !w.closed {
		w.closed = true
		close(w.quit)
	}
}

// semantics is what the counters of the policy are.
func (w *worker) semantics() string {
	if t, ok := w.c.o.Source.(Teller); ok {
		return t.Semantics(w.plan.Policy.Record)
	}
	return semanticsOf(w.plan.Definition)
}
