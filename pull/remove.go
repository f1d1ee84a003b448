package pull

import (
	"context"
	"fmt"
	"slices"

	"acctpull/ledger"
)

// Removal is what a visit removed from a device, because Target.Remove asked for
// it: files that were exported in an earlier visit, so that archive and dataset
// have them durably, and whose copy in the archive was read back whole right
// before.
type Removal struct {
	Files int
	Bytes int64
	// Kept counts files that could have been removed and were not; Why is the
	// reason for the first of them, one line, escaped.
	Kept int
	Why  string
}

// remover is a transport that can remove files. The answer has the names that
// the device says are removed now, and for others what it said.
type remover interface {
	remove(ctx context.Context, files []entry) (removed map[string]bool, said map[string]error, err error)
}

// removeAtOnce is how many files are looked at and then removed together: no
// file is older than one such step when it goes.
const removeAtOnce = 16

// removeExported removes exported files that the listing has. What the device
// refuses is in the result and no error of the visit.
func (r *run) removeExported(ctx context.Context, tr transport, l listing) error {
	if !r.t.Remove || len(l.files) == 0 {
		return nil
	}
	rm, can := tr.(remover)
	if !can {
		r.result.Removal.keep(len(l.files), fmt.Sprintf("%s cannot remove files", tr.kind()))
		return nil
	}
	keys := make([]ledger.Key, 0, len(l.files))
	entries := make(map[ledger.Key]entry, len(l.files))
	for _, e := range l.files {
		if e.mtime > 0 { // without a time another file of that size could not be told apart
			keys = append(keys, r.key(e))
			entries[r.key(e)] = e
		}
	}
	rows, err := r.o.Ledger.Removable(ctx, keys)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(rows, removeAtOnce) {
		if err := r.removePart(ctx, tr, rm, part, entries); err != nil {
			return err
		}
	}
	return nil
}

// removePart proves the copies of a few files, looks at the files on the device
// once more, and removes those that are still what was fetched.
func (r *run) removePart(ctx context.Context, tr transport, rm remover, rows []ledger.Row, entries map[ledger.Key]entry) error {
	n := &r.result.Removal
	var files []entry
	for _, row := range rows {
		sum, size, err := r.archive.depot.Sum(ctx, row.Stored)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			n.keep(1, "its copy in the archive cannot be read: "+clean(oneLine(err)))
		case sum != row.SHA256 || size != row.Size:
			n.keep(1, fmt.Sprintf("its copy %s in the archive is damaged: acctpull check", quote(row.Stored)))
		default:
			files = append(files, entries[row.Key])
		}
	}
	now, _, err := tr.confirm(ctx, files)
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(e entry) bool { return !now[e.name].same(e) })
	if len(files) == 0 {
		return nil
	}
	removed, said, err := rm.remove(ctx, files)
	// The device did it, whatever happened since.
	calm, cancel := afterwards(ctx)
	defer cancel()
	var gone []ledger.Key
	for _, e := range files {
		if removed[e.name] {
			gone = append(gone, r.key(e))
			n.Files, n.Bytes = n.Files+1, n.Bytes+e.size
		} else if why := said[e.name]; why != nil {
			n.keep(1, "the device refused: "+clean(oneLine(why)))
		}
	}
	if len(gone) > 0 {
		if err := r.o.Ledger.MarkRemoved(calm, r.o.Now(), gone); err != nil {
			return err
		}
	}
	return err
}

func (n *Removal) keep(files int, why string) {
	n.Kept += files
	if n.Why == "" {
		n.Why = why
	}
}

// remove implements remover.
func (t *sftpTransport) remove(ctx context.Context, files []entry) (removed map[string]bool, said map[string]error, err error) {
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	removed, said = make(map[string]bool, len(files)), make(map[string]error)
	for _, e := range files {
		t.p.send(func(a answer) error {
			if a.kind != fxpStatus {
				return a.unexpected()
			}
			no, err := a.status()
			switch {
			case err != nil:
				return err
			case no == nil:
				removed[e.name] = true
			default:
				said[e.name] = no
			}
			return nil
		}, fxpRemove, joinPath(t.dir, e.name))
	}
	return removed, said, t.p.run()
}
