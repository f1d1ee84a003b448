package main

import (
	"strings"

	"github.com/spf13/cobra"

	"acctpull/policy"
)

// configFormats are what config show can print.
var configFormats = []struct {
	name  string
	print func(*policy.Set) ([]byte, error)
}{
	{"yaml", (*policy.Set).YAML},
	{"json", (*policy.Set).JSON},
}

func formatNames() string {
	var names []string
	for _, f := range configFormats {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

func (a *app) configShowCommand() *cobra.Command {
	var file, format string
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "Print a configuration with its defaults filled in",
		Long: `show reads a configuration that keeps every rule and prints it with every default
written out, file-ids and policies by id.`,
		Example: `  acctpull config show agent.yaml
  acctpull config show -c agent.yaml --format json`,
		RunE: func(*cobra.Command, []string) error { return a.configShow(file, format) },
	}
	configFlag(c, &file)
	c.Flags().StringVar(&format, "format", "yaml", "`form` to print: "+formatNames())
	return c
}

func (a *app) configShow(file, format string) error {
	if a.json {
		format = "json"
	}
	for _, f := range configFormats {
		if f.name != format {
			continue
		}
		set, err := a.loadConfig(file)
		if err != nil {
			return err
		}
		printed, err := f.print(set)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(printed)
		return err
	}
	return usagef("", "there is no format %q: %s", format, formatNames())
}
