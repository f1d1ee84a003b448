package record

import (
	"path"
	"strings"
	"time"
)

// timeCache remembers the last times read: most records repeat them.
type timeCache struct {
	text string
	t    time.Time
}

// contextTime reads the time of an interval.
func (r *Reader) contextTime(text []byte, w *word) (time.Time, *badContext) {
	t, ok := r.parseTime(text)
	if !ok {
		return time.Time{}, &badContext{w.name, bounded(string(text)), "is not a time; known are RFC 3339, yyyy-mm-ddThh:mm:ss, yyyymmdd-hhmmss, and seconds or milliseconds since 1970"}
	}
	return t, nil
}

func (r *Reader) parseTime(text []byte) (time.Time, bool) {
	if len(text) > 0 && string(text) == r.times.text {
		return r.times.t, true
	}
	s := strings.TrimSpace(string(text[:min(len(text), 64)]))
	t, ok := parseTimeText(s, r.location)
	if ok {
		r.times = timeCache{string(text), t}
	}
	return t, ok
}

// zoneless are the layouts without a zone; they are read in the profile's zone.
var zoneless = []string{"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "20060102-150405", "2006/01/02 15:04:05", "20060102T150405"}

// parseTimeText reads a time in any of the forms devices and their managers
// use. A number of 9 to 11 digits is seconds, one of 12 to 14 milliseconds since
// 1970.
func parseTimeText(s string, zone *time.Location) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), true
	}
	for _, layout := range zoneless {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t.UTC(), true
		}
	}
	n, ok := parseUint([]byte(s))
	switch {
	case !ok:
	case len(s) >= 9 && len(s) <= 11:
		return time.Unix(int64(n), 0).UTC(), true
	case len(s) >= 12 && len(s) <= 14:
		return time.UnixMilli(int64(n)).UTC(), true
	}
	return time.Time{}, false
}

// timeOfName reads the time in a device's file name, act1011-20260102-030405.xml.gz,
// for profiles that take it as the end of the interval.
func (r *Reader) timeOfName(file string) (time.Time, error) {
	base := path.Base(strings.ReplaceAll(file, `\`, "/"))
	_, rest, ok := strings.Cut(base, "-")
	stamp, _, dotted := strings.Cut(rest, ".")
	if ok && dotted {
		if t, err := time.ParseInLocation("20060102-150405", stamp, r.location); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, r.s.failAt(r.s.pos, KindShape, "set time to file in the profile, or give the file its name back",
		"the profile takes times from file names, and %q has none", bounded(base))
}

// interner gives equal texts one string. It is bounded; a file with more
// different texts than that costs time, not memory.
type interner struct {
	m     map[string]string
	bytes int
}

const (
	internStrings = 1 << 16
	internBytes   = 8 << 20
)

func (in *interner) get(b []byte) string {
	if s, ok := in.m[string(b)]; ok {
		return s
	}
	if in.m == nil || len(in.m) >= internStrings || in.bytes+len(b) > internBytes {
		in.m, in.bytes = map[string]string{}, 0
	}
	s := string(b)
	in.m[s] = s
	in.bytes += len(s)
	return s
}
