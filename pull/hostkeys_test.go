package pull

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// keyLine is a known_hosts line for a pattern.
func keyLine(pattern string, k ssh.PublicKey) string {
	return pattern + " " + string(ssh.MarshalAuthorizedKey(k))
}

// certFor makes a host certificate signed by ca.
func certFor(t *testing.T, ca, key ssh.Signer, principal string, until time.Time) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.HostCert, KeyId: "router", ValidPrincipals: []string{principal},
		ValidAfter: 1, ValidBefore: uint64(until.Unix())}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The matrix: key types by known, unknown, changed, revoked, certified.
func TestHostKeys(t *testing.T) {
	ed, ed2, rsa1, ca := edKey(t), edKey(t), rsaKey(t), edKey(t)
	later, earlier := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	fp := func(s ssh.Signer) string { return ssh.FingerprintSHA256(s.PublicKey()) }
	for what, c := range map[string]struct {
		keys    []ssh.Signer
		known   func(host string) string // host is [127.0.0.1]:port
		alias   string
		problem HostKeyProblem // "" is accepted
		text    []string
		command bool
		legacy  bool
	}{
		"known":               {keys: []ssh.Signer{ed}, known: func(h string) string { return keyLine(h, ed.PublicKey()) }},
		"known rsa":           {keys: []ssh.Signer{rsa1}, known: func(h string) string { return keyLine(h, rsa1.PublicKey()) }},
		"known among others":  {keys: []ssh.Signer{ed}, known: func(h string) string { return "# comment\n\n" + keyLine("a,"+h+",b", ed.PublicKey()) }},
		"hashed":              {keys: []ssh.Signer{ed}, known: func(h string) string { return keyLine(xknownhosts.HashHostname(h), ed.PublicKey()) }},
		"wildcard":            {keys: []ssh.Signer{ed}, known: func(h string) string { return keyLine("127.0.0.*", ed.PublicKey()) }},
		"two keys on file":    {keys: []ssh.Signer{ed}, known: func(h string) string { return keyLine(h, ed2.PublicKey()) + keyLine(h, ed.PublicKey()) }},
		"several types, ed":   {keys: []ssh.Signer{rsa1, ed}, known: func(h string) string { return keyLine(h, ed.PublicKey()) }},
		"several types, rsa":  {keys: []ssh.Signer{ed, rsa1}, known: func(h string) string { return keyLine(h, rsa1.PublicKey()) }},
		"alias":               {keys: []ssh.Signer{ed}, alias: "core-1", known: func(string) string { return keyLine("core-1", ed.PublicKey()) }},
		"authority":           {keys: []ssh.Signer{certFor(t, ca, ed, "127.0.0.1", later)}, known: func(h string) string { return "@cert-authority " + keyLine("*", ca.PublicKey()) }},
		"authority, rsa host": {keys: []ssh.Signer{certFor(t, ca, rsa1, "127.0.0.1", later)}, known: func(h string) string { return "@cert-authority " + keyLine(h, ca.PublicKey()) }},

		"unknown": {keys: []ssh.Signer{ed}, known: func(string) string { return "" }, problem: HostKeyUnknown,
			text: []string{"is unknown: ssh-ed25519 " + fp(ed)}, command: true},
		"unknown port": {keys: []ssh.Signer{ed}, known: func(string) string { return keyLine("127.0.0.1", ed.PublicKey()) }, problem: HostKeyUnknown, command: true},
		"other hosts only": {keys: []ssh.Signer{ed}, known: func(string) string { return keyLine("router2", ed.PublicKey()) }, problem: HostKeyUnknown,
			text: []string{fp(ed)}, command: true},
		"changed": {keys: []ssh.Signer{ed2}, known: func(h string) string { return keyLine(h, ed.PublicKey()) }, problem: HostKeyChanged,
			text: []string{"has CHANGED", fp(ed2), fp(ed), "known_hosts:1"}, command: true},
		"changed, hashed": {keys: []ssh.Signer{ed2}, known: func(h string) string { return keyLine(xknownhosts.HashHostname(h), ed.PublicKey()) }, problem: HostKeyChanged,
			text: []string{fp(ed2), fp(ed)}, command: true},
		"type is gone": {keys: []ssh.Signer{rsa1}, known: func(h string) string { return keyLine(h, ed.PublicKey()) }, problem: HostKeyChanged,
			text: []string{"ssh-rsa " + fp(rsa1), fp(ed)}, command: true},
		"revoked": {keys: []ssh.Signer{ed}, known: func(h string) string { return "@revoked " + keyLine("*", ed.PublicKey()) + keyLine(h, ed.PublicKey()) }, problem: HostKeyRevoked,
			text: []string{"is revoked: ssh-ed25519 " + fp(ed)}},
		"revoked authority": {keys: []ssh.Signer{certFor(t, ca, ed, "127.0.0.1", later)}, known: func(h string) string {
			return "@cert-authority " + keyLine("*", ca.PublicKey()) + "@revoked " + keyLine("*", ca.PublicKey())
		}, problem: HostKeyRevoked, text: []string{fp(ed)}},
		"certificate for another host": {keys: []ssh.Signer{certFor(t, ca, ed, "router2", later)}, known: func(h string) string { return "@cert-authority " + keyLine("*", ca.PublicKey()) },
			problem: HostKeyCertificate, text: []string{"not valid", "127.0.0.1"}},
		"expired certificate": {keys: []ssh.Signer{certFor(t, ca, ed, "127.0.0.1", earlier)}, known: func(h string) string { return "@cert-authority " + keyLine("*", ca.PublicKey()) },
			problem: HostKeyCertificate, text: []string{"expired"}},
		"other authority": {keys: []ssh.Signer{certFor(t, ed2, ed, "127.0.0.1", later)}, known: func(h string) string { return "@cert-authority " + keyLine("*", ca.PublicKey()) },
			problem: HostKeyCertificate},
		"authority, no certificate": {keys: []ssh.Signer{ed}, known: func(h string) string { return "@cert-authority " + keyLine(h, ca.PublicKey()) },
			problem: HostKeyUnknown, text: []string{"is unknown: ssh-ed25519 " + fp(ed)}, command: true},
		"authority of other hosts": {keys: []ssh.Signer{certFor(t, ca, ed, "127.0.0.1", later), ed}, known: func(h string) string { return "@cert-authority " + keyLine("*.example.net", ca.PublicKey()) },
			problem: HostKeyUnknown, text: []string{fp(ed)}, command: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			r.server.stop()
			s := newServer(t, c.keys...)
			s.sftp = r.server.sftp
			r.server = s.start()
			r.setTarget()
			r.put(actName(1), "x\n", 1)
			file := r.target.KnownHosts[0]
			if err := os.WriteFile(file, []byte(c.known(fmt.Sprintf("[127.0.0.1]:%d", s.port()))), 0o600); err != nil {
				t.Fatal(err)
			}
			r.target.HostKeyAlias = c.alias
			r.o.Limits.Retries = 3 // which must not be used
			var hooked *HostKeyError
			r.o.Hooks.OnHostKey = func(e *HostKeyError) { hooked = e }
			res, err := r.pull(SFTP)
			if c.problem == "" {
				if err != nil || res.Count(Stored) != 1 {
					t.Fatalf("%s %v", brief(res), err)
				}
				return
			}
			oneLineError(t, err)
			var e *HostKeyError
			if !errors.As(err, &e) || e.Problem != c.problem || hooked != e {
				t.Fatalf("problem %+v of %v", e, err)
			}
			for _, text := range c.text {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q is not in %v", text, err)
				}
			}
			var h *Error
			command := fmt.Sprintf("acctpull hostkeys approve -p %d --known-hosts %s 127.0.0.1 %s", s.port(), file, e.Fingerprint)
			if !errors.As(err, &h) || h.Hint() == "" || strings.Contains(h.Hint(), command) != c.command {
				t.Errorf("hint %q", h.Hint())
			}
			if res.Attempts != 1 || s.logins != 0 || r.ledgerRows() != 0 {
				t.Errorf("%d attempts, %d passwords sent, %d rows", res.Attempts, s.logins, r.ledgerRows())
			}
		})
	}
}

