package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"acctpull/internal/agent"
	"acctpull/policy"
)

// service is something that a running agent offers and that depends on its
// configuration: it is started anew when a new configuration says so.
type service struct {
	// of tells what of a configuration the service depends on.
	of func(policy.Config) string
	// open makes what is to be run until its context ends, from the
	// configuration in force; nil if there is nothing to run.
	open func() (func(context.Context) error, error)

	changed chan struct{}
	value   string
}

// newService returns a service with what it has to run first.
func newService(c *agent.Agent, of func(policy.Config) string, open func() (func(context.Context) error, error)) (*service, func(context.Context) error, error) {
	s := &service{of: of, open: open, changed: make(chan struct{}, 1), value: of(c.Set().Config())}
	job, err := open()
	if err != nil {
		return nil, nil, err
	}
	return s, func(ctx context.Context) error { return s.run(ctx, job) }, nil
}

// run runs the job, and after every change the next one.
func (s *service) run(ctx context.Context, job func(context.Context) error) error {
	for {
		if job == nil {
			job = func(ctx context.Context) error { <-ctx.Done(); return nil }
		}
		running, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- job(running) }()
		select {
		case err := <-done:
			stop()
			return err
		case <-s.changed:
		}
		stop()
		err := <-done
		if err == nil {
			job, err = s.open()
		}
		if err != nil {
			return err
		}
	}
}

// follow starts the service anew if it depends on something that has changed.
func (s *service) follow(c policy.Config) {
	if value := s.of(c); value != s.value {
		s.value = value
		select {
		case s.changed <- struct{}{}:
		default: // it has not yet followed the change before, and will see this one too
		}
	}
}

// reloader puts new configurations in force.
type reloader struct {
	a *app
	f collectFlags
	c *agent.Agent

	mu       sync.Mutex // one reload at a time
	services []*service
}

// reload reads the configuration again and puts it in force if it is valid.
// What happens is an event; the error says what is wrong.
func (r *reloader) reload(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.c.Set()
	err := r.c.LoadFrom(ctx, r.f.config, func() (*policy.Set, error) { return r.a.loadNext(r.f) }, time.Now())
	if set := r.c.Set(); set != before {
		for _, s := range r.services {
			s.follow(set.Config())
		}
	}
	return err
}

// onHangup returns the job that reloads at every SIGHUP. From now on the signal
// does not end the program.
func (r *reloader) onHangup() func(context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	return func(ctx context.Context) error {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangup:
				_ = r.reload(ctx) // what is wrong is an event already
			}
		}
	}
}

// loadNext reads the configuration of a running agent again.
func (a *app) loadNext(f collectFlags) (*policy.Set, error) {
	if f.config == "-" {
		return nil, errors.New("it came from standard input, which cannot be read again")
	}
	set, err := a.loadConfig(f.config)
	if err == nil && f.serve.listen != "" {
		_, err = servedDir(set.Config())
	}
	return set, err
}

func (a *app) reloadCommand() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:   "reload -c FILE",
		Short: "Make the running agent take its changed configuration",
		Long: `reload checks FILE, and if it has no mistake asks the agent that runs it to read it
again. Policies that did not change go on with their open files. It is what SIGHUP
does, with an answer. If the control socket itself has moved, use SIGHUP.`,
		Example: `  acctpull reload -c agent.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := a.loadConfig(config); err != nil {
				return err
			}
			client, err := a.client(config)
			if err != nil {
				return err
			}
			if err := client.Reload(c.Context()); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]bool{"reloaded": true})
			}
			_, err = fmt.Fprintf(a.stdout, "%s is in force\n", config)
			return err
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "", "configuration `file` of the agent")
	_ = c.MarkFlagRequired("config")
	return c
}

// servedDir returns the directory that --listen serves.
func servedDir(c policy.Config) (string, error) {
	if len(c.FileIDs) == 0 {
		return "", usagef("", "--listen: the configuration has no file-id to serve")
	}
	if l := agent.Locations(c.FileIDs); len(l) > 1 {
		return "", usagef("run acctpull serve-act for each location", "--listen serves one location, the configuration has %s and %s", l[0], l[1])
	}
	return c.FileIDs[0].ArchiveDir(), nil
}
