package policy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"acctpull/record"
)

// cpuSeconds is what this process has used, in user and system mode.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// peakMiB is the most memory that this process ever had.
func peakMiB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var kib float64
	if _, after, ok := strings.Cut(string(status), "VmHWM:"); ok {
		if _, err := fmt.Sscan(after, &kib); err != nil {
			b.Fatal(err)
		}
	}
	return kib / 1024
}

// fourteen is a source of records with 14 counters each, three keys before them
// (7450 complete-service-ingress-egress, cpSipo), half of the objects idle.
type fourteen struct {
	synthetic Synthetic
	set       *record.RowSet
}

func (f *fourteen) Sample(ctx context.Context, req Request, out Sink) error {
	at := f.synthetic.clock(req.At)
	var rec record.Record
	for _, o := range req.Objects {
		rec.Reset(f.set)
		rec.Sub = f.set.Sub
		g := f.synthetic.object(o)
		for i := range f.set.Fields {
			switch field := &f.set.Fields[i]; {
			case field.Role == record.Counter:
				t := g.traffic(false, i, at)
				rec.Values[i] = record.Num(t.offered.octets)
			case field.Numeric:
				rec.Values[i] = record.Num(1)
			case field.Abbrev == "svc":
				rec.Values[i] = record.Str(o.Service)
			default:
				rec.Values[i] = record.Str(o.ID)
			}
		}
		if err := out.Record(&rec); err != nil {
			return err
		}
	}
	return nil
}

func fourteenSet(b *testing.B) *record.RowSet {
	for _, set := range definition(b, "complete-service-ingress-egress").RowSets {
		counters := 0
		for _, f := range set.Fields {
			counters += boolInt(f.Role == record.Counter)
		}
		if counters == 14 {
			return set
		}
	}
	b.Fatal("the catalogue has no row set with 14 counters")
	return nil
}

// BenchmarkCollect100k collects one interval of 100,000 objects: sampling,
// encoding, gzip and fsync.
//
//	14-counters   one record of 14 counters per object
//	7210          the device's complete-service-ingress-egress: 5 records with 16 counters per object
func BenchmarkCollect100k(b *testing.B) {
	const objects = 100_000
	bench := func(b *testing.B, egress int, source Source, counters int) {
		c := Config{
			Source:   SourceConfig{Kind: SourceSynthetic},
			FileIDs:  []FileID{{ID: 11, Location: b.TempDir()}},
			Policies: []AccountingPolicy{{ID: 10, Record: "complete-service-ingress-egress", To: 11, Default: true}},
			Objects:  make([]Object, objects),
		}
		for i := range c.Objects {
			c.Objects[i] = Object{Type: Access, ID: fmt.Sprintf("1/1/%d:%d", i/4096, i%4096), Service: fmt.Sprint(1000 + i/20), CollectStats: true, Meters: 1 + egress, EgressMeters: egress}
		}
		set, err := New(c)
		if err != nil {
			b.Fatal(err)
		}
		c = Config{}
		runtime.GC()
		col, err := NewCollector(Options{Set: set, Source: source})
		if err != nil {
			b.Fatal(err)
		}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		records := 0
		b.ReportAllocs()
		b.ResetTimer()
		cpu := cpuSeconds(b)
		for b.Loop() {
			now = now.Add(5 * time.Minute)
			iv, err := col.Collect(context.Background(), 10, now)
			if err != nil {
				b.Fatal(err)
			}
			records += iv.Records
		}
		cpu = cpuSeconds(b) - cpu
		b.ReportMetric(cpu/float64(b.N), "CPU-s/interval")
		b.ReportMetric(float64(records)/cpu, "records/CPU-s")
		b.ReportMetric(float64(counters*objects*b.N)/cpu, "counters/CPU-s")
		b.ReportMetric(peakMiB(b), "peak-MiB")
		if err := col.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("14-counters", func(b *testing.B) {
		bench(b, 0, &fourteen{synthetic: Synthetic{Seed: 1, Idle: 50}, set: fourteenSet(b)}, 14)
	})
	b.Run("7210", func(b *testing.B) {
		bench(b, 1, &Synthetic{Seed: 1, Idle: 50}, 16)
	})
}

// BenchmarkRollover is what an interval costs whose file rolls over before it,
// against one whose file does not, and against the fsyncs that a rollover makes:
// the end of the old file, its new name in two directories, the new file and its
// name. Other policies do not wait for any of it.
func BenchmarkRollover(b *testing.B) {
	fsync := func(b *testing.B, dir string) time.Duration {
		f, err := os.Create(filepath.Join(dir, "fsync"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		const n = 20
		begun := time.Now()
		for range n {
			if _, err := f.Write(make([]byte, 512)); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(begun) / n
	}
	for _, c := range []struct {
		name     string
		rollover time.Duration
	}{{"none", MaxRollover}, {"each", MinRollover}} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			set := newSetOf(b, Config{
				Source:   SourceConfig{Kind: SourceSynthetic},
				FileIDs:  []FileID{{ID: 11, Location: dir, Rollover: c.rollover}},
				Policies: []AccountingPolicy{{ID: 10, Record: "service-ingress-octets", CollectionInterval: MinInterval, To: 11, Default: true}},
				Objects:  []Object{{Type: Access, ID: "1/1/1:1", Service: "1", CollectStats: true}},
			})
			col, err := NewCollector(Options{Set: set, Source: &Synthetic{Seed: 1}})
			if err != nil {
				b.Fatal(err)
			}
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			cpu := cpuSeconds(b)
			for b.Loop() {
				now = now.Add(MinInterval)
				if _, err := col.Collect(context.Background(), 10, now); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpuSeconds(b)-cpu)*1e6/float64(b.N), "CPU-µs/interval")
			b.ReportMetric(float64(fsync(b, dir).Microseconds()), "µs/fsync")
			if err := col.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
