package policy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/rollover"
)

// TestScenarios runs every file of testdata/scenarios in virtual time: a YAML
// configuration, a line "---", and commands, each after "> " and followed by
// what it prints and what happens meanwhile. -update rewrites the output.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			flash := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				compareGolden(t, file, runScenario(t, flash, string(data)))
			})
		})
	}
}

// scenario is a collector with a source that can be told what to do.
type scenario struct {
	flash string
	text  string // of the configuration in force
	begun time.Time
	src   *fickle
	c     *Collector
	stop  context.CancelFunc
	done  chan error

	out    strings.Builder
	mu     sync.Mutex
	events []event
}

// event is what happened to a policy at a virtual time since the beginning.
type event struct {
	at     time.Duration
	policy int
	text   string
}

func runScenario(t *testing.T, flash, script string) string {
	config, commands, ok := strings.Cut(script, "\n---\n")
	if !ok {
		t.Fatal("no line ---")
	}
	s := &scenario{flash: flash, begun: time.Now(), src: &fickle{synthetic: Synthetic{Seed: 1, Start: time.Now()}, gone: map[string]bool{}, restarted: map[string]bool{}}}
	set, err := Load([]byte(strings.ReplaceAll(config, "FLASH", flash)))
	if err != nil {
		t.Fatal(err)
	}
	s.c, err = NewCollector(Options{Set: set, Source: s.src, Hooks: s.hooks()})
	if err != nil {
		t.Fatal(err)
	}
	s.text = config
	s.out.WriteString(config + "\n---\n")
	for line := range strings.Lines(commands) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			s.print("%s", line)
			s.do(t, line, strings.Fields(line[2:]))
		case strings.HasPrefix(line, "#"):
			s.print("%s", line)
		}
	}
	if s.stop != nil {
		t.Error("the scenario does not stop the collector")
		s.stop()
		<-s.done
	}
	return strings.ReplaceAll(s.out.String(), flash, "FLASH")
}

func (s *scenario) print(format string, a ...any) { fmt.Fprintf(&s.out, format+"\n", a...) }

// event notes what happened. Policies are collected at the same time, so what
// happens at one moment is printed by policy.
func (s *scenario) event(policy int, format string, a ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event{time.Since(s.begun), policy, fmt.Sprintf(format, a...)})
}

// flush prints what happened since the last command.
func (s *scenario) flush() {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.policy, b.policy))
	})
	for _, e := range s.events {
		d := int(e.at.Seconds())
		s.print("%02d:%02d:%02d policy %d: %s", d/3600, d/60%60, d%60, e.policy, e.text)
	}
	s.events = nil
}

func (s *scenario) hooks() Hooks {
	return Hooks{
		OnRecovered: func(r rollover.Recovered, err error) {
			s.event(0, "recovered: %d sealed, %d torn, %d tails, %v", len(r.Sealed), len(r.Torn), len(r.Tails), err)
		},
		OnInterval: func(iv Interval) {
			start := "?"
			if !iv.Start.IsZero() {
				start = iv.Start.UTC().Format("15:04:05")
			}
			file := ""
			if iv.File.Path != "" {
				file = " in " + iv.File.Name.String()
			}
			what := "interval"
			if iv.Closing {
				what = "last values of"
			}
			if iv.Finals > 0 {
				what = fmt.Sprintf("%d finals in %s", iv.Finals, what)
			}
			s.event(iv.Policy, what+" %s to %s: %d records of %d objects, %d missing, %d restarted%s", start, iv.End.UTC().Format("15:04:05"), iv.Records, iv.Objects, iv.Missing, iv.Restarted, file)
		},
		OnDataLoss: func(l DataLoss) { s.event(l.Policy, "data loss %d: %v", l.Count, l.Err) },
		OnFile:     func(f rollover.File) { s.event(f.Name.ID, "sealed %s", f.Name) },
		OnLeft:     func(l LeftFile) { s.event(l.Policy, "left %s: %v", l.File.Name, l.Err) },
		OnState:    func(st State) { s.event(st.Policy, "up %v: %v", st.Up, st.Err) },
		OnObject: func(n ObjectNote) {
			s.event(n.Policy, "%s is %s: %s", n.Object, n.Kind, n.Text)
		},
	}
}

