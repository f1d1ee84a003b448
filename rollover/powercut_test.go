package rollover

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/powercut"
)

// countedDisk is the real disk with a hook before and after each call that can
// change something.
type countedDisk struct {
	osDisk
	calls int
	hook  func(n int)
}

// around runs a call between two hooks.
func (d *countedDisk) around(f func() error) error {
	d.calls++
	d.hook(d.calls)
	err := f()
	d.calls++
	d.hook(d.calls)
	return err
}

func (d *countedDisk) Open(path string, flag int) (f file, err error) {
	err = d.around(func() error {
		f, err = d.osDisk.Open(path, flag)
		return err
	})
	return countedFile{f, d}, err
}

func (d *countedDisk) Names(dir string) iter.Seq2[string, error] { return d.osDisk.Names(dir) }

func (d *countedDisk) MkdirAll(dir string) error {
	return d.around(func() error { return d.osDisk.MkdirAll(dir) })
}

func (d *countedDisk) Move(oldpath, newpath string) error {
	return d.around(func() error { return d.osDisk.Move(oldpath, newpath) })
}

func (d *countedDisk) Remove(path string) error {
	return d.around(func() error { return d.osDisk.Remove(path) })
}

func (d *countedDisk) SyncDir(dir string) error {
	return d.around(func() error { return d.osDisk.SyncDir(dir) })
}

type countedFile struct {
	file
	d *countedDisk
}

func (f countedFile) Write(p []byte) (n int, err error) {
	err = f.d.around(func() error {
		n, err = f.file.Write(p)
		return err
	})
	return n, err
}

func (f countedFile) Truncate(n int64) error {
	return f.d.around(func() error { return f.file.Truncate(n) })
}
func (f countedFile) Sync() error  { return f.d.around(f.file.Sync) }
func (f countedFile) Close() error { return f.d.around(f.file.Close) }

// Real power cuts on real file systems, at a random call of a workload that
// commits, aborts, rolls over and seals, and in the recovery too. What Commit
// and the hook claimed has to be there.
func TestPowerCut(t *testing.T) {
	cuts := 6
	if proof() {
		cuts = 120
	}
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			disk := powercut.New(t, fsType)
			base := rand.Uint64()
			calls := cutRun{t: t, disk: disk, seed: base}.run(1 << 30) // calibrates: no cut
			for i := range cuts {
				seed := base + uint64(i)
				rng := rand.New(rand.NewPCG(seed, 2))
				cutRun{t: t, disk: disk, seed: seed}.run(1 + rng.IntN(calls))
			}
			t.Logf("%d cuts over %d places from seed %d", cuts, calls, base)
		})
	}
}

type cutRun struct {
	t    *testing.T
	disk *powercut.Disk
	seed uint64
}

func (c cutRun) fatalf(format string, a ...any) {
	c.t.Helper()
	c.t.Fatalf("seed %d: "+format, append([]any{c.seed}, a...)...)
}

// run does one workload on a fresh file system, cuts at the given place, and
// checks. It returns the number of places.
func (c cutRun) run(cutAt int) int {
	c.disk.Fresh()
	o := killOptions(filepath.Join(c.disk.Dir, "cf1"))
	var sealed []File
	o.OnSeal = func(f File) { sealed = append(sealed, f) }
	d := &countedDisk{hook: c.cutAt(cutAt)}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	claimed := map[int]bool{}
	c.disk.Noise()
	c.workload(d, o, claimed, now)
	places := d.calls

	c.disk.Remount()
	for _, f := range sealed {
		checkSealed(c.t, f.Path)
	}
	for _, name := range c.names(o.Dirs.Archive) {
		checkSealed(c.t, filepath.Join(o.Dirs.Archive, name))
	}
	// The power fails once more while the machine recovers.
	rng := rand.New(rand.NewPCG(c.seed, 3))
	again := &countedDisk{hook: c.cutAt(1 + rng.IntN(20))}
	c.disk.Noise()
	_, _ = recoverOn(again, o, now) // fails when it is cut
	c.disk.Remount()
	if _, err := Recover(o, now); err != nil {
		c.fatalf("recovery: %v", err)
	}
	c.check(o, claimed)
	return places
}

func (c cutRun) cutAt(at int) func(int) {
	return func(n int) {
		if n == at {
			if err := c.disk.Cut(); err != nil {
				c.t.Errorf("seed %d: %v", c.seed, err)
			}
		}
	}
}

// workload runs until its end or until the first error.
func (c cutRun) workload(d disk, o Options, claimed map[int]bool, now time.Time) {
	rng := rand.New(rand.NewPCG(c.seed, 4))
	l, err := openOn(d, o)
	if err != nil {
		return
	}
	defer func() { _ = l.Close() }() // closes the descriptor, whatever it says
	for i := 1; i <= 12; i++ {
		now = now.Add(time.Second)
		size := rng.IntN(2000)
		if rng.IntN(3) == 0 {
			size = rng.IntN(300_000)
		}
		var text strings.Builder
		fmt.Fprintf(&text, "entry %d ", i)
		for text.Len() < size {
			text.WriteByte(byte('a' + rng.IntN(26)))
		}
		text.WriteByte('\n')
		e, err := l.Begin(now)
		if err != nil {
			return
		}
		if _, err := e.Write([]byte(text.String())); err != nil {
			return
		}
		if rng.IntN(5) == 0 {
			if e.Abort() != nil {
				return
			}
			continue
		}
		if e.Commit() != nil {
			return
		}
		claimed[i] = true
	}
}

// names lists a directory; one that the cut took away is empty.
func (c cutRun) names(dir string) []string {
	var got []string
	for name, err := range (osDisk{}).Names(dir) {
		if err != nil {
			c.fatalf("%v", err)
		}
		got = append(got, name)
	}
	slices.Sort(got)
	return got
}

// check reads the archive after the recovery.
func (c cutRun) check(o Options, claimed map[int]bool) {
	if left := c.names(o.Dirs.Collect); len(left) != 0 {
		c.fatalf("left in act-collect: %v", left)
	}
	last, unclaimed := 0, 0
	for _, name := range c.names(o.Dirs.Archive) {
		for _, id := range checkSealed(c.t, filepath.Join(o.Dirs.Archive, name)) {
			if id <= last {
				c.fatalf("%s: entry %d after %d", name, id, last)
			}
			if !claimed[id] {
				unclaimed++
			}
			last = id
			delete(claimed, id)
		}
	}
	if len(claimed) != 0 || unclaimed > 1 {
		c.fatalf("claimed and lost: %v; there and not claimed: %d", slices.Sorted(maps.Keys(claimed)), unclaimed)
	}
}
