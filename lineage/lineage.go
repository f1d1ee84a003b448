// Package lineage tells where things come from: which rows of the dataset stand on
// a raw accounting file, which raw files a file of the dataset was made of, and
// from which record of which file of which device a single row came. It reads what
// archive, ledger and dataset say, and proves the digests of what it names on the
// way.
package lineage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/ledger"
	"acctpull/record"
)

// Options say where things are.
type Options struct {
	// Dataset is the dataset.
	Dataset depot.Reader
	// Data is the archive with its quarantine, that paths of the ledger are
	// relative to; nil if there is none. Rejects is where the lists of unusable
	// records are, nil if that is not known.
	Data, Rejects depot.Reader
	// Ledger is the memory of what was fetched and exported; nil if there is none.
	Ledger *ledger.Ledger
	// Local opens a file that a person gave to the export, by its absolute path.
	// Nil means that there are none.
	Local func(path string) (io.ReadCloser, error)
	// Reader is how the files of a device are read.
	Reader func(device string) record.ReaderOptions
	// Quick leaves the digests alone.
	Quick bool
	// OnProgress is called with the number of files that were looked at. It may be
	// nil.
	OnProgress func(files int)
}

// Tracer answers questions about one data directory. It may be used by one
// goroutine at a time.
type Tracer struct {
	o       Options
	seen    int
	outputs map[string]ledger.Output // of the ledger, by path; nil until needed
}

// New returns a Tracer. Dataset and Reader are required.
func New(o Options) *Tracer { return &Tracer{o: o} }

// Verdict says what comparing the bytes of a file with their digest gave.
type Verdict string

// The verdicts.
const (
	Same      Verdict = "same"           // the bytes are those that were written
	Differs   Verdict = "differs"        // they are not
	Missing   Verdict = "missing"        // there is no such file
	Expired   Verdict = "expired"        // retention removed it
	Unknown   Verdict = "no digest"      // nobody has a digest of it
	Unchecked Verdict = "not checked"    // Options.Quick
	Nowhere   Verdict = "place unknown"  // nobody knows where it is
	NoArchive Verdict = "no raw archive" // there is only a dataset
)

// Wrong reports whether something is not as it should be.
func (v Verdict) Wrong() bool { return v == Differs || v == Missing }

// ErrNothing: nothing of that name is known.
var ErrNothing = errors.New("nothing of that name is known")

// verdict compares a digest with the bytes of a file of a depot.
func (t *Tracer) verdict(ctx context.Context, d depot.Reader, path, want string) (Verdict, error) {
	t.progress()
	switch {
	case t.o.Quick:
		return Unchecked, nil
	case want == "":
		return Unknown, nil
	}
	got, _, err := d.Sum(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Missing, nil
	case err != nil:
		return "", fmt.Errorf("read %.256q: %w", path, err)
	case got != want:
		return Differs, nil
	}
	return Same, nil
}

func (t *Tracer) progress() {
	t.seen++
	if t.o.OnProgress != nil {
		t.o.OnProgress(t.seen)
	}
}

// rawVerdict compares a raw file with its row.
func (t *Tracer) rawVerdict(ctx context.Context, row ledger.Row) (Verdict, error) {
	switch {
	case !row.Expired.IsZero():
		return Expired, nil
	case row.Stored == "" || row.State == ledger.Discovered || row.State == ledger.Lost:
		return Nowhere, nil
	case inArchive(row.Stored):
		if t.o.Data == nil {
			return NoArchive, nil
		}
		return t.verdict(ctx, t.o.Data, row.Stored, row.SHA256)
	case t.o.Local == nil || !filepath.IsAbs(filepath.FromSlash(row.Stored)):
		return Nowhere, nil
	}
	return t.localVerdict(row)
}

// localVerdict is rawVerdict for a file outside of the archive.
func (t *Tracer) localVerdict(row ledger.Row) (v Verdict, err error) {
	t.progress()
	if t.o.Quick {
		return Unchecked, nil
	}
	f, err := t.o.Local(row.Stored)
	if errors.Is(err, fs.ErrNotExist) {
		return Missing, nil
	}
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	got, err := sumOf(f)
	if err == nil && got != row.SHA256 {
		return Differs, nil
	}
	return Same, err
}

