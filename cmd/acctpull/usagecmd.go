package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/record"
	"acctpull/usage"
)

// usageFlags are the flags of acctpull usage.
type usageFlags struct {
	datasetFlags
	tables, narrow []string
	from, to       string
}

func (a *app) usageCommand() *cobra.Command {
	var f usageFlags
	c := &cobra.Command{
		Use:   "usage {-c FILE | --data DIR | --dataset DIR}",
		Short: "Make tables of what was counted in each interval, with the reason for every break",
		Long: `usage makes, beside each record table of the dataset, a table <record name>-usage with
the differences of its counters, and the reason wherever a row does not simply go on
from the one before: first, reset, wrap32, wrap64, mode-change, final, gap, overlap,
clock-step, unknown. docs/formats/usage.md has every rule.

It makes a day anew only if its records have changed, or what the days before left for
it. Run it after each pull, or once a day; readers see the old or the new usage of a
day. After an interruption it goes on.`,
		Example: `  acctpull usage -c fleet.yaml
  acctpull usage --data ./data --table service-ingress-octets
  acctpull usage --dataset ./dataset --from 2026-11-01 --to 2026-11-30 --json
  acctpull usage --data ./data --counter32 edge-1:packets_dropped=1500000`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.usage(c.Context(), &f) },
	}
	fl := c.Flags()
	f.register(fl)
	fl.StringArrayVar(&f.tables, "table", nil, "only the usage of this record `name`; may be repeated")
	fl.StringVar(&f.from, "from", "", "first `day` to bring up to date: 2026-11-01 (default: the first there is)")
	fl.StringVar(&f.to, "to", "", "last `day` to bring up to date (default: the last there is)")
	fl.StringArrayVar(&f.narrow, "counter32", nil, "`DEVICE:COLUMN=RATE`: a counter of 32 bits, and the most it counts in a second; the same at every run; may be repeated")
	return c
}

// options turns the flags into what a refresh takes.
func (f *usageFlags) options() (o usage.Options, err error) {
	o.From, o.To = f.from, f.to
	for _, day := range []string{f.from, f.to} {
		if _, err := time.Parse(time.DateOnly, day); day != "" && err != nil {
			return o, usagef("a day is 2026-11-01", "%q is no day", day)
		}
	}
	if f.from != "" && f.to != "" && f.from > f.to {
		return o, usagef("", "--from %s is after --to %s", f.from, f.to)
	}
	for _, def := range record.Builtin().Definitions() {
		o.Tables = append(o.Tables, export.Schema(def))
	}
	if len(f.tables) > 0 {
		if o.Tables, err = chosenTables(o.Tables, f.tables); err != nil {
			return o, err
		}
	}
	return o, nil
}

