package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"
	"acctpull/ledger"

	"golang.org/x/sys/unix"
)

// The fault tests run this test binary again as a child that pulls once and says
// on its standard output what was reported as stored. strace makes a call of the
// child fail, or kills it there.
const (
	childVariable = "ACCTPULL_PULL_CHILD"
	childOwner    = "child"
)

// childJob is what a child needs to know.
type childJob struct {
	Data   string
	Target Target
}

func childPull(job string) int {
	var j childJob
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		fmt.Println("E", err)
		return 2
	}
	ctx := context.Background()
	l, err := ledger.Open(ctx, filepath.Join(j.Data, "ledger.db"))
	if err != nil {
		fmt.Println("E", err)
		return 1
	}
	limits := patientLimits()
	limits.BatchFiles = 5
	// A write to the connection that fails can end in silence.
	limits.Handshake, limits.Open, limits.Idle = 5*time.Second, 5*time.Second, 5*time.Second
	o := Options{Data: j.Data, Ledger: l, Verify: verifyEnd, Owner: childOwner, Limits: limits,
		Hooks: Hooks{OnFile: func(f File) {
			if f.Outcome == Stored {
				// Not write(2): that call may be the one that lies.
				if _, err := unix.Writev(1, [][]byte{[]byte("S " + f.Name + "\n")}); err != nil {
					panic(err)
				}
			}
		}}}
	if _, err = Recover(ctx, o); err == nil {
		_, err = Device(ctx, o, j.Target)
	}
	if cerr := l.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		fmt.Println("E", err)
		return 1
	}
	return 0
}

// faultPlan is at which call of each thread a fault happens, and in what kind of
// run.
type faultPlan struct {
	when      int
	transport Transport
}

// TestCallsFailProof: calls of the system fail, or the process is killed at them. What
// was reported as stored is stored and whole, no failure is hidden behind an
// exit code of 0, and the next run makes everything good.
func TestCallsFailProof(t *testing.T) {
	strace := need.Tool(t, "strace")
	times := 1
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		times = 6
	}
	faults := []string{
		"fsync:error=EIO", "write:error=ENOSPC", "pwrite64:error=EIO", "openat:error=EMFILE", "renameat2:error=EIO",
		"unlinkat:error=EPERM", "close:error=EIO", "fsync:signal=SIGKILL", "renameat2:signal=SIGKILL", "pwrite64:signal=SIGKILL",
		"write:retval=5", "openat:signal=SIGKILL",
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, fault := range faults {
		var plans []faultPlan
		for range times {
			plans = append(plans, faultPlan{1 + rng.IntN(40), []Transport{SFTP, SCP}[rng.IntN(2)]})
		}
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			hit := 0
			for _, p := range plans {
				r := newRig(t, scpQuirks{})
				r.server.accept()
				if err := r.ledger.Close(); err != nil {
					t.Fatal(err)
				}
				want := make(map[string]string)
				for i := range 17 {
					content := strings.Repeat(fmt.Sprintf("line of %d\n", i), 1+i*30)
					r.put(actName(i), content, 1)
					want[actName(i)] = content + "END\n"
				}
				r.target.Transport = p.transport
				job, err := json.Marshal(childJob{Data: r.data, Target: r.target})
				if err != nil {
					t.Fatal(err)
				}
				where := fmt.Sprintf("seed %d, %s:when=%d by %s", seed, fault, p.when, p.transport)
				out, err := child(t, string(job), strace, "-f", "-qq", "-o", "/dev/null", "-e", fmt.Sprintf("inject=%s:when=%d", fault, p.when))
				if err != nil {
					hit++
				}
				reported := make(map[string]bool)
				for line := range strings.Lines(out) {
					if name, ok := strings.CutPrefix(strings.TrimSpace(line), "S "); ok {
						reported[name] = true
					}
				}
				if err == nil && len(reported) != len(want) {
					t.Fatalf("%s: exit code 0 and %d files", where, len(reported))
				}
				r.openLedger()
				got := r.stored()
				if err := r.ledger.Close(); err != nil {
					t.Fatal(err)
				}
				for name := range reported {
					if got[name] != want[name] {
						t.Fatalf("%s: %s was reported as stored and has %d bytes", where, name, len(got[name]))
					}
				}
				if out, err := child(t, string(job)); err != nil {
					t.Fatalf("%s, then: %v\n%s", where, err, out)
				}
				r.openLedger()
				checkOnce(t, r, want, where)
				for _, dir := range []string{"devices/router1/act-collect", "quarantine"} {
					left, err := os.ReadDir(filepath.Join(r.data, dir))
					if err == nil && len(left) > 0 {
						t.Fatalf("%s: left in %s: %v", where, dir, left)
					}
				}
				if err := r.ledger.Close(); err != nil {
					t.Fatal(err)
				}
				r.server.stop()
			}
			t.Logf("seed %d: %d of %d runs ended early", seed, hit, times)
		})
	}
}

// childCommand is a child that is not started yet.
func childCommand(job string, wrapper ...string) *exec.Cmd {
	args := append(wrapper, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childVariable+"="+job)
	return cmd
}

// child runs this binary as a child, under a wrapper if there is one.
func child(t *testing.T, job string, wrapper ...string) (string, error) {
	t.Helper()
	cmd := childCommand(job, wrapper...)
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	text := log.String()
	for _, crash := range []string{"panic: ", "fatal error: "} {
		// The runtime writes too, to wake its own poller, and stops at once if
		// that fails: as good as a kill.
		if strings.Contains(text, crash) && !strings.Contains(text, "netpollBreak write failed") {
			t.Fatalf("the child crashed: %s", text[:min(len(text), 4000)])
		}
	}
	return out.String(), err
}
