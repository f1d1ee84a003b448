package durable

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"acctpull/internal/need"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

// Both ways of moving have to keep the same promise.
func TestMoveNoReplace(t *testing.T) {
	for name, move := range map[string]func(string, string) error{
		"renameat2": MoveNoReplace, "link and unlink": linkUnlink,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
			write(t, a, "new")
			if err := move(a, b); err != nil {
				t.Fatal(err)
			}
			if got := list(t, dir); !slices.Equal(got, []string{"b"}) {
				t.Fatalf("after the move: %v", got)
			}
			write(t, a, "newer")
			err := move(a, b)
			if !errors.Is(err, fs.ErrExist) {
				t.Fatalf("onto an existing file: %v", err)
			}
			if read(t, a) != "newer" || read(t, b) != "new" {
				t.Fatal("a refused move changed a file")
			}
			if err := move(filepath.Join(dir, "none"), filepath.Join(dir, "c")); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("of a missing file: %v", err)
			}
			if !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) {
				t.Fatalf("error does not name the files: %v", err)
			}
		})
	}
}

func TestMoveAcrossFileSystems(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "durable")
	if err != nil {
		need.Missing(t, "a second file system at /dev/shm: %v", err)
	}
	defer os.RemoveAll(other)
	a := filepath.Join(t.TempDir(), "a")
	write(t, a, "x")
	var here, there syscall.Stat_t
	if err := errors.Join(syscall.Stat(a, &here), syscall.Stat(other, &there)); err != nil {
		t.Fatal(err)
	}
	if here.Dev == there.Dev {
		need.Missing(t, "a temporary directory outside /dev/shm")
	}
	if err := MoveNoReplace(a, filepath.Join(other, "a")); !errors.Is(err, syscall.EXDEV) {
		t.Fatalf("got %v, want EXDEV", err)
	}
	if read(t, a) != "x" || len(list(t, other)) != 0 {
		t.Fatal("something was copied")
	}
}

func TestPublish(t *testing.T) {
	root := t.TempDir()
	collect, act := filepath.Join(root, "act-collect"), filepath.Join(root, "deep", "er", "act")
	for _, d := range []string{collect, act} {
		if err := MkdirAll(d); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Create(collect, "one", DataMode)
	if err != nil {
		t.Fatal(err)
	}
	if !IsTemp(filepath.Base(f.Path())) {
		t.Fatalf("temporary name %q", f.Path())
	}
	if _, err := f.WriteString("hello "); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("world")); err != nil {
		t.Fatal(err)
	}
	if f.Size() != 11 {
		t.Fatalf("size %d", f.Size())
	}
	final := filepath.Join(act, "one")
	if err := f.Publish(final); err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil || read(t, final) != "hello world" {
		t.Fatalf("abort after publish: %v", err)
	}
	if _, err := f.Write(nil); !errors.Is(err, ErrAbandoned) {
		t.Fatalf("write after publish: %v", err)
	}
	if len(list(t, collect)) != 0 {
		t.Fatal("temporary file left")
	}
	st, err := os.Stat(final)
	if err != nil || st.Mode().Perm()&^DataMode != 0 {
		t.Fatalf("mode %v %v", st.Mode(), err)
	}

	g, err := Create(collect, "one", DataMode)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.WriteString("other"); err != nil {
		t.Fatal(err)
	}
	if err := g.Publish(final); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("publish onto an existing file: %v", err)
	}
	if sum, n, err := Sum(g.Path()); err != nil || n != 5 || sum != hexSum("other") {
		t.Fatalf("the temporary file must stay for the comparison: %v %d %v", sum, n, err)
	}
	if err := g.Abort(); err != nil {
		t.Fatal(err)
	}
	if read(t, final) != "hello world" || len(list(t, collect)) != 0 {
		t.Fatal("refused publish changed something or left a file")
	}
}

