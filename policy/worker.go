package policy

import (
	"cmp"
	"context"
	"sync"
	"time"

	"acctpull/flash"
	"acctpull/record"
	"acctpull/retention"
	"acctpull/rollover"
)

// worker collects one policy.
type worker struct {
	c    *Collector
	plan Plan

	busy    sync.Mutex // held during a collection
	log     *flash.Log
	enc     *record.Encoder
	buf     []byte
	missing map[*Object]bool // could not be read in the last collection
	closed  bool

	mu     sync.Mutex // held while what follows is looked at
	status Status
	since  time.Time // when the next interval begins; zero if that is not known
}

func newWorker(c *Collector, plan Plan) *worker {
	w := &worker{c: c, plan: plan}
	w.status = statusOf(plan.Policy)
	w.status.Objects = len(plan.Objects)
	return w
}

// interval is how long a collection interval lasts.
func (w *worker) interval() time.Duration { return w.c.lasts(w.plan.Policy.CollectionInterval) }

// run collects on every interval until ctx ends.
func (w *worker) run(ctx context.Context) {
	sched := schedule{w.interval(), w.plan.Policy.Align}
	now := time.Now()
	w.start(now)
	due := sched.first(now)
	w.next(due)
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			w.next(time.Time{})
			return
		case <-timer.C:
		}
		now = time.Now()
		if n := sched.missed(due, now); n > 0 {
			w.lose(w.missed(now), n)
		}
		stamp := sched.stamp(due, now)
		due = sched.next(due, now)
		w.next(due)
		collecting, cancel := context.WithDeadlineCause(ctx, due, ErrUnfinished)
		// What goes wrong has reached the hooks; the next interval is tried.
		_, _ = w.collect(collecting, stamp, now)
		cancel()
		timer.Reset(time.Until(due))
	}
}

