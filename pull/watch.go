package pull

import (
	"fmt"
	"sync"
	"time"
)

// watch decides whether a peer that owes us bytes is still worth waiting for.
// It only counts time in which somebody waits for the peer: our own disk, ledger
// and verification never end a connection. It holds no clock: callers say what
// time it is.
type watch struct {
	idle, window time.Duration
	minRate      int64

	mu      sync.Mutex
	waiting int       // goroutines that wait for the peer now
	last    time.Time // the last byte, or the start of the waiting
	checked time.Time // the last check, or the start of the waiting
	waited  time.Duration
	bytes   int64 // bytes since waited was 0
}

func newWatch(l Limits) *watch {
	return &watch{idle: l.Idle, window: l.RateWindow, minRate: l.MinRate}
}

// enter says that one more goroutine waits for the peer.
func (w *watch) enter(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == 0 {
		w.last, w.checked = now, now
	}
	w.waiting++
}

// leave ends one enter.
func (w *watch) leave(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting--; w.waiting == 0 {
		w.waited += now.Sub(w.checked)
	}
}

// got says that bytes arrived.
func (w *watch) got(n int, now time.Time) {
	if n <= 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes += int64(n)
	w.last = now
}

// restart begins a new window of the rate: what a peer needs to start a command
// says nothing about the next one.
func (w *watch) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes, w.waited = 0, 0
}

// check returns an error if the peer has been silent or slow for too long.
func (w *watch) check(now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == 0 {
		return nil
	}
	w.waited += now.Sub(w.checked)
	w.checked = now
	if now.Sub(w.last) >= w.idle {
		return fmt.Errorf("%w: no byte for %v", ErrTimeout, w.idle)
	}
	if w.waited < w.window {
		return nil
	}
	bytes, waited := w.bytes, w.waited
	w.bytes, w.waited = 0, 0
	if float64(bytes) < float64(w.minRate)*waited.Seconds() {
		return fmt.Errorf("%w: %d bytes in %v, at least %d a second are expected", ErrTimeout, bytes, waited.Round(time.Millisecond), w.minRate)
	}
	return nil
}

// interval is how often to check.
func (w *watch) interval() time.Duration {
	return min(max(min(w.idle, w.window)/8, 5*time.Millisecond), time.Second)
}
