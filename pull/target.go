package pull

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Transport is how files come off a device.
type Transport string

// The transports.
const (
	// Auto is SFTP, and SCP if the device has no SFTP.
	Auto Transport = "auto"
	// SFTP is the subsystem of that name.
	SFTP Transport = "sftp"
	// SCP is the program of that name in its old protocol, scp -f.
	SCP Transport = "scp"
	// FTP is the protocol of that name, without any protection. Auto never
	// chooses it.
	FTP Transport = "ftp"
)

// ParseTransport accepts auto, sftp, scp and ftp; "" is Auto.
func ParseTransport(s string) (Transport, error) {
	switch t := Transport(s); t {
	case "":
		return Auto, nil
	case Auto, SFTP, SCP, FTP:
		return t, nil
	}
	return "", fmt.Errorf("transport %s: must be auto, sftp, scp or ftp", quote(s))
}

// defaultPort is the port of SSH.
const defaultPort = 22

// Target is one directory of one device and how to get there. ParseTarget
// makes one from what a person types; flags or a configuration fill in fields;
// Resolve takes the rest from the user's ssh configuration.
type Target struct {
	// Device is the name in the ledger and on disk. "" is Host as typed,
	// with ":port" if Port is neither 0 nor 22.
	Device string
	// User is the login name. "" is the local user's, which Resolve fills.
	User string
	// Host is what a person calls the device: a name, an address, or a Host
	// of the ssh configuration.
	Host string
	// Port is the TCP port, 0 is 22.
	Port int
	// Path is the directory with the closed accounting files, as the device
	// writes it: "/act", "cf1:/act", `cf1:\act`.
	Path string

	// Address is the name or address that is connected to. "" is Host.
	Address string
	// HostKeyAlias is the name looked up in known_hosts instead of the
	// address and port, "" if there is none.
	HostKeyAlias string
	// KnownHosts are the files with host keys; one that does not exist is
	// an empty one. The first is the one a new key is added to.
	KnownHosts []string
	// Identities are private key files. IdentitiesOnly keeps every key of
	// the agent out that is not among them.
	Identities     []string
	IdentitiesOnly bool
	// IdentityCredentials are names of systemd credentials with private keys;
	// see Secret.Credential.
	IdentityCredentials []string
	// Certificates are OpenSSH user certificates for keys among Identities,
	// DefaultIdentities and those of the agent. The certificate beside a key
	// file, NAME-cert.pub, needs no mention.
	Certificates []string
	// DefaultIdentities are private key files that are used if they exist.
	DefaultIdentities []string
	// AgentSocket is the socket of the SSH agent, "" is none.
	AgentSocket string
	// Passphrase decrypts private key files, Password logs in by password
	// or keyboard-interactive. Both may be empty.
	Passphrase, Password Secret
	// Jump are the hosts to go through, the first to be connected to first;
	// see ParseJump. Only what concerns their connection and login is used.
	// nil takes the chain of the ssh configuration, an empty one none.
	Jump []Target
	// Transport is how the files come; "" is Auto.
	Transport Transport
	// Listing is how the files are listed; "" is what Quirks says.
	Listing ListBy
	// Quirks are the peculiarities of the device.
	Quirks Quirks
	// Remove lets a visit remove files from the device that are exported;
	// see Removal. Only SFTP can. False removes nothing, ever.
	Remove bool
	// Legacy are insecure algorithms to allow for this device; see
	// LegacyAlgorithms. nil allows none.
	Legacy []string

	cache *Cache // of Options
}

// ParseTarget reads [user@]host:path as scp takes it, with an IPv6 address in
// brackets, or ssh://[user@]host[:port]/path. The path after the first colon is
// the device's own, so admin@router:cf1:/act is the directory cf1:/act.
//
// In the URL form the path is absolute, /~/x is x in the home directory, and
// /cf1:/act is cf1:/act.
func ParseTarget(s string) (Target, error) {
	t, err := parseTarget(s)
	if err != nil {
		return Target{}, fmt.Errorf("target %s: %w", quote(withoutPassword(s)), err)
	}
	return t, nil
}

// withoutPassword hides what could be a password in a mistyped target.
func withoutPassword(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return s
	}
	start := 0
	if i := strings.Index(s, "://"); i >= 0 && i < at {
		start = i + len("://")
	}
	if colon := strings.IndexByte(s[start:at], ':'); colon >= 0 {
		return s[:start+colon+1] + "…" + s[at:]
	}
	return s
}

