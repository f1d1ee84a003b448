package ledger

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Removal says when a file was removed from its device by us.
type Removal struct {
	Row
	Removed time.Time
}

// removal is a row of removal; when is in milliseconds.
type removal struct {
	file, when int64
	device     string
}

const (
	removalColumns = `removal.file, removal.device, removed, removal.crc`

	removedKey = `SELECT EXISTS (SELECT 1 FROM removal WHERE file = $1)`
	removedOf  = `SELECT ` + rowColumns + `, ` + removalColumns + ` FROM removal JOIN pulled ON pulled.id = removal.file
	WHERE removal.device = $1 ORDER BY removed, pulled.id`

	saveRemoval = `INSERT INTO removal (file, device, removed, crc) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
)

func (x removal) crc() int64 {
	var c checksum
	c.text(x.device)
	c.number(x.file, x.when)
	return c.sum()
}

func scanRemoval(s scanner) (removal, error) {
	var x removal
	var crc int64
	if err := s.Scan(&x.file, &x.device, &x.when, &crc); err != nil {
		return x, err
	}
	return x, whole("removal", crc, x.crc())
}

// scanRemoved reads a row of removedOf.
func scanRemoved(s scanner) (Removal, error) {
	var r line
	var n rowNumbers
	var x removal
	var crc int64
	if err := s.Scan(append(n.targets(&r), &x.file, &x.device, &x.when, &crc)...); err != nil {
		return Removal{}, err
	}
	if err := n.finish(&r); err != nil {
		return Removal{}, err
	}
	err := whole("removal", crc, x.crc())
	if err == nil && (x.file != r.id || x.device != r.Device) {
		err = fmt.Errorf("%w: a row of the table removal belongs to another file", ErrDamaged)
	}
	return Removal{Row: r.Row, Removed: fromMilli(x.when)}, err
}

// Removable returns those of the listed keys that may be removed from their
// device: they are Exported, so that archive and dataset have them durably, and
// have not been removed yet. One that has expired here stays: there is no copy to
// prove it by. A key that the ledger does not know is left out.
func (l *Ledger) Removable(ctx context.Context, listed []Key) ([]Row, error) {
	const op = "read"
	rows, err := l.known(ctx, listed)
	if err != nil {
		return nil, l.fail(op, err)
	}
	var free []Row
	seen := map[Key]bool{}
	for _, k := range listed {
		r, ok := rows[k]
		if !ok || seen[k] || r.State != Exported || !r.Expired.IsZero() {
			continue
		}
		seen[k] = true
		gone, err := collect(func(s scanner) (yes bool, err error) {
			return yes, s.Scan(&yes)
		})(l.query(ctx, removedKey, r.id))
		if err != nil {
			return nil, l.fail(op, err)
		}
		if !gone[0] {
			free = append(free, r.Row)
		}
	}
	return free, nil
}

// MarkRemoved records that files were removed from their device. It must be
// called after the removal: a mark that a crash prevents costs one more attempt.
// Only an Exported file can be removed; another is ErrConflict, and then nothing
// is recorded. A file that is marked already keeps its first time.
func (l *Ledger) MarkRemoved(ctx context.Context, now time.Time, keys []Key) error {
	return l.write(ctx, "remove", func(t *transaction) error {
		for _, k := range keys {
			r, ok, err := t.row(k)
			switch {
			case err != nil:
				return err
			case !ok:
				return about(k, ErrUnknownFile)
			case r.State != Exported:
				return about(k, fmt.Errorf("%w: the file is %s", ErrConflict, r.State))
			}
			x := removal{file: r.id, device: r.Device, when: toMilli(now)}
			if _, err := t.exec(saveRemoval, x.file, x.device, x.when, x.crc()); err != nil {
				return about(k, err)
			}
		}
		return nil
	})
}

// Removals yields the files of a device that we removed from it, by time. It ends
// after an error.
func (l *Ledger) Removals(ctx context.Context, device string) iter.Seq2[Removal, error] {
	return func(yield func(Removal, error) bool) {
		stream(l, scanRemoved, func(r Removal) bool { return yield(r, nil) }, func(err error) { yield(Removal{}, err) })(
			l.query(ctx, removedOf, device))
	}
}
