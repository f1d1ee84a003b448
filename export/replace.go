package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// Change says what files of a dataset go and what files come in their place.
type Change struct {
	// Reason is one of the reasons above.
	Reason string
	// Remove are paths of files that are in the dataset. Outputs of export
	// batches are removed only if their batch is finished.
	Remove []string
	// Add are finished, durable Parquet files with the schema of the table and
	// version that their paths name. In a directory they should lie on its
	// file system, or they are copied. The local files stay and belong to the
	// caller. No path may ever have been in the dataset, so a name has to
	// depend on what is replaced: see [MadePath].
	Add []depot.File
}

// ReplaceOptions say how a Change is made.
type ReplaceOptions struct {
	// Finished tells what the ledger has of an output of a finished export
	// batch; ok is false if the ledger has no such output. Needed only if a
	// Change removes such outputs.
	Finished func(path string) (out ledger.Output, ok bool)
	// Now is the time of the change.
	Now time.Time
}

var (
	// ErrStale: the dataset has changed since the Change was planned; files of
	// it are gone or were replaced. Nothing was done to those partitions; plan
	// anew.
	ErrStale = errors.New("the dataset has changed meanwhile")
	// ErrUnfinished: a file is not the output of a finished batch.
	ErrUnfinished = errors.New("the ledger has no finished batch with this output")
)

// MadePath is the path of a file that is put in place of others: the name
// depends on its bytes and on what it replaces, so that it is the same when the
// work is repeated after a crash, and never one that was there before.
func MadePath(table string, version int, date, sha256 string, replaced []string) string {
	all := slices.Sorted(slices.Values(replaced))
	name := sumOf([]byte(sha256 + "\n" + strings.Join(all, "\n")))[:batchDigits]
	return PartitionPath(table, version, date) + "/" + name + parquetSuffix
}

// Replace makes a change: in a bucket in one moment as a whole, in a directory
// in one moment for each partition. A reader sees the old files or the new ones,
// never both or neither. It is durable on return. After an error or a crash at
// any point the same Change may be given again: what is done already is left
// alone. See docs/formats/dataset.md for what readers may rely on.
//
// A directory whose file system cannot exchange two names in one moment is
// refused with durable.ErrNoExchange.
func Replace(ctx context.Context, dataset depot.Depot, change Change, o ReplaceOptions) error {
	parts, err := change.check(ctx)
	if err != nil {
		return &Error{Op: "check replacement", Err: err}
	}
	if d, ok := dataset.(*depot.Dir); ok {
		return replaceInDir(ctx, d, parts, o)
	}
	return replaceInBucket(ctx, dataset, parts, o)
}

// partChange is what a Change does to one partition.
type partChange struct {
	reason    string
	partition string
	page      pageKey
	remove    []string
	add       []addition
}

// addition is a file to be added, and what its footer says.
type addition struct {
	depot.File
	at DataFile // with rows
}

// check proves the change by itself and the files that are added, as the disk
// gives them back. The partitions come in order.
func (c *Change) check(ctx context.Context) ([]*partChange, error) {
	if !slices.Contains([]string{ReasonCompact, ReasonRebuild, ReasonUsage, ReasonExpired}, c.Reason) {
		return nil, fmt.Errorf("reason %.64q is none that is known", c.Reason)
	}
	seen, parts := map[string]bool{}, map[string]*partChange{}
	of := func(p string) (*partChange, DataFile, error) {
		at, ok := ParsePath(p)
		if !ok || depot.CheckPath(p) != nil {
			return nil, at, fmt.Errorf("path %.256q is not that of a data file", p)
		}
		if seen[p] {
			return nil, at, fmt.Errorf("path %.256q is there twice", p)
		}
		seen[p] = true
		dir := partitionOf(p)
		if parts[dir] == nil {
			parts[dir] = &partChange{reason: c.Reason, partition: dir, page: keyOfPage(at)}
		}
		return parts[dir], at, nil
	}
	for _, p := range c.Remove {
		part, _, err := of(p)
		if err != nil {
			return nil, err
		}
		part.remove = append(part.remove, p)
	}
	for _, f := range c.Add {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		part, at, err := of(f.Path)
		if err != nil {
			return nil, err
		}
		if at.Rows, err = checkStaged(f, at); err != nil {
			return nil, fmt.Errorf("file %q for %q: %w", f.Local, f.Path, err)
		}
		at.Bytes, at.SHA256 = f.Size, f.SHA256
		part.add = append(part.add, addition{f, at})
	}
	return slices.SortedFunc(maps.Values(parts), func(a, b *partChange) int { return cmp.Compare(a.partition, b.partition) }), nil
}

