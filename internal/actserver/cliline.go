package actserver

import (
	"fmt"
	"strings"
)

// maxCLILine bounds what a client can type before it presses enter.
const maxCLILine = 1024

// typed is what one byte from a client amounts to.
type typed int

const (
	typing      typed = iota // nothing yet
	entered                  // a line is complete
	interrupted              // the line was given up (^C)
	ended                    // the client wants to leave (^D on an empty line)
)

// editor turns the bytes that a client types into lines. What it holds and what
// it gives back as echo is printable ASCII, and the few bytes that move a cursor
// back: a client never gets its own control sequences back.
type editor struct {
	line   []byte
	escape int  // in an escape sequence: 1 after ESC, 2 after ESC [
	cr     bool // the last byte was a carriage return
}

// Bytes of a terminal.
const (
	keyInterrupt = 0x03
	keyEnd       = 0x04
	keyBell      = 0x07
	keyBackspace = 0x08
	keyErase     = 0x15
	keyEscape    = 0x1b
	keyDelete    = 0x7f
)

// feed takes one byte and returns what to echo.
func (e *editor) feed(b byte) (echo []byte, event typed) {
	wasCR := e.cr
	e.cr = b == '\r'
	switch {
	case e.escape == 1:
		e.escape = 0
		if b == '[' || b == 'O' {
			e.escape = 2
		}
		return nil, typing
	case e.escape == 2:
		if b >= 0x40 && b <= 0x7e {
			e.escape = 0
		}
		return nil, typing
	case b == keyEscape:
		e.escape = 1
		return nil, typing
	case b == '\n' && wasCR:
		return nil, typing // the second half of CR LF
	case b == '\r' || b == '\n':
		return []byte("\r\n"), entered
	case b == keyInterrupt:
		return []byte("^C\r\n"), interrupted
	case b == keyEnd && len(e.line) == 0:
		return nil, ended
	case b == keyBackspace || b == keyDelete:
		if len(e.line) == 0 {
			return nil, typing
		}
		e.line = e.line[:len(e.line)-1]
		return []byte("\b \b"), typing
	case b == keyErase:
		echo = []byte(strings.Repeat("\b \b", len(e.line)))
		e.line = e.line[:0]
		return echo, typing
	case b < 0x20 || b > 0x7e:
		return nil, typing
	case len(e.line) >= maxCLILine:
		return []byte{keyBell}, typing
	}
	e.line = append(e.line, b)
	return []byte{b}, typing
}

// take returns the line and begins another one.
func (e *editor) take() string {
	line := string(e.line)
	e.line = e.line[:0]
	return line
}

// cliWord is a word of a command line and where it begins.
type cliWord struct {
	text string
	at   int
}

// splitCLI splits a command line at spaces outside double quotes. A backslash
// stands for itself: it separates directories.
func splitCLI(line string) ([]cliWord, error) {
	var words []cliWord
	var current strings.Builder
	at, quoted := -1, false
	for i := range len(line) {
		switch b := line[i]; {
		case b == '"':
			quoted = !quoted
			if at < 0 {
				at = i
			}
		case (b == ' ' || b == '\t') && !quoted:
			if at >= 0 {
				words = append(words, cliWord{current.String(), at})
				current.Reset()
				at = -1
			}
		default:
			if at < 0 {
				at = i
			}
			current.WriteByte(b)
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if at >= 0 {
		words = append(words, cliWord{current.String(), at})
	}
	return words, nil
}
