package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"acctpull/pull"
)

func (a *app) hostkeysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "hostkeys",
		Short: "See and pin the host keys of devices",
		Long: `acctpull talks only to devices whose host key it knows. These commands show the
key of a device and pin it, after you compared the fingerprint with the one on
the device's console.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.hostkeysScan(), a.hostkeysApprove())
	return c
}

func (a *app) hostkeysScan() *cobra.Command {
	port, address := 22, ""
	c := &cobra.Command{
		Use:     "scan HOST",
		Short:   "Show the host keys a device has, trusting none of them",
		Example: "  acctpull hostkeys scan router",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			keys, err := scan(c.Context(), args[0], port, address)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(keys)
			}
			var rows [][]string
			for _, k := range keys {
				rows = append(rows, []string{k.Type, k.Fingerprint})
			}
			return table(a.stdout, []string{"TYPE", "FINGERPRINT"}, rows)
		},
	}
	c.Flags().IntVarP(&port, "port", "p", port, "TCP `port`")
	c.Flags().StringVar(&address, "address", "", "connect to this `host:port` instead of HOST")
	return c
}

func (a *app) hostkeysApprove() *cobra.Command {
	port, address, file := 22, "", ""
	c := &cobra.Command{
		Use:   "approve HOST FINGERPRINT",
		Short: "Pin the key with this fingerprint, if the device still shows it",
		Long: `approve connects to the device, and adds its key to known_hosts only if its
fingerprint is the one given. An older key of the same type for the same host is
replaced. Compare the fingerprint with the device's console first.`,
		Example: "  acctpull hostkeys approve router SHA256:JrCL4Lf…",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			host, fingerprint := args[0], args[1]
			if file == "" {
				home := a.env["HOME"]
				if home == "" {
					return usagef("give the file: --known-hosts FILE", "there is no home directory to find known_hosts in")
				}
				file = filepath.Join(home, ".ssh", "known_hosts")
			}
			keys, err := scan(c.Context(), host, port, address)
			if err != nil {
				return err
			}
			for _, k := range keys {
				if k.Fingerprint == fingerprint {
					return a.approve(file, host, port, k)
				}
			}
			shown := ""
			for _, k := range keys {
				shown += fmt.Sprintf("%s shows %s %s\n", host, k.Type, k.Fingerprint)
			}
			return &outcome{code: exitHostKey, err: &usageError{err: fmt.Errorf("%s does not show the key %s; nothing was pinned", host, safe(fingerprint)), hint: shown}}
		},
	}
	c.Flags().IntVarP(&port, "port", "p", port, "TCP `port`")
	c.Flags().StringVar(&address, "address", "", "connect to this `host:port` instead of HOST")
	c.Flags().StringVar(&file, "known-hosts", "", "`file` the key is added to (default: ~/.ssh/known_hosts)")
	return c
}

func (a *app) approve(file, host string, port int, k pull.ScannedKey) error {
	changed, err := pull.ApproveHostKey(file, host, port, k, k.Fingerprint)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"host": host, "port": port, "type": k.Type, "fingerprint": k.Fingerprint, "file": file, "changed": changed})
	}
	word := "pinned"
	if !changed {
		word = "already pinned"
	}
	_, err = fmt.Fprintf(a.stdout, "%s %s %s in %s\n", word, k.Type, k.Fingerprint, file)
	return err
}

func scan(ctx context.Context, host string, port int, address string) ([]pull.ScannedKey, error) {
	if address == "" {
		address = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return pull.ScanHostKeys(ctx, address, pull.Limits{})
}
