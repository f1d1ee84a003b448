package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"acctpull/internal/durable"
)

// fileMode is the mode of a new ledger file: state is private (0600).
const fileMode = 0o600

// openSQLite opens the file at l.path.
func (l *Ledger) openSQLite(ctx context.Context) error {
	abs, err := filepath.Abs(l.path)
	if err != nil {
		return err
	}
	if err := prepareFile(ctx, abs); err != nil {
		return err
	}
	l.file = abs
	if l.w, err = sql.Open("sqlite", dataSource(abs, writer())); err != nil {
		return err
	}
	l.w.SetMaxOpenConns(1)
	migrated, err := l.migrate(ctx)
	if err != nil {
		return err
	}
	if l.r, err = sql.Open("sqlite", dataSource(abs, reader())); err != nil {
		return err
	}
	l.r.SetMaxOpenConns(2)
	if err := l.st.prepare(ctx, l.e, l.w, l.r); err != nil {
		return err
	}
	if migrated {
		return l.verify(ctx)
	}
	return nil
}

// writer returns the driver options of the writing connection: WAL with
// synchronous=FULL makes every commit an fsync, an immediate transaction never
// has to upgrade its lock, cell_size_check finds damaged pages when they are read.
func writer() url.Values {
	return url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)",
			"cell_size_check(1)", "trusted_schema(0)", "journal_size_limit(67108864)", "cache_size(-8192)"},
		"_txlock":   {"immediate"},
		"_error_rc": {"1"},
	}
}

// reader returns the driver options of connections that cannot write.
func reader() url.Values {
	return url.Values{
		"_pragma":   {"busy_timeout(10000)", "query_only(1)", "cell_size_check(1)", "trusted_schema(0)", "cache_size(-4096)"},
		"_error_rc": {"1"},
	}
}

func dataSource(abs string, options url.Values) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: options.Encode()}
	return u.String()
}

// prepareFile makes an empty file if there is none, of the right mode because
// SQLite gives its side files the mode of the main file. A file that is there
// must be empty or a ledger; it is not changed before that is known.
func prepareFile(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err == nil {
		return errors.Join(f.Sync(), f.Close(), durable.SyncDir(filepath.Dir(path)))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file (%s)", info.Mode().Type())
	}
	if info.Size() == 0 {
		return nil
	}
	if err := checkSize(path, info.Size()); err != nil {
		return err
	}
	return checkOwner(ctx, path)
}

// checkSize refuses a file that is no database or ends within a page. SQLite takes a short last
// page for zeros, and a file without a whole header for an empty database. A
// file with a write-ahead log may end anywhere: a crash may have come while it
// grew, and the log has the page.
func checkSize(path string, size int64) error {
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 {
		return nil
	}
	const headerSize = 100 // SQLite file format, section 1.3
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	header := make([]byte, headerSize)
	_, err = io.ReadFull(f, header)
	err = errors.Join(err, f.Close())
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the file has %d bytes", ErrDamaged, size)
	}
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(header, []byte("SQLite format 3\x00")) {
		return fmt.Errorf("%w: it does not begin as an SQLite database", ErrDamaged)
	}
	page := int64(binary.BigEndian.Uint16(header[16:]))
	if page == 1 { // stands for 65536
		page = 65536
	}
	if page < 512 || size%page != 0 {
		return fmt.Errorf("%w: the file has %d bytes and pages of %d", ErrDamaged, size, page)
	}
	return nil
}

// checkOwner refuses the database of another program.
func checkOwner(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", dataSource(path, reader()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var objects, ours int
	err = db.QueryRowContext(ctx, countObjects).Scan(&objects, &ours)
	if err == nil && objects > 0 && ours == 0 {
		err = ErrForeign
	}
	return err
}
