package actserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pkg/sftp"
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

// virtual runs a server in a bubble of virtual time.
func virtual(t *testing.T, adjust func(*Options), test func(b *bench, ln *pipeListener)) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBench(t, adjust)
		ln := newPipeListener()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, ln) }()
		test(b, ln)
		cancel()
		must(t, <-done)
	})
}

func (b *bench) dialPipe(ln *pipeListener) (net.Conn, *ssh.Client) {
	b.t.Helper()
	nc := ln.dial()
	sc, channels, requests, err := ssh.NewClientConn(nc, "pipe", b.clientConfig())
	must(b.t, err)
	return nc, ssh.NewClient(sc, channels, requests)
}

// S4: whoever has not logged in after 30 s is gone, however busy he looks.
func TestLoginGrace(t *testing.T) {
	virtual(t, nil, func(b *bench, ln *pipeListener) {
		began := time.Now()
		silent, drip := ln.dial(), ln.dial()
		go func() { // comment lines before the version are allowed by the protocol
			for {
				if _, err := drip.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		for _, c := range []net.Conn{silent, drip} {
			_, err := io.Copy(io.Discard, c)
			must(b.t, err)
		}
		if took := time.Since(began); took != 30*time.Second {
			b.t.Errorf("they were let be for %s, want 30 s", took)
		}
		synctest.Wait()
		if got := b.refused("login"); len(got) != 2 || !errors.Is(got[0].Err, os.ErrDeadlineExceeded) {
			b.t.Errorf("refused: %v", got)
		}
		// Two lapsed graces are 20 s of penalty.
		gone := ln.dial()
		if _, err := io.ReadFull(gone, make([]byte, 1)); err != io.EOF {
			b.t.Errorf("the source is not under a penalty: %v", err)
		}
		time.Sleep(20 * time.Second)
		nc, client := b.dialPipe(ln)
		must(b.t, client.Close())
		must(b.t, nc.Close())
	})
}

// A connection without session data is closed after 5 min, whatever keep-alive
// it sends; one that moves data is not.
func TestIdleConnection(t *testing.T) {
	virtual(t, nil, func(b *bench, ln *pipeListener) {
		b.put(goodName, 10)
		began := time.Now()
		_, idle := b.dialPipe(ln)
		go func() {
			for {
				if _, _, err := idle.SendRequest("keepalive@openssh.com", true, nil); err != nil {
					return
				}
				time.Sleep(15 * time.Second)
			}
		}()
		_, busy := b.dialPipe(ln)
		c, err := sftp.NewClient(busy)
		must(b.t, err)
		go func() {
			_ = idle.Wait()
			if took := time.Since(began); took != 5*time.Minute {
				b.t.Errorf("the idle connection was closed after %s", took)
			}
		}()
		for range 10 {
			time.Sleep(4 * time.Minute)
			_, err := c.Stat("/act/" + goodName)
			must(b.t, err)
		}
		must(b.t, c.Close())
		must(b.t, busy.Close())
	})
}

// S6: a client that asks and never reads the answers holds what its window
// allows, and is gone after the idle time.
func TestClientThatReadsNothing(t *testing.T) {
	virtual(t, nil, func(b *bench, ln *pipeListener) {
		b.put(goodName, 1<<20)
		nc, client := b.dialPipe(ln)
		x, _ := newWire(b.t, client)
		handle, _ := x.handle(fxOpen, "/act/"+goodName, uint32(openRead), uint32(0))
		began := time.Now()
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			for {
				request := x.request(fxRead, handle, uint64(0), uint32(1<<32-1))
				if _, err := x.w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
					return
				}
			}
		}()
		_ = client.Wait()
		<-asked
		if took := time.Since(began); took != 5*time.Minute {
			b.t.Errorf("it was let be for %s", took)
		}
		must(b.t, nc.Close())
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		// The window holds 2 MiB of answers, but also 2.5 GB worth of requests,
		// which must not all be served when the connection has gone.
		if len(b.transfers) != 1 || b.transfers[0].Err == nil || b.transfers[0].Sent > 256<<20 {
			b.t.Errorf("transfers: %+v", b.transfers)
		}
	})
}

