package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/event"
	"acctpull/expiry"
	"acctpull/internal/depot"
	"acctpull/ledger"
	"acctpull/pull/fleet"
	"acctpull/record"
	"acctpull/retention"
	"acctpull/usage"
)

type expireFlags struct {
	config        string
	dryRun, files bool
	force, clock  bool
}

func (a *app) expireCommand() *cobra.Command {
	var f expireFlags
	c := &cobra.Command{
		Use:   "expire -c FILE",
		Short: "Delete what has expired in archive and dataset, by the file-ids of the inventory",
		Long: `expire deletes the accounting files of the archive and the days of tables of the
dataset whose retention is over, as the file-ids of FILE say. acctpull serve does it
hourly; this command does it now, or with --dry-run tells what it would do, beside a
running service too.

It never deletes what is not exported, what is in quarantine, what a hold touches
(acctpull hold), and nothing of a billing month that is not closed. The ledger says
that a file has expired before its bytes go, and keeps what it was: it is never
reported as missing, fetched again or exported twice. More than half of everything
is not deleted at once, and a clock that jumped is not believed.`,
		Example: `  acctpull expire -c fleet.yaml --dry-run
  acctpull expire -c fleet.yaml --dry-run --files --json | jq '.files[] | select(.reason == "held")'
  acctpull expire -c fleet.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.expire(c.Context(), f) },
	}
	c.Flags().StringVarP(&f.config, "config", "c", "", "inventory `file`; docs/retention.md describes its file-ids")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would be done, and why, and change nothing")
	c.Flags().BoolVar(&f.files, "files", false, "print every file and every day of a table")
	c.Flags().BoolVar(&f.force, "force", false, "allow more than half to be deleted at once")
	c.Flags().BoolVar(&f.clock, "confirm-clock", false, "say that the clock of this machine is right")
	_ = c.MarkFlagRequired("config")
	return c
}

func (a *app) expire(ctx context.Context, f expireFlags) error {
	inv, _, err := a.loadInventory(f.config)
	if err != nil {
		return err
	}
	if len(inv.FileIDs) == 0 && !f.dryRun {
		return usagef("docs/retention.md tells how: file-ids", "%s has no file-id: nothing ever expires", f.config)
	}
	if f.dryRun {
		return a.inWard(ctx, quarantineFlags{config: f.config}, func(w *ward) error {
			o := a.expiryOptions(inv, w.ledger, w.depot, w.data)
			o.Force, o.ConfirmClock = f.force, f.clock
			return a.planExpiry(ctx, o, f.files)
		})
	}
	return a.expireNow(ctx, inv, f)
}

// clockFile is where sweeps keep the clock, in the data directory.
const clockFile = "expiry-clock.json"

// expiryOptions are those of the sweeps of a data directory.
func (a *app) expiryOptions(inv *fleet.Inventory, l *ledger.Ledger, d depot.Depot, data string) expiry.Options {
	p := expiry.Policy{ClosesAfter: inv.Billing.ClosesAfter, KeepProof: inv.Billing.KeepProof, Zone: inv.Billing.Location, Names: namesServices}
	for _, f := range inv.FileIDs {
		p.FileIDs = append(p.FileIDs, expiry.FileID{ID: f.ID, Location: expiry.Location(f.Location), Retention: f.Retention, Records: f.Records, Groups: f.Groups})
	}
	groups := make(map[string][]string, len(inv.Devices))
	for _, dev := range inv.Devices {
		groups[dev.Name] = dev.Groups
	}
	o := expiry.Options{Policy: p, Ledger: l, Data: d, Dataset: "dataset", Quarantine: "quarantine",
		Groups: func(device string) []string { return groups[device] }, Derived: usage.Name,
		ClockFile: filepath.Join(data, clockFile)}
	if l.Shared() {
		o.Again = expiryTakeOver
	}
	return o
}

// expiryTakeOver is how long a node may take over what it decided to remove, before
// another one looks after it.
const expiryTakeOver = 15 * time.Minute

// namesServices tells whether rows of a table can name services, and SAPs. Of a
// table that nobody knows both are believed.
func namesServices(table string) (service, sap bool) {
	name := table
	if of, ok := usage.RecordOf(table); ok {
		name = of
	}
	d, ok := record.Builtin().Lookup(record.Name(name))
	if !ok {
		return true, true
	}
	for _, c := range d.Columns {
		if c.Role == record.Key {
			service = service || slices.Contains(c.Abbrevs, "svc")
			sap = sap || slices.Contains(c.Abbrevs, "sap")
		}
	}
	return service, sap
}

// expiryNow is the time that sweeps go by: that of the ledger if nodes share it.
func (a *app) expiryNow(ctx context.Context, o *expiry.Options) (time.Time, error) {
	if !o.Ledger.Shared() {
		return a.pace.clock.Now(), nil
	}
	now, err := o.Ledger.Clock(ctx)
	o.Witness = now
	return now, err
}

// expirySum is one line of a plan or a report.
type expirySum struct {
	Location expiry.Location `json:"location"`
	Remove   bool            `json:"remove"`
	Reason   expiry.Reason   `json:"reason"`
	expiry.Sum
}

// expiryFile is one decision as JSON.
type expiryFile struct {
	Location expiry.Location `json:"location"`
	Path     string          `json:"path"`
	Device   string          `json:"device,omitempty"`
	Record   string          `json:"record,omitempty"`
	Remove   bool            `json:"remove"`
	Reason   expiry.Reason   `json:"reason"`
	Note     string          `json:"note,omitempty"`
	FileID   int             `json:"file_id,omitempty"`
	Came     time.Time       `json:"came,omitzero"`
	Expires  time.Time       `json:"expires,omitzero"`
	Bytes    int64           `json:"bytes"`
}

func expiryFileOf(d expiry.Decision) expiryFile {
	return expiryFile{d.Location, d.Path, d.Device, d.Record, d.Remove, d.Reason, d.Note, d.FileID, d.Came.UTC(), d.Expires.UTC(), d.Bytes}
}

// expiryResult is what expire prints as JSON.
type expiryResult struct {
	DryRun bool        `json:"dry_run"`
	Now    time.Time   `json:"now"`
	Sums   []expirySum `json:"sums"`
	// Refused is why nothing would be done.
	Refused string       `json:"refused,omitempty"`
	Left    int          `json:"left"`
	Failed  int          `json:"failed"`
	Resumed int          `json:"resumed"`
	Files   []expiryFile `json:"files,omitempty"`
}

// planExpiry prints what a sweep would do now.
func (a *app) planExpiry(ctx context.Context, o expiry.Options, files bool) error {
	now, err := a.expiryNow(ctx, &o)
	if err != nil {
		return err
	}
	res := expiryResult{DryRun: true, Now: now.UTC()}
	sums := map[expirySum]expiry.Sum{}
	refused, err := expiry.New(o).Plan(ctx, now, func(d expiry.Decision) bool {
		k := expirySum{Location: d.Location, Remove: d.Remove, Reason: d.Reason}
		s := sums[k]
		s.Items, s.Files, s.Bytes = s.Items+1, s.Files+d.Files, s.Bytes+d.Bytes
		sums[k] = s
		if files {
			res.Files = append(res.Files, expiryFileOf(d))
		}
		return true
	})
	if err != nil {
		return err
	}
	for k, s := range sums {
		k.Sum = s
		res.Sums = append(res.Sums, k)
	}
	if refused != nil {
		res.Refused = strings.ReplaceAll(refused.Error(), "\n", "; ")
	}
	return a.printExpiry(res)
}

// expireNow sweeps once, until everything is done.
func (a *app) expireNow(ctx context.Context, inv *fleet.Inventory, f expireFlags) (err error) {
	s, err := a.openFleet(ctx, inv)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.depot, err = a.openDepot(ctx, inv); err != nil {
		return err
	}
	o := a.expiryOptions(inv, s.ledger, s.depot, s.root)
	o.Force, o.ConfirmClock = f.force, f.clock
	now, err := a.expiryNow(ctx, &o)
	if err != nil {
		return err
	}
	res := expiryResult{Now: now.UTC()}
	if f.files {
		o.OnRemove = func(d expiry.Decision) { res.Files = append(res.Files, expiryFileOf(d)) }
	}
	var report expiry.Report
	err = s.keeping(ctx, func(ctx context.Context) (err error) {
		report, err = expiry.New(o).Sweep(ctx, now)
		return err
	})
	a.expired(now, inv.Data, report, err)
	if report.Dataset.Removed.Items > 0 {
		err = errors.Join(err, a.writeSidecars(ctx, depot.Sub(s.depot, o.Dataset), s.ledger))
	}
	for l, r := range map[expiry.Location]expiry.Result{expiry.Archive: report.Archive, expiry.Dataset: report.Dataset} {
		res.Left, res.Failed, res.Resumed = res.Left+r.Left, res.Failed+r.Failed, res.Resumed+r.Resumed
		if r.Removed.Items > 0 {
			res.Sums = append(res.Sums, expirySum{l, true, expiry.Expired, r.Removed})
		}
		for reason, sum := range r.Kept {
			res.Sums = append(res.Sums, expirySum{l, false, reason, sum})
		}
	}
	if printErr := a.printExpiry(res); printErr != nil {
		return errors.Join(err, printErr)
	}
	if err != nil && res.Failed > 0 && !sweepRefused(err) && ctx.Err() == nil {
		return &outcome{code: exitPartly, err: err}
	}
	return err
}

// sweepRefused reports whether a sweep was refused.
func sweepRefused(err error) bool {
	return errors.Is(err, retention.ErrTooMany) || errors.Is(err, retention.ErrClock)
}

// expired tells what a sweep did.
func (a *app) expired(now time.Time, where string, r expiry.Report, err error) {
	if n := r.Archive.Removed.Items + r.Archive.Resumed + r.Dataset.Removed.Items; n > 0 {
		a.events.Emit(event.ArchiveExpired(now, where, r.Archive.Removed.Items+r.Archive.Resumed, r.Dataset.Removed.Items, r.Archive.Removed.Bytes+r.Dataset.Removed.Bytes))
	}
	if sweepRefused(err) {
		a.events.Emit(event.SweepRefused(now, where, int64(r.Archive.Left+r.Archive.Failed+r.Dataset.Left+r.Dataset.Failed), err.Error()))
	}
}

func (a *app) printExpiry(r expiryResult) error {
	slices.SortFunc(r.Sums, func(x, y expirySum) int {
		return cmp.Or(strings.Compare(string(x.Location), string(y.Location)), compareFlags(y.Remove, x.Remove), strings.Compare(string(x.Reason), string(y.Reason)))
	})
	if a.json {
		if r.Sums == nil {
			r.Sums = []expirySum{}
		}
		return a.printJSON(r)
	}
	verbs := map[bool]string{true: "removed", false: "kept"}
	if r.DryRun {
		verbs[true] = "remove"
		verbs[false] = "keep"
	}
	var rows [][]string
	for _, f := range r.Files {
		reason, expires, id := string(f.Reason), "", ""
		if f.Note != "" {
			reason += ", " + f.Note
		}
		if !f.Expires.IsZero() {
			expires = f.Expires.Format(time.RFC3339)
		}
		if f.FileID > 0 {
			id = fmt.Sprint(f.FileID)
		}
		rows = append(rows, []string{string(f.Location), f.Path, id, verbs[f.Remove], reason, expires, size(f.Bytes)})
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"LOCATION", "PATH", "FILE-ID", "VERDICT", "REASON", "EXPIRES", "SIZE"}, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	rows = nil
	for _, s := range r.Sums {
		rows = append(rows, []string{string(s.Location), verbs[s.Remove], string(s.Reason), fmt.Sprint(s.Items), size(s.Bytes)})
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(a.stdout, "nothing has expired")
		return err
	}
	if err := table(a.stdout, []string{"LOCATION", "VERDICT", "REASON", "FILES OR DAYS", "SIZE"}, rows); err != nil {
		return err
	}
	if r.Left+r.Failed+r.Resumed > 0 {
		fmt.Fprintf(a.stdout, "\n%d left for the next sweep, %d failed, %d of a sweep that was cut off\n", r.Left, r.Failed, r.Resumed)
	}
	if r.Refused != "" {
		fmt.Fprintf(a.stdout, "\nthe sweep would refuse: %s\n", safe(r.Refused))
	}
	return nil
}

func compareFlags(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// expire is the hourly sweep of a service. That it was refused is told, and no
// error.
func (r *fleetRun) expire(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	inv := r.inv
	r.mu.Unlock()
	if len(inv.FileIDs) == 0 {
		return nil
	}
	o := r.a.expiryOptions(inv, r.store.ledger, r.store.depot, r.store.root)
	o.Budget = expiry.DefaultBudget
	if o.Ledger.Shared() {
		var err error
		if now, err = r.a.expiryNow(ctx, &o); err != nil {
			return err
		}
	}
	if r.sweeper == nil {
		r.sweeper = expiry.New(o)
	}
	r.sweeper.Set(o)
	report, err := r.sweeper.Sweep(ctx, now)
	r.a.expired(now, inv.Data, report, err)
	if sweepRefused(err) {
		return nil
	}
	return err
}
