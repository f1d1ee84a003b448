package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"acctpull/internal/depot"
	"acctpull/pull"
	"acctpull/record"
	"acctpull/report"
)

type proofFlags struct {
	config, archive string
	narrow          []string
	reading         readFlags
}

func (a *app) proofCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "proof",
		Short: "Prove the figures of a report from the accounting files alone",
		Example: `  acctpull report p95 --data ./data --month 2026-11 --sap 1/1/3:100 --proof bill.json
  acctpull proof verify bill.json --archive ./data`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return usagef("see: acctpull proof --help", "what about a proof? verify it")
		},
	}
	var f proofFlags
	verify := &cobra.Command{
		Use:   "verify FILE {--archive DIR | -c FILE}",
		Short: "Derive the figures of a proof anew from the accounting files, and compare",
		Long: `verify finds each accounting file that the proof names in the archive, by its device
and its SHA-256, wherever the archive is now. It reads all bytes of each, derives
deltas and figures again with the rules that the proof names, and compares them to
the last digit. It needs neither the dataset nor the ledger, and writes nothing but
temporary files.

It ends with code 1 if a file is missing or was changed, which it names, or if
anything in the proof is not what the files say.

Files whose meaning a profile told need the same --profile again, or -c.`,
		Example: `  acctpull proof verify bill.json --archive /mnt/moved/data
  acctpull --json proof verify bill.json -c fleet.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.verifyProof(c.Context(), args[0], &f) },
	}
	verify.Flags().StringVarP(&f.config, "config", "c", "", "inventory `file` with the data directory and the profiles of devices")
	verify.Flags().StringVar(&f.archive, "archive", "", "data `directory` of pull, or any directory with the accounting files below")
	verify.Flags().StringArrayVar(&f.narrow, "counter32", nil, "`DEVICE:COLUMN=RATE`: a counter of 32 bits, as acctpull usage was told; may be repeated")
	f.reading.registerMeaning(verify.Flags())
	c.AddCommand(verify)
	return c
}

// verifyProof proves a proof file.
func (a *app) verifyProof(ctx context.Context, name string, f *proofFlags) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return usagef("", "%w", err)
	}
	proof, err := report.ReadProof(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	how, err := f.verification(ctx, a)
	if err != nil {
		return err
	}
	if how.Scratch, err = os.MkdirTemp("", "acctpull-proof-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(how.Scratch)) }()
	v, err := proof.Verify(ctx, how)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(v)
	} else {
		err = a.printVerdict(v)
	}
	if err == nil && len(v.Problems) > 0 {
		return &outcome{code: exitFailed}
	}
	return err
}

func (a *app) printVerdict(v *report.Verdict) error {
	var b strings.Builder
	for _, p := range v.Problems {
		fmt.Fprintf(&b, "%s\n", safe(p))
	}
	if len(v.Problems) == 0 {
		fmt.Fprintf(&b, "the proof holds: %s, %s and %s are what the accounting files say\n", plural(v.Figures, "figure"), plural(v.Rows, "row"), plural(v.Sources, "source file"))
	} else {
		fmt.Fprintf(&b, "the proof does not hold: %s\n", plural(len(v.Problems), "difference"))
	}
	_, err := a.stdout.Write([]byte(b.String()))
	return err
}

// verification finds the archive and how its files are read.
func (f *proofFlags) verification(ctx context.Context, a *app) (how report.Verification, err error) {
	how = report.Verification{Catalogue: record.Builtin(), Identify: identify,
		Archive: report.Archive{Dir: func(device string) string { return "devices/" + pull.DirName(device) }}}
	for _, text := range f.narrow {
		n, err := parseNarrow(text)
		if err != nil {
			return how, err
		}
		how.Narrow = append(how.Narrow, n)
	}
	if (f.config == "") == (f.archive == "") {
		return how, usagef("the archive is the data directory of pull or serve, or a copy of it", "one of --archive DIR and -c FILE is needed")
	}
	if f.archive != "" {
		if !isDir(f.archive) {
			return how, usagef("", "%s is not a directory", f.archive)
		}
		how.Archive.Files = depot.NewDir(f.archive)
		how.Reader, err = f.reading.options()
		return how, err
	}
	p, err := a.findPlace(ctx, f.config, "", f.reading)
	if err != nil {
		return how, err
	}
	how.Archive.Files, how.Reader, how.ReaderFor = p.depot, p.reading, p.of
	return how, nil
}
