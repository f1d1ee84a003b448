package pull

import (
	"bufio"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(childVariable); job != "" {
		os.Exit(childPull(job))
	}
	goleak.VerifyTestMain(m)
}

// testServer is an SSH server whose every behaviour a test can replace.
type testServer struct {
	t       testing.TB
	address string
	config  *ssh.ServerConfig
	keys    []ssh.Signer

	// wrap replaces the n-th connection, from 0, below SSH.
	wrap func(n int, c net.Conn) net.Conn
	// raw replaces SSH altogether.
	raw func(net.Conn)
	// exec and sftp serve a session; nil refuses it. exec returns the exit
	// status, negative for none.
	exec func(command string, ch ssh.Channel) int
	sftp func(ch ssh.Channel)
	// forward makes it a jump host: it connects to what a client asks for,
	// after forward agreed. A reason other than 0 refuses.
	forward func(address string) ssh.RejectionReason
	// relay serves a session instead of exec and sftp.
	relay func(ch ssh.Channel, reqs <-chan *ssh.Request)
	// hello is called after login.
	hello func(*ssh.ServerConn)

	mu       sync.Mutex
	commands []string
	logins   int // password attempts
	conns    int
	wg       sync.WaitGroup
	open     map[net.Conn]bool
	listener net.Listener

	accepting bool
}

const (
	testUser     = "admin"
	testPassword = "correct horse"
)

func rawEd(t testing.TB) crypto.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rawRSA returns one of a few RSA keys: to make one takes long.
func rawRSA(t testing.TB, n int) crypto.PrivateKey {
	t.Helper()
	rsaKeys.Lock()
	defer rsaKeys.Unlock()
	if rsaKeys.made[n] == nil {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		rsaKeys.made[n] = k
	}
	return rsaKeys.made[n]
}

var rsaKeys struct {
	sync.Mutex
	made [4]*rsa.PrivateKey
}

func signer(t testing.TB, k crypto.PrivateKey) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func edKey(t testing.TB) ssh.Signer  { t.Helper(); return signer(t, rawEd(t)) }
func rsaKey(t testing.TB) ssh.Signer { t.Helper(); return signer(t, rawRSA(t, 0)) }

// newServer makes a server with one ed25519 key and password login; change it
// and call start.
func newServer(t testing.TB, keys ...ssh.Signer) *testServer {
	t.Helper()
	if keys == nil {
		keys = []ssh.Signer{edKey(t)}
	}
	s := &testServer{t: t, keys: keys, open: make(map[net.Conn]bool)}
	s.config = &ssh.ServerConfig{PasswordCallback: func(c ssh.ConnMetadata, pw []byte) (*ssh.Permissions, error) {
		s.mu.Lock()
		s.logins++
		s.mu.Unlock()
		if c.User() == testUser && string(pw) == testPassword {
			return nil, nil
		}
		return nil, errors.New("no")
	}}
	return s
}

// start listens and serves.
func (s *testServer) start() *testServer {
	s.t.Helper()
	s.listen()
	s.accept()
	return s
}

// listen gives the server its address. Its behaviour may still be changed.
func (s *testServer) listen() {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.listener, s.address = l, l.Addr().String()
	s.t.Cleanup(s.stop)
}

// accept serves connections. A second call does nothing.
func (s *testServer) accept() {
	if s.accepting {
		return
	}
	s.accepting = true
	for _, k := range s.keys {
		s.config.AddHostKey(k)
	}
	s.wg.Go(func() {
		for n := 0; ; n++ {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.open[c] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(n, c) })
		}
	})
}

func (s *testServer) stop() {
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *testServer) serve(n int, c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	}()
	if s.raw != nil {
		s.raw(c)
		return
	}
	if s.wrap != nil {
		c = s.wrap(n, c)
	}
	conn, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	defer conn.Close()
	s.wg.Go(func() { ssh.DiscardRequests(requests) })
	if s.hello != nil {
		s.wg.Go(func() { s.hello(conn) })
	}
	for nc := range channels {
		if nc.ChannelType() == "direct-tcpip" && s.forward != nil {
			s.wg.Go(func() { s.forwardTo(nc) })
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.session(ch, reqs) })
	}
}

