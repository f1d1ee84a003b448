package report

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// Reasons of this package why an interval is missing, beside the breaks of the
// usage table.
const (
	absent    = "absent"     // there is no row
	otherLen  = "length"     // the delta is of another length than the interval
	noCounter = "no-counter" // a counter of the figure is NULL
)

// reasons go from the weakest to the strongest: an interval that several things are
// wrong with is missing for the strongest. A break that is not among them is the
// strongest of all.
var reasons = []string{"", absent, otherLen, "gap", noCounter, "final", "first", "mode-change", "overlap", "clock-step", "unknown", "wrap32", "wrap64", "reset", "other"}

func reasonOf(s string) uint8 {
	if i := slices.Index(reasons, s); i >= 0 {
		return uint8(i)
	}
	return uint8(len(reasons) - 1)
}

const (
	second = int64(1e6) // in microseconds
	minute = 60 * second
)

// nominal returns the length of the collection interval that a delta over so many
// seconds is of: whole minutes, as intervals are set, or seconds below 45.
func nominal(seconds int64) int64 {
	if seconds < 45 {
		return seconds
	}
	return (seconds + 30) / 60 * 60
}

// row is one row of a series as figures see it.
type row struct {
	end     int64 // µs since 1970
	seconds int64 // 0 if not known
	reason  string
	gap     int64 // seconds
	final   bool
	whole   bool // every counter is there
	main    Sum
	forward Sum
}

// slot is one interval of a figure: everything with the same end, to the nearest
// multiple of the interval.
type slot struct {
	sum     Sum
	seconds int32 // the longest of any series; 0 if there is no delta
	alive   int32 // series that begin here less those that ended in the slot before
	reason  uint8 // of reasons
}

const slotBytes = 32

// group gathers what belongs to one figure.
type group struct {
	opts      *Options
	measure   *measure
	label     []string
	direction Direction
	scopes    []string
	capacity  float64

	step        int64 // length of an interval in µs; 0 until a row tells
	first, last int64 // slots of the window
	slots       []slot
	regular     int64           // rows of that length
	lengths     map[int64]int64 // those of others, by nominal seconds
	main        Sum
	forward     Sum
	cover       Coverage
	members     map[int32]bool // that have a row
	pending     []pendingRow   // that came before step was known

	// The series that is being added.
	fresh   bool // it has no row in the window yet
	open    bool
	at      int64 // slot of the last row
	live    bool  // something lives on behind that slot
	seconds int64 // of the rows in that slot that are not the last of an object
}

type pendingRow struct {
	row
	begin bool // a series begins with it
}

// begin starts a series; its rows follow in the order of their ends.
func (g *group) begin() {
	g.end()
	g.fresh = true
	if g.step == 0 {
		g.pending = append(g.pending, pendingRow{begin: true})
	}
}

// end closes the series.
func (g *group) end() {
	if g.open {
		g.slots[g.at-g.first+1].alive--
	}
	g.open = false
}

// setStep fixes the length of an interval, and with it the slots of the window.
func (g *group) setStep(seconds int64) {
	g.step = seconds * second
	w := g.opts.Window
	g.first, g.last = w.From.UnixMicro()/g.step+1, w.To.UnixMicro()/g.step
	g.slots = make([]slot, max(g.last-g.first+1, 0)+1) // one more for ends
	held := g.pending
	g.pending = nil
	for i := range held {
		if held[i].begin {
			g.end()
			g.fresh = true
			continue
		}
		g.place(&held[i].row)
	}
}

// add takes the next row of the series.
func (g *group) add(r *row) {
	w := &g.opts.Window
	regular := r.whole && r.reason == "" && !r.final && r.seconds > 0 && r.end > w.From.UnixMicro() && r.end <= w.To.UnixMicro()
	if regular {
		if n := nominal(r.seconds); g.step == n*second {
			g.regular++
		} else {
			if g.lengths == nil {
				g.lengths = map[int64]int64{}
			}
			g.lengths[n]++
		}
	}
	if g.step == 0 {
		switch {
		case g.opts.Mix:
			g.setStep(60)
		case g.opts.Interval > 0:
			g.setStep(int64(g.opts.Interval.Seconds()))
		case regular:
			g.setStep(nominal(r.seconds))
		default:
			g.pending = append(g.pending, pendingRow{row: *r})
			return
		}
	}
	g.place(r)
}

