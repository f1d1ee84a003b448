package durable

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const errNotDir = unix.ENOTDIR

// renameNoReplace moves atomically. File systems that do not know the flag
// answer EINVAL, kernels that do not know the call ENOSYS; both come back as
// errors.ErrUnsupported.
func renameNoReplace(oldpath, newpath string) error {
	for {
		err := unix.Renameat2(unix.AT_FDCWD, oldpath, unix.AT_FDCWD, newpath, unix.RENAME_NOREPLACE)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EINVAL || err == unix.ENOSYS:
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
		return err
	}
}

// DropCache asks the kernel to forget the clean cached pages of a file, so
// that the next read comes from the disk.
func DropCache(f *os.File) error {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return &os.PathError{Op: "fadvise", Path: f.Name(), Err: err}
	}
	return nil
}

// heldInode looks the file up in the table of locks of the kernel, whose lines
// are "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF": device numbers in
// hexadecimal, then the inode.
func heldInode(st os.FileInfo) (held, known bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	table, err := os.ReadFile("/proc/locks")
	if !ok || err != nil {
		return false, false
	}
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(sys.Dev), unix.Minor(sys.Dev), sys.Ino)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && f[3] == "WRITE" && f[5] == want {
			return true, true
		}
	}
	return false, true
}

// Exchange lets two names of one file system, of files or directories, change
// places in one moment: whoever looks finds both, as they were or exchanged. It
// makes nothing durable: fsync the directories of both. A file system that
// cannot do it (NFS, most in user space) answers with [ErrNoExchange], and
// nothing has changed.
func Exchange(a, b string) error {
	for {
		var err error = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP:
			err = fmt.Errorf("%w: %w", ErrNoExchange, err)
		}
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
}
