package fleet

import (
	"container/heap"
	"hash/fnv"
	"time"
)

// State is what is remembered of a device from visit to visit. The zero value
// is a device that was never visited.
type State struct {
	// Tried is when the last visit began, Good when the last good one did:
	// everything that was closed on the device by then has been fetched.
	Tried time.Time `json:"tried,omitzero"`
	Good  time.Time `json:"good,omitzero"`
	// Failures counts the visits since Good that failed, in a row.
	Failures int `json:"failures,omitzero"`
	// Refused says that the last visit ended with a refused host key or
	// login, which is not tried again soon.
	Refused bool `json:"refused,omitzero"`
	// Error is what the last visit said, "" if it was good.
	Error string `json:"error,omitzero"`
	// Oldest is the oldest file in the last good listing, and OldestSeen when
	// it was first seen.
	Oldest     string    `json:"oldest,omitzero"`
	OldestSeen time.Time `json:"oldest_seen,omitzero"`
	// Learned is how long a file was seen on the device at the least, from
	// files that were there when first seen and expired later; 0 if none did.
	Learned time.Duration `json:"learned_ns,omitzero"`
}

// Outcome is what a visit came to.
type Outcome struct {
	// Err is why it failed, nil if it was good.
	Err error
	// Stopped says that we ended it: that says nothing about the device, and
	// its state stays as it was.
	Stopped bool
	// Refused says that the host key or the login was refused: trying again
	// soon would change nothing, and may lock an account.
	Refused bool
	// Oldest and OldestSeen are those of the listing; see pull.Result.
	Oldest     string
	OldestSeen time.Time
	// Files is how many files the visit stored.
	Files int
	// Known is the state of the device as it is remembered elsewhere, by a
	// ledger that several nodes share. Nil: it follows from this outcome.
	Known *State
	// Held says that no visit took place, because another node has the device
	// or the bound of its site is reached by all nodes together: it is offered
	// again at that time, or when its due time comes after it. The zero time
	// is a visit that took place.
	Held time.Time
}

// Note returns the state after a visit that began at began. It is pure.
func (s State) Note(o Outcome, began time.Time) State {
	if o.Stopped {
		return s
	}
	s.Tried = began
	if o.Err != nil {
		s.Failures++
		s.Refused = o.Refused
		s.Error = o.Err.Error()
		return s
	}
	if s.Oldest != "" && o.Oldest != s.Oldest && !s.OldestSeen.IsZero() {
		// It was there at the last good visit and is gone now.
		if lived := s.Good.Sub(s.OldestSeen); lived > 0 {
			s.Learned = max(s.Learned, min(lived, maxLife))
		}
	}
	return State{Tried: began, Good: began, Oldest: o.Oldest, OldestSeen: o.OldestSeen, Learned: s.Learned}
}

// maxLife is the longest that any device keeps a file (the retention of an
// accounting file-id is at most 500 hours). A longer life is a clock that
// stepped.
const maxLife = 500 * time.Hour

// How soon a device is tried again after visits that failed.
const (
	retryFirst   = time.Minute
	retryMost    = 30 * time.Minute
	refusedFirst = time.Hour
	refusedMost  = 24 * time.Hour
)

// Life is how long a closed file stays on the device at the least: what the
// inventory says; else what was learned; else the device's default.
func (d Device) life(s State) time.Duration {
	if d.Retention == 0 && s.Learned > 0 {
		return s.Learned
	}
	return d.Life()
}

// Deadline is when the first file may be lost: one that was closed right after
// the last good visit, and lives no longer than it has to. It is zero for a
// device that was never visited: files may be expiring now.
func (d Device) Deadline(s State) time.Time {
	if s.Good.IsZero() {
		return time.Time{}
	}
	return s.Good.Add(d.life(s))
}

