package coverage

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"acctpull/rollover"
)

// world is a device and our visits to it, in virtual time. It knows what was
// written and where it went.
type world struct {
	t        *testing.T
	now      time.Time     // ours
	skew     time.Duration // the device's clock is ahead by that
	zone     *time.Location
	noTimes  bool // listings have no modification times
	slow     bool // now and then it takes long to record a listing
	atWrite  bool // a file rolls over behind the write that is due, not before it
	every    time.Duration
	retain   time.Duration
	policies []*writer
	act      []*wfile // on the device, closed
	all      []*wfile
	seen     map[*wfile]int // index into device.Files
	blind    bool           // visits fail
	fetch    func(*wfile) FileState
	visitAt  time.Time
	sweepAt  time.Time
	device   Device
	known    Skew
	listed   time.Time

	visitAtFiles int // how many files there were at the last recorded visit
}

type writer struct {
	id, file int
	interval time.Duration
	rollover time.Duration
	idle     bool
	next     time.Time // ours
	open     *wfile
}

type wfile struct {
	name   rollover.Name
	w      *writer
	ends   []time.Time // by the device's clock
	step   time.Duration
	made   time.Time // ours
	closed time.Time // by the device's clock
	sealed time.Time // ours
	gone   bool
	got    bool
}

var dawn = time.Date(2026, 1, 1, 0, 2, 0, 0, time.UTC)

func newWorld(t *testing.T, policies ...*writer) *world {
	w := &world{t: t, now: dawn, zone: time.UTC, every: 15 * time.Minute, retain: 12 * time.Hour, policies: policies, seen: map[*wfile]int{}}
	w.fetch = func(*wfile) FileState { return Here }
	w.visitAt, w.sweepAt = dawn.Add(3*time.Minute), dawn.Add(30*time.Minute)
	w.device = Device{Name: "dut"}
	for _, p := range policies {
		p.next = dawn.Add(p.interval)
	}
	return w
}

func policy(id int) *writer {
	return &writer{id: id, file: id + 1, interval: 5 * time.Minute, rollover: time.Hour}
}

// life is what the inventory would say.
func (w *world) life() time.Duration {
	roll := time.Duration(0)
	for _, p := range w.policies {
		roll = max(roll, p.rollover)
	}
	return max(w.retain-roll, w.retain/2)
}

// run lets time pass.
func (w *world) run(d time.Duration) *world {
	end := w.now.Add(d)
	for {
		var at time.Time
		for _, p := range w.policies {
			at = soonest(at, p.next)
		}
		at = soonest(soonest(at, w.visitAt), w.sweepAt)
		if at.After(end) {
			w.now = end
			return w
		}
		w.now = at
		if at.Equal(w.sweepAt) {
			w.sweep()
			w.sweepAt = at.Add(time.Hour)
		}
		for _, p := range w.policies {
			if p.next.Equal(at) {
				w.collect(p)
			}
		}
		if at.Equal(w.visitAt) {
			w.visit()
			w.visitAt = at.Add(w.every)
		}
	}
}

func soonest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func (w *world) clock() time.Time { return w.now.Add(w.skew) }

func (w *world) collect(p *writer) {
	p.next = p.next.Add(p.interval)
	if p.idle {
		return
	}
	expired := func() bool { return p.open != nil && w.now.Sub(p.open.made) >= p.rollover }
	if !w.atWrite && expired() {
		w.seal(p)
	}
	w.begin(p)
	p.open.ends = append(p.open.ends, w.clock())
	if w.atWrite && expired() {
		w.seal(p)
		w.begin(p)
	}
}

func (w *world) begin(p *writer) {
	if p.open == nil {
		p.open = &wfile{w: p, step: p.interval, made: w.now, name: rollover.NewName(rollover.Act, p.id, p.file, w.clock().In(w.zone), ".xml.gz")}
		w.all = append(w.all, p.open)
	}
}

func (w *world) seal(p *writer) {
	f := p.open
	f.sealed, f.closed = w.now, w.clock()
	w.act, p.open = append(w.act, f), nil
}