// chosenTables are the record tables with the names given, which may be those
// of their usage.
func chosenTables(all []*export.Table, names []string) (chosen []*export.Table, err error) {
	for _, name := range names {
		if of, ok := usage.RecordOf(name); ok {
			name = of
		}
		i := slices.IndexFunc(all, func(t *export.Table) bool { return t.Name == name })
		if i < 0 {
			return nil, usagef("acctpull records lists all of them", "no record %q in the catalogue", name)
		}
		if !usage.HasUsage(all[i]) {
			return nil, usagef("its fields are neither differenced nor summed", "record %s has no counters", name)
		}
		if !slices.Contains(chosen, all[i]) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

// narrows are counters of 32 bits, from their texts.
func narrows(texts []string) ([]usage.Narrow, error) {
	var all []usage.Narrow
	for _, text := range texts {
		n, err := parseNarrow(text)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b usage.Narrow) int {
		return strings.Compare(a.Device+"\x00"+a.Column, b.Device+"\x00"+b.Column)
	})
	return all, nil
}

// parseNarrow reads DEVICE:COLUMN=RATE. A device's name may have colons.
func parseNarrow(text string) (n usage.Narrow, err error) {
	counter, rate, ok := strings.Cut(text, "=")
	colon := strings.LastIndexByte(counter, ':')
	if ok && colon > 0 && colon < len(counter)-1 {
		n.Device, n.Column = counter[:colon], counter[colon+1:]
		if n.Rate, err = strconv.ParseUint(rate, 10, 32); err == nil && n.Rate > 0 && anyCounter(n.Column) {
			return n, nil
		}
	}
	return n, usagef("such as edge-1:packets_dropped=1500000; docs/data-dictionary.md has the columns", "--counter32 %q is no DEVICE:COLUMN=RATE of a counter", text)
}

// anyCounter reports whether some record has a counter in a column.
func anyCounter(column string) bool {
	return slices.ContainsFunc(record.Builtin().Definitions(), func(def *record.Definition) bool {
		i := def.ColumnIndex(column)
		return i >= 0 && def.Columns[i].Role == record.Counter
	})
}

func (a *app) usage(ctx context.Context, f *usageFlags) (err error) {
	o, err := f.options()
	if err != nil {
		return err
	}
	at, err := f.find(ctx, a)
	if err != nil {
		return err
	}
	if o.Narrow, err = narrows(slices.Concat(at.narrow, f.narrow)); err != nil {
		return err
	}
	p := a.progress()
	rows := int64(0)
	o.OnDay = func(d usage.Day) {
		rows += d.Stats.Rows
		p.set("usage of %s, %s: %d rows", d.Table, d.Date, rows)
	}
	reports, changed, err := a.refreshUsage(ctx, at.tables(), at.tablesDir(), o)
	p.done()
	if err == nil && changed {
		err = errors.Join(a.writeSidecarsAt(ctx, &at), a.cleanReplaced(ctx, at.tables()))
	}
	if err != nil {
		return err
	}
	return a.printUsage(reports)
}

// refreshUsage brings usage tables up to date. dir is the local directory of the
// dataset; of two processes that do it at once one is refused.
func (a *app) refreshUsage(ctx context.Context, dataset depot.Depot, dir string, o usage.Options) (reports []usage.TableReport, changed bool, err error) {
	state := filepath.Join(dir, usage.StateDir)
	o.Dataset, o.Scratch = dataset, filepath.Join(state, "making")
	o.Version, o.Now = buildVersion(), a.pace.clock.Now
	if err := durable.MkdirAll(o.Scratch); err != nil {
		return nil, false, err
	}
	lock, err := durable.AcquireLock(filepath.Join(state, "lock"))
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := usage.RemoveLeftovers(o.Scratch); err != nil {
		return nil, false, err
	}
	reports, err = usage.Refresh(ctx, o)
	return reports, slices.ContainsFunc(reports, func(r usage.TableReport) bool { return r.Computed+r.Removed > 0 }), err
}

// writeSidecarsAt brings the documents in the root of a dataset up to date.
func (a *app) writeSidecarsAt(ctx context.Context, at *place) (err error) {
	if _, missing := os.Stat(at.ledger); missing != nil && (at.lock != "" || at.ledger == "") {
		return a.writeSidecars(ctx, at.tables(), nil)
	}
	l, err := ledger.Open(ctx, at.ledger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return a.writeSidecars(ctx, at.tables(), l)
}

// writeSidecars is writeSidecarsAt with an open ledger, nil if there is none.
func (a *app) writeSidecars(ctx context.Context, dataset depot.Depot, l *ledger.Ledger) error {
	s := export.Sidecars{Dataset: dataset, Tables: allTables(), Now: a.pace.clock.Now}
	if l != nil {
		s.Devices = func(ctx context.Context) ([]export.DeviceFiles, error) { return deviceFiles(ctx, l) }
	}
	return s.Write(ctx)
}

// cleanReplaced removes what was replaced long enough ago.
func (a *app) cleanReplaced(ctx context.Context, dataset depot.Depot) error {
	_, err := export.CleanReplaced(ctx, dataset, a.pace.clock.Now(), export.DefaultGrace)
	return err
}

// allTables are the schemas of all tables that a dataset may have.
func allTables() []*export.Table {
	var all []*export.Table
	for _, def := range record.Builtin().Definitions() {
		all = append(all, export.Schema(def))
	}
	return append(append(all, export.UnknownSchema()), derivedTables()...)
}

func (a *app) printUsage(reports []usage.TableReport) error {
	if a.json {
		if reports == nil {
			reports = []usage.TableReport{}
		}
		return a.printJSON(map[string]any{"tables": reports})
	}
	if len(reports) == 0 {
		_, err := fmt.Fprintln(a.stdout, "the dataset has no records with counters in that time")
		return err
	}
	var rows [][]string
	var all usage.Stats
	days, computed := 0, 0
	for _, r := range reports {
		n := r.Computed + r.Unchanged + r.Removed + r.Kept
		days, computed = days+n, computed+r.Computed
		all.Add(r.Stats)
		rows = append(rows, []string{r.Table, fmt.Sprint(n), fmt.Sprint(r.Computed), fmt.Sprint(r.Rows), fmt.Sprint(r.Known), fmt.Sprint(r.Repeated), gapText(r.GapSeconds), breaksText(r.Breaks)})
	}
	if err := table(a.stdout, []string{"TABLE", "DAYS", "COMPUTED", "ROWS", "WITH COUNTERS", "REPEATED", "GAPS", "BREAKS"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "\n%s of %s, %d computed: %d rows, %d with counters, gaps of %s\n", plural(days, "day"), plural(len(reports), "table"), computed, all.Rows, all.Known, gapText(all.GapSeconds))
	return err
}

// gapText is the length of gaps for people.
func gapText(seconds int64) string {
	if seconds > 200*365*86400 {
		return fmt.Sprint(seconds, " s")
	}
	return (time.Duration(seconds) * time.Second).String()
}

// breaksText lists the reasons, the most frequent first.
func breaksText(breaks map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(breaks), func(a, b string) int {
		if breaks[a] != breaks[b] {
			return int(min(max(breaks[b]-breaks[a], -1), 1))
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprint(name, " ", breaks[name])
	}
	return strings.Join(names, ", ")
}
