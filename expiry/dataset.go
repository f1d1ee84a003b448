package expiry

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"acctpull/export"
	"acctpull/ledger"
	"acctpull/retention"
)

// day is one day of a table, in all versions of its schema.
type day struct {
	table, date string
	paths       []string
	d           Decision
}

// days decides about every day of the dataset, from the oldest on.
func (w *sweep) days(ctx context.Context) ([]*day, error) {
	files, err := export.ReadSnapshot(ctx, part(w.Data, w.Dataset))
	if err != nil {
		return nil, err
	}
	open, err := w.Ledger.OpenBatches(ctx)
	if err != nil {
		return nil, err
	}
	type key struct{ table, date string }
	all, tables := map[key]*day{}, map[string]bool{}
	var days []*day
	for _, f := range files.Files {
		k := key{f.Table, f.Date}
		d := all[k]
		if d == nil {
			d = &day{table: f.Table, date: f.Date}
			d.d.Item = Item{Location: Dataset, Path: path.Dir(f.Path), Record: f.Table, State: ledger.Exported}
			if d.d.From, err = time.Parse(time.DateOnly, f.Date); err != nil {
				return nil, err
			}
			d.d.To = d.d.From.AddDate(0, 0, 1)
			all[k], tables[f.Table] = d, true
			days = append(days, d)
		}
		d.paths = append(d.paths, f.Path)
		d.d.Files, d.d.Bytes = d.d.Files+1, d.d.Bytes+f.Bytes
		if id, ok := batchOf(f.Path, open); ok {
			d.d.Busy = "the export batch " + id + " is not finished"
		}
	}
	for _, d := range days {
		if name := w.derived(d.table); tables[name] && all[key{name, d.date}] == nil && d.d.Busy == "" {
			it := d.d.Item
			it.Record = name
			if !w.Policy.Decide(it, w.holds, w.now).Remove { // else it was there, and has expired
				d.d.Busy = name + " of that day is not made yet"
			}
		}
		d.d = w.Policy.Decide(d.d.Item, w.holds, w.now)
		if d.d.Reason == Retained || d.d.Reason == NoFileID {
			continue
		}
		if d.d.Came, err = w.Ledger.Published(ctx, d.table, d.date); err != nil {
			return nil, err
		}
		d.d = w.Policy.Decide(d.d.Item, w.holds, w.now)
	}
	slices.SortFunc(days, func(a, b *day) int {
		return cmp.Or(strings.Compare(a.date, b.date), strings.Compare(a.table, b.table))
	})
	return days, nil
}

func (o *Options) derived(table string) string {
	if o.Derived == nil {
		return ""
	}
	return o.Derived(table)
}

// batchDigits is how much of the ID of a batch the names of its outputs have.
const batchDigits = 32

// batchOf returns the open batch that a file is the output of.
func batchOf(p string, open []string) (string, bool) {
	name := strings.TrimSuffix(path.Base(p), ".parquet")
	if len(name) != batchDigits {
		return "", false
	}
	i, _ := slices.BinarySearch(open, name)
	if i < len(open) && strings.HasPrefix(open[i], name) {
		return name[:12], true
	}
	return "", false
}

// dataset removes days of tables until none is left or the budget is over, one at
// the least.
func (w *sweep) dataset(ctx context.Context) error {
	if _, some := w.Policy.shortest(Dataset); !some {
		return nil
	}
	days, err := w.days(ctx)
	if err != nil {
		return err
	}
	var todo []*day
	for _, d := range days {
		if d.d.Remove {
			todo = append(todo, d)
		} else {
			w.r.Dataset.kept(&d.d)
		}
	}
	w.r.Dataset.Left = len(todo)
	if err := retention.Guard(len(days), len(todo)); err != nil && !w.Force {
		return &Error{Op: "sweep dataset", Err: err}
	}
	if err := w.removeDays(ctx, todo); err != nil {
		return err
	}
	// What readers may have begun to read stays for a while.
	_, err = export.CleanReplaced(ctx, part(w.Data, w.Dataset), w.now, export.DefaultGrace)
	return err
}

