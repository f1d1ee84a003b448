package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"acctpull/internal/durable"
)

// guardFloor is the number of files below which the half rule is not applied:
// a file-id with one or two archived files would trip it every day.
const guardFloor = 20

// Guard refuses a sweep that would remove more than half of all files, if
// these are at least 20. The error matches [ErrTooMany].
func Guard(files, remove int) error {
	if remove < guardFloor || remove <= files/2 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d", ErrTooMany, remove, files)
}

// clockSlack is how far a clock may move between two sweeps: a day and a slip
// of the time zone or of summer time.
const clockSlack = 26 * time.Hour

// ClockState is one look at the clocks of this machine.
type ClockState struct {
	Wall time.Time `json:"wall"`
	// BootID tells one boot from another; empty where the system has none.
	BootID string `json:"boot_id"`
	// Uptime is the time since boot, suspension included. Nobody can set it.
	Uptime time.Duration `json:"uptime_ns"`
}

// ClockCheck is everything that [CheckClock] judges by.
type ClockCheck struct {
	Last ClockState // at the last sweep that was allowed; the zero value if there was none
	Now  ClockState
	// Newest is the latest creation time among the archived files; zero if
	// there is none.
	Newest time.Time
	// OwnClock says that the files were named by this machine: then they
	// prove nothing about its clock, as long as there is a last sweep.
	OwnClock bool
	// Witness is the present by another clock, such as that of a device; zero
	// if there is none.
	Witness time.Time
}

// CheckClock reports whether deletions by this clock are safe; the error
// matches [ErrClock]. It is pure.
//
// Within one boot the wall clock must have moved like the uptime, give or take
// 26 hours. After a reboot it must not be more than 26 hours away from the
// last sweep, or else neither more than 26 hours after nor before the newest
// archived file: files that went on arriving make a long pause believable. A
// witness that agrees within 26 hours settles every doubt.
func CheckClock(c ClockCheck) error {
	now := c.Now.Wall
	if !c.Witness.IsZero() && near(now, c.Witness) {
		return nil
	}
	first := c.Last.Wall.IsZero()
	if !first && c.Last.BootID == c.Now.BootID && c.Now.BootID != "" {
		moved, up := now.Sub(c.Last.Wall), c.Now.Uptime-c.Last.Uptime
		if jump := moved - up; jump.Abs() > clockSlack {
			return fmt.Errorf("%w: it moved by %v in %v", ErrClock, moved.Round(time.Second), up.Round(time.Second))
		}
		return nil
	}
	if !first && near(now, c.Last.Wall) {
		return nil
	}
	if !c.Newest.IsZero() && near(now, c.Newest) && (first || !c.OwnClock) {
		return nil
	}
	switch {
	case first && c.Newest.IsZero():
		return nil // no file, nothing to lose
	case first:
		return fmt.Errorf("%w: no earlier sweep, and the newest file is of %s", ErrClock, c.Newest.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("%w: the last sweep was at %s, before a reboot, and nothing newer confirms the time", ErrClock, c.Last.Wall.UTC().Format(time.RFC3339))
}

func near(a, b time.Time) bool { return a.Sub(b).Abs() <= clockSlack }

// BelieveClock compares the clocks of this machine with those that are kept in the
// file at path; Last and Now of c are filled in. The error matches [ErrClock]
// unless a person has confirmed the clock. keep writes what was seen into the
// file; call it when what was allowed is done, and never after an error.
func BelieveClock(path string, now time.Time, c ClockCheck, confirmed bool) (keep func() error, err error) {
	return believeClock(path, now, c, confirmed, readClock)
}

func believeClock(path string, now time.Time, c ClockCheck, confirmed bool, clock func(time.Time) (ClockState, error)) (keep func() error, err error) {
	if c.Last, err = loadClock(path); err != nil && !confirmed {
		return nil, err
	}
	if c.Now, err = clock(now); err != nil {
		return nil, err
	}
	if err := CheckClock(c); err != nil && !confirmed {
		return nil, err
	}
	return func() error { return saveClock(path, c.Now) }, nil
}

// loadClock reads the state of the last sweep, zero if there is none yet.
func loadClock(path string) (ClockState, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ClockState{}, nil
	}
	var s ClockState
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && s.Wall.IsZero() {
		err = errors.New("holds no time")
	}
	if err != nil {
		return ClockState{}, &Error{Op: "read clock state", File: path, Err: fmt.Errorf("%w: %w", ErrClock, err)}
	}
	return s, nil
}

// saveClock writes it, whole or not at all.
func saveClock(path string, s ClockState) error {
	b, err := json.Marshal(s)
	if err == nil {
		err = durable.ReplaceFile(path, append(b, '\n'), durable.StateMode)
	}
	if err != nil {
		return &Error{Op: "write clock state", File: path, Err: err}
	}
	return nil
}
