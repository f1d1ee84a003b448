package rollover

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Prefix is the kind of a file, the first three letters of its name.
type Prefix string

// The two kinds of files (7210 SAS log guide, 5.2.4).
const (
	Act      Prefix = "act" // accounting file
	EventLog Prefix = "log" // event log file
)

// stampLayout is the creation time as it stands in a name.
const stampLayout = "20060102-150405"

// Lengths inside a name: prefix, two ids of two digits, '-', stamp.
const (
	prefixLen = 3
	idsLen    = 4
	stampLen  = len(stampLayout)
	extAt     = prefixLen + idsLen + 1 + stampLen
	maxExt    = 32
)

// Errors of the name codec.
var (
	// ErrName matches the error of a name that is not one of ours. Such a
	// file is counted and otherwise left alone.
	ErrName = errors.New("not the name of an accounting or log file")
	// ErrInvalidTime matches the error of a stamp that is no date, such as
	// 20260230-000000. The file is a valid file with an unknown age.
	ErrInvalidTime = errors.New("no such date")
)

// Name is the name of an accounting file, actAAFF-yyyymmdd-hhmmss.xml.gz, or
// of an event log file, logLLFF-yyyymmdd-hhmmss. It is comparable. The zero
// Name is not valid.
type Name struct {
	Prefix Prefix
	ID     int // accounting-policy id or log id, 1 to 99
	FileID int // file-id, 1 to 99
	// Stamp is the creation time, "20260102-030405": UTC or the local time of
	// the device, the name does not tell. The digits may be no possible date.
	Stamp string
	// Ext is what follows the stamp. Accounting: ".xml.gz" or ".xml". Event
	// log: nothing, or dot-separated parts of letters, digits, '_' and '-'.
	Ext string
}

// NewName makes the name of a file created at t, in the time zone of t.
func NewName(p Prefix, id, fileID int, t time.Time, ext string) Name {
	return Name{Prefix: p, ID: id, FileID: fileID, Stamp: t.Format(stampLayout), Ext: ext}
}

// String writes the name. It is the exact inverse of [ParseName].
func (n Name) String() string {
	b := make([]byte, 0, extAt+maxExt)
	b = append(b, n.Prefix...)
	b = appendID(b, n.ID)
	b = appendID(b, n.FileID)
	b = append(b, '-')
	b = append(b, n.Stamp...)
	return string(append(b, n.Ext...))
}

func appendID(b []byte, id int) []byte {
	if id >= 0 && id < 10 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, int64(id), 10)
}

// Valid reports whether the name can stand on disk, that is, whether
// [ParseName] gives it back.
func (n Name) Valid() bool {
	p, err := ParseName(n.String())
	return err == nil && p == n
}

// ParseName reads a file name. It is strict: what it accepts is exactly what
// [Name.String] writes for a valid name. Nothing is ever deleted, moved or
// fetched under a name that it refuses. The error matches [ErrName].
func ParseName(s string) (Name, error) {
	if len(s) < extAt || len(s) > extAt+maxExt || s[prefixLen+idsLen] != '-' {
		return Name{}, nameError(s)
	}
	n := Name{
		Prefix: Prefix(s[:prefixLen]),
		ID:     twoDigits(s[prefixLen:]),
		FileID: twoDigits(s[prefixLen+2:]),
		Stamp:  s[prefixLen+idsLen+1 : extAt],
		Ext:    s[extAt:],
	}
	if n.ID < 1 || n.FileID < 1 || !validStamp(n.Stamp) || !validExt(n.Prefix, n.Ext) {
		return Name{}, nameError(s)
	}
	return n, nil
}

func nameError(s string) error {
	return fmt.Errorf("file name %s: %w", quote(s), ErrName)
}

// twoDigits reads two ASCII digits, or returns -1.
func twoDigits(s string) int {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

func validStamp(s string) bool {
	for i := range len(s) {
		if i == 8 {
			if s[i] != '-' {
				return false
			}
		} else if s[i]-'0' > 9 {
			return false
		}
	}
	return true
}

func validExt(p Prefix, ext string) bool {
	switch p {
	case Act:
		return ext == ".xml.gz" || ext == ".xml"
	case EventLog:
		if ext == "" {
			return true
		}
		if ext[0] != '.' || strings.HasSuffix(ext, ".") || strings.Contains(ext, "..") {
			return false
		}
		return extBytes(ext)
	}
	return false
}

// extBytes reports whether every byte of an extension is one we write.
func extBytes(ext string) bool {
	for i := range len(ext) {
		c := ext[i]
		switch {
		case c == '.' || c == '-' || c == '_':
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		default:
			return false
		}
	}
	return true
}

// Compare orders names by stamp, then prefix, ids and extension. Within one
// file-id that is the order of creation, as far as the clock that named the
// files was right.
func Compare(a, b Name) int {
	return cmp.Or(
		cmp.Compare(a.Stamp, b.Stamp),
		cmp.Compare(a.Prefix, b.Prefix),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.FileID, b.FileID),
		cmp.Compare(a.Ext, b.Ext),
	)
}

// quote makes a text from outside fit for an error: escaped and bounded.
func quote(s string) string {
	const limit = 256
	if len(s) <= limit {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:limit]) + "…"
}
