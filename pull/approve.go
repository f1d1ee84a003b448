package pull

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" // the format of known_hosts, not a choice
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acctpull/internal/durable"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// ScannedKey is a host key a device showed. Nothing has proved yet that the
// device is the right one: a person compares the fingerprint.
type ScannedKey struct {
	// Type is the kind of key, "ssh-ed25519", Fingerprint its SHA-256,
	// "SHA256:…".
	Type, Fingerprint string
	key               ssh.PublicKey
}

// errScanned ends a handshake after the host key was seen.
var errScanned = errors.New("host key seen")

// scanTypes are the key types a device is asked for, one connection each.
var scanTypes = [][]string{
	{ssh.KeyAlgoED25519},
	{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521},
	{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA},
}

// ScanHostKeys asks the SSH server of a target for one host key of every type it
// has. It trusts none of them, does not log in there and sends nothing but the
// key exchange. Insecure key exchanges are allowed here, because nothing depends
// on them. The order is ed25519, ecdsa, rsa. Jump hosts in front of it are
// logged in to as always, their own host keys included. A nil getenv is
// os.Getenv.
func ScanHostKeys(ctx context.Context, t Target, getenv func(string) string, limits Limits) ([]ScannedKey, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	limits = limits.withDefaults()
	r, err := openRoute(ctx, t.Jump, getenv, limits)
	if err != nil {
		return nil, &Error{Op: "scan host keys of", Device: t.dialAddress(), Err: err}
	}
	defer r.close()
	return r.scan(ctx, t.dialAddress(), limits)
}

// scan asks for the keys at the end of the route.
func (r *route) scan(ctx context.Context, address string, limits Limits) ([]ScannedKey, error) {
	algorithms, err := allowed(LegacyAlgorithms())
	if err != nil {
		return nil, err
	}
	var keys []ScannedKey
	var hungUp error
	for _, types := range scanTypes {
		key, err := r.scanOne(ctx, address, types, algorithms, limits)
		var neg *ssh.AlgorithmNegotiationError
		switch {
		case err == nil:
			keys = append(keys, ScannedKey{Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), key: key})
		case errors.As(err, &neg) && neg.What == "host key":
		case errors.Is(err, io.EOF) && ctx.Err() == nil:
			// dropbear hangs up when it is asked for a type it has no key of.
			hungUp = err
		default:
			return nil, &Error{Op: "scan host keys of", Device: address, Err: explainNegotiation(err)}
		}
	}
	if len(keys) == 0 && hungUp != nil {
		return nil, &Error{Op: "scan host keys of", Device: address, Err: fromPeer(hungUp)}
	}
	if len(keys) == 0 {
		return nil, &Error{Op: "scan host keys of", Device: address, Err: errors.New("no key of a type that the SSH library has")}
	}
	return keys, nil
}

// scanOne sees one host key.
func (r *route) scanOne(ctx context.Context, address string, types []string, algorithms ssh.Algorithms, limits Limits) (ssh.PublicKey, error) {
	var seen ssh.PublicKey
	conn, err := r.dial(ctx, address, limits.Connect)
	if err != nil {
		return nil, err
	}
	_, err = handshake(ctx, conn, address, limits.Handshake, &ssh.ClientConfig{
		Config:            sshConfig(algorithms),
		HostKeyAlgorithms: types,
		ClientVersion:     clientVersion,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			seen = key
			return errScanned
		},
	})
	if errors.Is(err, errScanned) && seen != nil {
		return seen, nil
	}
	return nil, err
}

// Decision is a person's word about a host key: whose, and when. It becomes the
// comment of the line in the known_hosts file. The zero value writes none.
type Decision struct {
	By string    // the person, as the system knows them
	At time.Time // written in UTC, in whole seconds
}

// comment is what follows the key in its line.
func (d Decision) comment(verb, more string) string {
	if d.At.IsZero() {
		return ""
	}
	s := verb + " " + d.At.UTC().Format(time.RFC3339)
	if d.By != "" {
		s += " by " + clean(d.By)
	}
	return " " + s + more
}

// Approved is what ApproveHostKey did.
type Approved struct {
	// Changed is false if the key was known already, and nothing else was
	// for this host and type.
	Changed bool
	// Replaced are the older keys of the same type that are not trusted for
	// this host any longer.
	Replaced []KnownKey
}

// ApproveHostKey adds a key to a known_hosts file after it compared the
// fingerprint that a person approved with that of the key that was seen. The
// file and its directory are created if missing (0600, 0700). Older keys of the
// same type for the same host are removed, so a replaced key is not trusted any
// longer; the new file takes the place of the old one in one step. The line says
// who approved the key, when, and which key it replaced.
func ApproveHostKey(file, host string, port int, key ScannedKey, fingerprint string, d Decision) (Approved, error) {
	address := net.JoinHostPort(host, fmt.Sprint(or(port, defaultPort)))
	done, err := approve(file, address, key, fingerprint, d)
	if err != nil {
		return Approved{}, fmt.Errorf("approve host key of %s: %w", knownhosts.Normalize(address), err)
	}
	return done, nil
}

