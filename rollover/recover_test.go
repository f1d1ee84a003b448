package rollover

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"acctpull/internal/durable"
)

// An impossible stamp cannot be counted up; the present is used instead.
func TestRecoverCollision(t *testing.T) {
	o := options(t)
	if err := errors.Join(durable.MkdirAll(o.Dirs.Collect), durable.MkdirAll(o.Dirs.Archive)); err != nil {
		t.Fatal(err)
	}
	whole := func(text string) []byte {
		var b bytes.Buffer
		if _, err := newMember(6).put(&b, 0, "", []byte(text)); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	const name = "act1011-20260230-000000.xml.gz"
	put(t, filepath.Join(o.Dirs.Collect, name), whole("<log>mine"))
	put(t, filepath.Join(o.Dirs.Archive, name), whole("other"))
	r, err := Recover(o, time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC))
	if err != nil || len(r.Sealed) != 1 || r.Sealed[0].Name.String() != "act1011-20260506-070810.xml.gz" {
		t.Fatalf("%+v %v", r, err)
	}
	if gunzip(t, r.Sealed[0].Path) != "<log>mine</log>\n" || gunzip(t, filepath.Join(o.Dirs.Archive, name)) != "other" {
		t.Fatal("contents are mixed up")
	}
}

func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Things under our names that are no files of ours are errors, stay where they
// are, and keep nothing else from being recovered.
func TestRecoverOddities(t *testing.T) {
	o := options(t)
	l := mustOpen(t, o)
	if err := l.Append(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), []byte("kept\n")); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, outside, []byte("not to be touched"))
	odd := []string{"act1011-20250101-000000.xml.gz", "act1011-20250101-000001.xml.gz", "act1011-20250101-000002.xml.gz"}
	at := func(name string) string { return filepath.Join(o.Dirs.Collect, name) }
	if err := errors.Join(os.Mkdir(at(odd[0]), 0o700), os.Symlink(outside, at(odd[1])), syscall.Mkfifo(at(odd[2]), 0o600)); err != nil {
		t.Fatal(err)
	}
	// A directory in the way in the archive is a collision like any other.
	if err := os.Mkdir(filepath.Join(o.Dirs.Archive, "act1011-20260102-030405.xml.gz"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.ID, o.FileID, o.Prefix = 0, 0, "" // any identity
	r, err := Recover(o, time.Now())
	if len(r.Sealed) != 1 || filepath.Base(r.Sealed[0].Path) != "act1011-20260102-030406.xml.gz" || len(r.Torn) != 0 {
		t.Errorf("%+v", r)
	}
	for _, name := range odd {
		if err == nil || !strings.Contains(err.Error(), "recover "+name+": ") {
			t.Errorf("no error names %s: %v", name, err)
		}
	}
	if got := names(t, o.Dirs.Collect); !slices.Equal(got, odd) {
		t.Errorf("act-collect holds %v", got)
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "not to be touched" {
		t.Errorf("a link was followed: %q %v", b, err)
	}
}

// Damage in the middle: what stands behind it is no longer in the archive, but
// it is kept and reported.
func TestRecoverDamage(t *testing.T) {
	o := options(t)
	l := mustOpen(t, o)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var ends []int64
	for i := range 5 {
		if err := l.Append(now, fmt.Appendf(nil, "entry %d\n", i)); err != nil {
			t.Fatal(err)
		}
		cur, _ := l.Current()
		ends = append(ends, cur.Size)
	}
	cur, _ := l.Current()
	b, err := os.ReadFile(cur.Path)
	if err != nil {
		t.Fatal(err)
	}
	b[ends[1]+15] ^= 0x10 // in the member of entry 2
	put(t, cur.Path, append(b, "torn end"...))

	r, err := Recover(o, now)
	if err != nil || len(r.Sealed) != 1 || len(r.Tails) != 1 || len(r.Torn) != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if got := gunzip(t, r.Sealed[0].Path); !strings.HasSuffix(got, ">\nentry 0\nentry 1\n</log>\n") {
		t.Errorf("sealed %q", got)
	}
	tail, err := os.ReadFile(r.Tails[0])
	if err != nil || !bytes.Equal(tail, append(b, "torn end"...)[ends[1]:]) {
		t.Errorf("the tail is not byte for byte what was cut off: %v", err)
	}
	if r.CutBytes != int64(len(tail)) {
		t.Errorf("cut %d bytes, tail has %d", r.CutBytes, len(tail))
	}
	if again, err := Recover(o, now); err != nil || len(again.Sealed)+len(again.Tails) != 0 {
		t.Errorf("second time: %+v %v", again, err)
	}
}

// Every prefix of a file, as a crash may leave it, is recovered to the whole
// members in it.
func TestRecoverEveryPrefix(t *testing.T) {
	o := options(t)
	l := mustOpen(t, o)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var ends []int64
	for i := range 3 {
		if i > 0 {
			if err := l.Append(now, fmt.Appendf(nil, "entry %d\n", i)); err != nil {
				t.Fatal(err)
			}
		} else if e, err := l.Begin(now); err != nil || e.Abort() != nil {
			t.Fatal(err)
		}
		cur, _ := l.Current()
		ends = append(ends, cur.Size)
	}
	f, _, err := l.Roll()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	want := gunzip(t, f.Path)
	for n := range len(whole) + 1 {
		if err := os.RemoveAll(filepath.Dir(o.Dirs.Collect)); err != nil {
			t.Fatal(err)
		}
		if err := durable.MkdirAll(o.Dirs.Collect); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(o.Dirs.Collect, f.Name.String()), whole[:n])
		r, err := Recover(o, now)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if int64(n) < ends[0] {
			if len(r.Torn) != 1 || len(r.Sealed) != 0 || r.Torn[0].Size != int64(n) || filepath.Base(filepath.Dir(r.Torn[0].Path)) != "torn" {
				t.Fatalf("%d bytes: %+v", n, r)
			}
			continue
		}
		lines := strings.SplitAfter(want, "\n")
		kept := lines[0]
		for i, end := range ends[1:] {
			if int64(n) >= end {
				kept += lines[i+1]
			}
		}
		if len(r.Sealed) != 1 {
			t.Fatalf("%d bytes: %+v", n, r)
		}
		if got := gunzip(t, r.Sealed[0].Path); got != kept+"</log>\n" {
			t.Fatalf("%d bytes: %q", n, got)
		}
		if n == len(whole) && r.CutBytes != 0 {
			t.Fatalf("a whole file was cut by %d bytes", r.CutBytes)
		}
	}
}

// The mark of the footer is outside every checksum. A footer whose mark is
// damaged is no footer, or the file would get a second one.
func TestRecoverDamagedMark(t *testing.T) {
	o := options(t)
	l := mustOpen(t, o)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := l.Append(now, []byte("entry\n")); err != nil {
		t.Fatal(err)
	}
	f, _, err := l.Roll()
	if err != nil {
		t.Fatal(err)
	}
	want := gunzip(t, f.Path)
	b, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(footerMark))
	for i := range len(footerMark) {
		if err := os.Remove(f.Path); err != nil {
			t.Fatal(err)
		}
		damaged := slices.Clone(b)
		clear(damaged[at+i : at+len(footerMark)])
		put(t, filepath.Join(o.Dirs.Collect, f.Name.String()), damaged)
		if r, err := Recover(o, now); err != nil || len(r.Sealed) != 1 || r.CutBytes == 0 {
			t.Fatalf("%+v %v", r, err)
		}
		if got := gunzip(t, f.Path); got != want {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
	}
}

// FuzzScanMembers: whatever the bytes, the part that is taken as whole is a
// clean gzip stream for another decoder.
func FuzzScanMembers(f *testing.F) {
	var b bytes.Buffer
	m := newMember(6)
	for _, s := range []string{"", "a", strings.Repeat("abc", 1000)} {
		if _, err := m.put(&b, 0, footerMark, []byte(s)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte(gzipMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scanMembers(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if s.end < 0 || s.end > int64(len(data)) || s.whole != (s.end > 0) || s.footer && !s.whole {
			t.Fatalf("%+v of %d bytes", s, len(data))
		}
		if s.whole {
			zr, err := gzip.NewReader(bytes.NewReader(data[:s.end]))
			if err == nil {
				_, err = io.Copy(io.Discard, zr)
			}
			if err != nil {
				t.Fatalf("taken as whole: %v", err)
			}
		}
		behind, err := memberBehind(bytes.NewReader(data), s.end, int64(len(data)))
		if err != nil || behind && s.end == int64(len(data)) {
			t.Fatalf("behind: %v %v", behind, err)
		}
	})
}
