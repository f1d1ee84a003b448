package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/record"
)

// TestReconfigureProof reconfigures a collector with random configurations,
// between collections, manual rollovers and restarts of the program, and
// compares what is in the files with a model of the rules: every record once,
// in its file, in its interval, with its ordinal and its values.
func TestReconfigureProof(t *testing.T) {
	seeds := 10
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		seeds = 1000
	}
	first := rand.Uint64N(1 << 32)

	runModel(t, 966743196) // an object left and came back, with restarts between

	var total modelCount
	for i := range seeds {
		total.add(runModel(t, first+uint64(i)))
		if t.Failed() {
			break
		}
	}
	t.Logf("seeds from %d: %+v", first, total)
	if !t.Failed() && (total.Finals == 0 || total.Reset == 0 || total.Reloads == 0 || total.Rolled == 0) {
		t.Errorf("seeds from %d: nothing was proved", first)
	}
}

// modelCount is how much a run has proved.
type modelCount struct{ Reloads, Records, Finals, Reset, Rolled int }

func (c *modelCount) add(o modelCount) {
	c.Reloads, c.Records, c.Finals = c.Reloads+o.Reloads, c.Records+o.Records, c.Finals+o.Finals
	c.Reset, c.Rolled = c.Reset+o.Reset, c.Rolled+o.Rolled
}

// model is what the files have to hold, by the rules and nothing of the code.
type model struct {
	t     *testing.T
	rng   *rand.Rand
	src   *Synthetic
	set   *Set
	dir   string
	now   time.Time
	count modelCount

	want    []string                       // every record that has to be in a file
	since   map[int]time.Time              // of the interval in progress
	file    map[int]FileID                 // where a policy writes until its next interval
	ended   map[string]int                 // ordinals, by record and object
	base    map[string]map[string][]uint64 // baselines, by record and object, of rows
	storing bool                           // no policy is without a file
}

func runModel(t *testing.T, seed uint64) modelCount {
	m := &model{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), now: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC),
		src: &Synthetic{Seed: seed, Start: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}, storing: seed%2 == 0,
		since: map[int]time.Time{}, file: map[int]FileID{}, ended: map[string]int{}, base: map[string]map[string][]uint64{},
	}
	m.set = m.random()
	for _, p := range m.set.Plan() {
		m.file[p.Policy.ID] = p.File
	}
	var told modelCount
	hooks := Hooks{
		OnInterval: func(iv Interval) {
			if iv.FileID != 0 {
				told.Records += iv.Records
				told.Finals += iv.Finals
			}
			if iv.Err != nil || iv.Missing > 0 {
				t.Errorf("seed %d: %+v", seed, iv)
			}
		},
		OnDataLoss: func(l DataLoss) { t.Errorf("seed %d: %+v", seed, l) },
		OnObject:   func(n ObjectNote) { m.note(n) },
	}
	begin := func() *Collector {
		c, err := NewCollector(Options{Set: m.set, Source: m.src, Hooks: hooks})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Recover(m.now); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := begin()
	check := func(err error) {
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	ctx := context.Background()
	for range 20 {
		m.now = m.now.Add(time.Duration(1+m.rng.IntN(400)) * time.Second)
		switch k := m.rng.IntN(10); {
		case k < 5:
			next := m.random()
			m.reconfigure(next)
			check(c.Reconfigure(ctx, next, m.now))
		case k < 8:
			for _, p := range m.set.Plan() {
				m.collect(p)
				_, err := c.Collect(ctx, p.Policy.ID, m.now)
				check(err)
			}
		case k < 9:
			for _, p := range m.set.Plan() {
				_, ok, err := c.Roll(ctx, p.Policy.ID, m.now)
				check(err)
				m.count.Rolled += boolInt(ok)
			}
		case m.storing:
			check(c.Close())
			c = begin()
			clear(m.ended)
			clear(m.since)
			for _, p := range m.set.Plan() {
				m.file[p.Policy.ID] = p.File
			}
		}
	}
	check(c.Close())
	got := m.read()
	slices.Sort(got)
	slices.Sort(m.want)
	if d := firstDifference(got, m.want); d != "" {
		t.Errorf("seed %d: %d records in the files, %d wanted: %s", seed, len(got), len(m.want), d)
	}
	if told.Records != len(got) {
		t.Errorf("seed %d: %d records told, %d in the files", seed, told.Records, len(got))
	}
	m.count.Records, m.count.Finals = len(got), told.Finals
	return m.count
}

// firstDifference returns the first line that one of two sorted lists lacks.
func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got) || i < len(want) && want[i] < got[i]:
			return "missing " + want[i]
		case i >= len(want) || got[i] < want[i]:
			return "there is " + got[i]
		}
	}
	return ""
}

