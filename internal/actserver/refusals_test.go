package actserver

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
	"testing"

	"acctpull/internal/need"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const goodName = "act0101-20260102-030405.xml.gz"

// trap fills act/ with everything that must not be served, and puts a secret
// beside it. It returns the names inside act/ and the secret.
func trap(t *testing.T, b *bench) (names []string, secret string) {
	t.Helper()
	secret = "secret-of-the-device"
	outside := filepath.Dir(b.dir)
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte(secret), 0o600))
	must(t, os.Mkdir(filepath.Join(outside, "dir"), 0o750))
	must(t, os.WriteFile(filepath.Join(outside, "dir", "inner"), []byte(secret), 0o600))
	must(t, os.WriteFile(filepath.Join(b.collect, "act0101-20260102-040405.xml.gz"), []byte(secret), 0o600))

	in := func(name string) string { names = append(names, name); return filepath.Join(b.dir, name) }
	must(t, os.Symlink("../secret", in("link-relative")))
	must(t, os.Symlink(filepath.Join(outside, "secret"), in("link-absolute")))
	must(t, os.Symlink("../dir", in("link-directory")))
	must(t, os.Symlink("link-loop", in("link-loop")))
	must(t, os.Symlink(goodName, in("link-inside")))
	must(t, os.Link(filepath.Join(outside, "secret"), in("hard-link")))
	must(t, unix.Mkfifo(in("fifo"), 0o600))
	must(t, os.Mkdir(in("subdirectory"), 0o750))
	must(t, os.WriteFile(filepath.Join(b.dir, "subdirectory", "inner"), []byte(secret), 0o600))
	must(t, os.WriteFile(in(".hidden"), []byte(secret), 0o600))
	must(t, os.WriteFile(in("new\nline"), []byte(secret), 0o600))
	must(t, os.WriteFile(in("esc\x1b[2J"), []byte(secret), 0o600))
	must(t, os.WriteFile(in("csi\u009b"), []byte(secret), 0o600))
	must(t, os.WriteFile(in("not-utf8\xff"), []byte(secret), 0o600))
	must(t, os.WriteFile(in(`back\slash`), []byte(secret), 0o600))
	return names, secret
}

// traversals are paths that must lead nowhere, each also with "/act/" before
// it.
func traversals(names []string) []string {
	paths := []string{
		"", "/", ".", "..", "../..", "../secret", "/../secret", "./../secret", "a/../../secret", "....//secret",
		"%2e%2e/secret", "..%2fsecret", "%2e%2e%2fsecret", `..\secret`, `a\..\..\secret`, "..\x00/secret",
		"secret", "/secret", "/etc/passwd", "//etc/passwd", "/proc/self/environ", "file:///etc/passwd", "~/secret",
		goodName + "/", goodName + "/.", goodName + "/..", goodName + "/../../secret", goodName + "\x00", goodName + "\n",
		"link-relative/", "link-directory/", "link-directory/inner", "link-directory/../secret", "subdirectory/inner",
		"../act-collect/act0101-20260102-040405.xml.gz", strings.Repeat("a", 300), strings.Repeat("../", 2000) + "etc/passwd",
		"*; id", "$(id)", "`id`", "|id",
	}
	return append(paths, names...)
}

