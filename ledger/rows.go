package ledger

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"
	"unicode/utf8"
)

// selectRows reads rows in the order of scanRow, each with the batch of its
// content.
const selectRows = `SELECT p.device, p.path, p.name, p.size, p.mtime, p.state, p.sha256, p.stored, p.alias_of,
	p.records, p.reason, p.owner, p.lease_until, p.attempt, p.not_before, p.first_seen, p.changed, p.stamp, p.crc,
	COALESCE(b.batch, '')
	FROM pulled p LEFT JOIN batch_input b ON b.device = p.device AND b.sha256 = p.sha256 AND p.sha256 <> '' `

// The statements that are run for many rows.
const (
	selectKey = selectRows +
		`WHERE p.device = $1 AND p.path = $2 AND p.name = $3 AND p.size = $4 AND p.mtime = $5`

	// selectContent reads the row that stands for a content in exports.
	selectContent = selectRows +
		`WHERE p.device = $1 AND p.sha256 = $2 AND p.sha256 <> '' AND p.alias_of = ''`

	insertRow = `INSERT INTO pulled (device, path, name, size, mtime, state, sha256, stored, alias_of,
	records, reason, owner, lease_until, attempt, not_before, first_seen, changed, stamp, crc)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
	ON CONFLICT (device, path, name, size, mtime) DO NOTHING`

	// updateLease writes what a claim or a release changes; no index has it.
	updateLease = `UPDATE pulled SET reason = $1, owner = $2, lease_until = $3, attempt = $4, not_before = $5, crc = $6
	WHERE device = $7 AND path = $8 AND name = $9 AND size = $10 AND mtime = $11 AND attempt = $12`

	// updateState writes a change of state; the attempt is the fence.
	updateState = `UPDATE pulled SET state = $1, sha256 = $2, stored = $3, alias_of = $4, records = $5, reason = $6,
	owner = $7, lease_until = $8, not_before = $9, changed = $10, crc = $11
	WHERE device = $12 AND path = $13 AND name = $14 AND size = $15 AND mtime = $16 AND attempt = $17`
)

// statements holds the prepared statements.
type statements struct {
	known                              *sql.Stmt // on a reading connection
	row, content, insert, lease, state *sql.Stmt // on the writing connection
}

func (s *statements) all() []**sql.Stmt {
	return []**sql.Stmt{&s.known, &s.row, &s.content, &s.insert, &s.lease, &s.state}
}

func (s *statements) prepare(ctx context.Context, w, r *sql.DB) error {
	text := []string{selectKey, selectKey, selectContent, insertRow, updateLease, updateState}
	for i, p := range s.all() {
		db := w
		if i == 0 {
			db = r
		}
		st, err := db.PrepareContext(ctx, text[i])
		if err != nil {
			return err
		}
		*p = st
	}
	return nil
}

func (s *statements) close() error {
	var err error
	for _, p := range s.all() {
		if *p != nil {
			err = errors.Join(err, (*p).Close())
			*p = nil
		}
	}
	return err
}

// transaction is one write transaction with the prepared statements.
type transaction struct {
	ctx context.Context
	tx  *sql.Tx
	st  *statements
}

// scanner is *sql.Row or *sql.Rows.
type scanner interface{ Scan(...any) error }

// scanRow reads one row of selectRows and checks its checksum.
func scanRow(s scanner) (Row, error) {
	var r Row
	var lease, notBefore, first, changed, crc int64
	var mark string
	err := s.Scan(&r.Device, &r.Path, &r.Name, &r.Size, &r.MTime, &r.State, &r.SHA256, &r.Stored, &r.AliasOf,
		&r.Records, &r.Reason, &r.Owner, &lease, &r.Attempt, &notBefore, &first, &changed, &mark, &crc, &r.Batch)
	if err != nil {
		return Row{}, err
	}
	r.Lease, r.NotBefore, r.First, r.Changed = fromMilli(lease), fromMilli(notBefore), fromMilli(first), fromMilli(changed)
	if crc != r.crc() || mark != stamp(r.Name) {
		return Row{}, about(r.Key, fmt.Errorf("%w: a row of the table pulled has a wrong checksum", ErrDamaged))
	}
	return r, nil
}

// crc returns the checksum of everything stored in the row; stamp follows from
// the name and the batch is stored elsewhere.
func (r *Row) crc() int64 {
	var c checksum
	c.text(r.Device, r.Path, r.Name, r.SHA256, r.Stored, r.AliasOf, r.Reason, r.Owner)
	c.number(r.Size, r.MTime, int64(r.State), r.Records, toMilli(r.Lease), int64(r.Attempt),
		toMilli(r.NotBefore), toMilli(r.First), toMilli(r.Changed))
	return c.sum()
}

// checksum is CRC-32C over length-prefixed texts and 64-bit numbers.
type checksum struct{ b []byte }

func (c *checksum) text(ss ...string) {
	for _, s := range ss {
		c.b = binary.LittleEndian.AppendUint32(c.b, uint32(len(s)))
		c.b = append(c.b, s...)
	}
}

