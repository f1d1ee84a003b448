package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Reexported is what a rebuild of the dataset made of one exported file.
type Reexported struct {
	Device, SHA256 string
	// Records counts its rows in the dataset now.
	Records int64
	// Facts is what the file says about itself, as it is read now; nil leaves
	// what is known.
	Facts *Facts
}

// Reexport records that files were read again and that their new rows stand in
// the dataset in the place of the old ones, durable. Each file must be Exported.
//
// The batches that exported the files end with that: what they published is not
// what they made of their files any more. Their exported files and their outputs
// are in no batch from then on, as after an Import; files that they refused stay
// in them. Which file of the dataset was replaced by which is told by the dataset
// itself.
//
// Repeating a call changes nothing.
func (l *Ledger) Reexport(ctx context.Context, now time.Time, files []Reexported) error {
	const op = "reexport"
	for _, f := range files {
		err := errors.Join(checkSum(f.SHA256), f.Facts.check())
		if f.Records < 0 {
			err = errors.Join(err, fmt.Errorf("%d records", f.Records))
		}
		if err != nil {
			return l.fail(op, about(Key{Device: f.Device, Name: f.SHA256}, err))
		}
	}
	return l.write(ctx, op, func(t *transaction) error {
		for _, f := range files {
			if err := t.reexport(now, f); err != nil {
				return err
			}
		}
		return nil
	})
}

// reexport records the new number of rows of one file.
func (t *transaction) reexport(now time.Time, f Reexported) error {
	k := Key{Device: f.Device, Name: f.SHA256}
	r, ok, err := t.content(f.Device, f.SHA256)
	switch {
	case err != nil:
		return err
	case !ok:
		return about(k, ErrUnknownFile)
	case r.State != Exported:
		return about(r.Key, fmt.Errorf("%w: the file is %s, not exported", ErrConflict, r.State))
	}
	if r.Batch != "" {
		if err := t.dissolve(r.Batch); err != nil {
			return err
		}
		r.Batch = ""
	}
	if r.Records != f.Records {
		r.Records, r.Changed = f.Records, round(now)
		if err := t.saveSettled(r); err != nil {
			return err
		}
	}
	return t.saveFacts(r, f.Facts)
}

// dissolve takes the exported files and the outputs of a finished batch out of
// it.
func (t *transaction) dissolve(id string) error {
	h, ok, err := t.batchHead(id)
	if err == nil && (!ok || h.finished == 0) {
		err = fmt.Errorf("%w: an exported file belongs to the batch %s, which is not finished", ErrDamaged, quote(id))
	}
	if err != nil {
		return err
	}
	rows, err := t.inputs(h)
	if err != nil {
		return err
	}
	for _, r := range slices.DeleteFunc(rows, func(r line) bool { return r.State != Exported }) {
		r.Batch = ""
		if err := fenced(r)(one(t.exec(leaveBatch, r.crc(), r.id, id))); err != nil {
			return err
		}
		h.released++
	}
	outputs, err := collect(scanOutput)(t.query(selectOutputs+`WHERE batch = $1`, id))
	if err != nil {
		return err
	}
	for _, o := range outputs {
		o.Batch = ""
		if _, err := t.exec(`UPDATE output SET batch = '', crc = $1 WHERE path = $2`, o.crc(), o.Path); err != nil {
			return err
		}
	}
	h.rows = 0
	return t.saveBatchHead(h)
}
