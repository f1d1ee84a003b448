package pull

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Secret says where a password or passphrase is. It never holds the text, so
// nothing that prints a Target prints a secret. The zero value is no secret.
type Secret struct {
	// File is a file whose first line is the secret. It must not be
	// readable by others (mode 0600 or tighter).
	File string
	// Env is the name of an environment variable with the secret. Only one
	// of File and Env may be set.
	Env string
}

// set reports whether there is a secret to read.
func (s Secret) set() bool { return s.File != "" || s.Env != "" }

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 64 << 10

// read returns the secret.
func (s Secret) read(getenv func(string) string) (string, error) {
	switch {
	case s.File != "" && s.Env != "":
		return "", errors.New("both a file and an environment variable are given")
	case s.Env != "":
		v := getenv(s.Env)
		if v == "" {
			return "", fmt.Errorf("environment variable %s is not set or empty", quoteUnlessPlain(s.Env))
		}
		return v, nil
	}
	b, err := readPrivate(s.File)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return "", fmt.Errorf("%s: the first line is empty", s.File)
	}
	return string(line), nil
}

// readPrivate reads a file that nobody else can read.
func readPrivate(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, fmt.Errorf("%s: is a directory", name)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, &hinted{fmt.Errorf("%s: %w (%04o): others could read it", name, ErrUnsafeFile, st.Mode().Perm()), "chmod 600 " + name}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxSecret)
	}
	return b, err
}

// AuthError says that a device did not let us in. It is never tried again: a
// second wrong password can lock an account.
type AuthError struct {
	User string
	// Tried are the methods that were refused, Offered those the device
	// would have taken.
	Tried, Offered []string
	// Notes say what could not be tried and why.
	Notes []string
	// Err is the reason if it is another one than "refused".
	Err error
}

// Error lists what was tried.
func (e *AuthError) Error() string {
	var b strings.Builder
	b.WriteString("log in as " + quoteUnlessPlain(e.User) + ": ")
	switch {
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	case len(e.Tried) > 0:
		b.WriteString("refused (tried once: " + strings.Join(e.Tried, ", ") + ")")
	default:
		b.WriteString("nothing to log in with")
	}
	if len(e.Offered) > 0 {
		b.WriteString("; the device takes " + clean(strings.Join(e.Offered, ", ")))
	}
	for _, n := range e.Notes {
		b.WriteString("; " + n)
	}
	return b.String()
}

// Unwrap returns the special reason.
func (e *AuthError) Unwrap() error { return e.Err }

// Hint says what could be missing.
func (e *AuthError) Hint() string {
	if errors.Is(e.Err, errOneTimePassword) {
		return "give the account of acctpull a key or a password without a second factor"
	}
	if len(e.Tried) == 0 {
		return "give a private key with -i, load one into the SSH agent, or give a password in a file or an environment variable"
	}
	return "check the user name and that the device knows this key or password; it is not tried again, so that the account is not locked"
}

// errOneTimePassword is the answer to a prompt that asks for more than the
// password.
var errOneTimePassword = errors.New("the device asks for something else than the password")

// login answers one authentication. It is used for one connection.
type login struct {
	user     string
	signers  []ssh.Signer
	password string // "" is none
	notes    []string
	agent    net.Conn // nil without an agent
	usedKeys bool
	usedPass bool
	tried    []string
	failure  *AuthError // why the callback ended the handshake
}

// newLogin reads keys and password. An error concerns something that was asked
// for by name; what was only a default becomes a note.
func newLogin(t Target, getenv func(string) string, limits Limits) (*login, error) {
	l := &login{user: t.User}
	if t.Password.set() {
		var err error
		if l.password, err = t.Password.read(getenv); err != nil {
			return nil, fmt.Errorf("read password: %w", err)
		}
	}
	var fromAgent []ssh.Signer
	if t.AgentSocket != "" {
		var err error
		if fromAgent, err = l.openAgent(t.AgentSocket, limits.Handshake); err != nil {
			l.notes = append(l.notes, "SSH agent: "+clean(err.Error()))
		}
	}
	var named []ssh.Signer
	for _, name := range t.Identities {
		s, err := l.loadKey(name, t.Passphrase, getenv, fromAgent)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read private key: %w", err), l.close())
		}
		named = append(named, s)
	}
	for _, name := range t.DefaultIdentities {
		s, err := l.loadKey(name, t.Passphrase, getenv, fromAgent)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			l.notes = append(l.notes, "not used: "+clean(err.Error()))
		default:
			named = append(named, s)
		}
	}
	l.signers = named
	if !t.IdentitiesOnly {
		for _, s := range fromAgent {
			if !hasKey(l.signers, s.PublicKey()) {
				l.signers = append(l.signers, s)
			}
		}
	}
	l.signers = signatures(l.signers, slices.Contains(t.Legacy, ssh.KeyAlgoRSA))
	return l, nil
}

// openAgent connects to the SSH agent. The deadline covers everything that is
// ever asked of it.
func (l *login) openAgent(socket string, limit time.Duration) ([]ssh.Signer, error) {
	c, err := net.DialTimeout("unix", socket, limit)
	if err != nil {
		return nil, err
	}
	l.agent = c
	if err := c.SetDeadline(time.Now().Add(2 * limit)); err != nil {
		return nil, err
	}
	return agent.NewClient(c).Signers()
}

// close ends the connection to the agent.
func (l *login) close() error {
	if l.agent == nil {
		return nil
	}
	c := l.agent
	l.agent = nil
	return c.Close()
}