func (r *rig) ledgerRows() int {
	n := 0
	for _, err := range r.ledger.Files(context.Background(), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

func TestKnownHostsFiles(t *testing.T) {
	r := newRig(t, scpQuirks{})
	file := r.target.KnownHosts[0]
	pull := func() error { _, err := r.pull(SFTP); return err }

	// The first file need not exist; the key may be in the second.
	r.target.KnownHosts = []string{filepath.Join(r.base, "none"), file}
	if err := pull(); err != nil {
		t.Fatal(err)
	}
	// One that others can write is refused, one that they can read is not:
	// host keys are no secret.
	r.target.KnownHosts = []string{file}
	for mode, bad := range map[os.FileMode]bool{0o600: false, 0o644: false, 0o620: true, 0o602: true, 0o666: true} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if err := pull(); errors.Is(err, ErrUnsafeFile) != bad || !bad && err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if err := os.WriteFile(file, []byte("127.0.0.1 ssh-ed25519 nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	err := pull()
	oneLineError(t, err)
	if !strings.Contains(err.Error(), file+":1") {
		t.Errorf("%v", err)
	}
}

func TestScanAndApprove(t *testing.T) {
	ctx := context.Background()
	ed, rsa1, ed2 := edKey(t), rsaKey(t), edKey(t)
	s := newServer(t, rsa1, ed).start()
	keys, err := scanAt(ctx, s.address, Limits{})
	if err != nil || len(keys) != 2 || keys[0].Type != "ssh-ed25519" || keys[1].Type != "ssh-rsa" {
		t.Fatalf("%+v %v", keys, err)
	}
	file := filepath.Join(t.TempDir(), ".ssh", "known_hosts")
	if _, err := ApproveHostKey(file, "127.0.0.1", s.port(), keys[0], keys[1].Fingerprint, Decision{}); err == nil {
		t.Fatal("a wrong fingerprint was approved")
	}
	if _, err := os.Stat(filepath.Dir(file)); err == nil {
		t.Fatal("something was written")
	}
	approve := func(k ScannedKey, want bool) {
		t.Helper()
		done, err := ApproveHostKey(file, "127.0.0.1", s.port(), k, k.Fingerprint, Decision{})
		if err != nil || done.Changed != want {
			t.Fatalf("changed %v, %v", done.Changed, err)
		}
		st, err := os.Stat(file)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Fatalf("%v %v", st.Mode(), err)
		}
	}
	read := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	host := "[127.0.0.1]:" + strconv.Itoa(s.port())
	approve(keys[0], true)
	approve(keys[0], false)
	approve(keys[1], true)
	if got, want := read(), keyLine(host, ed.PublicKey())+keyLine(host, rsa1.PublicKey()); got != want {
		t.Fatalf("got  %q\nwant %q", got, want)
	}

	// A changed key takes the place of the old one, in plain, hashed and shared
	// lines; everything else stays byte for byte.
	old := "# my hosts\n" + keyLine(host, ed2.PublicKey()) + keyLine(xknownhosts.HashHostname(host), ed2.PublicKey()) +
		"  a.example," + host + ",b.example " + strings.SplitN(keyLine("", ed2.PublicKey()), " ", 2)[1] +
		keyLine("127.0.0.1", ed2.PublicKey()) + keyLine(host, rsa1.PublicKey()) + "@cert-authority " + strings.TrimSuffix(keyLine("*", ed2.PublicKey()), "\n")
	want := "# my hosts\n" + keyLine("a.example,b.example", ed2.PublicKey()) + keyLine("127.0.0.1", ed2.PublicKey()) + keyLine(host, rsa1.PublicKey()) +
		"@cert-authority " + keyLine("*", ed2.PublicKey()) + keyLine(host, ed.PublicKey())
	if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	approve(keys[0], true)
	if got := read(); got != want {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	approve(keys[0], false)

	// Through a symbolic link the file is changed, not the link.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, err := ApproveHostKey(link, "router9", 22, keys[0], keys[0].Fingerprint, Decision{}); err != nil || read() != want+keyLine("router9", ed.PublicKey()) {
		t.Fatalf("%v %q", err, read())
	}
	// A revoked key and a file that cannot be read are errors.
	for _, text := range []string{"@revoked " + keyLine("*", ed.PublicKey()), "nonsense\n", "a b c\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ApproveHostKey(file, "127.0.0.1", s.port(), keys[0], keys[0].Fingerprint, Decision{}); err == nil || read() != text {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The command in the error, followed, makes the next pull work.
func TestApproveThenPull(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.put(actName(1), "x\n", 1)
	r.target.KnownHosts = []string{filepath.Join(r.base, "new")}
	_, err := r.pull(SFTP)
	var e *HostKeyError
	if !errors.As(err, &e) || e.Problem != HostKeyUnknown {
		t.Fatal(err)
	}
	keys, err := scanAt(context.Background(), net.JoinHostPort(e.Host, strconv.Itoa(e.Port)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(keys, func(k ScannedKey) bool { return k.Fingerprint == e.Fingerprint })
	if _, err := ApproveHostKey(e.File, e.Host, e.Port, keys[i], e.Fingerprint, Decision{}); err != nil {
		t.Fatal(err)
	}
	if res, err := r.pull(SFTP); err != nil || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
}

func TestHostKeyCommand(t *testing.T) {
	e := HostKeyError{Problem: HostKeyUnknown, Host: "router", Port: 22, Type: "ssh-ed25519", Fingerprint: "SHA256:x"}
	if got := e.Command(); got != "acctpull hostkeys approve router SHA256:x" {
		t.Error(got)
	}
	e.Port, e.File = 2222, "/home/me/my hosts"
	if got := e.Command(); got != "acctpull hostkeys approve -p 2222 --known-hosts '/home/me/my hosts' router SHA256:x" {
		t.Error(got)
	}
}

// Keys the SSH library does not accept are not scanned for ever.
func TestScanNothing(t *testing.T) {
	s := newServer(t)
	s.raw = func(c net.Conn) { time.Sleep(50 * time.Millisecond) }
	s.start()
	_, err := scanAt(context.Background(), s.address, quickLimits())
	oneLineError(t, err)
}
