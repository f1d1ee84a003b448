package pull

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// SSHConfig is the part of OpenSSH client configuration that Resolve uses.
// The zero value is an empty configuration.
type SSHConfig struct {
	files []sshFile
}

type sshFile struct {
	name   string
	config *ssh_config.Config
}

// LoadSSHConfig reads ssh_config files; for every keyword the first file that
// has it wins, as with ssh. A file that does not exist is an empty one unless
// required is true (ssh -F). Match blocks with other criteria than "all" and
// "host" are an error: whether they hold cannot be known here.
func LoadSSHConfig(required bool, files ...string) (*SSHConfig, error) {
	c := &SSHConfig{}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && !required {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read ssh configuration: %w", err)
		}
		if line := relativeSystemInclude(name, b); line != "" {
			return nil, fmt.Errorf("read ssh configuration %s: write %s with an absolute path", name, quote(line))
		}
		config, err := ssh_config.DecodeBytes(b)
		if err != nil {
			return nil, &hinted{fmt.Errorf("read ssh configuration %s: %w", name, err),
				"give another file with -F, or -F none"}
		}
		c.files = append(c.files, sshFile{name, config})
	}
	return c, nil
}

// relativeSystemInclude finds an Include that the parser would look for in the
// user's directory instead of /etc/ssh.
func relativeSystemInclude(name string, b []byte) string {
	if filepath.Dir(name) != "/etc/ssh" {
		return ""
	}
	for line := range bytes.Lines(b) {
		words := strings.Fields(string(line))
		if len(words) > 1 && strings.EqualFold(words[0], "include") &&
			slices.ContainsFunc(words[1:], func(w string) bool { return w[0] != '/' }) {
			return strings.Join(words, " ")
		}
	}
	return ""
}

// get returns the first value of a keyword for a host, "" if there is none.
func (c *SSHConfig) get(host, key string) (string, error) {
	for _, f := range c.files {
		v, err := f.config.Get(host, key)
		if err != nil {
			return "", fmt.Errorf("ssh configuration %s: %s: %w", f.name, key, err)
		}
		if v != "" {
			return v, nil
		}
	}
	return "", nil
}

// all returns every value of a keyword for a host.
func (c *SSHConfig) all(host, key string) ([]string, error) {
	var vs []string
	for _, f := range c.files {
		v, err := f.config.GetAll(host, key)
		if err != nil {
			return nil, fmt.Errorf("ssh configuration %s: %s: %w", f.name, key, err)
		}
		vs = append(vs, v...)
	}
	return vs, nil
}

// Login is what Resolve needs to know about the local user.
type Login struct {
	// User is the local login name, Home the home directory.
	User, Home string
	// AgentSocket is the value of SSH_AUTH_SOCK.
	AgentSocket string
}

// Resolve fills the fields of t that are not set from the ssh configuration and
// then with the defaults of ssh: user, port, address, key files, known_hosts
// files, agent, jump hosts. What t has already wins, because it came from flags.
// It reads no file.
//
// Taken are HostName, User, Port, IdentityFile, CertificateFile, IdentitiesOnly,
// IdentityAgent, UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias and
// ProxyJump. A jump host is resolved by the same rules under its own name; it
// takes the known_hosts files that t has already, and never its credentials. A
// chain that comes back to where it was is an error, and so is ProxyCommand.
// Algorithm lists are not taken: what is allowed is decided by Target.Legacy.
// StrictHostKeyChecking is not taken: keys are always checked.
func (t Target) Resolve(c *SSHConfig, me Login) (Target, error) {
	if c == nil {
		c = &SSHConfig{}
	}
	return t.resolve(c, me, nil)
}

// resolve is Resolve; behind are the hosts that are reached through this one.
func (t Target) resolve(c *SSHConfig, me Login, behind []string) (Target, error) {
	r := resolver{c: c, host: t.Host, me: me}
	t.Device = t.device() // before the port of the configuration can change it
	t, err := t.resolveJump(&r, behind)
	if err != nil {
		return Target{}, err
	}
	t.User = or(or(t.User, r.get("User")), me.User)
	if t.Port == 0 {
		t.Port = t.usualPort()
		if v := r.get("Port"); v != "" && t.Transport != FTP {
			p, err := parsePort(v)
			if err != nil {
				return Target{}, fmt.Errorf("ssh configuration for %s: %w", t.Host, err)
			}
			t.Port = p
		}
	}
	r.user, r.port = t.User, t.Port
	if t.Address == "" {
		t.Address = or(r.expand(r.get("HostName"), false), t.Host)
	}
	r.address = t.Address
	t.HostKeyAlias = or(t.HostKeyAlias, r.expand(r.get("HostKeyAlias"), false))

	if len(t.KnownHosts) == 0 {
		user := or(r.get("UserKnownHostsFile"), "~/.ssh/known_hosts ~/.ssh/known_hosts2")
		global := or(r.get("GlobalKnownHostsFile"), "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")
		t.KnownHosts = append(r.fileList(user), r.fileList(global)...)
	}
	if len(t.Identities) == 0 && len(t.IdentityCredentials) == 0 {
		for _, f := range r.all("IdentityFile") {
			if !strings.EqualFold(f, "none") {
				t.Identities = append(t.Identities, r.expand(f, true))
			}
		}
		if len(t.Identities) == 0 && len(t.DefaultIdentities) == 0 && me.Home != "" {
			for _, n := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
				t.DefaultIdentities = append(t.DefaultIdentities, filepath.Join(me.Home, ".ssh", n))
			}
		}
	}
	t.IdentitiesOnly = t.IdentitiesOnly || r.yes("IdentitiesOnly")
	if t.AgentSocket == "" {
		switch v := r.get("IdentityAgent"); {
		case v == "" || v == "SSH_AUTH_SOCK":
			t.AgentSocket = me.AgentSocket
		case !strings.EqualFold(v, "none"):
			t.AgentSocket = r.expand(v, true)
		}
	}
	for _, f := range r.all("CertificateFile") {
		t.Certificates = append(t.Certificates, r.expand(f, true))
	}
	if r.err != nil {
		return Target{}, r.err
	}
	err = first(checkUser(t.User), checkHost(t.Address))
	if t.User == "" {
		err = errors.New("no user name")
	}
	if err != nil {
		return Target{}, fmt.Errorf("target %s: %w", t.Host, err)
	}
	return t, nil
}