// place counts a row in its slot.
func (g *group) place(r *row) {
	at := (r.end + g.step/2) / g.step
	if at < g.first || at > g.last {
		return
	}
	if g.fresh {
		g.fresh = false
		g.cover.Series++
	}
	g.cover.Rows++
	g.cover.GapSeconds += r.gap
	g.reach(at, r.final)
	s := &g.slots[at-g.first]
	if !r.whole {
		s.miss(cmpReason(r.reason, noCounter))
		return
	}
	g.cover.Deltas++
	length := nominal(r.seconds) * second
	own := r.seconds > 0 && (length == g.step || g.opts.Mix && r.reason != "gap" ||
		(r.final || r.reason == "final") && 2*length < 3*g.step)
	if own || r.reason != "" || r.final || g.opts.Interval == 0 {
		g.main.addSum(r.main)
		g.forward.addSum(r.forward)
	}
	if !own {
		s.miss(cmpReason(r.reason, otherLen))
		return
	}
	s.sum.addSum(r.main)
	seconds := r.seconds
	if !r.final {
		g.seconds += seconds
		seconds = g.seconds
	}
	s.seconds = max(s.seconds, int32(min(seconds, math.MaxInt32)))
}

func cmpReason(s, otherwise string) uint8 {
	if s == "" {
		s = otherwise
	}
	return reasonOf(s)
}

func (s *slot) miss(reason uint8) { s.reason = max(s.reason, reason) }

// reach moves the series to a slot: what it skipped is missing, unless it had ended.
func (g *group) reach(at int64, final bool) {
	if g.open && at == g.at {
		g.live = g.live || !final
		return
	}
	if g.open && !g.live {
		g.end()
	}
	if g.open && !g.opts.Mix {
		for i := g.at + 1; i < at; i++ {
			g.slots[i-g.first].miss(1) // absent
		}
	}
	if !g.open {
		g.slots[at-g.first].alive++
	}
	g.open, g.at, g.live, g.seconds = true, at, !final, 0
}

// figure closes the group. rates is memory to be used again.
func (g *group) figure(rates *[2][]float64, plotted bool) Figure {
	g.end()
	o := g.opts
	f := Figure{Table: string(g.measure.def.Name) + UsageSuffix, Unit: g.measure.unit, Counters: g.measure.counters, Object: g.label, Direction: g.direction, Scopes: g.scopes, Total: g.main, Forwarded: g.forward, Capacity: g.capacity, Coverage: g.cover}
	c := &f.Coverage
	c.Expected = -1
	if g.step == 0 {
		f.unplaced(g)
	} else if !o.Mix {
		c.Expected = max(len(g.slots)-1, 0)
		f.Interval = g.step / second
	}
	slices.Sort(f.Scopes)
	g.rates(&f, rates, plotted)
	f.Refused = g.refused(&f)
	if f.Refused != "" {
		f.Rate, f.Max, f.At, f.Rank, f.Samples, f.OverCount, f.plot = nil, nil, nil, 0, 0, 0, nil
		f.Total, f.Forwarded = Sum{}, Sum{}
		return f
	}
	if o.Kind == Drops {
		all := f.Total
		all.addSum(f.Forwarded)
		if !all.IsZero() {
			share := f.Total.Float() * 100 / all.Float()
			f.Percent = &share
		}
	}
	if f.Max != nil && f.Capacity > 0 && f.Unit == Octets {
		peak := *f.Max / f.Capacity
		f.Peak = &peak
	}
	return f
}

