package actserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// CLI is a command line as the model device has one, as far as somebody who
// fetches files needs it: "file dir" and a few show commands. It exists to
// imitate devices. Nothing can be configured and nothing is written.
type CLI struct {
	// System is the name in the prompt.
	System string
	// Model is what the device says it is; "" for "7210 SAS".
	Model string
	// MD is the model-driven flavour: another prompt, "file list" instead of
	// "file dir", other error messages.
	MD bool
	// Now and Booted are the device's clock and when it was started, in the
	// device's time zone. Nil: the machine's clock, and the start of time.
	Now, Booted func() time.Time
	// Free is how many bytes are free on the flash. Nil: 0.
	Free func() int64
}

func (c *CLI) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// terminal is what a client has asked for with pty-req.
type terminal struct{ columns, rows uint32 }

// defaultRows is the height of a terminal that does not tell its own.
const defaultRows = 24

// parseTerminal reads a pty-req.
func parseTerminal(payload []byte) (*terminal, error) {
	var request struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if err := ssh.Unmarshal(payload, &request); err != nil {
		return nil, fmt.Errorf("pty-req request: %w", err)
	}
	t := &terminal{columns: request.Columns, rows: request.Rows}
	if t.rows < 2 || t.rows > 10_000 {
		t.rows = defaultRows
	}
	return t, nil
}

// shell is one conversation.
type shell struct {
	c    *conn
	cli  *CLI
	in   *bufio.Reader
	out  *bufio.Writer
	term *terminal // nil without a terminal: no echo, no paging

	md      bool // the flavour of the present line
	paging  bool
	file    bool   // in the context "file"
	dir     string // the present directory, as "cf1:" or "cf1:/act"
	lines   int    // on the screen since the last prompt or key
	skip    bool   // the client quit the output of this command
	failed  bool   // the present command had an error
	leaving bool
	err     error // of the connection
}

func (c *conn) newShell(rw io.ReadWriter, term *terminal) *shell {
	cli := c.server.o.CLI
	s := &shell{c: c, cli: cli, in: bufio.NewReaderSize(rw, 512), out: bufio.NewWriter(rw), term: term, md: cli.MD, paging: term != nil}
	s.dir = strings.Join(c.server.tree.lead, "/")
	return s
}

// execute runs one command line, as with ssh HOST COMMAND.
func (c *conn) execute(rw io.ReadWriter, line string) uint32 {
	s := c.newShell(rw, nil)
	if len(line) > maxCLILine {
		s.fail("Error: Line too long.")
	} else {
		s.run(line)
	}
	if err := s.out.Flush(); err != nil || s.failed {
		return 1
	}
	return 0
}

// shell talks until the client leaves.
func (c *conn) shell(rw io.ReadWriter, term *terminal) uint32 {
	s := c.newShell(rw, term)
	s.print("%s, simulated. Nothing can be configured here.\n", s.model())
	var e editor
	s.prompt()
	for !s.leaving && s.flush() {
		b, err := s.in.ReadByte()
		if err != nil {
			break
		}
		echo, event := e.feed(b)
		if s.term != nil {
			_, _ = s.out.Write(echo) // the error stays until flush
		}
		switch event {
		case entered:
			s.begin()
			s.run(e.take())
		case interrupted:
			e.take()
		case ended:
			s.leaving = true
		}
		if event != typing && !s.leaving {
			s.prompt()
		}
	}
	s.flush()
	if s.err != nil {
		return 1
	}
	return 0
}

// flush sends what was printed, unless more input is there already.
func (s *shell) flush() bool {
	if s.in.Buffered() == 0 || s.leaving {
		if err := s.out.Flush(); err != nil && s.err == nil {
			s.err = err
		}
	}
	return s.err == nil
}

// begin is the state before a command.
func (s *shell) begin() { s.lines, s.skip, s.failed, s.md = 0, false, false, s.cli.MD }

func (s *shell) model() string {
	if s.cli.Model == "" {
		return "7210 SAS"
	}
	return s.cli.Model
}

// prompt is that of the device: a client waits for "#" and a space at the end.
func (s *shell) prompt() {
	s.begin()
	switch {
	case s.cli.MD:
		s.raw(fmt.Sprintf("\r\n[/]\r\nA:%s@%s# ", plainText(s.c.login.User), s.cli.System))
	case s.file:
		s.raw(fmt.Sprintf("A:%s>file %s# ", s.cli.System, deviceDir(s.dir)))
	default:
		s.raw(fmt.Sprintf("A:%s# ", s.cli.System))
	}
}

// plainText keeps what may stand on a terminal.
func plainText(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, bounded(text))
}

// raw prints without paging.
func (s *shell) raw(text string) { _, _ = s.out.WriteString(text) }

// print prints lines, page by page on a terminal.
func (s *shell) print(format string, a ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, a...)) {
		if s.skip || s.err != nil {
			return
		}
		if s.paging && s.term != nil && s.lines >= int(s.term.rows)-1 {
			s.page()
			if s.skip {
				return
			}
		}
		s.lines++
		line, whole := strings.CutSuffix(line, "\n")
		s.raw(line)
		if whole && s.term == nil {
			s.raw("\n")
		} else if whole {
			s.raw("\r\n")
		}
	}
}

// pageText is what a device asks at the end of a page.
const pageText = "Press any key to continue (Q to quit)"

// page waits for a key.
func (s *shell) page() {
	s.raw(pageText)
	s.err = errors.Join(s.err, s.out.Flush())
	if s.err != nil {
		return
	}
	b, err := s.in.ReadByte()
	if err != nil {
		s.skip, s.leaving = true, true
		return
	}
	s.raw("\r" + strings.Repeat(" ", len(pageText)) + "\r")
	s.lines = 0
	s.skip = b == 'q' || b == 'Q' || b == keyInterrupt
}

// fail prints an error message.
func (s *shell) fail(format string, a ...any) {
	s.failed = true
	s.print(format+"\n", a...)
}
