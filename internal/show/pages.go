package show

import (
	"fmt"
	"io"
	"strconv"
	"time"
)

// state is the line that says whether an agent runs.
func (a *Agent) state(p *page) {
	if !a.Running {
		if a.Note != "" {
			p.line("%s", a.Note)
		}
		p.line("Agent: not running. This is what the configuration and the directories say.")
		return
	}
	p.line("Agent: running, pid %d, since %s.", a.PID, when(a.Started))
}

// WriteRecords writes "Accounting Policy Records" (7210 SAS, "show log
// accounting-records").
func WriteRecords(w io.Writer, records []Record) error {
	p := page{title: "Accounting Policy Records"}
	var rows [][]string
	for _, r := range records {
		rows = append(rows, []string{number(r.Number), r.Name, strconv.Itoa(r.Interval), r.Type, number(r.Policy)})
	}
	p.table([]string{"Record #", "Record Name", "Def. Interval", "Type", "Policy"}, rows)
	return p.write(w)
}

var policyColumns = []string{"Policy Id", "Type", "Def", "Admin", "Oper", "Intvl", "File Id", "Record Name", "Objects", "Data Loss"}

func (q *Policy) row() []string {
	file := number(q.FileID)
	if q.To == "no-file" {
		file = q.To
	}
	return []string{
		strconv.Itoa(q.ID), or(q.Type, "-"), yesNo(q.Default), q.Admin, q.Oper, strconv.Itoa(q.Interval), file, or(q.Record, "-"),
		strconv.Itoa(q.Objects), strconv.FormatUint(q.DataLoss, 10),
	}
}

// WritePolicies writes "Accounting Policies" (7210 SAS, "show log
// accounting-policy"): one line for each, and below it why one is down.
func (a *Agent) WritePolicies(w io.Writer) error {
	p := page{title: "Accounting Policies"}
	var rows [][]string
	for i := range a.Policies {
		rows = append(rows, a.Policies[i].row())
	}
	p.table(policyColumns, rows)
	a.state(&p)
	for i := range a.Policies {
		if q := &a.Policies[i]; a.Running && q.Oper == Down && q.Admin == Up {
			p.line("Policy %d is down: %s.", q.ID, q.Reason)
			if q.Hint != "" {
				p.line("  What to do: %s.", q.Hint)
			}
		}
	}
	return p.write(w)
}

// WritePolicy writes everything about one policy; with its objects, if the view
// has them.
func (a *Agent) WritePolicy(w io.Writer, q Policy) error {
	p := page{title: "Accounting Policies"}
	p.table(policyColumns, [][]string{q.row()})
	p.field("Description", q.Description)
	p.field("Default policy", yesNo(q.Default))
	p.field("Align", yesNo(q.Align))
	p.field("Destination", q.To)
	p.field("Current file", or(q.CurrentFile, "none"))
	p.field("Admin state", q.Admin)
	p.field("Oper state", q.Oper)
	if q.Reason != "" {
		p.field("Reason", q.Reason)
	}
	if q.Hint != "" {
		p.field("What to do", q.Hint)
	}
	if q.LogMemory > 0 {
		text := fmt.Sprintf("%d KiB", q.LogMemory)
		switch {
		case q.Held > 0:
			text += fmt.Sprintf(", %s in it since %s: a crash now loses them", plural(q.Held, "interval"), when(q.HeldSince))
		case a.Running:
			text += ", nothing in it that is not on the flash"
		}
		p.field("Log memory", text)
	}
	if a.Running {
		p.field("Last collection", q.Last.text())
		if q.Last != nil && q.Last.Error != "" {
			p.field("Incomplete because", q.Last.Error)
		}
		p.field("Next collection", or(when(q.Next), "-"))
		p.field("Data loss count", strconv.FormatUint(q.DataLoss, 10))
		p.field("Last data loss", or(when(q.LastDataLoss), "-"))
	}
	p.line("This policy is applied to:")
	for _, as := range q.Associations {
		p.line("  %-18s: %d", as.Kind, as.Count)
	}
	if len(q.Associations) == 0 {
		p.line("  nothing")
	}
	a.state(&p)
	for _, as := range q.Associations {
		if as.Objects == nil {
			continue
		}
		var rows [][]string
		for _, o := range as.Objects {
			rows = append(rows, []string{o.ID, or(o.Service, "-"), or(o.Link, "-"), yesNo(!o.Explicit)})
		}
		p.titled(fmt.Sprintf("Accounting policy %d: %s", q.ID, as.Kind), []string{as.Kind, "Service", "Link", "By Default"}, rows)
	}
	return p.write(w)
}

