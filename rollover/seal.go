package rollover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// open is the file being written and how far it is on its way to the archive.
// Each state is left only by success, so an operation that failed is taken up
// again where it stopped.
type open struct {
	name      Name   // the name it has or will have in the archive
	why       string // why it was created
	path      string // in the collect directory
	f         file   // nil unless writable
	state     state
	committed int64         // everything before this offset is durable
	age       time.Duration // how long it has been written to
	seen      time.Time     // when age was last brought up to date
}

type state int

const (
	writable state = iota // takes entries
	broken                // an error: holds committed entries and perhaps more
	complete              // footer written, fsynced, closed
	moved                 // in the archive, directories not yet fsynced
)

// maxStamps bounds the search for a stamp that is free.
const maxStamps = 3600

// due brings the age up to date and compares it with the rollover time. The
// age is the sum of the steps forward between two looks at the clock, measured
// by its monotonic reading where there is one: a clock that is set back makes
// no negative age and keeps no file open longer than the rollover time after
// the step.
func (f *open) due(now time.Time, rollover time.Duration) bool {
	if d := now.Sub(f.seen); d > 0 {
		f.age += d
	}
	f.seen = now
	return rollover > 0 && f.age >= rollover
}

// create makes the next file: exclusive creation under a stamp that is free in
// both directories, header member, fsync, fsync of the directory.
func (l *Log) create(now time.Time) error {
	const op = "create file"
	if err := errors.Join(l.disk.MkdirAll(l.o.Dirs.Collect), l.disk.MkdirAll(l.o.Dirs.Archive)); err != nil {
		return &Error{Op: op, Err: err}
	}
	loc := l.o.Location
	if loc == nil {
		loc = time.UTC
	}
	for stamp := range stamps(now, loc, l.last) {
		name := NewName(l.o.Prefix, l.o.ID, l.o.FileID, stamp, l.o.Ext)
		f, err := l.createAs(name)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return &Error{Op: op, File: name.String(), Err: err}
		}
		l.last = Mark{Wall: stamp, At: now.Round(0)}
		l.open = &open{name: name, why: l.reason, path: filepath.Join(l.o.Dirs.Collect, name.String()), f: f, seen: now}
		var header []byte
		if l.o.Header != nil {
			header = l.o.Header(name, now.In(loc), l.reason)
		}
		at, err := l.out.put(f, 0, "", header)
		if err == nil {
			err = l.sync(at)
		}
		if err == nil {
			err = l.disk.SyncDir(l.o.Dirs.Collect)
		}
		if err != nil {
			return l.fail(op, err)
		}
		l.open.committed = at
		return nil
	}
	return &Error{Op: op, Err: fmt.Errorf("no free name in %d seconds from %s", maxStamps, now.In(loc).Format(stampLayout))}
}

// createAs creates the file of one name, fs.ErrExist if the name is in use.
func (l *Log) createAs(name Name) (file, error) {
	if !name.Valid() {
		return nil, fmt.Errorf("%w: clock out of range", ErrName)
	}
	used, err := l.used(l.o.Dirs.Archive, name)
	if err != nil {
		return nil, err
	}
	for _, d := range l.o.Elsewhere {
		for _, dir := range []string{d.Collect, d.Archive} {
			there, _ := l.used(dir, name) // it may be out of order; see Options
			used = used || there
		}
	}
	if used {
		return nil, fs.ErrExist
	}
	return l.disk.Open(filepath.Join(l.o.Dirs.Collect, name.String()), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND)
}

