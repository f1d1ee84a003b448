package actserver

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// KeyPair is a fresh SSH key in the three forms programs want.
type KeyPair struct {
	Signer ssh.Signer
	// PEM is the private key as OpenSSH stores it, without a passphrase.
	PEM []byte
	// Authorized is the public key as a line of authorized_keys, with the
	// newline.
	Authorized []byte
}

// NewKey makes an Ed25519 key, for a host or a user.
func NewKey(comment string) (KeyPair, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return KeyPair{}, &Error{Op: "make ed25519 key", Err: err}
	}
	return keyPair(private, comment)
}

// NewRSAKey makes an RSA key, which old devices use as host key. bits is at
// least 2048: nothing shorter can be checked by today's clients.
func NewRSAKey(comment string, bits int) (KeyPair, error) {
	if bits < 2048 {
		return KeyPair{}, &Error{Op: "make rsa key", Err: fmt.Errorf("%d bits are fewer than 2048", bits)}
	}
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return KeyPair{}, &Error{Op: "make rsa key", Err: err}
	}
	return keyPair(private, comment)
}

func keyPair(private crypto.PrivateKey, comment string) (KeyPair, error) {
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return KeyPair{}, &Error{Op: "use key", Err: err}
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return KeyPair{}, &Error{Op: "encode key", Err: err}
	}
	line := ssh.MarshalAuthorizedKey(signer.PublicKey())
	if comment != "" {
		line = fmt.Appendf(line[:len(line)-1], " %s\n", comment)
	}
	return KeyPair{Signer: signer, PEM: pem.EncodeToMemory(block), Authorized: line}, nil
}

// AuthorizedKeys is an Options.Authorized that lets each user log in with his
// own keys. Certificates match nothing.
func AuthorizedKeys(users map[string][]ssh.PublicKey) func(user string, key ssh.PublicKey) bool {
	allowed := make(map[string]map[string]bool, len(users))
	for user, keys := range users {
		allowed[user] = make(map[string]bool, len(keys))
		for _, key := range keys {
			allowed[user][string(key.Marshal())] = true
		}
	}
	return func(user string, key ssh.PublicKey) bool {
		return allowed[user][string(key.Marshal())]
	}
}

// Passwords is an Options.Password over a fixed list of users. It does the
// same work for a known and an unknown user and for a right and a wrong
// password, so its time tells nothing. An empty password never matches.
func Passwords(users map[string]string) func(user string, password []byte) bool {
	sums := make(map[string][sha256.Size]byte, len(users))
	for user, password := range users {
		if password != "" {
			sums[user] = sha256.Sum256([]byte(password))
		}
	}
	return func(user string, password []byte) bool {
		want, known := sums[user] // the zero sum for an unknown user
		got := sha256.Sum256(password)
		equal := subtle.ConstantTimeCompare(got[:], want[:]) == 1
		return equal && known
	}
}

// identityKey is the key of the Login inside ssh.Permissions.
type identityKey struct{}

var errDenied = errors.New("permission denied")

// grant is the Permissions of a successful attempt. What the server later
// knows about its client is read from here, and the SSH library returns the
// Permissions of the attempt that succeeded: a key that was only offered
// leaves nothing behind.
func grant(login Login) *ssh.Permissions {
	return &ssh.Permissions{ExtraData: map[any]any{identityKey{}: login}}
}

// authConfig adds the login methods of one connection to the shared
// configuration. failed is called for each failed attempt, from the goroutine
// that does the handshake.
func (s *Server) authConfig(failed func(user string)) *ssh.ServerConfig {
	config := s.config
	config.AuthLogCallback = func(c ssh.ConnMetadata, method string, err error) {
		if err != nil && method != "none" {
			failed(c.User())
		}
	}
	login := func(c ssh.ConnMetadata, method string) Login {
		return Login{Remote: c.RemoteAddr(), User: bounded(c.User()), Method: method, Client: bounded(string(c.ClientVersion()))}
	}
	if s.o.Authorized != nil {
		config.PublicKeyCallback = func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !s.o.Authorized(c.User(), key) {
				return nil, errDenied
			}
			l := login(c, "publickey")
			l.Key = ssh.FingerprintSHA256(key)
			return grant(l), nil
		}
	}
	if s.o.Password == nil {
		return &config
	}
	config.PasswordCallback = func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if !s.o.Password(c.User(), password) {
			return nil, errDenied
		}
		return grant(login(c, "password")), nil
	}
	if s.o.KeyboardInteractive {
		config.KeyboardInteractiveCallback = func(c ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil {
				return nil, err
			}
			if len(answers) != 1 || !s.o.Password(c.User(), []byte(answers[0])) {
				return nil, errDenied
			}
			return grant(login(c, "keyboard-interactive")), nil
		}
	}
	return &config
}