func parseTarget(s string) (Target, error) {
	if !utf8.ValidString(s) {
		return Target{}, errors.New("not valid UTF-8")
	}
	var t Target
	var err error
	scheme, _, isURL := strings.Cut(s, "://")
	switch {
	case isURL && scheme == "ssh":
		t, err = parseURL(s)
	case isURL && slices.Contains(otherSchemes, scheme):
		return t, fmt.Errorf("scheme %s: only ssh:// is known", scheme)
	default:
		t, err = parseSCPForm(s)
	}
	if err != nil {
		return Target{}, err
	}
	if err := first(checkUser(t.User), checkHost(t.Host), checkPath(t.Path)); err != nil {
		return Target{}, err
	}
	if t.Path, err = fromHome(t.Path); err != nil {
		return Target{}, err
	}
	return t, nil
}

// otherSchemes are what people type in front of :// and do not mean as the name
// of a host.
var otherSchemes = []string{"scp", "sftp", "ftp", "ftps", "http", "https", "telnet", "file"}

// parseSCPForm splits [user@]host:path.
func parseSCPForm(s string) (t Target, err error) {
	rest := s
	// A user name ends at the last @ before the first colon or bracket.
	if i := strings.IndexAny(rest, ":["); i >= 0 {
		if at := strings.LastIndexByte(rest[:i], '@'); at >= 0 {
			t.User, rest = rest[:at], rest[at+1:]
			if t.User == "" {
				return t, errors.New("empty user name before @")
			}
		}
	}
	if strings.HasPrefix(rest, "[") {
		host, path, ok := strings.Cut(rest[1:], "]")
		if !ok || !strings.HasPrefix(path, ":") {
			return t, errors.New("expected [address]:path")
		}
		t.Host, t.Path = host, path[1:]
		return t, nil
	}
	host, path, ok := strings.Cut(rest, ":")
	if !ok {
		return t, &hinted{errors.New("no directory"), "add the directory after a colon, for example " + clean(s) + ":/act"}
	}
	if a, rest, ok := bareIPv6(rest); ok {
		return t, fmt.Errorf("write an IPv6 address in brackets: [%s]%s", a, clean(rest))
	}
	if atInFront(path) {
		return t, errPasswordInTarget
	}
	t.Host, t.Path = host, path
	return t, nil
}

// bareIPv6 finds an IPv6 address that should have brackets: it would be read as a
// short host name and a long path.
func bareIPv6(s string) (a netip.Addr, rest string, ok bool) {
	i := strings.Index(s, ":/")
	if i < 0 {
		return a, "", false
	}
	a, err := netip.ParseAddr(s[:i])
	return a, s[i:], err == nil && a.Is6()
}

// atInFront finds an @ in the first element of a path: user:password@host:path
// would otherwise be read as the host "user".
func atInFront(path string) bool {
	head, _, _ := strings.Cut(path, "/")
	return strings.Contains(head, "@")
}

var errPasswordInTarget = &hinted{
	errors.New("a password in the target is refused: other users can read command lines"),
	"give the password in a file of mode 0600 or in an environment variable"}

// parseURL splits ssh://[user@]host[:port]/path.
func parseURL(s string) (t Target, err error) {
	u, err := url.Parse(s)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return t, err
	}
	if u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return t, errors.New("a URL with ? or # has no meaning here")
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			return t, errPasswordInTarget
		}
		t.User = u.User.Username()
		if t.User == "" {
			return t, errors.New("empty user name before @")
		}
	}
	t.Host = u.Hostname()
	if p := u.Port(); p != "" {
		if t.Port, err = parsePort(p); err != nil {
			return t, err
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return t, errors.New("empty port")
	}
	t.Path = u.Path
	if t.Path == "" || t.Path == "/" && !strings.HasSuffix(s, "/") {
		return t, &hinted{errors.New("no directory"), "add the directory, for example " + clean(s) + "/act"}
	}
	if inner := t.Path[1:]; strings.HasPrefix(inner, "~") || isDevicePath(inner) {
		t.Path = inner
	}
	return t, nil
}

// parsePort reads a decimal port number.
func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %s: must be 1 to 65535", quote(s))
	}
	return int(n), nil
}

