package ledger

import (
	"fmt"
)

// This file reads and writes the tables batch and output.

const (
	selectBatches = `SELECT id, planned, finished, inputs, row_count, crc FROM batch `
	unfinished    = `WHERE finished = 0 ORDER BY planned, id LIMIT 1`
	selectOutputs = `SELECT batch, path, sha256, row_count, record, date, crc FROM output `
)

// batchHead is one row of batch. Times are Unix milliseconds; finished is 0
// while the batch is open. inputs counts its files, rows what it published.
type batchHead struct {
	id                string
	planned, finished int64
	inputs, rows      int64
}

func (h batchHead) crc() int64 {
	var c checksum
	c.text(h.id)
	c.number(h.planned, h.finished, h.inputs, h.rows)
	return c.sum()
}

func scanBatch(s scanner) (batchHead, error) {
	var h batchHead
	var crc int64
	if err := s.Scan(&h.id, &h.planned, &h.finished, &h.inputs, &h.rows, &crc); err != nil {
		return h, err
	}
	return h, whole("batch", crc, h.crc())
}

func (t *transaction) insertBatch(h batchHead) error {
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO batch (id, planned, finished, inputs, row_count, crc)
		VALUES ($1, $2, $3, $4, $5, $6)`, h.id, h.planned, h.finished, h.inputs, h.rows, h.crc())
	return err
}

func (t *transaction) finishBatch(h batchHead) error {
	_, err := t.tx.ExecContext(t.ctx, `UPDATE batch SET finished = $1, row_count = $2, crc = $3 WHERE id = $4`,
		h.finished, h.rows, h.crc(), h.id)
	return err
}

func (o Output) crc() int64 {
	var c checksum
	c.text(o.Batch, o.Path, o.SHA256, o.Record, o.Date)
	c.number(o.Rows)
	return c.sum()
}

func scanOutput(s scanner) (Output, error) {
	var o Output
	var crc int64
	if err := s.Scan(&o.Batch, &o.Path, &o.SHA256, &o.Rows, &o.Record, &o.Date, &crc); err != nil {
		return o, err
	}
	return o, whole("output", crc, o.crc())
}

func (t *transaction) insertOutput(o Output) error {
	ok, err := one(t.tx.ExecContext(t.ctx, `INSERT INTO output (path, batch, sha256, row_count, record, date, crc)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (path) DO NOTHING`,
		o.Path, o.Batch, o.SHA256, o.Rows, o.Record, o.Date, o.crc()))
	if err == nil && !ok {
		err = fmt.Errorf("%w: the output %s is recorded already", ErrConflict, quote(o.Path))
	}
	return err
}

// whole compares the stored with the computed checksum of a row.
func whole(table string, stored, computed int64) error {
	if stored != computed {
		return fmt.Errorf("%w: a row of the table %s has a wrong checksum", ErrDamaged, table)
	}
	return nil
}
