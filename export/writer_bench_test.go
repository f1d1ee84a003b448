package export

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	pzstd "github.com/parquet-go/parquet-go/compress/zstd"

	"acctpull/internal/gen"
	"acctpull/ledger"
	"acctpull/record"
)

// structRow is the dataset of the generated record as a static struct, which is
// the fast path of parquet-go's writer. The maps are left out.
type structRow struct {
	Device      string  `parquet:"device,dict"`
	PolicyID    *int32  `parquet:"policy_id,optional"`
	FileID      *int32  `parquet:"file_id,optional"`
	Sub         *string `parquet:"sub_record,optional,dict"`
	Scope       *string `parquet:"scope,optional,dict"`
	CounterMode *string `parquet:"counter_mode,optional,dict"`
	Semantics   string  `parquet:"semantics,dict"`
	Final       int32   `parquet:"final"`
	Start       *int64  `parquet:"interval_start,optional,timestamp(microsecond)"`
	End         int64   `parquet:"interval_end,timestamp(microsecond)"`
	ServiceID   *string `parquet:"service_id,optional,dict"`
	SAP         *string `parquet:"sap,optional,dict"`
	MeterID     *int64  `parquet:"meter_id,optional"`
	QueueID     *int64  `parquet:"queue_id,optional"`
	C0          *int64  `parquet:"c0,optional"`
	C1          *int64  `parquet:"c1,optional"`
	C2          *int64  `parquet:"c2,optional"`
	C3          *int64  `parquet:"c3,optional"`
	C4          *int64  `parquet:"c4,optional"`
	C5          *int64  `parquet:"c5,optional"`
	C6          *int64  `parquet:"c6,optional"`
	C7          *int64  `parquet:"c7,optional"`
	C8          *int64  `parquet:"c8,optional"`
	C9          *int64  `parquet:"c9,optional"`
	C10         *int64  `parquet:"c10,optional"`
	C11         *int64  `parquet:"c11,optional"`
	C12         *int64  `parquet:"c12,optional"`
	C13         *int64  `parquet:"c13,optional"`
	N0          *int64  `parquet:"n0,optional"` // columns of other platforms, NULL here
	N1          *int64  `parquet:"n1,optional"`
	N2          *int64  `parquet:"n2,optional"`
	N3          *int64  `parquet:"n3,optional"`
	N4          *int64  `parquet:"n4,optional"`
	N5          *int64  `parquet:"n5,optional"`
	SourceFile  string  `parquet:"source_file,dict"`
	SourceSum   string  `parquet:"source_sha256,dict"`
}

// structRows converts records, and does not count in the benchmark.
func structRows(steps []step) []structRow {
	policy, fileID := int32(10), int32(11)
	rows := make([]structRow, len(steps))
	for i, s := range steps {
		r := s.rec
		numbers := make([]int64, len(r.Values))
		for j, v := range r.Values {
			numbers[j] = int64(v.N)
		}
		start := r.Start.UnixMicro()
		rows[i] = structRow{
			Device: "r1", PolicyID: &policy, FileID: &fileID, Sub: &r.Sub, Scope: &r.Set.Scope, Semantics: record.Cumulative,
			Start: &start, End: r.End.UnixMicro(), ServiceID: &r.Values[0].Text, SAP: &r.Values[1].Text, QueueID: &numbers[2],
			SourceFile: "act1011-20260102-000000.xml.gz", SourceSum: sha(""),
		}
		for j, c := range []**int64{
			&rows[i].C0, &rows[i].C1, &rows[i].C2, &rows[i].C3, &rows[i].C4, &rows[i].C5, &rows[i].C6,
			&rows[i].C7, &rows[i].C8, &rows[i].C9, &rows[i].C10, &rows[i].C11, &rows[i].C12, &rows[i].C13,
		} {
			*c = &numbers[3+j]
		}
	}
	return rows
}

// BenchmarkWriter compares our way from records to a published file, sorting and
// fsync included, with parquet-go's GenericWriter into a file, in the same run.
// It is the reason for parquet.go and pages.go.
func BenchmarkWriter(b *testing.B) {
	steps, truth := generate(b, gen.Options{Seed: 1, Objects: 2_500, Intervals: 12})
	rows := structRows(steps)
	m := newMemExport(b)
	var ours measured
	theirs := 0.0
	for i := range b.N {
		m.batch = ledger.Batch{}
		m.add("r1", string(rune('a'+i)), steps...)
		ours.export(b, m.Exporter, m.batch.Inputs...)
		theirs += cpuOf(b, func() error { return writeStructs(filepath.Join(b.TempDir(), "f"), rows) })
	}
	ours.check(b, truth)
	n := float64(b.N) * float64(len(rows)) / 1e9
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours.cpu/n, "cpu-ns/row")
	b.ReportMetric(theirs/n, "generic-cpu-ns/row")
	b.ReportMetric(theirs/ours.cpu, "×generic")
}

func writeStructs(path string, rows []structRow) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := parquet.NewGenericWriter[structRow](io.Writer(f),
		parquet.Compression(&pzstd.Codec{Level: zstd.SpeedFastest}), parquet.MaxRowsPerRowGroup(groupRows),
		parquet.DefaultEncodingFor(parquet.Int64, &parquet.DeltaBinaryPacked))
	for len(rows) > 0 {
		n := min(len(rows), 1024)
		if _, err := w.Write(rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}
