package pull

import (
	"bufio"
	"context"
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
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/ledger"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	for nc := range channels {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.session(ch, reqs) })
	}
}

func (s *testServer) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
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
	noTimes    bool // -p is accepted and ignored
	refuseP    bool // -p is an error
	onePath    bool // one path only
	stopsAt01  bool // ends the session when a file is refused
	noStatus   bool // tells no exit status
	shellError bool // a glob without files is the shell's error
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

// rig is everything a run needs: a device, a data directory, a ledger.
type rig struct {
	t      testing.TB
	server *testServer
	act    string // the directory on the device
	data   string
	ledger *ledger.Ledger
	o      Options
	target Target
	base   string // what a hostile device could reach: the parent of data
}

// newRig makes a device with SFTP and SCP over a directory act. It serves from the
// first pull on; until then its behaviour may be changed.
func newRig(t testing.TB, q scpQuirks) *rig {
	t.Helper()
	device := t.TempDir()
	r := &rig{t: t, act: filepath.Join(device, "act"), base: t.TempDir()}
	r.data = filepath.Join(r.base, "data")
	for _, d := range []string{r.act, r.data} {
		if err := os.Mkdir(d, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	r.server = newServer(t)
	r.server.exec = serveSCP(device, q)
	r.server.sftp = serveSFTP(device)
	r.server.listen()
	r.openLedger()
	r.o.Limits = patientLimits()
	r.setTarget()
	return r
}

// openLedger opens the ledger of the data directory and puts it into the options.
func (r *rig) openLedger() {
	r.t.Helper()
	l, err := ledger.Open(context.Background(), filepath.Join(r.data, "ledger.db"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = l.Close() })
	r.ledger = l
	r.o.Data, r.o.Ledger, r.o.Verify = r.data, l, verifyEnd
}

func (r *rig) setTarget() {
	known := filepath.Join(r.base, "known_hosts")
	writeKnown(r.t, known, r.server.address, r.server.keys[0].PublicKey())
	secret := filepath.Join(r.base, "password")
	if err := os.WriteFile(secret, []byte(testPassword+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.target = Target{Device: "router1", User: testUser, Host: "127.0.0.1", Port: r.server.port(), Path: "act",
		KnownHosts: []string{known}, Password: Secret{File: secret}}
}

// patientLimits never try twice, take any free space, and otherwise are the
// defaults: a busy machine must not fail a test.
func patientLimits() Limits {
	return Limits{Retries: -1, FreeStart: Space{1, 1}, FreeStop: Space{1, 1}}
}

// quickLimits end what hangs within a second and never try twice.
func quickLimits() Limits {
	return Limits{Connect: 2 * time.Second, Handshake: time.Second, Open: time.Second, Idle: time.Second,
		RateWindow: 2 * time.Second, File: 5 * time.Second, Run: 20 * time.Second,
		Keepalive: 200 * time.Millisecond, KeepaliveMax: 5, Retries: -1, FreeStart: Space{1, 1}, FreeStop: Space{1, 1}}
}

// verifyEnd is a trivial Verify: a whole file ends in "END\n". It counts lines.
func verifyEnd(_ context.Context, path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if !strings.HasSuffix(string(b), "END\n") {
		return 0, errors.New("no end of \x1b[31mfile")
	}
	return int64(strings.Count(string(b), "\n")), nil
}

// put writes a file of the device; the content gets the end verifyEnd wants.
func (r *rig) put(name, content string, mtime int64) {
	r.t.Helper()
	p := filepath.Join(r.act, name)
	if err := os.WriteFile(p, []byte(content+"END\n"), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chtimes(p, time.Unix(mtime, 0), time.Unix(mtime, 0)); err != nil {
		r.t.Fatal(err)
	}
}

// name returns the i-th accounting file name.
func actName(i int) string {
	return fmt.Sprintf("act1111-20260102-%02d%02d%02d.xml.gz", i/3600, i/60%60, i%60)
}

// pull runs Device with a transport.
func (r *rig) pull(tr Transport) (Result, error) {
	r.t.Helper()
	r.target.Transport = tr
	r.server.accept()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return Device(ctx, r.o, r.target)
}

// outcomes lists "name outcome" of a result.
func outcomes(res Result) []string {
	var s []string
	for _, f := range res.Files {
		s = append(s, f.Name+" "+f.Outcome.String())
	}
	return s
}

// brief describes a result in a few lines, however many files it has.
func brief(res Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %s: listed %d, ignored %d, known %d, busy %d, %d bytes, %d attempts, %d files;", res.Target, res.Transport,
		res.Listed, res.Ignored, res.Known, res.Busy, res.Bytes, res.Attempts, len(res.Files))
	for o := range outcomeCount {
		fmt.Fprintf(&b, " %s %d", o, res.Count(o))
	}
	n := 0
	for _, f := range res.Files {
		if f.Outcome != Stored && n < 8 {
			fmt.Fprintf(&b, "\n\t%s %s: %s", f.Name, f.Outcome, f.Reason)
			n++
		}
	}
	return b.String()
}

// stored returns the content of the stored files of the ledger, by name.
func (r *rig) stored() map[string]string {
	r.t.Helper()
	m := make(map[string]string)
	for row, err := range r.ledger.Files(context.Background(), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		if row.State != ledger.Stored {
			continue
		}
		b, err := os.ReadFile(filepath.Join(r.data, filepath.FromSlash(row.Stored)))
		if err != nil {
			r.t.Fatal(err)
		}
		m[row.Name] = string(b)
	}
	return m
}

// tree lists every path below a directory with type, mode and content, other
// than what the ledger writes.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.Walk(dir, func(p string, st os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if strings.HasPrefix(filepath.Base(p), "ledger.db") {
			return nil
		}
		line := rel + " " + st.Mode().String()
		if st.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", b)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// writeKnown writes a known_hosts file with one line for every key.
func writeKnown(t testing.TB, file, address string, keys ...ssh.PublicKey) {
	t.Helper()
	var b strings.Builder
	for _, k := range keys {
		host, port, _ := net.SplitHostPort(address)
		fmt.Fprintf(&b, "[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(k))
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// oneLineError fails the test unless err is a single printable line.
func oneLineError(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, c := range err.Error() {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c >= 0x202a && c <= 0x202e {
			t.Fatalf("the error text has the character %#x: %q", c, err.Error())
		}
	}
	if len(err.Error()) > 1500 {
		t.Fatalf("error text of %d bytes", len(err.Error()))
	}
}

func (r *rig) nowFunc() func() time.Time {
	if r.o.Now != nil {
		return r.o.Now
	}
	return time.Now
}
