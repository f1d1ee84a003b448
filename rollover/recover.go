package rollover

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Recovered says what [Recover] found and did.
type Recovered struct {
	// Sealed are the files that were completed, where needed, and are now in
	// the archive.
	Sealed []File
	// Torn are the files without one whole member, now in the directory
	// "torn" beside the collect directory.
	Torn []File
	// Tails are files in the directory "torn" with the end of a sealed file
	// that was damaged in the middle: entries stand behind the damage.
	Tails []string
	// CutBytes is the number of bytes behind the last whole members: entries
	// that were never committed.
	CutBytes int64
	// Temps is the number of our own temporary files that were removed.
	Temps int
}

// Add adds what another recovery found.
func (r *Recovered) Add(o Recovered) {
	r.Sealed = append(r.Sealed, o.Sealed...)
	r.Torn = append(r.Torn, o.Torn...)
	r.Tails = append(r.Tails, o.Tails...)
	r.CutBytes += o.CutBytes
	r.Temps += o.Temps
}

// Recover puts a pair of directories right after a crash, before anything
// else works on it. Every file of the identity in o that lies in the collect
// directory, or of any identity if o.ID is 0, is cut behind its last whole
// gzip member, gets its footer unless it has one, and is sealed like by
// [Log.Roll]. Of the options it reads Dirs, Prefix (empty: any), ID, FileID,
// Footer, Level and OnSeal.
//
// Nothing is ever deleted but our own temporary files and the second name of
// a file that is in the archive already. A file that cannot be dealt with is
// an error and stops no other. Recover can be interrupted at any moment and
// repeated; the second time it finds nothing to do.
func Recover(o Options, now time.Time) (Recovered, error) { return recoverOn(osDisk{}, o, now) }

func recoverOn(d disk, o Options, now time.Time) (Recovered, error) {
	var r Recovered
	if o.Dirs.Collect == "" || o.Dirs.Archive == "" || filepath.Clean(o.Dirs.Collect) == filepath.Clean(o.Dirs.Archive) {
		return r, &Error{Op: "recover", Err: errors.New("collect and archive directory have to be given and to differ")}
	}
	var errs []error
	temps, err := d.RemoveTemps(o.Dirs.Collect)
	r.Temps = temps
	if err != nil {
		errs = append(errs, &Error{Op: "recover", Err: err})
	}
	var names []Name
	for text, err := range d.Names(o.Dirs.Collect) {
		if err != nil {
			return r, errors.Join(append(errs, &Error{Op: "recover", Err: err})...)
		}
		if n, err := ParseName(text); err == nil && o.mine(n) {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, Compare)
	out := newMember(o.Level)
	for _, n := range names {
		if err := r.one(d, o, out, n, now); err != nil {
			errs = append(errs, &Error{Op: "recover", File: n.String(), Err: err})
		}
	}
	return r, errors.Join(errs...)
}

// one recovers one file.
func (r *Recovered) one(d disk, o Options, out *member, name Name, now time.Time) error {
	path := filepath.Join(o.Dirs.Collect, name.String())
	done, err := completeFile(d, o, out, path, anySize)
	if err != nil {
		return err
	}
	r.CutBytes += done.cut
	if done.tail != "" {
		r.Tails = append(r.Tails, done.tail)
	}
	if !done.whole {
		torn, err := keepTorn(d, o.Dirs, path, name)
		if err == nil {
			r.Torn = append(r.Torn, torn)
		}
		return err
	}
	if err := archive(d, o.Dirs, path, &name, done.size, now); err != nil {
		return err
	}
	if err := syncDirs(d, o.Dirs); err != nil {
		return err
	}
	f := File{Name: name, Path: filepath.Join(o.Dirs.Archive, name.String()), Size: done.size}
	r.Sealed = append(r.Sealed, f)
	if o.OnSeal != nil {
		o.OnSeal(f)
	}
	return nil
}

// anySize tells completeFile that nobody knows how much was committed.
const anySize = -1

// errLost: less can be read than was committed.
var errLost = errors.New("committed entries cannot be read back")

// completed is what completeFile did.
type completed struct {
	whole bool   // the file has at least one whole member; if not, it is untouched
	size  int64  // its length now
	cut   int64  // bytes cut off
	tail  string // where bytes cut off were kept because whole members are among them
}

// completeFile cuts a file behind its last whole member, or at the offset
// committed if that is known, adds the footer unless it is there, and fsyncs.
func completeFile(d disk, o Options, out *member, path string, committed int64) (done completed, err error) {
	size, err := d.Size(path)
	if err != nil {
		return done, err
	}
	f, err := d.Open(path, os.O_RDWR|os.O_APPEND)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	limit := size
	if committed != anySize {
		limit = min(size, committed)
	}
	s, err := scanMembers(f, limit)
	if err != nil {
		return done, err
	}
	if committed != anySize && s.end != committed {
		return done, fmt.Errorf("%w: %d of %d bytes", errLost, s.end, committed)
	}
	if !s.whole {
		return done, nil
	}
	done = completed{whole: true, size: s.end, cut: size - s.end}
	if done.cut > 0 {
		if committed == anySize {
			if done.tail, err = keepTail(d, o.Dirs, f, path, s.end, size); err != nil {
				return done, err
			}
		}
		if err := f.Truncate(s.end); err != nil {
			return done, err
		}
	}
	if !s.footer {
		if done.size, err = out.put(f, s.end, footerMark, o.footer()); err != nil {
			return done, err
		}
	}
	// Also a file that looks whole may be whole in memory only.
	if err := f.Sync(); err != nil {
		return done, err
	}
	return done, checkSize(d, path, done.size)
}

// keepTorn moves a file without a whole member to the directory torn.
func keepTorn(d disk, dirs Dirs, path string, name Name) (File, error) {
	size, err := d.Size(path)
	if err != nil {
		return File{}, err
	}
	if err := d.MkdirAll(dirs.torn()); err != nil {
		return File{}, err
	}
	to, err := freeName(filepath.Join(dirs.torn(), name.String()), func(to string) error { return d.Move(path, to) })
	if err != nil {
		return File{}, err
	}
	if err := d.SyncDir(dirs.torn()); err != nil {
		return File{}, err
	}
	return File{Name: name, Path: to, Size: size}, d.SyncDir(dirs.Collect)
}

// keepTail copies the bytes of f from offset at to the directory torn, if
// there is a whole member among them: a crash alone leaves none.
func keepTail(d disk, dirs Dirs, f file, path string, at, size int64) (string, error) {
	more, err := memberBehind(f, at, size)
	if err != nil || !more {
		return "", err
	}
	if err := d.MkdirAll(dirs.torn()); err != nil {
		return "", err
	}
	var t file
	to, err := freeName(filepath.Join(dirs.torn(), filepath.Base(path)+".tail"), func(to string) (err error) {
		t, err = d.Open(to, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND)
		return err
	})
	if err != nil {
		return "", err
	}
	_, err = io.Copy(struct{ io.Writer }{t}, io.NewSectionReader(f, at, size-at))
	if err == nil {
		err = t.Sync()
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return "", err
	}
	return to, d.SyncDir(dirs.torn())
}

// freeName calls try with path, path.1, path.2, … until the name is free.
func freeName(path string, try func(string) error) (string, error) {
	for i := range maxStamps {
		to := path
		if i > 0 {
			to += "." + strconv.Itoa(i)
		}
		if err := try(to); !errors.Is(err, fs.ErrExist) {
			return to, err
		}
	}
	return "", fmt.Errorf("no free name for %s: %w", path, fs.ErrExist)
}
