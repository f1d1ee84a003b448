package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Expiring is a file whose bytes have to go: the ledger has it as expired already.
type Expiring struct {
	// File is its place in the ledger, for Gone.
	File   int64
	Device string
	// Stored is where the bytes are, SHA256 theirs.
	Stored, SHA256 string
	// Since is when it expired, or when TakeExpiring gave it out last.
	Since time.Time
}

const (
	selectExpiring = `SELECT file, device, stored, sha256, since, crc FROM expiring `
	expiringSince  = `WHERE since < $1 ORDER BY since, file LIMIT $2`
	insertExpiring = `INSERT INTO expiring (file, device, stored, sha256, since, crc) VALUES ($1, $2, $3, $4, $5, $6)
	ON CONFLICT (file) DO UPDATE SET since = excluded.since, crc = excluded.crc`
	deleteExpiring = `DELETE FROM expiring WHERE file = $1`

	updateExpired = `UPDATE pulled SET expired = $1, crc = $2 WHERE id = $3 AND expired = 0`
)

func (x Expiring) crc() int64 {
	var c checksum
	c.text(x.Device, x.Stored, x.SHA256)
	c.number(x.File, toMilli(x.Since))
	return c.sum()
}

func scanExpiring(s scanner) (Expiring, error) {
	var x Expiring
	var since, crc int64
	if err := s.Scan(&x.File, &x.Device, &x.Stored, &x.SHA256, &since, &crc); err != nil {
		return x, err
	}
	x.Since = fromMilli(since)
	return x, whole("expiring", crc, x.crc())
}

// expiring records that the bytes of a file have to go.
func (t *transaction) expiring(now time.Time, r line) (Expiring, error) {
	x := Expiring{File: r.id, Device: r.Device, Stored: r.Stored, SHA256: r.SHA256, Since: round(now)}
	_, err := t.exec(insertExpiring, x.File, x.Device, x.Stored, x.SHA256, toMilli(x.Since), x.crc())
	return x, err
}

// Kept is a file of the archive in the eyes of retention.
type Kept struct {
	Row
	mark keptMark
}

// keptMark is a place in the order of KeptFiles.
type keptMark struct{ first, id int64 }

// KeptFrom is where KeptFiles goes on. The zero value is the beginning.
type KeptFrom struct{ mark keptMark }

// Next goes on behind a file.
func (k Kept) Next() KeptFrom { return KeptFrom{k.mark} }

const (
	// keptColumns are those of a row and of its facts, if it has any.
	keptColumns = rowColumns + `, COALESCE(facts.file, 0), COALESCE(facts.device, ''), COALESCE(policy, 0), COALESCE(file_id, 0),
	COALESCE(record, ''), COALESCE(interval_ms, 0), COALESCE(truncated, 0), COALESCE(first_start, 0), COALESCE(last_end, 0),
	COALESCE(spans, ''), COALESCE(facts.crc, 0)`
	selectKept = `SELECT ` + keptColumns + ` FROM pulled LEFT JOIN facts ON facts.file = pulled.id `

	// keptBefore are the exported files that are kept, in the order in which
	// they came.
	keptBefore = `WHERE state = 2 AND pulled.expired = 0 AND (first_seen, pulled.id) > ($1, $2) AND first_seen < $3
	ORDER BY first_seen, pulled.id`
	// keptOf are all files of a device.
	keptOf = `WHERE pulled.device = $1 AND stored <> '' ORDER BY name, first_seen, pulled.id`

	keptNumber = `SELECT COUNT(*) FROM (SELECT 1 FROM pulled WHERE state = 2 AND expired = 0 LIMIT $1) AS kept`
	keptRest   = `SELECT COUNT(*) FROM pulled WHERE state = 2 AND expired = 0 AND (first_seen, id) > ($1, $2) AND first_seen < $3`
	keptNewest = `WHERE state = 2 AND pulled.expired = 0 ORDER BY first_seen DESC, pulled.id DESC LIMIT $1`
)

