package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"acctpull/event"
	"acctpull/internal/agent"
	"acctpull/internal/durable"
	"acctpull/internal/show"
	"acctpull/policy"
	"acctpull/retention"
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
are offered by SCP and SFTP.

SIGHUP makes it read FILE again. A valid configuration is put in force without
closing the files of policies that did not change; with a mistake the old one
stays, and an event names every mistake.`,
		Example: `  acctpull collect -c agent.yaml
  acctpull collect -c agent.yaml --check
  acctpull collect -c agent.yaml --once
  acctpull collect -c agent.yaml --listen :2022 --authorized-keys puller.pub`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.collect(c.Context(), f) },
	}
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration `file`; docs/configuration.md describes it")
	c.Flags().BoolVar(&f.once, "once", false, "collect every policy once, close the files, and end")
	c.Flags().BoolVar(&f.check, "check", false, "check the configuration and end: the same as acctpull config check")
	c.Flags().BoolVar(&f.localTime, "prefer-local-time", false, "name files by local time instead of UTC")
	c.Flags().StringVar(&f.rule, "rule", retention.CreatedRolloverRetention.String(), "retention rule: "+ruleNames())
	f.serve.register(c, "")
	_ = c.MarkFlagRequired("config")
	return c
}

func (a *app) collect(ctx context.Context, f collectFlags) error {
	rule, err := parseRule(f.rule)
	if err != nil {
		return err
	}
	if f.check {
		return a.configCheck(f.config)
	}
	set, err := a.loadConfig(f.config)
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // reading the text takes several times what is kept of it
	location := time.UTC
	if f.localTime {
		location = time.Local
	}
	c, err := agent.New(agent.Options{Set: set, Zone: location, Software: software(), Rule: rule, Events: a.events})
	if err != nil {
		return err
	}
	if f.once {
		return c.Once(ctx, func(in policy.Interval) {
			fmt.Fprintf(a.stdout, "policy %d %s: %d records of %d objects, %d missing\n", in.Policy, in.Record, in.Records, in.Objects, in.Missing)
		})
	}
	return a.collectForEver(ctx, f, c, show.Options{Started: time.Now(), Zone: location, Rule: rule})
}

// collectForEver runs the agent, the server and the control socket until the
// program is told to stop. SIGHUP makes it read its configuration again.
func (a *app) collectForEver(ctx context.Context, f collectFlags, c *agent.Agent, view show.Options) error {
	r := &reloader{a: a, f: f, c: c}
	jobs := []func(context.Context) error{c.Run}
	add := func(of func(policy.Config) string, open func() (func(context.Context) error, error)) error {
		s, job, err := newService(c, of, open)
		if err != nil {
			return err
		}
		r.services, jobs = append(r.services, s), append(jobs, job)
		return nil
	}
	if f.serve.listen != "" {
		dir, err := servedDir(c.Set().Config())
		if err != nil {
			return err
		}
		if f.serve.hostKey == "" { // one key, also when the location changes
			f.serve.hostKey = defaultHostKey(dir)
		}
		of := func(c policy.Config) string { dir, _ := servedDir(c); return dir }
		if err := add(of, func() (func(context.Context) error, error) { return a.archiveJob(ctx, f, of(c.Set().Config())) }); err != nil {
			return err
		}
	}
	started := false
	err := add(func(c policy.Config) string { return c.Control() }, func() (func(context.Context) error, error) {
		job, err := a.controlJob(f, c, view, r.reload)
		if err != nil && started { // the agent goes on without it
			a.events.Emit(event.ControlUnavailable(time.Now(), err))
			return nil, nil
		}
		started = true
		return job, err
	})
	if err != nil {
		return err
	}
	return together(ctx, append(jobs, r.onHangup()))
}

// archiveJob serves the closed files in dir.
func (a *app) archiveJob(ctx context.Context, f collectFlags, dir string) (func(context.Context) error, error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, err
	}
	server, ln, err := a.actServer(ctx, f.serve, dir)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return server.Serve(ctx, ln) }, nil
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
