package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/audit"
	"acctpull/internal/depot"
	"acctpull/ledger"
	"acctpull/pull"
)

// quarantineFlags say which data directory, and how its files are read.
type quarantineFlags struct {
	config, data string
	reading      readFlags
}

func (a *app) quarantineCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "quarantine",
		Short: "Look at the files that could not be trusted, and decide about them",
		Long: `A file that arrived broken, or that the export could not use, is in quarantine: it
is not in the dataset, and its bytes and the reason are kept.

These commands work beside a running service. What they decide takes effect with
its next visit or export.`,
	}
	c.AddCommand(a.quarantineList(), a.quarantineShow(), a.quarantineRetry(), a.quarantineRelease(), a.quarantinePurge())
	return c
}

func (f *quarantineFlags) register(c *cobra.Command) *cobra.Command {
	c.Flags().StringVarP(&f.config, "config", "c", "", "inventory `file`; docs/service.md describes it")
	c.Flags().StringVar(&f.data, "data", "", "data `directory`")
	f.reading.registerMeaning(c.Flags())
	return c
}

// quarantined is one file in quarantine.
type quarantined struct {
	Device string    `json:"device"`
	Name   string    `json:"name"`
	Stage  string    `json:"refused_by"` // fetch or export
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Bytes  int64     `json:"bytes"`
	Stored string    `json:"stored"`
	Purged bool      `json:"purged,omitempty"`
	// Again is when it is fetched again if the device still lists it.
	Again time.Time `json:"fetched_again_after,omitzero"`

	row  ledger.Row
	note pull.Note
}

// sum is the SHA-256 of the bytes as they came, "" if nobody knows it.
func (q *quarantined) sum() string { return cmp.Or(q.row.SHA256, q.note.SHA256) }

// ward is a data directory that somebody else may hold, and its open ledger.
type ward struct {
	place
	ledger *ledger.Ledger
	read   func(ctx context.Context, q *quarantined) (audit.Content, error)
}

// inWard opens the ledger, calls f and closes the ledger.
func (a *app) inWard(ctx context.Context, f quarantineFlags, do func(*ward) error) (err error) {
	p, err := a.findPlace(ctx, f.config, f.data, f.reading)
	if err != nil {
		return err
	}
	if _, err := os.Stat(p.ledger); p.lock != "" && errors.Is(err, fs.ErrNotExist) {
		return usagef("", "there is no ledger in %s", p.data)
	}
	l, err := ledger.Open(ctx, p.ledger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	w := &ward{place: p, ledger: l}
	read := contents(p.readingOf)
	w.read = func(ctx context.Context, q *quarantined) (c audit.Content, err error) {
		src, err := p.depot.Open(ctx, q.Stored)
		if err != nil {
			return c, err
		}
		c, err = read(ctx, q.Device, q.Name, src)
		return c, errors.Join(err, src.Close())
	}
	return do(w)
}

// list returns the files in quarantine, of one device or of all (""), by device
// and name.
func (w *ward) list(ctx context.Context, device string) ([]*quarantined, error) {
	var all []*quarantined
	for r, err := range w.ledger.Files(ctx, device) {
		if err != nil {
			return nil, err
		}
		if r.State != ledger.Quarantined {
			continue
		}
		q := &quarantined{Device: r.Device, Name: r.Name, Stage: "fetch", Reason: r.Reason, Since: r.Changed, Bytes: r.Size, Stored: r.Stored, Again: r.NotBefore, row: r}
		if r.SHA256 != "" {
			q.Stage = "export"
		}
		if strings.HasPrefix(r.Stored, "quarantine/") {
			n, err := pull.ReadNote(ctx, w.depot, pull.NotePath(r.Stored))
			if err == nil {
				q.note, q.Since, q.Purged = n, n.Since, !n.Purged.IsZero()
			}
		}
		all = append(all, q)
	}
	return all, nil
}

// find returns the files that a person names: by their names, or by those in
// the quarantine directory, which tell two files of one name apart.
func (w *ward) find(ctx context.Context, device string, names []string) ([]*quarantined, error) {
	all, err := w.list(ctx, device)
	if err != nil {
		return nil, err
	}
	var found []*quarantined
	for _, name := range names {
		n := len(found)
		for _, q := range all {
			if q.Name == name || path.Base(q.Stored) == name {
				found = append(found, q)
			}
		}
		switch len(found) - n {
		case 0:
			return nil, usagef("acctpull quarantine list shows all of them", "%s of %s is not in quarantine", safe(name), safe(device))
		case 1:
		default:
			return nil, usagef("give the name in the quarantine directory, which ends in the first digits of the SHA-256: "+safe(path.Base(found[n].Stored)), "there are %d files %s of %s in quarantine", len(found)-n, safe(name), safe(device))
		}
	}
	return found, nil
}

func (a *app) quarantineList() *cobra.Command {
	var f quarantineFlags
	return f.register(&cobra.Command{
		Use:   "list {-c FILE | --data DIR} [DEVICE]",
		Short: "List the files in quarantine with their reasons",
		Example: `  acctpull quarantine list -c fleet.yaml
  acctpull quarantine list --data ./data edge-1`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.inWard(c.Context(), f, func(w *ward) error {
				device := ""
				if len(args) > 0 {
					device = args[0]
				}
				all, err := w.list(c.Context(), device)
				if err != nil {
					return err
				}
				return a.printQuarantine(all)
			})
		},
	})
}

