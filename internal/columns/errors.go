package columns

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrDamaged matches the error of a file that is not what its writer wrote: cut
// off, changed, or not a file of ours at all.
var ErrDamaged = errors.New("the file is damaged or not written by acctpull")

// Error is what is wrong with a file that is read.
type Error struct {
	// Column is the column it is about, "" if none.
	Column string
	// Group is the row group, counting from 0, -1 if none.
	Group int
	Err   error
}

// Error describes it in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("read parquet")
	if e.Group >= 0 {
		fmt.Fprintf(&b, ", row group %d", e.Group)
	}
	if e.Column != "" {
		fmt.Fprintf(&b, ", column %s", quote(e.Column))
	}
	return b.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what a person can do, "" if nothing is known.
func (e *Error) Hint() string {
	if errors.Is(e.Err, ErrDamaged) {
		return "restore the file from a copy, or export its sources again from the archive"
	}
	return ""
}

// InputError is what is wrong with one of the inputs of a merge.
type InputError struct {
	Input int // its index
	Err   error
}

// Error describes it in one line.
func (e *InputError) Error() string { return fmt.Sprintf("merge input %d: %v", e.Input, e.Err) }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// Hint returns what a person can do, "" if nothing is known.
func (e *InputError) Hint() string {
	var cause *Error
	if errors.As(e.Err, &cause) {
		return cause.Hint()
	}
	return ""
}

// damaged makes an error that matches ErrDamaged.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// maxText is how much of a text from a file goes into a message.
const maxText = 256

// quote escapes a text and bounds it.
func quote(s string) string {
	if len(s) > maxText {
		n := maxText
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return fmt.Sprintf("%q", s)
}
