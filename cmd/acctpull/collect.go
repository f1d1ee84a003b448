package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"acctpull/event"
	"acctpull/internal/durable"
	"acctpull/policy"
	"acctpull/retention"
	"acctpull/rollover"
)

type collectFlags struct {
	config    string
	once      bool
	check     bool
	localTime bool
	rule      string
	serve     serveFlags
}

func (a *app) collectCommand() *cobra.Command {
	var f collectFlags
	c := &cobra.Command{
		Use:   "collect -c FILE",
		Short: "Write accounting files from this machine's counters, as a device does",
		Long: `collect samples every accounting policy of FILE on its collection interval and
appends the records to files below each file-id's location: act-collect/ holds
what is open, act/ what is closed. Files roll over when they are written to, and
expire in an hourly sweep of ten seconds at most. With --listen the closed files
are offered by SCP and SFTP.`,
		Example: `  acctpull collect -c agent.yaml
  acctpull collect -c agent.yaml --check
  acctpull collect -c agent.yaml --once
  acctpull collect -c agent.yaml --listen :2022 --authorized-keys puller.pub`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.collect(c.Context(), f) },
	}
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration `file`; docs/configuration.md describes it")
	c.Flags().BoolVar(&f.once, "once", false, "collect every policy once, close the files, and end")
	c.Flags().BoolVar(&f.check, "check", false, "check the configuration and end")
	c.Flags().BoolVar(&f.localTime, "prefer-local-time", false, "name files by local time instead of UTC")
	c.Flags().StringVar(&f.rule, "rule", retention.CreatedRolloverRetention.String(), "retention rule: "+ruleNames())
	f.serve.register(c, "")
	_ = c.MarkFlagRequired("config")
	return c
}

func (a *app) collect(ctx context.Context, f collectFlags) (err error) {
	text, err := os.ReadFile(f.config)
	if err != nil {
		return usagef("", "read configuration: %w", err)
	}
	set, err := policy.Load(text)
	if err != nil {
		return &usageError{err: fmt.Errorf("%s: %w", f.config, err), hint: "docs/configuration.md describes every key and rule"}
	}
	rule, err := parseRule(f.rule)
	if err != nil {
		return err
	}
	if f.check {
		_, err := fmt.Fprintf(a.stdout, "%s: %s in service\n", f.config, policies(len(set.Plan())))
		return err
	}
	locks, err := lockLocations(set)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range locks {
			err = errors.Join(err, l.Release())
		}
	}()
	source, err := policy.NewSource(set)
	if err != nil {
		return err
	}
	location := time.UTC
	if f.localTime {
		location = time.Local
	}
	c, err := policy.NewCollector(policy.Options{Set: set, Source: source, Location: location, Hooks: a.collectorHooks()})
	if err != nil {
		return err
	}
	if f.once {
		return a.collectOnce(ctx, set, c)
	}
	return a.collectForEver(ctx, f, set, c, rule, location)
}

func policies(n int) string {
	if n == 1 {
		return "1 accounting policy"
	}
	return strconv.Itoa(n) + " accounting policies"
}

// locations lists the different locations of file-ids.
func locations(files []policy.FileID) []string {
	var all []string
	for _, f := range files {
		if !slices.Contains(all, f.Location) {
			all = append(all, f.Location)
		}
	}
	return all
}

// lockLocations keeps a second collector out of every location.
func lockLocations(set *policy.Set) ([]*durable.Lock, error) {
	var locks []*durable.Lock
	for _, location := range locations(set.Config().FileIDs) {
		err := durable.MkdirAll(location)
		if err == nil {
			var l *durable.Lock
			if l, err = durable.AcquireLock(filepath.Join(location, ".acctpull.lock")); err == nil {
				locks = append(locks, l)
				continue
			}
		}
		for _, l := range locks {
			err = errors.Join(err, l.Release())
		}
		return nil, err
	}
	return locks, nil
}

// collectOnce collects every policy one time and closes its file.
func (a *app) collectOnce(ctx context.Context, set *policy.Set, c *policy.Collector) error {
	recovered, err := c.Recover(time.Now())
	if err != nil {
		return err
	}
	a.recovered(time.Now(), recovered)
	var errs []error
	for _, p := range set.Plan() {
		in, err := c.Collect(ctx, p.Policy.ID, time.Now())
		if err != nil {
			errs = append(errs, err)
		}
		fmt.Fprintf(a.stdout, "policy %d %s: %d records of %d objects, %d missing\n", in.Policy, in.Record, in.Records, in.Objects, in.Missing)
	}
	return errors.Join(append(errs, c.Close())...)
}

// collectForEver runs the collector, the hourly sweeps and the server until the
// program is told to stop.
func (a *app) collectForEver(ctx context.Context, f collectFlags, set *policy.Set, c *policy.Collector, rule retention.Kind, location *time.Location) error {
	var jobs []func(context.Context) error
	if f.serve.listen != "" {
		files := set.Config().FileIDs
		if len(files) == 0 {
			return usagef("", "--listen: the configuration has no file-id to serve")
		}
		if l := locations(files); len(l) > 1 {
			return usagef("run acctpull serve-act for each location", "--listen serves one location, the configuration has %s and %s", l[0], l[1])
		}
		if err := durable.MkdirAll(files[0].ArchiveDir()); err != nil {
			return err
		}
		server, ln, err := a.actServer(ctx, f.serve, files[0].ArchiveDir())
		if err != nil {
			return err
		}
		jobs = append(jobs, func(ctx context.Context) error { return server.Serve(ctx, ln) })
	}
	jobs = append(jobs, c.Run, func(ctx context.Context) error {
		files := set.Config().FileIDs
		retention.Run(ctx, retention.DefaultEvery, func(ctx context.Context, now time.Time) {
			for _, l := range locations(files) {
				a.sweepLocation(ctx, l, files, rule, location, now)
			}
		})
		return nil
	})
	return together(ctx, jobs)
}

// together runs jobs until all have ended; the first that ends early ends the
// others.
func together(ctx context.Context, jobs []func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(jobs))
	var running sync.WaitGroup
	for i, job := range jobs {
		running.Go(func() {
			defer cancel()
			errs[i] = job(ctx)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// collectorHooks turns what the collector does into events.
func (a *app) collectorHooks() policy.Hooks {
	return policy.Hooks{
		OnFile: func(f rollover.File) {
			n := f.Size
			if st, err := f.Stat(); err == nil {
				n = st.Size
			}
			a.events.Emit(event.FileRollover(time.Now(), f.Name.ID, f.Name.FileID, f.Name.String(), n))
		},
		OnDataLoss: func(d policy.DataLoss) {
			a.events.Emit(event.DataLoss(time.Now(), d.Policy, int64(d.Objects-d.Records), errorText(d.Err)))
		},
		OnState: func(s policy.State) {
			if !s.Up {
				a.events.Emit(event.DataLoss(time.Now(), s.Policy, 0, "the policy is operationally down: "+errorText(s.Err)))
			}
		},
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// recovered reports what a crash had left.
func (a *app) recovered(now time.Time, r rollover.Recovered) {
	for _, f := range r.Sealed {
		a.events.Emit(event.FileRecovered(now, f.Name.ID, f.Name.FileID, f.Name.String(), "completed and sealed"))
	}
	for _, f := range r.Torn {
		a.events.Emit(event.FileRecovered(now, f.Name.ID, f.Name.FileID, f.Name.String(), "it holds no whole entry; kept in torn/"))
	}
}
