package ledger_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"acctpull/internal/need"
	"acctpull/ledger"
)

func TestFileModes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a b?#%25é&x=1.db")
	l := must(ledger.Open(t.Context(), path))(t)
	put(t, l, "r1", map[string]string{"a": "1"})
	if l.Path() != path {
		t.Errorf("path %q", l.Path())
	}
	entries := must(os.ReadDir(dir))(t)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info := must(e.Info())(t); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %s", e.Name(), info.Mode())
		}
	}
	if len(names) != 3 || names[0] != filepath.Base(path) {
		t.Errorf("files %q", names)
	}
	ok(t, l.Close())
	ok(t, l.Close())
	if entries = must(os.ReadDir(dir))(t); len(entries) != 2 { // the ledger and its seal
		t.Errorf("%d files are left after Close", len(entries))
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	exec1(t, foreign, `CREATE TABLE recipes (name TEXT)`)
	newer := filepath.Join(dir, "newer.db")
	mustClose(t, newer)
	exec1(t, newer, `UPDATE schema_version SET version = 4`)
	older := filepath.Join(dir, "older.db")
	mustClose(t, older)
	exec1(t, older, `UPDATE schema_version SET version = 0`)
	unversioned := filepath.Join(dir, "unversioned.db")
	mustClose(t, unversioned)
	exec1(t, unversioned, `DELETE FROM schema_version`)
	text := filepath.Join(dir, "text.db")
	ok(t, os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 1000)), 0o600))
	short := filepath.Join(dir, "short.db")
	ok(t, os.WriteFile(short, []byte("x"), 0o600))
	directory := filepath.Join(dir, "directory")
	ok(t, os.Mkdir(directory, 0o700))
	for _, c := range []struct {
		path       string
		want       error
		text, hint string
		fatal      bool
	}{
		{foreign, ledger.ErrForeign, "another program", "path of a ledger", false},
		{newer, ledger.ErrNewer, "schema version 4", "version of acctpull", false},
		{older, ledger.ErrDamaged, "version 0 does not exist", "restore a copy or rebuild", true},
		{unversioned, ledger.ErrDamaged, "no schema version", "restore a copy or rebuild", true},
		{text, ledger.ErrDamaged, "does not begin as", "restore a copy or rebuild", true},
		{short, ledger.ErrDamaged, "has 1 bytes", "restore a copy or rebuild", true},
		{directory, nil, "not a regular file", "", false},
		{filepath.Join(dir, "no", "such", "dir.db"), fs.ErrNotExist, "no such file", "", false},
	} {
		before, _ := os.ReadFile(c.path)
		_, err := ledger.Open(t.Context(), c.path)
		refused(t, err, c.want, c.text)
		var e *ledger.Error
		if !errors.As(err, &e) || e.Op != "open" || e.Path != c.path || !strings.Contains(e.Hint(), c.hint) ||
			c.hint == "" && e.Hint() != "" || ledger.IsFatal(err) != c.fatal {
			t.Errorf("%s: error %v, hint %q, fatal %v", c.path, err, e.Hint(), ledger.IsFatal(err))
		}
		if after, _ := os.ReadFile(c.path); string(before) != string(after) {
			t.Errorf("%s: a refused file was changed", c.path)
		}
	}
}

func mustClose(t *testing.T, path string) {
	t.Helper()
	l, err := ledger.Open(t.Context(), path)
	ok(t, err)
	ok(t, l.Close())
}

// exec1 changes the file behind the ledger's back.
func exec1(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	ok(t, err)
	_, err = db.ExecContext(t.Context(), statement)
	ok(t, errors.Join(err, db.Close()))
}

// TestOpenAtOnce: processes that start together make one ledger.
func TestOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l, err := ledger.Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := l.Discover(t.Context(), start, []ledger.Key{key("r1", fmt.Sprint(i))}); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(rows(t, mustOpen(t, path))); n != 8 {
		t.Errorf("%d rows, want 8", n)
	}
}

// TestZeroBytes: what is left of a ledger that was truncated to nothing, or of
// a crash in the first Open, is an empty ledger, and Empty says so.
func TestZeroBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	ok(t, os.WriteFile(path, nil, 0o600))
	if l := mustOpen(t, path); !must(l.Empty(t.Context()))(t) {
		t.Error("a file of zero bytes is not an empty ledger")
	}
}

func TestErrorText(t *testing.T) {
	l := mustOpen(t, filepath.Join(t.TempDir(), "ledger.db"))
	k := key("r\u202e1", "act\n\x1b[2J"+strings.Repeat("x", 1000))
	c := claim(t, l, "a", k)[0]
	c.Attempt++
	_, err := l.Store(t.Context(), start, c, digest("x"), "x")
	refused(t, err, ledger.ErrLeaseLost, "store ledger ")
	if text := err.Error(); len(text) > 1024 || strings.ContainsAny(text, "\n\x1b\u202e") || !strings.Contains(text, `act\n\x1b[2Jxxx`) {
		t.Errorf("error of %d bytes: %q", len(text), text)
	}
	var e *ledger.Error
	if !errors.As(err, &e) || e.Device != k.Device || e.File != k.Name || e.Hint() != "" {
		t.Errorf("error %+v", e)
	}
}

// TestReadOnly: a ledger that cannot be written is an error with a hint.
func TestReadOnly(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	mustClose(t, filepath.Join(dir, "ledger.db"))
	mount(t, dir, "--bind", dir)
	run(t, "mount", "-o", "remount,bind,ro", dir)
	_, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	var e *ledger.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "writable") {
		t.Errorf("error %v, hint %q", err, e.Hint())
	}
}

// TestDiskFull is case C10: the call fails and says why, everything recorded
// before is there, and the ledger goes on when there is space again.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	mount(t, dir, "-t", "tmpfs", "-o", "size=400k", "tmpfs")
	l := must(ledger.Open(t.Context(), filepath.Join(dir, "ledger.db")))(t)
	n := 0
	listing := func() []ledger.Key {
		var keys []ledger.Key
		for i := range 50 {
			keys = append(keys, key("r1", fmt.Sprintf("act1101-%06d.xml.gz", n+i)))
		}
		return keys
	}
	var err error
	for range 1000 {
		if _, err = l.Discover(t.Context(), start, listing()); err != nil {
			break
		}
		n += 50
	}
	var e *ledger.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "free space") || ledger.IsFatal(err) {
		t.Fatalf("after %d files: error %v, hint %q, fatal %v", n, err, e.Hint(), ledger.IsFatal(err))
	}
	t.Logf("full after %d files: %v", n, err)
	if got := len(rows(t, l)); n == 0 || got != n {
		t.Errorf("%d rows, %d were recorded", got, n)
	}
	run(t, "mount", "-o", "remount,size=8m", dir)
	must(l.Discover(t.Context(), start, listing()))(t)
	if got := len(rows(t, l)); got != n+50 {
		t.Errorf("%d rows, %d were recorded", got, n+50)
	}
	ok(t, l.Check(t.Context()))
	ok(t, l.Close())
}

func mount(t *testing.T, dir string, args ...string) {
	t.Helper()
	run(t, "mount", append(args, dir)...)
	t.Cleanup(func() { run(t, "umount", dir) })
}

func run(t *testing.T, tool string, args ...string) {
	t.Helper()
	if out, err := exec.Command(need.Tool(t, tool), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
}
