//go:build unix && !linux

package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const errNotDir = unix.ENOTDIR

// renameNoReplace does not exist here; link and unlink do the same work.
func renameNoReplace(string, string) error { return errors.ErrUnsupported }

// DropCache does nothing where the kernel offers no way to drop the pages of
// one file.
func DropCache(*os.File) error { return nil }

// heldInode knows nothing here.
func heldInode(os.FileInfo) (held, known bool) { return false, false }

// Exchange is not offered here.
func Exchange(a, b string) error {
	return &os.LinkError{Op: "exchange", Old: a, New: b, Err: ErrNoExchange}
}
