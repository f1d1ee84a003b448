package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/internal/durable"
	"acctpull/internal/gen"
	"acctpull/internal/need"
)

// mounted mounts a file system for the test and returns its directory, and a
// function that mounts it again with other options.
func mounted(t *testing.T, args ...string) (dir string, remount func(options string)) {
	t.Helper()
	need.Root(t)
	mount, umount := need.Tool(t, "mount"), need.Tool(t, "umount")
	dir = filepath.Join(t.TempDir(), "mnt")
	check(t, os.Mkdir(dir, 0o750))
	mountAt := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(mount, append(args, dir)...).CombinedOutput(); err != nil {
			t.Fatalf("mount %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	mountAt(args...)
	t.Cleanup(func() {
		if out, err := exec.Command(umount, dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir, func(options string) { mountAt("-o", "remount,"+options) }
}

// TestNoSpaceAnywhereProof: the disk is full, or has no more files, at ever later
// moments: while the ledger is made, in the middle of the archive, of a Parquet
// file. Every run says so and fails; with space the next one finishes.
func TestNoSpaceAnywhereProof(t *testing.T) {
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Seed: 3, Objects: 10, Meters: 4, Intervals: 2})
	f.add(12)
	for what, c := range map[string]struct {
		option string // of tmpfs
		first  int
		step   int
		plenty string
	}{
		"full":     {"size=%dk", 32, 64, "size=64m"},
		"no files": {"nr_inodes=%d", 3, 5, "nr_inodes=10000"},
	} {
		t.Run(what, func(t *testing.T) {
			dir, remount := mounted(t, "-t", "tmpfs", "-o", "size=64m,nr_inodes=10000", "test")
			failed := 0
			for n := c.first; ; n += c.step {
				out := filepath.Join(dir, "data")
				check(t, os.RemoveAll(out))
				remount(fmt.Sprintf(c.option, n))
				_, stderr, code := command(t, d.pullArgs(out, "--retries", "0")...)
				remount(c.plenty)
				if code == exitOK {
					everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
					break
				}
				failed++
				if !strings.Contains(stderr, "space") && !strings.Contains(stderr, "full") {
					t.Errorf("%s: exit code %d without a reason:\n%s", fmt.Sprintf(c.option, n), code, stderr)
				}
				noTornFile(t, out)
				if stdout, stderr, code := command(t, d.pullArgs(out)...); code != exitOK {
					t.Fatalf("%s, then space: exit code %d\n%s%s", fmt.Sprintf(c.option, n), code, stdout, stderr)
				}
				everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
				if !proof() {
					n += 2 * c.step
				}
			}
			t.Logf("%d runs without room", failed)
			if failed == 0 {
				t.Error("there always was room")
			}
		})
	}
}

// TestReadOnlyDisk: the file system becomes read-only, as ext4 does after an
// error. The run fails and says so; nothing is lost when it is writable again.
func TestReadOnlyDisk(t *testing.T) {
	dir, remount := mounted(t, "-t", "tmpfs", "test")
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Seed: 5, Objects: 2, Meters: 2})
	f.add(3)
	out := filepath.Join(dir, "data")
	expect(t, exitOK, nil, d.pullArgs(out)...)
	f.add(2)
	remount("ro")
	_, stderr, code := command(t, d.pullArgs(out)...)
	remount("rw")
	if code != exitFailed || !strings.Contains(stderr, "read-only") && !strings.Contains(stderr, "readonly") {
		t.Errorf("exit code %d on a read-only file system\n%s", code, stderr)
	}
	expect(t, exitOK, nil, d.pullArgs(out)...)
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
}

// TestOtherFileSystems: parts of the data directory lie on file systems of their
// own, so that a move between them is impossible. Files are copied by the whole
// protocol, and the run is as good as any other.
func TestOtherFileSystems(t *testing.T) {
	for _, part := range []string{"devices", "dataset", "quarantine", "devices/dut/act", "devices/dut/act-collect"} {
		t.Run(part, func(t *testing.T) {
			d := newDevice(t, nil)
			f := newFeed(t, d.act, gen.Options{Seed: 6, Objects: 2, Meters: 2})
			f.add(3)
			good, err := os.ReadFile(filepath.Join(d.act, gen.FileName(10, 11, f.g.Now().Add(-15*60e9))))
			check(t, err)
			check(t, os.WriteFile(filepath.Join(d.act, "act1011-20260301-000000.xml.gz"), good[:len(good)-20], 0o640))
			other, _ := mounted(t, "-t", "tmpfs", "test")
			out := filepath.Join(t.TempDir(), "data")
			check(t, durable.MkdirAll(filepath.Dir(filepath.Join(out, part))))
			check(t, os.Symlink(other, filepath.Join(out, part)))
			expect(t, exitPartly, []string{"quarantined"}, d.pullArgs(out)...)
			everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
			for pattern, want := range map[string]int{"devices/dut/act/*.xml.gz": 3, "devices/dut/act/.*": 0, "quarantine/dut/*.txt": 1, "quarantine/dut/.*": 0, "devices/dut/act-collect/*": 0} {
				names, err := filepath.Glob(filepath.Join(out, pattern))
				check(t, err)
				if len(names) != want {
					t.Errorf("%d names %s, want %d: %v", len(names), pattern, want, names)
				}
			}
			expect(t, exitOK, []string{"4 known, 0 fetched"}, d.pullArgs(out)...)
		})
	}
}

// TestWritebackErrorsProof: the disk under the file system is full although the
// file system is not, so writes succeed and only fsync tells, once. Nothing is
// reported that the disk does not have.
func TestWritebackErrorsProof(t *testing.T) {
	backing, _ := mounted(t, "-t", "tmpfs", "-o", "size=24m", "test")
	mkfs := need.Tool(t, "mkfs.ext4")
	image := filepath.Join(backing, "image")
	file, err := os.Create(image)
	check(t, err)
	check(t, file.Truncate(64<<20))
	check(t, file.Close())
	if out, err := exec.Command(mkfs, "-q", "-O", "^has_journal", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v\n%s", err, out)
	}
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Seed: 7, Objects: 40, Meters: 8, Intervals: 4})
	f.add(60)
	// Room for a part of it.
	fill(t, filepath.Join(backing, "ballast"), 1<<20)
	umount := need.Tool(t, "umount")
	disk := filepath.Join(t.TempDir(), "disk")
	check(t, os.Mkdir(disk, 0o750))
	mountDisk := func() {
		if out, err := exec.Command(need.Tool(t, "mount"), "-o", "loop,errors=continue", image, disk).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v\n%s", err, out)
		}
	}
	mountDisk()
	out := filepath.Join(disk, "data")
	stdout, stderr, code := command(t, d.pullArgs(out, "-v", "--no-export")...)
	claimed := map[string]string{}
	readClaims(strings.NewReader(stderr), claimed)
	t.Logf("exit code %d, %d files claimed", code, len(claimed))
	// What is in memory goes, what is on the disk is read.
	if out, err := exec.Command(umount, disk).CombinedOutput(); err != nil {
		t.Fatalf("umount: %v\n%s", err, out)
	}
	mountDisk()
	defer func() {
		if out, err := exec.Command(umount, disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	}()
	if code == exitOK || code == exitPartly {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for name, want := range claimed {
		got, _, err := durable.Sum(filepath.Join(out, "devices", "dut", "act", name))
		if err != nil || got != want {
			t.Errorf("%s was reported stored as %s, and is %s (%v)", name, want, got, err)
		}
	}
}
