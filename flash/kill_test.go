package flash

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"
	"acctpull/retention"
	"acctpull/rollover"
)

// childEnv makes the test binary a program that works on a flash: root, mode.
const childEnv = "FLASH_TEST_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		// strace counts the calls of each thread by itself.
		runtime.LockOSThread()
		root, mode, _ := strings.Cut(args, "|")
		if err := child(root, mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The modes of the child.
const (
	modeRollover   = "rollover"   // one location: rollovers by time, one by hand
	modeContention = "contention" // the same on a card that is nearly full of older files
	modeMemory     = "memory"     // the same with log-memory
	modeBackup     = "backup"     // the same with a backup location
)

const (
	childEntries = 8
	childStep    = time.Minute // the clock goes on by this with each entry
	oldFiles     = 4           // entries 1001 and so on, one in each, on the full card
)

// childOptions are those of the child and of whoever starts after it.
func childOptions(root, mode string) Options {
	o := Options{Prefix: rollover.Act, ID: 10, FileID: 11, Ext: ".xml.gz", Rollover: 2 * childStep, Level: 1,
		Header: func(_ rollover.Name, _ time.Time, reason string) []byte {
			return fmt.Appendf(nil, "<log %s>\n", reason)
		},
		Footer: func() []byte { return []byte("</log>\n") },
		Places: []string{filepath.Join(root, "cf1")},
	}
	switch mode {
	case modeContention:
		o.RuleFor = func(n rollover.Name) (retention.Rule, bool) {
			// Only the oldest file has expired.
			return retention.Rule{Kind: retention.CreatedRetention, Retention: 11 * time.Hour}, true
		}
	case modeMemory:
		o.Memory = 1 << 10
	case modeBackup:
		o.Places = append(o.Places, filepath.Join(root, "cf2"))
	}
	return o
}

// journal is what the child claims. It is written by pwrite, a call that the
// package does not make and no test disturbs.
type journal struct {
	f  *os.File
	at int64
}

func (j *journal) say(format string, a ...any) error {
	n, err := j.f.WriteAt(fmt.Appendf(nil, format+"\n", a...), j.at)
	j.at += int64(n)
	return err
}

// child writes entries 1 to 8 and journals each as soon as it is on the flash,
// or that it was refused.
func child(root, mode string) error {
	f, err := os.OpenFile(filepath.Join(root, "journal"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	j := &journal{f: f}
	var errs []error
	say := func(format string, a ...any) { errs = append(errs, j.say(format, a...)) }
	o := childOptions(root, mode)
	if _, err := Recover(o, t0); err != nil {
		say("note recover: %v", err)
	}
	var files []string // of entry 1 and so on
	o.Hooks.OnDeleted = func(d retention.Decision) {
		for i, name := range files {
			if name == d.File.Name.String() {
				say("deleted %d", i+1)
			}
		}
	}
	l, err := Open(o)
	if err != nil {
		return err
	}
	var held []int
	claim := func() {
		if l.State().Held == 0 {
			for _, id := range held {
				say("claim %d", id)
			}
			held = nil
		}
	}
	size := 300
	if mode == modeContention {
		size = 20_000
	}
	for id := 1; id <= childEntries; id++ {
		now := t0.Add(time.Duration(id) * childStep)
		if id == 5 {
			if _, _, err := l.Roll(now); err != nil {
				say("note roll: %v", err)
			}
			claim()
		}
		err := childEntry(l, now, id, size)
		f, _ := l.Current()
		files = append(files, f.Name.String())
		if err != nil {
			say("lost %d: %v", id, err)
			continue
		}
		held = append(held, id)
		claim()
	}
	if err := l.Close(t0.Add(childEntries * childStep)); err != nil {
		say("note close: %v", err)
	} else {
		claim()
	}
	say("end")
	return errors.Join(errs...)
}

func childEntry(l *Log, now time.Time, id, size int) error {
	e, err := l.Begin(now)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(e, "entry %d %s\n", id, noise(size)); err != nil {
		return err
	}
	return e.Commit()
}

// stage makes the directory that a child works in.
func stage(t *testing.T, mode string) string {
	t.Helper()
	root := t.TempDir()
	if mode != modeContention {
		return root
	}
	tmpfs(t, root, "cf1", "size=220k")
	o := childOptions(root, "")
	o.Rollover = 0
	l, err := Open(o)
	for i := range oldFiles {
		now := t0.Add(time.Duration(i-oldFiles) * 3 * time.Hour)
		if err == nil {
			err = childEntry(l, now, 1001+i, 22_000)
		}
		if err == nil {
			_, _, err = l.Roll(now)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// said reads the journal: what was claimed and not deleted since, what was
// refused, and all of it.
func said(t *testing.T, root string) (claimed, lost []int, text string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "journal"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(b)))
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		id, _ := strconv.Atoi(strings.SplitN(rest, ":", 2)[0]) // only of claim and lost
		switch word {
		case "claim":
			claimed = append(claimed, id)
		case "deleted":
			claimed = slices.DeleteFunc(claimed, func(c int) bool { return c == id })
		case "lost":
			lost = append(lost, id)
		}
	}
	return claimed, lost, string(b)
}

// restart is what the next process does: it recovers, and goes on without a
// hand. Then everything that was claimed has to be there once, in files that
// end as they should, under names that are used once.
//
// Where calls failed a lack of room may be pretended and a file may refuse to be
// deleted: which were deleted says nothing then.
func restart(t *testing.T, where, root, mode string, failed bool) {
	t.Helper()
	claimed, _, text := said(t, root)
	fatalf := func(format string, a ...any) {
		t.Helper()
		t.Fatalf("%s: %s\njournal:\n%s", where, fmt.Sprintf(format, a...), text)
	}
	o := childOptions(root, mode)
	now := t0.Add(time.Hour)
	if _, err := Recover(o, now); err != nil {
		fatalf("recover: %v", err)
	}
	l, err := Open(o)
	if err != nil {
		fatalf("open: %v", err)
	}
	for _, id := range []int{101, 102} {
		now = now.Add(3 * childStep)
		if err := childEntry(l, now, id, 10); err != nil {
			fatalf("entry after the restart: %v", err)
		}
	}
	if err := l.Close(now); err != nil {
		fatalf("close: %v", err)
	}
	names, seen := map[string]bool{}, map[int]bool{}
	for _, place := range o.Places {
		for name, err := range rollover.Names(filepath.Join(place, CollectDir)) {
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				fatalf("%v", err)
			}
			if name != "" {
				fatalf("%s is left in act-collect", name)
			}
		}
		for f, err := range rollover.List(filepath.Join(place, ArchiveDir)) {
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				fatalf("%v", err)
			}
			if names[f.Name.String()] {
				fatalf("the name %s is used twice", f.Name)
			}
			names[f.Name.String()] = true
			words := strings.Fields(summary(t, f.Path))
			if len(words) < 3 || words[0] != "<log" || words[len(words)-1] != "</log>" {
				fatalf("%s is not complete: %v", f.Name, words)
			}
			for _, word := range words {
				if id, err := strconv.Atoi(word); err == nil {
					if seen[id] {
						fatalf("entry %d is there twice", id)
					}
					seen[id] = true
				}
			}
		}
	}
	for _, id := range append(claimed, 101, 102) {
		if !seen[id] {
			fatalf("entry %d was claimed and is not there", id)
		}
	}
	if mode == modeContention && !failed {
		for i := range oldFiles - 1 {
			if seen[1001+i] && !seen[1002+i] {
				fatalf("entry %d was deleted before an older one", 1002+i)
			}
		}
		if !seen[1000+oldFiles] {
			fatalf("more was deleted than was needed: %v", seen)
		}
	}
}

// calls are the system calls of rollover, sealing and deletion.
var calls = []string{"openat", "write", "fsync", "close", "renameat2", "unlinkat", "ftruncate", "mkdirat"}

// runs are the numbers of each call that the child makes, after its start.
type runs map[string][2]int // first, last

var traceLine = regexp.MustCompile(`(?m)^(?:\d+ +)?([a-z0-9]+)\((.*)$`)

// strace runs the child under strace with the arguments and returns the trace.
func strace(t *testing.T, root, mode string, trace string, args ...string) (string, error) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "trace")
	args = append([]string{"-f", "-qq", "-e", "signal=none", "-o", log, "-e", "trace=" + trace}, args...)
	cmd := exec.Command(need.Tool(t, "strace"), append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), childEnv+"="+root+"|"+mode, "GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err, string(out))
	}
	b, readErr := os.ReadFile(log)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return string(b), err
}

