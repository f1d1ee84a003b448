package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"acctpull/event"
	"acctpull/pull/fleet"
)

const (
	// exportPause is how long the service waits for more files before it
	// exports: a Parquet file per record and day comes out of every export.
	exportPause = time.Minute
	// rememberEvery is how often the states of the devices are written.
	rememberEvery = time.Minute
)

func (a *app) serveCommand() *cobra.Command {
	file, address, rebuild := "", "", false
	c := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Fetch from every device of an inventory for ever, before its files expire",
		Long: `serve visits every device of FILE on its schedule and exports what it fetched.
The device that is nearest to losing a file comes first, one that is slow or dead
delays no other, and a refused host key or login is not tried again soon.

SIGHUP reads FILE again; a file with a mistake changes nothing. SIGTERM ends the
visits under way and leaves within seconds; the next start goes on where it was.

With --http it answers /metrics for Prometheus, /healthz and /readyz. Whoever
reaches the address may read them: they hold counts, and no name of a device.
Under systemd it takes part in Type=notify and WatchdogSec.`,
		Example: `  acctpull serve -c fleet.yaml
  acctpull serve -c fleet.yaml --http 127.0.0.1:9716
  kill -HUP $(pidof acctpull)     # after a change of fleet.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.serve(c.Context(), file, address, rebuild) },
	}
	c.Flags().StringVarP(&file, "config", "c", "", "inventory `file`; docs/service.md describes it")
	c.Flags().StringVar(&address, "http", "", "`address` for /metrics, /healthz and /readyz; none if not given")
	c.Flags().BoolVar(&rebuild, "rebuild-ledger", false, "rebuild a lost ledger from archive and dataset first")
	_ = c.MarkFlagRequired("config")
	return c
}

func (a *app) serve(ctx context.Context, file, address string, rebuild bool) (err error) {
	w, err := a.openWatch(ctx, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	w.health.NotReady("putting archive and ledger in order")
	r, err := a.newFleetRun(ctx, file, rebuild)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // stopped before it began
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.store.Close()) }()
	r.limits.Retries = -1 // the schedule tries again, and meanwhile the place is free for others
	states, err := r.remembered(ctx)
	if err != nil {
		return err
	}
	pending := make(chan struct{}, 1)
	poke := func() {
		select {
		case pending <- struct{}{}:
		default: // an export is due anyway
		}
	}
	poke() // what an earlier run stored
	runner := &fleet.Runner{
		Clock: a.pace.clock,
		Visit: r.visit,
		OnVisit: func(d fleet.Device, o fleet.Outcome, s fleet.State, _ time.Time, took time.Duration) {
			a.watchVisit(r.result(d.Name), o, took) // every file was told as it came
			if o.Files > 0 {
				poke()
			}
		},
		OnLate: func(d fleet.Device, late time.Duration) {
			a.events.Emit(event.DeviceLate(a.pace.clock.Now(), d.Name, late.Round(time.Second).String()))
		},
	}
	runner.Set(r.inv, func(name string) fleet.State { return states[name] })
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	fmt.Fprintf(a.stderr, "acctpull: serving %s of %s into %s\n", plural(len(r.inv.Devices), "device"), file, r.inv.Data)
	a.metrics.Config(a.pace.clock.Now(), true)
	a.metrics.Ask(r.samples(runner))
	jobs := []func(context.Context) error{
		runner.Run,
		func(ctx context.Context) error {
			return w.run(ctx, r.probe(runner), func() string { return standingsOf(runner, a.pace.clock.Now()).line() })
		},
		func(ctx context.Context) error { return r.exportAsTheyCome(ctx, pending) },
		func(ctx context.Context) error { return r.rememberNowAndThen(ctx, runner) },
		func(ctx context.Context) error { return r.choresNowAndThen(ctx, r.chores) },
		func(ctx context.Context) error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-hup:
					if err := w.notify.Reloading(); err != nil {
						return err
					}
					r.reload(runner, states)
					if err := w.notify.Ready(); err != nil {
						return err
					}
				}
			}
		},
	}
	if sh := r.store.sharing; sh != nil {
		jobs = append(jobs, sh.keep,
			func(ctx context.Context) error { return sh.learn(ctx, runner) },
			func(ctx context.Context) error { // what a node stored that is gone
				for a.pace.wait(ctx, exportPause) {
					poke()
				}
				return nil
			})
	}
	err = together(ctx, jobs)
	return errors.Join(err, r.remember(runner.States()))
}

// reload reads the inventory again. A file with a mistake changes nothing.
func (r *fleetRun) reload(runner *fleet.Runner, states map[string]fleet.State) {
	now := r.a.pace.clock.Now()
	inv, reading, err := r.a.loadInventory(r.file)
	switch {
	case err != nil:
	case inv.Data != r.inv.Data:
		err = fmt.Errorf("data is %s now: another directory needs a restart", inv.Data)
	case inv.Ledger != r.inv.Ledger || inv.LedgerPassword != r.inv.LedgerPassword || inv.Node != r.inv.Node:
		err = errors.New("ledger or node is another one now: that needs a restart")
	}
	if err == nil && inv.Store != r.inv.Store {
		err = errors.New("store changed: another store, or another way to it, needs a restart")
	}
	r.a.metrics.Config(now, err == nil)
	if err != nil {
		r.a.events.Emit(event.ConfigRefused(now, r.file, err.Error()))
		return
	}
	r.use(inv, reading)
	runner.Set(inv, func(name string) fleet.State { return states[name] })
	r.a.events.Emit(event.ConfigLoaded(now, r.file, plural(len(inv.Devices), "device")))
}

// exportAsTheyCome exports what was fetched, a little later. An error ends the
// service: the disk or the ledger needs a person.
func (r *fleetRun) exportAsTheyCome(ctx context.Context, pending <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pending:
		}
		began := time.Now()
		ex, err := r.export(ctx)
		if ex != nil && len(ex.files) > 0 {
			r.a.metrics.Export(len(ex.files), len(ex.outputs), ex.records, time.Since(began), err == nil)
		}
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // what was stopped goes on at the next start
		}
		if err != nil {
			return err
		}
		if len(ex.files) == 0 {
			continue
		}
		if ex.records > 0 {
			r.a.events.Emit(event.Exported(r.a.pace.clock.Now(), len(ex.files), ex.records, len(ex.outputs)))
		}
		if !r.a.pace.wait(ctx, exportPause) {
			return nil
		}
	}
}

// rememberNowAndThen writes the states of the devices.
func (r *fleetRun) rememberNowAndThen(ctx context.Context, runner *fleet.Runner) error {
	for r.a.pace.wait(ctx, rememberEvery) {
		if err := r.remember(runner.States()); err != nil {
			return err
		}
	}
	return nil
}

// wait waits; false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