// Due is when the next visit should begin. A device that was never visited is
// due at once. Visits follow the schedule, each device with its own delay within
// the period so that a fleet spreads evenly, and come earlier where half of the
// life of a file would pass; after a failure they come sooner, and after a
// refusal later. It is pure.
func (d Device) Due(s State) time.Time {
	switch {
	case s.Tried.IsZero():
		return time.Time{}
	case s.Failures > 0 && s.Refused:
		return s.Tried.Add(doubled(refusedFirst, refusedMost, s.Failures))
	case s.Failures > 0:
		most := max(retryFirst, min(retryMost, d.life(s)/4))
		return s.Tried.Add(doubled(retryFirst, most, s.Failures) + jitter(d.Name, retryFirst/2))
	}
	due := d.scheduled(s.Tried)
	if latest := s.Good.Add(d.life(s) / 2); latest.Before(due) {
		due = latest
	}
	if soonest := s.Tried.Add(MinEvery); due.Before(soonest) {
		due = soonest
	}
	return due
}

// scheduled is the first visit of the schedule after t.
func (d Device) scheduled(t time.Time) time.Time {
	if d.Cron != nil {
		delay := jitter(d.Name, maxCronDelay)
		return d.Cron.Next(t.Add(-delay)).Add(delay)
	}
	phase := jitter(d.Name, d.Every)
	return t.Add(-phase).Truncate(d.Every).Add(d.Every + phase)
}

// maxCronDelay is how far devices with the same cron schedule are spread.
const maxCronDelay = 30 * time.Second

// doubled is first, doubled with every further failure, up to most.
func doubled(first, most time.Duration, failures int) time.Duration {
	for ; failures > 1 && first < most; failures-- {
		first *= 2
	}
	return min(first, most)
}

// jitter is a share of d that depends on the name alone, so that a restart
// bunches nothing.
func jitter(name string, d time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	x := h.Sum64()
	x ^= x >> 33 // similar names differ in the low bits only
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return time.Duration(x % uint64(max(d, 1)))
}

// Queue says which device comes next. It is not safe for several goroutines.
//
// Of the devices that are due, the one whose deadline is nearest comes first.
// Devices whose last visit failed have to share a quarter of the places, so that
// dead ones delay nobody. A device has one visit at a time.
type Queue struct {
	atOnce, perSite int
	items           map[string]*item
	sites           map[string]*site
	waiting         byDue
	ready, failing  byDeadline
	running         int
	runningFailing  int
	once            bool      // everything is due, and goes when it was visited
	seen            time.Time // the time of the last Next, zero if states came since
}

// item is one device in the queue.
type item struct {
	dev      Device
	state    State
	due      time.Time
	deadline time.Time
	running  bool
	began    time.Time
	failing  bool      // as it was when the visit became due
	site     *site     // as it was when the visit began
	gone     bool      // from the inventory, during a visit
	hold     time.Time // no visit before this: another node has it
	stale    bool      // another item has taken its place
}

// site bounds the devices of one place.
type site struct {
	running int
	blocked byDeadline // due, and the site is full
}

// NewQueue returns an empty queue.
func NewQueue(atOnce, perSite int) *Queue {
	return &Queue{atOnce: max(1, atOnce), perSite: max(1, perSite), items: map[string]*item{}, sites: map[string]*site{}}
}

// Set replaces the devices. What is known of a device that stays is kept; a
// visit that is running goes on. remember gives the state of a device that is
// new here. A refusal is forgotten: somebody did something, and it may be the
// cure.
func (q *Queue) Set(inv *Inventory, remember func(name string) State) {
	q.atOnce, q.perSite = max(1, inv.AtOnce), max(1, inv.PerSite)
	q.seen = time.Time{}
	old := q.items
	q.items = make(map[string]*item, len(inv.Devices))
	q.waiting, q.ready, q.failing = nil, byDeadline{}, byDeadline{}
	for _, s := range q.sites {
		s.blocked = byDeadline{}
	}
	for _, d := range inv.Devices {
		it := old[d.Name]
		if it == nil {
			it = &item{state: remember(d.Name)}
		}
		it.state.Refused = false
		delete(old, d.Name)
		it.dev, it.gone = d, false
		q.items[d.Name] = it
		if !it.running {
			q.wait(it)
		}
	}
	for name, it := range old { // gone from the inventory
		if it.running {
			it.gone = true // Done drops it
			q.items[name] = it
		}
	}
}

