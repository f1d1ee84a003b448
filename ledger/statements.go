package ledger

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
)

// statements holds the prepared statements: known and between on a reading
// connection, those of daily work, by their text, on the writing one.
type statements struct {
	known, between *sql.Stmt
	work           map[string]*sql.Stmt
}

// workTexts are the statements of daily work. All of them name their columns, so
// that preparing them shows that the tables have those.
func workTexts(e engine) []string {
	return []string{
		selectKey + e.forUpdate, selectContent + e.forUpdate, insertRow, updateLease, updateStored, updateBatch, updateSettled,
		selectRows + claimable + e.skipLocked, selectRows + claimedOn + e.forUpdate, selectRows + ready + e.skipLocked,
		selectBatches + unfinished + e.skipLocked, selectOutputs + `WHERE batch = $1`, saveFacts, saveRemoval,
		selectDevices + deviceByName + e.forUpdate, selectDevices + devicesOf + e.forUpdate, updateDevice, heldAtSite, lastVersion,
		selectVisits + lastVisit + e.forUpdate, updateVisit, insertVisit, upsertNode,
		updateExpired, insertExpiring, selectExpiring + expiringSince + e.skipLocked, deleteExpiring, selectHolds,
	}
}

func (s *statements) prepare(ctx context.Context, e engine, w, r *sql.DB) (err error) {
	if s.known, err = r.PrepareContext(ctx, selectKey); err != nil {
		return err
	}
	if s.between, err = r.PrepareContext(ctx, knownRange); err != nil {
		return err
	}
	s.work = map[string]*sql.Stmt{}
	for _, text := range workTexts(e) {
		if s.work[text], err = w.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

func (s *statements) close() error {
	var err error
	for _, p := range append(slices.Collect(maps.Values(s.work)), s.known, s.between) {
		if p != nil {
			err = errors.Join(err, p.Close())
		}
	}
	*s = statements{}
	return err
}

// transaction is one write transaction with the prepared statements.
type transaction struct {
	ctx context.Context
	tx  *sql.Tx
	st  *statements
	e   engine
}

// stmt returns a statement of daily work for the transaction.
func (t *transaction) stmt(text string) *sql.Stmt { return t.tx.Stmt(t.st.work[text]) }

// exec runs a statement, prepared if it is one of daily work.
func (t *transaction) exec(text string, args ...any) (sql.Result, error) {
	if _, ok := t.st.work[text]; ok {
		return t.stmt(text).ExecContext(t.ctx, args...)
	}
	return t.tx.ExecContext(t.ctx, text, args...)
}

func (t *transaction) query(text string, args ...any) (*sql.Rows, error) {
	if _, ok := t.st.work[text]; ok {
		return t.stmt(text).QueryContext(t.ctx, args...)
	}
	return t.tx.QueryContext(t.ctx, text, args...)
}

func (t *transaction) queryRow(text string, args ...any) *sql.Row {
	if _, ok := t.st.work[text]; ok {
		return t.stmt(text).QueryRowContext(t.ctx, args...)
	}
	return t.tx.QueryRowContext(t.ctx, text, args...)
}
