package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// schemaVersion is the version of the tables below.
const schemaVersion = 3

// The tables. docs/formats/ledger.md explains every column. STRICT lets SQLite's
// checks find values whose type was changed by damage. Times are Unix
// milliseconds UTC, except mtime (seconds, from the listing).
//
// kept is what all versions have in common; version 3 adds columns to two of these
// tables.
var kept = [...]string{
	`CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT`,
	`CREATE TABLE pulled (
		id INTEGER PRIMARY KEY,
		device TEXT NOT NULL,
		path TEXT NOT NULL,
		name TEXT NOT NULL,
		size INTEGER NOT NULL,
		mtime INTEGER NOT NULL,
		stamp TEXT NOT NULL,
		state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
		sha256 TEXT NOT NULL,
		stored TEXT NOT NULL,
		alias_of TEXT NOT NULL,
		batch TEXT NOT NULL,
		records INTEGER NOT NULL,
		reason TEXT NOT NULL,
		owner TEXT NOT NULL,
		lease_until INTEGER NOT NULL,
		attempt INTEGER NOT NULL,
		not_before INTEGER NOT NULL,
		first_seen INTEGER NOT NULL,
		changed INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE UNIQUE INDEX pulled_key ON pulled (device, path, name, size, mtime)`,
	// A partial index names the columns of its condition, so that it can be
	// read without the table.
	`CREATE INDEX pulled_claim ON pulled (device, stamp, name, path, size, mtime) WHERE state = 0`,
	`CREATE INDEX pulled_ready ON pulled (device, name, sha256, state, alias_of, batch) WHERE state = 1 AND alias_of = '' AND batch = ''`,
	`CREATE UNIQUE INDEX pulled_content ON pulled (device, sha256) WHERE sha256 <> '' AND alias_of = ''`,
	`CREATE INDEX pulled_alias ON pulled (device, sha256, alias_of) WHERE alias_of <> ''`,
	`CREATE INDEX pulled_batch ON pulled (batch) WHERE batch <> ''`,
	`CREATE TABLE output (
		path TEXT NOT NULL PRIMARY KEY,
		batch TEXT NOT NULL,
		sha256 TEXT NOT NULL,
		row_count INTEGER NOT NULL,
		record TEXT NOT NULL,
		date TEXT NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX output_batch ON output (batch)`,
}

// batches1 is what version 2 makes anew.
var batches1 = [...]string{
	`CREATE TABLE batch (
		id TEXT NOT NULL PRIMARY KEY,
		planned INTEGER NOT NULL,
		finished INTEGER NOT NULL,
		inputs INTEGER NOT NULL,
		row_count INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX batch_open ON batch (planned) WHERE finished = 0`,
}

