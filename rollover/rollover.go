// Package rollover keeps the files that accounting records and event logs are
// written to: it names them, appends whole entries to the open one, closes it
// when its time is over, and puts right what a crash left.
//
// A [Log] owns one file-id. The open file lies in the collect directory
// (act-collect); when it rolls over it is finished and moved to the archive
// directory (act), where it never changes again. A sealed [File] is what the
// rest of the program works on. The rules are those of the 7210 SAS log guide,
// 5.2.4 and 5.4.3: the time is tested only when the log is written to, and the
// old file is archived before the new one is created.
//
// On disk a file is a sequence of gzip members: one for the header, one for
// each entry, one for the footer. An entry is committed when its member is
// complete and fsynced; everything up to the last committed member survives a
// crash, and [Recover] completes and seals it.
//
// The package knows no record and no policy. It logs nothing: it returns
// errors and calls one hook when a file was sealed. A Log is used by one
// goroutine at a time, and one process at a time works on a pair of
// directories (see durable.AcquireLock).
package rollover

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// File is a file of ours. Once it is in the archive directory it never
// changes.
type File struct {
	Name Name
	Path string // where it is
	Size int64  // bytes; 0 if nobody asked for it, see [List]
}

// Dirs is the pair of directories of one location. Both must lie on one file
// system. They are created, with their parents, when the first file is.
type Dirs struct {
	Collect string // files that are being written (act-collect)
	Archive string // finished files (act)
}

// torn is the directory beside the collect directory for files and tails that
// cannot be read. Nothing in it is ever deleted by this package.
func (d Dirs) torn() string { return filepath.Join(filepath.Dir(filepath.Clean(d.Collect)), "torn") }

// Reason tells the header of a new file why it was created.
const (
	ReasonStart    = "start"           // the first file since Open
	ReasonRollover = "rollover"        // the rollover time had passed
	ReasonManual   = "manual rollover" // the file before was ended by Roll
	ReasonError    = "error"           // the file before was ended by an error
)

// Options describe a log.
type Options struct {
	Dirs   Dirs
	Prefix Prefix
	ID     int    // accounting-policy id or log id, 1 to 99
	FileID int    // 1 to 99
	Ext    string // has to end in ".gz": ".xml.gz" for accounting files
	// Rollover is how long a file is written to. 0 means that only Roll and
	// Close end a file.
	Rollover time.Duration
	// Location is the time zone of the stamp in the name; nil means UTC.
	Location *time.Location
	// Header returns the first bytes of a new file; nil means none. The time
	// is that of the creation, to which the name comes as near as it can;
	// reason is one of the Reason constants.
	Header func(n Name, created time.Time, reason string) []byte
	// Footer returns the last bytes of a file; nil means none. It must not
	// depend on what the file holds: Recover calls it too.
	Footer func() []byte
	Level  int // gzip level 1 to 9; 0 means 6
	// Packer is a compressor to share; nil for one of its own. Level is that
	// of the Packer then.
	Packer *Packer
	// Reason is why the first file is created; "" for ReasonStart.
	Reason string
	// After is the newest name that was given before; the zero Mark if none is
	// known. See [Log.Last].
	After Mark
	// Elsewhere are other directories in which the name of a new file has to
	// be free. One that cannot be read is passed over.
	Elsewhere []Dirs
	// OnSeal is called after a file is durable in the archive directory. It
	// is a notice and not a ledger: a crash just before the call loses it.
	// nil means none.
	OnSeal func(File)
}

func (o Options) validate() error {
	switch {
	case o.Dirs.Collect == "" || o.Dirs.Archive == "":
		return errors.New("collect and archive directory have to be given")
	case filepath.Clean(o.Dirs.Collect) == filepath.Clean(o.Dirs.Archive):
		return errors.New("collect and archive directory have to differ")
	case !(Name{o.Prefix, o.ID, o.FileID, stampLayout, o.Ext}).Valid():
		return fmt.Errorf("prefix %q, id %d, file-id %d and extension %q make no file name", o.Prefix, o.ID, o.FileID, o.Ext)
	case !strings.HasSuffix(o.Ext, ".gz"):
		return fmt.Errorf("extension %q: only .gz files can be written", o.Ext)
	case o.Rollover < 0:
		return fmt.Errorf("rollover of %v", o.Rollover)
	case o.Level < 0 || o.Level > gzip.BestCompression:
		return fmt.Errorf("gzip level %d", o.Level)
	}
	return nil
}

// mine reports whether a name has the identity of these options. Without an
// id it is any identity that could be written here.
func (o Options) mine(n Name) bool {
	if !strings.HasSuffix(n.Ext, ".gz") || o.Prefix != "" && n.Prefix != o.Prefix {
		return false
	}
	return o.ID == 0 || n.ID == o.ID && n.FileID == o.FileID
}

// Log is the series of files of one file-id. Make it with [Open].
type Log struct {
	o      Options
	disk   disk
	out    *member // the gzip writer, reused for every member
	open   *open   // the file being written, nil if there is none
	entry  *Entry  // the entry being written, nil if there is none
	last   Mark    // the newest name of this log
	reason string  // why the next file will be created
	closed bool
}

