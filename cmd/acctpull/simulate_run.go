package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"acctpull/internal/actserver"
	"acctpull/internal/durable"
	"acctpull/internal/scenario"
	"acctpull/internal/simdevice"
)

// simStats count what clients do.
type simStats struct {
	logins, files, bytes, partly, refused atomic.Int64
}

// simStatus is a look at simStats.
type simStatus struct {
	Devices int   `json:"devices"`
	Logins  int64 `json:"logins"`
	Files   int64 `json:"files_sent"`
	Partly  int64 `json:"files_read_in_part"`
	Bytes   int64 `json:"bytes_sent"`
	Refused int64 `json:"refused"`
}

func (s *simulation) status() simStatus {
	return simStatus{s.fleet.Len(), s.stats.logins.Load(), s.stats.files.Load(), s.stats.partly.Load(), s.stats.bytes.Load(), s.stats.refused.Load()}
}

func (st simStatus) String() string {
	return fmt.Sprintf("%d devices, %d logins, %d files (%s) sent, %d read in part, %d refusals", st.Devices, st.Logins, st.Files, size(st.Bytes), st.Partly, st.Refused)
}

// hooks count, and tell what a scenario does.
func (s *simulation) hooks() simdevice.FleetHooks {
	return simdevice.FleetHooks{
		OnConn: func(*simdevice.Device, actserver.Login) { s.stats.logins.Add(1) },
		OnFile: func(d *simdevice.Device, t actserver.Transfer) {
			s.stats.files.Add(1)
			s.stats.bytes.Add(t.Sent)
			if t.Err != nil || t.Sent < t.Size {
				s.stats.partly.Add(1)
			}
			s.tell("%s: %s sent %s, %d of %d bytes", d.Name(), t.Protocol, t.Name, t.Sent, t.Size)
		},
		OnRefused: func(d *simdevice.Device, r actserver.Refusal) {
			s.stats.refused.Add(1)
			s.tell("%s: refused %s: %v", d.Name(), r.What, r.Err)
		},
		OnStep: func(step scenario.Step, err error) {
			if err != nil {
				fmt.Fprintf(s.a.stderr, "acctpull: %s: %s\n", step, safe(err.Error()))
				return
			}
			fmt.Fprintf(s.a.stderr, "acctpull: %s\n", step)
		},
	}
}

// tell prints what clients do, with --verbose.
func (s *simulation) tell(format string, args ...any) {
	if s.a.verbose {
		fmt.Fprintf(s.a.stderr, "acctpull: %s\n", safe(fmt.Sprintf(format, args...)))
	}
}

func (s *simulation) identity() string     { return filepath.Join(s.dir, "id_ed25519") }
func (s *simulation) passwordFile() string { return filepath.Join(s.dir, "password") }
func (s *simulation) knownHosts() string   { return filepath.Join(s.dir, "known_hosts") }
func (s *simulation) sshConfig() string    { return filepath.Join(s.dir, "ssh_config") }
func (s *simulation) fleetFile() string    { return filepath.Join(s.dir, "fleet.yaml") }

func (s *simulation) password() (string, error) {
	text, err := os.ReadFile(s.passwordFile())
	if errors.Is(err, os.ErrNotExist) {
		text = []byte(rand.Text() + "\n")
		err = durable.ReplaceFile(s.passwordFile(), text, durable.StateMode)
	}
	return strings.TrimSpace(string(text)), err
}

// writeFiles writes what clients need beside the credentials.
func (s *simulation) writeFiles() error {
	var known, config, inventory bytes.Buffer
	err := errors.Join(
		s.writeInventory(&inventory),
		s.fleet.WriteKnownHosts(&known),
		s.fleet.WriteSSHConfig(&config, s.f.user, s.identity(), s.knownHosts()))
	if err != nil {
		return err
	}
	return errors.Join(
		durable.ReplaceFile(s.fleetFile(), inventory.Bytes(), durable.StateMode),
		durable.ReplaceFile(s.knownHosts(), known.Bytes(), durable.StateMode),
		durable.ReplaceFile(s.sshConfig(), config.Bytes(), durable.StateMode))
}

// writeInventory writes the inventory for pull -c and serve -c.
func (s *simulation) writeInventory(w io.Writer) error {
	entries, err := s.fleet.Inventory()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "data: %q\ndefaults:\n  user: %q\n  path: cf1:/act\n  identity: %q\n  known-hosts: %q\ndevices:\n",
		filepath.Join(s.dir, "data"), s.f.user, s.identity(), s.knownHosts())
	for _, e := range entries {
		fmt.Fprintf(out, "  - {name: %q, host: %q, port: %d", e.Name, e.Address, e.Port)
		if e.SCPOnly {
			fmt.Fprint(out, ", transport: scp")
		}
		if e.Legacy {
			fmt.Fprint(out, ", legacy: true")
		}
		fmt.Fprintln(out, "}")
	}
	return out.Flush()
}

