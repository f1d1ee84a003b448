package export

import (
	"cmp"
	"context"
	"slices"

	"acctpull/internal/depot"
)

// Snapshot is what a dataset is at one moment: the files that hold its rows.
type Snapshot struct {
	// Generation is the number of the manifest, 0 if there is none: in a
	// directory, and in a bucket that nothing was exported to yet.
	Generation int64
	Files      []DataFile // by path
}

// ReadSnapshot returns the files of a dataset, or of some of its tables. A
// bucket answers from its newest manifest, or from a listing if it has none; the
// files of a snapshot stay for the grace period of [CleanReplaced] even if they
// are replaced. A directory is listed, so what DataFile says of rows and digest
// is not known. There, each partition is as it was at one moment; a file that
// is gone when it is opened was replaced since, and the snapshot is to be taken
// anew.
func ReadSnapshot(ctx context.Context, dataset depot.Reader, tables ...string) (Snapshot, error) {
	wanted := func(table string) bool { return len(tables) == 0 || slices.Contains(tables, table) }
	if _, ok := dataset.(*depot.Dir); !ok {
		m, err := openManifest(ctx, dataset)
		if err != nil {
			return Snapshot{}, err
		}
		if m != nil {
			return m.snapshot(ctx, wanted)
		}
	}
	if len(tables) == 0 {
		tables = []string{""}
	}
	var s Snapshot
	for _, t := range tables {
		files, err := listed(ctx, dataset, t)
		if err != nil {
			return Snapshot{}, err
		}
		s.Files = append(s.Files, files...)
	}
	s.sort()
	return s, nil
}

func (s *Snapshot) sort() {
	slices.SortFunc(s.Files, func(a, b DataFile) int { return cmp.Compare(a.Path, b.Path) })
}

// snapshot reads the files of a manifest.
func (m *manifest) snapshot(ctx context.Context, wanted func(table string) bool) (Snapshot, error) {
	pages, err := m.pages(ctx, func(r pageRef) bool { return wanted(r.Table) })
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{Generation: m.Generation}
	for _, p := range pages {
		s.Files = append(s.Files, p.Files...)
	}
	s.sort()
	return s, nil
}

// listed lists the data files below a directory.
func listed(ctx context.Context, dataset depot.Reader, dir string) ([]DataFile, error) {
	var files []DataFile
	for e, err := range dataset.List(ctx, dir) {
		if err != nil {
			return nil, &Error{Op: "list dataset", Path: dir, Err: err}
		}
		if f, ok := ParsePath(e.Path); ok {
			f.Bytes = e.Size
			files = append(files, f)
		}
	}
	return files, nil
}
