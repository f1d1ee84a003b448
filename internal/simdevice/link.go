package simdevice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"acctpull/internal/actserver"
)

// serve hands the connections of ln to the server with the right host key, or
// to a fault, until ctx ends.
func (d *Device) serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var serverErrs [len(d.servers)]error
	var feeds [len(d.servers)]*feed
	for i, server := range d.servers {
		feeds[i] = &feed{addr: ln.Addr(), links: make(chan net.Conn), done: make(chan struct{})}
		wg.Go(func() { serverErrs[i] = serveOne(ctx, server, feeds[i], cancel) })
	}
	var closeErr error
	wg.Go(func() {
		<-ctx.Done()
		closeErr = ln.Close()
	})
	acceptErr := d.accept(ctx, ln, feeds, &wg)
	cancel()
	d.cut() // there will be no new ones
	wg.Wait()
	if err := errors.Join(append(serverErrs[:], acceptErr, closeErr)...); err != nil {
		return fmt.Errorf("serve %q: %w", d.o.Name, err)
	}
	return nil
}

// serveOne runs one server. When it fails, the device fails.
func serveOne(ctx context.Context, server *actserver.Server, f *feed, cancel context.CancelFunc) error {
	err := server.Serve(ctx, f)
	if err != nil {
		cancel()
	}
	return err
}

// accept takes connections until ctx ends or the listener fails.
func (d *Device) accept(ctx context.Context, ln net.Listener, feeds [2]*feed, wg *sync.WaitGroup) error {
	for {
		nc, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				reset(nc)
			}
			return nil
		}
		if err != nil {
			return err
		}
		faults := d.faults.Load()
		if faults.Down {
			reset(nc)
			continue
		}
		l := d.newLink(nc)
		switch {
		case d.faults.Load().Down: // it came down just now, and cut does not know this link
			l.reset()
		case faults.Silent:
			wg.Go(l.ignore)
		case faults.ChangeHostKey:
			feeds[1].put(ctx, l)
		default:
			feeds[0].put(ctx, l)
		}
	}
}

// links are the open connections.
func (d *Device) links() []*link {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.live))
}

// cut resets every open connection.
func (d *Device) cut() {
	for _, l := range d.links() {
		l.reset()
	}
}

// reset closes a connection so that the peer sees a reset. What it returns
// does not matter: the connection is meant to break.
func reset(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = nc.Close()
}

// feed is a net.Listener that accepts what it is given.
type feed struct {
	addr  net.Addr
	links chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// put gives a connection to whoever accepts, or drops it when nobody will.
func (f *feed) put(ctx context.Context, l *link) {
	select {
	case f.links <- l:
	case <-f.done:
		l.reset()
	case <-ctx.Done():
		l.reset()
	}
}

// Accept implements net.Listener.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case nc := <-f.links:
		return nc, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr implements net.Listener.
func (f *feed) Addr() net.Addr { return f.addr }

// link is a connection that shows the device's faults to its peer.
type link struct {
	net.Conn
	d      *Device
	sent   int64 // the SSH library writes from one goroutine at a time
	once   sync.Once
	closed chan struct{}
	err    error // of the one Close
}

func (d *Device) newLink(nc net.Conn) *link {
	l := &link{Conn: nc, d: d, closed: make(chan struct{})}
	d.mu.Lock()
	d.live[l] = struct{}{}
	d.mu.Unlock()
	return l
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.once.Do(func() {
		l.err = l.Conn.Close()
		l.forget()
	})
	return l.err
}

func (l *link) reset() {
	l.once.Do(func() {
		reset(l.Conn)
		l.forget()
	})
}

func (l *link) forget() {
	close(l.closed)
	l.d.mu.Lock()
	delete(l.d.live, l)
	l.d.mu.Unlock()
}

// ignore reads until the peer gives up, and says nothing.
func (l *link) ignore() {
	_, _ = io.Copy(io.Discard, l.Conn) // ends with the connection, however that ends
	_ = l.Close()
}

// errCut is what the server sees when a fault ends its connection.
var errCut = errors.New("connection cut by a simulated fault")

// steps is the number of pieces a slow device sends in a second.
const steps = 20

// Write implements net.Conn, at the speed and up to the byte the faults allow.
func (l *link) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		faults := l.d.faults.Load()
		piece := p[written:]
		if faults.SlowBytesPerSecond > 0 {
			piece = piece[:min(int64(len(piece)), max(faults.SlowBytesPerSecond/steps, 1))]
		}
		drop := false
		if left := faults.DropAfter - l.sent; faults.DropAfter > 0 && int64(len(piece)) >= left {
			piece, drop = piece[:max(left, 0)], true
		}
		n, err := l.Conn.Write(piece)
		written += n
		l.sent += int64(n)
		switch {
		case err != nil:
			return written, err
		case drop:
			return written, errors.Join(errCut, l.Close())
		case faults.SlowBytesPerSecond > 0:
			if err := l.pause(n, faults.SlowBytesPerSecond); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// pause waits as long as n bytes take at that speed, or until the link closes.
func (l *link) pause(n int, perSecond int64) error {
	timer := time.NewTimer(time.Duration(n) * time.Second / time.Duration(perSecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-l.closed:
		return net.ErrClosed
	}
}
