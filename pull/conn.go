package pull

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// clientVersion is what a device sees in its log.
const clientVersion = "SSH-2.0-acctpull"

// conn is one authenticated connection to a device, with everything that ends
// it: the context, the watch, unanswered keepalives, a violation of a protocol.
// Whoever ends it first gives the reason, and every error of the connection
// after that is that reason.
type conn struct {
	client  *ssh.Client // nil for FTP
	ftp     *ftpTransport
	raw     *heardConn
	route   *route
	limits  Limits
	watch   *watch
	details Connected

	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	cause error
}

// connect opens the connection to a target: the jump hosts, TCP, key exchange,
// host key, authentication.
func connect(ctx context.Context, t Target, getenv func(string) string, limits Limits) (*conn, error) {
	if t.Transport == FTP {
		return connectFTP(ctx, t, getenv, limits)
	}
	r, err := openRoute(ctx, t.Jump, getenv, limits)
	if err != nil {
		return nil, err
	}
	l, err := r.logIn(ctx, t, t.Jump, getenv, limits)
	if err != nil {
		r.close()
		return nil, err
	}
	c := &conn{client: l.client, raw: l.raw, route: r, limits: limits, watch: newWatch(limits)}
	c.details = Connected{
		Device:  t.device(),
		Address: l.raw.RemoteAddr().String(),
		Server:  clean(string(l.client.ServerVersion())),
		HostKey: l.check.problem("").Fingerprint,
	}
	if len(t.Jump) > 0 {
		c.details.Address, c.details.Jump = t.dialAddress(), JumpWords(t.Jump)
	}
	if m, ok := l.client.Conn.(ssh.AlgorithmsConnMetadata); ok {
		c.details.Algorithms, c.details.Insecure = negotiated(m.Algorithms())
	}
	c.start(ctx, c.keepalive)
	return c, nil
}

// start begins to guard the connection, with what else has to run beside it.
func (c *conn) start(ctx context.Context, beside ...func(context.Context)) {
	ctx, c.cancel = context.WithCancel(ctx)
	for _, f := range append(beside, c.guard) {
		c.done.Go(func() { f(ctx) })
	}
}

// loggedIn is an authenticated SSH connection.
type loggedIn struct {
	client *ssh.Client
	raw    *heardConn
	check  *hostKeyCheck
}

// logIn makes one SSH connection at the end of the route, to the device or to
// the next jump host. jumps are the hops before it, for advice.
func (r *route) logIn(ctx context.Context, t Target, jumps []Target, getenv func(string) string, limits Limits) (*loggedIn, error) {
	algorithms, err := allowed(t.Legacy)
	if err != nil {
		return nil, err
	}
	check, err := newHostKeyCheck(t.cache, t.KnownHosts, t.hostKeyAddress(), algorithms)
	if err != nil {
		return nil, err
	}
	check.jump = JumpWords(jumps)
	login, err := newLogin(t, getenv, limits)
	if err != nil {
		return nil, err
	}
	tcp, err := r.dial(ctx, t.dialAddress(), limits.Connect)
	if err != nil {
		_ = login.close()
		return nil, err
	}
	raw := &heardConn{Conn: tcp}
	config := &ssh.ClientConfig{
		Config:            sshConfig(algorithms),
		User:              t.User,
		HostKeyCallback:   check.callback,
		HostKeyAlgorithms: check.algorithms,
		ClientVersion:     clientVersion,
		AuthCallback:      login.next,
	}
	client, err := handshake(ctx, raw, t.hostKeyAddress(), limits.Handshake, config)
	// The agent is only needed for the handshake, and what closing its socket
	// says cannot matter any more.
	_ = login.close()
	if err != nil {
		if login.nothingSaid() && raw.ended.Load() {
			login.failure = nil // the connection ended before the device said what it takes
		}
		if raw.late.Load() {
			login.unanswered(limits.Handshake)
			err = errors.Join(fmt.Errorf("%w: no complete SSH handshake in %v", ErrTimeout, limits.Handshake), hostKeyOrAlgorithm(err))
		}
		return nil, r.explainHandshake(ctx, err, t, check, login, limits)
	}
	return &loggedIn{client, raw, check}, nil
}

// heardConn remembers when bytes came last, and whether the next ones came too
// late.
type heardConn struct {
	net.Conn
	last  atomic.Int64 // Unix nanoseconds
	late  atomic.Bool
	ended atomic.Bool // nothing more comes
}

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	}
	if err != nil {
		c.late.CompareAndSwap(false, errors.Is(err, os.ErrDeadlineExceeded))
		c.ended.Store(true)
	}
	return n, err
}

