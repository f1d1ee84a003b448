package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"acctpull/pull"
	"acctpull/record"
)

// pullFlags are the flags of pull, spelled as users of ssh and scp expect.
type pullFlags struct {
	out, device          string
	port                 int
	identities           []string
	knownHosts           []string
	config               string // inventory
	sshConfig, jump      string
	transport            string
	legacy, quirks       []string
	listing              string
	passwordFile         string
	passwordEnv          string
	passwordCred         string
	passphraseFile       string
	passphraseEnv        string
	noExport, rebuildLed bool
	retries              int
	reading              readFlags
}

func (a *app) pullCommand() *cobra.Command {
	var f pullFlags
	c := &cobra.Command{
		Use:   "pull {[USER@]HOST:PATH --out DIR | -c FILE [DEVICE|GROUP…]}",
		Short: "Fetch the closed accounting files of a device, or of many, check them, keep them, export them",
		Long: `pull logs in to one device, lists PATH, fetches every accounting file that was not
fetched before, reads each to its last byte, keeps it unchanged below
DIR/devices/<device>/act/, and exports its records as Parquet to DIR/dataset/.

It uses your ssh config, agent, keys and known_hosts. A device whose host key is
not known is refused; the message shows the fingerprint and the command that
pins it. Nothing is deleted or written on the device.

With -c it visits every device of an inventory once, or those that are named,
several at a time; acctpull serve does so for ever.

Run it as often as you like: only new files are fetched, every record appears
exactly once, and a kill at any moment costs nothing but the file under way.`,
		Example: `  acctpull pull admin@router:cf1:/act --out ./data
  acctpull pull -p 2022 -i ~/.ssh/router_key admin@192.0.2.7:/act --out ./data
  acctpull pull --transport scp --legacy old-router:cf1:/act --out ./data
  acctpull pull -J bastion --legacy=diffie-hellman-group14-sha1,ssh-rsa old-router:cf1:/act --out ./data
  acctpull pull --password-file ~/.router-password admin@router:cf1:/act --out ./data
  acctpull pull -c fleet.yaml
  acctpull pull -c fleet.yaml edge-1 north`,
		RunE: func(c *cobra.Command, args []string) error {
			if f.config == "" {
				if len(args) != 1 || f.out == "" {
					return usagef("for one device: acctpull pull [USER@]HOST:PATH --out DIR; for many: acctpull pull -c FILE", "one device and --out are needed, or -c")
				}
				return a.pull(c.Context(), f, args[0])
			}
			if name := notForMany(c.Flags()); name != "" {
				return usagef("the keys of the inventory are in docs/service.md", "--%s is for one device; with -c it stands in the inventory", name)
			}
			return a.pullFleet(c.Context(), f, args)
		},
	}
	c.ValidArgsFunction = completeDevices(&f.config)
	fl := c.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "inventory `file` of many devices; docs/service.md describes it")
	fl.StringVarP(&f.out, "out", "o", "", "data `directory`; made if it does not exist")
	fl.StringVar(&f.device, "device", "", "`name` of the device in archive and dataset (default: HOST as typed)")
	fl.IntVarP(&f.port, "port", "p", 0, "TCP `port`")
	fl.StringArrayVarP(&f.identities, "identity", "i", nil, "private key `file`; may be repeated")
	fl.StringArrayVar(&f.knownHosts, "known-hosts", nil, "`file` with host keys instead of the ssh config's; may be repeated")
	fl.StringVarP(&f.sshConfig, "ssh-config", "F", "", "ssh configuration `file` (default: ~/.ssh/config, /etc/ssh/ssh_config; none: no file)")
	fl.StringVarP(&f.jump, "jump", "J", "", jumpUsage)
	fl.StringVar(&f.transport, "transport", "auto", "auto, sftp, scp or ftp (in clear; never chosen by auto)")
	fl.StringVar(&f.listing, "listing", "", "list by auto, sftp, scp or cli (the device's own \"file dir\"; default: as the quirks say, or auto)")
	fl.StringSliceVar(&f.quirks, "quirks", nil, "`names` of quirk profiles, or key=value; docs/service.md has the tables")
	fl.StringSliceVar(&f.legacy, "legacy", nil, "allow old algorithms (SHA-1, CBC) for this device: all, or --legacy=`names`")
	fl.Lookup("legacy").NoOptDefVal = allLegacy
	fl.StringVar(&f.passwordFile, "password-file", "", "`file` with the password (mode 0600)")
	fl.StringVar(&f.passwordEnv, "password-env", "", "`name` of the environment variable with the password")
	fl.StringVar(&f.passwordCred, "password-credential", "", "`name` of the systemd credential with the password")
	fl.StringVar(&f.passphraseFile, "passphrase-file", "", "`file` with the passphrase of the private key (mode 0600)")
	fl.StringVar(&f.passphraseEnv, "passphrase-env", "", "`name` of the environment variable with the passphrase")
	fl.BoolVar(&f.noExport, "no-export", false, "archive only; a later pull without this flag exports")
	fl.BoolVar(&f.rebuildLed, "rebuild-ledger", false, "rebuild a lost ledger from archive and dataset first")
	fl.IntVar(&f.retries, "retries", pull.DefaultLimits().Retries, "how often a failed connection is tried again; host key and login errors never are")
	f.reading.register(fl)
	return c
}

