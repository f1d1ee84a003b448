package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"acctpull/rollover"
)

// judge judges one device.
type judge struct {
	d       Device
	w       Window
	watch   watch
	life    time.Duration
	asOf    time.Time
	threads []*thread

	// restarts are where the rhythm of a policy's collections changed.
	restarts []seg
}

func newJudge(d Device, w Window) *judge {
	j := &judge{d: d, w: w, watch: newWatch(d), life: d.Life, asOf: w.AsOf}
	if j.life == 0 {
		j.life = DefaultLife
	}
	if j.asOf.IsZero() {
		j.asOf = j.watch.tried
	}
	j.threads = threads(d, &j.watch)
	return j
}

// mark is a verdict about (from, to].
type mark struct {
	Run
	content string // what is there, for Present and Late
	alias   bool
	spans   []Span
}

// trial is one policy being judged.
type trial struct {
	*judge
	*thread
	marks []mark
}

// stream judges one policy.
func (j *judge) stream(t *thread) Stream {
	c := &trial{judge: j, thread: t}
	t.join()
	for _, it := range t.items {
		c.own(it)
	}
	for _, it := range t.aliases {
		c.repeat(it)
	}
	if len(t.items) > 0 {
		c.head(t.items[0])
		for i := 1; i < len(t.items); i++ {
			c.between(i)
		}
		c.tail(t.items[len(t.items)-1])
	}
	s := Stream{Policy: t.policy, Runs: tile(c.marks, j.w)}
	for _, it := range slices.Concat(t.items, t.aliases) {
		if !slices.Contains(s.FileIDs, it.Name.FileID) {
			s.FileIDs = append(s.FileIDs, it.Name.FileID)
		}
		if it.Record != "" {
			s.Record = it.Record
		}
	}
	slices.Sort(s.FileIDs)
	s.Interval = lastInterval(t)
	return s
}

// lastInterval is the last interval of a policy.
func lastInterval(t *thread) time.Duration {
	if n := len(t.items); n > 0 {
		return t.items[n-1].interval
	}
	return t.interval
}

// add adds a verdict about (from, to], unless that is nothing. Intervals there
// are as long as those of a file.
func (c *trial) add(about *item, from, to time.Time, r Run) {
	if from.Before(to) {
		r.From, r.To, r.step = from, to, about.interval
		c.marks = append(c.marks, mark{Run: r})
	}
}

// own says what a file itself says.
func (c *trial) own(it *item) {
	r := Run{File: it.Name.String(), Reason: it.Reason}
	switch {
	case it.from.IsZero():
		return // neither its name nor its content says a time
	case it.State == There:
		r.Verdict, r.Cause = Waiting, NotFetched
	case it.State == Gone:
		r.Verdict, r.Cause = Lost, ListedGone
	case it.State == Quarantined:
		r.Verdict, r.Cause = Corrupt, Refused
		if it.Truncated {
			r.Verdict, r.Cause = Truncated, CutOff
		}
	case it.known:
		c.content(it, false)
		return
	case it.Read:
		r.Verdict, r.Cause, r.Reason = Idle, NoRecords, "the file holds no records"
	default:
		r.Verdict, r.Reason = Present, "nobody has read its times"
	}
	c.add(it, it.from, it.to, r)
}

// content adds what a file holds.
func (c *trial) content(it *item, alias bool) {
	r := Run{Verdict: Present, Reason: it.Reason, step: it.interval}
	if c.late(it) && !alias {
		r.Verdict, r.Reason = Late, "first listed after the stated delay"
		if it.Reason != "" {
			r.Reason += "; " + it.Reason
		}
	}
	for i, s := range it.segs {
		r.From, r.To = s.from, s.to
		c.marks = append(c.marks, mark{Run: r, content: it.SHA256 + it.Stored, alias: alias, spans: spansIn(it.Spans, s)})
		if i > 0 {
			c.add(it, it.segs[i-1].to, s.from, Run{Verdict: Idle, Cause: NoWrite, Reason: "nothing was written, and the file was open"})
		}
	}
	if it.Truncated && !alias {
		last := it.Spans[len(it.Spans)-1]
		c.add(it, later(last.End.Add(-it.interval), it.from), it.to, Run{Verdict: Truncated, Cause: CutOff, File: it.Name.String(), Reason: "the file ends before its end"})
	}
}