func (c *checksum) number(ns ...int64) {
	for _, n := range ns {
		c.b = binary.LittleEndian.AppendUint64(c.b, uint64(n))
	}
}

func (c *checksum) sum() int64 {
	return int64(crc32.Checksum(c.b, crc32.MakeTable(crc32.Castagnoli)))
}

// stamp is the claim order of a name: what follows its first "-", which in
// act0102-20260102-030405.xml.gz is the creation time, so that the files of
// several policies and file-ids are fetched oldest first. A name without "-" is
// its own stamp.
func stamp(name string) string {
	if _, after, ok := strings.Cut(name, "-"); ok {
		return after
	}
	return name
}

// toMilli and fromMilli map the zero time to 0 and back.
func toMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// row reads the row of a key; ok is false if there is none.
func (t *transaction) row(k Key) (r Row, ok bool, err error) {
	return found(scanRow(t.tx.Stmt(t.st.row).QueryRowContext(t.ctx, k.Device, k.Path, k.Name, k.Size, k.MTime)))
}

// content reads the row that stands for a content in exports.
func (t *transaction) content(device, sha256 string) (r Row, ok bool, err error) {
	return found(scanRow(t.tx.Stmt(t.st.content).QueryRowContext(t.ctx, device, sha256)))
}

func found(r Row, err error) (Row, bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return Row{}, false, nil
	}
	return r, err == nil, err
}

// rows reads the rows of selectRows with the given end.
func (t *transaction) rows(where string, args ...any) ([]Row, error) {
	return collect(scanRow)(t.tx.QueryContext(t.ctx, selectRows+where, args...))
}

// insert adds a row; ok is false if the key is known already.
func (t *transaction) insert(r Row) (ok bool, err error) {
	return one(t.tx.Stmt(t.st.insert).ExecContext(t.ctx, r.Device, r.Path, r.Name, r.Size, r.MTime,
		int(r.State), r.SHA256, r.Stored, r.AliasOf, r.Records, r.Reason, r.Owner, toMilli(r.Lease), r.Attempt,
		toMilli(r.NotBefore), toMilli(r.First), toMilli(r.Changed), stamp(r.Name), r.crc()))
}

// saveLease writes owner, lease, attempt, reason and back-off of a row that had
// the given attempt.
func (t *transaction) saveLease(r Row, attempt int) error {
	return fenced(r.Key)(one(t.tx.Stmt(t.st.lease).ExecContext(t.ctx,
		r.Reason, r.Owner, toMilli(r.Lease), r.Attempt, toMilli(r.NotBefore), r.crc(),
		r.Device, r.Path, r.Name, r.Size, r.MTime, attempt)))
}

// saveState writes a change of state of a row whose attempt is unchanged.
func (t *transaction) saveState(r Row) error {
	return fenced(r.Key)(one(t.tx.Stmt(t.st.state).ExecContext(t.ctx,
		int(r.State), r.SHA256, r.Stored, r.AliasOf, r.Records, r.Reason,
		r.Owner, toMilli(r.Lease), toMilli(r.NotBefore), toMilli(r.Changed), r.crc(),
		r.Device, r.Path, r.Name, r.Size, r.MTime, r.Attempt)))
}

// fenced turns "no row changed" into ErrLeaseLost.
func fenced(k Key) func(bool, error) error {
	return func(changed bool, err error) error {
		if err == nil && !changed {
			err = ErrLeaseLost
		}
		if err != nil {
			return about(k, err)
		}
		return nil
	}
}

// one reports whether a statement changed a row.
func one(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n != 0, err
}

// collect reads all rows of a query result.
func collect[T any](scan func(scanner) (T, error)) func(*sql.Rows, error) ([]T, error) {
	return func(rows *sql.Rows, err error) ([]T, error) {
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var all []T
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, rows.Err()
	}
}

// check reports what makes a key unusable.
func (k Key) check() error {
	switch {
	case k.Device == "":
		return about(k, errors.New("the device has no name"))
	case k.Name == "":
		return about(k, errors.New("the file has no name"))
	case k.Size < 0:
		return about(k, fmt.Errorf("the size is %d", k.Size))
	case hasControl(k.Device):
		return about(k, errors.New("the name of the device has a control character"))
	}
	for _, s := range []string{k.Device, k.Path, k.Name} {
		if err := checkText(s); err != nil {
			return about(k, err)
		}
	}
	return nil
}

// checkText reports text that a database cannot hold exactly.
func checkText(s string) error {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return fmt.Errorf("%s is not UTF-8 text without NUL", quote(s))
	}
	return nil
}

// hasControl reports control characters: a device name is part of the lines
// that BatchID hashes.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// clean makes a reason storable: valid UTF-8 without NUL, at most 1 KiB.
func clean(reason string) string {
	const limit = 1024
	if len(reason) > limit {
		reason = reason[:limit]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(reason, "\uFFFD"), "\x00", "\uFFFD")
}

// checkSum reports a text that is not a SHA-256 in lower case hex.
func checkSum(s string) error {
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Errorf("%s is not a SHA-256 in lower case hex", quote(s))
	}
	return nil
}
