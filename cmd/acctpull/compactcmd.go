package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/ledger"
)

// compactDir is where files in the making lie, below the dataset; its name keeps
// readers out, and exporters do not clean it.
const compactDir = ".compact"

type compactFlags struct {
	config, data, dataset string
	tables, days          []string
	before                string
	dryRun                bool
}

func (a *app) compactCommand() *cobra.Command {
	var f compactFlags
	c := &cobra.Command{
		Use:   "compact {-c FILE | --data DIR | --dataset DIR}",
		Short: "Merge the small files of closed days of the dataset into one sorted file each",
		Long: `compact merges the files of each table and day that ended more than 24 hours ago into
one sorted file, or a few of 512 MB, while readers read and the service exports. The
rows stay the same: that is proved before a file is replaced. Days that are done cost
nothing, so run it daily; it may be stopped at any time and run again.

Files that come later stay beside the compacted one. When there are 8 of them, or a
tenth of its size, or the day is named with --day, the day is compacted anew. Files of
batches that the ledger has not finished are left alone.`,
		Example: `  acctpull compact -c fleet.yaml
  acctpull compact --data /var/lib/acctpull --dry-run
  acctpull compact --dataset ./dataset --table service-ingress-octets --day 2026-11-21
  acctpull compact -c fleet.yaml --before 2026-11-01 --json | jq '.days[] | select(.error != null)'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.compact(c.Context(), f) },
	}
	fl := c.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "inventory `file`")
	fl.StringVar(&f.data, "data", "", "data `directory` of pull or serve")
	fl.StringVar(&f.dataset, "dataset", "", "`directory` of a dataset that export wrote to")
	fl.StringSliceVar(&f.tables, "table", nil, "only this `table`; may be given more than once")
	fl.StringSliceVar(&f.days, "day", nil, "only this `day`, YYYY-MM-DD, closed or not; may be given more than once")
	fl.StringVar(&f.before, "before", "", "all days before this `day` instead of those that ended 24 hours ago")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would be done and change nothing")
	c.MarkFlagsMutuallyExclusive("day", "before")
	return c
}

// compactedDay is one day as JSON.
type compactedDay struct {
	export.CompactedDay
	InputFiles  int    `json:"input_files"`
	InputBytes  int64  `json:"input_bytes"`
	OutputFiles int    `json:"output_files"`
	OutputBytes int64  `json:"output_bytes"`
	Rows        int64  `json:"rows"`
	Error       string `json:"error,omitempty"`
}

// compactResult is what compact prints as JSON.
type compactResult struct {
	DryRun bool           `json:"dry_run"`
	Days   []compactedDay `json:"days"`
}

func compactedDayOf(d export.CompactedDay) compactedDay {
	c := compactedDay{CompactedDay: d, InputFiles: len(d.Inputs), OutputFiles: len(d.Outputs)}
	for _, f := range d.Inputs {
		c.InputBytes += f.Bytes
		c.Rows += f.Rows
	}
	for _, f := range d.Outputs {
		c.OutputBytes += f.Bytes
	}
	if d.Err != nil {
		c.Error = d.Err.Error()
	}
	return c
}

func (a *app) compact(ctx context.Context, f compactFlags) error {
	for _, day := range append([]string{f.before}, f.days...) {
		if _, err := time.Parse(time.DateOnly, day); day != "" && err != nil {
			return usagef("a day is YYYY-MM-DD, in UTC", "%q is no day", day)
		}
	}
	if f.dataset != "" {
		if f.data != "" || f.config != "" {
			return usagef("", "give one of -c, --data and --dataset")
		}
		f.data = f.dataset
	}
	return a.inWard(ctx, quarantineFlags{config: f.config, data: f.data}, func(w *ward) error {
		dataset := depot.Sub(w.depot, w.dataset)
		res := compactResult{DryRun: f.dryRun, Days: []compactedDay{}}
		err := a.compactDataset(ctx, dataset, filepath.Join(w.data, filepath.FromSlash(w.dataset)), w.ledger, export.CompactOptions{
			Tables: f.tables, Days: f.days, Before: f.before, DryRun: f.dryRun,
			OnDay: func(d export.CompactedDay) { res.Days = append(res.Days, compactedDayOf(d)) },
		})
		if err == nil && !f.dryRun {
			err = errors.Join(a.writeSidecars(ctx, dataset, w.ledger), a.cleanReplaced(ctx, dataset))
		}
		if err != nil {
			return err
		}
		return a.printCompact(res)
	})
}

// compactDataset compacts a dataset. dir is its local directory.
func (a *app) compactDataset(ctx context.Context, dataset depot.Depot, dir string, l *ledger.Ledger, o export.CompactOptions) error {
	o.Dataset, o.Staging = dataset, filepath.Join(dir, compactDir)
	o.Now, o.Version = a.pace.clock.Now(), buildVersion()
	outputs, err := l.Outputs(ctx, "")
	if err != nil {
		return err
	}
	known := make(map[string]ledger.Output, len(outputs))
	for _, out := range outputs {
		known[out.Path] = out
	}
	o.Finished = func(path string) (ledger.Output, bool) { out, ok := known[path]; return out, ok }
	_, err = export.Compact(ctx, o)
	return err
}

func (a *app) printCompact(r compactResult) error {
	failed := false
	var rows [][]string
	for _, d := range r.Days {
		done := "compacted"
		switch {
		case d.Error != "":
			done, failed = d.Error, true
		case d.Reason != "":
			done = "left: " + d.Reason
		case r.DryRun:
			done = "to compact"
		}
		if d.Waiting > 0 {
			done += fmt.Sprintf("; %d files wait for the ledger", d.Waiting)
		}
		rows = append(rows, []string{d.Table, d.Date, fmt.Sprint(d.InputFiles), size(d.InputBytes), fmt.Sprint(d.OutputFiles), size(d.OutputBytes),
			fmt.Sprint(d.Rows), strings.ReplaceAll(done, "\n", "; ")})
	}
	var err error
	switch {
	case a.json:
		err = a.printJSON(r)
	case len(rows) == 0:
		_, err = fmt.Fprintln(a.stdout, "every day is compacted that is to be")
	default:
		err = table(a.stdout, []string{"TABLE", "DATE", "FILES", "SIZE", "NOW", "SIZE", "ROWS", "RESULT"}, rows)
	}
	if err == nil && failed {
		return &outcome{code: exitPartly}
	}
	return err
}
