package policy

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acctpull/record"
)

// reloadConfig has two policies, two SAPs for the first and one for the second.
func reloadConfig(location string) Config {
	return Config{
		Source:  SourceConfig{Kind: SourceSynthetic},
		FileIDs: []FileID{{ID: 11, Location: location}, {ID: 12, Location: location}},
		Policies: []AccountingPolicy{
			{ID: 10, Record: "service-ingress-octets", To: 11, Default: true},
			{ID: 20, Record: "service-egress-octets", To: 12},
		},
		Objects: []Object{
			{Type: Access, ID: "1/1/1:1", Service: "1", CollectStats: true},
			{Type: Access, ID: "1/1/1:2", Service: "1", CollectStats: true},
			{Type: Access, ID: "1/1/1:3", Service: "1", CollectStats: true, Policy: 20},
		},
	}
}

func newSetOf(t testing.TB, c Config) *Set {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A reload waits for the collection of a policy that loses an object, holds no
// other policy back meanwhile, and has changed nothing if it gives up waiting.
func TestReconfigureWaits(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := reloadConfig(dir)
		first := newSetOf(t, c)
		c.Objects = slices.Clone(c.Objects[1:])
		next := newSetOf(t, c)
		src := &fickle{synthetic: Synthetic{Start: time.Now()}}
		slow := &slowRecord{Source: src, name: "service-ingress-octets", delay: 4 * time.Minute, times: 2}
		var ends []string
		begun := time.Now()
		col, err := NewCollector(Options{Set: first, Source: slow, Hooks: Hooks{OnInterval: func(iv Interval) {
			ends = append(ends, time.Since(begun).String()+" "+policyName(iv.Policy))
			if iv.Closing {
				ends = append(ends, "last values")
			}
			if iv.Err != nil {
				t.Error(iv.Err)
			}
		}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- col.Run(ctx) }()
		time.Sleep(6 * time.Minute) // in the collection of policy 10, from 5m to 9m
		short, stop := context.WithTimeout(ctx, time.Minute)
		if err := col.Reconfigure(short, next, time.Now()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up with %v", err)
		}
		stop()
		if s := col.Status(); s[0].Objects != 2 {
			t.Errorf("a reload that gave up has changed something: %+v", s[0])
		}
		if err := col.Reconfigure(ctx, next, time.Now()); err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d != 13*time.Minute { // 9m, and the slow reading of the last values
			t.Errorf("the reload ended at %v", d)
		}
		if s := col.Status(); s[0].Objects != 1 || s[0].DataLoss+s[1].DataLoss != 0 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := "5m0s accounting-policy 20, 9m0s accounting-policy 10, 10m0s accounting-policy 20, 13m0s accounting-policy 10, last values, 13m0s accounting-policy 10"
		if got := strings.Join(ends, ", "); !strings.HasPrefix(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// slowRecord makes a source slow for one record, at first.
type slowRecord struct {
	Source
	name  record.Name
	delay time.Duration
	times int // how often it is slow
}

func (s *slowRecord) Sample(ctx context.Context, req Request, out Sink) error {
	if req.Record.Name == s.name && s.times > 0 {
		s.times--
		time.Sleep(s.delay)
	}
	return s.Source.Sample(ctx, req, out)
}

// What a reload refuses changes nothing and says what to do.
func TestReconfigureRefuses(t *testing.T) {
	c := reloadConfig(t.TempDir())
	col, err := NewCollector(Options{Set: newSetOf(t, c), Source: &Synthetic{}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	if err := col.Reconfigure(t.Context(), nil, now); err == nil {
		t.Error("no set was taken")
	}
	c.Source.Seed = 7
	var e *Error
	if err := col.Reconfigure(t.Context(), newSetOf(t, c), now); !errors.Is(err, ErrSource) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "restart") {
		t.Errorf("another source: %v", err)
	}
	if err := col.Close(); err != nil {
		t.Fatal(err)
	}
	if err := col.Reconfigure(t.Context(), newSetOf(t, reloadConfig(t.TempDir())), now); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// ending is a source that hands out last values by itself.
type ending struct {
	Synthetic
	finals map[string]int // how many of an object, at the next collection
	epochs string
}

func (s *ending) Epoch(record.Name, *Object) string { return s.epochs }

func (s *ending) Sample(ctx context.Context, req Request, out Sink) error {
	for _, o := range req.Objects {
		one := req
		one.Objects = []*Object{o}
		n := s.finals[o.ID]
		for final := 1; final <= n; final++ {
			if err := s.Synthetic.Sample(ctx, one, finalSink{out, final}); err != nil {
				return err
			}
		}
		if n > 0 {
			out.Restarted(o, "made anew")
			delete(s.finals, o.ID)
		}
	}
	return s.Synthetic.Sample(ctx, req, out)
}

type finalSink struct {
	Sink
	n int
}

func (s finalSink) Record(r *record.Record) error {
	r.Final = s.n
	defer func() { r.Final = 0 }()
	return s.Sink.Record(r)
}

// Last values of the source are passed on and counted; those of the
// configuration follow them, and ordinals begin again after a collection.
func TestSourceFinals(t *testing.T) {
	c := reloadConfig(t.TempDir())
	set := newSetOf(t, c)
	src := &ending{finals: map[string]int{"1/1/1:3": 2}}
	var told []Interval
	col, err := NewCollector(Options{Set: set, Source: src, Hooks: Hooks{OnInterval: func(iv Interval) { told = append(told, iv) }}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	step := func(off bool) {
		t.Helper()
		now = now.Add(time.Minute)
		c.Objects = slices.Clone(c.Objects)
		c.Objects[2].CollectStats = !off
		if err := col.Reconfigure(t.Context(), newSetOf(t, c), now); err != nil {
			t.Fatal(err)
		}
	}
	if iv, err := col.Collect(t.Context(), 20, now); err != nil || iv.Records != 3 || iv.Finals != 2 || iv.Restarted != 1 {
		t.Errorf("%+v, %v", iv, err)
	}
	step(true) // final 1
	step(false)
	src.finals["1/1/1:3"] = 1 // final 2, and final 3 of the configuration
	step(true)
	step(false)
	if _, err := col.Collect(t.Context(), 20, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	step(true) // final 1
	if err := col.Close(); err != nil {
		t.Fatal(err)
	}
	var finals []int
	for _, r := range readArchive(t, set) {
		if r.Set.Record == "service-egress-octets" {
			finals = append(finals, r.Final)
		}
	}
	if want := []int{1, 2, 0, 1, 2, 3, 0, 1}; !slices.Equal(finals, want) {
		t.Errorf("finals %v, want %v", finals, want)
	}
	if len(told) != 5 || told[2].Finals != 2 || !told[2].Closing || told[2].Objects != 1 {
		t.Errorf("told %+v", told)
	}
}

// baselineWorld is a collector of one SAP that can be restarted.
type baselineWorld struct {
	t     *testing.T
	c     Config
	src   *ending
	col   *Collector
	notes []string
	now   time.Time
}

func newBaselineWorld(t *testing.T) *baselineWorld {
	w := &baselineWorld{t: t, c: reloadConfig(t.TempDir()), src: &ending{epochs: "boot a"}, now: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}
	w.c.Objects = w.c.Objects[:1]
	w.begin()
	return w
}

func (w *baselineWorld) begin() {
	w.t.Helper()
	col, err := NewCollector(Options{Set: newSetOf(w.t, w.c), Source: w.src, Hooks: Hooks{
		OnObject: func(n ObjectNote) { w.notes = append(w.notes, n.Kind.String()+": "+n.Text) },
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.col = col
}

func (w *baselineWorld) restart() {
	w.t.Helper()
	if err := w.col.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.begin()
}

// reload puts what change makes of the configuration in force.
func (w *baselineWorld) reload(change func(c *Config)) {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	w.c.Objects, w.c.FileIDs = slices.Clone(w.c.Objects), slices.Clone(w.c.FileIDs)
	change(&w.c)
	if err := w.col.Reconfigure(w.t.Context(), newSetOf(w.t, w.c), w.now); err != nil {
		w.t.Fatal(err)
	}
}

// sap collects and returns ioo of the SAP, and what the source says it is.
func (w *baselineWorld) sap() (got, raw uint64) {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	iv, err := w.col.Collect(w.t.Context(), 10, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := gunzip(iv.File.Path)
	if err != nil && len(text) == 0 {
		w.t.Fatal(err)
	}
	text = text[bytes.LastIndex(text, []byte("<ioo>"))+len("<ioo>"):]
	for _, b := range text[:bytes.IndexByte(text, '<')] {
		got = got*10 + uint64(b-'0')
	}
	return got, w.raw()
}

func (w *baselineWorld) raw() uint64 {
	o := &w.col.current().c.Objects[0]
	for _, r := range sample(w.t, &w.src.Synthetic, Request{At: w.now, Record: definition(w.t, "service-ingress-octets"), Objects: []*Object{o}}).records {
		if v := r.Get("ioo"); v.State == record.Number {
			return v.N
		}
	}
	return 0
}

func (w *baselineWorld) toggleMode() uint64 {
	w.reload(func(c *Config) { c.Objects[0].CounterMode = ForwardDrop - c.Objects[0].CounterMode })
	return w.raw()
}

// The baseline of a reset outlives the program and a change of location, and
// nothing of it is left when nothing has one any more.
func TestBaselineSurvives(t *testing.T) {
	w := newBaselineWorld(t)
	if got, raw := w.sap(); got != raw {
		t.Fatalf("got %d, the source has %d", got, raw)
	}
	base := w.toggleMode()
	check := func(what string) {
		t.Helper()
		if got, raw := w.sap(); got != raw-base || base == 0 {
			t.Errorf("%s: got %d, want %d - %d", what, got, raw, base)
		}
	}
	check("after the reset")
	w.restart()
	check("after a restart")
	old := filepath.Join(w.c.FileIDs[0].Location, stateDir)
	w.reload(func(c *Config) { c.FileIDs[0].Location = t.TempDir() })
	w.restart()
	check("in another location")
	if left, err := os.ReadDir(old); err != nil || len(left) != 0 {
		t.Errorf("left in the old location: %v %v", left, err)
	}
	w.reload(func(c *Config) { c.Objects[0].CollectStats = false })
	w.restart()
	w.reload(func(c *Config) { c.Objects[0].CollectStats = true })
	check("after statistics were off")
	base = w.toggleMode()
	check("after the second reset")
	w.src.finals = map[string]int{"1/1/1:1": 1}
	if got, raw := w.sap(); got != raw {
		t.Errorf("after a restart of the object: got %d, want %d", got, raw)
	}
	if left, err := os.ReadDir(filepath.Join(w.c.FileIDs[0].Location, stateDir)); err != nil || len(left) != 0 {
		t.Errorf("left when nothing has a baseline: %v %v", left, err)
	}
}

// A baseline that outlived the program is not used for counters that began again
// meanwhile, by what the source says or by what they count.
func TestBaselineOfOtherCounters(t *testing.T) {
	w := newBaselineWorld(t)
	w.toggleMode()
	w.src.epochs = "boot b"
	w.restart()
	if got, raw := w.sap(); got != raw || len(w.notes) != 1 || !strings.Contains(w.notes[0], `restarted: its counters are those of "boot b"`) {
		t.Errorf("got %d, want %d; notes %q", got, raw, w.notes)
	}
	w.toggleMode()
	w.src.Start = w.now // the counters begin again, and the source does not notice
	w.restart()
	if got, raw := w.sap(); got != raw || len(w.notes) != 2 || !strings.Contains(w.notes[1], "below its baseline") {
		t.Errorf("got %d, want %d; notes %q", got, raw, w.notes)
	}
}

// A damaged file of baselines is refused, and the policy is down until somebody
// has looked at it.
func TestBaselineDamaged(t *testing.T) {
	w := newBaselineWorld(t)
	w.toggleMode()
	path := baselinePath(filepath.Join(w.c.FileIDs[0].Location, stateDir), "service-ingress-octets")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := slices.Clone(data)
		bad[i] ^= 1
		if _, err := parseBaselines(bad, "service-ingress-octets"); err == nil {
			t.Fatalf("byte %d of %q: a flipped bit passes", i, data)
		}
	}
	if err := os.WriteFile(path, data[:len(data)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	w.restart()
	var e *Error
	_, err = w.col.Collect(t.Context(), 10, w.now.Add(time.Minute))
	if !errors.Is(err, ErrBaselines) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "remove it") || !strings.Contains(err.Error(), path) {
		t.Errorf("collected: %v", err)
	}
	if s := w.col.Status()[0]; s.Up || s.DataLoss != 1 {
		t.Errorf("status %+v", s)
	}
	if again, err := os.ReadFile(path); err != nil || len(again) != len(data)-1 {
		t.Errorf("the damaged file was touched: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, raw := w.sap(); got != raw || !w.col.Status()[0].Up {
		t.Errorf("without the file: got %d, want %d", got, raw)
	}
}

// If the last values cannot be written they are lost and counted, and the new
// configuration is in force.
func TestLastValuesLost(t *testing.T) {
	w := newBaselineWorld(t)
	w.sap()
	collect := w.c.FileIDs[0].CollectDir()
	if err := os.Rename(collect, collect+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(collect, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var left []LeftFile
	w.col.o.Hooks.OnLeft = func(l LeftFile) { left = append(left, l) }
	w.c.Policies = slices.Clone(w.c.Policies)
	w.c.Policies[0].Shutdown = true
	err := w.col.Reconfigure(t.Context(), newSetOf(t, w.c), w.now.Add(time.Minute))
	s := w.col.Status()[0]
	if err == nil || !s.Shutdown || !errors.Is(s.Err, ErrShutdown) || s.DataLoss != 1 || len(left) != 1 || left[0].Policy != 10 || left[0].File.Name.ID != 10 {
		t.Errorf("%v; status %+v; left %v", err, s, left)
	}
	if err := os.Remove(collect); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(collect+".away", collect); err != nil {
		t.Fatal(err)
	}
	if err := w.col.Close(); err != nil { // it seals what was left
		t.Error(err)
	}
	if n := len(readArchive(t, w.col.current())); n == 0 {
		t.Error("the file that was left is not in act")
	}
}

// What Status tells of a policy that runs, of one that is shut down, and of one
// that was.
func TestStatus(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := reloadConfig(dir)
		src := &fickle{synthetic: Synthetic{Start: time.Now()}}
		col, err := NewCollector(Options{Set: newSetOf(t, c), Source: src})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		begun := time.Now()
		go func() { done <- col.Run(ctx) }()
		src.change(func() { src.err = errors.New("broken") })
		time.Sleep(7 * time.Minute)
		src.change(func() { src.err = nil })
		s := col.Status()
		at := begun.Add(5 * time.Minute).Round(0)
		if a := s[0]; !a.Up || a.Shutdown || !a.Default || a.Objects != 2 || a.DataLoss != 1 || !a.LastDataLoss.Equal(at) ||
			!a.Since.Equal(at) || a.File.Size == 0 || !a.Next.Equal(begun.Add(10*time.Minute)) || a.Record != "service-ingress-octets" || a.CollectionInterval != 5*time.Minute {
			t.Errorf("%+v", a)
		}
		for _, off := range []bool{true, false} {
			c.Policies = slices.Clone(c.Policies)
			c.Policies[0].Shutdown = off
			if err := col.Reconfigure(ctx, newSetOf(t, c), time.Now()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			a := col.Status()[0]
			if a.Up == off || a.Shutdown != off || a.DataLoss != 1 || a.File.Path != "" || a.Next.IsZero() != off || (a.Objects == 0) != off {
				t.Errorf("shut down %v: %+v", off, a)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if a := col.Status()[0]; !a.Next.IsZero() {
			t.Errorf("after the end: next %v", a.Next)
		}
	})
}