func spansIn(all []Span, s seg) []Span {
	lo, _ := slices.BinarySearchFunc(all, s.from, func(a Span, t time.Time) int {
		if a.End.After(t) {
			return 1
		}
		return -1
	})
	hi := lo
	for hi < len(all) && !all[hi].End.After(s.to) {
		hi++
	}
	return all[lo:hi]
}

// late reports whether a file was first listed later than the stated delay after
// it was closed, or must have been. What was closed before we ever looked at the
// device is not late.
func (c *trial) late(it *item) bool {
	closed := it.to.Add(c.roll() + it.interval)
	if !it.Closed.IsZero() && c.closings {
		closed = later(it.Closed, it.to)
	}
	closed = c.oursOf(it, closed)
	_, watched := c.watch.before(closed)
	return watched && it.First.Sub(closed) > cmp.Or(c.w.Delay, DefaultDelay)
}

// repeat adds a file whose content is there under another name.
func (c *trial) repeat(it *item) {
	if it.known {
		c.content(it, true)
	}
}

// roll is after how long a file rolls over at the most, if it is written to.
func (c *trial) roll() time.Duration {
	switch {
	case c.period > 0:
		return c.period
	case c.d.Rollover > 0:
		return c.d.Rollover
	}
	return defaultRollover
}

// shortest is how long a file lasts at the least.
func (c *trial) shortest(interval time.Duration) time.Duration {
	roll := c.d.Rollover
	if roll == 0 || c.period > 0 && c.period < roll {
		roll = c.period
	}
	return max(roll, interval)
}

// oursOf turns a time in a file into ours, by the clock that the device had when
// the file was listed.
func (j *judge) oursOf(it *item, t time.Time) time.Time {
	return t.Add(-j.watch.skewAt(it.First).Guess())
}

// theirs turns a time of ours into the device's.
func (j *judge) theirs(t time.Time) time.Time {
	return t.Add(j.watch.skewAt(t).Guess())
}

// findRestarts notes where the rhythm of a policy changed.
func (j *judge) findRestarts(t *thread) {
	for i := 1; i < len(t.items); i++ {
		a, b := t.items[i-1], t.items[i]
		if changedRhythm(a, b) {
			j.restarts = append(j.restarts, seg{a.to, b.from})
		}
	}
}

// changedRhythm reports whether the collections after a do not go on in the
// rhythm of a: they began anew, or the clock was set.
func changedRhythm(a, b *item) bool {
	if !a.known || !b.known || a.interval != b.interval || b.from.Sub(a.to) <= tolerance(a, b) {
		return false
	}
	off := b.Spans[0].End.Sub(a.to) % a.interval
	off = min(off, a.interval-off)
	return off > min(a.interval/10, 30*time.Second)
}

// head judges the time before the first file: the file before it may have been
// closed and have gone between two visits.
func (c *trial) head(b *item) {
	if b.made.IsZero() || b.from.IsZero() {
		return
	}
	closed := c.oursOf(b, b.made.Add(-b.shift))
	last, ok := c.watch.before(c.watch.listing(b.First))
	if !ok || !closed.After(last) || c.watch.listing(b.First).Sub(closed) < c.life {
		return
	}
	c.add(b, c.theirs(last), b.from, Run{Verdict: Missing, Cause: Expired, Doubt: true,
		Reason: "files of this policy may have come and gone before the first visit that saw one: " + c.pauseText(last, c.watch.listing(b.First))})
}

// between judges the time between the files at i-1 and i.
func (c *trial) between(i int) {
	a, b := c.items[i-1], c.items[i]
	if a.from.IsZero() || b.from.IsZero() {
		return
	}
	hole := b.from.Sub(a.to)
	b.early = b.known && !b.torn && a.known && !b.made.IsZero() && hole < -tolerance(a, b) && b.lag < a.lag-b.interval-tolerance(a, b)
	switch {
	case hole.Abs() <= tolerance(a, b):
	case hole < 0:
		c.back(i)
	case a.early:
		c.add(a, a.to, b.from, Run{Verdict: Missing, Cause: Repeated, File: a.Name.String(),
			Reason: "the file that was open then holds older collections once more"})
	default:
		c.hole(i)
	}
}

