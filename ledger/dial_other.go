//go:build !linux

package ledger

import (
	"net"
	"time"
)

// dialer connects to PostgreSQL. A server that is gone without a word is noticed
// after half a minute while an answer is awaited.
func dialer() *net.Dialer {
	return &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}}
}
