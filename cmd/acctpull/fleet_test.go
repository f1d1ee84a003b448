package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"acctpull/internal/actserver"
	"acctpull/internal/gen"
)

// testFleet is an inventory of real servers on loopback.
type testFleet struct {
	dir, file, data string
	devices         []*testDevice
	feeds           []*feed
}

func newFleet(t *testing.T, n, files int, change func(i int, o *actserver.Options)) *testFleet {
	t.Helper()
	f := &testFleet{dir: t.TempDir()}
	f.file, f.data = filepath.Join(f.dir, "fleet.yaml"), filepath.Join(f.dir, "data")
	for i := range n {
		d := newDevice(t, func(o *actserver.Options) {
			if change != nil {
				change(i, o)
			}
		})
		feed := newFeed(t, d.act, gen.Options{Seed: uint64(i + 1)})
		feed.add(files)
		f.devices, f.feeds = append(f.devices, d), append(f.feeds, feed)
	}
	f.write(t, n)
	return f
}

// write writes the inventory of the first n devices.
func (f *testFleet) write(t *testing.T, n int) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "data: %s\ndefaults: {user: admin, path: /act, every: 1m}\ngroups: {even: {}, odd: {site: here}}\ndevices:\n", f.data)
	for i, d := range f.devices[:n] {
		fmt.Fprintf(&b, "- {name: d%d, host: 127.0.0.1, port: %d, identity: %s, known-hosts: %s, groups: %s}\n",
			i, d.port, d.identity, d.knownHosts, []string{"even", "odd"}[i%2])
	}
	check(t, os.WriteFile(f.file, []byte(b.String()), 0o600))
}

func (f *testFleet) truth() gen.Truth {
	var all gen.Truth
	for _, feed := range f.feeds {
		all.Add(feed.truth)
	}
	return all
}

func TestPullInventory(t *testing.T) {
	f := newFleet(t, 5, 3, func(i int, o *actserver.Options) {
		if i == 3 {
			o.Authorized = actserver.AuthorizedKeys(nil)
		}
	})
	f.feeds[3].truth, f.feeds[4].truth = gen.Truth{}, gen.Truth{}
	other, err := actserver.NewKey("other")
	check(t, err)
	line := fmt.Sprintf("[127.0.0.1]:%d %s", f.devices[4].port, ssh.MarshalAuthorizedKey(other.Signer.PublicKey()))
	check(t, os.WriteFile(f.devices[4].knownHosts, []byte(line), 0o600))

	// One of a group, then all: what was fetched is known.
	expect(t, exitOK, []string{"1 device: 3 listed, 0 known, 3 fetched"}, "pull", "-c", f.file, "d0")
	expect(t, exitOK, []string{"2 devices: 6 listed, 3 known, 3 fetched"}, "pull", "-c", f.file, "d0", "d2")
	expect(t, exitAuth, []string{"d3", "login"}, "pull", "-c", f.file, "d3")
	expect(t, exitHostKey, []string{"d4", "CHANGED", "hostkeys approve"}, "pull", "-c", f.file, "d4")
	expect(t, exitFailed, nil, "pull", "-c", f.file, "d3", "d4")
	stdout, _ := expect(t, exitPartly, nil, "--json", "pull", "-c", f.file)
	var sum fleetSummary
	check(t, json.Unmarshal([]byte(stdout), &sum))
	if len(sum.Devices) != 5 || sum.Devices[1].Stored != 3 || sum.Failures != 2 || sum.Devices[3].Result != "login" || sum.Devices[4].Hint == "" {
		t.Errorf("%+v", sum)
	}
	everyRecordOnce(t, filepath.Join(f.data, "dataset"), f.truth())

	// What is remembered steers the next run.
	text, err := os.ReadFile(filepath.Join(f.data, memoryFile))
	check(t, err)
	var m memory
	check(t, json.Unmarshal(text, &m))
	if m.Devices["d0"].Good.IsZero() || m.Devices["d3"].Failures != 3 || m.Devices["d4"].Failures != 3 || !m.Devices["d4"].Refused {
		t.Errorf("%+v", m)
	}

	stdout, _ = expect(t, exitPartly, []string{"5 devices, 2 in need of a person"}, "status", "-c", f.file)
	var order []string
	for line := range strings.Lines(stdout) {
		if strings.HasPrefix(line, "d") {
			order = append(order, strings.Join(strings.Fields(line)[:2], " "))
		}
	}
	if got, want := strings.Join(order, ", "), "d3 refused, d4 refused, d0 good, d1 good, d2 good"; got != want {
		t.Errorf("status tells %s, want %s", got, want)
	}
	expect(t, exitOK, []string{"1 device, 0 in need"}, "status", "-c", f.file, "d1")
	stdout, _ = expect(t, exitPartly, nil, "--json", "status", "-c", f.file, "--troubled")
	var stands []deviceStatus
	check(t, json.Unmarshal([]byte(stdout), &stands))
	if len(stands) != 2 || stands[0].Failures != 3 || stands[0].Error == "" || !stands[0].LastGood.IsZero() {
		t.Errorf("%+v", stands)
	}

	expect(t, exitUsage, []string{`no group "d9"`}, "pull", "-c", f.file, "d9")
	expect(t, exitUsage, []string{"--port is for one device"}, "pull", "-c", f.file, "-p", "22")
	check(t, os.WriteFile(f.file, []byte("data: x\ndevices: [{host: a, pth: /}]\n"), 0o600))
	expect(t, exitUsage, []string{"line 2", `no key "pth"`, "docs/service.md"}, "pull", "-c", f.file)
	expect(t, exitUsage, []string{"read inventory"}, "pull", "-c", f.file+"x")
}

