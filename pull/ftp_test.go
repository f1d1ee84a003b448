package pull

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/internal/need"
)

// fakeFTP is an FTP server whose every answer a test can replace.
type fakeFTP struct {
	t        testing.TB
	listener net.Listener
	data     net.Listener
	wg       sync.WaitGroup
	// answer replaces the answer to a command; "" is the usual one. It may
	// do what it likes with the connection.
	answer  func(c net.Conn, command string) string
	listing string            // of LIST or MLSD
	files   map[string]string // of RETR
	mlsd    bool
	mu      sync.Mutex
	said    []string
	conns   []net.Conn
}

func newFakeFTP(t testing.TB) *fakeFTP {
	t.Helper()
	f := &fakeFTP{t: t, files: map[string]string{}}
	var err error
	if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if f.data, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	f.wg.Go(func() {
		for {
			c, err := f.listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = f.listener.Close()
		_ = f.data.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			_ = c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

func (f *fakeFTP) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 ready\r\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		command := lines.Text()
		f.mu.Lock()
		f.said = append(f.said, command)
		f.mu.Unlock()
		if f.answer != nil {
			if a := f.answer(c, command); a != "" {
				if _, err := fmt.Fprint(c, a+"\r\n"); err != nil {
					return
				}
				continue
			}
		}
		verb, arg, _ := strings.Cut(command, " ")
		port := f.data.Addr().(*net.TCPAddr).Port
		switch verb {
		case "USER":
			fmt.Fprint(c, "331 password\r\n")
		case "PASS":
			if arg != testPassword {
				fmt.Fprint(c, "530 no \x1b[1m\r\n")
				continue
			}
			fmt.Fprint(c, "230 in\r\n")
		case "FEAT":
			if f.mlsd {
				fmt.Fprint(c, "211-Features\r\n MLST type*;size*;modify*;\r\n211 End\r\n")
			} else {
				fmt.Fprint(c, "500 what\r\n")
			}
		case "EPSV":
			fmt.Fprint(c, "500 what\r\n")
		case "PASV": // the address of somebody else
			fmt.Fprintf(c, "227 go (192,0,2,9,%d,%d)\r\n", port/256, port%256)
		case "CWD":
			if arg != "act" {
				fmt.Fprint(c, "550 no such directory\r\n")
				continue
			}
			fmt.Fprint(c, "250 ok\r\n")
		case "LIST", "MLSD":
			f.send(c, f.listing)
		case "RETR":
			text, ok := f.files[arg]
			if !ok {
				if d, err := f.data.Accept(); err == nil {
					_ = d.Close()
				}
				fmt.Fprint(c, "550 no such file\r\n")
				continue
			}
			f.send(c, text)
		default:
			fmt.Fprint(c, "200 ok\r\n")
		}
	}
}

func (f *fakeFTP) send(c net.Conn, text string) {
	d, err := f.data.Accept()
	if err != nil {
		return
	}
	fmt.Fprint(c, "150 here\r\n")
	_, _ = io.WriteString(d, text)
	_ = d.Close()
	fmt.Fprint(c, "226 done\r\n")
}

// ftpRig points a rig at an FTP server.
func ftpRig(t testing.TB, f *fakeFTP) *rig {
	t.Helper()
	r := newRig(t, scpQuirks{})
	r.target.Port = f.listener.Addr().(*net.TCPAddr).Port
	r.target.KnownHosts = nil
	return r
}

func TestFTP(t *testing.T) {
	for _, mlsd := range []bool{false, true} {
		f := newFakeFTP(t)
		f.mlsd = mlsd
		for i := range 3 {
			name, text := actName(i), strings.Repeat(fmt.Sprintln(i), 1+i*20000)+"END\n"
			f.files[name] = text
			if mlsd {
				f.listing += fmt.Sprintf("type=file;size=%d;modify=20260102000001; %s\r\n", len(text), name)
			} else {
				f.listing += fmt.Sprintf("-rw-r--r--    1 0        0        %8d Jan 02 00:00 %s\r\n", len(text), name)
			}
		}
		r := ftpRig(t, f)
		var connected Connected
		r.o.Hooks.OnConnect = func(c Connected) { connected = c }
		res, err := r.pull(FTP)
		if err != nil || res.Count(Stored) != 3 || res.Transport != FTP || !connected.Clear || (res.Files[0].MTime != 0) != mlsd {
			t.Fatalf("MLSD %v: %s %v %+v", mlsd, brief(res), err, connected)
		}
		if got := r.stored(); got[actName(2)] != f.files[actName(2)] {
			t.Error("other content")
		}
		if res, err = r.pull(FTP); err != nil || res.Known != 3 || len(res.Files) != 0 {
			t.Fatalf("%s %v", brief(res), err)
		}
	}
}

// Through a jump host, data connections included.
func TestFTPThroughJumpHost(t *testing.T) {
	f := newFakeFTP(t)
	f.files[actName(1)] = "x\nEND\n"
	f.listing = "-rw-r--r--    1 0        0        6 Jan 02 00:00 " + actName(1) + "\r\n"
	r := ftpRig(t, f)
	_, hop := jumpHost(t, nil)
	r.target.Jump = []Target{hop}
	if res, err := r.pull(FTP); err != nil || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
}

func TestHostileFTP(t *testing.T) {
	good := "-rw-r--r--    1 0        0        6 Jan 02 00:00 " + actName(1) + "\r\n"
	for what, c := range map[string]struct {
		change  func(*fakeFTP)
		target  func(*Target)
		want    string
		stored  int
		ignored int
		auth    bool
	}{
		"good": {stored: 1},
		"hostile names": {change: func(f *fakeFTP) {
			f.listing += strings.ReplaceAll(good, actName(1), "../"+actName(2)) + strings.ReplaceAll(good, actName(1), actName(3)+"\x00") +
				strings.ReplaceAll(good, actName(1), actName(4)+"\x1b[2J") + strings.ReplaceAll(good, actName(1), "..") + good
		}, stored: 1, ignored: 5},
		"links and directories": {change: func(f *fakeFTP) {
			f.listing += "l" + strings.Replace(good, actName(1), actName(2)+" -> /etc/passwd", 1)[1:] + "d" + strings.Replace(good, actName(1), actName(3), 1)[1:]
		}, stored: 1, ignored: 2},
		"lines nobody knows": {change: func(f *fakeFTP) { f.listing += "hello\r\ntype=;; =\r\n" }, stored: 1, ignored: 2},
		"endless listing":    {change: func(f *fakeFTP) { f.listing = strings.Repeat(good, 3000) }, want: "the listing does not end"},
		"endless answer": {change: func(f *fakeFTP) {
			f.answer = func(c net.Conn, command string) string {
				if command == "FEAT" {
					return "211-" + strings.Repeat("x\r\n", 100_000)
				}
				return ""
			}
		}, want: "the answer to one FTP command has more than"},
		"endless line": {change: func(f *fakeFTP) {
			f.answer = func(c net.Conn, command string) string { return strings.Repeat("2", 200_000) }
		}, want: "the answer to one FTP command has more than"},
		"silent": {change: func(f *fakeFTP) {
			f.answer = func(c net.Conn, command string) string {
				if command == "TYPE I" {
					_, _ = io.Copy(io.Discard, c)
				}
				return ""
			}
		}, want: "the peer kept us waiting"},
		"silent data": {change: func(f *fakeFTP) {
			f.answer = func(c net.Conn, command string) string {
				if strings.HasPrefix(command, "RETR") {
					return "150 here"
				}
				return ""
			}
		}, want: "no byte for"},
		"too long":  {change: func(f *fakeFTP) { f.files[actName(1)] = "x\nmore\nEND\n" }, want: "", stored: 0},
		"too short": {change: func(f *fakeFTP) { f.files[actName(1)] = "END\n" }, stored: 0},
		"no such":   {change: func(f *fakeFTP) { delete(f.files, actName(1)) }, stored: 0},
		"no good end": {change: func(f *fakeFTP) {
			f.answer = func(c net.Conn, command string) string {
				if !strings.HasPrefix(command, "RETR") {
					return ""
				}
				d, err := f.data.Accept()
				if err != nil {
					return ""
				}
				fmt.Fprint(c, "150 here\r\n")
				_, _ = io.WriteString(d, f.files[actName(1)])
				_ = d.Close()
				return "426 cut"
			}
		}, stored: 0},
		"wrong password": {change: func(f *fakeFTP) {
			f.answer = func(_ net.Conn, command string) string {
				if strings.HasPrefix(command, "PASS") {
					return "530 no \x1b[1m"
				}
				return ""
			}
		}, want: "log in as admin: refused", auth: true},
		"no password":  {target: func(x *Target) { x.Password = Secret{} }, want: "nothing to log in with", auth: true},
		"no directory": {target: func(x *Target) { x.Path = "etc" }, want: "no such directory"},
		"hangs up":     {change: func(f *fakeFTP) { f.answer = func(c net.Conn, _ string) string { _ = c.Close(); return "x" } }, want: "connection was cut"},
		"no data port": {change: func(f *fakeFTP) {
			f.answer = func(_ net.Conn, command string) string {
				if command == "PASV" {
					return "227 go (127,0,0,1,999,0)"
				}
				return ""
			}
		}, want: "data connection to port"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := newFakeFTP(t)
			f.files[actName(1)], f.listing = "x\nEND\n", good
			if c.change != nil {
				c.change(f)
			}
			r := ftpRig(t, f)
			r.o.Limits = quickLimits()
			r.o.Limits.ListBytes = 64 << 10
			before := tree(t, r.base)
			if c.target != nil {
				c.target(&r.target)
			}
			res, err := r.pull(FTP)
			if c.want == "" {
				if err != nil || res.Count(Stored) != c.stored || res.Ignored != c.ignored {
					t.Fatalf("%s %v", brief(res), err)
				}
				return
			}
			oneLineError(t, err)
			var a *AuthError
			if !strings.Contains(err.Error(), c.want) || errors.As(err, &a) != c.auth || strings.Contains(err.Error(), testPassword) {
				t.Fatalf("got %v\nwant %q", err, c.want)
			}
			for _, line := range tree(t, r.base) {
				if !slices.Contains(before, line) && !strings.HasPrefix(line, "data") {
					t.Errorf("made outside: %s", line)
				}
			}
		})
	}
}

// Auto never comes to FTP, whatever the device offers.
func TestFTPNeverByItself(t *testing.T) {
	f := newFakeFTP(t)
	r := ftpRig(t, f)
	r.o.Limits = quickLimits()
	if _, err := r.pull(Auto); err == nil {
		t.Fatal("pulled")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.said {
		if strings.HasPrefix(s, "USER") {
			t.Errorf("it said %q", s)
		}
	}
}

// A real FTP server. The name says what the proof stage runs.
func TestVsftpdProof(t *testing.T) {
	vsftpd := need.Tool(t, "vsftpd")
	need.Root(t)
	r := newRig(t, scpQuirks{})
	port := freePort(t)
	dir := t.TempDir()
	root := filepath.Dir(r.act)
	for p := root; len(p) > 1; p = filepath.Dir(p) { // the server is another user
		if st, err := os.Stat(p); err == nil && st.Mode().Perm()&0o005 != 0o005 {
			if err := os.Chmod(p, st.Mode().Perm()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.MkdirAll("/var/run/vsftpd/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "vsftpd.conf")
	writeFile(t, config, []byte(fmt.Sprintf(`listen=YES
listen_address=127.0.0.1
listen_port=%d
background=NO
anonymous_enable=YES
no_anon_password=NO
local_enable=NO
write_enable=NO
anon_root=%s
run_as_launching_user=NO
seccomp_sandbox=NO
secure_chroot_dir=/var/run/vsftpd/empty
ftp_username=daemon
pasv_address=192.0.2.9
xferlog_enable=NO
`, port, root)), 0o600)
	if err := os.Chmod(r.act, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(vsftpd, config)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	waitFor(t, port, exited)
	for i := range 20 {
		r.put(actName(i), strings.Repeat(fmt.Sprintln(i), i*1000), int64(1000+i))
	}
	writeFile(t, filepath.Join(r.act, "other"), nil, 0o644)
	r.target.User, r.target.Port, r.target.Path = "anonymous", port, "/act"
	res, err := r.pull(FTP)
	if err != nil || res.Count(Stored) != 20 || res.Ignored != 1 {
		t.Fatalf("%s %v %s", brief(res), err, &log)
	}
	for name, content := range r.stored() {
		if b, err := os.ReadFile(filepath.Join(r.act, name)); err != nil || string(b) != content {
			t.Fatalf("%s: %v", name, err)
		}
	}
	r.put(actName(100), "new\n", 5)
	if err := os.Remove(filepath.Join(r.act, actName(0))); err != nil {
		t.Fatal(err)
	}
	if res, err = r.pull(FTP); err != nil || !slices.Equal(outcomes(res), []string{actName(100) + " stored"}) || res.Known != 19 {
		t.Fatalf("%s %v", brief(res), err)
	}
	r.target.Path = "/none"
	if _, err = r.pull(FTP); !errors.Is(err, errNoDirectory) {
		t.Fatal(err)
	}
}

// waitFor waits until a server listens.
func waitFor(t testing.TB, port int, exited chan error) {
	t.Helper()
	for {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("the server ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
