package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Visit is what one or more sessions with a device found. Sessions that found
// the same are one Visit, so that a device where nothing happens costs no row for
// each poll.
type Visit struct {
	Device string
	// Began is when the first session began, Ended when the last one ended.
	Began, Ended time.Time
	// Count is the number of sessions, at least 1; AddVisit takes 0 as 1.
	Count int
	// Widest is the longest pause between the end of a session and the begin
	// of the next one; 0 for one session. It is kept in milliseconds.
	Widest time.Duration
	// Good says that the whole directory was listed and everything new in it
	// was fetched; Error says why not.
	Good  bool
	Error string
	// Listed is how many files were listed, Oldest the name of the oldest.
	Listed int
	Oldest string
	// The clock of the device minus ours is from SkewMin to SkewMax, over the
	// sessions that measured it; both 0 if none did. In milliseconds.
	SkewMin, SkewMax time.Duration
}

// visitRow is a row of visit, in milliseconds.
type visitRow struct {
	id             int64
	v              Visit
	began, ended   int64
	widest, good   int64
	least, greater int64
}

const (
	selectVisits = `SELECT id, device, began, ended, visits, widest_ms, good, error, listed, oldest, skew_min_ms, skew_max_ms, crc FROM visit `
	lastVisit    = `WHERE device = $1 ORDER BY id DESC LIMIT 1`
	visitsIn     = `WHERE device = $1 AND ended >= $2 AND began < $3 ORDER BY ended, id`

	insertVisit = `INSERT INTO visit (device, began, ended, visits, widest_ms, good, error, listed, oldest, skew_min_ms, skew_max_ms, crc)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`
	updateVisit = `UPDATE visit SET ended = $1, visits = $2, widest_ms = $3, skew_min_ms = $4, skew_max_ms = $5, crc = $6 WHERE id = $7`
)

// crc does not cover id, which has no meaning.
func (x visitRow) crc() int64 {
	var c checksum
	c.text(x.v.Device, x.v.Error, x.v.Oldest)
	c.number(x.began, x.ended, int64(x.v.Count), x.widest, x.good, int64(x.v.Listed), x.least, x.greater)
	return c.sum()
}

func scanVisit(s scanner) (visitRow, error) {
	var x visitRow
	var crc int64
	v := &x.v
	err := s.Scan(&x.id, &v.Device, &x.began, &x.ended, &v.Count, &x.widest, &x.good, &v.Error, &v.Listed, &v.Oldest, &x.least, &x.greater, &crc)
	if err != nil {
		return x, err
	}
	v.Began, v.Ended, v.Good = fromMilli(x.began), fromMilli(x.ended), x.good != 0
	v.Widest, v.SkewMin, v.SkewMax = milliseconds(x.widest), milliseconds(x.least), milliseconds(x.greater)
	return x, whole("visit", crc, x.crc())
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// visitOf checks a visit and makes its row.
func visitOf(v Visit) (visitRow, error) {
	v.Count = max(v.Count, 1)
	v.Error = clean(v.Error)
	x := visitRow{v: v, began: toMilli(v.Began), ended: toMilli(v.Ended), widest: v.Widest.Milliseconds(),
		least: floorMilli(v.SkewMin), greater: -floorMilli(-v.SkewMax)}
	if v.Good {
		x.good = 1
	}
	var err error
	switch {
	case v.Device == "" || hasControl(v.Device):
		err = errors.New("the device has no usable name")
	case v.Began.IsZero() || x.ended < x.began:
		err = fmt.Errorf("a visit from %v to %v", v.Began, v.Ended)
	case v.Listed < 0 || v.Widest < 0 || v.SkewMin > v.SkewMax:
		err = fmt.Errorf("a visit with %d files, a pause of %v and a clock from %v to %v", v.Listed, v.Widest, v.SkewMin, v.SkewMax)
	case v.Good != (v.Error == ""):
		err = errors.New("a visit is good, or says why not")
	}
	if err = errors.Join(err, checkText(v.Device), checkText(v.Oldest)); err != nil {
		return x, about(Key{Device: v.Device}, err)
	}
	return x, nil
}

// floorMilli rounds down, so that an interval never gets narrower.
func floorMilli(d time.Duration) int64 {
	n := d.Milliseconds()
	if time.Duration(n)*time.Millisecond > d {
		n--
	}
	return n
}

// known says that the clock was measured.
func (x visitRow) known() bool { return x.least != 0 || x.greater != 0 }

// join merges a later visit into x, if it found the same. The clock may be known
// more or less exactly, and drift: the two intervals must touch, and what they
// span together stays as exact as a session is, within 2 s.
func (x visitRow) join(n visitRow) (visitRow, bool) {
	if x.good != n.good || x.v.Error != n.v.Error || x.v.Listed != n.v.Listed || x.v.Oldest != n.v.Oldest || n.began < x.ended {
		return x, false
	}
	if n.known() {
		if x.known() {
			const exact = 2000
			least, greater := min(x.least, n.least), max(x.greater, n.greater)
			if n.least > x.greater || x.least > n.greater || greater-least > 2*(n.greater-n.least)+exact {
				return x, false
			}
			n.least, n.greater = least, greater
		}
		x.least, x.greater = n.least, n.greater
	}
	x.widest = max(x.widest, n.widest, n.began-x.ended)
	x.ended = n.ended
	x.v.Count += n.v.Count
	return x, true
}

// AddVisit records what a visit found. It becomes part of the last visit of the
// device if that found the same: as good, with the same error, as many files and
// the same oldest one, and the same clock. Repeating a call is harmless.
func (l *Ledger) AddVisit(ctx context.Context, v Visit) error {
	const op = "visit"
	x, err := visitOf(v)
	if err != nil {
		return l.fail(op, err)
	}
	return l.write(ctx, op, func(t *transaction) error { return t.addVisit(x) })
}

func (t *transaction) addVisit(x visitRow) error {
	last, err := scanVisit(t.queryRow(selectVisits+lastVisit+t.e.forUpdate, x.v.Device))
	if err == nil {
		if last.ended == x.ended && last.began <= x.began && x.ended > x.began {
			return nil // this visit is recorded already
		}
		if last, ok := last.join(x); ok {
			_, err = t.exec(updateVisit, last.ended, last.v.Count, last.widest, last.least, last.greater, last.crc(), last.id)
			return err
		}
	} else if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	_, err = t.exec(insertVisit, x.v.Device, x.began, x.ended, x.v.Count, x.widest, x.good, x.v.Error,
		x.v.Listed, x.v.Oldest, x.least, x.greater, x.crc())
	return err
}

// Visits yields the visits of a device that touch the time from up to before to,
// by their end. It ends after an error.
func (l *Ledger) Visits(ctx context.Context, device string, from, to time.Time) iter.Seq2[Visit, error] {
	return func(yield func(Visit, error) bool) {
		stream(l, scanVisit, func(x visitRow) bool { return yield(x.v, nil) }, func(err error) { yield(Visit{}, err) })(
			l.query(ctx, selectVisits+visitsIn, device, toMilli(from), toMilli(to)))
	}
}
