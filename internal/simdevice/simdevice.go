// Package simdevice is a simulated network device: an address of its own on
// the loopback network, an SSH host key of its own, and a directory with
// act-collect/ and act/ that it serves as a real device serves its compact
// flash. Faults can be switched while it runs.
//
// It makes no records. The caller fills act/, with a collector of its own or
// with PutFile.
package simdevice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"acctpull/internal/actserver"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Options describe one device. Dir and one way to log in are required.
type Options struct {
	// Name is used in errors.
	Name string
	// Dir holds act-collect/ and act/; Start creates what is missing.
	Dir string
	// Addr is the loopback address and port to listen on, any of 127.0.0.0/8
	// or [::1]. Port 0 takes a free one. Empty: "127.0.0.1:0".
	Addr string
	// Passwords and Keys say who may log in, by user name.
	Passwords map[string]string
	Keys      map[string][]ssh.PublicKey
	// KeyboardInteractive offers the passwords by that method too.
	KeyboardInteractive bool
	// HostKey is the device's identity. Nil: a fresh Ed25519 key, or RSA for a
	// legacy device.
	HostKey ssh.Signer
	// Legacy offers only what an old device does: group1 and group14 with
	// SHA-1, CBC ciphers, HMAC-SHA1, ssh-rsa.
	Legacy bool
	// SCPOnly refuses the sftp subsystem.
	SCPOnly bool
	// ShowCollect lets clients see act-collect/ too.
	ShowCollect bool
	// Faults at the start.
	Faults Faults
	// Limits and Hooks of the SSH server.
	Limits actserver.Limits
	Hooks  actserver.Hooks
}

// Faults are what is wrong with a device; the zero value is a healthy one.
// They are replaced as a whole, see SetFaults.
type Faults struct {
	// Down: open connections are reset, and new ones as soon as they arrive.
	Down bool
	// Silent: new connections are accepted and never answered.
	Silent bool
	// DropAfter cuts every connection once the device has sent that many bytes
	// on it, SSH handshake included. 0: never.
	DropAfter int64
	// SlowBytesPerSecond bounds what the device sends on a connection. 0: no
	// bound.
	SlowBytesPerSecond int64
	// TruncateGzip lists and serves only the first half of each .gz file.
	TruncateGzip bool
	// ChangeHostKey presents another host key on new connections.
	ChangeHostKey bool
}

// Device is a simulated device. Its methods may be called concurrently.
type Device struct {
	o       Options
	hostKey ssh.Signer
	servers [2]*actserver.Server // with the known and with the changed host key
	faults  atomic.Pointer[Faults]

	mu      sync.Mutex
	addr    string // as configured; as bound once started
	running *run   // nil while stopped
	live    map[*link]struct{}
}

// run is one period between Start and Stop.
type run struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done
}

// New checks the options and makes the keys. Nothing listens before Start.
func New(o Options) (*Device, error) {
	d := &Device{o: o, addr: o.Addr, live: make(map[*link]struct{})}
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
	errs = append(errs, d.makeServers())
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("simulated device %q: %w", o.Name, err)
	}
	return d, nil
}

// makeServers makes one server per host key.
func (d *Device) makeServers() error {
	keys := [2]ssh.Signer{d.o.HostKey}
	for i := range keys {
		if keys[i] != nil {
			continue
		}
		pair, err := d.newKey()
		if err != nil {
			return err
		}
		keys[i] = pair.Signer
	}
	d.hostKey = keys[0]
	for i, key := range keys {
		server, err := actserver.New(d.serverOptions(key))
		if err != nil {
			return err
		}
		d.servers[i] = server
	}
	return nil
}

func (d *Device) newKey() (actserver.KeyPair, error) {
	if d.o.Legacy {
		return actserver.NewRSAKey(d.o.Name, 2048)
	}
	return actserver.NewKey(d.o.Name)
}

func (d *Device) serverOptions(key ssh.Signer) actserver.Options {
	o := actserver.Options{
		Root:                d.ActDir(),
		HostKeys:            []ssh.Signer{key},
		KeyboardInteractive: d.o.KeyboardInteractive,
		NoSFTP:              d.o.SCPOnly,
		Length:              d.length,
		Limits:              d.o.Limits,
		Hooks:               d.o.Hooks,
	}
	if d.o.ShowCollect {
		o.Collect = d.CollectDir()
	}
	if len(d.o.Keys) > 0 {
		o.Authorized = actserver.AuthorizedKeys(d.o.Keys)
	}
	if len(d.o.Passwords) > 0 {
		o.Password = actserver.Passwords(d.o.Passwords)
	}
	if d.o.Legacy {
		o.Algorithms = legacyAlgorithms()
	}
	return o
}

// legacyAlgorithms is what an old device offers: SHA-1 and CBC only.
func legacyAlgorithms() *ssh.Algorithms {
	return &ssh.Algorithms{
		KeyExchanges:   []string{ssh.InsecureKeyExchangeDH14SHA1, ssh.InsecureKeyExchangeDH1SHA1},
		Ciphers:        []string{ssh.InsecureCipherAES128CBC, ssh.InsecureCipherTripleDESCBC},
		MACs:           []string{ssh.HMACSHA1},
		HostKeys:       []string{ssh.KeyAlgoRSA},
		PublicKeyAuths: []string{ssh.KeyAlgoRSA, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoED25519},
	}
}

// length is how much of a file the device admits to.
func (d *Device) length(name string, size int64) int64 {
	if d.faults.Load().TruncateGzip && strings.HasSuffix(name, ".gz") {
		return size / 2
	}
	return size
}

// ActDir is the directory of finished files.
func (d *Device) ActDir() string { return filepath.Join(d.o.Dir, "act") }

// CollectDir is the directory of files being written.
func (d *Device) CollectDir() string { return filepath.Join(d.o.Dir, "act-collect") }

// Name is the name from the options.
func (d *Device) Name() string { return d.o.Name }

// Addr is the address and port to connect to; a port of 0 becomes the bound
// one with the first Start, and stays.
func (d *Device) Addr() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addr
}

// KnownHostsLine is the line of known_hosts, without a newline, for the
// address of the device and its own key: the one it has without ChangeHostKey.
func (d *Device) KnownHostsLine() string {
	return knownhosts.Line([]string{knownhosts.Normalize(d.Addr())}, d.hostKey.PublicKey())
}

// Faults returns the present faults.
func (d *Device) Faults() Faults { return *d.faults.Load() }

// SetFaults replaces the faults at once. Down resets the open connections;
// Silent and ChangeHostKey act on new connections, the others on all.
func (d *Device) SetFaults(f Faults) {
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
	err := errors.Join(os.MkdirAll(d.CollectDir(), 0o750), os.MkdirAll(d.ActDir(), 0o750))
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
	err := errors.Join(os.MkdirAll(d.CollectDir(), 0o750), os.MkdirAll(d.ActDir(), 0o750))
	if err != nil {
		return fmt.Errorf("start %q: %w", d.o.Name, err)
	}
	var config net.ListenConfig
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
