package export

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

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

// Sources reads the metadata of every published file below the dataset root,
// so that a lost ledger can be rebuilt: the sources of a batch without missing
// outputs are exported, and must not be exported again. The outputs of a batch
// with missing ones have to be removed before its sources are exported anew,
// or those rows would be there twice. Batches come in the order of their IDs.
//
// A file below a record directory that acctpull did not write is an error.
func Sources(dataset string) ([]PublishedBatch, error) {
	paths, err := publishedPaths(dataset)
	if err != nil {
		return nil, &Error{Op: "list dataset", Path: dataset, Err: err}
	}
	batches := map[string]*batchReader{}
	for _, rel := range paths {
		path := filepath.Join(dataset, filepath.FromSlash(rel))
		if err := readSources(batches, path, rel); err != nil {
			return nil, &Error{Op: "read sources", Path: path, Err: err}
		}
	}
	list := make([]PublishedBatch, 0, len(batches))
	for _, b := range batches {
		list = append(list, b.result(paths))
	}
	slices.SortFunc(list, func(a, b PublishedBatch) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// publishedPaths returns the sorted relative paths <record>/date=…/….parquet.
func publishedPaths(dataset string) ([]string, error) {
	var paths []string
	records, err := os.ReadDir(dataset)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if !r.IsDir() || strings.HasPrefix(r.Name(), ".") {
			continue
		}
		dates, err := os.ReadDir(filepath.Join(dataset, r.Name()))
		if err != nil {
			return nil, err
		}
		for _, d := range dates {
			if !d.IsDir() || !strings.HasPrefix(d.Name(), "date=") {
				continue
			}
			files, err := os.ReadDir(filepath.Join(dataset, r.Name(), d.Name()))
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				if strings.HasSuffix(f.Name(), ".parquet") {
					paths = append(paths, r.Name()+"/"+d.Name()+"/"+f.Name())
				}
			}
		}
	}
	slices.Sort(paths)
	return paths, nil
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
func readSources(batches map[string]*batchReader, path, rel string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	pf, err := parquet.OpenFile(f, st.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return err
	}
	var info batchInfo
	var sources []Source
	if err := errors.Join(lookup(pf, metaBatch, &info), lookup(pf, metaSources, &sources)); err != nil {
		return err
	}
	if !slices.Contains(info.Outputs, rel) {
		return fmt.Errorf("it is not among the outputs of its batch %s", quote(info.ID))
	}
	b := batches[info.ID]
	if b == nil {
		b = &batchReader{records: map[Source]int64{}, planned: info.Outputs}
		b.ID = info.ID
		batches[info.ID] = b
	}
	if !slices.Equal(b.planned, info.Outputs) {
		return fmt.Errorf("batch %s has other outputs in another file", quote(info.ID))
	}
	rows := int64(0)
	for _, s := range sources {
		n := s.Records
		rows += n
		s.Records = 0
		b.records[s] += n
	}
	if rows != pf.NumRows() {
		return fmt.Errorf("its sources have %d records, it has %d rows", rows, pf.NumRows())
	}
	parts := strings.Split(rel, "/")
	b.Outputs = append(b.Outputs, ledger.Output{
		Batch: info.ID, Path: rel, Rows: rows, Record: parts[0], Date: strings.TrimPrefix(parts[1], "date="),
	})
	return nil
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
