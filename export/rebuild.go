package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"acctpull/internal/columns"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// Rebuilt is what a rebuild makes of a dataset: the rows of some accounting files
// as reading them gives now, in the place of those that were there.
type Rebuilt struct {
	// Files are all inputs, by device, name and hash.
	Files []RebuiltFile `json:"files"`
	// Removed are the data files that went, Added those that came: new rows, and
	// files that went with what they had of other inputs.
	Removed []RemovedFile   `json:"removed"`
	Added   []ledger.Output `json:"added"`
}

// RebuiltFile is what became of one input.
type RebuiltFile struct {
	// FileResult is as of an export. If its State is ledger.Quarantined the file
	// cannot be read now: its rows stay as they were.
	FileResult
	// Before and After count its rows in each partition.
	Before, After []Share
}

// RemovedFile is a data file with rows of the inputs.
type RemovedFile struct {
	DataFile
	// Old counts those rows, Kept the rows of others, which are written again.
	Old  int64 `json:"old"`
	Kept int64 `json:"kept"`
}

// Rows is the sum of some shares.
func Rows(shares []Share) int64 {
	n := int64(0)
	for _, s := range shares {
		n += s.Rows
	}
	return n
}

// PlanRebuild tells which data files have rows of the inputs, and would be
// replaced. It reads no input.
func (x *Exporter) PlanRebuild(ctx context.Context, inputs []ledger.Input) ([]RemovedFile, error) {
	held, err := x.holders(ctx, inputSet(inputs))
	if err != nil {
		return nil, err
	}
	list := make([]RemovedFile, 0, len(held))
	for _, h := range held {
		list = append(list, h.RemovedFile)
	}
	return list, nil
}

// inputSet is the identities of inputs.
func inputSet(inputs []ledger.Input) map[ledgerKey]bool {
	set := make(map[ledgerKey]bool, len(inputs))
	for _, in := range inputs {
		set[ledgerKey{in.Device, in.SHA256}] = true
	}
	return set
}

// holder is a data file with rows of inputs.
type holder struct {
	RemovedFile
	shares map[ledgerKey]int64 // rows of each input in it
	cut    []Source            // the truncated sources of the rows that are kept
}

// holders returns the data files of record tables that have rows of the inputs,
// by path.
func (x *Exporter) holders(ctx context.Context, inputs map[ledgerKey]bool) ([]holder, error) {
	snapshot, err := ReadSnapshot(ctx, x.o.Outputs)
	if err != nil {
		return nil, err
	}
	var list []holder
	for _, f := range snapshot.Files {
		if !IsRecordTable(x.o.Reader.Catalogue, f.Table) {
			continue
		}
		sources, err := SourcesOf(ctx, x.o.Outputs, f.Path, time.Time{}, time.Time{})
		if err != nil {
			return nil, err
		}
		h := holder{RemovedFile: RemovedFile{DataFile: f}, shares: map[ledgerKey]int64{}}
		for _, s := range sources {
			k := ledgerKey{s.Device, s.SHA256}
			switch {
			case inputs[k]:
				h.Old += s.Records
				h.shares[k] += s.Records
			case s.Truncated:
				h.cut = append(h.cut, s)
				fallthrough
			default:
				h.Kept += s.Records
			}
		}
		if h.DataFile.Rows = h.Old + h.Kept; h.Old > 0 {
			list = append(list, h)
		}
	}
	return list, nil
}

// rebuild is one Rebuild under way.
type rebuild struct {
	x      *Exporter
	ctx    context.Context
	dir    string // where finished files wait
	held   []holder
	drop   map[ledgerKey]bool // inputs whose rows are replaced
	after  map[ledgerKey][]Share
	staged []heldFile
	res    Rebuilt
}

// heldFile is a finished data file that waits to be published.
type heldFile struct {
	Output ledger.Output `json:"output"` // Path is filled in last
	Local  string        `json:"local"`  // name in the directory of the rebuild
	Size   int64         `json:"size"`
	// Instead is the data file that it takes the place of, as far as its rows are
	// those of others; "" for new rows.
	Instead string `json:"instead,omitempty"`
}

// How many inputs are read together: what one data file for each record and day
// is made of.
const (
	rebuildFiles = 4096
	rebuildBytes = 1 << 30
)