// added2 is what version 2 adds to kept.
var added2 = [...]string{
	`CREATE INDEX pulled_stamp ON pulled (device, stamp)`,
	`CREATE INDEX pulled_seen ON pulled (device, first_seen)`,
	`CREATE TABLE batch (
		id TEXT NOT NULL PRIMARY KEY,
		planned INTEGER NOT NULL,
		finished INTEGER NOT NULL,
		inputs INTEGER NOT NULL,
		released INTEGER NOT NULL,
		row_count INTEGER NOT NULL,
		owner TEXT NOT NULL,
		lease_until INTEGER NOT NULL,
		attempt INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX batch_open ON batch (planned) WHERE finished = 0`,
	`CREATE TABLE facts (
		file INTEGER NOT NULL PRIMARY KEY,
		device TEXT NOT NULL,
		policy INTEGER NOT NULL,
		file_id INTEGER NOT NULL,
		record TEXT NOT NULL,
		interval_ms INTEGER NOT NULL,
		truncated INTEGER NOT NULL,
		first_start INTEGER NOT NULL,
		last_end INTEGER NOT NULL,
		spans TEXT NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX facts_time ON facts (device, last_end, first_start)`,
	`CREATE TABLE removal (
		file INTEGER NOT NULL PRIMARY KEY,
		device TEXT NOT NULL,
		removed INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX removal_device ON removal (device)`,
	`CREATE TABLE device (
		device TEXT NOT NULL PRIMARY KEY,
		site TEXT NOT NULL,
		state TEXT NOT NULL,
		version INTEGER NOT NULL,
		owner TEXT NOT NULL,
		lease_until INTEGER NOT NULL,
		attempt INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX device_version ON device (version)`,
	`CREATE INDEX device_held ON device (owner) WHERE owner <> ''`,
	`CREATE INDEX device_site ON device (site, lease_until) WHERE owner <> ''`,
	`CREATE TABLE node (
		name TEXT NOT NULL PRIMARY KEY,
		began INTEGER NOT NULL,
		lease_until INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE TABLE visit (
		id INTEGER PRIMARY KEY,
		device TEXT NOT NULL,
		began INTEGER NOT NULL,
		ended INTEGER NOT NULL,
		visits INTEGER NOT NULL,
		widest_ms INTEGER NOT NULL,
		good INTEGER NOT NULL,
		error TEXT NOT NULL,
		listed INTEGER NOT NULL,
		oldest TEXT NOT NULL,
		skew_min_ms INTEGER NOT NULL,
		skew_max_ms INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX visit_last ON visit (device, id)`,
	`CREATE INDEX visit_time ON visit (device, ended)`,
}

// columns3 are the columns that version 3 adds: the tables that get them, and the
// statements that add them to those of version 2. SQLite writes the new column
// into the text of the table, in front of the bracket at its end.
var columns3 = [...]string{
	`ALTER TABLE pulled ADD COLUMN expired INTEGER NOT NULL DEFAULT 0`,
	`ALTER TABLE output ADD COLUMN expired INTEGER NOT NULL DEFAULT 0`,
}

// added3 is what version 3 adds besides.
var added3 = [...]string{
	`CREATE INDEX pulled_kept ON pulled (first_seen, id) WHERE state = 2 AND expired = 0`,
	`CREATE INDEX output_day ON output (record, date)`,
	`CREATE TABLE expiring (
		file INTEGER NOT NULL PRIMARY KEY,
		device TEXT NOT NULL,
		stored TEXT NOT NULL,
		sha256 TEXT NOT NULL,
		since INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX expiring_since ON expiring (since)`,
	`CREATE TABLE hold (
		id INTEGER NOT NULL PRIMARY KEY,
		device TEXT NOT NULL,
		service TEXT NOT NULL,
		sap TEXT NOT NULL,
		from_ms INTEGER NOT NULL,
		to_ms INTEGER NOT NULL,
		reason TEXT NOT NULL,
		added INTEGER NOT NULL,
		added_by TEXT NOT NULL,
		released INTEGER NOT NULL,
		released_by TEXT NOT NULL,
		release_reason TEXT NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
}

// schema makes the tables of the version in an empty database.
func schema(version int) []string {
	switch version {
	case 1:
		return slices.Concat(kept[:], batches1[:])
	case 2:
		return slices.Concat(kept[:], added2[:])
	}
	tables := slices.Clone(kept[:])
	for i, s := range tables {
		for _, table := range []string{"pulled", "output"} {
			if strings.HasPrefix(s, "CREATE TABLE "+table+" ") {
				tables[i] = strings.TrimSuffix(s, ") STRICT") + ", expired INTEGER NOT NULL DEFAULT 0) STRICT"
			}
		}
	}
	return slices.Concat(tables, added2[:], added3[:])
}

// countObjects counts what a database has, and those two of its tables that no
// other program has: a flipped bit in one name must not make a ledger foreign.
const countObjects = `SELECT COUNT(*), COUNT(*) FILTER (WHERE name IN ('schema_version', 'batch')) FROM sqlite_schema`

// migrate makes the tables of an empty file, brings those of an older
// version to ours, and refuses any other file. migrated says that there was an
// older version.
func (l *Ledger) migrate(ctx context.Context) (migrated bool, err error) {
	tx, err := l.w.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	before, err := migrateIn(ctx, tx)
	if err != nil || before == schemaVersion {
		return false, errors.Join(err, tx.Rollback())
	}
	if err := l.unseal(); err != nil {
		return false, errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return false, &commitError{err}
	}
	return before != 0, nil
}

// migrateIn returns the version that the database had, 0 if it was empty.
func migrateIn(ctx context.Context, tx *sql.Tx) (before int, err error) {
	var objects, ours int
	err = tx.QueryRowContext(ctx, countObjects).Scan(&objects, &ours)
	if err != nil {
		return 0, err
	}
	if objects == 0 {
		if err := execAll(ctx, tx, schema(schemaVersion)); err != nil {
			return 0, err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO schema_version (version) VALUES ($1)`, schemaVersion)
		return 0, err
	}
	if ours == 0 {
		return 0, ErrForeign
	}
	version, err := readVersion(ctx, tx)
	if err != nil {
		return 0, err
	}
	if err := sameSchema(ctx, tx, version); err != nil || version == schemaVersion {
		return version, err
	}
	if version == 1 {
		if err := from1(ctx, tx); err != nil {
			return version, err
		}
	}
	return version, from2(ctx, tx, func(s string) string { return s })
}

