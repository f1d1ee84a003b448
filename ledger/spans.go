package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Spans are stored as text, runs of equal ones once:
//
//	END/LENGTH:RECORDS          one span
//	END/LENGTH*COUNT:RECORDS    COUNT of them, each beginning where the last ended
//	?END/STEP*COUNT:RECORDS     the starts are not known, the ends are STEP apart
//
// separated by spaces. END is that of the first one; times are milliseconds.

// maxSpans is how many spans a file may have: a collection every second for two
// weeks.
const maxSpans = 1 << 20

// run is a row of equal spans.
type run struct {
	end, length, count, records int64
	open                        bool // the starts are not known
}

func (r run) last() int64 { return r.end + (r.count-1)*r.length }

// takes adds a span to the run if it continues it.
func (r *run) takes(n run) bool {
	if r.open != n.open || r.records != n.records || r.count == 0 {
		return false
	}
	step := n.end - r.last()
	switch {
	case step == 0:
		return false
	case n.open && r.count == 1:
		r.length = step
	case step != r.length || !n.open && n.length != r.length:
		return false
	}
	r.count++
	return true
}

func (r run) append(b []byte) []byte {
	if r.open {
		b = append(b, '?')
	}
	b = strconv.AppendInt(b, r.end, 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, r.length, 10)
	if r.count > 1 {
		b = append(b, '*')
		b = strconv.AppendInt(b, r.count, 10)
	}
	b = append(b, ':')
	return strconv.AppendInt(b, r.records, 10)
}

// packSpans writes spans as text.
func packSpans(spans []Span) string {
	var b []byte
	var now run
	flush := func() {
		if now.count > 0 {
			if len(b) > 0 {
				b = append(b, ' ')
			}
			b = now.append(b)
		}
	}
	for _, s := range spans {
		next := run{end: toMilli(s.End), count: 1, records: s.Records, open: s.Start.IsZero()}
		if !next.open {
			next.length = next.end - toMilli(s.Start)
		}
		if !now.takes(next) {
			flush()
			now = next
		}
	}
	flush()
	return string(b)
}

// unpackSpans reads what packSpans wrote.
func unpackSpans(text string) ([]Span, error) {
	var spans []Span
	for part := range strings.FieldsSeq(text) {
		r, err := parseRun(part)
		if err != nil {
			return nil, fmt.Errorf("spans %s: %w", quote(part), err)
		}
		if int64(len(spans))+r.count > maxSpans {
			return nil, errors.New("spans: more than 2^20 of them")
		}
		for i := range r.count {
			end := r.end + i*r.length
			s := Span{End: fromMilli(end), Records: r.records}
			if !r.open {
				s.Start = fromMilli(end - r.length)
			}
			spans = append(spans, s)
		}
	}
	return spans, nil
}

func parseRun(text string) (r run, err error) {
	text, r.open = strings.CutPrefix(text, "?")
	text, records, ok := strings.Cut(text, ":")
	end, length, ok2 := strings.Cut(text, "/")
	length, count, many := strings.Cut(length, "*")
	if !ok || !ok2 {
		return r, errors.New("not END/LENGTH:RECORDS")
	}
	if !many {
		count = "1"
	}
	for _, n := range []struct {
		to   *int64
		text string
		most int64
	}{{&r.end, end, 1 << 53}, {&r.length, length, 1 << 42}, {&r.count, count, maxSpans}, {&r.records, records, 1<<63 - 1}} {
		if *n.to, err = strconv.ParseInt(n.text, 10, 64); err != nil {
			return r, err
		}
		if *n.to < 0 || *n.to > n.most {
			return r, fmt.Errorf("%d is out of range", *n.to)
		}
	}
	if r.count == 0 || r.end < 1 || !r.open && r.length >= r.end || r.last() > 1<<53 {
		return r, errors.New("a number is out of range")
	}
	return r, nil
}
