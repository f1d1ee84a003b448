package rollover

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// proof is true when the long form of the tests was asked for.
func proof() bool { return os.Getenv("ACCTPULL_PROOF") == "1" }

// world is a log on a memDisk with a book of what was promised.
type world struct {
	t        testing.TB
	d        *memDisk
	o        Options
	log      *Log
	now      time.Time
	next     int
	claimed  map[int]bool      // committed: must be there once
	maybe    map[int]bool      // commit failed or was cut: may be there once
	sealed   map[string]string // announced by OnSeal: name -> content, for ever
	backward bool              // the clock was set back: names do not sort by age
	where    func() string
	packer   *Packer
	noise    []byte // random text for payloads: it does not compress
}

// noise is random text.
func noise() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<18)
	for i := range b {
		b[i] = byte('!' + rng.IntN(94))
	}
	return b
}

func newWorld(t testing.TB, noise []byte, where func() string) *world {
	w := &world{t: t, noise: noise, d: newMemDisk(), now: time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC), where: where,
		claimed: map[int]bool{}, maybe: map[int]bool{}, sealed: map[string]string{}}
	w.o = Options{
		Dirs: Dirs{"d/act-collect", "d/act"}, Prefix: Act, ID: 10, FileID: 11, Ext: ".xml.gz", Rollover: 5 * time.Minute, Level: 1,
		Header: func(n Name, _ time.Time, reason string) []byte { return fmt.Appendf(nil, "<log %s %s>\n", n, reason) },
		Footer: func() []byte { return []byte("</log>\n") },
		OnSeal: func(f File) {
			n := w.d.names[f.Path]
			if n == nil {
				w.fatalf("announced %s is not there", f.Path)
			}
			if int64(len(n.data)) != f.Size {
				w.fatalf("announced %s with %d bytes, has %d", f.Path, f.Size, len(n.data))
			}
			if _, ok := w.sealed[f.Path]; ok {
				w.fatalf("announced %s twice", f.Path)
			}
			w.sealed[f.Path] = string(n.data)
		},
	}
	return w
}

func (w *world) fatalf(format string, a ...any) {
	w.t.Helper()
	w.t.Fatalf("%s: "+format, append([]any{w.where()}, a...)...)
}

// start opens the log as a new process would.
func (w *world) start() error {
	if _, err := recoverOn(w.d, w.o, w.now); err != nil {
		return err
	}
	l, err := openOn(w.d, w.o)
	w.log = l
	return err
}

// packed appends the next numbered entry, and perhaps one more, compressed
// before.
func (w *world) packed(rng *rand.Rand) error {
	if w.log.Due(w.now) {
		if _, _, err := w.log.Seal(ReasonRollover); err != nil {
			return err
		}
	}
	if err := w.log.Create(w.now); err != nil {
		return err
	}
	var entries []*Packed
	if w.packer == nil {
		w.packer = NewPacker(1)
	}
	k := w.packer
	first := w.next
	for range 1 + rng.IntN(2) {
		if err := k.Begin(); err != nil {
			return err
		}
		size := rng.IntN(4_000)
		fmt.Fprintf(k, "entry %d %s\n", w.next, w.noise[:size])
		p, err := k.End()
		if err != nil {
			return err
		}
		w.maybe[w.next] = true
		w.next++
		entries = append(entries, p)
	}
	if err := w.log.WritePacked(entries...); err != nil {
		return err
	}
	for id := first; id < w.next; id++ {
		delete(w.maybe, id)
		w.claimed[id] = true
	}
	return nil
}

