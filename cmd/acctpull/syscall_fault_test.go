package main

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"acctpull/internal/durable"
	"acctpull/internal/gen"
	"acctpull/internal/strace"
)

// The tests of this file let every system call of the program fail, one after
// the other, or kill the program there: pull with archive, ledger and export,
// and export alone. Whatever happened, the same command run again finishes the
// work, and every record is in the dataset exactly once.

// callJob is a command whose calls are made to fail.
type callJob struct {
	truth gen.Truth
	args  func(out string) []string
	// dataset and leftovers of a run into out: what must be there, and
	// patterns of what must not.
	dataset func(out string) string
	left    []string
}

// pullJob pulls three small files from a device and exports them.
func pullJob(t *testing.T) callJob {
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Seed: 4, Objects: 2, Meters: 1, Intervals: 1})
	f.add(3)
	return callJob{
		truth:   f.truth,
		args:    func(out string) []string { return d.pullArgs(out, "-v", "--retries", "0") },
		dataset: func(out string) string { return filepath.Join(out, "dataset") },
		left:    []string{"devices/*/act-collect/*", "dataset/.staging/*", "quarantine/*"},
	}
}

// exportJob exports a folder with three small files.
func exportJob(t *testing.T) callJob {
	files := filepath.Join(t.TempDir(), "files")
	truth, err := gen.Tree(files, gen.TreeOptions{Options: gen.Options{Objects: 2, Meters: 1, Intervals: 1}, Files: 3})
	check(t, err)
	return callJob{
		truth:   truth,
		args:    func(out string) []string { return []string{"export", files, "--out", out} },
		dataset: func(out string) string { return out },
		left:    []string{".staging/*", ".acctpull/quarantine/*"},
	}
}

// program returns the command as a process; it is given up after a minute, which
// no run takes.
func (j callJob) program(t *testing.T, out string) (cmd *exec.Cmd, output *bytes.Buffer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, program(t), j.args(out)...)
	output = new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd, output
}

// suffer runs the command with a fault. Every third kill is followed by another
// one, in the run that cleans up after it. suffer reports whether the fault
// happened at all, and checks everything that must hold.
func (j callJob) suffer(t *testing.T, f strace.Fault) (hit bool) {
	t.Helper()
	// A directory of its own, removed at once: there are a thousand of them.
	out, err := os.MkdirTemp(t.TempDir(), "out")
	check(t, err)
	defer os.RemoveAll(out)
	out = filepath.Join(out, "data")
	times := 1
	if f.Action == strace.Kill && f.N%3 == 0 {
		times = 2
	}
	for i := range times {
		cmd, output := j.program(t, out)
		again, err := strace.Run(t, f, cmd)
		hit = hit || again
		j.look(t, out, f, output.String(), err)
		if i == 0 && err == nil && !hit {
			return false
		}
	}
	cmd, output := j.program(t, out)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: the next run: %v\n%s", f, err, output)
	}
	everyRecordOnce(t, j.dataset(out), j.truth)
	for _, pattern := range j.left {
		names, err := filepath.Glob(filepath.Join(out, pattern))
		check(t, err)
		if len(names) > 0 {
			t.Fatalf("%s: left behind: %v", f, names)
		}
	}
	return hit
}

// look checks what a run with a fault left: nothing that it reported is missing,
// nothing visible is torn, and no failure is called a success.
func (j callJob) look(t *testing.T, out string, f strace.Fault, output string, err error) {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", f, err)
	}
	for _, crash := range []string{"panic: ", "fatal error: ", "SIGSEGV"} {
		// The runtime writes too, to wake its own poller, and stops at once if
		// that fails; it also does when a write took more bytes than it was
		// given. Both are as good as a kill.
		if strings.Contains(output, crash) && !strings.Contains(output, "runtime: netpollBreak") && !strings.Contains(output, "invalid return from write") {
			t.Fatalf("%s: crashed:\n%s", f, output)
		}
	}
	noTornFile(t, out)
	claimed := map[string]string{}
	readClaims(strings.NewReader(output), claimed)
	for name, want := range claimed {
		got, _, err := durable.Sum(filepath.Join(out, "devices", "dut", "act", name))
		if err != nil || got != want {
			t.Fatalf("%s: %s was reported stored as %s, and is %s (%v)", f, name, want, got, err)
		}
	}
	if err == nil {
		everyRecordOnce(t, j.dataset(out), j.truth)
	}
}

// faultRow is one kind of call, one thing that happens to it, and how many of
// its calls are tried.
type faultRow struct {
	call, action string
	on           bool
	reach        faultReach
}

// String names the row.
func (r faultRow) String() string {
	if r.on {
		return r.call + " " + r.action + " from then on"
	}
	return r.call + " " + r.action
}

// faultReach is how many of the calls of a kind are tried.
type faultReach int

const (
	oneCall   faultReach = iota // a random one
	someCalls                   // a random one of each stretch, and the stretches grow
	allCalls
)

