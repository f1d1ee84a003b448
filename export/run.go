package export

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strings"

	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/record"
)

// errSpilled tells that a broken input has rows in an output already, so that
// the batch has to start again without it.
var errSpilled = errors.New("a broken file has rows in an output")

// run is one pass over a batch.
type run struct {
	x         *Exporter
	ctx       context.Context
	batch     ledger.Batch
	store     *store
	rec       record.Record
	careful   bool // each input is read to its end before any row of it is kept
	files     []FileResult
	overflow  [][]Overflow // of each file
	truncated map[ledgerKey]bool
	records   int64
}

// Run exports a batch: it reads every input, in the order of device, name and
// hash whatever their order in the batch, publishes the outputs and refreshes
// the sidecars. When it returns without an error, everything in the Result is
// durable and may be recorded; after an error nothing may.
//
// The ID must be that of the inputs, see ledger.BatchID. Two processes that run
// the same batch at once publish it once.
func (x *Exporter) Run(ctx context.Context, batch ledger.Batch) (res Result, err error) {
	inputs := slices.Clone(batch.Inputs)
	slices.SortFunc(inputs, compareInputs)
	if err := checkBatch(batch.ID, inputs); err != nil {
		return Result{}, &Error{Op: "check batch", Err: err}
	}
	batch.Inputs = inputs
	if err := durable.MkdirAll(x.o.staging()); err != nil {
		return Result{}, &Error{Op: "create dataset", Path: x.o.Dataset, Err: err}
	}
	r := &run{x: x, ctx: ctx, batch: batch, truncated: map[ledgerKey]bool{}}
	if err := x.prepare(r); err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, r.abandon()) }()
	if err := r.readAll(); err != nil {
		return Result{}, err
	}
	return r.publish()
}

// readAll reads all inputs, a second time if a broken one has rows in an output.
func (r *run) readAll() error {
	err := r.read()
	if errors.Is(err, errSpilled) {
		if err := r.abandon(); err != nil {
			return err
		}
		r.careful = true
		err = r.read()
	}
	return err
}

// prepare gives r the store, which the Exporter keeps for its buffers.
func (x *Exporter) prepare(r *run) error {
	if x.store == nil {
		s, err := newStore(x.o.Reader.Catalogue, x.o.Memory)
		if err != nil {
			return &Error{Op: "configure export", Err: err}
		}
		x.store = s
	}
	r.store = x.store
	r.store.reset()
	r.store.open = func(p *part) (*output, error) { return x.stage(p, r.batch.ID) }
	return nil
}

func compareInputs(a, b ledger.Input) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Name, b.Name), cmp.Compare(a.SHA256, b.SHA256))
}

// checkBatch reports what makes a batch unusable; inputs are sorted.
func checkBatch(id string, inputs []ledger.Input) error {
	if len(inputs) == 0 {
		return errors.New("no inputs")
	}
	seen := make(map[ledgerKey]bool, len(inputs))
	for _, in := range inputs {
		k := ledgerKey{in.Device, in.SHA256}
		if b, err := hex.DecodeString(in.SHA256); err != nil || len(b) != sha256.Size || strings.ToLower(in.SHA256) != in.SHA256 {
			return fmt.Errorf("input %s: %s is not a SHA-256 in lower case hex", quote(in.Name), quote(in.SHA256))
		}
		if in.Device == "" || in.Name == "" {
			return fmt.Errorf("input %s of device %s: both need a name", quote(in.Name), quote(in.Device))
		}
		if seen[k] {
			return fmt.Errorf("input %s of device %s: its content is in the batch twice", quote(in.Name), quote(in.Device))
		}
		seen[k] = true
	}
	if want := ledger.BatchID(inputs); id != want {
		return fmt.Errorf("id %s is not that of the inputs, %s", quote(id), want)
	}
	return nil
}

// read reads all inputs into the store.
func (r *run) read() error {
	r.files, r.overflow, r.records = r.files[:0], r.overflow[:0], 0
	clear(r.truncated)
	for _, in := range r.batch.Inputs {
		res, err := r.input(in)
		if err != nil {
			return err
		}
		r.files = append(r.files, res)
		r.overflow = append(r.overflow, r.store.counts.overflow)
		r.records += res.Records
		if r.x.o.Hooks.OnProgress != nil {
			r.x.o.Hooks.OnProgress(len(r.files), r.records)
		}
	}
	return nil
}

// input reads one input. An error ends the run; what is wrong with the input
// itself is in the result.
func (r *run) input(in ledger.Input) (FileResult, error) {
	if r.careful {
		res, err := r.pass(in, false)
		if err != nil || res.State == ledger.Quarantined {
			return res, err
		}
	}
	return r.pass(in, true)
}

// pass reads one input to its end. If keep is set its rows and rejects are
// kept, or none of them.
func (r *run) pass(in ledger.Input, keep bool) (res FileResult, err error) {
	fatal := func(op string, err error) (FileResult, error) {
		return FileResult{}, &Error{Op: op, Device: in.Device, File: in.Name, Err: err}
	}
	src, err := r.x.o.Open(in)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		r.store.begin(source{})
		return quarantined(in, "open: "+clip(err.Error(), maxText), ""), nil
	}
	if err != nil {
		return fatal("open input", err)
	}
	f := &inputFile{run: r, reader: r.x.readerFor(in), in: in, keep: keep, src: &hashingReader{r: src, h: sha256.New()}}
	res, err = f.read()
	err = errors.Join(err, f.rejects.abort(), src.Close())
	if err != nil {
		return fatal("read input", err)
	}
	return res, nil
}

