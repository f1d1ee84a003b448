package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"
	"acctpull/internal/powercut"
	"acctpull/ledger"
)

// The crash tests run this test binary again as a child that works on a ledger
// and says on its standard output what the ledger told it was recorded.
const childVariable = "ACCTPULL_LEDGER_CHILD"

func TestMain(m *testing.M) {
	switch mode, path, _ := strings.Cut(os.Getenv(childVariable), ":"); mode {
	case "work":
		os.Exit(childWork(path))
	case "some":
		os.Exit(childSome(path))
	case "fault":
		os.Exit(childFault(path))
	case "":
		os.Exit(m.Run())
	}
	os.Exit(2)
}

// child prepares a run of this binary in a mode on a ledger.
func child(mode, path string, wrapper ...string) *exec.Cmd {
	args := append(wrapper, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childVariable+"="+mode+":"+path)
	cmd.Stderr = os.Stderr
	return cmd
}

// childWork lists, claims, stores, plans and finishes until it is killed.
func childWork(path string) int {
	ctx := context.Background()
	l, err := ledger.Open(ctx, path)
	if err != nil {
		fmt.Println("E open:", err)
		return 1
	}
	n := 0
	for _, err := range l.Files(ctx, "r1") {
		if err != nil {
			fmt.Println("E files:", err)
			return 1
		}
		n++
	}
	for {
		if err := workOnce(ctx, l, n); err != nil {
			fmt.Println("E", err)
			return 1
		}
		n += 20
	}
}

func workOnce(ctx context.Context, l *ledger.Ledger, n int) error {
	var keys []ledger.Key
	for i := n; i < n+20; i++ {
		keys = append(keys, key("r1", fmt.Sprintf("act1101-%06d.xml.gz", i)))
	}
	if _, err := l.Discover(ctx, start, keys); err != nil {
		return err
	}
	for _, k := range keys {
		fmt.Println("D", k.Name)
	}
	claims, err := l.Claim(ctx, start.Add(time.Duration(n)*time.Hour), "worker", time.Minute, "r1", 30)
	if err != nil {
		return err
	}
	var items []ledger.StoreItem
	for _, c := range claims {
		fmt.Println("C", c.Name, c.Attempt)
		items = append(items, ledger.StoreItem{Claim: c, SHA256: digest(c.Name), Stored: c.Name})
	}
	results, err := l.StoreMany(ctx, start, items)
	if err != nil {
		return err
	}
	for i, r := range results {
		if r.Err != nil || r.AliasOf != "" {
			return fmt.Errorf("%s: alias of %q, %w", items[i].Stored, r.AliasOf, r.Err)
		}
		fmt.Println("S", items[i].Stored)
	}
	now := start.Add(time.Duration(n) * time.Hour)
	b, found, err := l.PlanBatch(ctx, now, fmt.Sprint("exporter ", os.Getpid()), time.Minute, 25, 0)
	if err != nil || !found {
		return err
	}
	fmt.Println("P", b.ID, len(b.Inputs))
	outputs, res := outcome(b)
	if err := l.FinishBatch(ctx, start, b.BatchClaim, outputs, res); errors.Is(err, ledger.ErrLeaseLost) {
		return nil // another process, which is ahead in time, took it over
	} else if err != nil {
		return err
	}
	fmt.Println("F", b.ID)
	return nil
}

// childFault writes until a call fails and says how it and the next call failed.
func childFault(path string) int {
	ctx := context.Background()
	l, err := ledger.Open(ctx, path)
	for i := 0; err == nil && i < 1000; i++ {
		if _, err = l.Discover(ctx, start, []ledger.Key{key("r1", strconv.Itoa(i))}); err == nil {
			fmt.Println("D", i)
		}
	}
	fmt.Printf("E %v fatal=%v\n", err, ledger.IsFatal(err))
	if l != nil {
		_, next := l.Discover(ctx, start, []ledger.Key{key("r1", "next")})
		_, claims := l.Claim(ctx, start, "x", time.Minute, "r1", 1)
		_, counts := l.Counts(ctx)
		fmt.Printf("N same=%v %v\n", next == err && claims == err, l.Check(ctx) == err && counts == err)
	}
	return 0
}

