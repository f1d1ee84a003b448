package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed report.html
var pageHTML string

// parsed once; a template is safe to execute from many goroutines.
var pageTemplate = template.Must(template.New("report").Parse(pageHTML))

// Bars is the largest number of figures in the bar chart of a page.
const Bars = 20

// page is what the template takes.
type page struct {
	*Report
	Heading string
	Header  []string
	Rows    [][]string
	Bars    []htmlBar
	Series  []htmlSeries
}

// htmlBar is one bar, in thousandths of the width.
type htmlBar struct {
	Name, Value string
	W           float64
}

// htmlSeries is the plot of one figure, 1000 wide and 100 high.
type htmlSeries struct {
	Name, Rate, Max string
	Line            string // d of an SVG path
	RateY           float64
	Gaps            []htmlGap
	Ticks           []htmlTick
	Missing         string
}

type htmlGap struct {
	X, W float64
	Text string
}

type htmlTick struct {
	X    float64
	Text string
}

// WriteHTML writes the report as one HTML file that needs no other: what it is, the
// figures as text, a bar chart of the largest, and the rates of those that were
// kept for plots, with the intervals that are missing. It has no script.
func (r *Report) WriteHTML(w io.Writer) error {
	p := &page{Report: r, Heading: r.Heading()}
	p.Header, p.Rows = r.Table()
	p.Bars = r.bars()
	for i := range r.Figures {
		if f := &r.Figures[i]; f.plot != nil && f.plot.rates != nil {
			p.Series = append(p.Series, f.series(r))
		}
	}
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	return nil
}

// name is the object in one line.
func (f *Figure) name() string {
	parts := slices.DeleteFunc(slices.Clone(f.Object), func(s string) bool { return s == "" })
	if f.Direction != AnyDirection {
		parts = append(parts, string(f.Direction))
	}
	return strings.Join(parts, " ")
}

// bars are the largest figures by what the report is about.
func (r *Report) bars() []htmlBar {
	value := func(f *Figure) (float64, string) {
		if r.Kind == P95 {
			if f.Rate == nil {
				return 0, ""
			}
			return *f.Rate, f.human(f.Rate)
		}
		return f.Total.Float(), f.shortTotal()
	}
	order := make([]*Figure, 0, len(r.Figures))
	for i := range r.Figures {
		if r.Figures[i].Refused == "" {
			order = append(order, &r.Figures[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *Figure) int {
		x, _ := value(a)
		y, _ := value(b)
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	var bars []htmlBar
	most := 0.0
	for _, f := range order[:min(len(order), Bars)] {
		v, text := value(f)
		if most = max(most, v); most == 0 {
			break
		}
		bars = append(bars, htmlBar{f.name(), text, 1000 * v / most})
	}
	return bars
}

// series draws the rates. Where there are more intervals than points, a point is
// the largest of its intervals.
func (f *Figure) series(r *Report) htmlSeries {
	p := f.plot
	n := len(p.rates)
	s := htmlSeries{Name: f.name(), Rate: f.human(f.Rate), Max: f.human(f.Max), Missing: f.missing()}
	top := 0.0
	for _, v := range p.rates {
		if v == v {
			top = max(top, v)
		}
	}
	if top == 0 {
		top = 1
	}
	x := func(i int) float64 { return 1000 * float64(i) / float64(n) }
	y := func(v float64) float64 { return 98 - 96*v/top }
	per := max((n+999)/1000, 1)
	var line strings.Builder
	pen := false
	for i := 0; i < n; i += per {
		v := math.NaN()
		for _, w := range p.rates[i:min(i+per, n)] {
			if w == w && !(w < v) {
				v = w
			}
		}
		if v != v {
			pen = false
			continue
		}
		if !pen {
			line.WriteString("M" + coordinate(x(i)) + " " + coordinate(y(v)))
		}
		line.WriteString("L" + coordinate(x(min(i+per, n))) + " " + coordinate(y(v)))
		pen = true
	}
	s.Line = line.String()
	if f.Rate != nil {
		s.RateY = y(min(*f.Rate, top))
	}
	s.Gaps = p.gaps(x)
	s.Ticks = p.ticks(r.Window, x)
	return s
}

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// gaps are the stretches without a rate. None is too narrow to be seen.
func (p *plot) gaps(x func(int) float64) []htmlGap {
	const least = 2.0
	var gaps []htmlGap
	for i := 0; i < len(p.rates); i++ {
		if p.rates[i] == p.rates[i] {
			continue
		}
		from := i
		for i < len(p.rates) && p.rates[i] != p.rates[i] {
			i++
		}
		g := htmlGap{X: x(from), W: max(x(i)-x(from), least)}
		g.X = min(g.X, 1000-g.W)
		start, end := microTime((p.first+int64(from)-1)*p.step), microTime((p.first+int64(i)-1)*p.step)
		g.Text = fmt.Sprintf("%s missing, %s to %s", plural(int64(i-from), "interval"), start.Format(time.RFC3339), end.Format(time.RFC3339))
		gaps = append(gaps, g)
	}
	return gaps
}

// ticks mark days or hours, at most about a dozen.
func (p *plot) ticks(w Window, x func(int) float64) []htmlTick {
	step, layout := 24*time.Hour, "01-02"
	whole := w.To.Sub(w.From)
	if whole <= 2*24*time.Hour {
		step, layout = time.Hour, "15:04"
	}
	for whole/step > 12 {
		step *= 2
	}
	var ticks []htmlTick
	for t := w.From.UTC().Truncate(step); t.Before(w.To); t = t.Add(step) {
		if at := x(int(t.UnixMicro()/p.step - p.first + 1)); at >= 0 && at < 970 {
			ticks = append(ticks, htmlTick{at / 10, t.Format(layout)})
		}
	}
	return ticks
}
