// Package audit proves archive, ledger and dataset of a data directory against
// each other: every byte that somebody has a digest of is read back from the
// disk, every file must be known, every row must have its file, and the numbers
// of records must add up from the files of the devices to the rows of the
// dataset. It only reads, and needs nobody to be away: what looks wrong beside a
// running service is looked at again before it is reported.
//
// It also makes a ledger anew from archive, quarantine and dataset (Rebuild).
package audit

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// Kind says in a word what is wrong with a file.
type Kind string

// The kinds of findings.
const (
	// Damaged: its bytes are not those that were written.
	Damaged Kind = "damaged"
	// Missing: something speaks of it, and it is not there.
	Missing Kind = "missing"
	// Unknown: it is there, and nothing speaks of it.
	Unknown Kind = "unknown"
	// Contradiction: it is whole, and what two places say about it differs.
	Contradiction Kind = "contradiction"
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind Kind `json:"kind"`
	// File is the path relative to the data directory, or that of the
	// ledger.
	File string `json:"file"`
	// Device is whose file it is, "" if it is nobody's.
	Device string `json:"device,omitempty"`
	// What is wrong, in one line; Do is what a person can do about it.
	What string `json:"what"`
	Do   string `json:"do"`
}

// Content is what reading an accounting file to its end gives.
type Content struct {
	// Records can be used, Refused cannot.
	Records, Refused int64
	// Vague is set if the meaning of the file cannot be told, so that the
	// numbers say nothing. Truncated: it was cut off, and Records are whole.
	Vague, Truncated bool
	// Facts is what the ledger keeps of it, nil if that is not known.
	Facts *ledger.Facts
}

// Options say what is checked. Data, Dataset, Quarantine, Ledger and Read are
// required.
type Options struct {
	// Data is where the finished files are that paths of the ledger name.
	// Dataset and Quarantine are paths in it, because acctpull export has
	// them elsewhere than pull; "" is all of Data.
	Data                depot.Depot
	Dataset, Quarantine string
	// Ledger is what ledger.Open takes: the path of a file, or an address.
	// Lock is the lock file of whoever works with it, "" if there is none.
	Ledger, Lock string
	// Read reads an accounting file of a device to its end. An error says
	// that it is not whole, unless it comes from the operating system or
	// ctx. It is called from several goroutines.
	Read func(ctx context.Context, device, name string, src io.Reader) (Content, error)
	// Workers is how many files are read at a time; 0 is one for each CPU.
	Workers int
	// RemovedBefore tells that exported files whose names say that they were
	// made before it may have been removed from the archive. Zero: none.
	RemovedBefore time.Time
	// Waits are the pauses before what may be a change under way is looked at
	// again; after the last it is believed. Nil means DefaultWaits, or a short
	// one if nobody holds the data directory, or is at work on a shared ledger.
	Waits []time.Duration
	Hooks Hooks
}

// DefaultWaits give a running service the time to record what it published.
func DefaultWaits() []time.Duration {
	return []time.Duration{200 * time.Millisecond, 3 * time.Second, 10 * time.Second}
}

// Hooks are told what happens, one call at a time. Each may be nil.
type Hooks struct {
	// OnFinding is called for every finding, in no order that matters.
	OnFinding func(Finding)
	// OnDay is called for each device and day, in that order.
	OnDay func(Day)
	// OnProgress is called now and then.
	OnProgress func(Progress)
}

// Progress counts what was read so far.
type Progress struct {
	Files int
	Bytes int64
}

// Totals count files and records. Over a day, a device or a data directory
//
//	Seen = Fetched + Quarantined + Lost + Waiting + Removed
//	Read = Exported + Refused + Pending
//
// or something is wrong with a file.
type Totals struct {
	// Seen counts the rows of the ledger: every file of every listing.
	// Fetched are in the archive, read back and whole; Waiting are on the
	// device; Removed were removed from the archive after their export: they
	// have expired by retention, or went before Options.RemovedBefore.
	Seen        int `json:"files_seen"`
	Fetched     int `json:"files_fetched"`
	Quarantined int `json:"files_quarantined"`
	Lost        int `json:"files_lost"`
	Waiting     int `json:"files_waiting"`
	Removed     int `json:"files_removed"`
	// Read counts the records in files of the archive, Exported the rows of
	// the dataset that came from these, Refused the unusable records that
	// went to quarantine, Pending those of files that were not exported yet
	// or are in quarantine as a whole.
	Read     int64 `json:"records_read"`
	Exported int64 `json:"records_exported"`
	Refused  int64 `json:"records_refused"`
	Pending  int64 `json:"records_pending"`
}