// run tries the rows, several at a time, and returns how many faults happened.
func (j callJob) run(t *testing.T, rows []faultRow) {
	t.Helper()
	const workers = 4
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	var total atomic.Int64
	queue := make(chan faultRow)
	for w := range uint64(workers) {
		rng := rand.New(rand.NewPCG(seed, w))
		wg.Go(func() {
			for row := range queue {
				t.Run(row.String(), func(t *testing.T) {
					hits := j.tryRow(t, row, rng)
					total.Add(int64(hits))
					t.Logf("%d faults", hits)
				})
			}
		})
	}
	for _, row := range rows {
		queue <- row
	}
	close(queue)
	wg.Wait()
	t.Logf("%d faults", total.Load())
	if total.Load() == 0 {
		t.Error("no fault ever happened: the test shows nothing")
	}
}

// tryRow tries the calls of a row and returns how many faults happened.
func (j callJob) tryRow(t *testing.T, row faultRow, rng *rand.Rand) (hits int) {
	try := func(n int) bool {
		return j.suffer(t, strace.Fault{Call: row.call, Action: row.action, N: n, On: row.on})
	}
	if row.reach == oneCall {
		for n := 1 + rng.IntN(24); n > 0; n /= 2 {
			if try(n) {
				return 1
			}
		}
		return 0
	}
	for first, step := 1, 1; ; first += step {
		if row.reach == someCalls {
			step = 1 + first/3
		}
		if !try(first + rng.IntN(step)) {
			return hits
		}
		hits++
	}
}

// killRows are all kinds of calls of a program. Those that change something are
// all killed at, one by one; between two of them nothing outside the process
// changes, so the others get a sample.
func (j callJob) killRows(t *testing.T) []faultRow {
	t.Helper()
	cmd, output := j.program(t, filepath.Join(t.TempDir(), "data"))
	var rows []faultRow
	for _, kind := range strace.Kinds(t, cmd) {
		row := faultRow{call: kind, action: strace.Kill}
		switch {
		case proof() && strace.Changes(kind):
			row.reach = allCalls
		case proof():
			row.reach = someCalls
		case !strace.Changes(kind):
			continue
		}
		rows = append(rows, row)
	}
	if output.Len() == 0 {
		t.Fatal("the program said nothing")
	}
	return rows
}

// TestKillAtEveryCallOfPull: SIGKILL at every system call, twice in a row.
func TestKillAtEveryCallOfPull(t *testing.T) {
	j := pullJob(t)
	j.run(t, j.killRows(t))
}

// TestKillAtEveryCallOfExport does the same with a folder of files.
func TestKillAtEveryCallOfExport(t *testing.T) {
	j := exportJob(t)
	j.run(t, j.killRows(t))
}

// failing are the errors that a machine gives: a disk that fails, is full or
// read-only, too many open files, names that somebody else took or protects.
var failing = []struct {
	call, errno string
	reach       faultReach
}{
	{"fsync", "EIO", allCalls}, {"fdatasync", "EIO", allCalls}, {"write", "ENOSPC", allCalls}, {"pwrite64", "EIO", allCalls},
	{"close", "EIO", allCalls}, {"renameat2", "EIO", allCalls}, {"renameat2", "EEXIST", allCalls}, {"renameat", "EIO", allCalls}, {"rename", "EIO", allCalls},
	{"linkat", "EEXIST", allCalls}, {"link", "EEXIST", allCalls}, {"openat", "EMFILE", allCalls}, {"open", "EMFILE", allCalls},
	{"unlinkat", "EPERM", allCalls}, {"unlink", "EPERM", allCalls}, {"mkdirat", "ENOSPC", allCalls}, {"mkdir", "ENOSPC", allCalls}, {"ftruncate", "EIO", allCalls},
	{"write", "EIO", someCalls}, {"pwrite64", "ENOSPC", someCalls}, {"pread64", "EIO", someCalls}, {"read", "EIO", someCalls}, {"fstat", "EIO", someCalls},
	{"newfstatat", "EIO", someCalls}, {"getdents64", "EIO", someCalls}, {"flock", "ENOLCK", allCalls}, {"fchown", "EPERM", someCalls},
}

// failRows are the errors at every call, and from some calls on.
func failRows() []faultRow {
	var rows []faultRow
	for _, f := range failing {
		row := faultRow{call: f.call, action: strace.Error(f.errno), reach: f.reach}
		rows = append(rows, row)
		if row.reach == allCalls {
			row.on, row.reach = true, someCalls
			rows = append(rows, row)
		}
	}
	return shorten(rows)
}

// shorten takes a random few of the rows, and one call of each, unless the long
// form of the proofs runs.
func shorten(rows []faultRow) []faultRow {
	if proof() {
		return rows
	}
	rand.Shuffle(len(rows), func(i, k int) { rows[i], rows[k] = rows[k], rows[i] })
	rows = rows[:min(len(rows), 8)]
	for i := range rows {
		rows[i].reach = oneCall
	}
	return rows
}

// TestEveryCallOfPullFailsProof: an error at every system call of a pull.
func TestEveryCallOfPullFailsProof(t *testing.T) {
	pullJob(t).run(t, failRows())
}

// TestEveryCallOfExportFailsProof: an error at every system call of an export,
// and a write that lies.
func TestEveryCallOfExportFailsProof(t *testing.T) {
	exportJob(t).run(t, append(failRows(), faultRow{call: "write", action: strace.Lie, reach: allCalls}))
}
