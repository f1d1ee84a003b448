package durable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError says that another process holds a lock.
type LockedError struct {
	Path string // the lock file
	PID  int    // the holder, 0 if its id is not in the file
}

// Error implements error.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("lock %s: locked by another process", e.Path)
	}
	return fmt.Sprintf("lock %s: locked by pid %d", e.Path, e.PID)
}

// Hint says what a person can do.
func (e *LockedError) Hint() string {
	return "wait until the other process ends, or end it; the lock goes away with the process, there is no file to remove"
}

// Lock is a lock on a state file, held by this process.
type Lock struct {
	f       *os.File
	unnamed bool // the process id is not in the file
}

// AcquireLock takes the exclusive lock on a state file without waiting and
// writes the process id into it, if the disk has room for it. If another process, or another AcquireLock
// of this one, holds it the error is a [*LockedError].
//
// The lock is flock(2): the kernel drops it when the process ends however it
// ends, so nothing stale is left by kill -9. The file itself stays.
func AcquireLock(path string) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, StateMode)
		if err != nil {
			return nil, err
		}
		if err := flock(f, unix.LOCK_EX); err != nil {
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = &LockedError{Path: path, PID: readPID(f)}
			} else {
				err = &os.PathError{Op: "lock", Path: path, Err: err}
			}
			return nil, errors.Join(err, f.Close())
		}
		same, err := stillThere(f, path)
		if err == nil && same {
			// The lock holds without the id: a full disk must not keep out who
			// comes to make room on it.
			if err = writePID(f); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
				err = nil
			}
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if same {
			return &Lock{f: f}, nil
		}
		// Somebody removed the file between open and lock: a lock on a file
		// without a name excludes nobody.
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// Release gives the lock back. The file stays: removing it would let two
// processes lock two different files of the same name.
func (l *Lock) Release() error {
	f := l.f
	l.f = nil
	if f == nil {
		return nil
	}
	if l.unnamed {
		return f.Close()
	}
	return errors.Join(f.Truncate(0), f.Close())
}

// Holder returns the id of the process that holds the lock on a state file, 0
// if none does. It takes no lock, so it keeps nobody out; the answer may be old
// by the time it is read. A process that was killed and whose id another
// process has by now is taken for the holder.
func Holder(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	pid := readPID(f)
	_ = f.Close() // it was only read
	if pid == 0 || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return 0
	}
	return pid
}

// WaitLock takes a lock on a state file as soon as it can be had, or returns the
// cause of the end of ctx. Shared locks may be held by many at once while nobody
// holds the exclusive one. Who holds a lock taken here is not in the file. Like
// [AcquireLock] it is flock(2), which NFS too hands on to its server.
func WaitLock(ctx context.Context, path string, shared bool) (*Lock, error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, StateMode)
	if err != nil {
		return nil, err
	}
	for wait := lockWaitMin; ; wait = min(2*wait, lockWaitMax) {
		err := flock(f, how)
		if err == nil {
			return &Lock{f: f, unnamed: true}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}

// How long WaitLock waits before it tries again.
const (
	lockWaitMin = time.Millisecond
	lockWaitMax = 20 * time.Millisecond
)

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err != unix.EINTR {
			return err
		}
	}
}

func stillThere(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(mine, named), nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readPID returns the id in a lock file, 0 if there is none to read.
func readPID(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// Held tells whether some process of this machine holds the lock file at path,
// without touching the lock. known is false where the system does not tell.
// Processes of other machines, and of other PID namespaces, are not seen.
func Held(path string) (held, known bool) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, true
	}
	if err != nil {
		return false, false
	}
	return heldInode(st)
}
