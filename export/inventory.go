package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"acctpull/internal/depot"
)

// Inventory is everything that a dataset tells of itself without opening one of
// its data files.
type Inventory struct {
	Snapshot
	// Histories are those of partitions in which something was replaced,
	// settled by what is there.
	Histories map[string]History
	// Stray are data files in a bucket that are neither in the newest manifest
	// nor replaced: a killed process left them, or a running one will have them
	// in the next manifest. No reader of manifests sees them.
	Stray []string
	// Foreign is what else lies where only data files belong.
	Foreign []string
	// Unsound are the documents that cannot be believed, and why. What they
	// should tell is missing above.
	Unsound []Unsound
}

// Unsound is a document that cannot be believed.
type Unsound struct {
	Path string
	Err  error
}

// Made returns the files that have to be there because something was replaced or
// derived, by path.
func (v *Inventory) Made() map[string]MadeFile {
	all := map[string]MadeFile{}
	for _, h := range v.Histories {
		for p, f := range h.Made() {
			all[p] = f
		}
	}
	return all
}

// Gone returns the files that were replaced, by path.
func (v *Inventory) Gone() map[string]GoneFile {
	all := map[string]GoneFile{}
	for _, h := range v.Histories {
		for p, f := range h.Gone() {
			all[p] = f
		}
	}
	return all
}

// Expired is the number of rows of record tables that are not kept any longer.
func (v *Inventory) Expired() int64 {
	n := int64(0)
	for partition, h := range v.Histories {
		at, _ := ParsePath(partition + "/x" + parquetSuffix)
		for _, r := range h {
			if r.Reason != ReasonExpired || Derived(at.Table) {
				continue
			}
			for _, f := range r.Removed {
				n += f.Rows
			}
		}
	}
	return n
}

// Derived tells whether the rows of a table were made from those of another one,
// so that they are no records of files.
func Derived(table string) bool { return strings.HasSuffix(table, derivedSuffix) }

// derivedSuffix ends the names of derived tables.
const derivedSuffix = "-usage"

// TakeInventory lists a dataset and reads its histories and manifests, as the
// medium gives them back. Documents that cannot be believed are in the result; an
// error is one of the system.
func TakeInventory(ctx context.Context, dataset depot.Reader) (*Inventory, error) {
	v := &Inventory{Histories: map[string]History{}}
	if _, ok := dataset.(*depot.Dir); ok {
		return v, v.takeDir(ctx, dataset)
	}
	return v, v.takeBucket(ctx, dataset)
}

// doubt books a document that cannot be believed; another error is returned.
func (v *Inventory) doubt(p string, err error) error {
	var no syscall.Errno
	if errors.As(err, &no) && no != syscall.EIO && no != syscall.ENOENT || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	v.Unsound = append(v.Unsound, Unsound{p, err})
	return nil
}

func (v *Inventory) takeDir(ctx context.Context, dataset depot.Reader) error {
	// The histories first: what they tell of has been listed or replaced then.
	histories := map[string]History{}
	for e, err := range dataset.List(ctx, replacedDir) {
		if err != nil {
			return &Error{Op: "list histories", Path: replacedDir, Err: err}
		}
		partition, ok := historyPartition(e.Path)
		if !ok {
			v.Foreign = append(v.Foreign, e.Path)
			continue
		}
		if _, _, err := dataset.Sum(ctx, e.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &Error{Op: "read history", Path: e.Path, Err: err}
		}
		h, err := readHistoryAt(ctx, dataset, e.Path)
		if err != nil {
			if err := v.doubt(e.Path, err); err != nil {
				return err
			}
			continue
		}
		histories[partition] = h
	}
	if err := v.list(ctx, dataset); err != nil {
		return err
	}
	v.sort()
	there := v.index()
	for partition, h := range histories {
		h, err := h.Resolve(func(p string) bool { _, ok := there[p]; return ok })
		if err != nil {
			v.Unsound = append(v.Unsound, Unsound{historyPath(partition), err})
			continue
		}
		v.Histories[partition] = h
	}
	return nil
}

