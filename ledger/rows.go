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

// selectRows reads rows in the order of scanRow.
const (
	rowColumns = `pulled.id, pulled.device, path, name, size, mtime, stamp, state, sha256, stored, alias_of, batch,
	records, reason, owner, lease_until, attempt, not_before, first_seen, changed, pulled.expired, pulled.crc`
	selectRows = `SELECT ` + rowColumns + ` FROM pulled `
)

// How selectRows ends where several rows are meant.
const (
	claimable = `WHERE state = 0 AND device = $1 AND lease_until < $2 AND not_before <= $2
	ORDER BY stamp, name, path, size, mtime LIMIT $3`

	ownedBy = `WHERE state = 0 AND owner = $1`

	// claimedOn is ordered as the index that it must use.
	claimedOn = `WHERE state = 0 AND device = $1 AND owner <> '' ORDER BY stamp, name, path, size, mtime`

	ready = `WHERE state = 1 AND alias_of = '' AND batch = '' ORDER BY device, name, sha256 LIMIT $1`

	inBatch = `WHERE batch = $1 AND batch <> ''`

	aliasesOfBatch = `WHERE alias_of <> '' AND (device, sha256) IN (SELECT device, sha256 FROM pulled WHERE batch = $1 AND batch <> '')`
)

// aliasesOf ends the SELECT of the aliases of one content.
const aliasesOf = `WHERE device = $1 AND sha256 = $2 AND alias_of <> ''`

// The statements that are run for many rows.
const (
	selectKey = selectRows + `WHERE device = $1 AND path = $2 AND name = $3 AND size = $4 AND mtime = $5`

	// selectContent reads the row that stands for a content in exports.
	selectContent = selectRows +
		`WHERE device = $1 AND sha256 = $2 AND sha256 <> '' AND alias_of = ''`
	insertRow = `INSERT INTO pulled (device, path, name, size, mtime, stamp, state, sha256, stored, alias_of, batch,
	records, reason, owner, lease_until, attempt, not_before, first_seen, changed, expired, crc)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
	ON CONFLICT DO NOTHING`

	// updateLease writes what a claim or a release changes; no index has it.
	updateLease = `UPDATE pulled SET reason = $1, owner = $2, lease_until = $3, attempt = $4, not_before = $5, crc = $6
	WHERE id = $7 AND attempt = $8`

	// updateStored writes the outcome of a claim; the attempt is the fence.
	updateStored = `UPDATE pulled SET state = $1, sha256 = $2, stored = $3, alias_of = $4, reason = $5,
	owner = $6, lease_until = $7, not_before = $8, changed = $9, expired = $10, crc = $11 WHERE id = $12 AND attempt = $13`

	// updateBatch puts a row that is in no batch into one.
	updateBatch = `UPDATE pulled SET batch = $1, crc = $2 WHERE id = $3 AND batch = ''`

	// leaveBatch takes a row out of its batch; saveStored writes the rest.
	leaveBatch = `UPDATE pulled SET batch = '', crc = $1 WHERE id = $2 AND batch = $3`

	// updateSettled writes the outcome of a batch.
	updateSettled = `UPDATE pulled SET state = $1, records = $2, reason = $3, changed = $4, crc = $5 WHERE id = $6 AND attempt = $7`
)

// scanner is *sql.Row or *sql.Rows.
type scanner interface{ Scan(...any) error }

// line is a row with its place in the table and its column stamp.
type line struct {
	Row
	id   int64
	mark string
}

// scanRow reads one row of selectRows and checks its checksum.
func scanRow(s scanner) (line, error) {
	r := &line{}
	n := &rowNumbers{}
	if err := s.Scan(n.targets(r)...); err != nil {
		return line{}, err
	}
	return *r, n.finish(r)
}

// rowNumbers are the columns of a row that are not stored as they are used.
type rowNumbers struct{ lease, notBefore, first, changed, expired, crc int64 }

// targets are where Scan puts rowColumns.
func (n *rowNumbers) targets(r *line) []any {
	return []any{&r.id, &r.Device, &r.Path, &r.Name, &r.Size, &r.MTime, &r.mark, &r.State, &r.SHA256, &r.Stored, &r.AliasOf, &r.Batch,
		&r.Records, &r.Reason, &r.Owner, &n.lease, &r.Attempt, &n.notBefore, &n.first, &n.changed, &n.expired, &n.crc}
}

// finish completes a row that was scanned and checks its checksum.
func (n *rowNumbers) finish(r *line) error {
	r.Lease, r.NotBefore, r.First, r.Changed = fromMilli(n.lease), fromMilli(n.notBefore), fromMilli(n.first), fromMilli(n.changed)
	r.Expired = fromMilli(n.expired)
	if n.crc != r.crc() || r.mark != stamp(r.Name) {
		return about(r.Key, fmt.Errorf("%w: a row of the table pulled has a wrong checksum", ErrDamaged))
	}
	return nil
}

