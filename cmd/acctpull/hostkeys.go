package main

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/pull"
)

func (a *app) hostkeysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "hostkeys",
		Short: "See and pin the host keys of devices",
		Long: `acctpull talks only to devices whose host key it knows. These commands show the
key of a device, pin it after you compared the fingerprint with the one on the
device's console, list what is pinned by whom and when, and take trust back.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.hostkeysList(), a.hostkeysScan(), a.hostkeysApprove(), a.hostkeysRevoke())
	return c
}

func (a *app) hostkeysScan() *cobra.Command {
	var way scanFlags
	c := &cobra.Command{
		Use:   "scan HOST",
		Short: "Show the host keys a device has, trusting none of them",
		Long: `scan asks a device for one host key of every type. It does not log in to it.
Jump hosts on the way are logged in to as usual; their own host keys must be known.`,
		Example: `  acctpull hostkeys scan router
  acctpull hostkeys scan -J bastion 10.0.0.7`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			keys, err := a.scan(c.Context(), args[0], way, "")
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
	way.register(c)
	return c
}

func (a *app) hostkeysApprove() *cobra.Command {
	var way scanFlags
	file := ""
	c := &cobra.Command{
		Use:   "approve HOST FINGERPRINT",
		Short: "Pin the key with this fingerprint, if the device still shows it",
		Long: `approve connects to the device, and adds its key to known_hosts only if its
fingerprint is the one given. An older key of the same type for the same host is
replaced, and both fingerprints are shown; the line in known_hosts says who
approved the key, when, and which one it replaced. Compare the fingerprint with
the device's console first.`,
		Example: "  acctpull hostkeys approve router SHA256:JrCL4Lf…",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			host, fingerprint := args[0], args[1]
			file, err := a.knownHosts(file)
			if err != nil {
				return err
			}
			keys, err := a.scan(c.Context(), host, way, file)
			if err != nil {
				return err
			}
			for _, k := range keys {
				if k.Fingerprint == fingerprint {
					return a.approve(file, host, way.port, k)
				}
			}
			shown := ""
			for _, k := range keys {
				shown += fmt.Sprintf("%s shows %s %s\n", host, k.Type, k.Fingerprint)
			}
			return &outcome{code: exitHostKey, err: &usageError{err: fmt.Errorf("%s does not show the key %s; nothing was pinned", host, safe(fingerprint)), hint: shown}}
		},
	}
	way.register(c)
	c.Flags().StringVar(&file, "known-hosts", "", "`file` the key is added to (default: ~/.ssh/known_hosts)")
	return c
}

func (a *app) approve(file, host string, port int, k pull.ScannedKey) error {
	done, err := pull.ApproveHostKey(file, host, port, k, k.Fingerprint, a.decision())
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"host": host, "port": port, "type": k.Type, "fingerprint": k.Fingerprint,
			"file": file, "changed": done.Changed, "replaced": fingerprints(done.Replaced)})
	}
	word := "pinned"
	if !done.Changed {
		word = "already pinned"
	}
	text := fmt.Sprintf("%s %s %s in %s\n", word, k.Type, k.Fingerprint, file)
	for _, f := range fingerprints(done.Replaced) {
		text += fmt.Sprintf("it replaces %s %s, which is not trusted for %s any longer\n", k.Type, f, safe(host))
	}
	_, err = fmt.Fprint(a.stdout, text)
	return err
}

func fingerprints(keys []pull.KnownKey) []string {
	all := []string{}
	for _, k := range keys {
		all = append(all, k.Fingerprint)
	}
	return all
}

// decision is the word of the person who runs this command, now.
func (a *app) decision() pull.Decision {
	d := pull.Decision{By: a.env["SUDO_USER"], At: time.Now()}
	if d.By == "" {
		if me, err := user.Current(); err == nil {
			d.By = me.Username
		}
	}
	return d
}

// knownHosts returns the file, or the one of the user if it is "".
func (a *app) knownHosts(file string) (string, error) {
	if file != "" {
		return file, nil
	}
	home := a.env["HOME"]
	if home == "" {
		return "", usagef("give the file: --known-hosts FILE", "there is no home directory to find known_hosts in")
	}
	return filepath.Join(home, ".ssh", "known_hosts"), nil
}

