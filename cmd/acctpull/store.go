package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"acctpull/internal/durable"
	"acctpull/ledger"
)

// store is a directory in which acctpull keeps its state: the data directory of
// pull, or the dataset of export. It is held by this process alone.
type store struct {
	root       string // what paths in the ledger are relative to
	dataset    string // root of the Parquet dataset
	quarantine string
	ledger     *ledger.Ledger
	lock       *durable.Lock
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
	return openStore(ctx, &store{root: dir, dataset: filepath.Join(dir, "dataset"), quarantine: filepath.Join(dir, "quarantine")}, dir)
}

// openDataset opens a directory that holds nothing but a dataset; the state
// lies in a hidden directory, where no reader of Parquet looks.
func openDataset(ctx context.Context, dir string) (*store, error) {
	state := filepath.Join(dir, ".acctpull")
	return openStore(ctx, &store{root: dir, dataset: dir, quarantine: filepath.Join(state, "quarantine")}, state)
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
	for _, dir := range []string{filepath.Join(s.root, "devices"), s.dataset} {
		found, err := holdsFiles(dir)
		if err != nil {
			return "", err
		}
		if found {
			return dir, nil
		}
	}
	return "", nil
}

// holdsFiles tells whether there is an accounting file or a Parquet file with
// rows of ours anywhere below dir.
func holdsFiles(dir string) (bool, error) {
	errFound := errors.New("found")
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".acctpull":
			return filepath.SkipDir
		case d.Type().IsRegular() && !durable.IsTemp(d.Name()) && keeps(path):
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}
