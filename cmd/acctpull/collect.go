package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

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
	return a.collectForEver(ctx, f, c, show.Options{Zone: location, Rule: rule})
}

// collectForEver runs the agent and the server until the program is told to
// stop.
func (a *app) collectForEver(ctx context.Context, f collectFlags, c *agent.Agent, view show.Options) error {
	var jobs []func(context.Context) error
	if f.serve.listen != "" {
		files := c.Set().Config().FileIDs
		if len(files) == 0 {
			return usagef("", "--listen: the configuration has no file-id to serve")
		}
		if l := agent.Locations(files); len(l) > 1 {
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
	job, err := a.controlJob(f, c, view)
	if err != nil {
		return err
	}
	if job != nil {
		jobs = append(jobs, job)
	}
	return together(ctx, append(jobs, c.Run))
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
