package pull

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// keyFile writes a private key, encrypted if there is a passphrase.
func keyFile(t testing.TB, dir, name, passphrase string, n int) (string, ssh.PublicKey) {
	t.Helper()
	k := rawRSA(t, n)
	var err error
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(k, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(k, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, signer(t, k).PublicKey()
}

// serveAgent runs an SSH agent with the keys of files.
func serveAgent(t *testing.T, files ...string) string {
	t.Helper()
	var keys []agent.AddedKey
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		k, err := ssh.ParseRawPrivateKey(b)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, agent.AddedKey{PrivateKey: k})
	}
	return serveAgentKeys(t, keys...)
}

// acceptKey makes the server take one public key, and no password.
func acceptKey(s *testServer, key ssh.PublicKey) {
	s.config.PasswordCallback = nil
	s.config.PublicKeyCallback = func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if key != nil && bytes.Equal(k.Marshal(), key.Marshal()) {
			return nil, nil
		}
		return nil, errors.New("no")
	}
}

// prompts makes the server ask by keyboard-interactive only.
func prompts(mu *sync.Mutex, answers *[]string, ok func([]string) bool, rounds ...[]string) func(*testServer) {
	return func(s *testServer) {
		s.config.PasswordCallback = nil
		s.config.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			var all []string
			for _, r := range rounds {
				a, err := ask("", "Hello \x1b[1m", r, make([]bool, len(r)))
				if err != nil {
					return nil, err
				}
				all = append(all, a...)
			}
			mu.Lock()
			*answers = append(*answers, all...)
			mu.Unlock()
			if ok(all) {
				return nil, nil
			}
			return nil, errors.New("no")
		}
	}
}

