package coverage

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed report.html
var reportHTML string

// parsed once; a template is safe to execute from many goroutines.
var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"stamp": stamp,
	"days":  func(r *page) []tick { return r.ticks() },
}).Parse(reportHTML))

// WriteHTML writes the report as one HTML file that needs no other: a heat map
// with a row for each policy, and what is wrong below each row. It has no script;
// rows open with the keyboard, and colours come with patterns and words.
func (r *Report) WriteHTML(w io.Writer) error {
	p := &page{Report: r}
	for v := Present; v < Verdicts; v++ {
		p.Legend = append(p.Legend, v)
	}
	p.Legend = append(p.Legend, Waiting, Idle, Open)
	for i := range r.Devices {
		d := &r.Devices[i]
		for j := range d.Streams {
			p.Rows = append(p.Rows, p.row(d, &d.Streams[j]))
		}
		if len(d.Streams) == 0 {
			p.Rows = append(p.Rows, htmlRow{Device: d.Device})
		}
	}
	totals := r.Totals()
	p.Gaps, p.Received, p.Expected = totals.Sum(Verdict.Gap), totals.Sum(Verdict.Received), totals.Sum(Verdict.Expected)
	if err := reportTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	return nil
}

// page is what the template takes.
type page struct {
	*Report
	Legend                   []Verdict
	Rows                     []htmlRow
	Gaps, Received, Expected int
}

// htmlRow is one line of the heat map.
type htmlRow struct {
	Device   string
	Stream   *Stream
	Bars     []bar
	Gaps     int
	Received int
	Expected int
	Problems []Run
}

// bar is a run in the picture, in thousandths of its width.
type bar struct {
	X, W    float64
	Verdict Verdict
	Run     Run
}

// least is how wide the bar of a gap is at the least: five minutes of a month
// would not be seen.
const least = 2.5

func (p *page) at(t time.Time) float64 {
	return 1000 * float64(t.Sub(p.From)) / float64(p.To.Sub(p.From))
}

// row draws gaps over everything else.
func (p *page) row(d *DeviceReport, s *Stream) htmlRow {
	totals := s.Totals()
	h := htmlRow{Device: d.Device, Stream: s, Gaps: totals.Sum(Verdict.Gap), Received: totals.Sum(Verdict.Received), Expected: totals.Sum(Verdict.Expected)}
	var above []bar
	for _, r := range s.Runs {
		b := bar{X: p.at(r.From), Verdict: r.Verdict, Run: r}
		b.W = p.at(r.To) - b.X
		switch {
		case r.Verdict.Gap():
			b.W = max(b.W, least)
			b.X = min(b.X, 1000-b.W)
			above = append(above, b)
		default:
			h.Bars = append(h.Bars, b)
		}
		if r.Verdict != Present && r.Verdict != Open {
			h.Problems = append(h.Problems, r)
		}
	}
	h.Bars = append(h.Bars, above...)
	return h
}

// tick is a mark on the axis of time, in hundredths of its width.
type tick struct {
	X    float64
	Text string
}

// ticks marks days, or hours of a short time, at most about sixteen of them.
func (p *page) ticks() []tick {
	step, layout := 24*time.Hour, "01-02"
	whole := p.To.Sub(p.From)
	if whole <= 2*24*time.Hour {
		step, layout = time.Hour, "15:04"
	}
	for whole/step > 16 {
		step *= 2
	}
	var all []tick
	for t := p.From.Truncate(step); !t.After(p.To); t = t.Add(step) {
		if !t.Before(p.From) && p.at(t) < 970 {
			all = append(all, tick{p.at(t) / 10, t.UTC().Format(layout)})
		}
	}
	return all
}
