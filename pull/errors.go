package pull

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What callers branch on, with errors.Is.
var (
	// ErrTimeout: the peer kept us waiting longer than a limit allows.
	ErrTimeout = errors.New("the peer kept us waiting")
	// ErrProtocol: the peer broke the protocol, or tried what a device must
	// not do. Nothing it sent in that session was kept.
	ErrProtocol = errors.New("the peer broke the protocol")
	// ErrCut: the connection ended in the middle.
	ErrCut = errors.New("the connection was cut")
	// ErrNoTransport: the device offers no way to fetch files.
	ErrNoTransport = errors.New("no way to fetch files")
	// ErrUnsafeFile: a file with credentials can be read, or a file of host
	// keys can be written, by others.
	ErrUnsafeFile = errors.New("file mode is too open")
	// ErrSpace: not enough free disk space.
	ErrSpace = errors.New("not enough free space")
)

// Error is the error of everything in this package that concerns a device.
type Error struct {
	// Op is what was being done: "connect", "list", "fetch", "store" ….
	Op string
	// Device is the device, File the file on it, "" if all of it.
	Device, File string
	// Err is the cause.
	Err error
	// hint is what a person can do, "" if the cause has its own.
	hint string
}

// Error describes the failure in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Device != "" {
		b.WriteString(" " + quoteUnlessPlain(e.Device))
	}
	if e.File != "" {
		b.WriteString(" " + quoteUnlessPlain(e.File))
	}
	b.WriteString(": ")
	b.WriteString(strings.ReplaceAll(e.Err.Error(), "\n", "; "))
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it, "" if nothing is known.
func (e *Error) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		return h.Hint()
	}
	return ""
}

// hinted is an error with an advice and without a device.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }
func (e *hinted) Hint() string  { return e.hint }

// peerTextLimit bounds the text of a peer in errors and reasons, in bytes.
const peerTextLimit = 256

// quote returns text from a peer as a Go string literal of bounded length.
// Control characters, line ends, C1, and the bidirectional controls are
// escaped: none of them is printable in the sense of strconv.Quote.
func quote(s string) string {
	if len(s) <= peerTextLimit {
		return strconv.Quote(s)
	}
	return strconv.Quote(cut(s, peerTextLimit)) + "…"
}

// quoteUnlessPlain leaves names alone that cannot surprise anybody.
func quoteUnlessPlain(s string) string {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return quote(s)
		}
	}
	return cut(s, peerTextLimit)
}

// clean returns text that may hold words of a peer as one bounded line without
// control characters. Unlike quote it puts no quotation marks around it.
func clean(s string) string {
	q := strconv.Quote(cut(s, peerTextLimit))
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	if len(s) > peerTextLimit {
		q += "…"
	}
	return q
}

// cut returns the first n bytes of s, whole characters only.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// peerError is an error of the SSH or SFTP library, whose text may be the
// peer's.
type peerError struct{ err error }

func (e *peerError) Error() string { return clean(e.err.Error()) }
func (e *peerError) Unwrap() error { return e.err }

// fromPeer makes the text of err safe to print.
func fromPeer(err error) error {
	if err == nil {
		return nil
	}
	return &peerError{err}
}

// protocolError says what a peer did wrong.
func protocolError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, a...))
}

// first returns the first error that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
