package lineage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/record"
)

// Row is the report about one row of the dataset.
type Row struct {
	// Path and Number say where the row is: the file, and how many rows of it
	// are in front.
	Path   string `json:"path"`
	Number int64  `json:"row"`
	// Values are its columns that are not NULL, in the order of the table.
	Values []Value `json:"values"`
	// File is the file that has the row, Source the raw file that it came from.
	File   Place      `json:"file"`
	Source SourceFile `json:"source"`
	// Found counts the records of the raw file that read like the row: 1, or more
	// if the file has it repeatedly. Offset is where the first of them begins, in
	// bytes of the decompressed file; -1 if there is none. Unread says why the
	// raw file could not be searched, "" if it was.
	Found  int    `json:"records_like_it"`
	Offset int64  `json:"offset"`
	Unread string `json:"unread,omitempty"`
}

// Value is a column of a row.
type Value struct {
	Column string `json:"column"`
	Text   string `json:"value"`
}

// Wrong reports whether bytes are not what they should be, or whether the raw
// file does not give the row.
func (r *Row) Wrong() bool {
	return r.File.Digest.Wrong() || r.Source.Digest.Wrong() || r.Unread == "" && r.Found == 0
}

// Filter chooses rows of a table.
type Filter struct {
	Table, Device string
	// At is the interval end, zero for any.
	At time.Time
	// Columns are values of columns, as text.
	Columns map[string]string
}

