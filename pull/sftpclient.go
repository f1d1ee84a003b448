package pull

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

// sftpClient speaks SFTP over one session. There are many requests on their way
// and one goroutine: requests are collected, sent together, and each answer
// calls the function that was given with its request.
//
// A request is sent without looking whether the device takes it: that cannot
// hang while all that is owed fits into the window of the SSH channel, which the
// SSH library empties on its own. sftpOwed bounds that.
type sftpClient struct {
	c   *conn
	in  *bufio.Reader
	out io.Writer

	id      uint32
	unsent  []byte
	waiting map[uint32]func(answer) error
	packet  []byte
	rtt     time.Duration // the shortest round trip seen so far, 0 none
}

// sftpOwed is the largest number of bytes that are asked for and not answered:
// the window of a channel of the SSH library, less the room for small answers.
const sftpOwed = 2<<20 - 256<<10

// newSFTPClient agrees on the version. Its error does not say that the connection
// ended: a device without SFTP may say anything here.
func newSFTPClient(c *conn, s *session) (*sftpClient, error) {
	p := &sftpClient{c: c, in: bufio.NewReaderSize(&watchedReader{c, s}, 64<<10), out: &watchedWriter{c, s},
		waiting: make(map[uint32]func(answer) error)}
	if _, err := p.out.Write([]byte{0, 0, 0, 5, fxpInit, 0, 0, 0, fxpProtocol}); err != nil {
		return nil, err
	}
	kind, body, err := p.read()
	if err != nil {
		return nil, err
	}
	if len(body) < 4 || kind != fxpVersion {
		return nil, fmt.Errorf("SFTP: no version, but a packet of type %d with %d bytes", kind, len(body)+1)
	}
	if v := binary.BigEndian.Uint32(body); v != fxpProtocol {
		return nil, fmt.Errorf("SFTP: version %d, and only version %d is spoken here", v, fxpProtocol)
	}
	return p, nil
}

// send adds a request; then takes its answer.
func (p *sftpClient) send(then func(answer) error, kind byte, args ...any) {
	p.id++
	p.unsent = request(p.unsent, kind, p.id, args...)
	p.waiting[p.id] = then
}

// flush sends what was added.
func (p *sftpClient) flush() error {
	if len(p.unsent) == 0 {
		return nil
	}
	_, err := p.out.Write(p.unsent)
	p.unsent = p.unsent[:0]
	return err
}

// run sends requests and takes answers until none is on its way. Every error
// ends the connection, for what comes after it cannot be told from an attack.
func (p *sftpClient) run() error {
	for len(p.waiting) > 0 {
		if err := p.step(); err != nil {
			p.c.fail(sftpEnd(err))
			return p.c.ended()
		}
	}
	return nil
}

// step takes one answer. Requests are sent when nothing more is there to be
// taken, so that they go together.
func (p *sftpClient) step() error {
	asked := time.Time{}
	if p.in.Buffered() == 0 && len(p.unsent) > 0 {
		if len(p.waiting) == 1 {
			asked = time.Now()
		}
		if err := p.flush(); err != nil {
			return err
		}
	}
	kind, body, err := p.read()
	if err != nil {
		return err
	}
	if !asked.IsZero() {
		if d := time.Since(asked); p.rtt == 0 || d < p.rtt {
			p.rtt = d
		}
	}
	if len(body) < 4 {
		return protocolError("SFTP packet of type %d with %d bytes", kind, len(body)+1)
	}
	id := binary.BigEndian.Uint32(body)
	then, ok := p.waiting[id]
	if !ok {
		return protocolError("SFTP session ended: answer to a request %d that was not sent", id)
	}
	delete(p.waiting, id)
	return then(answer{kind: kind, body: body[4:]})
}

// read reads one packet. The body is only good until the next.
func (p *sftpClient) read() (kind byte, body []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n == 0 || n > maxSFTPPacket {
		return 0, nil, protocolError("SFTP packet of %d bytes", n)
	}
	if int64(cap(p.packet)) < n {
		p.packet = make([]byte, max(n, sftpBlock+64))
	}
	_, err = io.ReadFull(p.in, p.packet[:n])
	return p.packet[0], p.packet[1:n], err
}

// sftpEnd names the end of a session for what it is.
func sftpEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the SFTP session ended", ErrCut)
	}
	return sessionError(err)
}

// openSFTPSession starts the subsystem. An error with a living connection means
// that the device has none.
func openSFTPSession(c *conn) (*sftpClient, error) {
	s, err := c.open("SFTP", func(s *ssh.Session) error { return s.RequestSubsystem("sftp") })
	if err != nil {
		return nil, err
	}
	var p *sftpClient
	err = c.within(c.limits.Open, "SFTP version", func() error {
		p, err = newSFTPClient(c, s)
		return err
	})
	if err != nil {
		_ = s.Close() // the refusal is the news
		if text := s.errors.String(); text != "" {
			err = fmt.Errorf("%w (%s)", err, text)
		}
		return nil, err
	}
	return p, nil
}
