package simdevice

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/internal/actserver"
	"acctpull/internal/need"

	"golang.org/x/crypto/ssh"
)

// OpenSSH's own clients work with the files that a fleet writes for them: a
// device of today, one with SCP only, and an old one.
func TestOpenSSHWithAFleet(t *testing.T) {
	user, err := actserver.NewKey("user")
	must(t, err)
	f := fleet(t, func(o *FleetOptions) {
		o.Keys = map[string][]ssh.PublicKey{"admin": {user.Signer.PublicKey()}}
		o.Clock = NewClock(began.Add(3 * time.Hour))
	}, "new n=1 objects=3 show-collect", "old n=1 objects=3 legacy scp-only")
	home := t.TempDir()
	identity, known, config := filepath.Join(home, "id"), filepath.Join(home, "known_hosts"), filepath.Join(home, "ssh_config")
	var knownText, configText bytes.Buffer
	must(t, f.WriteKnownHosts(&knownText))
	must(t, f.WriteSSHConfig(&configText, "admin", identity, known))
	must(t, os.WriteFile(identity, user.PEM, 0o600))
	must(t, os.WriteFile(known, knownText.Bytes(), 0o600))
	must(t, os.WriteFile(config, configText.Bytes(), 0o600))
	run := func(input, tool string, args ...string) (string, error) {
		cmd := exec.Command(need.Tool(t, tool), append([]string{"-F", config, "-o", "BatchMode=yes", "-o", "GlobalKnownHostsFile=/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=", "LC_ALL=C")
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, test := range []struct {
		device, input, tool string
		args                func(dir string) []string
	}{
		{"new-1", "", "scp", func(dir string) []string { return []string{"-O", "-p", "new-1:cf1:/act/*", dir} }},
		{"new-1", "", "scp", func(dir string) []string { return []string{"-s", "new-1:/act/*", dir} }},
		{"old-1", "", "scp", func(dir string) []string { return []string{"-O", "old-1:act/act10*", dir} }},
		{"new-1", "get cf1:/act/* .\n", "sftp", func(string) []string { return []string{"-b", "-", "new-1"} }},
	} {
		dir := t.TempDir()
		args := test.args(dir)
		if test.tool == "sftp" {
			test.input = "lcd " + dir + "\n" + test.input
		}
		if out, err := run(test.input, test.tool, args...); err != nil {
			t.Errorf("%s %q: %v\n%s", test.tool, args, err, out)
			continue
		}
		d := f.Named(test.device)
		got, want := contents(t, dir), contents(t, d.ActDir())
		if len(got) < 10 || len(got) != len(want) {
			t.Errorf("%s %q: %d files of %d", test.tool, args, len(got), len(want))
		}
		for name := range want {
			if !bytes.Equal(got[name], want[name]) {
				t.Errorf("%s %q: %s differs", test.tool, args, name)
			}
		}
		sameAsTruth(t, d)
	}
	for device, want := range map[string]string{"new-1": "Directory of cf1:\\act-collect", "old-1": "File Not Found"} {
		if out, _ := run("", "ssh", device, `file dir cf1:\act-collect`); !strings.Contains(out, want) {
			t.Errorf("%s: no %q in\n%s", device, want, out)
		}
	}
	if out, err := run("", "sftp", "old-1"); err == nil {
		t.Errorf("a device without SFTP:\n%s", out)
	}
}
