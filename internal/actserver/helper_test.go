package actserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proof says that the long form of a test is wanted.
func proof() bool { return os.Getenv("ACCTPULL_PROOF") == "1" }

// bench is a running server with everything a test asks about.
type bench struct {
	t       testing.TB
	dir     string // act/
	collect string // act-collect/, not served unless asked for
	addr    string
	host    KeyPair
	user    KeyPair

	mu        sync.Mutex
	logins    []Login
	transfers []Transfer
	refusals  []Refusal
}

// newBench prepares directories, keys and options; adjust may change them.
func newBench(t testing.TB, adjust func(*Options)) (*bench, *Server) {
	t.Helper()
	base := t.TempDir()
	b := &bench{t: t, dir: filepath.Join(base, "act"), collect: filepath.Join(base, "act-collect")}
	must(t, os.Mkdir(b.dir, 0o750))
	must(t, os.Mkdir(b.collect, 0o750))
	b.host, b.user = newKey(t, "host"), newKey(t, "user")
	o := Options{
		Root:       b.dir,
		HostKeys:   []ssh.Signer{b.host.Signer},
		Authorized: AuthorizedKeys(map[string][]ssh.PublicKey{"admin": {b.user.Signer.PublicKey()}}),
		Hooks: Hooks{
			OnConn:    func(l Login) { b.mu.Lock(); b.logins = append(b.logins, l); b.mu.Unlock() },
			OnFile:    func(f Transfer) { b.mu.Lock(); b.transfers = append(b.transfers, f); b.mu.Unlock() },
			OnRefused: func(r Refusal) { b.mu.Lock(); b.refusals = append(b.refusals, r); b.mu.Unlock() },
		},
	}
	if adjust != nil {
		adjust(&o)
	}
	s, err := New(o)
	must(t, err)
	return b, s
}

// start serves on the loopback network until the test ends.
func start(t testing.TB, adjust func(*Options)) *bench {
	t.Helper()
	b, s := newBench(t, adjust)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	b.addr = ln.Addr().String()
	b.serve(s, ln)
	return b
}

func (b *bench) serve(s *Server, ln net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Serve: %v", err)
		}
	})
}

// put writes a file of n random bytes into act/ and returns them.
func (b *bench) put(name string, n int) []byte {
	b.t.Helper()
	content := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(n), byte(len(name))})
	_, _ = rng.Read(content)
	must(b.t, os.WriteFile(filepath.Join(b.dir, name), content, 0o640))
	return content
}

func (b *bench) clientConfig() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:            "admin",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(b.user.Signer)},
		HostKeyCallback: ssh.FixedHostKey(b.host.Signer.PublicKey()),
		Timeout:         20 * time.Second,
	}
}

// dial logs in as the one good user.
func (b *bench) dial() *ssh.Client {
	b.t.Helper()
	c, err := ssh.Dial("tcp", b.addr, b.clientConfig())
	must(b.t, err)
	b.t.Cleanup(func() { _ = c.Close() }) // often closed by the test already
	return c
}

func (b *bench) sftp(options ...sftp.ClientOption) *sftp.Client {
	b.t.Helper()
	c, err := sftp.NewClient(b.dial(), options...)
	must(b.t, err)
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// refused returns the refusals so far of one kind.
func (b *bench) refused(what string) []Refusal {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []Refusal
	for _, r := range b.refusals {
		if r.What == what {
			found = append(found, r)
		}
	}
	return found
}

// login waits for the one login since the last call; the hook may run a moment
// after the client knows.
func (b *bench) login() Login {
	b.t.Helper()
	var logins []Login
	waitFor(b.t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		logins = b.logins
		return len(logins) > 0
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.logins = nil; len(logins) != 1 {
		b.t.Errorf("%d logins were reported: %+v", len(logins), logins)
	}
	return logins[0]
}

// exec runs a command that takes input and returns what it printed.
func exec(c *ssh.Client, command string, input []byte) (string, error) {
	session, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	session.Stdin = bytes.NewReader(input)
	out, err := session.Output(command)
	return string(out), err
}

// acks are the answers of a client that takes everything.
func acks(n int) []byte { return make([]byte, n) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB, comment string) KeyPair {
	t.Helper()
	k, err := NewKey(comment)
	must(t, err)
	return k
}

// pipeListener hands out the server ends of in-memory connections, for tests
// that run in virtual time.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr("server") }

func (l *pipeListener) dial() net.Conn {
	up, down := newPipeBuf(), newPipeBuf()
	l.conns <- &pipeConn{in: up, out: down}
	return &pipeConn{in: down, out: up}
}

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

// pipeBuf is one direction of an in-memory connection: a bounded buffer, as a
// socket has one.
type pipeBuf struct {
	mu      sync.Mutex
	changed *sync.Cond
	data    []byte
	closed  bool
}

const pipeBufSize = 64 << 10

func newPipeBuf() *pipeBuf {
	b := &pipeBuf{}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// pipeConn implements deadlines by closing over a flag per direction.
type pipeConn struct {
	in, out *pipeBuf
	mu      sync.Mutex
	timer   *time.Timer
	expired bool
}

func (c *pipeConn) late() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expired {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *pipeConn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for len(c.in.data) == 0 {
		if err := c.late(); err != nil {
			return 0, err
		}
		if c.in.closed {
			return 0, io.EOF
		}
		c.in.changed.Wait()
	}
	n := copy(p, c.in.data)
	c.in.data = c.in.data[n:]
	c.in.changed.Broadcast()
	return n, nil
}

func (c *pipeConn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	written := 0
	for written < len(p) {
		if err := c.late(); err != nil {
			return written, err
		}
		if c.out.closed {
			return written, io.ErrClosedPipe
		}
		if room := pipeBufSize - len(c.out.data); room > 0 {
			n := min(room, len(p)-written)
			c.out.data = append(c.out.data, p[written:written+n]...)
			written += n
			c.out.changed.Broadcast()
			continue
		}
		c.out.changed.Wait()
	}
	return written, nil
}

func (c *pipeConn) Close() error {
	for _, b := range []*pipeBuf{c.in, c.out} {
		b.mu.Lock()
		b.closed = true
		b.changed.Broadcast()
		b.mu.Unlock()
	}
	return c.SetDeadline(time.Time{})
}

func (c *pipeConn) SetDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer, c.expired = nil, false
	if !at.IsZero() {
		c.timer = time.AfterFunc(time.Until(at), c.expire)
	}
	return nil
}

func (c *pipeConn) expire() {
	c.mu.Lock()
	c.expired = true
	c.mu.Unlock()
	for _, b := range []*pipeBuf{c.in, c.out} {
		b.mu.Lock()
		b.changed.Broadcast()
		b.mu.Unlock()
	}
}

func (c *pipeConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (c *pipeConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
func (c *pipeConn) LocalAddr() net.Addr              { return pipeAddr("local") }
func (c *pipeConn) RemoteAddr() net.Addr             { return pipeAddr("remote") }
