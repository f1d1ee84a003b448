package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"acctpull/internal/durable"
	"acctpull/record"
)

func (a *app) inspectCommand() *cobra.Command {
	var f readFlags
	profileOut := ""
	c := &cobra.Command{
		Use:   "inspect FILE...",
		Short: "Tell what is in accounting files of any shape, and what is unknown about them",
		Long: `inspect prints the shape of accounting files: their elements, where the fields
are, which records and row sets they are, names nobody knows, the time span, and
what went wrong. No public document shows the files of a device, so the first
file of a new device is best looked at with this command.

--profile-out writes a skeleton profile. Fill in what only a person can know,
and give it to pull, export and inspect with --profile.`,
		Example: `  acctpull inspect act1111-20261121-101500.xml.gz
  acctpull inspect --profile-out router.yaml captured/*.xml.gz
  acctpull export --profile router.yaml captured/ --out ./dataset`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.inspect(c.Context(), f, profileOut, args) },
	}
	c.Flags().StringVar(&profileOut, "profile-out", "", "write a skeleton profile to this new `file`")
	f.register(c.Flags())
	return c
}

func (a *app) inspect(ctx context.Context, f readFlags, profileOut string, args []string) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	var files []record.Input
	for _, path := range args {
		if _, err := os.Stat(path); err != nil {
			return usagef("", "%w", err)
		}
		files = append(files, record.FileInput(path))
	}
	report, err := record.Inspect(ctx, files, o)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(report)
	} else {
		err = report.WriteText(a.stdout)
	}
	if err != nil {
		return err
	}
	if profileOut != "" {
		if err := writeNew(profileOut, []byte(report.Profile)); err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "acctpull: skeleton profile written to %s\n", profileOut)
	}
	if slices.ContainsFunc(report.Files, func(r record.FileReport) bool { return r.Error != "" || r.BadRecords > 0 }) {
		return &outcome{code: exitPartly}
	}
	return nil
}

// writeNew writes a file that must not exist yet: a person may have worked on
// the one that does.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, durable.DataMode)
	if errors.Is(err, os.ErrExist) {
		return usagef("choose another name, or remove it", "%s exists already", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
