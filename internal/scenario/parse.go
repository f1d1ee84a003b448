package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of one scenario.
const (
	maxText  = 4 << 20
	maxLine  = 4096
	maxSteps = 100_000
)

// Mistake is one thing that is wrong with a text.
type Mistake struct {
	Line int // from 1
	Text string
}

// Error holds every mistake of a scenario, by line.
type Error struct {
	Name     string // that of the file
	Mistakes []Mistake
}

// maxPrinted bounds the text of an Error.
const maxPrinted = 50

// Error returns one line per mistake.
func (e *Error) Error() string {
	var b strings.Builder
	for i, m := range e.Mistakes {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == maxPrinted {
			fmt.Fprintf(&b, "and %d more", len(e.Mistakes)-i)
			break
		}
		fmt.Fprintf(&b, "%s:%d: %s", e.Name, m.Line, m.Text)
	}
	return b.String()
}

// Hint tells where the format is written down.
func (e *Error) Hint() string {
	return "docs/scenarios.md describes the format and lists every setting and verb"
}

// Parse reads a scenario. name stands in the *Error, which holds every mistake.
func (l Language) Parse(name string, data []byte) (*Scenario, error) {
	p := &parser{l: l, s: &Scenario{settings: map[string]string{}, text: string(data)}}
	switch {
	case len(data) > maxText:
		p.fail(1, "the text is longer than %d bytes", maxText)
	case !utf8.Valid(data):
		p.fail(1, "the text is not UTF-8")
	default:
		p.parse()
	}
	if len(p.mistakes) > 0 {
		slices.SortStableFunc(p.mistakes, func(a, b Mistake) int { return cmp.Compare(a.Line, b.Line) })
		return nil, &Error{Name: name, Mistakes: p.mistakes}
	}
	return p.s, nil
}

// parser reads one text.
type parser struct {
	l        Language
	s        *Scenario
	lines    []timed
	mistakes []Mistake
}

// timed is a line of the script whose words are known and whose times are not:
// those need the settings.
type timed struct {
	line  int
	words []string
}

func (p *parser) fail(line int, format string, a ...any) {
	p.mistakes = append(p.mistakes, Mistake{Line: line, Text: fmt.Sprintf(format, a...)})
}

func (p *parser) parse() {
	n := 0
	at := map[string]int{} // settings, sections: where
	for line := range strings.Lines(p.s.text) {
		n++
		if name, ok := marker(line); ok {
			p.section(n, name, at)
			continue
		}
		if len(p.s.Sections) > 0 {
			s := &p.s.Sections[len(p.s.Sections)-1]
			s.Text += line
			continue
		}
		p.script(n, line, at)
	}
	p.frame(at)
	for _, t := range p.lines {
		p.timed(t)
	}
	slices.SortStableFunc(p.s.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	p.length(at)
}

// section begins a section.
func (p *parser) section(n int, name string, at map[string]int) {
	if !slices.ContainsFunc(p.l.Sections, func(s string) bool {
		prefix, any := strings.CutSuffix(s, "*")
		return s == name || any && strings.HasPrefix(name, prefix)
	}) {
		p.fail(n, "there is no section %q; the sections are %s", bounded(name), strings.Join(p.l.Sections, ", "))
	}
	if first := at["-- "+name]; first > 0 {
		p.fail(n, "section %q stands in line %d already", bounded(name), first)
	}
	at["-- "+name] = n
	p.s.Sections = append(p.s.Sections, Section{Name: name, Line: n + 1})
}

var settingLine = regexp.MustCompile(`^([a-z][a-z-]*):(?:[ \t]+(.*))?$`)

// script reads a line before the first section.
func (p *parser) script(n int, line string, at map[string]int) {
	line = strings.TrimRight(line, " \t\r\n")
	if len(line) > maxLine {
		p.fail(n, "the line is longer than %d bytes", maxLine)
		return
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		p.fail(n, "there is a control character in the line: %q", bounded(line))
		return
	}
	if m := settingLine.FindStringSubmatch(line); m != nil {
		p.setting(n, m[1], m[2], at)
		return
	}
	words, err := split(line)
	if err != nil {
		p.fail(n, "%v", err)
		return
	}
	if len(words) > 0 {
		p.lines = append(p.lines, timed{n, words})
	}
}

// setting takes a line "name: value".
func (p *parser) setting(n int, name, value string, at map[string]int) {
	if first := at[name]; first > 0 {
		p.fail(n, "%s is given in line %d already", name, first)
		return
	}
	at[name] = n
	if len(p.lines) > 0 {
		p.fail(n, "the setting %s stands behind the first line of the script", name)
	}
	if value = strings.TrimSpace(value); value == "" {
		p.fail(n, "%s has no value", name)
		return
	}
	known := []string{"title", "start", "zone", "length"}
	if !slices.Contains(known, name) {
		i := slices.IndexFunc(p.l.Settings, func(s Setting) bool { return s.Name == name })
		if i < 0 {
			for _, s := range p.l.Settings {
				known = append(known, s.Name)
			}
			p.fail(n, "there is no setting %q; the settings are %s", name, strings.Join(known, ", "))
			return
		}
		if check := p.l.Settings[i].Check; check != nil {
			if err := check(value); err != nil {
				p.fail(n, "%s: %q %v", name, bounded(value), err)
				return
			}
		}
	}
	p.s.settings[name] = value
}

// frame reads the settings of time.
func (p *parser) frame(at map[string]int) {
	p.s.Title = p.s.settings["title"]
	p.s.Zone = time.UTC
	if zone := p.s.settings["zone"]; zone != "" {
		z, err := time.LoadLocation(zone)
		if err != nil || zone == "Local" {
			p.fail(at["zone"], "zone: there is no time zone %q", bounded(zone))
		} else {
			p.s.Zone = z
		}
	}
	p.s.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).In(p.s.Zone)
	if start := p.s.settings["start"]; start != "" {
		t, err := parseTime(start, p.s.Zone)
		if err != nil {
			p.fail(at["start"], "start: %q %v", bounded(start), err)
		} else {
			p.s.Start = t
		}
	}
}

