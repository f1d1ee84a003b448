package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Facts is what a verified file says about itself: which collections of which
// policy it holds. Whether something is missing is computed from it.
type Facts struct {
	// Policy is the accounting policy (log ids 1 to 99 of the file name),
	// FileID the file-id; 0 if the file is of none.
	Policy, FileID int
	// Record is the record name, "" if it is not known.
	Record string
	// Interval is the collection interval, 0 if it is not known. It is kept
	// in milliseconds.
	Interval time.Duration
	// Spans are the collections in the file, ascending by End.
	Spans []Span
	// Truncated says that the file ends before its end: what follows the
	// last span is lost.
	Truncated bool
}

// Span is one collection interval that has records. Times are kept in
// milliseconds and must be after 1970: what a device with a wrong clock writes
// is for the caller to judge.
type Span struct {
	// Start is zero if it is not known.
	Start, End time.Time
	// Records counts the records of the collection.
	Records int64
}

// check reports what makes facts unusable. No facts are good facts.
func (f *Facts) check() error {
	if f == nil {
		return nil
	}
	switch {
	case f.Policy < 0 || f.FileID < 0:
		return fmt.Errorf("facts of policy %d and file-id %d", f.Policy, f.FileID)
	case f.Interval < 0:
		return fmt.Errorf("facts with an interval of %v", f.Interval)
	}
	const latest = 1 << 53
	last := int64(0)
	for i, s := range f.Spans {
		end, start := toMilli(s.End), toMilli(s.Start)
		switch {
		case s.End.IsZero() || end <= 0 || end > latest || !s.Start.IsZero() && start <= 0 || start > end:
			return fmt.Errorf("span %d of the facts is from %v to %v", i, s.Start, s.End)
		case end < last:
			return fmt.Errorf("span %d of the facts ends before the one in front of it", i)
		case s.Records < 0:
			return fmt.Errorf("span %d of the facts has %d records", i, s.Records)
		}
		last = end
	}
	return checkText(f.Record)
}

// fact is one row of facts. Times are milliseconds.
type fact struct {
	file      int64
	device    string
	f         Facts
	interval  int64
	truncated int64
	// first and last bound the spans; both 0 if there are none.
	first, last int64
	spans       string
}

// factOf makes the row of the facts of a file.
func factOf(r line, f Facts) fact {
	x := fact{file: r.id, device: r.Device, f: f, interval: f.Interval.Milliseconds(), spans: packSpans(f.Spans)}
	if f.Truncated {
		x.truncated = 1
	}
	for i, s := range f.Spans {
		start := toMilli(s.Start)
		if start == 0 { // it is not longer than the interval, as far as we know
			start = max(toMilli(s.End)-x.interval, 1)
		}
		if i == 0 || start < x.first {
			x.first = start
		}
		x.last = max(x.last, toMilli(s.End))
	}
	return x
}

func (x fact) crc() int64 {
	var c checksum
	c.text(x.device, x.f.Record, x.spans)
	c.number(x.file, int64(x.f.Policy), int64(x.f.FileID), x.interval, x.truncated, x.first, x.last)
	return c.sum()
}

const (
	factColumns = `facts.file, facts.device, policy, file_id, record, interval_ms, truncated, first_start, last_end, spans, facts.crc`

	saveFacts = `INSERT INTO facts (file, device, policy, file_id, record, interval_ms, truncated, first_start, last_end, spans, crc)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
	ON CONFLICT (file) DO UPDATE SET policy = excluded.policy, file_id = excluded.file_id, record = excluded.record,
	interval_ms = excluded.interval_ms, truncated = excluded.truncated, first_start = excluded.first_start,
	last_end = excluded.last_end, spans = excluded.spans, crc = excluded.crc`

	// factsTouching reads the files whose spans touch a time, and their facts.
	factsTouching = `SELECT ` + rowColumns + `, ` + factColumns + ` FROM facts JOIN pulled ON pulled.id = facts.file
	WHERE facts.device = $1 AND last_end > $2 AND first_start < $3 ORDER BY first_start, pulled.id`

	// factsUnknown reads the files of which no span is known and whose name or
	// first sight is near a time.
	factsUnknown = selectRows + `WHERE pulled.device = $1 AND (stamp >= $2 AND stamp < $3 OR first_seen >= $4 AND first_seen < $5)
	AND NOT EXISTS (SELECT 1 FROM facts WHERE facts.file = pulled.id AND last_end <> 0) ORDER BY first_seen, stamp, pulled.id`
)

