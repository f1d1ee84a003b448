package export

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/internal/depot"
)

// stores are the kinds of dataset that everything here holds for.
var stores = map[string]func(dir string) depot.Depot{"directory": inDir, "bucket": newBucket}

// What is replaced is gone, what came is there, and the rest is untouched; again
// and again, and the same change twice is done once.
func TestReplace(t *testing.T) {
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			c := newCounted(t, store)
			for i := range 9 {
				c.export(i%3, 5+i)
			}
			c.checkRows()
			before := c.paths("")
			if len(before) != 9 {
				t.Fatalf("files %q", before)
			}
			day := c.paths("date=2026-03-05")
			change := c.change(day[:2])
			for range 2 {
				if err := c.replace(change); err != nil {
					t.Fatal(err)
				}
				want := append(slices.Clone(before), change.Add[0].Path)
				want = slices.DeleteFunc(want, func(p string) bool { return slices.Contains(change.Remove, p) })
				if got := c.paths(""); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
					t.Fatalf("files %q, want %q", got, want)
				}
				c.checkRows()
			}
			// The rest of the day, and what was just made.
			second := c.change(c.paths("date=2026-03-05"))
			if err := c.replace(second); err != nil {
				t.Fatal(err)
			}
			c.checkRows()
			if got := c.paths("date=2026-03-05"); !slices.Equal(got, []string{second.Add[0].Path}) {
				t.Fatalf("files %q", got)
			}
			// The first one again finds that it was done, whatever came after.
			if err := c.replace(change); err != nil {
				t.Fatal(err)
			}
			h, err := ReadHistory(context.Background(), c.dataset, partitionOf(day[0]))
			if err != nil || len(h) != 2 || len(h.Gone()) != 4 || len(h.Made()) != 1 {
				t.Fatalf("history %+v, %v", h, err)
			}
			for p, g := range h.Gone() {
				if g.Batch == "" && p != change.Add[0].Path {
					t.Errorf("%s has no batch", p)
				}
			}
			c.export(1, 7)
			c.checkRows()
		})
	}
}

// A change that does not fit what is there is refused, and nothing happens.
func TestReplaceRefuses(t *testing.T) {
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			c := newCounted(t, store)
			for range 4 {
				c.export(0, 3)
			}
			all := c.paths("")
			first, overlapping := c.change(all[:2]), c.change(all[1:3])
			if err := c.replace(first); err != nil {
				t.Fatal(err)
			}
			for what, e := range map[string]struct {
				change Change
				want   error
			}{
				"one that removes what another removed":     {overlapping, ErrStale},
				"one that adds what was there and replaced": {Change{Reason: ReasonUsage, Add: c.again(first, all)}, ErrStale},
				"an output of a batch that is not finished": {Change{Reason: ReasonExpired, Remove: []string{all[3]}}, ErrUnfinished},
			} {
				o := c.options()
				if e.want == ErrUnfinished {
					o.Finished = nil
				}
				now := c.paths("")
				if err := Replace(context.Background(), c.dataset, e.change, o); !errors.Is(err, e.want) {
					t.Errorf("%s: %v", what, err)
				}
				if got := c.paths(""); !slices.Equal(got, now) {
					t.Errorf("%s: files %q, were %q", what, got, now)
				}
			}
			c.checkRows()
			lossy := c.change(c.paths("")[:1])
			lossy.Remove = append(lossy.Remove, c.paths("")[1])
			if err := c.replace(lossy); err == nil {
				t.Error("a compaction that loses rows is made")
			}
			wrong := c.change(c.paths("")[:1])
			wrong.Add[0].SHA256 = sha("x")
			if err := c.replace(wrong); err == nil {
				t.Error("a file with other bytes is published")
			}
			foreign := c.change(c.paths("")[:1])
			foreign.Add[0].Path = MadePath("saa", 1, "2026-03-04", foreign.Add[0].SHA256, nil)
			if err := c.replace(foreign); err == nil {
				t.Error("a file of another table is published")
			}
			c.checkRows()
		})
	}
}

// again replaces the outcome of a change, and returns the file it had.
func (c *countedDataset) again(first Change, all []string) []depot.File {
	if err := c.replace(c.change([]string{first.Add[0].Path, all[2]})); err != nil {
		c.t.Fatal(err)
	}
	return first.Add
}

