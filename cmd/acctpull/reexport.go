package main

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acctpull/export"
	"acctpull/ledger"
	"acctpull/record"
)

// content is the identity of a raw file.
type content struct{ device, sha256 string }

// rebuildScope says which raw files are read again.
type rebuildScope struct {
	from, to time.Time
	devices  []string // empty: all
	records  []string // empty: all
}

func (f *exportFlags) scope() (w rebuildScope, err error) {
	if f.from == "" || f.to == "" {
		return w, usagef("2026-10-04 or 2026-10-04T12:00:00Z", "--rebuild needs --from and --to")
	}
	if w.from, err = parseMoment(f.from); err != nil {
		return w, err
	}
	if w.to, err = parseMoment(f.to); err != nil {
		return w, err
	}
	if !w.from.Before(w.to) {
		return w, usagef("", "--from %s is not before --to %s", f.from, f.to)
	}
	for _, name := range f.records {
		if !export.IsRecordTable(record.Builtin(), name) {
			return w, usagef("acctpull records lists all of them; "+export.UnknownRecords+" is one too", "no record %q in the catalogue", name)
		}
	}
	w.devices, w.records = f.devices, f.records
	return w, nil
}

// of reports whether a device is meant.
func (w *rebuildScope) of(device string) bool {
	return len(w.devices) == 0 || slices.Contains(w.devices, device)
}

// table reports whether rows of a table are meant. Nobody knows of what record
// those are whose name nobody knows.
func (w *rebuildScope) table(name string) bool {
	return len(w.records) == 0 || slices.Contains(w.records, name) || name == export.UnknownRecords
}

// facts reports whether a file without rows may have some that are meant.
func (w *rebuildScope) facts(f *ledger.Facts) bool {
	return len(w.records) == 0 || f == nil || f.Record == "" || slices.Contains(w.records, f.Record)
}

// reexport is one run of export --rebuild.
type reexport struct {
	*app
	scope    rebuildScope
	store    *store
	reading  record.ReaderOptions
	of       readerOf
	progress *progress
	x        *export.Exporter
	outputs  map[string]ledger.Output // of finished batches, by path
}

// rebuildRows is acctpull export --rebuild.
func (a *app) rebuildRows(ctx context.Context, f exportFlags) (err error) {
	r := &reexport{app: a, progress: a.progress()}
	if r.scope, err = f.scope(); err != nil {
		return err
	}
	if err := r.open(ctx, f); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.store.Close()) }()
	if r.scope.devices, err = r.known(ctx); err != nil {
		return err
	}
	o := a.exportOptions(ctx, r.store, r.reading, r.of, r.progress, &exported{overflow: map[overflowKey]int64{}})
	o.Hooks.OnFile, o.Hooks.OnOverflow = nil, nil // they tell of files that are new
	o.Facts = factsOf
	o.Finished = func(path string) (ledger.Output, bool) {
		out, ok := r.outputs[path]
		return out, ok
	}
	if r.x, err = export.New(o); err != nil {
		return err
	}
	res := &rebuildResult{Files: []rebuiltFile{}, Tables: []tableChange{}, DryRun: f.dryRun}
	err = r.store.keeping(ctx, func(ctx context.Context) error { return r.run(ctx, res) })
	r.progress.done()
	if err != nil {
		return err
	}
	if err := a.printRebuild(res); err != nil {
		return err
	}
	if res.inError() {
		return &outcome{code: exitPartly}
	}
	return nil
}

// open opens the directory that the flags name.
func (r *reexport) open(ctx context.Context, f exportFlags) (err error) {
	if (f.config == "") == (f.data == "") {
		return usagef("a data directory is what pull --out, export --out or the key data of an inventory names", "one of -c FILE and --data DIR is needed")
	}
	defer func() {
		if err != nil && r.store != nil {
			err = errors.Join(err, r.store.Close())
		}
	}()
	if f.config != "" {
		inv, reading, err := r.loadInventory(f.config)
		if err != nil {
			return err
		}
		r.of = func(device string) *record.ReaderOptions { return reading[device] }
		if r.store, err = r.openFleet(ctx, inv); err != nil {
			return err
		}
		if r.store.depot, err = r.openDepot(ctx, inv); err != nil {
			return err
		}
		return r.prepare(ctx, r.store, false, record.ReaderOptions{})
	}
	if r.reading, err = f.reading.options(); err != nil {
		return err
	}
	if !isDir(f.data) {
		return usagef("", "%s is not a directory", f.data)
	}
	if isDir(filepath.Join(f.data, ".acctpull")) && !isDir(filepath.Join(f.data, "devices")) {
		r.store, err = openDataset(ctx, f.data)
	} else {
		r.store, err = openData(ctx, f.data)
	}
	if err != nil {
		return err
	}
	return r.prepare(ctx, r.store, false, r.reading)
}

