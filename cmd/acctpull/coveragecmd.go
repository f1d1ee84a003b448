package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"acctpull/coverage"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/pull/fleet"
)

// coverageFlags say whose ledger is read, and which devices.
type coverageFlags struct {
	config, data string
	devices      []string
}

func (f *coverageFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", "", "inventory `file`; docs/service.md describes it")
	c.Flags().StringVar(&f.data, "data", "", "data `directory` of acctpull pull, instead of an inventory")
	c.Flags().StringArrayVar(&f.devices, "device", nil, "only the device of this `name`, or with -c those of this group; may be repeated")
}

// open opens the ledger and returns what is known of the devices beforehand. A
// device that is in the ledger and not in the inventory counts too, unless
// devices are named: its files do not go with it.
func (f *coverageFlags) open(ctx context.Context, a *app) (_ *ledger.Ledger, devices []coverageDevice, err error) {
	if (f.config == "") == (f.data == "") {
		return nil, nil, usagef("give the one that you pull with", "one of -c and --data is needed")
	}
	var l *ledger.Ledger
	if f.config == "" {
		path := filepath.Join(f.data, "ledger.db")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil, usagef("the directory is the one given to acctpull pull --out", "%s has no ledger", f.data)
		}
		l, err = ledger.Open(ctx, path)
	} else {
		inv, _, loadErr := a.loadInventory(f.config)
		if loadErr != nil {
			return nil, nil, loadErr
		}
		chosen, selectErr := inv.Select(f.devices)
		if selectErr != nil {
			return nil, nil, &usageError{err: selectErr, hint: "the names stand in " + f.config}
		}
		for _, d := range chosen {
			devices = append(devices, inventoryDevice(d))
		}
		l, err = a.openLedger(ctx, inv)
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	names, err := l.Devices(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		known := slices.ContainsFunc(devices, func(d coverageDevice) bool { return d.Name == name })
		if !known && (len(f.devices) == 0 || f.config == "" && slices.Contains(f.devices, name)) {
			devices = append(devices, coverageDevice{Device: coverage.Device{Name: name}})
		}
	}
	for _, name := range f.devices {
		if f.config == "" && !slices.Contains(names, name) {
			return nil, nil, usagef("acctpull coverage without --device shows all of them", "the ledger knows no device %q", name)
		}
	}
	slices.SortFunc(devices, func(a, b coverageDevice) int { return strings.Compare(a.Name, b.Name) })
	return l, devices, nil
}

// coverageDevice is a device with what the inventory says.
type coverageDevice struct {
	coverage.Device
	delay time.Duration
}

// inventoryDevice takes what the inventory says about how long files live, and
// how soon they can be expected: within four visits.
func inventoryDevice(d fleet.Device) coverageDevice {
	every := d.Every
	if d.Cron != nil {
		every = d.Cron.Longest()
	}
	c := coverageDevice{Device: coverage.Device{Name: d.Name, Rollover: d.Rollover}, delay: max(4*every, coverage.DefaultDelay)}
	if d.Retention > 0 {
		c.Life = d.Life()
	}
	return c
}

func (a *app) coverageCommand() *cobra.Command {
	var f coverageFlags
	from, to, html := "", "", ""
	c := &cobra.Command{
		Use:   "coverage {-c FILE | --data DIR}",
		Short: "Show which collection intervals are here, and why not the others",
		Long: `coverage says of every device, accounting policy and collection interval whether its
records are here: a line for each policy, a character for each stretch of time, and
below that what is missing, from when to when, why, and in which file.

It reads the ledger and asks no device. Times are by the clocks of the devices.
It ends with code 3 if something is missing, lost, corrupt or truncated.`,
		Example: `  acctpull coverage -c fleet.yaml
  acctpull coverage -c fleet.yaml --from 2026-10-01 --to 2026-11-01 --html october.html
  acctpull coverage --data ./data --device edge-1 --from 2026-10-04T12:00:00Z
  acctpull --json coverage -c fleet.yaml --device north`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.coverage(c.Context(), &f, from, to, html) },
	}
	f.register(c)
	c.Flags().StringVar(&from, "from", "", "first `time`, RFC 3339 or a date (default: a day before --to)")
	c.Flags().StringVar(&to, "to", "", "last `time`, RFC 3339 or a date (default: now)")
	c.Flags().StringVar(&html, "html", "", "write a heat map into this `file`, which needs no other")
	return c
}

// coverageWindow reads --from and --to.
func coverageWindow(from, to string, now time.Time) (w coverage.Window, err error) {
	w.To = now.UTC().Truncate(time.Second)
	if to != "" {
		if w.To, err = parseMoment(to); err != nil {
			return w, err
		}
	}
	w.From = w.To.AddDate(0, 0, -1)
	if from != "" {
		if w.From, err = parseMoment(from); err != nil {
			return w, err
		}
	}
	if !w.From.Before(w.To) {
		return w, usagef("", "--from %s is not before --to %s", w.From.Format(time.RFC3339), w.To.Format(time.RFC3339))
	}
	if w.To.Sub(w.From) > 400*24*time.Hour {
		return w, usagef("ask for a year at a time", "from %s to %s is too long", w.From.Format(time.RFC3339), w.To.Format(time.RFC3339))
	}
	return w, nil
}

