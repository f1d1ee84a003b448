package simdevice

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"acctpull/internal/actserver"
	"acctpull/internal/scenario"
	"acctpull/policy"
	"acctpull/retention"

	"golang.org/x/crypto/ssh"
)

// MaxFleet is the largest number of devices of a Fleet.
const MaxFleet = 10_000

// Group describes devices that are alike.
type Group struct {
	// Name is the beginning of their names: edge-1, edge-2, …
	Name string
	// Count is how many there are.
	Count int
	// Config is what they collect; the Locations and the source are set by the
	// devices. Without a policy they have no Life.
	Config policy.Config
	// Idle is how many percent of their objects have no traffic.
	Idle int
	// Skew is how far their clocks are ahead.
	Skew time.Duration
	// Zone is the time zone of the times in their file names; nil for UTC.
	Zone *time.Location
	// Legacy, SCPOnly, MDCLI and ShowCollect are those of Options.
	Legacy, SCPOnly, MDCLI, ShowCollect bool
	// Faults at the start.
	Faults Faults
}

// FleetOptions describe a fleet. Dir, one Group, Began and one way to log in
// are required.
type FleetOptions struct {
	// Dir gets a directory devices/<name>/ for every device that is looked at.
	Dir    string
	Groups []Group
	// Seed decides host keys and counters of all devices.
	Seed uint64
	// Listen is the address and port of the first device, by default
	// 127.64.0.1:2022; the others have the addresses that follow, without
	// those that end in 0 or 255, and the same port. With PortEach they share
	// the address and have the ports that follow; port 0 takes free ones.
	Listen   netip.AddrPort
	PortEach bool
	// Passwords and Keys say who may log in to all of them, by user name.
	Passwords map[string]string
	Keys      map[string][]ssh.PublicKey
	// KeyboardInteractive offers the passwords by that method too.
	KeyboardInteractive bool
	// Began is when the devices were switched on, by the clock of the fleet:
	// the last of them then, the others up to one collection interval before.
	Began time.Time
	// Clock is a clock that only Step moves; nil for the clock of this machine.
	Clock *Clock
	// Minute is how long a minute of the configuration lasts; 0 for a minute.
	Minute time.Duration
	// Rule and KeepTruth are those of Life.
	Rule      retention.Kind
	KeepTruth bool
	// Scratch is that of Life; "" for one in memory, if this machine has such
	// a place.
	Scratch string
	// Limits of the SSH servers. Zero is that of actserver, but without
	// penalties: a simulated fault is no attack.
	Limits actserver.Limits
	// Hooks are told what happens, with the device. They hold to the rules of
	// actserver.Hooks.
	Hooks FleetHooks
}

// FleetHooks are told what happens on the devices of a fleet. Any may be nil.
type FleetHooks struct {
	OnConn    func(*Device, actserver.Login)
	OnFile    func(*Device, actserver.Transfer)
	OnRefused func(*Device, actserver.Refusal)
	// OnStep: a step of a scenario was done.
	OnStep func(scenario.Step, error)
}

// Clock is a clock that stands still until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at a time.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now is the time of the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *Clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// Fleet is many simulated devices in one process.
type Fleet struct {
	o       FleetOptions
	devices []*Device
	byName  map[string]*Device
	plan    timeline

	mu      sync.Mutex
	stop    context.CancelFunc // nil while stopped
	scratch string             // to be removed with Stop, if any
	wait    sync.WaitGroup     // for the goroutine that follows the plan
}

// NewFleet makes the devices. Nothing listens, and no file is touched, before
// Start.
func NewFleet(o FleetOptions) (*Fleet, error) {
	if !o.Listen.IsValid() {
		o.Listen = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 64, 0, 1}), 2022)
	}
	if o.Limits.PenaltyFailure == 0 {
		o.Limits.PenaltyFailure = -1
	}
	if o.Minute == 0 {
		o.Minute = time.Minute
	}
	f := &Fleet{o: o, byName: make(map[string]*Device)}
	total := 0
	for _, g := range o.Groups {
		if g.Count < 0 || g.Name == "" {
			return nil, fmt.Errorf("group %q of %d devices: it needs a name and a count", g.Name, g.Count)
		}
		total += g.Count
	}
	if total < 1 || total > MaxFleet {
		return nil, fmt.Errorf("a fleet of %d devices: it has 1 to %d", total, MaxFleet)
	}
	at := o.Listen
	for i := range o.Groups {
		g := &o.Groups[i]
		if err := o.checkGroup(g); err != nil {
			return nil, fmt.Errorf("group %q: %w", g.Name, err)
		}
		for n := 1; n <= g.Count; n++ {
			d, err := f.device(g, fmt.Sprintf("%s-%d", g.Name, n), at)
			if err != nil {
				return nil, err
			}
			if f.byName[d.Name()] != nil {
				return nil, fmt.Errorf("two devices have the name %q", d.Name())
			}
			f.byName[d.Name()] = d
			f.devices = append(f.devices, d)
			if at, err = o.after(at); err != nil && len(f.devices) < total {
				return nil, err
			}
		}
	}
	return f, nil
}

