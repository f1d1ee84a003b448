package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"acctpull/internal/actserver"
	"acctpull/internal/durable"
	"acctpull/internal/scenario"
	"acctpull/internal/simdevice"
)

// simUser may log in to simulated devices unless --user names another.
const simUser = "admin"

// simMemory is the soft memory limit of a simulation; ten thousand devices need
// more than a pull.
const simMemory = 1536 << 20

type simulateFlags struct {
	n          int
	groups     []string
	dir        string
	listen     string
	portEach   bool
	minute     time.Duration
	backfill   string
	seed       uint64
	user       string
	authorized string
	scenario   string
	print      string
	files      bool
	truth      string
}

func (a *app) simulateCommand() *cobra.Command {
	var f simulateFlags
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Be a fleet of up to 10,000 routers with accounting files and faults, on loopback",
		Long: `simulate is the stand-in for hardware that is hard to get: devices that write
accounting files as a 7210 SAS does, each with an address on the loopback
network, an SSH host key and an act/ directory of its own, by SCP and SFTP.
Devices can be slow, silent, full, rebooted and worse, from the start or at the
times of a scenario. docs/simulator.md describes all of it.

A device's files come into being when somebody looks, as if they had been
written all the time: idle devices cost next to nothing. The same --seed or
--dir gives the same devices, keys and counters again.

SIGUSR1 prints the state, SIGUSR2 brings all files to the disk, SIGINT and
SIGTERM end the simulation.`,
		Example: `  acctpull simulate -n 3
  acctpull simulate -n 200 --dir ./fleet --backfill 12h --scenario night.txt
  acctpull simulate --group 'edge n=150 objects=40' --group 'core n=50 record=network-egress-octets scp-only'
  acctpull simulate -n 10 --minute 1s          # a minute of the devices lasts a second
  acctpull pull -F ./fleet/ssh_config sim-1:cf1:/act --out ./data
  acctpull serve -c ./fleet/fleet.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.simulate(c.Context(), f) },
	}
	fl := c.Flags()
	fl.IntVarP(&f.n, "devices", "n", 0, "`number` of devices sim-1, sim-2, …, of the simplest kind; short for --group 'sim n=…'")
	fl.StringArrayVar(&f.groups, "group", nil, "a `group` of devices, \"NAME KEY=VALUE …\"; may be repeated. docs/simulator.md lists the keys")
	fl.StringVar(&f.dir, "dir", "", "`directory` of the fleet, kept and used again (default: a new one in the temporary directory, removed at the end)")
	fl.StringVar(&f.listen, "listen", "127.64.0.1:2022", "`address` and port of the first device; the others have the addresses that follow")
	fl.BoolVar(&f.portEach, "port-each", false, "one address for all devices and a port for each, from that of --listen; port 0 takes free ones")
	fl.DurationVar(&f.minute, "minute", time.Minute, "how long a minute of the devices lasts")
	fl.StringVar(&f.backfill, "backfill", "0s", "how long the devices have been running already, in their own time")
	fl.Uint64Var(&f.seed, "seed", 1, "decides host keys and counters")
	fl.StringVar(&f.user, "user", simUser, "`name` that may log in, with the key or password in the directory")
	fl.StringVar(&f.authorized, "authorized-keys", "", "`file` of further public keys that may log in (one per line)")
	fl.StringVar(&f.scenario, "scenario", "", "`file` that says what happens when")
	fl.StringVar(&f.print, "print", "", "print `what` about the devices and end: inventory, fleet (for pull -c and serve -c), known-hosts or ssh-config")
	fl.BoolVar(&f.files, "files", false, "bring the files of all devices to the disk at the start, not when somebody looks")
	fl.StringVar(&f.truth, "truth", "", "`file` to write all that the devices ever wrote to, as JSON, at the end")
	return c
}

// simulation is a fleet with what belongs to it.
type simulation struct {
	a     *app
	f     simulateFlags
	dir   string
	fleet *simdevice.Fleet
	stats simStats
}

func (a *app) simulate(ctx context.Context, f simulateFlags) (err error) {
	if a.env["GOMEMLIMIT"] == "" {
		debug.SetMemoryLimit(simMemory)
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	s := &simulation{a: a, f: f}
	if f.dir != "" { // absolute: it will stand in the ssh configuration
		if s.dir, err = filepath.Abs(f.dir); err != nil {
			return err
		}
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "acctpull-simulate-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	} else {
		lock, lockErr := lockFleet(s.dir)
		if lockErr != nil {
			return lockErr
		}
		defer func() { err = errors.Join(err, lock.Release()) }()
	}
	if err := s.build(o); err != nil {
		return err
	}
	if f.print != "" {
		return s.printOnly()
	}
	return s.run(ctx)
}

func lockFleet(dir string) (*durable.Lock, error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, err
	}
	return durable.AcquireLock(filepath.Join(dir, ".acctpull.lock"))
}

// options checks the command line.
func (f *simulateFlags) options() (simdevice.FleetOptions, error) {
	o := simdevice.FleetOptions{Seed: f.seed, PortEach: f.portEach, Minute: f.minute, KeepTruth: f.truth != ""}
	groups := f.groups
	if f.n > 0 {
		groups = append([]string{"sim n=" + strconv.Itoa(f.n)}, groups...)
	}
	if len(groups) == 0 || f.n < 0 {
		return o, usagef("acctpull simulate -n 3", "no devices: give their number with -n, or groups with --group")
	}
	var err error
	for _, text := range groups {
		g, groupErr := simdevice.ParseGroup(text)
		err = errors.Join(err, groupErr)
		o.Groups = append(o.Groups, g)
	}
	if err != nil {
		return o, &usageError{err: err, hint: "docs/simulator.md lists the keys of groups"}
	}
	if o.Listen, err = netip.ParseAddrPort(f.listen); err != nil || !o.Listen.Addr().IsLoopback() {
		return o, usagef("give an address of 127.0.0.0/8 with a port, such as 127.64.0.1:2022", "--listen %q: simulated devices are on loopback addresses only", f.listen)
	}
	switch f.print {
	case "", "inventory", "fleet", "known-hosts", "ssh-config":
	default:
		return o, usagef("", "--print %q: there is inventory, fleet, known-hosts and ssh-config", f.print)
	}
	if f.print != "" && o.Listen.Port() == 0 {
		return o, usagef("give a port with --listen", "--print: free ports are known only while the fleet runs")
	}
	if f.minute < time.Second/100 || f.minute > time.Hour {
		return o, usagef("", "--minute %v: it is 10ms to 1h", f.minute)
	}
	before, err := scenario.ParseDuration(f.backfill)
	if err != nil {
		return o, usagef("", "--backfill: %q %w", f.backfill, err)
	}
	o.Began = time.Now().UTC().Truncate(time.Second).Add(-time.Duration(float64(before) * (float64(f.minute) / float64(time.Minute))))
	return o, nil
}

// build makes the fleet from its options and from what the directory keeps.
func (s *simulation) build(o simdevice.FleetOptions) error {
	kept, err := simdevice.KeepState(s.dir, simdevice.State{Seed: o.Seed, Began: o.Began, Minute: o.Minute})
	if err != nil {
		return &usageError{err: err, hint: "give another --dir, or the --minute it was made with"}
	}
	o.Dir, o.Seed, o.Began = s.dir, kept.Seed, kept.Began
	key, password, err := s.credentials()
	if err != nil {
		return err
	}
	o.Keys, o.Passwords = map[string][]ssh.PublicKey{s.f.user: {key}}, map[string]string{s.f.user: password}
	o.KeyboardInteractive = true
	if s.f.authorized != "" {
		more, err := readAuthorizedKeys(s.f.authorized)
		if err != nil {
			return err
		}
		o.Keys[s.f.user] = append(o.Keys[s.f.user], more...)
	}
	o.Hooks = s.hooks()
	if s.fleet, err = simdevice.NewFleet(o); err != nil {
		return &usageError{err: err}
	}
	if s.f.scenario == "" {
		return nil
	}
	text, err := os.ReadFile(s.f.scenario)
	if err != nil {
		return usagef("", "read scenario: %w", err)
	}
	played, err := simdevice.Language().Parse(s.f.scenario, text)
	if err != nil {
		return &usageError{err: err, hint: "docs/simulator.md lists the verbs"}
	}
	if err := s.fleet.Schedule(played); err != nil {
		return &usageError{err: fmt.Errorf("%s: %w", s.f.scenario, err)}
	}
	return nil
}

// credentials returns what opens the devices; both are made once and kept in
// the directory.
func (s *simulation) credentials() (ssh.PublicKey, string, error) {
	path := s.identity()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		var pair actserver.KeyPair
		if pair, err = actserver.NewKey("acctpull simulate"); err == nil {
			text = pair.PEM
			err = durable.ReplaceFile(path, text, durable.StateMode)
		}
	}
	if err != nil {
		return nil, "", err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	password, err := s.password()
	return signer.PublicKey(), password, err
}
