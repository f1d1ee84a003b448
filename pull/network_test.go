package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Servers that do not get anywhere are ended by a limit.
func TestTarpits(t *testing.T) {
	drip := func(text string, every time.Duration) func(net.Conn) {
		return func(c net.Conn) {
			for {
				for i := range len(text) {
					if _, err := c.Write([]byte{text[i]}); err != nil {
						return
					}
					time.Sleep(every)
				}
			}
		}
	}
	swallow := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for what, c := range map[string]struct {
		prepare func(*rig)
		want    error
		text    string
	}{
		"silent":         {func(r *rig) { r.server.raw = swallow }, ErrTimeout, "no complete SSH handshake in 1s"},
		"closes":         {func(r *rig) { r.server.raw = func(net.Conn) {} }, ErrCut, ""},
		"drip banner":    {func(r *rig) { r.server.raw = drip("SSH-2.0-x", 20*time.Millisecond) }, ErrTimeout, "handshake"},
		"endless banner": {func(r *rig) { r.server.raw = drip("a line that is no version\r\n", 0) }, ErrCut, "version"},
		"garbage after version": {func(r *rig) {
			r.server.raw = func(c net.Conn) {
				go swallow(c)
				_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
				drip("\xff\xff\xff\xff", 0)(c)
			}
		}, ErrCut, ""},
		"version with ESC": {func(r *rig) {
			r.server.raw = func(c net.Conn) {
				_, _ = io.WriteString(c, "\x1b[31mgo away\r\n\r\n")
			}
		}, ErrCut, ""},
		"slow handshake": {func(r *rig) {
			r.server.wrap = func(_ int, c net.Conn) net.Conn { return &slowConn{Conn: c, delay: 20 * time.Millisecond, step: 1} }
		}, ErrTimeout, "handshake"},
		"no session": {func(r *rig) {
			r.target.Transport = SFTP
			r.server.sftp = func(ch ssh.Channel) { _, _ = io.Copy(io.Discard, ch) }
		}, ErrTimeout, "no SFTP version in 1s"},
		"scp says nothing": {func(r *rig) {
			r.target.Transport = SCP
			r.server.exec = func(_ string, ch ssh.Channel) int { _, _ = io.Copy(io.Discard, ch); return 0 }
		}, ErrTimeout, "no byte for 1s"},
		"scp drips": {func(r *rig) {
			r.target.Transport = SCP
			r.server.exec = func(_ string, ch ssh.Channel) int {
				for i := 0; ; i++ {
					if _, err := fmt.Fprintf(ch, "C0644 4 f%d\n", i); err != nil {
						return 0
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
		}, ErrTimeout, "at least 1024 a second"},
		"endless stderr": {func(r *rig) {
			r.target.Transport = SCP
			r.server.exec = func(_ string, ch ssh.Channel) int {
				b := make([]byte, 32<<10)
				for {
					if _, err := ch.Stderr().Write(b); err != nil {
						return 0
					}
				}
			}
		}, ErrTimeout, "no byte for 1s"},
		"scp never ends": {func(r *rig) {
			r.target.Transport = SCP
			r.server.exec = func(_ string, ch ssh.Channel) int {
				_ = ch.CloseWrite()
				for {
					if _, err := ch.SendRequest("still-here@test", false, nil); err != nil {
						return 0
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		}, ErrTimeout, "no end of the command in 1s"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := hostile(t, func(r *rig) {
				r.o.Limits = quickLimits()
				c.prepare(r)
			})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// slowConn delivers step bytes per write and waits after each.
type slowConn struct {
	net.Conn
	delay time.Duration
	step  int
}

func (c *slowConn) Write(p []byte) (int, error) {
	for i := 0; i < len(p); i += c.step {
		if _, err := c.Conn.Write(p[i:min(i+c.step, len(p))]); err != nil {
			return i, err
		}
		time.Sleep(c.delay)
	}
	return len(p), nil
}

// cutConn closes after n bytes.
type cutConn struct {
	net.Conn
	left *int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	if *c.left -= int64(len(p)); *c.left < 0 {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// T1: the connection is cut at every 1/16 of the transfer, in the middle of a run
// over several files. What is stored is whole, and a run without cuts gets the
// rest.
func TestCut(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			// Large files, so that most bytes are content.
			want := make(map[string]string)
			fill := func(r *rig) {
				for i := range 3 {
					content := strings.Repeat(fmt.Sprintf("%07d\n", i), 16<<10)
					r.put(actName(i), content, 100)
					want[actName(i)] = content + "END\n"
				}
			}
			total := int64(3*128<<10) + 40<<10
			cuts, whole := 0, 0
			for i := range 16 {
				r := newRig(t, scpQuirks{})
				left := total * int64(i+1) / 16
				r.server.wrap = func(n int, c net.Conn) net.Conn {
					if n > 0 {
						return c
					}
					return &cutConn{Conn: c, left: &left}
				}
				fill(r)
				res, err := r.pull(tr)
				if err != nil {
					cuts++
					oneLineError(t, err)
					if !errors.Is(err, ErrCut) {
						t.Fatalf("cut %d: %v", i, err)
					}
				}
				for name, content := range r.stored() {
					if content != want[name] {
						t.Fatalf("cut %d: %s is stored with %d bytes", i, name, len(content))
					}
				}
				if res.Count(Stored) != len(r.stored()) {
					t.Fatalf("cut %d: %s", i, brief(res))
				}
				if err != nil && res.Count(Stored) > 0 {
					whole++
				}
				if left := tree(t, filepath.Join(r.data, "devices/router1/act-collect")); err == nil && len(left) != 1 || len(left) > 1 {
					t.Fatalf("cut %d: left %q", i, left)
				}
				if res, err = r.pull(tr); err != nil || len(r.stored()) != 3 {
					t.Fatalf("cut %d, then: %s %v", i, brief(res), err)
				}
			}
			if cuts < 8 || whole == 0 {
				t.Errorf("%d cuts, %d of them after a whole file: the test does not test what it should", cuts, whole)
			}
		})
	}
}

// A cut is tried again by the run itself.
func TestRetry(t *testing.T) {
	r := newRig(t, scpQuirks{})
	left := int64(60 << 10)
	r.server.wrap = func(n int, c net.Conn) net.Conn {
		if n > 0 {
			return c
		}
		return &cutConn{Conn: c, left: &left}
	}
	r.put(actName(1), strings.Repeat("x", 200<<10), 1)
	r.o.Limits.Retries, r.o.Limits.BackoffMin, r.o.Limits.BackoffMax = 2, time.Millisecond, 2*time.Millisecond
	var retries []Retry
	r.o.Hooks.OnRetry = func(x Retry) { retries = append(retries, x) }
	res, err := r.pull(SFTP)
	if err != nil || res.Attempts != 2 || !slices.Equal(outcomes(res), []string{actName(1) + " stored"}) {
		t.Fatalf("%s %v", brief(res), err)
	}
	if len(retries) != 1 || retries[0].Attempt != 1 || retries[0].Of != 2 || !errors.Is(retries[0].Err, ErrCut) {
		t.Fatalf("%+v", retries)
	}
}

func TestBackoff(t *testing.T) {
	l := DefaultLimits()
	var got []time.Duration
	for i := range 8 {
		got = append(got, backoff(i+1, l, 0))
	}
	s := time.Second
	if want := []time.Duration{2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if d := backoff(1, l, 1); d != 1500*time.Millisecond {
		t.Errorf("with jitter %v", d)
	}
}

// An interrupted run keeps what is whole, records it, and gives the rest back.
func TestInterrupt(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		r := newRig(t, scpQuirks{})
		r.o.Limits.BatchFiles = 1
		for i := range 5 {
			r.put(actName(i), fmt.Sprintln(i), 1)
		}
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		r.o.Hooks.OnFile = func(f File) {
			if n++; n == 2 {
				cancel()
			}
		}
		r.target.Transport = tr
		r.server.accept()
		res, err := Device(ctx, r.o, r.target)
		cancel()
		// The third may have been fetched while the second was recorded.
		kept := res.Count(Stored)
		if !errors.Is(err, context.Canceled) || kept < 2 || kept > 3 || len(r.stored()) != kept {
			t.Fatalf("%s: %s %v", tr, brief(res), err)
		}
		if res, err = r.pull(tr); err != nil || res.Count(Stored) != 5-kept {
			t.Fatalf("%s: %s %v", tr, brief(res), err)
		}
	}
}

// A peer that goes away while we are busy with our own disk is noticed by the
// keepalives.
func TestKeepalive(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.o.Limits.Keepalive, r.o.Limits.KeepaliveMax = 50*time.Millisecond, 4
	hole := &blackHole{closed: make(chan struct{})}
	r.server.wrap = func(_ int, c net.Conn) net.Conn { hole.Conn = c; return hole }
	r.put(actName(1), "x\n", 1)
	r.o.Verify = func(ctx context.Context, p string) (Verified, error) {
		hole.open.Store(true)
		<-hole.closed
		return verifyEnd(ctx, p)
	}
	res, err := r.pull(SFTP)
	oneLineError(t, err)
	// The file was whole and verified before anybody noticed.
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "no sign of life for 200ms") || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
}

// blackHole swallows what is written to it from some moment on.
type blackHole struct {
	net.Conn
	open   atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (b *blackHole) Write(p []byte) (int, error) {
	if b.open.Load() {
		return len(p), nil
	}
	return b.Conn.Write(p)
}

func (b *blackHole) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if err != nil {
		b.once.Do(func() { close(b.closed) })
	}
	return n, err
}

// H10: what a server may ask of a client, and does not get.
func TestUnsolicited(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.put(actName(1), strings.Repeat("x", 1<<20), 1)
	var refused, answered atomic.Int64
	done := make(chan struct{})
	r.server.hello = func(c *ssh.ServerConn) {
		defer close(done)
		for i := range 50 {
			for _, kind := range []string{"x11", "auth-agent@openssh.com", "forwarded-tcpip", "session", "direct-tcpip"} {
				if _, _, err := c.OpenChannel(kind, nil); err != nil {
					refused.Add(1)
				}
			}
			if ok, _, err := c.SendRequest("tcpip-forward", i%2 == 0, nil); err == nil && ok {
				answered.Add(1)
			}
		}
	}
	res, err := r.pull(SFTP)
	if err != nil || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
	<-done
	if answered.Load() != 0 || refused.Load() != 250 {
		t.Errorf("%d channels refused, %d requests granted", refused.Load(), answered.Load())
	}
}

// H12: keys are exchanged again and again during a transfer.
func TestRekey(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		r := newRig(t, scpQuirks{})
		r.server.config.RekeyThreshold = 64 << 10
		r.put(actName(1), strings.Repeat("0123456789", 200_000), 1)
		if res, err := r.pull(tr); err != nil || res.Count(Stored) != 1 {
			t.Fatalf("%s %v", brief(res), err)
		}
	}
}
