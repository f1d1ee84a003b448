// Package expiry is retention on the central side: how long the raw archive and
// the days of the dataset are kept after they came here. It decides, purely, with
// a reason for every file; and it sweeps, within a bound of time, in an order in
// which a crash at any moment loses nothing: the ledger says that a file has
// expired before its bytes go, and never forgets what it was.
//
// What is kept whatever the retention: files that are not exported, files in
// quarantine, everything of a billing month that is open or whose proof is kept,
// and everything that a legal hold touches.
package expiry

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"acctpull/ledger"
	"acctpull/retention"
)

// Location is what a file-id holds for.
type Location string

// The locations.
const (
	// Archive has accounting files as they came off the devices.
	Archive Location = "archive"
	// Dataset has days of tables.
	Dataset Location = "dataset"
)

// FileID says how long something is kept.
type FileID struct {
	ID       int
	Location Location
	// Retention is how long; it must be more than 0.
	Retention time.Duration
	// Records and Groups say what it holds for; none is everything. In the
	// dataset a record is a table.
	Records, Groups []string
}

// names reports whether the file-id names what it holds for.
func (f *FileID) names() bool { return len(f.Records)+len(f.Groups) > 0 }

// holds reports whether the file-id holds for an item.
func (f *FileID) holds(it *Item) bool {
	return f.Location == it.Location && f.Retention > 0 &&
		(len(f.Records) == 0 || slices.Contains(f.Records, it.Record)) &&
		(len(f.Groups) == 0 || slices.ContainsFunc(f.Groups, func(g string) bool { return slices.Contains(it.Groups, g) }))
}

// Policy is what expires and when. The zero value keeps everything.
type Policy struct {
	FileIDs []FileID
	// ClosesAfter is how long after its end a billing month closes, KeepProof
	// how long after that everything of it is kept whatever the retention.
	ClosesAfter, KeepProof time.Duration
	// Zone is the time zone of billing months; nil means UTC.
	Zone *time.Location
	// Names reports whether rows of a record can name services, and SAPs; nil
	// means that all can.
	Names func(record string) (service, sap bool)
}

// fileID returns the file-id that holds for an item, nil if there is none. One
// that names what it holds for comes before one that does not; of several of the
// same kind the longest retention holds.
func (p *Policy) fileID(it *Item) *FileID {
	var best *FileID
	for i := range p.FileIDs {
		f := &p.FileIDs[i]
		if !f.holds(it) {
			continue
		}
		if best == nil || f.names() && !best.names() || f.names() == best.names() && f.Retention > best.Retention {
			best = f
		}
	}
	return best
}

// shortest returns the shortest retention of a location; ok is false if nothing of
// it ever expires.
func (p *Policy) shortest(l Location) (d time.Duration, ok bool) {
	for _, f := range p.FileIDs {
		if f.Location == l && f.Retention > 0 && (!ok || f.Retention < d) {
			d, ok = f.Retention, true
		}
	}
	return d, ok
}

// closes returns when the billing month that an instant is in is closed.
func (p *Policy) closes(at time.Time) time.Time {
	zone := p.Zone
	if zone == nil {
		zone = time.UTC
	}
	y, m, _ := at.In(zone).Date()
	return time.Date(y, m+1, 1, 0, 0, 0, 0, zone).Add(p.ClosesAfter)
}

// Item is one thing that is kept or removed as a whole: an accounting file, or a
// day of a table.
type Item struct {
	Location Location
	// Path is where it is: in the depot, or in the dataset.
	Path string
	// Device and Groups say whose file it is; a day of a table is everybody's.
	Device string
	Groups []string
	// Record is the record name or the table, "" if it is not known.
	Record string
	// Files and Bytes are what it has.
	Files int
	Bytes int64
	// Came is when it came here, or was last written to, by our clock; zero if
	// that is not known.
	Came time.Time
	// From and To bound the times of its records, by the clock of the device;
	// zero if they are not known.
	From, To time.Time
	// State is that of the file in the ledger; a day of a table is Exported.
	State ledger.State
	// Busy is why it cannot go now, whatever its age; "" if it can.
	Busy string
}

// Reason says why an item is removed or kept.
type Reason string

// Every reason there is. Of several the first of this list is given.
const (
	NotExported Reason = "not exported"       // kept: its records are not in the dataset
	Quarantined Reason = "quarantined"        // kept: nobody has decided about it
	NoFileID    Reason = "no file-id"         // kept: nobody says how long
	NoDate      Reason = "no date"            // kept: nothing says when it came
	Retained    Reason = "retained"           // kept: its time is not over
	OpenMonth   Reason = "open billing month" // kept: its month is not closed
	Proof       Reason = "proof of a month"   // kept: keep-proof is not over
	Held        Reason = "held"               // kept: a legal hold touches it
	Busy        Reason = "in use"             // kept: see Decision.Note
	Expired     Reason = "expired"            // removed
)

// Decision is what is to be done with one item, and why.
type Decision struct {
	Item
	Remove bool
	Reason Reason
	// FileID holds for the item; 0 if none does.
	FileID int
	// Expires is when its retention ends or ended; zero if that cannot be told.
	Expires time.Time
	// Note says more: which hold, until when, or what uses it.
	Note string
}