// wait puts a device where it waits for its time.
func (q *Queue) wait(it *item) {
	q.schedule(it)
	heap.Push(&q.waiting, it)
}

// schedule says when a device is due.
func (q *Queue) schedule(it *item) {
	it.due, it.deadline = it.dev.Due(it.state), it.dev.Deadline(it.state)
	if q.once {
		it.due = time.Time{}
	}
	if it.hold.After(it.due) {
		it.due = it.hold
	}
}

// Next returns the device whose visit begins now. If there is none it returns
// when to ask again: zero if only the end of a visit can change anything.
func (q *Queue) Next(now time.Time) (d Device, s State, ok bool, again time.Time) {
	q.mistrust(now.Round(0))
	for len(q.waiting) > 0 && !q.waiting[0].due.After(now) {
		if it := heap.Pop(&q.waiting).(*item); !it.stale {
			q.offer(it)
		}
	}
	if q.running < q.atOnce {
		if it := q.pick(); it != nil {
			it.running, it.began = true, now
			q.running++
			it.site = q.site(it)
			it.site.running++
			if it.failing {
				q.runningFailing++
			}
			return it.dev, it.state, true, time.Time{}
		}
	}
	if len(q.waiting) > 0 {
		again = q.waiting[0].due
	}
	return Device{}, State{}, false, again
}

// clockSlack is how far the clocks of two nodes may be apart.
const clockSlack = time.Minute

// mistrust looks at the waiting devices when the clock went back, or when states
// came from elsewhere: a visit that lies in the future says nothing about when the
// next one should be, so the device is due now. Otherwise a machine that started
// with a clock a year ahead would visit nobody for a year. now is without the
// monotonic clock, which does not step.
func (q *Queue) mistrust(now time.Time) {
	back := now.Before(q.seen) || q.seen.IsZero()
	q.seen = now
	if !back {
		return
	}
	for _, it := range q.waiting {
		if it.stale {
			continue
		}
		if it.state.Tried.Round(0).After(now.Add(clockSlack)) {
			it.state = it.state.before(now)
		}
		if it.hold.After(now.Add(maxHold)) {
			it.hold = time.Time{}
		}
		q.schedule(it)
	}
	heap.Init(&q.waiting)
}

// maxHold is longer than any hold for another node.
const maxHold = time.Hour

// before takes what lies in the future out of a state.
func (s State) before(now time.Time) State {
	s.Tried = time.Time{}
	if s.Good.Round(0).After(now) {
		s.Good = now
	}
	return s
}

// offer makes a device ready, or blocks it while its site is full.
func (q *Queue) offer(it *item) {
	if s := q.site(it); s.running >= q.perSite {
		heap.Push(&s.blocked, it)
		return
	}
	it.failing = it.state.Failures > 0
	if it.failing {
		heap.Push(&q.failing, it)
	} else {
		heap.Push(&q.ready, it)
	}
}

// pick takes the ready device with the nearest deadline whose site has room.
func (q *Queue) pick() *item {
	for {
		q.ready.trim()
		q.failing.trim()
		from := &q.ready
		switch {
		case q.failing.Len() == 0:
		case q.ready.Len() == 0 && q.runningFailing < q.failingMost():
			from = &q.failing
		case q.ready.Len() > 0 && q.runningFailing < q.failingShare() && q.failing.items[0].deadline.Before(q.ready.items[0].deadline):
			from = &q.failing
		}
		if from.Len() == 0 {
			return nil
		}
		it := heap.Pop(from).(*item)
		if s := q.site(it); s.running >= q.perSite {
			heap.Push(&s.blocked, it)
			continue
		}
		return it
	}
}