// S6: the same for scp, and for a client that never answers.
func TestSCPClientThatAnswersNothing(t *testing.T) {
	virtual(t, nil, func(b *bench, ln *pipeListener) {
		b.put(goodName, 8<<20)
		for _, answers := range []int{0, 1, 2} {
			began := time.Now()
			nc, client := b.dialPipe(ln)
			session, err := client.NewSession()
			must(b.t, err)
			in, err := session.StdinPipe()
			must(b.t, err)
			_, err = session.StdoutPipe() // never read
			must(b.t, err)
			must(b.t, session.Start("scp -f act/*"))
			_, err = in.Write(acks(answers))
			must(b.t, err)
			_ = client.Wait()
			if took := time.Since(began); took != 5*time.Minute {
				b.t.Errorf("after %d answers it was let be for %s", answers, took)
			}
			must(b.t, nc.Close())
		}
	})
}

// S6: 32 handles per connection, however many sessions; 4 sessions.
func TestHandlesAndSessions(t *testing.T) {
	b := start(t, nil)
	b.put(goodName, 10)
	c := b.dial()
	wires := make([]*wire, 4)
	for i := range wires {
		wires[i], _ = newWire(t, c)
	}
	if _, err := c.NewSession(); err == nil || !strings.Contains(err.Error(), "too many sessions") {
		t.Errorf("fifth session: %v", err)
	}
	if out, err := exec(b.dial(), "scp -f act/*", acks(5)); err != nil {
		t.Errorf("another connection: %v, %q", err, out)
	}
	var handles []string
	opened, failed := 0, 0
	for i := range 1000 {
		kind, fields := byte(fxOpen), []any{"/act/" + goodName, uint32(openRead), uint32(0)}
		if i%3 == 0 {
			kind, fields = fxOpendir, []any{"/act"}
		} else if i%3 == 1 {
			kind, fields = fxOpendir, []any{"/"}
		}
		handle, status := wires[i%4].handle(kind, fields...)
		switch status {
		case codeOK:
			opened++
			if i%4 == 0 {
				handles = append(handles, handle)
			}
		case codeFailure:
			failed++
		default:
			t.Errorf("open %d: status %d", i, status)
		}
	}
	if opened != 32 || failed != 1000-32 {
		t.Errorf("%d handles were opened and %d refused, want 32", opened, failed)
	}
	for _, h := range handles {
		if status := wires[0].status(fxClose, h); status != codeOK {
			t.Errorf("close: status %d", status)
		}
	}
	again := 0
	for range 40 {
		if _, status := wires[1].handle(fxOpendir, "/act"); status == codeOK {
			again++
		}
	}
	if again != len(handles) {
		t.Errorf("%d handles could be opened after %d were closed", again, len(handles))
	}
	if status := wires[0].status(fxClose, handles[0]); status == codeOK {
		t.Error("a handle could be closed twice")
	}
	for _, h := range []string{"", "99999", "x", strings.Repeat("9", 10_240)} {
		if status := wires[0].status(fxRead, h, uint64(0), uint32(1)); status == codeOK {
			t.Errorf("handle %q could be read", h[:min(len(h), 10)])
		}
	}
}

// A session that is closed counts no longer.
func TestSessionsOneAfterTheOther(t *testing.T) {
	b := start(t, nil)
	b.put(goodName, 10)
	c := b.dial()
	for range 100 {
		if out, err := exec(c, "scp -f act/*", acks(5)); err != nil {
			t.Fatalf("scp: %v, %q", err, out)
		}
	}
}

