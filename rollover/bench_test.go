package rollover

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// collection is what one collection interval may look like: a million bytes
// of elements with counters, most of them small.
func collection() []byte {
	rng := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for i := 0; b.Len() < 1<<20; i++ {
		fmt.Fprintf(&b, "<sap svc=\"%d\" port=\"1/1/%d\"><queue id=\"1\">", 1000+i/4, i%24)
		for _, f := range []string{"ioh", "iol", "doh", "dol", "poh", "pol"} {
			v := uint64(0)
			if rng.IntN(3) == 0 {
				v = rng.Uint64() >> rng.IntN(64)
			}
			fmt.Fprintf(&b, "<%s>%d</%s>", f, v, f)
		}
		b.WriteString("</queue></sap>\n")
	}
	return []byte(b.String())
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

// BenchmarkAppend appends entries of a megabyte, each a committed and fsynced
// gzip member, and reports the processor time against one gzip stream of the
// same level to nowhere.
func BenchmarkAppend(b *testing.B) {
	entry := collection()
	o := options(b)
	o.Rollover = 0
	l, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	b.SetBytes(int64(len(entry)))
	start, n := cpu(b), 0
	for b.Loop() {
		if err := l.Append(now, entry); err != nil {
			b.Fatal(err)
		}
		n++
	}
	ours := cpu(b) - start
	f, _, err := l.Roll()
	if err != nil {
		b.Fatal(err)
	}
	zw, err := gzip.NewWriterLevel(io.Discard, defaultLevel)
	if err != nil {
		b.Fatal(err)
	}
	start = cpu(b)
	for range n {
		if _, err := zw.Write(entry); err != nil {
			b.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		b.Fatal(err)
	}
	bare := cpu(b) - start
	total := float64(n) * float64(len(entry))
	b.ReportMetric(total/1e6/ours.Seconds(), "MB/CPU-s")
	b.ReportMetric(total/1e6/bare.Seconds(), "bare-gzip-MB/CPU-s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "ratio")
	b.ReportMetric(total/float64(f.Size), "gzip-ratio")
	if err := os.Remove(f.Path); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSmallEntries commits entries of 100 bytes: what is left is the
// price of a gzip member and of an fsync.
func BenchmarkSmallEntries(b *testing.B) {
	l, err := Open(options(b))
	if err != nil {
		b.Fatal(err)
	}
	entry := collection()[:100]
	now := time.Now()
	start, n := cpu(b), 0
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Append(now, entry); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64((cpu(b)-start).Microseconds())/float64(n), "CPU-µs/entry")
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkParseName is one name.
func BenchmarkParseName(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseName("act1111-20031223-014658.xml.gz"); err != nil {
			b.Fatal(err)
		}
	}
}
