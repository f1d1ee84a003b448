package export

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// DefaultGrace is how long files that were replaced stay for those who began to
// read before.
const DefaultGrace = time.Hour

// CleanReplaced removes what was replaced longer than grace ago, and returns the
// number of files that went: in a directory the old directories, and what killed
// replacers left; in a bucket the replaced files, and the manifests that a newer
// one has followed for that long, with the pages that only they name. A reader
// of a bucket that takes longer than grace with one snapshot finds files missing,
// and must begin anew. To repeat it after a crash is safe.
func CleanReplaced(ctx context.Context, dataset depot.Depot, now time.Time, grace time.Duration) (int, error) {
	var n int
	var err error
	if d, ok := dataset.(*depot.Dir); ok {
		n, err = cleanDir(ctx, d, now.Add(-grace))
	} else {
		n, err = cleanBucket(ctx, dataset, now.Add(-grace))
	}
	if err != nil {
		return n, fail("remove replaced files", err)
	}
	return n, nil
}

// cleanDir removes old directories. Under the lock, not shared, none of them is
// being built.
func cleanDir(ctx context.Context, d *depot.Dir, before time.Time) (n int, err error) {
	aside := filepath.Join(d.Root(), asideDir)
	if _, err := os.Stat(aside); isMissing(err) {
		return 0, nil
	}
	release, err := d.Lock(ctx, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, release()) }()
	entries, err := os.ReadDir(aside)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		at, ok := asideTime(e.Name())
		if !ok || at.After(before) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return n, context.Cause(ctx)
		}
		name := filepath.Join(aside, e.Name())
		files, err := os.ReadDir(name)
		if err != nil {
			return n, err
		}
		if err := os.RemoveAll(name); err != nil {
			return n, err
		}
		n += len(files)
	}
	return n, durable.SyncDir(aside)
}

// asideTime tells when a directory was put aside, or begun; that of a probe,
// which is gone at once unless its process was killed, is long ago.
func asideTime(name string) (time.Time, bool) {
	if strings.HasPrefix(name, depot.ProbePrefix) {
		return time.Time{}, true
	}
	digits, _, ok := strings.Cut(name, "-")
	ms, err := strconv.ParseInt(digits, 10, 64)
	return time.UnixMilli(ms), ok && err == nil
}

// cleanBucket removes superseded manifests, then what only they name, then files
// that were replaced.
func cleanBucket(ctx context.Context, dataset depot.Depot, before time.Time) (int, error) {
	c := &bucketCleaning{dataset: dataset, before: before}
	if err := c.manifests(ctx); err != nil || len(c.kept) == 0 {
		return c.removed, err
	}
	if err := c.pages(ctx); err != nil {
		return c.removed, err
	}
	return c.removed, c.files(ctx)
}

// bucketCleaning is a cleanBucket under way.
type bucketCleaning struct {
	dataset depot.Depot
	before  time.Time
	kept    []*manifest // by generation; the last is the newest
	removed int
}

// remove removes a file, unless somebody else was faster.
func (c *bucketCleaning) remove(ctx context.Context, p string) error {
	err := c.dataset.Remove(ctx, p)
	if isMissing(err) {
		return nil
	}
	if err == nil {
		c.removed++
	}
	return err
}

// manifests removes those that the next one followed long ago.
func (c *bucketCleaning) manifests(ctx context.Context) error {
	var all []*manifest
	for e, err := range c.dataset.List(ctx, manifestDir) {
		if err != nil {
			return err
		}
		if n, ok := parseManifestPath(e.Path); ok {
			m, err := readManifest(ctx, c.dataset, n)
			if isMissing(err) {
				continue
			}
			if err != nil {
				return err
			}
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *manifest) int { return cmp.Compare(a.Generation, b.Generation) })
	first := len(all) - 1 // to be kept
	for first > 0 && all[first].Time.After(c.before) {
		first--
	}
	for _, m := range all[:max(first, 0)] {
		if err := c.remove(ctx, manifestPath(m.Generation)); err != nil {
			return err
		}
	}
	if len(all) > 0 {
		c.kept = all[max(first, 0):]
	}
	return nil
}

// pages removes pages and histories that belong to removed manifests, or to
// none because their writer was too late. Those of a manifest that is being made
// have the number of a coming one, or it will not be the newest ever.
func (c *bucketCleaning) pages(ctx context.Context) error {
	named, seen := map[string]bool{}, map[string]bool{}
	for _, m := range c.kept {
		pages, err := m.pages(ctx, func(r pageRef) bool {
			fresh := !seen[r.Path]
			seen[r.Path], named[r.Path] = true, true
			return fresh
		})
		if err != nil {
			return err
		}
		for _, p := range pages {
			for _, h := range p.Replaced {
				named[h.Path] = true
			}
		}
	}
	oldest := c.kept[0].Generation
	for e, err := range c.dataset.List(ctx, pagesDir) {
		if err != nil {
			return err
		}
		number, _, ok := strings.Cut(strings.TrimPrefix(e.Path, pagesDir+"/"), "/")
		n, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil || n > oldest || named[e.Path] {
			continue
		}
		if err := c.remove(ctx, e.Path); err != nil {
			return err
		}
	}
	return nil
}

// files removes the files that were replaced long ago. Their names never come
// again, so nobody can be about to use one.
func (c *bucketCleaning) files(ctx context.Context) error {
	newest := c.kept[len(c.kept)-1]
	there, err := newest.snapshot(ctx, func(string) bool { return true })
	if err != nil {
		return err
	}
	current, histories := there.index(), map[string]History{}
	for e, err := range c.dataset.List(ctx, "") {
		if err != nil {
			return err
		}
		if _, is := current[e.Path]; is || !isOutput(e.Path) {
			continue
		}
		partition := partitionOf(e.Path)
		h, ok := histories[partition]
		if !ok {
			if h, err = newest.history(ctx, partition); err != nil {
				return err
			}
			histories[partition] = h
		}
		if at, was := h.replacedAt(e.Path); was && !at.After(c.before) {
			if err := c.remove(ctx, e.Path); err != nil {
				return err
			}
		}
	}
	return nil
}
