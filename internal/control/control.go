// Package control is the operator's hand on an agent that runs: a Unix socket
// through which acctpull show, clear and reload ask it.
//
// The protocol is HTTP/1.1 with JSON over the socket, so that it can be used by
// hand (curl --unix-socket):
//
//	GET  /v1/status                  -> show.Agent
//	GET  /v1/status?associations=all -> the same, with every object
//	POST /v1/clear-log {"log": 11}     -> {"closed": [{"name", "path", "bytes"}]}
//	POST /v1/clear-log {"file_id": 11} -> the same
//	POST /v1/reload                  -> {}
//
// An error is {"error": text, "hint": text} with status 400 (the request is
// wrong), 403 (the caller is another user), 404 (no such policy, file-id or
// path), 405, 413 or 422 (the agent could not do it). There is nothing else:
// the socket starts, stops and configures nothing.
//
// Who may ask: the user of the agent, and root. The socket has mode 0600, and
// the kernel names the user behind every connection. Requests are bounded in
// size, time and number.
package control

import (
	"errors"
	"fmt"
)

// MaxPath is how many bytes the path of a socket may have (unix(7)).
const MaxPath = 107

// What callers may branch on.
var (
	// ErrNotRunning: nobody listens at the socket.
	ErrNotRunning = errors.New("no agent is running")
	// ErrNotFound: the agent knows no such policy or file-id.
	ErrNotFound = errors.New("not found")
	// ErrPath: no socket can have this path.
	ErrPath = errors.New("this is no path of a Unix socket")
	// ErrInUse: another process listens at the socket.
	ErrInUse = errors.New("another process listens there")
)

// Error is an error of this package with the socket to which it happened.
type Error struct {
	Op   string // "listen", "ask"
	Path string // of the socket
	Err  error
	hint string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s %q: %v", e.Op, bounded(e.Path), e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it, or nothing.
func (e *Error) Hint() string { return e.hint }

// Refusal is an error that the agent answered with.
type Refusal struct {
	Status int    // of HTTP
	Text   string // what the agent said
	hint   string
}

// Error implements error.
func (e *Refusal) Error() string { return e.Text }

// Hint is the agent's.
func (e *Refusal) Hint() string { return e.hint }

// Is tells whether the agent knows no such thing.
func (e *Refusal) Is(target error) bool { return target == ErrNotFound && e.Status == 404 }

// checkPath refuses a path that no socket can have.
func checkPath(op, path string) error {
	if len(path) <= MaxPath {
		return nil
	}
	return &Error{Op: op, Path: path, Err: fmt.Errorf("%w: it has %d bytes, a socket takes %d", ErrPath, len(path), MaxPath),
		hint: "give a shorter absolute path with control-socket in the configuration"}
}

func bounded(s string) string {
	const most = 256
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// answer is the body of an error.
type answer struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

// Target is whose file is to be closed: a log, which is the accounting policy
// of that number, or a file-id. One of them is given, the other is 0.
type Target struct {
	Log    int `json:"log,omitempty"`
	FileID int `json:"file_id,omitempty"`
}

// Closed is a file that was closed and moved to act/.
type Closed struct {
	Name  string `json:"name"`
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

type closedFiles struct {
	Closed []Closed `json:"closed"`
}
