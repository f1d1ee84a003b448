package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"acctpull/internal/durable"
)

// lockName is the lock file of [Dir.Lock]; its name keeps it out of listings.
const lockName = ".lock"

// Lock takes the lock of the directory as soon as it can be had: shared with
// others who only add files, or alone to exchange directories. Call release to
// give it back; the end of the process does so too.
func (d *Dir) Lock(ctx context.Context, shared bool) (release func() error, err error) {
	if err := durable.MkdirAll(d.root); err != nil {
		return nil, err
	}
	l, err := durable.WaitLock(ctx, filepath.Join(d.root, lockName), shared)
	if err != nil {
		return nil, err
	}
	return l.Release, nil
}

// A Swap is a directory of a [Dir] that is about to change in one moment: what
// takes its place lies ready beside it. The caller holds the lock of the Dir,
// not shared, from PrepareSwap to the end of Commit or Abort.
type Swap struct {
	d          *Dir
	dir, aside string // in the file system
	exists     bool   // dir is there
	empty      bool   // nothing is to be in its place
}

// PrepareSwap gets a directory ready that has the files of dir but those in
// remove, which are base names, and the files in add, whose paths lie in dir. It
// is built at aside, a path in the same Dir that does not exist and that no
// reader looks at; after Commit the old directory is there, whole, until the
// caller removes it. Files are hard links, or copies where the file system
// refuses links. Everything is durable on return.
//
// A file system that cannot exchange two directories is refused with
// [durable.ErrNoExchange].
func (d *Dir) PrepareSwap(ctx context.Context, dir, aside string, remove []string, add []File) (s *Swap, err error) {
	s = &Swap{d: d}
	if s.dir, err = d.local(dir); err != nil {
		return nil, err
	}
	if s.aside, err = d.local(aside); err != nil {
		return nil, err
	}
	keep, err := s.kept(remove)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(filepath.Dir(s.aside)); err != nil {
		return nil, err
	}
	if s.empty = len(keep)+len(add) == 0; s.empty {
		return s, nil
	}
	if s.exists {
		if err := probeExchange(filepath.Dir(s.aside)); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(s.aside, durable.DirMode); err != nil {
		return nil, err
	}
	if err := s.fill(ctx, keep, add); err != nil {
		return nil, errors.Join(err, s.Abort())
	}
	return s, nil
}

// kept returns the base names of the files that stay.
func (s *Swap) kept(remove []string) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.exists = true
	var keep []string
	for _, e := range entries {
		switch {
		case slices.Contains(remove, e.Name()), durable.IsTemp(e.Name()):
		case !e.Type().IsRegular():
			return nil, &fs.PathError{Op: "replace", Path: filepath.Join(s.dir, e.Name()), Err: errors.New("not a regular file")}
		default:
			keep = append(keep, e.Name())
		}
	}
	return keep, nil
}

// fill gives the new directory its files.
func (s *Swap) fill(ctx context.Context, keep []string, add []File) error {
	for _, name := range keep {
		if err := linkOrCopy(ctx, filepath.Join(s.dir, name), filepath.Join(s.aside, name), ""); err != nil {
			return err
		}
	}
	for _, f := range add {
		final, err := s.d.local(f.Path)
		if err != nil {
			return err
		}
		if filepath.Dir(final) != s.dir {
			return fmt.Errorf("file %q does not lie in %q: %w", f.Path, s.dir, fs.ErrInvalid)
		}
		if err := linkOrCopy(ctx, f.Local, filepath.Join(s.aside, filepath.Base(final)), f.SHA256); err != nil {
			return err
		}
	}
	return durable.SyncDir(s.aside)
}

// Commit makes the change, and makes it durable. If it fails, what lies where is
// not known before somebody looks.
func (s *Swap) Commit() error {
	switch {
	case s.empty && !s.exists:
		return nil
	case s.empty:
		if err := durable.MoveNoReplace(s.dir, s.aside); err != nil {
			return err
		}
	case s.exists:
		if err := durable.Exchange(s.aside, s.dir); err != nil {
			return err
		}
	default:
		if err := durable.MkdirAll(filepath.Dir(s.dir)); err != nil {
			return err
		}
		if err := durable.MoveNoReplace(s.aside, s.dir); err != nil {
			return err
		}
	}
	if s.empty {
		err := durable.SyncDir(filepath.Dir(s.dir))
		return errors.Join(err, durable.SyncDir(filepath.Dir(s.aside)), s.prune())
	}
	return errors.Join(s.d.syncDir(s.dir), durable.SyncDir(filepath.Dir(s.aside)))
}

// prune removes the directories above the one that went, as far as they are
// empty.
func (s *Swap) prune() error {
	for at := filepath.Dir(s.dir); at != s.d.root && len(at) > len(s.d.root); at = filepath.Dir(at) {
		err := unix.Rmdir(at)
		switch {
		case err == unix.ENOTEMPTY || err == unix.EEXIST:
			return nil
		case err != nil && err != unix.ENOENT:
			return &fs.PathError{Op: "rmdir", Path: at, Err: err}
		}
		if err := durable.SyncDir(filepath.Dir(at)); err != nil {
			return err
		}
	}
	return nil
}

// Abort removes what was prepared, if Commit was not called.
func (s *Swap) Abort() error { return os.RemoveAll(s.aside) }

// ProbePrefix begins the names of directories that PrepareSwap makes beside aside
// to see what the file system can do, and removes at once.
const ProbePrefix = "probe-"

// probeExchange tries on two new directories whether they can change places.
func probeExchange(dir string) (err error) {
	a, err := os.MkdirTemp(dir, ProbePrefix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(a)) }()
	one, two := filepath.Join(a, "1"), filepath.Join(a, "2")
	if err := errors.Join(os.Mkdir(one, durable.DirMode), os.Mkdir(two, durable.DirMode)); err != nil {
		return err
	}
	return durable.Exchange(one, two)
}

// linkOrCopy gives a file a second name. Where that is refused, for a file of
// another user or file system or one with too many names, it is copied, durably;
// sum is the SHA-256 it has to have, or "" if nobody told.
func linkOrCopy(ctx context.Context, from, to, sum string) error {
	err := os.Link(from, to)
	if err == nil || !slices.ContainsFunc(refusedLinks, func(no error) bool { return errors.Is(err, no) }) {
		return err
	}
	return copyFile(ctx, from, to, sum)
}

// refusedLinks are the answers of a file system that wants no such hard link.
var refusedLinks = []error{unix.EPERM, unix.EXDEV, unix.EMLINK, unix.ENOSYS, unix.EOPNOTSUPP, unix.EACCES}

func copyFile(ctx context.Context, from, to, sum string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	t, err := durable.Create(filepath.Dir(to), filepath.Base(to), durable.DataMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Abort()) }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(t, hash), &ctxReader{ctx, src}); err != nil {
		return err
	}
	want := hex.EncodeToString(hash.Sum(nil))
	if sum != "" && sum != want {
		return fmt.Errorf("copy %s: the content is %s and should be %s", from, want, sum)
	}
	if err := t.Sync(); err != nil {
		return err
	}
	there, _, err := durable.Sum(t.Path())
	if err != nil {
		return err
	}
	if there != want {
		return fmt.Errorf("copy %s: the disk has %s and was given %s", from, there, want)
	}
	return t.Publish(to)
}

// ctxReader ends a long copy when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
