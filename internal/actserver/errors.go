package actserver

import "errors"

// Error is an error of this package: what was attempted, on which local
// directory or client path, and why it did not work.
type Error struct {
	Op   string
	Path string // empty when no path is involved
	Err  error
}

// Error reads "op path: reason".
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + quote(e.Path) + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// peerError is an error that may carry text from a peer: its own text is
// bounded and escaped.
type peerError struct{ err error }

func (e *peerError) Error() string { return quote(e.err.Error()) }
func (e *peerError) Unwrap() error { return e.err }

// Reasons for a refusal, as they appear in Refusal.Err.
var (
	// ErrTooMany: a limit on connections, sessions or handles is reached.
	ErrTooMany = errors.New("too many at once")
	// ErrPenalty: the source failed too often and has to wait.
	ErrPenalty = errors.New("source is under a penalty")
	// ErrReadOnly: the client asked for something that writes.
	ErrReadOnly = errors.New("read-only: nothing is accepted here")
	// ErrNotOffered: a command, subsystem or channel this server does not have.
	ErrNotOffered = errors.New("not offered here")
	// ErrNotServed: the name exists, but it is no plain finished file.
	ErrNotServed = errors.New("not a regular file that is served")
	// ErrOutside: the path leads out of the served directory.
	ErrOutside = errors.New("path leads outside")
)