func (t *Totals) add(o Totals) {
	t.Seen, t.Fetched, t.Quarantined, t.Lost = t.Seen+o.Seen, t.Fetched+o.Fetched, t.Quarantined+o.Quarantined, t.Lost+o.Lost
	t.Waiting, t.Removed = t.Waiting+o.Waiting, t.Removed+o.Removed
	t.Read, t.Exported, t.Refused, t.Pending = t.Read+o.Read, t.Exported+o.Exported, t.Refused+o.Refused, t.Pending+o.Pending
}

// Balanced reports whether both sums add up.
func (t Totals) Balanced() bool {
	return t.Seen == t.Fetched+t.Quarantined+t.Lost+t.Waiting+t.Removed && t.Read == t.Exported+t.Refused+t.Pending
}

// Day is what a device delivered on one day, by the names of its files.
type Day struct {
	Device string `json:"device"`
	// Day is YYYY-MM-DD in the clock of the device, "" for names without one.
	Day string `json:"day"`
	Totals
}

// Report is the outcome of a check.
type Report struct {
	// Findings are the first MaxFindings, sorted by file; More counts the
	// rest.
	Findings []Finding
	More     int
	// Sealed is false if bytes of the ledger file that hold nothing could not
	// be compared, because a process works with it or was killed.
	Sealed bool
	Totals Totals
	// Devices, Outputs and Rows count what was gone through: devices, and
	// files and rows of the dataset.
	Devices, Outputs int
	Rows             int64
	Progress
}

// MaxFindings bounds the list of a Report.
const MaxFindings = 1000

// Whole reports whether nothing is wrong.
func (r *Report) Whole() bool { return len(r.Findings)+r.More == 0 }

// ErrNothing: there is neither a ledger nor anything that one would speak of.
var ErrNothing = errors.New("there is no data of acctpull")

// Check proves a data directory. What is wrong is in the report; an error means
// that the check itself could not be made, for a reason of this machine.
func Check(ctx context.Context, o Options) (*Report, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	c := &check{report: &Report{}, guess: o.Waits == nil}
	if c.guess {
		o.Waits = DefaultWaits()
		if held, known := durable.Held(o.Lock); o.Lock != "" && known && !held {
			o.Waits = o.Waits[:1]
		}
	}
	c.o = o
	err := c.run(ctx)
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int { return cmp.Compare(a.File, b.File) })
	return c.report, err
}

// check is one check under way.
type check struct {
	o      Options
	report *Report
	ledger *ledger.Ledger // nil if it cannot be used
	data   *dataset
	guess  bool // the waits are ours to choose
}

func (c *check) run(ctx context.Context) (err error) {
	if err := c.openLedger(ctx); err != nil {
		return err
	}
	defer func() {
		if c.ledger != nil {
			err = errors.Join(err, c.ledger.Close())
		}
	}()
	if err := c.checkDataset(ctx); err != nil {
		return err
	}
	return c.checkDevices(ctx)
}

// found books findings.
func (c *check) found(fs ...Finding) {
	for _, f := range fs {
		if h := c.o.Hooks.OnFinding; h != nil {
			h(f)
		}
		if len(c.report.Findings) < MaxFindings {
			c.report.Findings = append(c.report.Findings, f)
		} else {
			c.report.More++
		}
	}
}