// parseMoment reads a time or a date, in UTC.
func parseMoment(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1971 && t.Year() < 9999 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usagef("2026-10-04 or 2026-10-04T12:00:00Z", "%q is no time", s)
}

func (a *app) coverage(ctx context.Context, f *coverageFlags, from, to, html string) (err error) {
	w, err := coverageWindow(from, to, a.pace.clock.Now())
	if err != nil {
		return err
	}
	l, devices, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	report := coverage.Report{From: w.From, To: w.To, Devices: []coverage.DeviceReport{}}
	for _, known := range devices {
		w.Delay = known.delay
		d, err := deviceFacts(ctx, l, known.Device, w)
		if err != nil {
			return err
		}
		report.Devices = append(report.Devices, coverage.NewDeviceReport(d, w))
	}
	if html != "" {
		var page bytes.Buffer
		if err := report.WriteHTML(&page); err != nil {
			return err
		}
		if err := durable.ReplaceFile(html, page.Bytes(), durable.DataMode); err != nil {
			return err
		}
	}
	if err := a.printCoverage(&report); err != nil {
		return err
	}
	totals := report.Totals()
	if totals.Sum(coverage.Verdict.Gap) > 0 {
		return &outcome{code: exitPartly}
	}
	return nil
}

// coverageLegend explains the characters of the matrix.
const coverageLegend = "# present  l late  d duplicate  o overlapping  - idle  . open  w waiting | gaps: T truncated  C corrupt  M missing  L lost"

// printCoverage prints the matrix, and what is wrong.
func (a *app) printCoverage(r *coverage.Report) error {
	if a.json {
		return a.printJSON(r)
	}
	out := bufio.NewWriter(a.stdout)
	width := a.matrixWidth(r)
	name, policy := 6, 6
	for _, d := range r.Devices {
		name = max(name, len([]rune(safe(d.Device))))
		for _, s := range d.Streams {
			policy = max(policy, len(policyName(&s)))
		}
	}
	fmt.Fprintf(out, "%s to %s UTC, one character is %s\n%s\n\n", r.From.Format("2006-01-02 15:04"), r.To.Format("2006-01-02 15:04"),
		(r.To.Sub(r.From) / time.Duration(width)).Round(time.Second), coverageLegend)
	var problems [][]string
	for _, d := range r.Devices {
		if len(d.Streams) == 0 {
			fmt.Fprintf(out, "%-*s  nothing is known of that time\n", name, safe(d.Device))
		}
		if off := d.Skew.Beyond(clockLimit); off != 0 {
			problems = append(problems, []string{d.Device, "", "clock", "", "", "", "its clock is " + offText(off)})
		}
		for i := range d.Streams {
			s := &d.Streams[i]
			fmt.Fprintf(out, "%-*s  %-*s  %s\n", name, safe(d.Device), policy, safe(policyName(s)), coverage.Cells(s.Runs, r.From, r.To, width))
			for _, run := range s.Runs {
				if run.Verdict == coverage.Present || run.Verdict == coverage.Open || run.Verdict == coverage.Idle || run.Verdict == coverage.Late {
					continue
				}
				verdict := run.Verdict.String()
				if run.Doubt {
					verdict += "?"
				}
				problems = append(problems, []string{d.Device, fmt.Sprint(s.Policy), verdict, run.From.UTC().Format(time.RFC3339), run.To.UTC().Format(time.RFC3339), fmt.Sprint(run.Intervals), cmp.Or(run.File+" ", "") + run.Reason})
			}
		}
	}
	if len(problems) > 0 {
		fmt.Fprintln(out)
		if err := table(out, []string{"DEVICE", "POLICY", "VERDICT", "FROM", "TO", "INTERVALS", "WHY"}, problems); err != nil {
			return err
		}
	}
	t := r.Totals()
	fmt.Fprintf(out, "\n%s: %d intervals expected, %d received, %d waiting, %d in gaps; %d idle\n", plural(len(r.Devices), "device"),
		t.Sum(coverage.Verdict.Expected), t.Sum(coverage.Verdict.Received), t[coverage.Waiting], t.Sum(coverage.Verdict.Gap), t[coverage.Idle])
	return out.Flush()
}

func policyName(s *coverage.Stream) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", s.Policy, s.Record))
}

// matrixWidth is how many characters a line of the matrix has: what the terminal
// leaves, or 72 where there is none.
func (a *app) matrixWidth(r *coverage.Report) int {
	f, ok := a.stdout.(*os.File)
	if !ok {
		return 72
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 72
	}
	taken := 0
	for _, d := range r.Devices {
		for i := range d.Streams {
			taken = max(taken, len([]rune(safe(d.Device)))+len(policyName(&d.Streams[i]))+4)
		}
	}
	return max(width-taken-1, 24)
}
