package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"acctpull/coverage"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

func (a *app) certificateCommand() *cobra.Command {
	var f coverageFlags
	month, out := "", ""
	c := &cobra.Command{
		Use:   "certificate {-c FILE | --data DIR} --month YYYY-MM",
		Short: "Certify a month: what was expected, received, late and lost, with the digest of every file",
		Long: `certificate writes what the ledger says of a month as JSON: for every device and
accounting policy how many collection intervals were expected and received, what is
not here with its cause, and the SHA-256 of every file. The same ledger gives the
same bytes, and the last line is the digest of all lines before it.

It ends with code 3 if something is missing, lost, corrupt or truncated.`,
		Example: `  acctpull certificate -c fleet.yaml --month 2026-10 --out october.json
  acctpull certificate --data ./data --month 2026-10 --device edge-1`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.certificate(c.Context(), &f, month, out) },
	}
	f.register(c)
	c.Flags().StringVar(&month, "month", "", "the `month`, in UTC: 2026-10")
	c.Flags().StringVarP(&out, "out", "o", "", "write it into this `file` (default: standard output)")
	_ = c.MarkFlagRequired("month")
	return c
}

func (a *app) certificate(ctx context.Context, f *coverageFlags, month, out string) (err error) {
	from, err := time.Parse("2006-01", month)
	if err != nil || from.Year() < 1971 {
		return usagef("2026-10", "%q is no month", month)
	}
	l, devices, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c, err := certify(ctx, l, devices, from)
	if err != nil {
		return err
	}
	text, err := c.Bytes()
	if err != nil {
		return err
	}
	if out == "" {
		_, err = a.stdout.Write(text)
	} else if err = durable.ReplaceFile(out, text, durable.DataMode); err == nil {
		_, err = fmt.Fprintf(a.stdout, "%s: %d intervals expected, %d received, %d waiting, %d in gaps; %s\n", safe(out),
			c.Totals.Expected, c.Totals.Received, c.Totals.Waiting, c.Totals.Gaps, plural(c.Totals.Files, "file"))
	}
	if err == nil && c.Totals.Gaps > 0 {
		return &outcome{code: exitPartly}
	}
	return err
}

// certify makes the certificate of a month from what the ledger says.
func certify(ctx context.Context, l *ledger.Ledger, devices []coverageDevice, from time.Time) (*coverage.Certificate, error) {
	to := from.AddDate(0, 1, 0)
	var parts []coverage.CertificateDevice
	for _, known := range devices {
		d, err := deviceFacts(ctx, l, known.Device, coverage.Window{From: from, To: to})
		if err != nil {
			return nil, err
		}
		parts = append(parts, coverage.Certify(d, from, to, known.delay))
	}
	return coverage.NewCertificate(from, to, parts), nil
}
