package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/rollover"
)

// spoolDir, in act-collect/, holds verified files that a remote depot did not
// take: they are durable here, and published before anything else is fetched.
const spoolDir = "spool"

// spoolFile is a file in the spool. Its name there tells everything:
// <SHA-256>_<size>_<modification time>_<name on the device>.
type spoolFile struct {
	local string
	sum   string
	key   ledger.Key
	// found is what Verify finds in it.
	found Verified
}

func (r *run) spool() string { return filepath.Join(r.archive.collect(), spoolDir) }

// remote reports whether finished files leave this file system, so that they
// may have to wait for the way there.
func (r *run) remote() bool {
	_, here := r.o.Depot.(*depot.Dir)
	return !here
}

// hold moves verified files, which are durable, into the spool.
func (r *run) hold(files []depot.File, keys []ledger.Key) error {
	if err := durable.MkdirAll(r.spool()); err != nil {
		return err
	}
	for i, f := range files {
		k := keys[i]
		name := fmt.Sprintf("%s_%d_%d_%s", f.SHA256, k.Size, k.MTime, k.Name)
		// A file that is there already has the same content by its name.
		if err := durable.MoveNoReplace(f.Local, filepath.Join(r.spool(), name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return durable.SyncDir(r.spool())
}

// spooled lists the spool.
func (r *run) spooled() ([]spoolFile, error) {
	entries, err := os.ReadDir(r.spool())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var files []spoolFile
	for _, e := range entries {
		if h, ok := r.parseHeld(e.Name()); ok && e.Type().IsRegular() {
			files = append(files, h)
		}
	}
	return files, err
}

func (r *run) parseHeld(name string) (h spoolFile, ok bool) {
	part := strings.SplitN(name, "_", 4)
	if len(part) != 4 || len(part[0]) != 64 {
		return h, false
	}
	size, err1 := strconv.ParseInt(part[1], 10, 64)
	mtime, err2 := strconv.ParseInt(part[2], 10, 64)
	_, err3 := rollover.ParseName(part[3])
	h = spoolFile{local: filepath.Join(r.spool(), name), sum: part[0], key: ledger.Key{Device: r.device, Path: r.path, Name: part[3], Size: size, MTime: mtime}}
	return h, errors.Join(err1, err2, err3) == nil
}

// resume publishes and records what waits in the spool. While the depot still
// does not take it, r.held remembers what need not be fetched again, and why.
func (r *run) resume(ctx context.Context) error {
	if !r.remote() {
		return nil
	}
	files, err := r.spooled()
	if err != nil || len(files) == 0 {
		return err
	}
	clear(r.held)
	for len(files) > 0 {
		n := min(len(files), r.limits.BatchFiles)
		if err := r.resumeBatch(ctx, files[:n]); err != nil {
			return err
		}
		files = files[n:]
	}
	return r.release(ctx)
}

func (r *run) resumeBatch(ctx context.Context, batch []spoolFile) error {
	var whole []spoolFile
	var finished []depot.File
	for _, h := range batch {
		sum, size, err := durable.Sum(h.local)
		if err != nil {
			return &localError{err}
		}
		if sum != h.sum || size != h.key.Size {
			// The disk lost it. It is fetched again if the device has it.
			if err := os.Remove(h.local); err != nil {
				return &localError{err}
			}
			continue
		}
		// It passed once; only what it holds is asked for.
		if h.found, err = r.o.Verify(ctx, h.local); err != nil && aboutUs(ctx, err) {
			return fmt.Errorf("verify: %w", err)
		}
		whole = append(whole, h)
		finished = append(finished, depot.File{Path: h.key.Name, Local: h.local, SHA256: sum, Size: size})
	}
	other, err := r.archive.publish(ctx, finished)
	if err != nil {
		for _, h := range whole {
			r.held[h.key] = oneLine(err)
		}
		return nil // the visit goes on: other files may be near their end
	}
	if err := r.recordHeld(ctx, whole, finished, other); err != nil {
		return err
	}
	for _, h := range whole {
		if err := os.Remove(h.local); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &localError{err}
		}
	}
	return durable.SyncDir(r.spool())
}

// recordHeld tells the ledger of published files: by their claims, or as files
// that are just there if somebody else settled them meanwhile.
func (r *run) recordHeld(ctx context.Context, files []spoolFile, finished []depot.File, other []bool) error {
	claims, err := r.o.Ledger.Claim(ctx, r.o.Now(), r.owner, r.limits.Run+5*time.Minute, r.device, 0)
	if err != nil {
		return err
	}
	mine := make(map[ledger.Key]ledger.Claim, len(claims))
	for _, c := range claims {
		mine[c.Key] = c
	}
	b := &batch{run: r}
	var items []ledger.StoreItem
	var done []File
	for i, h := range files {
		c, claimed := mine[h.key]
		if !claimed {
			in := ledger.Input{Device: r.device, Name: h.key.Name, SHA256: h.sum, Stored: finished[i].Path, Size: h.key.Size, Facts: h.found.Facts}
			if _, err := r.o.Ledger.AddLocal(ctx, r.o.Now(), []ledger.Input{in}); err != nil {
				return err
			}
			continue
		}
		items = append(items, ledger.StoreItem{Claim: c, SHA256: h.sum, Stored: finished[i].Path, Facts: h.found.Facts})
		done = append(done, b.storedFile(c.Key, finished[i], other[i], h.found.Records))
	}
	if len(items) == 0 {
		return nil
	}
	return b.record(ctx, items, done)
}
