package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"acctpull/event"
	"acctpull/export"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/pull"
	"acctpull/record"
	"acctpull/rollover"
	"acctpull/usage"
)

// How large a batch gets. A batch is what one Parquet file per record and day
// is made of, and what is repeated after a crash.
const (
	batchFiles = 4096
	batchBytes = 1 << 30
)

// readFlags say how accounting files are read, by every command that reads any.
type readFlags struct {
	profile, record, platform string
	salvage                   bool
}

func (f *readFlags) register(fl *pflag.FlagSet) {
	f.registerMeaning(fl)
	f.registerSalvage(fl)
}

// registerMeaning leaves out what commands decide that look at kept files.
func (f *readFlags) registerMeaning(fl *pflag.FlagSet) {
	f.registerProfile(fl)
	fl.StringVar(&f.record, "record", "", "record `name` of files that do not give one")
}

// registerShape is register without the record name, for a command in which it
// means more.
func (f *readFlags) registerShape(fl *pflag.FlagSet) {
	f.registerProfile(fl)
	f.registerSalvage(fl)
}

func (f *readFlags) registerProfile(fl *pflag.FlagSet) {
	fl.StringVar(&f.profile, "profile", "", "`file` that names what accounting files do not say (see acctpull inspect)")
	fl.StringVar(&f.platform, "platform", "", "`platform` that wrote the files, such as \"7210 SAS\"")
}

func (f *readFlags) registerSalvage(fl *pflag.FlagSet) {
	fl.BoolVar(&f.salvage, "salvage", false, "take the complete records of files that were cut off")
}

// options turns the flags into what a reader takes.
func (f *readFlags) options() (record.ReaderOptions, error) {
	o := record.ReaderOptions{Platform: f.platform, Salvage: f.salvage}
	if f.record != "" {
		d, ok := record.Builtin().Lookup(record.Name(f.record))
		if !ok {
			return o, usagef("acctpull records lists all of them", "no record %q in the catalogue", f.record)
		}
		o.Record = d.Name
	}
	if f.platform != "" && !slices.ContainsFunc(record.Builtin().Definitions(), func(d *record.Definition) bool { return len(d.On(f.platform)) > 0 }) {
		return o, usagef("acctpull records lists the platforms", "no platform %q in the catalogue", f.platform)
	}
	if f.profile != "" {
		file, err := os.Open(f.profile)
		if err != nil {
			return o, usagef("", "read profile: %w", err)
		}
		o.Profile, err = record.LoadProfile(file, record.Builtin())
		if err := errors.Join(err, file.Close()); err != nil {
			return o, &usageError{err: fmt.Errorf("profile %s: %w", f.profile, err), hint: "docs/formats/profile.md describes every key"}
		}
	}
	return o, nil
}

