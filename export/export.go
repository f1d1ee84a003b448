// Package export turns accounting files into a dataset of typed Parquet files:
// one directory per record name with one fixed schema, partitioned by the UTC
// date of the interval end. docs/formats/dataset.md describes what readers see.
//
// A batch of input files becomes one output file per record name and day. Its
// bytes and its name follow from the set of inputs alone, so an export that is
// repeated after a crash finds its own earlier result and adopts it: together
// with a ledger that fixes the batch beforehand, every record is published
// exactly once. An output appears complete and durable or not at all.
//
// The rows of a file are published only if the file ended cleanly. A broken
// file leaves no row; a record that is unusable in a sound file goes to the
// quarantine directory with its reason, and the rest of the file is exported.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/record"
)

// DefaultMemory is the sort buffer if Options.Memory is 0. It holds a row group
// of 14 counters.
const DefaultMemory = 16 << 20

// stagingDir is where outputs are written, below the dataset root and on its
// file system. Its name keeps every reader out.
const stagingDir = ".staging"

// Options say what an [Exporter] reads and where it writes.
type Options struct {
	// Dataset is the local root directory of the dataset, created if it is
	// missing. Outputs are staged below it.
	Dataset string
	// Outputs is where outputs are published, by their paths in the dataset;
	// nil is Dataset itself.
	Outputs depot.Depot
	// Open opens an input: its bytes as pulled, gzip unless the name ends in
	// ".xml". If the error matches fs.ErrNotExist or fs.ErrPermission, that
	// input is quarantined and the others go on; any other error ends the run.
	Open func(ledger.Input) (io.ReadCloser, error)
	// Quarantine is the local directory for unusable records, created when the
	// first one is met, and Rejects where their files are published; nil is
	// Quarantine itself.
	Quarantine string
	Rejects    depot.Depot
	// Node names this process among those that export to the dataset at the
	// same time, as a directory name; what it stages lies apart from what they
	// do. "" if it is the only one.
	Node string
	// Reader is how files are read; File is set for each input. With Salvage
	// the complete records of a truncated file are exported.
	Reader record.ReaderOptions
	// ReaderFor is how the files of one device are read, nil if that is as
	// Reader says. The same pointer stands for the same way. Its Catalogue is
	// that of Reader, because the datasets are. Nil: Reader holds for all.
	ReaderFor func(device string) *record.ReaderOptions
	// Salvage tells of an input whether its complete records are exported if
	// it is cut off, whatever Reader and ReaderFor say. Nil: as these say.
	Salvage func(ledger.Input) bool
	// Identify tells the accounting policy and file id that a file name says,
	// 0 for what it does not say. It is asked when the file itself does not
	// say. Nil means that names say nothing.
	Identify func(name string) (policy, fileID int)
	// Facts makes what the ledger keeps of a file from reading it, for
	// FileResult.Facts. Nil: nobody wants it.
	Facts func(h record.Header, s record.Stats, name string) *ledger.Facts
	// Finished tells what the ledger has of an output of a finished batch, for
	// what replaces such outputs: see ReplaceOptions.
	Finished func(path string) (out ledger.Output, ok bool)
	// Version goes into the metadata of every output, "" if unknown. Outputs
	// of two versions differ in bytes.
	Version string
	// Memory bounds the sort buffer in bytes; 0 means DefaultMemory. The
	// process needs about 25 MB beside it.
	Memory int
	// Derived are the schemas of tables that others make in this dataset, for
	// the documents in its root.
	Derived []*Table
	// Devices tells what became of the files of each device, for README.md; nil
	// leaves that part out.
	Devices func(context.Context) ([]DeviceFiles, error)
	// Now tells the time that a manifest and README.md carry; nil is time.Now.
	Now   func() time.Time
	Hooks Hooks
}

// Hooks are told what happens. They are called one at a time from Run and
// should return quickly. Each may be nil.
type Hooks struct {
	// OnFile is called for each input when its fate is known.
	OnFile func(FileResult)
	// OnOverflow is called for numbers above 2^63-1, at most 16 per file.
	OnOverflow func(Overflow)
	// OnProgress is called after each input with the number of inputs read
	// and rows added so far.
	OnProgress func(files int, records int64)
}

// FileResult is what became of one input.
type FileResult struct {
	Input ledger.Input
	// State is ledger.Exported or ledger.Quarantined.
	State ledger.State
	// Reason says why the file is quarantined, or what is to be known about an
	// exported one: "" if all is well.
	Reason string
	// Hint says what a person can do, "" if nothing is known.
	Hint string
	// Records counts the rows exported from this file.
	Records int64
	// Rejected counts the records in Rejects, the name of a file of JSON lines
	// in the quarantine.
	Rejected int64
	Rejects  string
	// Repeated counts records whose object had a record with the same or a
	// later interval end before, in this file. They are exported as they are.
	Repeated int64
	// Overflows counts numbers above 2^63-1.
	Overflows int64
	// Unknown counts the fields and sub-records that neither catalogue nor
	// profile knows, UnknownNames are the first of their names. Those on
	// records are kept in the column unknown_fields.
	Unknown      int64
	UnknownNames []string
	// Empty counts counters that were there without content; they are NULL.
	Empty int64
	// Truncated tells that the file was cut off and salvaged.
	Truncated bool
	// Facts is what the file says about itself, if Options.Facts is set.
	Facts *ledger.Facts
}

// Clean reports whether every record of the file is in the dataset and nothing
// is to be known about it.
func (r FileResult) Clean() bool { return r.State == ledger.Exported && r.Reason == "" }

// maxOverflows is how many overflows of one file are reported one by one.
const maxOverflows = 16

