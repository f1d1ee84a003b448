package ledger

import (
	"context"
	"iter"
	"time"
)

// Count is how many files of a device are in a state.
type Count struct {
	Device string
	State  State
	// Files counts rows, aliases included; Aliases how many of them are one.
	Files, Aliases int
	// Bytes is the sum of the compressed sizes, Records of the published rows.
	Bytes, Records int64
	// Oldest is the earliest First, Newest the latest Changed of these files.
	Oldest, Newest time.Time
	// Latest is the largest of what follows the first "-" in their names: in
	// accounting files the creation time, "20260102-030405.xml.gz".
	Latest string
}

// Counts returns the totals of every device and state that has files, sorted by
// device and state. Over the states of a device they add up to what it listed.
func (l *Ledger) Counts(ctx context.Context) ([]Count, error) {
	counts, err := collect(scanCount)(l.query(ctx, `SELECT device, state, COUNT(*),
		COUNT(*) FILTER (WHERE alias_of <> ''), CAST(SUM(size) AS BIGINT), CAST(SUM(records) AS BIGINT),
		MIN(first_seen), MAX(changed), MAX(stamp) FROM pulled GROUP BY device, state ORDER BY device, state`))
	if err != nil {
		return nil, l.fail("read", err)
	}
	return counts, nil
}

func scanCount(s scanner) (Count, error) {
	var c Count
	var oldest, newest int64
	err := s.Scan(&c.Device, &c.State, &c.Files, &c.Aliases, &c.Bytes, &c.Records, &oldest, &newest, &c.Latest)
	c.Oldest, c.Newest = fromMilli(oldest), fromMilli(newest)
	return c, err
}

// Devices returns the names of all devices, sorted.
func (l *Ledger) Devices(ctx context.Context) ([]string, error) {
	names, err := collect(func(s scanner) (name string, err error) {
		return name, s.Scan(&name)
	})(l.query(ctx, `SELECT DISTINCT device FROM pulled ORDER BY device`))
	if err != nil {
		return nil, l.fail("read", err)
	}
	return names, nil
}

// Files yields the rows of a device by name; device "" means all devices. It
// ends after an error. Rows that change meanwhile are yielded as they were at
// the start.
func (l *Ledger) Files(ctx context.Context, device string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		where, args := ``, []any(nil)
		if device != "" {
			where, args = `WHERE device = $1 `, []any{device}
		}
		rows, err := l.query(ctx,
			selectRows+where+`ORDER BY device, name, first_seen, path, size, mtime`, args...)
		if err != nil {
			yield(Row{}, l.fail("read", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			r, err := scanRow(rows)
			if err != nil {
				yield(Row{}, l.fail("read", err))
				return
			}
			if !yield(r.Row, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Row{}, l.fail("read", err))
		}
	}
}

// Backlog is the work that waits.
type Backlog struct {
	// Fetch counts Discovered files, Export Stored files that are no aliases,
	// files of an unfinished batch included.
	Fetch, Export           int
	FetchBytes, ExportBytes int64
	// Oldest is the earliest First of them, zero if nothing waits.
	Oldest time.Time
}

// Backlog returns what waits to be fetched and exported, over all devices.
func (l *Ledger) Backlog(ctx context.Context) (Backlog, error) {
	b, err := collect(scanBacklog)(l.query(ctx, `SELECT
		COUNT(*) FILTER (WHERE state = 0), COUNT(*) FILTER (WHERE state = 1),
		COALESCE(CAST(SUM(size) FILTER (WHERE state = 0) AS BIGINT), 0),
		COALESCE(CAST(SUM(size) FILTER (WHERE state = 1) AS BIGINT), 0),
		COALESCE(MIN(first_seen), 0)
		FROM (SELECT state, size, first_seen FROM pulled WHERE state = 0
			UNION ALL SELECT state, size, first_seen FROM pulled WHERE state = 1 AND alias_of = '') AS waiting`))
	if err != nil {
		return Backlog{}, l.fail("read", err)
	}
	return b[0], nil
}

func scanBacklog(s scanner) (Backlog, error) {
	var b Backlog
	var oldest int64
	err := s.Scan(&b.Fetch, &b.Export, &b.FetchBytes, &b.ExportBytes, &oldest)
	b.Oldest = fromMilli(oldest)
	return b, err
}

// Outputs returns the published files, sorted by path: those of one batch, or
// all of them if batch is "".
func (l *Ledger) Outputs(ctx context.Context, batch string) ([]Output, error) {
	where, args := ``, []any(nil)
	if batch != "" {
		where, args = `WHERE batch = $1 `, []any{batch}
	}
	outputs, err := collect(scanOutput)(l.query(ctx, selectOutputs+where+`ORDER BY path`, args...))
	if err != nil {
		return nil, l.fail("read", err)
	}
	return outputs, nil
}
