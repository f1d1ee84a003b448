package pull

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync"
	"syscall"
	"time"

	"acctpull/internal/durable"
)

// finishers is how many files are made durable and verified at once. Most of
// that is waiting for the disk, and fsyncs of many files at once cost little
// more than one: the file system commits them together. One syncfs for all of
// them is not faster, makes everything else on the file system durable too, and
// before Linux 5.8 says nothing about a block that could not be written.
const finishers = 16

// receiver takes the files of one batch: to a temporary file, with its hash on
// the way; then, beside the transfer of the next ones, fsync and verification.
type receiver struct {
	ctx      context.Context
	dir      string
	verify   func(context.Context, string) (Verified, error)
	progress func(bytes int64)
	slots    chan struct{}
	wg       sync.WaitGroup

	mu       sync.Mutex
	arrived  map[string]*arrival
	failures map[string]error
	local    error // the first failure of our own disk
}

// arrival is one file that arrived whole.
type arrival struct {
	entry entry
	file  *durable.File
	sum   string
	found Verified
	err   error // what Verify said
}

func newReceiver(ctx context.Context, dir string, verify func(context.Context, string) (Verified, error), progress func(int64)) *receiver {
	return &receiver{ctx: ctx, dir: dir, verify: verify, progress: progress,
		slots: make(chan struct{}, finishers), arrived: make(map[string]*arrival), failures: make(map[string]error)}
}

// begin opens a temporary file for a file of the device.
func (r *receiver) begin(e entry) (*download, error) {
	f, err := durable.Create(r.dir, e.name, durable.DataMode)
	if err != nil {
		return nil, r.broken(err)
	}
	return &download{r: r, entry: e, file: f, hash: sha256.New()}, nil
}

// failed records that a file did not arrive, and why.
func (r *receiver) failed(e entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[e.name] = err
}

// broken records a failure of our own disk, which ends the run.
func (r *receiver) broken(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.local == nil {
		r.local = &localError{err}
	}
	return &localError{err}
}

// wait waits until every file that arrived is durable and verified, and returns
// the first failure of our own disk.
func (r *receiver) wait() error {
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.local
}

// download is one file on its way.
type download struct {
	r     *receiver
	entry entry
	file  *durable.File
	hash  hash.Hash
}

// Write takes the next bytes. It never takes more than were announced.
func (d *download) Write(p []byte) (int, error) {
	if d.file.Size()+int64(len(p)) > d.entry.size {
		return 0, fmt.Errorf("%w: more than %d bytes", errSize, d.entry.size)
	}
	d.hash.Write(p)
	return d.file.Write(p)
}

// abandon throws the file away.
func (d *download) abandon(err error) {
	d.r.failed(d.entry, err)
	if err := d.file.Abort(); err != nil {
		_ = d.r.broken(err)
	}
}

// finish hands a complete file over to be made durable and verified. It waits
// while too many others are.
func (d *download) finish() error {
	if got := d.file.Size(); got != d.entry.size {
		err := fmt.Errorf("%w: %d of %d bytes", errSize, got, d.entry.size)
		d.abandon(err)
		return nil
	}
	r := d.r
	r.progress(d.entry.size)
	r.slots <- struct{}{}
	r.wg.Go(func() {
		defer func() { <-r.slots }()
		d.settle()
	})
	return nil
}

// keepTime gives a file the modification time that the device lists, as scp -p
// does: a ledger that is made anew recognises it by that. Without one it keeps
// its own.
func keepTime(path string, mtime int64) error {
	if mtime == 0 {
		return nil
	}
	t := time.Unix(mtime, 0)
	return os.Chtimes(path, t, t)
}

// settle makes the file durable and verifies what the disk gives back.
func (d *download) settle() {
	a := &arrival{entry: d.entry, file: d.file}
	a.sum = hexSum([sha256.Size]byte(d.hash.Sum(nil)))
	err := keepTime(d.file.Path(), d.entry.mtime)
	if err == nil {
		err = d.file.Seal()
	}
	if err == nil {
		err = dropCache(d.file.Path())
	}
	if err != nil {
		d.abandon(err)
		_ = d.r.broken(err)
		return
	}
	a.found, a.err = d.r.verify(d.r.ctx, d.file.Path())
	if a.err != nil && aboutUs(d.r.ctx, a.err) {
		d.abandon(a.err)
		if d.r.ctx.Err() == nil {
			_ = d.r.broken(fmt.Errorf("verify: %w", a.err))
		}
		return
	}
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	d.r.arrived[d.entry.name] = a
}

// aboutUs reports whether an error of Verify says nothing about the content: it
// was interrupted, or the system could not read the file.
func aboutUs(ctx context.Context, err error) bool {
	var no syscall.Errno
	return ctx.Err() != nil || errors.As(err, &no)
}

// dropCache makes the next reader of a file, which is durable, read the disk.
func dropCache(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(durable.DropCache(f), f.Close())
}
