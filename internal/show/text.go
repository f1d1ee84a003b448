package show

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// least is how wide the lines of a page are at least.
const least = 79

// page is the text of one show command: a title between double lines, columns,
// more lines, a double line at the end.
type page struct {
	title string
	parts []part
}

// part is a table, or lines.
type part struct {
	header []string
	rows   [][]string
	lines  []string
	title  string // of a table behind the first
}

func (p *page) table(header []string, rows [][]string) {
	p.parts = append(p.parts, part{header: header, rows: escaped(rows)})
}

func (p *page) titled(title string, header []string, rows [][]string) {
	p.parts = append(p.parts, part{header: header, rows: escaped(rows), title: Safe(title)})
}

func (p *page) line(format string, a ...any) {
	text := Safe(fmt.Sprintf(format, a...))
	if n := len(p.parts); n > 0 && p.parts[n-1].header == nil {
		p.parts[n-1].lines = append(p.parts[n-1].lines, text)
		return
	}
	p.parts = append(p.parts, part{lines: []string{text}})
}

// long writes a sentence on as many lines as it takes.
func (p *page) long(format string, a ...any) {
	line := ""
	for _, word := range strings.Fields(fmt.Sprintf(format, a...)) {
		word = Safe(word)
		if line != "" && runes(line)+1+runes(word) > least {
			p.line("%s", line)
			line = " "
		}
		if line == "" {
			line = word
		} else {
			line += " " + word
		}
	}
	p.line("%s", line)
}

// field writes a name and its value; a value that is empty is "(Not
// Specified)", as on the device.
func (p *page) field(name, value string) {
	if value == "" {
		value = "(Not Specified)"
	}
	p.line("%-20s: %s", name, value)
}

func escaped(rows [][]string) [][]string {
	for _, r := range rows {
		for i := range r {
			r[i] = Safe(r[i])
		}
	}
	return rows
}

// write writes the page.
func (p *page) write(w io.Writer) error {
	tables := make([][]string, len(p.parts))
	width := max(least, runes(p.title))
	for i, q := range p.parts {
		if q.header != nil {
			tables[i] = align(append([][]string{q.header}, q.rows...))
			width = max(width, runes(tables[i][0]))
			for _, line := range tables[i] {
				width = max(width, runes(line))
			}
		}
	}
	double, single := strings.Repeat("=", width), strings.Repeat("-", width)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", double, Safe(p.title), double)
	for i, q := range p.parts {
		if q.title != "" {
			fmt.Fprintf(&b, "%s\n%s\n%s\n", double, q.title, double)
		}
		if q.header == nil {
			if i > 0 {
				fmt.Fprintln(&b, single)
			}
			fmt.Fprintln(&b, strings.Join(q.lines, "\n"))
			continue
		}
		for j, line := range tables[i] {
			fmt.Fprintln(&b, line)
			if j == 0 {
				fmt.Fprintln(&b, single)
			}
		}
	}
	fmt.Fprintln(&b, double)
	_, err := io.WriteString(w, b.String())
	return err
}

func runes(s string) int { return utf8.RuneCountInString(s) }

// align returns the rows with their columns under each other. A column of
// numbers stands to the right.
func align(rows [][]string) []string {
	width := make([]int, len(rows[0]))
	number := make([]bool, len(rows[0]))
	for i := range number {
		number[i] = len(rows) > 1
	}
	for j, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], runes(c))
			if _, err := strconv.ParseInt(c, 10, 64); j > 0 && err != nil && c != "-" {
				number[i] = false
			}
		}
	}
	var out []string
	for _, r := range rows {
		var b strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-runes(c))
			if i > 0 {
				b.WriteString("  ")
			}
			if number[i] {
				b.WriteString(pad + c)
			} else {
				b.WriteString(c + pad)
			}
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}

// Safe makes s safe for one line of a terminal: control characters and marks
// that turn the direction of text are escaped, and it is cut at 256 bytes.
func Safe(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most] + "…"
	}
	if utf8.ValidString(s) && strings.IndexFunc(s, unsafe) < 0 {
		return s
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

func unsafe(r rune) bool {
	return r < 0x20 || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// number writes n, and "-" where 0 means that there is none.
func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func or(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// when writes a time to the second, in UTC.
func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// span writes how long it is until something, to the minute: "3d04h", "2h05m",
// "12m".
func span(d time.Duration) string {
	m := int64(d / time.Minute)
	switch {
	case m >= 24*60:
		return fmt.Sprintf("%dd%02dh", m/(24*60), m/60%24)
	case m >= 60:
		return fmt.Sprintf("%dh%02dm", m/60, m%60)
	}
	return fmt.Sprintf("%dm", m)
}