// loadKey reads one private key. A key that is encrypted, or of which only the
// public half is a file, may be in the agent.
func (l *login) loadKey(name string, passphrase Secret, getenv func(string) string, fromAgent []ssh.Signer) (ssh.Signer, error) {
	pem, err := readPrivate(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if s := agentKey(name, fromAgent); s != nil {
				return s, nil
			}
		}
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(pem)
	var missing *ssh.PassphraseMissingError
	if !errors.As(err, &missing) {
		if err != nil {
			return nil, fmt.Errorf("%s: not a private key: %w", name, fromPeer(err))
		}
		return s, nil
	}
	if missing.PublicKey != nil {
		if i := indexKey(fromAgent, missing.PublicKey); i >= 0 {
			return fromAgent[i], nil
		}
	} else if s := agentKey(name, fromAgent); s != nil {
		return s, nil
	}
	if !passphrase.set() {
		return nil, &hinted{fmt.Errorf("%s: encrypted, and no passphrase is given", name),
			"load the key into the SSH agent, or give its passphrase in a file or an environment variable"}
	}
	phrase, err := passphrase.read(getenv)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	s, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(phrase))
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, fmt.Errorf("%s: wrong passphrase", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: decrypt: %w", name, fromPeer(err))
	}
	return s, nil
}

// agentKey returns the agent's key whose public half is in name.pub.
func agentKey(name string, fromAgent []ssh.Signer) ssh.Signer {
	b, err := os.ReadFile(name + ".pub")
	if err != nil {
		return nil
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil
	}
	if i := indexKey(fromAgent, pub); i >= 0 {
		return fromAgent[i]
	}
	return nil
}

func indexKey(signers []ssh.Signer, key ssh.PublicKey) int {
	want := key.Marshal()
	return slices.IndexFunc(signers, func(s ssh.Signer) bool { return bytes.Equal(s.PublicKey().Marshal(), want) })
}

func hasKey(signers []ssh.Signer, key ssh.PublicKey) bool { return indexKey(signers, key) >= 0 }

// signatures says how keys sign. RSA keys do not sign with SHA-1, which the SSH
// library falls back to for servers that do not announce what they take, unless
// the device may (sha1): then they are offered a second time, after all others,
// with SHA-1 only, because some old servers announce more than they take. A key
// that cannot sign as it must is left out.
func signatures(signers []ssh.Signer, sha1 bool) []ssh.Signer {
	var now, last []ssh.Signer
	limit := func(to *[]ssh.Signer, s ssh.Signer, algorithms ...string) {
		if as, can := s.(ssh.AlgorithmSigner); can {
			if limited, err := ssh.NewSignerWithAlgorithms(as, algorithms); err == nil {
				*to = append(*to, limited)
			}
		}
	}
	for _, s := range signers {
		switch s.PublicKey().Type() {
		case ssh.KeyAlgoRSA, ssh.CertAlgoRSAv01:
			limit(&now, s, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512)
			if sha1 {
				limit(&last, s, ssh.KeyAlgoRSA)
			}
		default:
			now = append(now, s)
		}
	}
	return append(now, last...)
}

// next chooses the method of the next attempt: keys first, then the password,
// each at most once, and the password in one form only. It implements
// ssh.ClientAuthCallback.
func (l *login) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	l.tried = nil
	for _, m := range c.TriedMethods {
		if m != "none" {
			l.tried = append(l.tried, m)
		}
	}
	may := func(method string) bool { return slices.Contains(c.AllowedMethods, method) }
	switch {
	case l.failure != nil:
		return nil, l.failure
	case may("publickey") && len(l.signers) > 0 && !l.usedKeys:
		l.usedKeys = true
		return ssh.PublicKeys(l.signers...), nil
	case may("password") && l.password != "" && !l.usedPass:
		l.usedPass = true
		return ssh.Password(l.password), nil
	case may("keyboard-interactive") && l.password != "" && !l.usedPass:
		l.usedPass = true
		return ssh.KeyboardInteractive(l.answer), nil
	}
	offered := slices.Clone(c.AllowedMethods)
	l.failure = &AuthError{User: l.user, Tried: l.tried, Offered: offered, Notes: l.notes}
	if len(c.PartialSuccessMethods) > 0 {
		l.failure.Notes = append(l.failure.Notes, "accepted so far: "+clean(strings.Join(c.PartialSuccessMethods, ", ")))
	}
	return nil, l.failure
}

// answer answers the prompts of keyboard-interactive: one hidden prompt that
// asks for the password. Anything else, a one-time password above all, ends the
// login before anything is sent.
func (l *login) answer(_, _ string, prompts []string, echos []bool) ([]string, error) {
	if len(prompts) == 0 {
		return nil, nil // RFC 4256 3.2: an information, to be answered with nothing
	}
	if len(prompts) != 1 || echos[0] || !isPasswordPrompt(prompts[0]) || l.password == "" {
		var q []string
		for i, p := range prompts {
			if i == 4 {
				q = append(q, "…")
				break
			}
			q = append(q, quote(p))
		}
		l.failure = &AuthError{User: l.user, Tried: []string{"keyboard-interactive"}, Notes: l.notes,
			Err: fmt.Errorf("%w: %s", errOneTimePassword, strings.Join(q, ", "))}
		return nil, l.failure
	}
	answer := l.password
	l.password = "" // one try
	return []string{answer}, nil
}

// isPasswordPrompt reports whether a prompt asks for the password of the
// account and not for a code.
func isPasswordPrompt(prompt string) bool {
	p := strings.ToLower(prompt)
	if !strings.Contains(p, "password") {
		return false
	}
	for _, word := range []string{"one-time", "one time", "onetime", "otp", "token", "verification", "code:", "new password", "retype", "again", "current"} {
		if strings.Contains(p, word) {
			return false
		}
	}
	return true
}