// back judges files that go back in time. Where the second one was not made when
// the first one was closed there was a file between them.
func (c *trial) back(i int) {
	a, b := c.items[i-1], c.items[i]
	if !a.known || !b.known || b.early || c.linked(a, b) {
		return
	}
	low, _, ok := c.pauseBetween(i)
	if !ok || low.Abs() <= tolerance(a, b) {
		return
	}
	// By the clock before it was set back, as far as it may have come.
	to := a.to.Add(a.interval)
	if sa, sb := c.watch.skewAt(a.First), c.watch.skewAt(b.First); sa.Known() && sb.Known() {
		to = later(to, b.from.Add(sa.Max-sb.Min))
	}
	r := c.why(i)
	if r.Cause == "" || r.Cause == Restart {
		r = Run{Verdict: Missing, Cause: ClockBack, Reason: "the device's clock was set back, and the file after " + a.Name.String() + " was never listed"}
	}
	c.add(a, a.to, to, r)
}

// linked reports whether nothing but files whose content is there under another
// name were made between the closing of a and the making of b: a clock that was
// set back may have the same written twice.
func (c *trial) linked(a, b *item) bool {
	for range c.aliases {
		n := slices.IndexFunc(c.aliases, func(x *item) bool { return x != a && !x.First.Before(a.First) && follows(a, x) })
		if n < 0 {
			return false
		}
		if a = c.aliases[n]; follows(a, b) {
			return true
		}
	}
	return false
}

// pauseBetween bounds the time from the closing of the file at i-1 to the making
// of the one at i. What was made in one go gives 0; what has a file between them
// gives at least the time that this file lasted.
func (c *trial) pauseBetween(i int) (low, high time.Duration, ok bool) {
	a, b := c.items[i-1], c.items[i]
	if b.made.IsZero() {
		return 0, 0, false
	}
	if !a.Closed.IsZero() && c.closings {
		best := time.Duration(1 << 62)
		for _, shift := range c.shiftNear(i) {
			if g := b.made.Sub(a.Closed) - shift; g.Abs() < best.Abs() {
				best = g
			}
		}
		return best, best, true
	}
	if a.First.IsZero() {
		return 0, 0, false
	}
	// It was closed after the last look that did not list it, and before the
	// first that did.
	zone, _ := zoneOf(-b.lag, 5*time.Minute)
	if b.lag.Abs() <= b.interval+5*time.Minute {
		zone = 0
	}
	skew := c.watch.skewAt(a.First)
	made := b.made.Add(-zone)
	low = made.Sub(a.First.Add(skew.Max))
	high = 1 << 62
	if last, found := c.watch.before(c.watch.listing(a.First)); found {
		high = made.Sub(last.Add(skew.Min))
	}
	return low, high, true
}

// hole judges time without collections between two files.
func (c *trial) hole(i int) {
	a, b := c.items[i-1], c.items[i]
	shortest := c.shortest(a.interval)
	limit := slack(min(a.interval, b.interval, shortest))
	low, high, ok := c.pauseBetween(i)
	exact := ok && low == high
	switch {
	case exact && low.Abs() <= limit, ok && !exact && high < shortest:
		c.add(a, a.to, b.from, Run{Verdict: Idle, Cause: NoWrite, Reason: "nothing was written: the file before was closed when the next one was begun"})
		return
	case ok && low > limit:
		r := c.why(i)
		if r.Cause == "" && c.closedEarly(i) {
			r = Run{Verdict: Idle, Cause: PolicyOff, Reason: "the file before was closed before its rollover, and no other was begun: the policy was out of service"}
		}
		c.add(a, a.to, b.from, r)
		return
	}
	r := c.why(i)
	if r.Cause == "" || r.Cause == Restart {
		r = c.usual(i)
	}
	c.add(a, a.to, b.from, r)
}

// usual decides by the length of the hole where nothing else can: files are
// missing where it is as long as files usually are.
func (c *trial) usual(i int) Run {
	a, b := c.items[i-1], c.items[i]
	reason := "nobody knows when " + a.Name.String() + " was closed, and the time without collections is "
	if d := b.made.Sub(a.made); c.period > 0 && !a.made.IsZero() && !b.made.IsZero() {
		if n := d.Round(c.period); n < 2*c.period || (d-n).Abs() > tolerance(a, b) {
			return Run{Verdict: Idle, Cause: Undecidable, Doubt: true, Reason: reason + "not as long as files are"}
		}
	}
	return Run{Verdict: Missing, Cause: Undecidable, Doubt: true, Reason: reason + "as long as files are"}
}

// closedEarly reports whether the file at i-1 was closed before its rollover.
func (c *trial) closedEarly(i int) bool {
	a := c.items[i-1]
	return c.period > 0 && !a.made.IsZero() && a.Closed.Add(slices.Max(c.shiftNear(i))).Sub(a.made) < c.period-tolerance(a, a)
}

