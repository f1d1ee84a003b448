package report

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/record"
	"acctpull/usage"
)

// cpu is the CPU time of the process in seconds.
func cpu(t testing.TB) float64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// writeMonth writes 30 days of 15-minute usage of SAPs, one compacted file for each day.
func writeMonth(t testing.TB, dir string, saps int) (rows int64) {
	t.Helper()
	table := usage.Schema(export.Schema(definition(t, "service-egress-octets")))
	const perDay = 96
	for day := range 30 {
		start := march.AddDate(0, 0, day)
		at := filepath.Join(dir, table.Name, "v1", "date="+start.Format(time.DateOnly))
		if err := os.MkdirAll(at, 0o750); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(at, "a.parquet"))
		if err != nil {
			t.Fatal(err)
		}
		schema := columns.Schema{Sorted: table.Sorted}
		for _, c := range table.Columns {
			schema.Columns = append(schema.Columns, columns.Column{Name: c.Name, Type: c.Type, Nullable: c.Nullable})
		}
		w := columns.NewWriter(f, schema, columns.WriterOptions{})
		for from := 0; from < saps; from += 100 {
			if err := w.WriteRows(monthBatch(table, start, from, min(from+100, saps), perDay)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(nil); err != nil {
			t.Fatal(err)
		}
		rows += w.Rows()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// monthBatch makes a day of some SAPs, 100 on each device.
func monthBatch(table *export.Table, start time.Time, from, to, perDay int) *columns.Batch {
	rows := (to - from) * perDay
	b := &columns.Batch{Rows: rows}
	for _, c := range table.Columns {
		v := columns.Vector{Rows: rows, Const: true}
		switch c.Name {
		case "device":
			v.IDs, v.Texts = []int32{0}, []string{fmt.Sprintf("pe-%04d", from/100)}
		case "sub_record":
			v.IDs, v.Texts = []int32{0}, []string{"seo"}
		case "scope":
			v.IDs, v.Texts = []int32{0}, []string{"per SAP"}
		case "semantics":
			v.IDs, v.Texts = []int32{0}, []string{"cumulative"}
		case "policy_id":
			v.Ints = []int64{10}
		case "final":
			v.Ints = []int64{0}
		case "interval_seconds":
			v.Ints = []int64{900}
		case "service_id", "sap":
			v.Const = false
			for i := range to - from {
				v.Texts = append(v.Texts, fmt.Sprintf("%s%05d", map[string]string{"service_id": "1", "sap": "1/1/1:"}[c.Name], from+i))
				for range perDay {
					v.IDs = append(v.IDs, int32(i))
				}
			}
		case "source_file", "source_sha256", "previous_file", "previous_sha256":
			v.Const = false
			for i := range perDay {
				v.Texts = append(v.Texts, fmt.Sprintf("%s-%d-%d", c.Name, from, i))
			}
			for i := range rows {
				v.IDs = append(v.IDs, int32(i%perDay))
			}
		case "interval_start", "interval_end", "octets_forwarded_at_the_sap_egress":
			v.Const = false
			for i := range rows {
				n := start.UnixMicro() + int64(i%perDay+1)*900*second
				switch c.Name {
				case "interval_start":
					n -= 900 * second
				case "octets_forwarded_at_the_sap_egress":
					n = int64(i*2654435761) % (1 << 32)
				}
				v.Ints = append(v.Ints, n)
			}
		default:
			v.Const, v.AllNull = false, true
		}
		b.Columns = append(b.Columns, v)
	}
	return b
}

// BenchmarkMonth makes the 95th percentile of a month of 15-minute usage for 1,000
// SAPs: a tenth of what docs/performance.md speaks of, which ACCTPULL_SAPS=10000 runs.
func BenchmarkMonth(b *testing.B) {
	saps := 1000
	if os.Getenv("ACCTPULL_SAPS") == "10000" {
		saps = 10000
	}
	dir := b.TempDir()
	rows := writeMonth(b, dir, saps)
	runtime.GC()
	before := cpu(b)
	b.ResetTimer()
	for range b.N {
		r, _, err := Run(context.Background(), depot.NewDir(dir), Options{Kind: P95, Window: Window{march, march.AddDate(0, 0, 30)}},
			Settings{Catalogue: record.Builtin(), Scratch: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if len(r.Figures) != saps || r.Figures[0].Samples != 2880 || r.Figures[0].Rank != 2736 {
			b.Fatalf("%d figures, %+v", len(r.Figures), r.Figures[0])
		}
	}
	b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(rows)*float64(b.N)/(cpu(b)-before)/1e6, "Mrows/cpu-s")
}
