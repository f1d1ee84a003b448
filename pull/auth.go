package pull

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Secret says where a password or passphrase is. It never holds the text, so
// nothing that prints a Target prints a secret. The zero value is no secret.
type Secret struct {
	// File is a file whose first line is the secret. It must not be
	// readable by others (mode 0600 or tighter).
	File string
	// Env is the name of an environment variable with the secret.
	Env string
	// Credential is the name of a systemd credential (LoadCredential=) whose
	// first line is the secret: a file in the directory that the environment
	// variable CREDENTIALS_DIRECTORY names (systemd.exec(5)). Only one of
	// File, Env and Credential may be set.
	Credential string
}

// set reports whether there is a secret to read.
func (s Secret) set() bool { return s != Secret{} }

// Check returns an error if the secret is said to be in two places, or in none
// that can be.
func (s Secret) Check() error {
	given := 0
	for _, v := range []string{s.File, s.Env, s.Credential} {
		if v != "" {
			given++
		}
	}
	if given > 1 {
		return errors.New("only one of a file, an environment variable and a credential can be given")
	}
	if s.Credential != "" {
		return checkCredential(s.Credential)
	}
	return nil
}

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 64 << 10

// Read returns the secret. Its error names the place and not the secret.
func (s Secret) Read(getenv func(string) string) (string, error) { return s.read(getenv) }

// read returns the secret.
func (s Secret) read(getenv func(string) string) (string, error) {
	if err := s.Check(); err != nil {
		return "", err
	}
	var b []byte
	var err error
	from := s.File
	switch {
	case s.Env != "":
		v := getenv(s.Env)
		if v == "" {
			return "", fmt.Errorf("environment variable %s is not set or empty", quoteUnlessPlain(s.Env))
		}
		return v, nil
	case s.Credential != "":
		from = "credential " + s.Credential
		b, err = readCredential(s.Credential, getenv)
	default:
		b, err = readPrivate(s.File, 0o077)
	}
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return "", fmt.Errorf("%s: the first line is empty", from)
	}
	return string(line), nil
}

// checkCredential accepts the name of a credential, which is that of a file.
func checkCredential(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsFunc(name, notInName) || strings.Contains(name, "/") {
		return fmt.Errorf("credential %s: not a name", quote(name))
	}
	return nil
}

// credentialsVariable names the directory with the credentials of a unit.
const credentialsVariable = "CREDENTIALS_DIRECTORY"

// readCredential reads a credential that the service manager passed on. It may be
// readable by a group: systemd gives the service access by an ACL, whose mask
// stands where the group's bits are.
func readCredential(name string, getenv func(string) string) ([]byte, error) {
	if err := checkCredential(name); err != nil {
		return nil, err
	}
	dir := getenv(credentialsVariable)
	if dir == "" {
		return nil, &hinted{fmt.Errorf("credential %s: the environment variable %s is not set", quoteUnlessPlain(name), credentialsVariable),
			"systemd sets it for a unit with LoadCredential=" + name + ":/path"}
	}
	return readPrivate(filepath.Join(dir, name), 0o027)
}

// readPrivate reads a file of which no mode bit of forbidden is set.
func readPrivate(name string, forbidden fs.FileMode) ([]byte, error) {
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
	if st.Mode().Perm()&forbidden != 0 {
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

// nothingSaid reports whether the failure is that nothing could be tried, and the
// device did not say what it would take: the SSH library also takes a connection
// that ended for a refusal.
func (l *login) nothingSaid() bool {
	return l.failure != nil && l.failure.Err == nil && len(l.failure.Tried) == 0 && len(l.failure.Offered) == 0
}

// unanswered corrects the failure after the time for the handshake was over: the
// SSH library takes the end of the connection for a refusal and asks for the next
// method. What was sent is not sent again all the same: nobody knows what the
// device made of it.
func (l *login) unanswered(limit time.Duration) {
	if l.failure != nil && l.failure.Err == nil && len(l.failure.Tried) > 0 {
		l.failure.Err = fmt.Errorf("%w: no answer to %s in %v", ErrTimeout, clean(l.failure.Tried[len(l.failure.Tried)-1]), limit)
		l.failure.Offered = nil
	}
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
