package pull

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// HostKeyProblem says why a host key was refused.
type HostKeyProblem string

// The problems of a host key.
const (
	// HostKeyUnknown: no known_hosts file has a key for this host.
	HostKeyUnknown HostKeyProblem = "unknown"
	// HostKeyChanged: another key is known for this host.
	HostKeyChanged HostKeyProblem = "changed"
	// HostKeyRevoked: the key, or the authority that signed it, is marked
	// @revoked.
	HostKeyRevoked HostKeyProblem = "revoked"
	// HostKeyCertificate: the host certificate is not valid for this host,
	// now, or from this authority.
	HostKeyCertificate HostKeyProblem = "certificate"
)

// HostKeyError says that a device did not prove to be the one it should be.
// Nothing was sent to it: authentication comes after the host key.
type HostKeyError struct {
	Problem HostKeyProblem
	// Host and Port are what is looked up in known_hosts.
	Host string
	Port int
	// Type and Fingerprint are the key the device showed ("ssh-ed25519",
	// "SHA256:…"), "" if it showed none of the types that are known.
	Type, Fingerprint string
	// Known are the keys on file: their type, fingerprint, file and line.
	Known []KnownKey
	// File is the known_hosts file a key would be added to, "" if none is
	// configured.
	File string
	// Jump is the chain of jump hosts in front of the host, in the form of
	// ssh -J, "" if there is none.
	Jump string
	// Err is what the certificate check said, nil for other problems.
	Err error
}

// KnownKey is one line of a known_hosts file.
type KnownKey struct {
	Type, Fingerprint string
	File              string
	Line              int
}

// Error names the fingerprints.
func (e *HostKeyError) Error() string {
	host := e.Host
	if e.Port != defaultPort {
		host = net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
	}
	shown := e.Type + " " + e.Fingerprint
	if e.Fingerprint == "" {
		shown = "none of the known types"
	}
	switch e.Problem {
	case HostKeyUnknown:
		return fmt.Sprintf("host key of %s is unknown: %s", host, shown)
	case HostKeyRevoked:
		return fmt.Sprintf("host key of %s is revoked: %s%s", host, shown, e.known(" "))
	case HostKeyCertificate:
		return fmt.Sprintf("host certificate of %s is not valid: %s: %s", host, shown, clean(e.Err.Error()))
	}
	return fmt.Sprintf("host key of %s has CHANGED: it shows %s%s", host, shown, e.known(", known is "))
}

// known lists the keys on file, for Error.
func (e *HostKeyError) known(intro string) string {
	var s []string
	for i, k := range e.Known {
		if i == 4 {
			s = append(s, fmt.Sprintf("and %d more", len(e.Known)-i))
			break
		}
		s = append(s, fmt.Sprintf("%s %s (%s:%d)", k.Type, k.Fingerprint, k.File, k.Line))
	}
	if s == nil {
		return ""
	}
	return intro + strings.Join(s, ", ")
}

// Unwrap returns what the certificate check said.
func (e *HostKeyError) Unwrap() error { return e.Err }

// Hint says what to do, with the exact command.
func (e *HostKeyError) Hint() string {
	switch e.Problem {
	case HostKeyUnknown:
		return "compare the fingerprint with the one the device shows on its console; if it is the same: " + e.Command()
	case HostKeyRevoked:
		return "the key is marked @revoked: somebody decided not to trust it again; give the device a new key"
	case HostKeyCertificate:
		return "have the host certificate renewed by its authority"
	}
	if e.Fingerprint == "" {
		return "the device no longer offers a key of a known type; find out why before you approve another one"
	}
	return "somebody may be listening in, or the device has a new key; ask who changed it, compare the fingerprint on its console, then: " + e.Command()
}

// Command is the exact command that adds the key to known_hosts, "" if the
// device showed no key.
func (e *HostKeyError) Command() string {
	if e.Fingerprint == "" {
		return ""
	}
	words := []string{"acctpull", "hostkeys", "approve"}
	if e.Port != defaultPort {
		words = append(words, "-p", strconv.Itoa(e.Port))
	}
	if e.Jump != "" {
		words = append(words, "-J", e.Jump)
	}
	if e.File != "" {
		file, err := shellWord(e.File)
		if err != nil {
			file = quote(e.File)
		}
		words = append(words, "--known-hosts", file)
	}
	return strings.Join(append(words, e.Host, e.Fingerprint), " ")
}

// hostKeyCheck decides about the host key of one address.
type hostKeyCheck struct {
	files   *knownHosts
	address string // host:port to look up
	host    string
	port    int
	file    string // where a new key would go
	jump    string // the jump hosts on the way
	known   []KnownKey
	// authorities says that all that is known are authorities.
	authorities bool
	// algorithms to offer, for the known types if there are any.
	algorithms []string
	// seen is the key the device showed.
	seen ssh.PublicKey
}

