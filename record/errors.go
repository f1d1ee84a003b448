package record

import (
	"fmt"
	"strings"
	"unicode"
)

// Kind tells what is wrong with a file as a whole.
type Kind string

// The kinds of a FileError.
const (
	// KindIO: the file could not be read.
	KindIO Kind = "io"
	// KindGzip: the compressed data are damaged, or are no gzip at all.
	KindGzip Kind = "gzip"
	// KindXML: the text is not well-formed, or uses what is refused: a document
	// type declaration, an encoding other than UTF-8, US-ASCII and ISO-8859-1.
	KindXML Kind = "xml"
	// KindLimit: a limit of Limits is passed.
	KindLimit Kind = "limit"
	// KindTruncated: the file ends too early; all that is there is sound.
	KindTruncated Kind = "truncated"
	// KindShape: the text is well-formed, but what it means cannot be told
	// without help: the record name is missing, a key follows the rows it
	// belongs to, or it is no accounting file.
	KindShape Kind = "shape"
)

// FileError ends the reading of a file. What was read before it must not be
// used, unless Truncated says so.
type FileError struct {
	File   string // as given to Reset
	Offset int64  // where, in bytes of the decompressed file
	Path   string // the open elements there: "/accounting/interval/sio"
	Kind   Kind
	Err    error

	hint    string
	salvage bool
	records []string // the record names that the file may be of
}

func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString("read ")
	if e.File != "" {
		b.WriteString(printable(e.File))
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s: %v", e.Kind, e.Err)
	writePlace(&b, e.Offset, e.Path)
	return b.String()
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// Hint returns what a person can do, "" if nothing is known.
func (e *FileError) Hint() string { return e.hint }

// Truncated tells that the file merely ends too early and that the Reader, in
// salvage mode, has yielded every record that is complete in it. The caller may
// keep those records, and must mark them as coming from a truncated file.
// Without ReaderOptions.Salvage it is always false.
func (e *FileError) Truncated() bool { return e.Kind == KindTruncated && e.salvage }

// RecordError tells that one record cannot be used, in a file that is sound
// otherwise. The Reader goes on with the next record.
type RecordError struct {
	File   string
	Offset int64  // where the record's element begins, in bytes of the decompressed file
	Path   string // the element of the record: "/accounting/interval/sio"
	Field  string // the field as the file calls it
	Text   string // its text, at most 256 bytes
	Reason string // what is wrong: "is not a decimal number"
	// Raw is the record's element as it stands in the file (as UTF-8), or the
	// last 64 KiB of it. Nobody else holds these bytes.
	Raw []byte
}

func (e *RecordError) Error() string {
	var b strings.Builder
	b.WriteString("read ")
	if e.File != "" {
		b.WriteString(printable(e.File))
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "record: field %s: ", printable(e.Field))
	if e.Text != "" {
		fmt.Fprintf(&b, "%q ", e.Text)
	}
	b.WriteString(e.Reason)
	writePlace(&b, e.Offset, e.Path)
	return b.String()
}

func writePlace(b *strings.Builder, offset int64, path string) {
	fmt.Fprintf(b, " (byte %d", offset)
	if path != "" {
		fmt.Fprintf(b, " in %s", printable(path))
	}
	b.WriteByte(')')
}

// printable returns s as it is if it is short and harmless on a terminal and in
// a log, else quoted and bounded.
func printable(s string) string {
	if len(s) <= 256 && s != "" {
		harmless := true
		for _, r := range s {
			if !unicode.IsPrint(r) || r == '"' || r == unicode.ReplacementChar {
				harmless = false
				break
			}
		}
		if harmless {
			return s
		}
	}
	return fmt.Sprintf("%q", bounded(s))
}
