package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/pull"
)

// store is a directory in which acctpull keeps its state: the data directory of
// pull, or the dataset of export. It is held by this process alone.
type store struct {
	root       string // the local directory: what paths in the ledger are relative to
	dataset    string // local root of the Parquet dataset
	quarantine string
	depot      depot.Depot // where the finished files of all of them are
	ledger     *ledger.Ledger
	lock       *durable.Lock
	cache      pull.Cache // what visits remember for the next
}

// lostLedgerError: there is work of earlier runs and no memory of it.
type lostLedgerError struct{ path, found, command string }

func (e *lostLedgerError) Error() string {
	return fmt.Sprintf("the ledger %s is new, but %s holds files of earlier runs", e.path, e.found)
}

// Hint implements the hint of run.
func (e *lostLedgerError) Hint() string {
	return "without the ledger everything would be exported a second time; restore it from a backup, or rebuild it from archive and dataset:\n" + e.command
}

// openData opens <dir>/ledger.db with the archive below devices/ and the
// dataset below dataset/.
func openData(ctx context.Context, dir string) (*store, error) {
	return openStore(ctx, &store{root: dir, dataset: filepath.Join(dir, "dataset"), quarantine: filepath.Join(dir, "quarantine"), depot: depot.NewDir(dir)}, dir)
}

// openDataset opens a directory that holds nothing but a dataset; the state
// lies in a hidden directory, where no reader of Parquet looks.
func openDataset(ctx context.Context, dir string) (*store, error) {
	state := filepath.Join(dir, ".acctpull")
	return openStore(ctx, &store{root: dir, dataset: dir, quarantine: filepath.Join(state, "quarantine"), depot: depot.NewDir(dir)}, state)
}

func openStore(ctx context.Context, s *store, state string) (_ *store, err error) {
	if err := durable.MkdirAll(state); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.lock, err = durable.AcquireLock(filepath.Join(state, "lock")); err != nil {
		return nil, err
	}
	if s.ledger, err = ledger.Open(ctx, filepath.Join(state, "ledger.db")); err != nil {
		return nil, err
	}
	return s, nil
}

// Close releases the directory.
func (s *store) Close() error {
	var errs []error
	if s.ledger != nil {
		errs = append(errs, s.ledger.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Release())
	}
	return errors.Join(errs...)
}

// forgotten returns a directory with files of earlier runs that the empty
// ledger knows nothing of, "" if all is well.
func (s *store) forgotten(ctx context.Context) (string, error) {
	empty, err := s.ledger.Empty(ctx)
	if err != nil || !empty {
		return "", err
	}
	for _, dir := range []string{s.path("devices"), s.path(s.dataset)} {
		for e, err := range s.depot.List(ctx, dir) {
			if err != nil {
				return "", err
			}
			if keeps(e.Path) {
				return filepath.Join(s.root, dir), nil
			}
		}
	}
	return "", nil
}

// path returns the path in the depot of a local directory of the store, "" for
// its root.
func (s *store) path(dir string) string {
	if rel, err := filepath.Rel(s.root, dir); err == nil {
		dir = rel
	}
	if dir == "." {
		return ""
	}
	return filepath.ToSlash(dir)
}

// part is the depot below a local directory of the store.
func (s *store) part(dir string) depot.Depot {
	if p := s.path(dir); p != "" {
		return depot.Sub(s.depot, p)
	}
	return s.depot
}
