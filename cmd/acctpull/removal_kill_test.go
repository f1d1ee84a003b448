package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"acctpull/export"
	"acctpull/internal/actserver"
	"acctpull/internal/depot"
	"acctpull/internal/gen"
)

// removing is a device that lets its files be removed. Before it removes one it
// looks whether archive and dataset have it.
type removing struct {
	t       *testing.T
	d       *testDevice
	data    string
	mu      sync.Mutex
	removed int
	read    map[string]bool  // dataset files
	rows    map[string]int64 // rows in the dataset, by SHA-256
}

func newRemoving(t *testing.T, data string) *removing {
	t.Helper()
	dir := t.TempDir()
	d := &testDevice{act: filepath.Join(dir, "act"), identity: filepath.Join(dir, "id_ed25519"), knownHosts: filepath.Join(dir, "known_hosts")}
	r := &removing{t: t, d: d, data: data, read: map[string]bool{}, rows: map[string]int64{}}
	host, err := actserver.NewKey("host")
	check(t, err)
	client, err := actserver.NewKey("client")
	check(t, err)
	check(t, os.Mkdir(d.act, 0o750))
	check(t, os.WriteFile(d.identity, client.PEM, 0o600))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	d.port = ln.Addr().(*net.TCPAddr).Port
	check(t, os.WriteFile(d.knownHosts, fmt.Appendf(nil, "[127.0.0.1]:%d %s", d.port, ssh.MarshalAuthorizedKey(host.Signer.PublicKey())), 0o600))
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(host.Signer)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(c, config) })
		}
	})
	t.Cleanup(func() {
		check(t, ln.Close())
		serving.Wait()
	})
	return r
}

// serve speaks SFTP until the client is gone.
func (r *removing) serve(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return // the client was killed
	}
	go ssh.DiscardRequests(requests)
	for n := range channels {
		ch, requests, err := n.Accept()
		if err != nil {
			return
		}
		for q := range requests {
			sub := q.Type == "subsystem"
			if err := q.Reply(sub, nil); err != nil || !sub {
				continue
			}
			go ssh.DiscardRequests(requests)
			_ = sftp.NewRequestServer(ch, sftp.Handlers{FileGet: r, FilePut: sftp.InMemHandler().FilePut, FileCmd: r, FileList: r}).Serve()
			break
		}
		_ = ch.Close() // the client may be gone
	}
}

func (r *removing) at(q *sftp.Request) string {
	return filepath.Join(filepath.Dir(r.d.act), filepath.FromSlash(path.Clean("/"+q.Filepath)))
}

func (r *removing) Fileread(q *sftp.Request) (io.ReaderAt, error) { return os.Open(r.at(q)) }

func (r *removing) Filelist(q *sftp.Request) (sftp.ListerAt, error) {
	var all infos
	if q.Method != "List" {
		info, err := os.Lstat(r.at(q))
		return append(all, info), err
	}
	entries, err := os.ReadDir(r.at(q))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			all = append(all, info)
		}
	}
	return all, err
}

type infos []os.FileInfo

func (l infos) ListAt(to []os.FileInfo, from int64) (int, error) {
	if from >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(to, l[from:])
	if n < len(to) {
		return n, io.EOF
	}
	return n, nil
}