// checkGroup checks once what is the same for all devices of a group.
func (o *FleetOptions) checkGroup(g *Group) error {
	if len(g.Config.Policies) == 0 {
		return nil
	}
	_, err := newLife(&Device{}, o.life(g, [32]byte{}))
	return err
}

// life is the Life of one device.
func (o *FleetOptions) life(g *Group, seed [32]byte) Life {
	l := Life{
		Config: g.Config, Idle: g.Idle, Skew: g.Skew, Zone: g.Zone, Began: o.Began, Minute: o.Minute,
		Rule: o.Rule, KeepTruth: o.KeepTruth,
		Seed: binary.BigEndian.Uint64(seed[:]),
	}
	if o.Clock != nil {
		l.Clock = o.Clock.Now
	}
	return l
}

// device makes one device.
func (f *Fleet) device(g *Group, name string, at netip.AddrPort) (*Device, error) {
	var root [32]byte
	binary.BigEndian.PutUint64(root[:], f.o.Seed)
	seed := derive(root, "device "+name)
	o := Options{
		Name: name, Dir: filepath.Join(f.o.Dir, "devices", name), Addr: at.String(),
		Passwords: f.o.Passwords, Keys: f.o.Keys, KeyboardInteractive: f.o.KeyboardInteractive,
		HostSeed: seed, Legacy: g.Legacy, SCPOnly: g.SCPOnly, MDCLI: g.MDCLI, ShowCollect: g.ShowCollect,
		Faults: g.Faults, Limits: f.o.Limits,
	}
	if len(g.Config.Policies) > 0 {
		l := f.o.life(g, derive(seed, "life"))
		spread := 5 * f.o.Minute // the shortest interval
		step := time.Second      // times in files are whole milliseconds
		if f.o.Minute < time.Minute {
			step = time.Millisecond
		}
		l.Began = l.Began.Add(-time.Duration(l.Seed % uint64(spread)).Truncate(step))
		l.checked = true
		o.Life = &l
	}
	d, err := New(o)
	if err != nil {
		return nil, err
	}
	d.o.Hooks = f.o.Hooks.of(d)
	return d, nil
}

// of binds the hooks to a device.
func (h *FleetHooks) of(d *Device) actserver.Hooks {
	var out actserver.Hooks
	if h.OnConn != nil {
		out.OnConn = func(l actserver.Login) { h.OnConn(d, l) }
	}
	if h.OnFile != nil {
		out.OnFile = func(t actserver.Transfer) { h.OnFile(d, t) }
	}
	if h.OnRefused != nil {
		out.OnRefused = func(r actserver.Refusal) { h.OnRefused(d, r) }
	}
	return out
}

// after is the address of the device after the one at an address.
func (o *FleetOptions) after(at netip.AddrPort) (netip.AddrPort, error) {
	if o.PortEach {
		switch at.Port() {
		case 0:
			return at, nil
		case 65535:
			return at, errors.New("the ports end at 65535")
		}
		return netip.AddrPortFrom(at.Addr(), at.Port()+1), nil
	}
	addr := at.Addr().Next()
	for addr.Is4() && (addr.As4()[3] == 0 || addr.As4()[3] == 255) {
		addr = addr.Next()
	}
	if !addr.IsValid() || !addr.IsLoopback() {
		return at, fmt.Errorf("the loopback addresses end after %s", at.Addr())
	}
	return netip.AddrPortFrom(addr, at.Port()), nil
}

// Len is the number of devices.
func (f *Fleet) Len() int { return len(f.devices) }

// Groups are the groups of the fleet. The caller must not change them.
func (f *Fleet) Groups() []Group { return f.o.Groups }

