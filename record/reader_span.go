package record

import (
	"slices"
	"time"
)

// This file keeps Stats.Spans. Most records repeat the end of the one before, so
// nothing is counted one by one: a span gets its records when the next begins.

// closeSpan gives the open span the records up to the given total.
func (r *Reader) closeSpan(total int64) {
	if !r.lastEnd.IsZero() && r.span < len(r.spans) {
		r.spans[r.span].Records += total - r.counted
	}
	r.counted = total
}

// openSpan makes the span of a record the open one. Intervals come in their
// order in most files; others are found by their end.
func (r *Reader) openSpan(rec *Record) {
	if r.tooMany {
		return
	}
	at, found := len(r.spans), false
	if at > 0 && !r.spans[at-1].End.Before(rec.End) {
		at, found = slices.BinarySearchFunc(r.spans, rec.End, func(s Span, end time.Time) int { return s.End.Compare(end) })
	}
	if !found && len(r.spans) == maxSpans {
		r.spans, r.span, r.tooMany = r.spans[:0], 0, true
		return
	}
	if !found {
		r.spans = slices.Insert(r.spans, at, Span{End: rec.End})
	}
	r.span = at
	r.begins(rec.Start)
}

// started notes that a record of the open span has another start than the one
// before.
func (r *Reader) started(rec *Record) {
	r.lastStart = rec.Start
	if !rec.End.IsZero() && r.span < len(r.spans) {
		r.begins(rec.Start)
	}
}

// begins gives the open span a start if that is earlier than the one it has.
func (r *Reader) begins(start time.Time) {
	if s := &r.spans[r.span]; !start.IsZero() && (s.Start.IsZero() || start.Before(s.Start)) {
		s.Start = start
	}
}
