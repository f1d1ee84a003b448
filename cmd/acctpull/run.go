package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"acctpull/event"
	"acctpull/internal/durable"
	"acctpull/internal/telemetry"
	"acctpull/pull"
	"acctpull/pull/fleet"
)

// Exit codes. They are part of the interface: docs/operations.md lists them.
const (
	exitOK          = 0   // everything asked for was done
	exitFailed      = 1   // nothing, or not all, was done; the message says what
	exitUsage       = 2   // the command line or a configuration is wrong
	exitPartly      = 3   // done, but some devices or files are in error or in quarantine
	exitHostKey     = 4   // a host key is unknown, changed or revoked
	exitAuth        = 5   // the device refused the login
	exitLocked      = 6   // another acctpull works in the same directory
	exitInterrupted = 130 // stopped by a signal
)

// app is what every command needs from the world around the program.
type app struct {
	env            map[string]string
	stdin          io.Reader
	stdout, stderr io.Writer
	warned         sync.Map // what connected has said already
	json           bool     // --json: results on stdout and errors on stderr as JSON
	verbose        bool
	events         event.Sink
	metrics        *telemetry.Metrics // nil unless somebody can ask for them
	pace           pace
}

// pace is what the pull service goes by. Tests let it run faster.
type pace struct {
	clock  fleet.Clock // of schedules, ledger rows and events
	limits pull.Limits // of one visit
	// How nodes on one ledger work together, in real time: how long a lease
	// lasts, how often leases are renewed, how often each node looks what the
	// others found.
	lease, renew, sync time.Duration
}

// realPace is that of every run of the program.
func realPace() pace {
	return pace{clock: fleet.SystemClock{}, lease: 2 * time.Minute, renew: 20 * time.Second, sync: 5 * time.Second}
}

// wait waits for a time of the clock; false if ctx ended first.
func (p *pace) wait(ctx context.Context, d time.Duration) bool {
	return wait(ctx, p.clock.Until(p.clock.Now().Add(d)))
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{env: envMap(env), stdin: stdin, stdout: stdout, stderr: stderr, pace: realPace()}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(ctx, err)
	var quiet *outcome
	if !errors.As(err, &quiet) || quiet.err != nil {
		a.printError(err, code)
	}
	return code
}

func envMap(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			m[k] = v
		}
	}
	return m
}

func (a *app) rootCommand() *cobra.Command {
	log := ""
	root := &cobra.Command{
		Use:   "acctpull",
		Short: "Get every accounting file off every router, prove it is whole, and load it as Parquet",
		Long: `acctpull fetches the accounting files that routers write to flash, checks that
each one is complete, keeps it byte for byte, and turns it into typed Parquet.
On the other side it writes such files itself, from the counters of a Linux
machine.`,
		Example: `  # what it does, in under a minute, on this machine only
  acctpull demo

  # one router, no configuration file
  acctpull pull admin@router:cf1:/act --out ./data

  # a folder of .xml.gz files you already have
  acctpull export ./files --out ./dataset

  # a file of a device nobody has seen before
  acctpull inspect act1111-20261121-101500.xml.gz`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			// A command that ends tells everything at its end; one that runs
			// tells as it goes.
			level := slog.LevelError + 1
			if a.verbose || c.Name() == "collect" || c.Name() == "serve" || c.Name() == "serve-act" {
				level = slog.LevelInfo
			}
			handler := slog.Handler(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
			switch log {
			case "json":
				handler = slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: level})
			case "text":
			default:
				return usagef("it is text or json", "no log format %q", log)
			}
			a.events = event.Slog(slog.New(handler))
			return nil
		},
	}
	root.PersistentFlags().StringVar(&log, "log", "text", "`format` of events on stderr: text or json")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print results and errors as JSON")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "print every event on stderr as it happens")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{err: err, hint: "see: " + c.CommandPath() + " --help"}
	})
	root.AddCommand(
		a.demoCommand(),
		a.pullCommand(),
		a.exportCommand(),
		a.inspectCommand(),
		a.recordsCommand(),
		a.serveCommand(),
		a.statusCommand(),
		a.usageCommand(),
		a.coverageCommand(),
		a.certificateCommand(),
		a.reportCommand(),
		a.proofCommand(),
		a.lineageCommand(),
		a.checkCommand(),
		a.quarantineCommand(),
		a.compactCommand(),
		a.expireCommand(),
		a.holdCommand(),
		a.collectCommand(),
		a.configCommand(),
		a.sweepCommand(),
		a.serveActCommand(),
		a.showCommand(),
		a.clearCommand(),
		a.reloadCommand(),
		a.planCommand(),
		a.hostkeysCommand(),
		a.versionCommand(),
		a.manCommand(),
		a.simulateCommand(),
	)
	return root
}

// usageError is a wrong command line or configuration.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.hint }

func usagef(hint, format string, a ...any) error {
	return &usageError{err: fmt.Errorf(format, a...), hint: hint}
}

// outcome carries an exit code out of a command whose result is already
// printed; err, if there is one, is printed too.
type outcome struct {
	code int
	err  error
}

func (o *outcome) Error() string {
	if o.err == nil {
		return fmt.Sprintf("exit code %d", o.code)
	}
	return o.err.Error()
}
func (o *outcome) Unwrap() error { return o.err }

func exitCode(ctx context.Context, err error) int {
	var (
		out    *outcome
		usage  *usageError
		key    *pull.HostKeyError
		auth   *pull.AuthError
		locked *durable.LockedError
	)
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &out):
		return out.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &key):
		return exitHostKey
	case errors.As(err, &auth):
		return exitAuth
	case errors.As(err, &locked):
		return exitLocked
	case strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "accepts "), strings.HasPrefix(err.Error(), "requires "), strings.HasPrefix(err.Error(), "required flag"):
		return exitUsage // cobra has no error type for these
	}
	return exitFailed
}

// printError prints the error, and below it what a person can do about it.
func (a *app) printError(err error, code int) {
	var h interface{ Hint() string }
	hint := ""
	if errors.As(err, &h) {
		hint = h.Hint()
	}
	if a.json {
		_ = json.NewEncoder(a.stderr).Encode(map[string]any{"error": err.Error(), "hint": hint, "exit_code": code})
		return
	}
	fmt.Fprintf(a.stderr, "acctpull: %s\n", err)
	for _, line := range strings.Split(hint, "\n") {
		if line != "" {
			fmt.Fprintf(a.stderr, "acctpull: hint: %s\n", line)
		}
	}
}

// printJSON writes v as indented JSON to stdout.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// terminal tells whether w is a terminal: progress is drawn only there.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
