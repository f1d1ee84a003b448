package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"acctpull/event"
	"acctpull/expiry"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/pull"
	"acctpull/pull/fleet"
	"acctpull/record"
)

// fleetRun is what pull -c and serve share: an inventory, the data directory
// and the way from a device to the dataset.
type fleetRun struct {
	a        *app
	file     string // the inventory
	store    *store
	limits   pull.Limits
	progress *progress
	sweeper  *expiry.Sweeper // of the service, nil before its first sweep

	mu      sync.Mutex
	inv     *fleet.Inventory
	reading map[string]*record.ReaderOptions // of devices that are read in their own way
	results map[string]pull.Result           // of visits that nobody asked for yet, by device
}

// loadInventory reads an inventory and completes it with the user's ssh
// configuration. All mistakes are reported at once.
func (a *app) loadInventory(file string) (*fleet.Inventory, map[string]*record.ReaderOptions, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, usagef("", "read inventory: %w", err)
	}
	inv, err := fleet.Load(text)
	if err != nil {
		return nil, nil, &usageError{err: fmt.Errorf("%s: %w", file, err), hint: "docs/service.md describes every key"}
	}
	login := a.login()
	cfg, err := pull.LoadSSHConfig(false, filepath.Join(login.Home, ".ssh", "config"), "/etc/ssh/ssh_config")
	if err != nil {
		return nil, nil, err
	}
	reading := map[string]*record.ReaderOptions{}
	shared := map[readFlags]*record.ReaderOptions{}
	var errs []error
	for i := range inv.Devices {
		d := &inv.Devices[i]
		wrong := func(err error) {
			errs = append(errs, fmt.Errorf("%s: line %d: device %s: %w", file, d.Line, d.Name, err))
		}
		if d.Target, err = d.Target.Resolve(cfg, login); err != nil {
			wrong(err)
		}
		flags := readFlags{profile: d.Profile, record: d.Record, platform: d.Platform}
		if flags == (readFlags{}) {
			continue
		}
		if shared[flags] == nil {
			o, err := flags.options()
			if err != nil {
				wrong(err)
			}
			shared[flags] = &o
		}
		reading[d.Name] = shared[flags]
	}
	if _, err := narrows(inv.Chores.Counter32); err != nil {
		errs = append(errs, fmt.Errorf("%s: counter32: %w", file, err))
	}
	if err := checkStore(inv.Store); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", file, err))
	}
	if len(errs) > 0 {
		return nil, nil, &usageError{err: errors.Join(errs...)}
	}
	return inv, reading, nil
}

// login is what the ssh configuration needs to know of the user.
func (a *app) login() pull.Login {
	l := pull.Login{Home: a.env["HOME"], AgentSocket: a.env["SSH_AUTH_SOCK"]}
	if me, err := user.Current(); err == nil {
		l.User = me.Username
		if l.Home == "" {
			l.Home = me.HomeDir
		}
	}
	return l
}

// use makes an inventory the current one.
func (r *fleetRun) use(inv *fleet.Inventory, reading map[string]*record.ReaderOptions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inv, r.reading = inv, reading
}

// readerOf says how the files of a device are read, nil for as usual.
func (r *fleetRun) readerOf(device string) *record.ReaderOptions {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reading[device]
}

// perSite is how many devices of one site are pulled at the same time.
func (r *fleetRun) perSite() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inv.PerSite
}

// options are those of the visits of a device.
func (r *fleetRun) options(d fleet.Device) pull.Options {
	reading := record.ReaderOptions{}
	if own := r.readerOf(d.Name); own != nil {
		reading = *own
	}
	o := r.a.pullOptions(r.store, d.Target, reading, r.progress)
	o.Limits = r.limits
	return o
}

// visit pulls one device.
func (r *fleetRun) visit(ctx context.Context, d fleet.Device, s fleet.State, began time.Time) fleet.Outcome {
	if r.store.sharing != nil {
		return r.store.sharing.visit(ctx, r, d, s, began)
	}
	o, v := r.fetch(ctx, d, began)
	if o.Stopped {
		return o
	}
	if err := r.store.ledger.AddVisit(ctx, v); err != nil && ctx.Err() == nil {
		return r.outcome(ctx, d, pull.Result{}, err)
	}
	return o
}

// fetch pulls one device that nobody else pulls meanwhile.
func (r *fleetRun) fetch(ctx context.Context, d fleet.Device, began time.Time) (fleet.Outcome, ledger.Visit) {
	result, err := pull.Device(ctx, r.options(d), d.Target)
	r.a.removed(r.a.pace.clock.Now(), d.Name, result.Removal)
	r.mu.Lock()
	r.results[d.Name] = result
	r.mu.Unlock()
	return r.outcome(ctx, d, result, err), r.seen(ctx, d, began, result, err)
}

