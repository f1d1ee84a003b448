package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/crypto/ssh"

	"acctpull/internal/actserver"
	"acctpull/internal/durable"
	"acctpull/internal/gen"
)

// expect runs a command, checks its exit code, and that its output has the
// texts.
func expect(t *testing.T, code int, texts []string, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, got := command(t, args...)
	if got != code {
		t.Fatalf("acctpull %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	for _, text := range texts {
		if !strings.Contains(stdout+stderr, text) {
			t.Errorf("acctpull %s: no %q in\n%s%s", strings.Join(args, " "), text, stdout, stderr)
		}
	}
	return stdout, stderr
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"pull", "one device and --out are needed, or -c"},
		{"pull router:/act", "one device and --out are needed, or -c"},
		{"serve", `required flag(s) "config"`},
		{"pull router --out x", "target"},
		{"pull router:/act --out x --transport carrier-pigeon", "transport"},
		{"pull router:/act --out x --nonsense", "unknown flag"},
		{"frobnicate", "unknown command"},
		{"export /does/not/exist --out x", "no such file"},
		{"records nonsense", "no record"},
		{"collect -c /does/not/exist", "read configuration"},
		{"sweep . --rule sometimes", "no retention rule"},
		{"serve-act .", "no public keys"},
		{"inspect /does/not/exist", "no such file"},
	} {
		expect(t, exitUsage, []string{c.want}, strings.Fields(c.args)...)
	}
}

func TestHelpHasExamples(t *testing.T) {
	for _, c := range (&app{}).rootCommand().Commands() {
		if c.Name() == "help" || c.Name() == "completion" || c.Name() == "version" || c.HasSubCommands() || c.Name() == "demo" {
			continue
		}
		if c.Example == "" {
			t.Errorf("acctpull %s --help has no example", c.Name())
		}
	}
}

// A device that was never seen: the message has the exact command that pins it.
func TestUnknownHostKey(t *testing.T) {
	d := newDevice(t, nil)
	newFeed(t, d.act, gen.Options{}).add(1)
	check(t, os.WriteFile(d.knownHosts, nil, 0o600))
	out := filepath.Join(t.TempDir(), "data")
	_, stderr := expect(t, exitHostKey, []string{"unknown", "SHA256:"}, d.pullArgs(out)...)
	m := regexp.MustCompile(`acctpull (hostkeys approve .*)`).FindStringSubmatch(stderr)
	if m == nil {
		t.Fatalf("no command to paste in\n%s", stderr)
	}
	expect(t, exitOK, []string{"pinned"}, strings.Fields(m[1])...)
	expect(t, exitOK, nil, d.pullArgs(out)...)
	pinned := []string{"--known-hosts", d.knownHosts}
	expect(t, exitOK, []string{"approved 20", " by "}, append([]string{"hostkeys", "list", "-p", fmt.Sprint(d.port), "127.0.0.1"}, pinned...)...)
	print := ssh.FingerprintSHA256(d.hostKey)

	// Another key under the same address: that is a different matter.
	other, err := actserver.NewKey("other")
	check(t, err)
	line := fmt.Sprintf("[127.0.0.1]:%d %s", d.port, ssh.MarshalAuthorizedKey(other.Signer.PublicKey()))
	check(t, os.WriteFile(d.knownHosts, []byte(line), 0o600))
	expect(t, exitHostKey, []string{"CHANGED", ssh.FingerprintSHA256(other.Signer.PublicKey())}, d.pullArgs(out)...)

	// Approving the new one shows both; revoking it shuts the device out.
	expect(t, exitOK, []string{print, "it replaces", ssh.FingerprintSHA256(other.Signer.PublicKey())}, append([]string{"hostkeys", "approve", "-p", fmt.Sprint(d.port), "127.0.0.1", print}, pinned...)...)
	expect(t, exitOK, []string{"revoked " + print}, append([]string{"hostkeys", "revoke", print}, pinned...)...)
	expect(t, exitHostKey, []string{"revoked"}, d.pullArgs(out)...)
	expect(t, exitOK, []string{"@revoked"}, append([]string{"hostkeys", "list"}, pinned...)...)

	// Approving what the device does not show pins nothing.
	expect(t, exitHostKey, []string{"nothing was pinned"}, "hostkeys", "approve", "-p", fmt.Sprint(d.port), "--known-hosts", d.knownHosts, "127.0.0.1", "SHA256:AAAA")
}

