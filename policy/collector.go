package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"acctpull/flash"
	"acctpull/record"
	"acctpull/retention"
	"acctpull/rollover"
)

// fileExt is the extension of accounting files (7210 SAS, "Accounting Files").
const fileExt = ".xml.gz"

// Why the records of an interval, or the last of them, are missing: the causes
// of a DataLoss, besides errors of the source and of the disk.
var (
	// ErrUnfinished: the collection was not finished when the next one began.
	ErrUnfinished = errors.New("the interval was not finished when the next one began")
	// ErrStopped: the collector was stopped in the middle of a collection.
	ErrStopped = errors.New("the collector was stopped")
	// ErrMissed: the collection before took so long that whole intervals
	// passed, or the machine stood still.
	ErrMissed = errors.New("the time of the interval passed before it could begin")
)

// What callers of a Collector may branch on.
var (
	// ErrNoPolicy: no policy in service has this id.
	ErrNoPolicy = errors.New("no accounting policy in service has this id")
	// ErrSource: a new configuration has another source of counters.
	ErrSource = errors.New("the source of counters cannot change while the collector runs")
	// ErrBaselines: the file with the baselines of counters that were reset
	// is damaged.
	ErrBaselines = errors.New("the baselines of counters that were reset are damaged")
	// ErrShutdown: the policy is administratively down.
	ErrShutdown = errors.New("the accounting policy is shut down")
	// ErrClosed: the collector was closed.
	ErrClosed = errors.New("the collector is closed")
)

// Options of a Collector.
type Options struct {
	// Set says what to collect. It must be given.
	Set *Set
	// Source reads the counters. It must be given.
	Source Source
	// Location is the time zone of the times in file names; nil for UTC.
	Location *time.Location
	// Retention is the rule that says which files are past their retention
	// when there is no room on the flash. Its zero value is the default.
	Retention retention.Kind
	// Minute is how long a minute of the configuration lasts: rollover 60 is
	// 60 of them. 0 for a minute; a demonstration shortens it.
	Minute time.Duration
	// Software is the name and version of the program, for the files of
	// policies with SystemInfo; "" to leave it out.
	Software string
	// Hooks are told what happens.
	Hooks Hooks
}

// Hooks are told what a Collector does. Any may be nil. They are called one at
// a time, by the goroutine to which it happens, which waits for them; they must
// not call Collect, Recover, Reconfigure, Roll or Close.
type Hooks struct {
	// OnRecovered is called with what Recover found and did, and what it could
	// not do; those files stay in act-collect/.
	OnRecovered func(rollover.Recovered, error)
	// OnInterval is called after every collection, when its records are on
	// the disk.
	OnInterval func(Interval)
	// OnDataLoss is called when records of an interval will never be written
	// (the device's tmnxLogAccountingDataLoss).
	OnDataLoss func(DataLoss)
	// OnFile is called when a file was sealed (the device's
	// tmnxLogFileRollover).
	OnFile func(rollover.File)
	// OnContention is called when the flash has no room for something, before
	// anything is deleted (tmnxLogSpaceContention).
	OnContention func(LocationNote)
	// OnDeleted is called after each file that was deleted to make room
	// (tmnxLogFileDeleted).
	OnDeleted func(Deletion)
	// OnLocationFailed is called when a location stops being usable
	// (tmnxLogAdminLocFailed, tmnxLogBackupLocFailed).
	OnLocationFailed func(LocationNote)
	// OnLeft is called when a policy has done with a file and it could not be
	// sealed. The file stays in act-collect/ for the next Recover.
	OnLeft func(LeftFile)
	// OnState is called when a policy goes operationally down, or up again.
	OnState func(State)
	// OnObject is called when an object cannot be read any more, can be read
	// again, or has restarted.
	OnObject func(ObjectNote)
}

