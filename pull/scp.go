package pull

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The sink half of the SCP protocol, as a device speaks it:
//
//	device:  T<mtime> 0 <atime> 0 LF     (with -p)      we: 00
//	device:  C<mode> <size> <name> LF                    we: 00, or 01 text LF
//	device:  <size bytes> 00                             we: 00
//	device:  01 text LF   a file could not be sent
//	device:  02 text LF   nothing more will come
//
// Nothing else is accepted: no directories (D, E), no name but a plain one, no
// size but decimal digits. Mode and access time are ignored.
//
// An answer of 01 makes the device go on with the next file, which gives a
// listing without content, and a choice among the files of a glob.
//
// The answers to one file are a group that does not depend on the file: either
// "take it" or "refuse it". So the groups of many files are sent ahead of the
// files, and the round trips of a hundred files overlap. The k-th file of the
// session gets the k-th group, whatever its name; whether it is wanted is
// decided by its name when its header has arrived, before a byte is written.

// scpAhead is how many groups are sent ahead. The bytes, 13 for a file that is
// refused, must fit into the smallest window of a channel in use (24 KiB).
const scpAhead = 512

// Limits of the protocol.
const (
	scpLine  = 1024 // longest line of the device
	scpNames = 255  // longest name
)

// scpFile is the header of one file.
type scpFile struct {
	name  string
	size  int64
	mtime int64
}

// scpPlan is what a session is for.
type scpPlan struct {
	// take decides about the k-th file of the session, before its name is
	// known.
	take func(k int) bool
	// file looks at the header of a file and returns where its content goes,
	// nil for nowhere. taken says what take decided. An error ends the
	// session.
	file func(f scpFile, taken bool) (scpContent, error)
	// maxFiles is how many files the device may send or offer.
	maxFiles int
}

// scpContent takes the content of one file. Exactly one of finish and abandon
// is called.
type scpContent interface {
	io.Writer
	finish() error
	abandon(error)
}

// scpSink runs one session.
type scpSink struct {
	r *bufio.Reader
	w io.Writer
	// warnings are what the device said about files it could not send, and
	// warned how often it said something.
	warnings []string
	warned   int
	files    int  // files so far
	times    bool // every file has a T line
	sent     int  // groups sent
	deaf     bool // the device takes no more answers
	buf      []byte
}

// errEnd is the orderly end of a session: the device closed its side.
var errEnd = errors.New("end of session")

// run plays the session to its end. It returns nil if the device ended it
// between two files. Whether the device ended it because it was finished, the
// caller must find out.
func (s *scpSink) run(p scpPlan) error {
	s.answer("\x00")
	for {
		f, err := s.header(p)
		if err == errEnd {
			return nil
		}
		if err != nil {
			return err
		}
		if s.files++; s.files > p.maxFiles {
			return protocolError("more files than the %d that may come, the last is %s", p.maxFiles, quote(f.name))
		}
		k := s.files - 1
		taken := p.take(k)
		content, err := p.file(f, taken)
		if err != nil {
			return err
		}
		s.answers(p, k+scpAhead)
		if !taken {
			continue
		}
		if err := s.content(f, content); err != nil {
			return err
		}
	}
}

// answers sends the groups up to the last one.
func (s *scpSink) answers(p scpPlan, last int) {
	var b strings.Builder
	for ; s.sent <= last && s.sent < p.maxFiles; s.sent++ {
		if s.times && s.sent > 0 { // the first T line was answered on its own
			b.WriteString("\x00")
		}
		if p.take(s.sent) {
			b.WriteString("\x00\x00")
		} else {
			b.WriteString("\x01not wanted\n")
		}
	}
	if b.Len() > 0 {
		s.answer(b.String())
	}
}

// answer sends answers. A device that is finished closes its side while
// answers to files that never came are still on their way, so an error here
// says nothing: what the device sent, or did not send, tells how it ended.
func (s *scpSink) answer(text string) {
	if s.deaf {
		return
	}
	_, err := io.WriteString(s.w, text)
	s.deaf = err != nil
}

// header reads up to and including the C line of the next file.
func (s *scpSink) header(p scpPlan) (scpFile, error) {
	var mtime int64
	haveTime := false
	for {
		line, err := s.line()
		if err != nil {
			if err == errEnd && haveTime {
				err = fmt.Errorf("%w: after the time of a file", ErrCut)
			}
			return scpFile{}, err
		}
		switch line[0] {
		case 1:
			if err := s.warn(line[1:], p.maxFiles); err != nil {
				return scpFile{}, err
			}
		case 2:
			return scpFile{}, fmt.Errorf("%w: the device ended the transfer: %s", ErrProtocol, quote(strings.TrimSpace(line[1:])))
		case 'T':
			if haveTime || s.files > 0 && !s.times {
				return scpFile{}, protocolError("unexpected time %s", quote(line))
			}
			if mtime, err = parseSCPTime(line); err != nil {
				return scpFile{}, err
			}
			haveTime = true
			if s.files == 0 {
				s.times = true
				s.answer("\x00")
			}
		case 'C':
			if s.times && !haveTime {
				return scpFile{}, protocolError("a file without a time after one with a time: %s", quote(line))
			}
			f, err := parseSCPFile(line)
			f.mtime = mtime
			return f, err
		case 'D':
			return scpFile{}, protocolError("the device sends a directory: %s", quote(line))
		case 'E':
			return scpFile{}, protocolError("the device leaves a directory: %s", quote(line))
		default:
			return scpFile{}, protocolError("no file header: %s", quote(line))
		}
	}
}

