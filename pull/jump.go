package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxJumps bounds a chain of jump hosts.
const maxJumps = 8

// ParseJump reads a chain of jump hosts as ssh -J and ProxyJump take it:
// [user@]host[:port] or ssh://[user@]host[:port], separated by commas, the first
// to be connected to first. "none" is an empty chain, which is not nil and keeps
// the ssh configuration from giving one; "" is nil.
func ParseJump(s string) ([]Target, error) {
	if s == "" {
		return nil, nil
	}
	hops := []Target{}
	if strings.EqualFold(s, "none") {
		return hops, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		hop, err := parseHop(strings.TrimSpace(word))
		if err != nil {
			return nil, fmt.Errorf("jump host %s: %w", quote(withoutPassword(word)), err)
		}
		hops = append(hops, hop)
	}
	return hops, checkJumps(hops)
}

// checkJumps bounds the length of a chain.
func checkJumps(hops []Target) error {
	if len(hops) > maxJumps {
		return fmt.Errorf("%d jump hosts: at most %d are possible", len(hops), maxJumps)
	}
	return nil
}

// parseHop reads one jump host.
func parseHop(s string) (t Target, err error) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "ssh://"), "/")
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		t.User, s = s[:at], s[at+1:]
		if t.User == "" {
			return t, errors.New("empty user name before @")
		}
		if strings.Contains(t.User, ":") {
			return t, errPasswordInTarget
		}
	}
	t.Host = s
	switch {
	case strings.HasPrefix(s, "["):
		host, rest, closed := strings.Cut(s[1:], "]")
		if !closed || rest != "" && rest[0] != ':' {
			return t, errors.New("expected [address]:port")
		}
		t.Host, s = host, strings.TrimPrefix(rest, ":")
		if s != "" {
			t.Port, err = parsePort(s)
		}
	case strings.Count(s, ":") == 1:
		host, port, _ := strings.Cut(s, ":")
		t.Host = host
		t.Port, err = parsePort(port)
	}
	return t, first(err, checkUser(t.User), checkHost(t.Host))
}

// JumpWords writes a chain of jump hosts as ParseJump reads it; "" for none.
func JumpWords(hops []Target) string {
	var words []string
	for _, h := range hops {
		word := h.Host
		if strings.Contains(word, ":") && h.port() != defaultPort {
			word = "[" + word + "]"
		}
		if h.User != "" {
			word = h.User + "@" + word
		}
		if h.port() != defaultPort {
			word += ":" + strconv.Itoa(h.Port)
		}
		words = append(words, word)
	}
	return strings.Join(words, ",")
}

// route is how TCP connections to a device are made: straight, or through jump
// hosts. Every hop was logged in to with its own strict host key, its own
// credentials and its own deadlines. It serves one device.
type route struct {
	root net.Conn // TCP to the first hop, nil without one
	hops []*ssh.Client
	last string // the name of the last hop
}

// openRoute logs in to the jump hosts, one through the other.
func openRoute(ctx context.Context, hops []Target, getenv func(string) string, limits Limits) (*route, error) {
	r := &route{}
	if err := checkJumps(hops); err != nil {
		return r, err
	}
	for i, hop := range hops {
		l, err := r.logIn(ctx, hop, hops[:i], getenv, limits)
		if err != nil {
			r.close()
			return r, fmt.Errorf("jump host %s: %w", quoteUnlessPlain(hop.Host), err)
		}
		if r.root == nil {
			r.root = l.raw.Conn
		}
		r.hops = append(r.hops, l.client)
		r.last = hop.Host
	}
	return r, nil
}

// dial makes one TCP connection.
func (r *route) dial(ctx context.Context, address string, limit time.Duration) (net.Conn, error) {
	if len(r.hops) == 0 {
		return dialTCP(ctx, address, limit)
	}
	late := fmt.Errorf("%w: jump host %s made no TCP connection to %s in %v", ErrTimeout, quoteUnlessPlain(r.last), address, limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	c, err := r.hops[len(r.hops)-1].DialContext(ctx, "tcp", address)
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return &hopConn{Conn: c, root: r.root}, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
		return nil, &hinted{fmt.Errorf("jump host %s does not forward to %s: %w", quoteUnlessPlain(r.last), address, fromPeer(err)),
			"allow it there: AllowTcpForwarding and PermitOpen of sshd_config, permitopen in authorized_keys"}
	}
	return nil, &net.OpError{Op: "dial through jump host " + quoteUnlessPlain(r.last), Net: "tcp", Err: fmt.Errorf("%s: %w", address, fromPeer(err))}
}

// cut ends everything at once. The TCP connection goes first: to close a channel
// in order would wait for a jump host that may never answer.
func (r *route) cut() {
	if r.root != nil {
		_ = r.root.Close()
	}
}

// close ends everything and waits for what ran for it.
func (r *route) close() {
	r.cut()
	for _, h := range slices.Backward(r.hops) {
		_ = h.Close()
		_ = h.Wait() // it says that the connection is closed
	}
}

// hopConn is a connection through a jump host. SSH channels have no deadlines;
// here the end of one cuts the route, because nothing less is sure to wake a
// reader.
type hopConn struct {
	net.Conn
	root net.Conn
	late atomic.Bool

	mu    sync.Mutex
	timer *time.Timer
}

// SetDeadline cuts the route at a time, or never if it is zero.
func (c *hopConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if !t.IsZero() {
		c.timer = time.AfterFunc(time.Until(t), func() {
			c.late.Store(true)
			_ = c.root.Close()
		})
	}
	return nil
}

// Close closes the channel, or the whole route if the jump host takes no more.
func (c *hopConn) Close() error {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	err := c.Conn.Close()
	_ = c.SetDeadline(time.Time{})
	if err == io.EOF { // the other side closed it before
		err = nil
	}
	return err
}

// Read reads, and tells a deadline from another end.
func (c *hopConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.why(err)
}

// Write writes, and tells a deadline from another end.
func (c *hopConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.why(err)
}

func (c *hopConn) why(err error) error {
	if err != nil && c.late.Load() {
		return os.ErrDeadlineExceeded
	}
	return err
}
