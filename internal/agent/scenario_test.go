package agent

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acctpull/event"
	"acctpull/internal/scenario"
	"acctpull/policy"
)

var update = flag.Bool("update", false, "write the expected results of scenarios, and docs/scenarios.md")

// TestScenarios plays every file of testdata/scenarios in virtual time and
// compares what happened (section events) and the files at the end (section
// files). -update writes both.
func TestScenarios(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(strings.TrimSuffix(filepath.Base(s.path), ".txt"), func(t *testing.T) {
			w := newWorld(t, s.Scenario)
			synctest.Test(t, func(t *testing.T) {
				w.t = t
				w.play()
			})
			if *update {
				s.write(t, w)
				return
			}
			for section, got := range map[string]string{"events": w.out.String(), "files": w.files} {
				if want, _ := s.Section(section); got != want {
					t.Errorf("section %s is\n%s\nand should be\n%s", section, got, want)
				}
			}
		})
	}
}

// scenarioFile is a scenario with its path.
type scenarioFile struct {
	*scenario.Scenario
	path string
}

func scenarios(t *testing.T) []scenarioFile {
	t.Helper()
	paths, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var all []scenarioFile
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := language.Parse(path, text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		all = append(all, scenarioFile{s, path})
	}
	return all
}

func (s scenarioFile) write(t *testing.T, w *world) {
	t.Helper()
	text := s.With("events", w.out.String())
	again, err := language.Parse(s.path, []byte(text))
	if err == nil {
		err = os.WriteFile(s.path, []byte(again.With("files", w.files)), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// language is what the scenarios of the agent may say.
var language = scenario.Language{
	Settings: []scenario.Setting{
		{Name: "proves", Doc: "the rules of `testdata/rules.txt` that the scenario proves"},
		{Name: "prefer-local-time", Check: scenario.OneOf("true", "false"), Doc: "`true` names files by the clock of the zone instead of UTC"},
		{Name: "flash", Check: scenario.Number(16, 4096), Doc: "how many KiB each of FLASH/cf1 and FLASH/cf2 has; without it they are directories without a limit"},
		{Name: "show", Check: scenario.OneOf("intervals", "records"), Doc: "`records` lists every record of the files, `intervals` (the default) what each interval holds"},
	},
	Verbs: []scenario.Verb{
		{Name: "stop", Undo: "start", Doc: "The agent is stopped in good order."},
		{Name: "start", Doc: "The agent is started. It is running at the beginning of every scenario."},
		{Name: "kill", Undo: "start", Doc: "The agent ends as by kill -9: nothing is written or closed any more."},
		{Name: "reboot", Doc: "The agent ends as by kill -9, all counters begin again, and it is started."},
		{Name: "config", Args: []scenario.Arg{{Name: "section"}}, Doc: "A running agent gets the configuration of a section."},
		{Name: "edit", Args: []scenario.Arg{{Name: "old"}, {Name: "new"}}, Doc: "A running agent gets its configuration with a piece of text, which stands in it once, replaced."},
		{Name: "clear log", Args: []scenario.Arg{{Name: "policy", Check: scenario.Number(1, 99)}}, Doc: "The open file of a policy is ended by hand."},
		{Name: "slow", Args: []scenario.Arg{{Name: "duration", Check: scenario.Duration}}, Undo: "fast", Doc: "Reading an object takes this long."},
		{Name: "fast", Doc: "Reading takes no time."},
		{Name: "source fails", Args: []scenario.Arg{{Name: "reason"}}, Undo: "source works", Doc: "The source of counters fails after the first object."},
		{Name: "source works", Doc: "It does not fail any more."},
		{Name: "delete", Args: []scenario.Arg{{Name: "object"}}, Undo: "create", Doc: "An object goes away, with its counters. The configuration still has it."},
		{Name: "create", Args: []scenario.Arg{{Name: "object"}}, Doc: "It is made anew: its counters begin at zero."},
		{Name: "unreadable", Args: []scenario.Arg{{Name: "object"}}, Undo: "readable", Doc: "An object cannot be read; it goes on counting."},
		{Name: "readable", Args: []scenario.Arg{{Name: "object"}}, Doc: "It can be read again."},
		{Name: "disk full", Args: []scenario.Arg{{Name: "card", Check: card}}, Undo: "disk freed", Doc: "Something else fills a flash card to the last byte. The scenario needs the setting `flash`."},
		{Name: "disk freed", Args: []scenario.Arg{{Name: "card", Check: card}}, Doc: "It is gone again."},
		{Name: "card out", Args: []scenario.Arg{{Name: "card", Check: card}}, Undo: "card in", Doc: "A flash card is taken out. The scenario needs the setting `flash`."},
		{Name: "card in", Args: []scenario.Arg{{Name: "card", Check: card}}, Doc: "It is put in again, with its files."},
		{Name: "read-only", Args: []scenario.Arg{{Name: "card", Check: card}}, Undo: "writable", Doc: "No file can be made, moved or deleted on a flash card; a file that is open goes on. The scenario needs the setting `flash`."},
		{Name: "writable", Args: []scenario.Arg{{Name: "card", Check: card}}, Doc: "It takes them again."},
		{Name: "list", Doc: "Lists the files as they are now."},
		{Name: "status", Doc: "Prints the status of every policy."},
	},
	Sections: []string{"config", "config-*", "events", "files"},
}

func card(word string) error { return scenario.OneOf("cf1", "cf2")(word) }

// world is a device with everything that can happen to it.
type world struct {
	t      *testing.T
	s      *scenario.Scenario
	dir    string // FLASH of the configuration
	begin  time.Time
	config string
	agent  *Agent
	end    context.CancelFunc
	done   chan error
	src    *scripted
	sealed map[string]bool

	mu      sync.Mutex
	muted   bool
	observe interface { // nil for nobody
		interval(policy.Interval)
		event(event.Event)
	}
	events []event.Event

	out   strings.Builder
	files string
}

// newWorld makes the surroundings, outside of the virtual time.
func newWorld(t *testing.T, s *scenario.Scenario) *world {
	w := &world{t: t, s: s, dir: t.TempDir(), sealed: map[string]bool{}}
	w.config, _ = s.Section("config")
	if kib := s.Setting("flash"); kib != "" {
		w.mountCards(t, kib)
	}
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// play plays the scenario in virtual time.
func (w *world) play() {
	time.Sleep(time.Until(w.s.Start))
	w.begin = time.Now()
	w.src = &scripted{born: w.begin, object: map[string]*life{}}
	w.start()
	err := w.s.Play(w.t.Context(), w.begin, func(step scenario.Step) error {
		w.flush()
		fmt.Fprintf(&w.out, "> %s\n", step)
		return w.do(step)
	})
	w.flush()
	w.files = w.list()
	w.kill()
	check(w.t, err)
}

// Emit takes an event.
func (w *world) Emit(e event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.muted {
		return
	}
	w.events = append(w.events, e)
	if w.observe != nil {
		w.observe.event(e)
	}
}

// interval takes what was collected.
func (w *world) interval(i policy.Interval) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.muted && w.observe != nil {
		w.observe.interval(i)
	}
}

// flush prints the events since the last step. Policies are collected at the same
// time, so what happens at one moment is printed by subject, and sweeps last.
func (w *world) flush() {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	swept := func(e event.Event) int {
		if e.Name == "fileExpired" || e.Name == "sweepRefused" {
			return 1
		}
		return 0
	}
	policyOf := func(e event.Event) int {
		n, _ := strconv.Atoi(e.Value("policy"))
		return n
	}
	slices.SortStableFunc(w.events, func(a, b event.Event) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(swept(a), swept(b)), cmp.Compare(policyOf(a), policyOf(b)))
	})
	for _, e := range w.events {
		w.print(e)
	}
	w.events = nil
}

// print prints an event, with the parameters that its message does not have.
func (w *world) print(e event.Event) {
	text := fmt.Sprintf("%s %s %s: %s", w.clock(e.Time), e.Name, e.Severity, e.Message)
	message := ""
	for _, d := range event.Own() {
		if d.Name == e.Name {
			message = d.Message
		}
	}
	for _, p := range e.Params {
		if p.Name != "policy" && p.Name != "file_id" && !strings.Contains(message, "$"+p.Name+"$") {
			text += fmt.Sprintf(" %s=%s", p.Name, p.Value)
		}
	}
	if i := strings.Index(text, " bytes)"); i >= 0 { // sizes depend on the compressor
		text = text[:strings.LastIndexByte(text[:i], '(')-1] + text[i+len(" bytes)"):]
	}
	if i := strings.Index(text, ", "); e.Name == "fileExpired" && i >= 0 {
		text = text[:i]
	}
	w.line("%s", text)
	if e.Name == "tmnxLogFileRollover" {
		if w.sealed[e.Value("file")] {
			w.t.Errorf("the name %s was given twice", e.Value("file"))
		}
		w.sealed[e.Value("file")] = true
	}
}

// line prints text with the directory of the test replaced.
func (w *world) line(format string, a ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, a...), w.dir, "FLASH")
	w.out.WriteString(text + "\n")
}