// targets are where Scan puts factColumns.
func (x *fact) targets(crc *int64) []any {
	return []any{&x.file, &x.device, &x.f.Policy, &x.f.FileID, &x.f.Record, &x.interval, &x.truncated, &x.first, &x.last, &x.spans, crc}
}

// facts checks a row that was scanned and unpacks it.
func (x *fact) facts(crc int64) (*Facts, error) {
	if err := whole("facts", crc, x.crc()); err != nil {
		return nil, err
	}
	spans, err := unpackSpans(x.spans)
	if err != nil {
		return nil, fmt.Errorf("%w: a row of the table facts: %w", ErrDamaged, err)
	}
	x.f.Interval, x.f.Truncated, x.f.Spans = time.Duration(x.interval)*time.Millisecond, x.truncated != 0, spans
	return &x.f, nil
}

func scanFact(s scanner) (fact, error) {
	var x fact
	var crc int64
	if err := s.Scan(x.targets(&crc)...); err != nil {
		return x, err
	}
	_, err := x.facts(crc)
	return x, err
}

// scanFile reads a row of factsTouching.
func scanFile(s scanner) (line, error) {
	var r line
	var n rowNumbers
	var x fact
	var crc int64
	if err := s.Scan(append(n.targets(&r), x.targets(&crc)...)...); err != nil {
		return r, err
	}
	if err := n.finish(&r); err != nil {
		return r, err
	}
	f, err := x.facts(crc)
	if err == nil && (x.file != r.id || x.device != r.Device) {
		err = fmt.Errorf("%w: a row of the table facts belongs to another file", ErrDamaged)
	}
	r.Facts = f
	return r, err
}

// saveFacts writes the facts of a file in the place of older ones; nil leaves
// those as they are.
func (t *transaction) saveFacts(r line, f *Facts) error {
	if f == nil {
		return nil
	}
	x := factOf(r, *f)
	_, err := t.exec(saveFacts, x.file, x.device, f.Policy, f.FileID, f.Record,
		x.interval, x.truncated, x.first, x.last, x.spans, x.crc())
	if err != nil {
		return about(r.Key, err)
	}
	return nil
}

// factsOf writes the facts of the row of a key.
func (t *transaction) factsOf(k Key, f *Facts) error {
	if f == nil {
		return nil
	}
	r, ok, err := t.row(k)
	if err == nil && !ok {
		err = about(k, ErrUnknownFile)
	}
	if err != nil {
		return err
	}
	return t.saveFacts(r, f)
}

// SetFacts records what a file says about itself, in the place of what was
// known. It is for files that were stored before anybody looked, and for those
// in quarantine. ErrUnknownFile means that the ledger has no such row.
func (l *Ledger) SetFacts(ctx context.Context, k Key, f Facts) error {
	const op = "describe"
	if err := f.check(); err != nil {
		return l.fail(op, about(k, err))
	}
	return l.write(ctx, op, func(t *transaction) error { return t.factsOf(k, &f) })
}

// How far the name of a file, or the time when it was first seen, may be from
// the records in it: a file stays open for up to a week (SR OS, "rollover", at
// most 10,080 minutes), and its name says when it was opened; a device keeps a
// file for up to 500 h (SR OS, "retention") until it is seen.
const (
	openFor = 8 * 24 * time.Hour
	keptFor = 30 * 24 * time.Hour
)

// FileFacts yields the rows of a device that may hold records from the time from
// up to before to, with Row.Facts: first the files whose spans touch it, by their
// first start; then, with nil or empty Facts, the files of which no span is known
// and whose name or first sight allows it, by first sight. Their State says
// whether they were fetched at all. It ends after an error.
func (l *Ledger) FileFacts(ctx context.Context, device string, from, to time.Time) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if !from.Before(to) {
			yield(Row{}, l.fail("read", errors.New("the time of the facts ends before it begins")))
			return
		}
		if !stream(l, scanFile, func(r line) bool { return yield(r.Row, nil) }, func(err error) { yield(Row{}, err) })(
			l.query(ctx, factsTouching, device, toMilli(from), toMilli(to))) {
			return
		}
		const stampLayout = "20060102-150405"
		stream(l, scanRow, func(r line) bool { return yield(r.Row, nil) }, func(err error) { yield(Row{}, err) })(
			l.query(ctx, factsUnknown, device,
				from.Add(-openFor).UTC().Format(stampLayout), to.Add(openFor).UTC().Format(stampLayout),
				toMilli(from), toMilli(to.Add(keptFor))))
	}
}
