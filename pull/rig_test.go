package pull

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/ledger"
	"acctpull/rollover"

	"golang.org/x/crypto/ssh"
)

// rig is everything a run needs: a device, a data directory, a ledger.
type rig struct {
	t      testing.TB
	server *testServer
	act    string // the directory on the device
	data   string
	ledger *ledger.Ledger
	o      Options
	target Target
	base   string // what a hostile device could reach: the parent of data
}

// newRig makes a device with SFTP and SCP over a directory act. It serves from the
// first pull on; until then its behaviour may be changed.
func newRig(t testing.TB, q scpQuirks) *rig {
	t.Helper()
	device := t.TempDir()
	r := &rig{t: t, act: filepath.Join(device, "act"), base: t.TempDir()}
	r.data = filepath.Join(r.base, "data")
	for _, d := range []string{r.act, r.data} {
		if err := os.Mkdir(d, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	r.server = newServer(t)
	r.server.exec = serveSCP(device, q)
	r.server.sftp = serveSFTP(device)
	r.server.listen()
	r.openLedger()
	r.o.Limits = patientLimits()
	r.setTarget()
	return r
}

// openLedger opens the ledger of the data directory and puts it into the options.
func (r *rig) openLedger() {
	r.t.Helper()
	l, err := ledger.Open(context.Background(), filepath.Join(r.data, "ledger.db"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = l.Close() })
	r.ledger = l
	r.o.Data, r.o.Ledger, r.o.Verify = r.data, l, verifyEnd
}

func (r *rig) setTarget() {
	known := filepath.Join(r.base, "known_hosts")
	writeKnown(r.t, known, r.server.address, r.server.keys[0].PublicKey())
	secret := filepath.Join(r.base, "password")
	if err := os.WriteFile(secret, []byte(testPassword+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.target = Target{Device: "router1", User: testUser, Host: "127.0.0.1", Port: r.server.port(), Path: "act",
		KnownHosts: []string{known}, Password: Secret{File: secret}}
}

// patientLimits never try twice, take any free space, and otherwise are the
// defaults: a busy machine must not fail a test.
func patientLimits() Limits {
	return Limits{Retries: -1, FreeStart: Space{1, 1}, FreeStop: Space{1, 1}}
}

// quickLimits end what hangs within a second and never try twice.
func quickLimits() Limits {
	return Limits{Connect: 2 * time.Second, Handshake: time.Second, Open: time.Second, Idle: time.Second,
		RateWindow: 2 * time.Second, File: 5 * time.Second, Run: 20 * time.Second,
		Keepalive: 200 * time.Millisecond, KeepaliveMax: 5, Retries: -1, FreeStart: Space{1, 1}, FreeStop: Space{1, 1}}
}

// verifyEnd is a trivial Verify: a whole file ends in "END\n". It counts lines.
func verifyEnd(_ context.Context, path string) (Verified, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Verified{}, err
	}
	if !strings.HasSuffix(string(b), "END\n") {
		return Verified{}, errors.New("no end of \x1b[31mfile")
	}
	return Verified{Records: int64(strings.Count(string(b), "\n"))}, nil
}

// put writes a file of the device; the content gets the end verifyEnd wants.
func (r *rig) put(name, content string, mtime int64) {
	r.t.Helper()
	p := filepath.Join(r.act, name)
	if err := os.WriteFile(p, []byte(content+"END\n"), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chtimes(p, time.Unix(mtime, 0), time.Unix(mtime, 0)); err != nil {
		r.t.Fatal(err)
	}
}

// name returns the i-th accounting file name.
func actName(i int) string {
	return fmt.Sprintf("act1111-20260102-%02d%02d%02d.xml.gz", i/3600, i/60%60, i%60)
}

// pull runs Device with a transport.
func (r *rig) pull(tr Transport) (Result, error) {
	r.t.Helper()
	r.target.Transport = tr
	r.server.accept()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return Device(ctx, r.o, r.target)
}

// outcomes lists "name outcome" of a result.
func outcomes(res Result) []string {
	var s []string
	for _, f := range res.Files {
		s = append(s, f.Name+" "+f.Outcome.String())
	}
	return s
}

// brief describes a result in a few lines, however many files it has.
func brief(res Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %s: listed %d, ignored %d, known %d, busy %d, %d bytes, %d attempts, %d files;", res.Target, res.Transport,
		res.Listed, res.Ignored, res.Known, res.Busy, res.Bytes, res.Attempts, len(res.Files))
	for o := range outcomeCount {
		fmt.Fprintf(&b, " %s %d", o, res.Count(o))
	}
	n := 0
	for _, f := range res.Files {
		if f.Outcome != Stored && n < 8 {
			fmt.Fprintf(&b, "\n\t%s %s: %s", f.Name, f.Outcome, f.Reason)
			n++
		}
	}
	return b.String()
}

// stored returns the content of the stored files of the ledger, by name.
func (r *rig) stored() map[string]string {
	r.t.Helper()
	m := make(map[string]string)
	for row, err := range r.ledger.Files(context.Background(), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		if row.State != ledger.Stored {
			continue
		}
		b, err := os.ReadFile(filepath.Join(r.data, filepath.FromSlash(row.Stored)))
		if err != nil {
			r.t.Fatal(err)
		}
		m[row.Name] = string(b)
	}
	return m
}

// tree lists every path below a directory with type, mode and content, other
// than what the ledger writes.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.Walk(dir, func(p string, st os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if strings.HasPrefix(filepath.Base(p), "ledger.db") {
			return nil
		}
		line := rel + " " + st.Mode().String()
		if st.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", b)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// writeKnown writes a known_hosts file with one line for every key.
func writeKnown(t testing.TB, file, address string, keys ...ssh.PublicKey) {
	t.Helper()
	var b strings.Builder
	for _, k := range keys {
		host, port, _ := net.SplitHostPort(address)
		fmt.Fprintf(&b, "[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(k))
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// oneLineError fails the test unless err is a single printable line.
func oneLineError(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, c := range err.Error() {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c >= 0x202a && c <= 0x202e {
			t.Fatalf("the error text has the character %#x: %q", c, err.Error())
		}
	}
	if len(err.Error()) > 1500 {
		t.Fatalf("error text of %d bytes", len(err.Error()))
	}
}

func (r *rig) nowFunc() func() time.Time {
	if r.o.Now != nil {
		return r.o.Now
	}
	return time.Now
}

// dirs are the directories of a device below the data directory.
type dirs struct{ collect, sealed, quarantine string }

func dirsOf(data, device string) dirs {
	d := filepath.Join(data, devicesDir, DirName(device))
	return dirs{filepath.Join(d, collectDir), filepath.Join(d, sealedDir), filepath.Join(data, quarantineDir, DirName(device))}
}

// actNames lists the accounting files of a directory.
func actNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if n, err := rollover.ParseName(e.Name()); err == nil && n.Prefix == rollover.Act {
			names = append(names, e.Name())
		}
	}
	return names, err
}