// entry appends the next numbered entry of a random size, or aborts it.
func (w *world) entry(rng *rand.Rand) error {
	if rng.IntN(6) == 0 {
		return w.packed(rng)
	}
	e, err := w.log.Begin(w.now)
	if err != nil {
		return err
	}
	id := w.next
	w.next++
	abort := rng.IntN(6) == 0
	size := rng.IntN(40)
	if rng.IntN(12) == 0 {
		size = rng.IntN(150_000) // more than the buffers: it reaches the file before its end
	}
	from := rng.IntN(len(w.noise) - size)
	payload := w.noise[from : from+size]
	if abort {
		if _, err := fmt.Fprintf(e, "aborted %d %s\n", id, payload); err != nil {
			return errors.Join(err, e.Abort())
		}
		return e.Abort()
	}
	w.maybe[id] = true
	if _, err := fmt.Fprintf(e, "entry %d %s\n", id, payload); err != nil {
		return errors.Join(err, e.Abort())
	}
	if err := e.Commit(); err != nil {
		return err
	}
	delete(w.maybe, id)
	w.claimed[id] = true
	return nil
}

// step does one random thing.
func (w *world) step(rng *rand.Rand) error {
	switch rng.IntN(12) {
	case 0:
		_, _, err := w.log.Roll()
		return err
	case 1:
		w.now = w.now.Add(-time.Duration(rng.IntN(4)) * time.Minute)
		w.backward = true
		return nil
	case 2:
		err := w.log.Close()
		if err != nil {
			return err
		}
		w.log, err = openOn(w.d, w.o)
		return err
	}
	w.now = w.now.Add(time.Duration(rng.IntN(120)) * time.Second)
	return w.entry(rng)
}

// checkArchive checks what has to hold at any moment, also right after a
// crash: nothing torn in the archive, announced files unchanged.
func (w *world) checkArchive() {
	for p, n := range w.d.names {
		if path.Dir(p) == w.o.Dirs.Archive {
			w.text(p, n)
		}
	}
	for p, data := range w.sealed {
		if n := w.d.names[p]; n == nil || string(n.data) != data {
			w.fatalf("%s was announced and has changed or gone", p)
		}
	}
}

// text decodes a sealed file to a clean end.
func (w *world) text(p string, n *inode) string {
	zr, err := gzip.NewReader(bytes.NewReader(n.data))
	if err != nil {
		w.fatalf("%s: %v", p, err)
	}
	b, err := io.ReadAll(zr)
	if err != nil {
		w.fatalf("%s is torn: %v", p, err)
	}
	text := string(b)
	if !strings.HasPrefix(text, "<log ") || !strings.HasSuffix(text, "</log>\n") || strings.Count(text, "<log ") != 1 || strings.Count(text, "</log>") != 1 {
		w.fatalf("%s has not one header and one footer: %.200q", p, text)
	}
	return text
}

// checkAll is checkArchive, and after a recovery: every claimed entry is in
// the archive exactly once, in order, and nothing else is.
func (w *world) checkAll() {
	w.checkArchive()
	seen, last := map[int]bool{}, -1
	for _, p := range slices.Sorted(maps.Keys(w.d.names)) {
		switch path.Dir(p) {
		case w.o.Dirs.Collect:
			w.fatalf("left in the collect directory: %s", p)
		case w.o.Dirs.Archive:
		default:
			continue
		}
		if w.backward {
			last = -1
		}
		lines := strings.Split(strings.TrimSuffix(w.text(p, w.d.names[p]), "\n"), "\n")
		for _, line := range lines[1 : len(lines)-1] {
			f := strings.Split(line, " ")
			id, err := strconv.Atoi(f[1])
			if err != nil || f[0] != "entry" {
				w.fatalf("%s holds %.80q", p, line)
			}
			if seen[id] || !w.claimed[id] && !w.maybe[id] {
				w.fatalf("%s: entry %d is there twice or was never written", p, id)
			}
			if id < last {
				w.fatalf("%s: entry %d after %d", p, id, last)
			}
			seen[id], last = true, id
		}
	}
	for id := range w.claimed {
		if !seen[id] {
			w.fatalf("committed entry %d is lost", id)
		}
	}
}

