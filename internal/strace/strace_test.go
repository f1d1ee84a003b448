package strace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

const childVariable = "ACCTPULL_STRACE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

// child makes three directories, one after the other.
func child(dir string) int {
	for i := range 3 {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o700); err != nil {
			return 1
		}
	}
	return 0
}

// The harness does what it says: a fault happens at the n-th call, before it has
// an effect, and a run without an n-th call is not called a hit.
func TestFaultsHappen(t *testing.T) {
	cmd := func(dir string) *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), childVariable+"="+dir)
		return c
	}
	if kinds := Kinds(t, cmd(t.TempDir())); !slices.Contains(kinds, "mkdirat") || slices.Contains(kinds, "futex") {
		t.Fatalf("kinds of calls: %q", kinds)
	}
	for _, action := range []string{Kill, Error("EIO"), "retval=0"} {
		hits := 0
		for n := 1; ; n++ {
			dir := t.TempDir()
			hit, err := Run(t, Fault{Call: "mkdirat", Action: action, N: n}, cmd(dir))
			made, rerr := os.ReadDir(dir)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if !hit {
				if err != nil || len(made) != 3 {
					t.Fatalf("%s at call %d: no hit, %v, %d directories", action, n, err, len(made))
				}
				break
			}
			hits++
			// A lie is believed; the n-th call of a thread may be a later one of
			// the program.
			if (err == nil) != (action == "retval=0") || Killed(err) != (action == Kill) || len(made) < n-1 || len(made) > 2 {
				t.Fatalf("%s at call %d: %v, %d directories", action, n, err, len(made))
			}
		}
		if hits < 1 {
			t.Errorf("%s never happened", action)
		}
	}
	hit, err := Run(t, Fault{Call: "mkdirat", Action: Error("ENOSPC"), N: 2, On: true}, cmd(t.TempDir()))
	var exit *exec.ExitError
	if !hit || !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("hit %v, %v", hit, err)
	}
}
