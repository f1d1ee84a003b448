package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/record"
	"acctpull/usage"
)

// Rank is what makes an object one of the largest.
type Rank string

// The ranks of a top report.
const (
	ByVolume  Rank = "volume" // Figure.Total; the default
	ByRate    Rank = "p95"    // Figure.Rate
	ByMaximum Rank = "max"    // Figure.Max
)

// ParseRank reads the name of a rank.
func ParseRank(s string) (Rank, error) {
	switch r := Rank(s); r {
	case ByVolume, ByRate, ByMaximum:
		return r, nil
	}
	return "", invalid("volume, p95 or max", "no rank %q", clip(s))
}

// Settings say how a report is made; they do not change a figure.
type Settings struct {
	// Catalogue is that of the records; it must not be nil.
	Catalogue *record.Catalogue
	// Tables are the tables to read; nil chooses those that have the answer.
	Tables []string
	// Plots is the number of figures whose single intervals are kept for
	// WriteHTML.
	Plots int
	// Proof asks for the proof of all figures.
	Proof bool
	// Scratch is a local directory for files of a merge that does not fit into
	// memory; "" is that of the system.
	Scratch string
}

// Run makes a report of a dataset. The Proof is nil unless it was asked for.
func Run(ctx context.Context, dataset depot.Reader, o Options, s Settings) (*Report, *Proof, error) {
	if err := o.complete(); err != nil {
		return nil, nil, err
	}
	src := &source{dataset: dataset, from: o.Window.From.UnixMicro() - slack, to: o.Window.To.UnixMicro() + slack}
	if s.Proof {
		src.from -= proofBefore
	}
	tables, err := src.tables(ctx, s.Catalogue)
	if err != nil {
		return nil, nil, err
	}
	list, err := Choose(s.Catalogue, tables, s.Tables, &o)
	if err != nil {
		return nil, nil, err
	}
	if o.By == "" && len(o.Groups) == 0 && !o.Sum {
		o.By = natural(list[0])
	}
	r := &Report{Rules: RulesVersion, Kind: o.Kind, Window: o.Window, Gaps: o.Gaps, Percentile: o.Percentile, Method: Method, Figures: []Figure{}}
	var c *collector
	if s.Proof {
		c = newCollector()
	}
	for _, def := range list {
		e, err := newEngine(def, &o)
		if err != nil {
			return nil, nil, err
		}
		labels := e.labels()
		if r.Labels == nil {
			r.Labels = labels
		} else if !slices.Equal(r.Labels, labels) {
			return nil, nil, invalid("choose one with --table, or what they have in common with --by", "%s and %s have different objects", list[0].Name, def.Name)
		}
		r.Tables = append(r.Tables, string(def.Name)+UsageSuffix)
		e.plots.want = s.Plots
		e.emit = func(f Figure) { r.Figures = append(r.Figures, f) }
		if err := runTable(ctx, src, e, c, s.Scratch); err != nil {
			return nil, nil, err
		}
	}
	r.addSilent(&o)
	r.arrange(&o)
	if c == nil {
		return r, nil, nil
	}
	return r, c.finish(&o, r), nil
}

// complete fills in defaults and refuses what contradicts itself.
func (o *Options) complete() error {
	o.Percentile = o.Percentile.value()
	if o.Gaps == "" {
		o.Gaps = Exclude
	}
	if o.Rank == "" {
		o.Rank = ByVolume
	}
	if !o.Window.From.Before(o.Window.To) || o.Window.To.Sub(o.Window.From) > 400*24*time.Hour {
		return invalid("a month, or a range of at most 400 days", "%s is no range of time", o.Window)
	}
	ways := 0
	for _, set := range []bool{o.By != "", o.Sum, len(o.Groups) > 0} {
		if set {
			ways++
		}
	}
	switch {
	case !slices.Contains([]Kind{Volume, P95, Drops, Top}, o.Kind):
		return invalid("volume, p95, drops or top", "no report %q", clip(string(o.Kind)))
	case !slices.Contains([]Policy{Exclude, Zero, Refuse}, o.Gaps):
		return invalid("exclude, zero or refuse", "no gap policy %q", clip(string(o.Gaps)))
	case ways > 1:
		return invalid("choose one", "by, sum and groups exclude each other")
	case o.Across && (o.Sum || len(o.Groups) > 0):
		return invalid("sums and groups are across devices already", "across goes with kinds of objects only")
	case o.Mix && o.Interval > 0:
		return invalid("choose one", "--mix takes all lengths, --interval one")
	case o.Mix && o.Gaps != Exclude:
		return invalid("use --interval, or the gap policy exclude", "with mixed lengths nobody knows how many intervals are missing")
	case o.Interval < 0 || o.Interval > 2*time.Hour || o.Interval%time.Second != 0:
		return invalid("1s to 2h, in whole seconds", "%s is no interval", o.Interval)
	case o.Over > 0 && o.Capacity == nil:
		return invalid("--speed gives all of them one, --capacity a file with theirs", "a threshold needs to know how much the objects can carry")
	}
	return nil
}

