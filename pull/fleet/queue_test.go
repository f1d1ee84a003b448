package fleet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var day = time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)

func dev(name string, change ...func(*Device)) Device {
	d := Device{Name: name, Every: 15 * time.Minute, Rollover: time.Hour, Retention: 4 * time.Hour}
	for _, c := range change {
		c(&d)
	}
	return d
}

func TestDue(t *testing.T) {
	cron, err := ParseCron("7-59/15 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	good := func(at time.Time) State { return State{Tried: at, Good: at} }
	bad := func(n int, refused bool) State {
		return State{Tried: day, Good: day.Add(-time.Hour), Failures: n, Refused: refused}
	}
	within := func(least, most time.Duration) func(time.Duration) bool {
		return func(d time.Duration) bool { return d > least && d <= most }
	}
	for _, tc := range []struct {
		name string
		d    Device
		s    State
		ok   func(time.Duration) bool // of the wait since Tried
	}{
		{"by the schedule", dev("a"), good(day), within(0, 15*time.Minute)},
		{"half of a short life", dev("a", func(d *Device) { d.Every = 24 * time.Hour }), good(day), within(90*time.Minute-1, 90*time.Minute)},
		{"learned life", dev("a", func(d *Device) { d.Every, d.Retention = 24*time.Hour, 0 }), State{Tried: day, Good: day, Learned: time.Hour}, within(30*time.Minute-1, 30*time.Minute)},
		{"never sooner than a minute", dev("a", func(d *Device) { d.Retention = 0 }), State{Tried: day, Good: day, Learned: time.Second}, within(time.Minute-1, time.Minute)},
		{"cron", dev("a", func(d *Device) { d.Every, d.Cron = 0, cron }), good(day), within(7*time.Minute-1, 7*time.Minute+maxCronDelay)},
		{"first failure", dev("a"), bad(1, false), within(time.Minute-1, 90*time.Second)},
		{"third failure", dev("a"), bad(3, false), within(4*time.Minute-1, 4*time.Minute+30*time.Second)},
		{"many failures", dev("a"), bad(50, false), within(30*time.Minute-1, 30*time.Minute+30*time.Second)},
		{"many failures, short life", dev("a", func(d *Device) { d.Rollover, d.Retention = 5*time.Minute, time.Hour }), bad(50, false), within(13*time.Minute, 15*time.Minute)},
		{"refused", dev("a"), bad(1, true), within(time.Hour-1, time.Hour)},
		{"refused for days", dev("a"), bad(9, true), within(24*time.Hour-1, 24*time.Hour)},
	} {
		if wait := tc.d.Due(tc.s).Sub(tc.s.Tried); !tc.ok(wait) {
			t.Errorf("%s: due after %v", tc.name, wait)
		}
	}
	if !dev("a").Due(State{}).IsZero() {
		t.Error("a new device is not due at once")
	}
}

// Visits on schedule keep their phase, whenever the process was started, and a
// fleet spreads evenly.
func TestPhase(t *testing.T) {
	const n = 10000
	perMinute := map[int]int{}
	for i := range n {
		d := dev(fmt.Sprintf("edge-%d", i))
		first := d.scheduled(day)
		for k := range 5 {
			at := first.Add(time.Duration(k) * d.Every)
			if got := d.scheduled(at.Add(-time.Duration(1 + rand.Int64N(int64(d.Every))))); !got.Equal(at) {
				t.Fatalf("%s: %v, want %v", d.Name, got, at)
			}
		}
		perMinute[int(first.Sub(day)/time.Minute)]++
	}
	for m, c := range perMinute {
		if c < n/15*8/10 || c > n/15*12/10 {
			t.Errorf("minute %d has %d of %d devices", m, c, n)
		}
	}
}

func TestCron(t *testing.T) {
	for _, bad := range []string{"", "* * * *", "@hourly", "TZ=Europe/Berlin 0 * * * *", "61 * * * *", "0 0 31 2 *", "* * * * * *"} {
		if _, err := ParseCron(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for spec, longest := range map[string]time.Duration{
		"*/15 * * * *": 15 * time.Minute, "0 3 * * *": 24 * time.Hour, "0 8-18 * * 1-5": 62 * time.Hour, "0 0 29 2 *": 400 * 24 * time.Hour,
	} {
		c, err := ParseCron(spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Longest(); got != longest {
			t.Errorf("%s: longest pause %v, want %v", spec, got, longest)
		}
	}
	// Across both changes of the clocks in Europe the pauses stay the same.
	c, _ := ParseCron("0 * * * *")
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 28, 12, 0, 0, 0, berlin)
	for range 24 * 300 {
		next := c.Next(at)
		if next.Sub(at) != time.Hour {
			t.Fatalf("after %v comes %v", at, next)
		}
		at = next.In(berlin)
	}
}

func TestNoteLearns(t *testing.T) {
	s := State{}.Note(Outcome{Oldest: "a", OldestSeen: day}, day)
	s = s.Note(Outcome{Oldest: "a", OldestSeen: day}, day.Add(time.Hour))
	if s.Learned != 0 {
		t.Fatal("learned from a file that is still there")
	}
	if got := s.Note(Outcome{Err: errors.New("stopped"), Stopped: true}, day.Add(90*time.Minute)); got != s {
		t.Fatalf("a visit that we ended changed %+v to %+v", s, got)
	}
	s = s.Note(Outcome{Err: errors.New("down")}, day.Add(2*time.Hour))
	if s.Failures != 1 || !s.Good.Equal(day.Add(time.Hour)) || s.Oldest != "a" {
		t.Fatalf("%+v", s)
	}
	s = s.Note(Outcome{Oldest: "c", OldestSeen: day.Add(30 * time.Minute)}, day.Add(5*time.Hour))
	if s.Learned != time.Hour || s.Failures != 0 || s.Error != "" { // it was last seen after an hour
		t.Fatalf("%+v", s)
	}
	if got := dev("x", func(d *Device) { d.Retention = 0 }).Deadline(s); !got.Equal(day.Add(6 * time.Hour)) {
		t.Errorf("deadline %v", got)
	}
	if got := dev("x").Deadline(s); !got.Equal(day.Add(8 * time.Hour)) { // configured: 4 h - 1 h
		t.Errorf("deadline %v", got)
	}
}

// fleet drives a queue in virtual time: a visit takes took(d).
type world struct {
	q       *Queue
	now     time.Time
	running map[string]time.Time // when the visit ends
	visits  map[string][]time.Time
	most    map[string]int // at once, by site; "" is all
	count   map[string]int
}

func newWorld(inv *Inventory) *world {
	w := &world{q: NewQueue(inv.AtOnce, inv.PerSite), now: day, running: map[string]time.Time{}, visits: map[string][]time.Time{}, most: map[string]int{}, count: map[string]int{}}
	w.q.Set(inv, func(string) State { return State{} })
	return w
}

func (w *world) run(t *testing.T, until time.Time, took func(Device, time.Time) (time.Duration, error)) {
	t.Helper()
	ends := map[string]struct {
		d   Device
		err error
	}{}
	for w.now.Before(until) {
		var again time.Time
		for {
			d, _, ok, at := w.q.Next(w.now)
			if !ok {
				again = at
				break
			}
			if _, twice := w.running[d.Name]; twice {
				t.Fatalf("%s is visited twice at a time", d.Name)
			}
			lasts, err := took(d, w.now)
			w.running[d.Name] = w.now.Add(lasts)
			w.visits[d.Name] = append(w.visits[d.Name], w.now)
			ends[d.Name] = struct {
				d   Device
				err error
			}{d, err}
			for _, s := range []string{"", d.Site} {
				w.count[s]++
				w.most[s] = max(w.most[s], w.count[s])
			}
		}
		next := again
		for _, end := range w.running {
			if next.IsZero() || end.Before(next) {
				next = end
			}
		}
		if next.IsZero() {
			t.Fatal("nothing will ever happen again")
		}
		w.now = next
		for name, end := range w.running {
			if !end.After(w.now) {
				delete(w.running, name)
				e := ends[name]
				w.count[""]--
				w.count[e.d.Site]--
				w.q.Done(name, Outcome{Err: e.err})
			}
		}
	}
}

// 200 devices, a tenth dead and hanging for 30 seconds, another tenth slow: the
// healthy ones are visited on time, and bounds hold.
func TestDeadDevicesDelayNobody(t *testing.T) {
	inv := &Inventory{AtOnce: 8, PerSite: 3}
	for i := range 200 {
		inv.Devices = append(inv.Devices, dev(fmt.Sprintf("d%03d", i), func(d *Device) { d.Site = fmt.Sprintf("s%d", i%20) }))
	}
	kind := func(d Device) int { var i int; fmt.Sscanf(d.Name, "d%d", &i); return i / 2 % 10 }
	w := newWorld(inv)
	w.run(t, day.Add(12*time.Hour), func(d Device, _ time.Time) (time.Duration, error) {
		switch kind(d) {
		case 0:
			return 30 * time.Second, errors.New("silent")
		case 1:
			return 40 * time.Second, nil
		}
		return 2 * time.Second, nil
	})
	if w.most[""] > 8 {
		t.Errorf("%d at once", w.most[""])
	}
	for s, n := range w.most {
		if s != "" && n > 3 {
			t.Errorf("%d at once at site %s", n, s)
		}
	}
	for _, d := range inv.Devices {
		v := w.visits[d.Name]
		if kind(d) == 0 {
			if len(v) < 20 {
				t.Errorf("dead %s was tried %d times in 12 hours", d.Name, len(v))
			}
			continue
		}
		if len(v) < 46 {
			t.Errorf("%s was visited %d times in 12 hours", d.Name, len(v))
		}
		for i := 2; i < len(v); i++ { // the first round is the rush after the start
			if gap := v[i].Sub(v[i-1]); gap > 17*time.Minute {
				t.Errorf("%s was left alone for %v", d.Name, gap)
			}
		}
	}
}

// After an outage of all devices, the ones with the nearest deadline come first,
// and every one gets its turn before any gets a second.
func TestAfterAnOutage(t *testing.T) {
	inv := &Inventory{AtOnce: 2, PerSite: 2}
	remember := map[string]State{}
	for i := range 50 {
		name := fmt.Sprintf("d%02d", i)
		inv.Devices = append(inv.Devices, dev(name, func(d *Device) { d.Retention = time.Duration(2+i%9) * time.Hour }))
		remember[name] = State{Tried: day.Add(-time.Hour), Good: day.Add(-time.Hour - time.Duration(i)*time.Minute)}
	}
	q := NewQueue(2, 2)
	q.Set(inv, func(n string) State { return remember[n] })
	var last time.Time
	seen := map[string]bool{}
	for range 50 {
		d, s, ok, _ := q.Next(day)
		if !ok || seen[d.Name] {
			t.Fatalf("%v %s", ok, d.Name)
		}
		seen[d.Name] = true
		if at := d.Deadline(s); at.Before(last) {
			t.Fatalf("%s with the deadline %v came after %v", d.Name, at, last)
		} else {
			last = at
		}
		q.Done(d.Name, Outcome{})
	}
}

// A new inventory keeps what is known, drops what is gone, and gives a refused
// device with a new password another try.
func TestSet(t *testing.T) {
	a, b, c := dev("a"), dev("b"), dev("c")
	q := NewQueue(3, 3)
	q.Set(&Inventory{AtOnce: 3, PerSite: 3, Devices: []Device{a, b, c}}, func(string) State { return State{} })
	for range 3 {
		if _, _, ok, _ := q.Next(day); !ok {
			t.Fatal("a device is not due")
		}
	}
	q.Done("a", Outcome{Err: errors.New("login refused"), Refused: true})
	b.Every = time.Hour
	a.Target.Password.Env = "NEW"
	q.Set(&Inventory{AtOnce: 1, PerSite: 3, Devices: []Device{a, b}}, func(string) State { t.Fatal("asked for what is known"); return State{} })
	if s := q.items["a"].state; s.Refused || s.Failures != 1 {
		t.Errorf("%+v", s)
	}
	if d, _, ok, _ := q.Next(day.Add(10 * time.Minute)); ok {
		t.Errorf("%s: two visits are running, the bound is one", d.Name)
	}
	q.Done("c", Outcome{})
	if s := q.Done("b", Outcome{Files: 1}); !s.Good.Equal(day) {
		t.Errorf("%+v", s)
	}
	if len(q.items) != 2 || q.Running() != 0 {
		t.Errorf("%d devices, %d running", len(q.items), q.Running())
	}
	if d, _, ok, _ := q.Next(day.Add(10 * time.Minute)); !ok || d.Name != "a" {
		t.Errorf("%v %s", ok, d.Name)
	}
	if s := q.Done("unknown", Outcome{}); s != (State{}) {
		t.Errorf("%+v", s)
	}
}

func TestStand(t *testing.T) {
	d := dev("a") // files live 3 hours
	good := State{Tried: day, Good: day}
	for _, tc := range []struct {
		s    State
		at   time.Duration
		want Standing
		left time.Duration
	}{
		{State{}, 0, Never, 0},
		{good, time.Hour, Good, 2 * time.Hour},
		{good, 3 * time.Hour, Losing, 0},
		{State{Tried: day, Good: day, Failures: 2}, time.Hour, Failing, 2 * time.Hour},
		{State{Tried: day, Good: day, Failures: 2, Refused: true}, time.Hour, Refused, 2 * time.Hour},
		{State{Tried: day, Good: day, Failures: 2, Refused: true}, 5 * time.Hour, Losing, -2 * time.Hour},
		{State{Tried: day, Failures: 1}, time.Hour, Failing, 0},
	} {
		if got, left := d.Stand(tc.s, day.Add(tc.at)); got != tc.want || left != tc.left {
			t.Errorf("%+v after %v: %v, %v left; want %v, %v", tc.s, tc.at, got, left, tc.want, tc.left)
		}
	}
}
