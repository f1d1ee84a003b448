package actserver

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestDefaultLimits(t *testing.T) {
	l, err := Limits{}.complete()
	must(t, err)
	want := Limits{LoginGrace: 30 * time.Second, AuthTries: 3, Unauthenticated: 20, EarlyDrop: 10, EarlyDropPercent: 30,
		UnauthenticatedPerSource: 8, Connections: 64, Sessions: 4, Handles: 32, Idle: 5 * time.Minute,
		PenaltyFailure: 5 * time.Second, PenaltyMin: 15 * time.Second, PenaltyMax: 600 * time.Second}
	if l != want {
		t.Errorf("defaults %+v, want %+v", l, want)
	}
	if l, err := (Limits{Unauthenticated: 5}).complete(); err != nil || l.EarlyDrop != 5 {
		t.Errorf("five unauthenticated: %+v, %v", l, err)
	}
	_, err = Limits{Connections: -1, Idle: -1, EarlyDrop: 30, EarlyDropPercent: 101, PenaltyMin: time.Hour}.complete()
	for _, part := range []string{"connections: -1", "idle: -1ns", "early drop at 30", "101", "1h0m0s is above"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}

// The chance of an early drop is 30 % at 10, certainty at 20, and rises between.
func TestEarlyDrop(t *testing.T) {
	l, err := Limits{}.complete()
	must(t, err)
	last := 0
	for n := range 25 {
		dropped := 0
		for roll := range 100 {
			if earlyDrop(l, n, roll) {
				dropped++
			}
		}
		want := map[int]int{9: 0, 10: 30, 15: 65, 19: 93, 20: 100, 24: 100}
		if w, ok := want[n]; ok && dropped != w {
			t.Errorf("at %d connections %d %% are dropped, want %d", n, dropped, w)
		}
		if dropped < last {
			t.Errorf("at %d connections fewer are dropped than at %d", n, n-1)
		}
		last = dropped
	}
}

func TestPenalties(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := penalties{min: 15 * time.Second, max: 600 * time.Second, owed: make(map[netip.Prefix]debt)}
	a, b := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	expect := func(src netip.Prefix, want bool) {
		t.Helper()
		if got := p.refuse(now, src); got != want {
			t.Errorf("after %+v refuse is %v, want %v", p.owed[src], got, want)
		}
	}
	p.charge(now, a, 5*time.Second)
	p.charge(now, a, 5*time.Second)
	expect(a, false) // 10 s are below the minimum
	now = now.Add(8 * time.Second)
	p.charge(now, a, 5*time.Second)
	expect(a, false) // 2 s were left, so 7 s are owed
	p.charge(now, a, 8*time.Second)
	expect(a, true) // 15 s
	expect(b, false)
	now = now.Add(14 * time.Second)
	expect(a, true) // once enforced, to the end
	now = now.Add(time.Second)
	expect(a, false)
	if len(p.owed) != 0 {
		t.Errorf("a debt that has run down is still in the table: %v", p.owed)
	}
	for range 1000 {
		p.charge(now, b, 5*time.Second)
	}
	now = now.Add(600*time.Second - 1)
	expect(b, true)
	now = now.Add(1)
	expect(b, false)

	for i := range 2 * maxPenalties {
		src := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		p.charge(now.Add(time.Duration(i)), src, 20*time.Second)
	}
	if len(p.owed) != maxPenalties {
		t.Errorf("the table has %d entries, want %d", len(p.owed), maxPenalties)
	}
	if !p.refuse(now, netip.MustParsePrefix("10.0.31.255/32")) || p.refuse(now, netip.MustParsePrefix("10.0.0.0/32")) {
		t.Error("the table did not keep the debts that last longest")
	}
}

func TestPenaltyOfAConnection(t *testing.T) {
	l, err := Limits{}.complete()
	must(t, err)
	for _, test := range []struct {
		failures int
		grace    bool
		want     time.Duration
	}{{3, false, 15 * time.Second}, {1, true, 5 * time.Second}, {0, true, 10 * time.Second}, {0, false, time.Second}} {
		if got := l.penalty(test.failures, test.grace); got != test.want {
			t.Errorf("%d failures, grace over %v: %s, want %s", test.failures, test.grace, got, test.want)
		}
	}
	l.PenaltyFailure = -1
	if got := l.penalty(3, false); got != 0 {
		t.Errorf("without penalties a failure costs %s", got)
	}
}

func TestSource(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:22":                 "192.0.2.7/32",
		"[::ffff:192.0.2.7]:22":        "192.0.2.7/32",
		"[2001:db8:1:2:3:4:5:6]:22":    "2001:db8:1:2::/64",
		"[fe80::1%eth0]:22":            "fe80::/64",
		"/run/socket":                  "invalid Prefix",
		"name.of.a.host.example.net:1": "invalid Prefix",
	} {
		if got := source(pipeAddr(addr)).String(); got != want {
			t.Errorf("source of %s is %s, want %s", addr, got, want)
		}
	}
	if source(nil).IsValid() {
		t.Error("no address has a source")
	}
}

