package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/record"
)

// merged is a compaction that is no more than that: the rows of some files of
// one partition, one after the other, in one file that is ready to replace them.
func merged(ctx context.Context, dataset depot.Reader, staging string, replaced []string) (f depot.File, err error) {
	at, _ := ParsePath(replaced[0])
	if err := durable.MkdirAll(staging); err != nil {
		return f, err
	}
	t, err := durable.Create(staging, "merged", durable.DataMode)
	if err != nil {
		return f, err
	}
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
	for _, kv := range NewMade(ReasonCompact, replaced).Metadata(nil) {
		metadata[kv.Key] = kv.Value
	}
	if err := errors.Join(w.Close(metadata), t.Seal()); err != nil {
		return f, err
	}
	f.Local = t.Path()
	if f.SHA256, f.Size, err = durable.Sum(f.Local); err != nil {
		return f, err
	}
	f.Path = MadePath(at.Table, at.Version, at.Date, f.SHA256, replaced)
	return f, nil
}

// finished says of all outputs of batches that the ledger has them.
func finished(results ...Result) func(string) (ledger.Output, bool) {
	all := map[string]ledger.Output{}
	for _, r := range results {
		for _, o := range r.Outputs {
			o.Batch = "of " + path.Base(o.Path)
			all[o.Path] = o
		}
	}
	return func(p string) (ledger.Output, bool) {
		o, ok := all[p]
		return o, ok
	}
}

// countedDataset is a small dataset that grows batch by batch, and knows its truth.
type countedDataset struct {
	*memExport
	t       testing.TB
	dataset depot.Depot
	results []Result
	rows    int64
}

func newCounted(t testing.TB, outputs func(dir string) depot.Depot) *countedDataset {
	t.Helper()
	c := &countedDataset{memExport: newMemExport(t), t: t}
	c.dataset = outputs(c.o.Dataset)
	c.o.Outputs = c.dataset
	return c
}

// export adds a batch with some rows of one day of a table to the dataset.
func (c *countedDataset) export(day int, rows int) Result {
	c.t.Helper()
	n := len(c.results)
	c.batch = ledger.Batch{}
	var steps []step
	for i := range rows {
		steps = append(steps, c.record(day, n, i))
	}
	c.add("device", fmt.Sprintf("file%06d", n), steps...)
	res := c.run(c.t)
	c.results = append(c.results, res)
	c.rows += res.Records
	return res
}

func inDir(dir string) depot.Depot { return depot.NewDir(dir) }

// paths are the data files of the dataset, or of one day.
func (c *countedDataset) paths(contains string) []string {
	c.t.Helper()
	s, err := ReadSnapshot(context.Background(), c.dataset)
	if err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for _, f := range s.Files {
		if strings.Contains(f.Path, contains) {
			all = append(all, f.Path)
		}
	}
	return all
}

// change is a compaction of these files.
func (c *countedDataset) change(replaced []string) Change {
	c.t.Helper()
	f, err := merged(context.Background(), c.dataset, filepath.Join(c.o.Dataset, stagingDir, "merge"), replaced)
	if err != nil {
		c.t.Fatal(err)
	}
	return Change{Reason: ReasonCompact, Remove: replaced, Add: []depot.File{f}}
}

func (c *countedDataset) options() ReplaceOptions {
	return ReplaceOptions{Finished: finished(c.results...), Now: time.Now()}
}

func (c *countedDataset) replace(ch Change) error {
	return Replace(context.Background(), c.dataset, ch, c.options())
}

// checkRows reads every file of the snapshot and compares the number of rows
// with the truth, and each row with every other.
func (c *countedDataset) checkRows() {
	c.t.Helper()
	ctx := context.Background()
	s, err := ReadSnapshot(ctx, c.dataset)
	if err != nil {
		c.t.Fatal(err)
	}
	n := int64(0)
	for _, f := range s.Files {
		src, err := c.dataset.Open(ctx, f.Path)
		if err != nil {
			c.t.Fatal(err)
		}
		pf, err := parquet.OpenFile(src, src.Size())
		if err != nil {
			c.t.Fatal(err)
		}
		n += pf.NumRows()
		if f.Rows >= 0 && f.Rows != pf.NumRows() {
			c.t.Errorf("%s has %d rows, the manifest says %d", f.Path, pf.NumRows(), f.Rows)
		}
		if err := src.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
	if n != c.rows {
		c.t.Errorf("the dataset has %d rows, %d were exported", n, c.rows)
	}
}

// leftBeside are the names below a hidden directory of the dataset.
func (c *countedDataset) leftBeside(dir string) []string {
	c.t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.o.Dataset, dir))
	if err != nil && !isMissing(err) {
		c.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return slices.Sorted(slices.Values(names))
}

// record is the i-th record of a file.
func (c *countedDataset) record(day, file, i int) step {
	r := rec(meters(c.t), 0, map[string]record.Value{
		"svc": record.Num(1), "sap": record.Str("1/1/1"), "mId": record.Num(uint64(i)), "iof": record.Num(uint64(file)), "oof": record.Num(1),
	})
	r.Start, r.End = r.Start.AddDate(0, 0, day), r.End.AddDate(0, 0, day)
	return step{rec: r}
}
