package policy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/record"
)

// Environment of a test binary that is to be a collector and be killed.
const (
	childFlash = "ACCTPULL_TEST_FLASH"
	childTime  = "ACCTPULL_TEST_TIME"
)

func TestMain(m *testing.M) {
	if flash := os.Getenv(childFlash); flash != "" {
		if err := collectForever(flash, os.Getenv(childTime)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// killSet has two policies with a few hundred objects each.
func killSet(flash string) (*Set, error) {
	c := Config{
		Source:  SourceConfig{Kind: SourceSynthetic, Seed: 5, Idle: 30},
		FileIDs: []FileID{{ID: 11, Location: flash, Rollover: 5 * time.Minute}, {ID: 12, Location: flash, Rollover: 7 * time.Minute}},
		Policies: []AccountingPolicy{
			{ID: 10, Record: "complete-service-ingress-egress", To: 11, Default: true},
			{ID: 20, Record: "network-egress-octets", To: 12, Default: true},
		},
	}
	for i := range 200 {
		c.Objects = append(c.Objects,
			Object{Type: Access, ID: fmt.Sprintf("1/1/1:%d", i), Service: "100", CollectStats: true},
			Object{Type: Network, ID: fmt.Sprintf("1/2/%d", i), CollectStats: true, Queues: 2})
	}
	return New(c)
}

// collectForever collects both policies as fast as it can, a minute of virtual
// time each, and claims every interval on standard output after Collect has
// returned.
func collectForever(flash, begin string) error {
	set, err := killSet(flash)
	if err != nil {
		return err
	}
	src, err := NewSource(set)
	if err != nil {
		return err
	}
	c, err := NewCollector(Options{Set: set, Source: src})
	if err != nil {
		return err
	}
	now, err := time.Parse(time.RFC3339, begin)
	if err != nil {
		return err
	}
	if _, err := c.Recover(now); err != nil {
		return err
	}
	errs := make(chan error)
	for _, policy := range []int{10, 20} {
		go func() {
			for now := now; ; now = now.Add(time.Minute) {
				iv, err := c.Collect(context.Background(), policy, now)
				if err != nil {
					errs <- err
					return
				}
				if _, err := fmt.Printf("%d %d %d\n", policy, now.Unix(), iv.Records); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

// claim is an interval of a policy.
type claim struct {
	policy int
	end    int64 // unix
}

// TestCollectorKill kills a collector with SIGKILL at a random moment, again and
// again, starts it anew, and then looks at the files: every interval that
// Collect has returned is there, whole, once; nothing else is there but whole
// intervals; every file in act/ reads to a clean end.
func TestCollectorKill(t *testing.T) {
	kills := 10
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		kills = 300
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	flash := t.TempDir()
	set, err := killSet(flash)
	if err != nil {
		t.Fatal(err)
	}
	world := &killed{t: t, set: set, claims: map[claim]int{}, found: map[claim]bool{}, files: map[string]int64{}}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range kills {
		// Every run has a virtual month of its own.
		// Every other one is killed after its first claim, however slow the
		// machine is; the others perhaps while they recover.
		world.run(flash, begin.AddDate(0, i, 0), i%2 == 0, time.Duration(rng.IntN(150))*time.Millisecond)
		if rng.IntN(2) == 0 || i == kills-1 {
			c, err := NewCollector(Options{Set: set, Source: &Synthetic{}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Recover(begin.AddDate(0, i, 0)); err != nil {
				t.Fatalf("recover after kill %d: %v", i, err)
			}
			world.check()
		}
	}
	if len(world.claims) < kills/2 {
		t.Errorf("%d kills and only %d claimed intervals: nothing was proved", kills, len(world.claims))
	}
	t.Logf("%d kills, %d intervals claimed, %d found in %d files", kills, len(world.claims), len(world.found), len(world.files))
}

// killed is what the parent knows.
type killed struct {
	t      *testing.T
	set    *Set
	claims map[claim]int // records
	found  map[claim]bool
	files  map[string]int64 // sizes of the files in act/ that were checked
}

// run starts a collector, kills it after a while, which may begin with its first
// claim, and takes its claims.
func (k *killed) run(flash string, begin time.Time, claimFirst bool, life time.Duration) {
	k.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFlash+"="+flash, childTime+"="+begin.Format(time.RFC3339))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	claimed := make(chan struct{})
	first := sync.OnceFunc(func() { close(claimed) })
	var reading sync.WaitGroup
	reading.Go(func() {
		defer first() // also if there never is one
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return // also of a line that was cut off: that is no claim
			}
			var c claim
			var n int
			if _, err := fmt.Sscan(line, &c.policy, &c.end, &n); err != nil {
				k.t.Errorf("claim %q: %v", line, err)
			}
			k.claims[c] = n
			first()
		}
	})
	if claimFirst {
		<-claimed
	}
	timer := time.AfterFunc(life, func() { _ = cmd.Process.Kill() })
	reading.Wait()
	timer.Stop()
	_ = cmd.Wait() // "signal: killed"
	if stderr.Len() > 0 {
		k.t.Fatalf("the collector says %s", stderr.String())
	}
}

// check reads every file in act/ that it has not read yet.
func (k *killed) check() {
	k.t.Helper()
	f := k.set.Config().FileIDs[0]
	if open, err := os.ReadDir(f.CollectDir()); err != nil && !errors.Is(err, os.ErrNotExist) || len(open) > 0 {
		k.t.Fatalf("act-collect after recovery: %v %v", open, err)
	}
	torn, err := os.ReadDir(filepath.Join(f.Location, "torn"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		k.t.Fatal(err)
	}
	for _, e := range torn {
		// A file without one whole member never held a committed interval.
		if strings.HasSuffix(e.Name(), ".tail") {
			k.t.Errorf("torn/%s: committed intervals stand behind damage", e.Name())
		}
	}
	entries, err := os.ReadDir(f.ArchiveDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		k.t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			k.t.Fatal(err)
		}
		sizes[e.Name()] = info.Size()
	}
	for name, size := range k.files {
		if sizes[name] != size {
			k.t.Fatalf("act/%s had %d bytes and has %d", name, size, sizes[name])
		}
	}
	for name := range sizes {
		if _, ok := k.files[name]; !ok {
			k.file(filepath.Join(f.ArchiveDir(), name))
		}
	}
	k.files = sizes
	for c := range k.claims {
		if !k.found[c] {
			k.t.Fatalf("policy %d: the interval of %v was claimed and is lost", c.policy, time.Unix(c.end, 0).UTC())
		}
	}
}

// file reads one file and compares each of its intervals with the truth.
func (k *killed) file(path string) {
	k.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	reader := record.NewReader(record.ReaderOptions{})
	reader.Reset(f, path)
	sums := map[claim]*truthSink{}
	for {
		var r record.Record
		err := reader.Next(&r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			k.t.Fatalf("%s: %v", path, err)
		}
		c := claim{reader.Header().Policy, r.End.Unix()}
		if sums[c] == nil {
			sums[c] = &truthSink{Truth{Sums: map[string]uint64{}}}
		}
		_ = sums[c].Record(&r) // never fails
	}
	src := &Synthetic{Seed: 5, Idle: 30}
	for c, sum := range sums {
		if k.found[c] {
			k.t.Fatalf("%s: policy %d: the interval of %d stands in another file too", path, c.policy, c.end)
		}
		k.found[c] = true
		for _, plan := range k.set.Plan() {
			if plan.Policy.ID != c.policy {
				continue
			}
			want := src.Truth(Request{At: time.Unix(c.end, 0), Record: plan.Definition, Objects: plan.Objects})
			if fmt.Sprint(want) != fmt.Sprint(sum.Truth) {
				k.t.Fatalf("%s: policy %d, %d: %v, want %v", path, c.policy, c.end, sum.Truth, want)
			}
		}
	}
}
