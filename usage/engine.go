package usage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/internal/depot"
)

// Horizon is how long a series without rows is remembered. One that comes back
// later begins anew: its first row has no deltas.
const Horizon = 92 * 24 * time.Hour

// Narrow declares that a counter has 32 bits.
type Narrow struct {
	Device string // as the dataset names it
	Column string
	Rate   uint64 // the most it counts in a second
}

// Options say what Refresh brings up to date.
type Options struct {
	// Dataset is where the tables are.
	Dataset depot.Depot
	// Scratch is a local directory of the caller for files in the making. If the
	// dataset is a directory it should lie on the same file system.
	Scratch string
	// Tables are the schemas of the record tables. Those without counters have
	// no usage and are passed over.
	Tables []*export.Table
	// From and To are the first and the last day to be brought up to date, in
	// the form of time.DateOnly; "" is no bound. Days before From count as they
	// are.
	From, To string
	// Narrow are the counters of 32 bits.
	Narrow []Narrow
	// Version goes into the metadata of every file, "" if unknown.
	Version string
	// Now is the time that replacements are noted with.
	Now func() time.Time
	// Memory is about how much the merge of a day's files may take in bytes; 0
	// means a default that keeps the process below 256 MiB.
	Memory int
	// OnDay is called after each day of a table. It may be nil.
	OnDay func(Day)
}

// Outcome is what became of a day.
type Outcome string

// The outcomes of a day.
const (
	Computed  Outcome = "computed"  // its usage was made
	Unchanged Outcome = "unchanged" // nothing it depends on has changed
	Removed   Outcome = "removed"   // its records are gone, and so is its usage now
	Kept      Outcome = "kept"      // its records have expired, its usage stays
)

// Day is a day of a table that was brought up to date.
type Day struct {
	Table   string // of records
	Date    string
	Outcome Outcome
	Stats   Stats
}

// TableReport tells of the usage of one record table.
type TableReport struct {
	Table string `json:"table"` // of usage
	// Computed, Unchanged, Removed and Kept count the days with that outcome.
	Computed  int `json:"days_computed"`
	Unchanged int `json:"days_unchanged"`
	Removed   int `json:"days_removed"`
	Kept      int `json:"days_kept"`
	// Stats are the figures of all those days.
	Stats
}

func (r *TableReport) add(d Day) {
	switch d.Outcome {
	case Computed:
		r.Computed++
	case Unchanged:
		r.Unchanged++
	case Removed:
		r.Removed++
	case Kept:
		r.Kept++
	}
	r.Stats.Add(d.Stats)
}

// Error is what stopped the making of usage. What was finished stays; the next
// Refresh goes on behind it.
type Error struct {
	Op    string // what was being done: "merge records"
	Table string
	Date  string // "" if it is about no single day
	Err   error
}

// Error describes it in one line.
func (e *Error) Error() string {
	at := e.Table
	if e.Date != "" {
		at += " of " + e.Date
	}
	return e.Op + ", " + at + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what a person can do, "" if nothing is known.
func (e *Error) Hint() string {
	if errors.Is(e.Err, export.ErrStale) {
		return "something else replaced files of the dataset at the same time; run it again"
	}
	var hint interface{ Hint() string }
	if errors.As(e.Err, &hint) {
		return hint.Hint()
	}
	return ""
}

// Refresh brings the usage tables of a dataset up to date, table by table and
// day by day. A day is made anew only if its record files, what the days before
// left for it, or the rules have changed. Readers see the old or the new usage
// of a day. After an error or a crash at any point the next call goes on.
//
// Only one Refresh of a dataset should run at a time. A second one harms
// nothing but may end with an error that matches [export.ErrStale].
func Refresh(ctx context.Context, o Options) ([]TableReport, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	var reports []TableReport
	for _, t := range o.Tables {
		if !HasUsage(t) {
			continue
		}
		r := refresher{o: &o, l: newLayout(t), base: stateBase(t.Name, t.Version), report: TableReport{Table: Name(t.Name)}}
		err := r.run(ctx)
		if errors.Is(err, errForgotten) {
			// A carry is lost: what is known is worth nothing.
			r.report = TableReport{Table: Name(t.Name)}
			if err = (&tableState{}).write(ctx, o.Dataset, r.base); err == nil {
				err = r.run(ctx)
			}
		}
		if err != nil {
			return reports, err
		}
		if r.report.Computed+r.report.Unchanged+r.report.Removed+r.report.Kept > 0 {
			reports = append(reports, r.report)
		}
	}
	return reports, nil
}

// errForgotten: the carry of a day that is known is not there, or damaged.
var errForgotten = errors.New("the carry of a day is lost")

// refresher brings the usage of one table up to date.
type refresher struct {
	o        *Options
	encoders [2]*columns.Encoder // of usage and of carries, which are written at the same time
	l        *layout
	base     string // of its state
	state    *tableState
	files    map[string][]export.DataFile // of the record table, by date
	made     map[string][]export.DataFile // of the usage table, by date
	report   TableReport
}

func (r *refresher) fail(op, date string, err error) error {
	if err == nil || errors.Is(err, errForgotten) || errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Op: op, Table: r.l.record.Name, Date: date, Err: err}
}