// Write ends the connection when it fails: the SSH library keeps such an error
// to itself, and would wait for an answer to what was never sent.
func (c *heardConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.late.Store(true)
	case err != nil:
		err = errors.Join(err, c.Close())
	}
	return n, err
}

func (c *heardConn) heard() time.Time { return time.Unix(0, c.last.Load()) }

// sshConfig offers exactly the given algorithms.
func sshConfig(a ssh.Algorithms) ssh.Config {
	return ssh.Config{KeyExchanges: a.KeyExchanges, Ciphers: a.Ciphers, MACs: a.MACs}
}

// dialTCP connects.
func dialTCP(ctx context.Context, address string, limit time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: limit}
	c, err := d.DialContext(ctx, "tcp", address)
	var timeout net.Error
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, fmt.Errorf("%w: no TCP connection to %s in %v", ErrTimeout, address, limit)
	}
	return nil, err
}

// handshake does key exchange and authentication under one deadline. The
// deadline is on the connection: ssh.ClientConfig.Timeout covers TCP only.
func handshake(ctx context.Context, raw net.Conn, address string, limit time.Duration, config *ssh.ClientConfig) (*ssh.Client, error) {
	if err := raw.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	c, channels, requests, err := ssh.NewClientConn(raw, address, config)
	if !stop() && err == nil { // ctx ended in the last moment
		_ = c.Close()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("%w: no complete SSH handshake in %v", ErrTimeout, limit)
		}
		return nil, err
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return ssh.NewClient(c, channels, requests), nil
}

// explainHandshake finds the error that a person can act on.
func (r *route) explainHandshake(ctx context.Context, err error, t Target, check *hostKeyCheck, login *login, limits Limits) error {
	var hostKey *HostKeyError
	var neg *ssh.AlgorithmNegotiationError
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &hostKey):
		return hostKey
	case unproven(err):
		return protocolError("the device did not prove its host key: %s", fromPeer(err))
	case errors.As(err, &neg) && neg.What == "host key" && len(check.known) > 0:
		return r.missingKeyType(ctx, err, t, check, limits)
	case errors.As(err, &neg):
		return explainNegotiation(err)
	case login.failure != nil:
		return login.failure
	case login.usedPass || login.usedKeys && strings.Contains(err.Error(), "ssh: disconnect, reason"):
		// The device hung up over what we sent. Trying again could lock the
		// account.
		return &AuthError{User: t.User, Err: fromPeer(err), Notes: login.notes}
	case errors.Is(err, ErrTimeout):
		return err
	}
	return fmt.Errorf("%w: %w", ErrCut, fromPeer(err))
}

// hostKeyOrAlgorithm returns an error that says more than that the time was over.
func hostKeyOrAlgorithm(err error) error {
	var hostKey *HostKeyError
	var neg *ssh.AlgorithmNegotiationError
	if errors.As(err, &hostKey) || errors.As(err, &neg) {
		return err
	}
	return nil
}

// unproven reports whether the signature of the host key was wrong. It is checked
// before the key itself is looked up.
func unproven(err error) bool {
	return errors.Is(err, rsa.ErrVerification) || strings.Contains(err.Error(), "ssh: signature did not verify")
}

// missingKeyType explains a device that cannot prove any of the known keys: it
// asks for the keys it has, to name them. Nothing is trusted by that. A key that
// is known, and that the device can prove only by a signature that is not
// allowed, has not changed.
func (r *route) missingKeyType(ctx context.Context, refused error, t Target, check *hostKeyCheck, limits Limits) error {
	e := check.problem(HostKeyChanged)
	if check.authorities {
		e.Problem = HostKeyUnknown // it has a key, and no certificate
	}
	keys, err := r.scan(ctx, t.dialAddress(), limits)
	if err != nil || len(keys) == 0 {
		return e
	}
	for _, k := range keys {
		if slices.ContainsFunc(check.known, func(old KnownKey) bool { return old.Fingerprint == k.Fingerprint }) {
			return explainNegotiation(refused)
		}
	}
	e.Type, e.Fingerprint = keys[0].Type, keys[0].Fingerprint
	return e
}

// guard closes the connection when the watch says so or the context ends.
func (c *conn) guard(ctx context.Context) {
	tick := time.NewTicker(c.watch.interval())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.fail(context.Cause(ctx))
			return
		case now := <-tick.C:
			if err := c.watch.check(now); err != nil {
				c.fail(err)
				return
			}
		}
	}
}