// random returns a random configuration that keeps every rule.
func (m *model) random() *Set {
	names := []record.Name{"service-ingress-octets", "service-egress-octets", "service-ingress-packets", "service-egress-packets", "combined-service-ingress"}
	for {
		c := Config{Source: SourceConfig{Kind: SourceSynthetic, Seed: m.src.Seed}}
		for id := 11; id <= 15; id++ {
			c.FileIDs = append(c.FileIDs, FileID{ID: id, Location: filepath.Join(m.dir, fmt.Sprint("cf", 1+m.rng.IntN(2))), Rollover: time.Duration(5+m.rng.IntN(10)) * time.Minute})
		}
		files, records := m.rng.Perm(5), m.rng.Perm(5)
		for i := range 1 + m.rng.IntN(4) {
			p := AccountingPolicy{ID: 10 + i, Record: names[records[i]], To: Destination(11 + files[i]), Shutdown: m.rng.IntN(6) == 0, CollectionInterval: time.Duration(5+m.rng.IntN(3)) * time.Minute}
			p.Default = i == 0 && m.rng.IntN(3) > 0
			if m.rng.IntN(8) == 0 && !m.storing {
				p.To = NoFile
			}
			if m.set != nil && m.rng.IntN(2) == 0 { // often the record stays
				if old := m.set.policies[p.ID]; old != nil {
					p.Record, p.To = old.Record, old.To
				}
			}
			c.Policies = append(c.Policies, p)
		}
		for i := range 5 {
			if m.rng.IntN(6) == 0 {
				continue
			}
			o := Object{Type: Access, ID: fmt.Sprintf("1/1/1:%d", i), Service: "1", CollectStats: m.rng.IntN(5) > 0, CounterMode: CounterMode(m.rng.IntN(4) / 3), Meters: 2}
			if m.rng.IntN(2) == 0 {
				o.Policy = 10 + m.rng.IntN(len(c.Policies))
			}
			c.Objects = append(c.Objects, o)
		}
		if s, err := New(c); err == nil {
			return s
		}
	}
}

// note takes what the collector says of an object: nothing happens to any.
func (m *model) note(n ObjectNote) { m.t.Errorf("%v is %v: %s", n.Object, n.Kind, n.Text) }

// modelRow is a row of an object.
type modelRow struct {
	object string
	row    string // what tells it from the other rows of the object
	mode   string // that it depends on, or ""
	values []uint64
}

// rows returns what the source says of objects now.
func (m *model) rows(p Plan, objects []*Object) []modelRow {
	var out []modelRow
	for _, o := range objects {
		var g gather
		if err := m.src.Sample(context.Background(), Request{At: m.now, Record: p.Definition, Objects: []*Object{o}}, &g); err != nil {
			m.t.Fatal(err)
		}
		for _, r := range g.records {
			row := modelRow{object: o.ID, mode: r.Set.CounterMode, row: r.Sub + " " + r.Set.Scope + " " + r.Set.CounterMode}
			for i, f := range r.Set.Fields {
				if f.Role == record.Counter {
					row.values = append(row.values, r.Values[i].N)
				} else if r.Values[i].State == record.Number {
					row.row += fmt.Sprint(" ", f.Abbrev, r.Values[i].N)
				}
			}
			out = append(out, row)
		}
	}
	return out
}

func seriesKey(p Plan, object string) string { return string(p.Policy.Record) + " " + object }

// write notes that a row has to be in a file.
func (m *model) write(p Plan, r modelRow, final int) {
	f := m.file[p.Policy.ID]
	if f.ID == 0 {
		return
	}
	start := m.since[p.Policy.ID]
	values := slices.Clone(r.values)
	for i, n := range m.base[seriesKey(p, r.object)][r.row] {
		values[i] -= n
	}
	m.want = append(m.want, modelLine(p.Policy.ID, f.ID, start, m.now, r, final, values))
}

func modelLine(policy, file int, start, end time.Time, r modelRow, final int, values []uint64) string {
	from := "?"
	if !start.IsZero() {
		from = start.UTC().Format("15:04:05")
	}
	return fmt.Sprintf("policy %d file %d %s-%s %s [%s] final %d: %v", policy, file, from, end.UTC().Format("15:04:05"), r.object, r.row, final, values)
}