// S4: thousands of half-open connections cost little, and a client from another
// address is served while they stand.
func TestHalfOpenConnections(t *testing.T) {
	n := 2000
	if proof() {
		n = 10_000
	}
	b := start(t, nil)
	content := b.put(goodName, 100_000)
	before := memory()
	attacker := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 99)}}
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			must(t, c.Close())
		}
	}()
	for i := range n {
		c, err := attacker.Dial("tcp", b.addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, c)
	}
	// The server has dealt with a connection when its version has arrived or
	// the connection has been closed.
	held := 0
	for _, c := range conns {
		if _, err := io.ReadFull(c, make([]byte, 8)); err == nil {
			held++
		}
	}
	grown := memory() - before
	t.Logf("%d connections, %d held, %.1f MiB more", n, held, float64(grown)/(1<<20))
	if held != 8 {
		t.Errorf("%d connections of one source are held, want 8", held)
	}
	if grown > 32<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
	for range 20 {
		out, err := exec(b.dial(), "scp -f act/*", acks(5))
		if err != nil || !strings.Contains(out, string(content)) {
			t.Fatalf("the good client: %v", err)
		}
	}
	if refused := len(b.refused("connection")); refused != n-held {
		t.Errorf("%d refused connections were reported, want %d", refused, n-held)
	}
}

// memory is what the heap and the stacks take.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// S4: from many sources, no more than 20 are ever held.
func TestHalfOpenConnectionsFromManySources(t *testing.T) {
	b := start(t, nil)
	held := 0
	for i := range 400 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i%250))}}
		c, err := d.Dial("tcp", b.addr)
		must(t, err)
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, 8)); err == nil {
			held++
		}
	}
	if held < 10 || held > 20 {
		t.Errorf("%d connections are held, want 10 to 20", held)
	}
}

// S4: bad passwords end the connection at the third and the source after that.
func TestBadPasswords(t *testing.T) {
	b := start(t, func(o *Options) {
		o.Password = Passwords(map[string]string{"admin": "right"})
		o.Limits.PenaltyFailure, o.Limits.PenaltyMin, o.Limits.PenaltyMax = time.Hour, 3*time.Hour, 4*time.Hour
	})
	attempt := func(from string, user string, passwords ...string) error {
		config := b.clientConfig()
		config.User = user
		tries := 0
		config.Auth = []ssh.AuthMethod{ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
			tries++
			return passwords[min(tries, len(passwords))-1], nil
		}), 10)}
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		nc, err := d.Dial("tcp", b.addr)
		must(t, err)
		defer nc.Close()
		sc, _, _, err := ssh.NewClientConn(nc, b.addr, config)
		if err == nil {
			err = sc.Close()
		} else if tries > 3 {
			t.Errorf("%d passwords could be tried", tries)
		}
		return err
	}
	if err := attempt("127.0.0.2", "admin", "wrong", "wrong", "right"); err != nil {
		t.Errorf("right at the third try: %v", err)
	}
	if err := attempt("127.0.0.2", "admin", "wrong", "wrong", "wrong", "right"); err == nil || !strings.Contains(err.Error(), "too many authentication failures") {
		t.Errorf("right at the fourth try: %v", err)
	}
	// The charge is booked when the server is done with the connection.
	waitFor(t, func() bool { return len(b.refused("login")) == 1 })
	waitFor(t, func() bool { return attempt("127.0.0.2", "admin", "right") != nil })
	if err := attempt("127.0.0.3", "admin", "right"); err != nil {
		t.Errorf("another source is locked out too: %v", err)
	}
	if got := b.refused("connection"); len(got) == 0 || !errors.Is(got[0].Err, ErrPenalty) {
		t.Errorf("refused connections: %v", got)
	}

	known := attempt("127.0.0.4", "admin", "wrong")
	unknown := attempt("127.0.0.5", "nobody", "wrong")
	if known == nil || unknown == nil || known.Error() != unknown.Error() {
		t.Errorf("a known user is told from an unknown one:\n%v\n%v", known, unknown)
	}
}

// waitFor spins until a condition holds that another goroutine brings about.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for !ok() {
		runtime.Gosched()
	}
}

// No more than 64 connections at once, and the next one enters when one leaves.
func TestConnections(t *testing.T) {
	b := start(t, func(o *Options) { o.Limits.Connections = 6 })
	clients := make([]*ssh.Client, 6)
	for i := range clients {
		clients[i] = b.dial()
	}
	if c, err := ssh.Dial("tcp", b.addr, b.clientConfig()); err == nil {
		t.Error("a seventh connection was served", c.Close())
	}
	must(t, clients[0].Close())
	waitFor(t, func() bool {
		c, err := ssh.Dial("tcp", b.addr, b.clientConfig())
		if err != nil {
			return false
		}
		must(t, c.Close())
		return true
	})
}
