package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/pull"
)

type exportFlags struct {
	out           string
	rebuildLedger bool
	reading       readFlags
	// A device and a record name stand for one each where files are named, and
	// choose what is rebuilt.
	devices, records []string
	rebuild, dryRun  bool
	config, data     string
	from, to         string
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export {FILE|DIR... --out DIR | --rebuild --from T --to T {-c FILE | --data DIR}}",
		Short: "Turn accounting files that are already on disk into Parquet, or what is exported anew",
		Long: `export reads accounting files (.xml.gz or .xml, of any shape) and writes one
Parquet dataset per record name to DIR, partitioned by day. It needs no network
and no configuration. The files are only read.

Every file is exported once: files that were exported to DIR before are skipped,
by their content. The device of a file is the name of the directory it lies in
(an act directory does not count), or --device.

--rebuild reads raw files of the archive again, after a profile or the program was
corrected, and puts the rows that they give now in the place of those that are in
the dataset. No device is asked. It takes the files that have rows whose interval
ends from --from up to before --to, those of that time that gave no row, and those
in quarantine that can be read now; --device and --record choose among them. A file
is always rebuilt as a whole. Readers see the old rows or the new ones. Files that
cannot be read now keep their rows, and the code is 3. What is killed is finished by
the next --rebuild. No other acctpull may work in the directory meanwhile.`,
		Example: `  acctpull export ./files --out ./dataset
  acctpull export --device edge-7 act1111-20261121-101500.xml.gz --out ./dataset
  acctpull export --rebuild -c fleet.yaml --from 2026-11-01 --to 2026-11-20 --device edge-7 --dry-run
  acctpull export --rebuild --data ./data --profile fixed.yaml --from 2026-11-01 --to 2026-12-01
  duckdb -c "from read_parquet('dataset/service-ingress-octets/**/*.parquet', hive_partitioning=true)"`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			if f.rebuild {
				return a.rebuildRows(c.Context(), f)
			}
			return a.export(c.Context(), f, args)
		},
	}
	fl := c.Flags()
	fl.StringVarP(&f.out, "out", "o", "", "dataset `directory`; made if it does not exist")
	fl.StringArrayVar(&f.devices, "device", nil, "device `name` of all files given; with --rebuild: only files of this device, may be repeated")
	fl.BoolVar(&f.rebuildLedger, "rebuild-ledger", false, "rebuild a lost ledger from the dataset first")
	f.reading.registerShape(fl)
	fl.StringArrayVar(&f.records, "record", nil, "record `name` of files that do not give one; with --rebuild: only files with rows of this record or of none that is known, may be repeated")
	fl.BoolVar(&f.rebuild, "rebuild", false, "read raw files again and replace their rows")
	fl.BoolVar(&f.dryRun, "dry-run", false, "with --rebuild: only tell what would be replaced")
	fl.StringVarP(&f.config, "config", "c", "", "with --rebuild: inventory `file`; docs/service.md describes it")
	fl.StringVar(&f.data, "data", "", "with --rebuild: data `directory` of pull, or the one that export wrote to")
	fl.StringVar(&f.from, "from", "", "with --rebuild: first `time` of interval ends, RFC 3339 or a date")
	fl.StringVar(&f.to, "to", "", "with --rebuild: `time` before which intervals end")
	return c
}

// check refuses what does not go together.
func (f *exportFlags) check(args []string) error {
	switch {
	case !f.rebuild && (f.dryRun || f.config != "" || f.data != "" || f.from != "" || f.to != ""):
		return usagef("see: acctpull export --help", "-c, --data, --from, --to and --dry-run are for --rebuild")
	case !f.rebuild && (len(args) == 0 || f.out == ""):
		return usagef("see: acctpull export --help", "files and --out are needed, or --rebuild")
	case !f.rebuild && (len(f.devices) > 1 || len(f.records) > 1):
		return usagef("", "--device and --record are given once, for all files")
	case f.rebuild && (len(args) > 0 || f.out != "" || f.rebuildLedger):
		return usagef("it reads the files of the archive", "--rebuild takes no files, no --out and no --rebuild-ledger")
	case f.rebuild && f.config != "" && f.reading != (readFlags{}):
		return usagef("the inventory names the profile of each device", "--profile, --platform and --salvage go with --data")
	}
	return nil
}

