package coverage

import (
	"cmp"
	"slices"
	"time"

	"acctpull/rollover"
)

// item is one file in the succession of its policy.
type item struct {
	*File
	era  int
	made time.Time // creation by the name, read as UTC; zero if it is no time
	// interval is the collection interval that holds for the file.
	interval time.Duration
	// segs are the times that its collections cover, without overlap; from
	// and to bound them. They are estimated from the name and the closing
	// unless known.
	segs     []seg
	from, to time.Time
	known    bool
	// lag is what the name is behind the end of the first collection; the
	// time zone of names is in it.
	lag time.Duration
	// shift is what names are ahead of closings around it: the time zone of
	// names, which changes twice a year.
	shift time.Duration
	// early says that its collections are older than its name.
	early bool
	// torn says that the clock was set back while the file was open: it
	// begins with collections as new as its name, and goes on with older ones.
	torn bool
}

// seg is (from, to].
type seg struct{ from, to time.Time }

// thread is the succession of the files of one policy.
type thread struct {
	policy   int
	items    []*item
	aliases  []*item
	interval time.Duration // the usual one
	period   time.Duration // the usual time from file to file, 0 if unknown
	closings bool          // File.Closed can be believed
}

// defaultInterval is the collection interval of files that do not tell (7210
// SAS, "accounting-policy": 5 minutes for services).
const defaultInterval = 5 * time.Minute

// defaultRollover is that of a file-id without one (7210 SAS, "rollover").
const defaultRollover = 24 * time.Hour

// threads sorts the files of a device into the successions of its policies.
func threads(d Device, w *watch) []*thread {
	eras, known := erasOf(d, w), firstTimes(d)
	byPolicy := map[int]*thread{}
	var all []*thread
	for i := range d.Files {
		f := &d.Files[i]
		t := byPolicy[f.Name.ID]
		if t == nil {
			t = &thread{policy: f.Name.ID}
			byPolicy[f.Name.ID] = t
			all = append(all, t)
		}
		it := &item{File: f, era: eras(known[closing{f.Name, f.Closed}])}
		if made, err := f.Name.Time(time.UTC); err == nil {
			it.made = made
		}
		if f.AliasOf != "" && f.State == Here {
			t.aliases = append(t.aliases, it)
		} else {
			t.items = append(t.items, it)
		}
	}
	slices.SortFunc(all, func(a, b *thread) int { return a.policy - b.policy })
	for _, t := range all {
		t.once()
		t.measure()
	}
	return all
}

// once drops the tries that came before a name that came whole in the end.
func (t *thread) once() {
	slices.SortStableFunc(t.items, func(a, b *item) int {
		return cmp.Or(a.era-b.era, cmp.Compare(a.Name.Stamp, b.Name.Stamp), cmp.Compare(a.Name.FileID, b.Name.FileID),
			cmp.Compare(a.State, b.State), b.First.Compare(a.First), cmp.Compare(a.SHA256, b.SHA256))
	})
	type name struct {
		era  int
		name rollover.Name
	}
	have := map[name]bool{}
	for _, it := range t.aliases {
		have[name{it.era, it.Name}] = true
	}
	t.items = slices.DeleteFunc(t.items, func(it *item) bool {
		n := name{it.era, it.Name}
		drop := it.State != Here && have[n]
		have[n] = true
		return drop
	})
}

// order puts the files into the order in which they were made: by what they
// hold, because names in local time go back once a year.
func (t *thread) order() {
	slices.SortStableFunc(t.items, func(a, b *item) int {
		return cmp.Or(a.era-b.era, a.begins().Compare(b.begins()), cmp.Compare(a.Name.Stamp, b.Name.Stamp))
	})
}

// begins is the end of the first collection, as it is or as the name and the
// files around it say.
func (it *item) begins() time.Time {
	if it.known && !it.torn {
		return it.Spans[0].End
	}
	return it.made.Add(it.lag)
}

