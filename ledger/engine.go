package ledger

import (
	"database/sql"
	"hash/fnv"
)

// engine is what differs between the databases in the text of a statement.
//
// SQLite has one writer: its transactions are immediate, so nobody can change
// what one has read. On PostgreSQL writers run side by side, and every row that
// a transaction reads to change it must be locked: forUpdate waits for whoever
// has it, skipLocked leaves rows out that several processes compete for.
type engine struct {
	shared                bool
	forUpdate, skipLocked string
	// snapshot is the isolation in which a transaction sees one state.
	snapshot sql.IsolationLevel
}

var sqliteEngine = engine{}

// alone makes transactions that name the same thing wait for each other.
func (t *transaction) alone(what string) error {
	if !t.e.shared {
		return nil
	}
	_, err := t.exec(`SELECT pg_advisory_xact_lock($1)`, lockKey(what))
	return err
}

// lockKey is the key of an advisory lock. Two names with the same key wait for
// each other without need.
func lockKey(what string) int64 {
	h := fnv.New64a()
	h.Write([]byte("acctpull ledger " + what))
	return int64(h.Sum64())
}
