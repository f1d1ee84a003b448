package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/policy"
	"acctpull/record"
)

// collection is what one file holds of one interval.
type collection struct {
	start, end time.Time
	records    []string
	finals     int
	objects    []string
	sets       []string // counter modes, where they matter
}

// content is what a file says.
type content struct {
	header      record.Header
	collections []collection
	err         error // why it does not end as it should
}

// read reads a file as an outsider would.
func read(t *testing.T, path string) content {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := record.NewReader(record.ReaderOptions{Salvage: true})
	r.Reset(f, filepath.Base(path))
	var c content
	var rec record.Record
	for {
		if err := r.Next(&rec); err != nil {
			c.header = r.Header()
			if !errors.Is(err, io.EOF) {
				c.err = err
			}
			return c
		}
		n := len(c.collections)
		if n == 0 || !c.collections[n-1].end.Equal(rec.End) {
			c.collections = append(c.collections, collection{start: rec.Start, end: rec.End})
			n++
		}
		c.collections[n-1].add(&rec)
	}
}

func (c *collection) add(r *record.Record) {
	var keys, values []string
	for i, f := range r.Set.Fields {
		v := r.Values[i]
		text := v.Text
		if v.State == record.Number {
			text = fmt.Sprint(v.N)
		}
		switch {
		case v.State == record.Absent:
		case f.Role == record.Key && f.Abbrev != "svc":
			keys = append(keys, text)
		case f.Role != record.Key:
			values = append(values, f.Abbrev+" "+text)
		}
	}
	text := r.Sub + " " + strings.Join(keys, " meter ") + ": " + strings.Join(values, ", ")
	if r.Final > 0 {
		text += fmt.Sprintf(", final %d", r.Final)
		c.finals++
	}
	c.records = append(c.records, text)
	if len(keys) > 0 && !slices.Contains(c.objects, keys[0]) {
		c.objects = append(c.objects, keys[0])
	}
	if m := r.Set.CounterMode; m != "" && !slices.Contains(c.sets, m) {
		c.sets = append(c.sets, m)
	}
}

// summary says what an interval holds, without its times.
func (c *collection) summary() string {
	s := fmt.Sprintf("%d records of %s", len(c.records), strings.Join(c.objects, " "))
	if len(c.objects) > 4 {
		s = fmt.Sprintf("%d records of %d objects", len(c.records), len(c.objects))
	}
	if c.finals > 0 {
		s += fmt.Sprintf(", %d final", c.finals)
	}
	if len(c.sets) > 0 {
		s += ", " + strings.Join(c.sets, " and ")
	}
	return s
}

// list lists what lies below the locations: names, and what is in the files.
func (w *world) list() string {
	var b strings.Builder
	for _, dir := range w.accountingDirs() {
		entries, err := os.ReadDir(filepath.Join(w.dir, dir))
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", dir, err)
			continue
		}
		for _, e := range entries {
			w.listFile(&b, filepath.Join(dir, e.Name()))
		}
	}
	if b.Len() == 0 {
		return "no files\n"
	}
	return b.String()
}

// accountingDirs are the directories of accounting files, relative to the top.
func (w *world) accountingDirs() []string {
	var dirs []string
	for _, pattern := range []string{policy.CollectDir, policy.ArchiveDir, "torn"} {
		found, err := filepath.Glob(filepath.Join(w.dir, "*", pattern))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, dir := range found {
			if strings.HasSuffix(filepath.Dir(dir), ".out") {
				continue // the card lies on the table
			}
			rel, err := filepath.Rel(w.dir, dir)
			if err != nil {
				w.t.Fatal(err)
			}
			dirs = append(dirs, rel)
		}
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return strings.Compare(filepath.Dir(a), filepath.Dir(b)) })
	return dirs
}

func (w *world) listFile(b *strings.Builder, rel string) {
	c := read(w.t, filepath.Join(w.dir, rel))
	state := "complete"
	if c.err != nil {
		var e *record.FileError
		if !errors.As(c.err, &e) || !e.Truncated() {
			w.t.Errorf("%s: %v", rel, c.err)
		}
		state = "in progress"
	}
	if filepath.Base(filepath.Dir(rel)) == policy.ArchiveDir && c.err != nil {
		w.t.Errorf("%s: %v", rel, c.err)
	}
	h := c.header
	fmt.Fprintf(b, "%s %s, %s, opened %s", rel, state, h.Reason, h.Created.UTC().Format(time.RFC3339))
	if h.Description != "" {
		fmt.Fprintf(b, ", %q", h.Description)
	}
	if h.System != "" {
		fmt.Fprintf(b, ", system %s", h.System)
	}
	b.WriteByte('\n')
	for i := 0; i < len(c.collections); {
		first, n := &c.collections[i], 1
		length := first.end.Sub(first.start)
		for w.s.Setting("show") != "records" && i+n < len(c.collections) {
			next := &c.collections[i+n]
			if !next.start.Equal(c.collections[i+n-1].end) || next.end.Sub(next.start) != length || next.summary() != first.summary() {
				break
			}
			n++
		}
		start := "?"
		if !first.start.IsZero() {
			start = w.clock(first.start)
		}
		fmt.Fprintf(b, "  %s to %s: ", start, w.clock(c.collections[i+n-1].end))
		if n > 1 {
			fmt.Fprintf(b, "%d × ", n)
		}
		fmt.Fprintf(b, "%s\n", first.summary())
		if w.s.Setting("show") == "records" {
			for _, r := range first.records {
				fmt.Fprintf(b, "    %s\n", r)
			}
		}
		i += n
	}
}
