package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/event"
	"acctpull/ledger"
)

func (a *app) holdCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "hold",
		Short: "Keep records from being deleted, whatever the retention (legal hold)",
		Long: `A hold keeps every accounting file and every day of a table that may have records of
it from being deleted by retention, until it is released. Who put it in force and who
released it, when and why, is in the ledger for ever.

A file of a device has all its services and SAPs, and a day of a table has all devices:
a hold keeps them as a whole. It works beside a running service, and from the moment
that the command returns.`,
	}
	c.AddCommand(a.holdAdd(), a.holdList(), a.holdRelease())
	return c
}

type holdFlags struct {
	quarantineFlags
	device, service, sap, from, to, reason string
}

func (a *app) holdAdd() *cobra.Command {
	var f holdFlags
	c := &cobra.Command{
		Use:   "add {-c FILE | --data DIR} [--device NAME] [--service ID] [--sap SAP] [--from DAY] [--to DAY] --reason TEXT",
		Short: "Put a hold in force",
		Long: `add puts a hold in force on the records that all of the flags name together. --from and
--to bound the time of the records in UTC; the day or the instant --to is not part of
it. A day and two hours around it are held as well, because clocks and time zones
differ. What expired before is gone: acctpull expire --dry-run --files shows what a
hold keeps.`,
		Example: `  acctpull hold add -c fleet.yaml --device edge-1 --from 2026-09-01 --to 2026-11-01 --reason "case 4711"
  acctpull hold add -c fleet.yaml --device edge-1 --service 1001 --reason "disputed bill of customer 88"
  acctpull hold add --data ./data --sap 1/1/3:100 --reason "case 4712"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.addHold(c.Context(), f) },
	}
	f.at(c)
	fl := c.Flags()
	fl.StringVar(&f.device, "device", "", "`name` of the device; all devices if not given")
	fl.StringVar(&f.service, "service", "", "service `id`; all services if not given")
	fl.StringVar(&f.sap, "sap", "", "`SAP`; all SAPs if not given")
	fl.StringVar(&f.from, "from", "", "records from this `day` or instant on (2026-09-01)")
	fl.StringVar(&f.to, "to", "", "records from before this `day` or instant")
	fl.StringVar(&f.reason, "reason", "", "the `reason`, for those who ask later")
	_ = c.MarkFlagRequired("reason")
	return c
}

// at registers the flags that say whose ledger it is.
func (f *holdFlags) at(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", "", "inventory `file`; docs/service.md describes it")
	c.Flags().StringVar(&f.data, "data", "", "data `directory`")
}

func (a *app) addHold(ctx context.Context, f holdFlags) error {
	now := a.pace.clock.Now()
	h := ledger.Hold{Device: f.device, Service: f.service, SAP: f.sap, Reason: f.reason, By: a.login().User, Added: now}
	for _, m := range []struct {
		text string
		at   *time.Time
	}{{f.from, &h.From}, {f.to, &h.To}} {
		if m.text == "" {
			continue
		}
		var err error
		if *m.at, err = parseMoment(m.text); err != nil {
			return err
		}
	}
	switch {
	case strings.TrimSpace(f.reason) == "":
		return usagef("it is kept in the ledger", "--reason is empty")
	case h.Device+h.Service+h.SAP == "" && h.From.IsZero() && h.To.IsZero():
		return usagef("to hold everything: --from 1971-01-01", "a hold names a device, a service, a SAP or a time")
	case !h.From.IsZero() && !h.To.IsZero() && !h.From.Before(h.To):
		return usagef("", "--from %s is not before --to %s", f.from, f.to)
	}
	return a.inWard(ctx, f.quarantineFlags, func(w *ward) error {
		if h.Device != "" {
			known, err := w.ledger.Devices(ctx)
			if err != nil {
				return err
			}
			if !slices.Contains(known, h.Device) {
				return usagef("acctpull status shows the devices; a hold on a name that is not right would hold nothing", "the ledger knows no device %q", h.Device)
			}
		}
		h, err := w.ledger.AddHold(ctx, h)
		if err != nil {
			return err
		}
		a.events.Emit(event.HoldAdded(now, h.ID, holdWhat(h), h.By, h.Reason))
		return a.printHolds([]ledger.Hold{h})
	})
}

func (a *app) holdList() *cobra.Command {
	var f holdFlags
	all := false
	c := &cobra.Command{
		Use:   "list {-c FILE | --data DIR}",
		Short: "Show the holds in force",
		Long:  `list shows the holds in force, with --all also those that were released.`,
		Example: `  acctpull hold list -c fleet.yaml
  acctpull hold list --data ./data --all --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.inWard(c.Context(), f.quarantineFlags, func(w *ward) error {
				holds, err := w.ledger.Holds(c.Context())
				if err != nil {
					return err
				}
				if !all {
					holds = slices.DeleteFunc(holds, func(h ledger.Hold) bool { return !h.InForce() })
				}
				return a.printHolds(holds)
			})
		},
	}
	f.at(c)
	c.Flags().BoolVar(&all, "all", false, "show released holds too")
	return c
}