func approve(file, address string, key ScannedKey, fingerprint string, d Decision) (done Approved, err error) {
	host, _, err := splitAddress(address)
	if err := first(err, checkHost(host)); err != nil {
		return done, err
	}
	if key.key == nil || fingerprint != ssh.FingerprintSHA256(key.key) {
		return done, &hinted{fmt.Errorf("approved was %s, the device shows %s %s", quote(fingerprint), key.Type, key.Fingerprint),
			"the fingerprints must be equal, with the prefix SHA256:"}
	}
	if file, err = resolveLink(file); err != nil {
		return done, err
	}
	old, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = makePrivateDir(filepath.Dir(file))
	}
	if err != nil {
		return done, err
	}
	out, present, replaced, err := withoutKeys(old, address, key.key)
	if err != nil {
		return done, fmt.Errorf("%s: %w", file, err)
	}
	for i := range replaced {
		replaced[i].File = file
	}
	if present && bytes.Equal(old, out) {
		return done, nil
	}
	if !present {
		out = append(withNewline(out), knownhosts.Line([]string{address}, key.key)+d.comment("approved", replaces(replaced))+"\n"...)
	}
	return Approved{Changed: true, Replaced: replaced}, durable.ReplaceFile(file, out, durable.StateMode)
}

// withNewline ends the last line of a file.
func withNewline(b []byte) []byte {
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return b
}

// replaces names the replaced keys for a comment.
func replaces(keys []KnownKey) string {
	s := ""
	for _, k := range keys {
		s += ", replaces " + k.Fingerprint
	}
	return s
}

// resolveLink follows a symbolic link, so that the file it points to is
// replaced and not the link.
func resolveLink(file string) (string, error) {
	real, err := filepath.EvalSymlinks(file)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	return real, err
}

// makePrivateDir creates the directory of a known_hosts file.
func makePrivateDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// withoutKeys returns a known_hosts file without the keys of the type of key for
// address, which are listed, other than key itself, which present reports. A line
// that names several hosts loses one of them. A line whose pattern covers more than this
// host and an authority stay as they are; to approve a key that is marked
// revoked is an error.
func withoutKeys(file []byte, address string, key ssh.PublicKey) (out []byte, present bool, gone []KnownKey, err error) {
	n := 0
	for line := range bytes.Lines(file) {
		n++
		k, ok, err := parseKnownLine(line)
		if err != nil {
			return nil, false, nil, fmt.Errorf("line %d: %w", n, err)
		}
		same := ok && bytes.Equal(k.key.Marshal(), key.Marshal())
		switch {
		case !ok:
		case k.marker == "@revoked":
			if same {
				return nil, false, nil, fmt.Errorf("line %d: this key is marked @revoked", n)
			}
		case k.marker != "" || k.key.Type() != key.Type():
		case slices.ContainsFunc(k.hosts, func(h string) bool { return isHost(h, address) }):
			if same {
				present = true
				break
			}
			line = k.without(address, line)
			gone = append(gone, KnownKey{Type: k.key.Type(), Fingerprint: ssh.FingerprintSHA256(k.key), Line: n})
		}
		out = append(out, line...)
	}
	return out, present, gone, nil
}

// knownLine is one parsed line of a known_hosts file.
type knownLine struct {
	marker  string
	hosts   []string // the patterns between commas
	key     ssh.PublicKey
	comment string
}

// parseKnownLine reads a line; ok is false for blanks and comments.
func parseKnownLine(line []byte) (k knownLine, ok bool, err error) {
	text := bytes.TrimSpace(line)
	if len(text) == 0 || text[0] == '#' {
		return k, false, nil
	}
	marker, hosts, key, comment, _, err := ssh.ParseKnownHosts(text)
	if err != nil {
		return k, false, fromPeer(err)
	}
	if marker != "" {
		marker = "@" + marker
	}
	return knownLine{marker: marker, hosts: hosts, key: key, comment: comment}, true, nil
}

// without returns the line without the names of the host at address, nothing if
// no name is left.
func (k knownLine) without(address string, line []byte) []byte {
	rest := slices.DeleteFunc(slices.Clone(k.hosts), func(h string) bool { return isHost(h, address) })
	if len(rest) == 0 {
		return nil
	}
	text := strings.TrimLeft(string(line), " \t")
	_, after, _ := strings.Cut(text, strings.Join(k.hosts, ","))
	return []byte(strings.Join(rest, ",") + after)
}

// isHost reports whether one entry of a host field, plain or hashed, names
// exactly the host at address.
func isHost(entry, address string) bool {
	name := knownhosts.Normalize(address)
	if !strings.HasPrefix(entry, "|1|") {
		return entry == name || knownhosts.Normalize(entry) == name
	}
	return hashedIs(entry, name)
}

// hashedIs reports whether a hashed entry, |1|salt|hash, stands for a name:
// HMAC-SHA1 of the name with the salt as key (sshd(8), ssh-keygen -H).
func hashedIs(entry, name string) bool {
	parts := strings.Split(entry, "|")
	if len(parts) != 4 {
		return false
	}
	salt, err1 := base64.StdEncoding.DecodeString(parts[2])
	sum, err2 := base64.StdEncoding.DecodeString(parts[3])
	if err1 != nil || err2 != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), sum)
}