// unplaced counts rows of a figure that has no interval of a known length.
func (f *Figure) unplaced(g *group) {
	w := g.opts.Window
	fresh := false
	for i := range g.pending {
		r := &g.pending[i]
		if fresh = fresh || r.begin; r.begin {
			continue
		}
		if r.end > w.From.UnixMicro() && r.end <= w.To.UnixMicro() {
			if fresh {
				f.Coverage.Series++
			}
			fresh = false
			f.Coverage.Rows++
			f.Coverage.GapSeconds += r.gap
			if r.whole {
				f.Coverage.Deltas++
				f.Total.addSum(r.main)
				f.Forwarded.addSum(r.forward)
			}
			f.Coverage.miss(reasons[max(cmpReason(r.reason, otherLen), 1)], 1)
		}
	}
}

func (c *Coverage) miss(reason string, n int) {
	if c.Missing == nil {
		c.Missing = map[string]int{}
	}
	c.Missing[reason] += n
}

// rates fills in everything that comes from single intervals.
func (g *group) rates(f *Figure, buffers *[2][]float64, plotted bool) {
	o, c := g.opts, &f.Coverage
	if g.step == 0 {
		return
	}
	buffers[0], buffers[1] = buffers[0][:0], buffers[1][:0]
	missing := make([]int, len(reasons))
	alive := int32(0)
	n := len(g.slots) - 1
	if plotted {
		f.plot = &plot{make([]float64, n), g.first, g.step}
	}
	for i := range n {
		s := &g.slots[i]
		alive += s.alive
		counted := s.seconds > 0 && s.reason == 0
		if counted {
			c.Counted++
			if int(alive) < c.Series && !o.Mix {
				c.Partial++
			}
		} else if s.reason != 0 || !o.Mix {
			missing[max(s.reason, 1)]++
		}
		v := math.NaN()
		switch {
		case counted, o.Gaps == Zero && s.seconds > 0:
			v = rate(s.sum, int64(s.seconds), f.Unit)
		case o.Gaps == Zero:
			v = 0
		}
		if plotted {
			f.plot.rates[i] = math.NaN()
			if counted {
				f.plot.rates[i] = v
			}
		}
		buffers[0] = append(buffers[0], v)
		if v == v {
			buffers[1] = append(buffers[1], v)
		}
	}
	for i, n := range missing {
		if n > 0 {
			c.miss(reasons[i], n)
		}
	}
	f.percentile(g, buffers)
}

// percentile chooses among the samples.
func (f *Figure) percentile(g *group, buffers *[2][]float64) {
	values := buffers[1]
	if f.Samples = len(values); f.Samples == 0 {
		return
	}
	most := values[0]
	limit := g.opts.Over * g.capacity
	for _, v := range values {
		most = max(most, v)
		if limit > 0 && v > limit {
			f.OverCount++
		}
	}
	f.Rank = g.opts.Percentile.Rank(f.Samples)
	chosen := smallest(values, f.Rank)
	f.Rate, f.Max = &chosen, &most
	for i, v := range buffers[0] {
		if v == chosen {
			at := microTime((g.first + int64(i)) * g.step)
			f.At = &at
			break
		}
	}
}

// refused says why there is no figure, "" if there is one.
func (g *group) refused(f *Figure) string {
	o := g.opts
	if delete(g.lengths, g.step/second); len(g.lengths) > 0 && o.Interval == 0 && !o.Mix {
		g.lengths[g.step/second] = g.regular + 1 // the first one told the length
		var parts []string
		for _, l := range slices.Sorted(maps.Keys(g.lengths)) {
			parts = append(parts, plural(g.lengths[l], "row")+" of "+length(l))
		}
		return "intervals of several lengths are mixed: " + strings.Join(parts, ", ")
	}
	if o.Gaps != Refuse {
		return ""
	}
	c := &f.Coverage
	var why []string
	if g.step == 0 {
		why = append(why, "no interval has a delta")
	}
	for _, r := range reasons[1:] {
		if n := c.Missing[r]; n > 0 {
			why = append(why, r+" "+plural(int64(n), "interval"))
		}
	}
	if c.Partial > 0 {
		why = append(why, "partial "+plural(int64(c.Partial), "interval"))
	}
	for _, m := range c.Absent {
		why = append(why, "no row of "+m)
	}
	return strings.Join(why, ", ")
}