func (a *app) printQuarantine(all []*quarantined) error {
	if a.json {
		if all == nil {
			all = []*quarantined{}
		}
		return a.printJSON(all)
	}
	now := time.Now()
	var rows [][]string
	total := int64(0)
	for _, q := range all {
		again := "no"
		if !q.Again.IsZero() {
			again = "after " + q.Again.UTC().Format(time.RFC3339)
		}
		bytes := size(q.Bytes)
		if q.Purged {
			bytes = "purged"
		} else {
			total += q.Bytes
		}
		rows = append(rows, []string{q.Device, q.Name, q.Stage, ago(now, q.Since), bytes, again, q.Reason})
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"DEVICE", "FILE", "REFUSED BY", "SINCE", "BYTES", "FETCHED AGAIN", "REASON"}, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	_, err := fmt.Fprintf(a.stdout, "%s in quarantine, %s\n", plural(len(all), "file"), size(total))
	return err
}

func (a *app) quarantineShow() *cobra.Command {
	var f quarantineFlags
	return f.register(&cobra.Command{
		Use:     "show {-c FILE | --data DIR} DEVICE NAME",
		Short:   "Show where the bytes of a file are, and what reading it says now",
		Example: `  acctpull quarantine show --data ./data edge-1 act1011-20260301-000000.xml.gz`,
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.inWard(c.Context(), f, func(w *ward) error {
				qs, err := w.find(c.Context(), args[0], args[1:])
				if err != nil {
					return err
				}
				return a.showQuarantined(c.Context(), w, qs[0])
			})
		},
	})
}

func (a *app) showQuarantined(ctx context.Context, w *ward, q *quarantined) error {
	says := w.says(ctx, q)
	if a.json {
		return a.printJSON(struct {
			*quarantined
			SHA256 string `json:"sha256"`
			Path   string `json:"listed_in"`
			MTime  int64  `json:"listed_mtime"`
			Reads  string `json:"reads"`
		}{q, q.sum(), q.row.Path, q.row.MTime, says})
	}
	return table(a.stdout, []string{"WHAT", "VALUE"}, [][]string{
		{"device", q.Device}, {"file", q.Name}, {"listed in", q.row.Path}, {"bytes", fmt.Sprint(q.row.Size)},
		{"refused by", q.Stage}, {"reason", q.Reason}, {"since", q.Since.UTC().Format(time.RFC3339)},
		{"sha256", cmp.Or(q.sum(), "unknown")}, {"bytes are in", q.Stored}, {"reads", says},
	})
}

// says tells what the reader finds now.
func (w *ward) says(ctx context.Context, q *quarantined) string {
	if q.Purged {
		return "the bytes were purged"
	}
	c, err := w.read(ctx, q)
	switch {
	case err != nil:
		return "not to its end: " + strings.ReplaceAll(err.Error(), "\n", "; ")
	case c.Truncated:
		return fmt.Sprintf("cut off, with %d whole records", c.Records)
	case c.Vague:
		return "whole, but its meaning cannot be told: acctpull inspect writes a profile"
	}
	return fmt.Sprintf("whole, %d usable and %d unusable records", c.Records, c.Refused)
}

// accept makes a file in quarantine ready for export. The note comes first: it
// says what the exporter may take.
func (w *ward) accept(ctx context.Context, now time.Time, q *quarantined, by, why string, salvage bool, facts *ledger.Facts) error {
	sum, _, err := w.depot.Sum(ctx, q.Stored)
	if err != nil {
		return err
	}
	if want := q.sum(); want != "" && sum != want {
		return fmt.Errorf("%s of %s: its bytes changed in quarantine: SHA-256 %s, was %s", safe(q.Name), safe(q.Device), sum, want)
	}
	if strings.HasPrefix(q.Stored, "quarantine/") {
		n := q.note
		if n.Device == "" { // its note is lost
			n = pull.Note{Key: q.row.Key, SHA256: sum, Reason: q.Reason, Since: q.Since}
		}
		n.Released, n.By, n.Why, n.Salvage = now, by, why, salvage
		if err := pull.WriteNote(ctx, w.depot, q.Stored, n); err != nil {
			return err
		}
	}
	return w.ledger.ReleaseQuarantined(ctx, now, q.row.Key, ledger.Acceptance{SHA256: sum, Stored: q.Stored, By: by, Why: why, Facts: facts})
}

// salvaged tells the exporter that a person took a file although it is cut off.
func salvaged(ctx context.Context, d depot.Reader, in ledger.Input) bool {
	if !strings.HasPrefix(in.Stored, "quarantine/") {
		return false
	}
	n, err := pull.ReadNote(ctx, d, pull.NotePath(in.Stored))
	return err == nil && n.Salvage && n.SHA256 == in.SHA256
}
