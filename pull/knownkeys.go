package pull

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"acctpull/internal/durable"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// HostKey is one line of a known_hosts file, as a person looks at it.
type HostKey struct {
	// Marker is "", "@cert-authority" or "@revoked".
	Marker string `json:"marker,omitempty"`
	// Hosts are the names and patterns of the line; a hashed name is given
	// as it stands there.
	Hosts       []string `json:"hosts"`
	Type        string   `json:"type"`
	Fingerprint string   `json:"fingerprint"` // "SHA256:…"
	// Comment is the rest of the line: for a key that was approved here, who
	// approved it and when.
	Comment string `json:"comment,omitempty"`
	File    string `json:"file"`
	Line    int    `json:"line"`
}

// HostKeys lists the lines of known_hosts files that concern a host, or all
// lines if host is "". A port of 0 means 22. Lines that cover the host by a
// pattern are listed too. A file that does not exist has no lines; one that
// cannot be read, or a line that cannot, is an error.
func HostKeys(files []string, host string, port int) ([]HostKey, error) {
	address := net.JoinHostPort(host, fmt.Sprint(or(port, defaultPort)))
	var keys []HostKey
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read known hosts: %w", err)
		}
		err = eachKnownLine(text, func(n int, _ []byte, k knownLine) error {
			if host == "" || k.covers(address) {
				keys = append(keys, k.hostKey(file, n))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read known hosts: %s: %w", file, err)
		}
	}
	return keys, nil
}

// eachKnownLine calls f for every line that holds a key.
func eachKnownLine(text []byte, f func(n int, line []byte, k knownLine) error) error {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		k, ok, err := parseKnownLine(line)
		if err == nil && ok {
			err = f(n, line, k)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func (k knownLine) hostKey(file string, line int) HostKey {
	return HostKey{
		Marker: k.marker, Hosts: k.hosts, Type: k.key.Type(), Fingerprint: ssh.FingerprintSHA256(k.key),
		Comment: k.comment, File: file, Line: line,
	}
}

// covers reports whether the line concerns the host at address: it names it, or
// its patterns match and no negated one does (sshd(8), "SSH_KNOWN_HOSTS FILE
// FORMAT").
func (k knownLine) covers(address string) bool {
	found := false
	for _, h := range k.hosts {
		pattern, negated := strings.CutPrefix(h, "!")
		if !isHost(pattern, address) && !wildcard(pattern, knownhosts.Normalize(address)) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

// wildcard matches a name against a pattern in which * stands for any text and
// ? for one character.
func wildcard(pattern, name string) bool {
	star, mark := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// ErrNoHostKey: no line of the file has the key.
var ErrNoHostKey = errors.New("no line has this key")

// RevokeHostKey takes back the trust in a key, given by its fingerprint: every
// line of the file with that key goes, for whatever host, and a @revoked line
// for all hosts comes, so that no other file makes it trusted again. It returns
// the lines that went. A key that no line has cannot be revoked by its
// fingerprint alone, and the error matches ErrNoHostKey. A key that is revoked
// already is left so.
func RevokeHostKey(file, fingerprint string, d Decision) ([]HostKey, error) {
	gone, err := revoke(file, fingerprint, d)
	if err != nil {
		return nil, fmt.Errorf("revoke host key %s: %w", quote(fingerprint), err)
	}
	return gone, nil
}

func revoke(file, fingerprint string, d Decision) (gone []HostKey, err error) {
	if file, err = resolveLink(file); err != nil {
		return nil, err
	}
	old, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := bytes.SplitAfter(old, []byte("\n"))
	var key ssh.PublicKey
	revoked := false
	err = eachKnownLine(old, func(n int, _ []byte, k knownLine) error {
		if ssh.FingerprintSHA256(k.key) != fingerprint {
			return nil
		}
		key = k.key
		if k.marker == "@revoked" && slices.Contains(k.hosts, "*") {
			revoked = true
			return nil
		}
		gone = append(gone, k.hostKey(file, n))
		lines[n-1] = nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if key == nil {
		return nil, &hinted{fmt.Errorf("%s: %w", file, ErrNoHostKey), "see what is known: acctpull hostkeys list"}
	}
	if revoked && len(gone) == 0 {
		return nil, nil
	}
	out := withNewline(bytes.Join(lines, nil))
	if !revoked {
		out = append(out, "@revoked * "+key.Type()+" "+keyText(key)+d.comment("revoked", "")+"\n"...)
	}
	return gone, durable.ReplaceFile(file, out, durable.StateMode)
}

// keyText is the key in base64, as it stands in a known_hosts line.
func keyText(key ssh.PublicKey) string {
	_, text, _ := strings.Cut(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), " ")
	return text
}
