package actserver

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// twoFaced is a public key that is one key when it is offered and another when
// it is used to log in.
type twoFaced struct {
	ssh.PublicKey // the key that signs
	offered       ssh.PublicKey
	asked         *int
}

// Marshal is asked by the client library for the offer, for comparing the
// answer, and for the login.
func (k twoFaced) Marshal() []byte {
	*k.asked++
	if *k.asked <= 2 {
		return k.offered.Marshal()
	}
	return k.PublicKey.Marshal()
}

type twoFacedSigner struct {
	ssh.Signer
	public ssh.PublicKey
}

func (s twoFacedSigner) PublicKey() ssh.PublicKey { return s.public }

// S8: a key that is only offered opens nothing and leaves nothing behind.
func TestOfferedKeyAndSigningKeyDiffer(t *testing.T) {
	good, other, stranger := newKey(t, "good"), newKey(t, "other"), newKey(t, "stranger")
	b := start(t, func(o *Options) {
		o.Authorized = AuthorizedKeys(map[string][]ssh.PublicKey{"admin": {good.Signer.PublicKey(), other.Signer.PublicKey()}})
	})
	login := func(offered, signing ssh.Signer) error {
		config := b.clientConfig()
		asked := 0
		config.Auth = []ssh.AuthMethod{ssh.PublicKeys(twoFacedSigner{signing, twoFaced{signing.PublicKey(), offered.PublicKey(), &asked}})}
		c, err := ssh.Dial("tcp", b.addr, config)
		if asked != 3 {
			t.Errorf("the key was asked for %d times, so it was not used as meant", asked)
		}
		if err == nil {
			err = c.Close()
		}
		return err
	}
	if err := login(good.Signer, stranger.Signer); err == nil {
		t.Error("a stranger got in behind a good key")
	}
	must(t, login(good.Signer, other.Signer))
	if l := b.login(); l.Key != ssh.FingerprintSHA256(other.Signer.PublicKey()) {
		t.Errorf("login %+v, want the key that signed", l)
	}

	// A good key with somebody else's signature.
	config := b.clientConfig()
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(twoFacedSigner{stranger.Signer, good.Signer.PublicKey()})}
	if c, err := ssh.Dial("tcp", b.addr, config); err == nil {
		t.Error("a signature of another key was accepted", c.Close())
	}
	// A good key of another user, and none at all.
	config = b.clientConfig()
	config.User = "root"
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(good.Signer)}
	if c, err := ssh.Dial("tcp", b.addr, config); err == nil {
		t.Error("another user's key was accepted", c.Close())
	}
	config.User, config.Auth = "admin", nil
	if c, err := ssh.Dial("tcp", b.addr, config); err == nil {
		t.Error("a login without a key was accepted", c.Close())
	}
}

// A certificate over an authorised key is not that key.
func TestCertificateIsNotAKey(t *testing.T) {
	b := start(t, nil)
	ca := newKey(t, "ca")
	cert := &ssh.Certificate{Key: b.user.Signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"admin"}, ValidBefore: ssh.CertTimeInfinity}
	must(t, cert.SignCert(bytes.NewReader(make([]byte, 1000)), ca.Signer))
	signer, err := ssh.NewCertSigner(cert, b.user.Signer)
	must(t, err)
	config := b.clientConfig()
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	if c, err := ssh.Dial("tcp", b.addr, config); err == nil {
		t.Error("a certificate of an unknown authority was accepted", c.Close())
	}
}

func TestWaysToLogIn(t *testing.T) {
	b := start(t, func(o *Options) {
		o.Authorized = nil
		o.Password = Passwords(map[string]string{"admin": "right", "empty": ""})
		o.KeyboardInteractive = true
		o.Limits.PenaltyFailure = -1
	})
	b.put(goodName, 5)
	answer := func(text string) ssh.AuthMethod {
		return ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
			if len(questions) != 1 || echos[0] {
				return nil, errors.New("one question without echo is wanted")
			}
			return []string{text}, nil
		})
	}
	for _, test := range []struct {
		user   string
		method ssh.AuthMethod
		want   string
	}{
		{"admin", ssh.Password("right"), "password"},
		{"admin", ssh.Password("wrong"), ""},
		{"admin", ssh.Password(""), ""},
		{"empty", ssh.Password(""), ""},
		{"nobody", ssh.Password("right"), ""},
		{"nobody", ssh.Password(""), ""},
		{"admin", answer("right"), "keyboard-interactive"},
		{"admin", answer("wrong"), ""},
		{"empty", answer(""), ""},
		{"admin", ssh.PublicKeys(b.user.Signer), ""},
	} {
		config := b.clientConfig()
		config.User, config.Auth = test.user, []ssh.AuthMethod{test.method}
		c, err := ssh.Dial("tcp", b.addr, config)
		if (err == nil) != (test.want != "") {
			t.Errorf("user %s: %v, want %q", test.user, err, test.want)
		}
		if err != nil {
			continue
		}
		if out, err := exec(c, "scp -f act/*", acks(5)); err != nil {
			t.Errorf("scp: %v, %q", err, out)
		}
		if l := b.login(); l.Method != test.want || l.User != test.user {
			t.Errorf("login %+v", l)
		}
		must(t, c.Close())
	}
	for _, r := range b.refused("login") {
		if strings.Contains(r.Err.Error(), "right") || strings.Contains(r.Err.Error(), "wrong") {
			t.Errorf("a password is in %v", r.Err)
		}
	}
}

