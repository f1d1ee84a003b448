package pull

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// cliLister lists a directory with the command line of a device: by exec, and
// where that gives no listing, in a shell. It sends nothing but "file dir" (or
// "file list"), the question for the time, and what turns paging off.
type cliLister struct {
	c     *conn
	dir   string
	clock Skew

	inShell bool      // exec gave no listing
	shell   *cliShell // open while a listing is made: a device may allow one session
	command string    // that worked: "file dir" or "file list", "" if none did yet
}

func newCLILister(c *conn, dir string) *cliLister { return &cliLister{c: c, dir: dir} }

// The commands of the classic and of the model-driven command line.
var (
	dirCommands  = []string{"file dir", "file list"}
	timeCommands = map[string]string{"file dir": "show time", "file list": "show system time"}
)

// cliWord is a path as one word of the command line.
func cliWord(dir string) (string, error) {
	if isDevicePath(dir) {
		dir = strings.ReplaceAll(dir, "/", `\`)
	}
	if dir == "" || dir[0] == '-' || len(dir) > 200 || strings.Trim(dir, bareBytes+`\`) != "" {
		return "", fmt.Errorf("path %s: a path for the command line can hold up to 200 letters, digits and @%%_+=:,./\\- only", quote(dir))
	}
	return dir, nil
}

// confirm makes a new listing.
func (l *cliLister) confirm(ctx context.Context, _ []entry) (map[string]entry, bool, error) {
	return confirmByListing(ctx, l)
}

func (l *cliLister) list(ctx context.Context) (listing, error) {
	if ctx.Err() != nil {
		return listing{}, context.Cause(ctx)
	}
	path, err := cliWord(l.dir)
	if err != nil {
		return listing{}, err
	}
	defer l.closeShell()
	if l.command != "" {
		return l.again(path)
	}
	// Nothing is known yet: commands by exec, then in a shell.
	found, said, err := l.search(path)
	if errors.Is(err, errNoListing) && l.c.ended() == nil {
		l.inShell = true
		found, said, err = l.search(path)
	}
	if errors.Is(err, errNoListing) {
		return listing{}, &hinted{fmt.Errorf("%w; the device said %s", err, quote(said)), "only devices with the command \"file dir\" can be listed by their command line"}
	}
	if err == nil {
		l.askTime()
	}
	return found, err
}

// closeShell ends the conversation.
func (l *cliLister) closeShell() {
	if l.shell != nil {
		_ = l.shell.s.Close() // the device may have ended it before
		l.shell = nil
	}
}

// search finds the command that lists.
func (l *cliLister) search(path string) (found listing, said string, err error) {
	for _, command := range dirCommands {
		var text string
		if text, err = l.run(command + " " + path); err != nil {
			if l.c.ended() != nil {
				return listing{}, "", err
			}
			if l.inShell {
				return listing{}, "", err
			}
			return listing{}, clean(err.Error()), errNoListing // exec was refused
		}
		said = strings.TrimSpace(text)
		var d dirText
		switch d, err = parseDir(text, l.c.limits.ListFiles); {
		case err == nil:
			l.command = command
			return d.listing, said, nil
		case isNotFound(text):
			return listing{}, said, errNoDirectory
		case !errors.Is(err, errNoListing):
			return listing{}, said, err
		}
	}
	return listing{}, said, err
}

// again lists with the command that worked before.
func (l *cliLister) again(path string) (listing, error) {
	text, err := l.run(l.command + " " + path)
	if err != nil {
		return listing{}, err
	}
	d, err := parseDir(text, l.c.limits.ListFiles)
	if err != nil && isNotFound(text) {
		err = errNoDirectory
	}
	return d.listing, err
}

// isNotFound recognises what a device says of a directory that is not there.
func isNotFound(text string) bool {
	return strings.Contains(text, "File Not Found") || strings.Contains(text, "MGMT_CORE #2203") || strings.Contains(text, "File not found")
}

// askTime measures the clock. A device that does not tell is none the worse.
func (l *cliLister) askTime() {
	asked := time.Now()
	text, err := l.run(timeCommands[l.command])
	if shown, ok := parseClock(text); err == nil && ok {
		l.clock = skewOf(shown, asked, time.Now())
	}
}

// run runs one command and returns everything it printed.
func (l *cliLister) run(command string) (string, error) {
	if l.inShell {
		var err error
		if l.shell == nil {
			l.shell, err = openShell(l.c)
		}
		if err != nil {
			return "", err
		}
		return l.shell.run(command)
	}
	s, err := l.c.open("a command", func(s *ssh.Session) error { return s.Start(command) })
	if err != nil {
		return "", l.c.why(err)
	}
	text, err := readAll(&watchedReader{l.c, s}, l.c.limits.ListBytes)
	if err == nil {
		err = l.c.within(l.c.limits.Open, "end of the command", s.Wait)
		var exit *ssh.ExitError
		var missing *ssh.ExitMissingError
		if errors.As(err, &exit) || errors.As(err, &missing) {
			err = nil // what it printed tells more
		}
	}
	_ = s.Close()
	if err != nil {
		l.c.fail(sessionError(err))
		return "", l.c.ended()
	}
	return text, nil
}

// readAll reads a text of bounded length.
func readAll(r io.Reader, most int64) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = protocolError("more than %d bytes of text", most)
	}
	return string(b), err
}

// cliShell is a conversation with the command line of a device.
//
// The end of an answer is not guessed from silence or from a text that looks like
// a prompt. When the prompt seems to be there, a comment with a number nobody can
// know is sent; the device repeats what is typed behind its prompt, and only that
// line is the end. An answer that holds a line like a prompt is not cut by that.
type cliShell struct {
	c      *conn
	s      *session
	r      io.Reader
	buf    []byte
	prompt string
}

// Bounds of a conversation.
const (
	shellColumns = 512 // so that no line is wrapped
	shellBanner  = 64 << 10
	shellPager   = "Press any key to continue"
)

// openShell starts a shell, learns its prompt and turns paging off.
func openShell(c *conn) (*cliShell, error) {
	s, err := c.open("a shell", func(s *ssh.Session) error {
		if err := s.RequestPty("vt100", 24, shellColumns, ssh.TerminalModes{}); err != nil {
			return err
		}
		return s.Shell()
	})
	if err != nil {
		if c.ended() != nil {
			return nil, c.ended()
		}
		return nil, fmt.Errorf("%w: a shell for the command line: %w", ErrNoTransport, fromPeer(err))
	}
	h := &cliShell{c: c, s: s, r: &watchedReader{c, s}}
	err = c.within(c.limits.Handshake, "prompt of the command line", h.learn)
	for _, paging := range []string{"environment no more", "environment more false"} {
		if err == nil {
			_, err = h.run(paging)
		}
	}
	if err != nil {
		c.fail(sessionError(err))
		return nil, c.ended()
	}
	return h, nil
}

// learn finds the prompt: the text that stands before what we type, twice.
func (h *cliShell) learn() error {
	if err := h.until(shellBanner, func() bool { return promptLike(h.lastLine()) }); err != nil {
		return err
	}
	for range 3 {
		h.prompt = h.lastLine()
		mark := newMark()
		if err := h.send(mark); err != nil {
			return err
		}
		// The mark comes back, and behind it another prompt.
		if err := h.until(shellBanner, func() bool {
			_, after, back := bytes.Cut(h.buf, []byte(mark))
			return back && bytes.ContainsAny(after, "\r\n") && promptLike(h.lastLine())
		}); err != nil {
			return err
		}
		if h.endsAt(mark) >= 0 && samePrompt(h.lastLine(), h.prompt) {
			return nil
		}
	}
	return protocolError("the command line has no prompt that stays the same: %s", quote(h.lastLine()))
}

// run runs one command.
func (h *cliShell) run(command string) (string, error) {
	text, err := h.converse(command)
	if err != nil {
		h.c.fail(sessionError(err))
		return "", h.c.ended()
	}
	return text, nil
}

func (h *cliShell) converse(command string) (string, error) {
	h.buf = h.buf[:0]
	limit := int(h.c.limits.ListBytes)
	if err := h.send(command); err != nil {
		return "", err
	}
	if err := h.until(limit, func() bool {
		return bytes.ContainsAny(h.buf, "\r\n") && samePrompt(h.lastLine(), h.prompt)
	}); err != nil {
		return "", err
	}
	mark := newMark()
	if err := h.send(mark); err != nil {
		return "", err
	}
	end := -1
	if err := h.until(limit, func() bool {
		if end = h.endsAt(mark); end < 0 {
			return false
		}
		return samePrompt(h.lastLine(), h.prompt) && bytes.ContainsAny(h.buf[end+len(mark):], "\r\n")
	}); err != nil {
		return "", err
	}
	text := string(h.buf[:end])
	text = text[:strings.LastIndexByte(text, '\n')+1] // the prompt
	_, text, _ = strings.Cut(text, "\n")              // the echo of the command
	return text, nil
}

// endsAt returns where a mark stands directly behind a prompt, -1 if it does not.
func (h *cliShell) endsAt(mark string) int {
	i := bytes.Index(h.buf, []byte(mark))
	if i < 0 {
		return -1
	}
	line := h.buf[bytes.LastIndexByte(h.buf[:i], '\n')+1 : i]
	if !samePrompt(onScreen(string(line)), h.prompt) {
		return -1
	}
	return i
}

// until reads until a condition holds, and answers a pager that would not be
// turned off.
func (h *cliShell) until(limit int, done func() bool) error {
	chunk := make([]byte, 32<<10)
	for !done() {
		if len(h.buf) > limit {
			return protocolError("more than %d bytes of text", limit)
		}
		if strings.HasPrefix(h.lastLine(), shellPager) && strings.HasSuffix(h.lastLine(), ")") {
			h.buf = append(h.buf, '\r') // what was asked is not part of the text
			if _, err := h.s.in.Write([]byte(" ")); err != nil {
				return err
			}
		}
		n, err := h.r.Read(chunk)
		h.buf = append(h.buf, chunk[:n]...)
		if err != nil && n == 0 {
			if err == io.EOF {
				err = fmt.Errorf("%w: the command line ended", ErrCut)
			}
			return err
		}
	}
	return nil
}

func (h *cliShell) send(line string) error {
	_, err := h.s.in.Write([]byte(line + "\r"))
	return err
}

// lastLine is the text behind the last line end, as it looks on a screen.
func (h *cliShell) lastLine() string {
	return onScreen(string(h.buf[bytes.LastIndexByte(h.buf, '\n')+1:]))
}

// promptLike reports whether a line could be a prompt.
func promptLike(line string) bool {
	t := strings.TrimRight(line, " ")
	return len(t) > 1 && len(t) <= 256 && strings.ContainsAny(t[len(t)-1:], "#>$%")
}

// samePrompt compares prompts. A device puts an asterisk in front of its own when
// its configuration is not saved.
func samePrompt(a, b string) bool {
	return strings.TrimPrefix(strings.TrimSpace(a), "*") == strings.TrimPrefix(strings.TrimSpace(b), "*")
}

// newMark is a comment that stands in no text of a device.
func newMark() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return "#" + hex.EncodeToString(b[:])
}
