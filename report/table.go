package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// column is one column of a report as a table.
type column struct {
	name string
	// text is the exact value, "" for none; short is what a person reads, nil if
	// it is the same.
	text  func(*Figure) string
	short func(*Figure) string
	// detail columns are not shown on a terminal.
	detail bool
}

// columns are those of a report, in their order.
func (r *Report) columns() []column {
	var all []column
	add := func(name string, text func(*Figure) string) { all = append(all, column{name: name, text: text}) }
	detail := func(name string, text func(*Figure) string) {
		all = append(all, column{name: name, text: text, detail: true})
	}
	both := func(name string, text, short func(*Figure) string) {
		all = append(all, column{name: name, text: text, short: short})
	}
	for i, l := range r.Labels {
		add(l, func(f *Figure) string {
			if i < len(f.Object) {
				return f.Object[i]
			}
			return ""
		})
	}
	add("direction", func(f *Figure) string { return string(f.Direction) })
	switch r.Kind {
	case Drops:
		both("dropped", (*Figure).total, (*Figure).shortTotal)
		add("forwarded", func(f *Figure) string { return f.sum(f.Forwarded) })
		both("percent", func(f *Figure) string { return float(f.Percent) }, func(f *Figure) string { return share(f.Percent, 1) })
	case P95:
		r.rateColumns(both, detail)
	default:
		both("total", (*Figure).total, (*Figure).shortTotal)
	}
	if r.Kind == Top {
		both("percent", func(f *Figure) string { return float(f.Percent) }, func(f *Figure) string { return share(f.Percent, 1) })
		r.rateColumns(both, detail)
		if slices.ContainsFunc(r.Figures, func(f Figure) bool { return f.Capacity > 0 }) {
			both("capacity", func(f *Figure) string { return nonZero(f.Capacity) }, func(f *Figure) string { return f.human(&f.Capacity) })
			both("peak_utilisation", func(f *Figure) string { return float(f.Peak) }, func(f *Figure) string { return share(f.Peak, 100) })
			add("intervals_over", func(f *Figure) string { return f.unlessRefused(strconv.Itoa(f.OverCount)) })
		}
	}
	add("unit", func(f *Figure) string { return string(f.Unit) })
	both("interval_seconds", func(f *Figure) string { return nonZero(float64(f.Interval)) }, func(f *Figure) string { return f.length() })
	both("expected", func(f *Figure) string { return strconv.Itoa(f.Coverage.Expected) }, func(f *Figure) string { return f.expected() })
	add("counted", func(f *Figure) string { return strconv.Itoa(f.Coverage.Counted) })
	add("missing", (*Figure).missing)
	add("partial", func(f *Figure) string { return strconv.Itoa(f.Coverage.Partial) })
	detail("gap_seconds", func(f *Figure) string { return strconv.FormatInt(f.Coverage.GapSeconds, 10) })
	detail("series", func(f *Figure) string { return strconv.Itoa(f.Coverage.Series) })
	detail("rows", func(f *Figure) string { return strconv.FormatInt(f.Coverage.Rows, 10) })
	detail("deltas", func(f *Figure) string { return strconv.FormatInt(f.Coverage.Deltas, 10) })
	detail("members_without_rows", func(f *Figure) string { return strings.Join(f.Coverage.Absent, "; ") })
	add("refused", func(f *Figure) string { return f.Refused })
	detail("table", func(f *Figure) string { return f.Table })
	detail("counters", func(f *Figure) string { return strings.Join(f.Counters, " ") })
	detail("scopes", func(f *Figure) string { return strings.Join(f.Scopes, "; ") })
	for _, c := range []struct{ name, value string }{
		{"gap_policy", string(r.Gaps)}, {"percentile", r.Percentile.String()}, {"percentile_method", r.Method},
		{"from", r.Window.From.UTC().Format(time.RFC3339)}, {"to", r.Window.To.UTC().Format(time.RFC3339)},
		{"rules_version", strconv.Itoa(r.Rules)},
	} {
		detail(c.name, func(*Figure) string { return c.value })
	}
	return all
}

func (r *Report) rateColumns(both func(string, func(*Figure) string, func(*Figure) string), detail func(string, func(*Figure) string)) {
	both("rate", func(f *Figure) string { return float(f.Rate) }, func(f *Figure) string { return f.human(f.Rate) })
	both("max_rate", func(f *Figure) string { return float(f.Max) }, func(f *Figure) string { return f.human(f.Max) })
	detail("rate_unit", func(f *Figure) string { return f.Unit.Rate() })
	detail("rank", func(f *Figure) string { return strconv.Itoa(f.Rank) })
	detail("samples", func(f *Figure) string { return strconv.Itoa(f.Samples) })
	detail("at", func(f *Figure) string {
		if f.At == nil {
			return ""
		}
		return f.At.Format(time.RFC3339)
	})
}

