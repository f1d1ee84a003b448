package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/internal/depot"
	"acctpull/ledger"
	"acctpull/lineage"
	"acctpull/record"
)

// lineageFlags say where things are, and which row is meant.
type lineageFlags struct {
	config, data, dataset string
	device, table, at     string
	quick                 bool
	reading               readFlags
}

func (a *app) lineageCommand() *cobra.Command {
	var f lineageFlags
	c := &cobra.Command{
		Use:   "lineage {ROW | FILE} {-c FILE | --data DIR | --dataset DIR}",
		Short: "Show where a row or a file came from, and what stands on it",
		Long: `lineage follows the chain between a device and the dataset, in both directions, and
proves the digest of every file that it names.

FILE is a raw accounting file, by its path in the archive, its name, or the first
digits of its SHA-256: where it came from, when, by which visit, what quarantine said,
which batch exported it, which files of the dataset have its rows now, and what usage
stands on it. Or FILE is a Parquet file of the dataset: what made it, what it replaced,
and the raw files that it has rows of.

ROW is PATH.parquet#N, N counting from 0 as file_row_number does in DuckDB, or a
filter: --table, and --device, --at or COLUMN=VALUE. It shows the row, its raw file,
and where in that (in bytes of the decompressed file) the record begins.

It ends with code 1 if a digest is wrong, a file is missing, rows are missing or too
many, or a raw file does not give the row.`,
		Example: `  acctpull lineage --data ./data act1011-20261121-101500.xml.gz
  acctpull lineage -c fleet.yaml 3f5c0a7e
  acctpull lineage --data ./data service-ingress-octets/v1/date=2026-11-21/3f5c….parquet
  acctpull lineage --data ./data service-ingress-octets/v1/date=2026-11-21/3f5c….parquet#17
  acctpull lineage --data ./data --table service-ingress-octets --device edge-1 --at 2026-11-21T10:15:00Z sap=1/1/1:100`,
		RunE: func(c *cobra.Command, args []string) error { return a.lineage(c.Context(), f, args) },
	}
	fl := c.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "inventory `file`; docs/service.md describes it")
	fl.StringVar(&f.data, "data", "", "data `directory` of pull or serve, or the one that export wrote to")
	fl.StringVar(&f.dataset, "dataset", "", "dataset `directory` without archive and ledger")
	fl.StringVar(&f.device, "device", "", "only files or rows of the device of this `name`")
	fl.StringVar(&f.table, "table", "", "`name` of the table of the rows that are meant")
	fl.StringVar(&f.at, "at", "", "interval end of the rows that are meant: a `time`, RFC 3339")
	fl.BoolVar(&f.quick, "quick", false, "leave the digests alone")
	f.reading.registerMeaning(fl)
	return c
}

// lineageResult is what lineage prints as JSON; one of its lists is filled.
type lineageResult struct {
	Raw  []lineage.Raw  `json:"raw_files,omitempty"`
	File *lineage.File  `json:"file,omitempty"`
	Rows []*lineage.Row `json:"rows,omitempty"`
}

func (r *lineageResult) wrong() bool {
	wrong := r.File != nil && r.File.Wrong()
	for i := range r.Raw {
		wrong = wrong || r.Raw[i].Wrong()
	}
	for _, row := range r.Rows {
		wrong = wrong || row.Wrong()
	}
	return wrong
}

func (a *app) lineage(ctx context.Context, f lineageFlags, args []string) (err error) {
	filter, err := f.filter(args)
	if err != nil {
		return err
	}
	o, done, err := a.lineageOptions(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	progress := a.progress()
	o.OnProgress = func(files int) { progress.set("looking: %d files", files) }
	var res lineageResult
	t := lineage.New(o)
	if filter != nil {
		res.Rows, err = t.Rows(ctx, *filter)
	} else {
		err = f.ask(ctx, t, args[0], &res)
	}
	progress.done()
	if errors.Is(err, lineage.ErrNothing) {
		return &usageError{err: err, hint: "paths are relative to the data directory or the dataset; acctpull lineage --help"}
	}
	if err != nil {
		return err
	}
	if err := a.printLineage(&res); err != nil {
		return err
	}
	if res.wrong() {
		return &outcome{code: exitFailed}
	}
	return nil
}

// filter makes the filter of the flags, nil if a file or one row is named.
func (f *lineageFlags) filter(args []string) (*lineage.Filter, error) {
	if f.table == "" {
		if len(args) != 1 || f.at != "" {
			return nil, usagef("see: acctpull lineage --help", "one file or row is needed, or --table")
		}
		return nil, nil
	}
	x := &lineage.Filter{Table: f.table, Device: f.device, Columns: map[string]string{}}
	if f.at != "" {
		at, err := parseMoment(f.at)
		if err != nil {
			return nil, err
		}
		x.At = at
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, usagef("columns are in the data dictionary: sap=1/1/1:100", "%q is not COLUMN=VALUE", arg)
		}
		x.Columns[name] = value
	}
	if f.device == "" && f.at == "" && len(args) == 0 {
		return nil, usagef("", "--table needs --device, --at or COLUMN=VALUE")
	}
	return x, nil
}

