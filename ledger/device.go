package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DeviceClaim is the right to visit a device. It is void as soon as somebody else
// takes the device, which the Attempt tells.
type DeviceClaim struct {
	Device, Owner string
	Attempt       int
}

// DeviceState is what all nodes know of a device: together the schedule that they
// share.
type DeviceState struct {
	Device string
	// Version grows with every FinishDevice that brings a state, over all
	// devices: of two states the one with the higher version is newer. 0
	// means that no visit was finished yet.
	Version int64
	// State is what the last FinishDevice was given, nil if there was none.
	State []byte
	// Site is that of the last TakeDevice.
	Site string
	// Owner may visit the device until Lease; "" if nobody does.
	Owner string
	Lease time.Time
}

// deviceRow is a row of device. lease is in milliseconds.
type deviceRow struct {
	device, site, state     string
	version, lease, attempt int64
	owner                   string
}

const (
	selectDevices = `SELECT device, site, state, version, owner, lease_until, attempt, crc FROM device `
	deviceByName  = `WHERE device = $1`
	devicesOf     = `WHERE owner = $1 AND owner <> '' ORDER BY device`
	devicesSince  = `WHERE version > $1 ORDER BY version`
	heldAtSite    = `SELECT COUNT(*) FROM device WHERE owner <> '' AND site = $1 AND lease_until >= $2`
	lastVersion   = `SELECT COALESCE(MAX(version), 0) FROM device`

	insertDevice = `INSERT INTO device (device, site, state, version, owner, lease_until, attempt, crc)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`
	updateDevice = `UPDATE device SET site = $2, state = $3, version = $4, owner = $5, lease_until = $6, attempt = $7, crc = $8
	WHERE device = $1`
)

func (x deviceRow) crc() int64 {
	var c checksum
	c.text(x.device, x.site, x.state, x.owner)
	c.number(x.version, x.lease, x.attempt)
	return c.sum()
}

// values are the columns in the order of insertDevice and updateDevice.
func (x deviceRow) values() []any {
	return []any{x.device, x.site, x.state, x.version, x.owner, x.lease, x.attempt, x.crc()}
}

func scanDevice(s scanner) (deviceRow, error) {
	var x deviceRow
	var crc int64
	if err := s.Scan(&x.device, &x.site, &x.state, &x.version, &x.owner, &x.lease, &x.attempt, &crc); err != nil {
		return x, err
	}
	return x, whole("device", crc, x.crc())
}

func (x deviceRow) public() DeviceState {
	s := DeviceState{Device: x.device, Version: x.version, Site: x.site, Owner: x.owner, Lease: fromMilli(x.lease)}
	if x.state != "" {
		s.State = []byte(x.state)
	}
	return s
}

// device reads the row of a device, and makes it if there is none.
func (t *transaction) device(name string) (deviceRow, error) {
	for range 2 {
		rows, err := t.devices(deviceByName, name)
		if err != nil {
			return deviceRow{}, err
		}
		if len(rows) == 1 && rows[0].device == name {
			return rows[0], nil
		}
		if _, err := t.exec(insertDevice, deviceRow{device: name}.values()...); err != nil {
			return deviceRow{}, err
		}
	}
	return deviceRow{}, about(Key{Device: name}, fmt.Errorf("%w: an index has an entry without a row", ErrDamaged))
}

// devices reads rows of selectDevices that the transaction may change.
func (t *transaction) devices(where string, args ...any) ([]deviceRow, error) {
	return collect(scanDevice)(t.query(selectDevices+where+t.e.forUpdate, args...))
}

func (t *transaction) saveDevice(x deviceRow) error {
	_, err := t.exec(updateDevice, x.values()...)
	return err
}

// claimedDevice reads the row of a claim that still holds. With ErrLeaseLost it
// returns the row as it is.
func (t *transaction) claimedDevice(c DeviceClaim) (deviceRow, error) {
	rows, err := t.devices(deviceByName, c.Device)
	if err != nil {
		return deviceRow{}, err
	}
	var x deviceRow
	if len(rows) == 1 {
		x = rows[0]
	}
	if x.owner != c.Owner || c.Owner == "" || x.attempt != int64(c.Attempt) {
		return x, about(Key{Device: c.Device}, ErrLeaseLost)
	}
	return x, nil
}

