package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// This file reads and writes the tables batch and output.

const (
	selectBatches = `SELECT id, planned, finished, inputs, released, row_count, owner, lease_until, attempt, crc FROM batch `
	batchByID     = `WHERE id = $1`
	// unfinished is the oldest batch that the owner has left, or anybody else
	// whose lease is over.
	unfinished = `WHERE finished = 0 AND (owner = $1 OR lease_until < $2) ORDER BY planned, id LIMIT 1`

	batchesOf = `WHERE finished = 0 AND owner = $1 AND owner <> ''`

	insertBatch = `INSERT INTO batch (id, planned, finished, inputs, released, row_count, owner, lease_until, attempt, crc)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	updateBatchHead = `UPDATE batch SET planned = $2, finished = $3, inputs = $4, released = $5, row_count = $6,
		owner = $7, lease_until = $8, attempt = $9, crc = $10 WHERE id = $1`

	selectOutputs = `SELECT batch, path, sha256, row_count, record, date, expired, crc FROM output `
)

// batchHead is one row of batch. Times are Unix milliseconds; finished is 0
// while the batch is open. inputs counts its files, released those that a person
// took out of it later, rows what it published.
type batchHead struct {
	id                     string
	planned, finished      int64
	inputs, released, rows int64
	owner                  string
	lease, attempt         int64
}

func (h batchHead) crc() int64 {
	var c checksum
	c.text(h.id, h.owner)
	c.number(h.planned, h.finished, h.inputs, h.released, h.rows, h.lease, h.attempt)
	return c.sum()
}

// values are the columns in the order of insertBatch and updateBatchHead.
func (h batchHead) values() []any {
	return []any{h.id, h.planned, h.finished, h.inputs, h.released, h.rows, h.owner, h.lease, h.attempt, h.crc()}
}

func scanBatch(s scanner) (batchHead, error) {
	var h batchHead
	var crc int64
	if err := s.Scan(&h.id, &h.planned, &h.finished, &h.inputs, &h.released, &h.rows, &h.owner, &h.lease, &h.attempt, &crc); err != nil {
		return h, err
	}
	return h, whole("batch", crc, h.crc())
}

func (t *transaction) insertBatch(h batchHead) error {
	_, err := t.exec(insertBatch, h.values()...)
	return err
}

func (t *transaction) saveBatchHead(h batchHead) error {
	_, err := t.exec(updateBatchHead, h.values()...)
	return err
}

// batchHead reads a batch; ok is false if there is none.
func (t *transaction) batchHead(id string) (h batchHead, ok bool, err error) {
	h, err = scanBatch(t.queryRow(selectBatches+batchByID+t.e.forUpdate, id))
	if errors.Is(err, sql.ErrNoRows) {
		return h, false, nil
	}
	if err == nil && h.id != id {
		err = fmt.Errorf("%w: an index leads to a batch that was not asked for", ErrDamaged)
	}
	return h, err == nil, err
}

func (o Output) crc() int64 {
	var c checksum
	c.text(o.Batch, o.Path, o.SHA256, o.Record, o.Date)
	c.number(o.Rows)
	c.expiry(o.Expired)
	return c.sum()
}

func scanOutput(s scanner) (Output, error) {
	var o Output
	var expired, crc int64
	if err := s.Scan(&o.Batch, &o.Path, &o.SHA256, &o.Rows, &o.Record, &o.Date, &expired, &crc); err != nil {
		return o, err
	}
	o.Expired = fromMilli(expired)
	return o, whole("output", crc, o.crc())
}

func (t *transaction) insertOutput(o Output) error {
	o.Expired = time.Time{}
	ok, err := one(t.exec(`INSERT INTO output (path, batch, sha256, row_count, record, date, crc)
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
