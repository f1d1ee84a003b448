package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// mergeFiles is a compaction that is no more than that: the rows of some files
// of one partition, one after the other, in one file. The caller removes it.
func mergeFiles(ctx context.Context, dataset depot.Reader, staging string, replaced []string) (f depot.File, err error) {
	at, _ := export.ParsePath(replaced[0])
	if err := durable.MkdirAll(staging); err != nil {
		return f, err
	}
	t, err := durable.Create(staging, "merged", durable.DataMode)
	if err != nil {
		return f, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Abort())
		}
	}()
	var inputs []*columns.File
	var open []io.Closer
	defer func() {
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, p := range replaced {
		src, err := dataset.Open(ctx, p)
		if err != nil {
			return f, err
		}
		open = append(open, src)
		in, err := columns.Open(src, src.Size())
		if err != nil {
			return f, err
		}
		inputs = append(inputs, in)
	}
	m, err := columns.Merge(inputs, columns.MergeOptions{Temp: staging})
	if err != nil {
		return f, err
	}
	open = append(open, m)
	w := columns.NewWriter(t, *m.Schema(), columns.WriterOptions{})
	for {
		b, err := m.Next(ctx)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = w.WriteRows(b)
		}
		if err != nil {
			return f, err
		}
	}
	metadata := map[string]string{"acctpull.schema": fmt.Sprintf("%s/%d", at.Table, at.Version)}
	for _, kv := range export.NewMade(export.ReasonCompact, replaced).Metadata(nil) {
		metadata[kv.Key] = kv.Value
	}
	if err := errors.Join(w.Close(metadata), t.Seal()); err != nil {
		return f, err
	}
	f.Local = t.Path()
	if f.SHA256, f.Size, err = durable.Sum(f.Local); err != nil {
		return f, err
	}
	f.Path = export.MadePath(at.Table, at.Version, at.Date, f.SHA256, replaced)
	return f, nil
}

// recorded are the outputs that a ledger has.
func recorded(t testing.TB, path string) func(string) (ledger.Output, bool) {
	t.Helper()
	l, err := ledger.Open(t.Context(), path)
	check(t, err)
	outputs, err := l.Outputs(t.Context(), "")
	check(t, errors.Join(err, l.Close()))
	all := map[string]ledger.Output{}
	for _, o := range outputs {
		all[o.Path] = o
	}
	return func(p string) (ledger.Output, bool) { o, ok := all[p]; return o, ok }
}

// compactAll replaces the files of every partition that has several by one, and
// returns the paths of the new ones.
func compactAll(t testing.TB, dataset depot.Depot, staging, ledgerPath string) (made []string) {
	t.Helper()
	s, err := export.ReadSnapshot(t.Context(), dataset)
	check(t, err)
	partitions := map[string][]string{}
	for _, f := range s.Files {
		dir := filepath.Dir(f.Path)
		partitions[dir] = append(partitions[dir], f.Path)
	}
	change := export.Change{Reason: export.ReasonCompact}
	for _, files := range partitions {
		if len(files) < 2 {
			continue
		}
		f, err := mergeFiles(t.Context(), dataset, staging, files)
		check(t, err)
		made, change.Add, change.Remove = append(made, f.Path), append(change.Add, f), append(change.Remove, files...)
	}
	check(t, export.Replace(t.Context(), dataset, change, export.ReplaceOptions{Finished: recorded(t, ledgerPath), Now: time.Now()}))
	_, err = durable.RemoveLeftovers(staging)
	check(t, err)
	return made
}
