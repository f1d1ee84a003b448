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

// serve hands the connections of ln to the server that the faults want, or to
// a fault, until ctx ends. While nobody connects it is one sleeping goroutine.
func (d *Device) serve(ctx context.Context, ln net.Listener) error {
	closeOnce := sync.OnceValue(ln.Close)
	stop := context.AfterFunc(ctx, func() { _ = closeOnce() }) // the result is read below
	defer stop()
	var serving sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	retried := func(err error) {
		if d.o.Hooks.OnRefused != nil {
			d.o.Hooks.OnRefused(actserver.Refusal{What: "connection", Err: err})
		}
	}
	err := actserver.Accept(ctx, ln, retried, func(nc net.Conn) {
		if d.Faults().Down || d.booting() {
			reset(nc)
			return
		}
		l := d.newLink(nc)
		if d.Faults().Down { // it came down just now, and cut does not know this link
			l.reset()
			return
		}
		serving.Go(func() {
			if err := d.talk(ctx, l); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	})
	d.cut() // there will be no new ones
	serving.Wait()
	if err := errors.Join(append(errs, err, closeOnce())...); err != nil {
		return fmt.Errorf("serve %q: %w", d.o.Name, err)
	}
	return nil
}

// talk takes one connection to its end. Its error is one of the device, not of
// the client.
func (d *Device) talk(ctx context.Context, l *link) error {
	stop := context.AfterFunc(ctx, l.reset)
	defer stop()
	f := d.faults.Load()
	switch {
	case f.Silent:
		l.ignore()
		return nil
	case f.EndlessBanner:
		l.babble()
		return nil
	}
	s, err := d.server(d.variant(f))
	if err != nil {
		l.reset()
		return err
	}
	if f.Latency > 0 {
		s.ServeConn(ctx, newDelayed(l, min(f.Latency, MaxLatency)))
		return nil
	}
	s.ServeConn(ctx, l)
	return nil
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
	defer d.mu.Unlock()
	if d.live == nil {
		d.live = make(map[*link]struct{}, 1)
	}
	d.live[l] = struct{}{}
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
	defer l.d.mu.Unlock()
	delete(l.d.live, l)
}

// ignore reads until the peer gives up, and says nothing.
func (l *link) ignore() {
	_, _ = io.Copy(io.Discard, l.Conn) // ends with the connection, however that ends
	_ = l.Close()
}

// babble sends lines until the peer gives up.
func (l *link) babble() {
	line := []byte("This system is for authorized use only. All access is monitored.\r\n")
	for {
		if _, err := l.Write(line); err != nil {
			break
		}
	}
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
			if err := l.pause(time.Duration(n) * time.Second / time.Duration(faults.SlowBytesPerSecond)); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// pause waits that long, or until the link closes.
func (l *link) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-l.closed:
		return net.ErrClosed
	}
}

// delayed is a link over a long cable: what is written arrives later, and any
// amount can be under way, up to the pieces that its queue takes.
type delayed struct {
	*link
	after time.Duration
	queue chan parcel
	done  chan struct{} // the goroutine that sends has ended
	err   error         // valid after done
}

// parcel is a piece of data on its way.
type parcel struct {
	due  time.Time
	data []byte
}

// delayedPieces is how many pieces can be under way. The SSH library writes a
// packet of at most 32 KiB in two pieces.
const delayedPieces = 512

func newDelayed(l *link, after time.Duration) *delayed {
	d := &delayed{link: l, after: after, queue: make(chan parcel, delayedPieces), done: make(chan struct{})}
	go d.send()
	return d
}

// send delivers what is written until the link closes.
func (d *delayed) send() {
	defer close(d.done)
	for {
		select {
		case p := <-d.queue:
			if d.err = d.pause(time.Until(p.due)); d.err == nil {
				_, d.err = d.link.Write(p.data)
			}
			if d.err != nil {
				return
			}
		case <-d.closed:
			d.err = net.ErrClosed
			return
		}
	}
}

// Write implements net.Conn.
func (d *delayed) Write(p []byte) (int, error) {
	select {
	case <-d.done:
		return 0, d.err
	default:
	}
	select {
	case d.queue <- parcel{time.Now().Add(d.after), slices.Clone(p)}:
		return len(p), nil
	case <-d.done:
		return 0, d.err
	}
}

// Close implements net.Conn. What is still under way is lost.
func (d *delayed) Close() error {
	err := d.link.Close()
	<-d.done
	return err
}