// keepalive asks a quiet device for signs of life, and ends the connection when
// none comes. Any byte is one: on a slow line the answer can be far behind the
// content of files.
func (c *conn) keepalive(ctx context.Context) {
	tick := time.NewTicker(c.limits.Keepalive)
	defer tick.Stop()
	limit := c.limits.Keepalive * time.Duration(c.limits.KeepaliveMax)
	var asking atomic.Bool
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		quiet := now.Sub(c.raw.heard())
		if quiet >= limit {
			c.fail(fmt.Errorf("%w: no sign of life for %v", ErrTimeout, limit))
			return
		}
		if quiet >= c.limits.Keepalive && asking.CompareAndSwap(false, true) {
			c.done.Go(func() {
				// What matters is that bytes come, not what they say; an
				// error is that of a connection that ended.
				_ = c.alive()
				asking.Store(false)
			})
		}
	}
}

// alive asks for one sign of life: any answer is one.
func (c *conn) alive() error {
	_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// within runs f, and ends the connection if f takes too long.
func (c *conn) within(limit time.Duration, what string, f func() error) error {
	t := time.AfterFunc(limit, func() { c.fail(fmt.Errorf("%w: no %s in %v", ErrTimeout, what, limit)) })
	defer t.Stop()
	return c.why(f())
}

// wait runs f, which waits for the peer, under the watch.
func (c *conn) wait(f func() error) error {
	c.watch.enter(time.Now())
	err := f()
	c.watch.leave(time.Now())
	return c.why(err)
}

// fileLimit ends the connection if the file is not finished in time; the caller
// calls stop when it is.
func (c *conn) fileLimit(name string) (stop func() bool) {
	return time.AfterFunc(c.limits.File, func() {
		c.fail(fmt.Errorf("%w: %s is not finished after %v", ErrTimeout, name, c.limits.File))
	}).Stop
}

// fail ends the connection for a reason. Only the first reason counts.
func (c *conn) fail(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	// Closing is all that can be done with the connection now; its error
	// would only hide the reason.
	c.route.cut()
	if c.client != nil {
		_ = c.client.Close()
	} else {
		c.ftp.cut()
	}
}

// ended returns the reason why the connection was ended here, nil if it was not.
func (c *conn) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// why returns the reason for an error of the connection.
func (c *conn) why(err error) error {
	if err == nil {
		return nil
	}
	if cause := c.ended(); cause != nil {
		return cause
	}
	return err
}

// errClosed is the reason of an orderly end.
var errClosed = errors.New("the connection is closed")

// close ends the connection and everything that runs for it.
func (c *conn) close() {
	c.fail(errClosed)
	c.cancel()
	c.done.Wait()
	if c.client != nil {
		_ = c.client.Wait() // it says that the connection is closed
	}
	c.route.close()
}

// session is one channel of a connection.
type session struct {
	*ssh.Session
	c      *conn
	in     io.WriteCloser
	out    io.Reader
	errors *head
}

// open opens a session and starts something in it.
func (c *conn) open(what string, start func(*ssh.Session) error) (*session, error) {
	s := &session{c: c, errors: &head{}}
	c.watch.restart()
	err := c.within(c.limits.Open, "session for "+what, func() error {
		var err error
		if s.Session, err = c.client.NewSession(); err != nil {
			return err
		}
		s.Session.Stderr = s.errors
		if s.in, err = s.StdinPipe(); err != nil {
			return err
		}
		if s.out, err = s.StdoutPipe(); err != nil {
			return err
		}
		return start(s.Session)
	})
	if err != nil && s.Session != nil {
		_ = s.Session.Close()
	}
	return s, c.lost(err)
}

// lost returns the reason for an error: a connection that is gone was cut,
// whatever it was that could not be done any more.
func (c *conn) lost(err error) error {
	if err != nil && c.ended() == nil && c.raw.ended.Load() {
		c.fail(fmt.Errorf("%w: %w", ErrCut, fromPeer(err)))
	}
	return c.why(err)
}

// head keeps the first bytes of what is written to it: what a device says on
// standard error.
type head struct {
	mu sync.Mutex
	b  []byte
}

// Write never fails, however much comes.
func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if room := 2*peerTextLimit - len(h.b); room > 0 {
		h.b = append(h.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// String returns the text as one escaped line, "" if there is none.
func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return clean(strings.TrimSpace(string(h.b)))
}
