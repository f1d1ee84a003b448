package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Hold is a legal hold: what it touches is not deleted, whatever the retention.
// A hold is never removed from the ledger; one that was released says when, by
// whom and why.
type Hold struct {
	// ID is 1 for the first hold of a ledger, and never used again.
	ID int64
	// Device, Service and SAP say whose records are held; "" means all.
	Device, Service, SAP string
	// From and To bound the time of the records, To not included; zero means
	// no bound.
	From, To time.Time
	// Reason is why, Added when and By by whom.
	Reason string
	Added  time.Time
	By     string
	// Released is when the hold ended, zero while it is in force.
	Released      time.Time
	ReleasedBy    string
	ReleaseReason string
}

// InForce reports whether the hold was not released.
func (h Hold) InForce() bool { return h.Released.IsZero() }

const (
	selectHolds = `SELECT id, device, service, sap, from_ms, to_ms, reason, added, added_by, released, released_by, release_reason, crc
	FROM hold ORDER BY id`
	insertHold = `INSERT INTO hold (id, device, service, sap, from_ms, to_ms, reason, added, added_by, released, released_by, release_reason, crc)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
	updateHold = `UPDATE hold SET released = $1, released_by = $2, release_reason = $3, crc = $4 WHERE id = $5`
)

// holdsAlone is what transactions that read or change holds wait for each other
// by, see transaction.alone.
const holdsAlone = "holds"

func (h Hold) crc() int64 {
	var c checksum
	c.text(h.Device, h.Service, h.SAP, h.Reason, h.By, h.ReleasedBy, h.ReleaseReason)
	c.number(h.ID, toMilli(h.From), toMilli(h.To), toMilli(h.Added), toMilli(h.Released))
	return c.sum()
}

func scanHold(s scanner) (Hold, error) {
	var h Hold
	var from, to, added, released, crc int64
	if err := s.Scan(&h.ID, &h.Device, &h.Service, &h.SAP, &from, &to, &h.Reason, &added, &h.By, &released, &h.ReleasedBy, &h.ReleaseReason, &crc); err != nil {
		return h, err
	}
	h.From, h.To, h.Added, h.Released = fromMilli(from), fromMilli(to), fromMilli(added), fromMilli(released)
	return h, whole("hold", crc, h.crc())
}

// check makes a hold storable, or says what is wrong with it.
func (h *Hold) check() error {
	switch {
	case h.Device == "" && h.Service == "" && h.SAP == "" && h.From.IsZero() && h.To.IsZero():
		return errors.New("a hold names a device, a service, a SAP or a time")
	case !h.From.IsZero() && !h.To.IsZero() && !h.From.Before(h.To):
		return errors.New("the time of the hold ends before it begins")
	case strings.TrimSpace(h.Reason) == "" || strings.TrimSpace(h.By) == "":
		return errors.New("who holds, and why, must be said")
	case h.Added.IsZero():
		return errors.New("the hold has no time")
	}
	h.From, h.To, h.Added = round(h.From), round(h.To), round(h.Added)
	h.Reason, h.By = clean(h.Reason), clean(h.By)
	for _, s := range []string{h.Device, h.Service, h.SAP} {
		if hasControl(s) || len(s) > maxKey {
			return fmt.Errorf("%s cannot be the name of anything that is held", quote(s))
		}
		if err := checkText(s); err != nil {
			return err
		}
	}
	return nil
}

// AddHold puts a hold in force and returns it with its ID. ID and the fields of a
// release are ignored. Repeating a call with the same Added changes nothing.
//
// When AddHold returns, nothing that the hold touches is decided to expire any
// more; what the ledger had as expired before is gone.
func (l *Ledger) AddHold(ctx context.Context, h Hold) (Hold, error) {
	const op = "hold"
	if err := h.check(); err != nil {
		return Hold{}, l.fail(op, err)
	}
	h.Released, h.ReleasedBy, h.ReleaseReason = time.Time{}, "", ""
	err := l.write(ctx, op, func(t *transaction) error {
		holds, err := t.holds()
		if err != nil {
			return err
		}
		h.ID = 1
		for _, old := range holds {
			twin := h
			if twin.ID = old.ID; twin == old {
				h = old
				return nil
			}
			h.ID = old.ID + 1
		}
		_, err = t.exec(insertHold, h.ID, h.Device, h.Service, h.SAP, toMilli(h.From), toMilli(h.To), h.Reason,
			toMilli(h.Added), h.By, 0, "", "", h.crc())
		return err
	})
	if err != nil {
		return Hold{}, err
	}
	return h, nil
}

// ReleaseHold ends a hold and returns it. ErrUnknownHold if no hold of that ID is
// in force; the same release repeated is not an error.
func (l *Ledger) ReleaseHold(ctx context.Context, now time.Time, id int64, by, reason string) (Hold, error) {
	const op = "release hold"
	if strings.TrimSpace(by) == "" || strings.TrimSpace(reason) == "" || now.IsZero() {
		return Hold{}, l.fail(op, errors.New("who releases the hold, when and why must be said"))
	}
	var h Hold
	err := l.write(ctx, op, func(t *transaction) error {
		holds, err := t.holds()
		if err != nil {
			return err
		}
		for _, h = range holds {
			done := h
			done.Released, done.ReleasedBy, done.ReleaseReason = round(now), clean(by), clean(reason)
			switch {
			case h.ID != id:
				continue
			case done == h:
				return nil
			case !h.InForce():
				return fmt.Errorf("%w: hold %d was released at %s", ErrUnknownHold, id, h.Released.Format(time.RFC3339))
			}
			h = done
			_, err = t.exec(updateHold, toMilli(h.Released), h.ReleasedBy, h.ReleaseReason, h.crc(), h.ID)
			return err
		}
		return fmt.Errorf("%w: hold %d", ErrUnknownHold, id)
	})
	if err != nil {
		return Hold{}, err
	}
	return h, nil
}

// Holds returns all holds, released ones too, by ID.
func (l *Ledger) Holds(ctx context.Context) ([]Hold, error) {
	holds, err := collect(scanHold)(l.query(ctx, selectHolds))
	if err != nil {
		return nil, l.fail("read", err)
	}
	return holds, nil
}

// holds reads all holds, which nobody changes until the transaction ends.
func (t *transaction) holds() ([]Hold, error) {
	if err := t.alone(holdsAlone); err != nil {
		return nil, err
	}
	return collect(scanHold)(t.query(selectHolds))
}

// seen reports ErrHeld if a hold is in force that is not among those seen.
func (t *transaction) seen(holds []Hold) error {
	have, err := t.holds()
	if err != nil {
		return err
	}
	known := map[int64]bool{}
	for _, h := range holds {
		known[h.ID] = h.InForce()
	}
	for _, h := range have {
		if h.InForce() && !known[h.ID] {
			return fmt.Errorf("%w: hold %d", ErrHeld, h.ID)
		}
	}
	return nil
}