// Crash at a random call, keep a random part of what was not durable, recover,
// perhaps crash again in the recovery, go on.
func TestCrashes(t *testing.T) {
	seeds := 500
	if proof() {
		seeds = 10_000
	}
	text := noise()
	base := rand.Uint64() // printed with every failure
	for i := range seeds {
		seed := base + uint64(i)
		rng := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, text, func() string { return fmt.Sprintf("seed %d", seed) })
		w.d.noMove = rng.IntN(2) == 0
		crashes := 1 + rng.IntN(3)
		for range crashes {
			crashAt := 1 + rng.IntN(150)
			effect := rng.IntN(2) == 0
			w.d.fault = func(n int, _ string) (error, bool) {
				if n < crashAt {
					return nil, false
				}
				return errCrashed, n == crashAt && effect
			}
			err := w.start()
			for err == nil {
				err = w.step(rng)
			}
			if !errors.Is(err, errCrashed) {
				w.fatalf("%v", err)
			}
			w.d = w.d.crash(rng, []int{0, 30, 50, 90, 100}[rng.IntN(5)])
			w.checkArchive()
		}
		if err := w.start(); err != nil {
			w.fatalf("recovery: %v", err)
		}
		w.checkAll()
		calls := len(w.d.names)
		if r, err := recoverOn(w.d, w.o, w.now); err != nil || len(r.Sealed)+len(r.Torn)+len(r.Tails)+r.Temps != 0 || len(w.d.names) != calls {
			w.fatalf("a second recovery found %+v, %v", r, err)
		}
		for range 3 {
			if err := w.step(rng); err != nil {
				w.fatalf("after recovery: %v", err)
			}
		}
		if err := w.log.Close(); err != nil {
			w.fatalf("close: %v", err)
		}
		w.checkAll()
	}
	t.Logf("%d seeds from %d", seeds, base)
}

// Fail the n-th call of a fixed workload, for every n, once and from then on,
// with and without the call being done, then cut the power or just go on.
func TestEveryCallFails(t *testing.T) {
	type variant struct{ forever, effect, noMove, crash bool }
	var variants []variant
	for i := range 16 {
		v := variant{i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0}
		if proof() || v.noMove == (v.effect == v.crash) {
			variants = append(variants, v) // without proof, half of them: each pair of properties still meets
		}
	}
	seeds := 1
	if proof() {
		seeds = 20
	}
	text := noise()
	base := rand.Uint64()
	for _, v := range variants {
		for s := range seeds {
			for n := 1; ; n++ {
				seed := base + uint64(s)
				rng := rand.New(rand.NewPCG(seed, 1))
				w := newWorld(t, text, func() string { return fmt.Sprintf("seed %d, call %d, %+v", seed, n, v) })
				w.d.noMove = v.noMove
				hit, failed := false, ""
				w.d.fault = func(k int, call string) (error, bool) {
					if k == n || k > n && v.forever {
						hit, failed = true, call
						return ioError, v.effect
					}
					return nil, false
				}
				runWithFault(w, rng)
				if !hit {
					if n < 50 {
						w.fatalf("the workload has only %d calls", n)
					}
					break
				}
				w.d.fault = nil
				w.where = func() string { return fmt.Sprintf("seed %d, call %d (%s), %+v", seed, n, failed, v) }
				if v.crash {
					w.d = w.d.crash(rng, 50)
				} else if !v.forever {
					// The same process goes on and has to come right by itself.
					if err := w.log.Close(); err != nil {
						w.fatalf("close when the disk is well again: %v", err)
					}
					w.checkArchive()
				}
				if err := w.start(); err != nil {
					w.fatalf("recovery: %v", err)
				}
				w.checkAll()
			}
		}
	}
}

// runWithFault is a workload with a rollover by time, one by hand, an abort, a
// large entry and a close. Errors are expected; what is claimed is what
// Commit claimed.
func runWithFault(w *world, rng *rand.Rand) {
	for range 3 { // a start that fails is repeated, as a service manager would
		if w.start() == nil {
			break
		}
	}
	if w.log == nil {
		w.log = newLog(w.d, w.o)
		return
	}
	for i := range 12 {
		w.now = w.now.Add(50 * time.Second)
		if i == 8 {
			_, _, _ = w.log.Roll()
		}
		_ = w.entry(rng)
	}
	_ = w.log.Close()
}
