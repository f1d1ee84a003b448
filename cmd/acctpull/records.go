package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"acctpull/record"
)

func (a *app) recordsCommand() *cobra.Command {
	xsd, dictionary := false, false
	c := &cobra.Command{
		Use:   "records [NAME]",
		Short: "Print the record catalogue: names, fields, columns, and how well each is known",
		Example: `  acctpull records
  acctpull records service-ingress-octets
  acctpull records --xsd > accounting.xsd`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c := record.Builtin()
			switch {
			case xsd:
				_, err := a.stdout.Write(record.XSD(c))
				return err
			case dictionary:
				_, err := a.stdout.Write(record.Dictionary(c))
				return err
			case len(args) == 0:
				return a.textOrJSON(record.Overview(c), func() ([]byte, error) { return record.OverviewJSON(c) })
			}
			d, ok := c.Lookup(record.Name(args[0]))
			if !ok {
				return usagef("acctpull records lists all of them", "no record %q in the catalogue", args[0])
			}
			return a.textOrJSON(record.Describe(d), func() ([]byte, error) { return record.DescribeJSON(d) })
		},
	}
	c.Flags().BoolVar(&xsd, "xsd", false, "print the XML schema of the files that acctpull writes")
	c.Flags().BoolVar(&dictionary, "dictionary", false, "print the data dictionary as Markdown")
	c.MarkFlagsMutuallyExclusive("xsd", "dictionary")
	return c
}

func (a *app) textOrJSON(text string, js func() ([]byte, error)) error {
	if !a.json {
		_, err := fmt.Fprint(a.stdout, text)
		return err
	}
	b, err := js()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", b)
	return err
}