// used tells whether a name is in use in a directory.
func (l *Log) used(dir string, name Name) (bool, error) {
	_, err := l.disk.Size(filepath.Join(dir, name.String()))
	if err == nil || errors.Is(err, errNotRegular) {
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return false, err
}

// sync makes the open file durable up to offset at, which has to be its end.
func (l *Log) sync(at int64) error {
	if err := l.open.f.Sync(); err != nil {
		return err
	}
	return checkSize(l.disk, l.open.path, at)
}

// checkSize finds a write that was reported and did not happen.
func checkSize(d disk, path string, want int64) error {
	size, err := d.Size(path)
	if err == nil && size != want {
		err = fmt.Errorf("wrote up to byte %d, file has %d: %w", want, size, io.ErrShortWrite)
	}
	return err
}

// fail gives the open file up after an error: its descriptor is closed and
// never believed again.
func (l *Log) fail(op string, err error) error {
	f := l.open
	if f.f != nil {
		err = errors.Join(err, f.f.Close())
	}
	f.f, f.state, l.reason = nil, broken, ReasonError
	return &Error{Op: op, File: f.name.String(), Err: err}
}

// seal brings the open file to the archive: footer, end of the gzip stream,
// fsync, close, move without overwriting, fsync of both directories, hook. It
// returns false if there was nothing to seal.
func (l *Log) seal() (File, bool, error) {
	const op = "seal"
	f := l.open
	if f == nil {
		return File{}, false, nil
	}
	if f.state == broken && f.committed == 0 {
		return File{}, false, l.discard()
	}
	var err error
	switch f.state {
	case writable:
		err = l.finish()
	case broken:
		err = l.mend()
	}
	if err != nil {
		return File{}, false, err
	}
	if f.state == complete {
		if err := archive(l.disk, l.o.Dirs, f.path, &f.name, f.committed, f.seen); err != nil {
			return File{}, false, &Error{Op: op, File: f.name.String(), Err: l.gone(err)}
		}
		f.state = moved
	}
	if err := syncDirs(l.disk, l.o.Dirs); err != nil {
		return File{}, false, &Error{Op: op, File: f.name.String(), Err: err}
	}
	sealed := File{Name: f.name, Path: filepath.Join(l.o.Dirs.Archive, f.name.String()), Size: f.committed}
	l.open = nil
	if l.o.OnSeal != nil {
		l.o.OnSeal(sealed)
	}
	return sealed, true, nil
}

// finish completes a file that had no error.
func (l *Log) finish() error {
	f := l.open
	at, err := l.out.put(f.f, f.committed, footerMark, l.o.footer())
	if err == nil {
		err = l.sync(at)
	}
	if err != nil {
		return l.fail("seal", err)
	}
	h := f.f
	f.f = nil
	if err := h.Close(); err != nil {
		return l.fail("seal", err)
	}
	f.committed, f.state = at, complete
	return nil
}

// mend completes a file that had an error: what is not committed is cut off.
// If the disk lost what was committed, the file is left for Recover.
func (l *Log) mend() error {
	f := l.open
	done, err := completeFile(l.disk, l.o, l.out, f.path, f.committed)
	if errors.Is(err, errLost) {
		l.open = nil
	}
	if err != nil {
		return &Error{Op: "mend", File: f.name.String(), Err: l.gone(err)}
	}
	f.committed, f.state = done.size, complete
	return nil
}

// gone gives up a file that is no longer there: nothing can be done for it, and
// the next one must not wait for it.
func (l *Log) gone(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, sizeErr := l.disk.Size(l.open.path); !errors.Is(sizeErr, fs.ErrNotExist) {
		return err
	}
	l.open = nil
	return fmt.Errorf("%w: %w", ErrGone, err)
}

// discard removes a new file to which not even its header was committed.
func (l *Log) discard() error {
	f := l.open
	if err := l.disk.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "discard", File: f.name.String(), Err: err}
	}
	if err := l.disk.SyncDir(l.o.Dirs.Collect); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "discard", File: f.name.String(), Err: err}
	}
	l.open, l.reason = nil, f.why
	return nil
}

func (o Options) footer() []byte {
	if o.Footer == nil {
		return nil
	}
	return o.Footer()
}

// archive moves a complete file of a known size from the collect directory to
// name in the archive. If the archive holds the same bytes under that name, an
// earlier move was half done and is finished; if it holds other bytes, both
// are kept and name gets the next free stamp.
func archive(d disk, dirs Dirs, from string, name *Name, size int64, now time.Time) error {
	if err := d.MkdirAll(dirs.Archive); err != nil {
		return err
	}
	for range maxStamps {
		to := filepath.Join(dirs.Archive, name.String())
		err := d.Move(from, to)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrNotExist):
			// The move before was reported as an error and did happen.
			_, fromErr := d.Size(from)
			if errors.Is(fromErr, fs.ErrNotExist) && checkSize(d, to, size) == nil {
				return nil
			}
			return err
		case !errors.Is(err, fs.ErrExist):
			return err
		}
		same, err := sameContent(d, from, to)
		if err != nil {
			return err
		}
		if same {
			// The name in the archive has to be durable before the other goes.
			if err := d.SyncDir(dirs.Archive); err != nil {
				return err
			}
			return d.Remove(from)
		}
		*name = name.next(now)
	}
	return fmt.Errorf("no free name in the archive for %s: %w", filepath.Base(from), fs.ErrExist)
}

// next returns the name one second later; a stamp that is no date gives way to
// the present.
func (n Name) next(now time.Time) Name {
	at, ok := n.wall()
	if !ok {
		at = now.UTC()
	}
	return NewName(n.Prefix, n.ID, n.FileID, at.Add(time.Second), n.Ext)
}

func syncDirs(d disk, dirs Dirs) error {
	if err := d.SyncDir(dirs.Archive); err != nil {
		return err
	}
	return d.SyncDir(dirs.Collect)
}

// sameContent compares two files byte by byte. A directory or a link under
// one of the names is no file and not the same.
func sameContent(d disk, a, b string) (same bool, err error) {
	size, err := d.Size(a)
	if err != nil {
		return false, err
	}
	other, err := d.Size(b)
	if errors.Is(err, errNotRegular) || err == nil && other != size {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fa, err := d.Open(a, os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, fa.Close()) }()
	fb, err := d.Open(b, os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, fb.Close()) }()
	ba, bb := make([]byte, bufferSize), make([]byte, bufferSize)
	for at := int64(0); at < size; at += bufferSize {
		n := min(bufferSize, size-at)
		if _, err := io.ReadFull(io.NewSectionReader(fa, at, n), ba[:n]); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(io.NewSectionReader(fb, at, n), bb[:n]); err != nil {
			return false, err
		}
		if !bytes.Equal(ba[:n], bb[:n]) {
			return false, nil
		}
	}
	return true, nil
}
