// Package ledger is the permanent memory of a pull and export service: which
// files a device offered, which were fetched, verified and exported, and which
// were refused or lost. It is one SQLite file that operators can read with
// SQL; docs/formats/ledger.md describes it.
//
// # Identity
//
// A listing names a file by device, path, name, size and modification time
// (Key). A device reuses names after a clock step, so a stored file is
// identified by device, name and the SHA-256 of its bytes. The same content
// under another name of the same device is an alias: it is kept and listed,
// and never exported a second time. Other content under the same name is
// another file. The ledger forgets nothing by time.
//
// # Order of things
//
// A row never runs ahead of the bytes it speaks of: callers make files durable
// first and tell the ledger afterwards. Repeating a step that a crash
// interrupted is always safe. Export is exactly once because PlanBatch fixes
// the set of files before anything is published and every content is in at
// most one batch.
//
// # Damage
//
// Every row carries a checksum, which is checked whenever the row is read; Check
// reads the whole ledger. A ledger that lost or changed bytes is refused; nothing
// is guessed. An error for which
// IsFatal is true means that the state on disk can no longer be trusted by
// this process: stop it.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// chunk is how many rows one transaction writes in calls that take lists of
// any length, so that no caller holds the write lock for long.
const chunk = 1000

// Ledger is an open ledger. Its methods may be called from many goroutines;
// writes are done one after the other. Several processes may open the same
// file. The zero value is not usable; call Open.
type Ledger struct {
	path string
	file string // the absolute path of the file
	e    engine
	w    *sql.DB // one connection, the only writer of this process
	r    *sql.DB // read only connections
	st   statements

	mu     sync.Mutex
	failed error // the first fatal error; all later calls return it
	wrote  bool  // the seal is off, see unseal
}

// Open opens the ledger file at path and creates it with mode 0600 if there is
// none. A file that is cut short, one that is not a ledger and a ledger of a newer
// version are errors with a hint; one of an older version is brought to ours. What
// Open does costs the same for a ledger of any age: rows are checked when they are
// read, and Check reads all of them. The directory must exist.
//
// A file of zero bytes is opened as an empty ledger, because a crash during the
// first Open leaves one. Callers that have an archive must therefore ask Empty.
func Open(ctx context.Context, path string) (*Ledger, error) {
	l, err := open(ctx, path)
	if err != nil {
		return nil, l.fail("open", err)
	}
	return l, nil
}

func open(ctx context.Context, where string) (l *Ledger, err error) {
	l = &Ledger{path: where, e: sqliteEngine}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if isURL(where) {
		l.e = postgresEngine
		return l, l.openPostgres(ctx, where)
	}
	return l, l.openSQLite(ctx)
}

// Close releases the ledger. A second Close does nothing.
func (l *Ledger) Close() error {
	if err := l.close(); err != nil {
		return l.fail("close", err)
	}
	return nil
}

func (l *Ledger) close() error {
	err := l.st.close()
	if l.r != nil {
		err = errors.Join(err, l.r.Close())
	}
	if l.w != nil {
		err = errors.Join(err, l.w.Close())
	}
	if err == nil {
		err = l.seal()
	}
	return err
}

// Shared reports whether processes on several machines may use the ledger: it is
// one on PostgreSQL.
func (l *Ledger) Shared() bool { return l.e.shared }

// Path returns the path given to Open.
func (l *Ledger) Path() string { return l.path }

// Empty reports whether the ledger knows nothing at all. A caller that finds an
// empty ledger beside a non-empty archive or dataset must stop and ask for a
// rebuild: taking it for a fresh start would fetch and export everything again.
func (l *Ledger) Empty(ctx context.Context) (bool, error) {
	some, err := collect(func(s scanner) (some bool, err error) {
		return some, s.Scan(&some)
	})(l.query(ctx, `SELECT EXISTS (SELECT 1 FROM pulled)
		OR EXISTS (SELECT 1 FROM batch) OR EXISTS (SELECT 1 FROM output)`))
	if err != nil {
		return false, l.fail("read", err)
	}
	return !some[0], nil
}

// query reads on a connection that cannot write.
func (l *Ledger) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return l.read(ctx, func() (*sql.Rows, error) { return l.r.QueryContext(ctx, query, args...) })
}

// stmtQuery is query with a prepared statement.
func (l *Ledger) stmtQuery(ctx context.Context, st *sql.Stmt, args ...any) (*sql.Rows, error) {
	return l.read(ctx, func() (*sql.Rows, error) { return st.QueryContext(ctx, args...) })
}

func (l *Ledger) read(ctx context.Context, query func() (*sql.Rows, error)) (rows *sql.Rows, err error) {
	if err := l.broken(); err != nil {
		return nil, err
	}
	err = l.again(ctx, func() (err error) {
		rows, err = query()
		return err
	})
	return rows, err
}

// write runs f in one transaction and commits it. On SQLite a commit that fails
// leaves it unknown what is on disk, so it is fatal unless SQLite says that it
// had no room or no lock. On PostgreSQL f is run again if another transaction was
// in its way, or if the connection was lost: f must say the same then.
func (l *Ledger) write(ctx context.Context, op string, f func(*transaction) error) error {
	if err := l.broken(); err != nil {
		return err
	}
	if err := l.unseal(); err != nil {
		return l.fail(op, err)
	}
	if err := l.again(ctx, func() error { return l.writeOnce(ctx, f) }); err != nil {
		return l.fail(op, err)
	}
	return nil
}

func (l *Ledger) writeOnce(ctx context.Context, f func(*transaction) error) error {
	tx, err := l.w.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	t := &transaction{ctx: ctx, tx: tx, st: &l.st, e: l.e}
	if !l.e.shared {
		// The driver would start a goroutine for each statement. A cancelled
		// context ends the transaction.
		t.ctx = context.WithoutCancel(ctx)
	}
	if err := f(t); err != nil {
		rb := rollback(tx)
		switch cause := context.Cause(ctx); {
		case cause == nil:
		case errors.Is(err, sql.ErrTxDone):
			err = cause
		default: // rows that the end of ctx closed under f have an error without a name
			err = errors.Join(cause, err)
		}
		return errors.Join(err, rb)
	}
	if err := tx.Commit(); err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, sql.ErrTxDone) {
			return cause // it was rolled back when ctx ended
		}
		return &commitError{err}
	}
	return nil
}

// broken returns the fatal error of an earlier call.
func (l *Ledger) broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// fail makes the package's error of err and remembers a fatal one, which is
// then the error of every later call.
func (l *Ledger) fail(op string, err error) error {
	if old := l.broken(); old != nil && op != "close" {
		return old
	}
	e := &Error{Op: op, Path: l.path, Err: err}
	var s *subject
	if errors.As(err, &s) {
		e.Device, e.File = s.key.Device, s.key.Name
	}
	e.fatal = isFatal(err)
	if e.fatal {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.failed == nil {
			l.failed = e
		}
	}
	return e
}
