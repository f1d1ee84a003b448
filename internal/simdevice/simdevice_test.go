package simdevice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acctpull/internal/actserver"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const name = "act0101-20260102-030405.xml.gz"

// start runs a device with one user until the test ends.
func start(t *testing.T, o Options) *Device {
	t.Helper()
	o.Name, o.Passwords = "pe1", map[string]string{"admin": "secret"}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Limits.PenaltyFailure = -1 // the faults are what is tested
	d, err := New(o)
	must(t, err)
	must(t, d.Start(t.Context()))
	t.Cleanup(func() { must(t, d.Stop()) })
	return d
}

func hostKey(t testing.TB, d *Device) ssh.PublicKey {
	t.Helper()
	key, err := d.HostKey()
	must(t, err)
	return key
}

func knownHostsLine(t testing.TB, d *Device) string {
	t.Helper()
	line, err := d.KnownHostsLine()
	must(t, err)
	return line
}

// dial connects as a careful client does: with the line of known_hosts.
func dial(t *testing.T, d *Device) (*ssh.Client, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	must(t, os.WriteFile(file, []byte(knownHostsLine(t, d)+"\n"), 0o600))
	check, err := knownhosts.New(file)
	must(t, err)
	config := &ssh.ClientConfig{User: "admin", Auth: []ssh.AuthMethod{ssh.Password("secret")}, HostKeyCallback: check}
	if d.o.Legacy {
		old := legacyAlgorithms()
		config.KeyExchanges, config.Ciphers, config.MACs, config.HostKeyAlgorithms = old.KeyExchanges, old.Ciphers, old.MACs, old.HostKeys
	}
	return ssh.Dial("tcp", d.Addr(), config)
}

// fetch reads the one file by SFTP.
func fetch(t *testing.T, d *Device) ([]byte, error) {
	t.Helper()
	c, err := dial(t, d)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	files, err := sftp.NewClient(c)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	f, err := files.Open("cf1:/act/" + name)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	if _, err := f.WriteTo(&content); err != nil {
		return nil, err
	}
	if fi.Size() != int64(content.Len()) {
		t.Errorf("%d bytes were announced and %d sent", fi.Size(), content.Len())
	}
	return content.Bytes(), nil
}

func TestFaultsComeAndGo(t *testing.T) {
	d := start(t, Options{Addr: "127.5.6.7:0"})
	content := bytes.Repeat([]byte("0123456789"), 30_000)
	must(t, d.PutFile(name, content))
	healthy := func() {
		t.Helper()
		got, err := fetch(t, d)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("healthy: %d bytes, %v", len(got), err)
		}
	}
	healthy()

	open, err := dial(t, d)
	must(t, err)
	d.SetFaults(Faults{Down: true})
	if err := open.Wait(); err == nil {
		t.Error("down: the open connection ended well")
	}
	if _, err := fetch(t, d); err == nil {
		t.Error("down: a file was fetched")
	}
	d.SetFaults(Faults{})
	healthy()

	for _, at := range []int64{1, 1000, 50_000, 299_999} {
		d.SetFaults(Faults{DropAfter: at})
		if _, err := fetch(t, d); err == nil {
			t.Errorf("drop after %d: the file was fetched", at)
		}
		nc, err := net.Dial("tcp", d.Addr())
		must(t, err)
		if n, err := io.Copy(io.Discard, io.LimitReader(nc, 1)); at == 1 && n != 1 {
			t.Errorf("drop after 1: %d bytes arrived, %v", n, err)
		}
		must(t, nc.Close())
	}
	d.SetFaults(Faults{DropAfter: 10 << 20})
	healthy()

	d.SetFaults(Faults{TruncateGzip: true})
	if got, err := fetch(t, d); err != nil || !bytes.Equal(got, content[:len(content)/2]) {
		t.Errorf("truncated: %d bytes, %v", len(got), err)
	}

	d.SetFaults(Faults{ChangeHostKey: true})
	_, err = fetch(t, d)
	if changed, ok := errors.AsType[*knownhosts.KeyError](err); !ok || len(changed.Want) != 1 {
		t.Errorf("changed host key: %v", err)
	}
	d.SetFaults(Faults{SlowBytesPerSecond: 10 << 20})
	healthy()

	d.SetFaults(Faults{Silent: true})
	nc, err := net.Dial("tcp", d.Addr())
	must(t, err)
	_, err = nc.Write([]byte("SSH-2.0-hello\r\n"))
	must(t, err)
	for len(d.links()) == 0 { // until the device has it
		runtime.Gosched()
	}
	d.SetFaults(Faults{Down: true})
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("silent: %d bytes, %v", n, err)
	}
	must(t, nc.Close())
	d.SetFaults(Faults{Silent: true})
	nc, err = net.Dial("tcp", d.Addr())
	must(t, err)
	must(t, nc.Close()) // a client that gives up is forgotten
	d.SetFaults(Faults{})
	healthy()
	if d.Faults() != (Faults{}) {
		t.Errorf("faults %+v", d.Faults())
	}
}