// outcome tells the schedule what a visit came to, and people why it failed.
func (r *fleetRun) outcome(ctx context.Context, d fleet.Device, result pull.Result, err error) fleet.Outcome {
	if err != nil && ctx.Err() == nil {
		r.a.pullFailed(r.a.pace.clock.Now(), d.Target, err)
	}
	var key *pull.HostKeyError
	var auth *pull.AuthError
	return fleet.Outcome{
		Err: err, Stopped: err != nil && ctx.Err() != nil, // A login without an answer is no refusal.
		Refused: errors.As(err, &key) || errors.As(err, &auth) && !errors.Is(err, pull.ErrTimeout),
		Oldest:  result.Oldest, OldestSeen: result.OldestSeen, Files: result.Count(pull.Stored) + result.Count(pull.Alias),
	}
}

// seen is what the ledger keeps of a visit.
func (r *fleetRun) seen(ctx context.Context, d fleet.Device, began time.Time, result pull.Result, err error) ledger.Visit {
	v, _ := r.a.visitOf(ctx, r.store.ledger, d.Name, began, result, err) // a ledger that cannot be read fails when the visit is recorded
	return v
}

// result returns what the visit of a device that has just ended found.
func (r *fleetRun) result(device string) pull.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := r.results[device]
	delete(r.results, device)
	return res
}

// newFleetRun opens the data directory of an inventory and puts it in order.
func (a *app) newFleetRun(ctx context.Context, file string, rebuild bool) (r *fleetRun, err error) {
	inv, reading, err := a.loadInventory(file)
	if err != nil {
		return nil, err
	}
	s, err := a.openFleet(ctx, inv)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.depot, err = a.openDepot(ctx, inv); err != nil {
		return nil, err
	}
	if err := a.prepare(ctx, s, rebuild, record.ReaderOptions{}); err != nil {
		return nil, err
	}
	r = &fleetRun{a: a, file: file, store: s, limits: a.pace.limits, progress: a.progress(), results: map[string]pull.Result{}}
	r.use(inv, reading)
	if s.sharing != nil {
		return r, nil // every device is put in order before its first visit
	}
	return r, a.adopt(ctx, a.pullOptions(s, pull.Target{Device: "archive"}, record.ReaderOptions{}, r.progress))
}

// export exports everything that is stored and was not exported.
func (r *fleetRun) export(ctx context.Context) (*exported, error) {
	return r.a.exportPending(ctx, r.store, record.ReaderOptions{}, r.readerOf, r.progress)
}

// memoryFile keeps the states of the devices between runs. It is a convenience:
// without it every device is visited at once.
const memoryFile = "fleet.json"

// memory is what is in it.
type memory struct {
	Version int                    `json:"version"`
	Devices map[string]fleet.State `json:"devices"`
}

// remembered returns what is known of the devices. It is never nil.
func (r *fleetRun) remembered(ctx context.Context) (map[string]fleet.State, error) {
	if r.store.sharing != nil {
		return r.store.sharing.states(ctx)
	}
	path := filepath.Join(r.store.root, memoryFile)
	states, err := readMemory(path)
	if err != nil {
		r.a.events.Emit(event.ConfigRefused(r.a.pace.clock.Now(), path, "every device is visited at once: "+err.Error()))
	}
	if states == nil {
		states = map[string]fleet.State{}
	}
	return states, nil
}

// remember writes the states. A shared ledger has them with every visit.
func (r *fleetRun) remember(states map[string]fleet.State) error {
	if r.store.sharing != nil {
		return nil
	}
	text, err := json.MarshalIndent(memory{1, states}, "", " ")
	if err != nil {
		return err
	}
	return durable.ReplaceFile(filepath.Join(r.store.root, memoryFile), text, durable.StateMode)
}

