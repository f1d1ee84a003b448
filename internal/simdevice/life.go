package simdevice

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"acctpull/policy"
	"acctpull/retention"
	"acctpull/rollover"
)

// Life makes a device fill its act/ by itself: accounting policies, made-up
// counters, rollover, an hourly sweep. Everything in it follows from the fields
// and from what is done to the device (Reboot, StepClock, faults); when
// somebody looks at the files makes no difference to them. So nothing happens
// while nobody looks, and what happened is made up for then: names and times by
// arithmetic, contents by the agent's own collector.
type Life struct {
	// Config holds policies, file-ids and objects. The device sets System, the
	// Locations and the source itself.
	Config policy.Config
	// Seed and Idle are those of policy.Synthetic.
	Seed uint64
	Idle int
	// Began is when the device was switched on for the first time, by Clock.
	// It must be given.
	Began time.Time
	// Clock is the time of the world around the device; nil for time.Now. It
	// must not go backwards.
	Clock func() time.Time
	// Minute is how long a minute of the configuration lasts; 0 for a minute.
	Minute time.Duration
	// Skew is how far the device's clock is ahead of the world.
	Skew time.Duration
	// Zone is the time zone of the times in file names; nil for UTC.
	Zone *time.Location
	// Rule is the retention rule.
	Rule retention.Kind
	// Scratch is a directory for files in the making; "" for one below the
	// device's own. In memory (tmpfs) it is fast.
	Scratch string
	// KeepTruth remembers every file there ever was, for Device.Truth. Without
	// it only the files that are still there are known.
	KeepTruth bool

	checked bool // the configuration is known to be valid
}

// life is a Life under way.
type life struct {
	o Life
	d *Device

	mu        sync.Mutex
	err       error     // why the present boot collects nothing
	shown     bool      // act/ was looked at before
	now       time.Time // up to here everything has happened, in the world
	offset    time.Duration
	up        time.Time // when the boot is over, in the world
	boot      *boot
	streams   []*stream
	nextSweep time.Time // in the world
	files     []*made   // in act/, as they came
	past      []*made   // no longer in act/, or left open by a reboot; with KeepTruth
	lost      []Lost
	foreign   []rollover.File // found in act/, of no life that we know
	unmade    int             // of files, how many are not on the disk yet
	gone      []string        // files that are still on the disk and should not be
	formatted bool            // act-collect/ is still on the disk and should be empty
}

// boot is a period between two starts of the device. Counters begin at zero.
type boot struct {
	n     uint64    // how many there were before
	began time.Time // by the device's clock
	plans []policy.Plan
}

// stream is one accounting policy of the present boot.
type stream struct {
	plan   *policy.Plan
	boot   *boot
	each   uint64    // records of one interval
	due    time.Time // the next collection, in the world
	open   *made     // the file being written; nil if there is none
	before []time.Time
}

// made is an accounting file.
type made struct {
	name   rollover.Name
	boot   *boot
	plan   *policy.Plan
	each   uint64
	before []time.Time // the collections of the file before it
	ends   []time.Time // its own, by the device's clock
	age    time.Duration
	next   time.Time // the collection that closed it, by the device's clock
	opened time.Time // in the world, and so are the following
	sealed time.Time // zero while it is open
	gone   time.Time // zero while it is there
	cause  Cause
	onDisk bool // in act/

	written int // of ends, in the copy in act-collect/
}

// newLife checks a Life.
func newLife(d *Device, o Life) (*life, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Minute == 0 {
		o.Minute = time.Minute
	}
	l := &life{o: o, d: d, offset: o.Skew}
	switch {
	case o.Began.IsZero():
		return nil, errors.New("life: it has no beginning")
	case o.Minute < time.Millisecond:
		return nil, fmt.Errorf("life: a minute of %v is too short", o.Minute)
	}
	l.o.Began = o.Began.Round(0)
	if !o.checked {
		if _, err := l.set("/cf1", 0); err != nil {
			return nil, fmt.Errorf("life: %w", err)
		}
	}
	return l, nil
}

// lasts is how long a duration of the configuration lasts.
func (l *life) lasts(d time.Duration) time.Duration { return d / time.Minute * l.o.Minute }

// clock is the time of the world, as it stands in files.
func (l *life) clock() time.Time { return l.o.Clock().Round(0) }

