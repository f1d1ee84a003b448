package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"acctpull/internal/actserver"
)

// testDevice is a device on loopback: a directory of accounting files behind
// our own SSH server, with everything a client needs to log in.
type testDevice struct {
	hostKey    ssh.PublicKey
	act        string // the directory that is served
	port       int
	identity   string
	knownHosts string
}

// newDevice starts a device that ends with the test.
func newDevice(t testing.TB, change func(*actserver.Options)) *testDevice {
	t.Helper()
	dir := t.TempDir()
	d := &testDevice{act: filepath.Join(dir, "act"), identity: filepath.Join(dir, "id_ed25519"), knownHosts: filepath.Join(dir, "known_hosts")}
	host, err := actserver.NewKey("host")
	check(t, err)
	d.hostKey = host.Signer.PublicKey()
	client, err := actserver.NewKey("client")
	check(t, err)
	check(t, os.Mkdir(d.act, 0o750))
	check(t, os.WriteFile(d.identity, client.PEM, 0o600))
	o := actserver.Options{
		Root: d.act, HostKeys: []ssh.Signer{host.Signer},
		Authorized: actserver.AuthorizedKeys(map[string][]ssh.PublicKey{"admin": {client.Signer.PublicKey()}}),
		// Hundreds of connections in a row come from one address here.
		Limits: actserver.Limits{PenaltyFailure: -1},
	}
	if change != nil {
		change(&o)
	}
	server, err := actserver.New(o)
	check(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	d.port = ln.Addr().(*net.TCPAddr).Port
	line := fmt.Sprintf("[127.0.0.1]:%d %s", d.port, ssh.MarshalAuthorizedKey(host.Signer.PublicKey()))
	check(t, os.WriteFile(d.knownHosts, []byte(line), 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return d
}

// pullArgs is the command line that pulls the device into out.
func (d *testDevice) pullArgs(out string, more ...string) []string {
	return append([]string{
		"pull", "admin@127.0.0.1:cf1:/act", "-p", fmt.Sprint(d.port), "-i", d.identity, "-F", "none",
		"--known-hosts", d.knownHosts, "--device", "dut", "--out", out,
	}, more...)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
