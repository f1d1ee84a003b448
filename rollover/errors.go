package rollover

import (
	"errors"
	"strings"
	"syscall"
)

// What callers may branch on.
var (
	// ErrNotRecovered: a file of this log was left open by a crash.
	ErrNotRecovered = errors.New("file was left open by an earlier run")
	// ErrEntryOpen: the entry before has been neither committed nor aborted.
	ErrEntryOpen = errors.New("an entry is open")
	// ErrEntryDone: the entry was committed or aborted before.
	ErrEntryDone = errors.New("entry is done")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("log is closed")
	// ErrNoFile: there is no open file.
	ErrNoFile = errors.New("no file is open")
	// ErrBroken: the open file had an error and waits to be sealed.
	ErrBroken = errors.New("the file had an error and takes no more entries")
	// ErrGone: the open file was removed by somebody else.
	ErrGone = errors.New("the open file was removed by somebody else; its entries are lost")
)

// NoSpace tells whether an error means that there is no room: no free block, no
// free inode, or the quota is used up.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Error is the error of every operation on files.
type Error struct {
	Op   string // what was tried: "commit entry", "seal", …
	File string // name of the file, empty if there is none yet
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.File != "" {
		b.WriteString(" ")
		b.WriteString(e.File)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it, or nothing.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, ErrNotRecovered):
		return "run the recovery of the directory first; it completes the file and archives it"
	case NoSpace(e.Err):
		return "make room on the file system; what was committed is kept and writing goes on with the next entry"
	case errors.Is(e.Err, syscall.EROFS):
		return "the file system is read-only; look at the kernel log for disk errors"
	case errors.Is(e.Err, syscall.EXDEV):
		return "put the collect and the archive directory on one file system"
	}
	return ""
}