// later does something after a while. The function it returns waits for that
// and gives its error.
func later(after time.Duration, f func() error) (wait func() error) {
	done := make(chan error, 1)
	time.AfterFunc(after, func() { done <- f() })
	return func() error { return <-done }
}

// begin starts a child that does not outlive the test.
func begin(t *testing.T, mode, path string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := child(mode, path)
	out := must(cmd.StdoutPipe())(t)
	ok(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			ok(t, cmd.Process.Kill())
			_ = cmd.Wait() // it was killed
		}
	})
	return cmd, out
}

// claimed is what a child said, over all its lives.
type claimed struct {
	discovered, stored map[string]bool
	attempts           map[string]int
	planned            map[string]int
	finished           map[string]bool
}

func newClaimed() *claimed {
	return &claimed{map[string]bool{}, map[string]bool{}, map[string]int{}, map[string]int{}, map[string]bool{}}
}

// read takes in whole lines; a line cut by the crash says nothing.
func (c *claimed) read(r io.Reader) (lines int, failure string, err error) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return lines, failure, nil
		}
		if err != nil {
			return lines, failure, err
		}
		lines++
		f := strings.Fields(line)
		switch f[0] {
		case "D":
			c.discovered[f[1]] = true
		case "C":
			c.attempts[f[1]], err = strconv.Atoi(f[2])
		case "S":
			c.stored[f[1]] = true
		case "P":
			c.planned[f[1]], err = strconv.Atoi(f[2])
		case "F":
			c.finished[f[1]] = true
		case "E":
			failure = line
		}
		if err != nil {
			return lines, failure, err
		}
	}
}

// verify opens the ledger after a crash and looks for everything that the child
// said.
func (c *claimed) verify(t *testing.T, path string) {
	t.Helper()
	l, err := ledger.Open(t.Context(), path)
	ok(t, err)
	defer func() { ok(t, l.Close()) }()
	ok(t, l.Check(t.Context()))
	byName := map[string]ledger.Row{}
	inBatch := map[string]int{}
	for _, r := range rows(t, l) {
		byName[r.Name] = r
		inBatch[r.Batch]++
		if finished := r.State == ledger.Exported; finished && r.Records != 10 || c.finished[r.Batch] && !finished {
			t.Errorf("row %+v", r)
		}
	}
	for name := range c.discovered {
		if _, found := byName[name]; !found {
			t.Errorf("%s was recorded and is gone", name)
		}
	}
	for name, n := range c.attempts {
		if r := byName[name]; r.Attempt < n {
			t.Errorf("%s was claimed as attempt %d and has %d", name, n, r.Attempt)
		}
	}
	for name := range c.stored {
		if r := byName[name]; r.SHA256 != digest(name) || r.State != ledger.Stored && r.State != ledger.Exported {
			t.Errorf("%s was stored and is %+v", name, r)
		}
	}
	for id, n := range c.planned {
		if inBatch[id] != n {
			t.Errorf("batch %s was planned with %d files and has %d", id, n, inBatch[id])
		}
	}
	for id := range c.finished {
		if o := must(l.Outputs(t.Context(), id))(t); len(o) != 2 {
			t.Errorf("batch %s was finished and has the outputs %+v", id, o)
		}
	}
}

// cuts is how many crashes a test makes.
func cuts(normal, heavy int) int {
	if proof() {
		return heavy
	}
	return normal
}

// tooEarly asks for more and later crashes on a machine so busy that none of the
// first n came after a finished batch: they would show nothing of one.
func tooEarly(i, n int, said *claimed) bool { return len(said.finished) == 0 && i < n+40 }

