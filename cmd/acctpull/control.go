package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"acctpull/event"
	"acctpull/internal/agent"
	"acctpull/internal/control"
	"acctpull/internal/durable"
	"acctpull/internal/show"
	"acctpull/policy"
)

// controlJob listens at the control socket of the configuration and returns
// what answers there, nil if there is no socket. A socket that the
// configuration asks for has to work; without one at its usual place the agent
// runs all the same.
func (a *app) controlJob(f collectFlags, c *agent.Agent, view show.Options, reload func(context.Context) error) (func(context.Context) error, error) {
	config := c.Set().Config()
	path := config.Control()
	if path == "" {
		return nil, nil
	}
	l, err := control.Listen(path)
	if locked := (*durable.LockedError)(nil); err != nil && (config.ControlSocket != "" || errors.As(err, &locked)) {
		return nil, err
	}
	if err != nil {
		a.events.Emit(event.ControlUnavailable(time.Now(), err))
		return nil, nil
	}
	server := control.NewServer(control.Agent{
		Status: func(all bool) show.Agent {
			o := view
			o.Running, o.Objects = true, all
			o.Set, o.Status = c.Set(), c.Status()
			v := show.Build(o)
			v.PID, v.Configuration = os.Getpid(), f.config
			return v
		},
		ClearLog: func(ctx context.Context, t control.Target) ([]control.Closed, error) { return clearLog(ctx, c, t) },
		Reload:   reload,
	})
	return func(ctx context.Context) error { return server.Serve(ctx, l) }, nil
}

// clearLog closes the file of a policy or file-id, whatever its age.
func clearLog(ctx context.Context, c *agent.Agent, t control.Target) ([]control.Closed, error) {
	id, err := policyOf(c.Set(), t)
	if err != nil {
		return nil, err
	}
	file, ok, err := c.Roll(ctx, id, time.Now())
	if err != nil || !ok {
		return []control.Closed{}, err
	}
	if st, err := file.Stat(); err == nil { // a sweep may have been faster
		file = st
	}
	return []control.Closed{{Name: file.Name.String(), Path: file.Path, Bytes: file.Size}}, nil
}

// policyOf finds the accounting policy in service that a target means.
func policyOf(set *policy.Set, t control.Target) (int, error) {
	for _, p := range set.Plan() {
		if p.Policy.ID == t.Log || t.FileID != 0 && p.File.ID == t.FileID {
			return p.Policy.ID, nil
		}
	}
	if t.Log != 0 {
		return 0, fmt.Errorf("no accounting policy in service has the id %d: %w", t.Log, control.ErrNotFound)
	}
	return 0, fmt.Errorf("no accounting policy in service writes to file-id %d: %w", t.FileID, control.ErrNotFound)
}

func (a *app) clearCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "clear",
		Short: "Close the open file of a policy now: a manual rollover",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	long := `The open file is closed and moved to act/, where it can be fetched at once; the
next collection begins another one. A collection that is under way ends first,
so no interval is split. It is asked of the running agent.`
	c.AddCommand(
		a.clearOne("log", "Close the open file of an accounting policy", long, "  acctpull clear log 11 -c agent.yaml",
			func(n int) control.Target { return control.Target{Log: n} }),
		a.clearOne("file-id", "Close the open file of a file-id", long, "  acctpull clear file-id 11 -c agent.yaml",
			func(n int) control.Target { return control.Target{FileID: n} }),
	)
	return c
}

func (a *app) clearOne(what, short, long, example string, target func(int) control.Target) *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: what + " N -c FILE", Short: short, Long: long, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := idArgument(args[0])
			if err != nil {
				return err
			}
			client, err := a.client(config)
			if err != nil {
				return err
			}
			closed, err := client.ClearLog(c.Context(), target(n))
			if errors.Is(err, control.ErrNotFound) {
				return &usageError{err: err, hint: "acctpull show accounting-policy -c FILE lists the policies"}
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"closed": closed})
			}
			if len(closed) == 0 {
				_, err = fmt.Fprintf(a.stdout, "%s %d has no open file; the next collection begins one\n", what, n)
			}
			for _, f := range closed {
				_, err = fmt.Fprintf(a.stdout, "closed %s (%d bytes), now %s\n", safe(f.Name), f.Bytes, safe(f.Path))
			}
			return err
		},
	}
	configOption(c, &config)
	return c
}

// configOption adds the option -c, which is required.
func configOption(c *cobra.Command, config *string) {
	c.Flags().StringVarP(config, "config", "c", "", "configuration `file` of the agent")
	_ = c.MarkFlagRequired("config")
}

// idArgument reads the number of a policy or file-id.
func idArgument(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < policy.MinID || n > policy.MaxID {
		return 0, usagef("", "%q is no number from %d to %d", s, policy.MinID, policy.MaxID)
	}
	return n, nil
}

// client returns the client of the agent that a configuration leads to. The
// configuration may have mistakes: the agent that runs has another one.
func (a *app) client(file string) (*control.Client, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("", "read configuration: %w", err)
	}
	config, err := policy.ParseYAML(text)
	path := config.Control()
	switch {
	case path != "":
		return control.NewClient(path), nil
	case err != nil:
		return nil, configError(file, err)
	}
	return nil, usagef("give control-socket a path", "%s: the configuration has no control socket", file)
}