func (w *world) sweep() {
	w.act = slices.DeleteFunc(w.act, func(f *wfile) bool {
		f.gone = w.now.Sub(f.made) > f.w.rollover+w.retain
		return f.gone
	})
}

// remove takes closed files off the device.
func (w *world) remove(which func(*wfile) bool) {
	w.act = slices.DeleteFunc(w.act, func(f *wfile) bool {
		if which(f) {
			f.gone = true
		}
		return f.gone
	})
}

// reboot loses what is open and begins the collections anew.
func (w *world) reboot(down, step time.Duration) {
	w.now = w.now.Add(down)
	w.skew += step
	for _, p := range w.policies {
		p.open, p.next = nil, w.now.Add(p.interval)
	}
	for w.visitAt.Before(w.now) {
		w.visitAt = w.visitAt.Add(w.every)
	}
	for w.sweepAt.Before(w.now) {
		w.sweepAt = w.sweepAt.Add(time.Hour)
	}
}

func (w *world) visit() {
	if w.blind {
		w.record(Visit{Began: w.now, Ended: w.now})
		return
	}
	v := Visit{Began: w.now, Ended: w.now, Good: true}
	s := Session{Before: w.listed, At: w.now}
	for _, f := range w.act {
		if v.Oldest == "" || f.name.Stamp < v.Oldest[8:23] {
			v.Oldest = f.name.String()
		}
		n, old := w.seen[f]
		if old && w.device.Files[n].State == Here {
			continue
		}
		state := w.fetch(f)
		if old {
			w.device.Files[n].State = state
		} else {
			n = len(w.device.Files)
			w.seen[f] = n
			first := w.now
			if w.slow {
				first = first.Add(time.Duration(n%4) * 4 * time.Minute / 3)
			}
			w.device.Files = append(w.device.Files, File{Name: f.name, State: state, First: first, SHA256: fmt.Sprint(n), Stored: f.name.String()})
			if s.Earliest.IsZero() || f.closed.Before(s.Earliest) {
				s.Earliest = f.closed
			}
			s.Latest = later(s.Latest, f.closed)
		}
		got := &w.device.Files[n]
		if !w.noTimes {
			got.Closed = f.closed.Truncate(time.Second)
		}
		if state == Here {
			f.got = true
			got.Read, got.Interval = true, f.step
			for _, end := range f.ends {
				got.Spans = append(got.Spans, Span{End: end, Records: 3})
			}
			slices.SortFunc(got.Spans, func(a, b Span) int { return a.End.Compare(b.End) })
		}
	}
	if !w.noTimes {
		w.known, _ = w.known.Note(s, Drift(w.every))
	}
	w.listed = w.now
	v.Skew = w.known
	w.record(v)
}

// record merges visits that found the same, as the ledger does.
func (w *world) record(v Visit) {
	all := w.device.Visits
	if n := len(all); n > 0 && all[n-1].Good == v.Good && all[n-1].Oldest == v.Oldest && all[n-1].Skew == v.Skew && len(w.device.Files) == w.filesThen() {
		l := &all[n-1]
		l.Widest, l.Ended = max(l.Widest, v.Began.Sub(l.Ended)), v.Ended
		return
	}
	w.device.Visits = append(w.device.Visits, v)
	w.visitAtFiles = len(w.device.Files)
}

func (w *world) filesThen() int { return w.visitAtFiles }

func (w *world) judge() []Stream {
	return w.judgeBetween(dawn.Add(-time.Hour), w.now.Add(24*time.Hour))
}

func (w *world) judgeBetween(from, to time.Time) []Stream {
	w.device.Life = w.life()
	return Judge(w.device, Window{From: from, To: to, Delay: max(time.Hour, 2*w.every)})
}