// Interval is one collection of one policy.
type Interval struct {
	Policy int
	FileID int // 0 if the policy stores nothing
	Record record.Name
	// Start is the end of the interval before, or when the collector began
	// to run; zero if neither is known or the clock was put back.
	Start time.Time
	// End is the moment at which the counters were read.
	End time.Time
	// Objects is how many objects the policy collects, and Missing how many
	// of them could not be read.
	Objects, Missing int
	// Restarted is how many objects have counters that began again.
	Restarted int
	// Records is how many records are in the file and will stay there; for a
	// policy without a file, how many were collected.
	Records int
	// Finals is how many of the Records are the last values of objects that
	// ended (record.Record.Final above 0).
	Finals int
	// Closing is true if this is no whole collection: the last values of
	// Objects objects that a new configuration takes from the policy, read in
	// the middle of an interval that goes on for the others.
	Closing bool
	// File is the open file with the interval; its name is zero if nothing
	// was written.
	File rollover.File
	// Err says why the interval is incomplete: ErrUnfinished, ErrStopped, an
	// error of the source or of the disk. nil if it is complete.
	Err error
}

// LocationNote is news of the location of a policy's files.
type LocationNote struct {
	Policy, FileID int
	Location       string // the directory
	Backup         bool   // it is the backup location
	Err            error
}

// Deletion is a closed file that was deleted to make room for a policy.
type Deletion struct {
	Policy, FileID int // for which room was made; the file may be another's
	// Decision has the file, its creation time and the reason:
	// retention.Expired or retention.SpaceContention.
	retention.Decision
}

// DataLoss says that records of an interval will never be written.
type DataLoss struct {
	Interval
	// Count is how many intervals of this policy are incomplete or missed
	// since the Collector was made.
	Count uint64
}

// LeftFile is a file that could not be sealed.
type LeftFile struct {
	Policy int
	File   rollover.File
	Err    error
}

// State is the operational state of a policy.
type State struct {
	Policy, FileID int
	// Up is false if the last interval could not be written.
	Up bool
	// Err says why the policy is down.
	Err error
}

// NoteKind says what became of an object.
type NoteKind uint8

// What became of an object.
const (
	ObjectMissing   NoteKind = iota // it cannot be read
	ObjectFound                     // it can be read again
	ObjectRestarted                 // its counters began again
)

// String returns "missing", "found" or "restarted".
func (k NoteKind) String() string {
	switch k {
	case ObjectMissing:
		return "missing"
	case ObjectFound:
		return "found"
	case ObjectRestarted:
		return "restarted"
	}
	return fmt.Sprintf("NoteKind(%d)", uint8(k))
}

// ObjectNote is news of one object.
type ObjectNote struct {
	Policy int
	Object *Object
	Kind   NoteKind
	// Text says why it is missing, or how the restart was seen.
	Text string
}

