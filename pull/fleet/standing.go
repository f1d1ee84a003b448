package fleet

import "time"

// Standing is how a device stands, the worst last.
type Standing int

// The standings.
const (
	// Good: the last visit was good, and nothing can be lost yet.
	Good Standing = iota
	// Never: it was never visited, or no visit was ever good.
	Never
	// Failing: the last visit failed; files wait on the device.
	Failing
	// Refused: the last visit ended with a refused host key or login.
	Refused
	// Losing: the last good visit is longer ago than files live on the device.
	Losing
)

// String returns the standing in a word.
func (s Standing) String() string {
	switch s {
	case Good:
		return "good"
	case Never:
		return "never visited"
	case Failing:
		return "failing"
	case Refused:
		return "refused"
	}
	return "losing"
}

// Stand says how a device stands, and how long it is until a file may be lost:
// negative if that time has passed, 0 for a device that was never visited. It is
// pure.
func (d Device) Stand(s State, now time.Time) (Standing, time.Duration) {
	left := time.Duration(0)
	if !s.Good.IsZero() {
		left = d.Deadline(s).Sub(now)
	}
	switch {
	case !s.Good.IsZero() && left <= 0:
		return Losing, left
	case s.Refused:
		return Refused, left
	case s.Failures > 0:
		return Failing, left
	case s.Good.IsZero():
		return Never, 0
	}
	return Good, left
}
