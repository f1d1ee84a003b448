package export

import (
	"fmt"
	"time"

	"acctpull/record"
)

// The years in which a collection can have ended. A clock that was never set
// says 1970.
const (
	firstYear = 1990
	lastYear  = 2100
)

const (
	secondsPerDay = 24 * 60 * 60
	hintProfile   = "name the field that holds it in a profile: acctpull inspect FILE --profile-out PROFILE"
	hintClock     = "the clock of the device was not set; the file stays in quarantine"
)

// timeError tells that a record has no usable time, which makes its whole file
// unusable: the partition of its rows is not known.
type timeError struct {
	reason, hint string
	offset       int64
}

func (e *timeError) Error() string { return fmt.Sprintf("%s (byte %d)", e.reason, e.offset) }

// checkTimes reports a record whose times make no sense.
func checkTimes(rec *record.Record) error {
	bad := func(hint, format string, a ...any) error {
		return &timeError{reason: fmt.Sprintf(format, a...), hint: hint, offset: rec.Offset}
	}
	sane := func(t time.Time) bool { y := t.UTC().Year(); return y >= firstYear && y <= lastYear }
	switch {
	case rec.End.IsZero():
		return bad(hintProfile, "a record has no interval end")
	case !sane(rec.End):
		return bad(hintClock, "interval end %s is not in the years %d–%d", rec.End.UTC().Format(time.RFC3339), firstYear, lastYear)
	case rec.Start.IsZero():
		return nil
	case !sane(rec.Start):
		return bad(hintClock, "interval start %s is not in the years %d–%d", rec.Start.UTC().Format(time.RFC3339), firstYear, lastYear)
	case rec.Start.After(rec.End):
		return bad("", "interval start %s is after its end %s", rec.Start.UTC().Format(time.RFC3339Nano), rec.End.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// setInterval makes the interval of rec the current one.
func (s *store) setInterval(rec *record.Record) error {
	if err := checkTimes(rec); err != nil {
		return err
	}
	s.start, s.end = rec.Start, rec.End
	s.micros = interval{start: noStart, end: rec.End.UnixMicro()}
	if !rec.Start.IsZero() {
		s.micros.start = rec.Start.UnixMicro()
	}
	s.day = rec.End.Unix() / secondsPerDay // after 1990: not negative
	s.interval = s.names.intervalID(s.micros)
	return nil
}