// count finds out how often the child makes each call.
func count(t *testing.T, mode string) runs {
	t.Helper()
	root := stage(t, mode)
	trace, err := strace(t, root, mode, strings.Join(calls, ","))
	if err != nil {
		t.Fatal(err)
	}
	if claimed, lost, text := said(t, root); len(claimed) != childEntries || len(lost) != 0 {
		t.Fatalf("without a fault the child says\n%s", text)
	}
	restart(t, "without a fault", root, mode, false)
	r := runs{}
	begun := false
	for _, m := range traceLine.FindAllStringSubmatch(trace, -1) {
		c := r[m[1]]
		if c[1]++; !begun {
			c[0] = c[1]
		}
		r[m[1]] = c
		begun = begun || strings.Contains(m[2], "/journal\"")
	}
	return r
}

// each calls f with the calls and the numbers to disturb: all of them, or a few
// of each.
func (r runs) each(few int, f func(call string, n int)) {
	for _, call := range calls {
		c := r[call]
		var all []int
		for n := c[0] + 1; n <= c[1]; n++ {
			all = append(all, n)
		}
		if os.Getenv("ACCTPULL_PROOF") != "1" {
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			all = all[:min(few, len(all))]
		}
		slices.Sort(all)
		for _, n := range all {
			f(call, n)
		}
	}
}