// known returns the devices of the scope that the ledger knows: all of them, or
// those that were named.
func (r *reexport) known(ctx context.Context) ([]string, error) {
	all, err := r.store.ledger.Devices(ctx)
	if err != nil || len(r.scope.devices) == 0 {
		return all, err
	}
	for _, name := range r.scope.devices {
		if !slices.Contains(all, name) {
			return nil, usagef("without --device all of them are meant", "the ledger knows no device %q", name)
		}
	}
	return r.scope.devices, nil
}

// run finishes what was left, chooses the raw files and rebuilds their rows.
func (r *reexport) run(ctx context.Context, res *rebuildResult) error {
	if err := r.readOutputs(ctx); err != nil {
		return err
	}
	var left []ledger.Input
	if !res.DryRun {
		done, resumed, again, err := r.x.ResumeRebuild(ctx, r.record)
		if err != nil {
			return err
		}
		if left = again; resumed {
			res.Resumed = len(done.Files)
		}
	}
	c, err := r.choose(ctx, left)
	if err != nil {
		return err
	}
	res.Chosen, res.Waiting = len(c.inputs), len(c.quarantined)
	res.Files = append(res.Files, c.missing...)
	if res.DryRun {
		return r.plan(ctx, c, res)
	}
	if err := r.rebuild(ctx, c, res); err != nil {
		return err
	}
	return r.release(ctx, c, res)
}

// readOutputs reads what the ledger has of finished batches.
func (r *reexport) readOutputs(ctx context.Context) error {
	outputs, err := r.store.ledger.Outputs(ctx, "")
	if err != nil {
		return err
	}
	r.outputs = make(map[string]ledger.Output, len(outputs))
	for _, o := range outputs {
		r.outputs[o.Path] = o
	}
	return nil
}

// rebuild replaces the rows of the chosen files. If a compaction was faster it
// is planned again.
func (r *reexport) rebuild(ctx context.Context, c *chosen, res *rebuildResult) error {
	const tries = 5
	for try := 1; len(c.inputs) > 0; try++ {
		done, err := r.x.Rebuild(ctx, c.inputs, r.record)
		if err == nil {
			res.add(done)
			return nil
		}
		if !errors.Is(err, export.ErrStale) || try == tries {
			return err
		}
		if err := r.readOutputs(ctx); err != nil {
			return err
		}
		// What it may have done in part is among the inputs.
		if _, _, _, err := r.x.ResumeRebuild(ctx, r.record); err != nil {
			return err
		}
	}
	return nil
}

// record brings the ledger up to the dataset.
func (r *reexport) record(ctx context.Context, done export.Rebuilt) error {
	var files []ledger.Reexported
	for _, f := range done.Files {
		if f.State == ledger.Exported {
			files = append(files, ledger.Reexported{Device: f.Input.Device, SHA256: f.Input.SHA256, Records: f.Records, Facts: f.Facts})
		}
	}
	return r.store.ledger.Reexport(ctx, r.pace.clock.Now(), files)
}

// plan tells what a rebuild would replace.
func (r *reexport) plan(ctx context.Context, c *chosen, res *rebuildResult) error {
	removed, err := r.x.PlanRebuild(ctx, c.inputs)
	if err != nil {
		return err
	}
	for _, f := range removed {
		res.replaced(f)
	}
	return nil
}

// release takes files out of quarantine that can be read now, and exports them as
// new ones: they have no rows that anything could take the place of.
func (r *reexport) release(ctx context.Context, c *chosen, res *rebuildResult) error {
	w := &ward{place: place{data: r.store.root, depot: r.store.depot, reading: r.reading, of: r.of}, ledger: r.store.ledger}
	read := contents(w.readingOf)
	for _, device := range slices.Sorted(maps.Keys(c.wards)) {
		all, err := w.list(ctx, device)
		if err != nil {
			return err
		}
		for _, q := range all {
			if !c.quarantined[q.row.Key] || q.Purged {
				continue
			}
			src, err := r.openRaw(ctx, q.Stored)
			if err != nil {
				continue // it is where it was before
			}
			got, err := read(ctx, q.Device, q.Name, src)
			err = errors.Join(err, src.Close())
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil || got.Truncated || got.Vague {
				continue
			}
			if !strings.HasPrefix(q.Stored, "devices/") && !strings.HasPrefix(q.Stored, "quarantine/") {
				err = r.acceptGiven(ctx, q, got.Facts)
			} else {
				err = w.accept(ctx, r.pace.clock.Now(), q, r.login().User, rebuiltWhy, false, got.Facts)
			}
			if err != nil {
				return err
			}
			res.Released++
		}
	}
	if res.Released == 0 {
		return nil
	}
	ex, err := r.exportPending(ctx, r.store, r.reading, r.of, r.progress)
	if err != nil {
		return err
	}
	res.exported(ex)
	return nil
}

// rebuiltWhy is the reason that the ledger keeps.
const rebuiltWhy = "it can be read now, said a rebuild of the dataset"
