package ledger_test

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"testing"
	"time"

	"acctpull/ledger"
)

// schema1 is what version 1 wrote, as text that no change of the package reaches.
var schema1 = []string{
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
	`INSERT INTO schema_version VALUES (1)`,
}

// batchSum1 is the checksum of a row of batch of version 1.
func batchSum1(id string, numbers ...int64) int64 {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(id)))
	b = append(b, id...)
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// version1 writes a ledger of version 1 with what is in the ledger at from.
func version1(t *testing.T, from, path string) {
	t.Helper()
	db := must(sql.Open("sqlite", path))(t)
	defer db.Close()
	db.SetMaxOpenConns(1)
	run := func(statement string, args ...any) {
		t.Helper()
		_, err := db.Exec(statement, args...)
		ok(t, err)
	}
	for _, s := range schema1 {
		run(s)
	}
	run(`ATTACH $1 AS new`, from)
	run(`INSERT INTO pulled SELECT id, device, path, name, size, mtime, stamp, state, sha256, stored, alias_of, batch, records,
		reason, owner, lease_until, attempt, not_before, first_seen, changed, crc FROM new.pulled`)
	run(`INSERT INTO output SELECT path, batch, sha256, row_count, record, date, crc FROM new.output`)
	rows := must(db.Query(`SELECT id, planned, finished, inputs, row_count FROM new.batch`))(t)
	type head struct {
		id                string
		planned, finished int64
		inputs, rows      int64
	}
	var heads []head
	for rows.Next() {
		var h head
		ok(t, rows.Scan(&h.id, &h.planned, &h.finished, &h.inputs, &h.rows))
		heads = append(heads, h)
	}
	ok(t, errors.Join(rows.Err(), rows.Close()))
	for _, h := range heads {
		run(`INSERT INTO batch VALUES ($1, $2, $3, $4, $5, $6)`, h.id, h.planned, h.finished, h.inputs, h.rows,
			batchSum1(h.id, h.planned, h.finished, h.inputs, h.rows))
	}
}

// TestFromVersion1: a ledger of the first version answers as before, and does
// what the second one does.
func TestFromVersion1(t *testing.T) {
	dir := t.TempDir()
	now, old := filepath.Join(dir, "now.db"), filepath.Join(dir, "old.db")
	want := fill(t, now, 40, false)
	version1(t, now, old)
	l := mustOpen(t, old)
	got := must(ask(t, l))(t)
	if !got.equal(want) {
		t.Error("the ledger gives other answers than before")
	}
	outputs, results := outcome(got.open)
	ok(t, l.FinishBatch(t.Context(), start, got.open.BatchClaim, outputs, results))
	ok(t, l.SetFacts(t.Context(), want.rows[0].Key, ledger.Facts{Spans: spansFrom(start, 3, 1)}))
	ok(t, l.AddVisit(t.Context(), visit("r1", start, 1)))
	must(l.FinishDevice(t.Context(), start, take(t, l, start, "r1", "a", 0), []byte("x")))(t)
	must(l.Discover(t.Context(), start, []ledger.Key{want.rows[0].Key}))(t)
}

// TestFromVersion1Damaged: what is broken is not carried over.
func TestFromVersion1Damaged(t *testing.T) {
	dir := t.TempDir()
	now := filepath.Join(dir, "now.db")
	fill(t, now, 20, false)
	for i, damage := range []string{
		`UPDATE batch SET inputs = inputs + 1`, `UPDATE pulled SET stored = 'x' WHERE id = 1`, `DROP INDEX pulled_batch`,
		`DELETE FROM batch WHERE finished = 0`, `UPDATE schema_version SET version = 2`,
	} {
		old := filepath.Join(dir, fmt.Sprint(i, ".db"))
		version1(t, now, old)
		exec1(t, old, damage)
		_, err := ledger.Open(t.Context(), old)
		refused(t, err, ledger.ErrDamaged, "")
		if !ledger.IsFatal(err) {
			t.Errorf("%s: %v", damage, err)
		}
	}
}

// backTo2 takes from a ledger what version 3 added.
var backTo2 = []string{
	`DROP INDEX pulled_kept`, `DROP INDEX output_day`, `DROP TABLE expiring`, `DROP TABLE hold`,
	`ALTER TABLE pulled DROP COLUMN expired`, `ALTER TABLE output DROP COLUMN expired`, `UPDATE schema_version SET version = 2`,
}

// TestFromVersion2: a ledger of the second version answers as before, and does
// what the third one does.
func TestFromVersion2(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	want := fill(t, path, 40, false)
	for _, s := range backTo2 {
		exec1(t, path, s)
	}
	l := mustOpen(t, path)
	if got := must(ask(t, l))(t); !got.equal(want) {
		t.Error("the ledger gives other answers than before")
	}
	expireSome(t, l)
}

// expireSome lets what can expire expire.
func expireSome(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	h := must(l.AddHold(t.Context(), ledger.Hold{Device: "r1", Reason: "a case", By: "ana", Added: start}))(t)
	for k, err := range l.KeptFiles(t.Context(), ledger.KeptFrom{}, start.Add(time.Hour)) {
		ok(t, err)
		must(l.Expire(t.Context(), start, []ledger.Key{k.Key}, []ledger.Hold{h}))(t)
	}
	for _, o := range must(l.Outputs(t.Context(), ""))(t) {
		must(l.ExpireOutputs(t.Context(), start, o.Record, o.Date, []ledger.Hold{h}))(t)
	}
	ok(t, l.Check(t.Context()))
}
