package pull

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// brokenPipe is a connection whose writes fail.
type brokenPipe struct {
	net.Conn
	err error
}

func (b *brokenPipe) Write([]byte) (int, error) { return 0, b.err }

// A write that fails ends the connection, so nobody waits for the answer; one
// that came too late does not: the deadline is what is told.
func TestFailedWriteEndsTheConnection(t *testing.T) {
	for want, cause := range map[error]error{net.ErrClosed: syscall.ENOSPC, os.ErrDeadlineExceeded: os.ErrDeadlineExceeded} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		tcp, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
		if err := tcp.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		c := &heardConn{Conn: &brokenPipe{tcp, cause}}
		if _, err := c.Write([]byte("x")); !errors.Is(err, cause) {
			t.Errorf("write: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("read after a write with %v: %v", cause, err)
		}
	}
}