// The default offers nothing with SHA-1 or CBC; an old device offers only that.
func TestAlgorithms(t *testing.T) {
	rsa, err := NewRSAKey("old", 2048)
	must(t, err)
	old := ssh.Algorithms{
		KeyExchanges:   []string{ssh.InsecureKeyExchangeDH1SHA1},
		Ciphers:        []string{ssh.InsecureCipherAES128CBC},
		MACs:           []string{ssh.HMACSHA1},
		HostKeys:       []string{ssh.KeyAlgoRSA},
		PublicKeyAuths: []string{ssh.KeyAlgoED25519},
	}
	for _, test := range []struct {
		name           string
		server, client *ssh.Algorithms
		ok             bool
	}{
		{"today's server, today's client", nil, nil, true},
		{"today's server, old client", nil, &old, false},
		{"old server, today's client", &old, nil, false},
		{"old server, old client", &old, &old, true},
	} {
		b := start(t, func(o *Options) { o.HostKeys, o.Algorithms = []ssh.Signer{rsa.Signer}, test.server })
		config := b.clientConfig()
		config.HostKeyCallback = ssh.FixedHostKey(rsa.Signer.PublicKey())
		a := ssh.SupportedAlgorithms()
		if test.client != nil {
			a = *test.client
		}
		config.KeyExchanges, config.Ciphers, config.MACs, config.HostKeyAlgorithms = a.KeyExchanges, a.Ciphers, a.MACs, a.HostKeys
		c, err := ssh.Dial("tcp", b.addr, config)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil {
			must(t, c.Close())
		}
	}
	b, s := newBench(t, func(o *Options) { o.HostKeys = []ssh.Signer{rsa.Signer} })
	_ = b
	if s.config.RekeyThreshold != 1<<30 {
		t.Errorf("keys are renewed after %d bytes", s.config.RekeyThreshold)
	}
}