// length reads how long the scenario is, now that every step is known.
func (p *parser) length(at map[string]int) {
	last := Step{}
	if n := len(p.s.Steps); n > 0 {
		last = p.s.Steps[n-1]
	}
	p.s.Length = last.At
	text := p.s.settings["length"]
	if text == "" {
		return
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		p.fail(at["length"], "length: %q %v", bounded(text), err)
	case d < last.At:
		p.fail(last.Line, "this happens at +%s, after the end at +%s", FormatDuration(last.At), FormatDuration(d))
	default:
		p.s.Length = d
	}
}

var errNoTime = errors.New("is no time such as +15m, 01:30, 2026-03-29T01:30:00 or 2026-03-29T01:30:00Z")

// parseTime reads a date with a time. Without a zone of its own it is in zone;
// of two instants with the same clock time it is the first.
func parseTime(word string, zone *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, word); err == nil {
		if t.Year() < 2000 || t.Year() > 2199 {
			return time.Time{}, errors.New("is not between the years 2000 and 2199")
		}
		return t.In(zone), nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04"} {
		t, err := time.ParseInLocation(layout, word, zone)
		if err != nil {
			continue
		}
		if t.Format(layout) != word {
			return time.Time{}, fmt.Errorf("does not exist in %s", zone)
		}
		if t.Year() < 2000 || t.Year() > 2199 {
			return time.Time{}, errors.New("is not between the years 2000 and 2199")
		}
		return t, nil
	}
	return time.Time{}, errNoTime
}

// when reads a time of the script: since the start.
func (p *parser) when(word string) (time.Duration, error) {
	if plus, ok := strings.CutPrefix(word, "+"); ok {
		return ParseDuration(plus)
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		t, err := time.Parse(layout, word)
		if err != nil {
			continue
		}
		y, m, d := p.s.Start.Date()
		for i := range 3 {
			at := time.Date(y, m, d+i, t.Hour(), t.Minute(), t.Second(), 0, p.s.Zone)
			if !at.Before(p.s.Start) && at.Format(layout) == word {
				return at.Sub(p.s.Start), nil
			}
		}
		return 0, fmt.Errorf("does not come in the two days after the start")
	}
	t, err := parseTime(word, p.s.Zone)
	if err != nil {
		return 0, err
	}
	if t.Before(p.s.Start) {
		return 0, errors.New("lies before the start")
	}
	if t.Sub(p.s.Start) > maxDuration {
		return 0, errors.New("is more than 100 years after the start")
	}
	return t.Sub(p.s.Start), nil
}

// bounded cuts text from outside to what a message may hold.
func bounded(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
