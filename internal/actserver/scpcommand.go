package actserver

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// scpCommand is a parsed "scp -f" command line.
type scpCommand struct {
	times   bool   // -p: send times
	dir     string // the path up to the last component
	name    string // the last component; a pattern when glob is set
	glob    bool
	operand string // as it came, for messages
}

// errNotSCP says that a command line is no scp command at all.
var errNotSCP = errors.New("only scp -f is understood")

// parseSCP reads the command line an scp client runs on the device:
//
//	scp [-f -p -q -v -d]… [--] path
//
// in the order and grouping of getopt. Quotes group and make pattern
// characters literal; a backslash separates directories, as on the model
// device, and quotes nothing. There is no shell: every other character stands
// for itself. errNotSCP means another program; any other error is a scp
// command this server refuses.
func parseSCP(line string) (scpCommand, error) {
	var c scpCommand
	if len(line) > maxPath {
		return c, fmt.Errorf("command of %d bytes is too long", len(line))
	}
	words, err := splitWords(line)
	if len(words) == 0 || words[0].text() != "scp" {
		return c, errNotSCP
	}
	if err != nil {
		return c, err
	}
	words = words[1:]
	source := false
	for len(words) > 0 {
		option := words[0].text()
		if len(option) < 2 || option[0] != '-' {
			break
		}
		words = words[1:]
		if option == "--" {
			break
		}
		for _, letter := range option[1:] {
			switch letter {
			case 'f':
				source = true
			case 'p':
				c.times = true
			case 'q', 'v', 'd': // quiet, verbose, "target is a directory": nothing to do here
			case 't':
				return c, ErrReadOnly
			case 'r':
				return c, errors.New("directories are not sent: -r is refused")
			default:
				return c, fmt.Errorf("option -%c is not understood", letter)
			}
		}
	}
	switch {
	case !source:
		return c, errors.New("option -f is missing")
	case len(words) != 1:
		return c, fmt.Errorf("one path is wanted, not %d", len(words))
	}
	return c, c.setPath(words[0])
}

// setPath splits the operand into directory and last component, and turns the
// latter into a pattern when it holds an unquoted pattern character.
func (c *scpCommand) setPath(w word) error {
	c.operand = w.text()
	for len(w) > 0 && w[len(w)-1].char == '/' {
		w = w[:len(w)-1] // "act/" is the directory
	}
	cut := 0
	for i, ch := range w {
		if ch.char == '/' {
			cut = i + 1
		}
	}
	for _, ch := range w[:cut] {
		if ch.meta() {
			return errors.New("a pattern is understood in the last component only")
		}
	}
	c.dir = w[:cut].text()
	last := w[cut:]
	for _, ch := range last {
		c.glob = c.glob || ch.meta()
	}
	c.name = last.text()
	if c.glob {
		c.name = last.pattern()
		if _, err := path.Match(c.name, ""); err != nil {
			return errors.New("the pattern is malformed")
		}
	}
	return nil
}

// word is one word of a command line.
type word []char

// char is one byte of a word. Bytes of UTF-8 sequences stand one by one.
type char struct {
	char   byte
	quoted bool
}

func (c char) meta() bool { return !c.quoted && strings.IndexByte("*?[", c.char) >= 0 }

func (w word) text() string {
	b := make([]byte, len(w))
	for i, c := range w {
		b[i] = c.char
	}
	return string(b)
}

// pattern writes the word for path.Match, quoted characters escaped.
func (w word) pattern() string {
	var b strings.Builder
	for _, c := range w {
		if c.quoted && strings.IndexByte(`*?[]-^`, c.char) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c.char)
	}
	return b.String()
}

// splitWords splits at spaces and tabs outside quotes. The words before an
// error are returned with it.
func splitWords(line string) ([]word, error) {
	var words []word
	var current word
	inWord := false
	quote := byte(0)
	for i := range len(line) {
		b := line[i]
		if b < 0x20 && b != '\t' || b == 0x7f {
			return words, fmt.Errorf("control character %#02x in the command", b)
		}
		switch {
		case quote != 0 && b == quote:
			quote = 0
		case quote == 0 && (b == '\'' || b == '"'):
			quote, inWord = b, true
		case quote == 0 && (b == ' ' || b == '\t'):
			if inWord {
				words, current, inWord = append(words, current), nil, false
			}
		default:
			if b == '\\' {
				b = '/'
			}
			current, inWord = append(current, char{b, quote != 0}), true
		}
	}
	if quote != 0 {
		return words, errors.New("a quote is not closed")
	}
	if inWord {
		words = append(words, current)
	}
	return words, nil
}