// Each device is read by its own profile.
func TestPullInventoryReading(t *testing.T) {
	f := newFleet(t, 2, 1, nil)
	text, err := os.ReadFile(f.file)
	check(t, err)
	check(t, os.WriteFile(f.file, bytes.Replace(text, []byte("groups: even"), []byte("groups: even, platform: 7210 SAS"), 1), 0o600))
	expect(t, exitOK, nil, "pull", "-c", f.file)
	everyRecordOnce(t, filepath.Join(f.data, "dataset"), f.truth())
	check(t, os.WriteFile(f.file, bytes.Replace(text, []byte("groups: even"), []byte("groups: even, profile: /does/not/exist, record: nonsense"), 1), 0o600))
	expect(t, exitUsage, []string{"line 5: device d0", "no record"}, "pull", "-c", f.file)
}

// A real process: it fetches and exports what comes, takes a new inventory on
// SIGHUP, keeps the old one when the new has a mistake, survives a kill, and
// leaves with code 0 when told to.
func TestServe(t *testing.T) {
	f := newFleet(t, 3, 2, nil)
	f.write(t, 2)
	var log *buffer
	start := func() (cmd *exec.Cmd) {
		cmd, log = startServe(t, nil, "serve", "-c", f.file)
		return cmd
	}
	fetched := func(device string, n int) {
		t.Helper()
		eventually(t, log, func() bool {
			names, _ := filepath.Glob(filepath.Join(f.data, "devices", device, "act", "*"))
			return len(names) == n
		})
	}
	cmd := start()
	fetched("d0", 2)
	fetched("d1", 2)
	check(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed, as intended
	cmd = start()
	eventually(t, log, func() bool { return strings.Contains(log.String(), "name=exported") })

	check(t, os.WriteFile(f.file, []byte("data: x\ndevices: [{nonsense: 1}]\n"), 0o600))
	check(t, cmd.Process.Signal(syscall.SIGHUP))
	eventually(t, log, func() bool { return strings.Contains(log.String(), "name=configRefused") })
	f.write(t, 3)
	check(t, cmd.Process.Signal(syscall.SIGHUP))
	eventually(t, log, func() bool { return strings.Contains(log.String(), "name=configLoaded") })
	fetched("d2", 2)
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v\n%s", err, log.String())
	}
	var m memory
	text, err := os.ReadFile(filepath.Join(f.data, memoryFile))
	check(t, err)
	check(t, json.Unmarshal(text, &m))
	if len(m.Devices) != 3 || m.Devices["d2"].Good.IsZero() {
		t.Errorf("%+v", m)
	}
	// What it had no time for is exported by the next command.
	expect(t, exitOK, nil, "pull", "-c", f.file)
	everyRecordOnce(t, filepath.Join(f.data, "dataset"), f.truth())
}

// startServe starts the program with more in its environment; what it says on
// stderr is in the buffer.
func startServe(t *testing.T, env []string, args ...string) (*exec.Cmd, *buffer) {
	t.Helper()
	log := &buffer{}
	cmd := exec.Command(program(t), args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), log
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, or the test has failed
	return cmd, log
}

// eventually waits for something another process does.
func eventually(t *testing.T, log *buffer, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("it did not happen within a minute\n%s", log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A damaged memory is told and costs nothing but a visit.
func TestDamagedMemory(t *testing.T) {
	f := newFleet(t, 1, 1, nil)
	check(t, os.MkdirAll(f.data, 0o750))
	for _, text := range []string{"{", `{"version": 9}`} {
		check(t, os.WriteFile(filepath.Join(f.data, memoryFile), []byte(text), 0o600))
		expect(t, exitOK, []string{"configRefused", "every device is visited at once"}, "-v", "pull", "-c", f.file)
	}
}
