package coverage

import (
	"slices"
	"time"
)

// look is a good visit, or several that found the same.
type look struct {
	from, to time.Time
	widest   time.Duration
	oldest   string
	skew     Skew
}

// watch is when we looked at a device, by our clock.
type watch struct {
	looks []look // in order, without overlap
	tried time.Time
}

// newWatch takes the visits of a device. A file that was listed for the first
// time is a look too, for ledgers that knew no visits yet.
func newWatch(d Device) watch {
	var w watch
	for _, v := range d.Visits {
		w.tried = later(w.tried, v.Ended)
		if v.Good {
			w.looks = append(w.looks, look{v.Began, v.Ended, v.Widest, v.Oldest, v.Skew})
		}
	}
	byTime := func(a, b look) int { return a.from.Compare(b.from) }
	slices.SortStableFunc(w.looks, byTime)
	visits := w.looks
	var firsts []look
	for i := range d.Files {
		at := d.Files[i].First
		if at.IsZero() {
			continue
		}
		w.tried = later(w.tried, at)
		// A listing is recorded after it was read, so the visit just before
		// is the one that listed it.
		n, _ := slices.BinarySearchFunc(visits, at, func(l look, at time.Time) int { return l.from.Compare(at) })
		if n == 0 || at.Sub(visits[n-1].to) > sessionLength {
			firsts = append(firsts, look{from: at, to: at})
		}
	}
	slices.SortFunc(firsts, byTime)
	firsts = slices.CompactFunc(firsts, func(a, b look) bool { return a.from.Equal(b.from) })
	w.looks = append(w.looks, firsts...)
	slices.SortStableFunc(w.looks, byTime)
	w.spread()
	return w
}

// sessionLength is how long after its listing a visit may still be recording
// what it listed.
const sessionLength = 30 * time.Minute

// upTo returns how many looks began before t, or at t if at is true.
func (w *watch) upTo(t time.Time, at bool) int {
	n, _ := slices.BinarySearchFunc(w.looks, t, func(l look, t time.Time) int {
		if l.from.Before(t) || at && l.from.Equal(t) {
			return -1
		}
		return 1
	})
	return n
}

// before returns the last moment before t at which we are sure to have looked.
func (w *watch) before(t time.Time) (time.Time, bool) {
	n := w.upTo(t, false)
	if n == 0 {
		return time.Time{}, false
	}
	if l := w.looks[n-1]; !l.to.Before(t) {
		return later(l.from, t.Add(-l.widest)), true
	}
	return w.looks[n-1].to, true
}

// listing returns when the directory was listed that showed a file first, at the
// earliest. Of looks that found the same it was the first one, which may have
// taken long to record what it listed.
func (w *watch) listing(first time.Time) time.Time {
	n := w.upTo(first, true)
	if n == 0 {
		return first
	}
	l := w.looks[n-1]
	if l.to.After(first) && first.Sub(l.from) > sessionLength {
		return first // recorded in the midst of looks that found the same
	}
	return l.from
}

// since returns the first look that ended at t or later.
func (w *watch) since(t time.Time) (look, bool) {
	n := w.upTo(t, true)
	if n > 0 && !w.looks[n-1].to.Before(t) {
		n--
	}
	if n == len(w.looks) {
		return look{}, false
	}
	return w.looks[n], true
}

// last returns when we looked last, up to a moment.
func (w *watch) last(until time.Time) (time.Time, bool) {
	n := w.upTo(until, true)
	if n == 0 {
		return time.Time{}, false
	}
	return earlier(w.looks[n-1].to, until), true
}

// pause returns two looks between which a file that was closed in (lo, hi] may
// have come and gone: they are longer apart than a file lives from then on.
func (w *watch) pause(lo, hi time.Time, life time.Duration) (from, to time.Time, ok bool) {
	last := time.Time{} // before the first look there was none
	for _, l := range w.looks {
		if couldExpire(last, l.from, lo, hi, life) {
			return last, l.from, true
		}
		if l.widest >= life && couldExpire(l.from, l.to, lo, hi, life) {
			return l.from, l.to, true
		}
		last = l.to
	}
	return from, to, false
}

// couldExpire reports whether a file closed in (lo, hi] and after the look from
// may be gone at the look to.
func couldExpire(from, to, lo, hi time.Time, life time.Duration) bool {
	latest := earlier(hi, to.Add(-life))
	return latest.After(from) && latest.After(lo)
}

// skewAt is what is known about the device's clock at a moment of ours.
func (w *watch) skewAt(t time.Time) Skew {
	n := w.upTo(t, true)
	if n == 0 {
		n = min(1, len(w.looks))
	}
	if n == 0 {
		return Skew{}
	}
	return w.looks[n-1].skew
}

// spread gives looks that know nothing about the clock what the ones before them
// know, and the first ones what the next one knows.
func (w *watch) spread() {
	var s Skew
	for i := range w.looks {
		if l := &w.looks[i]; l.skew.Known() {
			s = l.skew
		} else {
			l.skew = s
		}
	}
	for i := len(w.looks) - 1; i >= 0; i-- {
		if l := &w.looks[i]; l.skew.Known() {
			s = l.skew
		} else {
			l.skew = s
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