// crc returns the checksum of everything stored in the row; stamp follows from
// the name.
func (r *Row) crc() int64 {
	var c checksum
	c.text(r.Device, r.Path, r.Name, r.SHA256, r.Stored, r.AliasOf, r.Batch, r.Reason, r.Owner)
	c.number(r.Size, r.MTime, int64(r.State), r.Records, toMilli(r.Lease), int64(r.Attempt),
		toMilli(r.NotBefore), toMilli(r.First), toMilli(r.Changed))
	c.expiry(r.Expired)
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

// expiry adds the column that version 3 added, unless it is 0: rows that were
// written before keep their checksum.
func (c *checksum) expiry(at time.Time) {
	if !at.IsZero() {
		c.number(toMilli(at))
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
func (t *transaction) row(k Key) (r line, ok bool, err error) {
	return rowOf(t.ctx, t.stmt(selectKey+t.e.forUpdate), k)
}

func rowOf(ctx context.Context, st *sql.Stmt, k Key) (line, bool, error) {
	r, err := scanRow(st.QueryRowContext(ctx, k.Device, k.Path, k.Name, k.Size, k.MTime))
	if errors.Is(err, sql.ErrNoRows) {
		return line{}, false, nil
	}
	return r, err == nil, expect(r, r.Key == k, err)
}

// content reads the row that stands for a content in exports.
func (t *transaction) content(device, sha256 string) (line, bool, error) {
	r, err := scanRow(t.queryRow(selectContent+t.e.forUpdate, device, sha256))
	if errors.Is(err, sql.ErrNoRows) {
		return line{}, false, nil
	}
	return r, err == nil, expect(r, r.Device == device && r.SHA256 == sha256 && r.AliasOf == "", err)
}

// expect turns a row that is not what was asked for into ErrDamaged: its index
// points to it by a damaged entry.
func expect(r line, asked bool, err error) error {
	if err == nil && !asked {
		err = about(r.Key, fmt.Errorf("%w: an index leads to a row that was not asked for", ErrDamaged))
	}
	return err
}

// rows reads the rows of selectRows with the given end. Each must be one that
// the end asks for.
func (t *transaction) rows(asked func(line) bool, where string, args ...any) ([]line, error) {
	return asRows(asked)(t.query(selectRows+where, args...))
}

// asRows reads rows and checks each with asked.
func asRows(asked func(line) bool) func(*sql.Rows, error) ([]line, error) {
	return collect(func(s scanner) (line, error) {
		r, err := scanRow(s)
		return r, expect(r, err != nil || asked(r), err)
	})
}

// insert adds a row; ok is false if the key is known already, or if another row
// stands for its content. The facts of the row are not written.
func (t *transaction) insert(r Row) (ok bool, err error) {
	return one(t.exec(insertRow, r.Device, r.Path, r.Name, r.Size, r.MTime, stamp(r.Name),
		int(r.State), r.SHA256, r.Stored, r.AliasOf, r.Batch, r.Records, r.Reason, r.Owner, toMilli(r.Lease), r.Attempt,
		toMilli(r.NotBefore), toMilli(r.First), toMilli(r.Changed), toMilli(r.Expired), r.crc()))
}

// saveLease writes owner, lease, attempt, reason and back-off of a row that had
// the given attempt.
func (t *transaction) saveLease(r line, attempt int) error {
	return fenced(r)(one(t.exec(updateLease,
		r.Reason, r.Owner, toMilli(r.Lease), r.Attempt, toMilli(r.NotBefore), r.crc(), r.id, attempt)))
}

// saveStored writes the outcome of a claim, or what AddLocal changes.
func (t *transaction) saveStored(r line) error {
	return fenced(r)(one(t.exec(updateStored,
		int(r.State), r.SHA256, r.Stored, r.AliasOf, r.Reason, r.Owner, toMilli(r.Lease), toMilli(r.NotBefore),
		toMilli(r.Changed), toMilli(r.Expired), r.crc(), r.id, r.Attempt)))
}

// saveSettled writes the outcome of a batch.
func (t *transaction) saveSettled(r line) error {
	return fenced(r)(one(t.exec(updateSettled,
		int(r.State), r.Records, r.Reason, toMilli(r.Changed), r.crc(), r.id, r.Attempt)))
}

// saveBatch puts a row that is in no batch into r.Batch.
func (t *transaction) saveBatch(r line) error {
	ok, err := one(t.exec(updateBatch, r.Batch, r.crc(), r.id))
	if err == nil && !ok {
		err = fmt.Errorf("%w: the file is in a batch already", ErrConflict)
	}
	if err != nil {
		return about(r.Key, err)
	}
	return nil
}

// fenced turns "no row changed" into ErrLeaseLost.
func fenced(r line) func(bool, error) error {
	return func(changed bool, err error) error {
		if err == nil && !changed {
			err = ErrLeaseLost
		}
		if err != nil {
			return about(r.Key, err)
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

// maxKey bounds the texts of a key: an entry of an index of PostgreSQL holds 2,704
// bytes, and pulled_claim has the name almost twice.
const maxKey = 2400

// check reports what makes a key unusable.
func (k Key) check() error {
	switch {
	case k.Device == "":
		return about(k, errors.New("the device has no name"))
	case k.Name == "":
		return about(k, errors.New("the file has no name"))
	case k.Size < 0:
		return about(k, fmt.Errorf("the size is %d", k.Size))
	case len(k.Device)+len(k.Path)+2*len(k.Name) > maxKey:
		return about(k, fmt.Errorf("device, path and name are too long: %d bytes with the name counted twice, the limit is %d", len(k.Device)+len(k.Path)+2*len(k.Name), maxKey))
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
