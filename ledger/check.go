package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Check reads the whole ledger: SQLite's full integrity check, the checksum of
// every row, and what the tables say about each other. Open does the same with
// SQLite's quick check, which does not compare indexes with tables.
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
	batches, err := collect(scanBatch)(tx.QueryContext(ctx, selectBatches))
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context, *sql.Tx, map[string]batchHead) error{checkRows, checkInputs, checkOutputs} {
		if err := step(ctx, tx, byID(batches)); err != nil {
			return err
		}
	}
	return nil
}

func byID(batches []batchHead) map[string]batchHead {
	m := make(map[string]batchHead, len(batches))
	for _, h := range batches {
		m[h.id] = h
	}
	return m
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

// each calls f for every row of a query and stops at the first error.
func each[T any](scan func(scanner) (T, error), f func(T) error) func(*sql.Rows, error) error {
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
			if err := f(v); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

// checkRows proves every row of pulled and that a file in a batch has the state
// that the batch gave it.
func checkRows(ctx context.Context, tx *sql.Tx, batches map[string]batchHead) error {
	return each(scanRow, func(r Row) error {
		if r.Batch == "" {
			return nil
		}
		h, ok := batches[r.Batch]
		done := r.State == Exported || r.State == Quarantined
		if !ok || done != (h.finished != 0) || !done && r.State != Stored {
			return about(r.Key, fmt.Errorf("%w: the file is %s, which its batch %s contradicts",
				ErrDamaged, r.State, quote(r.Batch)))
		}
		return nil
	})(tx.QueryContext(ctx, selectRows))
}

// checkInputs proves that the inputs of every batch hash to its id.
func checkInputs(ctx context.Context, tx *sql.Tx, batches map[string]batchHead) error {
	sets := make(map[string][]Input, len(batches))
	err := each(scanInput, func(b batchInput) error {
		sets[b.batch] = append(sets[b.batch], Input{Device: b.device, SHA256: b.sha256})
		return nil
	})(tx.QueryContext(ctx, selectInputs))
	if err != nil {
		return err
	}
	for id := range batches {
		if BatchID(sets[id]) != id {
			return fmt.Errorf("%w: the inputs of batch %s do not match its id", ErrDamaged, quote(id))
		}
		delete(sets, id)
	}
	if len(sets) > 0 {
		return fmt.Errorf("%w: %d batches have inputs and no row", ErrDamaged, len(sets))
	}
	return nil
}

// checkOutputs proves that the outputs of every finished batch have as many
// rows as its inputs have records, and that an open batch has none.
func checkOutputs(ctx context.Context, tx *sql.Tx, batches map[string]batchHead) error {
	rows := make(map[string]int64, len(batches))
	err := each(scanOutput, func(o Output) error {
		if h, ok := batches[o.Batch]; o.Batch != "" && (!ok || h.finished == 0) {
			return fmt.Errorf("%w: the output %s belongs to no finished batch", ErrDamaged, quote(o.Path))
		}
		rows[o.Batch] += o.Rows
		return nil
	})(tx.QueryContext(ctx, selectOutputs))
	if err != nil {
		return err
	}
	delete(rows, "") // imported: no batch is known
	type total struct {
		batch   string
		records int64
	}
	err = each(func(s scanner) (t total, err error) {
		return t, s.Scan(&t.batch, &t.records)
	}, func(t total) error {
		if rows[t.batch] != t.records {
			return fmt.Errorf("%w: the outputs of batch %s have %d rows, its inputs %d records",
				ErrDamaged, quote(t.batch), rows[t.batch], t.records)
		}
		delete(rows, t.batch)
		return nil
	})(tx.QueryContext(ctx, `SELECT b.batch, CAST(SUM(p.records) AS BIGINT) FROM batch_input b
		JOIN pulled p ON p.device = b.device AND p.sha256 = b.sha256 AND p.sha256 <> '' AND p.alias_of = ''
		GROUP BY b.batch`))
	if err == nil && len(rows) > 0 {
		err = fmt.Errorf("%w: %d batches have outputs and no inputs", ErrDamaged, len(rows))
	}
	return err
}