// A partition that loses its last file is gone, and with the last of them the
// table; what comes later makes them anew.
func TestReplaceByNothing(t *testing.T) {
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			c := newCounted(t, store)
			c.export(0, 3)
			c.export(0, 4)
			c.export(1, 5)
			gone := c.paths("")
			for _, day := range []string{"date=2026-03-04", "date=2026-03-05"} {
				if err := c.replace(Change{Reason: ReasonExpired, Remove: c.paths(day)}); err != nil {
					t.Fatal(err)
				}
			}
			if got := c.paths(""); len(got) != 0 {
				t.Fatalf("files %q", got)
			}
			if got := c.leftBeside("service-ingress-octets"); name == "directory" && len(got) > 0 {
				t.Errorf("left of the table: %q", got)
			}
			if err := c.replace(Change{Reason: ReasonExpired, Remove: gone}); err != nil {
				t.Errorf("the same once more: %v", err)
			}
			c.rows = 0
			c.export(0, 6)
			c.checkRows()
		})
	}
}

// An exporter that wakes up after its outputs were published by another one,
// and replaced, does not publish them again.
func TestLateExporter(t *testing.T) {
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			c := newCounted(t, store)
			c.export(0, 3)
			late := c.batch
			c.export(0, 4)
			if err := c.replace(c.change(c.paths(""))); err != nil {
				t.Fatal(err)
			}
			res, err := c.Run(context.Background(), late)
			if err != nil || res.Adopted != 1 || res.Records != 3 || !slices.Equal(res.Outputs, c.results[0].Outputs) {
				t.Fatalf("%+v, %v", res, err)
			}
			c.checkRows()
			// The same name with other rows is another matter.
			c.mem.files["file000000"] = append(c.mem.files["file000000"], c.record(0, 0, 99))
			if _, err := c.Run(context.Background(), late); !errors.Is(err, ErrConflict) {
				t.Errorf("other rows under the same name: %v", err)
			}
			c.checkRows()
		})
	}
}

// Two who replace the same files, and an exporter, at the same time, any number
// of times: of the two one does it, and no row is lost or there twice.
func TestReplaceAtOnce(t *testing.T) {
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			c := newCounted(t, store)
			for range 6 {
				c.export(0, 3)
			}
			for range 8 {
				all := c.paths("date=2026-03-04")
				changes := []Change{c.change(all), c.change(all[:len(all)-1]), c.change(all)}
				var wg sync.WaitGroup
				errs := make([]error, len(changes))
				o := c.options()
				for i, ch := range changes {
					wg.Go(func() { errs[i] = Replace(context.Background(), c.dataset, ch, o) })
				}
				c.export(0, 5)
				c.export(1, 2)
				wg.Wait()
				done := 0
				for _, err := range errs {
					if err == nil {
						done++
					} else if !errors.Is(err, ErrStale) {
						t.Fatal(err)
					}
				}
				// The first and the last are the same change.
				if done != 1 && (done != 2 || errs[1] == nil) {
					t.Errorf("%d changes were made: %v", done, errs)
				}
				c.checkRows()
			}
		})
	}
}