// S6: READ takes any length and offset and gives what is there.
func TestReadAnywhere(t *testing.T) {
	b := start(t, nil)
	content := b.put(goodName, 100_000)
	x, _ := newWire(t, b.dial())
	handle, _ := x.handle(fxOpen, "/act/"+goodName, uint32(openRead), uint32(0))
	for _, test := range []struct {
		offset uint64
		length uint32
		want   []byte
	}{
		{0, 1<<32 - 1, content[:32<<10]},
		{99_999, 1<<32 - 1, content[99_999:]},
		{100_000, 1, nil},
		{1 << 40, 1, nil},
		{1<<63 - 1, 1<<32 - 1, nil},
		{1 << 63, 1, nil},
		{1<<64 - 1, 1<<32 - 1, nil},
	} {
		kind, data := x.ask(fxRead, handle, test.offset, test.length)
		switch {
		case test.want != nil && (kind != fxData || !bytes.Equal(data[4:], test.want)):
			t.Errorf("read at %d: packet type %d with %d bytes", test.offset, kind, len(data))
		case test.want == nil && (kind != fxStatus || binary.BigEndian.Uint32(data) != codeEOF):
			t.Errorf("read at %d: packet type %d, % x", test.offset, kind, data)
		}
	}
	if kind, data := x.ask(fxRead, handle, uint64(5), uint32(0)); kind != fxData && kind != fxStatus || len(data) > 200 {
		t.Errorf("read of nothing: packet type %d, % x", kind, data)
	}
}

// H5 from the server's side: packets no client sends end the session and
// nothing else.
func TestMalformedPackets(t *testing.T) {
	b := start(t, nil)
	b.put(goodName, 10)
	for _, raw := range [][]byte{
		{0, 0, 0, 0},
		{0xff, 0xff, 0xff, 0xff, fxRead},
		{0x7f, 0xff, 0xff, 0xff},
		{0, 4, 0, 1, fxRead},
		{0, 0, 0, 1, fxRead},
		{0, 0, 0, 9, fxOpen, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff},
		{0, 0, 0, 5, 99, 0, 0, 0, 1},
		{0, 0, 0, 9, fxExtended, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff},
	} {
		c := b.dial()
		x, _ := newWire(t, c)
		_, err := x.w.Write(raw)
		must(t, err)
		if err := x.w.(io.Closer).Close(); err != nil && err != io.EOF { // EOF: the server was first
			t.Error(err)
		}
		_, err = io.Copy(io.Discard, x.r)
		must(t, err)
		if out, err := exec(c, "scp -f act/*", acks(5)); err != nil {
			t.Errorf("after % x: %v, %q", raw, err, out)
		}
	}
}

// S7: a file that is deleted or replaced while it is read is read to its end.
func TestFileGoesAwayDuringARead(t *testing.T) {
	b := start(t, nil)
	content := b.put(goodName, 6<<20)
	path := filepath.Join(b.dir, goodName)
	for _, fstat := range []bool{false, true} {
		must(t, os.WriteFile(path, content, 0o640))
		c := b.sftp(sftp.UseFstat(fstat))
		f, err := c.Open("/act/" + goodName)
		must(t, err)
		first := make([]byte, 1000)
		_, err = io.ReadFull(f, first)
		must(t, err)
		must(t, os.Remove(path))
		if fstat {
			must(t, os.WriteFile(path, []byte("another file of that name"), 0o640))
		}
		var rest bytes.Buffer
		_, err = f.WriteTo(&rest)
		must(t, err)
		if !bytes.Equal(append(first, rest.Bytes()...), content) {
			t.Errorf("sftp read %d other bytes", rest.Len())
		}
		must(t, f.Close())
		if _, err := c.Stat("/act/" + goodName); (err == nil) != fstat {
			t.Errorf("the name is still answered: %v", err)
		}
	}

	must(t, os.WriteFile(path, content, 0o640))
	session, err := b.dial().NewSession()
	must(t, err)
	in, err := session.StdinPipe()
	must(t, err)
	out, err := session.StdoutPipe()
	must(t, err)
	must(t, session.Start("scp -f act/"+goodName))
	_, err = in.Write(acks(1))
	must(t, err)
	header := fmt.Sprintf("C0640 %d %s\n", len(content), goodName)
	got := make([]byte, len(header))
	_, err = io.ReadFull(out, got)
	must(t, err)
	must(t, os.Remove(path))
	_, err = in.Write(acks(2))
	must(t, err)
	rest, err := io.ReadAll(out)
	must(t, err)
	must(t, session.Wait())
	if string(got) != header || !bytes.Equal(rest, append(content, 0)) {
		t.Errorf("scp sent %q and %d bytes", got, len(rest))
	}
}