// TestKilled kills a child with SIGKILL at random moments, again and again on
// the same ledger: it is whole, and nothing that was recorded is gone.
func TestKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	path := filepath.Join(t.TempDir(), "ledger.db")
	said := newClaimed()
	for i, n := 0, cuts(5, 60); i < n || tooEarly(i, n, said); i++ {
		cmd, out := begin(t, "work", path)
		killed := later(time.Duration(20+rng.IntN(400+200*max(0, i-n)))*time.Millisecond, cmd.Process.Kill)
		_, failure, err := said.read(out)
		ok(t, errors.Join(err, killed()))
		if err := cmd.Wait(); err == nil || failure != "" {
			t.Fatalf("the child ended with %v: %s", err, failure)
		}
		said.verify(t, path)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d files recorded, %d stored, %d batches planned, %d finished",
		len(said.discovered), len(said.stored), len(said.planned), len(said.finished))
	if len(said.finished) == 0 {
		t.Error("the child finished nothing")
	}
}

// TestPowerCut does the same with the power of the machine: the child stops, and
// then the disk. Without the first an fsync that is under way may find its
// transaction gone and return without an error, and the child would boast of
// something after its own death.
func TestPowerCut(t *testing.T) {
	need.Root(t)
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 4))
			disk := powercut.New(t, fsType)
			path := filepath.Join(disk.Dir, "ledger.db")
			said := newClaimed()
			for i, n := 0, cuts(3, 60); i < n || tooEarly(i, n, said); i++ {
				disk.Noise()
				cmd, out := begin(t, "work", path)
				cut := later(time.Duration(20+rng.IntN(500+200*max(0, i-n)))*time.Millisecond, func() error {
					return errors.Join(powercut.Freeze(cmd.Process), disk.Cut(), cmd.Process.Kill())
				})
				_, failure, err := said.read(out)
				ok(t, errors.Join(err, cut()))
				if err := cmd.Wait(); err == nil || failure != "" {
					t.Fatalf("the child ended with %v: %s", err, failure)
				}
				disk.Remount()
				said.verify(t, path)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d files recorded, %d stored, %d batches finished", len(said.discovered), len(said.stored), len(said.finished))
			if len(said.finished) == 0 {
				t.Error("the child finished nothing")
			}
		})
	}
}

// TestTwoProcesses: processes share a ledger, and no file is claimed twice.
func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	mustClose(t, path)
	said := newClaimed()
	var children []*exec.Cmd
	var outs []io.Reader
	var killed []func() error
	for range 3 {
		cmd, out := begin(t, "work", path)
		children, outs = append(children, cmd), append(outs, out)
		killed = append(killed, later(700*time.Millisecond, cmd.Process.Kill))
	}
	stored := 0
	for i, out := range outs {
		one := newClaimed()
		_, failure, err := one.read(out)
		ok(t, errors.Join(err, killed[i]()))
		if err := children[i].Wait(); err == nil || strings.Contains(failure, "fatal") {
			t.Errorf("a child ended with %v: %s", err, failure)
		}
		for name := range one.stored {
			if said.stored[name] {
				t.Errorf("%s was stored by two processes", name)
			}
			said.stored[name] = true
			stored++
		}
	}
	said.verify(t, path)
	t.Logf("%d files stored", stored)
	if stored == 0 {
		t.Error("nothing was stored")
	}
}

// TestFailedSync: after an fsync that failed once, the error is fatal, every
// later call gives the same error, and nothing acknowledged is lost.
func TestFailedSync(t *testing.T) {
	strace := need.Tool(t, "strace")
	for _, call := range []string{"fsync", "pwrite64"} {
		t.Run(call, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "ledger.db")
			mustClose(t, path)
			ok(t, os.WriteFile(path+"-wal", nil, 0o600)) // strace follows paths that exist
			cmd := child("fault", path, strace, "-f", "-qq", "-o", filepath.Join(dir, "trace"),
				"-P", path+"-wal", "-e", "inject="+call+":error=EIO:when=30+")
			out, err := cmd.Output()
			ok(t, err)
			text := string(out)
			if !strings.Contains(text, "D 0\n") || !strings.Contains(text, "fatal=true") ||
				!strings.Contains(text, "N same=true true") || !strings.Contains(text, "disk I/O error") {
				t.Fatalf("the child said:\n%s", text)
			}
			said := newClaimed()
			_, _, err = said.read(strings.NewReader(text))
			ok(t, err)
			said.verify(t, path)
		})
	}
}
