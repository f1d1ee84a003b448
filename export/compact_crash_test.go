package export

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
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

// compactEnv makes the test binary a child that compacts the dataset below a
// directory.
const compactEnv = "ACCTPULL_COMPACT_CRASH"

// outputsFile has the outputs that the ledger would have.
const outputsFile = "outputs.json"

// compactChild is what the child does.
func compactChild(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, outputsFile))
	if err != nil {
		return err
	}
	var outputs []ledger.Output
	if err := json.Unmarshal(b, &outputs); err != nil {
		return err
	}
	known := map[string]ledger.Output{}
	for _, o := range outputs {
		known[o.Path] = o
	}
	dataset := filepath.Join(dir, "dataset")
	res, err := Compact(context.Background(), CompactOptions{
		Dataset: depot.NewDir(dataset), Staging: filepath.Join(dataset, ".compact"), Now: compactTime, Version: "test",
		Finished: func(p string) (ledger.Output, bool) { o, ok := known[p]; return o, ok },
	})
	for _, d := range res.Days {
		err = errors.Join(err, d.Err)
	}
	return err
}

// A compaction that is killed at any system call that changes something leaves
// the rows as they are, in the old files or in the new one, and the next one
// finishes the work and leaves nothing behind.
func TestCompactKilledAtEveryCall(t *testing.T) {
	m := newMemExport(t)
	var outputs []ledger.Output
	for i := range 4 {
		m.batch = ledger.Batch{}
		m.add("r1", string(rune('a'+i)), oddSteps(t, 60)...)
		for _, o := range m.run(t).Outputs {
			o.Batch = m.batch.ID
			outputs = append(outputs, o)
		}
	}
	dir := filepath.Dir(m.o.Dataset)
	text, err := json.Marshal(outputs)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, outputsFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	tab := table(t, "service-ingress-octets")
	want := multiset(t, m.o.Dataset, tab)
	child := func(dir string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), compactEnv+"="+dir, "GOMAXPROCS=1", "GOGC=off")
		return cmd
	}
	kill := func(t *testing.T, f strace.Fault) bool {
		dir := cloneDir(t, dir)
		hit, err := strace.Run(t, f, child(dir))
		if hit && !strace.Killed(err) || !hit && err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		dataset := filepath.Join(dir, "dataset")
		if n := len(dataFiles(t, dataset)); n != len(outputs) && n != 1 {
			t.Errorf("%v: %d files", f, n)
		}
		if got := multiset(t, dataset, tab); !maps.Equal(got, want) {
			t.Errorf("%v: %d different rows, want %d", f, len(got), len(want))
		}
		if err := compactChild(dir); err != nil {
			t.Fatalf("again after %v: %v", f, err)
		}
		if got := multiset(t, dataset, tab); !maps.Equal(got, want) || len(dataFiles(t, dataset)) != 1 {
			t.Errorf("again after %v: %d different rows, want %d", f, len(got), len(want))
		}
		if left, err := os.ReadDir(filepath.Join(dataset, ".compact")); err != nil || len(left) > 1 {
			t.Errorf("again after %v: left %v %v", f, left, err)
		}
		return hit && !t.Failed()
	}
	var kinds []string
	for _, kind := range strace.Kinds(t, child(cloneDir(t, dir))) {
		if strace.Changes(kind) {
			kinds = append(kinds, kind)
		}
	}
	most := proofScale(1, 1000)
	if most == 1 {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		rng.Shuffle(len(kinds), func(i, k int) { kinds[i], kinds[k] = kinds[k], kinds[i] })
		kinds = kinds[:min(4, len(kinds))]
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			for n := 1; n <= most && kill(t, strace.Fault{Call: kind, N: n, Action: strace.Kill}); n++ {
			}
		})
	}
}
