package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"acctpull/policy"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Check, print, import and describe configurations of the agent",
		Example: `  acctpull config check agent.yaml
  acctpull config import router.cfg -o agent.yaml
  acctpull config show agent.yaml --format classic
  acctpull config schema > agent.schema.json`,
	}
	c.AddCommand(a.configCheckCommand(), a.configShowCommand(), a.configImportCommand(), a.configSchemaCommand())
	return c
}

// configFlag lets FILE be given with -c, as for collect, or as the argument.
func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "", "configuration `file`; - for standard input")
	c.Args = cobra.MaximumNArgs(1)
	c.PreRunE = func(_ *cobra.Command, args []string) error {
		if (*file == "") == (len(args) == 0) {
			return usagef("see: "+c.CommandPath()+" --help", "one configuration file is needed, with -c or without")
		}
		if len(args) == 1 {
			*file = args[0]
		}
		return nil
	}
}

// readInput reads a file, or standard input if its name is "-".
func (a *app) readInput(file string) (text []byte, err error) {
	if file == "-" {
		text, err = io.ReadAll(a.stdin)
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, usagef("", "read configuration: %w", err)
	}
	return text, nil
}

// loadConfig reads a configuration; its error has the exit code 2.
func (a *app) loadConfig(file string) (*policy.Set, error) {
	text, err := a.readInput(file)
	if err != nil {
		return nil, err
	}
	set, err := policy.Load(text)
	if err != nil {
		return nil, configError(file, err)
	}
	return set, nil
}

func configError(file string, err error) error {
	return &usageError{err: fmt.Errorf("%s: %w", file, err), hint: "docs/configuration.md describes every key and rule"}
}

func (a *app) configCheckCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Tell every mistake of a configuration with its line, and what is in service",
		Long: `check reads a configuration and touches nothing else. It prints every mistake at
once, each with its line and with both objects if it is between two, and leaves
with code 2. Without a mistake it prints what is in service, and warns of what is
legal and seldom meant.`,
		Example: `  acctpull config check agent.yaml
  acctpull config check -c agent.yaml --json`,
		RunE: func(*cobra.Command, []string) error { return a.configCheck(file) },
	}
	configFlag(c, &file)
	return c
}

func (a *app) configCheck(file string) error {
	set, err := a.loadConfig(file)
	var ce *policy.ConfigError
	if err != nil && (!a.json || !errors.As(err, &ce)) {
		return err
	}
	if !a.json {
		return a.printCheck(file, set)
	}
	report := checkReport{File: file, OK: err == nil, Mistakes: []violationJSON{}, Warnings: []violationJSON{}, Policies: []policyJSON{}}
	if err != nil {
		report.Mistakes = violationsJSON(ce.Violations)
		return errors.Join(a.printJSON(report), &outcome{code: exitUsage})
	}
	report.Warnings = violationsJSON(set.Warnings())
	for _, p := range set.Plan() {
		report.Policies = append(report.Policies, policyJSON{
			ID: p.Policy.ID, Type: p.Policy.Type.String(), Record: string(p.Policy.Record), Minutes: int(p.Policy.CollectionInterval / time.Minute),
			To: p.Policy.To.String(), Location: p.File.Location, Default: p.Policy.Default, Objects: len(p.Objects),
		})
	}
	return a.printJSON(report)
}

// checkReport is what config check --json prints.
type checkReport struct {
	File     string          `json:"file"`
	OK       bool            `json:"ok"`
	Mistakes []violationJSON `json:"mistakes"`
	Warnings []violationJSON `json:"warnings"`
	Policies []policyJSON    `json:"policies_in_service"`
}

type violationJSON struct {
	Rule      policy.Rule `json:"rule"`
	Line      int         `json:"line,omitempty"`
	Subject   string      `json:"subject,omitempty"`
	Other     string      `json:"other,omitempty"`
	OtherLine int         `json:"other_line,omitempty"`
	Text      string      `json:"text"`
}

func violationsJSON(all []policy.Violation) []violationJSON {
	out := make([]violationJSON, 0, len(all))
	for _, v := range all {
		out = append(out, violationJSON(v))
	}
	return out
}

type policyJSON struct {
	ID       int    `json:"id"`
	Type     string `json:"type"`
	Record   string `json:"record"`
	Minutes  int    `json:"collection_interval_minutes"`
	To       string `json:"to"`
	Location string `json:"location,omitempty"`
	Default  bool   `json:"default"`
	Objects  int    `json:"objects"`
}

func (a *app) printCheck(file string, set *policy.Set) error {
	plan := set.Plan()
	if _, err := fmt.Fprintf(a.stdout, "%s: no mistake, %s in service\n", file, policies(len(plan))); err != nil {
		return err
	}
	var rows [][]string
	for _, p := range plan {
		def := ""
		if p.Policy.Default {
			def = "of " + p.Policy.Type.String()
		}
		rows = append(rows, []string{strconv.Itoa(p.Policy.ID), p.Policy.Type.String(), string(p.Policy.Record),
			fmt.Sprintf("%d min", p.Policy.CollectionInterval/time.Minute), p.Policy.To.String(), p.File.Location, def, strconv.Itoa(len(p.Objects))})
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"POLICY", "TYPE", "RECORD", "INTERVAL", "TO", "LOCATION", "DEFAULT", "OBJECTS"}, rows); err != nil {
			return err
		}
	}
	return a.printWarnings(set.Warnings())
}

// printWarnings prints the first hundred warnings; --json has them all.
func (a *app) printWarnings(warnings []policy.Violation) error {
	const most = 100
	for i, w := range warnings {
		if i == most {
			_, err := fmt.Fprintf(a.stdout, "warning: and %d more\n", len(warnings)-most)
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, "warning: %s\n", w); err != nil {
			return err
		}
	}
	return nil
}

func policies(n int) string {
	if n == 1 {
		return "1 accounting policy"
	}
	return strconv.Itoa(n) + " accounting policies"
}

func (a *app) configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Example: `  acctpull config schema > agent.schema.json
  # then, as the first line of the configuration:
  # yaml-language-server: $schema=agent.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := policy.Schema()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(s)
			return err
		},
	}
}
