// Package retention deletes archived files whose time is over: it decides,
// purely, with a reason for every file; it acts, within a bound of seconds,
// oldest file first; and it refuses when the clock or the number of files
// makes the decision unbelievable.
//
// The age of a file counts from the creation time in its name, never from the
// time stamps of the file system, as on the device (7210 SAS log guide,
// 5.2.4). Only files in the archive directory whose name parses as ours are
// ever touched.
package retention

import (
	"errors"
	"fmt"
	"time"

	"acctpull/rollover"
)

// Kind says which of the two documented rules makes a file a candidate for
// removal.
type Kind int

const (
	// CreatedRolloverRetention: creation + rollover + retention lies before
	// now. The 7450 and 7705 guides say so; it never deletes earlier than
	// the other rule and is the default.
	CreatedRolloverRetention Kind = iota
	// CreatedRetention: creation + retention lies before now, the literal
	// reading of the 7210 SAS guide, 5.2.4: "based on the creation date and
	// time of the file".
	CreatedRetention
)

// String names the rule as configurations and reports write it.
func (k Kind) String() string {
	switch k {
	case CreatedRolloverRetention:
		return "created+rollover+retention"
	case CreatedRetention:
		return "created+retention"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Rule says how long a file is kept. The zero Rule is not valid and keeps
// everything.
type Rule struct {
	Kind      Kind
	Retention time.Duration // more than 0
	Rollover  time.Duration // used by CreatedRolloverRetention only
	// Location is the time zone of the stamps in the names; nil means UTC.
	Location *time.Location
}

// Validate returns what is wrong with a rule.
func (r Rule) Validate() error {
	switch {
	case r.Kind != CreatedRolloverRetention && r.Kind != CreatedRetention:
		return fmt.Errorf("rule %v is not known", r.Kind)
	case r.Retention <= 0:
		return fmt.Errorf("retention of %v", r.Retention)
	case r.Rollover < 0:
		return fmt.Errorf("rollover of %v", r.Rollover)
	}
	return nil
}

// Expires returns the instant after which a file may be removed.
func (r Rule) Expires(created time.Time) time.Time {
	if r.Kind == CreatedRolloverRetention {
		created = created.Add(r.Rollover)
	}
	return created.Add(r.Retention)
}

// Reason says why a file is removed or kept.
type Reason string

// Every reason there is.
const (
	Expired   Reason = "expired"               // removed: its time is over
	Retained  Reason = "retained"              // kept: its time is not over
	Future    Reason = "created in the future" // kept: a clock is or was wrong
	NoDate    Reason = "no creation time"      // kept: the stamp is no date
	NoRule    Reason = "no valid rule"         // kept: nobody says how long
	Open      Reason = "open"                  // kept: a file of this name is in the collect directory
	Protected Reason = "protected"             // kept: the caller needs it, see Options.Keep

	// SpaceContention: removed before its time because there is no room, see
	// [Contend].
	SpaceContention Reason = "space contention"
)

// Decision is what is to be done with one file, and why.
type Decision struct {
	File    rollover.File
	Remove  bool
	Reason  Reason
	Created time.Time // zero if the stamp is no date
	Expires time.Time // when the file expires or expired; zero if that cannot be told
	Note    string    // for Protected: what the caller said
}

// Warning reports whether a person should look at the decision: something is
// wrong with the file, its clock or its configuration.
func (d Decision) Warning() bool {
	return d.Reason == Future || d.Reason == NoDate || d.Reason == NoRule
}

// String writes the decision as one line of a dry run.
func (d Decision) String() string {
	verb := "keep  "
	if d.Remove {
		verb = "remove"
	}
	s := fmt.Sprintf("%s %s: %s", verb, d.File.Name, d.Reason)
	if d.Note != "" {
		s += ", " + d.Note
	}
	if !d.Expires.IsZero() {
		word := "expires"
		if d.Reason == Expired || d.Reason == Protected {
			word = "since"
		}
		s += fmt.Sprintf(", %s %s", word, d.Expires.UTC().Format(time.RFC3339))
	}
	return s
}

// Plan decides for each file, in the given order, whether it is removed at the
// instant now, by one rule for all. It is pure: the sweep and the dry run make
// the same decisions from it.
func Plan(files []rollover.File, r Rule, now time.Time) []Decision {
	plan := make([]Decision, len(files))
	for i, f := range files {
		plan[i] = decide(f, r, r.Validate() == nil, now)
	}
	return plan
}

// decide applies a rule to one file. A file is removed when its instant of
// expiry lies before now; at that very instant it is kept.
func decide(f rollover.File, r Rule, valid bool, now time.Time) Decision {
	earliest, created, err := f.Name.Times(r.Location)
	if err != nil {
		return Decision{File: f, Reason: NoDate}
	}
	d := Decision{File: f, Created: created}
	switch {
	case !valid:
		d.Reason = NoRule
	case earliest.After(now):
		d.Reason, d.Expires = Future, r.Expires(created)
	default:
		d.Expires = r.Expires(created)
		d.Remove = d.Expires.Before(now)
		d.Reason = Retained
		if d.Remove {
			d.Reason = Expired
		}
	}
	return d
}

// Errors that callers may branch on.
var (
	// ErrTooMany: more than half of the files would be removed at once.
	ErrTooMany = errors.New("more than half of the files would be removed at once")
	// ErrClock: the clock made a jump, or nothing confirms it.
	ErrClock = errors.New("the clock cannot be believed")
)

// Error is the error of this package.
type Error struct {
	Op   string // "sweep", "remove", "read clock state"
	File string // name or path, empty if it concerns none
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.File == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.File + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it, or nothing.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, ErrTooMany):
		return "look at the dry run and at the clock; if both are right, force the sweep"
	case errors.Is(e.Err, ErrClock):
		return "look at the clock of this machine; if it is right, confirm it with the next sweep"
	}
	return ""
}