// measure learns interval, segments and rhythm.
func (t *thread) measure() {
	var steps []time.Duration
	for _, it := range slices.Concat(t.items, t.aliases) {
		it.interval = it.ownInterval()
		for i := 1; i < len(it.Spans); i++ {
			steps = append(steps, it.Spans[i].End.Sub(it.Spans[i-1].End))
		}
	}
	t.interval = middle(steps)
	for i, it := range slices.Concat(t.items, t.aliases) {
		if it.interval == 0 && i > 0 && i < len(t.items) {
			it.interval = t.items[i-1].interval
		}
		if it.interval == 0 {
			it.interval = cmp.Or(t.interval, defaultInterval)
		}
		it.cover()
	}
	for i, it := range t.items {
		if !it.known {
			t.borrow(i)
		}
	}
	t.order()
	t.learn()
	if t.tear() {
		t.order()
		t.learn()
	}
	for i, it := range t.items {
		switch {
		case !it.known:
			t.estimate(i)
		case it.Truncated:
			if closed := it.Closed.Add(it.shift + it.lag - it.interval); !it.Closed.IsZero() && t.closings && closed.After(it.to) {
				it.to = closed
			}
		}
	}
}

// join makes files meet that follow each other with no more than jitter between
// them.
func (t *thread) join() {
	for i := 1; i < len(t.items); i++ {
		a, b := t.items[i-1], t.items[i]
		if a.from.IsZero() || b.from.IsZero() || b.from.Sub(a.to).Abs() > tolerance(a, b) {
			continue
		}
		switch {
		case !a.known || a.Truncated:
			a.to = b.from
		case !b.known:
			b.from = a.to
		case b.segs[0].to.After(a.to):
			b.from, b.segs[0].from = a.to, a.to
		}
	}
}

// ownInterval is the interval that a file gives, unless its own collections
// follow each other faster.
func (it *item) ownInterval() time.Duration {
	var steps []time.Duration
	for i := 1; i < len(it.Spans); i++ {
		steps = append(steps, it.Spans[i].End.Sub(it.Spans[i-1].End))
	}
	own := middle(steps)
	if it.Interval == 0 || own > 0 && own < it.Interval*2/3 {
		return own
	}
	return it.Interval
}