func TestAuthenticationRefused(t *testing.T) {
	d := newDevice(t, func(o *actserver.Options) { o.Authorized = actserver.AuthorizedKeys(nil) })
	expect(t, exitAuth, []string{"admin"}, d.pullArgs(filepath.Join(t.TempDir(), "data"))...)
}

func TestPasswordIsNeverShown(t *testing.T) {
	const secret = "correct horse battery"
	d := newDevice(t, func(o *actserver.Options) {
		o.Authorized, o.Password = nil, actserver.Passwords(map[string]string{"admin": secret})
	})
	newFeed(t, d.act, gen.Options{}).add(1)
	file := filepath.Join(t.TempDir(), "password")
	check(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	out := filepath.Join(t.TempDir(), "data")
	expect(t, exitOK, nil, d.pullArgs(out, "--password-file", file)...)
	check(t, os.WriteFile(file, []byte(secret+" wrong\n"), 0o600))
	stdout, stderr := expect(t, exitAuth, nil, d.pullArgs(out, "--password-file", file, "-v")...)
	if strings.Contains(stdout+stderr, secret) {
		t.Errorf("the password is in the output:\n%s%s", stdout, stderr)
	}
	check(t, os.Chmod(file, 0o644))
	_, stderr, code := command(t, d.pullArgs(out, "--password-file", file)...)
	if code == exitOK || !strings.Contains(stderr, "mode") {
		t.Errorf("a password file that others can read is taken: exit code %d\n%s", code, stderr)
	}
}

func TestLocked(t *testing.T) {
	d := newDevice(t, nil)
	out := filepath.Join(t.TempDir(), "data")
	check(t, durable.MkdirAll(out))
	lock, err := durable.AcquireLock(filepath.Join(out, "lock"))
	check(t, err)
	expect(t, exitLocked, []string{fmt.Sprintf("pid %d", os.Getpid())}, d.pullArgs(out)...)
	check(t, lock.Release())
	expect(t, exitOK, nil, d.pullArgs(out)...)
}

// One broken file among good ones: it is in quarantine with its reason, the
// others are exported, the exit code says so, and it is not fetched again.
func TestQuarantine(t *testing.T) {
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Objects: 2, Meters: 2})
	f.add(3)
	good, err := os.ReadFile(filepath.Join(d.act, gen.FileName(10, 11, f.g.Now().Add(-15*60e9))))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(d.act, "act1011-20260301-000000.xml.gz"), good[:len(good)-20], 0o640))
	out := filepath.Join(t.TempDir(), "data")
	expect(t, exitPartly, []string{"act1011-20260301-000000.xml.gz", "quarantined"}, d.pullArgs(out)...)
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
	kept, err := filepath.Glob(filepath.Join(out, "quarantine", "dut", "act1011-20260301-000000*"))
	check(t, err)
	if len(kept) != 2 {
		t.Errorf("quarantine holds %v, want the file and its reason", kept)
	}
	expect(t, exitOK, []string{"4 known, 0 fetched"}, d.pullArgs(out)...)
}

// The ledger is lost: a new one beside a full archive is refused, and rebuilding
// it exports nothing twice.
func TestRebuildLedger(t *testing.T) {
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Objects: 2, Meters: 2})
	f.add(5)
	out := filepath.Join(t.TempDir(), "data")
	expect(t, exitOK, nil, d.pullArgs(out)...)
	f.add(2)
	expect(t, exitOK, nil, d.pullArgs(out, "--no-export")...)
	ledgers, err := filepath.Glob(filepath.Join(out, "ledger.db*"))
	check(t, err)
	for _, name := range ledgers {
		check(t, os.Remove(name))
	}
	expect(t, exitFailed, []string{"ledger", "--rebuild-ledger"}, d.pullArgs(out)...)
	expect(t, exitOK, nil, d.pullArgs(out, "--rebuild-ledger")...)
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
	expect(t, exitOK, nil, d.pullArgs(out)...)
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
}

// A folder of files, no network: the same set gives the same bytes, whatever
// the order, and a second run adds nothing.
func TestExportFolder(t *testing.T) {
	dir := t.TempDir()
	truth, err := gen.Tree(filepath.Join(dir, "files"), gen.TreeOptions{Options: gen.Options{Objects: 4, Meters: 2}, Devices: 3, Files: 4})
	check(t, err)
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	expect(t, exitOK, nil, "export", filepath.Join(dir, "files"), "--out", first)
	expect(t, exitOK, []string{"12 exported before, 0 exported now"}, "export", filepath.Join(dir, "files"), "--out", first)
	var names []string
	check(t, filepath.WalkDir(filepath.Join(dir, "files"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append([]string{path}, names...)
		}
		return err
	}))
	expect(t, exitOK, nil, append([]string{"export", "--out", second}, names...)...)
	a, b := sums(t, first), sums(t, second)
	if a != b || a == "" {
		t.Errorf("two exports of the same files differ:\n%s\n%s", a, b)
	}
	everyRecordOnce(t, first, truth)
}

