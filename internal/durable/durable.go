// Package durable holds the few file operations on which every promise about
// crashes rests: write a temporary file, make it durable, give it its name
// without overwriting another, make the name durable; lock a state file; read
// back what the disk has.
//
// What is durable when, as measured on ext4 and XFS with real power cuts:
//
//   - data is on the disk after fsync of the file and not before;
//   - a name is on the disk after fsync of its directory and not before;
//   - a name that appears before the data was fsynced can survive a power cut
//     as an EMPTY file, because any other program's fsync commits the name.
//
// Hence the one order used everywhere: write a temporary file, fsync it, close
// it, move it to its name, fsync the directory, and only then tell anyone.
//
// An fsync that failed is never repeated on the same descriptor: the kernel
// marks the pages clean after it reported the error, so a second call
// would succeed without having written anything. Such a file is abandoned.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// DirMode is the mode of every directory that holds data.
const DirMode fs.FileMode = 0o750

// DataMode is the mode of every data file.
const DataMode fs.FileMode = 0o640

// StateMode is the mode of files that hold state: locks, clocks, ledgers.
const StateMode fs.FileMode = 0o600

// ErrNoExchange: the file system cannot let two names change places.
var ErrNoExchange = errors.New("the file system cannot exchange two names in one moment")

// SyncDir makes the names in a directory durable (fsync of the directory).
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SyncFile makes the content of an existing file durable. It is meant for a
// file that was found, not for one just written: a file that this process
// wrote is synced through the descriptor that wrote it, see [File].
func SyncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// MoveNoReplace gives the file oldpath the name newpath. If newpath exists
// nothing changes and the error matches [fs.ErrExist]. Across file systems it
// fails with EXDEV: nothing is copied behind the caller's back.
//
// It uses renameat2(RENAME_NOREPLACE), which is atomic. A file system without
// it gets link and unlink; a crash between the two leaves the file under both
// names, which the caller's recovery sees as the same inode. Neither makes the
// move durable: fsync the directory of newpath and then that of oldpath.
func MoveNoReplace(oldpath, newpath string) error {
	err := renameNoReplace(oldpath, newpath)
	if errors.Is(err, errors.ErrUnsupported) {
		return linkUnlink(oldpath, newpath)
	}
	if err != nil {
		return &os.LinkError{Op: "move", Old: oldpath, New: newpath, Err: err}
	}
	return nil
}

// linkUnlink is the move for file systems without renameat2 flags. Such a file
// system may not keep the order of two changes of names either, so the new
// name is made durable before the old one goes.
func linkUnlink(oldpath, newpath string) error {
	if err := os.Link(oldpath, newpath); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(newpath)); err != nil {
		return err
	}
	return os.Remove(oldpath)
}

// MkdirAll creates a directory and every missing parent with [DirMode] and
// fsyncs the parent of each directory it created, so that a file made durable
// below it is still there after a power cut.
func MkdirAll(path string) error {
	path = filepath.Clean(path)
	st, err := os.Stat(path)
	if err == nil {
		if st.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: path, Err: errNotDir}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent == path {
		return err
	}
	if err := MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, DirMode); err != nil {
		// Another process may have made it in between.
		if st, e := os.Stat(path); e != nil || !st.IsDir() {
			return err
		}
	}
	return SyncDir(parent)
}
