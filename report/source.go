package report

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/record"
	"acctpull/usage"
)

// source is where usage is read from.
type source struct {
	dataset  depot.Reader
	from, to int64 // what days to read, in microseconds
}

// tables returns the record names of the usage tables that there are.
func (s *source) tables(ctx context.Context, cat *record.Catalogue) ([]string, error) {
	var wanted, names []string
	for _, d := range cat.Definitions() {
		wanted = append(wanted, usage.Name(string(d.Name)))
	}
	snapshot, err := export.ReadSnapshot(ctx, s.dataset, wanted...)
	if err != nil {
		return nil, err
	}
	for _, f := range snapshot.Files {
		if name, ok := usage.RecordOf(f.Table); ok && f.Version == export.SchemaVersion && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// open opens the files of a table that may hold rows of the window. If one of them is
// replaced between the listing and the opening it begins anew.
func (s *source) open(ctx context.Context, table string) (files []*columns.File, closeAll func() error, err error) {
	const tries = 5
	for range tries {
		if files, closeAll, err = s.tryOpen(ctx, table); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return files, closeAll, err
}

func (s *source) tryOpen(ctx context.Context, table string) (files []*columns.File, closeAll func() error, err error) {
	var objects []depot.Object
	closeAll = func() error {
		var errs []error
		for _, o := range objects {
			errs = append(errs, o.Close())
		}
		return errors.Join(errs...)
	}
	snapshot, err := export.ReadSnapshot(ctx, s.dataset, table)
	if err != nil {
		return nil, closeAll, err
	}
	first, last := microTime(s.from).Format(time.DateOnly), microTime(s.to).Format(time.DateOnly)
	for _, d := range snapshot.Files {
		if d.Version != export.SchemaVersion || d.Date < first || d.Date > last {
			continue
		}
		object, err := s.dataset.Open(ctx, d.Path)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		objects = append(objects, object)
		f, err := columns.Open(object, object.Size())
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("read %s: %w", d.Path, err), closeAll())
		}
		files = append(files, f)
	}
	return files, closeAll, nil
}