func checkUser(s string) error {
	if strings.HasPrefix(s, "-") || len(s) > 255 || strings.ContainsFunc(s, notInName) || strings.ContainsAny(s, ":/@[]") {
		return fmt.Errorf("user name %s is not usable", quote(s))
	}
	return nil
}

// notInName finds what user names and paths must not hold.
func notInName(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

// checkHost accepts host names, IPv4 and IPv6 addresses, with a zone.
func checkHost(s string) error {
	if s == "" {
		return errors.New("empty host name")
	}
	if strings.Contains(s, ":") {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is6() || strings.Trim(a.Zone(), hostBytes) != "" {
			return fmt.Errorf("host %s is not an IPv6 address", quote(s))
		}
		return nil
	}
	if len(s) > 253 || strings.Trim(s, hostBytes) != "" || s[0] == '-' || s[0] == '.' {
		return fmt.Errorf("host name %s is not usable", quote(s))
	}
	return nil
}

const hostBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// checkPath accepts what can be a directory on a device.
func checkPath(s string) error {
	switch {
	case s == "":
		return &hinted{errors.New("no directory after the colon"), "write the directory with the closed accounting files, for example :/act or :cf1:/act"}
	case len(s) > 1024:
		return errors.New("path is longer than 1024 bytes")
	case strings.ContainsFunc(s, notInName):
		return fmt.Errorf("path %s has characters that cannot be printed", quote(s))
	}
	return nil
}

// fromHome takes ~/ off a path: a path without a leading slash starts in the
// home directory anyway, over SFTP and SCP alike.
func fromHome(s string) (string, error) {
	if !strings.HasPrefix(s, "~") {
		return s, nil
	}
	if s != "~" && s[1] != '/' {
		return "", fmt.Errorf("path %s: the home directory of another user is not supported", quote(s))
	}
	rest := strings.TrimLeft(s[1:], "/")
	if rest == "" || rest[0] == '~' || isDevicePath(rest) {
		rest = "./" + rest
	}
	return rest, nil
}

// isDevicePath reports whether a path starts with the name of a file system of
// a device, such as cf1: .
func isDevicePath(s string) bool {
	name, _, ok := strings.Cut(s, ":")
	return ok && name != "" && len(name) <= 32 && strings.Trim(name, hostBytes[:62]) == ""
}

// Check reports what makes a target unusable, apart from what Resolve can still
// fill in.
func (t Target) Check() error {
	return first(checkUser(t.User), checkHost(t.Host), checkPath(t.Path))
}

// port returns the port to connect to.
func (t Target) port() int { return or(t.Port, t.usualPort()) }

// usualPort is the port of the protocol.
func (t Target) usualPort() int {
	if t.Transport == FTP {
		return ftpPort
	}
	return defaultPort
}

// device returns the name of the device in the ledger and on disk.
func (t Target) device() string {
	if t.Device != "" {
		return t.Device
	}
	if t.port() == t.usualPort() {
		return t.Host
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(t.Port))
}

// dialAddress returns host:port to connect to.
func (t Target) dialAddress() string {
	return net.JoinHostPort(or(t.Address, t.Host), strconv.Itoa(t.port()))
}

// hostKeyAddress returns host:port to look up in known_hosts.
func (t Target) hostKeyAddress() string {
	if t.HostKeyAlias != "" {
		return net.JoinHostPort(t.HostKeyAlias, strconv.Itoa(defaultPort))
	}
	return t.dialAddress()
}

// String returns the target as ParseTarget reads it.
func (t Target) String() string {
	user, host := "", t.Host
	if t.User != "" {
		user = t.User + "@"
	}
	if t.port() != t.usualPort() {
		path := t.Path
		switch {
		case isDevicePath(path):
			path = "/" + path
		case !strings.HasPrefix(path, "/"):
			path = "/~/" + path
		}
		scheme := "ssh"
		if t.Transport == FTP {
			scheme = "ftp"
		}
		u := url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(t.Port)), Path: path}
		if t.User != "" {
			u.User = url.User(t.User)
		}
		return u.String()
	}
	if _, _, short := bareIPv6(host + ":" + t.Path); short || strings.Contains(host, ":") || atInFront(t.Path) {
		host = "[" + host + "]"
	}
	return user + host + ":" + t.Path
}