// TakeDevice gives the owner the right to visit a device until now+lease. seen is
// the version of the state that the owner decided by. The state that it returns is
// that before: an Owner in it did not finish, and has lost the device now.
//
// ok is false, and the state tells why, if somebody holds the device at now
// (Owner, Lease), if its state is newer than seen (Version), so that a visit may
// no longer be due, or, with neither, if perSite devices of the site are held; a
// perSite of 0 or a site "" sets no bound. The clocks of the owners must agree to
// much less than a lease, or devices wait longer and are visited twice; nothing
// worse can come of it, because every later step is fenced by the claim.
func (l *Ledger) TakeDevice(ctx context.Context, now time.Time, device, owner string, lease time.Duration, site string, perSite int, seen int64) (c DeviceClaim, s DeviceState, ok bool, err error) {
	const op = "take"
	if err := checkLease(owner, lease); err != nil {
		return c, s, false, l.fail(op, err)
	}
	if device == "" || hasControl(device) || checkText(device) != nil || checkText(site) != nil {
		return c, s, false, l.fail(op, fmt.Errorf("the device %s at site %s has no usable name", quote(device), quote(site)))
	}
	tried := int64(0) // the attempt that an earlier run of the transaction wrote
	err = l.write(ctx, op, func(t *transaction) error {
		ok = false
		bound := site != "" && perSite > 0
		if bound {
			// Owners that count at the same time must not both see room.
			if err := t.alone("site " + site); err != nil {
				return err
			}
		}
		x, err := t.device(device)
		if err != nil {
			return err
		}
		if tried != 0 && x.owner == owner && x.attempt == tried {
			c, ok = DeviceClaim{Device: device, Owner: owner, Attempt: int(x.attempt)}, true
			return nil
		}
		held := x.owner != "" && x.lease >= toMilli(now)
		if held || x.version > seen {
			s = x.public()
			return nil
		}
		if bound {
			var others int
			if err := t.queryRow(heldAtSite, site, toMilli(now)).Scan(&others); err != nil {
				return err
			}
			if others >= perSite {
				x.owner = ""
				s = x.public()
				return nil
			}
		}
		s = x.public()
		x.owner, x.site, x.lease, x.attempt = owner, site, toMilli(now.Add(lease)), x.attempt+1
		tried = x.attempt
		c, ok = DeviceClaim{Device: device, Owner: owner, Attempt: int(x.attempt)}, true
		return t.saveDevice(x)
	})
	if err != nil || !ok {
		return DeviceClaim{}, s, false, err
	}
	return c, s, true, nil
}

