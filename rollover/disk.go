package rollover

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"syscall"

	"acctpull/internal/durable"
)

// disk is everything this package does to a file system, and nothing else
// does anything to one. Tests put a disk there that loses what was not
// synced, or that fails the n-th call.
type disk interface {
	// Open opens a regular file with os.O_ flags; it follows no link.
	Open(path string, flag int) (file, error)
	// Size returns the length of a regular file. Anything else under that
	// name is an error, fs.ErrNotExist if there is nothing.
	Size(path string) (int64, error)
	// Names yields the names in a directory in no order. A missing directory
	// is an empty one. After an error it ends.
	Names(dir string) iter.Seq2[string, error]
	// MkdirAll creates a directory durably; an existing one is fine.
	MkdirAll(dir string) error
	// Move renames without overwriting: fs.ErrExist if newpath is there.
	Move(oldpath, newpath string) error
	// Remove removes a file, never a directory.
	Remove(path string) error
	// RemoveTemps removes our own temporary files in dir.
	RemoveTemps(dir string) (int, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
}

// file is an open file. Writes go to its end.
type file interface {
	io.WriteCloser
	io.ReaderAt
	Sync() error
	Truncate(size int64) error
}

// osDisk is the real disk.
type osDisk struct{}

func (osDisk) Open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW, durable.DataMode)
	if err != nil {
		return nil, err
	}
	if flag&os.O_CREATE == 0 {
		// What is read back has to come from the disk.
		if err := durable.DropCache(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

func (osDisk) Size(path string) (int64, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: errNotRegular}
	}
	return st.Size(), nil
}

var errNotRegular = errors.New("not a regular file")

func (osDisk) Names(dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for name, err := range Names(dir) {
			if errors.Is(err, fs.ErrNotExist) {
				return
			}
			if !yield(name, err) {
				return
			}
		}
	}
}

func (osDisk) MkdirAll(dir string) error          { return durable.MkdirAll(dir) }
func (osDisk) Move(oldpath, newpath string) error { return durable.MoveNoReplace(oldpath, newpath) }
func (osDisk) SyncDir(dir string) error           { return durable.SyncDir(dir) }

func (osDisk) Remove(path string) error {
	if err := syscall.Unlink(path); err != nil {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

func (osDisk) RemoveTemps(dir string) (int, error) {
	n, err := durable.RemoveLeftovers(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	return n, err
}
