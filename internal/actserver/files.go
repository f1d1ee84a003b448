package actserver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Modes shown to clients: what a fetched copy should have, not what the
// original has.
const (
	fileMode = fs.FileMode(0o640)
	dirMode  = fs.ModeDir | 0o750
)

// maxPath bounds a path or command from a client.
const maxPath = 4096

// tree is what clients see: a few fixed directories that lead to the served
// ones, and the plain files inside those.
type tree struct {
	lead      []string // the components above the served directories
	served    []served // act first
	hardLinks bool
	length    func(name string, size int64) int64
	alter     func(size int64, p []byte, off int64)
	prepare   func(listing bool) error
}

// served is one local directory and the name it is shown by.
type served struct{ name, path string }

// node is a place in the tree. depth counts the components from the top; a
// served directory lies at len(lead)+1, a file one deeper.
type node struct {
	depth int
	dir   *served
	name  string
}

func newTree(o Options) (*tree, error) {
	shown := o.VirtualPath
	if shown == "" {
		shown = DefaultVirtualPath
	}
	parts, err := split(shown)
	if err == nil && len(parts) == 0 {
		err = errors.New("it has no component")
	}
	if err != nil {
		return nil, fmt.Errorf("virtual path %q: %w", shown, err)
	}
	lead, name := parts[:len(parts)-1], parts[len(parts)-1]
	t := &tree{lead: lead, served: []served{{name, o.Root}}, hardLinks: o.HardLinks, length: o.Length, alter: o.Alter, prepare: o.Prepare}
	if o.Collect != "" {
		if name == collectName {
			return nil, fmt.Errorf("virtual path %q: the name belongs to the directory of unfinished files", shown)
		}
		t.served = append(t.served, served{collectName, o.Collect})
	}
	return t, nil
}

