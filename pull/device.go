package pull

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"acctpull/internal/depot"
	"acctpull/ledger"
	"acctpull/rollover"
)

// run is one run for one device.
type run struct {
	o       Options
	t       Target
	limits  Limits
	device  string
	path    string // the directory as it stands in ledger keys
	owner   string
	archive *archive
	clean   time.Time // the ledger was asked then for all that is open, and has nothing since
	// refuseNothing is set after the device ended the connection over a file
	// that SCP refused.
	refuseNothing bool

	mu      sync.Mutex // guards hooks and progress
	total   Progress
	result  Result
	listed  bool // Known and Busy are those of the first listing
	settled map[ledger.Key]File
	failed  map[ledger.Key]string
	held    map[ledger.Key]string // what is in the spool and why it is still there
}

// Device pulls one device: it lists the directory, asks the ledger which files
// are new, fetches and verifies those, publishes them in act/ and records them.
//
// The result is complete even if there is an error: everything in it is durable
// and in the ledger. The error says that the run as a whole did not end well;
// files that could not be trusted or did not arrive are in the result and are no
// error. It matches *HostKeyError, *AuthError, *AlgorithmError and the Err
// values of this package, and has a Hint where a person can act.
//
// A run that fails on the network is tried again (Limits.Retries). One that
// fails on the host key, on authentication, on what the device does or on our
// own disk is not.
func Device(ctx context.Context, o Options, t Target) (Result, error) {
	r, err := newRun(o, t)
	if err != nil {
		return Result{Device: t.device(), Target: t.String()}, &Error{Op: "pull", Device: t.device(), Err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.limits.Run, fmt.Errorf("%w: the run is not finished after %v", ErrTimeout, r.limits.Run))
	defer cancel()
	err = r.run(ctx)
	return r.finish(), err
}

func newRun(o Options, t Target) (*run, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Depot = o.where()
	if o.Owner == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("name of this host for the ledger: %w", err)
		}
		o.Owner = host
	}
	if o.Ledger == nil || o.Verify == nil || o.Data == "" {
		return nil, errors.New("data directory, ledger and verification are needed")
	}
	t.Device, t.cache, t.Jump = t.device(), o.Cache, slices.Clone(t.Jump)
	for i := range t.Jump {
		t.Jump[i].cache = o.Cache
	}
	if err := first(CheckDevice(t.Device), checkUser(t.User), checkHost(t.Host), checkPath(t.Path)); err != nil {
		return nil, err
	}
	if t.User == "" {
		return nil, errors.New("no user name")
	}
	if _, err := ParseTransport(string(t.Transport)); err != nil {
		return nil, err
	}
	return &run{
		o: o, t: t, limits: o.Limits.withDefaults(), device: t.Device,
		path:    keyPath(t.Path),
		owner:   leaseOwner(o.Owner, t.Device),
		archive: &archive{data: o.Data, device: t.Device, depot: o.Depot},
		result:  Result{Device: t.Device, Target: t.String(), Transport: or(t.Transport, Auto)},
		settled: make(map[ledger.Key]File),
		failed:  make(map[ledger.Key]string),
		held:    make(map[ledger.Key]string),
	}, nil
}

// where is the depot of the options.
func (o Options) where() depot.Depot {
	if o.Depot == nil {
		return depot.NewDir(o.Data)
	}
	return o.Depot
}

// keyPath is a directory as it stands in ledger keys: without a slash at its end.
func keyPath(path string) string {
	if p := strings.TrimRight(path, "/"); p != "" && !strings.HasSuffix(p, ":") {
		return p
	}
	return path
}

// leaseOwner names who works on the files of a device.
func leaseOwner(owner, device string) string { return owner + "/" + device }

