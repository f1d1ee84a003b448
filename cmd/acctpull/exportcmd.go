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
	out, device string
	rebuild     bool
	reading     readFlags
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export FILE|DIR... --out DIR",
		Short: "Turn accounting files that are already on disk into Parquet",
		Long: `export reads accounting files (.xml.gz or .xml, of any shape) and writes one
Parquet dataset per record name to DIR, partitioned by day. It needs no network
and no configuration. The files are only read.

Every file is exported once: files that were exported to DIR before are skipped,
by their content. The device of a file is the name of the directory it lies in
(an act directory does not count), or --device.`,
		Example: `  acctpull export ./files --out ./dataset
  acctpull export --device edge-7 act1111-20261121-101500.xml.gz --out ./dataset
  duckdb -c "from read_parquet('dataset/service-ingress-octets/v1/**/*.parquet', hive_partitioning=true)"`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.export(c.Context(), f, args) },
	}
	c.Flags().StringVarP(&f.out, "out", "o", "", "dataset `directory`; made if it does not exist")
	c.Flags().StringVar(&f.device, "device", "", "device `name` of all files given")
	c.Flags().BoolVar(&f.rebuild, "rebuild-ledger", false, "rebuild a lost ledger from the dataset first")
	f.reading.register(c.Flags())
	_ = c.MarkFlagRequired("out")
	return c
}

func (a *app) export(ctx context.Context, f exportFlags, args []string) (err error) {
	reading, err := f.reading.options()
	if err != nil {
		return err
	}
	if f.device != "" {
		if err := pull.CheckDevice(f.device); err != nil {
			return &usageError{err: err}
		}
	}
	progress := a.progress()
	inputs, err := findInputs(ctx, args, f.device, f.out, progress)
	if err != nil {
		return err
	}
	s, err := openDataset(ctx, f.out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := a.prepare(ctx, s, f.rebuild, reading); err != nil {
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