// readVersion reads the version of a database that has tables, and refuses one
// that this program does not know.
func readVersion(ctx context.Context, tx *sql.Tx) (version int, err error) {
	switch err := tx.QueryRowContext(ctx, `SELECT version FROM schema_version`).Scan(&version); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, fmt.Errorf("%w: it has no schema version", ErrDamaged)
	case err != nil:
		return 0, err
	case version > schemaVersion:
		return 0, fmt.Errorf("%w: schema version %d, this program knows %d", ErrNewer, version, schemaVersion)
	case version < 1:
		return 0, fmt.Errorf("%w: schema version %d does not exist", ErrDamaged, version)
	}
	return version, nil
}

// sameSchema proves that the tables and indexes are those of a version: SQLite
// keeps the text of every statement.
func sameSchema(ctx context.Context, tx *sql.Tx, version int) error {
	have, err := collect(func(s scanner) (text string, err error) {
		return text, s.Scan(&text)
	})(tx.QueryContext(ctx, `SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL`))
	if err != nil {
		return err
	}
	want := schema(version)
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		return fmt.Errorf("%w: its tables are not those of schema version %d", ErrDamaged, version)
	}
	return nil
}

func execAll(ctx context.Context, tx *sql.Tx, statements []string) error {
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// from1 makes version 2 of version 1: the table batch gets columns, everything
// else is new.
func from1(ctx context.Context, tx *sql.Tx) error {
	heads, err := collect(scanBatch1)(tx.QueryContext(ctx, `SELECT id, planned, finished, inputs, row_count, crc FROM batch`))
	if err != nil {
		return err
	}
	if err := execAll(ctx, tx, append([]string{`DROP TABLE batch`}, added2[:]...)); err != nil {
		return err
	}
	for _, h := range heads {
		if _, err := tx.ExecContext(ctx, insertBatch, h.values()...); err != nil {
			return err
		}
	}
	return nil
}

// from2 makes version 3 of version 2: two tables get a column, everything else is
// new. No row is written. text is what the engine makes of a statement.
func from2(ctx context.Context, tx *sql.Tx, text func(string) string) error {
	var statements []string
	for _, s := range slices.Concat(columns3[:], added3[:]) {
		statements = append(statements, text(s))
	}
	if err := execAll(ctx, tx, statements); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE schema_version SET version = $1`, schemaVersion)
	return err
}

// scanBatch1 reads a row of batch as version 1 had it.
func scanBatch1(s scanner) (batchHead, error) {
	var h batchHead
	var crc int64
	if err := s.Scan(&h.id, &h.planned, &h.finished, &h.inputs, &h.rows, &crc); err != nil {
		return h, err
	}
	var c checksum
	c.text(h.id)
	c.number(h.planned, h.finished, h.inputs, h.rows)
	return h, whole("batch", crc, c.sum())
}
