package flash

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/retention"
	"acctpull/rollover"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a Log on real directories with a diary of its hooks.
type rig struct {
	t     *testing.T
	o     Options
	l     *Log
	now   time.Time
	n     int // entries written
	diary []string
}

// newRig opens a Log on the places given, each a directory below a temporary one.
func newRig(t *testing.T, root string, places ...string) *rig {
	t.Helper()
	r := &rig{t: t, now: t0}
	r.o = Options{Prefix: rollover.Act, ID: 10, FileID: 11, Ext: ".xml.gz", Rollover: 15 * time.Minute, Level: 1,
		Header: func(_ rollover.Name, _ time.Time, reason string) []byte {
			return fmt.Appendf(nil, "<log %s>\n", reason)
		},
		Footer: func() []byte { return []byte("</log>\n") },
	}
	for _, p := range places {
		r.o.Places = append(r.o.Places, filepath.Join(root, p))
	}
	short := func(path string) string { return strings.TrimPrefix(path, root+"/") }
	r.o.Hooks = Hooks{
		OnSeal:       func(f rollover.File) { r.note("sealed %s", short(f.Path)) },
		OnContention: func(place string, _ bool, err error) { r.note("contention %s", short(place)) },
		OnDeleted:    func(d retention.Decision) { r.note("deleted %s: %s", d.File.Name, d.Reason) },
		OnLocationFailed: func(place string, backup bool, err error) {
			r.note("failed %s backup=%v", short(place), backup)
		},
		OnState: func(up bool, err error) { r.note("up %v", up) },
	}
	r.open()
	return r
}

func (r *rig) note(format string, a ...any) { r.diary = append(r.diary, fmt.Sprintf(format, a...)) }

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.l, err = Open(r.o); err != nil {
		r.t.Fatal(err)
	}
}

// write commits one entry of the given number of bytes that do not compress.
func (r *rig) write(size int) error {
	r.n++
	e, err := r.l.Begin(r.now)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(e, "entry %d %s\n", r.n, noise(size)); err != nil {
		return err
	}
	return e.Commit()
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wait(d time.Duration) { r.now = r.now.Add(d) }

// happened checks the diary since the last call.
func (r *rig) happened(want ...string) {
	r.t.Helper()
	if !slices.Equal(r.diary, want) {
		r.t.Fatalf("happened:\n  %s\nwant:\n  %s", strings.Join(r.diary, "\n  "), strings.Join(want, "\n  "))
	}
	r.diary = nil
}

// noise is text that does not compress, always the same.
func noise(n int) string {
	x := uint64(88172645463325252)
	b := make([]byte, n)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-"[x>>58]
	}
	return string(b)
}

// content returns the files below the places: path to header and entry numbers.
func (r *rig) content() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for _, place := range r.o.Places {
		for _, dir := range []string{CollectDir, ArchiveDir} {
			for f, err := range rollover.List(filepath.Join(place, dir)) {
				if errors.Is(err, os.ErrNotExist) {
					continue
				}
				r.must(err)
				all[filepath.Join(filepath.Base(place), dir, f.Name.String())] = summary(r.t, f.Path)
			}
		}
	}
	return all
}

// summary reads a file to its end, torn or not.
func summary(t *testing.T, path string) string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return err.Error()
	}
	b, err := io.ReadAll(zr)
	var out []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "entry" {
			out = append(out, fields[1])
		} else {
			out = append(out, strings.TrimSpace(line))
		}
	}
	if err != nil {
		out = append(out, err.Error())
	}
	return strings.Join(out, " ")
}

func (r *rig) holds(want map[string]string) {
	r.t.Helper()
	if got := r.content(); !maps.Equal(got, want) {
		r.t.Fatalf("the flash holds\n%v\nwant\n%v", got, want)
	}
}

func TestSimple(t *testing.T) {
	r := newRig(t, t.TempDir(), "cf1")
	r.must(r.write(10))
	r.wait(5 * time.Minute)
	r.must(r.write(10))
	r.holds(map[string]string{"cf1/act-collect/act1011-20260301-120000.xml.gz": "<log start> 1 2"})
	r.wait(10 * time.Minute)
	r.must(r.write(10))
	r.happened("sealed cf1/act/act1011-20260301-120000.xml.gz")
	f, ok, err := r.l.Roll(r.now)
	if err != nil || !ok || f.Name.Stamp != "20260301-121500" {
		t.Fatal(f, ok, err)
	}
	r.must(r.write(10))
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> 1 2 </log>",
		"cf1/act/act1011-20260301-121500.xml.gz": "<log rollover> 3 </log>",
		"cf1/act/act1011-20260301-121501.xml.gz": "<log manual rollover> 4 </log>",
	})
	if _, err := r.l.Begin(r.now); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
