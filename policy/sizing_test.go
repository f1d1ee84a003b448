package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acctpull/retention"
	"acctpull/rollover"
)

// load is one that is easy to work out by hand.
func demand(interval, rollover, retention time.Duration) Demand {
	return Demand{Interval: interval, Rollover: rollover, Retention: retention, Objects: 10, Records: 20, EntryBytes: 400, FileBytes: 200, Collect: time.Second}
}

func TestSize(t *testing.T) {
	const m, h = time.Minute, time.Hour
	for _, c := range []struct {
		name string
		l    Demand
		c    Card
		want Sizing
	}{
		{"an hour of five minutes, kept for twelve", demand(5*m, h, 12*h), Card{DeleteRate: 10}, Sizing{
			Entries: 12, Life: h, FileBytes: 5000, BytesPerRecord: 5000.0 / 240, BytesPerHour: 5000, FilesPerDay: 24, RowsPerDay: 5760, WritesPerDay: 288,
			MostFiles: 15, MostBytes: 75000, Window: 12 * h, SweepFiles: 1, SweepTime: 100 * time.Millisecond, Busy: 1.0 / 300,
		}},
		{"rollover shorter than the interval", demand(h, 5*m, 2*h), Card{DeleteRate: 1}, Sizing{
			Entries: 1, Life: h, FileBytes: 600, BytesPerRecord: 30, BytesPerHour: 600, FilesPerDay: 24, RowsPerDay: 480, WritesPerDay: 24,
			MostFiles: 4, MostBytes: 2400, Window: h + 5*m, SweepFiles: 1, SweepTime: time.Second, Busy: 1.0 / 3600,
		}},
		{"a rollover that is no multiple of the interval", demand(7*m, 20*m, h), Card{DeleteRate: 2}, Sizing{
			Entries: 3, Life: 21 * m, FileBytes: 1400, BytesPerRecord: 1400.0 / 60, BytesPerHour: 4000, FilesPerDay: 1440.0 / 21, RowsPerDay: 1440.0 / 7 * 20, WritesPerDay: 1440.0 / 7,
			MostFiles: 7, MostBytes: 9800, Window: 59 * m, SweepFiles: 3, SweepTime: 1500 * time.Millisecond, Busy: 1.0 / 420,
		}},
		{"the literal rule", demand(15*m, 2*h, h), Card{DeleteRate: 1, Rule: retention.CreatedRetention}, Sizing{
			Entries: 8, Life: 2 * h, FileBytes: 3400, BytesPerRecord: 3400.0 / 160, BytesPerHour: 1700, FilesPerDay: 12, RowsPerDay: 1920, WritesPerDay: 96,
			MostFiles: 2, MostBytes: 6800, Window: -h, SweepFiles: 1, SweepTime: time.Second, Busy: 1.0 / 900,
		}},
	} {
		if got := c.l.Size(c.c); got != c.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// With log-memory several intervals are one write.
func TestSizeLogMemory(t *testing.T) {
	l := demand(5*time.Minute, time.Hour, 12*time.Hour)
	for memory, want := range map[int64]float64{0: 288, 399: 288, 400: 288, 900: 144, 2000: 72, 1 << 20: 24} {
		l.Memory = memory
		if got := l.Size(Card{DeleteRate: 1}).WritesPerDay; got != want {
			t.Errorf("memory of %d bytes: %v writes a day, want %v", memory, got, want)
		}
	}
}

func TestLost(t *testing.T) {
	l := demand(5*time.Minute, time.Hour, 4*time.Hour)
	s := l.Size(Card{DeleteRate: 1})
	for h, files := range map[int]int{1: 0, 4: 0, 5: 1, 6: 2, 24: 20} {
		got := s.Lost(l, time.Duration(h)*time.Hour)
		want := Loss{Outage: time.Duration(h) * time.Hour, Files: files, Time: time.Duration(files) * time.Hour, Rows: float64(files) * 12 * 20}
		if got != want {
			t.Errorf("%d h: got %+v, want %+v", h, got, want)
		}
	}
	l.Retention = time.Hour
	s = l.Size(Card{DeleteRate: 1, Rule: retention.CreatedRetention})
	if s.Window != 0 || s.Lost(l, 3*time.Hour).Files != 3 {
		t.Errorf("no window at all: %+v", s.Lost(l, 3*time.Hour))
	}
}

// simulated is what a simulation saw.
type simulated struct {
	files, most    int
	bytes, highest int64
	rows           int
	shortest       time.Duration // between the end of a file and its deletion
	sweepFiles     int
	closed         map[string]time.Time
	deleted        map[string]time.Time
}

// simulate runs a policy for days of virtual time with a Collector, made-up
// counters and hourly sweeps, and looks at the card all the time.
func simulate(t *testing.T, interval, roll, keep time.Duration, days int) (simulated, Demand) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var objects []Object
	for i := range 25 {
		objects = append(objects, Object{Type: Access, ID: fmt.Sprintf("1/1/%d:100", i+1), Service: "100", Meters: 2, CollectStats: true})
	}
	set, err := New(Config{
		Source:   SourceConfig{Kind: SourceSynthetic},
		FileIDs:  []FileID{{ID: 11, Location: dir, Rollover: roll, Retention: keep}},
		Policies: []AccountingPolicy{{ID: 10, Record: "service-ingress-octets", CollectionInterval: interval, To: 11, Default: true}},
		Objects:  objects,
	})
	must(t, err)
	now := start
	s := simulated{closed: map[string]time.Time{}, deleted: map[string]time.Time{}, shortest: math.MaxInt64}
	c, err := NewCollector(Options{Set: set, Source: &Synthetic{}, Hooks: Hooks{OnFile: func(f rollover.File) { s.closed[f.Name.String()] = now; s.files++ }}})
	must(t, err)
	dirs := rollover.Dirs{Collect: filepath.Join(dir, CollectDir), Archive: filepath.Join(dir, ArchiveDir)}
	look := func() {
		files, size := onCard(t, dirs)
		s.most, s.highest = max(s.most, files), max(s.highest, size)
	}
	// Sweeps come half a second before the hour, the worst moment for files
	// that expire on the hour.
	end := start.Add(time.Duration(days) * 24 * time.Hour)
	sweep := start.Add(time.Hour - time.Second/2)
	for now.Before(end) {
		now = now.Add(interval)
		for ; sweep.Before(now); sweep = sweep.Add(time.Hour) {
			look()
			removed := 0
			o := retention.Options{Dirs: dirs, Force: true, Rule: retention.Rule{Retention: keep, Rollover: roll}, OnRemove: func(f rollover.File) {
				removed++
				s.bytes += f.Size
				s.deleted[f.Name.String()] = sweep
				s.shortest = min(s.shortest, sweep.Sub(s.closed[f.Name.String()]))
			}}
			_, err := retention.Sweep(ctx, o, sweep)
			must(t, err)
			s.sweepFiles = max(s.sweepFiles, removed)
		}
		in, err := c.Collect(ctx, 10, now)
		must(t, err)
		s.rows += in.Records
		look()
	}
	_, left := onCard(t, dirs)
	s.bytes += left
	must(t, c.Close())
	l, err := Measure(ctx, set, 10, t.TempDir(), start)
	must(t, err)
	return s, l
}

func onCard(t *testing.T, dirs rollover.Dirs) (files int, bytes int64) {
	t.Helper()
	for _, dir := range []string{dirs.Collect, dirs.Archive} {
		for f, err := range rollover.List(dir) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			must(t, err)
			st, err := os.Stat(f.Path)
			must(t, err)
			files, bytes = files+1, bytes+st.Size()
		}
	}
	return files, bytes
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// near tells whether got is within a share of want.
func near(got, want, share float64) bool { return math.Abs(got-want) <= share*math.Abs(want) }

// What Size says of a measured load is what a simulation of two days sees: bytes
// within 3 percent, rows and files exactly but for the edges, the highest number
// of files and bytes never exceeded and reached but for one file, and no file
// deleted before the window that Size gives a collector.
func TestSizeAgainstSimulation(t *testing.T) {
	const m, h = time.Minute, time.Hour
	for _, c := range []struct {
		interval, rollover, retention time.Duration
		days                          int
	}{
		{15 * m, h, 4 * h, 1},
		{60 * m, 5 * m, 2 * h, 2},
		{7 * m, 20 * m, h, 1},
		{20 * m, 6 * h, 12 * h, 2},
	} {
		t.Run(fmt.Sprint(c.interval, c.rollover, c.retention), func(t *testing.T) {
			saw, l := simulate(t, c.interval, c.rollover, c.retention, c.days)
			s := l.Size(Card{DeleteRate: 100})
			perHour := float64(saw.bytes) / float64(c.days*24)
			if !near(perHour, s.BytesPerHour, 0.03) {
				t.Errorf("%.0f bytes an hour, planned %.0f", perHour, s.BytesPerHour)
			}
			if got := float64(saw.rows) / float64(c.days); math.Abs(got-s.RowsPerDay) > float64(l.Records) {
				t.Errorf("%.0f rows a day, planned %.0f", got, s.RowsPerDay)
			}
			if got := float64(saw.files) / float64(c.days); math.Abs(got-s.FilesPerDay) > 1 {
				t.Errorf("%.1f files a day, planned %.1f", got, s.FilesPerDay)
			}
			if saw.most > s.MostFiles || saw.most < s.MostFiles-1 {
				t.Errorf("%d files on the card at most, planned %d", saw.most, s.MostFiles)
			}
			if most := s.MostBytes * 1.03; float64(saw.highest) > most || float64(saw.highest) < s.MostBytes-2*s.FileBytes {
				t.Errorf("%d bytes on the card at most, planned %.0f", saw.highest, s.MostBytes)
			}
			if saw.shortest < s.Window || saw.shortest > s.Window+h {
				t.Errorf("a file could be fetched for %v, planned at least %v", saw.shortest, s.Window)
			}
			if saw.sweepFiles > s.SweepFiles || saw.sweepFiles < s.SweepFiles-1 {
				t.Errorf("a sweep deleted %d files, planned %d at most", saw.sweepFiles, s.SweepFiles)
			}
			lostAsPlanned(t, saw, s, l)
		})
	}
}

// lostAsPlanned lets a collector stay away for every outage that ends in the
// simulation and compares the worst with the plan. What the plan does not count
// on, the sweep, comes up to an hour later.
func lostAsPlanned(t *testing.T, saw simulated, s Sizing, l Demand) {
	t.Helper()
	var names []string
	for name := range saw.deleted {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, outage := range []time.Duration{time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour} {
		worst := 0
		for _, first := range names {
			begin := saw.closed[first].Add(-time.Second)
			lost := 0
			for _, name := range names {
				if saw.closed[name].After(begin) && !saw.deleted[name].After(begin.Add(outage)) {
					lost++
				}
			}
			worst = max(worst, lost)
		}
		planned := s.Lost(l, outage).Files
		spared := ceil(float64(time.Hour)/float64(s.Life)) + 1 // by the sweep
		if worst > planned || worst < planned-spared {
			t.Errorf("an outage of %v lost %d files at most, planned %d", outage, worst, planned)
		}
	}
}

// What is not in service cannot be measured; what collects nothing writes
// nothing.
func TestMeasureNothing(t *testing.T) {
	set, err := New(Config{Source: SourceConfig{Kind: SourceSynthetic}, Policies: []AccountingPolicy{
		{ID: 10, Record: "service-ingress-octets", To: NoFile}, {ID: 20, Shutdown: true},
	}})
	must(t, err)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := Measure(context.Background(), set, 20, t.TempDir(), now); !errors.Is(err, ErrNoPolicy) {
		t.Errorf("a policy that is shut down: %v", err)
	}
	d, err := Measure(context.Background(), set, 10, t.TempDir(), now)
	if err != nil || d.Records != 0 || d.EntryBytes != 0 {
		t.Errorf("a policy without objects: %+v, %v", d, err)
	}
}

// With the source linux only what a link knows is measured.
func TestMeasureLinux(t *testing.T) {
	const text = `
source: {kind: %s}
file-ids: [{id: 11, location: cf1}]
accounting-policies:
  - {id: 10, record: combined-service-ingress, to: file 11, default: true}
  - {id: 20, record: service-egress-octets, to: no-file}
objects:
  saps:
    - {sap: "1/1/1:100", service: 100%s}
    - {sap: "1/1/1:200", service: 200%s}
`
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	measure := func(source, first, second string) Demand {
		set, err := Load(fmt.Appendf(nil, text, source, first, second))
		must(t, err)
		d, err := Measure(context.Background(), set, 10, t.TempDir(), now)
		must(t, err)
		return d
	}
	linux, device := measure("linux", ", link: eth1.100", ", link: eth1.200"), measure("synthetic", "", "")
	if linux.Records != 2 || device.Records != 4 || linux.EntryBytes >= device.EntryBytes || linux.EntryBytes <= 0 {
		t.Errorf("linux %+v\nsynthetic %+v", linux, device)
	}
}

func TestDeleteRate(t *testing.T) {
	dir := t.TempDir()
	rate, err := DeleteRate(context.Background(), dir)
	must(t, err)
	left, err := os.ReadDir(filepath.Join(dir, ArchiveDir))
	if rate <= 0 || err != nil || len(left) != 0 {
		t.Errorf("%v files a second, %d left, %v", rate, len(left), err)
	}
}
