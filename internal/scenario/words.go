package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDuration bounds every duration of a scenario.
const maxDuration = 100 * 366 * 24 * time.Hour

// ParseDuration reads a duration as a scenario writes it: "90s", "1h30m", "3d",
// "1d12h". It is not negative and at most 100 years.
func ParseDuration(word string) (time.Duration, error) {
	rest, days := word, uint64(0)
	if head, tail, ok := strings.Cut(word, "d"); ok {
		var err error
		if days, err = strconv.ParseUint(head, 10, 64); err != nil {
			return 0, errNoDuration
		}
		rest = tail
	}
	var d time.Duration
	if rest != "" || rest == word {
		var err error
		if d, err = time.ParseDuration(rest); err != nil || strings.ContainsAny(rest, "+-") {
			return 0, errNoDuration
		}
	}
	const day = 24 * time.Hour
	if days > uint64(maxDuration/day) || d > maxDuration-time.Duration(days)*day {
		return 0, errors.New("is longer than 100 years")
	}
	return time.Duration(days)*day + d, nil
}

var errNoDuration = errors.New(`is no duration such as 90s, 15m, 1h30m or 3d`)

// FormatDuration writes a duration so that ParseDuration reads it.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	s := ""
	if d >= day {
		s = strconv.FormatInt(int64(d/day), 10) + "d"
		if d%day == 0 {
			return s
		}
		d %= day
	}
	t := d.String()
	if strings.HasSuffix(t, "m0s") {
		t = strings.TrimSuffix(t, "0s")
	}
	if strings.HasSuffix(t, "h0m") {
		t = strings.TrimSuffix(t, "0m")
	}
	return s + t
}

// Duration is the Check of an argument that is a duration.
func Duration(word string) error {
	_, err := ParseDuration(word)
	return err
}

// Number returns the Check of a whole number between two bounds.
func Number(least, most int) Check {
	return func(word string) error {
		if n, err := strconv.Atoi(word); err != nil || n < least || n > most {
			return fmt.Errorf("is no number from %d to %d", least, most)
		}
		return nil
	}
}

// OneOf returns the Check of an argument that is one of some words.
func OneOf(words ...string) Check {
	return func(word string) error {
		if !slices.Contains(words, word) {
			return fmt.Errorf("is not one of %s", strings.Join(words, ", "))
		}
		return nil
	}
}

// split breaks a line into words at spaces and tabs. A word in double quotes may
// hold spaces, and \" and \\ stand for themselves; # begins a comment.
func split(line string) (words []string, err error) {
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c == '#':
			return words, nil
		default:
			word, n, err := next(line[i:])
			if err != nil {
				return words, err
			}
			words = append(words, word)
			i += n
		}
	}
	return words, nil
}

// next reads the word at the beginning of s, and tells how long it is there.
func next(s string) (word string, n int, err error) {
	var b strings.Builder
	quoted := false
	for n < len(s) {
		c := s[n]
		switch {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted && n+1 < len(s) && (s[n+1] == '"' || s[n+1] == '\\'):
			n++
			b.WriteByte(s[n])
		case !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
			return b.String(), n, nil
		default:
			b.WriteByte(c)
		}
		n++
	}
	if quoted {
		return "", n, errors.New("the quote is not closed")
	}
	return b.String(), n, nil
}

// quote writes a word so that split reads it.
func quote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\"#") && !strings.HasSuffix(word, ":") {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
}