// notForMany returns a flag that was given and says something about one device.
func notForMany(fl *pflag.FlagSet) string {
	both := []string{"config", "no-export", "rebuild-ledger", "retries", "json", "verbose", "log"}
	name := ""
	fl.Visit(func(f *pflag.Flag) {
		if !slices.Contains(both, f.Name) {
			name = f.Name
		}
	})
	return name
}

func (a *app) pull(ctx context.Context, f pullFlags, arg string) (err error) {
	target, err := a.target(f, arg)
	if err != nil {
		return err
	}
	reading, err := f.reading.options()
	if err != nil {
		return err
	}
	s, err := openData(ctx, f.out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := a.prepare(ctx, s, f.rebuildLed, reading); err != nil {
		return err
	}
	progress := a.progress()
	options := a.pullOptions(s, target, reading, progress)
	if options.Limits.Retries = f.retries; f.retries <= 0 {
		options.Limits.Retries = -1 // the zero value means the default
	}
	if err := a.adopt(ctx, options); err != nil {
		return err
	}
	sum := newSummary(target.Device)
	began := a.pace.clock.Now()
	result, pullErr := pull.Device(ctx, options, target)
	if ctx.Err() == nil {
		visit, err := a.visitOf(ctx, s.ledger, target.Device, began, result, pullErr)
		if err := errors.Join(err, s.ledger.AddVisit(ctx, visit)); err != nil {
			return errors.Join(pullErr, err)
		}
	}
	if pullErr != nil {
		a.pullFailed(a.pace.clock.Now(), target, pullErr)
	}
	sum.pulled(result, pullErr)
	if !f.noExport && ctx.Err() == nil {
		// What earlier runs stored is exported even if the device is away now.
		ex, err := a.exportPending(ctx, s, reading, nil, progress)
		sum.exported(ex)
		if err != nil {
			progress.done()
			return errors.Join(pullErr, err)
		}
	}
	progress.done()
	if pullErr == nil || sum.Listed > 0 || sum.Files > 0 || a.json {
		if err := a.printSummary(sum); err != nil {
			return errors.Join(pullErr, err)
		}
	}
	if pullErr != nil {
		return pullErr
	}
	if sum.inError() {
		return &outcome{code: exitPartly}
	}
	return nil
}

// target puts the command line, the ssh configuration and the defaults together.
func (a *app) target(f pullFlags, arg string) (pull.Target, error) {
	t, err := pull.ParseTarget(arg)
	if err != nil {
		return t, &usageError{err: err, hint: "a target is [user@]host:path, for example admin@router:cf1:/act"}
	}
	if t.Transport, err = pull.ParseTransport(f.transport); err != nil {
		return t, &usageError{err: err}
	}
	if f.listing != "" {
		if t.Listing, err = pull.ParseListBy(f.listing); err != nil {
			return t, &usageError{err: err}
		}
	}
	if t.Quirks, err = pull.ParseQuirks(f.quirks); err != nil {
		return t, &usageError{err: err}
	}
	t.Device = f.device
	if f.port != 0 {
		t.Port = f.port
	}
	if f.port < 0 || f.port > 65535 {
		return t, usagef("", "port %d: must be 1 to 65535", f.port)
	}
	t.Identities, t.KnownHosts = f.identities, f.knownHosts
	t.Password = pull.Secret{File: f.passwordFile, Env: f.passwordEnv, Credential: f.passwordCred}
	t.Passphrase = pull.Secret{File: f.passphraseFile, Env: f.passphraseEnv}
	if t.Legacy = f.legacy; slices.Contains(f.legacy, allLegacy) {
		t.Legacy = pull.LegacyAlgorithms()
	}
	if err := pull.CheckLegacy(t.Legacy); err != nil {
		return t, &usageError{err: err}
	}
	return a.throughJump(t, f.jump, f.sshConfig)
}

// throughJump completes a target from the ssh configuration; jump is a chain of
// jump hosts as ssh -J takes it, "" for what the configuration says.
func (a *app) throughJump(t pull.Target, jump, sshConfig string) (pull.Target, error) {
	hops, err := pull.ParseJump(jump)
	if err != nil {
		return t, &usageError{err: err, hint: "a jump host is [user@]host[:port], several are separated by commas"}
	}
	t.Jump = hops
	login := a.login()
	var cfg *pull.SSHConfig
	switch sshConfig {
	case "none":
		cfg = &pull.SSHConfig{}
	case "":
		cfg, err = pull.LoadSSHConfig(false, filepath.Join(login.Home, ".ssh", "config"), "/etc/ssh/ssh_config")
	default:
		cfg, err = pull.LoadSSHConfig(true, sshConfig)
	}
	if err != nil {
		return t, err
	}
	return t.Resolve(cfg, login)
}

// allLegacy is the value of --legacy without a value.
const allLegacy = "all"

// jumpUsage describes -J.
const jumpUsage = "go through these jump `hosts`: [user@]host[:port], separated by commas; none: straight (default: as ssh would)"

// getenv reads the environment of this process.
func (a *app) getenv(name string) string { return a.env[name] }

// pullOptions turns what happens into events and progress.
func (a *app) pullOptions(s *store, t pull.Target, reading record.ReaderOptions, p *progress) pull.Options {
	return pull.Options{
		Data:   s.root,
		Depot:  s.depot,
		Ledger: s.ledger,
		Verify: verifier(reading),
		Cache:  &s.cache,
		Owner:  s.owner(),
		Hooks:  a.pullHooks(t, p),
		Now:    a.pace.clock.Now,
		Getenv: a.getenv,
	}
}

// adopt puts archive and ledger in order after a crash.
func (a *app) adopt(ctx context.Context, o pull.Options) error {
	recovery, err := pull.Recover(ctx, o)
	a.recovered(recovery)
	return err
}

// recovered tells of files that were found after a crash.
func (a *app) recovered(r pull.Recovery) {
	now := a.pace.clock.Now()
	for _, f := range append(r.Adopted, r.Quarantined...) {
		a.pulledFile(now, f)
	}
}

// describeTarget is how a device is named in messages.
func describeTarget(t pull.Target) string {
	s := t.Device
	if t.Port != 0 && t.Port != 22 {
		s += " port " + strconv.Itoa(t.Port)
	}
	return fmt.Sprintf("%s (%s)", s, t.Path)
}
