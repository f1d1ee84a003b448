package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// scanAt scans what listens at an address.
func scanAt(ctx context.Context, address string, l Limits) ([]ScannedKey, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	return ScanHostKeys(ctx, Target{Host: host, Port: port}, nil, l)
}

// forwardTo connects a client of a jump host.
func (s *testServer) forwardTo(nc ssh.NewChannel) {
	var to struct {
		Host string
		Port uint32
		From string
		Of   uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	address := net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))
	if reason := s.forward(address); reason != 0 {
		_ = nc.Reject(reason, "no \x1b[1m")
		return
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		_ = c.Close()
		return
	}
	s.wg.Go(func() { ssh.DiscardRequests(reqs) })
	s.wg.Go(func() {
		_, _ = io.Copy(c, ch)
		_ = c.Close()
	})
	_, _ = io.Copy(ch, c)
	_ = ch.Close()
	_ = c.Close()
}

func anywhere(string) ssh.RejectionReason { return 0 }

// jumpHost makes a jump host, which logs in another user than the devices do.
func jumpHost(t testing.TB, change func(*testServer)) (*testServer, Target) {
	t.Helper()
	s := newServer(t)
	dir := t.TempDir()
	file, key := keyFile(t, dir, "jump", "", 2)
	acceptKey(s, key)
	s.forward = anywhere
	if change != nil {
		change(s)
	}
	s.start()
	known := filepath.Join(dir, "known")
	writeKnown(t, known, s.address, s.keys[0].PublicKey())
	return s, Target{Host: "127.0.0.1", Port: s.port(), User: "guest", KnownHosts: []string{known}, Identities: []string{file}}
}

func TestJumpHosts(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		for n := 1; n <= 3; n++ {
			t.Run(fmt.Sprintf("%s through %d", tr, n), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, scpQuirks{})
				for i := range 40 {
					r.put(actName(i), strings.Repeat("x", 5000*i), int64(i))
				}
				var last *testServer
				for range n {
					s, hop := jumpHost(t, nil)
					r.target.Jump = append(r.target.Jump, hop)
					last = s
				}
				var asked []string
				last.forward = func(a string) ssh.RejectionReason { asked = append(asked, a); return 0 }
				var connected Connected
				r.o.Hooks.OnConnect = func(c Connected) { connected = c }
				res, err := r.pull(tr)
				if err != nil || res.Count(Stored) != 40 {
					t.Fatalf("%s %v", brief(res), err)
				}
				if len(asked) != 1 || asked[0] != r.server.address {
					t.Errorf("the last jump host was asked for %q", asked)
				}
				if connected.Address != r.server.address || strings.Count(connected.Jump, "guest@127.0.0.1:") != n {
					t.Errorf("%+v", connected)
				}
			})
		}
	}
}