// kill -9 at every system call of rollover, of space contention and of the
// log-memory.
func TestKillAtEveryCall(t *testing.T) {
	need.Tool(t, "strace")
	for _, mode := range []string{modeRollover, modeContention, modeMemory} {
		t.Run(mode, func(t *testing.T) {
			kills := 0
			count(t, mode).each(2, func(call string, n int) {
				// The call is done, or every other time it is not.
				done := ""
				if n%2 == 0 {
					done = "error=EIO:"
				}
				where := fmt.Sprintf("%skilled at %s %d", done, call, n)
				root := stage(t, mode)
				_, err := strace(t, root, mode, call, "-e", fmt.Sprintf("inject=%s:%ssignal=SIGKILL:when=%d", call, done, n))
				if err != nil && !strings.Contains(err.Error(), "killed") {
					t.Fatalf("%s: %v", where, err)
				}
				if err != nil {
					kills++
				}
				restart(t, where, root, mode, false)
			})
			if kills == 0 {
				t.Error("no child was killed")
			}
			t.Logf("%d kills", kills)
		})
	}
}

// failCall lets the n-th call fail, or all from the n-th on. It returns 1, or 0
// if the child makes no such call.
func failCall(t *testing.T, mode, call, kind string, n int, forever bool) int {
	t.Helper()
	when := strconv.Itoa(n)
	if forever {
		when += "+"
	}
	where := fmt.Sprintf("%s at %s %s", kind, call, when)
	root := stage(t, mode)
	trace, err := strace(t, root, mode, call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%s", call, kind, when))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if !strings.Contains(trace, "(INJECTED)") {
		return 0
	}
	_, lost, text := said(t, root)
	if mode == modeBackup && !forever && len(lost) > 0 {
		t.Errorf("%s: entries are lost, though there is a backup:\n%s", where, text)
	}
	restart(t, where, root, mode, true)
	return 1
}

// An error at every system call, once and from then on. With a backup location
// one error costs no entry.
func TestErrorAtEveryCallProof(t *testing.T) {
	need.Tool(t, "strace")
	for _, mode := range []string{modeRollover, modeBackup, modeContention} {
		t.Run(mode, func(t *testing.T) {
			hits := 0
			count(t, mode).each(1, func(call string, n int) {
				for i, kind := range []string{"EIO", "ENOSPC", "EROFS"} {
					// The short form takes one of the three.
					if i == n%3 || os.Getenv("ACCTPULL_PROOF") == "1" {
						hits += failCall(t, mode, call, kind, n, (n+i)%2 == 0)
					}
				}
			})
			if hits == 0 {
				t.Error("no call was disturbed")
			}
			t.Logf("%d errors", hits)
		})
	}
}