// Row reports about a row of a file: its number counts from 0, as
// file_row_number does in DuckDB.
func (t *Tracer) Row(ctx context.Context, path string, number int64) (*Row, error) {
	at, ok := export.ParsePath(path)
	if !ok {
		return nil, fmt.Errorf("%w: %.256q is not the path of a data file", ErrNothing, path)
	}
	r := &Row{Path: path, Number: number, Offset: -1}
	var cells map[string]cell
	err := t.inFile(ctx, path, func(c *columns.File) error {
		if number < 0 || number >= c.Rows() {
			return fmt.Errorf("%w: it has %d rows, and no row %d", ErrNothing, c.Rows(), number)
		}
		var err error
		r.Values, cells, err = readRow(ctx, c, number)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.File, err = t.place(ctx, at, 1); err != nil {
		return nil, err
	}
	return r, t.origin(ctx, r, cells)
}

// maxRows bounds what a filter finds.
const maxRows = 100

// Rows reports about the rows that a filter chooses, at most 100 of them.
func (t *Tracer) Rows(ctx context.Context, f Filter) ([]*Row, error) {
	snapshot, err := export.ReadSnapshot(ctx, t.o.Dataset, f.Table)
	if err != nil {
		return nil, err
	}
	var list []*Row
	for _, d := range snapshot.Files {
		if d.Table != f.Table || !f.At.IsZero() && d.Date != f.At.UTC().Format(time.DateOnly) {
			continue
		}
		var numbers []int64
		err := t.inFile(ctx, d.Path, func(c *columns.File) (err error) {
			numbers, err = f.rows(ctx, c)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, n := range numbers {
			if len(list) == maxRows {
				return list, nil
			}
			r, err := t.Row(ctx, d.Path, n)
			if err != nil {
				return nil, err
			}
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no row of %.256q is like that", ErrNothing, f.Table)
	}
	return list, nil
}

// rows finds the numbers of the rows of a file that are meant.
func (f *Filter) rows(ctx context.Context, c *columns.File) ([]int64, error) {
	want := maps.Clone(f.Columns)
	if want == nil {
		want = map[string]string{}
	}
	if f.Device != "" {
		want["device"] = f.Device
	}
	if !f.At.IsZero() {
		want["interval_end"] = strconv.FormatInt(f.At.UnixMicro(), 10)
	}
	names := slices.Sorted(maps.Keys(want))
	types := make([]columns.Type, len(names))
	for i, n := range names {
		at := c.Schema().Index(n)
		if at < 0 {
			return nil, fmt.Errorf("%w: the table has no column %.256q", ErrNothing, n)
		}
		types[i] = c.Schema().Columns[at].Type
	}
	if len(names) == 0 {
		return nil, errors.New("a filter names a device, a time or the value of a column")
	}
	s := c.Scan(columns.ScanOptions{Columns: names})
	var found []int64
	for at := int64(0); ; {
		b, err := s.Next(ctx)
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		for row := range b.Rows {
			if matches(b, row, types, names, want) && len(found) < maxRows {
				found = append(found, at+int64(row))
			}
		}
		at += int64(b.Rows)
	}
}

// matches compares the values of a row.
func matches(b *columns.Batch, row int, types []columns.Type, names []string, want map[string]string) bool {
	for i, n := range names {
		text, ok := "", false
		if types[i] == columns.String || types[i] == columns.Map {
			text, ok = b.Columns[i].Text(row)
		} else {
			var number int64
			number, ok = b.Columns[i].Int(row)
			text = strconv.FormatInt(number, 10)
		}
		if !ok || text != want[n] {
			return false
		}
	}
	return true
}

// cell is a value of a row that is not NULL.
type cell struct {
	number int64
	text   string
	typ    columns.Type
}

// readRow reads all columns of one row.
func readRow(ctx context.Context, c *columns.File, number int64) ([]Value, map[string]cell, error) {
	s := c.Scan(columns.ScanOptions{})
	for {
		b, err := s.Next(ctx)
		if err == io.EOF {
			return nil, nil, fmt.Errorf("%w: row %d", ErrNothing, number)
		}
		if err != nil {
			return nil, nil, err
		}
		if number >= int64(b.Rows) {
			number -= int64(b.Rows)
			continue
		}
		var values []Value
		cells := map[string]cell{}
		for i, col := range c.Schema().Columns {
			v := cell{typ: col.Type}
			ok := false
			if col.Type == columns.String || col.Type == columns.Map {
				v.text, ok = b.Columns[i].Text(int(number))
			} else {
				v.number, ok = b.Columns[i].Int(int(number))
			}
			if ok {
				cells[col.Name] = v
				values = append(values, Value{col.Name, v.String()})
			}
		}
		return values, cells, nil
	}
}

// String is the value for people.
func (c cell) String() string {
	switch c.typ {
	case columns.String:
		return c.text
	case columns.Timestamp:
		return time.UnixMicro(c.number).UTC().Format(time.RFC3339Nano)
	case columns.Map:
		var parts []string
		for _, p := range columns.Pairs(c.text) {
			parts = append(parts, p.Key+"="+p.Value)
		}
		return strings.Join(parts, " ")
	}
	return strconv.FormatInt(c.number, 10)
}

// origin finds the record that a row came from.
func (t *Tracer) origin(ctx context.Context, r *Row, cells map[string]cell) error {
	r.Source = SourceFile{Device: cells["device"].text, Name: cells["source_file"].text, SHA256: cells["source_sha256"].text, Rows: 1, Digest: NoArchive}
	if t.o.Ledger == nil {
		r.Unread = "there is no ledger that knows where it is"
		return nil
	}
	found := false
	for row, err := range t.o.Ledger.Files(ctx, r.Source.Device) {
		if err != nil {
			return err
		}
		if row.SHA256 != r.Source.SHA256 || row.AliasOf != "" {
			continue
		}
		found = true
		r.Source.State, r.Source.Stored = row.State.String(), row.Stored
		if r.Source.Digest, err = t.rawVerdict(ctx, row); err != nil {
			return err
		}
	}
	switch {
	case !found:
		r.Source.Digest, r.Unread = Nowhere, "the ledger does not know it"
	case !export.IsRecordTable(catalogue(), r.File.Table):
		r.Unread = "the row was derived; its source is the row of the same keys and interval end in the record's table"
	case r.Source.Digest != Same && r.Source.Digest != Unchecked:
		r.Unread = "its bytes: " + string(r.Source.Digest)
	default:
		return t.search(ctx, r, cells)
	}
	return nil
}

// search reads the raw file for the records that read like the row.
func (t *Tracer) search(ctx context.Context, r *Row, cells map[string]cell) (err error) {
	src, err := t.openRaw(ctx, r.Source.Stored)
	if err != nil {
		r.Unread = err.Error()
		return nil
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	o := t.o.Reader(r.Source.Device)
	o.Salvage = true
	rd := record.NewReader(o)
	if strings.HasSuffix(strings.ToLower(r.Source.Name), ".xml") {
		rd.ResetXML(src, r.Source.Name)
	} else {
		rd.Reset(src, r.Source.Name)
	}
	var rec record.Record
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := rd.Next(&rec)
		var bad *record.RecordError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &bad):
			continue
		case err != nil:
			if r.Found == 0 {
				r.Unread = err.Error()
			}
			return nil
		}
		if reads(&rec, cells) {
			if r.Found++; r.Found == 1 {
				r.Offset = rec.Offset
			}
		}
	}
}

// reads reports whether a record reads like a row.
func reads(rec *record.Record, cells map[string]cell) bool {
	if rec.End.UnixMicro() != cells["interval_end"].number || int64(rec.Final) != cells["final"].number ||
		rec.Sub != cells["sub_record"].text || rec.Set.Scope != cells["scope"].text {
		return false
	}
	if start, ok := cells["interval_start"]; ok == rec.Start.IsZero() || ok && start.number != rec.Start.UnixMicro() {
		return false
	}
	unknown, overflow := pairsOf(cells["unknown_fields"]), pairsOf(cells["overflow"])
	for i := range rec.Set.Fields {
		f, v := &rec.Set.Fields[i], &rec.Values[i]
		if v.State != record.Number && v.State != record.Text {
			continue
		}
		text := v.Text
		if v.State == record.Number {
			text = strconv.FormatUint(v.N, 10)
		}
		c, ok := cells[f.Column]
		switch {
		case ok && c.typ == columns.Int64 && v.State == record.Number && v.N <= math.MaxInt64 && c.number == int64(v.N):
		case ok && c.typ == columns.String && c.text == text:
		case overflow[f.Column] == text || unknown[f.Abbrev] == text:
		default:
			return false
		}
	}
	for _, p := range rec.Unknown {
		if _, ok := unknown[p.Name]; !ok {
			return false
		}
	}
	return true
}

func pairsOf(c cell) map[string]string {
	m := map[string]string{}
	for _, p := range columns.Pairs(c.text) {
		m[p.Key] = p.Value
	}
	return m
}