// Filecmd removes a file, and nothing else.
func (r *removing) Filecmd(q *sftp.Request) error {
	if q.Method != "Remove" {
		return sftp.ErrSSHFxOpUnsupported
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := filepath.Base(r.at(q))
	text, err := os.ReadFile(r.at(q))
	if err != nil {
		return err
	}
	kept, err := os.ReadFile(filepath.Join(r.data, "devices", "dut", "act", name))
	if err != nil || string(kept) != string(text) {
		r.t.Errorf("%s goes, and the archive does not have it: %v", name, err)
	}
	sum := sha256.Sum256(text)
	if !r.exported(hex.EncodeToString(sum[:])) {
		r.t.Errorf("%s goes, and the dataset does not have it", name)
	}
	r.removed++
	return os.Remove(r.at(q))
}

// exported reports whether the dataset has rows of a file.
func (r *removing) exported(sum string) bool {
	if r.rows[sum] > 0 {
		return true
	}
	ctx := r.t.Context()
	dataset := depot.NewDir(filepath.Join(r.data, "dataset"))
	there, err := export.Contents(ctx, dataset)
	if err != nil {
		r.t.Error(err)
	}
	for _, rel := range there {
		if r.read[rel] {
			continue
		}
		r.read[rel] = true
		p, err := export.ReadPublished(ctx, dataset, rel)
		if err != nil {
			r.t.Error(err)
		}
		for _, s := range p.Sources {
			r.rows[s.SHA256] += s.Records
		}
	}
	return r.rows[sum] > 0
}

// TestKillRemoval kills a pull that removes files from the device after their
// export, at random moments. The device looks at every removal whether archive
// and dataset have the file; in the end it is empty, and every record is there
// once.
func TestKillRemoval(t *testing.T) {
	kills := 5
	if proof() {
		kills = 80
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "fleet.yaml")
	r := newRemoving(t, data)
	f := newFeed(t, r.d.act, gen.Options{Seed: seed, Objects: 3, Meters: 2, Intervals: 2})
	check(t, os.WriteFile(file, fmt.Appendf(nil, `data: %s
defaults: {user: admin, path: /act, every: 1m, transport: sftp, remove-after-export: true}
devices:
- {name: dut, host: 127.0.0.1, port: %d, identity: %s, known-hosts: %s}
`, data, r.d.port, r.d.identity, r.d.knownHosts), 0o600))
	exe := program(t)
	f.add(40)
	k := newKiller(t, rng)
	for k.done < kills {
		f.add(8)
		k.run("pull", "-c", file)
		noTornFile(t, data)
	}
	r.mu.Lock()
	during := r.removed
	r.mu.Unlock()
	for range 2 { // the second removes what the first exported
		if b, err := exec.Command(exe, "pull", "-c", file).CombinedOutput(); err != nil {
			t.Fatalf("a clean run: %v\n%s", err, b)
		}
	}
	everyRecordOnce(t, filepath.Join(data, "dataset"), f.truth)
	left, err := os.ReadDir(r.d.act)
	check(t, err)
	if len(left) > 0 || r.removed != int(f.truth.Files) {
		t.Errorf("%d of %d files were removed, %d are left", r.removed, f.truth.Files, len(left))
	}
	expect(t, exitOK, []string{"everything is whole"}, "check", "-c", file)
	t.Logf("%d kills (%d runs were faster), %d files, %d of them removed by then", k.done, k.faster, f.truth.Files, during)
}

// TestCheckBesideServe runs check again and again beside a service that fetches
// and exports: it never takes work under way for damage.
func TestCheckBesideServe(t *testing.T) {
	f := newFleet(t, 3, 5, nil)
	now := time.Now().Round(0)
	n := startNode(t, nodePace{Clock: fastClock{Began: now, At: now, Rate: 60}, Limits: realPace().limits}, "serve", "-c", f.file)
	until := now.Add(20 * time.Second)
	seen := map[int]bool{}
	for checks := 0; len(seen) < 4 && time.Now().Before(until) || checks < 5; checks++ {
		for _, feed := range f.feeds {
			feed.add(3)
		}
		stdout, stderr, code := command(t, "check", "-c", f.file)
		if code != exitOK {
			if _, err := os.Stat(filepath.Join(f.data, "ledger.db")); err == nil && checks > 0 {
				t.Fatalf("check %d beside a service: exit code %d\n%s%s", checks, code, stdout, stderr)
			}
		}
		files, err := filepath.Glob(filepath.Join(f.data, "devices/*/act/*.gz"))
		check(t, err)
		seen[len(files)] = true
		n.alive(t)
	}
	n.end(t)
	if len(seen) < 4 {
		t.Errorf("the service stood still: %v files in the archive", seen)
	}
	expect(t, exitOK, nil, "pull", "-c", f.file)
	expect(t, exitOK, []string{"everything is whole"}, "check", "-c", f.file)
	everyRecordOnce(t, filepath.Join(f.data, "dataset"), f.truth())
}