// resolveJump finds the way to the target.
func (t Target) resolveJump(r *resolver, behind []string) (Target, error) {
	if t.Jump == nil {
		if v := r.get("ProxyCommand"); v != "" && !strings.EqualFold(v, "none") {
			return t, &hinted{fmt.Errorf("target %s: the ssh configuration asks for ProxyCommand %s, which is not supported", t.Host, quote(v)),
				"acctpull starts no programs; a jump host can be given by ProxyJump, -J, or jump in the inventory"}
		}
		var err error
		if t.Jump, err = ParseJump(r.get("ProxyJump")); err != nil {
			return t, fmt.Errorf("ssh configuration for %s: %w", t.Host, err)
		}
	}
	behind = append(slices.Clone(behind), JumpWords([]Target{{Host: t.Host, Port: t.Port}}))
	var chain []Target
	for i, hop := range t.Jump {
		name := JumpWords([]Target{{Host: hop.Host, Port: hop.Port}})
		if slices.Contains(behind, name) {
			return t, jumpLoop(name)
		}
		if i > 0 && hop.Jump == nil {
			hop.Jump = []Target{} // it is reached through the hop before it
		}
		if len(hop.KnownHosts) == 0 {
			hop.KnownHosts = t.KnownHosts
		}
		hop, err := hop.resolve(r.c, r.me, behind)
		if err != nil {
			return t, fmt.Errorf("jump host: %w", err)
		}
		chain = append(chain, hop.Jump...)
		hop.Jump = nil
		chain = append(chain, hop)
		behind = append(behind, name)
	}
	for i, hop := range chain {
		if slices.ContainsFunc(chain[:i], func(h Target) bool { return h.Host == hop.Host && h.Port == hop.Port }) {
			return t, jumpLoop(hop.Host)
		}
	}
	if t.Jump != nil {
		t.Jump = append([]Target{}, chain...)
	}
	return t, checkJumps(t.Jump)
}

// jumpLoop is the error of a chain that comes back.
func jumpLoop(host string) error {
	return &hinted{fmt.Errorf("the jump host %s is reached through itself", quoteUnlessPlain(host)),
		"check ProxyJump in the ssh configuration; a jump host that needs none says ProxyJump none"}
}

// resolver looks values up for one host and keeps the first error.
type resolver struct {
	c                   *SSHConfig
	host, user, address string
	port                int
	me                  Login
	err                 error
}

func (r *resolver) keep(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *resolver) get(key string) string {
	v, err := r.c.get(r.host, key)
	r.keep(err)
	return v
}

func (r *resolver) all(key string) []string {
	vs, err := r.c.all(r.host, key)
	r.keep(err)
	return vs
}

func (r *resolver) yes(key string) bool {
	v := r.get(key)
	switch strings.ToLower(v) {
	case "yes":
		return true
	case "", "no":
		return false
	}
	r.keep(fmt.Errorf("ssh configuration for %s: %s %s: must be yes or no", r.host, key, quote(v)))
	return false
}

// fileList expands a list of files separated by blanks.
func (r *resolver) fileList(s string) []string {
	var files []string
	for _, f := range strings.Fields(s) {
		if strings.EqualFold(f, "none") {
			continue
		}
		files = append(files, r.expand(f, true))
	}
	return files
}

// expand replaces the % tokens of ssh_config(5), and in a file name a leading
// tilde and ${SSH_AUTH_SOCK}-like variables, which are refused.
func (r *resolver) expand(s string, file bool) string {
	if file {
		if s == "~" || strings.HasPrefix(s, "~/") {
			if r.me.Home == "" {
				r.keep(fmt.Errorf("ssh configuration for %s: %s: no home directory", r.host, quote(s)))
			}
			s = strings.ReplaceAll(r.me.Home, "%", "%%") + s[1:]
		} else if strings.HasPrefix(s, "~") || strings.Contains(s, "${") {
			r.keep(fmt.Errorf("ssh configuration for %s: %s: only ~/ is expanded", r.host, quote(s)))
		}
	}
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		token := byte(0)
		if i < len(s) {
			token = s[i]
		}
		switch token {
		case '%':
			b.WriteByte('%')
		case 'd':
			b.WriteString(r.me.Home)
		case 'h':
			b.WriteString(or(r.address, r.host))
		case 'n':
			b.WriteString(r.host)
		case 'p':
			b.WriteString(strconv.Itoa(r.port))
		case 'r':
			b.WriteString(r.user)
		case 'u':
			b.WriteString(r.me.User)
		case 'k':
			host := or(r.address, r.host)
			if r.port != defaultPort {
				host = "[" + host + "]:" + strconv.Itoa(r.port)
			}
			b.WriteString(host)
		default:
			r.keep(fmt.Errorf("ssh configuration for %s: %s: the token %%%s is not supported", r.host, quote(s), clean(string(token))))
		}
	}
	return b.String()
}

// splitAddress splits host:port as the rest of the package makes it.
func splitAddress(address string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = parsePort(p)
	return host, port, err
}