func TestLogin(t *testing.T) {
	dir := t.TempDir()
	plain, plainKey := keyFile(t, dir, "plain", "", 1)
	locked, lockedKey := keyFile(t, dir, "locked", "open sesame", 2)
	open, _ := keyFile(t, dir, "open", "", 3)
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	phrase := filepath.Join(dir, "phrase")
	wrong := filepath.Join(dir, "wrong")
	loose := filepath.Join(dir, "loose")
	empty := filepath.Join(dir, "empty")
	for f, text := range map[string]string{phrase: "open sesame\n", wrong: "wrong secret\n", loose: testPassword, empty: "\nsecond\n"} {
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(loose, 0o604); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pubonly.pub"), ssh.MarshalAuthorizedKey(plainKey), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := serveAgent(t, plain)
	var mu sync.Mutex
	var answers []string
	right := func(a []string) bool { return slices.Equal(a, []string{testPassword}) }
	noPassword := func(tt *Target) { tt.Password = Secret{} }

	for what, c := range map[string]struct {
		server func(*testServer)
		target func(*Target)
		env    map[string]string
		want   string // "" logs in
		auth   bool   // an *AuthError
		tries  int    // password attempts the server sees
	}{
		"password file":        {tries: 1},
		"password environment": {target: func(tt *Target) { tt.Password = Secret{Env: "ROUTER_PW"} }, env: map[string]string{"ROUTER_PW": testPassword}, tries: 1},
		"environment empty":    {target: func(tt *Target) { tt.Password = Secret{Env: "ROUTER_PW"} }, want: "variable ROUTER_PW is not set"},
		"both":                 {target: func(tt *Target) { tt.Password = Secret{Env: "A", File: phrase} }, want: "only one of a file, an environment variable and a credential"},
		"wrong password":       {target: func(tt *Target) { tt.Password.File = wrong }, want: "refused (tried once: password)", auth: true, tries: 1},
		"wrong password, also interactive": {server: func(s *testServer) {
			s.config.KeyboardInteractiveCallback = func(ssh.ConnMetadata, ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				s.mu.Lock()
				s.logins++
				s.mu.Unlock()
				return nil, errors.New("no")
			}
		}, target: func(tt *Target) { tt.Password.File = wrong }, want: "refused", auth: true, tries: 1},
		"loose password file": {target: func(tt *Target) { tt.Password.File = loose }, want: "mode is too open (0604)"},
		"empty password file": {target: func(tt *Target) { tt.Password.File = empty }, want: "first line is empty"},
		"no password file":    {target: func(tt *Target) { tt.Password.File = filepath.Join(dir, "none") }, want: "no such file"},
		"directory":           {target: func(tt *Target) { tt.Password.File = dir }, want: "is a directory"},
		"nothing":             {target: noPassword, want: "nothing to log in with; the device takes password", auth: true},

		"key":                   {server: func(s *testServer) { acceptKey(s, plainKey) }, target: func(tt *Target) { tt.Identities = []string{plain} }},
		"default key":           {server: func(s *testServer) { acceptKey(s, plainKey) }, target: func(tt *Target) { tt.DefaultIdentities = []string{dir + "/none", open, plain} }},
		"encrypted key":         {server: func(s *testServer) { acceptKey(s, lockedKey) }, target: func(tt *Target) { tt.Identities, tt.Passphrase = []string{locked}, Secret{File: phrase} }},
		"encrypted key, no way": {server: func(s *testServer) { acceptKey(s, lockedKey) }, target: func(tt *Target) { tt.Identities = []string{locked} }, want: "encrypted, and no passphrase"},
		"wrong passphrase":      {server: func(s *testServer) { acceptKey(s, lockedKey) }, target: func(tt *Target) { tt.Identities, tt.Passphrase = []string{locked}, Secret{File: wrong} }, want: "wrong passphrase"},
		"encrypted default key": {server: func(s *testServer) { acceptKey(s, lockedKey) }, target: func(tt *Target) { tt.DefaultIdentities = []string{locked}; noPassword(tt) }, want: "not used: " + locked + ": encrypted", auth: true},
		"loose key":             {target: func(tt *Target) { tt.Identities = []string{open} }, want: "mode is too open (0640)"},
		"loose default key":     {server: func(s *testServer) { acceptKey(s, nil) }, target: func(tt *Target) { tt.DefaultIdentities = []string{open} }, want: "not used: " + open + ": file mode is too open", auth: true},
		"missing key":           {target: func(tt *Target) { tt.Identities = []string{dir + "/none"} }, want: "no such file"},
		"not a key":             {target: func(tt *Target) { tt.Identities = []string{phrase} }, want: "not a private key"},
		"key refused":           {server: func(s *testServer) { acceptKey(s, nil) }, target: func(tt *Target) { tt.Identities = []string{plain}; noPassword(tt) }, want: "refused (tried once: publickey)", auth: true},
		"key refused, password not taken": {server: func(s *testServer) { acceptKey(s, nil) }, target: func(tt *Target) { tt.Identities = []string{plain} },
			want: "the device takes publickey", auth: true},

		"agent":           {server: func(s *testServer) { acceptKey(s, plainKey) }, target: func(tt *Target) { tt.AgentSocket = socket }},
		"agent, not used": {server: func(s *testServer) { acceptKey(s, plainKey) }, target: func(tt *Target) { tt.AgentSocket, tt.IdentitiesOnly = socket, true }, want: "nothing to log in with", auth: true},
		"agent gone":      {server: func(s *testServer) { acceptKey(s, plainKey) }, target: func(tt *Target) { tt.AgentSocket = dir + "/none" }, want: "SSH agent: ", auth: true},
		"agent gone, key": {server: func(s *testServer) { acceptKey(s, plainKey) }, target: func(tt *Target) { tt.AgentSocket, tt.Identities = dir+"/none", []string{plain} }},
		"public half only": {server: func(s *testServer) { acceptKey(s, plainKey) }, target: func(tt *Target) {
			tt.AgentSocket, tt.IdentitiesOnly, tt.Identities = socket, true, []string{dir + "/pubonly"}
		}},

		"interactive":           {server: prompts(&mu, &answers, right, []string{"Password: "})},
		"interactive, 2 rounds": {server: prompts(&mu, &answers, right, nil, []string{"admin's password:"}, nil)},
		"one-time password":     {server: prompts(&mu, &answers, right, []string{"Verification code:\x1b[2J "}), want: `something else than the password: "Verification code:\x1b[2J "`, auth: true},
		"two prompts":           {server: prompts(&mu, &answers, right, []string{"Password: ", "Token: "}), want: "something else than the password", auth: true},
		"password and OTP":      {server: prompts(&mu, &answers, func(a []string) bool { return false }, []string{"Password: "}, []string{"One-time password: "}), want: "One-time password", auth: true},
		"asked twice":           {server: prompts(&mu, &answers, func(a []string) bool { return false }, []string{"Password: "}, []string{"Password: "}), want: "something else", auth: true},
		"interactive, wrong":    {server: prompts(&mu, &answers, func(a []string) bool { return false }, []string{"Password: "}), want: "refused (tried once: keyboard-interactive)", auth: true},
		"hangs up": {server: func(s *testServer) {
			s.config.MaxAuthTries = 1
		}, target: func(tt *Target) { tt.Password.File = wrong }, want: "", auth: true, tries: 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			r.server.stop()
			s := newServer(t)
			s.sftp = r.server.sftp
			if c.server != nil {
				c.server(s)
			}
			r.server = s.start()
			r.setTarget()
			if c.target != nil {
				c.target(&r.target)
			}
			r.o.Getenv = func(k string) string { return c.env[k] }
			r.o.Limits.Retries = 3 // which must not be used
			res, err := r.pull(SFTP)
			if c.want == "" && !c.auth {
				if err != nil {
					t.Fatal(err)
				}
			} else {
				oneLineError(t, err)
				var a *AuthError
				if !strings.Contains(err.Error(), c.want) || errors.As(err, &a) != c.auth {
					t.Fatalf("got %v\nwant %q", err, c.want)
				}
				var h *Error
				if c.auth && (!errors.As(err, &h) || h.Hint() == "") {
					t.Error("no hint")
				}
				for _, secret := range []string{testPassword, "open sesame", "wrong secret"} {
					if strings.Contains(err.Error()+h.hintOrNone(), secret) {
						t.Errorf("the error tells a secret: %v", err)
					}
				}
			}
			if s.logins != c.tries || res.Attempts != 1 {
				t.Errorf("%d password attempts, want %d; %d connections", s.logins, c.tries, res.Attempts)
			}
		})
	}
	t.Cleanup(func() { // after the parallel cases
		for _, a := range answers {
			if a != testPassword {
				t.Errorf("a prompt was answered with %q", a)
			}
		}
	})
}