// slack is how far two clocks are apart at the most that are both right: a day and
// a slip of the time zone or of summer time, as in the sweep of a device.
const slack = 26 * time.Hour

// longest is how old records are at the most when their file comes here: a file
// is open for up to a week (SR OS, "rollover", at most 10,080 minutes), and a
// device keeps it for up to 500 h (SR OS, "retention").
const longest = (7*24+500)*time.Hour + slack

// base is the instant that retention counts from: when the records ended or when
// the item came here, whichever is later. Records cannot be younger than that, so
// a device whose clock is ahead changes nothing.
func (it *Item) base() time.Time {
	switch {
	case it.Came.IsZero():
		return it.To
	case it.To.After(it.Came) && !it.To.After(it.Came.Add(slack)):
		return it.To
	}
	return it.Came
}

// Decide says what is done with an item at the instant now, under the holds that
// are in force. It is pure.
func (p *Policy) Decide(it Item, holds []ledger.Hold, now time.Time) Decision {
	d := Decision{Item: it}
	f := p.fileID(&it)
	if f != nil {
		d.FileID = f.ID
	}
	base := it.base()
	month := p.closes(base.Add(-1))
	if f != nil && !base.IsZero() {
		d.Expires = base.Add(f.Retention)
	}
	switch {
	case it.State == ledger.Quarantined:
		d.Reason = Quarantined
	case it.State != ledger.Exported:
		d.Reason = NotExported
	case f == nil:
		d.Reason = NoFileID
	case base.IsZero():
		d.Reason = NoDate
	case !d.Expires.Before(now):
		d.Reason = Retained
	case !month.Before(now):
		d.Reason, d.Note = OpenMonth, "closes "+stamp(month)
	case p.KeepProof > 0 && !month.Add(p.KeepProof).Before(now):
		d.Reason, d.Note = Proof, "until "+stamp(month.Add(p.KeepProof))
	default:
		if id, held := p.held(&it, holds); held {
			d.Reason, d.Note = Held, fmt.Sprintf("hold %d", id)
		} else if it.Busy != "" {
			d.Reason, d.Note = Busy, it.Busy
		} else {
			d.Remove, d.Reason = true, Expired
		}
	}
	return d
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Plan decides for each item, in the given order. It is pure: the sweep and the
// dry run make the same decisions.
func (p *Policy) Plan(items []Item, holds []ledger.Hold, now time.Time) []Decision {
	plan := make([]Decision, len(items))
	for i, it := range items {
		plan[i] = p.Decide(it, holds, now)
	}
	return plan
}

// Touching returns the holds in force that touch an item.
func (p *Policy) Touching(it Item, holds []ledger.Hold) []ledger.Hold {
	var out []ledger.Hold
	for _, h := range holds {
		if p.touches(&h, &it) {
			out = append(out, h)
		}
	}
	return out
}

// held returns the first hold that touches an item.
func (p *Policy) held(it *Item, holds []ledger.Hold) (id int64, held bool) {
	for i := range holds {
		if p.touches(&holds[i], it) {
			return holds[i].ID, true
		}
	}
	return 0, false
}

// touches reports whether an item may hold records that a hold speaks of. A file
// of a device has all its services and SAPs, and a day of a table all devices; so
// what cannot be excluded is held.
func (p *Policy) touches(h *ledger.Hold, it *Item) bool {
	if !h.InForce() || h.Device != "" && it.Device != "" && h.Device != it.Device {
		return false
	}
	if (h.Service != "" || h.SAP != "") && p.Names != nil && it.Record != "" {
		service, sap := p.Names(it.Record)
		if h.Service != "" && !service || h.SAP != "" && !sap {
			return false
		}
	}
	return it.spans(h.From, h.To)
}

// spans reports whether records of an item can lie from a time up to another;
// zero is no bound. Where the clock of the device cannot have been right, the time
// at which the item came here counts as well.
func (it *Item) spans(from, to time.Time) bool {
	within := func(first, last time.Time) bool {
		return (to.IsZero() || first.Add(-slack).Before(to)) && (from.IsZero() || !last.Add(slack).Before(from))
	}
	came := !it.Came.IsZero() && within(it.Came.Add(-longest), it.Came)
	if it.To.IsZero() {
		return came || it.Came.IsZero()
	}
	first := it.From
	if first.IsZero() {
		first = it.To.Add(-longest)
	}
	right := it.Came.IsZero() || !it.To.After(it.Came.Add(slack)) && !it.To.Before(it.Came.Add(-longest))
	return within(first, it.To) || !right && came
}

// Error is the error of this package.
type Error struct {
	Op   string // "sweep", "remove", "plan"
	Path string // of the file or the day of a table, "" if it concerns none
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Path + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it, or nothing.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, retention.ErrTooMany):
		return "look at acctpull expire --dry-run and at the clock; if both are right: acctpull expire --force"
	case errors.Is(e.Err, retention.ErrClock):
		return "look at the clock of this machine; if it is right: acctpull expire --confirm-clock"
	}
	return ""
}