// middle is the median of what is positive, 0 if nothing is.
func middle(all []time.Duration) time.Duration {
	all = slices.DeleteFunc(slices.Clone(all), func(d time.Duration) bool { return d <= 0 })
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// cover makes the segments of a file that was read. A collection covers the
// time from its start, or one interval if it gives none or an earlier one: what
// was not collected is not covered.
func (it *item) cover() {
	for _, s := range it.Spans {
		from := s.End.Add(-it.interval)
		if !s.Start.IsZero() && s.Start.Before(s.End) && s.End.Sub(s.Start) <= it.interval*3/2 {
			from = s.Start
		}
		n := len(it.segs)
		if n > 0 && from.Sub(it.segs[n-1].to) <= slack(it.interval) {
			it.segs[n-1].to = later(it.segs[n-1].to, s.End)
			continue
		}
		it.segs = append(it.segs, seg{from, s.End})
	}
	if n := len(it.segs); n > 0 {
		it.known, it.from, it.to = true, it.segs[0].from, it.segs[n-1].to
		if !it.made.IsZero() {
			it.lag = it.Spans[0].End.Sub(it.made)
		}
	}
}

// learn looks at files that follow each other without a break.
func (t *thread) learn() {
	var periods []time.Duration
	pairs, even := 0, 0
	first, last := -1, time.Duration(0)
	for i := 1; i < len(t.items); i++ {
		a, b := t.items[i-1], t.items[i]
		a.shift, b.shift = last, last
		if !a.known || !b.known || a.made.IsZero() || b.made.IsZero() || b.from.Sub(a.to).Abs() > tolerance(a, b) {
			continue
		}
		periods = append(periods, b.made.Sub(a.made))
		if !a.Closed.IsZero() {
			pairs++
			if zone, ok := zoneOf(b.made.Sub(a.Closed), tolerance(a, b)); ok {
				even++
				a.shift, b.shift, last = zone, zone, zone
				if first < 0 {
					first = i
				}
			}
		}
	}
	for _, it := range t.items[:max(first, 0)] {
		it.shift = t.items[first].shift
	}
	t.period = middle(periods)
	t.closings = 2*even >= pairs
}

// zoneOf is the time zone that a difference of clocks can stand for: they are
// whole quarters of an hour.
func zoneOf(d, tolerance time.Duration) (time.Duration, bool) {
	zone := d.Round(15 * time.Minute)
	return zone, (d-zone).Abs() <= min(tolerance, 5*time.Minute) && zone.Abs() <= 14*time.Hour
}

// shiftNear is the zone between closings and names around the pair of files at
// i-1 and i: before and after a change of the clocks they differ.
func (t *thread) shiftNear(i int) []time.Duration {
	shifts := []time.Duration{t.items[i-1].shift}
	look := func(k int) bool {
		a, b := t.items[k-1], t.items[k]
		if !a.known || !b.known || a.Closed.IsZero() || b.made.IsZero() || b.from.Sub(a.to).Abs() > tolerance(a, b) {
			return false
		}
		if zone, ok := zoneOf(b.made.Sub(a.Closed), tolerance(a, b)); ok && !slices.Contains(shifts, zone) {
			shifts = append(shifts, zone)
		}
		return true
	}
	for k := i - 1; k > 0 && !look(k); k-- {
	}
	for k := i + 1; k < len(t.items) && !look(k); k++ {
	}
	return shifts
}

// tolerance is how far apart two files may be that follow each other.
func tolerance(a, b *item) time.Duration { return slack(max(a.interval, b.interval)) }

// slack is how late a collection may be: half of the interval, and as long as a
// busy device may take in any case.
func slack(interval time.Duration) time.Duration { return max(interval/2, 10*time.Second) }

// tear finds the files that were open when the clock was set back, and begins an
// era behind each. It reports whether there are any.
//
// Names in local time go back as well, and then files seem older than their
// names. But of those none begins with what is as new as its name, and the file
// before was not closed at the time in the name.
func (t *thread) tear() bool {
	var lags []time.Duration
	for _, it := range t.items {
		if it.known && !it.made.IsZero() {
			lags = append(lags, it.lag)
		}
	}
	if len(lags) == 0 || !t.closings {
		return false
	}
	slices.Sort(lags)
	usual := lags[len(lags)/2]
	var torn []*item
	for _, it := range t.items {
		if !it.known || it.made.IsZero() || it.lag >= usual-it.interval {
			continue
		}
		begun := it.made.Add(usual)
		late := slices.ContainsFunc(it.Spans, func(s Span) bool { return s.End.Sub(begun).Abs() <= 10*time.Second })
		if late && slices.ContainsFunc(t.items, func(a *item) bool { return a != it && !a.First.After(it.First) && follows(a, it) }) {
			it.torn, it.lag = true, usual
			torn = append(torn, it)
		}
	}
	for _, it := range torn {
		t.eraBehind(it)
	}
	return len(torn) > 0
}

// follows reports whether the second file was made when the first one was closed.
func follows(a, b *item) bool {
	return !a.Closed.IsZero() && !b.made.IsZero() && b.made.Sub(a.Closed.Add(a.shift)).Abs() <= grain
}

// eraBehind begins an era behind a file: with those that were listed later, and
// of those that were listed with it those that were made one after the other
// from its closing on.
func (t *thread) eraBehind(it *item) {
	behind := map[*item]bool{it: true}
	for last := it; last != nil; {
		n := slices.IndexFunc(t.items, func(b *item) bool { return !behind[b] && b.First.Equal(it.First) && follows(last, b) })
		if last = nil; n >= 0 {
			last = t.items[n]
			behind[last] = true
		}
	}
	for _, b := range t.items {
		if b != it && (behind[b] || b.First.After(it.First)) {
			b.era++
		}
	}
}

// borrow takes the lag and the interval of the nearest file that was read.
func (t *thread) borrow(i int) {
	it := t.items[i]
	known := func(k int) bool { return k >= 0 && k < len(t.items) && t.items[k].known }
	for d := 1; d < len(t.items); d++ {
		if known(i-d) || known(i+d) {
			k := i + d
			if known(i - d) {
				k = i - d
			}
			it.lag, it.interval = t.items[k].lag, t.items[k].interval
			return
		}
	}
}

// estimate says what a file would have covered that nobody has read: its name
// and its closing are to its collections what those of the files around it are
// to theirs.
func (t *thread) estimate(i int) {
	it := t.items[i]
	if it.made.IsZero() {
		return // its time is not known at all
	}
	it.from = it.made.Add(it.lag - it.interval)
	closed := it.Closed.Add(it.shift)
	switch {
	case !it.Closed.IsZero() && t.closings && closed.After(it.made):
		it.to = closed.Add(it.lag - it.interval)
	case i+1 < len(t.items) && t.items[i+1].known && t.items[i+1].era == it.era:
		it.to = t.items[i+1].from
	default:
		it.to = it.from.Add(t.period)
	}
	if it.to.Before(it.from.Add(it.interval)) {
		it.to = it.from.Add(it.interval)
	}
}

// closing is a closed file: it never changes, whatever length the device gives it.
type closing struct {
	name rollover.Name
	at   time.Time
}

// firstTimes is when each closed file was listed first. A device that lists a
// file once more with another length says nothing about its clock by that.
func firstTimes(d Device) map[closing]time.Time {
	known := map[closing]time.Time{}
	for i := range d.Files {
		f := &d.Files[i]
		c := closing{f.Name, f.Closed}
		if first, ok := known[c]; !ok || f.First.Before(first) {
			known[c] = f.First
		}
	}
	return known
}

// erasOf finds where the device's clock was set back, so that later files have
// earlier names. It returns which era a file is of, by when it was listed first.
//
// The files that a visit listed first were closed since the visit before; the
// last of them bounds the clock. A clock was set back if it is now behind what it
// was at the least, and if the next files say so too: one old file that comes
// back is no clock.
func erasOf(d Device, w *watch) func(time.Time) int {
	type batch struct{ first, latest time.Time }
	var batches []batch
	latest := map[time.Time]time.Time{}
	known := firstTimes(d)
	for i := range d.Files {
		if f := &d.Files[i]; known[closing{f.Name, f.Closed}].Equal(f.First) && !f.First.IsZero() && !f.Closed.IsZero() {
			latest[f.First] = later(latest[f.First], f.Closed)
		}
	}
	for first, at := range latest {
		batches = append(batches, batch{first, at})
	}
	slices.SortFunc(batches, func(a, b batch) int { return a.first.Compare(b.first) })
	bounds := func(b batch) (low, high time.Duration) {
		before, ok := w.before(w.listing(b.first))
		if !ok {
			return b.latest.Sub(b.first), 1 << 62
		}
		return b.latest.Sub(b.first), b.latest.Sub(before)
	}
	var starts []time.Time
	least, began := time.Duration(-1<<62), false
	for i, b := range batches {
		low, high := bounds(b)
		if began && high+grain < least && i+1 < len(batches) {
			if _, next := bounds(batches[i+1]); next+grain < least {
				starts = append(starts, b.first)
				least = low
				continue
			}
		}
		if !began || low <= high {
			least, began = max(least, low), true
		}
	}
	return func(first time.Time) int {
		n, exact := slices.BinarySearchFunc(starts, first, func(a, b time.Time) int { return a.Compare(b) })
		if exact {
			n++
		}
		return n
	}
}
