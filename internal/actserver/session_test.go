package actserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

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
