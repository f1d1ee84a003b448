package export

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/depot"
	"acctpull/ledger"
)

// PublishedBatch is a batch as the dataset itself tells of it.
type PublishedBatch struct {
	ID string
	// Outputs are the outputs that are there. SHA256 is not filled in.
	Outputs []ledger.Output
	// Missing are the paths, relative to the dataset root, of outputs that the
	// batch has and the dataset has not. A batch with missing outputs was cut
	// off while it was published: its files are no proof that all rows of its
	// sources are in the dataset.
	Missing []string
	// Sources are the inputs with rows in Outputs, by device, name and hash;
	// Records is summed over the outputs. Inputs without any row, and those
	// that were quarantined, are not known to the dataset.
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
	paths, _, err := Contents(ctx, dataset)
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	batches := map[string]*batchReader{}
	for _, rel := range paths {
		if err := readSources(ctx, batches, dataset, rel); err != nil {
			return nil, &Error{Op: "read sources", Path: rel, Err: err}
		}
	}
	list := make([]PublishedBatch, 0, len(batches))
	for _, b := range batches {
		list = append(list, b.result(paths))
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

func (b *batchReader) result(paths []string) PublishedBatch {
	for _, p := range b.planned {
		if _, ok := slices.BinarySearch(paths, p); !ok {
			b.Missing = append(b.Missing, p)
		}
	}
	for s, n := range b.records {
		s.Records = n
		b.Sources = append(b.Sources, s)
	}
	slices.SortFunc(b.Sources, compareSources)
	return b.PublishedBatch
}

// readSources adds what one published file tells.
func readSources(ctx context.Context, batches map[string]*batchReader, dataset depot.Reader, rel string) error {
	p, err := readPublished(ctx, dataset, rel)
	if err != nil {
		return err
	}
	b := batches[p.Output.Batch]
	if b == nil {
		b = &batchReader{records: map[Source]int64{}, planned: p.Batch}
		b.ID = p.Output.Batch
		batches[b.ID] = b
	}
	if !slices.Equal(b.planned, p.Batch) {
		return fmt.Errorf("batch %s has other outputs in another file", quote(b.ID))
	}
	for _, s := range p.Sources {
		n := s.Records
		s.Records = 0
		b.records[s] += n
	}
	b.Outputs = append(b.Outputs, p.Output)
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
