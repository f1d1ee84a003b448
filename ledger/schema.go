package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// schemaVersion is the version of the tables below.
const schemaVersion = 1

// skipLocked ends the SELECT of rows that several processes compete for. SQLite
// has one writer and needs nothing; PostgreSQL needs " FOR UPDATE SKIP LOCKED".
// All other writes are fenced by the attempt.
const skipLocked = ""

// schema makes the tables. docs/formats/ledger.md explains every column. STRICT
// lets SQLite's checks find values whose type was changed by damage.
// Times are Unix milliseconds UTC, except mtime (seconds, from the listing).
var schema = [...]string{
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
	`CREATE TABLE batch (
		id TEXT NOT NULL PRIMARY KEY,
		planned INTEGER NOT NULL,
		finished INTEGER NOT NULL,
		inputs INTEGER NOT NULL,
		row_count INTEGER NOT NULL,
		crc INTEGER NOT NULL) STRICT`,
	`CREATE INDEX batch_open ON batch (planned) WHERE finished = 0`,
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

// countObjects counts what a database has, and those two of its tables that no
// other program has: a flipped bit in one name must not make a ledger foreign.
const countObjects = `SELECT COUNT(*), COUNT(*) FILTER (WHERE name IN ('schema_version', 'batch')) FROM sqlite_schema`

// migrate makes the tables of an empty file and refuses any other file whose
// version is not ours.
func (l *Ledger) migrate(ctx context.Context) error {
	tx, err := l.w.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	changed, err := migrateIn(ctx, tx)
	if err != nil || !changed {
		return errors.Join(err, tx.Rollback())
	}
	if err := l.unseal(); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return &commitError{err}
	}
	return nil
}

func migrateIn(ctx context.Context, tx *sql.Tx) (changed bool, err error) {
	var objects, ours int
	err = tx.QueryRowContext(ctx, countObjects).Scan(&objects, &ours)
	if err != nil {
		return false, err
	}
	if objects == 0 {
		for _, statement := range schema {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return false, err
			}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO schema_version (version) VALUES ($1)`, schemaVersion)
		return true, err
	}
	if ours == 0 {
		return false, ErrForeign
	}
	var version int
	switch err := tx.QueryRowContext(ctx, `SELECT version FROM schema_version`).Scan(&version); {
	case errors.Is(err, sql.ErrNoRows):
		return false, fmt.Errorf("%w: it has no schema version", ErrDamaged)
	case err != nil:
		return false, err
	case version > schemaVersion:
		return false, fmt.Errorf("%w: schema version %d, this program knows %d", ErrNewer, version, schemaVersion)
	case version != schemaVersion:
		return false, fmt.Errorf("%w: schema version %d does not exist", ErrDamaged, version)
	}
	return false, sameSchema(ctx, tx)
}

// sameSchema proves that the tables and indexes are those that schema makes:
// SQLite keeps the text of every statement.
func sameSchema(ctx context.Context, tx *sql.Tx) error {
	have, err := collect(func(s scanner) (text string, err error) {
		return text, s.Scan(&text)
	})(tx.QueryContext(ctx, `SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid`))
	if err != nil {
		return err
	}
	if !slices.Equal(have, schema[:]) {
		return fmt.Errorf("%w: its tables are not those of schema version %d", ErrDamaged, schemaVersion)
	}
	return nil
}
