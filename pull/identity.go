package pull

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// login answers one authentication. It is used for one connection.
type login struct {
	user     string
	signers  []ssh.Signer
	password string // "" is none
	notes    []string
	agent    net.Conn // nil without an agent
	cache    *Cache
	usedKeys bool
	usedPass bool
	tried    []string
	failure  *AuthError // why the callback ended the handshake
}

// newLogin reads keys and password. An error concerns something that was asked
// for by name; what was only a default becomes a note.
func newLogin(t Target, getenv func(string) string, limits Limits) (*login, error) {
	l := &login{user: t.User, cache: t.cache}
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
			l.note("SSH agent: %v", err)
		}
	}
	for _, name := range t.IdentityCredentials {
		s, err := l.credentialKey(name, t.Passphrase, getenv)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read private key: %w", err), l.close())
		}
		l.signers = append(l.signers, s)
	}
	for _, name := range t.Identities {
		s, err := l.loadKey(name, t.Passphrase, getenv, fromAgent)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read private key: %w", err), l.close())
		}
		l.add(name, s)
	}
	for _, name := range t.DefaultIdentities {
		s, err := l.loadKey(name, t.Passphrase, getenv, fromAgent)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			l.note("not used: %v", err)
		default:
			l.add(name, s)
		}
	}
	if !t.IdentitiesOnly {
		for _, s := range fromAgent {
			if !hasKey(l.signers, s.PublicKey()) {
				l.signers = append(l.signers, s)
			}
		}
	}
	for _, name := range t.Certificates {
		if err := l.certify(name); err != nil {
			return nil, errors.Join(fmt.Errorf("read certificate: %w", err), l.close())
		}
	}
	l.signers = signatures(l.signers, slices.Contains(t.Legacy, ssh.KeyAlgoRSA))
	return l, nil
}

// note remembers what could not be used.
func (l *login) note(format string, a ...any) {
	l.notes = append(l.notes, clean(fmt.Sprintf(format, a...)))
}

// add takes the key of a file, and in front of it the certificate beside the
// file, if there is one (ssh(1), option -i).
func (l *login) add(file string, s ssh.Signer) {
	l.signers = append(l.signers, s)
	err := l.certify(file + "-cert.pub")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.note("certificate not used: %v", err)
	}
}

// certify puts a certificate in front of the key it is for.
func (l *login) certify(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, fromPeer(err))
	}
	cert, is := pub.(*ssh.Certificate)
	if !is || cert.CertType != ssh.UserCert {
		return fmt.Errorf("%s: not a user certificate", file)
	}
	i := indexKey(l.signers, cert.Key)
	if i < 0 {
		return fmt.Errorf("%s: the private key of this certificate is not among the keys", file)
	}
	if hasKey(l.signers, cert) {
		return nil
	}
	if now := time.Now(); !validAt(cert, now) {
		l.note("certificate not used: %s: it is not valid now, %s", file, now.UTC().Format(time.RFC3339))
		return nil
	}
	s, err := ssh.NewCertSigner(cert, l.signers[i])
	if err != nil {
		return fmt.Errorf("%s: %w", file, fromPeer(err))
	}
	l.signers = slices.Insert(l.signers, i, s)
	return nil
}

// validAt reports whether a certificate is valid at a time, by our clock.
func validAt(cert *ssh.Certificate, now time.Time) bool {
	t := uint64(max(now.Unix(), 0))
	return t >= cert.ValidAfter && (cert.ValidBefore == ssh.CertTimeInfinity || t < cert.ValidBefore)
}

// credentialKey reads a private key from a systemd credential.
func (l *login) credentialKey(name string, passphrase Secret, getenv func(string) string) (ssh.Signer, error) {
	pem, err := readCredential(name, getenv)
	if err != nil {
		return nil, err
	}
	name = "credential " + name
	s, err := l.cache.privateKey(pem, nil)
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		return l.decrypt(name, pem, passphrase, getenv)
	case err != nil:
		return nil, fmt.Errorf("%s: not a private key: %w", name, fromPeer(err))
	}
	return s, nil
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
	pem, err := readPrivate(name, 0o077)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if s := agentKey(name, fromAgent); s != nil {
				return s, nil
			}
		}
		return nil, err
	}
	s, err := l.cache.privateKey(pem, nil)
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
	return l.decrypt(name, pem, passphrase, getenv)
}

// decrypt reads an encrypted private key.
func (l *login) decrypt(name string, pem []byte, passphrase Secret, getenv func(string) string) (ssh.Signer, error) {
	if !passphrase.set() {
		return nil, &hinted{fmt.Errorf("%s: encrypted, and no passphrase is given", name),
			"load the key into the SSH agent, or give its passphrase in a file or an environment variable"}
	}
	phrase, err := passphrase.read(getenv)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	s, err := l.cache.privateKey(pem, []byte(phrase))
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
