package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"acctpull/export"
	"acctpull/ledger"
	"acctpull/pull"
)

// summary is what pull and export print at their end, as a table or as JSON.
type summary struct {
	Device   string        `json:"device,omitempty"`
	Given    int           `json:"files_given,omitempty"`   // export: files named
	Listed   int           `json:"files_listed,omitempty"`  // pull: accounting files on the device
	Ignored  int           `json:"names_ignored,omitempty"` // pull: other names beside them
	Known    int           `json:"files_known"`             // settled by an earlier run
	Stored   int           `json:"files_stored"`
	Bytes    int64         `json:"bytes"`
	Files    int           `json:"files_exported"`
	Records  int64         `json:"records"`
	Rejected int64         `json:"records_in_quarantine"`
	Problems []fileProblem `json:"problems"`
	Outputs  []outputLine  `json:"outputs"`
	Failures int           `json:"failed_pulls"`
	Error    string        `json:"error,omitempty"`
}

// fileProblem is a file a person should look at.
type fileProblem struct {
	Device  string `json:"device"`
	File    string `json:"file"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	Hint    string `json:"hint,omitempty"`
	bad     bool   // counts for the exit code
}

type outputLine struct {
	Path   string `json:"path"`
	Record string `json:"record"`
	Date   string `json:"date"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"`
}

func newSummary(device string) *summary {
	return &summary{Device: device, Problems: []fileProblem{}, Outputs: []outputLine{}}
}

// pulled adds what a pull did.
func (s *summary) pulled(r pull.Result, err error) {
	s.Listed, s.Ignored, s.Known = r.Listed, r.Ignored, r.Known
	s.Bytes += r.Bytes
	for _, f := range r.Files {
		switch f.Outcome {
		case pull.Stored, pull.Alias:
			s.Stored++
			if f.Warning != "" {
				s.Problems = append(s.Problems, fileProblem{f.Device, f.Name, f.Outcome.String(), f.Warning, "", false})
			}
		default:
			s.Problems = append(s.Problems, fileProblem{f.Device, f.Name, f.Outcome.String(), f.Reason, "", true})
		}
	}
	if err != nil {
		s.Failures++
		s.Error = err.Error()
	}
}

// exported adds what an export did.
func (s *summary) exported(e *exported) {
	s.Records += e.records
	for _, f := range e.files {
		if f.State == ledger.Exported {
			s.Files++
		}
		s.Rejected += f.Rejected
		if !f.Clean() {
			s.Problems = append(s.Problems, fileProblem{f.Input.Device, f.Input.Name, outcomeOf(f), f.Reason, f.Hint, f.State == ledger.Quarantined || f.Rejected > 0 || f.Truncated})
		}
	}
	for _, o := range e.outputs {
		s.Outputs = append(s.Outputs, outputLine{o.Path, o.Record, o.Date, o.Rows, o.SHA256})
	}
	slices.SortFunc(s.Outputs, func(a, b outputLine) int { return cmp.Compare(a.Path, b.Path) })
}

func outcomeOf(f export.FileResult) string {
	switch {
	case f.State == ledger.Quarantined:
		return "quarantined"
	case f.Truncated:
		return "truncated"
	case f.Rejected > 0:
		return "records rejected"
	}
	return "exported"
}

func (s *summary) inError() bool {
	return slices.ContainsFunc(s.Problems, func(p fileProblem) bool { return p.bad })
}

// printSummary prints the result of a command.
func (a *app) printSummary(s *summary) error {
	if a.json {
		return a.printJSON(s)
	}
	switch {
	case s.Device != "":
		fmt.Fprintf(a.stdout, "%s: %s listed, %d known, %d fetched (%s), %d exported, %d records\n",
			safe(s.Device), plural(s.Listed, "file"), s.Known, s.Stored, size(s.Bytes), s.Files, s.Records)
	default:
		fmt.Fprintf(a.stdout, "%s given, %d exported before, %d exported now, %d records\n", plural(s.Given, "file"), s.Known, s.Files, s.Records)
	}
	return a.printTables(s)
}

// printTables prints what was published, and what a person should look at.
func (a *app) printTables(s *summary) error {
	if len(s.Outputs) > 0 {
		var rows [][]string
		for _, o := range s.Outputs {
			rows = append(rows, []string{o.Record, o.Date, strconv.FormatInt(o.Rows, 10), o.Path})
		}
		fmt.Fprintln(a.stdout)
		if err := table(a.stdout, []string{"RECORD", "DATE", "ROWS", "PARQUET"}, rows); err != nil {
			return err
		}
	}
	if len(s.Problems) > 0 {
		var rows [][]string
		for _, p := range s.Problems {
			reason := p.Reason
			if p.Hint != "" {
				reason += " (" + p.Hint + ")"
			}
			rows = append(rows, []string{p.Device, p.File, p.Outcome, reason})
		}
		fmt.Fprintln(a.stdout)
		return table(a.stdout, []string{"DEVICE", "FILE", "OUTCOME", "REASON"}, rows)
	}
	return nil
}
