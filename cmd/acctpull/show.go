package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"acctpull/internal/agent"
	"acctpull/internal/control"
	"acctpull/internal/durable"
	"acctpull/internal/show"
	"acctpull/retention"
)

// showFlags are the options of every show command.
type showFlags struct {
	config    string
	rule      string
	localTime bool
	more      bool // --associations, --files
}

func (a *app) showCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show",
		Short: "Show accounting policies, record names and files of the agent, as the device does",
		Long: `show asks the running agent through its control socket. If none runs, it shows what
the configuration and the directories say, and says so. With --json every command
prints the fields that docs/show.md describes.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.showPolicyCommand(), a.showRecordsCommand(), a.showFileCommand())
	return c
}

func (f *showFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration `file` of the agent")
	c.Flags().StringVar(&f.rule, "rule", retention.CreatedRolloverRetention.String(), "retention rule if no agent runs: "+ruleNames())
	c.Flags().BoolVar(&f.localTime, "prefer-local-time", false, "if no agent runs: file names have local time instead of UTC")
}

func (a *app) showPolicyCommand() *cobra.Command {
	var f showFlags
	c := &cobra.Command{
		Use:   "accounting-policy [N]",
		Short: "Policies: state, record, interval, file, data loss, and what they are applied to",
		Example: `  acctpull show accounting-policy -c agent.yaml
  acctpull show accounting-policy 10 -c agent.yaml --associations`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.showPolicies(c.Context(), f, args) },
	}
	f.register(c)
	c.Flags().BoolVar(&f.more, "associations", false, "list every object that a policy is applied to")
	_ = c.MarkFlagRequired("config")
	return c
}

func (a *app) showPolicies(ctx context.Context, f showFlags, args []string) error {
	v, err := a.view(ctx, f, f.more)
	if err != nil {
		return err
	}
	v.FileIDs = nil
	if v.Policies, err = one(v.Policies, args, "accounting-policy", func(p show.Policy) int { return p.ID }); err != nil {
		return err
	}
	switch {
	case a.json:
		return a.printJSON(v)
	case len(args) == 0 && !f.more:
		return v.WritePolicies(a.stdout)
	}
	for _, p := range v.Policies {
		err = errors.Join(err, v.WritePolicy(a.stdout, p))
	}
	return err
}

func (a *app) showRecordsCommand() *cobra.Command {
	var f showFlags
	c := &cobra.Command{
		Use:   "accounting-records",
		Short: "Record names that a policy can carry, with their default intervals",
		Example: `  acctpull show accounting-records
  acctpull show accounting-records -c agent.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var v show.Agent
			if f.config != "" {
				var err error
				if v, err = a.view(c.Context(), f, false); err != nil {
					return err
				}
			}
			records := show.Records(v.Policies)
			if a.json {
				return a.printJSON(map[string]any{"version": show.Version, "accounting_records": records})
			}
			return show.WriteRecords(a.stdout, records)
		},
	}
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration `file` of the agent: tells which policy has which record")
	f.rule = retention.CreatedRolloverRetention.String()
	return c
}

func (a *app) showFileCommand() *cobra.Command {
	var f showFlags
	c := &cobra.Command{
		Use:   "file-id [N]",
		Short: "File-ids: location, rollover, retention, who writes there, and their files",
		Example: `  acctpull show file-id -c agent.yaml
  acctpull show file-id 11 -c agent.yaml --files`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.showFiles(c.Context(), f, args) },
	}
	f.register(c)
	c.Flags().BoolVar(&f.more, "files", false, "list the files: size, created, expired, state, and when they expire")
	_ = c.MarkFlagRequired("config")
	return c
}

func (a *app) showFiles(ctx context.Context, f showFlags, args []string) error {
	v, err := a.view(ctx, f, false)
	if err != nil {
		return err
	}
	v.Policies = nil
	if v.FileIDs, err = one(v.FileIDs, args, "file-id", func(f show.FileID) int { return f.ID }); err != nil {
		return err
	}
	now := time.Now()
	for i := range v.FileIDs {
		if !f.more {
			break
		}
		rule, err := v.Rule(v.FileIDs[i])
		if err != nil {
			return err
		}
		v.FileIDs[i].List(rule, v.Running, now)
	}
	switch {
	case a.json:
		return a.printJSON(v)
	case len(args) == 0 && !f.more:
		return v.WriteFileIDs(a.stdout)
	}
	for _, id := range v.FileIDs {
		err = errors.Join(err, v.WriteFileID(a.stdout, id, now))
	}
	return err
}

// one returns the one of all that the argument names; all without an argument.
func one[T any](all []T, args []string, what string, id func(T) int) ([]T, error) {
	if len(args) == 0 {
		return all, nil
	}
	n, err := idArgument(args[0])
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(v T) bool { return id(v) == n }); i >= 0 {
		return all[i : i+1], nil
	}
	return nil, usagef("acctpull show "+what+" -c FILE lists them", "there is no %s %d", what, n)
}

// view asks the agent that runs the configuration, or makes the view of the
// configuration if none runs.
func (a *app) view(ctx context.Context, f showFlags, objects bool) (show.Agent, error) {
	client, err := a.client(f.config)
	if err == nil {
		var v show.Agent
		v, err = client.Status(ctx, objects)
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, control.ErrNotRunning) && !errors.Is(err, control.ErrPath) {
			return v, err
		}
	}
	rule, err := parseRule(f.rule)
	if err != nil {
		return show.Agent{}, err
	}
	set, err := a.loadConfig(f.config)
	if err != nil {
		return show.Agent{}, err
	}
	o := show.Options{Set: set, Rule: rule}
	if f.localTime {
		o.Zone = time.Local
	}
	v := show.Build(o)
	for _, l := range agent.Locations(set.Config().FileIDs) {
		if pid := durable.Holder(filepath.Join(l, agent.LockName)); pid != 0 {
			v.Note = fmt.Sprintf("Process %d holds the lock of %q and cannot be asked: it has no control socket.", pid, l)
			break
		}
	}
	return v, nil
}
