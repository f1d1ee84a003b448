package rollover

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what the scenarios print now into their files")

// Each file of testdata/scenarios is a list of commands, "> append 900B", each
// followed by everything it did to the disk and by its result. A lost fsync or
// another order shows as a changed line. Commands:
//
//	open | close | roll | recover   the log
//	append SIZE                     one whole entry, e.g. 900B or 200KB
//	begin SIZE | commit | abort     an entry in steps
//	sleep DUR | clock DUR           time goes on | the clock is set
//	fail CALL [done]                the next such call fails [but is done]
//	lie                             the next write is reported, not done
//	crash [PERCENT]                 power cut; this much of the rest survives
//	put PATH TEXT                   a foreign file appears
//	rm PATH                         a file is taken away
//	link-only                       a file system without renameat2
//	ls DIR | cat PATH               look, without a trace
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := newScenario(t).run(string(want))
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(want) && !*update {
				t.Errorf("%s differs (go test -run Scenarios -update shows it as a diff):\n%s", name, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %q\nwant %q", i+1, g[i], strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
	return "output ends early"
}

type scenario struct {
	t      *testing.T
	d      *memDisk
	o      Options
	log    *Log
	entry  *Entry
	now    time.Time
	number int
	out    strings.Builder
}

func newScenario(t *testing.T) *scenario {
	s := &scenario{t: t, d: newMemDisk(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s.d.trace = s.line
	s.o = Options{
		Dirs: Dirs{"act-collect", "act"}, Prefix: Act, ID: 10, FileID: 11, Ext: ".xml.gz", Rollover: 60 * time.Minute,
		Header: func(n Name, created time.Time, reason string) []byte {
			return fmt.Appendf(nil, "<log created=%q reason=%q>", created.Format(time.RFC3339), reason)
		},
		Footer: func() []byte { return []byte("</log>") },
		OnSeal: func(f File) { s.line("sealed " + f.Path) },
	}
	return s
}

func (s *scenario) line(text string) { s.out.WriteString("  " + text + "\n") }

func (s *scenario) run(script string) string {
	for _, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		command, ok := strings.CutPrefix(line, "> ")
		switch {
		case ok:
			s.out.WriteString(line + "\n")
			if err := s.do(strings.Fields(command)); err != nil {
				s.line("error: " + err.Error())
			}
		case line == "" || line[0] == '#':
			s.out.WriteString(line + "\n")
		}
	}
	return s.out.String()
}

func (s *scenario) do(f []string) (err error) {
	f = append(f, "", "")
	switch f[0] {
	case "open":
		s.log, err = openOn(s.d, s.o)
	case "close":
		return s.log.Close()
	case "roll":
		_, ok, err := s.log.Roll()
		if !ok && err == nil {
			s.line("nothing to seal")
		}
		return err
	case "recover":
		r, err := recoverOn(s.d, s.o, s.now)
		s.line(fmt.Sprintf("recovered: %d sealed, %d torn, %d tails, %t bytes cut, %d temporary", len(r.Sealed), len(r.Torn), len(r.Tails), r.CutBytes > 0, r.Temps))
		return err
	case "append":
		return s.log.Append(s.now, s.payload(f[1]))
	case "begin":
		if s.entry, err = s.log.Begin(s.now); err == nil {
			_, err = s.entry.Write(s.payload(f[1]))
		}
	case "commit":
		return s.entry.Commit()
	case "abort":
		return s.entry.Abort()
	case "sleep", "clock":
		d, err := time.ParseDuration(f[1])
		s.now = s.now.Add(d)
		return err
	case "fail":
		s.fault(f[1], ioError, f[2] == "done")
	case "lie":
		s.lie()
	case "crash":
		percent, err := strconv.Atoi("0" + f[1])
		s.d = s.d.crash(rand.New(rand.NewPCG(1, 1)), percent)
		s.d.trace = s.line
		s.log, s.entry = nil, nil
		return err
	case "put":
		return s.put(f[1], strings.TrimSpace(strings.Join(f[2:], " ")))
	case "rm":
		delete(s.d.names, f[1])
		delete(s.d.durable, f[1])
	case "link-only":
		s.d.noMove = true
	case "ls":
		for _, p := range slices.Sorted(maps.Keys(s.d.names)) {
			if path.Dir(p) == f[1] {
				s.line(path.Base(p))
			}
		}
	case "cat":
		return s.cat(f[1])
	default:
		return fmt.Errorf("unknown command %q", f[0])
	}
	return err
}

// payload is the next numbered entry. Its text does not compress.
func (s *scenario) payload(size string) []byte {
	s.number++
	unit := 1
	size = strings.TrimSuffix(size, "B")
	if k, ok := strings.CutSuffix(size, "K"); ok {
		size, unit = k, 1000
	}
	n, err := strconv.Atoi(size)
	if err != nil {
		s.t.Fatalf("size %q: %v", size, err)
	}
	rng := rand.New(rand.NewPCG(uint64(s.number), 0))
	b := fmt.Appendf(nil, "<entry %d ", s.number)
	for len(b) < n*unit-1 {
		b = append(b, byte('a'+rng.IntN(26)))
	}
	return append(b, '>')
}

func (s *scenario) fault(call string, err error, effect bool) {
	s.d.fault = func(_ int, c string) (error, bool) {
		if !strings.HasPrefix(c, call+" ") {
			return nil, false
		}
		s.d.fault = nil
		s.line(c + ": injected error")
		return err, effect
	}
}

// lie makes the next write report success and do nothing.
func (s *scenario) lie() {
	s.d.fault = func(_ int, c string) (error, bool) {
		if !strings.HasPrefix(c, "write ") {
			return nil, false
		}
		s.d.fault = nil
		return errLie, false
	}
}

func (s *scenario) put(p, text string) error {
	s.d.dirs[path.Dir(p)] = true
	n := &inode{data: []byte(text), stable: []byte(text)}
	s.d.names[p], s.d.durable[p] = n, n
	return nil
}

// cat prints what is in a file: its text, with long entries shortened.
func (s *scenario) cat(p string) error {
	n := s.d.names[p]
	if n == nil {
		return errors.New("no such file")
	}
	zr, err := gzip.NewReader(bytes.NewReader(n.data))
	if err != nil {
		s.line(fmt.Sprintf("%q", n.data))
		return nil
	}
	text, err := io.ReadAll(zr)
	for _, part := range strings.SplitAfter(string(text), ">") {
		if len(part) > 80 {
			part = part[:12] + "…"
		}
		if part != "" {
			s.line(part)
		}
	}
	return err
}
