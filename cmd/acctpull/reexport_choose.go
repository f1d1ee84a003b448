package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acctpull/export"
	"acctpull/ledger"
	"acctpull/record"
)

// chosen is what a rebuild is about.
type chosen struct {
	inputs []ledger.Input
	// missing are files with rows that cannot be read again: they are not in the
	// ledger, or their bytes have gone by retention.
	missing []rebuiltFile
	// quarantined are files in quarantine that may be of the scope, wards their
	// devices.
	quarantined map[ledger.Key]bool
	wards       map[string]bool
}

// choose finds the raw files of the scope: those with rows in it, and those
// without any row that may have some. also are taken whatever they have.
func (r *reexport) choose(ctx context.Context, also []ledger.Input) (*chosen, error) {
	rows, err := r.withRows(ctx)
	if err != nil {
		return nil, err
	}
	for _, in := range also {
		rows[content{in.Device, in.SHA256}] = in.Name
	}
	c := &chosen{quarantined: map[ledger.Key]bool{}, wards: map[string]bool{}}
	for _, device := range r.scope.devices {
		for row, err := range r.store.ledger.FileFacts(ctx, device, r.scope.from, r.scope.to) {
			if err != nil {
				return nil, err
			}
			if row.AliasOf != "" || !r.scope.facts(row.Facts) {
				continue
			}
			switch {
			case row.State == ledger.Quarantined && row.Stored != "":
				c.quarantined[row.Key], c.wards[device] = true, true
			case row.State == ledger.Exported && row.Records == 0:
				rows[content{device, row.SHA256}] = row.Name
			}
		}
	}
	devices := map[string]bool{}
	for k := range rows {
		devices[k.device] = true
	}
	for device := range devices {
		if err := c.find(ctx, r.store.ledger, device, rows); err != nil {
			return nil, err
		}
	}
	for k, name := range rows {
		c.missing = append(c.missing, rebuiltFile{Device: k.device, File: name, SHA256: k.sha256, Outcome: "kept", Reason: "the ledger does not know it as exported"})
	}
	slices.SortFunc(c.missing, compareRebuilt)
	slices.SortFunc(c.inputs, func(a, b ledger.Input) int {
		return strings.Compare(a.Device+"\x00"+a.Name+"\x00"+a.SHA256, b.Device+"\x00"+b.Name+"\x00"+b.SHA256)
	})
	return c, nil
}

// find takes the files of a device that the ledger has from rows.
func (c *chosen) find(ctx context.Context, l *ledger.Ledger, device string, rows map[content]string) error {
	known := map[content]ledger.Row{}
	places := map[content]string{} // where a copy of the content lies
	for row, err := range l.Files(ctx, device) {
		if err != nil {
			return err
		}
		k := content{device, row.SHA256}
		if _, ok := rows[k]; !ok || row.State != ledger.Exported {
			continue
		}
		if findable(row.Stored) && (places[k] == "" || row.AliasOf == "") {
			places[k] = row.Stored
		}
		if row.AliasOf == "" {
			known[k] = row
		}
	}
	for k, row := range known {
		delete(rows, k)
		stored := cmp.Or(places[k], row.Stored)
		if !row.Expired.IsZero() {
			c.missing = append(c.missing, rebuiltFile{Device: device, File: row.Name, SHA256: row.SHA256, Outcome: "kept",
				Before: row.Records, After: row.Records, Reason: fmt.Sprintf("its bytes went by retention, %s", row.Expired.UTC().Format(time.RFC3339))})
			continue
		}
		if !findable(stored) {
			c.missing = append(c.missing, rebuiltFile{Device: device, File: row.Name, SHA256: row.SHA256, Outcome: "kept",
				Before: row.Records, After: row.Records, Reason: "nobody knows where its bytes are", Hint: "if you have it, tell: acctpull export FILE --out DIR"})
			continue
		}
		c.inputs = append(c.inputs, ledger.Input{Device: device, Name: row.Name, SHA256: row.SHA256, Stored: stored, Size: row.Size})
	}
	return nil
}

// findable reports whether a path of the ledger leads to a file. After the ledger
// was made anew, nobody knows any more where files are that were given to
// acctpull export.
func findable(stored string) bool {
	return strings.HasPrefix(stored, "devices/") || strings.HasPrefix(stored, "quarantine/") || filepath.IsAbs(filepath.FromSlash(stored))
}

// withRows finds the raw files that have rows of the scope in the dataset, and
// their names.
func (r *reexport) withRows(ctx context.Context) (map[content]string, error) {
	dataset := r.store.part(r.store.dataset)
	snapshot, err := export.ReadSnapshot(ctx, dataset)
	if err != nil {
		return nil, err
	}
	found := map[content]string{}
	for i, f := range snapshot.Files {
		day, err := time.Parse(time.DateOnly, f.Date)
		next := day.AddDate(0, 0, 1)
		if err != nil || !r.scope.table(f.Table) || !export.IsRecordTable(record.Builtin(), f.Table) || !day.Before(r.scope.to) || !next.After(r.scope.from) {
			continue
		}
		var from, to time.Time // the day is in the scope as a whole
		if r.scope.from.After(day) {
			from = r.scope.from
		}
		if r.scope.to.Before(next) {
			to = r.scope.to
		}
		sources, err := export.SourcesOf(ctx, dataset, f.Path, from, to)
		if err != nil {
			return nil, err
		}
		for _, s := range sources {
			if r.scope.of(s.Device) {
				found[content{s.Device, s.SHA256}] = s.Name
			}
		}
		r.progress.set("looking for rows: %d of %d files", i+1, len(snapshot.Files))
	}
	return found, nil
}

// openRaw opens a raw file where the ledger has it.
func (r *reexport) openRaw(ctx context.Context, stored string) (io.ReadCloser, error) {
	if at := filepath.FromSlash(stored); filepath.IsAbs(at) {
		return os.Open(at) // given to acctpull export, and none of ours
	}
	return r.store.depot.Open(ctx, stored)
}

// acceptGiven makes a file that a person gave to acctpull export, and that it
// refused, ready for export.
func (r *reexport) acceptGiven(ctx context.Context, q *quarantined, facts *ledger.Facts) error {
	return r.store.ledger.ReleaseQuarantined(ctx, r.pace.clock.Now(), q.row.Key,
		ledger.Acceptance{SHA256: q.row.SHA256, Stored: q.Stored, By: r.login().User, Why: rebuiltWhy, Facts: facts})
}
