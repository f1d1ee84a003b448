package main

import (
	"context"
	"strings"
	"time"

	"acctpull/coverage"
	"acctpull/ledger"
	"acctpull/pull"
	"acctpull/record"
	"acctpull/rollover"
)

// coverageMargin is how far beside a window files are read, to judge its ends: a
// file is open for a day by default, and waits half a day.
const coverageMargin = 3 * 24 * time.Hour

// judgeDevice reads what the ledger knows of a device and judges it.
func judgeDevice(ctx context.Context, l *ledger.Ledger, d coverage.Device, w coverage.Window) ([]coverage.Stream, coverage.Device, error) {
	d, err := deviceFacts(ctx, l, d, w)
	if err != nil {
		return nil, d, err
	}
	return coverage.Judge(d, w), d, nil
}

// deviceFacts reads what is needed to judge a device. Of d it takes what the
// inventory says: Name, Rollover and Life.
func deviceFacts(ctx context.Context, l *ledger.Ledger, d coverage.Device, w coverage.Window) (coverage.Device, error) {
	err := readCoverage(ctx, l, &d, w.From.Add(-coverageMargin), w.To.Add(coverageMargin))
	if err == nil && beginsInside(d, w) {
		// Whether that was the first file of its policy depends on all there are.
		err = readCoverage(ctx, l, &d, time.Unix(1, 0), w.To.Add(coverageMargin))
	}
	return d, err
}

// beginsInside reports whether the first file of a policy is in the window.
func beginsInside(d coverage.Device, w coverage.Window) bool {
	first := map[int]time.Time{}
	for _, f := range d.Files {
		at := f.Closed
		if len(f.Spans) > 0 {
			at = f.Spans[0].End
		}
		if old, ok := first[f.Name.ID]; !at.IsZero() && (!ok || at.Before(old)) {
			first[f.Name.ID] = at
		}
	}
	for _, at := range first {
		if at.After(w.From) {
			return true
		}
	}
	return false
}

// readCoverage reads files and visits of a device around a time.
func readCoverage(ctx context.Context, l *ledger.Ledger, d *coverage.Device, from, to time.Time) error {
	d.Files, d.Visits = nil, nil
	for row, err := range l.FileFacts(ctx, d.Name, from, to) {
		if err != nil {
			return err
		}
		if f, ok := coverageFile(row); ok {
			d.Files = append(d.Files, f)
		}
	}
	for v, err := range l.Visits(ctx, d.Name, from, to) {
		if err != nil {
			return err
		}
		d.Visits = append(d.Visits, coverage.Visit{Began: v.Began, Ended: v.Ended, Widest: v.Widest, Good: v.Good,
			Oldest: v.Oldest, Skew: coverage.Skew{Min: v.SkewMin, Max: v.SkewMax}})
	}
	return nil
}

// coverageFile turns a row of the ledger into a file; false if it says nothing
// about coverage. What was replaced under its name before it was fetched is
// another row.
func coverageFile(row ledger.Row) (coverage.File, bool) {
	name, err := rollover.ParseName(row.Name)
	if err != nil || name.Prefix != rollover.Act || (row.State == ledger.Lost || row.State == ledger.Quarantined) && strings.HasPrefix(row.Reason, pull.SupersededReason) {
		return coverage.File{}, false
	}
	f := coverage.File{Name: name, Path: row.Path, Stored: row.Stored, Size: row.Size, SHA256: row.SHA256,
		First: row.First, AliasOf: row.AliasOf, Reason: row.Reason}
	if row.MTime != 0 {
		f.Closed = time.Unix(row.MTime, 0).UTC()
	}
	switch row.State {
	case ledger.Discovered:
		f.State = coverage.There
	case ledger.Quarantined:
		f.State = coverage.Quarantined
		f.Truncated = strings.Contains(row.Reason, ": "+string(record.KindTruncated)+": ")
	case ledger.Lost:
		f.State = coverage.Gone
	default:
		f.State, f.Reason = coverage.Here, ""
		if !row.Expired.IsZero() {
			f.Reason = "received; its file has expired on " + row.Expired.UTC().Format(time.DateOnly) + " by retention"
		}
	}
	if row.Facts != nil && f.State == coverage.Here {
		f.Read, f.Record, f.Interval, f.Truncated = true, row.Facts.Record, row.Facts.Interval, row.Facts.Truncated
		f.Spans = make([]coverage.Span, len(row.Facts.Spans))
		for i, s := range row.Facts.Spans {
			f.Spans[i] = coverage.Span(s)
		}
	}
	return f, true
}