func (e *Error) hintOrNone() string {
	if e == nil {
		return ""
	}
	return e.Hint()
}

// Nothing that prints a target prints a secret.
func TestSecretIsNoText(t *testing.T) {
	t.Setenv("ACCTPULL_TEST_SECRET", "hidden")
	s := Secret{Env: "ACCTPULL_TEST_SECRET"}
	if v, err := s.read(os.Getenv); err != nil || v != "hidden" {
		t.Fatal(v, err)
	}
	if got := (Target{Password: s}).String(); strings.Contains(got, "hidden") {
		t.Error(got)
	}
}

// RSA keys do not sign with SHA-1 unless the device is legacy.
func TestNoSHA1Signatures(t *testing.T) {
	file, key := keyFile(t, t.TempDir(), "rsa", "", 1)
	for _, legacy := range []bool{false, true} {
		r := newRig(t, scpQuirks{})
		r.server.stop()
		s := newServer(t)
		s.sftp = r.server.sftp
		acceptKey(s, key)
		s.config.PublicKeyAuthAlgorithms = []string{ssh.KeyAlgoRSA}
		r.server = s.start()
		r.setTarget()
		r.target.Identities, r.target.Password = []string{file}, Secret{}
		if legacy {
			r.target.Legacy = LegacyAlgorithms()
		}
		_, err := r.pull(SFTP)
		var a *AuthError
		if legacy && err != nil || !legacy && !errors.As(err, &a) {
			t.Errorf("legacy %v: %v", legacy, err)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	insecure := ssh.InsecureAlgorithms()
	for what, c := range map[string]struct {
		server func(*ssh.ServerConfig)
		legacy []string
		want   string // error
		used   string // insecure algorithm in use
	}{
		"current":            {},
		"current and legacy": {legacy: LegacyAlgorithms()},
		"old kex":            {server: func(c *ssh.ServerConfig) { c.KeyExchanges = []string{ssh.InsecureKeyExchangeDH14SHA1} }, want: "no common key exchange: the device offers only diffie-hellman-group14-sha1"},
		"old kex, allowed":   {server: func(c *ssh.ServerConfig) { c.KeyExchanges = insecure.KeyExchanges }, legacy: []string{ssh.InsecureKeyExchangeDH14SHA1}, used: ssh.InsecureKeyExchangeDH14SHA1},
		"old cipher":         {server: func(c *ssh.ServerConfig) { c.Ciphers = []string{ssh.InsecureCipherAES128CBC, ssh.InsecureCipherRC4} }, want: "which are insecure and not allowed"},
		"old cipher, allowed": {server: func(c *ssh.ServerConfig) { c.Ciphers = []string{ssh.InsecureCipherAES128CBC} }, legacy: LegacyAlgorithms(),
			used: ssh.InsecureCipherAES128CBC},
		"arcfour": {server: func(c *ssh.ServerConfig) { c.Ciphers = []string{ssh.InsecureCipherRC4} }, legacy: LegacyAlgorithms(),
			want: "the SSH library has none of them"},
		"old mac": {server: func(c *ssh.ServerConfig) {
			c.Ciphers, c.MACs = []string{ssh.CipherAES128CTR}, []string{ssh.InsecureHMACSHA196}
		}, want: "MAC: the device offers only hmac-sha1-96"},
		"not an algorithm": {legacy: []string{"hmac-md5", "arcfour", "hmac-sha1-96"}, want: `legacy algorithm "hmac-md5" is not in the SSH library, "arcfour" is never used`},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			r.server.stop()
			s := newServer(t)
			s.sftp = r.server.sftp
			if c.server != nil {
				c.server(s.config)
			}
			r.server = s.start()
			r.setTarget()
			r.target.Legacy = c.legacy
			r.o.Limits.Retries = 3
			var connected Connected
			r.o.Hooks.OnConnect = func(x Connected) { connected = x }
			res, err := r.pull(SFTP)
			if c.want != "" {
				oneLineError(t, err)
				var h *Error
				if !strings.Contains(err.Error(), c.want) || !errors.As(err, &h) || h.Hint() == "" || res.Attempts != 1 {
					t.Fatalf("%v, %d attempts", err, res.Attempts)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(connected.Algorithms) < 3 || connected.Transport != SFTP || connected.HostKey != ssh.FingerprintSHA256(s.keys[0].PublicKey()) ||
				connected.Address != s.address || !strings.HasPrefix(connected.Server, "SSH-2.0-") {
				t.Errorf("%+v", connected)
			}
			if strings.Join(connected.Insecure, " ") != c.used {
				t.Errorf("insecure %q, want %q", connected.Insecure, c.used)
			}
		})
	}
	for _, a := range LegacyAlgorithms() {
		if strings.Contains(a, "arcfour") || strings.Contains(a, "dss") {
			t.Errorf("%s can be allowed", a)
		}
	}
}