// ask asks for the file or the row that an argument names.
func (f *lineageFlags) ask(ctx context.Context, t *lineage.Tracer, arg string, res *lineageResult) (err error) {
	name, number, isRow := strings.Cut(arg, "#")
	if !strings.HasSuffix(name, ".parquet") {
		res.Raw, err = t.Raws(ctx, below(arg, "devices", "quarantine"), f.device)
		return err
	}
	name = datasetPath(name)
	if !isRow {
		res.File, err = t.File(ctx, name)
		return err
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 {
		return usagef("rows count from 0", "%q is no row number", number)
	}
	row, err := t.Row(ctx, name, n)
	res.Rows = []*lineage.Row{row}
	return err
}

// below cuts a path in front of the last directory of one of the names.
func below(arg string, dirs ...string) string {
	p := filepath.ToSlash(arg)
	for _, dir := range dirs {
		if i := strings.LastIndex("/"+p, "/"+dir+"/"); i >= 0 {
			return p[i:]
		}
	}
	return p
}

// datasetPath is the path in the dataset of a file that is named by any path.
func datasetPath(arg string) string {
	e := strings.Split(filepath.ToSlash(arg), "/")
	return strings.Join(e[max(0, len(e)-4):], "/")
}

// lineageOptions finds archive, ledger and dataset.
func (a *app) lineageOptions(ctx context.Context, f lineageFlags) (o lineage.Options, done func() error, err error) {
	o = lineage.Options{Quick: f.quick, Local: func(at string) (io.ReadCloser, error) { return os.Open(at) }}
	nothing := func() error { return nil }
	if f.dataset != "" {
		if f.config != "" || f.data != "" {
			return o, nothing, usagef("", "--dataset goes without -c and --data")
		}
		if !isDir(f.dataset) {
			return o, nothing, usagef("", "%s is not a directory", f.dataset)
		}
		o.Dataset = depot.NewDir(f.dataset)
		reading, err := f.reading.options()
		o.Reader = func(string) record.ReaderOptions { return reading }
		return o, nothing, err
	}
	p, err := a.findPlace(ctx, f.config, f.data, f.reading)
	if err != nil {
		return o, nothing, err
	}
	part := func(dir string) depot.Depot {
		if dir == "" {
			return p.depot
		}
		return depot.Sub(p.depot, dir)
	}
	o.Data, o.Dataset, o.Rejects, o.Reader = p.depot, part(p.dataset), part(p.quarantine), p.readingOf
	if _, err := os.Stat(p.ledger); p.lock != "" && errors.Is(err, fs.ErrNotExist) {
		return o, nothing, nil // the dataset tells what it can
	}
	l, err := ledger.Open(ctx, p.ledger)
	if err != nil {
		return o, nothing, err
	}
	o.Ledger = l
	return o, l.Close, nil
}

func (a *app) printLineage(r *lineageResult) error {
	if a.json {
		return a.printJSON(r)
	}
	for i := range r.Raw {
		if err := a.printRaw(&r.Raw[i]); err != nil {
			return err
		}
	}
	if r.File != nil {
		if err := a.printDataFile(r.File); err != nil {
			return err
		}
	}
	for _, row := range r.Rows {
		if err := a.printRow(row); err != nil {
			return err
		}
	}
	return nil
}

// moment is a time for people, "" if there is none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// facts prints what is known about a thing, without what is empty.
func (a *app) facts(pairs ...string) error {
	var rows [][]string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			rows = append(rows, pairs[i:i+2])
		}
	}
	return table(a.stdout, []string{"WHAT", "VALUE"}, rows)
}