func (s *simulation) printOnly() error {
	switch s.f.print {
	case "fleet":
		return s.writeInventory(s.a.stdout)
	case "known-hosts":
		return s.fleet.WriteKnownHosts(s.a.stdout)
	case "ssh-config":
		return s.fleet.WriteSSHConfig(s.a.stdout, s.f.user, s.identity(), s.knownHosts())
	}
	entries, err := s.fleet.Inventory()
	if err != nil {
		return err
	}
	if s.a.json {
		return s.a.printJSON(entries)
	}
	var rows [][]string
	for _, e := range entries {
		rows = append(rows, []string{e.Name, e.Address, fmt.Sprint(e.Port), e.Path, yes(e.SCPOnly), yes(e.Legacy)})
	}
	return table(s.a.stdout, []string{"NAME", "ADDRESS", "PORT", "PATH", "SCP ONLY", "LEGACY"}, rows)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// run serves until ctx ends.
func (s *simulation) run(ctx context.Context) (err error) {
	if err := s.fleet.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.fleet.Stop()) }()
	if err := s.writeFiles(); err != nil {
		return err
	}
	if s.f.files {
		if err := s.fleet.Show(ctx); err != nil {
			return err
		}
	}
	if err := s.greet(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	s.wait(ctx, signals)
	if s.f.truth != "" {
		if err := s.writeTruth(); err != nil {
			return err
		}
	}
	if s.a.json {
		return s.a.printJSON(s.status())
	}
	_, err = fmt.Fprintln(s.a.stdout, s.status())
	return err
}

// wait draws the state on a terminal and answers signals, until ctx ends.
func (s *simulation) wait(ctx context.Context, signals <-chan os.Signal) {
	line := s.a.progress()
	defer line.done()
	var tick <-chan time.Time
	if line.w != nil {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			line.set("%s", s.status())
		case sig := <-signals:
			line.done()
			if sig == syscall.SIGUSR2 {
				if err := s.fleet.Show(ctx); err != nil {
					fmt.Fprintf(s.a.stderr, "acctpull: %s\n", safe(err.Error()))
				}
			}
			fmt.Fprintf(s.a.stderr, "acctpull: %s\n", s.status())
		}
	}
}

// greet says what runs and how to pull from it.
func (s *simulation) greet() error {
	entries, err := s.fleet.Inventory()
	if err != nil {
		return err
	}
	first, last := entries[0], entries[len(entries)-1]
	if s.a.json {
		return s.a.printJSON(map[string]any{"directory": s.dir, "user": s.f.user, "identity": s.identity(), "password_file": s.passwordFile(),
			"known_hosts": s.knownHosts(), "ssh_config": s.sshConfig(), "fleet": s.fleetFile(), "devices": entries})
	}
	w := s.a.stdout
	fmt.Fprintf(w, "%d devices, %s at %s:%d", len(entries), first.Name, first.Address, first.Port)
	if len(entries) > 1 {
		fmt.Fprintf(w, " to %s at %s:%d", last.Name, last.Address, last.Port)
	}
	fmt.Fprintln(w)
	for _, g := range s.fleet.Groups() {
		fmt.Fprintf(w, "  %-12s %5d  %s\n", g.Name, g.Count, g.Summary())
	}
	legacy := ""
	if first.Legacy {
		legacy = " --legacy"
	}
	_, err = fmt.Fprintf(w, `
Pull from one, by key or by password:
  acctpull pull -F %[1]s%[6]s %[2]s:cf1:/act --out ./data
  acctpull pull -F none -p %[4]d --known-hosts %[7]s --password-file %[5]s%[6]s %[8]s@%[3]s:cf1:/act --out ./data
Pull from all:
  acctpull pull -c %[9]s
Look around:
  sftp -F %[1]s %[2]s:cf1:/act
`, s.sshConfig(), first.Name, first.Address, first.Port, s.passwordFile(), legacy, s.knownHosts(), s.f.user, s.fleetFile())
	return err
}

// truthLine is the truth of one device as JSON.
type truthLine struct {
	simdevice.Truth
	Sums []map[string]uint64 `json:"sums"` // of the counters of each file, by dataset column
}

// writeTruth writes one JSON document per line and device.
func (s *simulation) writeTruth() error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for i := range s.fleet.Len() {
		d := s.fleet.Device(i)
		truth, err := d.Truth()
		if err != nil {
			return err
		}
		line := truthLine{Truth: truth}
		for _, f := range truth.Files {
			line.Sums = append(line.Sums, d.Counters(f).Sums)
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return durable.ReplaceFile(s.f.truth, out.Bytes(), durable.DataMode)
}