// why says why files between those at i-1 and i are not here, as far as visits
// and files tell.
func (c *trial) why(i int) Run {
	a, b := c.items[i-1], c.items[i]
	closed := a.to
	if !a.Closed.IsZero() && c.closings {
		closed = a.Closed
	}
	lo, hi := c.oursOf(a, closed), c.oursOf(b, b.made.Add(-b.shift))
	if b.made.IsZero() {
		hi = c.oursOf(b, b.from)
	}
	if from, to, ok := c.watch.pause(lo, hi, c.life); ok {
		return Run{Verdict: Lost, Cause: Expired, Reason: "its files may have expired: " + c.pauseText(from, to)}
	}
	if l, ok := c.watch.since(hi); ok && l.oldest != "" && l.from.Before(lo.Add(c.life)) {
		if n, err := rollover.ParseName(l.oldest); err == nil && n.Stamp > a.Name.Stamp {
			return Run{Verdict: Lost, Cause: Contention, Reason: fmt.Sprintf("at the visit of %s the device had deleted everything older than %s, before its retention was over", stamp(l.from), l.oldest)}
		}
	}
	if made := b.made.Add(-b.shift); !b.made.IsZero() && made.Sub(closed) >= c.life+c.d.Rollover {
		return Run{Verdict: Lost, Cause: OpenTooLong, Reason: fmt.Sprintf("a file was open for up to %v, as its policy was idle; a device counts the retention from the creation of a file and may have deleted it as soon as it was closed", made.Sub(closed).Round(time.Second))}
	}
	for _, x := range c.aliases {
		if !x.made.IsZero() && x.made.After(a.made) && x.made.Before(b.made) {
			return Run{Verdict: Missing, Cause: Repeated, File: x.Name.String(), Reason: "the file of that name has the content of " + x.AliasOf}
		}
	}
	if a.known && b.known && a.interval != b.interval {
		return Run{Verdict: Missing, Cause: Changed, Reason: fmt.Sprintf("the collection interval was %v before and %v after", a.interval, b.interval)}
	}
	for _, r := range c.restarts {
		if r.from.Before(b.from) && r.to.After(a.to) {
			return Run{Verdict: Missing, Cause: Restart, Reason: "the collections began anew: a file that is open at a restart stays in act-collect"}
		}
	}
	return Run{Verdict: Missing, Reason: "a file was begun after " + a.Name.String() + " and never listed"}
}

func (c *trial) pauseText(from, to time.Time) string {
	if from.IsZero() {
		return "no good visit before " + stamp(to)
	}
	return fmt.Sprintf("no good visit from %s to %s, and a file lives %v at the least", stamp(from), stamp(to), c.life)
}

// stamp writes a time for a reason.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// tail judges the time behind the last file.
func (c *trial) tail(a *item) {
	last, ok := c.watch.last(c.asOf)
	if !ok || a.to.IsZero() {
		return
	}
	roll := c.roll()
	closed := a.to.Add(a.interval)
	if !a.Closed.IsZero() && c.closings {
		closed = later(a.to, a.Closed)
	}
	seen, now := c.theirs(last), c.theirs(c.asOf)
	due := closed.Add(roll) // a write from here on closes the file that is open
	if seen.After(due.Add(a.interval + a.interval/2)) {
		// It was not closed: nothing was written since.
		c.add(a, a.to, due, Run{Verdict: Open, Reason: "written to a file that is still open, or not at all"})
		c.add(a, due, seen, Run{Verdict: Idle, Cause: NotListed, Reason: "nothing was written: that would have closed the open file, and it would have been listed"})
		c.add(a, later(due, seen), now, Run{Verdict: Open})
		return
	}
	latest := roll + a.interval // until a collection is in a closed file
	if c.asOf.Sub(last) <= latest+time.Hour {
		c.add(a, a.to, now, Run{Verdict: Open})
		return
	}
	from := a.to
	if gone := now.Add(-latest - c.life); gone.After(from) {
		c.add(a, from, gone, Run{Verdict: Missing, Cause: NotVisited, Reason: "no good visit since " + stamp(last) + ": files of then may have expired"})
		from = gone
	}
	waiting := later(from, now.Add(-latest))
	c.add(a, from, waiting, Run{Verdict: Waiting, Cause: NotVisited, Reason: "no good visit since " + stamp(last)})
	c.add(a, waiting, now, Run{Verdict: Open})
}