// runTable makes the figures of one table, in as many passes as groups need to fit
// into memory.
func runTable(ctx context.Context, src *source, e *engine, c *collector, scratch string) (err error) {
	open, closeAll, err := src.open(ctx, usage.Name(string(e.measure.def.Name)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	if c != nil {
		c.table(e)
	}
	for len(open) > 0 {
		e.deferred = false
		m, err := columns.Merge(open, columns.MergeOptions{Columns: e.columnNames(c != nil), Memory: mergeMemory, Temp: scratch})
		if err != nil {
			return err
		}
		err = errors.Join(newScanner(e, c).scan(ctx, m), m.Close())
		if err != nil {
			return fmt.Errorf("read %s: %w", usage.Name(string(e.measure.def.Name)), err)
		}
		if !e.deferred {
			break
		}
	}
	return nil
}

// mergeMemory is what the merge of the days may take.
const mergeMemory = 64 << 20

// addSilent adds a figure for each group of which no member has a row.
func (r *Report) addSilent(o *Options) {
	for _, g := range o.Groups {
		if slices.ContainsFunc(r.Figures, func(f Figure) bool { return f.Object[0] == g.Name }) {
			continue
		}
		f := Figure{Object: []string{g.Name}, Direction: o.Direction, Unit: cmp.Or(o.Unit, Octets), Coverage: Coverage{Expected: -1}}
		for _, m := range g.Members {
			f.Coverage.Absent = append(f.Coverage.Absent, m.String())
		}
		if o.Gaps == Refuse {
			f.Refused = "no row of " + f.Coverage.Absent[0]
		}
		r.Figures = append(r.Figures, f)
	}
}

// arrange brings the figures into the order of the report.
func (r *Report) arrange(o *Options) {
	r.Of = len(r.Figures)
	switch {
	case o.Kind == Top:
		r.shares()
		slices.SortStableFunc(r.Figures, func(a, b Figure) int { return cmp.Or(o.compare(&b, &a), compareNames(&a, &b)) })
		if o.Over > 0 {
			r.Figures = slices.DeleteFunc(r.Figures, func(f Figure) bool { return f.OverCount == 0 && f.Refused == "" })
		}
	case o.Kind == Drops:
		slices.SortStableFunc(r.Figures, func(a, b Figure) int { return cmp.Or(b.Total.Cmp(a.Total), compareNames(&a, &b)) })
	default:
		slices.SortStableFunc(r.Figures, func(a, b Figure) int { return compareNames(&a, &b) })
	}
	if o.Limit > 0 && len(r.Figures) > o.Limit {
		r.Figures = r.Figures[:o.Limit:o.Limit]
	}
}

func compareNames(a, b *Figure) int {
	return cmp.Or(slices.Compare(a.Object, b.Object), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Table, b.Table))
}

// shares sets the percentage of each figure in what its table has in its direction.
func (r *Report) shares() {
	type part struct {
		table     string
		direction Direction
	}
	sums := map[part]Sum{}
	for i := range r.Figures {
		f := &r.Figures[i]
		k := part{f.Table, f.Direction}
		s := sums[k]
		s.addSum(f.Total)
		sums[k] = s
	}
	for i := range r.Figures {
		f := &r.Figures[i]
		if s := sums[part{f.Table, f.Direction}]; !s.IsZero() && f.Refused == "" {
			share := f.Total.Float() * 100 / s.Float()
			f.Percent = &share
		}
	}
}

// compare is positive if a is larger than b by what the report ranks by.
func (o *Options) compare(a, b *Figure) int {
	value := func(v *float64) float64 {
		if v == nil {
			return -1
		}
		return *v
	}
	switch {
	case o.Over > 0:
		return cmp.Or(cmp.Compare(a.OverCount, b.OverCount), cmp.Compare(value(a.Peak), value(b.Peak)))
	case o.Rank == ByRate:
		return cmp.Compare(value(a.Rate), value(b.Rate))
	case o.Rank == ByMaximum:
		return cmp.Compare(value(a.Max), value(b.Max))
	}
	return a.Total.Cmp(b.Total)
}