// check says whether the served directories are there.
func (t *tree) check() error {
	var errs []error
	for _, d := range t.served {
		root, err := os.OpenRoot(d.path)
		if err == nil {
			err = root.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// root opens the local directory of a node, after whoever keeps it has brought
// it up to date.
func (t *tree) root(n node, listing bool) (*os.Root, error) {
	if t.prepare != nil {
		if err := t.prepare(listing); err != nil {
			return nil, err
		}
	}
	return os.OpenRoot(n.dir.path)
}

// split cuts a client's path into components. Backslashes separate as slashes
// do, because the model device writes cf1:\act; ".." is refused, not resolved.
func split(p string) ([]string, error) {
	if len(p) > maxPath {
		return nil, fmt.Errorf("path of %d bytes: %w", len(p), syscall.ENAMETOOLONG)
	}
	var parts []string
	for part := range strings.SplitSeq(strings.ReplaceAll(p, `\`, "/"), "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return nil, ErrOutside
		case !plain(part):
			return nil, fs.ErrNotExist
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// plain says whether a name can be sent in a protocol line and shown to a
// person: not hidden, valid UTF-8, no control character, no separator.
func plain(name string) bool {
	if name == "" || name[0] == '.' || len(name) > 255 || !utf8.ValidString(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || r == '/' || r == '\\'
	})
}

// locate finds the node of a client's path. It looks at names only; whether a
// file exists shows when it is opened.
func (t *tree) locate(p string) (node, error) {
	parts, err := split(p)
	if err != nil {
		return node{}, &fs.PathError{Op: "open", Path: bounded(p), Err: err}
	}
	if len(parts) > 0 && len(t.lead) > 0 && strings.HasSuffix(t.lead[0], ":") && parts[0] != t.lead[0] {
		parts = slices.Concat(t.lead[:1], parts) // the volume may be left out
	}
	n := node{depth: len(parts)}
	missing := &fs.PathError{Op: "open", Path: bounded(p), Err: fs.ErrNotExist}
	for i, part := range parts {
		switch i - len(t.lead) {
		case 0:
			at := slices.IndexFunc(t.served, func(d served) bool { return d.name == part })
			if at < 0 {
				return node{}, missing
			}
			n.dir = &t.served[at]
		case 1:
			n.name = part
		default:
			if i > len(t.lead) || part != t.lead[i] {
				return node{}, missing
			}
		}
	}
	return n, nil
}

// shown is the path of a node as clients see it.
func (t *tree) shown(n node) string {
	p := "/" + strings.Join(t.lead[:min(n.depth, len(t.lead))], "/")
	if n.dir != nil {
		p = path.Join(p, n.dir.name, n.name)
	}
	return p
}

// children are the names inside a directory of the fixed part of the tree.
func (t *tree) children(n node) []fs.FileInfo {
	if n.depth < len(t.lead) {
		return []fs.FileInfo{dirInfo(t.lead[n.depth])}
	}
	var infos []fs.FileInfo
	for _, d := range t.served {
		infos = append(infos, dirInfo(d.name))
	}
	return infos
}

// reject says why a directory entry is not served, or nil.
func (t *tree) reject(name string, fi fs.FileInfo) error {
	if !plain(name) || !fi.Mode().IsRegular() {
		return ErrNotServed
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 && !t.hardLinks {
		return fmt.Errorf("%w: it has %d hard links", ErrNotServed, st.Nlink)
	}
	return nil
}

// info is what clients see of a served file.
func (t *tree) info(name string, fi fs.FileInfo) fileInfo {
	size := fi.Size()
	if t.length != nil {
		size = min(max(t.length(name, size), 0), size)
	}
	return fileInfo{name: name, size: size, mode: fileMode, mtime: fi.ModTime()}
}

// file is an open served file. It keeps its content when the name goes away.
type file struct {
	*os.File
	fileInfo
	alter func(size int64, p []byte, off int64) // may be nil
}

// ReadAt reads what clients get to see.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if f.alter != nil && n > 0 {
		f.alter(f.size, p[:n], off)
	}
	return n, err
}

// open opens the file of a node. The entry is looked at before and after, so
// that neither a link nor a FIFO nor a device is ever followed or waited for.
func (t *tree) open(n node) (*file, error) {
	refuse := func(err error) error {
		return &fs.PathError{Op: "open", Path: t.shown(n), Err: bare(err)}
	}
	if n.name == "" {
		return nil, refuse(ErrNotServed)
	}
	root, err := t.root(n, false)
	if err != nil {
		return nil, refuse(err)
	}
	defer root.Close() // a directory opened for reading
	before, err := root.Lstat(n.name)
	if err != nil {
		return nil, refuse(err)
	}
	if err := t.reject(n.name, before); err != nil {
		return nil, refuse(err)
	}
	f, err := root.OpenFile(n.name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, refuse(err)
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = fmt.Errorf("%w: it was replaced while being opened", ErrNotServed)
	}
	if err != nil {
		return nil, refuse(errors.Join(err, f.Close()))
	}
	return &file{File: f, fileInfo: t.info(n.name, after), alter: t.alter}, nil
}

// stat describes a node without opening it.
func (t *tree) stat(n node) (fs.FileInfo, error) {
	if n.name == "" {
		return dirInfo(path.Base(t.shown(n))), nil
	}
	refuse := func(err error) error {
		return &fs.PathError{Op: "stat", Path: t.shown(n), Err: bare(err)}
	}
	root, err := t.root(n, false)
	if err != nil {
		return nil, refuse(err)
	}
	defer root.Close() // a directory opened for reading
	fi, err := root.Lstat(n.name)
	if err != nil {
		return nil, refuse(err)
	}
	if err := t.reject(n.name, fi); err != nil {
		return nil, refuse(err)
	}
	return t.info(n.name, fi), nil
}

// bare strips the local path from an error that a client will read.
func bare(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// listing reads a served directory in pieces. It is not safe for concurrent
// use.
type listing struct {
	tree  *tree
	root  *os.Root
	dir   *os.File
	names []string // read and not yet used
}

// list opens the directory of a node that has one.
func (t *tree) list(n node) (*listing, error) {
	refuse := func(err error) error {
		return &fs.PathError{Op: "list", Path: t.shown(n), Err: bare(err)}
	}
	root, err := t.root(n, true)
	if err != nil {
		return nil, refuse(err)
	}
	dir, err := root.Open(".")
	if err != nil {
		return nil, refuse(errors.Join(err, root.Close()))
	}
	return &listing{tree: t, root: root, dir: dir}, nil
}

// next returns the next served file whose name matches the pattern, or io.EOF.
func (l *listing) next(pattern string) (fs.FileInfo, error) {
	for {
		for len(l.names) == 0 {
			names, err := l.dir.Readdirnames(1024)
			if err != nil {
				return nil, bare(err)
			}
			l.names = names
		}
		name := l.names[0]
		l.names = l.names[1:]
		if ok, err := path.Match(pattern, name); err != nil {
			return nil, err
		} else if !ok || !plain(name) {
			continue
		}
		fi, err := l.root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // gone since the directory was read
		case err != nil:
			return nil, bare(err)
		case l.tree.reject(name, fi) != nil:
			continue
		}
		return l.tree.info(name, fi), nil
	}
}

func (l *listing) Close() error { return errors.Join(l.dir.Close(), l.root.Close()) }

// match returns the sorted names of served files that match a pattern.
func (t *tree) match(n node, pattern string) ([]string, error) {
	l, err := t.list(n)
	if err != nil {
		return nil, err
	}
	matches, err := l.match(pattern)
	return matches, errors.Join(err, l.Close())
}

func (l *listing) match(pattern string) ([]string, error) {
	var matches []string
	for {
		fi, err := l.next(pattern)
		if err == io.EOF {
			slices.Sort(matches)
			return matches, nil
		}
		if err != nil {
			return nil, err
		}
		matches = append(matches, fi.Name())
	}
}

// fileInfo is what clients see: no owner, no inode, a fixed mode.
type fileInfo struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
}

func dirInfo(name string) fileInfo {
	return fileInfo{name: name, mode: dirMode, mtime: time.Unix(0, 0)}
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.mtime }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