// verifier reads a fetched file to its end and says what it holds. A file that
// is whole and whose meaning cannot be told is kept: a profile may tell it.
func verifier(o record.ReaderOptions) func(context.Context, string) (pull.Verified, error) {
	readers := sync.Pool{New: func() any { return record.NewReader(o) }}
	return func(ctx context.Context, path string) (v pull.Verified, err error) {
		f, err := os.Open(path)
		if err != nil {
			return v, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		r := readers.Get().(*record.Reader)
		defer readers.Put(r)
		name := finalName(path)
		if src := (&ctxReader{ctx, f}); strings.HasSuffix(name, ".xml") {
			r.ResetXML(src, name)
		} else {
			r.Reset(src, name)
		}
		stats, err := r.Verify()
		v.Records = stats.Records
		var file *record.FileError
		switch {
		case err == nil:
			v.Facts = factsOf(r.Header(), stats, name)
		case errors.As(err, &file) && file.Kind == record.KindShape:
			err = nil
		case file != nil && o.Salvage && file.Truncated():
			v.Facts, err = factsOf(r.Header(), stats, name), nil
			v.Facts.Truncated = true
		}
		return v, err
	}
}

// factsOf is what the ledger keeps of a file that was read. Times that cannot be
// those of a collection are left out: a span has to have an end since 1970, and
// does not begin behind it.
func factsOf(h record.Header, stats record.Stats, name string) *ledger.Facts {
	f := &ledger.Facts{Record: string(h.Record), Interval: h.Interval}
	f.Policy, f.FileID = identify(name)
	if f.Policy == 0 {
		f.Policy, f.FileID = h.Policy, h.FileID
	}
	for _, s := range stats.Spans {
		if s.End.UnixMilli() <= 0 {
			continue
		}
		if s.Start.UnixMilli() < 0 || s.Start.After(s.End) {
			s.Start = time.Time{}
		}
		f.Spans = append(f.Spans, ledger.Span(s))
	}
	return f
}

// finalName is the name that a file being fetched will have, for messages.
func finalName(path string) string {
	base := filepath.Base(path)
	if durable.IsTemp(base) {
		if parts := strings.SplitN(base, "-", 3); len(parts) == 3 {
			return parts[2]
		}
	}
	return base
}

// ctxReader ends a long read when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// identify tells what a name of the device says about its file.
func identify(name string) (policy, fileID int) {
	n, err := rollover.ParseName(name)
	if err != nil || n.Prefix != rollover.Act {
		return 0, 0
	}
	return n.ID, n.FileID
}

// readerOf says how the files of a device are read, nil if as all others.
type readerOf func(device string) *record.ReaderOptions

// exporter returns an exporter for the store.
func (a *app) exporter(ctx context.Context, s *store, reading record.ReaderOptions, of readerOf, p *progress, done *exported) (*export.Exporter, error) {
	return export.New(a.exportOptions(ctx, s, reading, of, p, done))
}

// exportOptions say how the exporter of a store works.
func (a *app) exportOptions(ctx context.Context, s *store, reading record.ReaderOptions, of readerOf, p *progress, done *exported) export.Options {
	return export.Options{
		Dataset: s.dataset,
		Node:    s.scratch(),
		Open: func(in ledger.Input) (io.ReadCloser, error) {
			if at := filepath.FromSlash(in.Stored); filepath.IsAbs(at) {
				return os.Open(at) // given to acctpull export, and none of ours
			}
			return s.depot.Open(ctx, in.Stored)
		},
		Outputs:    s.part(s.dataset),
		Quarantine: s.quarantine,
		Rejects:    s.part(s.quarantine),
		Reader:     reading,
		ReaderFor:  of,
		Salvage:    func(in ledger.Input) bool { return salvaged(ctx, s.depot, in) },
		Identify:   identify,
		Version:    buildVersion(),
		Derived:    derivedTables(),
		Devices:    func(ctx context.Context) ([]export.DeviceFiles, error) { return deviceFiles(ctx, s.ledger) },
		Now:        a.pace.clock.Now,
		Hooks: export.Hooks{
			OnFile:     func(r export.FileResult) { done.add(r); a.exportedFile(a.pace.clock.Now(), r) },
			OnOverflow: func(o export.Overflow) { done.overflow[overflowKey{o.Device, o.File, o.Record}]++ },
			OnProgress: func(files int, records int64) {
				p.set("exporting: %d files, %d records", done.batches+files, done.records+records)
			},
		},
	}
}

// derivedTables are the schemas of the usage tables.
func derivedTables() []*export.Table {
	var all []*export.Table
	for _, d := range record.Builtin().Definitions() {
		if t := export.Schema(d); usage.HasUsage(t) {
			all = append(all, usage.Schema(t))
		}
	}
	return all
}

// deviceFiles is what the ledger knows of the files of each device, for the
// README.md of the dataset.
func deviceFiles(ctx context.Context, l *ledger.Ledger) ([]export.DeviceFiles, error) {
	counts, err := l.Counts(ctx)
	if err != nil {
		return nil, err
	}
	var all []export.DeviceFiles
	for _, c := range counts {
		if len(all) == 0 || all[len(all)-1].Device != c.Device {
			all = append(all, export.DeviceFiles{Device: c.Device})
		}
		d := &all[len(all)-1]
		switch n := c.Files - c.Aliases; c.State {
		case ledger.Discovered, ledger.Stored:
			d.Waiting += n
		case ledger.Exported:
			d.Exported += n
		case ledger.Quarantined:
			d.Quarantined += n
		case ledger.Lost:
			d.Lost += n
		}
	}
	return all, nil
}

type overflowKey struct{ device, file, record string }

// exported is what one command exported.
type exported struct {
	files    []export.FileResult
	outputs  []ledger.Output
	records  int64
	batches  int // files of finished batches
	overflow map[overflowKey]int64
}

func (e *exported) add(r export.FileResult) { e.files = append(e.files, r) }

// exportPending exports everything that is stored and not exported, batch by
// batch, an unfinished batch of an earlier run first.
func (a *app) exportPending(ctx context.Context, s *store, reading record.ReaderOptions, of readerOf, p *progress) (*exported, error) {
	done := &exported{overflow: map[overflowKey]int64{}}
	x, err := a.exporter(ctx, s, reading, of, p, done)
	if err != nil {
		return done, err
	}
	for {
		now, lease := s.lease(a)
		batch, ok, err := s.ledger.PlanBatch(ctx, now, s.owner(), lease, batchFiles, batchBytes)
		if err != nil || !ok {
			a.overflowEvents(a.pace.clock.Now(), done)
			return done, err
		}
		if err := s.checkOurs(ctx, batch.ID); err != nil {
			return done, err
		}
		var result export.Result
		err = s.holding(ctx, batch, func(ctx context.Context) (err error) {
			if result, err = x.Run(ctx, batch); err != nil {
				return err
			}
			return s.ledger.FinishBatch(ctx, a.pace.clock.Now(), batch.BatchClaim, result.Outputs, result.Inputs)
		})
		if errors.Is(err, ledger.ErrLeaseLost) {
			continue // another node has it, and finds what was published
		}
		if err != nil {
			return done, err
		}
		done.outputs = append(done.outputs, result.Outputs...)
		done.records += result.Records
		done.batches += len(batch.Inputs)
	}
}

// exportedFile reports a file that could not be exported whole.
func (a *app) exportedFile(now time.Time, r export.FileResult) {
	if r.State == ledger.Quarantined || r.Rejected > 0 {
		a.events.Emit(event.FileQuarantined(now, r.Input.Device, r.Input.Name, r.Reason))
	}
	if r.Unknown > 0 {
		a.events.Emit(event.UnknownFields(now, r.Input.Device, r.Input.Name, r.UnknownNames, r.Unknown))
	}
}

func (a *app) overflowEvents(now time.Time, e *exported) {
	for k, n := range e.overflow {
		a.events.Emit(event.CounterOverflow(now, k.device, k.file, k.record, n))
	}
}

// prepare brings a store to order after a crash, and refuses to work without
// the memory of earlier runs.
func (a *app) prepare(ctx context.Context, s *store, rebuild bool, reading record.ReaderOptions) error {
	x, err := a.exporter(ctx, s, reading, nil, a.progress(), &exported{overflow: map[overflowKey]int64{}})
	if err != nil {
		return err
	}
	if err := s.tidy(ctx, x); err != nil {
		return err
	}
	found, err := s.forgotten(ctx)
	switch {
	case err != nil:
		return err
	case found != "" && !rebuild:
		return &lostLedgerError{path: s.ledger.Path(), found: found, command: "add --rebuild-ledger to this command"}
	case found != "":
		return a.rebuild(ctx, s, reading)
	}
	return nil
}

// rebuild makes the ledger of a store that is held anew and opens it. A shared
// one is empty, and is filled.
func (a *app) rebuild(ctx context.Context, s *store, reading record.ReaderOptions) error {
	path := s.ledger.Path()
	p := place{data: s.root, depot: s.depot, dataset: s.path(s.dataset), quarantine: s.path(s.quarantine),
		state: filepath.Dir(path), ledger: path, reading: reading}
	if s.ledger.Shared() {
		p.state = s.root
	}
	o, err := a.auditOptions(p, checkFlags{})
	if err != nil {
		return err
	}
	if s.ledger.Shared() {
		return a.rebuildHeld(ctx, p, o, s.ledger)
	}
	if err := s.ledger.Close(); err != nil {
		return err
	}
	if err := a.rebuildHeld(ctx, p, o, nil); err != nil {
		return err
	}
	s.ledger, err = ledger.Open(ctx, path)
	return err
}

// keeps tells whether a file below an archive or a dataset is the work of an
// earlier run.
func keeps(name string) bool {
	base := filepath.Base(name)
	if strings.HasSuffix(base, ".parquet") {
		return true
	}
	n, err := rollover.ParseName(base)
	return err == nil && n.Prefix == rollover.Act
}

// sum returns the SHA-256 and size of a file that nobody promises anything
// about; durable.Sum is for files we wrote.
func sum(name string) (string, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