// Somebody else changes the dataset at every moment of a replacement and of an
// export in a bucket.
func TestConflictAtEveryRequest(t *testing.T) {
	for n := 1; ; n++ {
		c := newCounted(t, newBucket)
		for range 3 {
			c.export(0, 3)
		}
		b, at := c.dataset.(*memBucket), 0
		change := c.change(c.paths("")[:2])
		late := c.batch // published already, and once more below
		hit := false
		b.before = func(string, string) error {
			if at++; at == n && !hit {
				hit = true
				b.before = nil
				c.export(0, 4)
				if err := c.replace(c.change(c.paths("")[2:])); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		}
		if err := c.replace(change); err != nil && !errors.Is(err, ErrStale) {
			t.Fatal(err)
		}
		b.before = nil
		c.checkRows()
		if _, err := c.Run(context.Background(), late); err != nil {
			t.Fatal(err)
		}
		c.checkRows()
		if !hit {
			if n < 4 {
				t.Errorf("only %d requests", n)
			}
			return
		}
	}
}

// A bucket that somebody filled without a manifest is taken over as it is, once;
// a bucket that lost its manifests is not.
func TestFirstManifest(t *testing.T) {
	c := newCounted(t, newBucket)
	c.export(0, 3)
	c.export(1, 4)
	b := c.dataset.(*memBucket)
	before := c.paths("")
	maps.DeleteFunc(b.objects, func(p string, _ []byte) bool { return strings.HasPrefix(p, "manifest/") })
	if _, err := ReadSnapshot(context.Background(), b); !errors.Is(err, ErrNoManifest) {
		t.Errorf("without its manifests: %v", err)
	}
	maps.DeleteFunc(b.objects, func(p string, _ []byte) bool { return strings.HasPrefix(p, ".manifest/") })
	if got := c.paths(""); !slices.Equal(got, before) {
		t.Errorf("files %q, were %q", got, before)
	}
	c.export(1, 5)
	c.checkRows()
	if err := c.replace(c.change(c.paths("date=2026-03-05"))); err != nil {
		t.Fatal(err)
	}
	c.checkRows()
	if s, err := ReadSnapshot(context.Background(), b, "saa"); err != nil || len(s.Files) != 0 || s.Generation != 3 {
		t.Errorf("another table: %+v, %v", s, err)
	}
}

// What was replaced stays for the grace period, for those who read an older
// snapshot, and goes then; what is in use never goes.
func TestCleanReplaced(t *testing.T) {
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			c := newCounted(t, store)
			now := time.Now()
			c.o.Now = func() time.Time { return now }
			replace := func() {
				o := c.options()
				o.Now = now
				if err := Replace(ctx, c.dataset, c.change(c.paths("")), o); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				c.export(0, 3)
			}
			replaced := c.paths("")
			replace()
			now = now.Add(40 * time.Minute)
			c.export(0, 2)
			if n, err := CleanReplaced(ctx, c.dataset, now, DefaultGrace); err != nil || name == "directory" && n != 0 {
				t.Fatalf("%d files went, %v", n, err)
			}
			replace()
			now = now.Add(40 * time.Minute)
			there := func(p string) bool {
				o, err := c.dataset.Open(ctx, p)
				if err == nil {
					err = o.Close()
				}
				return err == nil
			}
			for _, p := range replaced {
				if there(p) != (name == "bucket") {
					t.Errorf("%s is there: %t", p, there(p))
				}
			}
			if n, err := CleanReplaced(ctx, c.dataset, now, DefaultGrace); err != nil || n == 0 {
				t.Fatalf("%d files went, %v", n, err)
			}
			for _, p := range replaced {
				if there(p) {
					t.Errorf("%s is still there", p)
				}
			}
			c.checkRows()
			now = now.Add(2 * time.Hour)
			if n, err := CleanReplaced(ctx, c.dataset, now, DefaultGrace); err != nil || n == 0 {
				t.Fatalf("%d files went, %v", n, err)
			}
			if n, err := CleanReplaced(ctx, c.dataset, now, DefaultGrace); err != nil || n != 0 {
				t.Fatalf("%d files went once more, %v", n, err)
			}
			c.checkRows()
			if b, ok := c.dataset.(*memBucket); ok {
				// The file, the page, its history and the manifest, beside the documents.
				documents := []string{catalogFile, packageFile, dictionaryFile, readmeFile, statisticsFile}
				left := slices.DeleteFunc(slices.Sorted(maps.Keys(b.objects)), func(key string) bool { return slices.Contains(documents, key) })
				if len(left) != 4 {
					t.Errorf("left: %q", left)
				}
			} else if left := c.leftBeside(asideDir); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
			v, err := TakeInventory(ctx, c.dataset)
			if err != nil || len(v.Unsound)+len(v.Foreign)+len(v.Stray) != 0 || len(v.Gone()) != 5 || len(v.Made()) != 1 {
				t.Errorf("%+v, %v", v, err)
			}
			c.export(0, 2)
			replace()
			c.checkRows()
		})
	}
}

// A writer that was away for so long that the number it wants is free again is
// not believed by anybody, itself included.
func TestNumberUsedAgain(t *testing.T) {
	ctx := context.Background()
	c := newCounted(t, newBucket)
	now := time.Now()
	c.o.Now = func() time.Time { return now }
	for range 3 {
		c.export(0, 3)
	}
	b := c.dataset.(*memBucket)
	change := c.change(c.paths("")[:2])
	slept := false
	b.before = func(_, p string) error {
		if _, root := parseManifestPath(p); root && !slept {
			slept, b.before = true, nil
			for range 3 {
				now = now.Add(2 * time.Hour)
				c.export(0, 1)
			}
			if _, err := CleanReplaced(ctx, b, now.Add(2*time.Hour), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	}
	if err := c.replace(change); err != nil {
		t.Fatal(err)
	}
	c.checkRows()
	if got := c.paths(""); !slept || len(got) != 5 || !slices.Contains(got, change.Add[0].Path) {
		t.Errorf("files %q", got)
	}
}