// openLedger proves the ledger by itself and opens it. A ledger that is damaged
// is a finding, and the rest is checked without it.
func (c *check) openLedger(ctx context.Context) error {
	where := c.o.Ledger
	name := "ledger" // an address may hold a password
	if !strings.Contains(where, "://") {
		name = filepath.Base(where)
		if _, err := os.Stat(where); errors.Is(err, fs.ErrNotExist) {
			return c.noLedger(ctx)
		}
		whole, err := c.checkLedgerFile(ctx, where, name)
		if err != nil || !whole {
			return err
		}
	}
	l, err := ledger.Open(ctx, where)
	if err == nil {
		if err = l.Check(ctx); err != nil {
			err = errors.Join(err, l.Close())
		}
	}
	if ctx.Err() == nil && (errors.Is(err, ledger.ErrDamaged) || ledger.IsFatal(err)) {
		c.found(Finding{Kind: Damaged, File: name, What: cause(err), Do: doLedger})
		return nil
	}
	if err != nil {
		return err
	}
	if c.guess && l.Shared() {
		if err := c.waitFor(ctx, l); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	lost, err := c.settle(ctx, func(map[string]bool) ([]Finding, error) { return c.emptyLedger(ctx, l, name) })
	c.found(lost...)
	if err != nil || len(lost) > 0 {
		return errors.Join(err, l.Close())
	}
	c.ledger = l
	return nil
}

// waitFor shortens the waits if no node is at work on a shared ledger.
func (c *check) waitFor(ctx context.Context, l *ledger.Ledger) error {
	now, err := l.Clock(ctx)
	if err != nil {
		return err
	}
	nodes, err := l.Nodes(ctx)
	if !slices.ContainsFunc(nodes, func(n ledger.Node) bool { return n.Until.After(now) }) {
		c.o.Waits = c.o.Waits[:1]
	}
	return err
}

// emptyLedger finds a ledger that knows nothing of the files that are there.
func (c *check) emptyLedger(ctx context.Context, l *ledger.Ledger, name string) ([]Finding, error) {
	empty, err := l.Empty(ctx)
	if err != nil || !empty {
		return nil, err
	}
	some, err := c.something(ctx)
	if err != nil || !some {
		return nil, err
	}
	return []Finding{{Kind: Missing, File: name, What: "archive or dataset have files, and the ledger is empty", Do: doRebuild}}, nil
}

const (
	doLedger  = "stop acctpull, then restore a copy of the ledger, or make it anew: acctpull check --rebuild"
	doRebuild = "restore a copy of the ledger, or make it anew: acctpull check --rebuild"
)

// noLedger is a finding beside files that a ledger would know.
func (c *check) noLedger(ctx context.Context) error {
	some, err := c.something(ctx)
	if err != nil {
		return err
	}
	if !some {
		return ErrNothing
	}
	c.found(Finding{Kind: Missing, File: filepath.Base(c.o.Ledger), What: "archive or dataset have files, and there is no ledger", Do: doRebuild})
	return nil
}

// checkLedgerFile proves log and seal of a ledger in a file.
func (c *check) checkLedgerFile(ctx context.Context, where, name string) (bool, error) {
	fs, err := c.settle(ctx, func(map[string]bool) ([]Finding, error) {
		var fs []Finding
		if err := ledger.CheckLog(where); errors.Is(err, ledger.ErrDamaged) {
			fs = append(fs, Finding{Kind: Damaged, File: name + "-wal", What: cause(err),
				Do: "the transactions behind that place are lost as soon as acctpull starts; restore a copy of all ledger files, or make the ledger anew: acctpull check --rebuild"})
		} else if err != nil {
			return nil, err
		}
		sealed, err := ledger.CheckSeal(where)
		c.report.Sealed = sealed
		if errors.Is(err, ledger.ErrDamaged) {
			fs = append(fs, Finding{Kind: Damaged, File: name, What: cause(err),
				Do: doLedger + "; if you put another copy of the ledger there yourself, remove " + name + "-sum"})
		} else if err != nil {
			return nil, err
		}
		return fs, nil
	})
	c.found(fs...)
	return len(fs) == 0, err
}

// settle finds what is wrong and stays wrong. pass returns what looks wrong
// now: everything at first, and then it need not read again what is not in only.
// What may be a change under way is looked at again after each of the waits.
func (c *check) settle(ctx context.Context, pass func(only map[string]bool) ([]Finding, error)) ([]Finding, error) {
	found, err := pass(nil)
	for _, wait := range c.o.Waits {
		if err != nil || len(found) == 0 {
			break
		}
		if slices.ContainsFunc(found, Finding.mayPass) {
			if err := pause(ctx, wait); err != nil {
				return nil, err
			}
		}
		only := map[string]bool{}
		for _, f := range found {
			only[f.File] = true
		}
		var again []Finding
		again, err = pass(only)
		found = slices.DeleteFunc(again, func(a Finding) bool {
			return !slices.ContainsFunc(found, func(f Finding) bool { return f.File == a.File && f.Kind == a.Kind })
		})
		if !slices.ContainsFunc(found, Finding.mayPass) {
			break
		}
	}
	return found, err
}

// mayPass tells whether a finding can be a change that is under way: names come
// before rows, and bytes go after them. The bytes of a file never change.
func (f Finding) mayPass() bool { return f.Kind != Damaged }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cause is the text of an error in one line, without the wrapping that names
// the file a second time.
func cause(err error) string {
	var l *ledger.Error
	if errors.As(err, &l) {
		err = l.Err
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
