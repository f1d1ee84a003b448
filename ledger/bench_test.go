package ledger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"acctpull/internal/pgserver"
	"acctpull/ledger"
)

// cpu returns the CPU time of this process, user and system.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perRow runs f, which handles rows rows, once whatever b.N is: it cannot be
// repeated on the same ledger. It reports wall and CPU time.
func perRow(b *testing.B, name string, rows int, f func()) {
	var wall, used time.Duration
	b.Run(name, func(b *testing.B) {
		if used == 0 {
			start, before := time.Now(), cpu(b)
			f()
			wall, used = time.Since(start), cpu(b)-before
		}
		n := float64(rows)
		b.ReportMetric(n/wall.Seconds(), "rows/s")
		b.ReportMetric(float64(used.Microseconds())/n, "cpu-µs/row")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkLedger fills a ledger of 10 devices × 2,000 files on each engine:
// listing, the same listing again, the listing of a device that keeps 48 files,
// claims of 50 with one transaction per 50 stored files, one durable transaction
// per file, planning and finishing batches, taking and finishing devices, a full
// check, and opening. CPU time is that of this process.
func BenchmarkLedger(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "ledger.db")
		benchLedger(b, path)
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%d bytes per row on disk", info.Size()/20000)
	})
	b.Run("postgres", func(b *testing.B) { benchLedger(b, pgserver.Start(b).Database()) })
}

func benchLedger(b *testing.B, path string) {
	const devices, files = 10, 2000
	ctx := b.Context()
	open := func() *ledger.Ledger {
		l, err := ledger.Open(ctx, path)
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	ok := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	l, fetched := open(), 0
	listing := func(d int) []ledger.Key {
		keys := make([]ledger.Key, files)
		for i := range keys {
			keys[i] = ledger.Key{Device: fmt.Sprintf("router-%03d.example.net", d), Path: "cf1:/act",
				Name: fmt.Sprintf("act1101-%s.xml.gz", start.Add(time.Duration(i)*time.Minute).Format("20060102-150405")),
				Size: 61440, MTime: start.Unix() + int64(i)*60}
		}
		return keys
	}
	discover := func() {
		for d := range devices {
			_, err := l.Discover(ctx, start, listing(d))
			ok(err)
		}
	}
	fetch := func(owner string, claims, perTx, total int) {
		for done := 0; done < total; {
			device := fmt.Sprintf("router-%03d.example.net", fetched/files)
			cs, err := l.Claim(ctx, start, owner, time.Hour, device, claims)
			ok(err)
			for len(cs) > 0 {
				part := cs[:min(perTx, len(cs))]
				cs = cs[len(part):]
				items := make([]ledger.StoreItem, len(part))
				for i, c := range part {
					items[i] = ledger.StoreItem{Claim: c, SHA256: digest(c.Device + c.Name), Stored: "devices/" + c.Device + "/act/" + c.Name}
				}
				_, err := l.StoreMany(ctx, start, items)
				ok(err)
				done += len(part)
				fetched += len(part)
			}
		}
	}
	step := func(name string, rows int, f func()) {
		perRow(b, name, rows, f)
	}
	step("discover", devices*files, discover)
	step("discover-known", devices*files, discover)
	step("discover-idle-48", 100*48, func() {
		for i := range 100 {
			_, err := l.Discover(ctx, start, listing(i % devices)[files-48:])
			ok(err)
		}
	})
	step("claim50-store50", devices*files-1000, func() { fetch("bulk", 50, 50, devices*files-1000) })
	step("claim50-store1", 1000, func() { fetch("single", 50, 1, 1000) })
	step("plan-finish-1000", devices*files, func() {
		for {
			batch, more, err := l.PlanBatch(ctx, start, "exporter", time.Hour, 1000, 0)
			ok(err)
			if !more {
				return
			}
			var results []ledger.InputResult
			for _, in := range batch.Inputs {
				results = append(results, ledger.InputResult{Device: in.Device, SHA256: in.SHA256, State: ledger.Exported, Records: 10})
			}
			ok(l.FinishBatch(ctx, start, batch.BatchClaim, []ledger.Output{{Path: batch.ID, SHA256: batch.ID,
				Rows: int64(10 * len(results)), Record: "service-ingress-octets", Date: "2026-01-02"}}, results))
		}
	})
	step("take-finish-visit", 1000, func() {
		for i := range 1000 {
			device := fmt.Sprintf("router-%03d.example.net", i%200)
			at := start.Add(time.Duration(i) * time.Minute)
			c, _, yes, err := l.TakeDevice(ctx, at, device, "node", time.Minute, "site", 4, 1<<60)
			ok(err)
			if !yes {
				b.Fatal("the device is held")
			}
			_, err = l.FinishDevice(ctx, at, c, []byte(`{"tried":"2026-01-02T03:04:05Z","good":"2026-01-02T03:04:05Z"}`),
				ledger.Visit{Device: device, Began: at, Ended: at.Add(time.Second), Good: true, Listed: 48, Oldest: "x"})
			ok(err)
		}
	})
	step("check", devices*files, func() { ok(l.Check(ctx)) })
	ok(l.Close())
	step("open", 1, func() { l = open() })
	ok(l.Close())
}