func TestNewNamesEveryMistake(t *testing.T) {
	key, rsa := newKey(t, "a"), newKey(t, "b")
	_, err := New(Options{})
	for _, part := range []string{"no directory", "no host key", "no way to log in"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	_, err = New(Options{Root: "x", Collect: "y", VirtualPath: "cf1:/act-collect", NoSCP: true, NoSFTP: true, KeyboardInteractive: true,
		HostKeys:   []ssh.Signer{key.Signer, rsa.Signer},
		Authorized: AuthorizedKeys(nil), Limits: Limits{Handles: -2}})
	for _, part := range []string{"belongs to the directory of unfinished", "neither scp nor sftp", "needs a password check", "two host keys of type ssh-ed25519", "handles: -2"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	for _, path := range []string{"/", "a/../b", "a\x00b", "../act", ".."} {
		_, err := New(Options{Root: "x", VirtualPath: path, HostKeys: []ssh.Signer{key.Signer}, Authorized: AuthorizedKeys(nil)})
		if err == nil || !strings.Contains(err.Error(), "virtual path") {
			t.Errorf("virtual path %q: %v", path, err)
		}
	}
	old := ssh.InsecureAlgorithms()
	old.HostKeys = []string{ssh.KeyAlgoRSA}
	_, err = New(Options{Root: "x", HostKeys: []ssh.Signer{key.Signer}, Authorized: AuthorizedKeys(nil), Algorithms: &old})
	if err == nil || !strings.Contains(err.Error(), "fits none of the offered algorithms ssh-rsa") {
		t.Errorf("a host key without an algorithm: %v", err)
	}
}

func TestKeys(t *testing.T) {
	k := newKey(t, "who@where")
	private, err := ssh.ParsePrivateKey(k.PEM)
	must(t, err)
	public, comment, _, rest, err := ssh.ParseAuthorizedKey(k.Authorized)
	must(t, err)
	want := k.Signer.PublicKey().Marshal()
	if comment != "who@where" || len(rest) != 0 || !bytes.Equal(public.Marshal(), want) || !bytes.Equal(private.PublicKey().Marshal(), want) {
		t.Errorf("key %s, comment %q", k.Authorized, comment)
	}
	if _, err := NewRSAKey("short", 1024); err == nil {
		t.Error("a short key was made")
	}
}

func TestVirtualPaths(t *testing.T) {
	for virtual, paths := range map[string]struct{ good, bad []string }{
		"cf1:/act":     {[]string{"cf1:/act", `cf1:\act`, "/cf1:/act", "/act", "act", "act/", "./act"}, []string{"cf2:/act", "cf1:", "x", "act/act", "/"}},
		"/act":         {[]string{"/act", "act", `\act`}, []string{"cf1:/act", "/", "a/act"}},
		"/data/x/act":  {[]string{"/data/x/act", "data/x/act"}, []string{"/act", "x/act", "/data/x", "/data"}},
		"cf3:/x/files": {[]string{"cf3:/x/files", "/x/files", `cf3:\x\files`}, []string{"files", "cf3:/files", "/x"}},
	} {
		b := start(t, func(o *Options) { o.VirtualPath = virtual })
		content := b.put(goodName, 20)
		c := b.dial()
		x, _ := newWire(t, c)
		for i, p := range append(append([]string{}, paths.good...), paths.bad...) {
			handle, status := x.handle(fxOpen, p+"/"+goodName, uint32(openRead), uint32(0))
			if good := i < len(paths.good); good != (status == codeOK) {
				t.Errorf("virtual path %s: open in %s: status %d", virtual, p, status)
			} else if good {
				if _, data := x.ask(fxRead, handle, uint64(0), uint32(100)); !bytes.Equal(data[4:], content) {
					t.Errorf("virtual path %s: other content in %s", virtual, p)
				}
				if status := x.status(fxClose, handle); status != codeOK {
					t.Errorf("close: status %d", status)
				}
			}
			if out, err := exec(c, "scp -f "+p+"/*", acks(5)); (err == nil) != (i < len(paths.good)) {
				t.Errorf("virtual path %s: scp from %s: %v, %q", virtual, p, err, out)
			}
		}
	}
}

// The client's answers steer the transfer as the protocol says.
func TestSCPAnswers(t *testing.T) {
	b := start(t, nil)
	for _, name := range []string{"a", "b", "c"} {
		b.put(name, 3)
	}
	c := b.dial()
	for _, test := range []struct {
		name, input string
		files       int // C lines
		contents    int
		exit        int
	}{
		{"all", "\x00" + strings.Repeat("\x00\x00", 3), 3, 3, 0},
		{"second declined", "\x00" + "\x00\x00" + "\x01no\n" + "\x00\x00", 3, 2, 1},
		{"write error after the content", "\x00" + "\x00\x01disk full\n" + "\x00\x00" + "\x00\x00", 3, 3, 1},
		{"fatal", "\x00" + "\x02over\n", 1, 0, 1},
		{"nonsense", "\x00" + "x", 1, 0, 1},
		{"nothing", "", 0, 0, 1},
		{"endless text", "\x00\x01" + strings.Repeat("y", 10_000), 2, 0, 1},
	} {
		out, err := exec(c, "scp -f act/?", []byte(test.input))
		status := 0
		if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
			status = exit.ExitStatus()
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := strings.Count(out, "C0640 3 "); got != test.files {
			t.Errorf("%s: %d files were offered, want %d", test.name, got, test.files)
		}
		if got := strings.Count(out, "\x00"); got < test.contents || status != test.exit {
			t.Errorf("%s: %q, exit %d, want %d", test.name, out, status, test.exit)
		}
	}
	if out, err := exec(c, "scp -pf act/a", acks(5)); err != nil || !strings.HasPrefix(out, "T") {
		t.Errorf("with times: %v, %q", err, out)
	}
	session, err := c.NewSession()
	must(t, err)
	session.Stdin = io.LimitReader(strings.NewReader(""), 0)
	if err := session.Run("scp -f act/a"); err == nil {
		t.Error("a client without an answer was served")
	}
}
