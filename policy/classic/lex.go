package classic

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// word is one word of a line. A word in quotes is never a keyword.
type word struct {
	text   string
	quoted bool
}

func (w word) is(keyword string) bool { return !w.quoted && w.text == keyword }

// line is one line of the text.
type line struct {
	number int
	indent int
	text   string // without spaces around it
	words  []word // nil if the line says nothing
	// prompt is the path of the prompt that the line began with, such as
	// "config>log", if it had one.
	prompt string
}

// promptOf finds the prompt of a session: *A:ALA-1>config>log# info.
var promptOf = regexp.MustCompile(`^(?:\*?[A-Z]:[A-Za-z0-9._-]+((?:>[^>#$\s"]+)*)|\*?[A-Za-z0-9._-]+((?:>[^>#$\s"]+)+))[#$] ?`)

// lex cuts a text into lines and lines into words.
func lex(text string) []line {
	var out []line
	for number := 1; text != ""; number++ {
		raw, rest, _ := strings.Cut(text, "\n")
		text = rest
		l := line{number: number, text: strings.TrimSpace(raw)}
		for _, c := range raw {
			if c == ' ' {
				l.indent++
			} else if c == '\t' {
				l.indent += 4
			} else {
				break
			}
		}
		said := l.text
		if m := promptOf.FindStringSubmatch(said); m != nil {
			l.prompt, said = cmp.Or(strings.TrimPrefix(m[1]+m[2], ">"), ">"), said[len(m[0]):]
			l.indent = 0
		}
		if !noise(said) {
			l.words = split(said)
		}
		out = append(out, l)
	}
	return out
}

// noise tells whether a line says nothing: comments, rules, echo, the commands
// that printed the text, and what a pager leaves behind.
func noise(s string) bool {
	switch {
	case s == "", s[0] == '#', strings.Trim(s, "-=") == "":
		return true
	}
	first, _, _ := strings.Cut(s, " ")
	return slices.Contains([]string{"echo", "info", "admin"}, first) || strings.HasPrefix(s, "Press any key to continue")
}

// split cuts a line into words. A word that begins with a quote ends with one;
// within it \ takes the meaning from the next character.
func split(s string) []word {
	var out []word
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return out
		}
		if s[0] != '"' {
			end := strings.IndexAny(s, " \t")
			if end < 0 {
				end = len(s)
			}
			out = append(out, word{text: s[:end]})
			s = s[end:]
			continue
		}
		var b strings.Builder
		i := 1
		for i < len(s) && s[i] != '"' {
			if s[i] == '\\' && i+1 < len(s) {
				i++
			}
			b.WriteByte(s[i])
			i++
		}
		out = append(out, word{b.String(), true})
		s = s[min(i+1, len(s)):]
	}
}

// unquoted is a word that needs no quotes.
var unquoted = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/*@+-]*$`)

// quote is the inverse of split for one word.
func quote(s string) string {
	if unquoted.MatchString(s) && !slices.Contains(reserved, s) {
		return s
	}
	return `"` + escape.Replace(s) + `"`
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// reserved are words that have a meaning where an id stands.
var reserved = []string{"create", "customer", "name", "vpn"}