// collect is a collection.
func (m *model) collect(p Plan) {
	id := p.Policy.ID
	m.file[id] = p.File
	for _, r := range m.rows(p, p.Objects) {
		m.write(p, r, 0)
		delete(m.ended, seriesKey(p, r.object))
	}
	for k := range m.ended {
		if strings.HasPrefix(k, string(p.Policy.Record)+" ") {
			delete(m.ended, k)
		}
	}
	m.since[id] = m.now
}

// reconfigure is a new configuration.
func (m *model) reconfigure(next *Set) {
	m.count.Reloads++
	modes := map[string]CounterMode{}
	for _, o := range m.set.c.Objects {
		modes[o.ID] = o.CounterMode
	}
	reset := func(o *Object) bool {
		mode, ok := modes[o.ID]
		return ok && mode != o.CounterMode
	}
	is := map[int]Plan{}
	for _, p := range next.Plan() {
		is[p.Policy.ID] = p
	}
	was := map[int]Plan{}
	for _, p := range m.set.Plan() {
		was[p.Policy.ID] = p
		m.leave(p, is[p.Policy.ID], reset)
	}
	m.resets(next, reset)
	for id, p := range is {
		old, ok := was[id]
		if !ok || old.Policy.Record != p.Policy.Record || old.Policy.Default != p.Policy.Default {
			m.since[id], m.file[id] = m.now, p.File
		}
	}
	m.set = next
}

// leave writes last values: the rows of the policy that are not among its rows
// any more, and every row of an object that is reset.
func (m *model) leave(was, is Plan, reset func(*Object) bool) {
	after := map[string]bool{}
	begins := map[string]bool{}
	if is.Policy.Record == was.Policy.Record {
		for _, r := range m.rows(is, is.Objects) {
			after[r.object+r.row] = true
		}
		for _, o := range is.Objects {
			begins[o.ID] = reset(o)
		}
	}
	last := map[string]bool{}
	for _, r := range m.rows(was, was.Objects) {
		if !after[r.object+r.row] || begins[r.object] {
			m.write(was, r, m.ended[seriesKey(was, r.object)]+1)
			last[seriesKey(was, r.object)] = true
		}
	}
	for k := range last {
		m.ended[k]++
	}
}

// resets takes new baselines, for the policy that collects an object or would
// if it collected statistics, and drops those of objects and records that are
// gone.
func (m *model) resets(next *Set, reset func(*Object) bool) {
	here := map[string]bool{}
	for i := range next.c.Objects {
		o := &next.c.Objects[i]
		here[o.ID] = true
		p := next.defaults[o.Type]
		if o.Policy != 0 {
			p = next.policies[o.Policy]
		}
		if p == nil || !reset(o) {
			continue
		}
		m.count.Reset++
		plan := Plan{Policy: *p, Definition: next.defs[p.ID]}
		rows := map[string][]uint64{}
		for _, r := range m.rows(plan, []*Object{o}) {
			rows[r.row] = r.values
		}
		m.base[seriesKey(plan, o.ID)] = rows
	}
	used := map[string]bool{}
	for _, p := range next.c.Policies {
		used[string(p.Record)] = true
	}
	for k := range m.base {
		if name, object, _ := strings.Cut(k, " "); !here[object] || !used[name] {
			delete(m.base, k)
		}
	}
}

// read returns what is in the files. Nothing may be open.
func (m *model) read() []string {
	var out []string
	reader := record.NewReader(record.ReaderOptions{})
	open, err := filepath.Glob(filepath.Join(m.dir, "*", CollectDir, "*"))
	if err != nil || len(open) > 0 {
		m.t.Fatalf("open: %v %v", open, err)
	}
	paths, err := filepath.Glob(filepath.Join(m.dir, "*", ArchiveDir, "*"))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, path := range paths {
		for _, r := range readFile(m.t, reader, path) {
			h := reader.Header()
			row := modelRow{row: r.Sub + " " + r.Set.Scope + " " + r.Set.CounterMode}
			for i, f := range r.Set.Fields {
				switch {
				case f.Role == record.Counter:
					row.values = append(row.values, r.Values[i].N)
				case f.Abbrev == "sap":
					row.object = r.Values[i].Text
				case r.Values[i].State == record.Number:
					row.row += fmt.Sprint(" ", f.Abbrev, r.Values[i].N)
				}
			}
			out = append(out, modelLine(h.Policy, h.FileID, r.Start, r.End, row, r.Final, row.values))
		}
	}
	return out
}