// block prints lines, each a little to the right.
func (w *world) block(text string) {
	for line := range strings.Lines(text) {
		w.line("  %s", strings.TrimSuffix(line, "\n"))
	}
}

// clock prints a time in the zone of the scenario, with the day if it is longer
// than one.
func (w *world) clock(at time.Time) string {
	layout := "15:04:05"
	if w.s.Length > 24*time.Hour {
		layout = "2006-01-02 15:04:05"
	}
	if w.s.Zone != time.UTC {
		layout += " MST"
	}
	return at.In(w.s.Zone).Format(layout)
}

// load reads the configuration as it is now.
func (w *world) load(config string) (*policy.Set, error) {
	return policy.Load([]byte(strings.ReplaceAll(config, "FLASH", w.dir)))
}

// start starts an agent.
func (w *world) start() {
	set, err := w.load(w.config)
	check(w.t, err)
	zone := time.UTC
	if w.s.Setting("prefer-local-time") == "true" {
		zone = w.s.Zone
	}
	w.agent, err = New(Options{Set: set, Source: w.src, Zone: zone, Events: w, Unguarded: true, Hooks: policy.Hooks{OnInterval: w.interval}})
	check(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	agent, done := w.agent, make(chan error, 1)
	w.end, w.done = cancel, done
	go func() { done <- agent.Run(ctx) }()
	synctest.Wait()
	select {
	case err := <-done:
		w.t.Errorf("the agent did not start: %v", err)
		done <- err
	default:
	}
}

// reload gives a running agent another configuration. The scenario goes on with
// it only if the agent does.
func (w *world) reload(config string) {
	err := w.agent.Load(w.t.Context(), "agent.yaml", []byte(strings.ReplaceAll(config, "FLASH", w.dir)), time.Now())
	w.flush()
	if err != nil {
		w.block(err.Error())
	}
	var mistakes *policy.ConfigError
	if !errors.As(err, &mistakes) && !errors.Is(err, policy.ErrSource) {
		w.config = config
	}
}

// stop stops the agent in good order.
func (w *world) stop() {
	w.end()
	if err := <-w.done; err != nil {
		w.flush()
		w.block(fmt.Sprintf("stopped: %v", err))
	}
	w.agent = nil
}

// do does a step.
func (w *world) do(step scenario.Step) error {
	arg := func(i int) string { return step.Args[i] }
	switch step.Verb {
	case "stop":
		w.stop()
	case "start":
		w.start()
	case "kill":
		w.kill()
	case "reboot":
		w.kill()
		w.src.do(w.src.restart)
		w.start()
	case "config":
		text, ok := w.s.Section(arg(0))
		if !ok {
			return fmt.Errorf("there is no section %q", arg(0))
		}
		w.reload(text)
	case "edit":
		if n := strings.Count(w.config, arg(0)); n != 1 {
			return fmt.Errorf("%q stands in the configuration %d times", arg(0), n)
		}
		w.reload(strings.Replace(w.config, arg(0), arg(1), 1))
	case "clear log":
		id, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		f, ok, err := w.agent.Roll(w.t.Context(), id, time.Now())
		w.flush()
		switch {
		case err != nil:
			w.line("  not cleared: %v", err)
		case ok:
			w.line("  ended %s", f.Name)
		default:
			w.line("  no file is open")
		}
	case "slow":
		d, err := scenario.ParseDuration(arg(0))
		w.src.do(func() { w.src.pause = d })
		return err
	case "fast":
		w.src.do(func() { w.src.pause = 0 })
	case "source fails":
		w.src.do(func() { w.src.err = errors.New(arg(0)) })
	case "source works":
		w.src.do(func() { w.src.err = nil })
	case "delete":
		w.src.do(func() { w.src.delete(arg(0)) })
	case "create":
		w.src.do(func() { w.src.create(arg(0)) })
	case "unreadable":
		w.src.do(func() { w.src.life(arg(0)).hidden = true })
	case "readable":
		w.src.do(func() { w.src.life(arg(0)).hidden = false })
	case "list":
		w.block(w.list())
	case "status":
		w.status()
	default:
		return w.disk(step.Verb, arg(0))
	}
	return nil
}

// status prints the status of every policy.
func (w *world) status() {
	for _, s := range w.agent.Status() {
		state := "up"
		if !s.Up {
			state = fmt.Sprintf("down: %v", s.Err)
		}
		w.line("  policy %d file %d: %s, %d objects, %d lost", s.Policy, s.FileID, state, s.Objects, s.DataLoss)
	}
}