func (s *testServer) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	if s.relay != nil {
		s.relay(ch, reqs)
		_ = ch.Close()
		ssh.DiscardRequests(reqs)
		return
	}
	for r := range reqs {
		var arg struct{ Text string }
		_ = ssh.Unmarshal(r.Payload, &arg)
		switch {
		case r.Type == "exec" && s.exec != nil:
			s.mu.Lock()
			s.commands = append(s.commands, arg.Text)
			s.mu.Unlock()
			_ = r.Reply(true, nil)
			s.wg.Go(func() {
				if status := s.exec(arg.Text, ch); status >= 0 {
					var b [4]byte
					binary.BigEndian.PutUint32(b[:], uint32(status))
					_, _ = ch.SendRequest("exit-status", false, b[:])
				}
				_ = ch.Close()
			})
		case r.Type == "subsystem" && arg.Text == "sftp" && s.sftp != nil:
			_ = r.Reply(true, nil)
			s.wg.Go(func() {
				s.sftp(ch)
				_ = ch.Close()
			})
		default:
			_ = r.Reply(false, nil)
		}
	}
}

// ran returns the commands since the last call.
func (s *testServer) ran() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.commands
	s.commands = nil
	return c
}

func (s *testServer) port() int {
	_, p, _ := net.SplitHostPort(s.address)
	n, _ := strconv.Atoi(p)
	return n
}

// serveSFTP serves a directory read-only with the SFTP library.
func serveSFTP(dir string) func(ssh.Channel) {
	return func(ch ssh.Channel) {
		srv, err := sftp.NewServer(ch, sftp.ReadOnly(), sftp.WithServerWorkingDirectory(dir))
		if err != nil {
			return
		}
		_ = srv.Serve()
		_ = srv.Close()
	}
}

// scpQuirks are the ways in which devices differ.
type scpQuirks struct {
	noTimes   bool // -p is accepted and ignored
	refuseP   bool // -p is an error
	onePath   bool // one path only
	stopsAt01 bool // ends the session when a file is refused
	noStatus  bool // tells no exit status
}

// serveSCP serves a directory with a source of our own, from the description of
// the protocol, so that the sink is not tested against itself.
func serveSCP(dir string, q scpQuirks) func(string, ssh.Channel) int {
	return func(command string, ch ssh.Channel) int {
		status := 1
		if scpSource(dir, q, command, ch, ch) == nil {
			status = 0
		}
		if q.noStatus {
			return -1
		}
		return status
	}
}

func scpSource(dir string, q scpQuirks, command string, in io.Reader, out io.Writer) error {
	words := strings.Fields(command)
	r := bufio.NewReader(in)
	var failure error
	complain := func(format string, a ...any) {
		failure = fmt.Errorf(format, a...)
		fmt.Fprintf(out, "\x01scp: %v\n", failure)
	}
	if len(words) < 3 || words[0] != "scp" || words[1] != "-f" {
		complain("usage")
		return failure
	}
	words = words[2:]
	times := words[0] == "-p"
	if times {
		words = words[1:]
		if q.refuseP {
			complain("unknown option -p")
			return failure
		}
		times = !q.noTimes
	}
	if q.onePath && len(words) > 1 {
		complain("too many arguments")
		return failure
	}
	var files []string
	for _, w := range words {
		w = strings.Trim(w, "'")
		m, err := filepath.Glob(filepath.Join(dir, w))
		if err != nil || len(m) == 0 {
			m = []string{filepath.Join(dir, w)}
		}
		files = append(files, m...)
	}
	answer := func() error {
		b, err := r.ReadByte()
		if err != nil {
			return err
		}
		if b == 0 {
			return nil
		}
		text, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		failure = fmt.Errorf("refused: %s", strings.TrimSpace(text))
		if b == 2 || q.stopsAt01 {
			return failure
		}
		return errRefused
	}
	if err := answer(); err != nil {
		return err
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			complain("%s: No such file or directory", filepath.Base(f))
			continue
		}
		if !st.Mode().IsRegular() {
			complain("%s: not a regular file", filepath.Base(f))
			continue
		}
		content, err := os.ReadFile(f)
		if err != nil {
			complain("%s: %v", filepath.Base(f), err)
			continue
		}
		if times {
			fmt.Fprintf(out, "T%d 0 %d 0\n", st.ModTime().Unix(), st.ModTime().Unix())
			if err := answer(); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "C0644 %d %s\n", len(content), filepath.Base(f))
		if err := answer(); err != nil {
			if errors.Is(err, errRefused) {
				continue
			}
			return err
		}
		if _, err := out.Write(append(content, 0)); err != nil {
			return err
		}
		if err := answer(); err != nil && !errors.Is(err, errRefused) {
			return err
		}
	}
	return failure
}

var errRefused = errors.New("refused")
