package pull

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"acctpull/internal/durable"

	"golang.org/x/sys/unix"
)

// Names below the data directory; docs/formats/archive.md.
const (
	devicesDir    = "devices"
	collectDir    = "act-collect"
	sealedDir     = "act"
	otherDir      = "alt" // in act/: other content under a taken name
	quarantineDir = "quarantine"
	reasonSuffix  = ".reason.txt"
)

// noteDigest ends a note.
var noteDigest = durable.Digest{Before: "digest: "}

// maxDevice is the longest device name, in bytes: its encoding has at most three
// times as many and must be a file name.
const maxDevice = 80

// CheckDevice reports whether a device name can be kept: not empty, at most 80
// bytes of UTF-8, printable.
func CheckDevice(device string) error {
	switch {
	case device == "":
		return errors.New("device name is empty")
	case len(device) > maxDevice:
		return fmt.Errorf("device name %s is longer than %d bytes", quote(device), maxDevice)
	case !utf8.ValidString(device) || strings.ContainsFunc(device, notInName):
		return fmt.Errorf("device name %s has characters that cannot be printed", quote(device))
	}
	return nil
}

// dirBytes stay as they are in the directory name of a device.
const dirBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// DirName returns the name of the directory of a device: letters, digits, minus,
// underscore and dot stand for themselves, every other byte, and a dot in front,
// is % and two upper case hexadecimal digits. Different devices have different
// directories.
func DirName(device string) string {
	var b strings.Builder
	for i, c := range []byte(device) {
		if strings.IndexByte(dirBytes, c) < 0 || i == 0 && c == '.' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// DeviceName is the inverse of DirName. It refuses what DirName does not write.
func DeviceName(dir string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(dir); i++ {
		if dir[i] != '%' {
			b.WriteByte(dir[i])
			continue
		}
		var c [1]byte
		if i+2 >= len(dir) {
			return "", fmt.Errorf("directory %s is not one of a device", quote(dir))
		}
		if _, err := hex.Decode(c[:], []byte(dir[i+1:i+3])); err != nil {
			return "", fmt.Errorf("directory %s is not one of a device", quote(dir))
		}
		b.WriteByte(c[0])
		i += 2
	}
	device := b.String()
	if DirName(device) != dir || CheckDevice(device) != nil {
		return "", fmt.Errorf("directory %s is not one of a device", quote(dir))
	}
	return device, nil
}

// SealedDirs returns the directories that hold the closed files of a device, as
// they are on disk: act/, and every act/alt/<hash>/ that exists. Retention and
// recovery go through all of them. A device without any gets none.
func SealedDirs(data, device string) ([]string, error) {
	act := filepath.Join(data, devicesDir, DirName(device), sealedDir)
	if _, err := os.Stat(act); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	dirs := []string{act}
	alts, err := os.ReadDir(filepath.Join(act, otherDir))
	if errors.Is(err, fs.ErrNotExist) {
		return dirs, nil
	}
	for _, a := range alts {
		if a.IsDir() {
			dirs = append(dirs, filepath.Join(act, otherDir, a.Name()))
		}
	}
	return dirs, err
}

// Devices returns the names of the devices that have a directory in the archive.
func Devices(data string) ([]string, error) {
	dirs, err := os.ReadDir(filepath.Join(data, devicesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range dirs {
		name, err := DeviceName(d.Name())
		if err != nil || !d.IsDir() {
			continue // not ours
		}
		names = append(names, name)
	}
	return names, nil
}

// archive is where the files of one device are kept.
type archive struct {
	data, device string
	touched      map[string]bool // directories whose names are not durable yet
}

func newArchive(data, device string) *archive {
	return &archive{data: data, device: device, touched: make(map[string]bool)}
}

// collect is the directory of files on their way.
func (a *archive) collect() string {
	return filepath.Join(a.data, devicesDir, DirName(a.device), collectDir)
}

// sealed is the directory of closed files.
func (a *archive) sealed() string {
	return filepath.Join(a.data, devicesDir, DirName(a.device), sealedDir)
}

// quarantine is the directory of files that could not be trusted.
func (a *archive) quarantine() string {
	return filepath.Join(a.data, quarantineDir, DirName(a.device))
}

// prepare makes the directories that every run needs.
func (a *archive) prepare() error {
	return errors.Join(durable.MkdirAll(a.collect()), durable.MkdirAll(a.sealed()))
}

// rel returns the slash path of a file relative to the data directory, which is
// how the ledger names it.
func (a *archive) rel(file string) (string, error) {
	r, err := filepath.Rel(a.data, file)
	return filepath.ToSlash(r), err
}

// publish gives a fetched file, which is durable under its temporary path, its
// name in act/. The names become durable with sync. If the name is taken by
// the same content, that file stays and the temporary one is left to the caller
// to remove; if it is taken by other content, the file goes to
// act/alt/<first 16 digits of its hash>/, and other is true.
func (a *archive) publish(temp, name, sum string) (stored string, other bool, err error) {
	final := filepath.Join(a.sealed(), name)
	placed, err := a.place(temp, final, sum)
	if err == nil && !placed {
		other = true
		final = filepath.Join(a.sealed(), otherDir, sum[:16], name)
		if err = durable.MkdirAll(filepath.Dir(final)); err != nil {
			return "", other, err
		}
		if placed, err = a.place(temp, final, sum); err == nil && !placed {
			err = fmt.Errorf("%s holds other content than its name says", final)
		}
	}
	if err != nil {
		return "", other, err
	}
	stored, err = a.rel(final)
	return stored, other, err
}

// place moves a file to a name, or finds that it is there already. It returns
// false if the name holds other content.
func (a *archive) place(temp, final, sum string) (bool, error) {
	err := durable.MoveNoReplace(temp, final)
	switch {
	case err == nil:
		a.touched[filepath.Dir(temp)] = true
	case !errors.Is(err, fs.ErrExist):
		return false, err
	default:
		there, _, err := durable.Sum(final)
		if err != nil || there != sum {
			return false, err
		}
		// A crash may have left it before its name was durable.
		if err := durable.SyncFile(final); err != nil {
			return false, err
		}
	}
	a.touched[filepath.Dir(final)] = true
	return true, nil
}

// isolate moves a file that cannot be trusted to the quarantine, with the reason
// beside it, and makes both durable.
func (a *archive) isolate(temp, name, sum, reason string) (stored string, err error) {
	if err := durable.MkdirAll(a.quarantine()); err != nil {
		return "", err
	}
	final := filepath.Join(a.quarantine(), name+"-"+sum[:8])
	placed, err := a.place(temp, final, sum)
	if err == nil && !placed {
		final = filepath.Join(a.quarantine(), name+"-"+sum)
		if placed, err = a.place(temp, final, sum); err == nil && !placed {
			err = fmt.Errorf("%s holds other content than its name says", final)
		}
	}
	if err != nil {
		return "", err
	}
	if err := durable.ReplaceFile(final+reasonSuffix, noteDigest.Append([]byte(reason)), durable.DataMode); err != nil {
		return "", err
	}
	if err := a.sync(); err != nil {
		return "", err
	}
	return a.rel(final)
}

// sync makes every name durable that was given or taken away since the last
// sync.
func (a *archive) sync() error {
	var errs []error
	for dir := range a.touched {
		errs = append(errs, durable.SyncDir(dir))
	}
	clear(a.touched)
	return errors.Join(errs...)
}

// checkSpace returns ErrSpace if a file system has less free than it should.
func checkSpace(dir string, want Space) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	block := uint64(st.Bsize)
	free, least := st.Bavail*block, min(uint64(want.Bytes), st.Blocks*block/100*uint64(want.Percent))
	if free < least {
		return &hinted{fmt.Errorf("%w: %s has %d MiB, wanted are %d MiB", ErrSpace, dir, free>>20, least>>20),
			"free space, shorten the retention of the archive, or move the data directory"}
	}
	return nil
}

// hexSum returns a digest as the ledger writes it.
func hexSum(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:]) }

// underData resolves a path of the ledger, or returns "" for one that does not
// lie in the data directory.
func underData(data, stored string) string {
	if stored == "" || path.IsAbs(stored) || path.Clean(stored) != stored || strings.HasPrefix(stored, "../") {
		return ""
	}
	return filepath.Join(data, filepath.FromSlash(stored))
}
