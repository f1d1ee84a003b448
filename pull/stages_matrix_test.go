package pull

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stalling is the server's side of a connection that does something from its
// n-th write on. A server writes once for every packet, so the numbers are the
// stages of a connection: version, key exchange, login, session, listing,
// content.
type stalling struct {
	net.Conn
	writes  atomic.Int64
	from    int64
	stalled func(net.Conn, []byte) (int, error)
}

func (s *stalling) Write(p []byte) (int, error) {
	if s.writes.Add(1) > s.from {
		return s.stalled(s.Conn, p)
	}
	return s.Conn.Write(p)
}

// dripping sends a byte now and then.
func dripping(c net.Conn, p []byte) (int, error) {
	for i := range p {
		if _, err := c.Write(p[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(50 * time.Millisecond) // what the test is about: the limits decide, not this
	}
	return len(p), nil
}

// H1, H2, H3: the device goes silent, drips, or is cut off at every single packet
// it sends. Every time the run ends by one of the limits, names it in one line,
// and keeps nothing that is not whole; a run with a device that works then gets
// the rest.
func TestHostileStages(t *testing.T) {
	each := 7
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		each = 1
	}
	for _, tr := range []Transport{SFTP, SCP} {
		for what, c := range map[string]struct {
			stalled func(net.Conn, []byte) (int, error)
			want    error
		}{
			"silent": {func(_ net.Conn, p []byte) (int, error) { return len(p), nil }, ErrTimeout},
			"drips":  {dripping, ErrTimeout},
			"cut":    {func(c net.Conn, _ []byte) (int, error) { return 0, errors.Join(net.ErrClosed, c.Close()) }, ErrCut},
		} {
			t.Run(fmt.Sprint(tr, " ", what), func(t *testing.T) {
				t.Parallel()
				stages := int64(countWrites(t, tr))
				var wg sync.WaitGroup
				places := make(chan bool, 12)
				for n := int64(0); n < stages; n += int64(each) {
					places <- true
					wg.Go(func() {
						t.Run(fmt.Sprint(n), func(t *testing.T) { stallAt(t, tr, n, c.stalled, c.want) })
						<-places
					})
				}
				wg.Wait()
				t.Logf("%d stages", stages)
			})
		}
	}
}

// countWrites counts the packets a device sends before the last file is complete.
func countWrites(t *testing.T, tr Transport) int {
	r := stageRig(t)
	s := &stalling{from: 1 << 40}
	r.server.wrap = func(_ int, c net.Conn) net.Conn { s.Conn = c; return s }
	var last int64
	r.o.Hooks.OnProgress = func(Progress) { last = s.writes.Load() }
	if res, err := r.pull(tr); err != nil || res.Count(Stored) != 2 {
		t.Fatalf("%s %v", brief(res), err)
	}
	return int(last)
}

func stageRig(t *testing.T) *rig {
	r := newRig(t, scpQuirks{})
	r.put(actName(1), strings.Repeat("x", 100_000)+"\n", 1)
	r.put(actName(2), "two\n", 2)
	return r
}

func stallAt(t *testing.T, tr Transport, n int64, stalled func(net.Conn, []byte) (int, error), want error) {
	r := stageRig(t)
	r.o.Limits = quickLimits()
	r.server.wrap = func(k int, c net.Conn) net.Conn {
		if k > 0 {
			return c
		}
		return &stalling{Conn: c, from: n, stalled: stalled}
	}
	res, err := r.pull(tr)
	if res.Count(Stored) == 2 {
		return // what came after the last file does not matter
	}
	oneLineError(t, err)
	// A device that hangs up over a password is not asked again.
	var auth *AuthError
	if !errors.Is(err, want) && !(want == ErrCut && errors.As(err, &auth)) {
		t.Errorf("%v", err)
	}
	if len(r.stored()) != res.Count(Stored) {
		t.Errorf("%d files in the ledger: %s", len(r.stored()), brief(res))
	}
	if left := tree(t, filepath.Join(r.data, "devices/router1/act-collect")); len(left) > 1 {
		t.Errorf("left %q", left)
	}
	r.o.Limits = patientLimits()
	if res, err := r.pull(tr); err != nil || len(r.stored()) != 2 {
		t.Errorf("then: %s %v", brief(res), err)
	}
}
