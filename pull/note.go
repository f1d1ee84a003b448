package pull

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"acctpull/internal/durable"
	"acctpull/ledger"
)

// Note is what stands beside a file in quarantine.
type Note struct {
	// Key is how the device listed the file.
	ledger.Key
	SHA256 string // of the bytes, lower case hex
	// Reason is why they were not trusted, Since when that was. Since is in
	// whole seconds.
	Reason string
	Since  time.Time
	// Purged is when the bytes were removed, on purpose and to make room; the
	// note stays. Zero: they are there.
	Purged time.Time
}

// NotePath is where the note of a file in quarantine lies.
func NotePath(stored string) string { return stored + reasonSuffix }

// text is the note as it is written, without the digest.
func (n Note) text() string {
	text := fmt.Sprintf("reason: %s\ndevice: %s\npath: %s\nname: %s\nsize: %d\nmtime: %d\nsha256: %s\nquarantined: %s\n",
		n.Reason, n.Device, n.Path, n.Name, n.Size, n.MTime, n.SHA256, n.Since.UTC().Format(time.RFC3339))
	if !n.Purged.IsZero() {
		text += fmt.Sprintf("purged: %s\n", n.Purged.UTC().Format(time.RFC3339))
	}
	return text
}

// maxNote bounds a note that is read: ours are shorter.
const maxNote = 64 << 10

// ReadNote reads a note and proves it by the digest in its last line; the error
// then matches durable.ErrDigest.
func ReadNote(file string) (Note, error) {
	var n Note
	fail := func(err error) (Note, error) { return n, &Error{Op: "read note", File: file, Err: err} }
	if st, err := os.Stat(file); err != nil {
		return fail(err)
	} else if st.Size() > maxNote {
		return fail(fmt.Errorf("%w: it has %d bytes", durable.ErrDigest, st.Size()))
	}
	if err := noteDigest.CheckFile(file); err != nil {
		return fail(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fail(err)
	}
	if n, err = parseNote(string(text)); err != nil {
		return fail(err)
	}
	return n, nil
}

func parseNote(text string) (n Note, err error) {
	moment := func(s string) time.Time {
		t, e := time.Parse(time.RFC3339, s)
		err = errors.Join(err, e)
		return t
	}
	number := func(s string) int64 {
		v, e := strconv.ParseInt(s, 10, 64)
		err = errors.Join(err, e)
		return v
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch key {
		case "reason":
			n.Reason = value
		case "device":
			n.Device = value
		case "path":
			n.Path = value
		case "name":
			n.Name = value
		case "size":
			n.Size = number(value)
		case "mtime":
			n.MTime = number(value)
		case "sha256":
			n.SHA256 = value
		case "quarantined":
			n.Since = moment(value)
		case "purged":
			n.Purged = moment(value)
		}
	}
	return n, err
}

// Isolated returns the files of a device in quarantine, without their notes, as
// slash paths relative to the data directory, sorted. Files on their way are
// left out.
func Isolated(data, device string) ([]string, error) {
	return isolated(data, device, func(name string) bool { return !strings.HasSuffix(name, reasonSuffix) })
}

// Notes returns the notes of a device in quarantine in the same form.
func Notes(data, device string) ([]string, error) {
	return isolated(data, device, func(name string) bool { return strings.HasSuffix(name, reasonSuffix) })
}

func isolated(data, device string, want func(name string) bool) ([]string, error) {
	dir := path.Join(quarantineDir, DirName(device))
	entries, err := os.ReadDir(filepath.Join(data, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && !durable.IsTemp(e.Name()) && want(e.Name()) {
			files = append(files, path.Join(dir, e.Name()))
		}
	}
	return files, err
}

// QuarantineDevices returns the names of the devices that have a directory in
// the quarantine, sorted by directory.
func QuarantineDevices(data string) ([]string, error) {
	return devicesIn(filepath.Join(data, quarantineDir))
}

// Sealed returns the files that lie where closed files of a device belong, as
// slash paths relative to the data directory, sorted. Files on their way are
// left out; what else does not belong there is in it.
func Sealed(data, device string) ([]string, error) {
	dirs, err := SealedDirs(data, device)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(data, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() || durable.IsTemp(e.Name()) {
				continue
			}
			files = append(files, path.Join(filepath.ToSlash(rel), e.Name()))
		}
	}
	slices.Sort(files)
	return files, nil
}