func (c *Collection) text() string {
	if c == nil {
		return "none yet"
	}
	return fmt.Sprintf("%s, %s of %s, %d missing", when(&c.End), plural(c.Records, "record"), plural(c.Objects, "object"), c.Missing)
}

var fileColumns = []string{"File Id", "Rollover", "Retention", "Admin Location", "Backup Location", "Oper Location", "Used By", "Current File"}

func (f *FileID) row() []string {
	used := "nothing"
	if f.UsedBy != 0 {
		used = fmt.Sprintf("policy %d", f.UsedBy)
	}
	return []string{
		strconv.Itoa(f.ID), strconv.Itoa(f.Rollover), strconv.Itoa(f.Retention), f.Admin, or(f.Backup, "none"), or(f.Oper, "none"), used, or(f.CurrentFile, "none"),
	}
}

// WriteFileIDs writes the "File Id List" (7210 SAS, "show log file-id").
func (a *Agent) WriteFileIDs(w io.Writer) error {
	p := page{title: "File Id List"}
	var rows [][]string
	for i := range a.FileIDs {
		rows = append(rows, a.FileIDs[i].row())
	}
	p.table(fileColumns, rows)
	a.state(&p)
	return p.write(w)
}

// WriteFileID writes one file-id, with its files if they are in the view.
func (a *Agent) WriteFileID(w io.Writer, f FileID, now time.Time) error {
	p := page{title: "File Id List"}
	p.table(fileColumns, [][]string{f.row()})
	p.field("Description", f.Description)
	p.field("Rollover", span(time.Duration(f.Rollover)*time.Minute))
	p.field("Retention", span(time.Duration(f.Retention)*time.Hour))
	p.field("Rule", a.RetentionRule)
	for _, fault := range f.Faults {
		p.line("Location %s could not be used: %s.", fault.Location, fault.Reason)
		if fault.ClearLog {
			p.line("  It is used again after acctpull clear file-id %d.", f.ID)
		}
	}
	a.state(&p)
	if f.Files != nil {
		var rows [][]string
		for i := range f.Files {
			rows = append(rows, f.Files[i].row(now))
		}
		p.titled(fmt.Sprintf("File Id %d: files", f.ID), []string{"File Name", "Size", "Created", "Expired", "State", "Expires In"}, rows)
		p.line("%s, %s. Files are removed by the hourly sweep after they have expired.", plural(len(f.Files), "file"), plural(total(f.Files), "byte"))
		for _, problem := range f.Problems {
			p.line("Not listed: %s.", problem)
		}
		for _, open := range f.Files {
			if open.State == LeftOpen {
				p.line("%s was left open: the next start of the agent completes it and moves it to act/.", open.Name)
			}
		}
	}
	return p.write(w)
}

func (f *File) row(now time.Time) []string {
	expires := "-"
	if f.Expires != nil {
		expires = "now"
		if d := f.Expires.Sub(now); d > 0 {
			expires = span(d)
		}
	}
	return []string{f.Name, strconv.FormatInt(f.Bytes, 10), when(f.Created), yesNo(f.Expired), f.State, expires}
}

func total(files []File) int64 {
	var n int64
	for _, f := range files {
		n += f.Bytes
	}
	return n
}

func plural[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
