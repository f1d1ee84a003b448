package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/internal/strace"
	"acctpull/ledger"
)

// replaceEnv makes the test binary a child that makes the change of a file in
// the directory.
const replaceEnv = "ACCTPULL_EXPORT_REPLACE"

// plannedChange is what that file holds. Local files are relative to the
// directory.
type plannedChange struct {
	Change   Change
	Finished []ledger.Output
}

func replaceChild(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "change.json"))
	if err != nil {
		return err
	}
	var p plannedChange
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	for i := range p.Change.Add {
		p.Change.Add[i].Local = filepath.Join(dir, p.Change.Add[i].Local)
	}
	return Replace(context.Background(), depot.NewDir(filepath.Join(dir, "dataset")), p.Change,
		ReplaceOptions{Finished: finished(Result{Outputs: p.Finished}), Now: time.Now()})
}

// plannedReplacement is a dataset of three days in a directory and a change of
// all of them: one is compacted in part, one as a whole, and one goes.
type plannedReplacement struct {
	dir        string
	old, want  []string // data files before and after
	partitions []string
}

func planReplacement(t *testing.T) *plannedReplacement {
	t.Helper()
	c := newCounted(t, inDir)
	for i := range 8 {
		c.export(i%3, 4)
	}
	p := &plannedReplacement{dir: filepath.Dir(c.o.Dataset), old: c.paths("")}
	days := [][]string{c.paths("date=2026-03-04")[:2], c.paths("date=2026-03-05")}
	change := Change{Reason: ReasonRebuild, Remove: c.paths("date=2026-03-06")}
	for i, day := range days {
		one := c.change(day)
		local := fmt.Sprintf("made%d", i)
		if err := os.Rename(one.Add[0].Local, filepath.Join(p.dir, local)); err != nil {
			t.Fatal(err)
		}
		one.Add[0].Local = local
		change.Add, change.Remove = append(change.Add, one.Add...), append(change.Remove, day...)
	}
	plan := plannedChange{Change: change}
	for _, r := range c.results {
		plan.Finished = append(plan.Finished, r.Outputs...)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "change.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.want = slices.DeleteFunc(slices.Clone(p.old), func(f string) bool { return slices.Contains(change.Remove, f) })
	for _, f := range change.Add {
		p.want = append(p.want, f.Path)
	}
	slices.Sort(p.want)
	for _, f := range p.old {
		p.partitions = append(p.partitions, partitionOf(f))
	}
	p.partitions = slices.Compact(p.partitions)
	return p
}

// checkPartitions fails unless each partition is as before or as after.
func (p *plannedReplacement) checkPartitions(t *testing.T, dir string) {
	t.Helper()
	s, err := ReadSnapshot(t.Context(), depot.NewDir(filepath.Join(dir, "dataset")))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range s.Files {
		got = append(got, f.Path)
	}
	for _, partition := range p.partitions {
		in := func(all []string) (some []string) {
			for _, f := range all {
				if partitionOf(f) == partition {
					some = append(some, f)
				}
			}
			return some
		}
		if is := in(got); !slices.Equal(is, in(p.old)) && !slices.Equal(is, in(p.want)) {
			t.Errorf("%s has %q, had %q, should have %q", partition, is, in(p.old), in(p.want))
		}
	}
}

// suffer makes the change in a copy, with a fault, then again without, and looks
// at what there is each time.
func (p *plannedReplacement) suffer(t *testing.T, f strace.Fault) (hit bool) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(p.dir)); err != nil {
		t.Fatal(err)
	}
	cmd := p.child(dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	hit, err := strace.Run(t, f, cmd)
	if !hit {
		return false
	}
	p.checkPartitions(t, dir)
	unsupported := strings.Contains(f.Action, "EINVAL")
	switch {
	case f.Action == strace.Kill && !strace.Killed(err):
		t.Fatalf("%v: ended with %v\n%s", f, err, out.String())
	case unsupported && !strings.Contains(out.String(), durable.ErrNoExchange.Error()):
		t.Errorf("%v: %v, %s", f, err, out.String())
	case f.Call == "linkat" && err != nil && f.Action != strace.Kill && !strings.Contains(f.Action, "EIO"):
		t.Errorf("%v: a refused link is no error: %v\n%s", f, err, out.String())
	}
	if err == nil || unsupported {
		p.checkSettled(t, dir, err == nil)
	}
	// Somebody looks, and then it is done again.
	if v, err := TakeInventory(t.Context(), depot.NewDir(filepath.Join(dir, "dataset"))); err != nil || len(v.Unsound)+len(v.Foreign) > 0 {
		t.Errorf("%v: inventory %+v, %v", f, v, err)
	}
	if text, err := p.child(dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: again: %v\n%s", f, err, text)
	}
	p.checkSettled(t, dir, true)
	d := depot.NewDir(filepath.Join(dir, "dataset"))
	if _, err := CleanReplaced(t.Context(), d, time.Now().Add(time.Minute), time.Second); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "dataset", asideDir)); err != nil || len(left) > 0 {
		t.Errorf("%v: left beside: %v, %v", f, left, err)
	}
	return true
}

