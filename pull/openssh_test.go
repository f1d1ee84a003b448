package pull

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"

	"golang.org/x/crypto/ssh"
)

// openSSH runs a real OpenSSH server on loopback with the given configuration
// lines, and points a rig at it.
func openSSH(t testing.TB, r *rig, lines ...string) {
	t.Helper()
	sshd := need.Tool(t, "sshd")
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		// The directory sshd changes its root to before login.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var known bytes.Buffer
	port := freePort(t)
	config := []string{
		"ListenAddress 127.0.0.1", fmt.Sprint("Port ", port), "PidFile none", "UsePAM no", "StrictModes no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
		"LogLevel ERROR", "MaxStartups 100", "AuthorizedKeysFile " + filepath.Join(dir, "authorized"),
	}
	for name, key := range map[string]any{"ed25519": rawEd(t), "rsa": rawRSA(t, 0)} {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		writeFile(t, file, pem.EncodeToMemory(block), 0o600)
		config = append(config, "HostKey "+file)
		s, err := ssh.ParsePrivateKey(pem.EncodeToMemory(block))
		if err != nil {
			t.Fatal(err)
		}
		known.WriteString(keyLine(fmt.Sprintf("[127.0.0.1]:%d", port), s.PublicKey()))
	}
	identity, public := keyFile(t, dir, "identity", "", 1)
	writeFile(t, filepath.Join(dir, "authorized"), ssh.MarshalAuthorizedKey(public), 0o600)
	writeFile(t, filepath.Join(dir, "known"), known.Bytes(), 0o600)
	writeFile(t, filepath.Join(dir, "sshd_config"), []byte(strings.Join(append(config, lines...), "\n")+"\n"), 0o600)

	var log bytes.Buffer
	cmd := exec.Command(sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("sshd: %s", &log)
		}
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for up := false; !up; {
		c, err := net.Dial("tcp", address)
		if up = err == nil; up {
			_ = c.Close()
			break
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("sshd ended: %v: %s", err, &log)
		case <-time.After(5 * time.Millisecond):
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	r.target = Target{Device: "router1", User: me.Username, Host: "127.0.0.1", Port: port, Path: r.act,
		KnownHosts: []string{filepath.Join(dir, "known")}, Identities: []string{identity}}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func writeFile(t testing.TB, name string, b []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, b, mode); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSSH(t *testing.T) {
	for what, c := range map[string]struct {
		config    []string
		transport Transport
		legacy    bool
		kind      Transport
		want      string // error
		dir       string // name of the directory
		many      bool
	}{
		"sftp":             {config: []string{"Subsystem sftp internal-sftp"}, transport: SFTP, kind: SFTP},
		"sftp-server":      {config: []string{"Subsystem sftp /usr/lib/openssh/sftp-server"}, transport: Auto, kind: SFTP, many: true},
		"scp":              {config: []string{"Subsystem sftp internal-sftp"}, transport: SCP, kind: SCP, many: true},
		"scp only":         {transport: Auto, kind: SCP},
		"sftp is missing":  {config: []string{"Subsystem sftp /nonexistent/sftp-server"}, transport: Auto, kind: SCP},
		"sftp only":        {config: []string{"Subsystem sftp internal-sftp", "ForceCommand internal-sftp"}, transport: Auto, kind: SFTP},
		"sftp only by scp": {config: []string{"Subsystem sftp internal-sftp", "ForceCommand internal-sftp"}, transport: SCP, want: "This service allows sftp connections only."},
		"scp only by sftp": {transport: SFTP, want: "SFTP"},
		"no commands":      {config: []string{"ForceCommand /bin/false"}, transport: SCP, want: "exit status 1"},
		"no scp":           {config: []string{"ForceCommand /nonexistent/scp -f"}, transport: SCP, want: "no way to fetch files"},
		"greeting":         {config: []string{"ForceCommand echo Welcome"}, transport: SCP, want: `no file header: "Welcome"`},
		"quoted directory": {config: []string{"Subsystem sftp internal-sftp"}, transport: SCP, kind: SCP, dir: `it's; a "test" $(id) *`},
		"odd, sftp":        {config: []string{"Subsystem sftp internal-sftp"}, transport: SFTP, kind: SFTP, dir: `it's; a "test" $(id) *`},

		"old device": {config: []string{"Subsystem sftp internal-sftp", "KexAlgorithms diffie-hellman-group1-sha1", "Ciphers aes128-cbc,3des-cbc", "MACs hmac-sha1",
			"HostKeyAlgorithms ssh-rsa", "PubkeyAcceptedAlgorithms ssh-rsa"}, transport: Auto, legacy: true, kind: SFTP},
		"older device": {config: []string{"KexAlgorithms diffie-hellman-group-exchange-sha1", "Ciphers 3des-cbc", "MACs hmac-sha1-96",
			"HostKeyAlgorithms ssh-rsa", "PubkeyAcceptedAlgorithms ssh-rsa"}, transport: Auto, legacy: true, kind: SCP},
		"old device, not allowed": {config: []string{"KexAlgorithms diffie-hellman-group14-sha1", "HostKeyAlgorithms ssh-rsa", "PubkeyAcceptedAlgorithms ssh-rsa"}, transport: Auto,
			want: "no common key exchange: the device offers only diffie-hellman-group14-sha1, which are insecure"},
		"old host key, not allowed": {config: []string{"HostKeyAlgorithms ssh-rsa"}, transport: Auto,
			want: "no common host key: the device offers only ssh-rsa, which are insecure"},
		"impossible cipher": {config: []string{"Ciphers aes192-cbc,aes256-cbc"}, transport: Auto, legacy: true, want: "the device offers only aes192-cbc aes256-cbc, and the SSH library has none of them"},
		"impossible mac":    {config: []string{"Ciphers aes128-ctr", "MACs hmac-md5"}, transport: Auto, legacy: true, want: "the device offers only hmac-md5, and the SSH library has none of them"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			openSSH(t, r, c.config...)
			if c.dir != "" {
				r.act = filepath.Join(filepath.Dir(r.act), c.dir)
				if err := os.Mkdir(r.act, 0o700); err != nil {
					t.Fatal(err)
				}
				r.target.Path = r.act
			}
			if c.legacy {
				r.target.Legacy = LegacyAlgorithms()
			}
			n := 3
			if c.many {
				n = scpManyFiles + 4 // more than one command line
			}
			for i := range n {
				r.put(actName(i), strings.Repeat(fmt.Sprintln("line", i), 1+i*40%3000), int64(1000+i))
			}
			writeFile(t, filepath.Join(r.act, "other"), []byte("x"), 0o600)
			if err := os.Mkdir(filepath.Join(r.act, "directory"), 0o700); err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if err := os.Symlink(filepath.Join(r.act, "other"), filepath.Join(r.act, actName(5000))); err != nil {
					t.Fatal(err)
				}
			}
			res, err := r.pull(c.transport)
			if c.want != "" {
				oneLineError(t, err)
				if !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v\nwant %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// SCP follows links on the device; what comes then is no
			// accounting file.
			if res.Transport != c.kind || res.Count(Stored) != n || len(res.Files)-res.Count(Quarantined) != n {
				t.Fatalf("%s", brief(res))
			}
			for name, content := range r.stored() {
				b, err := os.ReadFile(filepath.Join(r.act, name))
				if err != nil || string(b) != content {
					t.Fatalf("%s: %d bytes, %v", name, len(content), err)
				}
			}
			for i, f := range res.Files[:n] {
				if f.Name != actName(i) || f.MTime != int64(1000+i) {
					t.Fatalf("%+v", f)
				}
			}
			if res, err = r.pull(c.transport); err != nil || res.Count(Stored) != 0 || res.Known < n {
				t.Fatalf("second run: %s %v", brief(res), err)
			}
			r.put(actName(6000), "new\n", 5)
			if err := os.Remove(filepath.Join(r.act, actName(0))); err != nil {
				t.Fatal(err)
			}
			if res, err = r.pull(c.transport); err != nil || !slices.Equal(outcomes(res), []string{actName(6000) + " stored"}) {
				t.Fatalf("third run: %s %v", brief(res), err)
			}
		})
	}
}

// A real server that goes away in the middle.
func TestOpenSSHGone(t *testing.T) {
	r := newRig(t, scpQuirks{})
	openSSH(t, r, "Subsystem sftp internal-sftp")
	r.target.Port = freePort(t)
	_, err := r.pull(Auto)
	oneLineError(t, err)
	if !isNetwork(err) || !strings.Contains(err.Error(), "refused") {
		t.Fatal(err)
	}
}

// A real server shows all its keys.
func TestOpenSSHScan(t *testing.T) {
	r := newRig(t, scpQuirks{})
	openSSH(t, r)
	keys, err := scanAt(context.Background(), r.target.dialAddress(), r.o.Limits)
	if err != nil || len(keys) != 2 || keys[0].Type != "ssh-ed25519" || keys[1].Type != "ssh-rsa" {
		t.Fatalf("%+v %v", keys, err)
	}
	r.target.KnownHosts = []string{filepath.Join(r.base, "fresh")}
	_, err = r.pull(Auto)
	var e *HostKeyError
	if !errors.As(err, &e) || e.Fingerprint != keys[0].Fingerprint {
		t.Fatal(err)
	}
	if _, err := ApproveHostKey(e.File, e.Host, e.Port, keys[0], e.Fingerprint, Decision{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.pull(Auto); err != nil {
		t.Fatal(err)
	}
}