func (a *app) export(ctx context.Context, f exportFlags, args []string) (err error) {
	device := ""
	if len(f.devices) > 0 {
		device = f.devices[0]
	}
	if len(f.records) > 0 {
		f.reading.record = f.records[0]
	}
	reading, err := f.reading.options()
	if err != nil {
		return err
	}
	if device != "" {
		if err := pull.CheckDevice(device); err != nil {
			return &usageError{err: err}
		}
	}
	progress := a.progress()
	inputs, err := findInputs(ctx, args, device, f.out, progress)
	if err != nil {
		return err
	}
	s, err := openDataset(ctx, f.out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := a.prepare(ctx, s, f.rebuildLedger, reading); err != nil {
		return err
	}
	added, err := s.ledger.AddLocal(ctx, a.pace.clock.Now(), inputs)
	if err != nil {
		return err
	}
	ex, err := a.exportPending(ctx, s, reading, nil, progress)
	progress.done()
	if err != nil {
		return err
	}
	sum := newSummary("")
	sum.Given, sum.Known = len(inputs), len(inputs)-added
	sum.exported(ex)
	if err := a.printSummary(sum); err != nil {
		return err
	}
	if sum.inError() {
		return &outcome{code: exitPartly}
	}
	return nil
}

// findInputs lists the accounting files that the arguments name. A file named
// itself is taken whatever its name is; below a directory files are taken by
// their extension, but for those that are still being written.
func findInputs(ctx context.Context, args []string, device, out string, p *progress) ([]ledger.Input, error) {
	var paths []string
	for _, arg := range args {
		st, err := os.Stat(arg)
		if err != nil {
			return nil, usagef("", "%w", err)
		}
		if !st.IsDir() {
			paths = append(paths, arg)
			continue
		}
		err = filepath.WalkDir(arg, func(at string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && at != arg && (e.Name() == "act-collect" || strings.HasPrefix(e.Name(), ".") || sameFile(at, out)):
				return fs.SkipDir
			case e.Type().IsRegular() && !durable.IsTemp(e.Name()) && (strings.HasSuffix(e.Name(), ".xml.gz") || strings.HasSuffix(e.Name(), ".xml")):
				paths = append(paths, at)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(paths) == 0 {
		return nil, usagef("a directory is searched for *.xml.gz and *.xml; files with other names can be named one by one", "no accounting files in %s", strings.Join(args, " "))
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	inputs := make([]ledger.Input, 0, len(paths))
	for i, at := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		abs, err := filepath.Abs(at)
		if err != nil {
			return nil, err
		}
		digest, n, err := sum(abs)
		if err != nil {
			return nil, err
		}
		d := device
		if d == "" {
			d = deviceOf(abs)
		}
		if err := pull.CheckDevice(d); err != nil {
			return nil, usagef("name the device: --device NAME", "%s: %w", at, err)
		}
		inputs = append(inputs, ledger.Input{Device: d, Name: filepath.Base(abs), SHA256: digest, Stored: filepath.ToSlash(abs), Size: n})
		p.set("reading: %d of %d files", i+1, len(paths))
	}
	return inputs, nil
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// deviceOf names the device after the directory the file lies in; in an archive
// that is the directory above act/.
func deviceOf(abs string) string {
	dir := filepath.Dir(abs)
	for filepath.Base(dir) == "act" || filepath.Base(filepath.Dir(dir)) == "alt" || filepath.Base(dir) == "alt" {
		dir = filepath.Dir(dir)
	}
	base := filepath.Base(dir)
	if filepath.Base(filepath.Dir(dir)) == "devices" {
		if name, err := pull.DeviceName(base); err == nil {
			return name
		}
	}
	if base == string(filepath.Separator) {
		return "local"
	}
	return base
}

// plural is 1 file, 2 files.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
