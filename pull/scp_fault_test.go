package pull

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// H4: a device that drops the whole connection when a file is refused is listed
// on a second connection, without a refusal; one that drops it in any case is an
// error, and not asked for ever.
func TestHostileSCPDropsTheConnection(t *testing.T) {
	for what, always := range map[string]bool{"at a refusal": false, "always": true} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, scpQuirks{})
			var mu sync.Mutex
			var conn *ssh.ServerConn
			r.server.hello = func(c *ssh.ServerConn) {
				mu.Lock()
				defer mu.Unlock()
				conn = c
			}
			device := filepath.Dir(r.act)
			r.server.exec = func(command string, ch ssh.Channel) int {
				err := scpSource(device, scpQuirks{stopsAt01: true}, command, ch, ch)
				if err != nil && strings.HasPrefix(err.Error(), "refused") || always {
					mu.Lock()
					defer mu.Unlock()
					_ = conn.Close()
				}
				return 0
			}
			for i := range 3 {
				r.put(actName(i), fmt.Sprintln(i), 5)
			}
			res, err := r.pull(SCP)
			if always {
				oneLineError(t, err)
				if !errors.Is(err, ErrCut) || res.Attempts != 2 || len(r.stored()) != 0 {
					t.Fatalf("%s %v", brief(res), err)
				}
				return
			}
			if err != nil || res.Count(Stored) != 3 || res.Attempts != 2 {
				t.Fatalf("%s %v", brief(res), err)
			}
			if res, err = r.pull(SCP); err != nil || res.Known != 3 {
				t.Fatalf("again: %s %v", brief(res), err)
			}
		})
	}
}

// forger changes the headers of an honest device.
type forger struct{ io.Writer }

func (f forger) Write(p []byte) (int, error) {
	q := bytes.Replace(p, []byte("C0644 "), []byte("C4777 "), 1)
	q = bytes.Replace(q, []byte("T5 0 5 0\n"), []byte("T99999999999999999999 0 1 0\n"), 1)
	if _, err := f.Writer.Write(q); err != nil {
		return 0, err
	}
	return len(p), nil
}

// H4: neither the mode nor the time of a header reaches our disk.
func TestHostileSCPModeAndTime(t *testing.T) {
	r := newRig(t, scpQuirks{})
	device := filepath.Dir(r.act)
	r.server.exec = func(command string, ch ssh.Channel) int {
		if scpSource(device, scpQuirks{}, command, ch, forger{ch}) != nil {
			return 1
		}
		return 0
	}
	r.put(actName(1), "x\n", 5)
	res, err := r.pull(SCP)
	if err != nil || !slices.Equal(outcomes(res), []string{actName(1) + " stored"}) {
		t.Fatalf("%s %v", brief(res), err)
	}
	if f := res.Files[0]; f.MTime != 1<<32-1 {
		t.Errorf("time %d", f.MTime)
	}
	st, err := os.Stat(filepath.Join(r.data, filepath.FromSlash(res.Files[0].Stored)))
	if err != nil || st.Mode() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// hugeKey is an RSA key nobody has: a modulus of any size, and signatures that
// are noise.
type hugeKey struct{ bits int }

func (k hugeKey) PublicKey() ssh.PublicKey { return k }
func (k hugeKey) Type() string             { return ssh.KeyAlgoRSA }
func (k hugeKey) Marshal() []byte {
	n := new(big.Int).Lsh(big.NewInt(1), uint(k.bits-1))
	n.Add(n, big.NewInt(1))
	return ssh.Marshal(struct {
		Name string
		E, N *big.Int
	}{ssh.KeyAlgoRSA, big.NewInt(1<<24 - 1), n})
}
func (k hugeKey) Verify([]byte, *ssh.Signature) error { return errors.New("no") }
func (k hugeKey) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(r, data, ssh.KeyAlgoRSASHA512)
}
func (k hugeKey) SignWithAlgorithm(_ io.Reader, _ []byte, algorithm string) (*ssh.Signature, error) {
	blob := make([]byte, k.bits/8)
	_, err := rand.Read(blob)
	return &ssh.Signature{Format: algorithm, Blob: blob}, err
}

// H11: a host key of 16,384 bits with the costliest exponent, and a signature
// that proves nothing: refused at once and once, before anything is sent.
func TestHostileHugeHostKey(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.server.stop()
	s := newServer(t, hugeKey{16384})
	s.sftp = r.server.sftp
	r.server = s.start()
	r.setTarget()
	for what, known := range map[string][]byte{"known": []byte(keyLine(fmt.Sprintf("[127.0.0.1]:%d", s.port()), hugeKey{16384})), "unknown": nil} {
		writeFile(t, r.target.KnownHosts[0], known, 0o600)
		r.o.Limits.Retries = 3 // which must not be used
		res, err := r.pull(SFTP)
		oneLineError(t, err)
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "did not prove its host key") || s.logins != 0 || res.Attempts != 1 {
			t.Errorf("%s: %v, %d logins, %d attempts", what, err, s.logins, res.Attempts)
		}
	}
}
