package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tempPrefix starts the name of every temporary file of ours. The leading dot
// keeps Spark, pyarrow and shell globs from reading it.
const tempPrefix = ".tmp-"

// tempRandom is the number of hexadecimal digits between the prefix and the
// final name.
const tempRandom = 16

// ErrAbandoned matches what every method of a [File] returns after its first
// error, which it wraps too, and after Publish or Abort.
var ErrAbandoned = errors.New("temporary file is abandoned")

// File is a file under a temporary name, on its way to a final one. It is
// used by one goroutine. Exactly one of Publish and Abort ends it; Abort after
// a successful Publish does nothing, so it can be deferred.
type File struct {
	f      *os.File // nil after it was closed
	path   string
	size   int64
	synced bool  // everything written so far is durable
	moved  bool  // nothing is left under the temporary name
	err    error // the first error: nothing is believed after it
}

// Create opens a new temporary file `.tmp-<random>-<finalName>` in dir. Dir
// must lie on the file system of the final path. The final name is only part
// of the temporary one for the sake of people; it must be a plain file name.
func Create(dir, finalName string, mode fs.FileMode) (*File, error) {
	if !plainName(finalName) {
		return nil, &fs.PathError{Op: "create temporary file", Path: finalName, Err: fs.ErrInvalid}
	}
	var random [tempRandom / 2]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	path := filepath.Join(dir, tempPrefix+hex.EncodeToString(random[:])+"-"+finalName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	return &File{f: f, path: path}, nil
}

// plainName reports whether name is one path element and nothing special.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00") && filepath.Base(name) == name
}

// Path is where the file is now: the temporary path. A caller may read it
// back after [File.Sync].
func (t *File) Path() string { return t.path }

// Size is the number of bytes written.
func (t *File) Size() int64 { return t.size }

// Write appends p.
func (t *File) Write(p []byte) (int, error) {
	if err := t.usable(); err != nil {
		return 0, err
	}
	n, err := t.f.Write(p)
	t.size += int64(n)
	t.synced = false
	return n, t.keep(err)
}

// WriteString appends s.
func (t *File) WriteString(s string) (int, error) {
	if err := t.usable(); err != nil {
		return 0, err
	}
	n, err := t.f.WriteString(s)
	t.size += int64(n)
	t.synced = false
	return n, t.keep(err)
}

// Sync makes everything written so far durable and checks that the file is as
// long as the writes were: a write that lied is found here and not by the
// reader. After an error the file can only be aborted.
func (t *File) Sync() error {
	if err := t.usable(); err != nil {
		return err
	}
	if t.synced {
		return nil
	}
	if err := t.keep(t.f.Sync()); err != nil {
		return err
	}
	st, err := t.f.Stat()
	if err != nil {
		return t.keep(err)
	}
	if st.Size() != t.size {
		return t.keep(&fs.PathError{Op: "sync", Path: t.path,
			Err: fmt.Errorf("wrote %d bytes, file has %d: %w", t.size, st.Size(), io.ErrShortWrite)})
	}
	t.synced = true
	return nil
}

// Seal makes the content durable and closes the file. It stays under its
// temporary name, takes no more bytes and holds no descriptor: thousands of
// files may wait so to be published together. Move it with [MoveNoReplace] and
// sync the directories once for all of them; [File.Abort] removes it if it was
// not moved. After an error the file can only be aborted.
func (t *File) Seal() error {
	if err := t.Sync(); err != nil {
		return err
	}
	return t.close()
}

// Publish makes the content durable, closes the file, moves it to finalPath
// without overwriting and makes the name durable in both directories.
//
// If finalPath exists the error matches [fs.ErrExist] and the temporary file
// stays: compare [Sum] of [File.Path] with the file that is there, then Abort.
// Any other error means that nothing may be claimed about the file.
func (t *File) Publish(finalPath string) error {
	if err := t.Sync(); err != nil {
		return err
	}
	if err := t.close(); err != nil {
		return err
	}
	if err := MoveNoReplace(t.path, finalPath); err != nil {
		return t.keep(err)
	}
	t.moved = true
	to, from := filepath.Dir(finalPath), filepath.Dir(t.path)
	err := SyncDir(to)
	if from != to {
		err = errors.Join(err, SyncDir(from))
	}
	return t.keep(err)
}

// Abort closes and removes the temporary file. It is safe at any time and
// does nothing after the file was published.
func (t *File) Abort() error {
	if t.moved {
		return nil
	}
	t.moved = true
	var err error
	if t.f != nil {
		err = t.close()
	}
	if rm := os.Remove(t.path); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

func (t *File) close() error {
	f := t.f
	t.f = nil
	return t.keep(f.Close())
}

func (t *File) usable() error {
	switch {
	case t.err != nil:
		return fmt.Errorf("%s: %w: %w", t.path, ErrAbandoned, t.err)
	case t.f == nil:
		return fmt.Errorf("%s: %w", t.path, ErrAbandoned)
	}
	return nil
}

func (t *File) keep(err error) error {
	if t.err == nil {
		t.err = err
	}
	return err
}

// IsTemp reports whether a file name has the form that [Create] gives:
// `.tmp-`, sixteen lower-case hexadecimal digits, `-` and a final name.
func IsTemp(name string) bool {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	if !ok || len(rest) < tempRandom+2 || rest[tempRandom] != '-' {
		return false
	}
	return strings.Trim(rest[:tempRandom], "0123456789abcdef") == ""
}

// Leftovers returns the paths, sorted, of the temporary files in dir that a
// crash left: regular files whose name passes [IsTemp], and nothing else. The
// caller must hold the lock that keeps writers out of dir.
func Leftovers(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for err == nil {
		var batch []fs.DirEntry
		batch, err = d.ReadDir(1024)
		for _, e := range batch {
			if e.Type().IsRegular() && IsTemp(e.Name()) {
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	if err == io.EOF {
		err = nil
	}
	slices.Sort(found)
	return found, errors.Join(err, d.Close())
}

// RemoveLeftovers removes what [Leftovers] finds, fsyncs the directory and
// returns how many files went.
func RemoveLeftovers(dir string) (int, error) {
	paths, err := Leftovers(dir)
	n := 0
	for _, p := range paths {
		if rm := os.Remove(p); rm != nil {
			err = errors.Join(err, rm)
			continue
		}
		n++
	}
	if n > 0 {
		err = errors.Join(err, SyncDir(dir))
	}
	return n, err
}
