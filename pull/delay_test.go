package pull

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// delayProxy stands between a client and the server at an address and holds every
// byte back for a time, in both directions, without a limit of the bandwidth: a
// long path with a round trip of twice the time. It returns its port.
func delayProxy(t testing.TB, address string, each time.Duration) (port int, bytes *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	bytes = new(atomic.Int64)
	wg.Go(func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", address)
			if err != nil {
				_ = here.Close()
				continue
			}
			wg.Go(func() { holdBack(there, here, each, bytes) })
			wg.Go(func() { holdBack(here, there, each, bytes) })
		}
	})
	return l.Addr().(*net.TCPAddr).Port, bytes
}

// held is a piece on its way; an empty one is the end.
type held struct {
	due  time.Time
	data []byte
}

// holdBack copies with a delay until either end is closed.
func holdBack(to, from net.Conn, each time.Duration, bytes *atomic.Int64) {
	pieces := make(chan held, 1<<16)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				_ = from.Close() // ends the loop below
				for range pieces {
				}
				return
			}
		}
	})
	for {
		b := make([]byte, 64<<10)
		n, err := from.Read(b)
		if n > 0 {
			bytes.Add(int64(n))
			pieces <- held{time.Now().Add(each), b[:n]}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	wg.Wait()
}
