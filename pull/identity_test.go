package pull

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// certify makes a user certificate, valid for so long from an hour ago.
func certify(t testing.TB, ca ssh.Signer, key ssh.PublicKey, life time.Duration) []byte {
	t.Helper()
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: "test", ValidPrincipals: []string{testUser, "root"},
		ValidAfter: uint64(time.Now().Add(-time.Hour).Unix()), ValidBefore: uint64(time.Now().Add(life - time.Hour).Unix())}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return ssh.MarshalAuthorizedKey(c)
}

// trustCA makes the server take users whom an authority certified, and nothing
// else.
func trustCA(s *testServer, ca ssh.PublicKey) {
	checker := &ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), ca.Marshal()) }}
	s.config.PasswordCallback = nil
	s.config.PublicKeyCallback = checker.Authenticate
}

// serveAgentKeys runs an agent with keys as they are given.
func serveAgentKeys(t *testing.T, keys ...agent.AddedKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = agent.ServeAgent(ring, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return socket
}

func TestCertificates(t *testing.T) {
	ca := rsaKey(t)
	dir := t.TempDir()
	key, public := keyFile(t, dir, "key", "", 1)
	locked, lockedPublic := keyFile(t, dir, "locked", "open sesame", 2)
	old, oldPublic := keyFile(t, dir, "old", "", 3)
	bare, _ := keyFile(t, dir, "bare", "", 1)
	broken, _ := keyFile(t, dir, "broken", "", 1)
	apart := filepath.Join(dir, "apart.pub")
	writeFile(t, key+"-cert.pub", certify(t, ca, public, 2*time.Hour), 0o644)
	writeFile(t, locked+"-cert.pub", certify(t, ca, lockedPublic, 2*time.Hour), 0o644)
	writeFile(t, old+"-cert.pub", certify(t, ca, oldPublic, time.Minute), 0o644)
	writeFile(t, apart, certify(t, ca, public, 2*time.Hour), 0o644)
	writeFile(t, broken+"-cert.pub", []byte("ssh-rsa \x1b[1m\n"), 0o644)
	phrase := filepath.Join(dir, "phrase")
	writeFile(t, phrase, []byte("open sesame\n"), 0o600)
	stranger := filepath.Join(dir, "stranger.pub")
	writeFile(t, stranger, certify(t, ca, edKey(t).PublicKey(), time.Hour), 0o644)

	pub, _, _, _, err := ssh.ParseAuthorizedKey(certify(t, ca, public, 2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	socket := serveAgentKeys(t, agent.AddedKey{PrivateKey: rawRSA(t, 1), Certificate: pub.(*ssh.Certificate)})
	plain := serveAgentKeys(t, agent.AddedKey{PrivateKey: rawRSA(t, 1)})

	for what, c := range map[string]struct {
		target func(*Target)
		want   string
		auth   bool
	}{
		"beside the key":             {target: func(x *Target) { x.Identities = []string{key} }},
		"beside a default key":       {target: func(x *Target) { x.DefaultIdentities = []string{key} }},
		"beside an encrypted key":    {target: func(x *Target) { x.Identities, x.Passphrase = []string{locked}, Secret{File: phrase} }},
		"named":                      {target: func(x *Target) { x.Identities, x.Certificates = []string{bare}, []string{apart} }},
		"named, key in the agent":    {target: func(x *Target) { x.AgentSocket, x.Certificates = plain, []string{apart} }},
		"in the agent":               {target: func(x *Target) { x.AgentSocket = socket }},
		"second key has it":          {target: func(x *Target) { x.Identities = []string{bare, key} }},
		"expired":                    {target: func(x *Target) { x.Identities = []string{old} }, want: "it is not valid now", auth: true},
		"broken":                     {target: func(x *Target) { x.Identities = []string{broken} }, want: "certificate not used: ", auth: true},
		"none":                       {target: func(x *Target) { x.Identities = []string{bare} }, want: "refused (tried once: publickey)", auth: true},
		"named, without its key":     {target: func(x *Target) { x.Identities, x.Certificates = []string{bare}, []string{stranger} }, want: "the private key of this certificate is not among the keys"},
		"named, not there":           {target: func(x *Target) { x.Identities, x.Certificates = []string{bare}, []string{dir + "/x"} }, want: "no such file"},
		"named, a key and no more":   {target: func(x *Target) { x.Identities, x.Certificates = []string{bare}, []string{phrase} }, want: "read certificate"},
		"agent with a key is no use": {target: func(x *Target) { x.AgentSocket = plain }, want: "refused", auth: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			r.server.stop()
			s := newServer(t)
			s.sftp = r.server.sftp
			trustCA(s, ca.PublicKey())
			r.server = s.start()
			r.setTarget()
			r.target.Password = Secret{}
			c.target(&r.target)
			_, err := r.pull(SFTP)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			oneLineError(t, err)
			var a *AuthError
			if !strings.Contains(err.Error(), c.want) || errors.As(err, &a) != c.auth {
				t.Fatalf("got %v\nwant %q", err, c.want)
			}
		})
	}
}

// Passwords, passphrases and keys that systemd hands over.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	keys := t.TempDir()
	_, public := keyFile(t, dir, "key", "", 1)
	_, lockedPublic := keyFile(t, dir, "locked", "open sesame", 2)
	writeFile(t, filepath.Join(dir, "pw"), []byte(testPassword+"\n"), 0o600)
	writeFile(t, filepath.Join(dir, "phrase"), []byte("open sesame"), 0o600)
	// systemd shows the mask of an ACL where the group's bits are.
	if err := os.Chmod(filepath.Join(dir, "pw"), 0o440); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "loose"), []byte(testPassword), 0o604)
	writeFile(t, filepath.Join(keys, "outside"), []byte(testPassword), 0o600)
	given := map[string]string{"CREDENTIALS_DIRECTORY": dir}

	for what, c := range map[string]struct {
		key    ssh.PublicKey
		target func(*Target)
		env    map[string]string
		want   string
	}{
		"password": {env: given, target: func(x *Target) { x.Password = Secret{Credential: "pw"} }},
		"key":      {key: public, env: given, target: func(x *Target) { x.IdentityCredentials = []string{"key"} }},
		"encrypted key": {key: lockedPublic, env: given, target: func(x *Target) {
			x.IdentityCredentials, x.Passphrase = []string{"locked"}, Secret{Credential: "phrase"}
		}},
		"no directory":       {target: func(x *Target) { x.Password = Secret{Credential: "pw"} }, want: "credential pw: the environment variable CREDENTIALS_DIRECTORY is not set"},
		"not there":          {env: given, target: func(x *Target) { x.Password = Secret{Credential: "absent"} }, want: "no such file"},
		"readable by others": {env: given, target: func(x *Target) { x.Password = Secret{Credential: "loose"} }, want: "mode is too open (0604)"},
		"outside":            {env: given, target: func(x *Target) { x.Password = Secret{Credential: "../" + filepath.Base(keys) + "/outside"} }, want: "not a name"},
		"key outside":        {env: given, target: func(x *Target) { x.IdentityCredentials = []string{".."} }, want: "not a name"},
		"not a key":          {env: given, target: func(x *Target) { x.IdentityCredentials = []string{"pw"} }, want: "credential pw: not a private key"},
		"no passphrase":      {env: given, target: func(x *Target) { x.IdentityCredentials = []string{"locked"} }, want: "credential locked: encrypted, and no passphrase is given"},
		"two places":         {env: given, target: func(x *Target) { x.Password = Secret{Credential: "pw", Env: "PW"} }, want: "only one of"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			r.server.stop()
			s := newServer(t)
			s.sftp = r.server.sftp
			if c.key != nil {
				acceptKey(s, c.key)
			}
			r.server = s.start()
			r.setTarget()
			r.target.Password = Secret{}
			c.target(&r.target)
			r.o.Getenv = func(k string) string { return c.env[k] }
			_, err := r.pull(SFTP)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			oneLineError(t, err)
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), testPassword) {
				t.Fatalf("got %v\nwant %q", err, c.want)
			}
		})
	}
}
