package simdevice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acctpull/policy"
	"acctpull/record"
	"acctpull/retention"
	"acctpull/rollover"
)

// saps is a configuration with one policy over n SAPs, in minutes.
func saps(n, interval, rollover int, retention time.Duration) policy.Config {
	c := policy.Config{
		FileIDs:  []policy.FileID{{ID: 11, Rollover: time.Duration(rollover) * time.Minute, Retention: retention}},
		Policies: []policy.AccountingPolicy{{ID: 10, Record: "service-ingress-octets", CollectionInterval: time.Duration(interval) * time.Minute, To: 11, Default: true}},
	}
	for i := range n {
		c.Objects = append(c.Objects, policy.Object{Type: policy.Access, ID: fmt.Sprintf("1/1/1:%d", 100+i), Service: fmt.Sprint(1 + i), CollectStats: true, Meters: 2})
	}
	return c
}

// ports adds a second policy, for network ports, to a configuration.
func ports(c policy.Config, n int) policy.Config {
	c.FileIDs = append(c.FileIDs, policy.FileID{ID: 21, Rollover: 10 * time.Minute, Retention: time.Hour})
	c.Policies = append(c.Policies, policy.AccountingPolicy{ID: 20, Record: "network-egress-octets", CollectionInterval: 15 * time.Minute, To: 21, Default: true, Align: true})
	for i := range n {
		c.Objects = append(c.Objects, policy.Object{Type: policy.Network, ID: fmt.Sprintf("1/2/%d", 1+i), CollectStats: true, Queues: 4})
	}
	return c
}

var began = time.Date(2026, 3, 1, 8, 0, 7, 0, time.UTC)

// alive is a device with a life and a clock that the test moves.
func alive(t *testing.T, c policy.Config, adjust func(*Options)) (*Device, *Clock) {
	t.Helper()
	clock := NewClock(began)
	o := Options{Name: "edge-1", Dir: t.TempDir(), Passwords: map[string]string{"admin": "secret"},
		Life: &Life{Config: c, Seed: 7, Began: began, Clock: clock.Now, KeepTruth: true}}
	if adjust != nil {
		adjust(&o)
	}
	d, err := New(o)
	must(t, err)
	return d, clock
}

func pass(c *Clock, d time.Duration) { c.set(c.Now().Add(d)) }

// contents are the files of a directory by name.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		out[e.Name()] = content
	}
	return out
}