// checkStaged proves a finished local file and returns its number of rows.
func checkStaged(f depot.File, at DataFile) (rows int64, err error) {
	sum, size, err := durable.Sum(f.Local)
	if err != nil {
		return 0, err
	}
	if sum != f.SHA256 || size != f.Size {
		return 0, fmt.Errorf("it has %d bytes with SHA-256 %s, and should have %d with %s", size, sum, f.Size, f.SHA256)
	}
	src, err := os.Open(f.Local)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	pf, err := parquet.OpenFile(src, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return 0, err
	}
	want := (&Table{Name: at.Table, Version: at.Version}).ID()
	if id, ok := pf.Lookup(metaSchema); !ok || id != want {
		return 0, fmt.Errorf("its schema is %.256q, and should be %q", id, want)
	}
	if pf.NumRows() == 0 {
		return 0, errors.New("it has no rows")
	}
	return pf.NumRows(), nil
}

// partState is what a partition is before a change.
type partState struct {
	files   map[string]DataFile // by path
	history History             // nothing is pending
}

// decide says what is to be done in a partition: the line of its history and the
// files that are new. If that is nothing, because it was done already, todo is
// false.
func (c *partChange) decide(st partState, o *ReplaceOptions) (r Replacement, add []addition, todo bool, err error) {
	r = Replacement{Reason: c.reason, Time: o.Now.UTC().Round(0)}
	gone, made := st.history.Gone(), st.history.Made()
	lost := "" // a file to be removed that is not there, and was not replaced either
	for _, p := range c.remove {
		f, there := st.files[p]
		if !there {
			if _, was := gone[p]; !was || lost != "" {
				lost = p
			}
			continue
		}
		g, err := o.goneFile(f, made)
		if err != nil {
			return r, nil, false, err
		}
		r.Removed = append(r.Removed, g)
	}
	used := "" // a path that was used before
	for _, a := range c.add {
		_, was := gone[a.Path]
		f, there := st.files[a.Path]
		switch known := cmp.Or(f.SHA256, made[a.Path].SHA256); {
		case there && known != a.SHA256:
			return r, nil, false, fmt.Errorf("%w: %q has SHA-256 %s, expected %s", ErrConflict, a.Path, known, a.SHA256)
		case there:
		case was:
			used = a.Path
		default:
			add = append(add, a)
			r.Added = append(r.Added, MadeFile{Path: a.Path, SHA256: a.SHA256, Rows: a.at.Rows, Bytes: a.Size})
		}
	}
	switch {
	case len(r.Removed) == len(c.remove) && (len(c.remove) == 0 || len(add) == len(c.add)):
		if used != "" {
			return r, nil, false, fmt.Errorf("%w: %q was in the dataset before and was replaced", ErrStale, used)
		}
		todo = len(r.Removed)+len(r.Added) > 0
	case len(r.Removed) == 0 && len(add) == 0 && lost == "":
		return r, nil, false, nil // it is done, whatever came after it
	default:
		return r, nil, false, fmt.Errorf("%w: of %d files of %s that are to be replaced %d are there", ErrStale, len(c.remove), c.partition, len(r.Removed))
	}
	return r, add, todo, c.conserve(r)
}

// conserve proves that a compaction keeps the number of rows.
func (c *partChange) conserve(r Replacement) error {
	if c.reason != ReasonCompact {
		return nil
	}
	before, after := int64(0), int64(0)
	for _, f := range r.Removed {
		before += f.Rows
	}
	for _, f := range r.Added {
		after += f.Rows
	}
	if before != after {
		return fmt.Errorf("the compaction of %s makes %d rows of %d", c.partition, after, before)
	}
	return nil
}

// goneFile is what is kept of a file that goes.
func (o *ReplaceOptions) goneFile(f DataFile, made map[string]MadeFile) (GoneFile, error) {
	if m, ok := made[f.Path]; ok {
		return GoneFile{Path: f.Path, SHA256: m.SHA256, Rows: m.Rows}, nil
	}
	var out ledger.Output
	ok := false
	if o.Finished != nil {
		out, ok = o.Finished(f.Path)
	}
	if !ok {
		return GoneFile{}, fmt.Errorf("remove %q: %w", f.Path, ErrUnfinished)
	}
	if f.SHA256 != "" && f.SHA256 != out.SHA256 {
		return GoneFile{}, fmt.Errorf("remove %q: the manifest has SHA-256 %s, the ledger %s: %w", f.Path, f.SHA256, out.SHA256, ErrConflict)
	}
	return GoneFile{Path: f.Path, SHA256: out.SHA256, Rows: out.Rows, Batch: out.Batch}, nil
}
