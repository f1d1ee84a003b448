package lineage

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/ledger"
	"acctpull/pull"
)

// Raw is the report about a raw accounting file.
type Raw struct {
	Device string `json:"device"`
	Name   string `json:"file"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"bytes"`
	// Listed is the directory of the device that it was listed in, Modified its
	// time there. A file that was given to the export has neither.
	Listed   string    `json:"listed_in,omitempty"`
	Modified time.Time `json:"listed_time,omitzero"`
	// State is that of the ledger, Reason why.
	State   string    `json:"state"`
	Reason  string    `json:"reason,omitempty"`
	First   time.Time `json:"first_seen,omitzero"`
	Changed time.Time `json:"state_since,omitzero"`
	// Stored is where its bytes are, Digest what comparing them gave.
	Stored string  `json:"stored,omitempty"`
	Digest Verdict `json:"digest"`
	// AliasOf is the file with the same content that stands for it.
	AliasOf string `json:"alias_of,omitempty"`
	// Visit is the one that saw it first, nil if that is not known.
	Visit *Visit `json:"visit,omitempty"`
	// Quarantine is what the note beside a file says that is or was in
	// quarantine, nil if there is none; Unusable counts the records of a sound
	// file that could not be used.
	Quarantine *Note `json:"quarantine,omitempty"`
	Unusable   int64 `json:"unusable_records"`
	// Batch is the export batch, "" if it is not known any more; Exported counts
	// the rows that the ledger has of it, Rows those that are in the dataset now.
	Batch    string `json:"batch,omitempty"`
	Exported int64  `json:"rows_exported"`
	Rows     int64  `json:"rows"`
	// Places are the files with its rows, Gone those that had them once.
	Places []Place `json:"places"`
	Gone   []Gone  `json:"replaced,omitempty"`
	// Usage are the derived files that stand on it: rows of its own, and rows that
	// were subtracted from it.
	Usage []UsagePlace `json:"usage,omitempty"`
}

// Visit is when a device was visited.
type Visit struct {
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Visits counts those that found the same and are told as one.
	Visits int  `json:"visits"`
	Good   bool `json:"good"`
}

// Note is what stands beside a file in quarantine.
type Note struct {
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	Released time.Time `json:"released,omitzero"`
	By       string    `json:"released_by,omitempty"`
	Why      string    `json:"why,omitempty"`
	Purged   time.Time `json:"purged,omitzero"`
}

// UsagePlace is a derived file that stands on a raw file.
type UsagePlace struct {
	Path  string `json:"path"`
	Table string `json:"table"`
	Date  string `json:"date"`
	// Rows end in the raw file, Follows counts those that begin in it.
	Rows    int64 `json:"rows"`
	Follows int64 `json:"rows_that_follow"`
}

// Wrong reports whether the bytes of a file are not what they should be, or rows
// of it are missing or too many.
func (r *Raw) Wrong() bool {
	return r.Digest.Wrong() || slices.ContainsFunc(r.Places, func(p Place) bool { return p.Digest.Wrong() }) ||
		r.AliasOf == "" && r.State == ledger.Exported.String() && r.Rows != r.Exported
}