// run tries until it succeeds or it makes no sense to try again.
func (r *run) run(ctx context.Context) error {
	if err := r.archive.prepare(); err != nil {
		return r.fail("prepare the archive of", err)
	}
	if err := checkSpace(r.o.Data, r.limits.FreeStart); err != nil {
		return r.fail("pull", err)
	}
	if since, clean := r.o.Cache.isClean(r.cleanName(), r.o.Now()); clean {
		r.clean = since
	} else if _, err := r.o.Ledger.ReleaseOwner(ctx, r.owner); err != nil {
		// What this owner still holds was left by a process that died.
		return r.fail("pull", err)
	}
	if err := r.resume(ctx); err != nil {
		return errors.Join(r.fail("resume", err), r.release(ctx))
	}
	for attempt := 1; ; attempt++ {
		r.result.Attempts = attempt
		err := r.once(ctx)
		if err == nil {
			if !r.clean.IsZero() && len(r.failed) == 0 {
				r.o.Cache.setClean(r.cleanName(), r.clean)
			}
			return nil
		}
		r.clean = time.Time{}
		if left := r.release(ctx); left != nil {
			err = errors.Join(err, left)
		}
		var hostKey *HostKeyError
		if errors.As(err, &hostKey) && r.o.Hooks.OnHostKey != nil {
			r.o.Hooks.OnHostKey(hostKey)
		}
		var refusal *refusalCut
		if errors.As(err, &refusal) && !r.refuseNothing && ctx.Err() == nil {
			r.refuseNothing = true
			continue
		}
		if attempt > r.limits.Retries || !retryable(ctx, err) {
			return err
		}
		wait := backoff(attempt, r.limits, rand.Float64())
		if h := r.o.Hooks.OnRetry; h != nil {
			h(Retry{Device: r.device, Attempt: attempt, Of: r.limits.Retries, Wait: wait, Err: err})
		}
		if err := sleep(ctx, wait); err != nil {
			return r.fail("pull", err)
		}
	}
}

// release gives back every claim that is left. It works after ctx ended.
func (r *run) release(ctx context.Context) error {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	if _, err := r.o.Ledger.ReleaseOwner(ctx, r.owner); err != nil {
		return r.fail("pull", err)
	}
	return nil
}

// grace is how long recording may go on after a run was interrupted: a process
// that was asked to end has 5 seconds.
const grace = 4 * time.Second

// afterwards returns a context for what has to be recorded even if the run was
// interrupted, or is while it is being recorded.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	calm, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return calm, func() { stop(); cancel() }
}

// retryable reports whether another attempt could help.
func retryable(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var (
		hostKey   *HostKeyError
		auth      *AuthError
		algorithm *AlgorithmError
		local     *localError
		lost      *ledger.Error
	)
	switch {
	case errors.As(err, &hostKey), errors.As(err, &auth), errors.As(err, &algorithm),
		errors.As(err, &local), errors.As(err, &lost),
		errors.Is(err, ErrProtocol), errors.Is(err, ErrNoTransport), errors.Is(err, errNoDirectory),
		errors.Is(err, ErrUnsafeFile), errors.Is(err, ErrSpace):
		return false
	}
	return errors.Is(err, ErrCut) || errors.Is(err, ErrTimeout) || isNetwork(err)
}

// backoff returns how long to wait before the attempt after the given one:
// doubling, with a jitter of up to a quarter less, between the bounds.
func backoff(attempt int, l Limits, jitter float64) time.Duration {
	d := l.BackoffMin
	for range attempt - 1 {
		if d >= l.BackoffMax/2 {
			d = l.BackoffMax
			break
		}
		d *= 2
	}
	d = min(d, l.BackoffMax)
	return d - time.Duration(jitter*float64(d)/4)
}

// sleep waits, or returns why ctx ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// once is one attempt: connect, and then list and fetch, twice if a file changed
// while it was read.
func (r *run) once(ctx context.Context) error {
	c, err := connect(ctx, r.t, r.o.Getenv, r.limits)
	if err != nil {
		return r.fail("connect to", err)
	}
	defer c.close()
	tr, err := openFiles(ctx, c, r.t)
	if err != nil {
		return r.fail("pull", err)
	}
	if s, ok := tr.(*scpTransport); ok && r.refuseNothing {
		s.refusing = no
	}
	r.result.Transport = tr.kind()
	c.details.Transport = tr.kind()
	if h := r.o.Hooks.OnConnect; h != nil {
		h(c.details)
	}
	for range 2 {
		again, l, err := r.round(ctx, tr)
		if err != nil {
			return err
		}
		if !again {
			return r.removeFrom(ctx, tr, l)
		}
	}
	return nil
}

// removeFrom removes what a listing has and archive and dataset have too.
func (r *run) removeFrom(ctx context.Context, tr transport, l listing) error {
	if err := r.removeExported(ctx, tr, l); err != nil {
		return r.fail("remove exported files of", err)
	}
	return nil
}

// work is one file of a round.
type work struct {
	claim ledger.Claim
	entry entry
}

