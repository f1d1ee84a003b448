package export

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/gen"
)

// generatedDay exports a day of the realistic generator: one batch per interval,
// as pull cycles make them.
func generatedDay(t testing.TB, x *Exporter, files memFiles, objects, intervals int) []Result {
	t.Helper()
	g, err := gen.New(gen.Options{Seed: 1, Objects: objects, Intervals: 1, Interval: 15 * time.Minute, Start: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	var results []Result
	for i := range intervals {
		var b sizedBuffer
		if _, err := g.WriteFile(&b); err != nil {
			t.Fatal(err)
		}
		in := files.add("r1", fmt.Sprintf("act1011-%04d.xml.gz", i), b.b)
		res, err := x.Run(context.Background(), batchOf(in))
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, res)
	}
	return results
}

type sizedBuffer struct{ b []byte }

func (s *sizedBuffer) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// peakHeap calls f and returns the most heap that was in use meanwhile, in MiB.
func peakHeap(f func()) float64 {
	runtime.GC()
	var most uint64
	stop := make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		m := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
		for {
			metrics.Read(m)
			most = max(most, m[0].Value.Uint64()+m[1].Value.Uint64())
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	f()
	close(stop)
	wg.Wait()
	return float64(most) / (1 << 20)
}

// BenchmarkCompact compacts a day of 15-minute intervals, 96 files of 10,000 rows
// of 14 counters. The goals are 1,000,000 rows per CPU-second, 256 MiB and 10
// bytes a row.
func BenchmarkCompact(b *testing.B) {
	files := memFiles{}
	x := newExporter(b, Options{Open: files.open})
	results := generatedDay(b, x, files, 2_500, 96)
	files = nil
	rows, before := int64(0), int64(0)
	for _, r := range results {
		rows += r.Records
	}
	var cpu, peak float64
	var bytes int64
	for i := range b.N {
		dir := filepath.Join(b.TempDir(), fmt.Sprint(i))
		if err := os.CopyFS(dir, os.DirFS(x.o.Dataset)); err != nil {
			b.Fatal(err)
		}
		o := CompactOptions{Dataset: depot.NewDir(dir), Staging: filepath.Join(dir, stagingDir, "compact"),
			Finished: finished(results...), Now: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}
		start := cpuSeconds(b)
		peak = max(peak, peakHeap(func() {
			res, err := Compact(context.Background(), o)
			cpu += cpuSeconds(b) - start
			if err != nil {
				b.Fatal(err)
			}
			made := int64(0)
			for _, d := range res.Days {
				if d.Err != nil {
					b.Fatal(d.Err)
				}
				for _, f := range d.Outputs {
					bytes += f.Bytes
				}
				for _, f := range d.Inputs {
					before += f.Bytes
				}
				made += d.Rows()
			}
			if made < rows*9/10 { // the last interval ends on the next day
				b.Fatalf("%d rows of %d", made, rows)
			}
		}))
	}
	n := float64(b.N) * float64(rows)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(n/cpu, "rows/CPU-s")
	b.ReportMetric(peak, "MiB-heap")
	b.ReportMetric(float64(bytes)/n, "B/row")
	b.ReportMetric(float64(before)/n, "B/row-before")
}