func (a *app) printRaw(r *lineage.Raw) error {
	visit, quarantine := "", ""
	if v := r.Visit; v != nil {
		visit = fmt.Sprintf("%s to %s (%s)", moment(v.Began), moment(v.Ended), plural(v.Visits, "visit"))
	}
	if n := r.Quarantine; n != nil {
		quarantine = fmt.Sprintf("since %s: %s", moment(n.Since), n.Reason)
		if !n.Released.IsZero() {
			quarantine += fmt.Sprintf("; released %s by %s: %s", moment(n.Released), n.By, n.Why)
		}
		if !n.Purged.IsZero() {
			quarantine += "; purged " + moment(n.Purged)
		}
	}
	err := a.facts("raw file", r.Name, "device", r.Device, "sha256", r.SHA256, "bytes", fmt.Sprint(r.Size),
		"listed in", r.Listed, "time there", moment(r.Modified), "first seen", moment(r.First), "by visit", visit,
		"state", r.State, "since", moment(r.Changed), "reason", r.Reason, "same content as", r.AliasOf, "stored", r.Stored, "digest", string(r.Digest),
		"quarantine", quarantine, "unusable records", fmt.Sprint(r.Unusable), "batch", r.Batch,
		"rows exported", fmt.Sprint(r.Exported), "rows now", fmt.Sprint(r.Rows))
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range r.Places {
		rows = append(rows, []string{p.Table, p.Date, fmt.Sprint(p.Rows), kindOf(&p), string(p.Digest), p.Path})
	}
	if err := a.more([]string{"TABLE", "DATE", "ROWS", "FILE OF", "DIGEST", "PARQUET"}, rows); err != nil {
		return err
	}
	if err := a.printGone(r.Gone); err != nil {
		return err
	}
	rows = nil
	for _, u := range r.Usage {
		rows = append(rows, []string{u.Table, u.Date, fmt.Sprint(u.Rows), fmt.Sprint(u.Follows), u.Path})
	}
	return a.more([]string{"USAGE", "DATE", "ROWS", "ROWS THAT FOLLOW", "PARQUET"}, rows)
}

// more prints one more table, if it has rows.
func (a *app) more(header []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout)
	return table(a.stdout, header, rows)
}

// kindOf says what made a file.
func kindOf(p *lineage.Place) string {
	if p.Batch != "" {
		return "batch " + p.Batch[:min(12, len(p.Batch))]
	}
	return strings.TrimSpace(p.Kind + " " + moment(p.Since))
}

func (a *app) printGone(gone []lineage.Gone) error {
	var rows [][]string
	for _, g := range gone {
		rows = append(rows, []string{g.Path, fmt.Sprint(g.Rows), g.Reason, moment(g.Time), cmp.Or(strings.Join(g.By, " "), "nothing there")})
	}
	return a.more([]string{"WAS", "ROWS", "WENT FOR", "AT", "BY"}, rows)
}

func (a *app) printDataFile(f *lineage.File) error {
	made := ""
	if f.Made != nil {
		made = fmt.Sprintf("%s of %s", f.Made.Kind, plural(f.Made.Inputs, "input"))
	}
	err := a.facts("data file", f.Path, "table", f.Table, "date", f.Date, "rows", fmt.Sprint(f.Rows), "bytes", fmt.Sprint(f.Bytes),
		"file of", kindOf(&f.Place), "made", made, "in place of", strings.Join(f.Instead, " "), "digest", string(f.Digest))
	if err != nil {
		return err
	}
	if err := a.printGone(f.Gone); err != nil {
		return err
	}
	var rows [][]string
	for _, s := range f.Sources {
		rows = append(rows, []string{s.Device, s.Name, s.SHA256, fmt.Sprint(s.Rows), string(s.Digest), s.Stored})
	}
	return a.more([]string{"DEVICE", "RAW FILE", "SHA256", "ROWS", "DIGEST", "STORED"}, rows)
}

func (a *app) printRow(r *lineage.Row) error {
	var rows [][]string
	for _, v := range r.Values {
		rows = append(rows, []string{v.Column, v.Text})
	}
	if err := table(a.stdout, []string{"COLUMN", "VALUE"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	record := r.Unread
	if record == "" {
		record = "none reads like the row now: was the profile changed? acctpull export --rebuild"
	}
	if r.Found > 0 {
		record = fmt.Sprintf("begins at byte %d of the decompressed file", r.Offset)
		if r.Found > 1 {
			record += fmt.Sprintf(", the first of %d that are the same", r.Found)
		}
	}
	return a.facts("row", fmt.Sprintf("%s#%d", r.Path, r.Number), "file of", kindOf(&r.File), "its digest", string(r.File.Digest),
		"raw file", r.Source.Name, "sha256", r.Source.SHA256, "stored", r.Source.Stored, "its digest", string(r.Source.Digest),
		"record", record, "device", r.Source.Device)
}
