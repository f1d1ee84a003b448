package lineage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/record"
)

// File is the report about a file of the dataset.
type File struct {
	Place
	Bytes int64 `json:"bytes"`
	// There is false if the file was replaced; Gone tells by what.
	There bool   `json:"there"`
	Gone  []Gone `json:"replaced,omitempty"`
	// Made is what a file says of itself that replaced others.
	Made *export.Made `json:"made,omitempty"`
	// Sources are the raw files that it has rows of.
	Sources []SourceFile `json:"sources"`
}

// SourceFile is a raw file with rows in a file of the dataset.
type SourceFile struct {
	Device    string  `json:"device"`
	Name      string  `json:"file"`
	SHA256    string  `json:"sha256"`
	Rows      int64   `json:"rows"`
	Truncated bool    `json:"truncated,omitempty"`
	State     string  `json:"state,omitempty"`
	Stored    string  `json:"stored,omitempty"`
	Digest    Verdict `json:"digest"`
}

// Wrong reports whether bytes are not what they should be.
func (f *File) Wrong() bool {
	for _, s := range f.Sources {
		if s.Digest.Wrong() {
			return true
		}
	}
	return f.Digest.Wrong()
}

// File reports about a file of the dataset, by its slash path there.
func (t *Tracer) File(ctx context.Context, path string) (*File, error) {
	at, ok := export.ParsePath(path)
	if !ok {
		return nil, fmt.Errorf("%w: %.256q is not the path of a data file", ErrNothing, path)
	}
	snapshot, err := export.ReadSnapshot(ctx, t.o.Dataset, at.Table)
	if err != nil {
		return nil, err
	}
	f := &File{Place: Place{Path: path, Table: at.Table, Date: at.Date}, Sources: []SourceFile{}}
	for _, d := range snapshot.Files {
		if d.Path == path {
			f.There, at, f.Bytes = true, d, d.Bytes
		}
	}
	if f.Gone, err = t.gone(ctx, path); err != nil {
		return nil, err
	}
	if !f.There {
		if len(f.Gone) == 0 {
			return nil, fmt.Errorf("%w: %.256q is not in the dataset", ErrNothing, path)
		}
		f.Kind, f.Digest, f.Rows = "replaced", Unchecked, f.Gone[0].Rows
		return f, nil
	}
	foot, err := t.footer(ctx, path)
	if err != nil {
		return nil, err
	}
	if f.Place, err = t.place(ctx, at, foot.rows); err != nil {
		return nil, err
	}
	f.Made = foot.made
	return f, t.sources(ctx, f)
}

// sources fills in the raw files of a file.
func (t *Tracer) sources(ctx context.Context, f *File) error {
	list, err := export.SourcesOf(ctx, t.o.Dataset, f.Path, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	known := map[[2]string]*SourceFile{}
	for _, s := range list {
		f.Sources = append(f.Sources, SourceFile{Device: s.Device, Name: s.Name, SHA256: s.SHA256, Rows: s.Records, Truncated: s.Truncated, Digest: NoArchive})
	}
	var devices []string
	for i := range f.Sources {
		s := &f.Sources[i]
		known[[2]string{s.Device, s.SHA256}] = s
		if n := len(devices); n == 0 || devices[n-1] != s.Device {
			devices = append(devices, s.Device)
		}
	}
	if t.o.Ledger == nil {
		return nil
	}
	for _, device := range devices {
		for row, err := range t.o.Ledger.Files(ctx, device) {
			if err != nil {
				return err
			}
			s := known[[2]string{row.Device, row.SHA256}]
			if s == nil || row.AliasOf != "" {
				continue
			}
			s.State, s.Stored = row.State.String(), row.Stored
			if s.Digest, err = t.rawVerdict(ctx, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// footer is what the footer of a file says.
type footer struct {
	rows        int64
	kind, batch string
	made        *export.Made
}

func (t *Tracer) footer(ctx context.Context, path string) (foot footer, err error) {
	err = t.inFile(ctx, path, func(c *columns.File) error {
		foot.rows, foot.kind = c.Rows(), "batch"
		made, ok, err := export.MadeOf(c.Metadata)
		if err != nil {
			return err
		}
		if ok {
			foot.kind, foot.made = made.Kind, &made
			return nil
		}
		var b struct {
			ID string `json:"id"`
		}
		text, _ := c.Metadata("acctpull.batch")
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			return fmt.Errorf("metadata acctpull.batch: %w", err)
		}
		foot.batch = b.ID
		return nil
	})
	return foot, err
}

// inFile opens a data file for a moment.
func (t *Tracer) inFile(ctx context.Context, path string, do func(*columns.File) error) (err error) {
	o, err := t.o.Dataset.Open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	c, err := columns.Open(o, o.Size())
	if err == nil {
		err = do(c)
	}
	if err != nil {
		return fmt.Errorf("read %.256q: %w", path, err)
	}
	return nil
}

// count counts the rows of a device with a text in a column. A file without the
// column has none.
func count(ctx context.Context, c *columns.File, device, column, text string) (int64, error) {
	if c.Schema().Index(column) < 0 {
		return 0, nil
	}
	s := c.Scan(columns.ScanOptions{Columns: []string{column}, Where: columns.Range{Match: []columns.Match{{Column: "device", Text: device}, {Column: column, Text: text}}}})
	n := int64(0)
	for {
		b, err := s.Next(ctx)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += int64(b.Rows)
	}
}

// sumOf is the SHA-256 of what r has.
func sumOf(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// catalogue is that of the tables.
func catalogue() *record.Catalogue { return record.Builtin() }
