package actserver

import (
	"bytes"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// openSSH runs OpenSSH clients against a bench.
type openSSH struct {
	*bench
	options []string // of scp and sftp alike
}

func newOpenSSH(b *bench) openSSH {
	home := b.t.TempDir()
	known := filepath.Join(home, "known_hosts")
	identity := filepath.Join(home, "id")
	line := knownhosts.Line([]string{knownhosts.Normalize(b.addr)}, b.host.Signer.PublicKey())
	must(b.t, os.WriteFile(known, []byte(line+"\n"), 0o600))
	must(b.t, os.WriteFile(identity, b.user.PEM, 0o600))
	_, port, err := net.SplitHostPort(b.addr)
	must(b.t, err)
	return openSSH{b, []string{"-F", "none", "-P", port, "-i", identity,
		"-o", "UserKnownHostsFile=" + known, "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"}}
}

// run runs a client and returns what it printed.
func (c openSSH) run(tool string, args ...string) (string, error) {
	cmd := osexec.Command(need.Tool(c.t, tool), append(append([]string{}, c.options...), args...)...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestOpenSSHFetches(t *testing.T) {
	b := start(t, nil)
	files := map[string][]byte{}
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, size := range []int{0, 1, 32<<10 - 1, 32 << 10, 1<<20 + 7, 5 << 20} {
		name := fmt.Sprintf("act0101-20260102-03040%d.xml.gz", i)
		files[name] = b.put(name, size)
		must(t, os.Chtimes(filepath.Join(b.dir, name), when, when))
	}
	must(t, os.WriteFile(filepath.Join(b.dir, "other.txt"), []byte("x"), 0o640))
	client := newOpenSSH(b)
	host := "admin@127.0.0.1:"

	check := func(t *testing.T, dir string, wanted map[string][]byte, times bool) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		must(t, err)
		if len(entries) != len(wanted) {
			t.Errorf("%d files arrived, want %d", len(entries), len(wanted))
		}
		for name, content := range wanted {
			got, err := os.ReadFile(filepath.Join(dir, name))
			must(t, err)
			if !bytes.Equal(got, content) {
				t.Errorf("%s: %d bytes that differ from the %d served", name, len(got), len(content))
			}
			fi, err := os.Stat(filepath.Join(dir, name))
			must(t, err)
			if times && !fi.ModTime().Equal(when) {
				t.Errorf("%s: time %s, want %s", name, fi.ModTime(), when)
			}
		}
	}
	one := "act0101-20260102-030404.xml.gz"
	two := "act0101-20260102-030403.xml.gz"
	both := map[string][]byte{one: files[one], two: files[two]}
	for _, protocol := range [][]string{{"-O"}, {"-s"}} {
		for _, test := range []struct {
			name    string
			sources []string
			wanted  map[string][]byte
			times   bool
		}{
			{"one", []string{"cf1:/act/" + one}, map[string][]byte{one: files[one]}, false},
			{"without volume", []string{"/act/" + one}, map[string][]byte{one: files[one]}, false},
			{"relative", []string{"act/" + one}, map[string][]byte{one: files[one]}, false},
			{"glob", []string{"/act/act01*.xml.gz"}, files, false},
			{"glob with volume", []string{"cf1:/act/act0101-20260102-03040[0-9].xml.??"}, files, false},
			{"several with times", []string{"act/" + one, "/act/" + two}, both, true},
			{"glob with times", []string{"/act/*.gz"}, files, true},
		} {
			t.Run("scp "+protocol[0]+" "+test.name, func(t *testing.T) {
				dir := t.TempDir()
				args := append([]string{}, protocol...)
				if test.times {
					args = append(args, "-p")
				}
				for _, source := range test.sources {
					args = append(args, host+source)
				}
				if out, err := client.run("scp", append(args, dir+"/")...); err != nil {
					t.Fatalf("scp: %v\n%s", err, out)
				}
				check(t, dir, test.wanted, test.times)
			})
		}
	}
	t.Run("sftp", func(t *testing.T) {
		dir := t.TempDir()
		batch := filepath.Join(t.TempDir(), "batch")
		must(t, os.WriteFile(batch, []byte("cd cf1:/act\npwd\nls -l\nget -p act01*.gz "+dir+"/\n"), 0o600))
		out, err := client.run("sftp", "-b", batch, "admin@127.0.0.1")
		if err != nil {
			t.Fatalf("sftp: %v\n%s", err, out)
		}
		check(t, dir, files, true)
		if !strings.Contains(out, "Remote working directory: /cf1:/act") || !strings.Contains(out, "5242880 Jan") {
			t.Errorf("sftp printed:\n%s", out)
		}
	})
	t.Run("sftp from the path on the command line", func(t *testing.T) {
		dir := t.TempDir()
		if out, err := client.run("sftp", host+"cf1:/act/"+one, dir); err != nil {
			t.Fatalf("sftp: %v\n%s", err, out)
		}
		check(t, dir, map[string][]byte{one: files[one]}, false)
	})
	t.Run("backslashes", func(t *testing.T) {
		dir := t.TempDir()
		if out, err := client.run("scp", "-O", "-T", host+`cf1:\act\act01*.gz`, dir); err != nil {
			t.Fatalf("scp: %v\n%s", err, out)
		}
		check(t, dir, files, false)
	})

	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.transfers {
		if f.Err != nil || f.Sent != f.Size || f.User != "admin" || f.Key != ssh.FingerprintSHA256(b.user.Signer.PublicKey()) {
			t.Errorf("transfer %+v", f)
		}
	}
	if len(b.transfers) < 40 {
		t.Errorf("%d transfers were reported", len(b.transfers))
	}
}

func TestOpenSSHIsRefusedInItsOwnWords(t *testing.T) {
	b := start(t, nil)
	b.put("act0101-20260102-030405.xml.gz", 10)
	client := newOpenSSH(b)
	local := filepath.Join(t.TempDir(), "local")
	must(t, os.WriteFile(local, []byte("local"), 0o600))
	dir := t.TempDir()
	host := "admin@127.0.0.1:"
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-O", local, host + "/act/up"}, "read-only"},
		{[]string{"-s", local, host + "/act/up"}, "Permission denied"},
		{[]string{"-O", "-r", host + "/act", dir}, "directories are not sent"},
		{[]string{"-O", host + "/act", dir}, "not a regular file that is served"},
		{[]string{"-O", host + "/act/none", dir}, "No such file or directory"},
		{[]string{"-O", host + "/act/none*", dir}, "No such file or directory"},
		{[]string{"-s", host + "/act/none", dir}, "No such file or directory"},
		{[]string{"-O", host + "/etc/passwd", dir}, "No such file or directory"},
		{[]string{"-s", host + "/etc/passwd", dir}, "No such file or directory"},
		{[]string{"-O", host + "act/../../../../../etc/passwd", dir}, "path leads outside"},
	} {
		out, err := client.run("scp", test.args...)
		if err == nil || !strings.Contains(out, test.want) {
			t.Errorf("scp %q: %v, want %q in\n%s", test.args, err, test.want, out)
		}
	}
	for _, dir := range []string{dir, b.dir} {
		entries, err := os.ReadDir(dir)
		must(t, err)
		if dir == b.dir && len(entries) != 1 || dir != b.dir && len(entries) != 0 {
			t.Errorf("%s has changed: %v", dir, entries)
		}
	}
}