// inArchive reports whether a path of the ledger lies in archive or quarantine.
func inArchive(stored string) bool {
	return strings.HasPrefix(stored, "devices/") || strings.HasPrefix(stored, "quarantine/")
}

// openRaw opens a raw file.
func (t *Tracer) openRaw(ctx context.Context, stored string) (io.ReadCloser, error) {
	switch {
	case inArchive(stored) && t.o.Data != nil:
		return t.o.Data.Open(ctx, stored)
	case t.o.Local != nil && filepath.IsAbs(filepath.FromSlash(stored)):
		return t.o.Local(stored)
	}
	return nil, fs.ErrNotExist
}

// Place is a file of the dataset with rows of a raw file.
type Place struct {
	Path  string `json:"path"`
	Table string `json:"table"`
	Date  string `json:"date"`
	Rows  int64  `json:"rows"`
	// Kind is what made the file: "batch", or why it replaced others. Batch is the
	// id of the batch. Since is when it replaced others, Instead which.
	Kind    string    `json:"kind"`
	Batch   string    `json:"batch,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Instead []string  `json:"in_place_of,omitempty"`
	Digest  Verdict   `json:"digest"`
}

// place describes a file of the dataset.
func (t *Tracer) place(ctx context.Context, f export.DataFile, rows int64) (Place, error) {
	p := Place{Path: f.Path, Table: f.Table, Date: f.Date, Rows: rows}
	foot, err := t.footer(ctx, f.Path)
	if err != nil {
		return p, err
	}
	p.Kind, p.Batch = foot.kind, foot.batch
	line, sum, err := t.added(ctx, f)
	if err != nil {
		return p, err
	}
	if p.Since = line.Time; len(line.Removed) > 0 {
		for _, g := range line.Removed {
			p.Instead = append(p.Instead, g.Path)
		}
	}
	p.Digest, err = t.verdict(ctx, t.o.Dataset, f.Path, sum)
	return p, err
}

// added returns the line of the history that brought a file, if one did, and the
// digest that the file should have.
func (t *Tracer) added(ctx context.Context, f export.DataFile) (line export.Replacement, sum string, err error) {
	h, err := export.ReadHistory(ctx, t.o.Dataset, export.PartitionPath(f.Table, f.Version, f.Date))
	if err != nil {
		return line, "", err
	}
	for _, r := range h {
		for _, m := range r.Added {
			if m.Path == f.Path {
				return r, m.SHA256, nil
			}
		}
	}
	if sum = f.SHA256; sum == "" {
		outputs, err := t.ledgerOutputs(ctx)
		if err != nil {
			return line, "", err
		}
		sum = outputs[f.Path].SHA256
	}
	return line, sum, nil
}

// ledgerOutputs returns what the ledger has of the dataset.
func (t *Tracer) ledgerOutputs(ctx context.Context) (map[string]ledger.Output, error) {
	if t.outputs != nil || t.o.Ledger == nil {
		return t.outputs, nil
	}
	list, err := t.o.Ledger.Outputs(ctx, "")
	if err != nil {
		return nil, err
	}
	t.outputs = make(map[string]ledger.Output, len(list))
	for _, o := range list {
		t.outputs[o.Path] = o
	}
	return t.outputs, nil
}

// Gone is a file of the dataset that other files replaced.
type Gone struct {
	Path   string    `json:"path"`
	Rows   int64     `json:"rows"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
	By     []string  `json:"by"`
}

// gone returns what became of a file, and of those that replaced it, as far as
// they are gone too.
func (t *Tracer) gone(ctx context.Context, path string) ([]Gone, error) {
	at, ok := export.ParsePath(path)
	if !ok {
		return nil, nil
	}
	h, err := export.ReadHistory(ctx, t.o.Dataset, export.PartitionPath(at.Table, at.Version, at.Date))
	if err != nil {
		return nil, err
	}
	var list []Gone
	wanted := map[string]bool{path: true}
	for _, r := range h { // oldest first: what came later replaced what came before
		if r.Pending {
			continue
		}
		for _, g := range r.Removed {
			if !wanted[g.Path] {
				continue
			}
			x := Gone{Path: g.Path, Rows: g.Rows, Reason: r.Reason, Time: r.Time, By: []string{}}
			for _, m := range r.Added {
				x.By = append(x.By, m.Path)
				wanted[m.Path] = true
			}
			list = append(list, x)
		}
	}
	return list, nil
}
