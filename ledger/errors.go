package ledger

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What callers branch on, with errors.Is.
var (
	// ErrLeaseLost: the claim is void. Somebody else claimed the file or
	// finished it; the work done under the claim must be thrown away.
	ErrLeaseLost = errors.New("the lease was lost")
	// ErrDamaged: bytes of the ledger are missing or changed.
	ErrDamaged = errors.New("the ledger is damaged")
	// ErrForeign: the file is a database, and not a ledger.
	ErrForeign = errors.New("the file is a database of another program")
	// ErrNewer: the ledger was written by a newer version.
	ErrNewer = errors.New("the ledger was written by a newer version of acctpull")
	// ErrNotDurable: the PostgreSQL server forgets commits in a power cut.
	ErrNotDurable = errors.New("the server runs with fsync or synchronous_commit off, and forgets in a power cut what it has confirmed")
	// ErrUnknownFile: the ledger has no row of that key.
	ErrUnknownFile = errors.New("the ledger does not know the file")
	// ErrUnknownBatch: there is no such batch.
	ErrUnknownBatch = errors.New("unknown batch")
	// ErrHeld: a hold was added that the caller has not seen.
	ErrHeld = errors.New("a hold was added meanwhile")
	// ErrUnknownHold: there is no such hold in force.
	ErrUnknownHold = errors.New("there is no such hold in force")
	// ErrConflict: the call contradicts what the ledger already holds.
	ErrConflict = errors.New("the call contradicts the ledger")
)

// Error is the error of every method of a Ledger.
type Error struct {
	// Op is the verb of the method: "open", "claim", "store" ….
	Op string
	// Path is the ledger file, or its URL without the password.
	Path string
	// Device and File name what the call was about, "" if it was about more.
	Device, File string
	// Err is the cause.
	Err error

	fatal bool
}

// Error describes the failure in one line. Names that came from a device are
// quoted and cut at 256 bytes.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	b.WriteString(" ledger ")
	b.WriteString(strconv.Quote(e.Path))
	if e.Device != "" {
		b.WriteString(", device ")
		b.WriteString(quote(e.Device))
	}
	if e.File != "" {
		b.WriteString(", file ")
		b.WriteString(quote(e.File))
	}
	b.WriteString(": ")
	b.WriteString(strings.ReplaceAll(e.Err.Error(), "\n", "; "))
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it, "" if nothing is known.
func (e *Error) Hint() string {
	switch {
	case isDamage(e.Err):
		return "stop every acctpull process, keep the damaged file (with its -wal and -shm) for inspection, " +
			"and restore a copy or rebuild the ledger from the archive and the dataset; " +
			"starting with an empty ledger would export everything twice"
	case errors.Is(e.Err, ErrForeign):
		return "give the path of a ledger made by acctpull, or of a file that does not exist yet"
	case errors.Is(e.Err, ErrNewer):
		return "run the version of acctpull that wrote it, or a later one"
	case errors.Is(e.Err, ErrNotDurable):
		return "set fsync and synchronous_commit of the server, and of the role, to on"
	case isCode(e.Err, sqlite3.SQLITE_FULL):
		return "free space on the file system of the ledger; nothing was recorded, and the work is repeated"
	case isCode(e.Err, sqlite3.SQLITE_BUSY):
		return "another process has been writing to the ledger for more than 10 s; look for it before trying again"
	case isCode(e.Err, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
		return "make the ledger file and its directory writable for the user who runs acctpull"
	case pgCode(e.Err) == pgDiskFull:
		return "free space on the server; nothing was recorded, and the work is repeated"
	case strings.HasPrefix(pgCode(e.Err), pgLoginClass):
		return "check the user and the password of the ledger, and pg_hba.conf of the server"
	case pgCode(e.Err) == pgPrivilege:
		return "the role needs CREATE on the schema, and owns its tables"
	case pgCode(e.Err) == pgReadOnly:
		return "the server is a read only one; give the URL of the primary"
	case isLost(e.Err):
		return "check that the PostgreSQL server runs and can be reached; the work is repeated"
	case e.fatal:
		return "check the disk and the kernel log, then start again; acctpull check reads the whole ledger"
	}
	return ""
}

// IsFatal reports whether err says that this process can no longer know what is
// on disk: a commit or fsync of the ledger failed, or the ledger is damaged.
// The process must stop; a new one reads the ledger from the disk. On PostgreSQL
// only damage is fatal: the server knows what is on its disk, and repeating a
// call whose connection was lost is safe.
func IsFatal(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.fatal
}

// commitError marks the error of a COMMIT.
type commitError struct{ err error }

func (e *commitError) Error() string { return "commit: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// isFatal implements IsFatal for an error that is not yet wrapped.
func isFatal(err error) bool {
	if isDamage(err) || isCode(err, sqlite3.SQLITE_IOERR) {
		return true
	}
	var commit *commitError
	return errors.As(err, &commit) && pgCode(err) == "" && !isLost(err) &&
		!isCode(err, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// isDamage reports whether err says that the file lost or changed bytes. The
// statements never change, so SQLite refuses one (SQLITE_ERROR) only if the
// tables on disk are not those that were made, and a value has another type
// than its column (an error of database/sql, which has no type for it) only if
// its type was changed there.
func isDamage(err error) bool {
	return errors.Is(err, ErrDamaged) ||
		isCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR) ||
		pgDamaged(err) || strings.Contains(err.Error(), "sql: Scan error on column")
}

// isCode reports whether err comes from SQLite with one of the primary codes.
func isCode(err error, codes ...int) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code()&0xff == c {
			return true
		}
	}
	return false
}

// subject tells fail which file an error is about; its text is that of the cause.
type subject struct {
	key Key
	err error
}

func (e *subject) Error() string { return e.err.Error() }
func (e *subject) Unwrap() error { return e.err }

// about names the file that an error is about.
func about(k Key, err error) error { return &subject{key: k, err: err} }

// quote escapes text that came from a device and bounds it to 256 bytes.
func quote(s string) string {
	const limit = 256
	q := strconv.Quote(s)
	if len(q) > limit {
		q = strconv.Quote(strings.ToValidUTF8(s[:limit/4], "")) + "…"
	}
	return q
}
