package pull

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	cuts := 6
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		cuts = 100
	}
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			disk := powercut.New(t, fsType)
			r := newRig(t, scpQuirks{})
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
			r.o.Limits.BatchFiles = 7
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 0))
			length := 300 * time.Millisecond
			midway := 0
			for n := range cuts {
				disk.Fresh()
				if err := os.Mkdir(r.data, 0o750); err != nil {
					t.Fatal(err)
				}
				r.openLedger()
				tr := []Transport{SFTP, SCP}[n%2]
				var mu sync.Mutex
				reported := make(map[string]File)
				r.o.Hooks.OnFile = func(f File) {
					mu.Lock()
					defer mu.Unlock()
					if f.Outcome == Stored {
						reported[f.Name] = f
					}
				}
				disk.Noise()
				cut := make(chan error, 1)
				time.AfterFunc(time.Duration(rng.Int64N(int64(length))), func() { cut <- disk.Cut() })
				began := time.Now()
				_, err := r.pull(tr)
				if err == nil {
					length = max(time.Since(began), 20*time.Millisecond)
				}
				if err := <-cut; err != nil {
					t.Fatal(err)
				}
				_ = r.ledger.Close() // it cannot write any more
				disk.Remount()
				// A cut before anything was synced leaves not even that.
				if err := os.MkdirAll(r.data, 0o750); err != nil {
					t.Fatal(err)
				}
				r.openLedger()
				r.o.Hooks.OnFile = nil
				got := r.stored() // every stored row has its file, or this fails
				for name, f := range reported {
					if got[name] != want[name] {
						t.Fatalf("seed %d, cut %d, %s: %s was reported as stored at %s and has %d bytes", seed, n, tr, name, f.Stored, len(got[name]))
					}
				}
				act := newArchive(r.data, "router1").sealed()
				if names, err := actNames(act); err == nil {
					for _, name := range names {
						if b, err := os.ReadFile(filepath.Join(act, name)); err != nil || string(b) != want[name] {
							t.Fatalf("seed %d, cut %d, %s: %s is in act/ with %d bytes, %v", seed, n, tr, name, len(b), err)
						}
					}
				}
				if len(reported) > 0 && len(reported) < len(want) {
					midway++
				}
				if _, err := Recover(context.Background(), r.o); err != nil {
					t.Fatalf("seed %d, cut %d, %s: %v", seed, n, tr, err)
				}
				if _, err := r.pull(tr); err != nil {
					t.Fatalf("seed %d, cut %d, %s: %v", seed, n, tr, err)
				}
				checkOnce(t, r, want, fmt.Sprintf("seed %d, cut %d, %s", seed, n, tr))
				if err := r.ledger.Close(); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("seed %d: %d cuts, %d of them between the first and the last file", seed, cuts, midway)
		})
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
