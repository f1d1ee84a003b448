package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"acctpull/audit"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// ledgerSuffixes are the files that make one ledger.
var ledgerSuffixes = []string{"", "-wal", "-shm", "-sum"}

// rebuildLedger makes the ledger of a place anew. The old one is moved aside and
// kept, whatever is wrong with it; one that nodes share has to be empty.
func (a *app) rebuildLedger(ctx context.Context, p place, o audit.Options) (err error) {
	if p.lock == "" {
		l, err := ledger.Open(ctx, p.ledger)
		if err != nil {
			return err
		}
		return errors.Join(a.rebuildHeld(ctx, p, o, l), l.Close())
	}
	lock, err := durable.AcquireLock(p.lock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	return a.rebuildHeld(ctx, p, o, nil)
}

// rebuildHeld does it for a directory that is held already, or for a ledger that
// nodes share, which is open.
func (a *app) rebuildHeld(ctx context.Context, p place, o audit.Options, shared *ledger.Ledger) error {
	now := time.Now()
	progress := a.progress()
	o.Hooks.OnProgress = func(n audit.Progress) { progress.set("reading: %d files, %s", n.Files, size(n.Bytes)) }
	aside := filepath.Join(p.state, "set-aside", now.UTC().Format("20060102-150405"))
	setAside := func(outputs []string) error {
		return moveAside(filepath.Join(p.data, filepath.FromSlash(p.dataset)), filepath.Join(aside, "dataset"), outputs)
	}
	var res audit.Rebuilt
	var err error
	if shared != nil {
		res, err = rebuildInto(ctx, shared, o, now, setAside)
	} else {
		res, err = rebuildFile(ctx, p.ledger, aside, o, now, setAside)
	}
	progress.done()
	if err != nil {
		return err
	}
	if len(res.Aside) > 0 {
		fmt.Fprintf(a.stderr, "acctpull: %s of a batch that is not complete went to %s; %s will be exported again\n",
			plural(len(res.Aside), "dataset file"), filepath.Join(aside, "dataset"), plural(res.Again, "file"))
	}
	fmt.Fprintf(a.stderr, "acctpull: ledger rebuilt: %s, %d of them exported, %d in quarantine; %s\n",
		plural(res.Files, "file"), res.Exported, res.Quarantined, plural(res.Outputs, "output"))
	return nil
}

// rebuildFile makes the new ledger beside the old one and puts it in its place
// when it is whole: a crash at any moment leaves the old one, none, or the new.
func rebuildFile(ctx context.Context, path, aside string, o audit.Options, now time.Time, setAside func([]string) error) (audit.Rebuilt, error) {
	fresh := path + ".rebuilt"
	for _, s := range ledgerSuffixes { // what an interrupted rebuild left
		if err := os.Remove(fresh + s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return audit.Rebuilt{}, err
		}
	}
	l, err := ledger.Open(ctx, fresh)
	if err != nil {
		return audit.Rebuilt{}, err
	}
	res, err := rebuildInto(ctx, l, o, now, setAside)
	if err := errors.Join(err, l.Close()); err != nil {
		return res, err
	}
	dir := filepath.Dir(path)
	var old []string
	for _, s := range ledgerSuffixes {
		if _, err := os.Lstat(path + s); err == nil {
			old = append(old, filepath.Base(path)+s)
		}
	}
	if err := moveAside(dir, aside, old); err != nil {
		return res, err
	}
	// The seal goes last: it must not speak of a file that is not there yet.
	for _, s := range []string{"", "-sum"} {
		if err := os.Rename(fresh+s, path+s); err != nil {
			return res, err
		}
		if err := durable.SyncDir(dir); err != nil {
			return res, err
		}
	}
	return res, nil
}

// rebuildInto fills an empty ledger.
func rebuildInto(ctx context.Context, l *ledger.Ledger, o audit.Options, now time.Time, setAside func([]string) error) (res audit.Rebuilt, err error) {
	empty, err := l.Empty(ctx)
	if err != nil {
		return res, err
	}
	if !empty {
		return res, &usageError{err: fmt.Errorf("the ledger %s is not empty", l.Path()), hint: "a ledger in PostgreSQL is rebuilt into an empty database: make one, and name it in the inventory"}
	}
	if res, err = audit.Rebuild(ctx, o, l, now, setAside); err != nil {
		return res, err
	}
	return res, l.Check(ctx)
}

// moveAside moves files, slash paths relative to dir, to the same paths below
// to, and makes that durable. Nothing is overwritten.
func moveAside(dir, to string, files []string) error {
	for _, rel := range files {
		from, target := filepath.Join(dir, filepath.FromSlash(rel)), filepath.Join(to, filepath.FromSlash(rel))
		if err := durable.MkdirAll(filepath.Dir(target)); err != nil {
			return err
		}
		if err := durable.MoveNoReplace(from, target); err != nil {
			return err
		}
		if err := errors.Join(durable.SyncDir(filepath.Dir(target)), durable.SyncDir(filepath.Dir(from))); err != nil {
			return err
		}
	}
	return nil
}
