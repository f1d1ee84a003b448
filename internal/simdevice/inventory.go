package simdevice

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"acctpull/internal/durable"
)

// Entry is what a client has to know of one device.
type Entry struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Port    uint16 `json:"port"`
	Path    string `json:"path"`
	SCPOnly bool   `json:"scp_only,omitempty"`
	Legacy  bool   `json:"legacy,omitempty"`
}

// Inventory lists all devices, with the addresses they are bound to once the
// fleet was started.
func (f *Fleet) Inventory() ([]Entry, error) {
	out := make([]Entry, 0, len(f.devices))
	for _, d := range f.devices {
		at, err := netip.ParseAddrPort(d.Addr())
		if err != nil {
			return nil, err
		}
		out = append(out, Entry{Name: d.o.Name, Address: at.Addr().String(), Port: at.Port(), Path: "cf1:/act", SCPOnly: d.o.SCPOnly, Legacy: d.o.Legacy})
	}
	return out, nil
}

// WriteKnownHosts writes a known_hosts file with the key of every device. Keys
// of legacy devices take a moment each.
func (f *Fleet) WriteKnownHosts(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, d := range f.devices {
		line, err := d.KnownHostsLine()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return out.Flush()
}

// WriteSSHConfig writes a configuration for ssh, scp, sftp and acctpull -F,
// that knows the devices by name.
func (f *Fleet) WriteSSHConfig(w io.Writer, user, identity, knownHosts string) error {
	entries, err := f.Inventory()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	for _, e := range entries {
		_, err = fmt.Fprintf(out, "Host %s\n  HostName %s\n  Port %d\n", e.Name, e.Address, e.Port)
		if err == nil && e.Legacy {
			_, err = fmt.Fprint(out, "  KexAlgorithms +diffie-hellman-group14-sha1\n  HostKeyAlgorithms +ssh-rsa\n  PubkeyAcceptedAlgorithms +ssh-rsa\n  Ciphers +aes128-cbc\n  MACs +hmac-sha1\n")
		}
		if err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "Host *\n  User %s\n  IdentityFile %q\n  IdentitiesOnly yes\n  UserKnownHostsFile %q\n", user, identity, knownHosts); err != nil {
		return err
	}
	return out.Flush()
}

// State is what a fleet has to keep to be the same one when it is started
// again: host keys, counters and file names follow from it.
type State struct {
	Seed   uint64        `json:"seed"`
	Began  time.Time     `json:"began"`
	Minute time.Duration `json:"minute_ns"`
}

// KeepState returns the state kept in dir, or keeps fresh there if there is
// none yet. A minute of another length than the kept one is an error: times
// would not fit.
func KeepState(dir string, fresh State) (State, error) {
	path := filepath.Join(dir, "fleet.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if text, err = json.MarshalIndent(fresh, "", "  "); err != nil {
			return State{}, err
		}
		if err := durable.MkdirAll(dir); err != nil {
			return State{}, err
		}
		return fresh, durable.ReplaceFile(path, append(text, '\n'), durable.StateMode)
	}
	if err != nil {
		return State{}, err
	}
	var kept State
	if err := json.Unmarshal(text, &kept); err != nil {
		return State{}, fmt.Errorf("%s: %w", path, err)
	}
	if kept.Minute != fresh.Minute {
		return State{}, fmt.Errorf("%s: the fleet was made with a minute of %v, not %v", path, kept.Minute, fresh.Minute)
	}
	return kept, nil
}
