package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Requeue has a file in quarantine fetched again at the next listing that names
// it. A file that the export refused is ErrConflict: its bytes came whole, and
// fetching them again brings nothing; see ReleaseQuarantined.
func (l *Ledger) Requeue(ctx context.Context, now time.Time, k Key) error {
	return l.write(ctx, "requeue", func(t *transaction) error {
		r, err := t.quarantined(k)
		if err != nil {
			return err
		}
		if r.Batch != "" || r.AliasOf != "" {
			return about(k, fmt.Errorf("%w: the export refused the file, it was fetched well", ErrConflict))
		}
		r.NotBefore = fromMilli(max(toMilli(now), 1))
		return t.saveStored(r)
	})
}

// quarantined reads a row that must be Quarantined.
func (t *transaction) quarantined(k Key) (line, error) {
	r, ok, err := t.row(k)
	switch {
	case err != nil:
		return r, err
	case !ok:
		return r, about(k, ErrUnknownFile)
	case r.State != Quarantined:
		return r, about(k, fmt.Errorf("%w: the file is %s, not in quarantine", ErrConflict, r.State))
	}
	return r, nil
}

// Acceptance is the decision of a person that a file in quarantine is good.
type Acceptance struct {
	// SHA256 and Stored are those of the file as it is now, durable at
	// Stored: of a file that the export refused the SHA256 must be the same
	// as before.
	SHA256, Stored string
	// By is who decided, Why the reason; both are kept in Row.Reason.
	By, Why string
	// Facts is what the file says about itself, nil if that is not known.
	Facts *Facts
}

// ReleaseQuarantined makes a file in quarantine Stored, because a person says so:
// it is exported with the next batch. A file that an export refused leaves its
// batch; ErrConflict if that published records of it. Its aliases come with it.
// If the device delivered the same content before, the file becomes its alias.
func (l *Ledger) ReleaseQuarantined(ctx context.Context, now time.Time, k Key, a Acceptance) error {
	const op = "release"
	err := errors.Join(checkSum(a.SHA256), checkText(a.Stored), a.Facts.check())
	if a.Stored == "" {
		err = errors.Join(err, errors.New("the file has no stored path"))
	}
	if a.By == "" || a.Why == "" {
		err = errors.Join(err, errors.New("who decides, and why, must be said"))
	}
	if err != nil {
		return l.fail(op, about(k, err))
	}
	return l.write(ctx, op, func(t *transaction) error {
		r, err := t.quarantined(k)
		if err != nil {
			return err
		}
		reason := clean(fmt.Sprintf("released by %s: %s (was in quarantine: %s)", a.By, a.Why, r.Reason))
		if r.AliasOf != "" {
			return about(k, fmt.Errorf("%w: the file %s stands for it", ErrConflict, quote(r.AliasOf)))
		}
		if r.SHA256 != "" && r.SHA256 != a.SHA256 {
			return about(k, fmt.Errorf("%w: the file in quarantine has the SHA-256 %s", ErrConflict, r.SHA256))
		}
		if r.SHA256 == "" {
			err = t.become(now, &r, a.SHA256, a.Stored)
		} else {
			err = t.leaveBatch(now, &r, a.Stored, reason)
		}
		if err != nil {
			return err
		}
		r.Reason = reason
		if err := t.saveStored(r); err != nil {
			return err
		}
		return t.saveFacts(r, a.Facts)
	})
}

// leaveBatch makes a file that an export refused Stored again, and its aliases.
func (t *transaction) leaveBatch(now time.Time, r *line, stored, reason string) error {
	if r.Records != 0 {
		return about(r.Key, fmt.Errorf("%w: %d of its records are in the dataset", ErrConflict, r.Records))
	}
	if r.Batch != "" {
		h, ok, err := t.batchHead(r.Batch)
		if err == nil && (!ok || h.finished == 0) {
			err = about(r.Key, fmt.Errorf("%w: a quarantined file belongs to a batch that is not finished", ErrDamaged))
		}
		if err != nil {
			return err
		}
		h.released++
		if err := t.saveBatchHead(h); err != nil {
			return err
		}
	}
	aliases, err := t.rows(func(x line) bool { return x.Device == r.Device && x.SHA256 == r.SHA256 && x.AliasOf != "" },
		aliasesOf+t.e.forUpdate, r.Device, r.SHA256)
	if err != nil {
		return err
	}
	for _, x := range aliases {
		x.State, x.Reason, x.Changed = Stored, reason, round(now)
		if err := t.saveStored(x); err != nil {
			return err
		}
	}
	left := r.Batch
	r.State, r.Stored, r.Batch, r.NotBefore, r.Changed = Stored, stored, "", time.Time{}, round(now)
	return fenced(*r)(one(t.exec(leaveBatch, r.crc(), r.id, left)))
}
