// Package depot is where finished files live: accounting files of the archive,
// files in quarantine, Parquet outputs, and the small documents beside them. A
// depot names them by slash paths relative to its root, such as
// `devices/<device>/act/<name>`; what it stands on is a directory ([Dir]) or
// another implementation of [Depot].
//
// Files on their way are not its business: they lie in local directories of
// whoever writes them, and enter the depot whole, verified and durable.
package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"

	"acctpull/internal/durable"
)

// Depot keeps finished files. All methods may be called from several
// goroutines, and by several processes at once: of two that publish one path,
// one is told that the other was first.
type Depot interface {
	Reader
	Writer
}

// Reader is the half of a Depot that changes nothing.
type Reader interface {
	// Open opens a file. If there is none the error matches fs.ErrNotExist,
	// which never means that the depot itself could not be asked.
	Open(ctx context.Context, path string) (Object, error)
	// Sum reads a file as the medium gives it back, not from a cache, and
	// returns the SHA-256 of its bytes in hexadecimal, and their number.
	Sum(ctx context.Context, path string) (sum string, size int64, err error)
	// List names every file below a directory, itself a slash path without a
	// slash at its end, or "" for the root; in no particular order, while it
	// reads. Temporary files, and whatever lies below a name with a dot in
	// front, are left out. A directory that is missing has no files.
	List(ctx context.Context, dir string) iter.Seq2[Entry, error]
}

// Writer is the half of a Depot that changes it.
type Writer interface {
	// Publish gives finished local files their paths, without ever replacing
	// anything, and makes bytes and names durable. The placements are in the
	// order of the files. After an error nothing may be claimed about any of
	// them, and to repeat the call is safe.
	//
	// A local file may be moved: what is left under its local name belongs to the
	// caller, to be removed when it is no longer needed.
	Publish(ctx context.Context, files []File) ([]Placement, error)
	// Replace writes a small document whole, over an older one if there is
	// one. A reader sees the old or the new one. It is durable on return.
	Replace(ctx context.Context, path string, data []byte) error
	// Remove removes a file, durably. If there is none the error matches
	// fs.ErrNotExist.
	Remove(ctx context.Context, path string) error
}

// Object is an open file. It never changes while it is open.
type Object interface {
	io.Reader
	io.ReaderAt
	io.Closer
	// Size is its length in bytes.
	Size() int64
}

// Entry is a file of a listing.
type Entry struct {
	Path string
	Size int64 // bytes
}

// File is a finished file on its way into a depot.
type File struct {
	// Path is where it goes.
	Path string
	// Local is the durable local file with its bytes. For a [Dir] it should
	// lie on the file system of the directory, or it is copied; or it is the
	// file at Path itself, which only makes that one durable. It is "" if Data
	// has the bytes of a small document.
	Local string
	Data  []byte
	// SHA256 and Size are those of its bytes, the hash in hexadecimal.
	SHA256 string
	Size   int64
}

// Outcome is what became of one file that was published.
type Outcome int

// The outcomes of Publish.
const (
	// Placed: the path names our file now.
	Placed Outcome = iota
	// Same: the path was taken by the same content, which is durable now.
	Same
	// Taken: the path was taken by other content. Nothing changed.
	Taken
)

// Placement tells what became of one file.
type Placement struct {
	Outcome Outcome
	// SHA256 is that of the content under the path now.
	SHA256 string
}

// CheckPath reports whether a path can name a file of a depot: slash separated,
// not rooted, without empty elements, "." or "..", and without control
// characters or backslashes.
func CheckPath(p string) error {
	if !fs.ValidPath(p) || p == "." {
		return fmt.Errorf("path %.256q does not name a file: %w", p, fs.ErrInvalid)
	}
	for _, c := range []byte(p) {
		if c < ' ' || c == 0x7f || c == '\\' {
			return fmt.Errorf("path %.256q has characters that are not used: %w", p, fs.ErrInvalid)
		}
	}
	return nil
}

// Localize returns the name of a local file with the bytes of a file of the
// depot: the file itself if the depot is a directory, or else a temporary copy
// in dir, which must exist. Call done when it is no longer needed.
func Localize(ctx context.Context, d Reader, file, dir string) (local string, done func() error, err error) {
	if here, ok := d.(interface{ local(string) (string, error) }); ok {
		local, err = here.local(file)
		return local, func() error { return nil }, err
	}
	src, err := d.Open(ctx, file)
	if err != nil {
		return "", nil, err
	}
	t, err := durable.Create(dir, path.Base(file), durable.DataMode)
	if err != nil {
		return "", nil, errors.Join(err, src.Close())
	}
	_, err = io.Copy(t, src)
	if err = errors.Join(err, src.Close()); err == nil {
		err = t.Sync()
	}
	if err != nil {
		return "", nil, errors.Join(err, t.Abort())
	}
	return t.Path(), t.Abort, nil
}

// CheckDigest proves a small document by the digest in its last line, as the
// medium gives it back.
func CheckDigest(ctx context.Context, d Reader, path string, digest durable.Digest) error {
	// Sum leaves in a cache only what it just read from the medium.
	if _, _, err := d.Sum(ctx, path); err != nil {
		return err
	}
	f, err := d.Open(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(digest.Check(f, f.Size()), f.Close())
}
