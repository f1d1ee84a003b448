package rollover

import (
	"fmt"
	"time"
)

// Mark is the newest name that a log gave to a file. The zero Mark is none.
type Mark struct {
	Wall time.Time // the stamp in the name, as if it were UTC
	At   time.Time // the instant at which the file was created
}

// stampSlack is how far back a clock may be set without stamps running ahead of
// it being given up.
const stampSlack = time.Minute

// stamps yields the stamps that a file created now may have, as if they were
// UTC, best first: the local time, or the first second behind the newest name
// if that is not before it. So names keep the order of creation when files
// follow each other faster than one a second, and through the hour that local
// time repeats: there the stamps go on from the last one before the clocks were
// set back. Seconds that local time skips are skipped.
//
// Only a clock that was set back by more than a minute breaks the order.
func stamps(now time.Time, loc *time.Location, newest Mark) func(yield func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		wall := wallOf(now, loc)
		if !newest.At.IsZero() && !wall.After(newest.Wall) {
			back := newest.At.Sub(now)
			if back <= 0 || back < stampSlack && newest.Wall.Sub(wall) < stampSlack {
				wall = newest.Wall.Add(time.Second)
			}
		}
		for range maxStamps {
			wall = exists(wall, loc)
			if !yield(wall) {
				return
			}
			wall = wall.Add(time.Second)
		}
	}
}

// wallOf returns the local time of an instant as if it were UTC.
func wallOf(t time.Time, loc *time.Location) time.Time {
	t = t.In(loc)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// exists returns a local time, or if clocks were set forward past it the first
// one after.
func exists(wall time.Time, loc *time.Location) time.Time {
	t := dateIn(wall, loc)
	if wallOf(t, loc).Equal(wall) {
		return wall
	}
	// The time stands in a gap, and t lies on one side of it.
	start, end := t.ZoneBounds()
	if wallOf(t, loc).After(wall) {
		return wallOf(start, loc)
	}
	return wallOf(end, loc)
}

// dateIn reads a wall time in a location.
func dateIn(wall time.Time, loc *time.Location) time.Time {
	return time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, loc)
}

// Time returns the creation time, reading the stamp as wall time in loc (nil
// means UTC). Where clocks were set back the stamp stands for two instants, and
// where they were set forward for none; Time returns the later reading then, so
// that an age is never overstated; see [Name.Ambiguous]. A stamp that is no
// date gives an error that matches [ErrInvalidTime].
func (n Name) Time(loc *time.Location) (time.Time, error) {
	_, last, err := n.Times(loc)
	return last, err
}

// Ambiguous reports whether the stamp stands for two instants in loc, in the
// hour that is repeated when clocks are set back, or for none, in the hour that
// is skipped when they are set forward.
func (n Name) Ambiguous(loc *time.Location) bool {
	first, last, err := n.Times(loc)
	return err == nil && !first.Equal(last)
}

// Times returns the earliest and the latest instant that the stamp can stand
// for in loc (nil means UTC): twice the same one unless it is ambiguous.
func (n Name) Times(loc *time.Location) (first, last time.Time, err error) {
	if loc == nil {
		loc = time.UTC
	}
	wall, ok := n.wall()
	if !ok {
		return time.Time{}, time.Time{}, fmt.Errorf("stamp %s: %w", quote(n.Stamp), ErrInvalidTime)
	}
	if loc == time.UTC {
		return wall, wall, nil
	}
	t := dateIn(wall, loc)
	gap := !wallOf(t, loc).Equal(wall)
	first, last = t, t
	// The same wall time by the offset of the zone before and of the zone
	// after counts if it falls into that zone, or if it falls into none. A
	// zone without a beginning or an end has no neighbour there.
	start, end := t.ZoneBounds()
	other := func(bound time.Time, offset int, falls func(time.Time) bool) {
		if u := wall.Add(-time.Duration(offset) * time.Second); falls(u) || gap && near(u, bound) {
			first, last = earlier(first, u.In(loc)), later(last, u.In(loc))
		}
	}
	if gap {
		_, offset := t.Zone()
		other(t, offset, func(time.Time) bool { return false })
	}
	if !start.IsZero() {
		_, offset := start.Add(-1).Zone()
		other(start, offset, func(u time.Time) bool { return u.Before(start) })
	}
	if !end.IsZero() {
		_, offset := end.Zone()
		other(end, offset, func(u time.Time) bool { return !u.Before(end) })
	}
	return first, last, nil
}

// near tells whether a time in a gap belongs to the gap at a bound: no gap is
// wider than a day.
func near(t, bound time.Time) bool { return t.Sub(bound).Abs() < 24*time.Hour }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// wall returns the stamp as if it were UTC, false if it is no date.
func (n Name) wall() (time.Time, bool) {
	s := n.Stamp
	if len(s) != stampLen || !validStamp(s) {
		return time.Time{}, false
	}
	year := twoDigits(s)*100 + twoDigits(s[2:])
	month, day := twoDigits(s[4:]), twoDigits(s[6:])
	hour, minute, second := twoDigits(s[9:]), twoDigits(s[11:]), twoDigits(s[13:])
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	// time.Date carries what is out of range into the next field.
	ok := t.Month() == time.Month(month) && t.Day() == day && t.Hour() == hour && t.Minute() == minute && t.Second() == second
	return t, ok
}
