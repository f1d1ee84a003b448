package main

import (
	"cmp"
	"fmt"
	"slices"

	"acctpull/export"
	"acctpull/ledger"
)

// rebuildResult is what export --rebuild prints.
type rebuildResult struct {
	DryRun bool `json:"dry_run,omitempty"`
	// Chosen counts the raw files that have rows in the scope or may have some,
	// Waiting those in quarantine that may, and Released those of them that can be
	// read now. Resumed counts the files of an earlier run that was killed and was
	// finished first.
	Chosen   int `json:"files_chosen"`
	Waiting  int `json:"files_in_quarantine"`
	Released int `json:"files_released"`
	Resumed  int `json:"files_of_an_earlier_run,omitempty"`
	// Before and After count rows of the files that were read, Others the rows of
	// other files that were written again because they shared a data file.
	Before  int64         `json:"rows_before"`
	After   int64         `json:"rows_after"`
	Others  int64         `json:"rows_of_others_kept"`
	Removed int           `json:"data_files_replaced"`
	Added   int           `json:"data_files_new"`
	Tables  []tableChange `json:"partitions"`
	Files   []rebuiltFile `json:"files"`
}

// tableChange is what becomes of one day of a table.
type tableChange struct {
	Table  string `json:"table"`
	Date   string `json:"date"`
	Before int64  `json:"rows_before"`
	After  int64  `json:"rows_after"`
}

// rebuiltFile is what became of one raw file.
type rebuiltFile struct {
	Device  string `json:"device"`
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
	Outcome string `json:"outcome"` // rebuilt, kept, released
	Before  int64  `json:"rows_before"`
	After   int64  `json:"rows_after"`
	Reason  string `json:"reason,omitempty"`
	Hint    string `json:"hint,omitempty"`
	bad     bool
}

func compareRebuilt(a, b rebuiltFile) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.File, b.File), cmp.Compare(a.SHA256, b.SHA256))
}

// partition returns the line of one day of a table.
func (r *rebuildResult) partition(table, date string) *tableChange {
	at, found := slices.BinarySearchFunc(r.Tables, tableChange{Table: table, Date: date}, func(a, b tableChange) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Date, b.Date))
	})
	if !found {
		r.Tables = slices.Insert(r.Tables, at, tableChange{Table: table, Date: date})
	}
	return &r.Tables[at]
}

// replaced adds a data file that goes.
func (r *rebuildResult) replaced(f export.RemovedFile) {
	r.Removed++
	r.Others += f.Kept
	if r.DryRun {
		r.Before += f.Old
		r.partition(f.Table, f.Date).Before += f.Old
	}
}

// add adds what a rebuild did.
func (r *rebuildResult) add(done export.Rebuilt) {
	for _, f := range done.Removed {
		r.replaced(f)
	}
	r.Added += len(done.Added)
	for _, f := range done.Files {
		line := rebuiltFile{Device: f.Input.Device, File: f.Input.Name, SHA256: f.Input.SHA256, Outcome: "rebuilt",
			Before: export.Rows(f.Before), After: export.Rows(f.After), Reason: f.Reason, Hint: f.Hint}
		if f.State != ledger.Exported {
			line.Outcome = "kept"
		}
		line.bad = f.State != ledger.Exported || f.Rejected > 0 || f.Truncated
		r.Files = append(r.Files, line)
		r.Before, r.After = r.Before+line.Before, r.After+line.After
		for _, s := range f.Before {
			r.partition(s.Table, s.Date).Before += s.Rows
		}
		for _, s := range f.After {
			r.partition(s.Table, s.Date).After += s.Rows
		}
	}
	slices.SortStableFunc(r.Files, compareRebuilt)
}

// exported adds files that were in quarantine, and are exported now.
func (r *rebuildResult) exported(e *exported) {
	for _, f := range e.files {
		r.Files = append(r.Files, rebuiltFile{Device: f.Input.Device, File: f.Input.Name, SHA256: f.Input.SHA256, Outcome: "released",
			After: f.Records, Reason: f.Reason, Hint: f.Hint, bad: f.State != ledger.Exported || f.Rejected > 0 || f.Truncated})
	}
	for _, o := range e.outputs {
		r.Added++
		r.After += o.Rows
		r.partition(o.Record, o.Date).After += o.Rows
	}
	slices.SortStableFunc(r.Files, compareRebuilt)
}

// inError reports whether a person should look at some file.
func (r *rebuildResult) inError() bool {
	return !r.DryRun && slices.ContainsFunc(r.Files, func(f rebuiltFile) bool { return f.bad || f.Outcome == "kept" })
}

// printRebuild prints the result of export --rebuild.
func (a *app) printRebuild(r *rebuildResult) error {
	if a.json {
		return a.printJSON(r)
	}
	var rows [][]string
	for _, t := range r.Tables {
		after := fmt.Sprint(t.After)
		if r.DryRun {
			after = "?"
		}
		rows = append(rows, []string{t.Table, t.Date, fmt.Sprint(t.Before), after})
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"RECORD", "DATE", "ROWS BEFORE", "AFTER"}, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	rows = nil
	for _, f := range r.Files {
		if f.Reason != "" || f.Outcome == "kept" {
			reason := f.Reason
			if f.Hint != "" {
				reason += " (" + f.Hint + ")"
			}
			rows = append(rows, []string{f.Device, f.File, f.Outcome, fmt.Sprint(f.Before), fmt.Sprint(f.After), reason})
		}
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"DEVICE", "FILE", "OUTCOME", "ROWS BEFORE", "AFTER", "REASON"}, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	if r.Resumed > 0 {
		fmt.Fprintf(a.stdout, "%s of an earlier run that was killed: finished\n", plural(r.Resumed, "file"))
	}
	if r.DryRun {
		_, err := fmt.Fprintf(a.stdout, "%s would be read again: %d rows in %s; %d rows of other files would be written again; %s in quarantine would be tried\n",
			plural(r.Chosen, "file"), r.Before, plural(r.Removed, "data file"), r.Others, plural(r.Waiting, "file"))
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%s read again: %d rows before, %d after; %s replaced by %d, with %d rows of other files as they were; %d of %d released from quarantine\n",
		plural(r.Chosen, "file"), r.Before, r.After, plural(r.Removed, "data file"), r.Added, r.Others, r.Released, r.Waiting)
	return err
}
