package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"acctpull/policy"
	"acctpull/policy/classic"
)

// configFormats are what config show can print.
var configFormats = []struct {
	name  string
	print func(*app, *policy.Set) ([]byte, error)
}{
	{"yaml", func(_ *app, s *policy.Set) ([]byte, error) { return s.YAML() }},
	{"json", func(_ *app, s *policy.Set) ([]byte, error) { return s.JSON() }},
	{"classic", (*app).classicText},
}

// classicText prints a configuration for the classic command line, and tells
// on stderr what that has no words for.
func (a *app) classicText(s *policy.Set) ([]byte, error) {
	text, lost := classic.Print(s.Config(), classic.Options{})
	for _, l := range lost {
		if _, err := fmt.Fprintf(a.stderr, "not in the text: %s\n", l); err != nil {
			return nil, err
		}
	}
	return text, nil
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
written out, file-ids and policies by id. The format classic is what "info" of a
7210 SAS or SR OS router would print; what that has no words for is told on stderr.`,
		Example: `  acctpull config show agent.yaml
  acctpull config show -c agent.yaml --format json
  acctpull config show agent.yaml --format classic`,
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
		printed, err := f.print(a, set)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(printed)
		return err
	}
	return usagef("", "there is no format %q: %s", format, formatNames())
}