// list books the files of a listing.
func (v *Inventory) list(ctx context.Context, dataset depot.Reader) error {
	for e, err := range dataset.List(ctx, "") {
		if err != nil {
			return &Error{Op: "list dataset", Err: err}
		}
		if f, ok := ParsePath(e.Path); ok {
			f.Bytes = e.Size
			v.Files = append(v.Files, f)
		} else if strings.Contains(e.Path, "/") && !isManifest(dataset, e.Path) {
			v.Foreign = append(v.Foreign, e.Path)
		}
	}
	return nil
}

// index is the files by path.
func (s *Snapshot) index() map[string]DataFile {
	all := make(map[string]DataFile, len(s.Files))
	for _, f := range s.Files {
		all[f.Path] = f
	}
	return all
}

func (v *Inventory) takeBucket(ctx context.Context, dataset depot.Reader) error {
	if err := v.list(ctx, dataset); err != nil {
		return err
	}
	// The manifest after the listing: what it does not have then is stray.
	found := v.Files
	newest, err := v.manifests(ctx, dataset)
	if err != nil {
		return err
	}
	if newest == nil {
		v.sort()
		return nil
	}
	v.Files, v.Generation = nil, newest.Generation
	for _, r := range newest.Pages {
		if err := v.takePage(ctx, newest, r); err != nil {
			return err
		}
	}
	v.sort()
	if len(v.Unsound) > 0 {
		return nil // who knows what a page that cannot be read has
	}
	there, gone := v.index(), v.Gone()
	for _, f := range found {
		_, is := there[f.Path]
		if _, was := gone[f.Path]; !is && !was {
			v.Stray = append(v.Stray, f.Path)
		}
	}
	return nil
}

// manifests proves all manifests and returns the newest one that is sound.
func (v *Inventory) manifests(ctx context.Context, dataset depot.Reader) (newest *manifest, err error) {
	var all []int64
	for e, err := range dataset.List(ctx, manifestDir) {
		if err != nil {
			return nil, &Error{Op: "list manifests", Path: manifestDir, Err: err}
		}
		if n, ok := parseManifestPath(e.Path); ok {
			all = append(all, n)
		} else {
			v.Foreign = append(v.Foreign, e.Path)
		}
	}
	slices.Sort(all)
	for _, n := range all {
		if _, _, err := dataset.Sum(ctx, manifestPath(n)); isMissing(err) {
			continue // it was cleaned away
		}
		m, err := readManifest(ctx, dataset, n)
		if err != nil {
			if err := v.doubt(manifestPath(n), err); err != nil {
				return nil, err
			}
			continue
		}
		newest = m
	}
	return newest, nil
}

func (v *Inventory) takePage(ctx context.Context, m *manifest, r pageRef) error {
	p, err := m.readPage(ctx, r)
	if err == nil && (len(p.Files) != r.Files) {
		err = fmt.Errorf("it has %d files, the manifest says %d", len(p.Files), r.Files)
	}
	if err != nil {
		return v.doubt(r.Path, err)
	}
	v.Files = append(v.Files, p.Files...)
	for _, ref := range p.Replaced {
		h, err := m.readHistory(ctx, ref)
		if err != nil {
			if err := v.doubt(ref.Path, err); err != nil {
				return err
			}
			continue
		}
		v.Histories[ref.Partition] = h
	}
	return nil
}

// Unmade returns those of some data files that nothing was ever replaced by:
// outputs of export batches, or files that somebody else put there.
func Unmade(ctx context.Context, dataset depot.Reader, paths []string) ([]string, error) {
	made := map[string]bool{}
	seen := map[string]bool{}
	for _, p := range paths {
		partition := partitionOf(p)
		if seen[partition] {
			continue
		}
		seen[partition] = true
		h, err := ReadHistory(ctx, dataset, partition)
		if err != nil {
			return nil, err
		}
		for _, r := range h {
			for _, f := range r.Added {
				made[f.Path] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return made[p] }), nil
}
