package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Check reads the whole ledger: SQLite's integrity check, the checksum of every
// row, every index against its table, and what the tables say about each other.
// Open does the same with SQLite's quick check, which takes a third of the time
// and leaves the comparison of indexes with tables to us.
func (l *Ledger) Check(ctx context.Context) error {
	if err := l.broken(); err != nil {
		return err
	}
	if err := l.verify(ctx, "integrity_check(10)"); err != nil {
		return l.fail("check", err)
	}
	return nil
}

// verify proves in one read transaction that the ledger is whole.
func (l *Ledger) verify(ctx context.Context, pragmas ...string) (err error) {
	tx, err := l.r.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() {
		if rb := tx.Rollback(); !errors.Is(rb, sql.ErrTxDone) {
			err = errors.Join(err, rb)
		}
	}()
	for _, p := range pragmas {
		if err := structure(ctx, tx, p); err != nil {
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
	for i := range indexes {
		if err := indexes[i].compare(ctx, tx, t.indexes[i]); err != nil {
			return err
		}
	}
	return nil
}

// totals is what a walk through all tables adds up.
type totals struct {
	batches map[string]*batchSum
	indexes [len(indexes)]uint64 // what the indexes of pulled must add up to
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
	for i := range indexes {
		if indexes[i].has(&r) {
			t.indexes[i] += entry(indexes[i].values(&r))
		}
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

// index describes an index of pulled. Comparing the sum of its entries with the
// sum of those that the table asks for takes one walk through each, a tenth of
// what SQLite's integrity check takes for looking up every row.
type index struct {
	name    string
	columns string
	where   string              // the condition of a partial index
	has     func(r *line) bool  // the same
	values  func(r *line) []any // of the columns, and the place in the table
}

var indexes = [...]index{
	{"pulled_key", `device, path, name, size, mtime`, `TRUE`,
		func(r *line) bool { return true },
		func(r *line) []any { return []any{r.Device, r.Path, r.Name, r.Size, r.MTime, r.id} }},
	{"pulled_claim", `device, stamp, name, path, size, mtime`, `state = 0`,
		func(r *line) bool { return r.State == Discovered },
		func(r *line) []any { return []any{r.Device, r.mark, r.Name, r.Path, r.Size, r.MTime, r.id} }},
	{"pulled_ready", `device, name, sha256, state, alias_of, batch`, `state = 1 AND alias_of = '' AND batch = ''`,
		func(r *line) bool { return r.State == Stored && r.AliasOf == "" && r.Batch == "" },
		func(r *line) []any {
			return []any{r.Device, r.Name, r.SHA256, int64(r.State), r.AliasOf, r.Batch, r.id}
		}},
	{"pulled_content", `device, sha256`, `sha256 <> '' AND alias_of = ''`,
		func(r *line) bool { return r.SHA256 != "" && r.AliasOf == "" },
		func(r *line) []any { return []any{r.Device, r.SHA256, r.id} }},
	{"pulled_alias", `device, sha256, alias_of`, `alias_of <> ''`,
		func(r *line) bool { return r.AliasOf != "" },
		func(r *line) []any { return []any{r.Device, r.SHA256, r.AliasOf, r.id} }},
	{"pulled_batch", `batch`, `batch <> ''`,
		func(r *line) bool { return r.Batch != "" },
		func(r *line) []any { return []any{r.Batch, r.id} }},
}

// entry is the checksum of one entry of an index.
func entry(values []any) uint64 {
	var c checksum
	for _, v := range values {
		switch v := v.(type) {
		case string:
			c.text(v)
		case int64:
			c.number(v)
		default: // no column has such a type
			c.text(fmt.Sprintf("%T", v))
		}
	}
	return uint64(c.sum())
}

// query reads the entries from the index alone.
func (ix *index) query() string {
	return `SELECT ` + ix.columns + `, id FROM pulled INDEXED BY ` + ix.name + ` WHERE ` + ix.where + ` ORDER BY ` + ix.columns
}

// compare adds up the entries of the index.
func (ix *index) compare(ctx context.Context, tx *sql.Tx, want uint64) error {
	values := ix.values(&line{})
	to := make([]any, len(values))
	for i := range values {
		to[i] = &values[i]
	}
	var sum uint64
	err := each(func(s scanner) (uint64, error) {
		err := s.Scan(to...)
		return entry(values), err
	}, func(e uint64) { sum += e })(tx.QueryContext(ctx, ix.query()))
	if err == nil && sum != want {
		err = fmt.Errorf("%w: the index %s does not match its table", ErrDamaged, ix.name)
	}
	return err
}

// structure runs a check of SQLite over all pages.
func structure(ctx context.Context, tx *sql.Tx, pragma string) error {
	problems, err := collect(func(s scanner) (text string, err error) {
		return text, s.Scan(&text)
	})(tx.QueryContext(ctx, `PRAGMA `+pragma))
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
