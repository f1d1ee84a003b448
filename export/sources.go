package export

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/ledger"
)

// PublishedBatch is a batch as the dataset itself tells of it.
type PublishedBatch struct {
	ID string
	// Outputs are the outputs that are there. SHA256 is not filled in.
	Outputs []ledger.Output
	// Replaced are the outputs that other files stand in for since.
	Replaced []ledger.Output
	// Missing are the paths, relative to the dataset root, of outputs that the
	// batch has and the dataset has not. A batch with missing outputs was cut
	// off while it was published: its files are no proof that all rows of its
	// sources are in the dataset.
	Missing []string
	// Sources are the inputs with rows in Outputs, by device, name and hash;
	// Records is summed over the outputs. Inputs without any row, and those
	// that were quarantined, are not known to the dataset; nor are the sources
	// of Replaced: they are those of the batch with the ID "", which stands for
	// all files that were made of others, derived tables left out.
	Sources []Source
}

// Sources reads the metadata of every published file of a dataset,
// so that a lost ledger can be rebuilt: the sources of a batch without missing
// outputs are exported, and must not be exported again. The outputs of a batch
// with missing ones have to be removed before its sources are exported anew,
// or those rows would be there twice. Batches come in the order of their IDs.
//
// A file below a record directory that acctpull did not write is an error.
func Sources(ctx context.Context, dataset depot.Reader) ([]PublishedBatch, error) {
	v, err := TakeInventory(ctx, dataset)
	if err != nil {
		return nil, err
	}
	if len(v.Unsound) > 0 {
		return nil, &Error{Op: "read sources", Path: v.Unsound[0].Path, Err: v.Unsound[0].Err}
	}
	batches := map[string]*batchReader{}
	for _, f := range v.Files {
		if err := readSources(ctx, batches, dataset, f.Path); err != nil {
			return nil, &Error{Op: "read sources", Path: f.Path, Err: err}
		}
	}
	gone, there := v.Gone(), v.index()
	for _, g := range gone {
		if g.Batch == "" {
			continue
		}
		b := of(batches, g.Batch)
		b.Replaced = append(b.Replaced, g.output())
	}
	list := make([]PublishedBatch, 0, len(batches))
	for _, b := range batches {
		list = append(list, b.result(func(p string) bool {
			_, is := there[p]
			_, was := gone[p]
			return is || was
		}))
	}
	slices.SortFunc(list, func(a, b PublishedBatch) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// batchReader gathers one batch.
type batchReader struct {
	PublishedBatch
	planned []string // all outputs of the batch
	records map[Source]int64
}

// of returns the reader of a batch.
func of(batches map[string]*batchReader, id string) *batchReader {
	b := batches[id]
	if b == nil {
		b = &batchReader{records: map[Source]int64{}}
		b.ID = id
		batches[id] = b
	}
	return b
}

func (b *batchReader) result(there func(path string) bool) PublishedBatch {
	for _, p := range b.planned {
		if !there(p) {
			b.Missing = append(b.Missing, p)
		}
	}
	for s, n := range b.records {
		s.Records = n
		b.Sources = append(b.Sources, s)
	}
	slices.SortFunc(b.Sources, compareSources)
	slices.SortFunc(b.Replaced, func(a, b ledger.Output) int { return cmp.Compare(a.Path, b.Path) })
	return b.PublishedBatch
}

// readSources adds what one published file tells.
func readSources(ctx context.Context, batches map[string]*batchReader, dataset depot.Reader, rel string) error {
	p, err := readPublished(ctx, dataset, rel)
	if err != nil {
		return err
	}
	b := of(batches, p.Output.Batch)
	if b.planned == nil {
		b.planned = p.Batch
	}
	if !slices.Equal(b.planned, p.Batch) {
		return fmt.Errorf("batch %s has other outputs in another file", quote(b.ID))
	}
	for _, s := range p.Sources {
		n := s.Records
		s.Records = 0
		b.records[s] += n
	}
	if b.ID != "" {
		b.Outputs = append(b.Outputs, p.Output)
	}
	return nil
}

// readPublished reads the footer of one published file and proves that it does
// not contradict itself or its path.
func readPublished(ctx context.Context, dataset depot.Reader, rel string) (p Published, err error) {
	f, err := dataset.Open(ctx, rel)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pf, err := parquet.OpenFile(f, f.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return p, err
	}
	if _, ok := pf.Lookup(metaBatch); !ok {
		return readReplacing(ctx, f, rel)
	}
	var info batchInfo
	if err := errors.Join(lookup(pf, metaBatch, &info), lookup(pf, metaSources, &p.Sources)); err != nil {
		return p, err
	}
	if !slices.Contains(info.Outputs, rel) {
		return p, fmt.Errorf("it is not among the outputs of its batch %s", quote(info.ID))
	}
	rows := int64(0)
	for _, s := range p.Sources {
		rows += s.Records
	}
	if rows != pf.NumRows() {
		return p, fmt.Errorf("its sources have %d records, it has %d rows", rows, pf.NumRows())
	}
	at, ok := ParsePath(rel)
	if !ok {
		return p, errors.New("its path is not that of a data file")
	}
	p.Batch = info.Outputs
	p.Output = ledger.Output{
		Batch: info.ID, Path: rel, Rows: rows, Record: at.Table, Date: at.Date,
	}
	return p, nil
}

// readReplacing reads a file that was made of others. Its sources are counted row
// by row: there can be too many for a footer.
func readReplacing(ctx context.Context, f depot.Object, rel string) (p Published, err error) {
	at, ok := ParsePath(rel)
	if !ok {
		return p, errors.New("its path is not that of a data file")
	}
	file, err := columns.Open(f, f.Size())
	if err != nil {
		return p, err
	}
	if _, ok, err := readMade(file.Metadata); err != nil || !ok {
		return p, cmp.Or(err, fmt.Errorf("it has neither metadata %s nor %s", metaBatch, metaMade))
	}
	want := (&Table{Name: at.Table, Version: at.Version}).ID()
	if id, ok := file.Metadata(metaSchema); !ok || id != want {
		return p, fmt.Errorf("its schema is %.256q, and should be %q", id, want)
	}
	p.Output = ledger.Output{Path: rel, Rows: file.Rows(), Record: at.Table, Date: at.Date}
	if Derived(at.Table) {
		return p, nil
	}
	truncated, err := readTruncated(file.Metadata)
	if err != nil {
		return p, err
	}
	p.Sources, err = countSources(ctx, file, truncated)
	return p, err
}

// countSources counts the rows of each source.
func countSources(ctx context.Context, file *columns.File, truncated []Source) ([]Source, error) {
	rows := map[Source]int64{}
	count := func(s Source, n int64) {
		if _, known := rows[s]; !known { // the texts of a batch are its own
			s = Source{Device: strings.Clone(s.Device), Name: strings.Clone(s.Name), SHA256: strings.Clone(s.SHA256)}
		}
		rows[s] += n
	}
	scan := file.Scan(columns.ScanOptions{Columns: []string{colDevice, colSourceFile, colSourceSum}})
	for {
		b, err := scan.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		var last Source
		n := int64(0) // rows in a row that are from last
		for i := range b.Rows {
			var s Source
			s.Device, _ = b.Columns[0].Text(i)
			s.Name, _ = b.Columns[1].Text(i)
			s.SHA256, _ = b.Columns[2].Text(i)
			if s != last && n > 0 {
				count(last, n)
				n = 0
			}
			last, n = s, n+1
		}
		if n > 0 {
			count(last, n)
		}
	}
	list := make([]Source, 0, len(rows))
	for s, n := range rows {
		s.Records = n
		s.Truncated = slices.ContainsFunc(truncated, func(t Source) bool { return t.Device == s.Device && t.SHA256 == s.SHA256 })
		list = append(list, s)
	}
	slices.SortFunc(list, compareSources)
	return list, nil
}

// lookup decodes a JSON value of the file metadata.
func lookup(f *parquet.File, key string, v any) error {
	text, ok := f.Lookup(key)
	if !ok {
		return fmt.Errorf("it has no metadata %s", key)
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("metadata %s: %w", key, err)
	}
	return nil
}

func compareSources(a, b Source) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Name, b.Name), cmp.Compare(a.SHA256, b.SHA256))
}
