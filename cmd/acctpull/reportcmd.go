package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"acctpull/internal/durable"
	"acctpull/record"
	"acctpull/report"
)

// reportFlags are the flags of every report.
type reportFlags struct {
	datasetFlags
	month, from, to         string
	by, direction           string
	across, sum, mix        bool
	groups, table           string
	filter                  report.Filter
	unit, scope, percentile string
	counters                []string
	gaps                    string
	interval                time.Duration
	capacity, speed, over   string
	rank                    string
	limit                   int
	format, out, proof      string
}

func (f *reportFlags) register(fl *pflag.FlagSet, kind report.Kind) {
	f.datasetFlags.register(fl)
	fl.StringVar(&f.month, "month", "", "billing `month` in UTC: 2026-11")
	fl.StringVar(&f.from, "from", "", "`time` after which intervals end, RFC 3339 or a date")
	fl.StringVar(&f.to, "to", "", "`time` after which none ends, RFC 3339 or a date")
	fl.StringVar(&f.by, "by", "", "`kind` of object: sap, service, port, sdp, interface, class or device (default: that of the table)")
	fl.BoolVar(&f.across, "across", false, "one object for the same keys on all devices")
	fl.BoolVar(&f.sum, "sum", false, "one figure: everything that is selected, added up interval by interval")
	fl.StringVar(&f.groups, "groups", "", "CSV `file` of groups of objects, a figure for each (docs/reports.md)")
	fl.StringVar(&f.table, "table", "", "`record` name whose usage is reported (default: the one that has the answer)")
	fl.StringVar(&f.direction, "direction", "", "only this `direction`: in or out")
	fl.StringArrayVar(&f.filter.Devices, "device", nil, "only this device `name`; may be repeated, as all filters")
	fl.StringArrayVar(&f.filter.Services, "service", nil, "only this service `id`")
	fl.StringArrayVar(&f.filter.SAPs, "sap", nil, "only this SAP `id`, such as 1/1/1:100")
	fl.StringArrayVar(&f.filter.Ports, "port", nil, "only this port `id`")
	fl.StringArrayVar(&f.filter.SDPs, "sdp", nil, "only this SDP `id`")
	fl.StringArrayVar(&f.filter.Interfaces, "interface", nil, "only the network interface of this `name`")
	fl.Int64SliceVar(&f.filter.Classes, "class", nil, "only meters, queues or policers with this `id`")
	fl.Int64SliceVar(&f.filter.Policies, "policy", nil, "only the accounting policy with this `id`")
	fl.StringVar(&f.unit, "unit", "", "`unit`: octets or packets (default: octets if the table has them)")
	fl.StringSliceVar(&f.counters, "counter", nil, "`column` to add up, instead of those the catalogue calls forwarded or dropped")
	fl.StringVar(&f.scope, "scope", "", "only rows of this `scope`, such as \"per queue\"")
	fl.StringVar(&f.gaps, "gaps", "exclude", "gap `policy` for intervals without a delta: exclude, zero or refuse")
	fl.DurationVar(&f.interval, "interval", 0, "only intervals of this `length`, if there are several: 15m")
	fl.BoolVar(&f.mix, "mix", false, "accept intervals of several lengths in one figure")
	if kind == report.P95 || kind == report.Top {
		fl.StringVar(&f.percentile, "percentile", "95", "`percentile` of the rates, by nearest rank")
	}
	if kind == report.Top {
		fl.StringVar(&f.rank, "rank", "volume", "what makes an object large: `volume`, p95 or max")
		fl.StringVar(&f.capacity, "capacity", "", "CSV `file` with the speed of objects (docs/reports.md)")
		fl.StringVar(&f.speed, "speed", "", "`speed` of all objects that no file names: 1G")
		fl.StringVar(&f.over, "over", "", "only objects with intervals above this `share` of their speed: 80%")
	}
	limit := 0
	if kind == report.Top {
		limit = 10
	}
	fl.IntVar(&f.limit, "limit", limit, "print only the first `number` of figures; 0 prints all")
	fl.StringVar(&f.format, "format", "", "`format`: table, csv, json, parquet or html (default: table, or json with --json)")
	fl.StringVarP(&f.out, "out", "o", "", "write it into this `file` (default: standard output)")
	fl.StringVar(&f.proof, "proof", "", "write what the figures stand on into this `file`; acctpull proof verify proves it")
}

