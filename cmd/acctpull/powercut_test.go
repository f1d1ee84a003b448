package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/internal/durable"
	"acctpull/internal/gen"
	"acctpull/internal/powercut"
)

// TestPowerCutPull cuts the power of a real file system while acctpull archives
// and exports. Whatever it had claimed by then is there and whole after the
// power is back, and one clean run later every record is in the dataset once.
func TestPowerCutPull(t *testing.T) {
	cuts := 3
	if proof() {
		cuts = 100
	}
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) { powerCuts(t, fsType, cuts) })
	}
}

func powerCuts(t *testing.T, fsType string, cuts int) {
	disk := powercut.New(t, fsType)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	d := newDevice(t, nil)
	out := filepath.Join(disk.Dir, "data")
	f := newFeed(t, d.act, gen.Options{Seed: seed, Objects: 3, Meters: 2, Intervals: 2})
	f.add(32)
	args := append(d.pullArgs(out), "-v")
	exe := program(t)
	// The moment of the cut lies anywhere in a run; a run that is cut too
	// early again and again never gets anywhere, so the bound moves.
	bound := 500 * time.Millisecond
	claimed := map[string]string{} // name of a pulled file -> SHA-256
	for i := range cuts {
		f.add(6)
		disk.Noise()
		cmd := exec.Command(exe, args...)
		stderr, err := cmd.StderrPipe()
		check(t, err)
		check(t, cmd.Start())
		before := len(claimed)
		var reading sync.WaitGroup
		reading.Go(func() { readClaims(stderr, claimed) })
		time.Sleep(time.Duration(rng.Int64N(int64(bound)))) // the moment of the cut is the input of this test
		check(t, powercut.Freeze(cmd.Process))
		check(t, disk.Cut())
		_ = cmd.Process.Kill() // its file system is gone; it may have ended already
		reading.Wait()
		_ = cmd.Wait()
		if len(claimed) > before {
			bound -= bound / 8
		} else {
			bound += bound / 6
		}
		disk.Remount()
		for name, want := range claimed {
			got, _, err := durable.Sum(filepath.Join(out, "devices", "dut", "act", name))
			if err != nil || got != want {
				t.Fatalf("cut %d: %s was reported stored as %s, and is %s (%v)", i, name, want, got, err)
			}
		}
		noTornFile(t, out)
	}
	if b, err := exec.Command(exe, args...).CombinedOutput(); err != nil {
		t.Fatalf("the clean run: %v\n%s", err, b)
	}
	t.Logf("%s: %d cuts, %d files claimed before a cut, %d records", fsType, cuts, len(claimed), f.truth.Records)
	if proof() && len(claimed) == 0 {
		t.Error("no file was claimed before any cut: the test shows nothing")
	}
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
}

var claim = regexp.MustCompile(`name=filePulled .*file=(\S+) .*sha256=([0-9a-f]{64})`)

// readClaims collects what the program reports as stored.
func readClaims(r io.Reader, claimed map[string]string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := claim.FindStringSubmatch(lines.Text()); m != nil {
			claimed[m[1]] = m[2]
		}
	}
}

// TestFullDiskPull lets the disk fill up in the middle: the run fails with a
// clear line, and after space is made the same command finishes the work.
func TestFullDiskPull(t *testing.T) {
	disk := powercut.New(t, "ext4")
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Seed: 7, Objects: 20, Meters: 4, Intervals: 4})
	f.add(40)
	ballast := filepath.Join(disk.Dir, "ballast")
	fill(t, ballast, 2<<20)
	out := filepath.Join(disk.Dir, "data")
	stdout, stderr, code := command(t, d.pullArgs(out)...)
	if code != exitFailed || !strings.Contains(stderr, "space") {
		t.Fatalf("exit code %d on a full disk\n%s%s", code, stdout, stderr)
	}
	check(t, os.Remove(ballast))
	if stdout, stderr, code = command(t, d.pullArgs(out)...); code != exitOK {
		t.Fatalf("exit code %d after space was made\n%s%s", code, stdout, stderr)
	}
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
}

// fill leaves about the given number of bytes free on the file system.
func fill(t *testing.T, path string, leave int64) {
	t.Helper()
	file, err := os.Create(path)
	check(t, err)
	var n int64
	for block := make([]byte, 64<<10); ; n += int64(len(block)) {
		if _, err := file.Write(block); err != nil {
			break
		}
	}
	check(t, file.Truncate(max(0, n-leave)))
	check(t, file.Close())
	if n == 0 {
		t.Fatal(fmt.Errorf("nothing could be written to %s", path))
	}
}