func (a *app) hostkeysList() *cobra.Command {
	port, file := 22, ""
	c := &cobra.Command{
		Use:   "list [HOST]",
		Short: "List the pinned host keys, with who approved them and when",
		Long: `list shows every key in known_hosts, or those that concern HOST: by its name, by
a hashed name, by a pattern, or by an authority that signs host keys.`,
		Example: `  acctpull hostkeys list
  acctpull hostkeys list router -p 2022`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := a.knownHosts(file)
			if err != nil {
				return err
			}
			keys, err := pull.HostKeys([]string{file}, strings.Join(args, ""), port)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]pull.HostKey{}, keys...))
			}
			return table(a.stdout, hostKeyHeader, hostKeyRows(keys))
		},
	}
	c.Flags().IntVarP(&port, "port", "p", port, "TCP `port` of HOST")
	c.Flags().StringVar(&file, "known-hosts", "", "`file` to list (default: ~/.ssh/known_hosts)")
	return c
}

var hostKeyHeader = []string{"HOST", "TYPE", "FINGERPRINT", "MARK", "NOTE", "LINE"}

func hostKeyRows(keys []pull.HostKey) [][]string {
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{strings.Join(k.Hosts, ","), k.Type, k.Fingerprint, k.Marker, k.Comment, strconv.Itoa(k.Line)})
	}
	return rows
}

func (a *app) hostkeysRevoke() *cobra.Command {
	file := ""
	c := &cobra.Command{
		Use:   "revoke FINGERPRINT",
		Short: "Trust a key no longer, on any host",
		Long: `revoke takes every line with this key out of known_hosts, and adds a @revoked line
that refuses it for all hosts from now on. The device stays out of reach until it
has a new key and that one was approved.`,
		Example: "  acctpull hostkeys revoke SHA256:JrCL4Lf…",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := a.knownHosts(file)
			if err != nil {
				return err
			}
			gone, err := pull.RevokeHostKey(file, args[0], a.decision())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"fingerprint": args[0], "file": file, "removed": append([]pull.HostKey{}, gone...)})
			}
			if len(gone) == 0 {
				_, err = fmt.Fprintf(a.stdout, "%s is revoked already in %s\n", safe(args[0]), file)
				return err
			}
			fmt.Fprintf(a.stdout, "revoked %s in %s; these lines went:\n\n", safe(args[0]), file)
			return table(a.stdout, hostKeyHeader, hostKeyRows(gone))
		},
	}
	c.Flags().StringVar(&file, "known-hosts", "", "`file` to change (default: ~/.ssh/known_hosts)")
	return c
}

// scanFlags say how a device is reached whose keys are asked for.
type scanFlags struct {
	port                     int
	address, jump, sshConfig string
}

func (f *scanFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.IntVarP(&f.port, "port", "p", 22, "TCP `port`")
	fl.StringVar(&f.address, "address", "", "connect to this `host:port` instead of HOST")
	fl.StringVarP(&f.jump, "jump", "J", "", jumpUsage)
	fl.StringVarP(&f.sshConfig, "ssh-config", "F", "", "ssh configuration `file` for the jump hosts (default: ~/.ssh/config, /etc/ssh/ssh_config; none: no file)")
}

// scan asks a device for its host keys. knownHosts is the file with those of the
// jump hosts, "" for what the ssh configuration says.
func (a *app) scan(ctx context.Context, host string, f scanFlags, knownHosts string) ([]pull.ScannedKey, error) {
	t := pull.Target{Host: host, Port: f.port}
	if f.address != "" {
		name, port, err := net.SplitHostPort(f.address)
		if err != nil {
			return nil, &usageError{err: fmt.Errorf("address %s: %w", safe(f.address), err)}
		}
		t.Address = name
		if t.Port, err = strconv.Atoi(port); err != nil {
			return nil, usagef("", "address %s: the port is no number", safe(f.address))
		}
	}
	if f.jump != "" {
		way := t
		way.User = "none" // nobody logs in there
		if knownHosts != "" {
			way.KnownHosts = []string{knownHosts}
		}
		way, err := a.throughJump(way, f.jump, f.sshConfig)
		if err != nil {
			return nil, err
		}
		t.Jump = way.Jump
	}
	return pull.ScanHostKeys(ctx, t, a.getenv, pull.Limits{})
}
