package policy

import (
	"cmp"
	"slices"
	"time"

	"acctpull/flash"
	"acctpull/record"
	"acctpull/retention"
	"acctpull/rollover"
)

// output is where a policy writes: the log of a file-id, or nothing yet.
type output struct {
	log  *flash.Log // nil before the first record
	plan Plan       // by which log was opened or last changed
	enc  *record.Encoder
}

// close seals the open file and gives the log up.
func (o *output) close(now time.Time) error {
	if o.log == nil {
		return nil
	}
	if err := o.log.Close(now); err != nil {
		return err
	}
	o.log = nil
	return nil
}

// follow makes the log that of the present plan: a new destination is used from
// the next interval on, a new location from the next file on (SR OS,
// "accounting-policy", "file-id").
func (w *worker) follow(now time.Time) error {
	o, to := &w.out, w.plan.File
	switch {
	case o.log == nil:
	case o.plan.File.ID != to.ID:
		_ = w.abandon(now) // OnLeft has told; the new destination is used all the same
	case !sameLog(o.plan, w.plan):
		if err := o.log.Reconfigure(w.flash()); err != nil {
			return err
		}
		o.plan = w.plan
	}
	return nil
}

// sameLog tells whether a log has nothing to do about a change from a to b.
func sameLog(a, b Plan) bool {
	return slices.Equal(a.File.Places(), b.File.Places()) && a.File.Rollover == b.File.Rollover && a.Policy.LogMemorySize == b.Policy.LogMemorySize
}

// abandon closes the log for good. A file that cannot be sealed is left for the
// next Recover.
func (w *worker) abandon(now time.Time) error {
	o := &w.out
	if o.log == nil {
		return nil
	}
	w.mu.Lock()
	current := w.status.File // also when the log has given the file up
	w.mu.Unlock()
	err := o.close(now)
	if err == nil {
		return nil
	}
	o.log = nil
	w.c.leave(w.id, o.plan.File)
	w.mu.Lock()
	w.status.File, w.status.Since = rollover.File{}, time.Time{}
	w.mu.Unlock()
	if hook := w.c.o.Hooks.OnLeft; hook != nil {
		w.c.hook(func() { hook(LeftFile{Policy: w.id, File: current, Err: err}) })
	}
	return err
}

// begin begins an entry, in a new log if none is open yet.
func (w *worker) begin(now time.Time) (*flash.Entry, error) {
	if w.out.log == nil {
		log, err := flash.Open(w.flash())
		if err != nil {
			return nil, err
		}
		w.out.log, w.out.plan = log, w.plan
	}
	return w.out.log.Begin(now)
}

// flash returns the options of the policy's log.
func (w *worker) flash() flash.Options {
	f, c := w.plan.File, w.c
	return flash.Options{
		Prefix: rollover.Act, ID: w.id, FileID: f.ID, Ext: fileExt,
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
					c.hook(func() { hook(Deletion{Policy: w.id, FileID: f.ID, Decision: d}) })
				}
			},
		},
	}
}

// located tells a hook about a location.
func (w *worker) located(hook func(LocationNote), place string, backup bool, err error) {
	if hook != nil {
		note := LocationNote{Policy: w.id, FileID: w.out.plan.File.ID, Location: place, Backup: backup, Err: err}
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
		Policy:      w.id,
		FileID:      w.plan.File.ID,
		Record:      w.plan.Policy.Record,
		Created:     created,
		Interval:    w.c.lasts(w.plan.Policy.CollectionInterval),
		Semantics:   w.semantics(),
		Description: cmp.Or(w.plan.Policy.Description, w.plan.File.Description),
		Reason:      reason,
	}
	if w.plan.Policy.IncludeSystemInfo {
		h.System, h.Software, h.Zone = w.c.current().Config().System, w.c.o.Software, time.UTC.String()
		if l := w.c.o.Location; l != nil {
			h.Zone = l.String()
		}
	}
	w.out.enc = record.NewEncoder(h)
	return w.out.enc.AppendHeader(nil)
}
