package rollover

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func options(t testing.TB) Options {
	root := t.TempDir()
	return Options{
		Dirs:   Dirs{filepath.Join(root, "cf1", "act-collect"), filepath.Join(root, "cf1", "act")},
		Prefix: Act, ID: 10, FileID: 11, Ext: ".xml.gz", Rollover: time.Hour,
		Header: func(n Name, created time.Time, reason string) []byte {
			return fmt.Appendf(nil, "<log %s %s %q>\n", n, created.Format(time.RFC3339), reason)
		},
		Footer: func() []byte { return []byte("</log>\n") },
	}
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// gunzip reads a file to a clean end with the decoder of the standard library.
func gunzip(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	b, err := io.ReadAll(zr)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(b)
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	var got []string
	for name, err := range Names(dir) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, name)
	}
	slices.Sort(got)
	return got
}

func TestOpenChecksItsOptions(t *testing.T) {
	good := options(t)
	for what, change := range map[string]func(*Options){
		"no collect directory":  func(o *Options) { o.Dirs.Collect = "" },
		"no archive directory":  func(o *Options) { o.Dirs.Archive = "" },
		"one directory":         func(o *Options) { o.Dirs.Archive = o.Dirs.Collect + "/." },
		"prefix":                func(o *Options) { o.Prefix = "tmp" },
		"id 0":                  func(o *Options) { o.ID = 0 },
		"id 100":                func(o *Options) { o.ID = 100 },
		"file-id 0":             func(o *Options) { o.FileID = 0 },
		"extension":             func(o *Options) { o.Ext = ".gz" },
		"extension without .gz": func(o *Options) { o.Ext = ".xml" },
		"negative rollover":     func(o *Options) { o.Rollover = -1 },
		"level 10":              func(o *Options) { o.Level = 10 },
		"level -1":              func(o *Options) { o.Level = -1 },
	} {
		o := good
		change(&o)
		var e *Error
		if _, err := Open(o); !errors.As(err, &e) || !strings.HasPrefix(err.Error(), "open log: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	mustOpen(t, good)
	if _, err := os.Stat(filepath.Dir(good.Dirs.Collect)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Open created something")
	}
	if _, err := Recover(Options{Dirs: Dirs{"a", "./a"}}, time.Now()); err == nil {
		t.Error("Recover takes one directory for both")
	}
}

func TestFilesOnDisk(t *testing.T) {
	o := options(t)
	o.Location = location(t, "Europe/Berlin")
	var sealed []File
	o.OnSeal = func(f File) { sealed = append(sealed, f) }
	l := mustOpen(t, o)
	now := time.Date(2026, 7, 2, 3, 4, 5, 0, time.UTC)
	if err := l.Append(now, []byte("one\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, ErrNotRecovered) {
		t.Fatalf("open while a file lies in act-collect: %v", err)
	}
	cur, ok := l.Current()
	st, err := os.Stat(cur.Path)
	if !ok || err != nil || st.Size() != cur.Size || st.Mode().Perm()&^0o640 != 0 {
		t.Fatalf("current %+v %v, %v %v", cur, ok, st, err)
	}
	if err := l.Append(now.Add(time.Hour), []byte("two\n")); err != nil {
		t.Fatal(err)
	}
	f, ok, err := l.Roll()
	if err != nil || !ok || f.Path != filepath.Join(o.Dirs.Archive, "act1011-20260702-060405.xml.gz") {
		t.Fatalf("roll: %+v %v %v", f, ok, err)
	}
	if _, ok := l.Current(); ok {
		t.Fatal("a file is current after the roll")
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Begin(now); !errors.Is(err, ErrClosed) {
		t.Fatalf("begin after close: %v", err)
	}
	if _, _, err := l.Roll(); !errors.Is(err, ErrClosed) {
		t.Fatalf("roll after close: %v", err)
	}
	if len(sealed) != 2 || sealed[1] != f {
		t.Fatalf("announced %+v", sealed)
	}
	for i, f := range sealed {
		want := []string{
			"<log act1011-20260702-050405.xml.gz 2026-07-02T05:04:05+02:00 \"start\">\none\n</log>\n",
			"<log act1011-20260702-060405.xml.gz 2026-07-02T06:04:05+02:00 \"rollover\">\ntwo\n</log>\n"}[i]
		if got := gunzip(t, f.Path); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if again, err := f.Stat(); err != nil || again != f {
			t.Errorf("stat: %+v, %v", again, err)
		}
	}
	if len(names(t, o.Dirs.Collect)) != 0 {
		t.Error("something is left in act-collect")
	}
}

// Without header and footer the file still has their members, so that Recover
// can tell a complete file.
func TestNoHeaderNoFooter(t *testing.T) {
	o := options(t)
	o.Prefix, o.Ext, o.Header, o.Footer = EventLog, ".gz", nil, nil
	l := mustOpen(t, o)
	if err := errors.Join(l.Append(time.Now(), []byte("a line\n")), l.Close()); err != nil {
		t.Fatal(err)
	}
	for f, err := range List(o.Dirs.Archive) {
		if err != nil || gunzip(t, f.Path) != "a line\n" {
			t.Fatalf("%+v %v", f, err)
		}
		h, err := os.Open(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		st, err := h.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if s, err := scanMembers(h, st.Size()); err != nil || !s.footer || s.end != st.Size() {
			t.Fatalf("%+v %v", s, err)
		}
	}
}

// With a real clock: a day of entries, one a minute, makes a file an hour.
func TestADayOfRollovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		sealed := 0
		o.OnSeal = func(File) { sealed++ }
		l, err := openOn(newMemDisk(), o)
		if err != nil {
			t.Fatal(err)
		}
		for range 24 * 60 {
			if err := l.Append(time.Now(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if sealed != 24 {
			t.Fatalf("%d files in 24 hours", sealed)
		}
	})
}

func TestDue(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		steps []time.Duration // between two looks at the clock
		want  []bool
	}{
		"equal boundary":      {[]time.Duration{time.Hour - 1, 1}, []bool{false, true}},
		"set back":            {[]time.Duration{-time.Hour, 59 * time.Minute, time.Minute}, []bool{false, false, true}},
		"set back each time":  {[]time.Duration{30 * time.Minute, -time.Minute, 30*time.Minute - 1, -time.Minute, 1}, []bool{false, false, false, false, true}},
		"a year back":         {[]time.Duration{-365 * 24 * time.Hour, time.Hour}, []bool{false, true}},
		"a year forward":      {[]time.Duration{365 * 24 * time.Hour}, []bool{true}},
		"no time":             {[]time.Duration{0, 0}, []bool{false, false}},
		"forward after back":  {[]time.Duration{-time.Hour, 2 * time.Hour}, []bool{false, true}},
		"many small steps":    {[]time.Duration{20 * time.Minute, 20 * time.Minute, 20 * time.Minute}, []bool{false, false, true}},
		"beyond all duration": {[]time.Duration{1<<63 - 1}, []bool{true}},
	} {
		f, now := open{seen: at}, at
		for i, step := range c.steps {
			now = now.Add(step)
			if got := f.due(now, time.Hour); got != c.want[i] {
				t.Errorf("%s, step %d: %v", what, i, got)
			}
		}
	}
	f := open{seen: at}
	if f.due(at.AddDate(100, 0, 0), 0) {
		t.Error("rollover 0 rolls over")
	}
}

func TestErrors(t *testing.T) {
	for err, hint := range map[error]string{
		syscall.ENOSPC: "make room", syscall.EROFS: "read-only", syscall.EXDEV: "one file system",
		ErrNotRecovered: "recovery", syscall.EIO: "",
	} {
		e := &Error{Op: "seal", File: "f", Err: fmt.Errorf("deep: %w", err)}
		if !errors.Is(e, err) || (hint == "") != (e.Hint() == "") || !strings.Contains(e.Hint(), hint) {
			t.Errorf("%v: hint %q", e, e.Hint())
		}
	}
}

// A directory that nobody can write gives errors and no files, and the log
// comes right when it can be written again.
func TestFullDisk(t *testing.T) {
	d := newMemDisk()
	o := options(t)
	l, err := openOn(d, o)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	d.fault = func(_ int, call string) (error, bool) {
		if strings.HasPrefix(call, "create ") {
			return syscall.ENOSPC, false
		}
		return nil, false
	}
	var e *Error
	if err := l.Append(now, []byte("x")); !errors.As(err, &e) || e.Hint() == "" || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v", err)
	}
	d.fault = nil
	if err := errors.Join(l.Append(now, []byte("x")), l.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 1500 {
		name := NewName(Act, 1+i%99, 1, time.Unix(int64(i), 0).UTC(), ".xml.gz").String()
		want = append(want, name)
		put(t, filepath.Join(dir, name), []byte("xy"))
		if i%10 == 0 {
			put(t, filepath.Join(dir, fmt.Sprintf("foreign%d", i)), nil)
		}
	}
	slices.Sort(want)
	var got []string
	for f, err := range List(dir) {
		if err != nil || f.Size != 0 || f.Path != filepath.Join(dir, f.Name.String()) {
			t.Fatalf("%+v %v", f, err)
		}
		got = append(got, f.Name.String())
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("%d files listed, want %d", len(got), len(want))
	}
	for range List(dir) {
		break // ending early closes the directory
	}
	f := File{Path: filepath.Join(dir, want[0])}
	if f, err := f.Stat(); err != nil || f.Size != 2 {
		t.Errorf("%+v %v", f, err)
	}
	for _, err := range List(filepath.Join(dir, "none")) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing directory: %v", err)
		}
	}
	if _, err := (File{Path: dir}).Stat(); err == nil {
		t.Error("a directory has a size")
	}
}

// Entries of all sizes and levels come back byte for byte, and memory does not
// grow with an entry.
func TestEntriesComeBack(t *testing.T) {
	for _, level := range []int{0, 1, 9} {
		o := options(t)
		o.Level = level
		l := mustOpen(t, o)
		rng := rand.New(rand.NewPCG(7, uint64(level)))
		now := time.Now()
		var want bytes.Buffer
		for range 6 {
			e, err := l.Begin(now)
			if err != nil {
				t.Fatal(err)
			}
			for range rng.IntN(40) {
				p := bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(20_000))
				want.Write(p)
				if n, err := e.Write(p); err != nil || n != len(p) {
					t.Fatal(n, err)
				}
			}
			if err := e.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		f, ok, err := l.Roll()
		if err != nil || !ok {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(gunzip(t, f.Path), ">\n")
		if got != want.String()+"</log>\n" {
			t.Fatalf("level %d: %d bytes come back of %d", level, len(got), want.Len())
		}
	}
}
