package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Check reads the whole ledger: the checksum of every row, what the tables say
// about each other, and on SQLite its integrity check, which compares every index
// with its table.
func (l *Ledger) Check(ctx context.Context) error {
	if err := l.broken(); err != nil {
		return err
	}
	if err := l.verify(ctx); err != nil {
		return l.fail("check", err)
	}
	return nil
}

// verify proves in one read transaction that the ledger is whole.
func (l *Ledger) verify(ctx context.Context) (err error) {
	tx, err := l.r.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: l.e.snapshot})
	if err != nil {
		return err
	}
	defer func() {
		if rb := tx.Rollback(); !errors.Is(rb, sql.ErrTxDone) {
			err = errors.Join(err, rb)
		}
	}()
	if !l.e.shared {
		if err := structure(ctx, tx); err != nil {
			return err
		}
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
	return nil
}

// totals is what a walk through all tables adds up.
type totals struct {
	batches map[string]*batchSum
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
	Inputs, Rows   int64 // as that row says, without the files that were released
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
		b.Known, b.Finished, b.Inputs, b.Rows = true, h.finished != 0, h.inputs-h.released, h.rows
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
	if err != nil {
		return nil, err
	}
	return t, errors.Join(
		each(scanFact, drop)(tx.QueryContext(ctx, `SELECT `+factColumns+` FROM facts`)),
		each(scanRemoval, drop)(tx.QueryContext(ctx, `SELECT `+removalColumns+` FROM removal`)),
		each(scanDevice, drop)(tx.QueryContext(ctx, selectDevices)),
		each(scanNode, drop)(tx.QueryContext(ctx, selectNodes)),
		each(scanVisit, drop)(tx.QueryContext(ctx, selectVisits)),
		each(scanExpiring, drop)(tx.QueryContext(ctx, selectExpiring)),
		each(scanHold, drop)(tx.QueryContext(ctx, selectHolds)),
		strays(ctx, tx),
	)
}

// drop is for rows that only their checksum is wanted of.
func drop[T any](T) {}

// strays looks for rows that belong to a file that does not exist.
func strays(ctx context.Context, tx *sql.Tx) error {
	const query = `SELECT (SELECT COUNT(*) FROM facts WHERE NOT EXISTS
			(SELECT 1 FROM pulled WHERE pulled.id = facts.file AND pulled.device = facts.device)),
		(SELECT COUNT(*) FROM removal WHERE NOT EXISTS
			(SELECT 1 FROM pulled WHERE pulled.id = removal.file AND pulled.device = removal.device AND state = 2)),
		(SELECT COUNT(*) FROM expiring WHERE NOT EXISTS
			(SELECT 1 FROM pulled WHERE pulled.id = expiring.file AND pulled.device = expiring.device AND pulled.expired <> 0))`
	var facts, removals, expiring int
	err := tx.QueryRowContext(ctx, query).Scan(&facts, &removals, &expiring)
	if err == nil && facts+removals+expiring > 0 {
		err = fmt.Errorf("%w: %d rows of facts, %d of removal and %d of expiring belong to no file", ErrDamaged, facts, removals, expiring)
	}
	return err
}

func (t *totals) addRow(r line) {
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

// structure runs SQLite's own check over all pages.
func structure(ctx context.Context, tx *sql.Tx) error {
	problems, err := collect(func(s scanner) (text string, err error) {
		return text, s.Scan(&text)
	})(tx.QueryContext(ctx, `PRAGMA integrity_check(10)`))
	if err != nil {
		return err
	}
	if len(problems) != 1 || problems[0] != "ok" {
		return fmt.Errorf("%w: integrity_check says: %.256q", ErrDamaged, problems)
	}
	return nil
}