// A legacy device that knows scp only.
func TestLegacySCPOnly(t *testing.T) {
	d := start(t, Options{Legacy: true, SCPOnly: true})
	must(t, d.PutFile(name, []byte("content")))
	c, err := dial(t, d)
	must(t, err)
	defer c.Close()
	if _, err := sftp.NewClient(c); err == nil {
		t.Error("sftp is served")
	}
	session, err := c.NewSession()
	must(t, err)
	session.Stdin = bytes.NewReader(make([]byte, 3))
	out, err := session.Output(`scp -f cf1:\act\act*`)
	if err != nil || string(out) != "C0640 7 "+name+"\ncontent\x00" {
		t.Errorf("scp: %q, %v", out, err)
	}
	if !strings.Contains(knownHostsLine(t, d), " ssh-rsa ") {
		t.Errorf("known_hosts line %s", knownHostsLine(t, d))
	}
	modern := ssh.SupportedAlgorithms()
	config := &ssh.ClientConfig{User: "admin", Auth: []ssh.AuthMethod{ssh.Password("secret")},
		HostKeyCallback: ssh.FixedHostKey(hostKey(t, d)), HostKeyAlgorithms: modern.HostKeys,
		Config: ssh.Config{KeyExchanges: modern.KeyExchanges, Ciphers: modern.Ciphers, MACs: modern.MACs}}
	if c, err := ssh.Dial("tcp", d.Addr(), config); err == nil {
		t.Error("a client of today can log in", c.Close())
	}
}

func TestStopAndStartAgain(t *testing.T) {
	user, err := actserver.NewKey("user")
	must(t, err)
	d, err := New(Options{Name: "pe1", Dir: filepath.Join(t.TempDir(), "new"), ShowCollect: true,
		Keys: map[string][]ssh.PublicKey{"admin": {user.Signer.PublicKey()}}})
	must(t, err)
	must(t, d.Stop()) // nothing to do
	must(t, d.Start(t.Context()))
	if err := d.Start(t.Context()); err == nil {
		t.Error("it started twice")
	}
	addr, line := d.Addr(), knownHostsLine(t, d)
	config := &ssh.ClientConfig{User: "admin", Auth: []ssh.AuthMethod{ssh.PublicKeys(user.Signer)}, HostKeyCallback: ssh.FixedHostKey(hostKey(t, d))}
	c, err := ssh.Dial("tcp", addr, config)
	must(t, err)
	files, err := sftp.NewClient(c)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.CollectDir(), "open"), []byte("x"), 0o600))
	if _, err := files.Stat("/act-collect/open"); err != nil {
		t.Error(err)
	}
	must(t, d.Stop())
	if err := c.Wait(); err == nil {
		t.Error("the connection outlived the device")
	}
	_ = files.Close()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a stopped device listens")
	}
	ctx, cancel := context.WithCancel(t.Context())
	must(t, d.Start(ctx))
	if d.Addr() != addr || knownHostsLine(t, d) != line {
		t.Errorf("it came back as %s, %s", d.Addr(), knownHostsLine(t, d))
	}
	c, err = ssh.Dial("tcp", addr, config)
	must(t, err)
	cancel()
	if err := c.Wait(); err == nil {
		t.Error("the connection outlived the context")
	}
	must(t, d.Stop())
}

