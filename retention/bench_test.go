package retention

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"acctpull/rollover"
)

// expiredFiles makes n files of a size whose time is long over, from the same
// clock for every directory.
func expiredFiles(b *testing.B, a *archive, n, size int) {
	b.Helper()
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i * i >> 3)
	}
	for i := range n {
		name := rollover.NewName(rollover.Act, 1+i%20, 1+i%20, base.Add(time.Duration(i)*time.Second), ".xml.gz").String()
		if err := os.WriteFile(filepath.Join(a.Dirs.Archive, name), body, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	syscall.Sync()
}

// bareUnlink removes every file of a directory in the order of the directory,
// decides nothing, promises nothing, and looks at the clock every 64 files.
func bareUnlink(b *testing.B, dir string, budget time.Duration) int {
	b.Helper()
	start, n := time.Now(), 0
	for name, err := range rollover.Names(dir) {
		if err != nil {
			b.Fatal(err)
		}
		if err := syscall.Unlink(filepath.Join(dir, name)); err != nil {
			b.Fatal(err)
		}
		if n++; n%64 == 0 && time.Since(start) > budget {
			break
		}
	}
	return n
}

// BenchmarkSweep200k: 200,000 expired files of 6 KB, more than ten seconds of
// work on most disks. It reports how long the sweep took in all, what it
// removed, and the ratio to what a bare unlink loop removes from the same files
// in the same time; and the ratio of the processor time for each file, which
// other work on the machine does not disturb.
func BenchmarkSweep200k(b *testing.B) { benchmarkSweep(b, 200_000) }

// BenchmarkSweep10k is the same with files that fit into the budget.
func BenchmarkSweep10k(b *testing.B) { benchmarkSweep(b, 10_000) }

func benchmarkSweep(b *testing.B, files int) {
	const size = 6 << 10
	for b.Loop() {
		b.StopTimer()
		a := newArchive(b)
		a.Force = true
		expiredFiles(b, a, files, size)
		b.StartTimer()
		start, used := time.Now(), cpu(b)
		r, err := Sweep(context.Background(), a.Options, base.AddDate(1, 0, 0))
		took, sweepCPU := time.Since(start), cpu(b)-used
		b.StopTimer()
		if err != nil || r.Removed+r.Left != files {
			b.Fatalf("%+v %v", r, err)
		}
		if err := os.RemoveAll(a.root); err != nil {
			b.Fatal(err)
		}
		bare := newArchive(b)
		expiredFiles(b, bare, files, size)
		used = cpu(b)
		n := bareUnlink(b, bare.Dirs.Archive, took)
		bareCPU := cpu(b) - used
		if err := os.RemoveAll(bare.root); err != nil {
			b.Fatal(err)
		}
		syscall.Sync()
		b.ReportMetric(took.Seconds(), "sweep-s")
		b.ReportMetric(float64(r.Removed), "removed")
		b.ReportMetric(float64(n), "bare-unlink")
		b.ReportMetric(float64(r.Removed)/float64(n), "ratio")
		b.ReportMetric((bareCPU.Seconds()/float64(n))/(sweepCPU.Seconds()/float64(r.Removed)), "CPU-ratio")
		b.StartTimer()
	}
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPlan1M lists and plans 1,000,000 names and reports the growth of
// the resident memory, in a process of its own.
func BenchmarkPlan1M(b *testing.B) {
	const files = 1_000_000
	a := newArchive(b)
	expiredFiles(b, a, files, 0)
	defer os.RemoveAll(a.root)
	runtime.GC()
	for b.Loop() {
		before := resident(b)
		peak, stop := watchMemory(b)
		start := time.Now()
		s := sweep{Options: a.Options, now: base.AddDate(1, 0, 0), start: start}
		s.Budget = time.Hour
		if err := s.list(context.Background()); err != nil || s.r.Expired != files {
			b.Fatalf("%+v %v", s.r, err)
		}
		for range s.q.oldestFirst {
			break // sorted now
		}
		took := time.Since(start)
		stop()
		b.ReportMetric(took.Seconds(), "s")
		b.ReportMetric(float64(*peak)/(1<<20), "MiB-peak")
		b.ReportMetric(float64(*peak-before)/(1<<20), "MiB-growth")
	}
}

// resident is the memory of this process, in bytes.
func resident(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// watchMemory samples the resident memory until stop is called.
func watchMemory(b *testing.B) (peak *int64, stop func()) {
	peak = new(int64)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			*peak = max(*peak, resident(b))
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return peak, func() {
		close(done)
		<-ended
	}
}

// BenchmarkDecide is the pure decision of one file.
func BenchmarkDecide(b *testing.B) {
	f := rollover.File{Name: rollover.NewName(rollover.Act, 1, 1, base, ".xml.gz")}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	for _, loc := range []*time.Location{time.UTC, berlin} {
		b.Run(fmt.Sprint(loc), func(b *testing.B) {
			r := Rule{Retention: time.Hour, Location: loc}
			b.ReportAllocs()
			for b.Loop() {
				if d := decide(f, r, true, base); d.Remove {
					b.Fatal(d)
				}
			}
		})
	}
}
