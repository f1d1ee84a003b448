package policy

import "time"

// schedule says when a policy collects.
type schedule struct {
	interval time.Duration
	align    bool
}

// first returns when the first collection is due after the collector began.
func (s schedule) first(now time.Time) time.Time {
	if s.align {
		return now.Add(s.untilDivisible(now))
	}
	return now.Add(s.interval)
}

// again returns when the next collection is due after the schedule has changed
// in an interval that began at since: at once if the interval has lasted long
// enough.
func (s schedule) again(since, now time.Time) time.Time {
	if s.align {
		return now.Add(s.untilDivisible(now))
	}
	return now.Add(min(max(0, s.interval-now.Sub(since)), s.interval))
}

// missed returns how many collections were due and never began: this one was
// due at due and begins now.
func (s schedule) missed(due, now time.Time) int {
	return int(max(0, now.Sub(due)) / s.interval)
}

// next returns when the collection after the one that begins now is due. Times
// with a monotonic reading are compared by it, and the wait is never longer
// than an interval and a bit, so a clock that is set forward or back moves one
// collection at most.
func (s schedule) next(due, now time.Time) time.Time {
	if !s.align {
		return now.Add(s.interval - max(0, now.Sub(due))%s.interval)
	}
	wait := s.untilDivisible(now)
	if wait < s.interval/8 {
		wait += s.interval // the clock is a little behind the timer
	}
	return now.Add(wait)
}

// untilDivisible returns how long it takes until the clock, counted from 1970,
// is divisible by the interval.
func (s schedule) untilDivisible(now time.Time) time.Duration {
	return s.interval - time.Duration(now.UnixNano())%s.interval
}

// stamp returns the time by which a file is named and rolls over. Files roll
// over when they are written to, which happens a little early or late, and a
// file of 60 minutes must not live for 65 because its last collection began a
// millisecond too soon: so it is the time at which the collection was due.
// Aligned policies go by the wall clock alone.
func (s schedule) stamp(due, now time.Time) time.Time {
	due = due.Add(time.Duration(s.missed(due, now)) * s.interval)
	if s.align {
		return due.Round(0)
	}
	return due
}
