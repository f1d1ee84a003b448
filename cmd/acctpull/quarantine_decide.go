package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/ledger"
	"acctpull/pull"
)

// decision is what became of one file in quarantine.
type decision struct {
	Device string `json:"device"`
	Name   string `json:"name"`
	Result string `json:"result"`
}

func (a *app) printDecisions(all []decision) error {
	if a.json {
		return a.printJSON(all)
	}
	var rows [][]string
	for _, d := range all {
		rows = append(rows, []string{d.Device, d.Name, d.Result})
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(a.stdout, "nothing to do")
		return err
	}
	return table(a.stdout, []string{"DEVICE", "FILE", "RESULT"}, rows)
}

func (a *app) quarantineRetry() *cobra.Command {
	var f quarantineFlags
	return f.register(&cobra.Command{
		Use:   "retry {-c FILE | --data DIR} [DEVICE [NAME…]]",
		Short: "Read files again now, and fetch again those that are still broken",
		Long: `retry reads the bytes that are kept, with the profile that holds now. A file that is
whole is exported with the next batch. One that is not is fetched again at the next
visit, if the device still lists it.`,
		Example: `  acctpull quarantine retry -c fleet.yaml
  acctpull quarantine retry --data ./data edge-1 act1011-20260301-000000.xml.gz`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.inWard(c.Context(), f, func(w *ward) error { return a.retry(c.Context(), w, args) })
		},
	})
}

func (a *app) retry(ctx context.Context, w *ward, args []string) error {
	device := ""
	if len(args) > 0 {
		device = args[0]
	}
	qs, err := w.list(ctx, device)
	if len(args) > 1 {
		qs, err = w.find(ctx, device, args[1:])
	}
	if err != nil {
		return err
	}
	all := []decision{}
	for _, q := range qs {
		if q.row.AliasOf != "" {
			continue // the file that stands for it decides
		}
		result, err := w.retryOne(ctx, time.Now(), q, a.login().User)
		if err != nil {
			return err
		}
		all = append(all, decision{q.Device, q.Name, result})
	}
	return a.printDecisions(all)
}

// retryOne decides about one file.
func (w *ward) retryOne(ctx context.Context, now time.Time, q *quarantined, by string) (string, error) {
	if !q.Purged && q.Stored != "" {
		c, err := w.read(ctx, q)
		switch {
		case err == nil && !c.Truncated && !c.Vague:
			if err := w.accept(ctx, now, q, by, "it is whole, read again", false, c.Facts); err != nil {
				return "", err
			}
			return fmt.Sprintf("whole, %d records: it is exported with the next batch", c.Records), nil
		case ctx.Err() != nil:
			return "", err
		}
	}
	if q.row.SHA256 != "" {
		return "still unusable, and it was fetched well: " + w.says(ctx, q), nil
	}
	if err := w.ledger.Requeue(ctx, now, q.row.Key); err != nil {
		return "", err
	}
	return "still broken: it is fetched again at the next visit that lists it", nil
}

func (a *app) quarantineRelease() *cobra.Command {
	var f quarantineFlags
	why, salvage := "", false
	c := f.register(&cobra.Command{
		Use:   "release {-c FILE | --data DIR} DEVICE NAME --why TEXT",
		Short: "Take a file as it is, on a person's word",
		Long: `release makes a file in quarantine ready for export. Who did it, when and why is kept
in the ledger and in the note beside the file. With --salvage the whole records of a
file that was cut off are exported; the dataset says of each such file that it was
truncated.`,
		Example: `  acctpull quarantine release --data ./data edge-1 act1011-20260301-000000.xml.gz \
      --salvage --why "the card was pulled; nothing better will come"`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(why) == "" {
				return usagef("it is kept in the ledger", "--why is needed")
			}
			return a.inWard(c.Context(), f, func(w *ward) error { return a.release(c.Context(), w, args, why, salvage) })
		},
	})
	c.Flags().StringVar(&why, "why", "", "the `reason`, for those who ask later")
	c.Flags().BoolVar(&salvage, "salvage", false, "take the whole records of a file that was cut off")
	return c
}