func (a *app) reportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "report",
		Short: "Sum up usage: volume, percentile, drops, and who the largest are",
		Long: `report turns the usage tables of a dataset, made by acctpull usage, into figures.
Each figure says how many of the expected intervals it stands on and why the others
are missing. --gaps says what becomes of those; --proof keeps all that the figure
was made from, so that anybody with the accounting files can make it again.

Sums are exact. An interval belongs to a month if it ends after its first midnight
and not after its last. docs/reports.md has every rule.

It ends with code 3 if figures are refused: by --gaps refuse, or because intervals of
several lengths would be mixed.`,
		Example: `  acctpull report volume -c fleet.yaml --month 2026-11 --by service
  acctpull report p95 --data ./data --month 2026-11 --groups customers.csv --gaps refuse
  acctpull report top --data ./data --month 2026-11 --by port --over 80% --speed 10G`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return usagef("see: acctpull report --help", "which report? volume, p95, drops or top")
		},
	}
	c.AddCommand(
		a.reportKind(report.Volume, "How much objects carried", `volume adds up what was forwarded: every delta of the window, also one that covers a
gap, because the counter tells how much it was. Only what no delta covers is missing.`,
			`  acctpull report volume --data ./data --month 2026-11
  acctpull report volume --data ./data --month 2026-11 --by class --sap 1/1/3:100
  acctpull report volume -c fleet.yaml --from 2026-11-01 --to 2026-11-08 --format csv --out week.csv`),
		a.reportKind(report.P95, "Percentile of the rate", `p95 computes the rate of each interval, octets × 8 ÷ seconds, and chooses the 95th
percentile by nearest rank: of n rates in ascending order that of rank ceil(0.95 n).
A sum of several objects is added up interval by interval first: it is the percentile
of the sum, not the sum of percentiles.`,
			`  acctpull report p95 --data ./data --month 2026-11
  acctpull report p95 --data ./data --month 2026-11 --groups customers.csv --gaps zero
  acctpull report p95 --data ./data --month 2026-11 --sap 1/1/3:100 --proof bill.json
  acctpull report p95 --data ./data --month 2026-11 --percentile 99.9 --format html --out p999.html`),
		a.reportKind(report.Drops, "What was dropped, and its share", `drops adds up what was dropped and what was forwarded, and the share of the first. Only
rows with counters of drops count: the meters of a 7210 SAS have them in the counter
mode forward-drop-count.`,
			`  acctpull report drops --data ./data --month 2026-11 --by class
  acctpull report drops -c fleet.yaml --from 2026-11-20 --to 2026-11-21 --unit packets --limit 20`),
		a.reportKind(report.Top, "The largest objects, or those over a threshold", `top orders objects by volume, percentile or largest rate. With --over it keeps those that
had intervals above a share of their speed, and counts these.`,
			`  acctpull report top --data ./data --month 2026-11
  acctpull report top --data ./data --month 2026-11 --rank p95 --limit 20 --format html --out top.html
  acctpull report top --data ./data --month 2026-11 --by port --over 80% --capacity links.csv --limit 0`),
	)
	return c
}

func (a *app) reportKind(kind report.Kind, short, long, example string) *cobra.Command {
	var f reportFlags
	c := &cobra.Command{
		Use:     string(kind) + " {-c FILE | --data DIR | --dataset DIR} {--month YYYY-MM | --from TIME --to TIME}",
		Short:   short,
		Long:    long,
		Example: example,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.report(c.Context(), kind, &f) },
	}
	f.register(c.Flags(), kind)
	return c
}

// options turns the flags into the question.
func (f *reportFlags) options(kind report.Kind) (o report.Options, err error) {
	o = report.Options{Kind: kind, Across: f.across, Sum: f.sum, Filter: f.filter, Counters: f.counters, Scope: f.scope, Interval: f.interval, Mix: f.mix, Limit: f.limit}
	if o.Window, err = f.window(); err != nil {
		return o, asUsage(err)
	}
	set := func(text string, parse func(string) error) {
		if err == nil && text != "" {
			err = parse(text)
		}
	}
	set(f.by, func(s string) (err error) { o.By, err = report.ParseBy(s); return })
	set(f.gaps, func(s string) (err error) { o.Gaps, err = report.ParsePolicy(s); return })
	set(f.percentile, func(s string) (err error) { o.Percentile, err = report.ParsePercentile(s); return })
	set(f.rank, func(s string) (err error) { o.Rank, err = report.ParseRank(s); return })
	set(f.over, func(s string) (err error) { o.Over, err = report.ParseShare(s); return })
	set(f.unit, func(s string) (err error) { o.Unit, err = report.ParseUnit(s); return })
	set(f.direction, func(s string) (err error) { o.Direction, err = report.ParseDirection(s); return })
	set(f.groups, func(name string) error {
		return readList(name, func(r io.Reader) (err error) { o.Groups, err = report.ParseGroups(r); return })
	})
	set(f.capacity, func(name string) error {
		return readList(name, func(r io.Reader) (err error) { o.Capacity, err = report.ParseCapacities(r); return })
	})
	set(f.speed, func(s string) (err error) {
		if o.Capacity == nil {
			o.Capacity = &report.Capacities{}
		}
		o.Capacity.Default, err = report.ParseSpeed(s)
		return err
	})
	if err == nil && f.limit < 0 {
		err = usagef("", "--limit %d is negative", f.limit)
	}
	return o, asUsage(err)
}

