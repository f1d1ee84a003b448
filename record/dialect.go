package record

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Namespace is the XML namespace of acctpull's own dialect, and DialectVersion
// the version attribute of its root element. docs/formats/accounting-xml.md is
// the specification, accounting.xsd the schema. It is not the format of any
// device: that one is not public.
const (
	Namespace      = "urn:acctpull:accounting:1"
	DialectVersion = "1"
)

// The elements of the dialect that are not named after a sub-record or a field.
//
//	<accounting xmlns="urn:acctpull:accounting:1" version="1" policy="10" file="11"
//	    record="service-ingress-octets" created="2026-01-02T03:04:05.678Z"
//	    interval="300" semantics="cumulative" system="edge-1">
//	<log description="billing" reason="rollover"/>
//	<interval start="2026-01-02T03:00:00.000Z" end="2026-01-02T03:05:00.000Z">
//	<sio><svc>100</svc><sap>1/1/1:100</sap><mId>1</mId><iof>1</iof><oof>0</oof></sio>
//	<row sub="(custom)"><field name="data name">http</field></row>
//	</interval>
//	</accounting>
const (
	elemRoot     = "accounting"
	elemLog      = "log"
	elemInterval = "interval"
	// elemRow is the element of a record whose sub-record name cannot be an
	// element name, or that the catalogue does not know; attrSub carries the
	// name, unless it is empty.
	elemRow = "row"
	// elemField is the element of a field whose name cannot be an element name,
	// and of every field that the catalogue does not know; attrName carries the
	// name.
	elemField = "field"
)

// The attributes of the dialect.
const (
	// on the root
	attrVersion   = "version"
	attrPolicy    = "policy" // also on a record that has another policy than the root
	attrFile      = "file"
	attrRecord    = "record" // also on a record that has another record name than the root
	attrCreated   = "created"
	attrSeconds   = "interval" // collection interval in seconds, at most three decimals
	attrSemantics = "semantics"
	attrSystem    = "system" // this and the next two: include-system-info
	attrSoftware  = "software"
	attrZone      = "zone"
	// on the log element
	attrDescription = "description"
	attrReason      = "reason"
	// on an interval
	attrStart = "start"
	attrEnd   = "end"
	// on a record
	attrSub   = "sub"   // on a row element only
	attrScope = "scope" // with attrMode, on a record that lacks a field of its row set
	attrMode  = "mode"  // RowSet.CounterMode
	attrFinal = "final" // Record.Final, if above 0
	// on a field element
	attrName = "name"
)

// timeLayout is how the dialect writes a time: UTC, whole milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

// The values of Header.Semantics. The empty string means: the file does not say.
const (
	// Cumulative counters grow until the object or the device restarts.
	Cumulative = "cumulative"
	// PerInterval counters hold what was counted in one collection interval.
	PerInterval = "interval"
)

// Header is what an accounting file says of itself. In a Header that a Reader
// returns, a zero field means: the file does not say.
type Header struct {
	Policy      int           // accounting policy id, 1–99
	FileID      int           // file id, 1–99
	Record      Name          // record name of the policy
	Created     time.Time     // when the file was created; written in whole milliseconds
	Interval    time.Duration // collection interval; written in whole milliseconds
	Semantics   string        // Cumulative, PerInterval or ""
	System      string        // name of the device; this and the next two only if system information is on
	Software    string        // what wrote the file, with its version
	Zone        string        // time zone of the time in the name of the file
	Description string        // description of the file or policy
	Reason      string        // why the file was created
}

// Validate reports everything that keeps h from being written, all at once:
// ids outside 1–99 (0 stands for none), a year outside 1–9999, a negative
// interval, unknown semantics and text with characters that XML forbids.
func (h Header) Validate() error {
	var errs []error
	for _, id := range []struct {
		what string
		n    int
	}{{"policy", h.Policy}, {"file id", h.FileID}} {
		if id.n < 0 || id.n > 99 {
			errs = append(errs, fmt.Errorf("header: %s %d is not in 1–99", id.what, id.n))
		}
	}
	if !h.Created.IsZero() && !writableTime(h.Created) {
		errs = append(errs, fmt.Errorf("header: creation time in year %d is not in 1–9999", h.Created.UTC().Year()))
	}
	if h.Interval < 0 {
		errs = append(errs, fmt.Errorf("header: interval %v is negative", h.Interval))
	}
	switch h.Semantics {
	case "", Cumulative, PerInterval:
	default:
		errs = append(errs, fmt.Errorf("header: semantics %q is neither %q nor %q", bounded(h.Semantics), Cumulative, PerInterval))
	}
	for _, s := range []struct{ what, text string }{
		{"record", string(h.Record)}, {"system", h.System}, {"software", h.Software}, {"zone", h.Zone}, {"description", h.Description}, {"reason", h.Reason},
	} {
		if err := checkText(s.text); err != nil {
			errs = append(errs, fmt.Errorf("header: %s: %w", s.what, err))
		}
	}
	return errors.Join(errs...)
}

func writableTime(t time.Time) bool {
	y := t.UTC().Year()
	return y >= 1 && y <= 9999
}

// bounded cuts text for an error message, which %q then escapes.
func bounded(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// checkText returns an error if XML 1.0 cannot carry s (production [2] Char):
// control characters other than tab, line feed and carriage return, U+FFFE,
// U+FFFF, and bytes that are not UTF-8.
func checkText(s string) error {
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return fmt.Errorf("byte %#02x of %q is not UTF-8", c, bounded(s))
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r', r == 0xFFFE, r == 0xFFFF:
			return fmt.Errorf("%q has the character U+%04X, which XML forbids", bounded(s), r)
		}
		i += n
	}
	return nil
}

// isElementName tells whether a sub-record or field name can be the name of an
// element of the dialect as it is: an ASCII XML name without a colon that does
// not begin with "xml" and is not an element name with another meaning.
func isElementName(s string) bool {
	switch s {
	case "", elemRoot, elemLog, elemInterval, elemRow, elemField:
		return false
	}
	if len(s) >= 3 && strings.EqualFold(s[:3], "xml") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && (c == '-' || c == '.' || '0' <= c && c <= '9'):
		default:
			return false
		}
	}
	return true
}
