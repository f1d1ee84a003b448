package usage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file makes accounting rows of devices to which things happen, and knows
// from what happened what their usage is. It shares nothing with the rules.

const (
	slot      = 2 * 60 * minute // a collection interval
	slotsADay = 12
	counters  = 5 // of which mode A has 0, 1 and 4, and mode B 2, 3 and 4
	rate32    = 20_000
)

var modes = [2]struct {
	name     string
	counters []int
}{{"in-out-profile-count", []int{0, 1, 4}}, {"forward-drop-count", []int{2, 3, 4}}}

// fact is a row of a record table and what is true of it.
type fact struct {
	device, service, sap string
	meter                int64 // -1 for none
	sub, scope, mode     string
	semantics            Semantics
	final                int32
	start, end           int64
	values               map[int]uint64
	sources              []Source // the files that have the row

	why    string
	known  bool
	from   int64
	deltas map[int]uint64
	gap    int64
	before *fact // the row that was subtracted
}

// source is the file that stays if several have the row.
func (f *fact) source() Source {
	return slices.MinFunc(f.sources, func(a, b Source) int { return a.compare(&b) })
}

// date is the partition.
func (f *fact) date() string { return time.UnixMicro(f.end).UTC().Format(time.DateOnly) }

// usage is the row of the usage table, as text.
func (f *fact) usage() string {
	meter, from, secs, gap, previous := "-", "-", "-", "-", "-"
	if f.meter >= 0 {
		meter = strconv.FormatInt(f.meter, 10)
	}
	if f.known && f.from != NoTime {
		from, secs = strconv.FormatInt(f.from, 10), strconv.FormatInt((f.end-f.from)/second, 10)
	}
	if f.gap > 0 {
		gap = strconv.FormatInt(f.gap/second, 10)
	}
	if f.before != nil {
		previous = f.before.source().File + " " + f.before.source().SHA256
	}
	var values []string
	for i := range counters {
		if n, ok := f.deltas[i]; ok && f.known {
			values = append(values, strconv.FormatUint(n, 10))
		} else {
			values = append(values, "-")
		}
	}
	return strings.Join([]string{f.device, f.service, f.sap, meter, f.sub, f.scope, f.mode, f.semantics.String(), strconv.Itoa(int(f.final)), from,
		strconv.FormatInt(f.end, 10), secs, f.why, gap, strings.Join(values, ","), f.source().File + " " + f.source().SHA256, previous}, "|")
}

// world is what a seed makes.
type world struct {
	*rand.Rand
	facts  []*fact
	narrow map[string]bool
	slots  int
}

// began is when the first interval of every world begins.
var began = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// object is something that is counted.
type object struct {
	fact
	mode   int
	counts [counters]uint64
	noFall bool // it must not fall: that could not be told from a wrap
	// What the last row left.
	rows    int // since nothing was known
	last    *fact
	lastEnd int64
	deleted bool // the last row was that of a deleted object
	missing int  // slots without a row since then
	calm    int  // slots in which nothing happens
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 5)), narrow: map[string]bool{}, slots: slotsADay * (2 + int(seed%2))}
	for d := range 1 + w.IntN(3) {
		w.device(fmt.Sprintf("edge-%d", d))
	}
	return w
}

// device makes the rows of a device.
func (w *world) device(name string) {
	semantics, noStart := Cumulative, false
	switch w.IntN(8) {
	case 0:
		semantics = PerInterval
	case 1:
		semantics = NotSaid
	case 2:
		noStart = true
	case 3:
		w.narrow[name] = true
	}
	var objects []*object
	for i := range 1 + w.IntN(4) {
		o := &object{fact: fact{device: name, service: strconv.Itoa(10 + i%2), sap: "1/1/1:" + strconv.Itoa(i), meter: int64(i%3) - 1, sub: "sio", scope: "per meter", semantics: semantics}}
		objects = append(objects, o)
		if w.IntN(4) == 0 { // the same keys in another scope
			p := *o
			p.scope = "per queue"
			objects = append(objects, &p)
		}
	}
	for _, o := range objects {
		w.start(o)
	}
	// When the device restarts, and when its clock is set back by how much.
	reboot, step, back := w.IntN(3*w.slots), w.IntN(3*w.slots), int64(0)
	by := slot * int64(1+w.IntN(3))
	if !noStart && w.IntN(2) == 0 {
		by += slot / 2
	}
	if step < 8 || step > w.slots-8 || reboot > step-8 && reboot < step+8 {
		step = -1
	}
	for t := 1; t <= w.slots; t++ {
		if t == step {
			back = by
		}
		quiet := step >= 0 && t > step-8 && t < step+8
		for _, o := range objects {
			start, end := began+int64(t-1)*slot-back, began+int64(t)*slot-back
			if noStart {
				start = NoTime
			}
			w.collect(o, start, end, quiet, t == reboot)
		}
	}
	if step >= 0 {
		w.setBack(name, by)
	}
}

