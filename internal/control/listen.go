package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"acctpull/internal/durable"
)

// Listener is the socket of an agent. Closing it removes the socket.
type Listener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
	lock *durable.Lock
	once sync.Once
	err  error
}

// Listen makes the socket, with mode 0600, in a directory that only the agent's
// user and root can write to; a missing directory is made.
//
// Which process has the socket is decided by a lock beside it, path + ".lock":
// what a dead process left is replaced, and of a live one nothing is touched
// (the error is then a *durable.LockedError, or matches ErrInUse). Anything at
// path that is no socket is left alone.
func Listen(path string) (*Listener, error) {
	if err := checkPath("listen", path); err != nil {
		return nil, err
	}
	if err := safeDirectory(filepath.Dir(path)); err != nil {
		return nil, &Error{Op: "listen", Path: path, Err: err, hint: "the directory has to belong to the user of the agent, mode 0750 or less; control-socket in the configuration chooses another"}
	}
	lock, err := durable.AcquireLock(path + ".lock")
	if err != nil {
		return nil, &Error{Op: "listen", Path: path, Err: err, hint: "another agent has this control socket; give each its own with control-socket in the configuration"}
	}
	l, err := bind(path)
	if err != nil {
		return nil, errors.Join(&Error{Op: "listen", Path: path, Err: err, hint: "control-socket in the configuration chooses another path"}, lock.Release())
	}
	l.lock = lock
	return l, nil
}

// safeDirectory makes the directory, and refuses one in which others could put
// a socket of their own in place of this one.
func safeDirectory(dir string) error {
	if err := durable.MkdirAll(dir); err != nil {
		return err
	}
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("everybody can write to the directory (mode %04o)", st.Mode().Perm())
	}
	if uid, ok := owner(st); ok && uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("the directory belongs to uid %d", uid)
	}
	return nil
}

func bind(path string) (*Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // by name; Close looks whether it is still ours
	// Until the mode is set the umask decides who can connect. Whoever does is
	// refused by the uid.
	err = os.Chmod(path, durable.StateMode)
	info, statErr := os.Lstat(path)
	if err := errors.Join(err, statErr); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &Listener{UnixListener: ln, path: path, info: info}, nil
}

// removeStale removes a socket at which nobody listens.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return errors.New("there is something else of this name, and no socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(ErrInUse, c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Close ends listening and removes the socket, unless another has its name by
// now. It does nothing the second time.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.err = l.UnixListener.Close()
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			l.err = errors.Join(l.err, os.Remove(l.path))
		}
		l.err = errors.Join(l.err, l.lock.Release())
	})
	return l.err
}
