package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"acctpull/internal/agent"
	"acctpull/policy"
	"acctpull/retention"
	"acctpull/rollover"
)

type sweepFlags struct {
	rule                 string
	retention, rollover  time.Duration
	dryRun, force, clock bool
}

func (a *app) sweepCommand() *cobra.Command {
	var f sweepFlags
	c := &cobra.Command{
		Use:   "sweep DIR",
		Short: "Delete expired files of a directory pair, by the device's rule, in ten seconds at most",
		Long: `sweep deletes the accounting and log files of DIR/act whose time is over, oldest
first. Files still open in DIR/act-collect, and names that are not ours, are
never touched. The whole sweep takes ten seconds at most; what is left goes next
time. It refuses to delete more than half of the files at once, and to believe a
clock that jumped.`,
		Example: `  acctpull sweep /var/lib/acctpull --retention 12h --rollover 24h --dry-run
  acctpull sweep /var/lib/acctpull --retention 12h --rule created+retention`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.sweep(c.Context(), f, args[0]) },
	}
	c.Flags().StringVar(&f.rule, "rule", retention.CreatedRolloverRetention.String(), "what is compared with now: "+ruleNames())
	c.Flags().DurationVar(&f.retention, "retention", policy.DefaultRetention, "how long a closed file is kept")
	c.Flags().DurationVar(&f.rollover, "rollover", policy.DefaultRollover, "rollover time of the files")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would be done with every file, and why")
	c.Flags().BoolVar(&f.force, "force", false, "allow more than half of the files to be deleted at once")
	c.Flags().BoolVar(&f.clock, "confirm-clock", false, "say that the clock of this machine is right")
	return c
}

func ruleNames() string {
	return retention.CreatedRolloverRetention.String() + " or " + retention.CreatedRetention.String()
}

func parseRule(s string) (retention.Kind, error) {
	for _, k := range []retention.Kind{retention.CreatedRolloverRetention, retention.CreatedRetention} {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, usagef("it is "+ruleNames(), "no retention rule %q", s)
}

func (a *app) sweep(ctx context.Context, f sweepFlags, dir string) error {
	kind, err := parseRule(f.rule)
	if err != nil {
		return err
	}
	o := agent.SweepOptions(dir)
	o.Rule = retention.Rule{Kind: kind, Retention: f.retention, Rollover: f.rollover}
	if err := o.Rule.Validate(); err != nil {
		return &usageError{err: err}
	}
	o.Force, o.ConfirmClock = f.force, f.clock
	o.OnRemove = func(f rollover.File) { a.events.Emit(agent.Expired(time.Now(), f)) }
	now := time.Now()
	if f.dryRun {
		return a.dryRun(o, now)
	}
	result, err := retention.Sweep(ctx, o, now)
	if err != nil {
		a.events.Emit(agent.SweepRefused(now, o.Dirs.Archive, result, err))
	}
	if a.json {
		err = errors.Join(err, a.printJSON(result))
	} else {
		fmt.Fprintf(a.stdout, "%s: %d files: %d removed (%s), %d kept, %d expired and left for the next sweep, %d other names\n",
			o.Dirs.Archive, result.Files, result.Removed, size(result.Bytes), result.Files-result.Expired+result.Protected, result.Left+result.Failed, result.Foreign)
	}
	return err
}

// dryRun prints the decision about every file.
func (a *app) dryRun(o retention.Options, now time.Time) error {
	var rows [][]string
	var all []retention.Decision
	remove := 0
	for f, err := range rollover.List(o.Dirs.Archive) {
		if err != nil {
			return err
		}
		d := o.Decide(f, now)
		if d.Remove {
			remove++
		}
		all = append(all, d)
		verdict := "keep"
		if d.Remove {
			verdict = "remove"
		}
		expires := ""
		if !d.Expires.IsZero() {
			expires = d.Expires.UTC().Format(time.RFC3339)
		}
		rows = append(rows, []string{f.Name.String(), verdict, string(d.Reason), expires})
	}
	if a.json {
		return a.printJSON(all)
	}
	if err := table(a.stdout, []string{"FILE", "VERDICT", "REASON", "EXPIRES"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n%d of %d files would be removed\n", remove, len(all))
	if err := retention.Guard(len(all), remove); err != nil && !o.Force {
		fmt.Fprintf(a.stdout, "the sweep would refuse: %v\n", err)
	}
	return nil
}
