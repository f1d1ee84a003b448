package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/pull"
	"acctpull/pull/fleet"
)

// store is a directory in which acctpull keeps its state: the data directory of
// pull, or the dataset of export. It is held by this process
// alone, but for a data directory whose ledger is a database that nodes share.
type store struct {
	root       string // the local directory: what paths in the ledger are relative to
	dataset    string // local root of the Parquet dataset
	quarantine string
	depot      depot.Depot // where the finished files of all of them are
	ledger     *ledger.Ledger
	lock       *durable.Lock // nil if the ledger is shared
	sharing    *sharing      // nil if it is not
	cache      pull.Cache    // what visits remember for the next
	ours       bool          // the dataset was compared with the ledger
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
	return openStore(ctx, dataStore(dir), dir)
}

// dataStore is the layout of a data directory.
func dataStore(dir string) *store {
	return &store{root: dir, dataset: filepath.Join(dir, "dataset"), quarantine: filepath.Join(dir, "quarantine"), depot: depot.NewDir(dir)}
}

// openFleet opens the data directory of an inventory.
func (a *app) openFleet(ctx context.Context, inv *fleet.Inventory) (_ *store, err error) {
	if inv.Ledger == "" {
		return openData(ctx, inv.Data)
	}
	s := dataStore(inv.Data)
	if err := durable.MkdirAll(s.root); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.ledger, err = a.openLedger(ctx, inv); err != nil {
		return nil, err
	}
	s.sharing, err = a.newSharing(ctx, s.ledger, inv.Node)
	return s, err
}

// openLedger opens the ledger of an inventory.
func (a *app) openLedger(ctx context.Context, inv *fleet.Inventory) (*ledger.Ledger, error) {
	where, err := a.ledgerAddress(inv)
	if err != nil {
		return nil, err
	}
	return ledger.Open(ctx, where)
}

// ledgerAddress is what ledger.Open takes for an inventory. There may be a
// password in it: it is never printed.
func (a *app) ledgerAddress(inv *fleet.Inventory) (string, error) {
	if inv.Ledger == "" {
		return filepath.Join(inv.Data, "ledger.db"), nil
	}
	where, err := url.Parse(inv.Ledger)
	if err != nil {
		return "", errors.New("the URL of the ledger cannot be read") // its text may hold anything
	}
	if inv.LedgerPassword != (pull.Secret{}) {
		password, err := inv.LedgerPassword.Read(func(name string) string { return a.env[name] })
		if err != nil {
			return "", fmt.Errorf("password of the ledger: %w", err)
		}
		where.User = url.UserPassword(where.User.Username(), password)
	}
	return where.String(), nil
}

// owner names this process in leases. Where the lock on the directory makes it the
// only one it always has the same name, and takes up at once what it left.
func (s *store) owner() string {
	if s.sharing == nil {
		return "acctpull"
	}
	return s.sharing.node
}

// scratch is the name of the directories in which this process makes what others
// make too, "" if there are none.
func (s *store) scratch() string {
	if s.sharing == nil {
		return ""
	}
	return pull.DirName(s.sharing.node)
}

// lease returns the time that leases go by, and how long one lasts.
func (s *store) lease(a *app) (now time.Time, lease time.Duration) {
	if s.sharing == nil {
		return a.pace.clock.Now(), time.Hour
	}
	return s.sharing.now(), a.pace.lease
}

// holding exports a batch as long as this process has the right to.
func (s *store) holding(ctx context.Context, batch ledger.Batch, export func(context.Context) error) error {
	if s.sharing == nil {
		return export(ctx)
	}
	return s.sharing.export(ctx, batch, export)
}

// tidy removes what processes that are gone left in the making.
func (s *store) tidy(ctx context.Context, x *export.Exporter) error {
	if s.sharing == nil {
		_, err := x.RemoveLeftovers()
		return err
	}
	living, err := s.sharing.living(ctx)
	if err != nil {
		return err
	}
	_, err = x.RemoveLeftoversOf(func(node string) bool { return living[node] })
	return err
}

// keeping does a job and meanwhile keeps the leases of this node.
func (s *store) keeping(ctx context.Context, job func(context.Context) error) error {
	if s.sharing == nil {
		return job(ctx)
	}
	jobs, end := context.WithCancel(ctx)
	defer end()
	return together(jobs, []func(context.Context) error{
		func(ctx context.Context) error {
			defer end()
			return job(ctx)
		},
		s.sharing.keep,
	})
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
	if s.sharing != nil {
		errs = append(errs, s.sharing.close())
	}
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
	for _, dir := range []string{"devices", s.path(s.dataset)} {
		for e, err := range s.depot.List(ctx, dir) {
			if err != nil {
				return "", err
			}
			if keeps(e.Path) {
				return s.name(dir), nil
			}
		}
	}
	return "", nil
}

// name is how people find a directory of the depot.
func (s *store) name(dir string) string {
	if named, ok := s.depot.(fmt.Stringer); ok {
		return dir + " in " + named.String()
	}
	return filepath.Join(s.root, dir)
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