// A device without its directories resets its clients and says so in the end.
func TestServerFailureIsReported(t *testing.T) {
	d, err := New(Options{Name: "pe1", Dir: t.TempDir(), Passwords: map[string]string{"a": "b"}})
	must(t, err)
	must(t, os.WriteFile(d.ActDir(), nil, 0o600))
	must(t, d.Start(t.Context()))
	if nc, err := net.Dial("tcp", d.Addr()); err == nil { // the reset can come first
		if n, err := io.Copy(io.Discard, nc); n != 0 {
			t.Errorf("%d bytes, %v", n, err)
		}
		must(t, nc.Close())
	}
	if err := d.Stop(); err == nil || !strings.Contains(err.Error(), `serve "pe1"`) {
		t.Errorf("stop: %v", err)
	}
}

func TestNewAndPutFileRefuse(t *testing.T) {
	_, err := New(Options{Addr: "192.0.2.1:22"})
	for _, part := range []string{"no directory", "not a loopback", "no way to log in"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	if _, err := New(Options{Dir: "x", Addr: "nonsense", Passwords: map[string]string{"a": "b"}}); err == nil {
		t.Error("an address that is none was taken")
	}
	d, err := New(Options{Dir: t.TempDir(), Passwords: map[string]string{"a": "b"}})
	must(t, err)
	for _, name := range []string{"", ".", "..", "a/b", "../x", "/x"} {
		if err := d.PutFile(name, nil); err == nil {
			t.Errorf("%q was put", name)
		}
	}
	must(t, d.PutFile(name, []byte("one")))
	must(t, d.PutFile(name, []byte("two")))
	got, err := os.ReadFile(filepath.Join(d.ActDir(), name))
	if err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
}

// recorder is a connection that counts.
type recorder struct {
	net.Conn // nil
	got      bytes.Buffer
	closed   int
}

func (r *recorder) Write(p []byte) (int, error) { return r.got.Write(p) }
func (r *recorder) Close() error                { r.closed++; return nil }

func TestLinkSpeedAndCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Device{live: make(map[*link]struct{})}
		d.faults.Store(&Faults{SlowBytesPerSecond: 100, DropAfter: 1500})
		r := &recorder{}
		l := d.newLink(r)
		began := time.Now()
		n, err := l.Write(make([]byte, 1000))
		if n != 1000 || err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("%d bytes in %s, %v", n, time.Since(began), err)
		}
		d.SetFaults(Faults{DropAfter: 1500})
		n, err = l.Write(make([]byte, 1000))
		if n != 500 || !errors.Is(err, errCut) || r.got.Len() != 1500 || r.closed != 1 || len(d.live) != 0 {
			t.Errorf("%d bytes, %v, %d in all, closed %d times", n, err, r.got.Len(), r.closed)
		}
		must(t, l.Close())
		if r.closed != 1 {
			t.Error("it was closed twice")
		}
		// A slow write ends with the connection.
		d.SetFaults(Faults{SlowBytesPerSecond: 1})
		l = d.newLink(&recorder{})
		go func() {
			time.Sleep(2500 * time.Millisecond)
			d.cut()
		}()
		if n, err := l.Write(make([]byte, 100)); n != 3 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// A long cable delays what is sent, and carries any number of pieces at once;
// a babbling device goes on until its peer leaves.
func TestDelayAndBabble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Device{}
		d.faults.Store(&Faults{})
		near, far := net.Pipe()
		l := newDelayed(d.newLink(near), 50*time.Millisecond)
		began := time.Now()
		for i := range 100 {
			if n, err := l.Write([]byte{byte(i)}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		if time.Since(began) != 0 {
			t.Errorf("writing took %v", time.Since(began))
		}
		all := make([]byte, 100)
		_, err := io.ReadFull(far, all)
		must(t, err)
		if took := time.Since(began); took != 50*time.Millisecond || all[99] != 99 {
			t.Errorf("100 pieces took %v", took)
		}
		if _, err := l.Write([]byte("lost")); err != nil {
			t.Error(err)
		}
		must(t, l.Close())
		if _, err := l.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
		if _, err := io.ReadAll(far); err != nil {
			t.Error(err)
		}

		near, far = net.Pipe()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			d.newLink(near).babble()
		}()
		text := make([]byte, 100_000)
		_, err = io.ReadFull(far, text)
		must(t, err)
		if bytes.Contains(text, []byte("SSH-")) || bytes.Count(text, []byte("\r\n")) < 1000 {
			t.Errorf("it says %.100q", text)
		}
		must(t, far.Close())
		<-gone
		if len(d.links()) != 0 {
			t.Error("a link is left")
		}
	})
}