func (a *app) holdRelease() *cobra.Command {
	var f holdFlags
	c := &cobra.Command{
		Use:   "release {-c FILE | --data DIR} ID --reason TEXT",
		Short: "End a hold: what only it has kept is deleted by the next sweep",
		Long: `release ends a hold. It stays in the ledger, with who released it, when and why. What
no other hold keeps and whose retention is over is deleted by the next sweep.`,
		Example: `  acctpull hold release -c fleet.yaml 3 --reason "case 4711 is closed"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usagef("acctpull hold list shows the IDs", "%q is no ID of a hold", args[0])
			}
			if strings.TrimSpace(f.reason) == "" {
				return usagef("it is kept in the ledger", "--reason is empty")
			}
			now := a.pace.clock.Now()
			return a.inWard(c.Context(), f.quarantineFlags, func(w *ward) error {
				h, err := w.ledger.ReleaseHold(c.Context(), now, id, a.login().User, f.reason)
				if err != nil {
					return err
				}
				a.events.Emit(event.HoldReleased(now, h.ID, holdWhat(h), h.ReleasedBy, h.ReleaseReason))
				return a.printHolds([]ledger.Hold{h})
			})
		},
	}
	f.at(c)
	c.Flags().StringVar(&f.reason, "reason", "", "the `reason`, for those who ask later")
	_ = c.MarkFlagRequired("reason")
	return c
}

// holdWhat says in words what a hold is on.
func holdWhat(h ledger.Hold) string {
	var words []string
	for _, w := range []struct{ name, value string }{{"device ", h.Device}, {"service ", h.Service}, {"SAP ", h.SAP}} {
		if w.value != "" {
			words = append(words, w.name+w.value)
		}
	}
	if len(words) == 0 {
		words = append(words, "everything")
	}
	if !h.From.IsZero() {
		words = append(words, "from "+h.From.UTC().Format(time.RFC3339))
	}
	if !h.To.IsZero() {
		words = append(words, "before "+h.To.UTC().Format(time.RFC3339))
	}
	return strings.Join(words, ", ")
}

// holdJSON is a hold as JSON.
type holdJSON struct {
	ID            int64     `json:"id"`
	Device        string    `json:"device,omitempty"`
	Service       string    `json:"service,omitempty"`
	SAP           string    `json:"sap,omitempty"`
	From          time.Time `json:"from,omitzero"`
	To            time.Time `json:"to,omitzero"`
	Reason        string    `json:"reason"`
	Added         time.Time `json:"added"`
	By            string    `json:"by"`
	InForce       bool      `json:"in_force"`
	Released      time.Time `json:"released,omitzero"`
	ReleasedBy    string    `json:"released_by,omitempty"`
	ReleaseReason string    `json:"release_reason,omitempty"`
}

func (a *app) printHolds(holds []ledger.Hold) error {
	if a.json {
		all := make([]holdJSON, len(holds))
		for i, h := range holds {
			all[i] = holdJSON{h.ID, h.Device, h.Service, h.SAP, h.From, h.To, h.Reason, h.Added, h.By, h.InForce(), h.Released, h.ReleasedBy, h.ReleaseReason}
		}
		return a.printJSON(all)
	}
	if len(holds) == 0 {
		_, err := fmt.Fprintln(a.stdout, "there is no hold in force")
		return err
	}
	var rows [][]string
	for _, h := range holds {
		released := "in force"
		if !h.InForce() {
			released = fmt.Sprintf("released %s by %s: %s", h.Released.Format(time.RFC3339), h.ReleasedBy, h.ReleaseReason)
		}
		rows = append(rows, []string{fmt.Sprint(h.ID), holdWhat(h), h.Added.Format(time.RFC3339), h.By, h.Reason, released})
	}
	return table(a.stdout, []string{"ID", "HOLDS", "SINCE", "BY", "REASON", "STATE"}, rows)
}
