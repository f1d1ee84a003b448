package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"

	"golang.org/x/crypto/ssh"
)

// Through real jump hosts: one, a chain of two, and one that does not forward.
func TestOpenSSHJumpHost(t *testing.T) {
	r := newRig(t, scpQuirks{})
	openSSH(t, r, "Subsystem sftp internal-sftp", "AllowTcpForwarding no")
	device := r.target
	hop := func(lines ...string) Target {
		j := newRig(t, scpQuirks{})
		openSSH(t, j, append(lines, "ForceCommand /bin/false")...)
		return j.target
	}
	first := hop("AllowTcpForwarding yes")
	second := hop("AllowTcpForwarding local", fmt.Sprintf("PermitOpen 127.0.0.1:%d", device.Port))
	closed := hop("AllowTcpForwarding no")
	for i := range 10 {
		r.put(actName(i), strings.Repeat(fmt.Sprintln("line", i), i*3000), int64(1000+i))
	}
	r.target.Jump = []Target{first}
	if res, err := r.pull(SFTP); err != nil || res.Count(Stored) != 10 {
		t.Fatalf("%s %v", brief(res), err)
	}
	r.put(actName(20), "more\n", 5)
	r.target.Jump = []Target{first, second}
	if res, err := r.pull(SCP); err != nil || res.Count(Stored) != 1 || res.Known != 10 {
		t.Fatalf("%s %v", brief(res), err)
	}
	keys, err := ScanHostKeys(context.Background(), r.target, nil, r.o.Limits)
	if err != nil || len(keys) != 2 {
		t.Fatalf("%+v %v", keys, err)
	}
	r.target.Jump = []Target{closed}
	_, err = r.pull(SFTP)
	oneLineError(t, err)
	if !strings.Contains(err.Error(), "jump host 127.0.0.1 does not forward to") {
		t.Fatal(err)
	}
	stranger := first
	stranger.KnownHosts = closed.KnownHosts
	r.target.Jump = []Target{stranger}
	_, err = r.pull(SFTP)
	var key *HostKeyError
	if !errors.As(err, &key) || key.Problem != HostKeyUnknown || key.Port != first.Port {
		t.Fatal(err)
	}
}

// Users whom a real server knows by the authority of their certificates only.
func TestOpenSSHCertificates(t *testing.T) {
	ca := edKey(t)
	r := newRig(t, scpQuirks{})
	file := filepath.Join(t.TempDir(), "ca.pub")
	writeFile(t, file, ssh.MarshalAuthorizedKey(ca.PublicKey()), 0o644)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	openSSH(t, r, "Subsystem sftp internal-sftp", "TrustedUserCAKeys "+file)
	key, public := keyFile(t, t.TempDir(), "key", "", 3)
	r.target.Identities = []string{key}
	r.put(actName(1), "x\n", 1)
	var refused *AuthError
	if _, err := r.pull(SFTP); !errors.As(err, &refused) {
		t.Fatal(err)
	}
	c := &ssh.Certificate{Key: public, CertType: ssh.UserCert, ValidPrincipals: []string{me.Username}, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(zeroReader{}, ca); err != nil {
		t.Fatal(err)
	}
	writeFile(t, key+"-cert.pub", ssh.MarshalAuthorizedKey(c), 0o644)
	if res, err := r.pull(SFTP); err != nil || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
}

// zeroReader is enough for the nonce of a certificate.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// An account that may run scp -f and nothing else, as a forced command gives it.
func TestOpenSSHForcedSCP(t *testing.T) {
	r := newRig(t, scpQuirks{})
	script := filepath.Join(t.TempDir(), "only-scp")
	writeFile(t, script, []byte("#!/bin/sh\ncase \"$SSH_ORIGINAL_COMMAND\" in\n'scp -f '*) exec sh -c \"$SSH_ORIGINAL_COMMAND\";;\nesac\necho refused >&2\nexit 1\n"), 0o755)
	openSSH(t, r, "Subsystem sftp internal-sftp", "ForceCommand "+script)
	for i := range 10 {
		r.put(actName(i), fmt.Sprintln(i), int64(1000+i))
	}
	res, err := r.pull(Auto)
	if err != nil || res.Count(Stored) != 10 || res.Transport != SCP || res.Files[3].MTime != 1003 {
		t.Fatalf("%s %v", brief(res), err)
	}
	r.target.Quirks = Quirks{Bare: true, OnePath: true}
	r.put(actName(20), "more\n", 5)
	if res, err = r.pull(SCP); err != nil || res.Count(Stored)+res.Count(Alias) == 0 {
		t.Fatalf("%s %v", brief(res), err)
	}
}

// dropbear has scp, and no SFTP server unless one is installed for it. Its users
// come from their home directories, so it gets one of its own in a mount
// namespace.
func TestDropbearProof(t *testing.T) {
	dropbear, keygen, unshare := need.Tool(t, "dropbear"), need.Tool(t, "dropbearkey"), need.Tool(t, "unshare")
	need.Root(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, scpQuirks{})
	dir, home := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	identity, public := keyFile(t, dir, "identity", "", 1)
	writeFile(t, filepath.Join(home, ".ssh", "authorized_keys"), ssh.MarshalAuthorizedKey(public), 0o600)
	hostKey := filepath.Join(dir, "host")
	if out, err := exec.Command(keygen, "-t", "ed25519", "-f", hostKey).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	port := freePort(t)
	cmd := exec.Command(unshare, "-m", "sh", "-c", `mount --bind "$1" "$2" && exec "$3" -F -E -s -m -p "127.0.0.1:$4" -r "$5" -P "$6"`,
		"sh", home, me.HomeDir, dropbear, fmt.Sprint(port), hostKey, filepath.Join(dir, "pid"))
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("dropbear: %s", &log)
		}
	})
	waitFor(t, port, exited)
	keys, err := scanAt(context.Background(), fmt.Sprintf("127.0.0.1:%d", port), r.o.Limits)
	if err != nil || len(keys) != 1 {
		t.Fatalf("%+v %v", keys, err)
	}
	known := filepath.Join(dir, "known")
	if _, err := ApproveHostKey(known, "127.0.0.1", port, keys[0], keys[0].Fingerprint, Decision{}); err != nil {
		t.Fatal(err)
	}
	r.target = Target{Device: "router1", User: me.Username, Host: "127.0.0.1", Port: port, Path: r.act, KnownHosts: []string{known}, Identities: []string{identity}}
	if r.target.Quirks, err = ParseQuirks([]string{"dropbear"}); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		r.put(actName(i), strings.Repeat(fmt.Sprintln("line", i), i*300), int64(1000+i))
	}
	res, err := r.pull(SCP)
	if err != nil || res.Count(Stored) != 30 || res.Files[3].MTime != 1003 {
		t.Fatalf("%s %v", brief(res), err)
	}
	r.put(actName(50), "more\n", 5)
	if err := os.Remove(filepath.Join(r.act, actName(0))); err != nil {
		t.Fatal(err)
	}
	if res, err = r.pull(SCP); err != nil || !slices.Equal(outcomes(res), []string{actName(50) + " stored"}) || res.Known != 29 {
		t.Fatalf("%s %v", brief(res), err)
	}
}
