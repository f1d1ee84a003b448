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
	file, rebuild := "", false
	c := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Fetch from every device of an inventory for ever, before its files expire",
		Long: `serve visits every device of FILE on its schedule and exports what it fetched.
The device that is nearest to losing a file comes first, one that is slow or dead
delays no other, and a refused host key or login is not tried again soon.

SIGHUP reads FILE again; a file with a mistake changes nothing. SIGTERM ends the
visits under way and leaves within seconds; the next start goes on where it was.`,
		Example: `  acctpull serve -c fleet.yaml
  kill -HUP $(pidof acctpull)     # after a change of fleet.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.serve(c.Context(), file, rebuild) },
	}
	c.Flags().StringVarP(&file, "config", "c", "", "inventory `file`; docs/service.md describes it")
	c.Flags().BoolVar(&rebuild, "rebuild-ledger", false, "rebuild a lost ledger from archive and dataset first")
	_ = c.MarkFlagRequired("config")
	return c
}

func (a *app) serve(ctx context.Context, file string, rebuild bool) (err error) {
	r, err := a.newFleetRun(ctx, file, rebuild)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // stopped before it began
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.store.Close()) }()
	r.limits.Retries = -1 // the schedule tries again, and meanwhile the place is free for others
	states := r.remembered()
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
		OnVisit: func(d fleet.Device, o fleet.Outcome, s fleet.State, _ time.Time, _ time.Duration) {
			r.result(d.Name) // every file was told as it came
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
	err = together(ctx, []func(context.Context) error{
		runner.Run,
		func(ctx context.Context) error { return r.exportAsTheyCome(ctx, pending) },
		func(ctx context.Context) error { return r.rememberNowAndThen(ctx, runner) },
		func(ctx context.Context) error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-hup:
					r.reload(runner, states)
				}
			}
		},
	})
	return errors.Join(err, r.remember(runner.States()))
}

// reload reads the inventory again. A file with a mistake changes nothing.
func (r *fleetRun) reload(runner *fleet.Runner, states map[string]fleet.State) {
	now := r.a.pace.clock.Now()
	inv, reading, err := r.a.loadInventory(r.file)
	if err == nil && inv.Data != r.inv.Data {
		err = fmt.Errorf("data is %s now: another directory needs a restart", inv.Data)
	}
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
		ex, err := r.export(ctx)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // what was stopped goes on at the next start
		}
		if err != nil {
			return err
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