func scanKept(s scanner) (Kept, error) {
	var r line
	var n rowNumbers
	var x fact
	var crc int64
	if err := s.Scan(append(n.targets(&r), x.targets(&crc)...)...); err != nil {
		return Kept{}, err
	}
	if err := n.finish(&r); err != nil {
		return Kept{}, err
	}
	k := Kept{Row: r.Row, mark: keptMark{n.first, r.id}}
	if x.file == 0 {
		return k, nil
	}
	f, err := x.facts(crc)
	if err == nil && (x.file != r.id || x.device != r.Device) {
		err = fmt.Errorf("%w: a row of the table facts belongs to another file", ErrDamaged)
	}
	k.Facts = f
	return k, err
}

// KeptFiles yields the Exported files whose bytes are kept and that were first
// seen before a time, in that order, with Row.Facts if there are any; it begins
// at from. It ends after an error.
func (l *Ledger) KeptFiles(ctx context.Context, from KeptFrom, before time.Time) iter.Seq2[Kept, error] {
	return func(yield func(Kept, error) bool) {
		stream(l, scanKept, func(k Kept) bool { return yield(k, nil) }, func(err error) { yield(Kept{}, err) })(
			l.query(ctx, selectKept+keptBefore, from.mark.first, from.mark.id, toMilli(before)))
	}
}

// StoredFiles yields every file of a device that has or had bytes here, by name,
// with Row.Facts if there are any. It ends after an error.
func (l *Ledger) StoredFiles(ctx context.Context, device string) iter.Seq2[Kept, error] {
	return func(yield func(Kept, error) bool) {
		stream(l, scanKept, func(k Kept) bool { return yield(k, nil) }, func(err error) { yield(Kept{}, err) })(
			l.query(ctx, selectKept+keptOf, device))
	}
}

// CountKept counts the Exported files whose bytes are kept: all of them, but not
// further than most, and those that KeptFiles would yield.
func (l *Ledger) CountKept(ctx context.Context, most int, from KeptFrom, before time.Time) (all, rest int, err error) {
	number := func(s scanner) (n int64, err error) { return n, s.Scan(&n) }
	a, errA := collect(number)(l.query(ctx, keptNumber, most))
	b, errB := collect(number)(l.query(ctx, keptRest, from.mark.first, from.mark.id, toMilli(before)))
	if err := errors.Join(errA, errB); err != nil {
		return 0, 0, l.fail("read", err)
	}
	return int(a[0]), int(b[0]), nil
}

// NewestKept returns the Exported files that came last and whose bytes are kept,
// the last one first, at most limit of them.
func (l *Ledger) NewestKept(ctx context.Context, limit int) ([]Kept, error) {
	all, err := collect(scanKept)(l.query(ctx, selectKept+keptNewest, limit))
	if err != nil {
		return nil, l.fail("read", err)
	}
	return all, nil
}