func hexSum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// A file that had one error is never published, whatever the later calls say.
func TestFileIsAbandonedAfterAnError(t *testing.T) {
	dir := t.TempDir()
	for name, spoil := range map[string]func(*File) error{
		"write fails": func(f *File) error {
			if err := f.f.Close(); err != nil {
				return err
			}
			if _, err := f.WriteString("y"); err == nil {
				return errors.New("write to a closed file succeeded")
			}
			return nil
		},
		"fsync fails": func(f *File) error {
			if err := f.f.Close(); err != nil {
				return err
			}
			if f.Sync() == nil {
				return errors.New("fsync of a closed file succeeded")
			}
			return nil
		},
		"file shorter than written": func(f *File) error {
			if err := f.f.Truncate(0); err != nil {
				return err
			}
			if err := f.Sync(); err == nil || !strings.Contains(err.Error(), "wrote 1 bytes, file has 0") {
				return errors.Join(errors.New("a lying write was not found"), err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Create(dir, "x", DataMode)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("x"); err != nil {
				t.Fatal(err)
			}
			if err := spoil(f); err != nil {
				t.Fatal(err)
			}
			if err := f.Publish(filepath.Join(dir, "x")); !errors.Is(err, ErrAbandoned) {
				t.Fatalf("publish: %v", err)
			}
			_ = f.Abort() // the descriptor may be closed already; the name must be gone
			if got := list(t, dir); len(got) != 0 {
				t.Fatalf("left: %v", got)
			}
		})
	}
}

func TestCreateRefusesNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", ".", "..", "a/b", "/a", "a/", "a\x00b", strings.Repeat("x", 250)} {
		if f, err := Create(dir, name, DataMode); err == nil {
			t.Errorf("%q accepted as %s", name, f.Path())
		}
	}
	if _, err := Create(filepath.Join(dir, "none"), "x", DataMode); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for range 3 {
		f, err := Create(dir, "act0101-20260101-000000.xml.gz", DataMode)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, f.Path())
	}
	slices.Sort(want)
	foreign := []string{".tmp-x", ".tmp-0123456789abcdeX-a", ".tmp-0123456789ABCDEF-a", ".tmp-0123456789abcdef-",
		"tmp-0123456789abcdef-a", ".tmp-0123456789abcdef_a", "act0101-20260101-000000.xml.gz"}
	for _, n := range foreign {
		write(t, filepath.Join(dir, n), "")
	}
	if err := os.Mkdir(filepath.Join(dir, ".tmp-0123456789abcdef-dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, ".tmp-x"), filepath.Join(dir, ".tmp-0123456789abcdef-link")); err != nil {
		t.Fatal(err)
	}
	got, err := Leftovers(dir)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %v %v\nwant %v", got, err, want)
	}
	if n, err := RemoveLeftovers(dir); n != 3 || err != nil {
		t.Fatalf("removed %d, %v", n, err)
	}
	if n := len(list(t, dir)); n != len(foreign)+2 {
		t.Fatalf("%d names stay, want %d", n, len(foreign)+2)
	}
	if n, err := RemoveLeftovers(dir); n != 0 || err != nil {
		t.Fatalf("second time: %d %v", n, err)
	}
	if _, err := Leftovers(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing directory: %v", err)
	}
}

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	for _, s := range []string{"one", "two", ""} {
		if err := ReplaceFile(path, []byte(s), StateMode); err != nil {
			t.Fatal(err)
		}
		if read(t, path) != s {
			t.Fatalf("got %q, want %q", read(t, path), s)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != StateMode {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFile(filepath.Join(dir, "d"), nil, StateMode); err == nil {
		t.Fatal("a directory was replaced")
	}
	if got := list(t, dir); !slices.Equal(got, []string{"d", "state"}) {
		t.Fatalf("left: %v", got)
	}
}

func TestMkdirAll(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "a", "b", "c")
	for range 2 {
		if err := MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(dir)
	if err != nil || !st.IsDir() || st.Mode().Perm()&^DirMode != 0 {
		t.Fatalf("%v %v", st, err)
	}
	write(t, filepath.Join(root, "file"), "")
	for _, p := range []string{filepath.Join(root, "file"), filepath.Join(root, "file", "x")} {
		if err := MkdirAll(p); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "nowhere"), filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(root, "link")); err == nil {
		t.Error("a dangling link is not a directory")
	}
}

func TestSum(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "abc")
	if err := SyncFile(path); err != nil {
		t.Fatal(err)
	}
	sum, n, err := Sum(path)
	if err != nil || n != 3 || sum != hexSum("abc") {
		t.Fatalf("%s %d %v", sum, n, err)
	}
	if _, _, err := Sum(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: %v", err)
	}
}

// holderEnv makes the test binary a process that holds a lock, see TestMain.
const holderEnv = "DURABLE_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holderEnv); path != "" {
		if _, err := AcquireLock(path); err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString("locked\n")
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := AcquireLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != StateMode {
		t.Fatalf("mode %v %v", st.Mode(), err)
	}
	_, err = AcquireLock(path)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Hint() == "" {
		t.Fatalf("second lock: %v", err)
	}
	if err := errors.Join(l.Release(), l.Release()); err != nil {
		t.Fatal(err)
	}
	if l, err = AcquireLock(path); err != nil {
		t.Fatalf("after release: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

// The lock of a process goes away with it, also with kill -9.
func TestLockDiesWithItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "locked\n" {
		t.Fatalf("holder says %q, %v", line, err)
	}
	_, err = AcquireLock(path)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != cmd.Process.Pid || !strings.Contains(err.Error(), "pid "+strconv.Itoa(cmd.Process.Pid)) {
		t.Fatalf("want locked by %d, got %v", cmd.Process.Pid, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says "signal: killed"
	l, err := AcquireLock(path)
	if err != nil {
		t.Fatalf("after kill -9: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	is := func(want bool) {
		t.Helper()
		if held, known := Held(path); known && held != want {
			t.Errorf("held: %t, want %t", held, want)
		}
	}
	is(false)
	l, err := AcquireLock(path)
	if err != nil {
		t.Fatal(err)
	}
	is(true)
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	is(false)
}
