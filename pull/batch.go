package pull

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"acctpull/internal/depot"
	"acctpull/ledger"
)

// batch is a set of files that are fetched, published and recorded together. Its
// order is the promise of this package: the bytes are durable before the name,
// the name before the ledger.
type batch struct {
	*run
	todo  []work
	again bool // a file changed on the device; another listing finds it

	r    *receiver        // what came
	now  map[string]entry // what the device says of it afterwards, nil if it was not asked
	gone bool             // what it does not mention is gone
}

// collect fetches the files, makes them durable, verifies them, and asks the
// device about them once more. Its error ends the run or the attempt; what
// arrived whole before it can be settled.
func (b *batch) collect(ctx context.Context, tr transport) error {
	b.r = newReceiver(ctx, b.archive.collect(), b.o.Verify, b.progress)
	err := tr.fetch(ctx, b.entries(), b.r)
	if local := b.r.wait(); local != nil {
		return local // err says the same
	}
	if err != nil {
		return err
	}
	// A file that grew or changed while it was read is not the file that was
	// listed. Without a connection there is no answer, and the verification
	// of the content has to do.
	b.now, b.gone, err = tr.confirm(ctx, b.entries())
	return err
}

// conclude decides about every file of the batch. The device is not needed for
// that, and an interruption only shortens what is left.
func (b *batch) conclude(ctx context.Context) error {
	calm, cancel := afterwards(ctx)
	defer cancel()
	return errors.Join(b.settleAll(calm), b.discard())
}

func (b *batch) entries() []entry {
	es := make([]entry, len(b.todo))
	for i, w := range b.todo {
		es[i] = w.entry
	}
	return es
}

// settleAll publishes and records what arrived, and records what did not.
func (b *batch) settleAll(ctx context.Context) error {
	var good []work
	for _, w := range b.todo {
		a := b.r.arrived[w.entry.name]
		current, listed := b.now[w.entry.name]
		changed := listed && !current.same(w.entry)
		var err error
		switch {
		case changed:
			b.again = true
			err = b.lose(ctx, w.claim, Superseded, supersededBy(w.claim.Key, current))
		case a == nil && b.now != nil && !listed && b.gone:
			err = b.lose(ctx, w.claim, Lost, "gone between the listing and the fetch")
		case a == nil:
			err = b.missing(ctx, w, b.r.failures[w.entry.name])
		case a.err != nil:
			err = b.distrust(ctx, w, a)
		default:
			good = append(good, w)
		}
		if err != nil {
			return err
		}
	}
	return b.store(ctx, good)
}

// missing gives back a file that did not arrive.
func (b *batch) missing(ctx context.Context, w work, why error) error {
	if why == nil {
		// Not even begun: the attempt ended before. It is given back with
		// everything else.
		b.failed[w.claim.Key] = "not fetched before the run ended"
		return nil
	}
	return b.giveBack(ctx, w.claim, oneLine(why))
}

// oneLine is the text of an error for a reason.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// store gives verified files their names, makes those durable and tells the
// ledger, in one transaction.
func (b *batch) store(ctx context.Context, good []work) error {
	if len(good) == 0 {
		return nil
	}
	finished := make([]depot.File, len(good))
	for i, w := range good {
		a := b.r.arrived[w.entry.name]
		finished[i] = depot.File{Path: w.entry.name, Local: a.file.Path(), SHA256: a.sum, Size: a.file.Size()}
	}
	names := make([]ledger.Key, len(good))
	for i, w := range good {
		names[i] = w.claim.Key
	}
	other, err := b.archive.publish(ctx, finished)
	if err != nil && b.remote() {
		err = errors.Join(err, b.hold(finished, names))
	}
	if err != nil {
		return &localError{&Error{Op: "store", Device: b.device, Err: err}}
	}
	items := make([]ledger.StoreItem, len(good))
	files := make([]File, len(good))
	for i, w := range good {
		d := finished[i]
		found := b.r.arrived[w.entry.name].found
		items[i] = ledger.StoreItem{Claim: w.claim, SHA256: d.SHA256, Stored: d.Path, Facts: found.Facts}
		files[i] = b.storedFile(w.claim.Key, d, other[i], found.Records)
	}
	return b.record(ctx, items, files)
}

// storedFile is a published file as the result tells of it; other is that its
// name was taken.
func (b *batch) storedFile(k ledger.Key, d depot.File, other bool, records int64) File {
	f := File{Key: k, Outcome: Stored, SHA256: d.SHA256, Stored: d.Path, Records: records}
	if other {
		f.Warning = "other content under a name that is already taken; both are kept"
	}
	return f
}

// record tells the ledger of files that are durable under their names.
func (b *batch) record(ctx context.Context, items []ledger.StoreItem, files []File) error {
	results, err := b.o.Ledger.StoreMany(ctx, b.o.Now(), items)
	if err != nil {
		return err
	}
	for i, f := range files {
		if err := results[i].Err; err != nil {
			if err := b.unlessVoid(f.Key, err); err != nil {
				return err
			}
			continue
		}
		if f.AliasOf = results[i].AliasOf; f.AliasOf != "" {
			f.Outcome, f.Reason = Alias, "same content as "+f.AliasOf
		}
		b.settle(f)
	}
	return nil
}

// distrust moves a file that did not pass verification to the quarantine.
func (b *batch) distrust(ctx context.Context, w work, a *arrival) error {
	reason := clean(oneLine(a.err))
	stored, err := b.archive.isolate(ctx, a.file.Path(), w.entry.name, a.sum, a.file.Size(), b.note(w.claim.Key, a.sum, reason))
	if err != nil {
		return &localError{&Error{Op: "quarantine", Device: b.device, File: w.entry.name, Err: err}}
	}
	if err := b.o.Ledger.Quarantine(ctx, b.o.Now(), w.claim, stored, reason, tryAgain(b.o.Now(), w.claim)); err != nil {
		return b.unlessVoid(w.claim.Key, err)
	}
	b.settle(File{Key: w.claim.Key, Outcome: Quarantined, SHA256: a.sum, Stored: stored, Records: a.found.Records, Reason: reason})
	return nil
}

// tryAgain is when a file that came broken is fetched once more, if the device
// still lists it as it was: it may have been broken on the way, or be whole by
// then. The times grow, and after the last the zero time says never.
func tryAgain(now time.Time, c ledger.Claim) time.Time {
	waits := [...]time.Duration{10 * time.Minute, time.Hour, 4 * time.Hour}
	if n := c.Attempt - 1; n >= 0 && n < len(waits) {
		return now.Add(waits[n])
	}
	return time.Time{}
}

// note is the text beside a file in quarantine.
func (r *run) note(k ledger.Key, sum, reason string) Note {
	return Note{Key: k, SHA256: sum, Reason: reason, Since: r.o.Now()}
}

// discard closes what arrived, and removes the temporary files that were not
// moved to their names.
func (b *batch) discard() error {
	var errs []error
	for _, a := range b.r.arrived {
		if err := a.file.Abort(); err != nil {
			errs = append(errs, &localError{err})
		}
	}
	return errors.Join(errs...)
}

// isNetwork reports whether an error came from connecting.
func isNetwork(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) || errors.As(err, &dns) && !dns.IsNotFound
}
