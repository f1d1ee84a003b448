package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"acctpull/pull"
)

// nodeEnv makes the test binary the program, with a clock that runs faster: its
// value is a nodePace as JSON.
const nodeEnv = "ACCTPULL_TEST_NODE"

// fastClock runs faster than the clock of this machine. Processes that have the
// same values have the same time.
type fastClock struct {
	Began time.Time `json:"began"` // by the clock of this machine
	At    time.Time `json:"at"`    // what the fast clock showed then
	Rate  int64     `json:"rate"`
}

// Now implements fleet.Clock.
func (c fastClock) Now() time.Time {
	return c.At.Add(time.Since(c.Began) * time.Duration(c.Rate))
}

// Until implements fleet.Clock.
func (c fastClock) Until(t time.Time) time.Duration {
	return t.Sub(c.Now()) / time.Duration(c.Rate)
}

// nodePace is the pace of a node under test. Limits are in real time: they wait
// for a network.
type nodePace struct {
	Clock  fastClock   `json:"clock"`
	Limits pull.Limits `json:"limits"`
	// How the nodes work together, in real time; zero for the real values.
	Lease time.Duration `json:"lease"`
}

// testNode is the program, at another pace.
func testNode(text string) int {
	var p nodePace
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	real := realPace()
	real.clock, real.limits = p.Clock, p.Limits
	if p.Lease > 0 {
		real.lease, real.renew, real.sync = p.Lease, p.Lease/6, p.Lease/20
	}
	a := &app{env: envMap(os.Environ()), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, pace: real}
	return a.run(ctx, os.Args[1:])
}

// node is a process under test.
type node struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid after done
	out  bytes.Buffer
	log  lastLines
}

// startNode starts the program at a pace.
func startNode(t testing.TB, p nodePace, args ...string) *node {
	t.Helper()
	text, err := json.Marshal(p)
	check(t, err)
	n := &node{cmd: exec.Command(os.Args[0], args...), done: make(chan struct{})}
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	n.cmd.Stdout, n.cmd.Stderr = &n.out, &n.log
	check(t, n.cmd.Start())
	go func() {
		n.err = n.cmd.Wait()
		close(n.done)
	}()
	t.Cleanup(n.kill)
	return n
}

// kill ends it as a power cut would, and waits.
func (n *node) kill() {
	_ = n.cmd.Process.Kill() // it may have ended
	<-n.done
}

// end asks it to end, and returns how it did.
func (n *node) end(t testing.TB) {
	t.Helper()
	check(t, n.cmd.Process.Signal(syscall.SIGTERM))
	<-n.done
	if n.err != nil {
		t.Errorf("a node that was asked to end: %v\n%s", n.err, n.log.String())
	}
}

// alive fails the test if the process has ended by itself.
func (n *node) alive(t testing.TB) {
	t.Helper()
	select {
	case <-n.done:
		t.Fatalf("a node ended by itself: %v\n%s", n.err, n.log.String())
	default:
	}
}

// lastLines keeps the end of a log.
type lastLines struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (l *lastLines) Write(p []byte) (int, error) {
	const most = 1 << 20
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if n := len(l.text) - most; n > 0 {
		l.text = append(l.text[:0], l.text[n:]...)
	}
	return len(p), nil
}

// String is the end of it.
func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
