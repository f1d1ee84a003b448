// Package powercut gives a test a real file system that can lose its power.
//
// The file system, ext4 or XFS, lies in an image on a loop device. Cut stops it
// with the shutdown ioctl and without a log flush: nothing that was not on the
// disk at that moment gets there any more, which is what a power cut does.
// Remount runs the log recovery of the file system, as the next boot would.
//
// It needs root, mount, and the mkfs of the file system; a test that misses one
// is skipped, or fails in CI.
package powercut

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"acctpull/internal/need"
)

// imageSize is as small as mkfs.xfs takes it, and a little more. The image is
// sparse: a formatted one takes a few megabytes.
const imageSize = 320 << 20

// Disk is a mounted file system.
type Disk struct {
	Dir string // where it is mounted; empty of files at first

	t      testing.TB
	golden string // a formatted image that is never mounted
	image  string
	mount  string // the program
	umount string
	up     bool // mounted
	noise  *noise
}

// New formats and mounts a file system of the type "ext4" or "xfs". It is
// unmounted and removed when the test ends.
func New(t testing.TB, fsType string) *Disk {
	t.Helper()
	need.Root(t)
	mkfs := need.Tool(t, "mkfs."+fsType)
	d := &Disk{t: t, mount: need.Tool(t, "mount"), umount: need.Tool(t, "umount")}
	root := t.TempDir()
	d.golden, d.image, d.Dir = filepath.Join(root, "golden.img"), filepath.Join(root, "disk.img"), filepath.Join(root, "mnt")
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(imageSize); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d.run(mkfs, "-q", d.golden)
	t.Cleanup(d.remove)
	d.Fresh()
	return d
}

// Fresh replaces the file system by a newly formatted one.
func (d *Disk) Fresh() {
	d.t.Helper()
	d.unmount()
	if err := copySparse(d.golden, d.image); err != nil {
		d.t.Fatal(err)
	}
	d.mountImage()
}

// Cut cuts the power: from now on every call on the file system fails and
// nothing more reaches the image. It may be called from any goroutine and at
// any moment; the error is that of the ioctl.
func (d *Disk) Cut() error {
	const shutdown = 0x8004587d  // FS_IOC_SHUTDOWN, _IOR('X', 125, __u32)
	const noLogFlush = uint32(2) // what is in memory is lost
	dir, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	flag := noLogFlush
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), shutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		return &os.SyscallError{Syscall: "ioctl FS_IOC_SHUTDOWN", Err: errno}
	}
	return nil
}

// Remount brings the file system back after a cut. The program under test has
// to have closed its files.
func (d *Disk) Remount() {
	d.t.Helper()
	d.unmount()
	d.mountImage()
}

// Noise starts a goroutine that writes and fsyncs a file of its own, again and
// again, until Cut or Quiet. It belongs into every workload: any fsync of any
// program commits the journal, and that is what turns a forgotten fsync into a
// file that is there and empty.
func (d *Disk) Noise() {
	d.Quiet()
	d.noise = startNoise(filepath.Join(d.Dir, "noise"))
}

// Quiet ends what Noise started.
func (d *Disk) Quiet() {
	if d.noise != nil {
		d.noise.end()
		d.noise = nil
	}
}

func (d *Disk) mountImage() {
	d.t.Helper()
	// Tests of several packages run at once, and between the moment mount(8)
	// finds a free loop device and the moment it takes it, another one may.
	var out []byte
	var err error
	for range mountTries {
		if out, err = exec.Command(d.mount, "-o", "loop", d.image, d.Dir).CombinedOutput(); err == nil {
			d.up = true
			return
		}
		time.Sleep(mountPause)
	}
	d.t.Fatalf("mount %s: %v\n%s", d.image, err, out)
}

const (
	mountTries = 10
	goneTries  = 1200
	mountPause = 50 * time.Millisecond
)

func (d *Disk) unmount() {
	d.t.Helper()
	d.Quiet()
	if !d.up {
		return
	}
	d.run(d.umount, d.Dir)
	d.up = false
	d.awaitGone()
}

// awaitGone waits until no loop device has the image any more. A program that
// began in a mount namespace of its own while the disk was mounted keeps it there,
// and a mount would find the file system that is already off.
func (d *Disk) awaitGone() {
	d.t.Helper()
	for range goneTries {
		used, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		if err != nil {
			d.t.Fatal(err)
		}
		if !slices.ContainsFunc(used, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.TrimSpace(string(text)) == d.image
		}) {
			return
		}
		time.Sleep(mountPause)
	}
	d.t.Fatalf("%s is unmounted, and something still holds its loop device", d.image)
}

// remove takes everything away, also after a test that failed half way and
// left files open: the mount goes at once, the loop device with its last user.
func (d *Disk) remove() {
	d.Quiet()
	if !d.up {
		return
	}
	if out, err := exec.Command(d.umount, d.Dir).CombinedOutput(); err != nil {
		d.t.Errorf("umount: %v: %s", err, out)
		if out, err := exec.Command(d.umount, "--lazy", d.Dir).CombinedOutput(); err != nil {
			d.t.Errorf("umount --lazy: %v: %s", err, out)
		}
	}
	d.up = false
}

func (d *Disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// copySparse copies the parts of a file that have data.
func copySparse(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := dst.Truncate(imageSize); err != nil {
		return err
	}
	for at := int64(0); ; {
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return dst.Close()
		}
		if err != nil {
			return fmt.Errorf("seek in %s: %w", from, err)
		}
		hole, err := unix.Seek(int(src.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("seek in %s: %w", from, err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, data), io.NewSectionReader(src, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
}

// noise is the unrelated program.
type noise struct {
	stop chan struct{}
	done sync.WaitGroup
}

func startNoise(path string) *noise {
	n := &noise{stop: make(chan struct{})}
	n.done.Go(func() {
		f, err := os.Create(path)
		if err != nil {
			return // the power is off
		}
		defer f.Close()
		for {
			select {
			case <-n.stop:
				return
			default:
			}
			if _, err := f.WriteAt([]byte("x"), 0); err != nil {
				return
			}
			if err := f.Sync(); err != nil {
				return
			}
		}
	})
	return n
}

func (n *noise) end() {
	close(n.stop)
	n.done.Wait()
}