func names(m map[string][]byte) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Whoever looks whenever: the files are byte for byte those of a collector that
// runs all the time, with a sweep every hour.
func TestLifeIsThatOfARunningAgent(t *testing.T) {
	config := ports(saps(5, 5, 15, 2*time.Hour), 3)
	d, clock := alive(t, config, nil)
	flash := t.TempDir()
	config.System, config.Source = "edge-1", policy.SourceConfig{Kind: policy.SourceSynthetic, Seed: 7}
	for i := range config.FileIDs {
		config.FileIDs[i].Location = flash
	}
	set, err := policy.New(config)
	must(t, err)
	agent, err := policy.NewCollector(policy.Options{Set: set, Source: &policy.Synthetic{Seed: 7, Start: began}})
	must(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	looked := 0
	for s := 1; s <= 9*3600; s++ {
		pass(clock, time.Second)
		now := clock.Now()
		if s%3600 == 0 {
			for _, f := range set.Config().FileIDs {
				_, err := retention.Sweep(t.Context(), retention.Options{Dirs: rollover.Dirs{Collect: f.CollectDir(), Archive: f.ArchiveDir()}, Force: true,
					RuleFor: func(n rollover.Name) (retention.Rule, bool) {
						return retention.Rule{Rollover: f.Rollover, Retention: f.Retention}, n.FileID == f.ID
					}}, now)
				must(t, err)
			}
		}
		if s%300 == 0 {
			_, err := agent.Collect(t.Context(), 10, now)
			must(t, err)
		}
		if now.Unix()%900 == 0 {
			_, err := agent.Collect(t.Context(), 20, now)
			must(t, err)
		}
		if s != 9*3600 && rng.IntN(2400) != 0 {
			continue
		}
		looked++
		must(t, d.Show())
		got, want := contents(t, d.ActDir()), contents(t, filepath.Join(flash, "act"))
		if !slices.Equal(names(got), names(want)) {
			t.Fatalf("after %d s:\n%q, want\n%q", s, names(got), names(want))
		}
		for name := range want {
			if !bytes.Equal(got[name], want[name]) {
				t.Errorf("after %d s: %s differs", s, name)
			}
		}
	}
	must(t, agent.Close())
	if looked < 5 {
		t.Errorf("looked %d times only", looked)
	}
	if left, err := os.ReadDir(d.o.Dir); err != nil || len(left) != 2 {
		t.Errorf("beside act/ and act-collect/: %v, %v", left, err)
	}
}

// read returns the sums of a file by column, and the number of its records.
func read(t *testing.T, path string) policy.Truth {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	r := record.NewReader(record.ReaderOptions{Salvage: true})
	r.Reset(f, path)
	sum := policy.Truth{Sums: map[string]uint64{}}
	var rec record.Record
	for {
		if err := r.Next(&rec); err != nil {
			if fe, ok := errors.AsType[*record.FileError](err); err != io.EOF && !(ok && fe.Truncated()) {
				t.Fatal(err)
			}
			return sum
		}
		sum.Records++
		for i := range rec.Set.Fields {
			if f := &rec.Set.Fields[i]; f.Role == record.Counter && rec.Values[i].State == record.Number {
				sum.Sums[f.Column] += rec.Values[i].N
			}
		}
	}
}

// sameAsTruth compares what lies in act/ with the truth, file by file.
func sameAsTruth(t *testing.T, d *Device) Truth {
	t.Helper()
	must(t, d.Show())
	truth, err := d.Truth()
	must(t, err)
	var there []string
	for _, f := range truth.Files {
		if f.Sealed.IsZero() || !f.Gone.IsZero() {
			continue
		}
		there = append(there, f.Name)
		got, want := read(t, filepath.Join(d.ActDir(), f.Name)), d.Counters(f)
		if got.Records != f.Records || got.Records != want.Records || !maps.Equal(got.Sums, want.Sums) {
			t.Errorf("%s has %d records, %v; the truth is %d, %v", f.Name, got.Records, got.Sums, want.Records, want.Sums)
		}
	}
	slices.Sort(there)
	if got := names(contents(t, d.ActDir())); !slices.Equal(got, there) {
		t.Errorf("in act/:\n%q, the truth is\n%q", got, there)
	}
	return truth
}

func causes(truth Truth) map[Cause]int {
	n := map[Cause]int{}
	for _, f := range truth.Files {
		n[f.Cause]++
	}
	return n
}

// A reboot leaves the open file behind, without its footer, and counters begin
// at zero.
func TestReboot(t *testing.T) {
	config := saps(2, 5, 15, 12*time.Hour)
	config.Objects[0].CounterMode = policy.ForwardDrop
	d, clock := alive(t, config, func(o *Options) { o.ShowCollect = true })
	pass(clock, 38*time.Minute) // 7 collections: two files of three, one in the third
	must(t, d.Show())
	open := contents(t, d.CollectDir())
	if len(open) != 1 {
		t.Fatalf("open: %q", names(open))
	}
	must(t, d.Reboot(Reboot{Down: 2 * time.Minute}))
	if !d.booting() {
		t.Error("it is up at once")
	}
	pass(clock, 2*time.Minute)
	if d.booting() {
		t.Error("it is not up after two minutes")
	}
	pass(clock, 16*time.Minute)
	truth := sameAsTruth(t, d)
	if n := causes(truth); n[Orphaned] != 1 || len(truth.Files) != 4 {
		t.Errorf("%v, %d files", n, len(truth.Files))
	}
	left := contents(t, d.CollectDir())
	for name, content := range open {
		if !bytes.Equal(left[name], content) {
			t.Errorf("%s was touched", name)
		}
		if got := read(t, filepath.Join(d.CollectDir(), name)); got.Records != truth.Files[2].Records || truth.Files[2].Cause != Orphaned {
			t.Errorf("%s has %d records; the truth is %+v", name, got.Records, truth.Files[2])
		}
	}
	before, after := d.Counters(truth.Files[0]), d.Counters(truth.Files[3])
	if before.Sums["octets_forwarded"] == 0 || after.Sums["octets_forwarded"] != 0 {
		t.Errorf("counter mode before and after: %v, %v", before.Sums, after.Sums)
	}
}

// Steps of the clock, space contention and files that vanish under a client's
// eyes: the truth has it all, and the disk follows.
func TestClockFullFlashAndVanish(t *testing.T) {
	d, clock := alive(t, saps(2, 5, 10, 1*time.Hour), nil)
	pass(clock, 35*time.Minute)
	sameAsTruth(t, d)
	must(t, d.StepClock(-20*time.Minute))
	pass(clock, 30*time.Minute)
	truth := sameAsTruth(t, d)
	seen := map[string]bool{}
	for _, f := range truth.Files {
		if seen[f.Name] {
			t.Errorf("%s twice at one time", f.Name)
		}
		seen[f.Name] = true
	}
	must(t, d.StepClock(3*time.Hour))
	pass(clock, 60*time.Minute)
	truth = sameAsTruth(t, d)
	if n := causes(truth); n[Expired] < 4 {
		t.Errorf("after three hours: %v", n)
	}

	d.SetFaults(Faults{FullFlash: true})
	there := len(contents(t, d.ActDir()))
	pass(clock, 30*time.Minute)
	truth = sameAsTruth(t, d)
	if n := len(contents(t, d.ActDir())); n != there || causes(truth)[Contention] == 0 {
		t.Errorf("%d files, before %d, %v", n, there, causes(truth))
	}
	d.SetFaults(Faults{FullFlash: true, Vanish: 100})
	must(t, d.prepare(true))
	must(t, d.prepare(false))
	if n := len(contents(t, d.ActDir())); n != 0 {
		t.Errorf("%d files did not vanish", n)
	}
	must(t, d.Reboot(Reboot{Format: true})) // now there is nothing that could make room
	pass(clock, 30*time.Minute)
	truth = sameAsTruth(t, d)
	if n := causes(truth); len(truth.Lost) != 6 || n[Vanished] != there || len(contents(t, d.ActDir())) != 0 {
		t.Errorf("lost %d, %v, %d files", len(truth.Lost), n, len(contents(t, d.ActDir())))
	}
	d.SetFaults(Faults{})
	pass(clock, 30*time.Minute)
	if truth = sameAsTruth(t, d); len(truth.Lost) != 6 || len(contents(t, d.ActDir())) != 2 {
		t.Errorf("lost %d, %d files", len(truth.Lost), len(contents(t, d.ActDir())))
	}
}

// After its clock was put back a formatted device uses names again, for other
// files; and a life that is taken up by another process goes on.
func TestFormatAndRestart(t *testing.T) {
	config := saps(2, 5, 10, 12*time.Hour)
	config.Policies[0].Align = true
	d, clock := alive(t, config, nil)
	pass(clock, 40*time.Minute)
	sameAsTruth(t, d)
	first := contents(t, d.ActDir())
	must(t, d.StepClock(-40*time.Minute))
	must(t, d.Reboot(Reboot{Format: true}))
	pass(clock, 40*time.Minute)
	truth := sameAsTruth(t, d)
	again := contents(t, d.ActDir())
	reused := 0
	for name, content := range again {
		if old, ok := first[name]; ok && !bytes.Equal(old, content) {
			reused++
		}
	}
	if reused < 2 || causes(truth)[Formatted] < 3 {
		t.Errorf("%d names used again, %v", reused, causes(truth))
	}

	// The next process does not know of the format: it has its own files of
	// that time, and those that it finds expire like any other.
	later, err := New(d.o)
	must(t, err)
	pass(clock, 10*time.Minute)
	must(t, later.Show())
	for name, content := range again {
		if !bytes.Equal(contents(t, d.ActDir())[name], content) {
			t.Errorf("%s was touched", name)
		}
	}
	pass(clock, 24*time.Hour)
	must(t, later.Show())
	got := names(contents(t, d.ActDir()))
	truth, err = later.Truth()
	must(t, err)
	var want []string
	for _, f := range truth.Files {
		if !f.Sealed.IsZero() && f.Gone.IsZero() {
			want = append(want, f.Name)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("a day later:\n%q, want\n%q", got, want)
	}
}
