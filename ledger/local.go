package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// localPath begins Key.Path of a file that came through AddLocal: it was never
// listed, so its content takes the place of the directory.
const localPath = "sha256:"

// AddLocal records files that are on disk already, Stored and ready for export,
// and returns how many contents are new. A content that the device has already
// is not exported again; its Stored is brought up to date, so that files may be
// moved between two runs, or before they are read again. The same content under
// another name becomes an alias.
func (l *Ledger) AddLocal(ctx context.Context, now time.Time, inputs []Input) (added int, err error) {
	const op = "add"
	for _, in := range inputs {
		if err := checkInput(in); err != nil {
			return 0, l.fail(op, err)
		}
	}
	for part := range slices.Chunk(inputs, chunk) {
		n := 0
		err := l.write(ctx, op, func(t *transaction) error {
			n = 0
			for _, in := range part {
				isNew, err := t.addLocal(now, in)
				if err != nil {
					return err
				}
				if isNew {
					n++
				}
			}
			return nil
		})
		if err != nil {
			return added, err
		}
		added += n
	}
	return added, nil
}

func checkInput(in Input) error {
	k := in.localKey()
	if err := k.check(); err != nil {
		return err
	}
	err := errors.Join(checkSum(in.SHA256), checkText(in.Stored), in.Facts.check())
	if in.Stored == "" {
		err = errors.Join(err, errors.New("the file has no stored path"))
	}
	if err != nil {
		return about(k, err)
	}
	return nil
}

func (in Input) localKey() Key {
	return Key{Device: in.Device, Path: localPath + in.SHA256, Name: in.Name, Size: in.Size}
}

func (t *transaction) addLocal(now time.Time, in Input) (isNew bool, err error) {
	r := Row{Key: in.localKey(), State: Stored, SHA256: in.SHA256, Stored: in.Stored, First: round(now), Changed: round(now)}
	if isNew, err = t.insert(r); err != nil {
		return false, err
	}
	if !isNew {
		if err := t.addKnown(r); err != nil {
			return false, err
		}
	}
	return isNew, t.factsOf(r.Key, in.Facts)
}

// addKnown brings a content up to date that is in the ledger already.
func (t *transaction) addKnown(r Row) error {
	first, ok, err := t.content(r.Device, r.SHA256)
	switch {
	case err != nil:
		return err
	case !ok:
		return about(r.Key, fmt.Errorf("%w: an index has an entry without a row", ErrDamaged))
	case first.Key != r.Key:
		r.State, r.AliasOf, r.Reason = first.State, first.Name, first.Reason
		if first.Expired.IsZero() {
			_, err = t.insert(r)
			break
		}
		r.Expired = r.First
		if ok, err = t.insert(r); !ok || err != nil {
			return err
		}
		var x line
		if x, _, err = t.row(r.Key); err == nil {
			_, err = t.expiring(r.First, x)
		}
	case (first.State == Stored || first.State == Exported && first.Expired.IsZero()) && first.Stored != r.Stored:
		first.Stored = r.Stored
		err = t.saveStored(first)
	}
	return err
}
