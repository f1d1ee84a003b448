package report

import "slices"

// plots keeps the rates of single intervals for the figures that are largest, and
// for no others.
type plots struct {
	want int
	best []*Figure // copies; ascending
}

// plot is the rate of each interval of a window, NaN where there is none. It is
// shared by the copies of a figure, so that it can be dropped later.
type plot struct {
	rates []float64
	first int64 // number of the first interval since 1970
	step  int64 // length in microseconds
}

// keep drops the plot that is too many with that of f.
func (p *plots) keep(f *Figure) {
	if f.plot == nil {
		return
	}
	own := *f
	i := len(p.best)
	for i > 0 && p.best[i-1].weight() > own.weight() {
		i--
	}
	p.best = slices.Insert(p.best, i, &own)
	if len(p.best) > p.want {
		p.best[0].plot.rates = nil
		p.best = p.best[1:]
	}
}

// weight is what makes a figure larger than another in a plot.
func (f *Figure) weight() float64 {
	if f.Rate == nil {
		return 0
	}
	return *f.Rate
}
