package expiry

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/ledger"
	"acctpull/pull"
)

// unlink removes the bytes of files that the ledger has as expired, and tells the
// ledger which are gone. With prove, a file is removed only if it is still the one
// that expired: after a crash its name may have been given to another.
func (w *sweep) unlink(ctx context.Context, going []ledger.Expiring, prove bool) (gone []ledger.Expiring, err error) {
	if err := w.listRejects(ctx); err != nil {
		return nil, err
	}
	next := make(chan ledger.Expiring)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(workers, len(going)) {
		wg.Go(func() {
			for x := range next {
				err := w.unlinkOne(ctx, x, prove)
				if err != nil {
					w.fail(&w.r.Archive, x.Stored, err)
					continue
				}
				mu.Lock()
				gone = append(gone, x)
				mu.Unlock()
			}
		})
	}
	for _, x := range going {
		next <- x
	}
	close(next)
	wg.Wait()
	// They are gone, whatever happened since.
	return gone, w.Ledger.Gone(context.WithoutCancel(ctx), gone)
}

// unlinkOne removes one file and what was kept beside it. The file goes last: as
// long as it is there the ledger remembers that it has to go.
func (w *sweep) unlinkOne(ctx context.Context, x ledger.Expiring, prove bool) error {
	if prove {
		sum, _, err := w.Data.Sum(ctx, x.Stored)
		if errors.Is(err, fs.ErrNotExist) || err == nil && sum != x.SHA256 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if name := export.RejectsName(x.Device, x.SHA256); w.rejects[name] {
		if err := absent(w.Data.Remove(ctx, path.Join(w.Quarantine, name))); err != nil {
			return err
		}
	}
	if strings.HasPrefix(x.Stored, "quarantine/") { // a person released it from there
		if err := w.note(ctx, x.Stored); err != nil {
			return err
		}
	}
	return absent(w.Data.Remove(ctx, x.Stored))
}

// note says in the note of a file of the quarantine that its bytes were removed on
// purpose.
func (w *sweep) note(ctx context.Context, stored string) error {
	n, err := pull.ReadNote(ctx, w.Data, pull.NotePath(stored))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n.Purged = w.now
	return pull.WriteNote(ctx, w.Data, stored, n)
}

// absent passes over what somebody else has removed.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// listRejects lists the files with unusable records, once.
func (w *sweep) listRejects(ctx context.Context) error {
	if w.rejects != nil {
		return nil
	}
	w.rejects = map[string]bool{}
	for e, err := range part(w.Data, w.Quarantine).List(ctx, "") {
		if err != nil {
			return err
		}
		if strings.HasSuffix(e.Path, export.RejectsSuffix) {
			w.rejects[e.Path] = true
		}
	}
	return nil
}

func part(d depot.Depot, dir string) depot.Depot {
	if dir == "" {
		return d
	}
	return depot.Sub(d, dir)
}