// newHostKeyCheck reads the known_hosts files.
func newHostKeyCheck(cache *Cache, files []string, address string, may ssh.Algorithms) (*hostKeyCheck, error) {
	c := &hostKeyCheck{address: address}
	var err error
	if c.host, c.port, err = splitAddress(address); err != nil {
		return nil, err
	}
	var existing []string
	for i, f := range files {
		if i == 0 {
			c.file = f
		}
		if err := checkPublicFile(f); err == nil {
			existing = append(existing, f)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read known hosts: %w", err)
		}
	}
	if c.files, err = cache.knownHosts(existing, time.Now()); err != nil {
		return nil, &hinted{fmt.Errorf("read known hosts: %w", fromPeer(err)),
			"correct or remove that line; nothing is trusted while a line cannot be read"}
	}
	host, err := c.files.host(c.address)
	if err != nil {
		return nil, err
	}
	c.known = host.known
	known := host.keys
	c.authorities = !slices.ContainsFunc(known, func(k knownhosts.PublicKey) bool { return !k.Cert })
	c.algorithms = hostKeyAlgorithms(known, may)
	if len(c.algorithms) == 0 {
		var types []string
		for _, k := range known {
			types = append(types, k.Type())
		}
		return nil, &AlgorithmError{Kind: "host key", Offered: types, Legacy: intersect(types, LegacyAlgorithms())}
	}
	return c, nil
}

// checkPublicFile accepts a file that only its owner can write.
func checkPublicFile(name string) error {
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o022 != 0 {
		return &hinted{fmt.Errorf("%s: %w (%04o): others could add host keys", name, ErrUnsafeFile, st.Mode().Perm()), "chmod go-w " + name}
	}
	return nil
}

// noKey is a key that no file has: asking for it lists what is known.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// lookUp returns the lines of a host.
func lookUp(db *knownhosts.HostKeyDB, address string) ([]KnownKey, error) {
	err := db.HostKeyCallback()(address, &net.TCPAddr{IP: net.IPv4zero}, noKey{})
	var key *xknownhosts.KeyError
	if !errors.As(err, &key) {
		return nil, fmt.Errorf("read known hosts: look up %s: %w", address, err)
	}
	return knownKeys(key.Want), nil
}

func knownKeys(want []xknownhosts.KnownKey) []KnownKey {
	var ks []KnownKey
	for _, w := range want {
		ks = append(ks, KnownKey{Type: w.Key.Type(), Fingerprint: ssh.FingerprintSHA256(w.Key), File: w.Filename, Line: w.Line})
	}
	return ks
}

// hostKeyAlgorithms returns what to offer: the types of the known lines, so that
// a device with several keys shows the one that can be checked; every type of
// certificate if an authority is known, because its own type says nothing about
// the keys it signed; for an unknown host every plain type, the strongest first.
func hostKeyAlgorithms(known []knownhosts.PublicKey, may ssh.Algorithms) []string {
	var offer []string
	add := func(a string) {
		if slices.Contains(may.HostKeys, a) && !slices.Contains(offer, a) {
			offer = append(offer, a)
		}
	}
	for _, k := range known {
		switch {
		case k.Cert:
			for _, a := range may.HostKeys {
				if strings.Contains(a, "-cert-") {
					add(a)
				}
			}
		case k.Type() == ssh.KeyAlgoRSA:
			add(ssh.KeyAlgoRSASHA512)
			add(ssh.KeyAlgoRSASHA256)
			add(ssh.KeyAlgoRSA)
		default:
			add(k.Type())
		}
	}
	if len(known) > 0 {
		return offer
	}
	var plain []string
	for _, a := range may.HostKeys {
		if !strings.Contains(a, "-cert-") {
			plain = append(plain, a)
		}
	}
	rank := func(a string) int {
		switch {
		case a == ssh.KeyAlgoED25519:
			return 0
		case strings.HasPrefix(a, "ecdsa-"):
			return 1
		case strings.HasPrefix(a, "rsa-"):
			return 2
		}
		return 3
	}
	slices.SortStableFunc(plain, func(a, b string) int { return rank(a) - rank(b) })
	return plain
}

// intersect returns the elements of a that are in b.
func intersect(a, b []string) []string {
	var both []string
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}

// callback is the ssh.HostKeyCallback. It accepts exactly what the known_hosts
// files accept.
func (c *hostKeyCheck) callback(_ string, remote net.Addr, key ssh.PublicKey) error {
	c.seen = key
	err := c.files.accepts(c.address, remote, key)
	if err == nil {
		return nil
	}
	e := c.problem(HostKeyCertificate)
	var ke *xknownhosts.KeyError
	var re *xknownhosts.RevokedError
	_, isCert := key.(*ssh.Certificate)
	switch {
	case errors.As(err, &re):
		e.Problem, e.Known = HostKeyRevoked, knownKeys([]xknownhosts.KnownKey{re.Revoked})
	case errors.As(err, &ke) && len(ke.Want) == 0:
		e.Problem = HostKeyUnknown
	case errors.As(err, &ke):
		e.Problem, e.Known = HostKeyChanged, knownKeys(ke.Want)
	case isCert && strings.Contains(err.Error(), "revoked"):
		e.Problem = HostKeyRevoked
	case isCert:
		e.Err = err
	default:
		return fmt.Errorf("check host key: %w", err)
	}
	return e
}

// problem makes an error about the key seen last.
func (c *hostKeyCheck) problem(p HostKeyProblem) *HostKeyError {
	e := &HostKeyError{Problem: p, Host: c.host, Port: c.port, Known: c.known, File: c.file, Jump: c.jump}
	key := c.seen
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if key != nil {
		e.Type, e.Fingerprint = key.Type(), ssh.FingerprintSHA256(key)
	}
	return e
}
