package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"acctpull/audit"
	"acctpull/internal/depot"
	"acctpull/pull/fleet"
	"acctpull/record"
)

type checkFlags struct {
	config, data  string
	rebuild, days bool
	removed       string
	certificate   string
	reading       readFlags
}

func (a *app) checkCommand() *cobra.Command {
	var f checkFlags
	c := &cobra.Command{
		Use:   "check {-c FILE | --data DIR}",
		Short: "Prove archive, ledger and dataset against each other, from the bytes on the disk",
		Long: `check reads every file of the archive, the quarantine and the dataset back from the
disk, compares it with its digest in the ledger, reads accounting files to their
last record, and adds up: files seen = fetched + quarantined + lost + waiting, and
records read = exported + refused, for each device and day. One flipped bit
anywhere is found. It only reads, and can run at any time beside a service.

It ends with code 1 if anything is damaged, missing, unknown or does not add up;
each such file is listed with what to do about it.

--rebuild first makes a lost or damaged ledger anew from archive, quarantine and
dataset. The old one is kept beside it. Nothing is exported twice afterwards. No
other acctpull may be running for that. A ledger in PostgreSQL is rebuilt into a new,
empty database.

--certificate proves a certificate instead: its own digest, the verdicts as the
ledger gives them now, and the bytes of every file that it names. It ends with code 1
and says what is different if it does not hold, or was changed.`,
		Example: `  acctpull check --data /var/lib/acctpull
  acctpull check -c fleet.yaml --json | jq .findings
  acctpull check --data ./data --days
  acctpull check --data ./data --rebuild
  acctpull check -c fleet.yaml --certificate october.json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.check(c.Context(), f) },
	}
	fl := c.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "inventory `file`; docs/service.md describes it")
	fl.StringVar(&f.data, "data", "", "data `directory` of pull or serve, or the one that export wrote to")
	fl.BoolVar(&f.rebuild, "rebuild", false, "make the ledger anew from archive, quarantine and dataset first")
	fl.BoolVar(&f.days, "days", false, "print the sums of every device and day")
	fl.StringVar(&f.removed, "removed-before", "", "`day` (2026-01-31): exported files from before it may have been removed from the archive on purpose")
	fl.StringVar(&f.certificate, "certificate", "", "prove this `file` of acctpull certificate instead: its digest, its verdicts, and every file it names")
	f.reading.registerMeaning(fl)
	return c
}

// place is a directory of ours on which a command works without holding it.
type place struct {
	data                string // local directory
	depot               depot.Depot
	dataset, quarantine string // in the depot
	ledger, lock        string // ledger may hold a password; lock is "" if nodes share the ledger
	state               string // where what is set aside goes
	reading             record.ReaderOptions
	of                  readerOf // nil: reading holds for all devices
	narrow              []string // counters of 32 bits, as the inventory has them
}

// findPlace turns -c or --data into a place.
func (a *app) findPlace(ctx context.Context, config, data string, flags readFlags) (place, error) {
	var p place
	var inv *fleet.Inventory
	switch {
	case (config == "") == (data == ""):
		return p, usagef("a data directory is what pull --out or the key data of an inventory names", "one of -c FILE and --data DIR is needed")
	case config != "":
		own, reading, err := a.loadInventory(config)
		if err != nil {
			return p, err
		}
		inv, data, p.narrow = own, own.Data, own.Chores.Counter32
		p.of = func(device string) *record.ReaderOptions { return reading[device] }
	}
	var err error
	if p.reading, err = flags.options(); err != nil {
		return p, err
	}
	st, err := os.Stat(data)
	if err != nil {
		return p, usagef("", "%w", err)
	}
	if !st.IsDir() {
		return p, usagef("", "%s is not a directory", data)
	}
	state := data
	p.data, p.depot, p.dataset, p.quarantine = data, depot.NewDir(data), "dataset", "quarantine"
	if own := filepath.Join(data, ".acctpull"); isDir(own) && !isDir(filepath.Join(data, "devices")) {
		state, p.dataset, p.quarantine = own, "", ".acctpull/quarantine"
	}
	p.state, p.ledger, p.lock = state, filepath.Join(state, "ledger.db"), filepath.Join(state, "lock")
	if inv == nil {
		return p, nil
	}
	if inv.Ledger != "" {
		p.lock = ""
		if p.ledger, err = a.ledgerAddress(inv); err != nil {
			return p, err
		}
	}
	p.depot, err = a.openDepot(ctx, inv)
	return p, err
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// readingOf returns how the files of a device are read.
func (p *place) readingOf(device string) record.ReaderOptions {
	if p.of != nil {
		if o := p.of(device); o != nil {
			return *o
		}
	}
	return p.reading
}

func (a *app) check(ctx context.Context, f checkFlags) error {
	if f.certificate != "" {
		return a.checkCertificate(ctx, f)
	}
	p, err := a.findPlace(ctx, f.config, f.data, f.reading)
	if err != nil {
		return err
	}
	o, err := a.auditOptions(p, f)
	if err != nil {
		return err
	}
	if f.rebuild {
		if err := a.rebuildLedger(ctx, p, o); err != nil {
			return err
		}
	}
	progress := a.progress()
	o.Hooks.OnProgress = func(n audit.Progress) { progress.set("checking: %d files, %s", n.Files, size(n.Bytes)) }
	days := []audit.Day{}
	if f.days {
		o.Hooks.OnDay = func(d audit.Day) { days = append(days, d) }
	}
	report, err := audit.Check(ctx, o)
	progress.done()
	if err != nil {
		return err
	}
	if err := a.printAudit(report, days, f.days); err != nil {
		return err
	}
	if !report.Whole() {
		return &outcome{code: exitFailed}
	}
	return nil
}

func (a *app) auditOptions(p place, f checkFlags) (audit.Options, error) {
	o := audit.Options{Data: p.depot, Dataset: p.dataset, Quarantine: p.quarantine, Ledger: p.ledger, Lock: p.lock, Read: contents(p.readingOf)}
	if f.removed != "" {
		t, err := time.Parse(time.DateOnly, f.removed)
		if err != nil {
			return o, usagef("a day is 2026-01-31", "--removed-before %q: %w", f.removed, err)
		}
		o.RemovedBefore = t
	}
	return o, nil
}

// contents reads accounting files for a check. What is not whole was refused
// when it came, so a file that was cut off and taken nevertheless is as it was
// if its digest is.
func contents(of func(device string) record.ReaderOptions) func(ctx context.Context, device, name string, src io.Reader) (audit.Content, error) {
	var readers sync.Map // of record.ReaderOptions to *sync.Pool
	return func(ctx context.Context, device, name string, src io.Reader) (c audit.Content, err error) {
		o := of(device)
		o.Salvage = true
		got, _ := readers.LoadOrStore(readerKey{o.Profile, o.Record, o.Platform}, &sync.Pool{New: func() any { return record.NewReader(o) }})
		pool := got.(*sync.Pool)
		r := pool.Get().(*record.Reader)
		defer pool.Put(r)
		if src = (&ctxReader{ctx, src}); strings.HasSuffix(name, ".xml") {
			r.ResetXML(src, name)
		} else {
			r.Reset(src, name)
		}
		stats, err := r.Verify()
		c = audit.Content{Records: stats.Records, Refused: stats.BadRecords}
		var file *record.FileError
		if errors.As(err, &file) && (file.Kind == record.KindShape || file.Truncated()) {
			c.Vague, c.Truncated, err = file.Kind == record.KindShape, file.Truncated(), nil
		}
		if err == nil && !c.Vague {
			c.Facts = factsOf(r.Header(), stats, name)
			c.Facts.Truncated = c.Truncated
		}
		return c, err
	}
}

// readerKey tells readers apart.
type readerKey struct {
	profile  *record.Profile
	record   record.Name
	platform string
}

// checkResult is what check prints as JSON.
type checkResult struct {
	Whole    bool            `json:"whole"`
	Findings []audit.Finding `json:"findings"`
	More     int             `json:"more_findings,omitempty"`
	Sealed   bool            `json:"ledger_sealed"`
	audit.Totals
	Devices int         `json:"devices"`
	Outputs int         `json:"dataset_files"`
	Rows    int64       `json:"dataset_rows"`
	Files   int         `json:"files_read"`
	Bytes   int64       `json:"bytes_read"`
	Days    []audit.Day `json:"days,omitempty"`
}

func (a *app) printAudit(r *audit.Report, days []audit.Day, withDays bool) error {
	if a.json {
		res := checkResult{Whole: r.Whole(), Findings: r.Findings, More: r.More, Sealed: r.Sealed, Totals: r.Totals,
			Devices: r.Devices, Outputs: r.Outputs, Rows: r.Rows, Files: r.Files, Bytes: r.Bytes, Days: days}
		if res.Findings == nil {
			res.Findings = []audit.Finding{}
		}
		return a.printJSON(res)
	}
	if withDays {
		var rows [][]string
		for _, d := range days {
			rows = append(rows, []string{d.Device, d.Day, fmt.Sprint(d.Seen), fmt.Sprint(d.Fetched), fmt.Sprint(d.Quarantined), fmt.Sprint(d.Lost), fmt.Sprint(d.Waiting),
				fmt.Sprint(d.Read), fmt.Sprint(d.Exported), fmt.Sprint(d.Refused), fmt.Sprint(d.Pending)})
		}
		if err := table(a.stdout, []string{"DEVICE", "DAY", "SEEN", "FETCHED", "QUARANTINE", "LOST", "WAITING", "RECORDS", "EXPORTED", "REFUSED", "PENDING"}, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	var rows [][]string
	for _, f := range r.Findings {
		rows = append(rows, []string{f.File, string(f.Kind), f.What, f.Do})
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"FILE", "IS", "WHAT", "DO"}, rows); err != nil {
			return err
		}
		if r.More > 0 {
			fmt.Fprintf(a.stdout, "and %d more\n", r.More)
		}
		fmt.Fprintln(a.stdout)
	}
	t := r.Totals
	fmt.Fprintf(a.stdout, "%s: %d files seen = %d fetched + %d quarantined + %d lost + %d waiting + %d removed\n",
		plural(r.Devices, "device"), t.Seen, t.Fetched, t.Quarantined, t.Lost, t.Waiting, t.Removed)
	fmt.Fprintf(a.stdout, "%d records read = %d exported + %d refused + %d pending; %d rows in %s of the dataset\n",
		t.Read, t.Exported, t.Refused, t.Pending, r.Rows, plural(r.Outputs, "file"))
	if !r.Sealed {
		fmt.Fprintln(a.stdout, "the ledger is in use or was not closed: bytes of its file that hold nothing were not compared")
	}
	verdict := "everything is whole"
	if !r.Whole() {
		verdict = plural(len(r.Findings)+r.More, "finding")
	}
	_, err := fmt.Fprintf(a.stdout, "%s and %s read back: %s\n", plural(r.Files, "file"), size(r.Bytes), verdict)
	return err
}
