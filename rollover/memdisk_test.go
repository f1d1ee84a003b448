package rollover

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"syscall"

	"acctpull/internal/durable"
)

// memDisk is a disk that keeps apart what is durable and what is only in
// memory. It promises less than any real file system: the content of a file is
// durable after fsync of the file, a name after fsync of its directory, and
// after a crash everything else may be there, in part or not at all. A failed
// fsync loses the dirty bytes for good, as Linux does: a later one that
// succeeds does not bring them back.
type memDisk struct {
	names   map[string]*inode // path -> file, as a running program sees it
	durable map[string]*inode // path -> file, what a crash cannot take
	dirs    map[string]bool
	pending []nameChange
	inodes  int
	noMove  bool // no renameat2: link and unlink instead, a crash can fall between

	calls int
	// fault is asked before each call. A non-nil error fails the call; effect
	// says whether the call is done all the same.
	fault func(n int, call string) (err error, effect bool)
	trace func(string)
}

type inode struct {
	id      int
	data    []byte
	stable  []byte    // content that a crash cannot take
	changes []content // since then
	lost    []span    // bytes that a failed fsync lost
}

type content struct {
	truncate int64 // -1: append
	p        []byte
}

type span struct{ from, to int }

// nameChange is one step of the journal: all of its names or none. Only an
// fsync of a single directory can tear a move apart, see SyncDir.
type nameChange struct {
	set map[string]*inode // nil: removed
}

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*inode{}, durable: map[string]*inode{}, dirs: map[string]bool{}}
}

var errCrashed = errors.New("the machine is off")

// do runs one call, faults included.
func (d *memDisk) do(call string, f func() error) error {
	d.calls++
	if d.fault != nil {
		if err, effect := d.fault(d.calls, call); err != nil {
			if effect {
				_ = f() // the error that is reported is the injected one
			}
			return err
		}
	}
	err := f()
	if d.trace != nil {
		switch {
		case errors.Is(err, fs.ErrExist):
			d.trace(call + ": exists")
		case err == nil:
			d.trace(call)
		}
	}
	return err
}

// quiet runs a call that changes nothing and is not worth a line in a trace.
func (d *memDisk) quiet(call string, f func() error) error {
	t := d.trace
	d.trace = nil
	defer func() { d.trace = t }()
	return d.do(call, f)
}

func (d *memDisk) change(set map[string]*inode) {
	c := nameChange{set}
	apply(d.names, c)
	d.pending = append(d.pending, c)
}

func apply(names map[string]*inode, c nameChange) {
	for p, n := range c.set {
		if n == nil {
			delete(names, p)
		} else {
			names[p] = n
		}
	}
}

func (d *memDisk) Open(p string, flag int) (f file, err error) {
	open := func() error {
		if !d.dirs[path.Dir(p)] {
			return &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
		}
		n := d.names[p]
		switch {
		case n == nil && flag&os.O_CREATE == 0:
			return &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
		case n != nil && flag&os.O_EXCL != 0:
			return &fs.PathError{Op: "open", Path: p, Err: fs.ErrExist}
		case n == nil:
			d.inodes++
			n = &inode{id: d.inodes}
			d.change(map[string]*inode{p: n})
		}
		f = &memFile{d: d, n: n, path: p}
		return nil
	}
	if flag&os.O_CREATE != 0 {
		err = d.do("create "+p, open)
	} else {
		err = d.quiet("open "+p, open)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *memDisk) Size(p string) (size int64, err error) {
	err = d.quiet("size "+p, func() error {
		n := d.names[p]
		if n == nil {
			return &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
		}
		size = int64(len(n.data))
		return nil
	})
	return size, err
}

func (d *memDisk) Names(dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := d.quiet("names "+dir, func() error { return nil }); err != nil {
			yield("", err)
			return
		}
		for _, p := range slices.Sorted(maps.Keys(d.names)) {
			if path.Dir(p) == dir && !yield(path.Base(p), nil) {
				return
			}
		}
	}
}

func (d *memDisk) MkdirAll(dir string) error {
	if d.dirs[dir] {
		return d.quiet("mkdir "+dir, func() error { return nil })
	}
	return d.do("mkdir "+dir, func() error {
		d.dirs[dir] = true
		return nil
	})
}

func (d *memDisk) Move(oldpath, newpath string) error {
	move := func() error {
		n := d.names[oldpath]
		if n == nil || !d.dirs[path.Dir(newpath)] {
			return &os.LinkError{Op: "move", Old: oldpath, New: newpath, Err: fs.ErrNotExist}
		}
		if d.names[newpath] != nil {
			return &os.LinkError{Op: "move", Old: oldpath, New: newpath, Err: fs.ErrExist}
		}
		d.change(map[string]*inode{oldpath: nil, newpath: n})
		return nil
	}
	if !d.noMove {
		return d.do("move "+oldpath+" "+newpath, move)
	}
	if err := d.do("link "+oldpath+" "+newpath, func() error {
		n := d.names[oldpath]
		if n == nil || !d.dirs[path.Dir(newpath)] {
			return &os.LinkError{Op: "link", Old: oldpath, New: newpath, Err: fs.ErrNotExist}
		}
		if d.names[newpath] != nil {
			return &os.LinkError{Op: "link", Old: oldpath, New: newpath, Err: fs.ErrExist}
		}
		d.change(map[string]*inode{newpath: n})
		return nil
	}); err != nil {
		return err
	}
	if err := d.SyncDir(path.Dir(newpath)); err != nil {
		return err
	}
	return d.Remove(oldpath)
}

