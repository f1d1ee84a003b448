package audit

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"acctpull/internal/depot"
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

// read reads a file back from the medium, and then as an accounting file.
func (c *check) read(ctx context.Context, device, rel string) (f file, bytes int64, err error) {
	if f.sum, bytes, err = c.o.Data.Sum(ctx, rel); err != nil {
		return f, bytes, err
	}
	src, err := c.o.Data.Open(ctx, rel)
	if err != nil {
		return f, bytes, err
	}
	f.content, f.err = c.o.Read(ctx, device, nameOf(rel), src)
	if err = src.Close(); err == nil && f.err != nil && ofMachine(ctx, f.err) {
		err = f.err
	}
	return f, bytes, err
}

// dataset and quarantine are the parts of the data.
func (o *Options) dataset() depot.Depot    { return part(o.Data, o.Dataset) }
func (o *Options) quarantine() depot.Depot { return part(o.Data, o.Quarantine) }

func part(d depot.Depot, dir string) depot.Depot {
	if dir == "" {
		return d
	}
	return depot.Sub(d, dir)
}

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
func (c *check) something(ctx context.Context) (bool, error) {
	for _, dir := range []string{"devices", c.o.Quarantine, c.o.Dataset} {
		for e, err := range c.o.Data.List(ctx, dir) {
			if err != nil {
				return false, err
			}
			if base := path.Base(e.Path); base != "lock" && !strings.HasPrefix(base, "ledger.db") {
				return true, nil
			}
		}
	}
	return false, nil
}

// modified is the modification time of a file in Unix seconds, which is that of
// the device; 0 if the depot keeps none.
func (c *check) modified(rel string) (int64, error) {
	dir, ok := c.o.Data.(*depot.Dir)
	if !ok {
		return 0, nil
	}
	st, err := os.Stat(filepath.Join(dir.Root(), filepath.FromSlash(rel)))
	if err != nil {
		return 0, err
	}
	return max(st.ModTime().Unix(), 0), nil
}

// nameOf is the name that a file has on the device: in quarantine the first
// digits of its hash follow.
func nameOf(rel string) string {
	name := path.Base(rel)
	if strings.HasPrefix(rel, "quarantine/") {
		name, _, _ = cutLast(name, "-")
	}
	return name
}