func (s *scenario) do(t *testing.T, line string, words []string) {
	arg := func(i int) string {
		if i >= len(words) {
			t.Fatalf("%q needs more words", words)
		}
		return words[i]
	}
	duration := func(i int) time.Duration {
		d, err := time.ParseDuration(arg(i))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	switch words[0] {
	case "start":
		ctx, cancel := context.WithCancel(context.Background())
		s.stop, s.done = cancel, make(chan error, 1)
		go func() { s.done <- s.c.Run(ctx) }()
		s.flush()
	case "stop":
		s.stop()
		err := <-s.done
		s.flush()
		s.print("stopped: %v", err)
		s.stop = nil
	case "wait":
		time.Sleep(duration(1))
		s.flush()
	case "collect": // one interval by hand
		var id int
		fmt.Sscan(arg(1), &id)
		_, err := s.c.Collect(context.Background(), id, time.Now())
		s.flush()
		s.print("collected: %v", err)
	case "reload": // the configuration, with one piece of text for another
		was, is, ok := strings.Cut(strings.TrimPrefix(line, "> reload "), " =>")
		is = strings.TrimPrefix(is, " ")
		if !ok || strings.Count(s.text, was) != 1 {
			t.Fatalf("%q: the configuration has it %d times", was, strings.Count(s.text, was))
		}
		s.text = strings.Replace(s.text, was, is, 1)
		set, err := Load([]byte(strings.ReplaceAll(s.text, "FLASH", s.flash)))
		if err != nil {
			t.Fatal(err)
		}
		err = s.c.Reconfigure(context.Background(), set, time.Now())
		s.flush()
		s.print("reloaded: %v", err)
	case "roll":
		var id int
		fmt.Sscan(arg(1), &id)
		f, ok, err := s.c.Roll(context.Background(), id, time.Now())
		s.flush()
		if !ok && err == nil {
			s.print("nothing open")
		} else {
			s.print("rolled: %s, %v", filepath.Base(f.Path), err)
		}
	case "cat": // the records of a file
		s.cat(t, arg(1))
	case "slow": // how long the source takes for an object
		s.src.change(func() { s.src.delay = duration(1) })
	case "fail": // the source
		s.src.change(func() { s.src.err = errors.New(strings.Join(words[1:], " ")) })
	case "heal":
		s.src.change(func() { s.src.err = nil })
	case "remove":
		s.src.change(func() { s.src.gone[arg(1)] = true })
	case "restore":
		s.src.change(func() { delete(s.src.gone, arg(1)); s.src.restarted[arg(1)] = true })
	case "break": // the flash card
		collect := filepath.Join(s.flash, CollectDir)
		if err := os.Rename(collect, collect+".away"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(collect, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	case "mend":
		collect := filepath.Join(s.flash, CollectDir)
		if err := os.Remove(collect); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(collect+".away", collect); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	case "status":
		for _, st := range s.c.Status() {
			s.print("policy %d file %d: up %v, %d objects, %d lost, last interval to %s", st.Policy, st.FileID, st.Up, st.Objects, st.DataLoss, st.Last.End.UTC().Format("15:04:05"))
		}
	case "ls":
		s.ls(t)
	default:
		t.Fatalf("no command %q", words[0])
	}
}

// ls lists what is in the two directories, and what is in the files.
func (s *scenario) ls(t *testing.T) {
	for _, dir := range []string{CollectDir, ArchiveDir} {
		entries, err := os.ReadDir(filepath.Join(s.flash, dir))
		if err != nil {
			s.print("%v", err)
		}
		for _, e := range entries {
			name := e.Name()
			text, err := gunzip(filepath.Join(s.flash, dir, name))
			if dir == ArchiveDir && err != nil {
				t.Errorf("%s/%s: %v", dir, name, err)
			}
			end := "open"
			if bytes.HasSuffix(text, []byte("</accounting>\n")) {
				end = "closed"
			}
			s.print("%s/%s: %d intervals, %d records, %s", dir, name, bytes.Count(text, []byte("<interval ")), bytes.Count(text, []byte("<svc>"))+bytes.Count(text, []byte("<sdp>")), end)
		}
	}
}

// cat prints the lines of the file with that policy and time in its name.
func (s *scenario) cat(t *testing.T, name string) {
	paths, err := filepath.Glob(filepath.Join(s.flash, "*", "act"+name+"*"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s: %v %v", name, paths, err)
	}
	text, err := gunzip(paths[0])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "<?xml") && !strings.HasPrefix(line, "<acc") && !strings.HasPrefix(line, "</") {
			s.print("%s", strings.TrimSuffix(line, "\n"))
		}
	}
}

func gunzip(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// fickle is the synthetic source with everything that can happen to one.
type fickle struct {
	synthetic Synthetic

	mu        sync.Mutex
	delay     time.Duration // for each object
	err       error         // instead of the second object
	gone      map[string]bool
	restarted map[string]bool
}

func (f *fickle) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *fickle) Sample(ctx context.Context, req Request, out Sink) error {
	for i, o := range req.Objects {
		f.mu.Lock()
		delay, err, gone, restarted := f.delay, f.err, f.gone[o.ID], f.restarted[o.ID]
		delete(f.restarted, o.ID)
		f.mu.Unlock()
		time.Sleep(delay)
		if i > 0 && err != nil {
			return err
		}
		if gone {
			out.Missing(o, errNoLink)
			continue
		}
		if restarted {
			out.Restarted(o, "made anew")
		}
		one := req
		one.Objects = []*Object{o}
		if err := f.synthetic.Sample(ctx, one, out); err != nil {
			return err
		}
	}
	return nil
}
