package pull

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// H7: a real OpenSSH server configured as five generations of devices, each
// without and with the old algorithms allowed. What is refused says which
// algorithm is missing, after one connection.
func TestOpenSSHAlgorithmMatrix(t *testing.T) {
	rsaOnly := []string{"HostKeyAlgorithms ssh-rsa", "PubkeyAcceptedAlgorithms ssh-rsa,rsa-sha2-256,rsa-sha2-512"}
	for what, c := range map[string]struct {
		config   []string
		current  string // error without old algorithms, "" if it works
		legacy   string // error with them
		insecure []string
	}{
		"group1, CBC, SHA-1, ssh-rsa": {append(rsaOnly, "KexAlgorithms diffie-hellman-group1-sha1", "Ciphers aes128-cbc,3des-cbc", "MACs hmac-sha1"),
			"no common key exchange: the device offers only diffie-hellman-group1-sha1, which are insecure", "",
			[]string{"diffie-hellman-group1-sha1", "ssh-rsa", "aes128-cbc"}},
		"group exchange, 3DES, short SHA-1, ssh-rsa": {append(rsaOnly, "KexAlgorithms diffie-hellman-group-exchange-sha1", "Ciphers 3des-cbc", "MACs hmac-sha1-96"),
			"no common key exchange: the device offers only diffie-hellman-group-exchange-sha1, which are insecure", "",
			[]string{"diffie-hellman-group-exchange-sha1", "ssh-rsa", "3des-cbc", "hmac-sha1-96"}},
		"group14, CTR, SHA-1, ssh-rsa": {append(rsaOnly, "KexAlgorithms diffie-hellman-group14-sha1", "Ciphers aes128-ctr", "MACs hmac-sha1"),
			"no common key exchange: the device offers only diffie-hellman-group14-sha1, which are insecure", "",
			[]string{"diffie-hellman-group14-sha1", "ssh-rsa"}},
		"only long CBC": {[]string{"Ciphers aes192-cbc,aes256-cbc"},
			"the device offers only aes192-cbc aes256-cbc, and the SSH library has none of them", "the device offers only aes192-cbc aes256-cbc, and the SSH library has none of them", nil},
		"only MD5": {[]string{"Ciphers aes128-ctr", "MACs hmac-md5"},
			"the device offers only hmac-md5, and the SSH library has none of them", "the device offers only hmac-md5, and the SSH library has none of them", nil},
		"current": {nil, "", "", nil},
	} {
		for _, legacy := range []bool{false, true} {
			row := what
			if legacy {
				row += ", allowed"
			}
			t.Run(row, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, scpQuirks{})
				openSSH(t, r, append(slices.Clone(c.config), "Subsystem sftp internal-sftp")...)
				r.put(actName(1), "x\n", 1)
				want := c.current
				if legacy {
					want, r.target.Legacy = c.legacy, LegacyAlgorithms()
				}
				r.o.Limits.Retries = 3 // which must not be used
				var used []string
				r.o.Hooks.OnConnect = func(x Connected) { used = x.Insecure }
				res, err := r.pull(Auto)
				if want == "" {
					if err != nil || res.Count(Stored) != 1 {
						t.Fatalf("%s %v", brief(res), err)
					}
					insecure := c.insecure
					if !legacy {
						insecure = nil
					}
					for _, a := range insecure {
						if !slices.Contains(used, a) {
							t.Errorf("%s is in use and not named: %q", a, used)
						}
					}
					if len(insecure) == 0 && len(used) > 0 {
						t.Errorf("insecure: %q", used)
					}
					return
				}
				oneLineError(t, err)
				var e *Error
				var a *AlgorithmError
				if !errors.As(err, &a) || !errors.As(err, &e) || e.Hint() == "" || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "router1") || res.Attempts != 1 {
					t.Errorf("%d attempts, got %v\nwant %q", res.Attempts, err, want)
				}
			})
		}
	}
}
