package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"acctpull/internal/depot"
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
	// Released is when a person took the file as it is, By whom and Why.
	// Zero: nobody did. With Salvage its whole records are taken although it
	// is cut off.
	Released time.Time
	By, Why  string
	Salvage  bool
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
	if !n.Released.IsZero() {
		text += fmt.Sprintf("released: %s\nby: %s\nwhy: %s\nsalvage: %t\n", n.Released.UTC().Format(time.RFC3339), clean(n.By), clean(n.Why), n.Salvage)
	}
	return text
}

// maxNote bounds a note that is read: ours are shorter.
const maxNote = 64 << 10

// ReadNote reads the note at a path of a depot and proves it by the digest in
// its last line; if that is wrong the error matches durable.ErrDigest.
func ReadNote(ctx context.Context, d depot.Reader, at string) (Note, error) {
	n, err := readNote(ctx, d, at)
	if err != nil {
		return n, &Error{Op: "read note", File: at, Err: err}
	}
	return n, nil
}

func readNote(ctx context.Context, d depot.Reader, at string) (n Note, err error) {
	if err := depot.CheckDigest(ctx, d, at, noteDigest); err != nil {
		return n, err
	}
	f, err := d.Open(ctx, at)
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.Size() > maxNote {
		return n, fmt.Errorf("%w: it has %d bytes", durable.ErrDigest, f.Size())
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return n, err
	}
	return parseNote(string(text))
}

// WriteNote writes a note beside the file at stored, over an older one.
func WriteNote(ctx context.Context, d depot.Writer, stored string, n Note) error {
	if err := d.Replace(ctx, NotePath(stored), noteDigest.Append([]byte(n.text()))); err != nil {
		return &Error{Op: "write note", Device: n.Device, File: n.Name, Err: err}
	}
	return nil
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
		case "released":
			n.Released = moment(value)
		case "by":
			n.By = value
		case "why":
			n.Why = value
		case "salvage":
			n.Salvage = value == "true"
		}
	}
	return n, err
}

// Isolated returns the files of a device in quarantine and their notes, as paths
// of the depot, sorted. A note may be there without its file, and the other way
// round.
func Isolated(ctx context.Context, d depot.Reader, device string) (files, notes []string, err error) {
	for e, err := range d.List(ctx, quarantineDir+"/"+DirName(device)) {
		if err != nil {
			return nil, nil, err
		}
		if strings.HasSuffix(e.Path, reasonSuffix) {
			notes = append(notes, e.Path)
		} else {
			files = append(files, e.Path)
		}
	}
	slices.Sort(files)
	slices.Sort(notes)
	return files, notes, nil
}

// IsolatedPath is where a file in quarantine lies.
func IsolatedPath(device, name, sha256 string) string {
	return quarantineDir + "/" + DirName(device) + "/" + name + "-" + sha256[:8]
}

// KeptDevices returns the names of the devices that have a file in the archive or in
// quarantine, sorted.
func KeptDevices(ctx context.Context, d depot.Reader) ([]string, error) {
	all := map[string]bool{}
	for _, dir := range []string{devicesDir, quarantineDir} {
		for e, err := range d.List(ctx, dir) {
			if err != nil {
				return nil, err
			}
			parts := strings.SplitN(e.Path, "/", 3)
			if len(parts) < 3 || dir == devicesDir && !strings.HasPrefix(parts[2], sealedDir+"/") {
				continue
			}
			if device, err := DeviceName(parts[1]); err == nil {
				all[device] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all)), nil
}
