package report

import (
	"fmt"
	"io"
	"maps"

	"github.com/parquet-go/parquet-go"
)

// line is a figure as a row of Parquet.
type line struct {
	Object      []string         `parquet:"object,list"`
	Labels      []string         `parquet:"labels,list"`
	Direction   string           `parquet:"direction"`
	Table       string           `parquet:"table"`
	Unit        string           `parquet:"unit"`
	Counters    []string         `parquet:"counters,list"`
	Total       *int64           `parquet:"total,optional"`
	Forwarded   *int64           `parquet:"forwarded,optional"`
	Exact       string           `parquet:"total_text"`
	Percent     *float64         `parquet:"percent,optional"`
	Rate        *float64         `parquet:"rate,optional"`
	RateUnit    string           `parquet:"rate_unit"`
	Max         *float64         `parquet:"max_rate,optional"`
	Rank        int64            `parquet:"rank"`
	Samples     int64            `parquet:"samples"`
	Capacity    *float64         `parquet:"capacity,optional"`
	Peak        *float64         `parquet:"peak_utilisation,optional"`
	Over        int64            `parquet:"intervals_over"`
	Interval    int64            `parquet:"interval_seconds"`
	Expected    int64            `parquet:"expected"`
	Counted     int64            `parquet:"counted"`
	Partial     int64            `parquet:"partial"`
	Missing     map[string]int64 `parquet:"missing"`
	GapSeconds  int64            `parquet:"gap_seconds"`
	Series      int64            `parquet:"series"`
	Rows        int64            `parquet:"rows"`
	Deltas      int64            `parquet:"deltas"`
	Absent      []string         `parquet:"members_without_rows,list"`
	Refused     string           `parquet:"refused"`
	Policy      string           `parquet:"gap_policy"`
	Percentile  string           `parquet:"percentile"`
	Method      string           `parquet:"percentile_method"`
	From        int64            `parquet:"from,timestamp(microsecond)"`
	To          int64            `parquet:"to,timestamp(microsecond)"`
	RulesNumber int64            `parquet:"rules_version"`
}

// WriteParquet writes the report as one Parquet file with a row for each figure. A
// total above 2^63-1 is NULL; total_text has it in any case.
func (r *Report) WriteParquet(w io.Writer) error {
	pw := parquet.NewGenericWriter[line](w, parquet.Compression(&parquet.Zstd))
	for i := range r.Figures {
		if _, err := pw.Write([]line{r.line(&r.Figures[i])}); err != nil {
			return fmt.Errorf("write Parquet: %w", err)
		}
	}
	if err := pw.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

func (r *Report) line(f *Figure) line {
	c := &f.Coverage
	l := line{
		Object: f.Object, Labels: r.Labels, Direction: string(f.Direction), Table: f.Table, Unit: string(f.Unit), Counters: f.Counters,
		Exact: f.total(), Percent: f.Percent, Rate: f.Rate, RateUnit: f.Unit.Rate(), Max: f.Max, Rank: int64(f.Rank), Samples: int64(f.Samples),
		Peak: f.Peak, Over: int64(f.OverCount), Interval: f.Interval, Expected: int64(c.Expected), Counted: int64(c.Counted),
		Partial: int64(c.Partial), Missing: map[string]int64{}, GapSeconds: c.GapSeconds, Series: int64(c.Series), Rows: c.Rows, Deltas: c.Deltas,
		Absent: c.Absent, Refused: f.Refused, Policy: string(r.Gaps), Percentile: r.Percentile.String(), Method: r.Method,
		From: r.Window.From.UnixMicro(), To: r.Window.To.UnixMicro(), RulesNumber: int64(r.Rules),
	}
	if f.Capacity > 0 {
		l.Capacity = &f.Capacity
	}
	if f.Refused == "" {
		if n, ok := f.Total.Int64(); ok {
			l.Total = &n
		}
		if n, ok := f.Forwarded.Int64(); ok && r.Kind == Drops {
			l.Forwarded = &n
		}
	}
	for name, n := range maps.All(c.Missing) {
		l.Missing[name] = int64(n)
	}
	return l
}