func (w *sweep) removeDays(ctx context.Context, todo []*day) error {
	for i, d := range todo {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if i > 0 && w.over(1) {
			return nil
		}
		err := w.removeDay(ctx, d)
		switch {
		case errors.Is(err, ledger.ErrHeld):
			return nil // the next sweep knows the hold
		case errors.Is(err, export.ErrStale), errors.Is(err, export.ErrUnfinished):
			continue // somebody writes there: the next sweep looks again
		case ledger.IsFatal(err):
			return err
		case err != nil:
			w.fail(&w.r.Dataset, d.d.Path, err)
		default:
			w.removed(&w.r.Dataset, d.d)
		}
		w.r.Dataset.Left--
	}
	return nil
}

// removeDay removes one day of a table.
func (w *sweep) removeDay(ctx context.Context, d *day) error {
	outputs, err := w.Ledger.ExpireOutputs(ctx, w.now, d.table, d.date, w.holds)
	if err != nil {
		return err
	}
	finished := make(map[string]ledger.Output, len(outputs))
	for _, o := range outputs {
		finished[o.Path] = o
	}
	return export.Replace(ctx, part(w.Data, w.Dataset), export.Change{Reason: export.ReasonExpired, Remove: d.paths}, export.ReplaceOptions{
		Finished: func(p string) (ledger.Output, bool) { o, ok := finished[p]; return o, ok },
		Now:      w.now,
	})
}

// Plan decides about every file of the archive and every day of a table, as a
// sweep at the instant now would, and hands each decision on until yield says no.
// It changes nothing. refused is why a sweep would do nothing in a location, nil
// if it would not refuse.
func (s *Sweeper) Plan(ctx context.Context, now time.Time, yield func(Decision) bool) (refused error, err error) {
	w := &sweep{Options: s.o, now: now}
	if w.holds, err = w.Ledger.Holds(ctx); err != nil {
		return nil, &Error{Op: "plan", Err: err}
	}
	archive, err := w.planAll(ctx, yield)
	if err != nil {
		return nil, &Error{Op: "plan", Err: err}
	}
	days, err := w.days(ctx)
	if err != nil {
		return nil, &Error{Op: "plan", Err: err}
	}
	remove := 0
	for _, d := range days {
		if d.d.Remove {
			remove++
		}
		if !yield(d.d) {
			return nil, nil
		}
	}
	var refusals []error
	if _, err := w.clock(ctx); err != nil {
		refusals = append(refusals, &Error{Op: "sweep", Err: err})
	}
	if err := archive.guard(); err != nil && !w.Force {
		refusals = append(refusals, &Error{Op: "sweep archive", Err: err})
	}
	if err := retention.Guard(len(days), remove); err != nil && !w.Force {
		refusals = append(refusals, &Error{Op: "sweep dataset", Err: err})
	}
	return errors.Join(refusals...), nil
}

// counted is how many exported files there are, and how many of them would go.
type counted struct{ exported, remove int }

func (c counted) guard() error { return retention.Guard(c.exported, c.remove) }

// planAll decides about every file that is here.
func (w *sweep) planAll(ctx context.Context, yield func(Decision) bool) (c counted, err error) {
	devices, err := w.Ledger.Devices(ctx)
	if err != nil {
		return c, err
	}
	for _, device := range devices {
		for k, err := range w.Ledger.StoredFiles(ctx, device) {
			if err != nil {
				return c, err
			}
			if !ours(k.Stored) || !k.Expired.IsZero() {
				continue
			}
			d := w.Policy.Decide(w.item(k), w.holds, w.now)
			if k.State == ledger.Exported {
				c.exported++
			}
			if d.Remove {
				c.remove++
			}
			if !yield(d) {
				return c, nil
			}
		}
	}
	return c, nil
}
