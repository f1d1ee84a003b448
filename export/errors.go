package export

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"unicode/utf8"

	"acctpull/internal/durable"
)

// ErrConflict matches the error of an output whose name is taken by other
// content. It means that two different sets of rows were made from one batch:
// an input changed, or another version of acctpull published the batch.
var ErrConflict = errors.New("the file exists with other content")

// Error is what stopped an export. Nothing of the batch may be recorded as
// exported then; outputs that are published already are adopted by the next try.
type Error struct {
	Op string // what was being done: "write output"
	// Device and File name the input it is about, "" if none.
	Device, File string
	// Path is the file it is about, "" if none.
	Path string
	Err  error
}

// Error describes it in one line. Names that came from a device are quoted and
// cut at 256 bytes.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Device != "" {
		fmt.Fprintf(&b, ", device %s", quote(e.Device))
	}
	if e.File != "" {
		fmt.Fprintf(&b, ", file %s", quote(e.File))
	}
	if e.Path != "" {
		fmt.Fprintf(&b, " %q", e.Path)
	}
	b.WriteString(": ")
	b.WriteString(strings.ReplaceAll(e.Err.Error(), "\n", "; "))
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what a person can do, "" if nothing is known.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, ErrConflict):
		return "run the version of acctpull that published the file, or move the file away if the batch was never recorded in the ledger"
	case errors.Is(e.Err, ErrNoManifest):
		return "restore the directory manifest from a copy, or at least its newest file; a listing would count replaced files twice"
	case errors.Is(e.Err, ErrStale):
		return "nothing is lost; run it again, and it is planned anew"
	case errors.Is(e.Err, durable.ErrNoExchange):
		return "files of a dataset are replaced only on a file system that can exchange two names (ext4, XFS, Btrfs, tmpfs; not NFS), or in a bucket; nothing was changed"
	case errors.Is(e.Err, syscall.ENOSPC), errors.Is(e.Err, syscall.EDQUOT):
		return "free space on the file system of the dataset; nothing of the batch is recorded, and it is repeated"
	case errors.Is(e.Err, syscall.EMFILE):
		return "raise the limit of open files (ulimit -n), or export fewer days at once"
	case errors.Is(e.Err, fs.ErrPermission), errors.Is(e.Err, syscall.EROFS):
		return "make the dataset directory writable for the user who runs acctpull"
	}
	return ""
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// maxText is how much of a text from a device goes into a message.
const maxText = 256

// quote escapes a text from a device and bounds it.
func quote(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// clip bounds a message.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
