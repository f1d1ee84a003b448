package ledger

import (
	"fmt"
)

// This file reads and writes the tables batch, batch_input and output.

const (
	selectBatches = `SELECT id, planned, finished, crc FROM batch `
	selectInputs  = `SELECT device, sha256, batch, crc FROM batch_input `
	selectOutputs = `SELECT batch, path, sha256, row_count, record, date, crc FROM output `
)

// batchHead is one row of batch. Times are Unix milliseconds; finished is 0
// while the batch is open.
type batchHead struct {
	id                string
	planned, finished int64
}

func (h batchHead) crc() int64 {
	var c checksum
	c.text(h.id)
	c.number(h.planned, h.finished)
	return c.sum()
}

func scanBatch(s scanner) (batchHead, error) {
	var h batchHead
	var crc int64
	if err := s.Scan(&h.id, &h.planned, &h.finished, &crc); err != nil {
		return h, err
	}
	return h, whole("batch", crc, h.crc())
}

func (t *transaction) insertBatch(h batchHead) error {
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO batch (id, planned, finished, crc) VALUES ($1, $2, $3, $4)`,
		h.id, h.planned, h.finished, h.crc())
	return err
}

// batchInput is one row of batch_input.
type batchInput struct{ device, sha256, batch string }

func (b batchInput) crc() int64 {
	var c checksum
	c.text(b.device, b.sha256, b.batch)
	return c.sum()
}

func scanInput(s scanner) (batchInput, error) {
	var b batchInput
	var crc int64
	if err := s.Scan(&b.device, &b.sha256, &b.batch, &crc); err != nil {
		return b, err
	}
	return b, whole("batch_input", crc, b.crc())
}

func (t *transaction) insertInput(id string, in Input) error {
	b := batchInput{device: in.Device, sha256: in.SHA256, batch: id}
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO batch_input (device, sha256, batch, crc) VALUES ($1, $2, $3, $4)`,
		b.device, b.sha256, b.batch, b.crc())
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
