package audit

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"acctpull/internal/durable"
)

// parallel calls f for every item, Workers at a time, and stops at the first
// error.
func parallel[T any](ctx context.Context, workers int, items []T, f func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan T)
	var wg sync.WaitGroup
	for range min(workers, len(items)) {
		wg.Go(func() {
			for it := range next {
				if err := f(ctx, it); err != nil {
					cancel(err)
				}
			}
		})
	}
feed:
	for _, it := range items {
		select {
		case next <- it:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// sum reads a file of the data directory back from the disk.
func (c *check) sum(rel string) (string, int64, error) {
	sum, n, err := durable.Sum(c.path(rel))
	return sum, n, err
}

func (c *check) path(rel string) string { return filepath.Join(c.o.Data, filepath.FromSlash(rel)) }

// ofMachine reports whether an error says something about this machine or the
// end of the check, and nothing about what a file holds. A file that is gone and
// a block that cannot be read are about the file.
func ofMachine(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	var no syscall.Errno
	return errors.As(err, &no) && no != syscall.EIO && !errors.Is(err, fs.ErrNotExist)
}

// progress counts one file that was read; it is called under the lock of whoever
// gathers results.
func (c *check) progress(bytes int64) {
	c.report.Files++
	c.report.Bytes += bytes
	if h := c.o.Hooks.OnProgress; h != nil {
		h(c.report.Progress)
	}
}

// something tells whether there is any file that a ledger would know.
func (c *check) something() (some bool, err error) {
	errSome := errors.New("some")
	for _, dir := range []string{filepath.Join(c.o.Data, "devices"), c.o.Quarantine, c.o.Dataset} {
		err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case d.Type().IsRegular() && !durable.IsTemp(d.Name()):
				return errSome
			}
			return nil
		})
		if err != nil {
			return errors.Is(err, errSome), ignore(err, errSome)
		}
	}
	return false, nil
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// modified is the modification time of a file in Unix seconds.
func modified(path string) (int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return max(st.ModTime().Unix(), 0), nil
}
