package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/rollover"

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

// archive is where the files of one device are kept: on their way below the
// data directory, finished in a depot.
type archive struct {
	data, device string
	depot        depot.Depot
}

// collect is the local directory of files on their way.
func (a *archive) collect() string {
	return filepath.Join(a.data, devicesDir, DirName(a.device), collectDir)
}

// SealedPath returns the directory in the depot that holds the closed files of a
// device, as a slash path: its act/, with act/alt/<hash>/ below it.
func SealedPath(device string) string { return devicesDir + "/" + DirName(device) + "/" + sealedDir }

// ParseSealed tells whose file lies at a path below a SealedPath, and its name;
// ok is false for anything else that may lie there.
func ParseSealed(at string) (device string, name rollover.Name, ok bool) {
	e := strings.Split(at, "/")
	alt := len(e) == 6 && e[3] == otherDir
	if len(e) != 4 && !alt || e[0] != devicesDir || e[2] != sealedDir {
		return "", name, false
	}
	name, err := rollover.ParseName(e[len(e)-1])
	if err != nil || name.Prefix != rollover.Act {
		return "", name, false
	}
	device, err = DeviceName(e[1])
	return device, name, err == nil
}

// prepare makes the directories that every run needs.
func (a *archive) prepare() error { return durable.MkdirAll(a.collect()) }

// publish gives fetched files their names in act/ and makes them durable; Path
// is the plain name on entry and where the file lies on return. A name that is
// taken by other content sends the file to act/alt/<first 16 digits of its
// hash>/, and other is true for it.
func (a *archive) publish(ctx context.Context, files []depot.File) (other []bool, err error) {
	names := make([]string, len(files))
	for i := range files {
		names[i] = files[i].Path
		files[i].Path = SealedPath(a.device) + "/" + names[i]
	}
	return a.place(ctx, files, func(i int) string {
		return SealedPath(a.device) + "/" + otherDir + "/" + files[i].SHA256[:16] + "/" + names[i]
	})
}

// place publishes files, and those whose path is taken by other content under
// their second path.
func (a *archive) place(ctx context.Context, files []depot.File, second func(i int) string) (other []bool, err error) {
	other = make([]bool, len(files))
	placed, err := a.depot.Publish(ctx, files)
	if err != nil {
		return nil, err
	}
	var rest []depot.File
	for i, p := range placed {
		if p.Outcome == depot.Taken {
			other[i] = true
			files[i].Path = second(i)
			rest = append(rest, files[i])
		}
	}
	if len(rest) == 0 {
		return other, nil
	}
	if placed, err = a.depot.Publish(ctx, rest); err != nil {
		return nil, err
	}
	for i, p := range placed {
		if p.Outcome == depot.Taken {
			return nil, fmt.Errorf("%s holds other content than its name says", rest[i].Path)
		}
	}
	return other, nil
}

// isolate moves a file that cannot be trusted to the quarantine, with the reason
// beside it, and makes both durable.
func (a *archive) isolate(ctx context.Context, local, name, sum string, size int64, reason Note) (stored string, err error) {
	at := quarantineDir + "/" + DirName(a.device) + "/" + name + "-"
	files := []depot.File{{Path: at + sum[:8], Local: local, SHA256: sum, Size: size}}
	if _, err := a.place(ctx, files, func(int) string { return at + sum }); err != nil {
		return "", err
	}
	return files[0].Path, WriteNote(ctx, a.depot, files[0].Path, reason)
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
