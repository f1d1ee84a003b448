// Package strace runs a program under strace(1) for a test: it lists the kinds
// of system calls the program makes, lets a call fail, lie, or never return
// because the program is killed at it.
//
// strace counts calls per kind and per thread, and a Go program has several
// threads, so "every call" means: for every kind, n = 1, 2, 3 … until a run ends
// in which no thread made an n-th call. Run the program with GOMAXPROCS=1, so
// that the order of its calls is nearly the same each time.
//
// A program that is killed at a call dies before the call has any effect. Killing
// it at every call that changes something outside the process therefore visits
// every state it can leave behind.
package strace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"acctpull/internal/need"
)

// Kill is the action that kills the program with SIGKILL.
const Kill = "signal=SIGKILL"

// Lie is the action that does not execute a write and says that 5 bytes were
// written.
const Lie = "retval=5"

// Error is the action that makes a call fail with an error such as "EIO".
func Error(errno string) string { return "error=" + errno }

// Fault is what happens at one call of every thread.
type Fault struct {
	Call   string // the kind: "fsync"
	Action string
	N      int  // the n-th call of a thread, from 1
	On     bool // and every call after it
}

// String is the fault as strace spells it.
func (f Fault) String() string {
	s := fmt.Sprintf("%s:%s:when=%d", f.Call, f.Action, f.N)
	if f.On {
		s += "+"
	}
	return s
}

// Run runs the command under strace with the fault. It reports whether the fault
// happened, and how the command ended.
func Run(t testing.TB, f Fault, cmd *exec.Cmd) (hit bool, err error) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	defer func() {
		if err := os.Remove(trace); err != nil {
			t.Error(err)
		}
	}()
	options := []string{"-f", "-qq", "-o", trace, "-e", "trace=" + f.Call, "-e", "signal=none", "-e", "inject=" + f.String()}
	if f.Action != Kill {
		// Only the calls of this kind stop the program: three times as fast. A
		// signal is not sent this way (strace 6.1).
		options = append([]string{"--seccomp-bpf"}, options...)
	}
	wrap(t, cmd, options...)
	err = cmd.Run()
	if f.Action == Kill {
		return Killed(err), err
	}
	b, rerr := os.ReadFile(trace)
	if rerr != nil {
		t.Fatal(rerr)
	}
	return bytes.Contains(b, []byte("(INJECTED)")), err
}

// Killed reports whether a command ended by SIGKILL. strace, whose child it was,
// ends itself the same way.
func Killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Kinds runs the command, which has to succeed, and returns the kinds of its
// system calls in alphabetical order, without those of inside.
func Kinds(t testing.TB, cmd *exec.Cmd) []string {
	t.Helper()
	table := filepath.Join(t.TempDir(), "census")
	wrap(t, cmd, "-f", "-c", "-U", "name", "-o", table)
	if err := cmd.Run(); err != nil {
		t.Fatalf("the run that counts calls: %v", err)
	}
	b, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for line := range strings.Lines(string(b)) {
		name := strings.TrimSpace(line)
		if name == "" || name == "syscall" || name == "total" || strings.HasPrefix(name, "-") || slices.Contains(inside, name) {
			continue
		}
		kinds = append(kinds, name)
	}
	slices.Sort(kinds)
	if !slices.Contains(kinds, "openat") || !slices.Contains(kinds, "close") {
		t.Fatalf("strace counted %q: that cannot be all", kinds)
	}
	return kinds
}

// inside are the calls with which a program only talks to its own threads and
// its own memory. Where in them it dies makes no difference to anybody.
var inside = []string{
	"arch_prctl", "brk", "clone", "clone3", "execve", "exit", "exit_group", "futex", "getpid", "gettid", "getuid", "geteuid", "getrandom",
	"madvise", "mmap", "mprotect", "munmap", "nanosleep", "clock_nanosleep", "prctl", "prlimit64", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack", "tgkill", "timer_create", "timer_delete", "timer_settime", "uname",
}

// changing are the calls that change files, names or what a peer sees.
var changing = []string{
	"copy_file_range", "fallocate", "fchmod", "fchmodat", "fchown", "fchownat", "fdatasync", "flock", "fsync", "ftruncate", "link", "linkat", "mkdir", "mkdirat",
	"open", "openat", "pwrite64", "pwritev", "pwritev2", "rename", "renameat", "renameat2", "rmdir", "sendfile", "sendto", "splice", "symlinkat", "sync_file_range", "truncate",
	"unlink", "unlinkat", "utimensat", "write", "writev",
}

// Changes reports whether calls of a kind change something outside the program:
// files, names, locks, or what a peer sees.
func Changes(kind string) bool { return slices.Contains(changing, kind) }

// wrap puts strace in front of a command that is not started.
func wrap(t testing.TB, cmd *exec.Cmd, options ...string) {
	t.Helper()
	tool := need.Tool(t, "strace")
	cmd.Args = slices.Concat([]string{tool}, options, []string{"--", cmd.Path}, cmd.Args[1:])
	cmd.Path = tool
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
}
