package coverage

import (
	"time"
)

// Skew bounds how far a device's clock is ahead of ours: at least Min, at most
// Max. The zero value knows nothing.
type Skew struct{ Min, Max time.Duration }

// Known reports whether anything is known.
func (s Skew) Known() bool { return s != Skew{} }

// Guess is the best guess: as little as the bounds allow, because most clocks
// are right, and after a long pause the bounds are far apart. It is 0 if nothing
// is known.
func (s Skew) Guess() time.Duration { return min(max(0, s.Min), s.Max) }

// Beyond returns how far the device's clock is off for certain, beyond a limit:
// 0 if it may be within the limit. The sign is that of the skew.
func (s Skew) Beyond(limit time.Duration) time.Duration {
	switch {
	case s.Min > limit:
		return s.Min
	case s.Max < -limit:
		return s.Max
	}
	return 0
}

// grain is how exact the times in a listing are: FAT keeps seconds in steps of
// two, and SCP and SFTP cut them to one.
const grain = 2 * time.Second

// Session is what one good visit says about the device's clock.
type Session struct {
	// Before is when the directory was listed the time before, At when it
	// was listed now, by our clock. Before is zero if it never was.
	Before, At time.Time
	// Earliest and Latest are the modification times of the files that were
	// listed for the first time now, by the device's clock; zero if there
	// are none. They were closed between the two listings.
	Earliest, Latest time.Time
	// Told are the bounds that the device gave by telling its time; the zero
	// value if it did not.
	Told Skew
}

// measured returns the bounds that a session gives by itself.
func (s Session) measured() Skew {
	if s.Told.Known() {
		return s.Told
	}
	if s.Before.IsZero() || s.Latest.IsZero() || s.Before.After(s.At) {
		return Skew{}
	}
	// Every file that is new was closed after the listing before and before
	// this one. Where two of them contradict each other, a file was put back
	// that is older; the latest was closed last.
	low, high := s.Latest.Sub(s.At)-grain, s.Earliest.Sub(s.Before)+grain
	if high < low {
		high = s.Latest.Sub(s.Before) + grain
	}
	return Skew{low, high}
}

// Note returns what is known after a session, and whether the device's clock was
// set since: then what was known before holds no longer. Every session can only
// narrow the bounds, as long as the clock is not set. drift is how far two clocks
// may have parted since the session before.
func (s Skew) Note(n Session, drift time.Duration) (now Skew, stepped bool) {
	m := n.measured()
	switch {
	case !m.Known():
		return s, false
	case !s.Known():
		return m, false
	}
	now = Skew{max(s.Min-drift, m.Min), min(s.Max+drift, m.Max)}
	if now.Min > now.Max {
		return m, true
	}
	return now, false
}

// Drift is how far clocks part in a time at the most: 50 parts in a million, as
// of a cheap oscillator.
func Drift(since time.Duration) time.Duration { return max(since, 0) / 20_000 }
