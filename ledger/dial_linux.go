package ledger

import (
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// silent is how long the server, or the network before it, may be silent while it
// has not confirmed what was sent.
const silent = 30 * time.Second

// dialer connects to PostgreSQL. A server that is gone without a word is noticed
// after half a minute, whether a query waits or an answer (tcp(7): keepalive says
// nothing about data that is under way, TCP_USER_TIMEOUT does).
func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4},
		Control: func(network, _ string, c syscall.RawConn) (err error) {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			if e := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silent.Milliseconds()))
			}); e != nil {
				return e
			}
			return err
		},
	}
}
