package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/internal/strace"
	"acctpull/ledger"
)

// childSome does two rounds of work and closes the ledger.
func childSome(path string) int {
	ctx := context.Background()
	l, err := ledger.Open(ctx, path)
	if err != nil {
		fmt.Println("E open:", err)
		return 1
	}
	n := 0
	for _, e := range l.Files(ctx, "r1") {
		err = errors.Join(err, e)
		n++
	}
	for range 2 {
		if err == nil {
			err = workOnce(ctx, l, n)
			n += 20
		}
	}
	if err = errors.Join(err, l.Close()); err != nil {
		fmt.Println("E", err)
		return 1
	}
	return 0
}

// ledgerFault is a kind of call of a ledger, and what happens to it.
type ledgerFault struct {
	call, action string
	on           bool
}

// ledgerFaults are all: SIGKILL at every kind of call that changes something,
// every error, and a write that lies.
func ledgerFaults(t *testing.T) []ledgerFault {
	t.Helper()
	var all []ledgerFault
	for _, kind := range strace.Kinds(t, child("some", filepath.Join(t.TempDir(), "ledger.db"))) {
		if !strace.Changes(kind) {
			continue
		}
		all = append(all, ledgerFault{call: kind, action: strace.Kill})
		for _, errno := range map[string][]string{
			"fsync": {"EIO"}, "fdatasync": {"EIO"}, "write": {"ENOSPC"}, "pwrite64": {"EIO", "ENOSPC"}, "open": {"EMFILE"}, "openat": {"EMFILE"},
			"ftruncate": {"EIO"}, "unlink": {"EPERM"}, "unlinkat": {"EPERM"}, "mkdirat": {"ENOSPC"}, "renameat": {"EIO"}, "fchown": {"EPERM"},
		}[kind] {
			all = append(all, ledgerFault{kind, strace.Error(errno), false}, ledgerFault{kind, strace.Error(errno), true})
		}
	}
	return append(all, ledgerFault{call: "close", action: strace.Error("EIO")}, ledgerFault{call: "pread64", action: strace.Error("EIO")},
		ledgerFault{call: "pwrite64", action: strace.Lie})
}

// TestKillAndFailAtEveryCall: the process is killed, or a call fails, at every
// system call of a ledger. It is whole afterwards, everything that was reported
// is in it, no failure is called a success, and the work goes on.
func TestKillAndFailAtEveryCall(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	faults := ledgerFaults(t)
	if !proof() {
		rng.Shuffle(len(faults), func(i, k int) { faults[i], faults[k] = faults[k], faults[i] })
		faults = faults[:8]
	}
	queue := make(chan ledgerFault)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for f := range queue {
				t.Run(strings.Join([]string{f.call, f.action, fmt.Sprint(f.on)}, " "), func(t *testing.T) {
					n, hits := 1, 0
					if !proof() {
						n = 1 + int(time.Now().UnixNano()%8)
					}
					for failAt(t, strace.Fault{Call: f.call, Action: f.action, N: n, On: f.on}) && !t.Failed() {
						hits++
						// From then on: every third call says as much.
						if n++; f.on {
							n += 2
						}
						if !proof() {
							break
						}
					}
					t.Logf("%d faults", hits)
				})
			}
		})
	}
	for _, f := range faults {
		queue <- f
	}
	close(queue)
	wg.Wait()
}

// failAt runs a child with a fault on a ledger that has rows, and looks what
// became of it. It reports whether the fault happened.
func failAt(t *testing.T, f strace.Fault) bool {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	ok(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ledger.db")
	said := newClaimed()
	run := func(f *strace.Fault) (hit bool, failure string, err error) {
		var out bytes.Buffer
		cmd := child("some", path)
		cmd.Stdout, cmd.Stderr = &out, &out
		if f == nil {
			err = cmd.Run()
		} else {
			hit, err = strace.Run(t, *f, cmd)
		}
		text := out.String()
		if strings.Contains(text, "panic: ") && !strings.Contains(text, "invalid return from write") {
			t.Fatalf("%v: crashed:\n%s", f, text)
		}
		_, failure, rerr := said.read(strings.NewReader(lines(text)))
		ok(t, rerr)
		return hit, failure, err
	}
	// Half of the faults meet a ledger that is new, the others one with rows.
	if f.N%2 == 0 {
		if _, failure, err := run(nil); err != nil {
			t.Fatalf("the run before: %v %s", err, failure)
		}
	}
	hit, failure, err := run(&f)
	if err == nil && failure != "" {
		t.Fatalf("%s: exit code 0 with %s", f, failure)
	}
	if f.Action == strace.Lie && refusedByName(t, path) {
		return hit
	}
	said.verify(t, path)
	if _, failure, err := run(nil); err != nil && !t.Failed() {
		t.Fatalf("%s, then: %v %s", f, err, failure)
	}
	said.verify(t, path)
	return hit
}

// lines keeps the lines of the protocol of a child, of which the runtime or a
// failing write may have cut one.
func lines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(line) > 2 && line[1] == ' ' && strings.Contains("DCSPFE", line[:1]) && (line[0] != 'C' && line[0] != 'P' || len(f) == 3) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// refusedByName reports whether a ledger is refused as damaged, which is what a
// disk that lied must lead to if it matters.
func refusedByName(t *testing.T, path string) bool {
	t.Helper()
	l, err := ledger.Open(t.Context(), path)
	if err == nil {
		err = l.Check(t.Context())
		_ = l.Close() // only read
	}
	var e *ledger.Error
	if err != nil && (!errors.As(err, &e) || !strings.Contains(err.Error(), path)) {
		t.Errorf("refused without a name: %v", err)
	}
	return err != nil
}
