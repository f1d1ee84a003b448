package durable

import (
	"errors"
	"fmt"
	"os"

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
