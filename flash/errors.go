package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"acctpull/rollover"
)

// What callers may branch on.
var (
	// ErrClosed: the log was closed.
	ErrClosed = rollover.ErrClosed
	// ErrDown: no place takes a file; the log is operationally down.
	ErrDown = errors.New("operationally down")
	// ErrUntrusted: a write failed at this place, and it is not used again
	// before Roll or a new Log.
	ErrUntrusted = errors.New("the location is not used until clear log")
	// ErrOtherFileSystem: the place is on another file system than before:
	// something was unmounted, or mounted over it.
	ErrOtherFileSystem = errors.New("on another file system than before")
)

// Error is the error of every operation of a Log.
type Error struct {
	Op    string // what was tried: "begin entry", "commit entry", …
	Place string // the location, empty if it concerns all
	Err   error
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Err: err}
}

// Error implements error.
func (e *Error) Error() string {
	if e.Place == "" {
		return e.Op + ": " + oneLine(e.Err)
	}
	return fmt.Sprintf("%s %q: %s", e.Op, e.Place, oneLine(e.Err))
}

// oneLine prints joined errors behind each other.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it, or nothing.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, ErrOtherFileSystem):
		return "mount the card again, and writing goes on by itself; if the card was changed on purpose, use clear log"
	case errors.Is(e.Err, ErrUntrusted):
		return "look at the card and at the kernel log, then use clear log, or shutdown and no shutdown"
	case rollover.NoSpace(e.Err):
		return "make room on the file system; writing goes on by itself with the next entry"
	case errors.Is(e.Err, syscall.EROFS):
		return "the file system is read-only; look at the kernel log for disk errors, then use clear log"
	case errors.Is(e.Err, fs.ErrPermission):
		return "the location has to be writable for the user of this program"
	}
	var hinted interface{ Hint() string }
	if errors.As(e.Err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
