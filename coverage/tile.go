package coverage

import (
	"slices"
	"time"
)

// tile makes of marks that may overlap runs that do not: everywhere the
// strongest verdict, and what two files of different content cover is
// Overlapping. Marks of one verdict that touch become one run.
func tile(marks []mark, w Window) []Run {
	marks = slices.DeleteFunc(marks, func(m mark) bool { return !m.From.Before(w.To) || !m.To.After(w.From) })
	var cuts []time.Time
	for i := range marks {
		m := &marks[i]
		m.From, m.To = later(m.From, w.From), earlier(m.To, w.To)
		cuts = append(cuts, m.From, m.To)
	}
	slices.SortFunc(cuts, time.Time.Compare)
	cuts = slices.CompactFunc(cuts, time.Time.Equal)
	slices.SortStableFunc(marks, func(a, b mark) int { return a.From.Compare(b.From) })

	var runs []Run
	var open []mark
	next := 0
	for i := 1; i < len(cuts); i++ {
		from, to := cuts[i-1], cuts[i]
		open = slices.DeleteFunc(open, func(m mark) bool { return !m.To.After(from) })
		for ; next < len(marks) && !marks[next].From.After(from); next++ {
			open = append(open, marks[next])
		}
		if r, ok := strongest(open, from, to); ok {
			runs = joined(runs, r)
		}
	}
	ends := endsOf(marks)
	for i := range runs {
		count(&runs[i], ends)
	}
	return slices.DeleteFunc(runs, func(r Run) bool { return r.Intervals == 0 })
}

// strongest is the verdict about (from, to] of the marks that hold there.
func strongest(open []mark, from, to time.Time) (Run, bool) {
	if len(open) == 0 {
		return Run{}, false
	}
	var best *mark
	var content string
	var other, alias bool
	for i := range open {
		m := &open[i]
		if best == nil || m.Verdict > best.Verdict {
			best = m
		}
		switch {
		case m.content == "":
		case m.alias:
			alias = true
		case content == "":
			content = m.content
		case m.content != content:
			other = true
		}
	}
	r := best.Run
	r.From, r.To = from, to
	switch {
	case r.Verdict.Gap():
	case other:
		r = Run{Verdict: Overlapping, step: r.step, From: from, To: to, Reason: "files of different content have it"}
	case alias && content != "":
		r = Run{Verdict: Duplicate, step: r.step, From: from, To: to, Reason: "the device gave the file under several names"}
	}
	return r, true
}

// joined appends a run, or makes the last one longer.
func joined(runs []Run, r Run) []Run {
	if n := len(runs); n > 0 {
		l := &runs[n-1]
		if l.To.Equal(r.From) && l.Verdict == r.Verdict && l.Cause == r.Cause && l.File == r.File && l.Reason == r.Reason && l.Doubt == r.Doubt {
			l.To = r.To
			return runs
		}
	}
	return append(runs, r)
}

// endsOf returns the collections that are here, by their ends. Those of aliases
// are here already.
func endsOf(marks []mark) []Span {
	var ends []Span
	for i := range marks {
		if !marks[i].alias {
			ends = append(ends, marks[i].spans...)
		}
	}
	slices.SortStableFunc(ends, func(a, b Span) int { return a.End.Compare(b.End) })
	return ends
}

// count counts the intervals of a run: the collections that are here, or as many
// as would fit.
func count(r *Run, ends []Span) {
	fit := max(int((r.To.Sub(r.From)+r.step/2)/r.step), 1)
	if r.To.Sub(r.From) < r.step/4 {
		fit = 0 // a remainder of an interval that another run has
	}
	if !r.Verdict.Received() {
		r.Intervals = fit
		return
	}
	after := func(t time.Time) int {
		n, _ := slices.BinarySearchFunc(ends, t, func(s Span, t time.Time) int {
			if s.End.After(t) {
				return 1
			}
			return -1
		})
		return n
	}
	last := time.Time{}
	for _, s := range ends[after(r.From):after(r.To)] {
		r.Records += s.Records
		if !s.End.Equal(last) {
			r.Intervals++
		}
		last = s.End
	}
	if last.IsZero() { // nobody has read its times
		r.Intervals = fit
	}
}