// Error is an error of the collector with the policy to which it happened.
type Error struct {
	Op     string // what was tried: "collect", "reconfigure", "roll over", "close"
	Policy int    // 0 if it concerns all
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Policy == 0 {
		return e.Op + ": " + e.Err.Error()
	}
	return fmt.Sprintf("%s accounting-policy %d: %v", e.Op, e.Policy, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do about it, or nothing.
func (e *Error) Hint() string {
	var hinted interface{ Hint() string }
	if errors.As(e.Err, &hinted) {
		return hinted.Hint()
	}
	switch {
	case errors.Is(e.Err, ErrBaselines):
		return "put the file back from a copy; or remove it: then the counters of its objects go on from what the source counts, and not from their reset"
	case errors.Is(e.Err, ErrSource):
		return "restart the agent to change the source; everything else can change while it runs"
	}
	return ""
}

// Collector collects the policies of a Set that are in service. One process at
// a time may work on a location.
type Collector struct {
	o      Options
	hooks  sync.Mutex         // one hook at a time
	reload lock               // held while the configuration changes, and while it is closed
	files  sync.Mutex         // one baseline file at a time
	first  map[objectKey]bool // the objects of the first configuration

	mu      sync.Mutex // held while what follows is looked at
	set     *Set
	workers []*worker               // of the policies in service, by id
	series  map[record.Name]*series // what outlives the worker of a record
	past    map[int]Status          // what policies did before they were shut down
	left    map[int]FileID          // policies with files that could not be sealed
	running *running                // nil unless Run is running
	closed  bool
}

// running is what Run gives to the workers that it runs.
type running struct {
	ctx   context.Context
	group sync.WaitGroup
}

// NewCollector returns a Collector. It touches no file.
func NewCollector(o Options) (*Collector, error) {
	switch {
	case o.Set == nil || o.Source == nil:
		return nil, &Error{Op: "make collector", Err: errors.New("set and source have to be given")}
	case o.Minute < 0:
		return nil, &Error{Op: "make collector", Err: fmt.Errorf("a minute of %v", o.Minute)}
	}
	if o.Minute == 0 {
		o.Minute = time.Minute
	}
	c := &Collector{
		o: o, reload: newLock(), set: o.Set, first: o.Set.keys(), series: map[record.Name]*series{},
		past: map[int]Status{}, left: map[int]FileID{},
	}
	c.o.Set = nil // it may be large and is replaced by the next one
	for _, plan := range o.Set.Plan() {
		c.workers = append(c.workers, newWorker(c, plan))
	}
	return c, nil
}

// Set returns the Set in force.
func (c *Collector) Set() *Set { return c.current() }

// current returns the Set in force.
func (c *Collector) current() *Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set
}

// worker returns the worker of a policy, nil if the policy is not in service.
func (c *Collector) worker(policy int) *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workers {
		if w.id == policy {
			return w
		}
	}
	return nil
}

// lasts returns how long a duration of the configuration lasts.
func (c *Collector) lasts(d time.Duration) time.Duration {
	return d / time.Minute * c.o.Minute
}

// Recover completes and seals what an earlier run left in act-collect/ of every
// location of the configuration, whatever policy it belongs to. Run begins with
// it. It can be repeated before the first collection.
func (c *Collector) Recover(now time.Time) (rollover.Recovered, error) {
	return c.RecoverPlaces(places(c.current().Config().FileIDs), now)
}

// RecoverPlaces is Recover for some locations, in which no policy may have an
// open file: those that a new configuration is about to use.
func (c *Collector) RecoverPlaces(places []string, now time.Time) (rollover.Recovered, error) {
	// A reload could write last values meanwhile, into a file that is then
	// taken for one that was left.
	if err := c.reload.lock(context.Background()); err != nil {
		return rollover.Recovered{}, err
	}
	defer c.reload.unlock()
	var all rollover.Recovered
	var errs []error
	for _, place := range places {
		r, err := flash.Recover(flash.Options{Places: []string{place}, Prefix: rollover.Act, Footer: footer, Hooks: flash.Hooks{OnSeal: c.sealed}}, now)
		all.Add(r)
		if err != nil {
			errs = append(errs, &Error{Op: "recover " + place, Err: err})
		}
	}
	err := errors.Join(errs...)
	if c.o.Hooks.OnRecovered != nil {
		c.hook(func() { c.o.Hooks.OnRecovered(all, err) })
	}
	return all, err
}

