package pull

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What "file dir" prints (7210 SAS and SR OS, "Basic System Configuration Guide",
// file commands):
//
//	Volume in drive cf1 on slot A is .
//
//	Directory of cf1:\act
//
//	12/23/2006  01:46a         <DIR> .
//	12/23/2006  01:46a           123 act1111-20061223-010000.xml.gz
//	             1 File(s)                  123 bytes.
//	             1 Dir(s)             104857600 bytes free.
//
// The times are in the time zone of the device, which nobody tells, and in
// minutes: they cannot be compared with anything and are not taken. The sum at
// the end proves that the listing is whole.
var (
	dirLine   = regexp.MustCompile(`^\s*\d\d/\d\d/\d{4}\s+\d\d:\d\d[apAP]?\s+(<DIR>|\d{1,18})\s+(\S.*?)\s*$`)
	dirFiles  = regexp.MustCompile(`^\s*(\d{1,9})\s+File\(s\)\s+(\d{1,18})\s+bytes\.?\s*$`)
	dirFree   = regexp.MustCompile(`^\s*(\d{1,9})\s+Dir\(s\)\s+\d{1,18}\s+bytes free\.?\s*$`)
	dirHeader = regexp.MustCompile(`^\s*(Volume in drive|Directory of) \S`)
)

// dirText is a parsed listing.
type dirText struct {
	listing
	unknown int    // lines that are none of those above
	first   string // the first of them
}

// errNoListing: the text is no listing at all.
var errNoListing = fmt.Errorf("%w: no listing", ErrNoTransport)

// parseDir reads the output of "file dir". A text without its sum, or with fewer
// files than the sum says, is an error, unless lines that nobody understood make
// up for it: then the listing is not complete.
func parseDir(text string, maxFiles int) (dirText, error) {
	var d dirText
	seen := map[string]bool{}
	var lines, bytes, sum, total int64
	header, ended := false, false
	for line := range strings.Lines(text) {
		line = onScreen(line)
		if strings.TrimSpace(line) == "" {
			continue
		}
		if m := dirLine.FindStringSubmatch(line); m != nil && !ended {
			if m[1] == "<DIR>" {
				continue
			}
			size, err := strconv.ParseInt(m[1], 10, 64)
			if err != nil {
				return d, protocolError("size %s", quote(m[1]))
			}
			lines, bytes = lines+1, bytes+size
			if lines > int64(maxFiles) {
				return d, protocolError("the listing has more than %d files", maxFiles)
			}
			e, ok := accept(m[2], size, 0)
			if !ok || seen[e.name] {
				d.ignored++
				continue
			}
			seen[e.name] = true
			d.files = append(d.files, e)
			continue
		}
		m := dirFiles.FindStringSubmatch(line)
		switch {
		case m != nil && !ended:
			sum, _ = strconv.ParseInt(m[1], 10, 64)   // at most nine digits
			total, _ = strconv.ParseInt(m[2], 10, 64) // at most eighteen
			ended = true
		case dirFree.MatchString(line) && ended:
		case dirHeader.MatchString(line) && !ended:
			header = true
		default:
			if d.unknown++; d.unknown == 1 {
				d.first = quote(line)
			}
		}
	}
	switch {
	case !header && !ended && lines == 0:
		return d, errNoListing
	case !ended:
		return d, fmt.Errorf("%w: the listing ends after %d files, without its sum", ErrCut, lines)
	case lines == sum && bytes == total:
		d.complete = true
	case lines > sum || d.unknown == 0:
		return d, protocolError("the listing has %d files with %d bytes, and says it has %d with %d", lines, bytes, sum, total)
	}
	d.ignored += d.unknown
	return d, nil
}

// onScreen is what a line looks like after its carriage returns: a pager wipes
// out its question with them.
func onScreen(line string) string {
	line = strings.TrimRight(line, "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	return line
}

// parseClock finds the time of "show time". Only times in UTC can be used: the
// names of other zones are the operator's own.
func parseClock(text string) (time.Time, bool) {
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(onScreen(line)), " ")
		if _, after, ok := strings.Cut(line, "Current Date & Time :"); ok {
			line = strings.TrimSpace(after)
		}
		for _, zone := range []string{" UTC ", " GMT "} {
			if !strings.Contains(line, zone) {
				continue
			}
			t, err := time.Parse("Mon Jan 2 15:04:05 2006", strings.Replace(line, zone, " ", 1))
			if err == nil {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// skewOf bounds the clock of a device that showed a time, in whole seconds,
// between two moments of ours.
func skewOf(shown, asked, answered time.Time) Skew {
	return Skew{Min: shown.Sub(answered), Max: shown.Add(time.Second).Sub(asked)}
}