func (f *Figure) unlessRefused(s string) string {
	if f.Refused != "" {
		return ""
	}
	return s
}

func (f *Figure) sum(s Sum) string { return f.unlessRefused(s.String()) }
func (f *Figure) total() string    { return f.sum(f.Total) }

// shortTotal adds a rounded total to the exact one.
func (f *Figure) shortTotal() string {
	v := f.Total.Float()
	if f.Refused != "" || f.Unit != Octets || v < 1e6 {
		return f.total()
	}
	return f.total() + " (" + scaled(v, "B") + ")"
}

// human writes a rate with three digits behind the point.
func (f *Figure) human(v *float64) string {
	if v == nil || f.Refused != "" {
		return ""
	}
	return scaled(*v, f.Unit.Rate())
}

func scaled(v float64, unit string) string {
	for _, p := range []struct {
		at   float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= p.at {
			return strconv.FormatFloat(v/p.at, 'f', 3, 64) + " " + p.name + unit
		}
	}
	return strconv.FormatFloat(v, 'f', 3, 64) + " " + unit
}

func float(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', -1, 64)
}

func nonZero(v float64) string {
	if v == 0 {
		return ""
	}
	return float(&v)
}

func share(v *float64, scale float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v*scale, 'f', 2, 64) + "%"
}

func (f *Figure) length() string {
	if f.Interval == 0 {
		return "-"
	}
	return length(f.Interval)
}

func (f *Figure) expected() string {
	if f.Coverage.Expected < 0 {
		return "-"
	}
	return strconv.Itoa(f.Coverage.Expected)
}

// missing lists the reasons with their numbers: "absent:2 reset:1".
func (f *Figure) missing() string {
	var parts []string
	for _, r := range slices.Sorted(maps.Keys(f.Coverage.Missing)) {
		parts = append(parts, r+":"+strconv.Itoa(f.Coverage.Missing[r]))
	}
	return strings.Join(parts, " ")
}

// Table returns the report as a person reads it: a header and a row of cells for each
// figure. The cells hold text from devices as it is.
func (r *Report) Table() (header []string, rows [][]string) {
	var shown []column
	for _, c := range r.columns() {
		blank := !slices.ContainsFunc(r.Figures, func(f Figure) bool { return c.text(&f) != "" && c.text(&f) != "0" })
		if !c.detail && !(blank && (c.name == "refused" || c.name == "missing" || c.name == "partial" || c.name == "direction")) {
			shown = append(shown, c)
			header = append(header, strings.ToUpper(strings.ReplaceAll(c.name, "_", " ")))
		}
	}
	for i := range r.Figures {
		row := make([]string, len(shown))
		for j, c := range shown {
			if row[j] = c.text(&r.Figures[i]); c.short != nil {
				row[j] = c.short(&r.Figures[i])
			}
		}
		rows = append(rows, row)
	}
	return header, rows
}

// Heading says in one line what the figures are.
func (r *Report) Heading() string {
	what := map[Kind]string{Volume: "volume", Drops: "drops", Top: "top", P95: "percentile"}[r.Kind]
	s := fmt.Sprintf("%s, %s, gap policy %s", what, r.Window, r.Gaps)
	if r.Kind == P95 || r.Kind == Top {
		s += fmt.Sprintf(", percentile %s by nearest rank", r.Percentile)
	}
	if n := len(r.Figures); n < r.Of {
		s += fmt.Sprintf(", %d of %d", n, r.Of)
	}
	return s
}

// WriteCSV writes the report as CSV (RFC 4180) with all details and exact values. A
// text cell that a spreadsheet would take for a formula gets an apostrophe in front.
func (r *Report) WriteCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	cw.UseCRLF = true
	all := r.columns()
	row := make([]string, len(all))
	for i, c := range all {
		row[i] = harmless(c.name)
	}
	_ = cw.Write(row) // Error tells
	for i := range r.Figures {
		for j, c := range all {
			row[j] = harmless(c.text(&r.Figures[i]))
		}
		_ = cw.Write(row)
	}
	cw.Flush()
	if err := cw.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// harmless makes a cell one that no spreadsheet computes. A number, negative or not,
// stays as it is.
func harmless(s string) string {
	t := strings.TrimLeft(s, " \u00a0")
	if t == "" || !strings.ContainsAny(t[:1], "=+-@\t\r\n") && !strings.HasPrefix(t, "＝") && !strings.HasPrefix(t, "＋") && !strings.HasPrefix(t, "－") && !strings.HasPrefix(t, "＠") {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil && s[0] == '-' {
		return s
	}
	return "'" + s
}