// round lists, claims and fetches. It reports whether another round would find
// something new.
func (r *run) round(ctx context.Context, tr transport) (again bool, l listing, err error) {
	began := r.o.Now()
	l, err = tr.list(ctx)
	if err != nil {
		if errors.Is(err, errNoDirectory) {
			err = &hinted{err, "check the directory on the device: " + quote(r.t.Path)}
		}
		return false, l, r.fail("list", err)
	}
	if s, tells := tr.(interface{ skew() Skew }); tells {
		r.result.Skew = s.skew()
	}
	todo, err := r.claim(ctx, l, began)
	if err != nil {
		return false, l, r.fail("list", err)
	}
	r.total = Progress{Device: r.device, FilesTotal: len(todo)}
	for _, w := range todo {
		r.total.BytesTotal += w.entry.size
	}
	// While a batch is fetched, the one before it is published and recorded.
	before := func() error { return nil }
	for len(todo) > 0 {
		if err := checkSpace(r.o.Data, r.limits.FreeStop); err != nil {
			return false, l, r.fail("fetch", errors.Join(err, before()))
		}
		n := r.batchLength(todo)
		b := &batch{run: r, todo: todo[:n]}
		todo = todo[n:]
		failed := b.collect(ctx, tr)
		if err := before(); err != nil {
			return false, l, r.fail("fetch", errors.Join(err, failed, b.discard()))
		}
		before = beside(func() error {
			err := b.conclude(ctx)
			again = again || b.again
			return err
		})
		if failed != nil {
			return false, l, r.fail("fetch", errors.Join(failed, before()))
		}
	}
	if err := before(); err != nil {
		return false, l, r.fail("fetch", err)
	}
	return again, l, nil
}

// beside runs f in a goroutine of its own and returns how to wait for its error.
func beside(f func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return sync.OnceValue(func() error { return <-done })
}

// batchLength returns how many of the files make a batch.
func (r *run) batchLength(todo []work) int {
	n, bytes := 0, int64(0)
	for n < len(todo) && n < r.limits.BatchFiles && (n == 0 || bytes+todo[n].entry.size <= r.limits.BatchBytes) {
		bytes += todo[n].entry.size
		n++
	}
	return n
}

// claim records the listing and claims what is new in it, oldest first. Files
// that were found earlier and are no longer listed are settled here.
func (r *run) claim(ctx context.Context, l listing, began time.Time) ([]work, error) {
	keys := make([]ledger.Key, len(l.files))
	byName := make(map[string]entry, len(l.files))
	for i, e := range l.files {
		keys[i] = r.key(e)
		byName[e.name] = e
	}
	now := r.o.Now()
	rows, err := r.o.Ledger.Discover(ctx, now, keys)
	if err != nil {
		return nil, err
	}
	r.noteOldest(rows)
	if l.complete && r.result.Listing.Began.IsZero() {
		r.noteListing(rows, began, now)
	}
	open := 0
	for _, row := range rows {
		if row.State == ledger.Discovered {
			open++
		}
	}
	if open == 0 && !r.clean.IsZero() {
		r.listing(l, 0, 0)
		return nil, nil
	}
	r.clean = r.o.Now()
	claims, err := r.o.Ledger.Claim(ctx, r.clean, r.owner, r.limits.Run+5*time.Minute, r.device, 0)
	if err != nil {
		return nil, err
	}
	var todo []work
	mine := 0
	for _, c := range claims {
		e, listed := byName[c.Name]
		switch {
		case c.Path != r.path:
			err = r.giveBack(ctx, c, "")
		case r.held[c.Key] != "":
			err = r.giveBack(ctx, c, "fetched, and waits for the store: "+r.held[c.Key])
		case listed && r.key(e) == c.Key:
			mine++
			if e.size > r.limits.FileSize {
				err = r.giveBack(ctx, c, fmt.Sprintf("%d bytes, the limit is %d", e.size, r.limits.FileSize))
				break
			}
			todo = append(todo, work{c, e})
		case listed:
			err = r.lose(ctx, c, Superseded, supersededBy(c.Key, e))
		case l.complete:
			err = r.lose(ctx, c, Lost, "no longer on the device")
		default:
			err = r.giveBack(ctx, c, "not in a listing with errors")
		}
		if err != nil {
			return nil, err
		}
	}
	r.listing(l, open, mine)
	if open > mine || !l.complete {
		r.clean = time.Time{}
	}
	return todo, nil
}

// listing puts the counts of a listing into the result.
func (r *run) listing(l listing, open, mine int) {
	r.result.Listed, r.result.Ignored = len(l.files), l.ignored
	if !r.listed {
		r.result.Known, r.result.Busy = len(l.files)-open, open-mine
	}
	r.listed = true
}