// Rebuild reads the inputs again and puts what they give in the place of their
// rows, whatever data files have these. Inputs that cannot be read keep their
// rows. Rows of other files stay as they are, in files that are written anew
// where they shared one with an input; that they are the same is proved from the
// bytes on the disk before anything is replaced.
//
// Then the files are replaced, and record is called when readers see the new
// ones; both are repeated by [Exporter.ResumeRebuild] if the process is killed in
// between. Until then a kill leaves the dataset as it was.
//
// The caller makes sure that the inputs are in no batch under way, that nobody
// else rebuilds, and that ResumeRebuild was called before. ErrStale means that
// another has replaced some of the files meanwhile, a compaction for example:
// resume it.
func (x *Exporter) Rebuild(ctx context.Context, inputs []ledger.Input, record func(context.Context, Rebuilt) error) (Rebuilt, error) {
	inputs = slices.Clone(inputs)
	slices.SortFunc(inputs, compareInputs)
	if err := checkBatch(ledger.BatchID(inputs), inputs); err != nil {
		return Rebuilt{}, &Error{Op: "check inputs of the rebuild", Err: err}
	}
	r := &rebuild{x: x, ctx: ctx, dir: x.o.rebuilding(), drop: inputSet(inputs), after: map[ledgerKey][]Share{}}
	if err := r.clear(); err != nil {
		return Rebuilt{}, err
	}
	var err error
	if r.held, err = x.holders(ctx, r.drop); err != nil {
		return Rebuilt{}, err
	}
	for part := range chunks(inputs) {
		if err := r.restage(part); err != nil {
			return Rebuilt{}, err
		}
	}
	if err := r.rewriteAll(); err != nil {
		return Rebuilt{}, err
	}
	r.results()
	j, err := r.plan()
	if err != nil {
		return Rebuilt{}, err
	}
	if err := j.save(x.o.rebuilding()); err != nil {
		return Rebuilt{}, err
	}
	return j.Result, x.commit(ctx, j, record)
}

// chunks yields the inputs in pieces that are read together.
func chunks(inputs []ledger.Input) func(func([]ledger.Input) bool) {
	return func(yield func([]ledger.Input) bool) {
		for len(inputs) > 0 {
			n, bytes := 0, int64(0)
			for n < min(len(inputs), rebuildFiles) && (n == 0 || bytes+inputs[n].Size <= rebuildBytes) {
				bytes += inputs[n].Size
				n++
			}
			if !yield(inputs[:n]) {
				return
			}
			inputs = inputs[n:]
		}
	}
}

// rebuildDir is where a rebuild keeps finished files until they are published,
// below the dataset root and on its file system.
const rebuildDir = ".rebuild"

func (o *Options) rebuilding() string { return filepath.Join(o.Dataset, rebuildDir, o.Node) }

// restage reads inputs as an export would, and keeps the data files.
func (r *rebuild) restage(inputs []ledger.Input) (err error) {
	x := r.x
	pass := &run{x: x, ctx: r.ctx, truncated: map[ledgerKey]bool{}}
	pass.batch.ID, pass.batch.Inputs = ledger.BatchID(inputs), inputs
	if err := durable.MkdirAll(x.o.staging()); err != nil {
		return &Error{Op: "create staging directory", Path: x.o.staging(), Err: err}
	}
	if err := x.prepare(pass); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pass.abandon()) }()
	if err := pass.readAll(); err != nil {
		return err
	}
	parts, err := pass.flushAll()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		sources := p.out.sourceList(pass.truncated)
		if err := p.out.finish(x, madeOf(sources)...); err != nil {
			return err
		}
		table := p.ds.table.Name
		for _, s := range sources {
			k := ledgerKey{s.Device, s.SHA256}
			r.after[k] = append(r.after[k], Share{table, p.date(), s.Records})
		}
		if err := r.keep(p.out.temp, ledger.Output{SHA256: p.out.sum(), Rows: p.out.file.Rows(), Record: table, Date: p.date()}, ""); err != nil {
			return err
		}
	}
	for _, f := range pass.files {
		r.res.Files = append(r.res.Files, RebuiltFile{FileResult: f})
		if f.State != ledger.Exported {
			delete(r.drop, ledgerKey{f.Input.Device, f.Input.SHA256})
		}
	}
	return nil
}

