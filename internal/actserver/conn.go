package actserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// conn is one connection whose client has logged in.
type conn struct {
	server   *Server
	login    Login
	idle     *time.Timer
	sessions atomic.Int32
	handles  atomic.Int32
}

// serveConn takes one admitted connection to its end.
func (s *Server) serveConn(ctx context.Context, nc net.Conn, t *ticket) {
	var penalty time.Duration
	defer func() { t.leave(time.Now(), penalty) }()
	stop := context.AfterFunc(ctx, func() { abandon(nc) })
	defer stop()
	defer abandon(nc)

	failures, user := 0, ""
	sc, channels, requests, err := s.handshake(nc, func(u string) { failures, user = failures+1, u })
	if err != nil {
		if ctx.Err() == nil {
			penalty = s.limits.penalty(failures, errors.Is(err, os.ErrDeadlineExceeded))
			err = &Error{Op: "log in", Path: user, Err: &peerError{err}}
			s.refused(Refusal{Login: Login{Remote: nc.RemoteAddr()}, What: "login", Err: err})
		}
		return
	}
	t.loggedIn()
	login, ok := sc.Permissions.ExtraData[identityKey{}].(Login)
	if !ok {
		// Every way to log in goes through grant, so this cannot be reached;
		// if it ever is, nobody gets in.
		s.refused(Refusal{Login: Login{Remote: nc.RemoteAddr()}, What: "login", Err: errDenied})
		return
	}
	s.loggedIn(login)
	c := &conn{server: s, login: login}
	c.idle = time.AfterFunc(s.limits.Idle, func() { abandon(nc) })
	defer c.idle.Stop()
	c.serve(channels, requests)
}

// handshake exchanges keys and lets the client log in, within the login grace.
func (s *Server) handshake(nc net.Conn, failed func(user string)) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	if err := nc.SetDeadline(time.Now().Add(s.limits.LoginGrace)); err != nil {
		return nil, nil, nil, err
	}
	sc, channels, requests, err := ssh.NewServerConn(nc, s.authConfig(failed))
	if err != nil {
		return nil, nil, nil, err
	}
	return sc, channels, requests, nc.SetDeadline(time.Time{})
}

// abandon closes a connection that is of no further use. Its close error says
// nothing: all that had to reach the client was acknowledged inside SSH.
func abandon(nc net.Conn) { _ = nc.Close() }

// serve handles channels until the connection ends, and waits for them.
func (c *conn) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ssh.DiscardRequests(requests) }) // forwarding, keep-alive: answered with no
	for nch := range channels {
		if err := c.channel(nch, &wg); err != nil {
			c.refuse("channel", err)
		}
	}
}

// channel accepts a session, if there is room, and rejects anything else.
func (c *conn) channel(nch ssh.NewChannel, wg *sync.WaitGroup) error {
	if kind := nch.ChannelType(); kind != "session" {
		return errors.Join(fmt.Errorf("%w: channel of type %s", ErrNotOffered, quote(kind)),
			nch.Reject(ssh.Prohibited, "only sessions are offered"))
	}
	if open := c.sessions.Load(); int(open) >= c.server.limits.Sessions {
		return errors.Join(fmt.Errorf("%w: %d sessions", ErrTooMany, open),
			nch.Reject(ssh.ResourceShortage, "too many sessions"))
	}
	ch, requests, err := nch.Accept()
	if err != nil {
		return err
	}
	c.sessions.Add(1)
	c.active()
	wg.Go(func() {
		defer c.sessions.Add(-1)
		c.session(ch, requests)
	})
	return nil
}

// session waits for the one thing this session is to do, does it, and stays
// until the client has closed the channel too: a channel that is not closed
// counts as open.
func (c *conn) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	var term *terminal
	for request := range requests {
		run, err := c.choose(request, &term)
		if err != nil {
			c.refuse("request", err)
		}
		// A reply, a status or a close that does not get out means that the
		// connection is gone, and then requests ends.
		_ = request.Reply(err == nil, nil)
		if err != nil || run == nil {
			continue
		}
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			ssh.DiscardRequests(requests)
		}()
		status := run(&activeChannel{ch, c})
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		_ = ch.Close()
		<-drained
		return
	}
	_ = ch.Close()
}

// choose finds what a session request asks to run; nil if it is only about the
// terminal.
func (c *conn) choose(r *ssh.Request, term **terminal) (run func(io.ReadWriteCloser) uint32, err error) {
	o := c.server.o
	var argument struct{ Text string }
	switch {
	case r.Type == "exec" || r.Type == "subsystem":
		if err := ssh.Unmarshal(r.Payload, &argument); err != nil {
			return nil, fmt.Errorf("%s request: %w", r.Type, err)
		}
	case r.Type == "pty-req" && o.CLI != nil:
		*term, err = parseTerminal(r.Payload)
		return nil, err
	case r.Type == "shell" && o.CLI != nil:
		t := *term
		return func(rw io.ReadWriteCloser) uint32 { return c.shell(rw, t) }, nil
	default: // x11-req, auth-agent-req@openssh.com, env, signal, …
		return nil, fmt.Errorf("%w: request %s", ErrNotOffered, quote(r.Type))
	}
	if r.Type == "subsystem" {
		if argument.Text == "sftp" && !o.NoSFTP {
			return c.sftp, nil
		}
		return nil, fmt.Errorf("%w: subsystem %s", ErrNotOffered, quote(argument.Text))
	}
	if _, err := parseSCP(argument.Text); !errors.Is(err, errNotSCP) {
		if !o.NoSCP {
			return func(rw io.ReadWriteCloser) uint32 { return c.scp(rw, argument.Text) }, nil
		}
	} else if o.CLI != nil {
		return func(rw io.ReadWriteCloser) uint32 { return c.execute(rw, argument.Text) }, nil
	}
	return nil, fmt.Errorf("%w: exec %s", ErrNotOffered, quote(argument.Text))
}

// handle takes one of the connection's handles; release gives it back.
func (c *conn) handle() (release func(), err error) {
	if n := c.handles.Add(1); int(n) > c.server.limits.Handles {
		c.handles.Add(-1)
		return nil, fmt.Errorf("%w: %d handles", ErrTooMany, n-1)
	}
	return sync.OnceFunc(func() { c.handles.Add(-1) }), nil
}

func (c *conn) refuse(what string, err error) {
	c.server.refused(Refusal{Login: c.login, What: what, Err: err})
}

// active starts the idle time anew.
func (c *conn) active() { c.idle.Reset(c.server.limits.Idle) }

// activeChannel keeps its connection from being idle while bytes flow.
type activeChannel struct {
	ssh.Channel
	c *conn
}

func (a *activeChannel) Read(p []byte) (int, error) {
	n, err := a.Channel.Read(p)
	if n > 0 {
		a.c.active()
	}
	return n, err
}

func (a *activeChannel) Write(p []byte) (int, error) {
	n, err := a.Channel.Write(p)
	if n > 0 {
		a.c.active()
	}
	return n, err
}
