package expiry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/strace"
	"acctpull/ledger"
)

// The crash test runs this test binary again as a process that sweeps a directory.
const childVariable = "ACCTPULL_EXPIRY_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := childSweep(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashNow is the time of the sweeps that are killed: half of what is there has
// expired.
var crashNow = at("2026-02-02T00:00:00Z")

// crashPolicy keeps files and days so long that half of them have expired.
var crashPolicy = Policy{FileIDs: []FileID{{ID: 1, Location: Archive, Retention: 30 * days}, {ID: 2, Location: Dataset, Retention: 30 * days}}, ClosesAfter: time.Hour}

func childSweep(dir string) (err error) {
	l, err := ledger.Open(context.Background(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	_, err = New(Options{Policy: crashPolicy, Ledger: l, Data: depot.NewDir(dir), Dataset: "dataset", Quarantine: "quarantine",
		ClockFile: filepath.Join(dir, "clock.json"), ConfirmClock: true, Force: true}).Sweep(context.Background(), crashNow)
	return err
}

func child(dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestKillAtEveryCall: a sweep is killed at every system call that changes
// something. Nothing is gone that the ledger does not know to have expired, and
// the next sweep finishes the work.
func TestKillAtEveryCall(t *testing.T) {
	proof := os.Getenv("ACCTPULL_PROOF") == "1"
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	template := filepath.Join(t.TempDir(), "template")
	if err := os.Mkdir(template, 0o750); err != nil {
		t.Fatal(err)
	}
	made := newRig(t, template, "")
	made.fill(1, 4)
	made.ok(made.l.Close())
	fresh := func() string {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		made.ok(err)
		made.ok(os.CopyFS(dir, os.DirFS(template)))
		return dir
	}
	look := func(dir string, done bool) {
		t.Helper()
		r := &rig{t: t, dir: dir, came: made.came}
		var err error
		r.l, err = ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
		made.ok(err)
		r.verify(crashNow, &crashPolicy, nil, done)
		if left := must(r.l.TakeExpiring(t.Context(), crashNow, crashNow.Add(time.Hour), 100))(t); done && len(left) != 0 {
			t.Fatalf("left behind: %+v", left)
		}
		made.ok(r.l.Close())
	}
	var kinds []string
	for _, kind := range strace.Kinds(t, child(fresh())) {
		if strace.Changes(kind) {
			kinds = append(kinds, kind)
		}
	}
	kills := 0
	killAt := func(kind string, n int) (hit bool) {
		dir := fresh()
		defer os.RemoveAll(dir)
		hit, err := strace.Run(t, strace.Fault{Call: kind, Action: strace.Kill, N: n}, child(dir))
		if !hit && err != nil {
			t.Fatalf("%s %d: %v", kind, n, err)
		}
		if !hit {
			return false
		}
		kills++
		look(dir, false)
		if err := child(dir).Run(); err != nil {
			t.Fatalf("%s %d, then: %v", kind, n, err)
		}
		look(dir, true)
		return true
	}
	for _, kind := range kinds {
		if !proof {
			killAt(kind, 1+rng.IntN(6))
			continue
		}
		for n := 1; killAt(kind, n); n++ {
			if n >= 16 { // further calls of a kind do what earlier ones did
				n += rng.IntN(12)
			}
		}
	}
	t.Logf("%d kills at calls of %v", kills, kinds)
	if kills == 0 {
		t.Error("no kill hit")
	}
}
