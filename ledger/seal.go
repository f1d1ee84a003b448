package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"acctpull/internal/durable"
)

// The seal of a ledger file is the checksum of all its bytes, those that hold
// nothing included, in a file beside it: "crc32c 1a2b3c4d bytes 40960". A
// process removes it before its first write and makes it anew when it closes
// the ledger as the last one. So a seal that is there speaks of the bytes that
// are there, and one flipped bit anywhere between two runs is found.

// sealSuffix follows the name of the ledger file.
const sealSuffix = "-sum"

// unseal removes the seal, durably, before the first write of this process.
func (l *Ledger) unseal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrote || l.file == "" {
		return nil
	}
	err := os.Remove(l.file + sealSuffix)
	if err == nil {
		err = durable.SyncDir(filepath.Dir(l.file))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.wrote = true
	return nil
}

// seal makes the seal if this process wrote and nobody has the ledger open any
// more: SQLite removes the write-ahead log with the last connection.
func (l *Ledger) seal() error {
	l.mu.Lock()
	due := l.wrote && l.failed == nil
	l.wrote = false
	l.mu.Unlock()
	if !due || hasLog(l.file) {
		return nil
	}
	text, err := sealOf(l.file)
	if err != nil {
		return err
	}
	if err := durable.ReplaceFile(l.file+sealSuffix, []byte(text), durable.StateMode); err != nil {
		return err
	}
	if hasLog(l.file) { // somebody opened it meanwhile and may write
		err = os.Remove(l.file + sealSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}

func hasLog(file string) bool {
	_, err := os.Lstat(file + "-wal")
	return !errors.Is(err, fs.ErrNotExist)
}

// sealOf reads the whole file, not through the page cache.
func sealOf(file string) (_ string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := durable.DropCache(f); err != nil {
		return "", err
	}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.Copy(h, bufio.NewReaderSize(f, 1<<18))
	return fmt.Sprintf("crc32c %08x bytes %d\n", h.Sum32(), n), err
}

// CheckSeal compares the bytes of the ledger file at path with the seal that
// the last process made which wrote to it. It reads both, does not open the
// ledger, and needs no other process to be away. Without a seal, because a
// process works with the ledger or was killed, sealed is false and nothing is
// known. A mismatch is ErrDamaged: ask again before you believe it, for a
// process may have begun to write meanwhile.
func CheckSeal(path string) (sealed bool, err error) {
	fail := func(err error) (bool, error) { return true, &Error{Op: "check", Path: path, Err: err} }
	want, err := os.ReadFile(path + sealSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return fail(err)
	}
	have, err := sealOf(path)
	if err != nil {
		return fail(err)
	}
	if have != string(want) {
		return fail(fmt.Errorf("%w: its bytes are not those of its seal %s", ErrDamaged, filepath.Base(path)+sealSuffix))
	}
	return true, nil
}
