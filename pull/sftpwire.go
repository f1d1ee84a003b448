package pull

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
)

// The packets of SFTP version 3, draft-ietf-secsh-filexfer-02, as far as a reader
// needs them, and one that may remove what it has: what devices speak. Numbers are those of section 3.
const (
	fxpInit     = 1
	fxpVersion  = 2
	fxpOpen     = 3
	fxpClose    = 4
	fxpRead     = 5
	fxpLstat    = 7
	fxpOpendir  = 11
	fxpReaddir  = 12
	fxpRemove   = 13
	fxpStatus   = 101
	fxpHandle   = 102
	fxpData     = 103
	fxpName     = 104
	fxpAttrs    = 105
	fxpProtocol = 3 // the version
)

// Codes of a STATUS, section 7.
const (
	statusOK         = 0
	statusEOF        = 1
	statusNoFile     = 2
	statusPermission = 3
	statusFailure    = 4
)

// Bounds of what is taken from a peer.
const (
	maxSFTPPacket = 256 << 10 // what other clients take
	maxSFTPHandle = 256       // section 3: the longest handle
)

// sftpError is a STATUS that is no success.
type sftpError struct {
	code uint32
	text string // of the device
}

var statusNames = [...]string{"ok", "end of file", "no such file", "permission denied", "failure", "bad message", "no connection", "connection lost", "operation not supported"}

func (e *sftpError) Error() string {
	name := fmt.Sprintf("status %d", e.code)
	if e.code < uint32(len(statusNames)) {
		name = statusNames[e.code]
	}
	text := clean(strings.TrimSpace(e.text))
	if text == "" || strings.EqualFold(text, name) {
		return "SFTP: " + name
	}
	return "SFTP: " + name + ": " + text
}

// Is makes the errors of the file system match.
func (e *sftpError) Is(target error) bool {
	return target == fs.ErrNotExist && e.code == statusNoFile || target == fs.ErrPermission && e.code == statusPermission
}

// request appends one request: its arguments are uint32, uint64 and string.
func request(b []byte, kind byte, id uint32, args ...any) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, kind)
	b = binary.BigEndian.AppendUint32(b, id)
	for _, a := range args {
		switch a := a.(type) {
		case uint32:
			b = binary.BigEndian.AppendUint32(b, a)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, a)
		case string:
			b = binary.BigEndian.AppendUint32(b, uint32(len(a)))
			b = append(b, a...)
		}
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// answer is one packet of the device, without length and id. Its bytes are only
// good until the next packet is read.
type answer struct {
	kind byte
	body []byte
}

// fields reads the fields of an answer. After the first that is not there, the
// others are zero and short is true.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) take(n uint64) []byte {
	if f.short || n > uint64(len(f.b)) {
		f.short = true
		return nil
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) u32() uint32 {
	if v := f.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if v := f.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// text is a string field.
func (f *fields) text() []byte { return f.take(uint64(f.u32())) }

// sftpStat is what a device tells about a file, section 5.
type sftpStat struct {
	size  uint64
	mode  uint32
	mtime uint32
	sized bool // the size is there
}

// stat reads an ATTRS field. What a device adds to it is passed over.
func (f *fields) stat() sftpStat {
	var s sftpStat
	flags := f.u32()
	if flags&1 != 0 {
		s.size, s.sized = f.u64(), true
	}
	if flags&2 != 0 {
		f.take(8) // owner and group
	}
	if flags&4 != 0 {
		s.mode = f.u32()
	}
	if flags&8 != 0 {
		f.take(4) // the time of access
		s.mtime = f.u32()
	}
	if flags&(1<<31) != 0 {
		for n := f.u32(); n > 0 && !f.short; n-- {
			f.text()
			f.text()
		}
	}
	return s
}

// The kinds of directory entries that matter.
const (
	unknownFile = 0
	regularFile = 0o100000
	fileKind    = 0o170000
)

// kind is the type of the file, unknownFile if the device does not tell.
func (s sftpStat) kind() uint32 { return s.mode & fileKind }

// status reads a STATUS. It is nil for success.
func (a answer) status() (*sftpError, error) {
	f := fields{b: a.body}
	e := &sftpError{code: f.u32()}
	if f.short {
		return nil, a.malformed()
	}
	// The text is missing where a device follows an older draft.
	e.text = cut(string(f.text()), 2*peerTextLimit)
	if e.code == statusOK {
		return nil, nil
	}
	return e, nil
}

// handle reads a HANDLE.
func (a answer) handle() (string, error) {
	f := fields{b: a.body}
	h := f.text()
	if f.short || len(h) > maxSFTPHandle {
		return "", a.malformed()
	}
	return string(h), nil
}

// data reads a DATA.
func (a answer) data() ([]byte, error) {
	f := fields{b: a.body}
	d := f.text()
	switch {
	case f.short:
		return nil, a.malformed()
	case len(d) == 0:
		return nil, protocolError("SFTP: empty block instead of the end of the file")
	}
	return d, nil
}

// stat reads an ATTRS.
func (a answer) stat() (sftpStat, error) {
	f := fields{b: a.body}
	s := f.stat()
	if f.short {
		return s, a.malformed()
	}
	return s, nil
}

// names reads a NAME and calls f for every entry. The name is only good for the
// call.
func (a answer) names(each func(name []byte, s sftpStat)) error {
	f := fields{b: a.body}
	for n := f.u32(); n > 0 && !f.short; n-- {
		name := f.text()
		f.text() // as a person would like it
		s := f.stat()
		if !f.short {
			each(name, s)
		}
	}
	if f.short {
		return a.malformed()
	}
	return nil
}

// count is how many entries a NAME says it has.
func (a answer) count() uint32 {
	f := fields{b: a.body}
	return f.u32()
}

func (a answer) malformed() error {
	return protocolError("SFTP packet of type %d with %d bytes does not hold what it should", a.kind, len(a.body)+5)
}

// unexpected says that an answer of another type was due, or a success was none.
func (a answer) unexpected() error {
	return protocolError("SFTP: packet type %d does not answer the request", a.kind)
}