// start gives an object its first counters.
func (w *world) start(o *object) {
	o.mode = w.IntN(2)
	for i := range o.counts {
		o.counts[i] = 1e9 + w.Uint64N(1e9)
		if w.narrow[o.device] {
			continue
		}
		switch w.IntN(12) {
		case 0:
			o.counts[i] = 1<<63 - w.Uint64N(2e7)
		case 1:
			o.counts[i] = 1<<63 + w.Uint64N(1e12)
		}
	}
	if w.IntN(3) == 0 {
		i := modes[o.mode].counters[w.IntN(3)]
		o.counts[i] = math.MaxUint64 - w.Uint64N(2e7)
		if w.narrow[o.device] {
			o.counts[i] = math.MaxUint32 - w.Uint64N(2e7)
		}
		o.noFall = true
	}
	o.calm = 3
}

// grow counts some traffic and returns it, and whether a counter passed its end.
func (w *world) grow(o *object) (n [counters]uint64, wrapped bool) {
	for i := range n {
		n[i] = 1e6 + w.Uint64N(1e6)
		before := o.counts[i]
		o.counts[i] += n[i]
		if w.narrow[o.device] {
			o.counts[i] &= math.MaxUint32
		}
		if o.counts[i] < before {
			wrapped = wrapped || slices.Contains(modes[o.mode].counters, i)
			o.noFall = false
		}
	}
	return n, wrapped
}

// zero makes the counters begin anew and counts a little.
func (w *world) zero(o *object) {
	for i := range o.counts {
		o.counts[i] = w.Uint64N(1e5)
	}
}

// collect is one collection of an object to which something may have happened.
func (w *world) collect(o *object, start, end int64, quiet, reboot bool) {
	if o.semantics == PerInterval {
		for i := range o.counts {
			o.counts[i] = 0
		}
	}
	missed, wrapped := o.pending()
	n, wrap := w.grow(o)
	for i := range n {
		n[i] += missed[i]
	}
	wrapped = wrapped || wrap
	event := 0
	if o.calm--; o.calm < 0 && !quiet {
		event = w.IntN(20)
	}
	if reboot && !quiet && !o.noFall && o.calm < 0 {
		event = 7
	}
	if o.semantics != Cumulative && event > 3 {
		event = 0
	}
	switch event {
	case 1, 2, 3: // the row is lost, and perhaps some more
		if o.missing < 3 && !o.deleted {
			o.missing++
			o.miss(n, wrapped)
			if o.missing < 3 && w.IntN(2) == 0 {
				o.calm = 0
			} else {
				o.calm = 3
			}
			return
		}
		w.row(o, start, end, 0, n, wrapped)
	case 4:
		w.changeMode(o, start, end)
	case 5:
		w.delete(o, start, end, n, wrapped)
	case 7, 8:
		if o.noFall || wrapped || o.deleted {
			w.row(o, start, end, 0, n, wrapped)
			return
		}
		if reboot && o.mode == 1 { // the mode is not kept
			w.changeMode(o, start, end)
			return
		}
		w.zero(o)
		f := w.row(o, start, end, 0, n, wrapped)
		if o.rows > 1 {
			f.because("reset")
		}
		o.calm = 3
	default:
		w.row(o, start, end, 0, n, wrapped)
	}
}

// changeMode makes the object count other things, from zero.
func (w *world) changeMode(o *object, start, end int64) {
	if o.deleted {
		w.row(o, start, end, 0, o.counts, false)
		return
	}
	o.mode = 1 - o.mode
	w.zero(o)
	o.noFall = false
	f := w.row(o, start, end, 0, o.counts, false)
	if o.rows > 1 {
		f.because("mode-change")
	}
	o.calm = 3
}

// because says that the row has no deltas, and why.
func (f *fact) because(why string) { f.why, f.known, f.deltas, f.before = why, false, nil, nil }

