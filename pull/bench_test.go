package pull

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// cpuSeconds is the user and system time of this process so far. The OpenSSH
// server is another process.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	s := func(v syscall.Timeval) float64 { return float64(v.Sec) + float64(v.Usec)/1e6 }
	return s(u.Utime) + s(u.Stime)
}

// BenchmarkIdlePoll is a poll of a real OpenSSH server that has nothing new:
// connect, log in with an ed25519 key, list some files, ask the ledger.
func BenchmarkIdlePoll(b *testing.B) {
	for _, c := range []struct {
		transport Transport
		files     int
	}{{SFTP, 10}, {SFTP, 200}, {SCP, 10}} {
		b.Run(fmt.Sprint(c.transport, "/", c.files), func(b *testing.B) {
			tr := c.transport
			r := newRig(b, scpQuirks{})
			openSSH(b, r, "Subsystem sftp internal-sftp")
			loginWithEd25519(b, r)
			r.o.Cache = &Cache{}
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(r.target.KnownHosts[0], old, old); err != nil {
				b.Fatal(err)
			}
			for i := range c.files {
				r.put(actName(i), fmt.Sprintln(i), 1)
			}
			if _, err := r.pull(tr); err != nil {
				b.Fatal(err)
			}
			cpu := cpuSeconds(b)
			for b.Loop() {
				if res, err := r.pull(tr); err != nil || len(res.Files) != 0 || res.Known != c.files {
					b.Fatal(brief(res), err)
				}
			}
			b.ReportMetric((cpuSeconds(b)-cpu)*1000/float64(b.N), "cpu-ms/poll")
		})
	}
}

// BenchmarkFleet visits 200 devices, all of them directories of one real OpenSSH
// server, sixteen at a time: the first time with 10 new files each, then with
// nothing new.
func BenchmarkFleet(b *testing.B) {
	const devices, files = 200, 10
	r := newRig(b, scpQuirks{})
	openSSH(b, r, "Subsystem sftp internal-sftp")
	loginWithEd25519(b, r)
	r.putNoise(files, 12<<10)
	pulled := func(target Target) error {
		_, err := Device(context.Background(), r.o, target)
		return err
	}
	visit := func(one func(Target) error) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for i := next.Add(1); i <= devices; i = next.Add(1) {
					target := r.target
					target.Device = fmt.Sprint("edge-", i)
					if err := one(target); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	// The baseline: a connection with our checks, and a listing with the SFTP
	// library; no ledger.
	listed := func(target Target) error {
		target.cache = r.o.Cache
		c, err := connect(context.Background(), target, os.Getenv, DefaultLimits())
		if err != nil {
			return err
		}
		defer c.close()
		client, err := sftp.NewClient(c.client)
		if err != nil {
			return err
		}
		_, err = client.ReadDir(target.Path)
		return err
	}
	fresh := func() {
		r.data = b.TempDir()
		r.openLedger()
		r.o.Cache = &Cache{}
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(r.target.KnownHosts[0], old, old); err != nil {
			b.Fatal(err)
		}
	}
	measure := func(b *testing.B, one func(Target) error, prepare func()) {
		used, n := 0.0, 0
		for b.Loop() {
			b.StopTimer()
			prepare()
			b.StartTimer()
			cpu := cpuSeconds(b)
			visit(one)
			used += cpuSeconds(b) - cpu
			n += devices
		}
		b.ReportMetric(used*1000/float64(n), "cpu-ms/device")
	}
	b.Run("first", func(b *testing.B) { measure(b, pulled, fresh) })
	b.Run("idle", func(b *testing.B) {
		fresh()
		visit(pulled)
		measure(b, pulled, func() {})
	})
	b.Run("baseline", func(b *testing.B) { measure(b, listed, func() {}) })
}

// loginWithEd25519 gives the rig another key, which its server takes too.
func loginWithEd25519(t testing.TB, r *rig) {
	t.Helper()
	k := rawEd(t)
	block, err := ssh.MarshalPrivateKey(k, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(r.target.Identities[0])
	writeFile(t, filepath.Join(dir, "authorized"), ssh.MarshalAuthorizedKey(signer(t, k).PublicKey()), 0o600)
	r.target.Identities = []string{filepath.Join(dir, "ed")}
	writeFile(t, r.target.Identities[0], pem.EncodeToMemory(block), 0o600)
}

const (
	benchFiles = 200
	benchSize  = 60 << 10
)

// BenchmarkFetch is 200 new files of 60 KB from a real OpenSSH server, to durable,
// verified, recorded files. The baseline takes the same files one at a time with
// the SFTP library, to files that nobody syncs.
func BenchmarkFetch(b *testing.B) {
	r := newRig(b, scpQuirks{})
	openSSH(b, r, "Subsystem sftp internal-sftp")
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range benchFiles {
		content := make([]byte, benchSize)
		for j := range content {
			content[j] = byte(rng.Uint32())
		}
		r.put(actName(i), string(content), 1)
	}
	measure := func(b *testing.B, once func(i int)) {
		cpu, n := cpuSeconds(b), 0
		for b.Loop() {
			once(n)
			n++
		}
		used := cpuSeconds(b) - cpu
		b.ReportMetric(used*1000/float64(n), "cpu-ms/op")
		b.ReportMetric(float64(n)*benchFiles/used, "files/cpu-s")
		b.SetBytes(benchFiles * benchSize)
	}
	b.Run("baseline", func(b *testing.B) {
		dir := b.TempDir()
		measure(b, func(int) { oneAtATime(b, r, dir) })
	})
	for _, tr := range []Transport{SFTP, SCP} {
		b.Run(string(tr), func(b *testing.B) {
			data := b.TempDir()
			measure(b, func(i int) {
				r.data = filepath.Join(data, fmt.Sprint(i))
				if err := os.Mkdir(r.data, 0o750); err != nil {
					b.Fatal(err)
				}
				r.openLedger()
				if res, err := r.pull(tr); err != nil || res.Count(Stored) != benchFiles {
					b.Fatal(brief(res), err)
				}
				if err := r.ledger.Close(); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// oneAtATime is what a small program would do.
func oneAtATime(b *testing.B, r *rig, dir string) {
	c, err := connect(context.Background(), r.target, os.Getenv, DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	defer c.close()
	client, err := sftp.NewClient(c.client)
	if err != nil {
		b.Fatal(err)
	}
	infos, err := client.ReadDir(r.target.Path)
	if err != nil || len(infos) != benchFiles {
		b.Fatal(len(infos), err)
	}
	for _, info := range infos {
		from, err := client.Open(filepath.Join(r.target.Path, info.Name()))
		if err != nil {
			b.Fatal(err)
		}
		to, err := os.Create(filepath.Join(dir, info.Name()))
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(to, from); err != nil || n != info.Size() {
			b.Fatal(n, err)
		}
		if err := to.Close(); err != nil {
			b.Fatal(err)
		}
		if err := from.Close(); err != nil {
			b.Fatal(err)
		}
	}
	// The session ends with the connection; waiting for it first would wait
	// for the server.
}