func quarantined(in ledger.Input, reason, hint string) FileResult {
	return FileResult{Input: in, State: ledger.Quarantined, Reason: reason, Hint: hint}
}

// publish makes all outputs durable and then visible.
func (r *run) publish() (Result, error) {
	res := Result{Files: r.files}
	parts, err := r.stageAll()
	if err != nil {
		return Result{}, err
	}
	if err := r.ctx.Err(); err != nil {
		return Result{}, err
	}
	if err := r.publishAll(parts, &res); err != nil {
		return Result{}, err
	}
	if err := r.x.WriteSidecars(r.ctx); err != nil {
		return Result{}, err
	}
	if res.Records != r.records {
		return Result{}, &Error{Op: "check result", Path: r.x.o.Dataset,
			Err: fmt.Errorf("%d rows were published, %d were read", res.Records, r.records)}
	}
	for i, f := range r.files {
		res.Inputs = append(res.Inputs, ledger.InputResult{
			Device: f.Input.Device, SHA256: f.Input.SHA256, State: f.State, Reason: f.Reason, Records: f.Records,
		})
		r.report(f, r.overflow[i])
	}
	return res, nil
}

// publishAll gives every staged file its name. A name that is taken by the same
// content was published by an earlier run: it is adopted.
func (r *run) publishAll(parts []*part, res *Result) error {
	files := make([]depot.File, len(parts))
	for i, p := range parts {
		files[i] = depot.File{Path: p.outputPath(r.batch.ID), Local: p.out.temp.Path(), SHA256: p.out.sum(), Size: p.out.temp.Size()}
	}
	placed, err := r.place(parts, files)
	if err != nil {
		return &Error{Op: "publish outputs", Path: r.x.o.Dataset, Err: err}
	}
	for i, p := range parts {
		f := files[i]
		switch placed[i].Outcome {
		case depot.Taken:
			return &Error{Op: "publish output", Path: r.x.o.outputName(f.Path),
				Err: fmt.Errorf("%w: SHA-256 %s, expected %s", ErrConflict, placed[i].SHA256, f.SHA256)}
		case depot.Same:
			res.Adopted++
		}
		res.Outputs = append(res.Outputs, ledger.Output{
			Path: f.Path, SHA256: f.SHA256, Rows: p.out.file.Rows(), Record: p.ds.table.Name, Date: p.date(),
		})
		res.Records += p.out.file.Rows()
	}
	return nil
}

// place publishes files, which are those of the parts: in a directory one after
// the other, in a bucket all in one moment. One that was published and replaced
// since by another file stays away.
func (r *run) place(parts []*part, files []depot.File) ([]depot.Placement, error) {
	if len(files) == 0 {
		return nil, nil
	}
	if d, ok := r.x.o.Outputs.(*depot.Dir); ok {
		return publishInDir(r.ctx, d, files)
	}
	data := make([]DataFile, len(files))
	for i, f := range files {
		at, ok := ParsePath(f.Path)
		if !ok {
			return nil, fmt.Errorf("path %q is not that of a data file", f.Path)
		}
		at.Rows, at.Bytes, at.SHA256 = parts[i].out.file.Rows(), f.Size, f.SHA256
		data[i] = at
	}
	return publishInBucket(r.ctx, r.x.o.Outputs, data, files, r.x.o.Now())
}

// stageAll writes what is buffered and finishes every staged file. Nothing is
// visible yet.
func (r *run) stageAll() ([]*part, error) {
	parts, err := r.flushAll()
	if err != nil {
		return nil, err
	}
	info := batchInfo{ID: r.batch.ID}
	for _, p := range parts {
		info.Outputs = append(info.Outputs, p.outputPath(r.batch.ID))
	}
	for _, p := range parts {
		if err := r.ctx.Err(); err != nil {
			return nil, err
		}
		err := p.out.finish(r.x, columns.KeyValue{Key: metaBatch, Value: toJSON(info)},
			columns.KeyValue{Key: metaSources, Value: toJSON(p.out.sourceList(r.truncated))})
		if err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// flushAll writes what is buffered and returns the parts that have rows.
func (r *run) flushAll() ([]*part, error) {
	var parts []*part
	for _, p := range r.store.parts() {
		if err := r.store.flush(p); err != nil {
			return nil, err
		}
		if p.out != nil {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// report calls the hooks for one file.
func (r *run) report(f FileResult, overflow []Overflow) {
	h := r.x.o.Hooks
	for _, o := range overflow {
		if h.OnOverflow != nil {
			o.Device, o.File = f.Input.Device, f.Input.Name
			h.OnOverflow(o)
		}
	}
	if h.OnFile != nil {
		h.OnFile(f)
	}
}

// abandon removes what is staged and not published, and forgets all rows.
func (r *run) abandon() error {
	var err error
	for _, p := range r.store.parts() {
		if p.out != nil {
			err = errors.Join(err, p.out.temp.Abort())
		}
	}
	r.store.reset()
	if err != nil {
		return &Error{Op: "remove staged files", Path: r.x.o.staging(), Err: err}
	}
	return nil
}

// hashingReader hashes what goes through it.
type hashingReader struct {
	r   io.Reader
	h   hash.Hash
	err error // of r, but io.EOF
}

func (r *hashingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.h.Write(p[:n])
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
