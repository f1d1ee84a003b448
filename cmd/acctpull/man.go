package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"acctpull/internal/durable"
	"acctpull/pull/fleet"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages, one for each command",
		Long: `man writes acctpull.1 and a page for each command into DIR. Packages carry them
already. They hold what --help says.`,
		Example: `  acctpull man ~/.local/share/man/man1
  man acctpull-pull`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := durable.MkdirAll(args[0]); err != nil {
				return err
			}
			root := c.Root()
			root.DisableAutoGenTag = true // the same program writes the same bytes
			never := time.Unix(0, 0).UTC()
			return doc.GenManTree(root, &doc.GenManHeader{Title: "ACCTPULL", Section: "1", Source: software(), Manual: "acctpull", Date: &never}, args[0])
		},
	}
}

// completeDevices offers the devices and groups of the inventory that -c names.
// It works on a command line that is not whole yet, so it is silent about errors.
func completeDevices(file *string) cobra.CompletionFunc {
	return func(_ *cobra.Command, have []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if *file == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		text, err := os.ReadFile(*file)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		inv, err := fleet.Load(text)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		add := func(name, what string) {
			for _, h := range have {
				if h == name {
					return
				}
			}
			if strings.HasPrefix(name, prefix) {
				names = append(names, cobra.CompletionWithDesc(name, what))
			}
		}
		for _, g := range inv.Groups {
			add(g, "group")
		}
		for _, d := range inv.Devices {
			add(d.Name, d.Target.Host)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
