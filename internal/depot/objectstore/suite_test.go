package objectstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// depots are all implementations that the suite runs against. Each returns the
// same depot twice, as two processes would open it, and a directory for local
// files.
func depots(t *testing.T, run func(t *testing.T, a, b depot.Depot, local string)) {
	t.Run("directory", func(t *testing.T) {
		root := t.TempDir()
		run(t, depot.NewDir(filepath.Join(root, "d")), depot.NewDir(filepath.Join(root, "d")), root)
	})
	t.Run("part of a directory", func(t *testing.T) {
		root := t.TempDir()
		d := depot.NewDir(root)
		run(t, depot.Sub(d, "x/y"), depot.Sub(d, "x/y"), root)
	})
	t.Run("fake store", func(t *testing.T) {
		f := newFake()
		check(t, f.store(t))
		run(t, f.store(t), f.store(t), t.TempDir())
	})
	t.Run("fake store without checksums", func(t *testing.T) {
		f := newFake()
		f.forgets = true
		check(t, f.store(t))
		run(t, f.store(t), f.store(t), t.TempDir())
	})
	t.Run("part of a fake store", func(t *testing.T) {
		f := newFake()
		check(t, f.store(t))
		run(t, depot.Sub(f.store(t), "x"), depot.Sub(f.store(t), "x"), t.TempDir())
	})
	t.Run("versitygw", func(t *testing.T) {
		g := startGateway(t, false)
		check(t, g.store(t, "one"))
		run(t, g.store(t, "one"), g.store(t, "one"), t.TempDir())
	})
	t.Run("versitygw over TLS", func(t *testing.T) {
		g := startGateway(t, true)
		check(t, g.store(t, ""))
		run(t, g.store(t, ""), g.store(t, ""), t.TempDir())
	})
}

