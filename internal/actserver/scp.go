package actserver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// copyChunk is the size of one write to a client: the largest packet the SSH
// library sends.
const copyChunk = 32 << 10

// Bytes of the protocol that stand for a result.
const (
	scpOK    = 0
	scpError = 1
)

// scpSource plays the sending side of one scp command.
type scpSource struct {
	c   *conn
	rw  io.ReadWriter
	buf []byte
	// failed: an error line was sent, so the exit status is not 0.
	failed bool
}

// scp runs one scp command and returns its exit status.
func (c *conn) scp(rw io.ReadWriter, line string) uint32 {
	s := &scpSource{c: c, rw: rw, buf: make([]byte, copyChunk)}
	if err := s.run(line); err != nil || s.failed {
		return 1
	}
	return 0
}

// run returns an error when the conversation is broken; what was refused in an
// orderly way is in s.failed.
func (s *scpSource) run(line string) error {
	cmd, err := parseSCP(line)
	if err != nil {
		s.c.refuse("scp", fmt.Errorf("%w: %s", err, quote(line)))
		return s.complain("", err)
	}
	if err := s.answer(); err != nil {
		return err
	}
	names, dir, err := s.names(cmd)
	if err != nil {
		s.c.refuse("scp", fmt.Errorf("%w: %s", bare(err), quote(cmd.operand)))
		return s.complain(cmd.operand, err)
	}
	for _, name := range names {
		if err := s.offer(cmd, dir, name); err != nil {
			return err
		}
	}
	return nil
}

// names resolves the operand to the names of one directory.
func (s *scpSource) names(cmd scpCommand) ([]string, node, error) {
	t := s.c.server.tree
	if !cmd.glob {
		n, err := t.locate(path.Join(cmd.dir, cmd.name))
		if err == nil && n.name == "" {
			err = ErrNotServed
		}
		return []string{n.name}, n, err
	}
	n, err := t.locate(cmd.dir)
	if err == nil && (n.dir == nil || n.name != "") {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, n, err
	}
	names, err := t.match(n, cmd.name)
	if err == nil && len(names) == 0 {
		err = fs.ErrNotExist
	}
	return names, n, err
}

// offer sends one file, or an error line when it cannot be opened.
func (s *scpSource) offer(cmd scpCommand, dir node, name string) error {
	release, err := s.c.handle()
	if err != nil {
		s.c.refuse("scp", fmt.Errorf("%w: %s", err, quote(name)))
		return s.complain(name, err)
	}
	defer release()
	dir.name = name
	f, err := s.c.server.tree.open(dir)
	if err != nil {
		s.c.refuse("scp", err)
		return s.complain(name, err)
	}
	sent, err := s.send(f, cmd.times)
	err = errors.Join(err, f.File.Close())
	s.c.server.transferred(Transfer{Login: s.c.login, Protocol: "scp", Name: name, Size: f.size, Sent: sent, Err: err})
	if errors.Is(err, errDeclined) {
		return nil
	}
	return err
}

// send speaks the protocol for one open file: times if wanted, mode, size and
// name, the content, the end.
func (s *scpSource) send(f *file, times bool) (sent int64, err error) {
	if times {
		mtime := max(f.mtime.Unix(), 0)
		if err := s.line("T%d 0 %d 0\n", mtime, mtime); err != nil {
			return 0, err
		}
	}
	if err := s.line("C%04o %d %s\n", f.mode.Perm(), f.size, f.name); err != nil {
		return 0, err
	}
	for sent < f.size {
		chunk := s.buf[:min(int64(len(s.buf)), f.size-sent)]
		n, err := f.ReadAt(chunk, sent)
		if n < len(chunk) {
			// The size is already announced and cannot be taken back: break
			// off, so that the client sees an unfinished file.
			return sent, &Error{Op: "read", Path: f.name, Err: errors.Join(io.ErrUnexpectedEOF, bare(err))}
		}
		n, err = s.rw.Write(chunk)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	if _, err := s.rw.Write([]byte{scpOK}); err != nil {
		return sent, err
	}
	return sent, s.answer()
}

// line sends one protocol line and waits for its answer.
func (s *scpSource) line(format string, a ...any) error {
	if _, err := fmt.Fprintf(s.rw, format, a...); err != nil {
		return err
	}
	return s.answer()
}

// errDeclined is the client's refusal of one file; the next one may follow.
var errDeclined = errors.New("client declined")

// answer reads the client's answer to what was sent.
func (s *scpSource) answer() error {
	var b [1]byte
	if _, err := io.ReadFull(s.rw, b[:]); err != nil {
		return err
	}
	switch b[0] {
	case scpOK:
		return nil
	case scpError:
	case 2:
		return fmt.Errorf("client ended the transfer: %s", quote(s.text()))
	default:
		return fmt.Errorf("answer %#02x of the client is none of the protocol", b[0])
	}
	s.failed = true
	return fmt.Errorf("%w: %s", errDeclined, quote(s.text()))
}

// text reads the rest of a line, at most maxPeerText bytes of it.
func (s *scpSource) text() string {
	var line []byte
	var b [1]byte
	for len(line) < maxPeerText {
		if _, err := io.ReadFull(s.rw, b[:]); err != nil || b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	return string(line)
}

// complain sends an error line; the client prints it and goes on.
func (s *scpSource) complain(about string, err error) error {
	s.failed = true
	text := reason(err)
	if about != "" {
		text = quote(about) + ": " + text
	}
	_, werr := fmt.Fprintf(s.rw, "\x01scp: %s\n", strings.ReplaceAll(text, "\n", " "))
	return werr
}

// reason is the text of an error without local paths, in the words clients of
// scp know.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	case errors.Is(err, fs.ErrPermission):
		return "Permission denied"
	}
	return bare(err).Error()
}