// What goes wrong at a jump host, or behind it, is told apart, and only what time
// can mend is tried again.
func TestJumpHostFails(t *testing.T) {
	for what, c := range map[string]struct {
		jump     func(*testServer)
		target   func(r *rig)
		want     string
		is       error
		attempts int // 1 unless given
	}{
		"unknown key of the jump host": {target: func(r *rig) { r.target.Jump[0].KnownHosts = []string{filepath.Join(r.base, "none")} },
			want: "jump host 127.0.0.1: host key of 127.0.0.1:"},
		"login refused": {jump: func(s *testServer) { acceptKey(s, nil) }, want: "jump host 127.0.0.1: log in as guest: refused (tried once: publickey)"},
		"no forwarding": {jump: func(s *testServer) { s.forward = func(string) ssh.RejectionReason { return ssh.Prohibited } },
			want: `jump host 127.0.0.1 does not forward to 127.0.0.1:`},
		"not a jump host": {jump: func(s *testServer) { s.forward = func(string) ssh.RejectionReason { return ssh.UnknownChannelType } },
			want: "dial through jump host 127.0.0.1", attempts: 2},
		"device is down":     {target: func(r *rig) { r.target.Port = freePort(r.t) }, want: "connection refused", attempts: 2},
		"device key unknown": {target: func(r *rig) { r.target.KnownHosts = []string{filepath.Join(r.base, "none")} }, want: "host key of 127.0.0.1:"},
		"device key changed": {target: func(r *rig) {
			writeKnown(r.t, r.target.KnownHosts[0], r.server.address, rsaKey(r.t).PublicKey())
		}, want: "has CHANGED: it shows ssh-ed25519 SHA256:"},
		"device is silent": {target: func(r *rig) { r.server.raw = func(c net.Conn) { _, _ = io.Copy(io.Discard, c) } },
			want: "no complete SSH handshake in", is: ErrTimeout, attempts: 2},
		"jump host is silent": {jump: func(s *testServer) { s.raw = func(c net.Conn) { _, _ = io.Copy(io.Discard, c) } },
			want: "jump host 127.0.0.1: the peer kept us waiting: no complete SSH handshake", is: ErrTimeout, attempts: 2},
		"jump host is down": {target: func(r *rig) { r.target.Jump[0].Port = freePort(r.t) }, want: "jump host 127.0.0.1: host key", attempts: 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			r.o.Limits = quickLimits()
			r.o.Limits.Retries, r.o.Limits.BackoffMin, r.o.Limits.BackoffMax = 1, time.Millisecond, time.Millisecond
			_, hop := jumpHost(t, c.jump)
			r.target.Jump = []Target{hop}
			if c.target != nil {
				c.target(r)
			}
			if what == "jump host is down" { // its key is known all the same
				writeKnown(t, hop.KnownHosts[0], fmt.Sprintf("127.0.0.1:%d", r.target.Jump[0].Port), edKey(t).PublicKey())
				c.want, c.attempts = "jump host 127.0.0.1: dial tcp", 2
			}
			res, err := r.pull(Auto)
			oneLineError(t, err)
			if !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) || res.Attempts != max(c.attempts, 1) {
				t.Fatalf("%d attempts, %v", res.Attempts, err)
			}
			var key *HostKeyError
			if errors.As(err, &key) {
				through := strings.Contains(key.Command(), " -J guest@127.0.0.1:"+strconv.Itoa(hop.Port)+" ")
				if through != strings.HasPrefix(what, "device") {
					t.Errorf("command %q", key.Command())
				}
			}
		})
	}
}

// A jump host that takes the order and never answers costs the limit of a
// connection, and one that goes silent in the middle that of keepalives.
func TestJumpHostSilent(t *testing.T) {
	t.Run("order", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, scpQuirks{})
		r.o.Limits = quickLimits()
		r.o.Limits.Connect = 300 * time.Millisecond
		free := make(chan struct{})
		_, hop := jumpHost(t, func(s *testServer) {
			s.forward = func(string) ssh.RejectionReason { <-free; return ssh.Prohibited }
		})
		r.target.Jump = []Target{hop}
		_, err := r.pull(SFTP)
		close(free)
		if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "made no TCP connection") {
			t.Fatal(err)
		}
	})
	t.Run("middle", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, scpQuirks{})
		r.o.Limits = quickLimits()
		r.put(actName(1), strings.Repeat("x", 1<<20), 1)
		_, hop := jumpHost(t, func(s *testServer) {
			s.wrap = func(_ int, c net.Conn) net.Conn { return &stuckConn{Conn: c, left: 100_000} }
		})
		r.target.Jump = []Target{hop}
		_, err := r.pull(SFTP)
		if !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
	})
}

// stuckConn sends so many bytes and then blocks until it is closed.
type stuckConn struct {
	net.Conn
	left int
}

func (c *stuckConn) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		_, _ = io.Copy(io.Discard, c.Conn)
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// The keys of a device behind a jump host.
func TestScanThroughJumpHost(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.server.stop()
	r.server = newServer(t, edKey(t), rsaKey(t)).start()
	_, hop := jumpHost(t, nil)
	behind := Target{Host: "127.0.0.1", Port: r.server.port(), Jump: []Target{hop}}
	keys, err := ScanHostKeys(context.Background(), behind, nil, r.o.Limits)
	if err != nil || len(keys) != 2 || keys[0].Type != "ssh-ed25519" || keys[1].Fingerprint != ssh.FingerprintSHA256(rsaKey(t).PublicKey()) {
		t.Fatalf("%+v %v", keys, err)
	}
	behind.Jump[0].KnownHosts = nil
	_, err = ScanHostKeys(context.Background(), behind, nil, r.o.Limits)
	var unknown *HostKeyError
	if !errors.As(err, &unknown) || unknown.Port != hop.Port {
		t.Fatal(err)
	}
}