func check(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// finished makes a finished local file.
func finished(t testing.TB, dir, path, content string) depot.File {
	t.Helper()
	f, err := durable.Create(dir, filepath.Base(path), durable.DataMode)
	if err == nil {
		_, err = f.WriteString(content)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	return depot.File{Path: path, Local: f.Path(), SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

// content reads a file.
func content(t testing.TB, d depot.Reader, path string) string {
	t.Helper()
	o, err := d.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(o)
	if err = errors.Join(err, o.Close()); err != nil || int64(len(b)) != o.Size() {
		t.Fatalf("%s: %d of %d bytes, %v", path, len(b), o.Size(), err)
	}
	return string(b)
}

// listed lists.
func listed(t testing.TB, d depot.Reader, dir string) []string {
	t.Helper()
	var names []string
	for e, err := range d.List(t.Context(), dir) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%s %d", e.Path, e.Size))
	}
	slices.Sort(names)
	return names
}

func outcomes(placed []depot.Placement) (o []depot.Outcome) {
	for _, p := range placed {
		o = append(o, p.Outcome)
	}
	return o
}

// What every depot promises.
func TestDepot(t *testing.T) {
	depots(t, func(t *testing.T, a, b depot.Depot, local string) {
		ctx := t.Context()
		const name = "devices/192.0.2.7%3A2022/act/act0101-20260101-000000.xml.gz"
		files := []depot.File{
			finished(t, local, name, "one"),
			finished(t, local, "devices/r 1+ü/act/empty", ""),
			finished(t, local, "quarantine/r1/x-01234567", strings.Repeat("long ", 100_000)),
		}
		placed, err := a.Publish(ctx, files)
		if err != nil || !slices.Equal(outcomes(placed), []depot.Outcome{depot.Placed, depot.Placed, depot.Placed}) {
			t.Fatalf("%v %v", placed, err)
		}
		for i, f := range files {
			if placed[i].SHA256 != f.SHA256 {
				t.Errorf("%s: %s", f.Path, placed[i].SHA256)
			}
			if sum, n, err := b.Sum(ctx, f.Path); err != nil || sum != f.SHA256 || n != f.Size {
				t.Errorf("%s: %s %d %v", f.Path, sum, n, err)
			}
		}
		if got := content(t, b, name); got != "one" {
			t.Fatalf("%q", got)
		}

		// The same again, other content, and one more: nothing is replaced.
		again := []depot.File{finished(t, local, name, "one"), finished(t, local, files[1].Path, "other"), finished(t, local, "devices/r2/act/z", "z")}
		placed, err = b.Publish(ctx, again)
		if err != nil || !slices.Equal(outcomes(placed), []depot.Outcome{depot.Same, depot.Taken, depot.Placed}) || placed[1].SHA256 != files[1].SHA256 {
			t.Fatalf("%v %v", placed, err)
		}
		for _, f := range again[:2] {
			if _, err := os.Stat(f.Local); err != nil {
				t.Errorf("the local file of what was not placed: %v", err)
			}
		}
		if content(t, a, name) != "one" || content(t, a, files[1].Path) != "" {
			t.Fatal("something was replaced")
		}

		checkReading(t, a, files[2])
		checkDocuments(t, a, b)
		checkListing(t, a, b, local)
		checkRemoving(t, a, b, local, name)
	})
}

// checkReading reads in pieces, from the middle and beyond the end.
func checkReading(t *testing.T, d depot.Depot, f depot.File) {
	t.Helper()
	o, err := d.Open(t.Context(), f.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}()
	p := make([]byte, 7)
	if n, err := o.ReadAt(p, 5*7); n != 7 || err != nil || string(p) != "long lo" {
		t.Fatalf("%d %q %v", n, p, err)
	}
	if n, err := o.ReadAt(p, f.Size-3); n != 3 || err != io.EOF || string(p[:3]) != "ng " {
		t.Fatalf("at the end: %d %q %v", n, p[:n], err)
	}
	if n, err := o.ReadAt(p, f.Size); n != 0 || err != io.EOF {
		t.Fatalf("behind the end: %d %v", n, err)
	}
	if n, err := io.ReadFull(o, p); n != 7 || err != nil || string(p) != "long lo" {
		t.Fatalf("%d %q %v", n, p, err)
	}
	for _, missing := range []string{"devices/none/act/x", f.Path + "x"} {
		if _, err := d.Open(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open a missing file: %v", err)
		}
		if _, _, err := d.Sum(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("sum of a missing file: %v", err)
		}
	}
	local, done, err := depot.Localize(t.Context(), d, f.Path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if sum, _, err := durable.Sum(local); err != nil || sum != f.SHA256 {
		t.Fatalf("local copy: %s %v", sum, err)
	}
	if err := done(); err != nil || content(t, d, f.Path) == "" {
		t.Fatal(err)
	}
}

// checkDocuments replaces small documents and proves them by their digest.
func checkDocuments(t *testing.T, a, b depot.Depot) {
	t.Helper()
	digest := durable.Digest{Before: "digest: "}
	for _, text := range []string{"first\n", "second, and longer\n", ""} {
		if err := a.Replace(t.Context(), "dataset/catalog.sql", digest.Append([]byte(text))); err != nil {
			t.Fatal(err)
		}
		if got := content(t, b, "dataset/catalog.sql"); got != string(digest.Append([]byte(text))) {
			t.Fatalf("%q", got)
		}
		if err := depot.CheckDigest(t.Context(), b, "dataset/catalog.sql", digest); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Replace(t.Context(), "dataset/catalog.sql", []byte("digest: no\n")); err != nil {
		t.Fatal(err)
	}
	if err := depot.CheckDigest(t.Context(), b, "dataset/catalog.sql", digest); !errors.Is(err, durable.ErrDigest) {
		t.Fatalf("a wrong digest: %v", err)
	}
}

// checkListing lists parts, in pages, and leaves out what is hidden.
func checkListing(t *testing.T, a, b depot.Depot, local string) {
	t.Helper()
	var files []depot.File
	var want []string
	for i := range 40 {
		p := fmt.Sprintf("list/%c/d%d/n%03d.x-%d", 'a'+i%3, i%4, i, i)
		files = append(files, finished(t, local, p, strings.Repeat("x", i)))
		want = append(want, fmt.Sprintf("%s %d", p, i))
	}
	slices.Sort(want)
	hidden := []depot.File{finished(t, local, "list/.hidden/x", "x"), finished(t, local, "list/a/.x", "x")}
	if _, err := a.Publish(t.Context(), append(files, hidden...)); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, b, "list"); !slices.Equal(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
	for _, dir := range []string{"list/a", "list/b/d1", "list/c/d3"} {
		part := slices.DeleteFunc(slices.Clone(want), func(p string) bool { return !strings.HasPrefix(p, dir+"/") })
		if got := listed(t, b, dir); !slices.Equal(got, part) || len(part) == 0 {
			t.Fatalf("%s: got %q\nwant %q", dir, got, part)
		}
	}
	if got := listed(t, b, "list/.hidden"); !slices.Equal(got, []string{"list/.hidden/x 1"}) {
		t.Fatalf("a hidden directory that is asked for: %q", got)
	}
	if got := listed(t, b, "list/non"); got != nil {
		t.Fatalf("a directory that is missing: %q", got)
	}
	if got := listed(t, b, ""); len(got) != len(want)+5 {
		t.Fatalf("everything: %q", got)
	}
	n := 0
	for range b.List(t.Context(), "list") {
		if n++; n == 3 {
			break
		}
	}
}

// checkRemoving removes, and publishes again what was removed.
func checkRemoving(t *testing.T, a, b depot.Depot, local, name string) {
	t.Helper()
	ctx := t.Context()
	if err := a.Remove(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("removed twice: %v", err)
	}
	if _, err := b.Open(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open a removed file: %v", err)
	}
	placed, err := b.Publish(ctx, []depot.File{finished(t, local, name, "two")})
	if err != nil || placed[0].Outcome != depot.Placed || content(t, a, name) != "two" {
		t.Fatalf("%v %v", placed, err)
	}
	for _, bad := range []string{"", ".", "/x", "x/", "../x", "x/../y", "x//y", "a\nb", "a\\b"} {
		_, err1 := a.Open(ctx, bad)
		_, err2 := a.Publish(ctx, []depot.File{finished(t, local, "x", "x"), {Path: bad}})
		_, _, err3 := a.Sum(ctx, bad)
		for i, err := range []error{err1, err2, err3, a.Replace(ctx, bad, nil), a.Remove(ctx, bad)} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("path %q, %d: %v", bad, i, err)
			}
		}
	}
}

// Many that publish the same names at once: one wins, the others are told what
// is there, and what is there is what the winner had.
func TestPublishRace(t *testing.T) {
	depots(t, func(t *testing.T, a, b depot.Depot, local string) {
		const writers, names = 6, 8
		var files [writers][]depot.File
		for w := range writers {
			for n := range names {
				files[w] = append(files[w], finished(t, local, fmt.Sprintf("race/n%d", n), fmt.Sprint("content ", w/2)))
			}
		}
		var placed [writers][]depot.Placement
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				d := []depot.Depot{a, b}[w%2]
				var err error
				if placed[w], err = d.Publish(context.WithoutCancel(t.Context()), files[w]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for n := range names {
			sum, _, err := a.Sum(t.Context(), fmt.Sprintf("race/n%d", n))
			if err != nil {
				t.Fatal(err)
			}
			won := 0
			for w := range writers {
				p := placed[w][n]
				switch {
				case p.SHA256 != sum:
					t.Errorf("writer %d was told of %s, there is %s", w, p.SHA256, sum)
				case p.Outcome == depot.Placed:
					won++
				case (p.Outcome == depot.Same) != (files[w][n].SHA256 == sum):
					t.Errorf("writer %d: %v", w, p)
				}
			}
			if won != 1 {
				t.Errorf("name %d: %d writers placed it", n, won)
			}
		}
	})
}

// seeded returns random numbers whose seed is in the log.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