// Overflow is a number that does not fit into its column, which is NULL in that
// row; the exact text is in the overflow column.
type Overflow struct {
	Device, File string
	Record       string
	Column       string
	Value        string // decimal
	End          time.Time
	Offset       int64 // of the record in the decompressed file
}

// Result is the outcome of a run, in the form that ledger.FinishBatch takes.
type Result struct {
	Outputs []ledger.Output
	Inputs  []ledger.InputResult
	Files   []FileResult // of each input, in the order of device, name and hash
	Records int64        // rows published
	Adopted int          // outputs that were there already, from an earlier run of the batch
}

// Exporter exports batches. It may be used by one goroutine at a time.
type Exporter struct {
	o       Options
	reader  reader
	readers map[*record.ReaderOptions]reader // of devices that are read in their own way
	store   *store
	wrap    func(io.Writer) io.Writer // around every output; only tests set it
}

// reader is what the Exporter asks of record.Reader.
type reader interface {
	Reset(src io.Reader, file string)
	ResetXML(src io.Reader, file string)
	Next(*record.Record) error
	Header() record.Header
	Stats() record.Stats
}

// New returns an Exporter. It touches no file.
func New(o Options) (*Exporter, error) {
	var errs []error
	if o.Dataset == "" {
		errs = append(errs, errors.New("no dataset directory"))
	}
	if o.Open == nil {
		errs = append(errs, errors.New("no way to open inputs"))
	}
	if o.Quarantine == "" {
		errs = append(errs, errors.New("no quarantine directory"))
	}
	if o.Memory < 0 {
		errs = append(errs, fmt.Errorf("memory of %d bytes", o.Memory))
	}
	if len(errs) > 0 {
		return nil, &Error{Op: "configure export", Err: errors.Join(errs...)}
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Outputs == nil {
		o.Outputs = depot.NewDir(o.Dataset)
	}
	if o.Rejects == nil {
		o.Rejects = depot.NewDir(o.Quarantine)
	}
	if o.Reader.Catalogue == nil {
		o.Reader.Catalogue = record.Builtin()
	}
	return &Exporter{o: o, reader: record.NewReader(o.Reader), readers: map[*record.ReaderOptions]reader{}}, nil
}

// readerFor returns the reader of an input.
func (x *Exporter) readerFor(in ledger.Input) reader {
	if x.o.Salvage == nil || !x.o.Salvage(in) {
		return x.readerOf(in.Device)
	}
	o := x.o.Reader
	if x.o.ReaderFor != nil {
		if own := x.o.ReaderFor(in.Device); own != nil {
			o = *own
			o.Catalogue = x.o.Reader.Catalogue
		}
	}
	o.Salvage = true
	return record.NewReader(o)
}

// readerOf returns the reader of a device's files.
func (x *Exporter) readerOf(device string) reader {
	if x.o.ReaderFor == nil {
		return x.reader
	}
	o := x.o.ReaderFor(device)
	if o == nil {
		return x.reader
	}
	r, ok := x.readers[o]
	if !ok {
		own := *o
		own.Catalogue = x.o.Reader.Catalogue
		r = record.NewReader(own)
		x.readers[o] = r
	}
	return r
}

// staging is the directory of outputs in the making.
func (o *Options) staging() string { return filepath.Join(o.Dataset, stagingDir, o.Node) }

// rejecting is the directory of rejected records in the making.
func (o *Options) rejecting() string {
	if o.Node == "" {
		return o.Quarantine
	}
	return filepath.Join(o.Quarantine, stagingDir, o.Node)
}

// RemoveLeftoversOf removes what nodes that are gone left in the making, and
// returns the number of nodes that left something. living tells of a name that
// Options.Node had whether it may still be at work.
func (x *Exporter) RemoveLeftoversOf(living func(node string) bool) (int, error) {
	total := 0
	for _, root := range []string{x.o.Dataset, x.o.Quarantine} {
		dir := filepath.Join(root, stagingDir)
		found, err := os.ReadDir(dir)
		if err != nil && !isMissing(err) {
			return total, &Error{Op: "remove leftovers", Path: dir, Err: err}
		}
		for _, e := range found {
			if !e.IsDir() || living(e.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return total, &Error{Op: "remove leftovers", Path: filepath.Join(dir, e.Name()), Err: err}
			}
			total++
		}
	}
	return total, nil
}

// RemoveLeftovers removes the staged files that a crash left in the dataset and
// in the quarantine directory, and returns their number. The caller must hold
// the lock that keeps other exporters out.
func (x *Exporter) RemoveLeftovers() (int, error) {
	total := 0
	for _, dir := range []string{x.o.staging(), x.o.rejecting()} {
		n, err := durable.RemoveLeftovers(dir)
		total += n
		if err != nil && !isMissing(err) {
			return total, &Error{Op: "remove leftovers", Path: dir, Err: err}
		}
	}
	return total, nil
}

// outputName is how a person finds a published file: its path in the dataset,
// below the directory if that is where outputs are.
func (o *Options) outputName(path string) string {
	return nameIn(o.Outputs, path)
}

// nameIn is how a person finds a file of a depot.
func nameIn(r depot.Reader, path string) string {
	if d, ok := r.(*depot.Dir); ok {
		return filepath.Join(d.Root(), filepath.FromSlash(path))
	}
	return path
}

// createdBy is the writer's name in the footer of every output.
func (o *Options) createdBy() string {
	if o.Version == "" {
		return "acctpull"
	}
	return "acctpull version " + strings.Map(func(r rune) rune {
		if r == '(' || r == ')' { // these delimit the build in the form that readers parse
			return -1
		}
		return r
	}, o.Version)
}
