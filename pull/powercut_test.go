package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/internal/powercut"
	"acctpull/ledger"
)

// Real power cuts in the middle of runs: what was reported as stored is there,
// whole, and in the ledger; the ledger names nothing that is not there; nothing
// in act/ is empty or torn; after recovery and one more run every file is stored
// exactly once.
func TestPowerCuts(t *testing.T) {
	cuts := 3
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		cuts = 100
	}
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			disk := powercut.New(t, fsType)
			r := newRig(t, scpQuirks{})
			r.server.accept()
			want := make(map[string]string)
			for i := range 60 {
				content := strings.Repeat(fmt.Sprintf("line of %d\n", i), 1+i*20)
				r.put(actName(i), content, 1)
				want[actName(i)] = content + "END\n"
			}
			if err := r.ledger.Close(); err != nil {
				t.Fatal(err)
			}
			r.data = filepath.Join(disk.Dir, "data")
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 0))
			length, midway := 200*time.Millisecond, 0
			for n := range cuts {
				disk.Fresh()
				if err := os.Mkdir(r.data, 0o750); err != nil {
					t.Fatal(err)
				}
				r.target.Transport = []Transport{SFTP, SCP}[n%2]
				where := fmt.Sprintf("seed %d, cut %d, %s", seed, n, r.target.Transport)
				reported, took := pullUntilCut(t, r, disk, time.Duration(rng.Int64N(int64(length))))
				if len(reported) == len(want) {
					length = max(took, 20*time.Millisecond)
				} else if len(reported) > 0 {
					midway++
				}
				disk.Remount()
				// A cut before anything was synced leaves not even that.
				if err := os.MkdirAll(r.data, 0o750); err != nil {
					t.Fatal(err)
				}
				checkAfterCut(t, r, want, reported, where)
			}
			t.Logf("seed %d: %d cuts, %d of them between the first and the last file", seed, cuts, midway)
		})
	}
}

// pullUntilCut runs a pull in a child, freezes it after a while, and cuts the
// power. It returns what the child reported as stored, and how long it ran.
func pullUntilCut(t *testing.T, r *rig, disk *powercut.Disk, after time.Duration) (reported []string, took time.Duration) {
	t.Helper()
	job, err := json.Marshal(childJob{Data: r.data, Target: r.target})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := childCommand(string(job))
	cmd.Stdout = &out
	disk.Noise()
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cut := make(chan error, 1)
	time.AfterFunc(after, func() {
		cut <- errors.Join(powercut.Freeze(cmd.Process), disk.Cut(), cmd.Process.Kill())
	})
	_ = cmd.Wait() // killed, or finished before
	took = time.Since(began)
	if err := <-cut; err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if name, ok := strings.CutPrefix(line, "S "); ok && strings.HasSuffix(name, "\n") {
			reported = append(reported, strings.TrimSpace(name))
		}
	}
	return reported, took
}

// checkAfterCut checks the promises, recovers, and pulls once more.
func checkAfterCut(t *testing.T, r *rig, want map[string]string, reported []string, where string) {
	t.Helper()
	r.openLedger()
	got := r.stored() // every stored row has its file, or this fails
	for _, name := range reported {
		if got[name] != want[name] {
			t.Fatalf("%s: %s was reported as stored and has %d bytes", where, name, len(got[name]))
		}
	}
	act := dirsOf(r.data, "router1").sealed
	if names, err := actNames(act); err == nil {
		for _, name := range names {
			if b, err := os.ReadFile(filepath.Join(act, name)); err != nil || string(b) != want[name] {
				t.Fatalf("%s: %s is in act/ with %d bytes, %v", where, name, len(b), err)
			}
		}
	}
	r.o.Owner = childOwner
	if _, err := Recover(context.Background(), r.o); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if _, err := r.pull(r.target.Transport); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	checkOnce(t, r, want, where)
	if err := r.ledger.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkOnce fails unless the ledger would export every content exactly once.
func checkOnce(t *testing.T, r *rig, want map[string]string, where string) {
	t.Helper()
	seen := make(map[string]int)
	for row, err := range r.ledger.Files(context.Background(), "") {
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if row.State == ledger.Stored && row.AliasOf == "" {
			seen[row.Name]++
			b, err := os.ReadFile(filepath.Join(r.data, filepath.FromSlash(row.Stored)))
			if err != nil || string(b) != want[row.Name] {
				t.Fatalf("%s: %s has %d bytes, %v", where, row.Stored, len(b), err)
			}
		}
	}
	for name := range want {
		if seen[name] != 1 {
			t.Fatalf("%s: %s is stored %d times", where, name, seen[name])
		}
	}
	if len(seen) != len(want) {
		t.Fatalf("%s: %d files, want %d", where, len(seen), len(want))
	}
}