// keep gives a finished file a name that outlives this process.
func (r *rebuild) keep(temp *durable.File, o ledger.Output, instead string) error {
	name := fmt.Sprintf("%05d-%s.part", len(r.staged), o.SHA256[:16])
	if err := temp.Publish(filepath.Join(r.dir, name)); err != nil {
		return &Error{Op: "keep staged file", Path: temp.Path(), Err: err}
	}
	r.staged = append(r.staged, heldFile{Output: o, Local: name, Size: temp.Size(), Instead: instead})
	return nil
}

// clear makes the directory of the rebuild, and empties it.
func (r *rebuild) clear() error {
	if err := durable.MkdirAll(r.dir); err != nil {
		return &Error{Op: "create directory of the rebuild", Path: r.dir, Err: err}
	}
	return r.x.clearRebuild()
}

// results completes the list of inputs.
func (r *rebuild) results() {
	for i := range r.res.Files {
		f := &r.res.Files[i]
		k := ledgerKey{f.Input.Device, f.Input.SHA256}
		for _, h := range r.held {
			if n := h.shares[k]; n > 0 {
				f.Before = addShare(f.Before, Share{h.Table, h.Date, n})
			}
		}
		f.After = f.Before
		if f.State == ledger.Exported {
			f.After = nil
			for _, s := range r.after[k] {
				f.After = addShare(f.After, s)
			}
		}
	}
}

// addShare adds rows to the share of a partition.
func addShare(list []Share, s Share) []Share {
	i, found := slices.BinarySearchFunc(list, s, compareShares)
	if found {
		list[i].Rows += s.Rows
		return list
	}
	return slices.Insert(list, i, s)
}

// plan decides what is removed and what is added. A file that comes out as it is
// there already stays.
func (r *rebuild) plan() (_ *journal, err error) {
	j := &journal{Format: journalFormat, Result: r.res}
	gone := map[string]map[string]string{} // by partition and hash: paths
	partition := func(o ledger.Output) string { return PartitionPath(o.Record, SchemaVersion, o.Date) }
	for _, h := range r.held {
		if !r.replaces(h) {
			continue
		}
		sum, _, err := r.x.o.Outputs.Sum(r.ctx, h.Path)
		if err != nil {
			return nil, &Error{Op: "read data file", Path: h.Path, Err: err}
		}
		h.SHA256 = sum
		p := partitionOf(h.Path)
		if gone[p] == nil {
			gone[p] = map[string]string{}
		}
		gone[p][sum] = h.Path
		j.Result.Removed = append(j.Result.Removed, h.RemovedFile)
	}
	for _, s := range r.staged {
		if old := gone[partition(s.Output)][s.Output.SHA256]; old != "" {
			delete(gone[partition(s.Output)], s.Output.SHA256)
			j.Result.Removed = slices.DeleteFunc(j.Result.Removed, func(f RemovedFile) bool { return f.Path == old })
			continue
		}
		j.Add = append(j.Add, s)
	}
	for i := range j.Add {
		o := &j.Add[i].Output
		if o.Path, err = r.path(partition(*o), *o, gone[partition(*o)]); err != nil {
			return nil, err
		}
		j.Result.Added = append(j.Result.Added, *o)
	}
	return j, nil
}

// replaces reports whether a data file has rows that are replaced.
func (r *rebuild) replaces(h holder) bool {
	for k := range h.shares {
		if r.drop[k] {
			return true
		}
	}
	return false
}

// path makes the path of a file from its content, and from what it replaces in its
// partition and how often something was replaced there before: a path is never
// used a second time, even if a file gets the content back that it once had.
func (r *rebuild) path(partition string, o ledger.Output, gone map[string]string) (string, error) {
	history, err := ReadHistory(r.ctx, r.x.o.Outputs, partition)
	if err != nil {
		return "", err
	}
	replaced := append(slices.Collect(maps.Values(gone)), "after "+strconv.Itoa(len(history)))
	return MadePath(o.Record, SchemaVersion, o.Date, o.SHA256, replaced), nil
}

// madeOf is the metadata of a file of these sources.
func madeOf(sources []Source) []columns.KeyValue {
	inputs := make([]string, len(sources))
	var cut []Source
	for i, s := range sources {
		inputs[i] = s.Device + "\t" + s.SHA256
		if s.Truncated {
			cut = append(cut, s)
		}
	}
	return NewMade(ReasonRebuild, inputs).Metadata(cut)
}
