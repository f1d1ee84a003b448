package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Connections of one process to PostgreSQL.
const (
	writerConns = 8
	readerConns = 4
)

var postgresEngine = engine{
	shared:     true,
	forUpdate:  ` FOR UPDATE`,
	skipLocked: ` FOR UPDATE SKIP LOCKED`,
	snapshot:   sql.LevelRepeatableRead,
}

// stoppedAfter is how long a transaction waits for its process, which may have
// been stopped or cut off, before the server ends it: others wait for its locks.
const stoppedAfter = "10s"

// isURL reports whether a ledger is on PostgreSQL.
func isURL(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// errURL is all that is said about a URL that cannot be read: any part of it may
// be a piece of a password that was not escaped.
var errURL = errors.New("the URL is not as postgres://user@host:port/database; characters such as / ? # @ in a password are written as %2F %3F %23 %40")

// shownURL is the URL without anything secret.
func shownURL(where string) (string, error) {
	u, err := url.Parse(where)
	if err != nil || u.Fragment != "" || strings.Contains(u.Path, "@") || strings.ContainsAny(u.RawQuery, "@") {
		return "postgres://…", errURL
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(name, "password") {
			query.Del(name)
		}
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// openPostgres connects, makes the tables if there are none and prepares the
// statements.
func (l *Ledger) openPostgres(ctx context.Context, where string) error {
	shown, err := shownURL(where)
	l.path = shown
	if err != nil {
		return err
	}
	config, err := pgx.ParseConfig(where)
	if err != nil {
		return errURL
	}
	config.DialFunc = dialer().DialContext
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "acctpull"
	}
	if config.RuntimeParams["idle_in_transaction_session_timeout"] == "" {
		config.RuntimeParams["idle_in_transaction_session_timeout"] = stoppedAfter
	}
	l.w = pool(*config, writerConns)
	config.RuntimeParams["default_transaction_read_only"] = "on"
	l.r = pool(*config, readerConns)
	if err := l.again(ctx, func() error { return l.migratePostgres(ctx) }); err != nil {
		return err
	}
	return l.st.prepare(ctx, l.e, l.w, l.r)
}

func pool(config pgx.ConnConfig, most int) *sql.DB {
	params := map[string]string{}
	for k, v := range config.RuntimeParams {
		params[k] = v
	}
	config.RuntimeParams = params
	db := stdlib.OpenDB(config)
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db
}

// postgresText makes the statement for PostgreSQL out of that for SQLite. Texts
// are compared by their bytes, as SQLite does it.
func postgresText(statement string) string {
	return strings.NewReplacer(
		"id INTEGER PRIMARY KEY", "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
		" INTEGER", " BIGINT",
		" TEXT", ` TEXT COLLATE "C"`,
		") STRICT", ")",
	).Replace(statement)
}

// countTables counts the tables of the schema that is used, and those two that no
// other program has.
const countTables = `SELECT COUNT(*), COUNT(*) FILTER (WHERE relname IN ('schema_version', 'batch')) FROM pg_class
	WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')`

// migratePostgres makes the tables in an empty schema, brings those of an older
// version to ours, and refuses any other. Processes that begin together wait for each other.
func (l *Ledger) migratePostgres(ctx context.Context) error {
	tx, err := l.w.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	made, err := migratePostgresIn(ctx, tx)
	if err != nil || !made {
		return errors.Join(err, rollback(tx))
	}
	if err := tx.Commit(); err != nil {
		return &commitError{err}
	}
	return nil
}

// rollback ends a transaction. One that is over already, or whose connection was
// lost, is rolled back.
func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) && !isLost(err) {
		return err
	}
	return nil
}

func migratePostgresIn(ctx context.Context, tx *sql.Tx) (made bool, err error) {
	var durable bool
	var schemaName sql.NullString
	err = tx.QueryRowContext(ctx, `SELECT current_setting('fsync')::boolean AND current_setting('synchronous_commit') <> 'off', current_schema()`).Scan(&durable, &schemaName)
	if err != nil {
		return false, err
	}
	if !durable {
		return false, ErrNotDurable
	}
	if !schemaName.Valid {
		return false, errors.New("the search_path names no schema that exists")
	}
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, lockKey("tables of "+schemaName.String)); err != nil {
		return false, err
	}
	var objects, ours int
	if err := tx.QueryRowContext(ctx, countTables).Scan(&objects, &ours); err != nil {
		return false, err
	}
	if objects == 0 {
		statements := schema(schemaVersion)
		for i := range statements {
			statements[i] = postgresText(statements[i])
		}
		if err := execAll(ctx, tx, statements); err != nil {
			return false, err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO schema_version (version) VALUES ($1)`, schemaVersion)
		return true, err
	}
	if ours == 0 {
		return false, ErrForeign
	}
	version, err := readVersion(ctx, tx)
	if err != nil {
		return false, err
	}
	if version == 1 { // it was never written to PostgreSQL
		return false, fmt.Errorf("%w: schema version %d does not exist", ErrDamaged, version)
	}
	if err := sameObjects(ctx, tx, version); err != nil || version == schemaVersion {
		return false, err
	}
	return true, from2(ctx, tx, postgresText)
}

var objectName = regexp.MustCompile(`^CREATE (?:UNIQUE )?(?:TABLE|INDEX) (\w+)`)

// sameObjects proves that every table and index is there. That the columns are,
// the prepared statements show.
func sameObjects(ctx context.Context, tx *sql.Tx, version int) error {
	have, err := collect(func(s scanner) (name string, err error) {
		return name, s.Scan(&name)
	})(tx.QueryContext(ctx, `SELECT relname FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'i') AND COALESCE(indisvalid, true)`))
	if err != nil {
		return err
	}
	for _, s := range schema(version) {
		if name := objectName.FindStringSubmatch(s)[1]; !slices.Contains(have, name) {
			return fmt.Errorf("%w: it has no table or valid index %s", ErrDamaged, name)
		}
	}
	return nil
}