// noteListing puts into the result when the directory was listed, and what was
// in it that was never listed before.
func (r *run) noteListing(rows []ledger.Row, began, ended time.Time) {
	r.result.Listing = Listing{Began: began, Ended: ended}
	for _, row := range rows {
		if !row.First.Before(ended.Truncate(time.Millisecond)) {
			r.result.Listing.note(row.MTime)
		}
	}
}

// cleanName is what the Cache knows the directory by.
func (r *run) cleanName() string { return r.device + "\x00" + r.path }

// noteOldest puts the oldest listed file into the result: the one that was
// named first, and of those the one that was seen first.
func (r *run) noteOldest(rows []ledger.Row) {
	r.result.Oldest, r.result.OldestSeen = "", time.Time{}
	var oldest rollover.Name
	for _, row := range rows {
		n, err := rollover.ParseName(row.Name)
		if err == nil && (r.result.Oldest == "" || rollover.Compare(n, oldest) < 0) {
			oldest = n
			r.result.Oldest, r.result.OldestSeen = row.Name, row.First
		}
	}
}

// key is the discovery key of an entry.
func (r *run) key(e entry) ledger.Key {
	return ledger.Key{Device: r.device, Path: r.path, Name: e.name, Size: e.size, MTime: e.mtime}
}

// supersededBy says what a file was replaced by.
func supersededBy(k ledger.Key, e entry) string {
	return fmt.Sprintf("the device now has it with %d bytes and time %d, instead of %d bytes and time %d", e.size, e.mtime, k.Size, k.MTime)
}

// lose records that a file cannot be had any more.
func (r *run) lose(ctx context.Context, c ledger.Claim, o Outcome, reason string) error {
	text := reason
	if o == Superseded {
		text = SupersededReason + reason
	}
	if err := r.o.Ledger.Lost(ctx, r.o.Now(), c, text); err != nil {
		return r.unlessVoid(c.Key, err)
	}
	r.settle(File{Key: c.Key, Outcome: o, Reason: reason})
	return nil
}

// giveBack releases a claim. A reason makes the file a failed one of this run.
func (r *run) giveBack(ctx context.Context, c ledger.Claim, reason string) error {
	if reason != "" {
		r.failed[c.Key] = reason
	}
	return r.unlessVoid(c.Key, r.o.Ledger.Release(ctx, c, reason, time.Time{}))
}

// unlessVoid turns a lost lease into a failed file: somebody else has it now.
func (r *run) unlessVoid(k ledger.Key, err error) error {
	if errors.Is(err, ledger.ErrLeaseLost) {
		r.failed[k] = "another process took it over"
		return nil
	}
	return err
}

// settle records the final outcome of a file and reports it.
func (r *run) settle(f File) {
	r.settled[f.Key] = f
	delete(r.failed, f.Key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.SHA256 != "" {
		r.result.Bytes += f.Size
	}
	if h := r.o.Hooks.OnFile; h != nil {
		h(f)
	}
}

// progress reports one more file that arrived.
func (r *run) progress(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.Files++
	r.total.Bytes += bytes
	if h := r.o.Hooks.OnProgress; h != nil {
		h(r.total)
	}
}

// finish makes the result: what is settled, and what failed and was not settled
// by a later attempt.
func (r *run) finish() Result {
	for k, reason := range r.failed {
		r.settle(File{Key: k, Outcome: Failed, Reason: reason})
	}
	for _, f := range r.settled {
		r.result.Files = append(r.result.Files, f)
	}
	slices.SortFunc(r.result.Files, compareFiles)
	return r.result
}

// compareFiles orders files by creation time, then name, then version.
func compareFiles(a, b File) int {
	c := 0
	if an, err := rollover.ParseName(a.Name); err == nil {
		if bn, err := rollover.ParseName(b.Name); err == nil {
			c = strings.Compare(an.Stamp, bn.Stamp)
		}
	}
	if c == 0 {
		c = strings.Compare(a.Name, b.Name)
	}
	if c == 0 {
		c = int(min(max(a.MTime-b.MTime, -1), 1))
	}
	if c == 0 {
		c = int(min(max(a.Size-b.Size, -1), 1))
	}
	return c
}

// fail makes the error of this run, unless it is one already.
func (r *run) fail(op string, err error) error {
	if _, is := err.(*Error); is {
		return err
	}
	return &Error{Op: op, Device: r.device, Err: err}
}