// Check returns what is wrong with options, as Open would, and touches nothing.
func Check(o Options) error { return o.validate() }

// Open checks the options and returns a log. It opens and creates nothing:
// the first file appears with the first entry. If a file of this identity is
// still in the collect directory the error matches [ErrNotRecovered].
func Open(o Options) (*Log, error) { return openOn(osDisk{}, o) }

func openOn(d disk, o Options) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, &Error{Op: "open log", Err: err}
	}
	for name, err := range d.Names(o.Dirs.Collect) {
		if err != nil {
			return nil, &Error{Op: "open log", Err: err}
		}
		if n, err := ParseName(name); err == nil && o.mine(n) {
			return nil, &Error{Op: "open log", File: name, Err: ErrNotRecovered}
		}
	}
	return newLog(d, o), nil
}

func newLog(d disk, o Options) *Log {
	l := &Log{o: o, disk: d, last: o.After, reason: cmp.Or(o.Reason, ReasonStart)}
	if o.Packer != nil {
		l.out = o.Packer.out
	} else {
		l.out = newMember(o.Level)
	}
	return l
}

// Current returns the file that is being written and the number of bytes
// committed to it, false if there is none.
func (l *Log) Current() (File, bool) {
	if l.open == nil {
		return File{}, false
	}
	return File{Name: l.open.name, Path: l.open.path, Size: l.open.committed}, true
}

// Begin starts an entry. It is the one place where the rollover time is
// tested: if it has passed, the file is sealed and a new one created before
// the entry begins, so an entry is never split over two files. Only one entry
// is open at a time.
//
// After an error of an earlier write the file is first cut back to its last
// committed entry, sealed, and followed by a new one; as long as the disk does
// not allow that, Begin returns the error and nothing committed is touched.
func (l *Log) Begin(now time.Time) (*Entry, error) {
	if l.closed {
		return nil, &Error{Op: "begin entry", Err: ErrClosed}
	}
	if l.entry != nil {
		return nil, &Error{Op: "begin entry", File: l.open.name.String(), Err: ErrEntryOpen}
	}
	if l.Due(now) {
		if _, _, err := l.Seal(ReasonRollover); err != nil {
			return nil, err
		}
	}
	if err := l.Create(now); err != nil {
		return nil, err
	}
	l.entry = &Entry{log: l}
	return l.entry, nil
}

// Due tells whether the open file has to be sealed before the next entry: its
// rollover time has passed, or it had an error. It counts the age of the file,
// so it has to see every now; with no open file it returns false.
func (l *Log) Due(now time.Time) bool {
	f := l.open
	return f != nil && (f.due(now, l.o.Rollover) || f.state != writable)
}

// SetRollover changes how long files are written to, the open one included.
func (l *Log) SetRollover(d time.Duration) { l.o.Rollover = d }

// Create makes the next file if none is open. It is part of Begin; by itself
// it serves a caller that writes packed entries. A file that had an error has
// to be sealed first: the error matches [ErrBroken] until it is.
func (l *Log) Create(now time.Time) error {
	switch {
	case l.closed:
		return &Error{Op: "create file", Err: ErrClosed}
	case l.open == nil:
		return l.create(now)
	case l.open.state != writable:
		return &Error{Op: "create file", File: l.open.name.String(), Err: ErrBroken}
	}
	return nil
}

// Broken tells whether the open file had an error and waits to be sealed.
func (l *Log) Broken() bool { return l.open != nil && l.open.state != writable }

// Last returns the newest name that the log gave, or Options.After.
func (l *Log) Last() Mark { return l.last }

// Append writes one whole entry and commits it.
func (l *Log) Append(now time.Time, entry []byte) error {
	e, err := l.Begin(now)
	if err != nil {
		return err
	}
	if _, err := e.Write(entry); err != nil {
		return errors.Join(err, e.Abort())
	}
	return e.Commit()
}

// Roll seals the open file, whatever its age, and returns it. With no open
// file it returns false.
func (l *Log) Roll() (File, bool, error) { return l.Seal(ReasonManual) }

// Seal is Roll for another reason, which the header of the next file will give.
// A file that had an error gives way to the next for [ReasonError].
func (l *Log) Seal(reason string) (File, bool, error) {
	if l.closed {
		return File{}, false, &Error{Op: "roll over", Err: ErrClosed}
	}
	if l.entry != nil {
		return File{}, false, &Error{Op: "roll over", File: l.open.name.String(), Err: ErrEntryOpen}
	}
	if l.open != nil && l.open.state == writable {
		l.reason = reason
	}
	return l.seal()
}

// Close aborts an open entry, seals the open file and ends the log. After an
// error it can be called again; if it is not, Recover finds the file.
func (l *Log) Close() error {
	if l.closed {
		return nil
	}
	var err error
	if l.entry != nil {
		err = l.entry.Abort()
	}
	_, _, sealErr := l.seal()
	l.closed = sealErr == nil
	return errors.Join(err, sealErr)
}