func (d *memDisk) Remove(p string) error {
	return d.do("remove "+p, func() error {
		if d.names[p] == nil {
			return &fs.PathError{Op: "unlink", Path: p, Err: fs.ErrNotExist}
		}
		d.change(map[string]*inode{p: nil})
		return nil
	})
}

func (d *memDisk) RemoveTemps(dir string) (int, error) {
	n := 0
	for _, p := range slices.Sorted(maps.Keys(d.names)) {
		if path.Dir(p) == dir && durable.IsTemp(path.Base(p)) {
			if err := d.Remove(p); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// SyncDir makes what happened in one directory durable. Of a move the fsync of
// the new directory makes both halves durable, that of the old one only the
// removal: whoever syncs in the wrong order can lose the file.
func (d *memDisk) SyncDir(dir string) error {
	return d.do("fsync-dir "+dir, func() error {
		var rest []nameChange
		for _, c := range d.pending {
			here, there := map[string]*inode{}, map[string]*inode{}
			adds := false
			for p, n := range c.set {
				if path.Dir(p) == dir {
					here[p] = n
					adds = adds || n != nil
				} else {
					there[p] = n
				}
			}
			if adds {
				apply(d.durable, c)
				continue
			}
			apply(d.durable, nameChange{here})
			if len(there) > 0 {
				rest = append(rest, nameChange{there})
			}
		}
		d.pending = rest
		return nil
	})
}

// memFile is an open file of a memDisk.
type memFile struct {
	d    *memDisk
	n    *inode
	path string
}

func (f *memFile) Write(p []byte) (int, error) {
	err := f.d.do("write "+f.path, func() error {
		f.n.data = append(f.n.data, p...)
		f.n.changes = append(f.n.changes, content{-1, slices.Clone(p)})
		return nil
	})
	if err != nil && err != errLie {
		return 0, err
	}
	return len(p), nil
}

func (f *memFile) ReadAt(p []byte, at int64) (n int, err error) {
	err = f.d.quiet("read "+f.path, func() error {
		if at >= int64(len(f.n.data)) {
			return io.EOF
		}
		n = copy(p, f.n.data[at:])
		if n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *memFile) Truncate(size int64) error {
	return f.d.do(fmt.Sprintf("truncate %s", f.path), func() error {
		f.n.data = f.n.data[:size:size]
		f.n.changes = append(f.n.changes, content{truncate: size})
		f.n.lost = slices.DeleteFunc(f.n.lost, func(s span) bool { return s.from >= int(size) })
		for i := range f.n.lost {
			f.n.lost[i].to = min(f.n.lost[i].to, int(size))
		}
		return nil
	})
}

func (f *memFile) Sync() error {
	err := f.d.do("fsync "+f.path, func() error {
		f.n.stable = slices.Clone(f.n.data)
		for _, s := range f.n.lost {
			clear(f.n.stable[s.from:s.to])
		}
		f.n.changes = nil
		return nil
	})
	if err != nil && !errors.Is(err, errCrashed) && len(f.n.changes) > 0 {
		// The pages are marked clean now and never written.
		if at := f.n.firstChange(); at < len(f.n.data) {
			f.n.lost = append(f.n.lost, span{at, len(f.n.data)})
		}
	}
	return err
}

// firstChange is the lowest offset that changed since the content was stable.
func (n *inode) firstChange() int {
	at := len(n.stable)
	for _, c := range n.changes {
		if c.truncate >= 0 {
			at = min(at, int(c.truncate))
		}
	}
	return at
}

func (f *memFile) Close() error { return f.d.do("close "+f.path, func() error { return nil }) }

// crash returns the disk as it is found after a power cut. Of what was not
// durable each step survives with a probability of percent.
func (d *memDisk) crash(rng *rand.Rand, percent int) *memDisk {
	after := newMemDisk()
	after.dirs = maps.Clone(d.dirs)
	after.noMove = d.noMove
	names := maps.Clone(d.durable)
	for _, c := range d.pending {
		if rng.IntN(100) < percent {
			apply(names, c)
		}
	}
	found := map[*inode]*inode{}
	for _, p := range slices.Sorted(maps.Keys(names)) {
		n := names[p]
		if found[n] == nil {
			after.inodes++
			data := n.survive(rng, percent)
			found[n] = &inode{id: after.inodes, data: data, stable: slices.Clone(data)}
		}
		after.names[p], after.durable[p] = found[n], found[n]
	}
	return after
}

// survive returns the content after a crash: the stable part, then changes up
// to some point, the last one torn, with a hole of zeros now and then.
func (n *inode) survive(rng *rand.Rand, percent int) []byte {
	data := slices.Clone(n.stable)
	safe := len(data)
	for _, c := range n.changes {
		if rng.IntN(100) >= percent {
			if c.truncate < 0 && percent > 0 {
				data = append(data, c.p[:rng.IntN(len(c.p)+1)]...)
			}
			break
		}
		if c.truncate >= 0 {
			data = data[:min(int(c.truncate), len(data))]
			safe = min(safe, len(data))
		} else {
			data = append(data, c.p...)
		}
	}
	if len(data) > safe && rng.IntN(4) == 0 {
		from := safe + rng.IntN(len(data)-safe)
		clear(data[from : from+rng.IntN(len(data)-from+1)])
	}
	for _, s := range n.lost {
		if s.from < len(data) {
			clear(data[s.from:min(s.to, len(data))])
		}
	}
	return data
}

// ioError is what an injected fault returns.
var ioError error = syscall.EIO

// errLie is a fault that the caller is not told of.
var errLie = errors.New("a lie")