// A file that shrinks after its size was announced breaks off: the client must
// not take it for whole.
func TestFileShrinksDuringARead(t *testing.T) {
	b := start(t, nil)
	b.put(goodName, 6<<20)
	session, err := b.dial().NewSession()
	must(t, err)
	in, err := session.StdinPipe()
	must(t, err)
	out, err := session.StdoutPipe()
	must(t, err)
	must(t, session.Start("scp -f act/"+goodName))
	_, err = in.Write(acks(1))
	must(t, err)
	_, err = io.ReadFull(out, make([]byte, 10))
	must(t, err)
	must(t, os.Truncate(filepath.Join(b.dir, goodName), 1000))
	_, err = in.Write(acks(1))
	must(t, err)
	_, err = io.Copy(io.Discard, out)
	must(t, err)
	if exit, ok := errors.AsType[*ssh.ExitError](session.Wait()); !ok || exit.ExitStatus() != 1 {
		t.Errorf("exit: %v", exit)
	}
	waitFor(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.transfers) == 1 })
	if f := b.transfers[0]; !errors.Is(f.Err, io.ErrUnexpectedEOF) || f.Sent >= f.Size {
		t.Errorf("transfer %+v", f)
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

// Serve ends with its context while clients are in every state.
func TestServeEnds(t *testing.T) {
	b, s := newBench(t, nil)
	b.put(goodName, 6<<20)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	b.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()

	half, err := net.Dial("tcp", b.addr)
	must(t, err)
	defer half.Close()
	_, err = io.ReadFull(half, make([]byte, 4))
	must(t, err)
	b.dial()
	x, _ := newWire(t, b.dial())
	_, status := x.handle(fxOpen, "/act/"+goodName, uint32(openRead), uint32(0))
	if status != codeOK {
		t.Errorf("open: status %d", status)
	}
	session, err := b.dial().NewSession()
	must(t, err)
	must(t, session.Start("scp -f act/*"))
	cancel()
	must(t, <-done)
	if _, err := net.Dial("tcp", b.addr); err == nil {
		t.Error("the listener is still open")
	}
	if s.gate.total != 0 || s.gate.pending != 0 || len(s.gate.bySource) != 0 {
		t.Errorf("the gate counts %d, %d, %v", s.gate.total, s.gate.pending, s.gate.bySource)
	}
}

func TestServeErrors(t *testing.T) {
	b, s := newBench(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, os.RemoveAll(b.dir))
	if err := s.Serve(t.Context(), ln); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	must(t, os.Mkdir(b.dir, 0o750))
	if err := s.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("with a closed listener: %v", err)
	}
	broken := &failingListener{pipeListener: newPipeListener(), errs: []error{
		&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)},
		&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)},
		errors.New("broken")}}
	if err := s.Serve(t.Context(), broken); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("with a broken listener: %v", err)
	}
	if got := b.refused("connection"); len(got) != 2 || !errors.Is(got[0].Err, syscall.EMFILE) {
		t.Errorf("refusals: %v", got)
	}
}

// failingListener fails with each error in turn.
type failingListener struct {
	*pipeListener
	mu   sync.Mutex
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}