// set is the configuration of the agent on this device, with its files below
// flash. The counter mode is not kept over a reboot (7210 SAS services guide,
// counter-mode).
func (l *life) set(flash string, boot uint64) (*policy.Set, error) {
	c := l.o.Config
	c.System = l.d.o.Name
	c.Source = policy.SourceConfig{Kind: policy.SourceSynthetic}
	c.FileIDs, c.Policies, c.Objects = slices.Clone(c.FileIDs), slices.Clone(c.Policies), slices.Clone(c.Objects)
	for i := range c.FileIDs {
		c.FileIDs[i].Location = flash
	}
	for i := range c.Objects {
		if boot > 0 {
			c.Objects[i].CounterMode = policy.InOutProfile
		}
	}
	return policy.New(c)
}

// start begins a boot at a time of the world.
func (l *life) start(at time.Time) {
	b := &boot{began: at.Add(l.offset)}
	if l.boot != nil {
		b.n = l.boot.n + 1
	}
	l.boot, l.up, l.streams, l.nextSweep = b, at, nil, at
	set, err := l.set("/cf1", b.n)
	if l.err = err; err != nil {
		return
	}
	b.plans = set.Plan()
	for i := range b.plans {
		p := &b.plans[i]
		if len(p.Objects) == 0 || p.File.ID == 0 {
			continue // it writes nothing
		}
		s := &stream{plan: p, boot: b, each: l.counters(b, p, b.began).Records}
		s.due = at.Add(l.interval(p))
		if p.Policy.Align {
			s.due = at.Add(untilDivisible(b.began, l.interval(p)))
		}
		l.streams = append(l.streams, s)
	}
}

func (l *life) interval(p *policy.Plan) time.Duration { return l.lasts(p.Policy.CollectionInterval) }

// untilDivisible is how long it takes until the clock is divisible by the
// interval.
func untilDivisible(now time.Time, interval time.Duration) time.Duration {
	return interval - time.Duration(now.UnixNano())%interval
}

// counters is what one interval of a policy holds.
func (l *life) counters(b *boot, p *policy.Plan, end time.Time) policy.Truth {
	return l.source(b).Truth(policy.Request{At: end, Record: p.Definition, Objects: p.Objects})
}

// source is where the counters of a boot come from. Each boot has traffic of
// its own.
func (l *life) source(b *boot) *policy.Synthetic {
	return &policy.Synthetic{Seed: l.o.Seed + b.n, Idle: l.o.Idle, Start: b.began}
}

// pass lets the time pass that has passed. Nothing is written.
func (l *life) pass() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passTo(l.clock())
}

// passTo lets everything happen that happens up to a time of the world, in the
// order in which it happens: collections, and the sweep before those of the
// same moment.
func (l *life) passTo(to time.Time) {
	if to.Before(l.now) {
		return // the clock of this machine was set back
	}
	if l.boot == nil {
		if to.Before(l.o.Began) {
			return
		}
		l.start(l.o.Began)
	}
	for {
		first := (*stream)(nil)
		for _, s := range l.streams {
			if first == nil || s.due.Before(first.due) {
				first = s
			}
		}
		if first == nil || !l.nextSweep.After(first.due) {
			if l.nextSweep.After(to) {
				break
			}
			l.sweep(l.nextSweep)
			l.nextSweep = l.nextSweep.Add(l.lasts(retention.DefaultEvery))
			continue
		}
		if first.due.After(to) {
			break
		}
		l.collect(first, first.due)
		first.due = first.due.Add(l.untilNext(first))
	}
	l.now = to
}

// untilNext is how long a stream waits for the collection after this one. An
// aligned one goes by the device's clock.
func (l *life) untilNext(s *stream) time.Duration {
	interval := l.interval(s.plan)
	if !s.plan.Policy.Align {
		return interval
	}
	wait := untilDivisible(s.due.Add(l.offset), interval)
	if wait < interval/8 {
		wait += interval
	}
	return wait
}

// collect is one collection: the open file rolls over if its time is over, and
// the interval goes to the open file.
func (l *life) collect(s *stream, at time.Time) {
	now := at.Add(l.offset)
	if f := s.open; f != nil {
		if d := now.Sub(f.ends[len(f.ends)-1]); d > 0 {
			f.age += d
		}
		if f.age >= l.lasts(s.plan.File.Rollover) {
			f.sealed, f.next = at, now
			l.files = append(l.files, f)
			l.unmade++
			s.before, s.open = f.ends, nil
		}
	}
	if s.open == nil {
		if l.d.Faults().FullFlash && !l.makeRoom(at) {
			l.loses(Lost{Policy: s.plan.Policy.ID, FileID: s.plan.File.ID, Record: s.plan.Policy.Record, End: now, Records: s.each})
			return
		}
		s.open = &made{name: l.freeName(s, now), boot: s.boot, plan: s.plan, each: s.each, before: s.before, opened: at}
	}
	s.open.ends = append(s.open.ends, now)
}

func (l *life) loses(one Lost) {
	if l.o.KeepTruth {
		l.lost = append(l.lost, one)
	}
}

