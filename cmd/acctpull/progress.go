package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress draws one line that is written over, on a terminal only, and only
// for what takes longer than a second.
type progress struct {
	w     io.Writer // nil: draw nothing
	start time.Time

	mu    sync.Mutex
	last  time.Time
	drawn bool
}

func (a *app) progress() *progress {
	p := &progress{start: time.Now()}
	if terminal(a.stderr) && !a.json {
		p.w = a.stderr
	}
	return p
}

// set replaces the line, at most five times a second.
func (p *progress) set(format string, args ...any) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.start) < time.Second || now.Sub(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.drawn = now, true
	fmt.Fprintf(p.w, "\r\x1b[K%s", safe(fmt.Sprintf(format, args...)))
}

// done removes the line.
func (p *progress) done() {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// size prints a number of bytes for people.
func size(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n), -1
	for v >= unit && i < 4 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %cB", v, "kMGTP"[i])
}