// warn keeps what the device says about a file. The first few are enough.
func (s *scpSink) warn(text string, maxFiles int) error {
	if s.warned++; s.warned > maxFiles+16 {
		return protocolError("the device does not stop to report errors, the last is %s", quote(text))
	}
	if len(s.warnings) < 16 {
		s.warnings = append(s.warnings, quote(strings.TrimSpace(text)))
	}
	return nil
}

// line reads one line without its end. At the end of the session it returns
// errEnd, but only between two lines.
func (s *scpSink) line() (string, error) {
	var b []byte
	for len(b) <= scpLine {
		c, err := s.r.ReadByte()
		switch {
		case err == io.EOF && len(b) == 0:
			return "", errEnd
		case err == io.EOF:
			return "", fmt.Errorf("%w: in a line: %s", ErrCut, quote(string(b)))
		case err != nil:
			return "", err
		case c == '\n' && len(b) > 0:
			return string(b), nil
		case c == '\n':
			return "", protocolError("an empty line")
		}
		b = append(b, c)
	}
	return "", protocolError("a line longer than %d bytes: %s", scpLine, quote(string(b)))
}

// content reads the content of a file and what the device says after it.
func (s *scpSink) content(f scpFile, to scpContent) (err error) {
	abandoned := false
	abandon := func(err error) {
		if to != nil && !abandoned {
			to.abandon(err)
		}
		abandoned = true
	}
	defer func() {
		if err != nil {
			abandon(err)
		}
	}()
	if s.buf == nil {
		s.buf = make([]byte, 32<<10)
	}
	for left := f.size; left > 0; {
		n, err := s.r.Read(s.buf[:min(left, int64(len(s.buf)))])
		if n > 0 && to != nil {
			if _, err := to.Write(s.buf[:n]); err != nil {
				return &localError{err}
			}
		}
		left -= int64(n)
		if err != nil && left > 0 {
			if err == io.EOF {
				err = ErrCut
			}
			return fmt.Errorf("%w: %d of %d bytes", err, f.size-left, f.size)
		}
	}
	c, err := s.r.ReadByte()
	switch {
	case err == io.EOF:
		return fmt.Errorf("%w: after the content, before the device confirmed it", ErrCut)
	case err != nil:
		return err
	case c == 1 || c == 2:
		// The device could not read its own file: what it sent is padding.
		text, err := s.line()
		if err == errEnd {
			err = ErrCut
		}
		if err == nil && c == 2 {
			err = fmt.Errorf("%w: the device ended the transfer: %s", ErrProtocol, quote(strings.TrimSpace(text)))
		}
		abandon(fmt.Errorf("the device could not read it: %s", quote(strings.TrimSpace(text))))
		return err
	case c != 0:
		return protocolError("%s is longer than the %d bytes it announced", f.name, f.size)
	case to == nil:
		return nil
	}
	abandoned = true // finish answers for the file from here on
	return to.finish()
}

// parseSCPFile reads "C0644 123 name".
func parseSCPFile(line string) (scpFile, error) {
	bad := func(what string) (scpFile, error) {
		return scpFile{}, protocolError("%s: %s", what, quote(line))
	}
	mode, rest, ok := strings.Cut(line[1:], " ")
	if !ok || len(mode) != 4 || strings.Trim(mode, "01234567") != "" {
		return bad("file header without a mode")
	}
	digits, name, ok := strings.Cut(rest, " ")
	if !ok {
		return bad("file header without a name")
	}
	size, ok := decimal(digits)
	if !ok {
		return bad("file header without a decimal size")
	}
	if err := checkSCPName(name); err != nil {
		return scpFile{}, err
	}
	return scpFile{name: name, size: size}, nil
}

// checkSCPName accepts a plain file name and nothing that could lead anywhere.
func checkSCPName(name string) error {
	switch {
	case name == "":
		return protocolError("the device names a file with an empty name")
	case name == "." || name == "..":
		return protocolError("the device names a file %s", quote(name))
	case len(name) > scpNames:
		return protocolError("the device names a file with %d bytes: %s", len(name), quote(name))
	case strings.ContainsAny(name, `/\`):
		return protocolError("the device names a file with a directory: %s", quote(name))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, notInName):
		return protocolError("the device names a file with characters that cannot be printed: %s", quote(name))
	}
	return nil
}

// parseSCPTime reads "T<mtime> 0 <atime> 0". A time outside 0 to 2^32-1 is
// clamped: it names a version of a file, nothing more.
func parseSCPTime(line string) (int64, error) {
	words := strings.Split(line[1:], " ")
	bad := protocolError("file times without four numbers: %s", quote(line))
	if len(words) != 4 {
		return 0, bad
	}
	var mtime int64
	for i, w := range words {
		n, ok := decimal(w)
		if !ok && strings.Trim(w, "0123456789") == "" && w != "" {
			n, ok = 1<<62, true // a number too large for us is still a number
		}
		if !ok {
			return 0, bad
		}
		if i == 0 {
			mtime = min(n, 1<<32-1)
		}
	}
	return mtime, nil
}

// decimal reads digits and nothing else.
func decimal(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