// failingShare is how many places failing devices may have while others wait.
func (q *Queue) failingShare() int { return max(1, q.atOnce/4) }

// failingMost is how many they may have at all: one place stays free for the
// next device that is due, if there is more than one.
func (q *Queue) failingMost() int { return max(1, q.atOnce-1) }

// site returns the site of a device; one without a name is its own.
func (q *Queue) site(it *item) *site {
	name := it.dev.Site
	if name == "" {
		name = "\x00" + it.dev.Name
	}
	s := q.sites[name]
	if s == nil {
		s = &site{}
		q.sites[name] = s
	}
	return s
}

// Learn replaces what is known of a device: another node visited it. A device
// that is visited here just now, or that is not in the inventory, is left alone.
func (q *Queue) Learn(name string, s State) {
	it := q.items[name]
	if it == nil || it.running {
		return
	}
	it.stale = true // it stays in its heap until it comes up
	fresh := &item{dev: it.dev, state: s}
	q.items[name] = fresh
	if s.Tried.After(q.seen.Add(clockSlack)) {
		q.seen = time.Time{} // to be looked at
	}
	q.wait(fresh)
}

// Done ends the visit of a device and returns its new state.
func (q *Queue) Done(name string, o Outcome) State {
	it := q.items[name]
	if it == nil || !it.running {
		return State{}
	}
	it.running = false
	q.running--
	if it.failing {
		q.runningFailing--
	}
	it.site.running--
	it.hold = o.Held
	switch {
	case o.Known != nil:
		it.state = *o.Known
	case o.Held.IsZero():
		it.state = it.state.Note(o, it.began)
	}
	if it.gone || q.once && o.Held.IsZero() {
		delete(q.items, name)
		q.unblock(it.site)
		return it.state
	}
	q.unblock(it.site)
	q.wait(it)
	return it.state
}

// unblock makes the next device of a site ready, if the site has room.
func (q *Queue) unblock(s *site) {
	if s.blocked.trim(); s.blocked.Len() > 0 && s.running < q.perSite {
		q.offer(heap.Pop(&s.blocked).(*item))
	}
}

// Running is how many visits are under way.
func (q *Queue) Running() int { return q.running }

// Look returns every device with its state, when it is due and its deadline, in
// no order.
func (q *Queue) Look(f func(d Device, s State, running bool)) {
	for _, it := range q.items {
		f(it.dev, it.state, it.running)
	}
}

// byDue orders the waiting devices.
type byDue []*item

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byDue) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byDue) Push(x any)        { *h = append(*h, x.(*item)) }
func (h *byDue) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}

// byDeadline orders the ready devices: the nearest deadline, then the longest
// wait, then the name.
type byDeadline struct{ items []*item }

func (h *byDeadline) Len() int { return len(h.items) }
func (h *byDeadline) Less(i, j int) bool {
	a, b := h.items[i], h.items[j]
	if c := a.deadline.Compare(b.deadline); c != 0 {
		return c < 0
	}
	if c := a.due.Compare(b.due); c != 0 {
		return c < 0
	}
	return a.dev.Name < b.dev.Name
}
func (h *byDeadline) Swap(i, j int) { h.items[i], h.items[j] = h.items[j], h.items[i] }

// trim drops what is stale at the top.
func (h *byDeadline) trim() {
	for len(h.items) > 0 && h.items[0].stale {
		heap.Pop(h)
	}
}
func (h *byDeadline) Push(x any) { h.items = append(h.items, x.(*item)) }
func (h *byDeadline) Pop() any {
	it := h.items[len(h.items)-1]
	h.items[len(h.items)-1] = nil
	h.items = h.items[:len(h.items)-1]
	return it
}
