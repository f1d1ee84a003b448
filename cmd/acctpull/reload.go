package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

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

// reloadOn returns the job that reads the configuration again at every SIGHUP
// and puts it in force if it is valid; what happens is an event. From now on the
// signal does not end the program.
func (a *app) reloadOn(f collectFlags, c *agent.Agent, services []*service) func(context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	return func(ctx context.Context) error {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangup:
			}
			before := c.Set()
			// What is wrong is an event already, and the old stays in force.
			_ = c.LoadFrom(ctx, f.config, func() (*policy.Set, error) { return a.loadNext(f) }, time.Now())
			if set := c.Set(); set != before {
				for _, s := range services {
					s.follow(set.Config())
				}
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
