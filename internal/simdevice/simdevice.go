// Package simdevice is a simulated network device, and a fleet of up to ten
// thousand of them in one process: each with an address of its own on the
// loopback network, an SSH host key of its own, and a directory with
// act-collect/ and act/ that it serves as a real device serves its compact
// flash. Faults can be switched while it runs.
//
// What lies in act/ comes from the caller (PutFile, or a collector of its own),
// or from the device's Life: accounting policies whose files are written by the
// agent's own collector on the device's own clock. A Life happens when somebody
// looks: an idle device is a listening socket and a few hundred bytes.
package simdevice

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"acctpull/internal/actserver"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Options describe one device. Dir and one way to log in are required.
type Options struct {
	// Name is used in errors, and names the system in its own files.
	Name string
	// Dir holds act-collect/ and act/; they are made when they are needed.
	Dir string
	// Addr is the loopback address and port to listen on, any of 127.0.0.0/8
	// or [::1]. Port 0 takes a free one. Empty: "127.0.0.1:0".
	Addr string
	// Passwords and Keys say who may log in, by user name.
	Passwords map[string]string
	Keys      map[string][]ssh.PublicKey
	// KeyboardInteractive offers the passwords by that method too.
	KeyboardInteractive bool
	// HostKey is the device's identity. Nil: a key made from HostSeed, Ed25519
	// or, for a legacy device, RSA.
	HostKey ssh.Signer
	// HostSeed is what host keys are made from: the same seed gives the same
	// keys. Zero: a random one.
	HostSeed [32]byte
	// Legacy offers only what an old device does: group1 and group14 with
	// SHA-1, CBC ciphers, HMAC-SHA1, ssh-rsa.
	Legacy bool
	// SCPOnly refuses the sftp subsystem.
	SCPOnly bool
	// MDCLI is the model-driven flavour of the command line, see actserver.CLI.
	MDCLI bool
	// ShowCollect lets clients see act-collect/ too.
	ShowCollect bool
	// Life fills act/. Nil: the caller does.
	Life *Life
	// Faults at the start.
	Faults Faults
	// Limits and Hooks of the SSH server.
	Limits actserver.Limits
	Hooks  actserver.Hooks
}

// Device is a simulated device. Its methods may be called concurrently.
type Device struct {
	o      Options
	faults atomic.Pointer[Faults]
	listed atomic.Bool // since the last file was opened; see Faults.Vanish
	life   *life       // nil without Options.Life

	mu      sync.Mutex
	addr    string // as configured; as bound once started
	running *run   // nil while stopped
	live    map[*link]struct{}
	servers map[variant]*actserver.Server // made when the first client comes
	known   ssh.PublicKey                 // of the own host key; nil until asked for
}

// run is one period between Start and Stop.
type run struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done
}

// New checks the options. Nothing listens before Start, and no key is made
// before it is needed.
func New(o Options) (*Device, error) {
	d := &Device{o: o, addr: o.Addr}
	if d.addr == "" {
		d.addr = "127.0.0.1:0"
	}
	d.faults.Store(&o.Faults)
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("no directory"))
	}
	if at, err := netip.ParseAddrPort(d.addr); err != nil {
		errs = append(errs, err)
	} else if !at.Addr().IsLoopback() {
		errs = append(errs, fmt.Errorf("address %s is not a loopback address", d.addr))
	}
	if len(o.Keys) == 0 && len(o.Passwords) == 0 {
		errs = append(errs, errors.New("no way to log in: neither keys nor passwords"))
	}
	if o.HostSeed == [32]byte{} && o.HostKey == nil {
		_, _ = rand.Read(d.o.HostSeed[:]) // it never fails
	}
	if o.Life != nil {
		var err error
		d.life, err = newLife(d, *o.Life)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("simulated device %q: %w", o.Name, err)
	}
	return d, nil
}

// ActDir is the directory of finished files.
func (d *Device) ActDir() string { return filepath.Join(d.o.Dir, "act") }

// CollectDir is the directory of files being written.
func (d *Device) CollectDir() string { return filepath.Join(d.o.Dir, "act-collect") }

func (d *Device) makeDirs() error {
	return errors.Join(os.MkdirAll(d.CollectDir(), 0o750), os.MkdirAll(d.ActDir(), 0o750))
}

// Name is the name from the options.
func (d *Device) Name() string { return d.o.Name }

// Addr is the address and port to connect to; a port of 0 becomes the bound
// one with the first Start, and stays.
func (d *Device) Addr() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addr
}

// HostKey is the public key of the device's own identity: the one it has
// without ChangeHostKey.
func (d *Device) HostKey() (ssh.PublicKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		key, err := d.makeHostKey(variant{legacy: d.o.Legacy})
		if err != nil {
			return nil, err
		}
		d.known = key.PublicKey()
	}
	return d.known, nil
}

// KnownHostsLine is the line of known_hosts, without a newline, for the
// address of the device and its HostKey.
func (d *Device) KnownHostsLine() (string, error) {
	key, err := d.HostKey()
	if err != nil {
		return "", err
	}
	return knownhosts.Line([]string{knownhosts.Normalize(d.Addr())}, key), nil
}

// Faults returns the present faults.
func (d *Device) Faults() Faults { return *d.faults.Load() }

// SetFaults replaces the faults at once. Down resets the open connections;
// those that concern the login act on new connections, the others on all.
func (d *Device) SetFaults(f Faults) {
	if d.life != nil && f.FullFlash != d.Faults().FullFlash {
		d.life.pass() // what happened so far happened with the old ones
	}
	d.faults.Store(&f)
	if f.Down {
		d.cut()
	}
}

// PutFile places a finished file in act/, whole at once, as a device does when
// a file rolls over. A file of that name is replaced.
func (d *Device) PutFile(name string, content []byte) error {
	if name == "" || name != filepath.Base(name) || !filepath.IsLocal(name) {
		return fmt.Errorf("put file on %q: %q is no plain name", d.o.Name, name)
	}
	collecting := filepath.Join(d.CollectDir(), name)
	err := d.makeDirs()
	if err == nil {
		err = os.WriteFile(collecting, content, 0o640)
	}
	if err == nil {
		err = os.Rename(collecting, filepath.Join(d.ActDir(), name))
	}
	if err != nil {
		return fmt.Errorf("put file on %q: %w", d.o.Name, err)
	}
	return nil
}

// Start listens and serves until Stop or the end of ctx. It may be called
// again after Stop, and then takes the same address.
func (d *Device) Start(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running != nil {
		return fmt.Errorf("start %q: it is running", d.o.Name)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // it costs memory, and nobody roams on loopback
	ln, err := config.Listen(ctx, "tcp", d.addr)
	if err != nil {
		return fmt.Errorf("start %q: %w", d.o.Name, err)
	}
	d.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(ctx)
	r := &run{cancel: cancel, done: make(chan struct{})}
	d.running = r
	go func() {
		defer close(r.done)
		r.err = d.serve(ctx, ln)
	}()
	return nil
}

// Stop ends the service, closes every connection and waits. It returns what
// went wrong while serving. Stopping a stopped device does nothing.
func (d *Device) Stop() error {
	d.mu.Lock()
	r := d.running
	d.mu.Unlock()
	if r == nil {
		return nil
	}
	r.cancel()
	<-r.done
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running == r {
		d.running = nil
	}
	return r.err
}