// next notes when the next collection is due.
func (w *worker) next(due time.Time) {
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
// by stamp.
func (w *worker) collect(ctx context.Context, stamp, now time.Time) (Interval, error) {
	w.busy.Lock()
	defer w.busy.Unlock()
	if w.closed {
		return Interval{}, &Error{Op: "collect", Policy: w.plan.Policy.ID, Err: ErrClosed}
	}
	e := &entry{w: w, ctx: ctx, stamp: stamp, iv: w.begins(now), missing: map[*Object]bool{}}
	if len(w.plan.Objects) > 0 {
		req := Request{At: now, Record: w.plan.Definition, Objects: w.plan.Objects}
		e.finish(w.c.o.Source.Sample(ctx, req, e))
	}
	if e.iv.Err != nil {
		e.iv.Err = &Error{Op: "collect", Policy: w.plan.Policy.ID, Err: e.iv.Err}
	}
	w.note(e)
	return e.iv, e.iv.Err
}

// begins returns the interval that ends now. Its times have no monotonic reading,
// as those in a file have none.
func (w *worker) begins(now time.Time) Interval {
	w.mu.Lock()
	defer w.mu.Unlock()
	iv := Interval{
		Policy: w.plan.Policy.ID, FileID: w.plan.File.ID, Record: w.plan.Policy.Record,
		Start: w.since.Round(0), End: now.Round(0), Objects: len(w.plan.Objects),
	}
	if !iv.End.After(iv.Start) {
		iv.Start = time.Time{}
	}
	return iv
}

// missed is the interval of which nothing was collected.
func (w *worker) missed(now time.Time) Interval {
	iv := w.begins(now)
	iv.Err = &Error{Op: "collect", Policy: w.plan.Policy.ID, Err: ErrMissed}
	return iv
}

// note takes the outcome of a collection into the status and tells the hooks.
func (w *worker) note(e *entry) {
	w.noteObjects(e)
	w.mu.Lock()
	was := w.status.State
	if e.writeErr != nil {
		w.status.Up, w.status.Err = false, e.writeErr
	} else if e.written {
		w.status.Up, w.status.Err = true, nil
	}
	state := w.status.State
	w.status.Last, w.since = e.iv, e.iv.End
	if e.written {
		w.status.File = e.iv.File
	}
	w.mu.Unlock()
	hooks := &w.c.o.Hooks
	if hooks.OnInterval != nil {
		w.c.hook(func() { hooks.OnInterval(e.iv) })
	}
	if e.iv.Err != nil {
		w.lose(e.iv, 1)
	}
	if was.Up != state.Up && hooks.OnState != nil {
		w.c.hook(func() { hooks.OnState(state) })
	}
}

// noteObjects tells which objects are missing since this collection and which
// are found again. Of an object that the collection did not come to, nothing
// new is known.
func (w *worker) noteObjects(e *entry) {
	was := w.missing
	w.missing = e.missing
	for _, o := range w.plan.Objects {
		if len(was) == 0 {
			break
		}
		switch {
		case !was[o] || e.missing[o]:
		case e.iv.Err != nil:
			w.missing[o] = true
		default:
			w.object(o, ObjectFound, "")
		}
	}
}

func (w *worker) object(o *Object, kind NoteKind, text string) {
	if hook := w.c.o.Hooks.OnObject; hook != nil {
		w.c.hook(func() { hook(ObjectNote{Policy: w.plan.Policy.ID, Object: o, Kind: kind, Text: text}) })
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

// close seals the open file.
func (w *worker) close() error {
	w.busy.Lock()
	defer w.busy.Unlock()
	w.closed = true
	if w.log == nil {
		return nil
	}
	return w.log.Close(time.Now())
}

// begin begins an entry, in a new log if none is open yet.
func (w *worker) begin(now time.Time) (*flash.Entry, error) {
	if w.log == nil {
		log, err := flash.Open(w.flash())
		if err != nil {
			return nil, err
		}
		w.log = log
	}
	return w.log.Begin(now)
}

// flash returns the options of the policy's log.
func (w *worker) flash() flash.Options {
	f, c := w.plan.File, w.c
	return flash.Options{
		Prefix: rollover.Act, ID: w.plan.Policy.ID, FileID: f.ID, Ext: fileExt,
		Rollover: c.lasts(f.Rollover), Location: c.o.Location, Header: w.header, Footer: footer,
		Places: f.Places(), Memory: w.plan.Policy.LogMemorySize << 10, RuleFor: c.ruleFor,
		Hooks: flash.Hooks{
			OnSeal: w.sealed,
			OnContention: func(place string, backup bool, err error) {
				w.located(c.o.Hooks.OnContention, place, backup, err)
			},
			OnLocationFailed: func(place string, backup bool, err error) {
				w.located(c.o.Hooks.OnLocationFailed, place, backup, err)
			},
			OnDeleted: func(d retention.Decision) {
				if hook := c.o.Hooks.OnDeleted; hook != nil {
					c.hook(func() { hook(Deletion{Policy: w.plan.Policy.ID, FileID: f.ID, Decision: d}) })
				}
			},
		},
	}
}

// located tells a hook about a location.
func (w *worker) located(hook func(LocationNote), place string, backup bool, err error) {
	if hook != nil {
		note := LocationNote{Policy: w.plan.Policy.ID, FileID: w.plan.File.ID, Location: place, Backup: backup, Err: err}
		w.c.hook(func() { hook(note) })
	}
}

// sealed notes that a file of this policy was closed.
func (w *worker) sealed(f rollover.File) {
	w.mu.Lock()
	w.status.File, w.status.Since = rollover.File{}, time.Time{}
	w.mu.Unlock()
	w.c.sealed(f)
}

// header begins a new file.
func (w *worker) header(_ rollover.Name, created time.Time, reason string) []byte {
	w.mu.Lock()
	w.status.Since = created.Round(0)
	w.mu.Unlock()
	h := record.Header{
		Policy:      w.plan.Policy.ID,
		FileID:      w.plan.File.ID,
		Record:      w.plan.Policy.Record,
		Created:     created,
		Interval:    w.interval(),
		Semantics:   semanticsOf(w.plan.Definition),
		Description: cmp.Or(w.plan.Policy.Description, w.plan.File.Description),
		Reason:      reason,
	}
	if w.plan.Policy.IncludeSystemInfo {
		h.System, h.Software, h.Zone = w.c.o.Set.Config().System, w.c.o.Software, time.UTC.String()
		if l := w.c.o.Location; l != nil {
			h.Zone = l.String()
		}
	}
	w.enc = record.NewEncoder(h)
	return w.enc.AppendHeader(nil)
}