// Device returns device i, from 0.
func (f *Fleet) Device(i int) *Device { return f.devices[i] }

// Named returns the device with a name, nil if there is none.
func (f *Fleet) Named(name string) *Device { return f.byName[name] }

// Match returns the devices whose name matches a pattern (path.Match), in
// order. A pattern that none matches is an error.
func (f *Fleet) Match(pattern string) ([]*Device, error) {
	var found []*Device
	for _, d := range f.devices {
		if ok, err := path.Match(pattern, d.Name()); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		} else if ok {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("pattern %q: no device has such a name", pattern)
	}
	return found, nil
}

// Truth is the Truth of device i.
func (f *Fleet) Truth(i int) (Truth, error) { return f.devices[i].Truth() }

// Now is the time of the fleet's clock.
func (f *Fleet) Now() time.Time {
	if f.o.Clock != nil {
		return f.o.Clock.Now()
	}
	return time.Now()
}

// spareFiles is how many files a fleet may need beside its listeners: clients
// and what they read.
const spareFiles = 512

// Start starts all devices and, with a clock of its own, whatever Schedule has
// planned. If one cannot start, none runs.
func (f *Fleet) Start(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		return errors.New("start fleet: it is running")
	}
	if err := enoughFiles(uint64(len(f.devices) + spareFiles)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	f.makeScratch()
	for i, d := range f.devices {
		if err := d.Start(ctx); err != nil {
			cancel()
			for _, started := range f.devices[:i] {
				err = errors.Join(err, started.Stop())
			}
			return errors.Join(err, f.removeScratch())
		}
	}
	f.stop = cancel
	f.plan.begin(f.Now())
	if f.o.Clock == nil {
		f.wait.Go(func() { f.follow(ctx) })
	}
	return nil
}

// Stop ends the service of all devices and waits. Stopping a stopped fleet does
// nothing.
func (f *Fleet) Stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop == nil {
		return nil
	}
	f.stop()
	f.stop = nil
	f.wait.Wait()
	var errs []error
	for _, d := range f.devices {
		errs = append(errs, d.Stop())
	}
	return errors.Join(append(errs, f.removeScratch())...)
}

// makeScratch makes a directory in memory for files in the making. Without one
// the devices use their own directories.
func (f *Fleet) makeScratch() {
	dir := f.o.Scratch
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("/dev/shm", "acctpull-simulate-"); err != nil {
			return
		}
		f.scratch = dir
	}
	for _, d := range f.devices {
		d.setScratch(dir)
	}
}

// removeScratch removes what makeScratch made.
func (f *Fleet) removeScratch() error {
	if f.scratch == "" {
		return nil
	}
	for _, d := range f.devices {
		d.setScratch("")
	}
	err := os.RemoveAll(f.scratch)
	f.scratch = ""
	return err
}

func (d *Device) setScratch(dir string) {
	if d.life == nil {
		return
	}
	d.life.mu.Lock()
	defer d.life.mu.Unlock()
	d.life.o.Scratch = dir
}

// Show brings the files of all devices to the disk, for people who look there
// and not through SSH.
func (f *Fleet) Show(ctx context.Context) error {
	work := make(chan *Device)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var working sync.WaitGroup
	for i := range errs {
		working.Go(func() {
			for d := range work {
				errs[i] = errors.Join(errs[i], d.Show())
			}
		})
	}
	for _, d := range f.devices {
		if d.life != nil && ctx.Err() == nil {
			work <- d
		}
	}
	close(work)
	working.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// FilesError says that this process may not open as many files as a fleet
// needs.
type FilesError struct{ Need, Limit uint64 }

// Error implements error.
func (e *FilesError) Error() string {
	return fmt.Sprintf("a fleet of this size needs %d open files, and the limit is %d", e.Need, e.Limit)
}

// Hint says how to raise the limit.
func (e *FilesError) Hint() string {
	return fmt.Sprintf("raise the limit first: ulimit -n %d (as root, or LimitNOFILE= of the unit)", e.Need)
}

// enoughFiles raises the limit on open files if it has to.
func enoughFiles(need uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit on open files: %w", err)
	}
	if limit.Cur >= need {
		return nil
	}
	if limit.Max < need {
		return &FilesError{Need: need, Limit: limit.Max}
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit on open files: %w", err)
	}
	return nil
}