func (a *app) release(ctx context.Context, w *ward, args []string, why string, salvage bool) error {
	qs, err := w.find(ctx, args[0], args[1:])
	if err != nil {
		return err
	}
	q := qs[0]
	if q.Purged {
		return fmt.Errorf("%s of %s: its bytes were purged", safe(q.Name), safe(q.Device))
	}
	c, err := w.read(ctx, q)
	if err != nil {
		return fmt.Errorf("%s of %s cannot be exported whoever releases it: %w", safe(q.Name), safe(q.Device), err)
	}
	if c.Truncated && !salvage {
		return usagef(fmt.Sprintf("--salvage takes its %d whole records", c.Records), "%s of %s was cut off", safe(q.Name), safe(q.Device))
	}
	if c.Truncated && !strings.HasPrefix(q.Stored, "quarantine/") {
		return usagef("run pull or serve with a profile that reads it, or export it with --salvage into a dataset of its own", "%s of %s was taken by a fetch with --salvage, and lies in the archive", safe(q.Name), safe(q.Device))
	}
	if err := w.accept(ctx, time.Now(), q, a.login().User, why, salvage && c.Truncated, c.Facts); err != nil {
		return err
	}
	return a.printDecisions([]decision{{q.Device, q.Name, fmt.Sprintf("released with %d records: it is exported with the next batch", c.Records)}})
}

type purgeFlags struct {
	days   int
	mib    int64
	dryRun bool
}

func (a *app) quarantinePurge() *cobra.Command {
	var f quarantineFlags
	var p purgeFlags
	c := f.register(&cobra.Command{
		Use:   "purge {-c FILE | --data DIR} [--days N] [--mib N]",
		Short: "Remove the bytes of old files in quarantine, oldest first, and name each",
		Long: `purge removes the bytes of files that have been in quarantine for longer than --days,
and then, oldest first, of as many more as it takes to come below --mib. The notes and
the ledger keep what they were. Nothing else ever removes a file from quarantine.`,
		Example: `  acctpull quarantine purge --data ./data --dry-run
  acctpull quarantine purge -c fleet.yaml --days 90 --mib 4096`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if p.days < 0 || p.mib < 0 {
				return usagef("", "--days and --mib are not negative")
			}
			return a.inWard(c.Context(), f, func(w *ward) error { return a.purge(c.Context(), w, p) })
		},
	})
	c.Flags().IntVar(&p.days, "days", 30, "files that are in quarantine for longer than so many `days` go")
	c.Flags().Int64Var(&p.mib, "mib", 1024, "at most so many `MiB` stay")
	c.Flags().BoolVar(&p.dryRun, "dry-run", false, "only tell what would go")
	return c
}

func (a *app) purge(ctx context.Context, w *ward, f purgeFlags) error {
	qs, err := w.list(ctx, "")
	if err != nil {
		return err
	}
	now := time.Now()
	all := []decision{}
	for _, q := range purgeable(qs, now, f) {
		result := fmt.Sprintf("%s removed, in quarantine since %s", size(q.Bytes), q.Since.UTC().Format(time.RFC3339))
		if f.dryRun {
			result = fmt.Sprintf("%s would go, in quarantine since %s", size(q.Bytes), q.Since.UTC().Format(time.RFC3339))
		} else if err := w.purgeOne(ctx, now, q); err != nil {
			return errors.Join(err, a.printDecisions(all))
		}
		all = append(all, decision{q.Device, q.Name, result})
	}
	return a.printDecisions(all)
}

// purgeable returns the files whose bytes go, oldest first. Files that the
// export refused lie in the archive, and stay.
func purgeable(qs []*quarantined, now time.Time, f purgeFlags) []*quarantined {
	qs = slices.DeleteFunc(slices.Clone(qs), func(q *quarantined) bool { return q.Purged || !strings.HasPrefix(q.Stored, "quarantine/") })
	slices.SortStableFunc(qs, func(a, b *quarantined) int { return a.Since.Compare(b.Since) })
	total := int64(0)
	for _, q := range qs {
		total += q.Bytes
	}
	n := 0
	for n < len(qs) && (now.Sub(qs[n].Since) > time.Duration(f.days)*24*time.Hour || total > f.mib<<20) {
		total -= qs[n].Bytes
		n++
	}
	return qs[:n]
}

// purgeOne removes the bytes of a file. The note goes first: it says that they
// were removed on purpose.
func (w *ward) purgeOne(ctx context.Context, now time.Time, q *quarantined) error {
	n := q.note
	if n.Device == "" {
		n = pull.Note{Key: q.row.Key, SHA256: q.row.SHA256, Reason: q.Reason, Since: q.Since}
	}
	n.Purged = now
	if err := pull.WriteNote(ctx, w.depot, q.Stored, n); err != nil {
		return err
	}
	// Somebody may have decided otherwise since the list was made.
	for r, err := range w.ledger.Files(ctx, q.Device) {
		if err != nil {
			return err
		}
		if r.Key == q.row.Key && r.State != ledger.Quarantined && r.Stored == q.Stored {
			n.Purged = time.Time{}
			return errors.Join(fmt.Errorf("%s of %s is not in quarantine any more", safe(q.Name), safe(q.Device)), pull.WriteNote(ctx, w.depot, q.Stored, n))
		}
	}
	if err := w.depot.Remove(ctx, q.Stored); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