// window reads --month, or --from and --to.
func (f *reportFlags) window() (w report.Window, err error) {
	if f.month != "" {
		if f.from != "" || f.to != "" {
			return w, usagef("", "--month and --from or --to exclude each other")
		}
		return report.Month(f.month)
	}
	if f.from == "" || f.to == "" {
		return w, usagef("--month 2026-11, or --from 2026-11-01 --to 2026-11-08", "which time? give --month, or --from and --to")
	}
	if w.From, err = parseMoment(f.from); err == nil {
		w.To, err = parseMoment(f.to)
	}
	return w, err
}

// readList reads a file that a person wrote.
func readList(name string, parse func(io.Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return usagef("", "%w", err)
	}
	if err := errors.Join(parse(file), file.Close()); err != nil {
		return &usageError{err: fmt.Errorf("%s:\n%w", name, err), hint: "docs/reports.md describes the file"}
	}
	return nil
}

// asUsage makes a question that has no answer a usage error.
func asUsage(err error) error {
	var bad *report.Error
	var usage *usageError
	if errors.As(err, &bad) && !errors.As(err, &usage) {
		return &usageError{err: err, hint: bad.Hint()}
	}
	return err
}

func (a *app) report(ctx context.Context, kind report.Kind, f *reportFlags) (err error) {
	o, err := f.options(kind)
	if err != nil {
		return err
	}
	write, err := a.reportWriter(f)
	if err != nil {
		return err
	}
	dataset, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "acctpull-report-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	settings := report.Settings{Catalogue: record.Builtin(), Proof: f.proof != "", Scratch: scratch}
	if f.table != "" {
		settings.Tables = strings.Split(f.table, ",")
	}
	if f.format == "html" {
		settings.Plots = 8
	}
	r, proof, err := report.Run(ctx, dataset, o, settings)
	if err != nil {
		return asUsage(err)
	}
	if err := write(r); err != nil {
		return err
	}
	if proof != nil {
		if err := writeFile(f.proof, proof.Write); err != nil {
			return err
		}
	}
	switch n, why := r.Refused(); {
	case r.Of == 0:
		return fmt.Errorf("no usage of such objects from %s", r.Window)
	case n > 0:
		return &outcome{code: exitPartly, err: fmt.Errorf("%d of %s refused, the first because of: %s", n, plural(len(r.Figures), "figure"), why)}
	}
	return nil
}

// reportWriter returns what writes the report in the format that is asked for.
func (a *app) reportWriter(f *reportFlags) (func(*report.Report) error, error) {
	format := f.format
	if format == "" {
		format = "table"
		if a.json {
			format = "json"
		}
	}
	var to func(*report.Report, io.Writer) error
	switch format {
	case "table":
		to = reportTable
	case "csv":
		to = (*report.Report).WriteCSV
	case "json":
		to = func(r *report.Report, w io.Writer) error {
			return (&app{stdout: w}).printJSON(r)
		}
	case "html":
		to = (*report.Report).WriteHTML
	case "parquet":
		to = (*report.Report).WriteParquet
	default:
		return nil, usagef("table, csv, json, parquet or html", "no format %q", format)
	}
	if f.out != "" {
		return func(r *report.Report) error {
			return writeFile(f.out, func(w io.Writer) error { return to(r, w) })
		}, nil
	}
	if format == "html" || format == "parquet" {
		return nil, usagef("--out report."+format, "--format %s needs a file", format)
	}
	return func(r *report.Report) error { return to(r, a.stdout) }, nil
}

// writeFile makes a file of what write writes, at once and durably.
func writeFile(name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return durable.ReplaceFile(filepath.Clean(name), b.Bytes(), durable.DataMode)
}

// reportTable prints the report for a person.
func reportTable(r *report.Report, w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s\n", r.Heading()); err != nil {
		return err
	}
	header, rows := r.Table()
	return table(w, header, rows)
}