// RenewDevices makes the leases of all devices of an owner last until now+lease
// and returns the devices: a device that is missing was taken by somebody else,
// and its visit should be ended.
func (l *Ledger) RenewDevices(ctx context.Context, now time.Time, owner string, lease time.Duration) (held []string, err error) {
	const op = "renew"
	if err := checkLease(owner, lease); err != nil {
		return nil, l.fail(op, err)
	}
	err = l.write(ctx, op, func(t *transaction) error {
		held = nil
		rows, err := t.devices(devicesOf, owner)
		if err != nil {
			return err
		}
		for _, x := range rows {
			held = append(held, x.device)
			x.lease = toMilli(now.Add(lease))
			if err := t.saveDevice(x); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return held, nil
}

// FinishDevice ends a claim, and in the same transaction records the new state of
// the device and what the visits found. It returns the version of the state. A
// nil state leaves state and version as they are: the visit says nothing about
// the device. ErrLeaseLost means that somebody else has taken the device, and
// nothing was recorded. Repeating a call that was recorded is harmless.
func (l *Ledger) FinishDevice(ctx context.Context, now time.Time, c DeviceClaim, state []byte, visits ...Visit) (version int64, err error) {
	const op = "finish"
	rows := make([]visitRow, len(visits))
	for i, v := range visits {
		var err error
		if rows[i], err = visitOf(v); err == nil && v.Device != c.Device {
			err = about(Key{Device: c.Device}, fmt.Errorf("a visit of the device %s", quote(v.Device)))
		}
		if err != nil {
			return 0, l.fail(op, err)
		}
	}
	if err := checkText(string(state)); err != nil || state != nil && len(state) == 0 {
		return 0, l.fail(op, about(Key{Device: c.Device}, errors.Join(err, errors.New("the state is no text"))))
	}
	err = l.write(ctx, op, func(t *transaction) error {
		x, err := t.claimedDevice(c)
		if errors.Is(err, ErrLeaseLost) && x.attempt == int64(c.Attempt) && x.owner == "" && state != nil && x.state == string(state) {
			version = x.version // it was recorded already
			return nil
		}
		if err != nil {
			return err
		}
		for _, v := range rows {
			if err := t.addVisit(v); err != nil {
				return err
			}
		}
		x.owner, x.lease = "", 0
		if state != nil {
			// Versions must become visible in their order, or DeviceStates
			// would leave one out for ever.
			if err := t.alone("device versions"); err != nil {
				return err
			}
			if err := t.queryRow(lastVersion).Scan(&x.version); err != nil {
				return err
			}
			x.version++
			x.state = string(state)
		}
		version = x.version
		return t.saveDevice(x)
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// DeviceStates returns the states with a version greater than since, by version:
// what changed since the last look. -1 also gives the devices of which no visit
// was finished yet.
func (l *Ledger) DeviceStates(ctx context.Context, since int64) ([]DeviceState, error) {
	states, err := collect(func(s scanner) (DeviceState, error) {
		x, err := scanDevice(s)
		return x.public(), err
	})(l.query(ctx, selectDevices+devicesSince, since))
	if err != nil {
		return nil, l.fail("read", err)
	}
	return states, nil
}

// VoidClaims gives back every claim on a file of the device, and returns how many
// there were: whoever begins a visit knows that those who held them are dead or
// have lost the device. ErrLeaseLost means that the device is somebody else's.
func (l *Ledger) VoidClaims(ctx context.Context, c DeviceClaim) (int, error) {
	return l.giveBack(ctx, func(t *transaction) (int, error) {
		if _, err := t.claimedDevice(c); err != nil {
			return 0, err
		}
		return t.releaseFiles(func(r line) bool { return r.Device == c.Device }, claimedOn, c.Device)
	})
}

// ReleaseOwner gives back every claim of an owner that is known to be dead, on
// files, devices and batches, and returns how many there were. A process that
// holds the lock of its data directory and always uses the same owner calls it
// at start, so that it need not wait for the leases of the process that was
// killed before it.
func (l *Ledger) ReleaseOwner(ctx context.Context, owner string) (int, error) {
	return l.giveBack(ctx, func(t *transaction) (int, error) {
		n, err := t.releaseFiles(func(r line) bool { return r.Owner == owner }, ownedBy, owner)
		if err != nil {
			return 0, err
		}
		devices, err := t.devices(devicesOf, owner)
		if err != nil {
			return 0, err
		}
		for _, x := range devices {
			x.owner, x.lease = "", 0
			if err := t.saveDevice(x); err != nil {
				return 0, err
			}
		}
		batches, err := collect(scanBatch)(t.query(selectBatches+batchesOf+t.e.forUpdate, owner))
		if err != nil {
			return 0, err
		}
		for _, h := range batches {
			h.owner, h.lease = "", 0
			if err := t.saveBatchHead(h); err != nil {
				return 0, err
			}
		}
		return n + len(devices) + len(batches), nil
	})
}

func (l *Ledger) giveBack(ctx context.Context, f func(*transaction) (int, error)) (n int, err error) {
	err = l.write(ctx, "release", func(t *transaction) (err error) {
		n, err = f(t)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// releaseFiles ends the leases of the rows that a query finds.
func (t *transaction) releaseFiles(asked func(line) bool, where string, args ...any) (int, error) {
	rows, err := t.rows(func(r line) bool { return r.State == Discovered && asked(r) }, where+t.e.forUpdate, args...)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		r.Owner, r.Lease = "", time.Time{}
		if err := t.saveLease(r, r.Attempt); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}
