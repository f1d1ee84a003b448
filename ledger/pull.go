package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Discover records a listing: unknown keys become Discovered rows, and a Lost
// file that is listed again becomes Discovered again, and so does one in
// quarantine whose time to be tried again has come. It returns the row of every
// key, in order; a key given twice gets the same row twice. Repeating a
// call is harmless. A long listing is recorded in several transactions.
//
// A file that a rebuild found in the archive (RebuiltPath) is recognised by name,
// size and modification time, and gets the directory of the key.
func (l *Ledger) Discover(ctx context.Context, now time.Time, keys []Key) ([]Row, error) {
	const op = "discover"
	if err := l.broken(); err != nil {
		return nil, err
	}
	for _, k := range keys {
		if err := k.check(); err != nil {
			return nil, l.fail(op, err)
		}
	}
	known, err := l.known(ctx, keys)
	if err != nil {
		return nil, l.fail(op, err)
	}
	twins, err := l.twins(ctx, keys, known)
	if err != nil {
		return nil, l.fail(op, err)
	}
	rows := make([]Row, len(keys))
	var open []int // indexes of keys that need a write
	for i, k := range keys {
		r, ok := known[k]
		rows[i] = r.Row
		if !ok || again(r.Row, now) {
			open = append(open, i)
		}
	}
	for len(open) > 0 {
		part := open[:min(chunk, len(open))]
		open = open[len(part):]
		err := l.write(ctx, op, func(t *transaction) error {
			for _, i := range part {
				r, ok, err := t.recognise(keys[i], twins)
				if err == nil && !ok {
					r, err = t.discover(now, keys[i])
				}
				if err != nil {
					return err
				}
				rows[i] = r
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (t *transaction) discover(now time.Time, k Key) (Row, error) {
	fresh := Row{Key: k, First: round(now), Changed: round(now)}
	if ok, err := t.insert(fresh); ok || err != nil {
		return fresh, err
	}
	r, ok, err := t.row(k)
	if err != nil || ok && !again(r.Row, now) {
		return r.Row, err
	}
	if !ok {
		return r.Row, about(k, fmt.Errorf("%w: an index has an entry without a row", ErrDamaged))
	}
	if r.State == Lost {
		r.Reason = ""
	}
	r.State, r.NotBefore, r.Changed = Discovered, time.Time{}, round(now)
	return r.Row, t.saveStored(r)
}

// again reports whether a file that is listed is worth another try: it was lost,
// or it came broken and Quarantine said when to try again.
func again(r Row, now time.Time) bool {
	return r.State == Lost ||
		r.State == Quarantined && r.Batch == "" && !r.NotBefore.IsZero() && toMilli(r.NotBefore) <= toMilli(now)
}

// Claim gives the owner the right to work on up to limit Discovered files of a
// device that nobody holds at now, for the length of the lease; limit 0 means no
// limit. Files come oldest first: by what follows the first "-" of the name,
// which is the creation time.
//
// A lease is a promise, not a lock: when it has run out another claim may take
// the file, and the first claim is then void.
func (l *Ledger) Claim(ctx context.Context, now time.Time, owner string, lease time.Duration, device string, limit int) ([]Claim, error) {
	const op = "claim"
	if err := checkLease(owner, lease); err != nil {
		return nil, l.fail(op, err)
	}
	if limit <= 0 {
		limit = math.MaxInt32
	}
	var claims []Claim
	err := l.write(ctx, op, func(t *transaction) error {
		rows, err := t.rows(func(r line) bool { return r.Device == device && free(r.Row, now) },
			claimable+t.e.skipLocked, device, toMilli(now), limit)
		if err != nil {
			return err
		}
		claims = make([]Claim, len(rows))
		for i, r := range rows {
			before := r.Attempt
			r.Owner, r.Lease, r.Attempt = owner, round(now.Add(lease)), r.Attempt+1
			if err := t.saveLease(r, before); err != nil {
				return err
			}
			claims[i] = Claim{Key: r.Key, Owner: owner, Attempt: r.Attempt}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// checkLease reports what makes an owner or a lease unusable.
func checkLease(owner string, lease time.Duration) error {
	if owner == "" || checkText(owner) != nil {
		return fmt.Errorf("the owner %s is no name", quote(owner))
	}
	if lease <= 0 {
		return fmt.Errorf("a lease of %v", lease)
	}
	return nil
}

// free reports whether nobody holds the row and its back-off is over.
func free(r Row, now time.Time) bool {
	return r.State == Discovered && toMilli(r.Lease) < toMilli(now) && toMilli(r.NotBefore) <= toMilli(now)
}

// Store records that the file of a claim is verified and durable at stored.
// alias is true if the device delivered the same content before under another
// key: the row is then an alias and is never exported itself. ErrLeaseLost
// means that the claim is void and nothing was recorded. Repeating a call that
// was recorded is harmless.
func (l *Ledger) Store(ctx context.Context, now time.Time, c Claim, sha256, stored string) (alias bool, err error) {
	results, err := l.StoreMany(ctx, now, []StoreItem{{Claim: c, SHA256: sha256, Stored: stored}})
	if err != nil {
		return false, err
	}
	return results[0].AliasOf != "", results[0].Err
}

// StoreMany is Store for many files in one transaction. A void claim fails only
// its own item; any other error means that nothing was recorded.
func (l *Ledger) StoreMany(ctx context.Context, now time.Time, items []StoreItem) ([]StoreResult, error) {
	const op = "store"
	for _, it := range items {
		err := checkSum(it.SHA256)
		if err == nil && it.Stored == "" {
			err = errors.New("the file has no stored path")
		}
		if err = errors.Join(err, checkText(it.Stored), it.Facts.check()); err != nil {
			return nil, l.fail(op, about(it.Claim.Key, err))
		}
	}
	results := make([]StoreResult, len(items))
	err := l.write(ctx, op, func(t *transaction) error {
		for i, it := range items {
			results[i] = StoreResult{}
			aliasOf, err := t.store(now, it)
			if errors.Is(err, ErrLeaseLost) {
				err, results[i].Err = nil, l.fail(op, err)
			}
			if err != nil {
				return err
			}
			results[i].AliasOf = aliasOf
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (t *transaction) store(now time.Time, it StoreItem) (aliasOf string, err error) {
	r, err := t.claimed(it.Claim)
	if done := r.Attempt == it.Claim.Attempt && r.SHA256 == it.SHA256 && r.Stored == it.Stored; done && errors.Is(err, ErrLeaseLost) {
		return r.AliasOf, nil
	}
	if err != nil {
		return "", err
	}
	if err := t.become(now, &r, it.SHA256, it.Stored); err != nil {
		return "", err
	}
	return r.AliasOf, t.saveFacts(r, it.Facts)
}

// become makes a row Stored, or an alias of the row that has the content.
func (t *transaction) become(now time.Time, r *line, sha256, stored string) error {
	first, ok, err := t.content(r.Device, sha256)
	if err != nil {
		return err
	}
	r.State, r.SHA256, r.Stored, r.Reason = Stored, sha256, stored, ""
	if ok {
		r.State, r.AliasOf, r.Reason = first.State, first.Name, first.Reason
	}
	again := ok && !first.Expired.IsZero()
	if again { // its time is over, whatever it is called now
		r.Expired = round(now)
	}
	r.Owner, r.Lease, r.NotBefore, r.Changed = "", time.Time{}, time.Time{}, round(now)
	if err := t.saveStored(*r); err != nil || !again {
		return err
	}
	_, err = t.expiring(now, *r)
	return err
}

// Quarantine records that the file of a claim cannot be trusted. stored is
// where its bytes are kept, "" if there are none. The file is claimed again when
// the device lists it with another size or time, or if it still lists it at
// again; the zero time means that it is not.
func (l *Ledger) Quarantine(ctx context.Context, now time.Time, c Claim, stored, reason string, again time.Time) error {
	if err := checkText(stored); err != nil {
		return l.fail("quarantine", about(c.Key, err))
	}
	return l.end(ctx, "quarantine", c, reason, func(r *line) {
		r.State, r.Stored, r.NotBefore, r.Changed = Quarantined, stored, round(again), round(now)
	})
}

// Lost records that the file of a claim is no longer on the device. One that was
// in quarantine before is so again: some of its bytes are here.
func (l *Ledger) Lost(ctx context.Context, now time.Time, c Claim, reason string) error {
	return l.end(ctx, "lose", c, reason, func(r *line) {
		r.State, r.NotBefore, r.Changed = Lost, time.Time{}, round(now)
		if r.Stored != "" {
			r.State = Quarantined
		}
	})
}

// end ends a claim with a reason.
func (l *Ledger) end(ctx context.Context, op string, c Claim, reason string, change func(*line)) error {
	if reason == "" {
		return l.fail(op, about(c.Key, errors.New("no reason is given")))
	}
	return l.write(ctx, op, func(t *transaction) error {
		r, err := t.claimed(c)
		if errors.Is(err, ErrLeaseLost) && r.Attempt == c.Attempt && r.Owner == "" {
			// Nobody has claimed the file since: it may have been this call.
			done := r
			change(&done)
			if done.Reason = clean(reason); done == r {
				return nil
			}
		}
		if err != nil {
			return err
		}
		change(&r)
		r.Reason, r.Owner, r.Lease = clean(reason), "", time.Time{}
		return t.saveStored(r)
	})
}

// Release gives a claim back: the file stays Discovered and may be claimed again
// from notBefore on; the zero time means at once. The reason is kept until the
// file is stored.
func (l *Ledger) Release(ctx context.Context, c Claim, reason string, notBefore time.Time) error {
	return l.write(ctx, "release", func(t *transaction) error {
		r, err := t.claimed(c)
		if errors.Is(err, ErrLeaseLost) && r.State == Discovered && r.Attempt == c.Attempt && r.Owner == "" && c.Attempt > 0 {
			return nil // it is free: this call was recorded already, or the claim was voided
		}
		if err != nil {
			return err
		}
		r.Owner, r.Lease, r.NotBefore, r.Reason = "", time.Time{}, round(notBefore), clean(reason)
		return t.saveLease(r, r.Attempt)
	})
}

// claimed reads the row of a claim that still holds.
func (t *transaction) claimed(c Claim) (line, error) {
	r, ok, err := t.row(c.Key)
	if err != nil {
		return r, err
	}
	if !ok || r.State != Discovered || r.Owner != c.Owner || r.Owner == "" || r.Attempt != c.Attempt {
		return r, about(c.Key, ErrLeaseLost)
	}
	return r, nil
}

// round is the time as the ledger stores it: UTC milliseconds.
func round(t time.Time) time.Time { return fromMilli(toMilli(t)) }