// delete ends the object, and perhaps another one, within one interval.
func (w *world) delete(o *object, start, end int64, n [counters]uint64, wrapped bool) {
	if o.noFall || o.deleted {
		w.row(o, start, end, 0, n, wrapped)
		return
	}
	o.calm = 3
	from := o.lastEnd
	if o.rows == 0 {
		from = start
	}
	gap := o.gapBefore(start, end)
	w.row(o, start, end, 1, n, wrapped)
	o.deleted = true
	if w.IntN(3) == 0 {
		// Nobody comes after it for now; the calm makes sure of a row then.
		return
	}
	for final := int32(2 * w.IntN(2)); ; final = 0 {
		w.zero(o)
		f := w.row(o, start, end, final, o.counts, false)
		f.why, f.known, f.from, f.gap, f.deltas, f.before = "final", true, from, gap, o.shown(o.counts), nil
		if from == NoTime {
			f.because("first")
		}
		if o.deleted = final > 0; !o.deleted {
			return
		}
	}
}

// shown are the counters of the object's mode.
func (o *object) shown(all [counters]uint64) map[int]uint64 {
	m := map[int]uint64{}
	for _, i := range modes[o.mode].counters {
		m[i] = all[i]
	}
	return m
}

// miss keeps what was counted while rows are lost.
func (o *object) miss(n [counters]uint64, wrapped bool) {
	o.deltas, o.known = map[int]uint64{}, wrapped
	for i, v := range n {
		o.deltas[i] = v
	}
}

// pending is what was counted while rows were lost.
func (o *object) pending() (n [counters]uint64, wrapped bool) {
	for i, v := range o.deltas {
		n[i] = v
	}
	wrapped = o.known
	o.deltas, o.known = nil, false
	return n, wrapped
}

// gapBefore is the time without rows before an interval.
func (o *object) gapBefore(start, end int64) int64 {
	if o.rows == 0 || o.missing == 0 || start == NoTime && o.rows < 2 || o.semantics == NotSaid {
		return 0
	}
	return int64(o.missing) * slot
}

// row makes a row that goes on from the last one.
func (w *world) row(o *object, start, end int64, final int32, n [counters]uint64, wrapped bool) *fact {
	f := o.fact
	f.final, f.start, f.end, f.values, f.deltas = final, start, end, o.shown(o.counts), o.shown(n)
	f.mode = modes[o.mode].name
	f.gap = o.gapBefore(start, end)
	if f.gap > 0 {
		f.why = "gap"
	}
	switch {
	case o.semantics == NotSaid:
		f.because("unknown")
	case o.semantics == PerInterval:
		f.known, f.from, f.deltas = true, start, f.values
	case o.rows == 0:
		f.because("first")
	case o.deleted: // another object, some time after the deletion
		f.why, f.known, f.from = "final", true, o.lastEnd
		if w.IntN(2) == 0 && f.end != o.lastEnd {
			f.because("final") // the same one, which was only not accounted for
		} else {
			w.zero(o)
			f.values, f.deltas = o.shown(o.counts), o.shown(o.counts)
		}
	default:
		f.known, f.from, f.before = true, o.lastEnd, o.last
		if wrapped && w.narrow[o.device] {
			f.why = "wrap32"
		} else if wrapped {
			f.why = "wrap64"
		}
	}
	if start == NoTime && o.missing > 0 {
		// Two equal distances are taken for the interval.
		o.calm = max(o.calm, 2)
	}
	o.rows, o.last, o.lastEnd, o.missing, o.deleted = o.rows+1, &f, end, 0, false
	w.facts = append(w.facts, &f)
	return &f
}

// setBack corrects the truth of a device whose clock was set back.
func (w *world) setBack(device string, by int64) {
	for _, f := range w.facts {
		if f.device != device || f.semantics == NotSaid {
			continue
		}
		for _, o := range w.facts {
			if o == f || o.device != device || o.sap != f.sap || o.scope != f.scope || o.final != f.final {
				continue
			}
			switch {
			case o.end == f.end: // two different rows of one end
				f.because("clock-step")
			case by%slot == 0 && o.end == f.end-slot && f.semantics == Cumulative && twice(w.facts, o):
				f.because("clock-step")
			case f.start != NoTime && o.end > f.start && o.end < f.end:
				f.because("overlap")
			}
		}
	}
}

// twice reports whether another row has the same end.
func twice(facts []*fact, f *fact) bool {
	return slices.ContainsFunc(facts, func(o *fact) bool {
		return o != f && o.device == f.device && o.sap == f.sap && o.scope == f.scope && o.final == f.final && o.end == f.end
	})
}