// Expire records that the time of files is over and returns those whose bytes have
// to go now. It must be called before anything is removed. A file that is not
// Exported, or has expired already, is left out; bytes that several rows share go
// with the last of these. holds are those that the caller has considered: if
// another one is in force the error is ErrHeld and nothing is recorded.
func (l *Ledger) Expire(ctx context.Context, now time.Time, keys []Key, holds []Hold) (going []Expiring, err error) {
	err = l.write(ctx, "expire", func(t *transaction) error {
		going = nil
		if err := t.seen(holds); err != nil {
			return err
		}
		var done []line
		for _, k := range keys {
			r, ok, err := t.row(k)
			switch {
			case err != nil:
				return err
			case !ok:
				return about(k, ErrUnknownFile)
			case r.State != Exported || !r.Expired.IsZero():
				continue
			}
			r.Expired = round(now)
			if _, err := t.exec(updateExpired, toMilli(r.Expired), r.crc(), r.id); err != nil {
				return about(k, err)
			}
			done = append(done, r)
		}
		for _, r := range done {
			shared, err := t.sharesBytes(r)
			if err != nil {
				return err
			}
			if shared {
				continue
			}
			x, err := t.expiring(now, r)
			if err != nil {
				return err
			}
			going = append(going, x)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return going, nil
}

// sharesBytes reports whether another row that has not expired has its bytes where
// r has them.
func (t *transaction) sharesBytes(r line) (bool, error) {
	same, err := t.rows(func(x line) bool { return x.Device == r.Device && x.SHA256 == r.SHA256 && x.AliasOf != "" },
		aliasesOf+t.e.forUpdate, r.Device, r.SHA256)
	if err != nil {
		return false, err
	}
	first, ok, err := t.content(r.Device, r.SHA256)
	if err != nil {
		return false, err
	}
	if ok {
		same = append(same, first)
	}
	for _, x := range same {
		if x.id != r.id && x.Stored == r.Stored && x.Expired.IsZero() {
			return true, nil
		}
	}
	return false, nil
}

// TakeExpiring gives out files whose bytes have to go and that somebody was to
// remove before a time, and did not: at most limit of them. They are given to
// nobody else until Since, which is now, lies before such a time again.
func (l *Ledger) TakeExpiring(ctx context.Context, now, before time.Time, limit int) (going []Expiring, err error) {
	err = l.write(ctx, "expire", func(t *transaction) error {
		going, err = collect(scanExpiring)(t.query(selectExpiring+expiringSince+t.e.skipLocked, toMilli(before), limit))
		if err != nil {
			return err
		}
		for i := range going {
			x := &going[i]
			x.Since = round(now)
			if _, err := t.exec(insertExpiring, x.File, x.Device, x.Stored, x.SHA256, toMilli(x.Since), x.crc()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return going, nil
}

// Gone records that the bytes of files were removed, durably, or were not there.
func (l *Ledger) Gone(ctx context.Context, gone []Expiring) error {
	if len(gone) == 0 {
		return nil
	}
	return l.write(ctx, "expire", func(t *transaction) error {
		for _, x := range gone {
			if _, err := t.exec(deleteExpiring, x.File); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	outputsOf = `WHERE record = $1 AND date = $2`
	// publishedAt is when the last batch ended that wrote into a day of a table.
	publishedAt = `SELECT COALESCE(MAX(batch.finished), 0) FROM output JOIN batch ON batch.id = output.batch
	WHERE record = $1 AND date = $2 AND expired = 0`
	openBatches  = `SELECT id FROM batch WHERE finished = 0`
	updateOutput = `UPDATE output SET expired = $1, crc = $2 WHERE path = $3`
)

// Published returns when the last batch ended that wrote into a day of a table of
// the dataset; zero if that is not known.
func (l *Ledger) Published(ctx context.Context, record, date string) (time.Time, error) {
	at, err := collect(func(s scanner) (ms int64, err error) { return ms, s.Scan(&ms) })(l.query(ctx, publishedAt, record, date))
	if err != nil {
		return time.Time{}, l.fail("read", err)
	}
	return fromMilli(at[0]), nil
}

// OpenBatches returns the IDs of the batches that are not finished, sorted.
func (l *Ledger) OpenBatches(ctx context.Context) ([]string, error) {
	ids, err := collect(func(s scanner) (id string, err error) { return id, s.Scan(&id) })(l.query(ctx, openBatches))
	if err != nil {
		return nil, l.fail("read", err)
	}
	slices.Sort(ids)
	return ids, nil
}

// ExpireOutputs records that the time of a day of a table is over, and returns
// what batches ever published for it. It must be called before anything is
// removed. holds are as in Expire. Without outputs it is no error: a derived table
// has none.
func (l *Ledger) ExpireOutputs(ctx context.Context, now time.Time, record, date string, holds []Hold) (outputs []Output, err error) {
	err = l.write(ctx, "expire", func(t *transaction) error {
		if err := t.seen(holds); err != nil {
			return err
		}
		outputs, err = collect(scanOutput)(t.query(selectOutputs+outputsOf+t.e.forUpdate, record, date))
		if err != nil {
			return err
		}
		for i := range outputs {
			o := &outputs[i]
			if !o.Expired.IsZero() {
				continue
			}
			o.Expired = round(now)
			if _, err := t.exec(updateOutput, toMilli(o.Expired), o.crc(), o.Path); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return outputs, nil
}
