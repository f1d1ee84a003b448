package simdevice

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// benchFleet is a fleet that is twelve hours old, with a clock of its own.
func benchFleet(b *testing.B, n int) *Fleet {
	b.Helper()
	f, err := NewFleet(FleetOptions{Dir: b.TempDir(), Seed: 5, Listen: netip.MustParseAddrPort("127.97.0.1:0"), Passwords: map[string]string{"admin": "secret"},
		Groups: []Group{group(b, fmt.Sprintf("sim n=%d", n))}, Began: began, Clock: NewClock(began.Add(12 * time.Hour))})
	must(b, err)
	must(b, f.Start(b.Context()))
	b.Cleanup(func() { must(b, f.Stop()) })
	return f
}

// The first look at a device: twelve hours of its life are made.
func BenchmarkFirstLook(b *testing.B) {
	f := benchFleet(b, max(b.N, 1))
	b.ResetTimer()
	for i := range b.N {
		must(b, f.Device(i).Show())
	}
	b.StopTimer()
	files, size := 0, int64(0)
	must(b, filepath.WalkDir(f.Device(0).ActDir(), func(_ string, e os.DirEntry, err error) error {
		if info, infoErr := e.Info(); err == nil && infoErr == nil && !e.IsDir() {
			files++
			size += (info.Size() + 4095) &^ 4095
		}
		return err
	}))
	b.ReportMetric(float64(files), "files")
	b.ReportMetric(float64(size), "disk-bytes")
}

// A poll every quarter of an hour: log in, list, and fetch the one new file.
// Both ends are in the figures.
func BenchmarkPoll(b *testing.B) {
	f := benchFleet(b, 1)
	d := f.Device(0)
	key, err := d.HostKey()
	must(b, err)
	config := &ssh.ClientConfig{User: "admin", Auth: []ssh.AuthMethod{ssh.Password("secret")}, HostKeyCallback: ssh.FixedHostKey(key)}
	poll := func() {
		c, err := ssh.Dial("tcp", d.Addr(), config)
		must(b, err)
		files, err := sftp.NewClient(c)
		must(b, err)
		entries, err := files.ReadDir("cf1:/act")
		must(b, err)
		newest := ""
		for _, e := range entries {
			newest = max(newest, e.Name())
		}
		file, err := files.Open("cf1:/act/" + newest)
		must(b, err)
		_, err = file.WriteTo(discard{})
		must(b, err)
		must(b, file.Close())
		must(b, files.Close())
		_ = c.Close() // closed with the last session
	}
	poll()
	b.ResetTimer()
	for range b.N {
		must(b, f.Step(15*time.Minute))
		poll()
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