// S1: nothing outside act/, and nothing in it but plain files, through SFTP.
func TestTraversalThroughSFTP(t *testing.T) {
	b := start(t, nil)
	content := b.put(goodName, 100)
	names, secret := trap(t, b)
	x, _ := newWire(t, b.dial())

	for _, p := range traversals(names) {
		for _, path := range []string{p, "/act/" + p, "cf1:/act/" + p, `cf1:\act\` + p, "act/../" + p} {
			if strings.TrimRight(path, "/.") == "/act/"+goodName || strings.TrimRight(path, "/.") == "cf1:/act/"+goodName ||
				strings.TrimRight(path, "/.") == `cf1:\act\`+goodName {
				continue // a way to write the one good name
			}
			handle, status := x.handle(fxOpen, path, uint32(openRead), uint32(0))
			if status == codeOK {
				_, data := x.ask(fxRead, handle, uint64(0), uint32(100))
				t.Errorf("opened %q and read %q", path, data)
			}
			if status = x.status(fxReadlink, path); status != codeDenied {
				t.Errorf("readlink %q: status %d", path, status)
			}
			for _, kind := range []byte{fxStat, fxLstat} {
				answer, body := x.ask(kind, path)
				if answer == fxAttrs && bytes.Contains(body, []byte{0, 0, 0, 0, 0, 0, 0, byte(len(secret))}) {
					t.Errorf("request %d tells the size of the secret behind %q", kind, path)
				}
			}
		}
	}
	if resolved := b.refused("sftp"); len(resolved) == 0 {
		t.Error("no refusal was reported")
	}

	c := b.sftp()
	entries, err := c.ReadDir("/act")
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != goodName || entries[0].Size() != 100 || entries[0].Mode() != fileMode {
		t.Errorf("act/ is listed as %v", entries)
	}
	for path, want := range map[string][]string{"/": {"cf1:"}, "/cf1:": {"act"}, `cf1:\act`: {goodName}, "act": {goodName}} {
		entries, err := c.ReadDir(path)
		must(t, err)
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is listed as %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]string{".": "/", "..": "/", "act": "/cf1:/act", `cf1:\act\..`: "/cf1:", "/act/../..": "/",
		"cf1:/act/x": "/cf1:/act/x", "/none/../act": "/cf1:/act", "/none": "/none"} {
		if got, err := c.RealPath(path); err != nil || got != want {
			t.Errorf("real path of %s: %q, %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"/act-collect", "cf1:/act-collect", "/act/subdirectory", "/act/" + goodName, "/none"} {
		if entries, err := c.ReadDir(path); err == nil {
			t.Errorf("%s is listed as %v", path, entries)
		}
	}
	f, err := c.Open("/cf1:/./act//" + goodName)
	must(t, err)
	got, err := io.ReadAll(f)
	if must(t, err); !bytes.Equal(got, content) {
		t.Error("the one good file differs")
	}
	must(t, f.Close())
}

// S1: the same through scp.
func TestTraversalThroughSCP(t *testing.T) {
	b := start(t, nil)
	b.put(goodName, 100)
	names, secret := trap(t, b)
	c := b.dial()
	quoted := func(p string) string { return "'" + strings.ReplaceAll(p, "'", "") + "'" }
	for _, p := range append(traversals(names), "*", "?*", "[a-z]*", ".*", "link-*", "*link", "f*", "sub*", "*/inner", "sub*/inner", "../*", "*; id") {
		for _, path := range []string{p, "/act/" + p, "cf1:/act/" + p, `cf1:\act\` + p} {
			for _, command := range []string{"scp -f " + path, "scp -f -p -- " + quoted(path), "scp -pf " + quoted(path)} {
				out, err := exec(c, command, acks(100))
				if strings.Contains(out, secret) {
					t.Fatalf("%q gave away the secret: %q", command, out)
				}
				if sent := strings.Contains(out, "C0640"); sent && !strings.Contains(out, "C0640 100 "+goodName+"\n") {
					t.Errorf("%q sent %q", command, out)
				} else if !sent && err == nil {
					t.Errorf("%q ended well and sent nothing: %q", command, out)
				}
			}
		}
	}
	out, err := exec(c, "scp -f /act/*", acks(10))
	if err != nil || strings.Count(out, "C0640") != 1 {
		t.Errorf("scp of everything: %v, %q", err, out)
	}
	for _, command := range []string{"scp -t /act", "scp -r -t -- /act", "scp -f -r /act", "scp -tf /act/x", "scp", "scp -f", "scp -x -f a",
		"scp -f a b", "scp -f act/x; id", "scp -f 'unclosed"} {
		out, err := exec(c, command, acks(10))
		exit, ok := errors.AsType[*ssh.ExitError](err)
		if !ok || exit.ExitStatus() != 1 || !strings.HasPrefix(out, "\x01scp: ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: %v, %q", command, err, out)
		}
	}
	if len(b.refused("scp")) == 0 {
		t.Error("no refusal was reported")
	}
}

// S1: a device file needs root to exist.
func TestDeviceFileIsNotServed(t *testing.T) {
	need.Root(t)
	b := start(t, nil)
	if err := unix.Mknod(filepath.Join(b.dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		need.Missing(t, "the right to make device files: %v", err)
	}
	if _, err := b.sftp().Open("/act/null"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("open: %v", err)
	}
	if out, err := exec(b.dial(), "scp -f /act/null", acks(5)); err == nil || !strings.Contains(out, "not a regular file") {
		t.Errorf("scp: %v, %q", err, out)
	}
}

func TestHardLinksWhenWanted(t *testing.T) {
	b := start(t, func(o *Options) { o.HardLinks = true })
	b.put(goodName, 7)
	must(t, os.Link(filepath.Join(b.dir, goodName), filepath.Join(filepath.Dir(b.dir), "backup")))
	out, err := exec(b.dial(), "scp -f act/*", acks(5))
	if err != nil || !strings.Contains(out, "C0640 7 "+goodName) {
		t.Errorf("scp: %v, %q", err, out)
	}
}

// S2: every verb that writes and every extension is refused, whatever the
// library under us would do with it.
func TestWriteVerbs(t *testing.T) {
	b := start(t, nil)
	content := b.put(goodName, 100)
	x, version := newWire(t, b.dial())
	if !bytes.Equal(version, []byte{fxVersion, 0, 0, 0, 3}) {
		t.Errorf("version packet % x offers extensions", version)
	}
	name := "/act/" + goodName
	handle, status := x.handle(fxOpen, name, uint32(openRead), uint32(0))
	if status != codeOK {
		t.Fatalf("open: status %d", status)
	}
	size := []any{uint32(1), uint64(0)} // attributes: size 0
	mode := []any{uint32(4), uint32(0o777)}
	with := func(first []any, rest ...any) []any { return append(append([]any{}, first...), rest...) }
	requests := []struct {
		what   string
		kind   byte
		fields []any
	}{
		{"write", fxWrite, []any{handle, uint64(0), "x"}},
		{"setstat size", fxSetstat, with([]any{name}, size...)},
		{"setstat mode", fxSetstat, with([]any{name}, mode...)},
		{"fsetstat", fxFsetstat, with([]any{handle}, size...)},
		{"remove", fxRemove, []any{name}},
		{"mkdir", fxMkdir, []any{"/act/new", uint32(0)}},
		{"rmdir", fxRmdir, []any{"/act"}},
		{"rename", fxRename, []any{name, "/act/new"}},
		{"symlink", fxSymlink, []any{"/etc/passwd", "/act/new"}},
		{"link of version 6", 21, []any{"/act/new", name, []byte{0}}},
	}
	for flags := uint32(openWrite); flags < 64; flags++ {
		if flags&(openWrite|openAppend|openCreate|openTruncate) != 0 {
			requests = append(requests, struct {
				what   string
				kind   byte
				fields []any
			}{fmt.Sprintf("open with flags %#x", flags), fxOpen, []any{name, flags, uint32(0)}})
		}
	}
	for _, extension := range []struct {
		name   string
		fields []any
	}{
		{"posix-rename@openssh.com", []any{name, "/act/new"}},
		{"hardlink@openssh.com", []any{name, "/act/new"}},
		{"fsync@openssh.com", []any{handle}},
		{"lsetstat@openssh.com", with([]any{name}, mode...)},
		{"copy-data", []any{handle, uint64(0), uint64(0), handle, uint64(0)}},
		{"copy-file", []any{name, "/act/new", []byte{1}}},
		{"statvfs@openssh.com", []any{"/act"}},
		{"fstatvfs@openssh.com", []any{handle}},
		{"expand-path@openssh.com", []any{"~root"}},
		{"home-directory", []any{"root"}},
		{"limits@openssh.com", nil},
		{"users-groups-by-id@openssh.com", []any{"", ""}},
		{"md5-hash", []any{name, uint64(0), uint64(0), ""}},
		{"space-available", []any{"/"}},
	} {
		requests = append(requests, struct {
			what   string
			kind   byte
			fields []any
		}{extension.name, fxExtended, with([]any{extension.name}, extension.fields...)})
	}
	before := snapshot(t, filepath.Dir(b.dir))
	for _, r := range requests {
		if r.kind == 21 {
			continue // sent on its own below: unknown packet types end the session
		}
		if status := x.status(r.kind, r.fields...); status != codeDenied && status != codeUnsupported && status != codeFailure {
			t.Errorf("%s: status %d", r.what, status)
		}
	}
	if after := snapshot(t, filepath.Dir(b.dir)); after != before {
		t.Errorf("something changed:\n%s\nwas:\n%s", after, before)
	}
	if kind, data := x.ask(fxRead, handle, uint64(0), uint32(200)); kind != fxData || !bytes.Equal(data[4:], content) {
		t.Error("the file can no longer be read")
	}

	y, _ := newWire(t, b.dial())
	y.send(y.request(21, "/act/new", name, []byte{0}))
	if _, err := io.ReadFull(y.r, make([]byte, 1)); err == nil {
		t.Error("an unknown packet type was answered")
	}
}

// snapshot describes a directory tree: names, sizes, modes and contents.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s %d %s", p, fi.Mode(), fi.Size(), fi.ModTime())
		if fi.Mode().IsRegular() {
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", content)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

// S3: act-collect/ is there only when configured.
func TestCollectIsVisibleOnlyWhenConfigured(t *testing.T) {
	paths := []string{"/act-collect/x", "cf1:/act-collect/x", `cf1:\act-collect\x`, "act-collect/x", "/act/../act-collect/x"}
	for _, visible := range []bool{false, true} {
		var collect string
		b := start(t, func(o *Options) {
			if visible {
				o.Collect = filepath.Join(filepath.Dir(o.Root), "act-collect")
			}
			collect = o.Collect
		})
		must(t, os.WriteFile(filepath.Join(b.collect, "x"), []byte("open"), 0o640))
		c := b.sftp()
		for _, p := range paths {
			if _, err := c.Stat(p); (err == nil) != visible {
				t.Errorf("collect %q: stat %s: %v", collect, p, err)
			}
		}
		out, err := exec(b.dial(), "scp -f act-collect/*", acks(5))
		if (err == nil) != visible || strings.Contains(out, "C0640 4 x") != visible {
			t.Errorf("collect %q: scp: %v, %q", collect, err, out)
		}
		entries, err := c.ReadDir("cf1:")
		must(t, err)
		if want := map[bool]int{false: 1, true: 2}[visible]; len(entries) != want {
			t.Errorf("collect %q: listed %v", collect, entries)
		}
	}
}

// S5: no command, shell, terminal, forwarding or other subsystem.
func TestOnlySCPAndSFTPAreOffered(t *testing.T) {
	b := start(t, nil)
	b.put(goodName, 1)
	c := b.dial()
	for _, command := range []string{"id", "", "/bin/sh -c id", "sh", "scp2 -f x", "/usr/bin/scp -f x", "'scp -f x'", "sftp-server",
		"internal-sftp", "rsync --server --sender . .", "cat act/" + goodName, "SCP -f x", "env scp -f x"} {
		if out, err := exec(c, command, nil); err == nil || !strings.Contains(err.Error(), "failed") || out != "" {
			t.Errorf("exec %q: %v, %q", command, err, out)
		}
	}
	session, err := c.NewSession()
	must(t, err)
	requests := []struct {
		kind    string
		payload []byte
	}{
		{"shell", nil},
		{"pty-req", ssh.Marshal(struct {
			Term       string
			C, R, W, H uint32
			Modes      string
		}{"xterm", 80, 24, 0, 0, ""})},
		{"env", ssh.Marshal(struct{ Name, Value string }{"LD_PRELOAD", "x"})},
		{"x11-req", ssh.Marshal(struct {
			Single        bool
			Proto, Cookie string
			Screen        uint32
		}{false, "MIT-MAGIC-COOKIE-1", "x", 0})},
		{"auth-agent-req@openssh.com", nil},
		{"subsystem", ssh.Marshal(struct{ Name string }{"netconf"})},
		{"subsystem", ssh.Marshal(struct{ Name string }{"SFTP"})},
		{"subsystem", nil},
		{"exec", []byte{0, 0, 0, 200, 'x'}},
		{"window-change", nil},
		{"signal", nil},
		{"unheard-of@example.net", nil},
	}
	for _, r := range requests {
		if ok, err := session.SendRequest(r.kind, true, r.payload); err != nil || ok {
			t.Errorf("request %s: %v, %v", r.kind, ok, err)
		}
	}
	must(t, session.Close())
	for _, kind := range []string{"direct-tcpip", "forwarded-tcpip", "x11", "auth-agent@openssh.com", "direct-streamlocal@openssh.com", "tun@openssh.com", ""} {
		_, _, err := c.OpenChannel(kind, nil)
		if open, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || open.Reason != ssh.Prohibited {
			t.Errorf("channel %q: %v", kind, err)
		}
	}
	if _, err := c.Dial("tcp", "127.0.0.1:22"); err == nil {
		t.Error("port forwarding works")
	}
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("remote forwarding works")
	}
	for _, kind := range []string{"tcpip-forward", "streamlocal-forward@openssh.com", "hostkeys-prove-00@openssh.com", "x"} {
		if ok, _, err := c.SendRequest(kind, true, nil); err != nil || ok {
			t.Errorf("global request %s: %v, %v", kind, ok, err)
		}
	}
	if got, want := len(b.refused("request")), 12+13; got < want {
		t.Errorf("%d refused requests were reported, want at least %d", got, want)
	}
	// The connection has survived all that.
	if out, err := exec(c, "scp -f act/"+goodName, acks(5)); err != nil {
		t.Errorf("scp: %v, %q", err, out)
	}
}

func TestOneProtocolOnly(t *testing.T) {
	for _, sftpOnly := range []bool{false, true} {
		b := start(t, func(o *Options) { o.NoSCP, o.NoSFTP = sftpOnly, !sftpOnly })
		b.put(goodName, 1)
		c := b.dial()
		_, err := exec(c, "scp -f act/"+goodName, acks(5))
		if (err == nil) == sftpOnly {
			t.Errorf("scp with sftp only %v: %v", sftpOnly, err)
		}
		session, err := c.NewSession()
		must(t, err)
		if err := session.RequestSubsystem("sftp"); (err == nil) != sftpOnly {
			t.Errorf("sftp with sftp only %v: %v", sftpOnly, err)
		}
		must(t, session.Close())
	}
}
