package ledger

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDialer: a connection to a server that is silent does not wait for ever.
func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := dialer().DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var timeout, idle int
	var err1, err2 error
	err = raw.Control(func(fd uintptr) {
		timeout, err1 = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		idle, err2 = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	})
	if err != nil || err1 != nil || err2 != nil || timeout != 30_000 || idle != 10 {
		t.Errorf("timeout %d ms, keepalive after %d s; %v %v %v", timeout, idle, err, err1, err2)
	}
}
