package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// The defaults of a compaction.
const (
	// DefaultCompactAfter is how long ago a day must have ended: files of it
	// that come later are rare.
	DefaultCompactAfter = 24 * time.Hour
	// DefaultCompactBytes is the size at which a file ends and the next begins.
	DefaultCompactBytes = 512 << 20
)

// A day that was compacted is compacted anew when so many files have come since,
// or files of one part in so many of its bytes.
const (
	lateFiles = 8
	lateShare = 10
)

// maxCompactInputs is how many files are merged at once; a day with more takes
// several steps.
const maxCompactInputs = 1000

// CompactOptions say what is compacted, and how.
type CompactOptions struct {
	// Dataset is where the files are.
	Dataset depot.Depot
	// Staging is a local directory for files in the making, created if it is
	// missing; on the file system of the dataset if that is a directory. One
	// compaction at a time uses it.
	Staging string
	// Tables are the tables to look at; nil means all.
	Tables []string
	// Days are the days to compact, YYYY-MM-DD, whatever has come since they were
	// compacted. Nil means all days before Before that are due.
	Days []string
	// Before is the first day not to compact, YYYY-MM-DD; "" means the first
	// that did not end DefaultCompactAfter before Now.
	Before string
	// Finished tells what the ledger has of an output of a finished batch; an
	// output that it does not have is left alone.
	Finished func(path string) (ledger.Output, bool)
	// Now is the time.
	Now time.Time
	// Version goes into the metadata of the files, "" if unknown.
	Version string
	// FileBytes is the size at which a file ends; 0 means DefaultCompactBytes.
	FileBytes int64
	// Memory is about what the inputs may take, in bytes; 0 means
	// columns.DefaultMemory.
	Memory int
	// DryRun only tells what would be done.
	DryRun bool
	// OnDay is told of each day when it is done, in their order. It may be nil.
	OnDay func(CompactedDay)
}

// CompactResult is what a compaction did, or would do.
type CompactResult struct {
	Days []CompactedDay
}

// CompactedDay is what became of one day of a table. A day that is as it should
// be has none.
type CompactedDay struct {
	Table   string `json:"table"`
	Version int    `json:"version"`
	Date    string `json:"date"`
	// Inputs are the files that went, and Outputs those that came in their
	// place; in a dry run there are no outputs. Rows is -1 where nobody has
	// opened the files.
	Inputs  []DataFile `json:"inputs"`
	Outputs []DataFile `json:"outputs,omitempty"`
	// Waiting counts files that were left alone: outputs of batches that are not
	// finished.
	Waiting int `json:"waiting,omitempty"`
	// Reason says why nothing was done: "" if it was.
	Reason string `json:"reason,omitempty"`
	// Err is what went wrong with this day; the others go on.
	Err error `json:"-"`
}

// Rows returns the number of rows of the outputs.
func (d *CompactedDay) Rows() int64 {
	n := int64(0)
	for _, f := range d.Outputs {
		n += f.Rows
	}
	return n
}

// Compact merges the files of closed days into one sorted file for each table and
// day, or a few if it would be large, and puts them in place of the others with
// [Replace]. The rows are the same, which is proved by a digest over all columns
// of all rows before anything is replaced. It may be stopped at any point and
// called again.
//
// What is wrong with one day is in its result, and the others go on; an error is
// what stopped the whole.
func Compact(ctx context.Context, o CompactOptions) (res CompactResult, err error) {
	if o.Dataset == nil || o.Staging == "" || o.Now.IsZero() {
		return res, &Error{Op: "configure compaction", Err: errors.New("a dataset, a staging directory and the time are needed")}
	}
	if o.Before == "" {
		o.Before = o.Now.UTC().Add(-DefaultCompactAfter).Format(time.DateOnly)
	}
	if o.FileBytes == 0 {
		o.FileBytes = DefaultCompactBytes
	}
	snapshot, err := ReadSnapshot(ctx, o.Dataset, o.Tables...)
	if err != nil {
		return res, err
	}
	days := o.plan(snapshot.Files)
	// What a kill left is removed also when nothing is due.
	_, none := os.Stat(o.Staging)
	if !o.DryRun && (len(days) > 0 || none == nil) {
		lock, err := o.lock()
		if err != nil {
			return res, err
		}
		defer func() { err = errors.Join(err, lock.Release()) }()
	}
	c := &compactor{o: &o}
	for _, day := range days {
		if err := ctx.Err(); err != nil {
			return res, context.Cause(ctx)
		}
		done, ok := c.day(ctx, day)
		if ctx.Err() != nil {
			return res, context.Cause(ctx)
		}
		if !ok {
			continue
		}
		res.Days = append(res.Days, done)
		if o.OnDay != nil {
			o.OnDay(done)
		}
	}
	return res, nil
}

// lock keeps other compactions out of the staging directory and removes what a
// crash left in it.
func (o *CompactOptions) lock() (*durable.Lock, error) {
	if err := durable.MkdirAll(o.Staging); err != nil {
		return nil, &Error{Op: "create staging directory", Path: o.Staging, Err: err}
	}
	lock, err := durable.AcquireLock(filepath.Join(o.Staging, "compact.lock"))
	if err != nil {
		return nil, &Error{Op: "lock staging directory", Path: o.Staging, Err: err}
	}
	if _, err := durable.RemoveLeftovers(o.Staging); err != nil {
		err = &Error{Op: "remove leftovers", Path: o.Staging, Err: err}
		return nil, errors.Join(err, lock.Release())
	}
	return lock, nil
}

// plan returns the days that may be due, with their files. Which of these are
// compacted already only their footers tell.
func (o *CompactOptions) plan(files []DataFile) [][]DataFile {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b DataFile) int {
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Path, b.Path))
	})
	var days [][]DataFile
	for len(files) > 0 {
		n := 1
		for n < len(files) && partitionOf(files[n].Path) == partitionOf(files[0].Path) {
			n++
		}
		if o.wants(files[0].Date) && n > 1 {
			days = append(days, files[:n])
		}
		files = files[n:]
	}
	return days
}

// wants reports whether a day is to be looked at.
func (o *CompactOptions) wants(date string) bool {
	if o.Days != nil {
		return slices.Contains(o.Days, date)
	}
	return date < o.Before
}

// due reports whether a day is to be compacted, by its files without those that
// wait, and if not, why: "" if it is as it should be.
func (o *CompactOptions) due(fresh, compacted []DataFile) (ok bool, reason string) {
	late, size := int64(0), int64(0)
	for _, f := range fresh {
		late += f.Bytes
	}
	for _, f := range compacted {
		size += f.Bytes
	}
	switch {
	case len(fresh)+len(compacted) == 0:
		return false, "its files are not recorded as finished"
	case len(fresh)+len(compacted) == 1:
		return false, "it has one file"
	case len(fresh) == 0:
		return false, ""
	case len(compacted) == 0, o.Days != nil, len(fresh) >= lateFiles, late*lateShare >= size:
		return true, ""
	}
	return false, fmt.Sprintf("few files came since it was compacted: %d", len(fresh))
}
