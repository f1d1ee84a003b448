package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"acctpull/internal/durable"
)

// Dir is a depot in a directory of a local or shared POSIX file system. Every
// guarantee rests on internal/durable.
type Dir struct {
	root string

	mu      sync.Mutex
	durable map[string]fs.FileInfo // directories whose own names, up to root, are durable
}

// NewDir returns the depot in a directory. It touches nothing; the directory and
// those below it are made when the first file needs them.
func NewDir(root string) *Dir {
	return &Dir{root: filepath.Clean(root), durable: make(map[string]fs.FileInfo)}
}

// Root returns the directory.
func (d *Dir) Root() string { return d.root }

// local returns the name of a file in the file system.
func (d *Dir) local(p string) (string, error) {
	if err := CheckPath(p); err != nil {
		return "", err
	}
	return filepath.Join(d.root, filepath.FromSlash(p)), nil
}

// dirFile is an open file.
type dirFile struct {
	*os.File
	size int64
}

func (f *dirFile) Size() int64 { return f.size }

// Open implements [Reader].
func (d *Dir) Open(_ context.Context, p string) (Object, error) {
	name, err := d.local(p)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &dirFile{f, st.Size()}, nil
}

// Sum implements [Reader].
func (d *Dir) Sum(_ context.Context, p string) (string, int64, error) {
	name, err := d.local(p)
	if err != nil {
		return "", 0, err
	}
	return durable.Sum(name)
}

// List implements [Reader].
func (d *Dir) List(ctx context.Context, dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if dir != "" {
			if err := CheckPath(dir); err != nil {
				yield(Entry{}, err)
				return
			}
		}
		if err := d.walk(ctx, dir, yield); err != nil && !errors.Is(err, errStopped) {
			yield(Entry{}, err)
		}
	}
}

// errStopped: nobody wants the rest of a listing, nor any error of it.
var errStopped = errors.New("listing stopped")

// walk lists a directory and those below it, a piece at a time.
func (d *Dir) walk(ctx context.Context, dir string, yield func(Entry, error) bool) (err error) {
	f, err := os.Open(filepath.Join(d.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			if err := d.visit(ctx, path.Join(dir, e.Name()), e, yield); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// visit lists one name of a directory.
func (d *Dir) visit(ctx context.Context, p string, e fs.DirEntry, yield func(Entry, error) bool) error {
	switch {
	case strings.HasPrefix(e.Name(), "."):
		return nil // temporary files have a dot in front too
	case e.IsDir():
		return d.walk(ctx, p, yield)
	case !e.Type().IsRegular():
		return nil
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since
	}
	if err != nil {
		return err
	}
	if !yield(Entry{p, info.Size()}, nil) {
		return errStopped
	}
	return nil
}

// Publish implements [Writer]: it moves each file to its name without
// overwriting, and then fsyncs each directory once that a name came to or went
// from.
func (d *Dir) Publish(_ context.Context, files []File) ([]Placement, error) {
	placed := make([]Placement, len(files))
	from, to := map[string]bool{}, map[string]bool{}
	for i, f := range files {
		final, err := d.local(f.Path)
		if err != nil {
			return nil, err
		}
		if placed[i], err = d.place(f, final); err != nil {
			return nil, err
		}
		if placed[i].Outcome == Placed && f.Local != "" {
			from[filepath.Dir(f.Local)] = true
		}
		if placed[i].Outcome != Taken {
			to[filepath.Dir(final)] = true
		}
	}
	// The new names first: a name that is under neither would be lost.
	var errs []error
	for dir := range to {
		delete(from, dir)
		errs = append(errs, d.syncDir(dir))
	}
	for dir := range from {
		errs = append(errs, durable.SyncDir(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return placed, nil
}

// place moves a file to its name, or finds that the name is taken.
func (d *Dir) place(f File, final string) (Placement, error) {
	move := func() error { return durable.MoveNoReplace(f.Local, final) }
	if f.Local == "" {
		move = func() error { return writeNoReplace(f, final) }
	}
	err := move()
	if errors.Is(err, fs.ErrNotExist) {
		if err := durable.MkdirAll(filepath.Dir(final)); err != nil {
			return Placement{}, err
		}
		err = move()
	}
	if errors.Is(err, syscall.EXDEV) {
		err = copyNoReplace(f, final)
	}
	if err == nil {
		return Placement{Placed, f.SHA256}, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return Placement{}, err
	}
	there, _, err := durable.Sum(final)
	if err != nil {
		return Placement{}, err
	}
	if there != f.SHA256 {
		return Placement{Taken, there}, nil
	}
	// A crash may have left it before it was durable.
	return Placement{Same, there}, durable.SyncFile(final)
}

// writeNoReplace writes a small document under a name that is free.
func writeNoReplace(f File, final string) error {
	t, err := durable.Create(filepath.Dir(final), filepath.Base(final), durable.DataMode)
	if err != nil {
		return err
	}
	if _, err = t.Write(f.Data); err == nil {
		err = t.Publish(final)
	}
	return errors.Join(err, t.Abort())
}

// copyNoReplace does what a move does where the two names are on different file
// systems: a copy that is durable and has its name, and only then does the other
// one go. It fails with [fs.ErrExist] if the name is taken.
func copyNoReplace(f File, final string) (err error) {
	from, err := os.Open(f.Local)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := durable.Create(filepath.Dir(final), filepath.Base(final), durable.DataMode)
	if err != nil {
		return err
	}
	hash := sha256.New()
	if _, err = io.Copy(io.MultiWriter(to, hash), from); err == nil {
		if sum := hex.EncodeToString(hash.Sum(nil)); sum != f.SHA256 {
			err = fmt.Errorf("copy %s: the content is %s and should be %s", f.Local, sum, f.SHA256)
		} else {
			err = to.Publish(final)
		}
	}
	if err != nil {
		return errors.Join(err, to.Abort())
	}
	return os.Remove(f.Local)
}

// syncDir makes the names in a directory durable, and once in the life of d its
// own name and those above it: whoever made them may have died before that.
func (d *Dir) syncDir(dir string) error {
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	for at := dir; at != d.root; at = filepath.Dir(at) {
		st, err := os.Stat(at)
		if err != nil {
			return err
		}
		if d.isDurable(at, st) {
			break
		}
		if err := durable.SyncDir(filepath.Dir(at)); err != nil {
			return err
		}
		d.mu.Lock()
		d.durable[at] = st
		d.mu.Unlock()
	}
	return nil
}

// isDurable tells whether the name of a directory is known to be durable, and
// still that of the same one.
func (d *Dir) isDurable(dir string, now fs.FileInfo) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.durable[dir]
	return was != nil && os.SameFile(was, now)
}

// Replace implements [Writer].
func (d *Dir) Replace(_ context.Context, p string, data []byte) error {
	name, err := d.local(p)
	if err != nil {
		return err
	}
	err = durable.ReplaceFile(name, data, durable.DataMode)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	return durable.ReplaceFile(name, data, durable.DataMode)
}

// Remove implements [Writer].
func (d *Dir) Remove(_ context.Context, p string) error {
	name, err := d.local(p)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(name))
}