func (p *plannedReplacement) child(dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), replaceEnv+"="+dir, "GOMAXPROCS=1")
	return cmd
}

// checkSettled fails unless the change was made, or not at all, and the history
// says so.
func (p *plannedReplacement) checkSettled(t *testing.T, dir string, done bool) {
	t.Helper()
	v, err := TakeInventory(t.Context(), depot.NewDir(filepath.Join(dir, "dataset")))
	if err != nil || len(v.Unsound)+len(v.Foreign) > 0 {
		t.Fatalf("inventory %+v, %v", v, err)
	}
	var got []string
	for _, f := range v.Files {
		got = append(got, f.Path)
	}
	want := p.want
	if !done {
		want = p.old
	}
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	known := slices.Concat(slices.Collect(maps.Keys(v.Made())), slices.Collect(maps.Keys(v.Gone())))
	for _, f := range slices.Concat(p.old, p.want) {
		if both := slices.Contains(p.old, f) && slices.Contains(p.want, f); slices.Contains(known, f) == (both || !done) {
			t.Errorf("history of %s, done: %t: %q", f, done, known)
		}
	}
}

// A replacer that is killed at any system call, or whose calls fail, leaves each
// partition as it was or as it should be, and the same change again completes it.
// A file system that cannot exchange names is refused and nothing is changed;
// links that are refused become copies.
func TestReplaceKilledAtEveryCall(t *testing.T) {
	p := planReplacement(t)
	var faults []strace.Fault
	for _, kind := range strace.Kinds(t, p.child(cloneDir(t, p.dir))) {
		if !strace.Changes(kind) {
			continue
		}
		faults = append(faults, strace.Fault{Call: kind, Action: strace.Kill})
		for _, errno := range map[string][]string{
			"fsync": {"EIO"}, "linkat": {"EPERM", "EMLINK", "EXDEV", "EIO"}, "mkdirat": {"ENOSPC"}, "write": {"ENOSPC"},
			"renameat2": {"EINVAL", "EIO"}, "unlinkat": {"EIO"}, "renameat": {"EIO"},
		}[kind] {
			faults = append(faults, strace.Fault{Call: kind, Action: strace.Error(errno)})
		}
	}
	most := proofScale(1, 1000)
	if most == 1 {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		rng.Shuffle(len(faults), func(i, k int) { faults[i], faults[k] = faults[k], faults[i] })
		faults = faults[:5]
	}
	for _, f := range faults {
		t.Run(f.Call+" "+f.Action, func(t *testing.T) {
			for f.N = 1; f.N <= most && p.suffer(t, f) && !t.Failed(); f.N++ {
				if strings.Contains(f.Action, "EINVAL") {
					break // behind the first call that says so nothing is called
				}
			}
		})
	}
}

// cloneDir copies a directory.
func cloneDir(t *testing.T, dir string) string {
	t.Helper()
	clone := t.TempDir()
	if err := os.CopyFS(clone, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return clone
}

// In a bucket, too: after a crash at every request, before it had its effect or
// before its answer came, the snapshot is the old one or the new one, and the
// same change again completes it.
func TestReplaceCrashAtEveryRequest(t *testing.T) {
	crash := errors.New("crash")
	for _, answered := range []bool{false, true} {
		for n := 1; ; n++ {
			c := newCounted(t, newBucket)
			for i := range 4 {
				c.export(i%2, 3)
			}
			old := c.paths("")
			change := c.change(c.paths("date=2026-03-04"))
			other := c.change(c.paths("date=2026-03-05"))
			change.Add, change.Remove = append(change.Add, other.Add...), append(change.Remove, other.Remove...)
			b, at := c.dataset.(*memBucket), 0
			fault := func(string, string) error {
				if at++; at >= n {
					return crash
				}
				return nil
			}
			if answered {
				b.after = fault
			} else {
				b.before = fault
			}
			err := c.replace(change)
			b.before, b.after = nil, nil
			if err == nil {
				if n < 6 {
					t.Fatalf("only %d requests", n)
				}
				break
			}
			if !errors.Is(err, crash) {
				t.Fatal(err)
			}
			c.checkRows()
			if got, done := c.paths(""), []string{change.Add[0].Path, change.Add[1].Path}; !slices.Equal(got, old) && !slices.Equal(got, slices.Sorted(slices.Values(done))) {
				t.Fatalf("request %d: files %q", n, got)
			}
			if err := c.replace(change); err != nil {
				t.Fatalf("request %d: %v", n, err)
			}
			c.checkRows()
			if got := c.paths(""); len(got) != 2 {
				t.Fatalf("request %d: files %q", n, got)
			}
		}
	}
}