// places returns the different locations of file-ids, backups among them.
func places(files []FileID) []string {
	var all []string
	for _, f := range files {
		for _, p := range f.Places() {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// ruleFor returns the retention rule of a file, which is that of its file-id.
func (c *Collector) ruleFor(n rollover.Name) (retention.Rule, bool) {
	f := c.current().files[n.FileID]
	if f == nil {
		return retention.Rule{}, false
	}
	return retention.Rule{Kind: c.o.Retention, Retention: c.lasts(f.Retention), Rollover: c.lasts(f.Rollover), Location: c.o.Location}, true
}

// footer is the end of every accounting file.
func footer() []byte { return record.NewEncoder(record.Header{}).AppendFooter(nil) }

func (c *Collector) sealed(f rollover.File) {
	if c.o.Hooks.OnFile != nil {
		c.hook(func() { c.o.Hooks.OnFile(f) })
	}
}

// hook calls f while no other hook runs.
func (c *Collector) hook(f func()) {
	c.hooks.Lock()
	defer c.hooks.Unlock()
	f()
}

// Collect collects one interval of a policy that ends now: it samples every
// object of the policy and commits the records as one entry of the policy's
// file. If ctx ends meanwhile, what was collected so far is committed.
//
// The error is that of the Interval, which tells what was written all the same.
func (c *Collector) Collect(ctx context.Context, policy int, now time.Time) (Interval, error) {
	w := c.worker(policy)
	if w == nil {
		return Interval{}, &Error{Op: "collect", Policy: policy, Err: ErrNoPolicy}
	}
	if err := w.busy.lock(ctx); err != nil {
		return Interval{}, &Error{Op: "collect", Policy: policy, Err: err}
	}
	defer w.busy.unlock()
	return w.collect(ctx, now, now)
}

// Roll seals the open file of a policy, whatever its age, and returns it: the
// device's "clear log". The next record begins another file, in the present
// location and under the present rollover of the file-id. It waits for a
// collection in progress.
//
// It is also the way out of a write failure: a location that is not used any
// more because a write failed there is tried again by the next interval, and the
// policy is up if that succeeds. Nothing open is no error; then it returns false.
func (c *Collector) Roll(ctx context.Context, policy int, now time.Time) (rollover.File, bool, error) {
	w := c.worker(policy)
	if w == nil {
		if _, ok := c.current().policies[policy]; ok {
			return rollover.File{}, false, nil // it is shut down
		}
		return rollover.File{}, false, &Error{Op: "roll over", Policy: policy, Err: ErrNoPolicy}
	}
	if err := w.busy.lock(ctx); err != nil {
		return rollover.File{}, false, &Error{Op: "roll over", Policy: policy, Err: err}
	}
	defer w.busy.unlock()
	f, ok, err := w.roll(now)
	if err != nil {
		return rollover.File{}, false, &Error{Op: "roll over", Policy: policy, Err: err}
	}
	return f, ok, nil
}

// Close waits for collections that are running, seals every open file and ends
// the Collector. After an error it can be repeated; if it is not, the next
// Recover finds the file. It does nothing the second time.
func (c *Collector) Close() error {
	if err := c.reload.lock(context.Background()); err != nil {
		return err
	}
	defer c.reload.unlock()
	c.mu.Lock()
	c.closed = true
	workers, left := slices.Clone(c.workers), c.left
	c.left = map[int]FileID{}
	c.mu.Unlock()
	var errs []error
	for _, w := range workers {
		if err := w.close(); err != nil {
			errs = append(errs, &Error{Op: "close", Policy: w.id, Err: err})
		}
	}
	for id, f := range left {
		o := flash.Options{Places: f.Places(), Prefix: rollover.Act, ID: id, FileID: f.ID, Footer: footer, Hooks: flash.Hooks{OnSeal: c.sealed}}
		if _, err := flash.Recover(o, time.Now()); err != nil {
			c.leave(id, f)
			errs = append(errs, &Error{Op: "close", Policy: id, Err: err})
		}
	}
	return errors.Join(errs...)
}

// leave notes that a policy left a file in act-collect/.
func (c *Collector) leave(policy int, f FileID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[policy] = f
}

// Run recovers what an earlier run left, collects every policy on its interval
// until ctx ends, and closes the Collector.
//
// Policies do not wait for each other. An error of a collection reaches the
// hooks and the next interval is tried. What Run returns are the errors of the
// recovery and of closing: the files concerned are still in act-collect/.
func (c *Collector) Run(ctx context.Context) error {
	_, recoverErr := c.Recover(time.Now())
	r := &running{ctx: ctx}
	c.mu.Lock()
	c.running = r
	for _, w := range c.workers {
		r.group.Go(func() { w.run(ctx) })
	}
	c.mu.Unlock()
	<-ctx.Done() // also without a single policy
	c.mu.Lock()
	c.running = nil // no worker begins after this
	c.mu.Unlock()
	r.group.Wait()
	return errors.Join(recoverErr, c.Close())
}