// check compares the verdicts with the truth: every collection that was closed
// in a file and did not come is in a gap, and every gap has one. Collections of
// files that are still open or still there are no business of gaps.
func (w *world) check(streams []Stream) {
	w.t.Helper()
	gaps := map[int][]Run{}
	got := map[int]int{}
	for _, s := range streams {
		gaps[s.Policy] = s.Gaps()
		totals := s.Totals()
		got[s.Policy] = totals.Sum(Verdict.Received)
	}
	used := map[int]map[int]bool{}
	want := map[int]map[time.Time]bool{}
	for _, f := range w.all {
		id := f.w.id
		if f.got {
			for _, end := range f.ends {
				if want[id] == nil {
					want[id] = map[time.Time]bool{}
				}
				want[id][end] = true
			}
			continue
		}
		left := f.sealed.IsZero() && f.w.open != f // a reboot left it open
		if !f.gone && !left {
			continue
		}
		for _, end := range f.ends {
			n := slices.IndexFunc(gaps[id], func(r Run) bool { return r.From.Before(end) && !r.To.Before(end) })
			if n < 0 {
				w.t.Errorf("policy %d: the collection of %v in %v went without a word", id, end, f.name)
				continue
			}
			if used[id] == nil {
				used[id] = map[int]bool{}
			}
			used[id][n] = true
		}
	}
	for id, all := range gaps {
		for n, r := range all {
			if !used[id][n] {
				w.t.Errorf("policy %d: false gap: %s", id, show(r))
			}
		}
	}
	for id, ends := range want {
		if len(used[id]) == 0 && got[id] != len(ends) {
			w.t.Errorf("policy %d: %d intervals received, the truth is %d", id, got[id], len(ends))
		}
	}
}

func show(r Run) string {
	return fmt.Sprintf("%s (%s) %s to %s, %d: %s %s", r.Verdict, r.Cause, stamp(r.From), stamp(r.To), r.Intervals, r.File, r.Reason)
}

func dump(t *testing.T, streams []Stream) {
	t.Helper()
	for _, s := range streams {
		for _, r := range s.Runs {
			t.Logf("policy %d: %s", s.Policy, show(r))
		}
	}
}

// A year of a device whose policies pause, whose clock is ahead, that is visited
// well: nothing is missing, whatever the rhythm.
func TestVirtualYearProof(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	years := 3
	if os.Getenv("ACCTPULL_PROOF") != "" {
		years = 24
	}
	for n := range years {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		t.Run(fmt.Sprintf("seed=%d,%d", seed, n), func(t *testing.T) {
			t.Parallel()
			var policies []*writer
			for id := 1; id <= 3; id++ {
				p := policy(10 * id)
				p.interval = time.Duration(1+rng.IntN(3)) * 5 * time.Minute
				p.rollover = time.Duration(1+rng.IntN(12)) * p.interval
				policies = append(policies, p)
			}
			w := newWorld(t, policies...)
			w.retain = time.Duration(4+rng.IntN(20)) * time.Hour
			w.skew = time.Duration(rng.IntN(7200)-3600) * time.Second
			w.atWrite = n%2 == 1
			if n%3 == 2 {
				w.zone = berlin
			}
			w.run(8 * time.Hour) // what was before the first file that was ever seen is not judged
			for w.now.Before(dawn.AddDate(1, 0, 0)) {
				p := policies[rng.IntN(len(policies))]
				p.idle = rng.IntN(3) == 0
				w.blind = rng.IntN(10) == 0
				d := time.Duration(rng.IntN(20)) * time.Hour
				if w.blind {
					d = min(d, w.life()-2*time.Hour)
				}
				w.run(max(d, time.Hour))
				if rng.IntN(40) == 0 { // a step forward of a clock that runs
					w.blind = false
					w.run(2 * w.every)
					w.skew += time.Duration(rng.IntN(3600)) * time.Second
					w.run(4 * time.Hour)
				}
			}
			w.settle()
			w.check(w.judge())
		})
	}
}

// settle lets every policy write again, until what is closed was listed.
func (w *world) settle() {
	w.blind = false
	for _, p := range w.policies {
		p.idle = false
	}
	w.run(12 * time.Hour)
}
