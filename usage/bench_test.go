package usage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/record"
)

// BenchmarkDay makes the usage of a day of 5,000 objects with 14 counters, from
// files of an hour each, and of the day before them. It reports rows per second
// of CPU time, with reading, merging, writing, verifying and fsync.
func BenchmarkDay(b *testing.B) {
	def, ok := record.Builtin().Lookup("combined-service-ingress")
	if !ok {
		b.Fatal("no such record")
	}
	table := export.Schema(def)
	dir := b.TempDir()
	w := steady(1)
	bench := newBench(b, dir, w)
	bench.l = newLayout(table)
	rows := writeDay(b, bench, table, 5000)
	o := bench.options()
	var used time.Duration
	for b.Loop() {
		if err := os.RemoveAll(filepath.Join(dir, StateDir)); err != nil {
			b.Fatal(err)
		}
		before := cpu(b)
		reports, err := Refresh(context.Background(), o)
		if err != nil || reports[0].Rows != int64(rows) {
			b.Fatal(reports, err)
		}
		used += cpu(b) - before
	}
	b.ReportMetric(float64(rows)*float64(b.N)/used.Seconds(), "rows/CPU-s")
	b.ReportMetric(0, "ns/op")
}

// cpu is the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writeDay writes 24 files of a day with rows of 15 minutes, and one of the last
// interval of the day before.
func writeDay(b *testing.B, bench *bench, table *export.Table, objects int) (rows int) {
	rng := rand.New(rand.NewPCG(1, 2))
	schema := columnsOf(table)
	var counts []int
	for i, c := range table.Columns {
		if c.Role == roleCounter && len(counts) < 14 {
			counts = append(counts, i)
		}
	}
	totals := make([]int64, objects*len(counts))
	const quarter = 15 * minute
	for hour := -1; hour < 24; hour++ {
		date, intervals := "2026-03-02", 4
		if hour < 0 {
			date, intervals = "2026-03-01", 1
		}
		path := filepath.Join(bench.dir, filepath.FromSlash(fmt.Sprintf("%s/%032d.parquet", export.PartitionPath(table.Name, 1, date), hour+1)))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			b.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		out := columns.NewWriter(f, schema, columns.WriterOptions{Encoder: bench.encoder})
		sap, mode, file := &interner{}, &interner{}, &interner{}
		g := newGatherer(out, &schema, func(column string) *interner {
			switch column {
			case "sap":
				return sap
			case colSource, colSourceHash:
				return file
			}
			return mode
		})
		at := table.Index
		for o := range objects {
			for i := range intervals {
				if err := g.next(); err != nil {
					b.Fatal(err)
				}
				end := began + 24*60*minute + int64(hour)*60*minute + int64(i+1)*quarter
				if hour < 0 {
					end = began + 24*60*minute - quarter
				}
				for name, text := range map[string]string{colDevice: "edge-1", colSub: "cmSipo", colScope: "per meter", colSemantics: "cumulative", "service_id": "10"} {
					g.text(at(name), mode.id(text))
				}
				g.text(at("sap"), sap.id(fmt.Sprintf("1/1/1:%04d", o/4)))
				g.text(at(colSource), file.id(fmt.Sprint("act1011-", hour)))
				g.text(at(colSourceHash), file.id(fmt.Sprintf("%064x", hour+1)))
				g.int(at("meter_id"), int64(o%4))
				g.int(at(colFinal), 0)
				g.int(at(colPolicy), 10)
				g.int(at(colStart), end-quarter)
				g.int(at(colEnd), end)
				for c, column := range counts {
					n := &totals[o*len(counts)+c]
					if o%3 == 0 {
						*n += rng.Int64N(1 << (10 + c*2))
					}
					g.int(column, *n)
				}
				rows++
			}
		}
		if err := g.flush(); err != nil {
			b.Fatal(err)
		}
		if err := out.Close(map[string]string{"acctpull.schema": table.ID()}); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return rows
}
