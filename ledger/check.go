package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Check reads the whole ledger: SQLite's full integrity check, the checksum of
// every row, and what the tables say about each other. Open does the same with
// SQLite's quick check, which takes a third of the time and does not compare
// indexes with tables; Open compares only those two that keep files apart.
func (l *Ledger) Check(ctx context.Context) error {
	if err := l.broken(); err != nil {
		return err
	}
	if err := l.verify(ctx, "integrity_check"); err != nil {
		return l.fail("check", err)
	}
	return nil
}

// verify proves in one read transaction that the ledger is whole.
func (l *Ledger) verify(ctx context.Context, pragma string) (err error) {
	tx, err := l.r.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() {
		if rb := tx.Rollback(); !errors.Is(rb, sql.ErrTxDone) {
			err = errors.Join(err, rb)
		}
	}()
	if err := structure(ctx, tx, pragma); err != nil {
		return err
	}
	t, err := readAll(ctx, tx)
	if err != nil {
		return err
	}
	for id, b := range t.batches {
		if !b.whole() {
			return fmt.Errorf("%w: batch %s does not add up: %+v", ErrDamaged, quote(id), *b)
		}
	}
	return t.compareIndexes(ctx, tx)
}

// totals is what a walk through all tables adds up.
type totals struct {
	batches map[string]*batchSum
	// keys and contents are sums over the entries that the indexes
	// pulled_key and pulled_content must have.
	keys, contents uint64
}

func (t *totals) batch(id string) *batchSum {
	b := t.batches[id]
	if b == nil {
		b = &batchSum{}
		t.batches[id] = b
	}
	return b
}

// batchSum is what the three tables say about one batch.
type batchSum struct {
	Known          bool  // it has a row in batch
	Finished       bool  // as that row says
	Inputs, Rows   int64 // as that row says
	Files, Open    int64 // rows of pulled in the batch, and those still Stored
	Records        int64 // of those rows
	Outputs, OutOf int64 // rows of output, and the sum of their row counts
}

// whole reports whether the three tables agree: no input is missing, all have
// the state that the batch gave them, and no published row is uncounted.
func (b *batchSum) whole() bool {
	if !b.Known || b.Files != b.Inputs || b.Records != b.Rows || b.OutOf != b.Rows {
		return false
	}
	if b.Finished {
		return b.Open == 0
	}
	return b.Open == b.Inputs && b.Rows == 0 && b.Outputs == 0
}

// readAll reads all tables, which proves the checksum of every row.
func readAll(ctx context.Context, tx *sql.Tx) (*totals, error) {
	t := &totals{batches: map[string]*batchSum{}}
	err := each(scanBatch, func(h batchHead) {
		b := t.batch(h.id)
		b.Known, b.Finished, b.Inputs, b.Rows = true, h.finished != 0, h.inputs, h.rows
	})(tx.QueryContext(ctx, selectBatches))
	if err != nil {
		return nil, err
	}
	if err := each(scanRow, t.addRow)(tx.QueryContext(ctx, selectRows)); err != nil {
		return nil, err
	}
	err = each(scanOutput, func(o Output) {
		if o.Batch == "" { // imported: no batch is known
			return
		}
		b := t.batch(o.Batch)
		b.Outputs++
		b.OutOf += o.Rows
	})(tx.QueryContext(ctx, selectOutputs))
	return t, err
}

func (t *totals) addRow(r line) {
	t.keys += keyEntry(r)
	if r.SHA256 != "" && r.AliasOf == "" {
		t.contents += contentEntry(r)
	}
	if r.Batch == "" {
		return
	}
	b := t.batch(r.Batch)
	b.Files++
	b.Records += r.Records
	if r.State != Exported && r.State != Quarantined {
		b.Open++
	}
}

func keyEntry(r line) uint64 {
	var c checksum
	c.text(r.Device, r.Path, r.Name)
	c.number(r.Size, r.MTime, r.id)
	return uint64(c.sum())
}

func contentEntry(r line) uint64 {
	var c checksum
	c.text(r.Device, r.SHA256)
	c.number(r.id)
	return uint64(c.sum())
}

// compareIndexes reads the two unique indexes of pulled and compares them with
// the table. A lost or changed entry of the first would fetch a file again, one
// of the second would export it again.
func (t *totals) compareIndexes(ctx context.Context, tx *sql.Tx) error {
	for _, ix := range []struct {
		name, query string
		want        uint64
		columns     func(*line) []any
		entry       func(line) uint64
	}{
		{"pulled_key", `SELECT id, device, path, name, size, mtime FROM pulled INDEXED BY pulled_key ORDER BY device`, t.keys,
			func(r *line) []any { return []any{&r.id, &r.Device, &r.Path, &r.Name, &r.Size, &r.MTime} }, keyEntry},
		{"pulled_content", `SELECT id, device, sha256 FROM pulled INDEXED BY pulled_content
			WHERE sha256 <> '' AND alias_of = '' ORDER BY device`, t.contents,
			func(r *line) []any { return []any{&r.id, &r.Device, &r.SHA256} }, contentEntry},
	} {
		var sum uint64
		err := each(func(s scanner) (r line, err error) {
			return r, s.Scan(ix.columns(&r)...)
		}, func(r line) { sum += ix.entry(r) })(tx.QueryContext(ctx, ix.query))
		if err != nil {
			return err
		}
		if sum != ix.want {
			return fmt.Errorf("%w: the index %s does not match its table", ErrDamaged, ix.name)
		}
	}
	return nil
}

// structure runs a check of SQLite over all pages.
func structure(ctx context.Context, tx *sql.Tx, pragma string) error {
	problems, err := collect(func(s scanner) (text string, err error) {
		return text, s.Scan(&text)
	})(tx.QueryContext(ctx, `PRAGMA `+pragma+`(10)`))
	if err != nil {
		return err
	}
	if len(problems) != 1 || problems[0] != "ok" {
		return fmt.Errorf("%w: %s says: %.256q", ErrDamaged, pragma, problems)
	}
	return nil
}

// each calls f for every row of a query.
func each[T any](scan func(scanner) (T, error), f func(T)) func(*sql.Rows, error) error {
	return func(rows *sql.Rows, err error) error {
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				return err
			}
			f(v)
		}
		return rows.Err()
	}
}