// Raws reports about the raw files that a query names: a path in the archive, a
// name, or the first digits (at least 8) of a SHA-256. device "" means all.
func (t *Tracer) Raws(ctx context.Context, query, device string) ([]Raw, error) {
	rows, err := t.find(ctx, query, device)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%w: %.256q", ErrNothing, query)
	}
	list := make([]Raw, 0, len(rows))
	for _, row := range rows {
		r, err := t.raw(ctx, row)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// maxFound bounds what one query finds.
const maxFound = 100

// find finds the rows of a query. Without a ledger the dataset has to do.
func (t *Tracer) find(ctx context.Context, query, device string) ([]ledger.Row, error) {
	if t.o.Ledger == nil {
		return t.findInDataset(ctx, query, device)
	}
	var rows []ledger.Row
	for row, err := range t.o.Ledger.Files(ctx, device) {
		if err != nil {
			return nil, err
		}
		if named(query, row.Stored, row.Name, row.SHA256) {
			if len(rows) == maxFound {
				return nil, fmt.Errorf("more than %d files are called %.256q: name the device, or give the SHA-256", maxFound, query)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// named reports whether a query means a file.
func named(query, stored, name, sum string) bool {
	return query == stored || query == name || len(query) >= 8 && strings.HasPrefix(sum, query)
}

// findInDataset makes rows of what the dataset says.
func (t *Tracer) findInDataset(ctx context.Context, query, device string) ([]ledger.Row, error) {
	query = path.Base(query)
	found := map[export.Source]int64{}
	err := t.eachRecordFile(ctx, func(f export.DataFile, sources []export.Source) error {
		for _, s := range sources {
			if (device == "" || device == s.Device) && named(query, "", s.Name, s.SHA256) {
				found[export.Source{Device: s.Device, Name: s.Name, SHA256: s.SHA256}] += s.Records
			}
		}
		return nil
	})
	var rows []ledger.Row
	for s, n := range found {
		rows = append(rows, ledger.Row{Key: ledger.Key{Device: s.Device, Name: s.Name}, State: ledger.Exported, SHA256: s.SHA256, Records: n})
	}
	slices.SortFunc(rows, func(a, b ledger.Row) int { return strings.Compare(a.Device+a.Name+a.SHA256, b.Device+b.Name+b.SHA256) })
	return rows, err
}

// eachRecordFile calls do for every data file of the record tables.
func (t *Tracer) eachRecordFile(ctx context.Context, do func(export.DataFile, []export.Source) error) error {
	snapshot, err := export.ReadSnapshot(ctx, t.o.Dataset)
	if err != nil {
		return err
	}
	for _, f := range snapshot.Files {
		if !export.IsRecordTable(catalogue(), f.Table) {
			continue
		}
		sources, err := export.SourcesOf(ctx, t.o.Dataset, f.Path, time.Time{}, time.Time{})
		if err == nil {
			t.progress()
			err = do(f, sources)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// raw makes the report about one row of the ledger.
func (t *Tracer) raw(ctx context.Context, row ledger.Row) (r Raw, err error) {
	r = Raw{Device: row.Device, Name: row.Name, SHA256: row.SHA256, Size: row.Size, State: row.State.String(), Reason: row.Reason,
		First: row.First, Changed: row.Changed, Stored: row.Stored, AliasOf: row.AliasOf, Batch: row.Batch, Exported: row.Records, Places: []Place{}}
	if !strings.HasPrefix(row.Path, "sha256:") && row.Path != ledger.RebuiltPath {
		r.Listed = row.Path
	}
	if row.MTime != 0 {
		r.Modified = time.Unix(row.MTime, 0).UTC()
	}
	if t.o.Data != nil && strings.HasPrefix(row.Stored, "quarantine/") {
		if n, err := pull.ReadNote(ctx, t.o.Data, pull.NotePath(row.Stored)); err == nil {
			r.Quarantine = &Note{Reason: n.Reason, Since: n.Since, Released: n.Released, By: n.By, Why: n.Why, Purged: n.Purged}
			r.SHA256 = n.SHA256 // the ledger has none of a file that was never trusted
		}
	}
	of := row
	of.SHA256 = r.SHA256
	if r.Digest, err = t.rawVerdict(ctx, of); err != nil {
		return r, err
	}
	if err := t.history(ctx, row, &r); err != nil {
		return r, err
	}
	if row.SHA256 == "" || row.AliasOf != "" {
		return r, nil
	}
	err = t.eachRecordFile(ctx, func(f export.DataFile, sources []export.Source) error {
		for _, s := range sources {
			if s.Device != row.Device || s.SHA256 != row.SHA256 {
				continue
			}
			p, err := t.place(ctx, f, s.Records)
			if err != nil {
				return err
			}
			r.Rows += s.Records
			r.Places = append(r.Places, p)
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	r.Usage, err = t.usageOf(ctx, row)
	return r, err
}

// history fills in what the ledger knows besides, and how many records were
// refused.
func (t *Tracer) history(ctx context.Context, row ledger.Row, r *Raw) error {
	if t.o.Rejects != nil && row.SHA256 != "" {
		n, err := export.CountRejects(ctx, t.o.Rejects, row.Device, row.SHA256)
		if err != nil {
			return err
		}
		r.Unusable = n
	}
	if t.o.Ledger == nil {
		return nil
	}
	for v, err := range t.o.Ledger.Visits(ctx, row.Device, row.First, row.First.Add(time.Millisecond)) {
		if err != nil {
			return err
		}
		if !v.Began.After(row.First) && !v.Ended.Before(row.First) {
			r.Visit = &Visit{Began: v.Began, Ended: v.Ended, Visits: v.Count, Good: v.Good}
		}
	}
	if row.Batch == "" {
		return nil
	}
	outputs, err := t.o.Ledger.Outputs(ctx, row.Batch)
	if err != nil {
		return err
	}
	for _, o := range outputs {
		gone, err := t.gone(ctx, o.Path)
		if err != nil {
			return err
		}
		r.Gone = append(r.Gone, gone...)
	}
	return nil
}

// usageOf finds the derived rows that stand on a raw file.
func (t *Tracer) usageOf(ctx context.Context, row ledger.Row) ([]UsagePlace, error) {
	snapshot, err := export.ReadSnapshot(ctx, t.o.Dataset)
	if err != nil {
		return nil, err
	}
	var list []UsagePlace
	for _, f := range snapshot.Files {
		if export.IsRecordTable(catalogue(), f.Table) {
			continue
		}
		p := UsagePlace{Path: f.Path, Table: f.Table, Date: f.Date}
		err := t.inFile(ctx, f.Path, func(c *columns.File) (err error) {
			if p.Rows, err = count(ctx, c, row.Device, "source_sha256", row.SHA256); err == nil {
				p.Follows, err = count(ctx, c, row.Device, "previous_sha256", row.SHA256)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		t.progress()
		if p.Rows+p.Follows > 0 {
			list = append(list, p)
		}
	}
	return list, nil
}