// sums lists the Parquet files below dir with their digests.
func sums(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", "v1", "date=*", "*.parquet"))
	check(t, err)
	all := ""
	for _, p := range paths {
		digest, _, err := durable.Sum(p)
		check(t, err)
		rel, err := filepath.Rel(dir, p)
		check(t, err)
		all += digest + "  " + rel + "\n"
	}
	return all
}

func TestInspectAndProfile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "odd.xml")
	check(t, os.WriteFile(file, []byte(`<export><job end="2026-01-02T03:04:05Z"><sio><svc>7</svc><sap>1/1/1:7</sap><ioo>5</ioo><wat>9</wat></sio></job></export>`), 0o640))
	profile := filepath.Join(dir, "profile.yaml")
	expect(t, exitOK, []string{"wat", "sio"}, "inspect", file, "--profile-out", profile)
	expect(t, exitUsage, []string{"exists"}, "inspect", file, "--profile-out", profile)
	expect(t, exitOK, nil, "inspect", file, "--profile", profile, "--json")
	out := filepath.Join(dir, "dataset")
	expect(t, exitOK, []string{"1 records", "not in the catalogue: wat"}, "export", file, "--profile", profile, "--out", out)
	rows := duck(t, "select unknown_fields::varchar, octets_offered_to_the_sap_ingress from read_parquet('"+out+"/*/v1/date=*/*.parquet')")
	if fmt.Sprint(rows) != "[[{wat=9} 5]]" {
		t.Errorf("dataset holds %v", rows)
	}
}

func TestVersionAndJSON(t *testing.T) {
	out, _ := expect(t, exitOK, nil, "version", "--json")
	if !json.Valid([]byte(out)) {
		t.Errorf("not JSON: %s", out)
	}
	_, stderr := expect(t, exitUsage, nil, "records", "nonsense", "--json")
	if !json.Valid([]byte(stderr)) {
		t.Errorf("the error is not JSON: %s", stderr)
	}
	expect(t, exitOK, []string{"service-ingress-octets", "hypothesis"}, "records")
	expect(t, exitOK, []string{"in_profile_octets_forwarded", "iof", "documented"}, "records", "Service-Ingress-Octets")
}

// A device that is switched off is an error with its name, not a hang.
// Events come as text or as JSON.
func TestLogFormat(t *testing.T) {
	f := newFleet(t, 1, 1, nil)
	_, log := expect(t, exitOK, nil, "-v", "--log", "json", "pull", "-c", f.file)
	var e struct{ Msg, Name, Device string }
	line, _, _ := strings.Cut(log, "\n")
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Name != "filePulled" || e.Device != "d0" || e.Msg == "" {
		t.Errorf("%v %+v in %s", err, e, log)
	}
	expect(t, exitUsage, []string{"no log format"}, "--log", "xml", "pull", "-c", f.file)
}

func TestDeviceAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	port := ln.Addr().(*net.TCPAddr).Port
	check(t, ln.Close())
	d := newDevice(t, nil)
	d.port = port
	ctx, _, code := command(t, append(d.pullArgs(filepath.Join(t.TempDir(), "data")), "--retries", "0")...)
	if code != exitFailed {
		t.Errorf("exit code %d: %s", code, ctx)
	}
}

// A file that is whole and does not say which record it is: it is archived, it
// is not exported by a guess, and the message says how to name it.
func TestFileOfUnknownMeaning(t *testing.T) {
	d := newDevice(t, nil)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(`<x><t end="2026-01-02T03:04:05Z"><aeo><pId>1/1/1</pId><mId>1</mId><of>5</of><od>0</od></aeo></t></x>`))
	check(t, err)
	check(t, z.Close())
	const name = "act1011-20260102-030405.xml.gz"
	check(t, os.WriteFile(filepath.Join(d.act, name), b.Bytes(), 0o640))
	out := filepath.Join(t.TempDir(), "data")
	expect(t, exitPartly, []string{"quarantined", "--record"}, d.pullArgs(out)...)
	kept := filepath.Join(out, "devices", "dut", "act", name)
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the file is not in the archive: %v", err)
	}
	expect(t, exitOK, []string{"access-egress-octets"}, "export", kept, "--record", "access-egress-octets", "--out", filepath.Join(out, "named"))
}