func TestParseJump(t *testing.T) {
	for in, want := range map[string][]Target{
		"":                          nil,
		"none":                      {},
		"bastion":                   {{Host: "bastion"}},
		"a@bastion:2022":            {{User: "a", Host: "bastion", Port: 2022}},
		"ssh://a@bastion:2022/":     {{User: "a", Host: "bastion", Port: 2022}},
		"a, b@[2001:db8::1]:2222":   {{Host: "a"}, {User: "b", Host: "2001:db8::1", Port: 2222}},
		"[2001:db8::1],2001:db8::2": {{Host: "2001:db8::1"}, {Host: "2001:db8::2"}},
		"x@first:22,second,z@third": {{User: "x", Host: "first", Port: 22}, {Host: "second"}, {User: "z", Host: "third"}},
	} {
		got, err := ParseJump(in)
		if err != nil || !reflect.DeepEqual(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%q: %+v %v", in, got, err)
		}
		if again, err := ParseJump(JumpWords(got)); len(got) > 0 && (err != nil || JumpWords(again) != JumpWords(got)) {
			t.Errorf("%q: %q %v", in, JumpWords(got), err)
		}
	}
	for in, want := range map[string]string{
		"a,,b":                        "empty host name",
		"@a":                          "empty user name",
		"a:b@c":                       "a password in the target is refused",
		"a:0":                         "must be 1 to 65535",
		"a b":                         "not usable",
		"-oProxyCommand=x":            "not usable",
		"[::1":                        "expected [address]:port",
		strings.Repeat("a,", 8) + "a": "at most 8",
	} {
		if _, err := ParseJump(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestResolveJump(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	writeFile(t, file, []byte(`
Host edge
	ProxyJump inner
Host inner
	HostName 10.0.0.2
	User relay
	IdentityFile ~/inner_key
	ProxyJump outer:2022
Host outer
	Port 22
	ProxyJump none
Host straight
	ProxyJump none
Host command
	ProxyCommand nc %h %p
Host circle
	ProxyJump circle2
Host circle2
	ProxyJump circle
Host twice
	ProxyJump inner,outer:2022
Host *
	User everybody
	ProxyJump gate
`), 0o600)
	cfg, err := LoadSSHConfig(true, file)
	if err != nil {
		t.Fatal(err)
	}
	me := Login{User: "me", Home: dir}
	for host, want := range map[string]string{
		"edge":     "everybody@outer:2022,relay@inner",
		"straight": "",
		"command":  "ProxyCommand \"nc %h %p\", which is not supported",
		"circle":   "the jump host circle is reached through itself",
		"twice":    "reached through itself",
		"other":    "the jump host gate is reached through itself",
	} {
		got, err := Target{Host: host, Path: "/act", KnownHosts: []string{"given"}}.Resolve(cfg, me)
		text := JumpWords(got.Jump)
		if err != nil {
			text = err.Error()
		}
		if want == "" && text != "" || !strings.Contains(text, want) {
			t.Errorf("%s: %q", host, text)
		}
		if host == "edge" {
			inner := got.Jump[1]
			if inner.Address != "10.0.0.2" || !reflect.DeepEqual(inner.Identities, []string{dir + "/inner_key"}) || !reflect.DeepEqual(inner.KnownHosts, []string{"given"}) {
				t.Errorf("%+v", inner)
			}
		}
	}
	// What was given wins over the configuration, also over its ProxyCommand.
	for _, host := range []string{"command", "circle"} {
		got, err := Target{Host: host, Path: "/act", Jump: []Target{{Host: "straight", User: "x", Password: Secret{File: "f"}}}}.Resolve(cfg, me)
		if err != nil || JumpWords(got.Jump) != "x@straight" || got.Jump[0].Password.File != "f" || got.Password.File != "" {
			t.Errorf("%+v %v", got.Jump, err)
		}
	}
}