// run brings all days up to date that were asked for.
func (r *refresher) run(ctx context.Context) error {
	// An encoder may keep bytes of a file that was given up.
	for i := range r.encoders {
		var err error
		if r.encoders[i], err = columns.NewEncoder(); err != nil {
			return err
		}
	}
	snapshot, err := export.ReadSnapshot(ctx, r.o.Dataset, r.l.record.Name, r.l.usage.Name)
	if err != nil {
		return r.fail("list files", "", err)
	}
	if r.state, err = readState(ctx, r.o.Dataset, r.base); err != nil {
		return r.fail("read what is known", "", err)
	}
	r.files, r.made = map[string][]export.DataFile{}, map[string][]export.DataFile{}
	dates := map[string]bool{}
	for _, f := range snapshot.Files {
		if f.Version != r.l.record.Version {
			continue
		}
		of := r.files
		if f.Table == r.l.usage.Name {
			of = r.made
		}
		of[f.Date] = append(of[f.Date], f)
		dates[f.Date] = true
	}
	for _, date := range r.state.dates() {
		dates[date] = true
	}
	carry := "" // of the days before
	for _, date := range slices.Sorted(maps.Keys(dates)) {
		if r.o.To != "" && date > r.o.To {
			break
		}
		if r.o.From != "" && date < r.o.From {
			if d := r.state.Days[date]; d != nil {
				carry = d.Carry
			}
			continue
		}
		day := Day{Table: r.l.record.Name, Date: date}
		if day.Outcome, err = r.day(ctx, date, carry); err != nil {
			return err
		}
		if d := r.state.Days[date]; d != nil {
			carry, day.Stats = d.Carry, d.Stats
		}
		r.report.add(day)
		if r.o.OnDay != nil {
			r.o.OnDay(day)
		}
	}
	if r.report.Computed+r.report.Removed == 0 {
		return nil
	}
	return r.fail("remove what is not needed", "", r.tidy(ctx))
}

// day brings one day up to date. carry is the path of what the days before left
// for it.
func (r *refresher) day(ctx context.Context, date, carry string) (Outcome, error) {
	known := r.state.Days[date]
	if len(r.files[date]) == 0 {
		return r.without(ctx, date, known)
	}
	key := r.key(date, carry)
	if known != nil && known.Key == key && len(r.made[date]) == 1 && r.made[date][0].Path == known.Output {
		return Unchanged, nil
	}
	if known != nil && known.Key == key && len(r.made[date]) == 0 {
		// Usage that expired before its records stays away.
		if expired, err := r.expired(ctx, r.l.usage, date); err != nil || expired {
			return Kept, err
		}
	}
	m := maker{refresher: r, date: date, carry: carry, key: key}
	return Computed, r.fail("make usage", date, m.run(ctx))
}

// without is the end of a day without records: if they have expired the usage
// stays, with what it left for the days behind.
func (r *refresher) without(ctx context.Context, date string, known *dayState) (Outcome, error) {
	expired, err := r.expired(ctx, r.l.record, date)
	if err != nil {
		return "", err
	}
	if expired && known != nil {
		return Kept, nil
	}
	var remove []string
	for _, f := range r.made[date] {
		remove = append(remove, f.Path)
	}
	if len(remove) > 0 {
		change := export.Change{Reason: export.ReasonUsage, Remove: remove}
		if err := export.Replace(ctx, r.o.Dataset, change, export.ReplaceOptions{Now: r.o.Now()}); err != nil {
			return "", r.fail("remove usage", date, err)
		}
	}
	if known != nil {
		delete(r.state.Days, date)
		if err := r.state.write(ctx, r.o.Dataset, r.base); err != nil {
			return "", r.fail("remove usage", date, err)
		}
	}
	return Removed, nil
}

// expired reports whether the last files of a day were removed because they
// are not kept any longer.
func (r *refresher) expired(ctx context.Context, t *export.Table, date string) (bool, error) {
	h, err := export.ReadHistory(ctx, r.o.Dataset, export.PartitionPath(t.Name, t.Version, date))
	if err != nil {
		return false, r.fail("read history", date, err)
	}
	return len(h) > 0 && h[len(h)-1].Reason == export.ReasonExpired, nil
}

// key is the digest of all that the usage of a day depends on. Files of a
// dataset never change under their names, and a carry is named after its bytes.
func (r *refresher) key(date, carry string) string {
	h := sha256.New()
	fmt.Fprintf(h, "rules %d\ncarry %s\n", RulesVersion, carry)
	for _, n := range r.o.Narrow {
		fmt.Fprintf(h, "narrow %q %q %d\n", n.Device, n.Column, n.Rate)
	}
	for _, c := range r.l.usage.Columns {
		fmt.Fprintf(h, "column %s %s\n", c.Name, c.Type)
	}
	for _, f := range r.files[date] { // by path, as in a snapshot
		fmt.Fprintf(h, "file %s %d\n", f.Path, f.Bytes)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// tidy removes the carries that no day names any more.
func (r *refresher) tidy(ctx context.Context) error {
	named := map[string]bool{}
	for _, d := range r.state.Days {
		named[d.Carry] = true
	}
	var gone []string
	for e, err := range r.o.Dataset.List(ctx, r.base) {
		if err != nil {
			return err
		}
		if strings.HasSuffix(e.Path, carrySuffix) && !named[e.Path] {
			gone = append(gone, e.Path)
		}
	}
	for _, path := range gone {
		if err := r.o.Dataset.Remove(ctx, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
