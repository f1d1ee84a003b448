package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// statisticsFile keeps the number of rows of each partition, so that README.md
// needs no footers but those of partitions that changed. Its name keeps readers
// out, and it may be removed at any time.
const statisticsFile = ".statistics.json"

var statisticsDigest = durable.Digest{Before: `,"digest":"`, After: `"}`}

// tableStats is what README.md says of a table.
type tableStats struct {
	Files, Bytes, Rows int64
	partitions         map[string]partitionStats // by date
}

// partitionStats is one day of a table. A partition with as many files and bytes
// as before is taken to be the same: a file never changes.
type partitionStats struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	Rows  int64 `json:"rows"`
}

func (t *tableStats) add(o *tableStats) {
	t.Files += o.Files
	t.Bytes += o.Bytes
	t.Rows += o.Rows
	if t.partitions == nil {
		t.partitions = map[string]partitionStats{}
	}
	maps.Copy(t.partitions, o.partitions)
}

// days are the dates that have files, sorted.
func (t *tableStats) days() []string { return slices.Sorted(maps.Keys(t.partitions)) }

func (t *tableStats) first() string {
	if d := t.days(); len(d) > 0 {
		return d[0]
	}
	return ""
}

func (t *tableStats) last() string {
	if d := t.days(); len(d) > 0 {
		return d[len(d)-1]
	}
	return ""
}

// statistics counts what the tables have. An error that matches fs.ErrNotExist
// says that a file went after it was listed.
func (s Sidecars) statistics(ctx context.Context, tables []*Table) (map[string]*tableStats, error) {
	snapshot, err := ReadSnapshot(ctx, s.Dataset)
	if err != nil {
		return nil, err
	}
	partitions := map[string][]DataFile{} // by directory
	stats := map[string]*tableStats{}
	for _, t := range tables {
		stats[t.Name] = &tableStats{partitions: map[string]partitionStats{}}
	}
	for _, f := range snapshot.Files {
		if stats[f.Table] != nil {
			dir := PartitionPath(f.Table, f.Version, f.Date)
			partitions[dir] = append(partitions[dir], f)
		}
	}
	before := s.readStatistics(ctx)
	now := map[string]partitionStats{}
	for dir, files := range partitions {
		p, err := s.partition(ctx, files, before[dir])
		if err != nil {
			return nil, err
		}
		now[dir] = p
		t := stats[files[0].Table]
		t.Files += p.Files
		t.Bytes += p.Bytes
		t.Rows += p.Rows
		t.partitions[files[0].Date] = p
	}
	if maps.Equal(before, now) {
		return stats, nil
	}
	return stats, s.put(ctx, statisticsFile, encodeStatistics(now))
}

// partition counts the rows of the files of a partition, unless it is as before.
func (s Sidecars) partition(ctx context.Context, files []DataFile, before partitionStats) (partitionStats, error) {
	p := partitionStats{Files: int64(len(files))}
	for _, f := range files {
		p.Bytes += f.Bytes
	}
	if p.Files == before.Files && p.Bytes == before.Bytes {
		return before, nil
	}
	for _, f := range files {
		if f.Rows < 0 {
			var err error
			if f.Rows, err = rowsOf(ctx, s.Dataset, f.Path); err != nil {
				return p, &Error{Op: "read output", Path: nameIn(s.Dataset, f.Path), Err: err}
			}
		}
		p.Rows += f.Rows
	}
	return p, nil
}

// rowsOf reads the number of rows from the footer of a file. A file that is none
// of ours has none: a check tells of it.
func rowsOf(ctx context.Context, d depot.Reader, path string) (rows int64, err error) {
	f, err := d.Open(ctx, path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pf, err := parquet.OpenFile(f, f.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) || ctx.Err() != nil {
			return 0, err
		}
		return 0, nil
	}
	return pf.NumRows(), nil
}

// statisticsDoc is the content of statisticsFile.
type statisticsDoc struct {
	Partitions map[string]partitionStats `json:"partitions"`
}

// readStatistics returns what is known of partitions, nothing if the file is not
// as it was written.
func (s Sidecars) readStatistics(ctx context.Context) map[string]partitionStats {
	text, err := s.old(ctx, statisticsFile)
	if err != nil || statisticsDigest.Check(bytes.NewReader(text), int64(len(text))) != nil {
		return nil
	}
	var doc statisticsDoc
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil
	}
	return doc.Partitions
}

func encodeStatistics(partitions map[string]partitionStats) []byte {
	b, err := json.Marshal(statisticsDoc{Partitions: partitions})
	if err != nil {
		panic("marshal statistics: " + err.Error()) // strings and numbers only
	}
	return statisticsDigest.Append(append(bytes.TrimSuffix(b, []byte("}")), '\n'))
}
