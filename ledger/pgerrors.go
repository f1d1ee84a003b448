package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Error codes of PostgreSQL (documentation, appendix A).
const (
	pgSerialization  = "40001"
	pgDeadlock       = "40P01"
	pgUnique         = "23505"
	pgTooMany        = "53300" // too_many_connections
	pgDiskFull       = "53100"
	pgShutdownClass  = "57P"
	pgConnectClass   = "08"
	pgDamageClass    = "XX00" // XX001 data_corrupted, XX002 index_corrupted
	pgInternal       = "XX000"
	pgStatementClass = "42"
	pgPrivilege      = "42501"
	pgLoginClass     = "28"
	pgReadOnly       = "25006"
)

// pgCode returns the code of an error of the server, "" for another error.
func pgCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// pgDamaged reports whether the server says that bytes are changed, or refuses a
// statement, which never change, because tables or columns are not those that
// were made.
func pgDamaged(err error) bool {
	code := pgCode(err)
	return strings.HasPrefix(code, pgDamageClass) && code != pgInternal ||
		strings.HasPrefix(code, pgStatementClass) && code != pgPrivilege
}

// isLost reports whether the connection to the server is gone, or could not be
// made for a reason that may pass.
func isLost(err error) bool {
	if code := pgCode(err); code != "" {
		return strings.HasPrefix(code, pgShutdownClass) || strings.HasPrefix(code, pgConnectClass) || code == pgTooMany
	}
	var connect *pgconn.ConnectError
	var network *net.OpError
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// isRace reports whether a transaction was rolled back because of another one,
// and does what it should when it is run again.
func isRace(err error) bool {
	switch pgCode(err) {
	case pgSerialization, pgDeadlock, pgUnique:
		return true
	}
	return false
}

// pauses are the times between the tries of one call: long enough for a server to
// start again.
var pauses = [...]time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second}

// again runs f until it ends well or in an error that will not pass. The outcome
// of a commit whose answer was lost is unknown: every f may be run again then,
// because it does what is left to do, or finds that all is done; see "PostgreSQL"
// in docs/formats/ledger.md.
func (l *Ledger) again(ctx context.Context, f func() error) error {
	for _, pause := range pauses {
		err := f()
		if err == nil || !l.e.shared || ctx.Err() != nil || !isLost(err) && !isRace(err) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
	return f()
}