// freeName returns the name of a file created at a time of the device's clock:
// the next one that no file has, as the collector itself looks for it.
func (l *life) freeName(s *stream, now time.Time) rollover.Name {
	zone := cmp.Or(l.o.Zone, time.UTC)
	for {
		name := rollover.NewName(rollover.Act, s.plan.Policy.ID, s.plan.File.ID, now.In(zone), ".xml.gz")
		if !slices.ContainsFunc(l.files, func(f *made) bool { return f.name == name }) {
			return name
		}
		now = now.Add(time.Second)
	}
}

// sweep removes what has expired.
func (l *life) sweep(at time.Time) {
	l.remove(at, Expired, func(_ int, f *made) bool { return l.expired(f.name, f.plan.File, at) })
	l.foreign = slices.DeleteFunc(l.foreign, func(f rollover.File) bool {
		for _, s := range l.streams {
			if s.plan.File.ID == f.Name.FileID && l.expired(f.Name, s.plan.File, at) {
				l.gone = append(l.gone, f.Name.String())
				return true
			}
		}
		return false
	})
}

// expired asks the agent's own retention.
func (l *life) expired(name rollover.Name, file policy.FileID, at time.Time) bool {
	rule := retention.Rule{Kind: l.o.Rule, Rollover: l.lasts(file.Rollover), Retention: l.lasts(file.Retention), Location: l.o.Zone}
	return retention.Plan([]rollover.File{{Name: name}}, rule, at.Add(l.offset))[0].Remove
}

// makeRoom frees room for one more file: first what has expired, else the
// oldest closed one (7210 SAS, space contention). It returns false if there is
// nothing to free.
func (l *life) makeRoom(at time.Time) bool {
	before := len(l.files)
	l.sweep(at)
	if len(l.files) == before {
		l.remove(at, Contention, func(i int, _ *made) bool { return i == 0 })
	}
	return len(l.files) < before
}

// remove removes files from act/.
func (l *life) remove(at time.Time, cause Cause, which func(int, *made) bool) {
	kept := l.files[:0]
	for i, f := range l.files {
		if !which(i, f) {
			kept = append(kept, f)
			continue
		}
		f.gone, f.cause = at, cause
		if f.onDisk {
			l.gone = append(l.gone, f.name.String())
		} else {
			l.unmade--
		}
		if l.o.KeepTruth {
			l.past = append(l.past, f)
		}
	}
	clear(l.files[len(kept):])
	l.files = kept
}

// vanish removes the n oldest files now, as a sweep that runs between a listing
// and the first file.
func (l *life) vanish(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passTo(l.clock())
	l.remove(l.now, Vanished, func(i int, _ *made) bool { return i < n })
}

// reboot ends the present boot and begins another one. The files being written
// are left as they are.
func (l *life) reboot(o Reboot) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passTo(l.clock())
	if l.boot == nil {
		return errors.New("it was not switched on yet")
	}
	var err error
	for _, s := range l.streams {
		if f := s.open; f != nil && !o.Format {
			f.cause = Orphaned
			err = errors.Join(err, l.d.makeDirs(), l.write([]*made{f}))
		}
		if f := s.open; f != nil && l.o.KeepTruth {
			l.past = append(l.past, f)
		}
	}
	if o.Format {
		l.format()
	}
	l.offset += o.Step
	l.start(l.now.Add(o.Down))
	return err
}

// format empties act/ and act-collect/.
func (l *life) format() {
	for _, s := range l.streams {
		if f := s.open; f != nil {
			f.gone, f.cause = l.now, Formatted
		}
	}
	l.remove(l.now, Formatted, func(int, *made) bool { return true })
	for _, f := range l.foreign {
		l.gone = append(l.gone, f.Name.String())
	}
	l.foreign, l.formatted = nil, true
}

// booting tells whether the device is on its way up.
func (d *Device) booting() bool {
	if d.life == nil {
		return false
	}
	d.life.mu.Lock()
	defer d.life.mu.Unlock()
	now := d.life.clock()
	return now.Before(d.life.up) || now.Before(d.life.o.Began)
}

// stepClock sets the device's clock forward, or back.
func (l *life) stepClock(step time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passTo(l.clock())
	l.offset += step
}

// time is the device's clock.
func (l *life) time() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.local(l.clock().Add(l.offset))
}

// booted is when the present boot began, by the device's clock.
func (l *life) booted() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passTo(l.clock())
	if l.boot == nil {
		return l.local(l.o.Began.Add(l.offset))
	}
	return l.local(l.boot.began)
}

func (l *life) local(t time.Time) time.Time { return t.In(cmp.Or(l.o.Zone, time.UTC)) }
