package export

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/record"
)

// Share counts the rows that an accounting file has in one partition.
type Share struct {
	Table string `json:"table"`
	Date  string `json:"date"`
	Rows  int64  `json:"rows"`
}

// IsRecordTable reports whether a table holds rows of accounting files as they
// were exported: it is that of a record name, or [UnknownRecords]. All others are
// derived from these.
func IsRecordTable(c *record.Catalogue, table string) bool {
	d, ok := c.Lookup(record.Name(table))
	return ok && string(d.Name) == table || table == UnknownRecords
}

// SourcesOf counts the rows that a data file has of each accounting file, by
// device, name and hash: those that end from one time up to before another. A
// zero time sets no bound.
func SourcesOf(ctx context.Context, dataset depot.Reader, path string, from, to time.Time) (list []Source, err error) {
	o, err := dataset.Open(ctx, path)
	if err != nil {
		return nil, &Error{Op: "read sources", Path: path, Err: err}
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	f, err := columns.Open(o, o.Size())
	if err == nil {
		list, err = sourcesOf(ctx, f, from, to)
	}
	if err != nil {
		return nil, &Error{Op: "read sources", Path: path, Err: err}
	}
	return list, nil
}

// sourcesOf is SourcesOf for an open file. An output of a batch has the list in
// its footer; of others the columns that name the source are counted.
func sourcesOf(ctx context.Context, f *columns.File, from, to time.Time) ([]Source, error) {
	if text, ok := f.Metadata(metaSources); ok && from.IsZero() && to.IsZero() {
		var list []Source
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, fmt.Errorf("metadata %s: %w", metaSources, err)
		}
		return list, nil
	}
	c := sourceCounter{rows: map[Source]int64{}}
	o := columns.ScanOptions{Columns: sourceColumns}
	if !from.IsZero() || !to.IsZero() {
		o.Where = columns.Range{Column: "interval_end", From: math.MinInt64, To: math.MaxInt64}
		if !from.IsZero() {
			o.Where.From = from.UnixMicro()
		}
		if !to.IsZero() {
			o.Where.To = to.UnixMicro()
		}
	}
	s := f.Scan(o)
	for {
		b, err := s.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		c.count(b)
	}
	list, err := readTruncated(f.Metadata)
	cut := make(map[ledgerKey]bool, len(list))
	for _, s := range list {
		cut[ledgerKey{s.Device, s.SHA256}] = true
	}
	return c.list(cut), err
}

// sourceColumns name the accounting file of a row.
var sourceColumns = []string{"device", "source_file", "source_sha256"}

// sourceCounter counts rows by source. Texts are looked at once for each batch.
type sourceCounter struct {
	rows map[Source]int64
	ids  map[[3]int32]int64
}

// count adds the rows of a batch, whose columns are those of sourceColumns.
func (c *sourceCounter) count(b *columns.Batch) {
	c.ids = make(map[[3]int32]int64, len(c.ids))
	device, file, sum := &b.Columns[0], &b.Columns[1], &b.Columns[2]
	var last [3]int32
	n := int64(0)
	for row := range b.Rows {
		k := [3]int32{device.ID(row), file.ID(row), sum.ID(row)}
		if k != last && n > 0 {
			c.ids[last] += n
			n = 0
		}
		last = k
		n++
	}
	if n > 0 {
		c.ids[last] += n
	}
	for k, n := range c.ids {
		c.rows[Source{Device: device.Texts[k[0]], Name: file.Texts[k[1]], SHA256: sum.Texts[k[2]]}] += n
	}
}

// list returns the sources with what cut says of them.
func (c *sourceCounter) list(cut map[ledgerKey]bool) []Source {
	list := make([]Source, 0, len(c.rows))
	for s, n := range c.rows {
		s.Records, s.Truncated = n, cut[ledgerKey{s.Device, s.SHA256}]
		list = append(list, s)
	}
	slices.SortFunc(list, compareSources)
	return list
}

// compareShares orders shares by table and date.
func compareShares(a, b Share) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Date, b.Date))
}
