package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"acctpull/internal/actserver"
	"acctpull/internal/gen"
)

// H9: a planted password is in no argument, environment, message, event, dump of
// a crash, or file of the data directory, whichever way it was given.
func TestHostileEyesSeeNoSecret(t *testing.T) {
	const secret = "Xyzzy-plugh-4711"
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	check(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	hides := func(where, text string) {
		t.Helper()
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("the secret is in %s: %q", where, text[max(0, i-80):i])
		}
	}
	ways := map[string]struct{ args, env []string }{
		"file":        {args: []string{"--password-file", file}},
		"environment": {args: []string{"--password-env", "ROUTER_PW"}, env: []string{"ROUTER_PW=" + secret}},
	}

	// A device that takes the connection and says nothing more: the process
	// waits, is looked at, and dumps all that it is doing.
	for way, w := range ways {
		t.Run("hanging, "+way, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			check(t, err)
			defer l.Close()
			d := newDevice(t, nil)
			args := append(d.pullArgs(filepath.Join(dir, "hanging-"+way), "-v"), w.args...)
			args = append(args, "-p", fmt.Sprint(l.Addr().(*net.TCPAddr).Port), "--retries", "0")
			cmd := exec.Command(program(t), args...)
			cmd.Env = append(os.Environ(), append(w.env, "GOTRACEBACK=all")...)
			var output buffer
			cmd.Stdout, cmd.Stderr = &output, &output
			check(t, cmd.Start())
			c, err := l.Accept()
			check(t, err)
			for _, name := range []string{"cmdline", "environ"} {
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, name))
				check(t, err)
				if name == "cmdline" || way == "file" {
					hides(name, string(b))
				}
			}
			check(t, cmd.Process.Signal(syscall.SIGQUIT))
			if err := cmd.Wait(); err == nil {
				t.Error("SIGQUIT ended it without an error")
			}
			check(t, c.Close())
			if !strings.Contains(output.String(), "goroutine 1") {
				t.Errorf("no dump:\n%s", output.String())
			}
			hides("the dump", output.String())
		})
	}

	// A device that takes the password, and one that refuses it.
	for way, w := range ways {
		for _, right := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, right %v", way, right), func(t *testing.T) {
				d := newDevice(t, func(o *actserver.Options) {
					have := secret
					if !right {
						have = "another"
					}
					o.Authorized, o.Password = nil, actserver.Passwords(map[string]string{"admin": have})
				})
				newFeed(t, d.act, gen.Options{}).add(1)
				out := filepath.Join(t.TempDir(), "data")
				for _, more := range [][]string{{"-v"}, {"--json"}} {
					cmd := exec.Command(program(t), append(d.pullArgs(out, more...), w.args...)...)
					cmd.Env = append(os.Environ(), w.env...)
					b, err := cmd.CombinedOutput()
					hides("the output", string(b))
					if (err == nil) != right {
						t.Errorf("%v\n%s", err, b)
					}
				}
				check(t, filepath.WalkDir(out, func(path string, e fs.DirEntry, err error) error {
					if err != nil || !e.Type().IsRegular() {
						return err
					}
					b, err := os.ReadFile(path)
					hides(path, string(b))
					return err
				}))
			})
		}
	}
}