// deviceLine is one device in the result of pull -c.
type deviceLine struct {
	Device  string  `json:"device"`
	Result  string  `json:"result"` // ok, failed, host key or login
	Listed  int     `json:"files_listed"`
	Stored  int     `json:"files_stored"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	Hint    string  `json:"hint,omitempty"`
}

// fleetSummary is what pull -c prints.
type fleetSummary struct {
	Devices []deviceLine `json:"devices"`
	summary
}

// pullFleet is pull with an inventory: every device, or those named, once.
func (a *app) pullFleet(ctx context.Context, f pullFlags, names []string) (err error) {
	r, err := a.newFleetRun(ctx, f.config, f.rebuildLed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.store.Close()) }()
	devices, err := r.inv.Select(names)
	if err != nil {
		return &usageError{err: err, hint: "the names stand in " + f.config}
	}
	if r.limits.Retries = f.retries; f.retries <= 0 {
		r.limits.Retries = -1
	}
	sum := &fleetSummary{Devices: []deviceLine{}, summary: *newSummary("")}
	codes := map[int]int{}
	states, err := r.remembered(ctx)
	if err != nil {
		return err
	}
	runner := fleet.Runner{Clock: a.pace.clock, Visit: r.visit, OnVisit: func(d fleet.Device, o fleet.Outcome, s fleet.State, _ time.Time, took time.Duration) {
		states[d.Name] = s
		line := deviceLine{Device: d.Name, Result: "ok", Seconds: took.Round(time.Millisecond).Seconds()}
		res := r.result(d.Name)
		line.Listed, line.Stored, line.Bytes = res.Listed, res.Count(pull.Stored)+res.Count(pull.Alias), res.Bytes
		before := sum.summary
		sum.pulled(res, o.Err)
		sum.Listed, sum.Known = before.Listed+res.Listed, before.Known+res.Known
		sum.Error = ""
		if o.Err != nil {
			code := exitCode(ctx, o.Err)
			codes[code]++
			line.Result, line.Error = resultWord(code), o.Err.Error()
			var h interface{ Hint() string }
			if errors.As(o.Err, &h) {
				line.Hint = h.Hint()
			}
		}
		sum.Devices = append(sum.Devices, line)
		r.progress.set("%d of %d devices, %d files, %s", len(sum.Devices), len(devices), sum.Stored, size(sum.Bytes))
	}}
	once := func(ctx context.Context) error {
		runner.Once(ctx, devices, r.inv.AtOnce, r.inv.PerSite, func(name string) fleet.State { return states[name] })
		return nil
	}
	if err := r.store.keeping(ctx, once); err != nil {
		return err
	}
	if err := r.remember(states); err != nil {
		return err
	}
	if !f.noExport && ctx.Err() == nil {
		var ex *exported
		err := r.store.keeping(ctx, func(ctx context.Context) (err error) {
			ex, err = r.export(ctx)
			return err
		})
		sum.exported(ex)
		if err != nil {
			r.progress.done()
			return err
		}
	}
	r.progress.done()
	slices.SortFunc(sum.Devices, func(a, b deviceLine) int { return strings.Compare(a.Device, b.Device) })
	if err := a.printFleet(sum); err != nil {
		return err
	}
	return fleetOutcome(ctx, len(devices), codes, sum.inError())
}

// resultWord is the exit code of a device in a word.
func resultWord(code int) string {
	switch code {
	case exitHostKey:
		return "host key"
	case exitAuth:
		return "login"
	case exitInterrupted:
		return "stopped"
	}
	return "failed"
}

// fleetOutcome is the exit code of many devices: that of the one reason if all
// failed for it, "partly" if some did.
func fleetOutcome(ctx context.Context, devices int, codes map[int]int, problems bool) error {
	if ctx.Err() != nil {
		return context.Canceled
	}
	failed := 0
	for code, n := range codes {
		failed += n
		if n == devices {
			return &outcome{code: code}
		}
	}
	if failed > 0 && failed == devices {
		return &outcome{code: exitFailed}
	}
	if failed > 0 || problems {
		return &outcome{code: exitPartly}
	}
	return nil
}

// printFleet prints what pull -c did.
func (a *app) printFleet(s *fleetSummary) error {
	if a.json {
		return a.printJSON(s)
	}
	var rows [][]string
	for _, d := range s.Devices {
		what := d.Error
		if d.Hint != "" {
			what += " (" + strings.ReplaceAll(d.Hint, "\n", "; ") + ")"
		}
		rows = append(rows, []string{d.Device, d.Result, fmt.Sprint(d.Listed), fmt.Sprint(d.Stored), size(d.Bytes), fmt.Sprintf("%.1f s", d.Seconds), what})
	}
	if err := table(a.stdout, []string{"DEVICE", "RESULT", "LISTED", "FETCHED", "BYTES", "TOOK", ""}, rows); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n%s: %d listed, %d known, %d fetched (%s), %d exported, %d records; %d failed\n",
		plural(len(s.Devices), "device"), s.Listed, s.Known, s.Stored, size(s.Bytes), s.Files, s.Records, s.Failures)
	return a.printTables(&s.summary)
}
