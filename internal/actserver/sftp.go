package actserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pkg/sftp"
)

// sftp serves the SFTP subsystem on one session and returns its exit status.
func (c *conn) sftp(rw io.ReadWriteCloser) uint32 {
	h := &sftpHandlers{c: c, open: make(map[string]*sftpFile)}
	server := sftp.NewRequestServer(&readOnlyWire{ReadWriteCloser: rw}, sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h})
	if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

// Packet types that readOnlyWire looks for.
const (
	packetVersion  = 2
	packetWrite    = 6
	packetExtended = 200
)

// readOnlyWire stands between the client and the library, where two packets
// need other words and one error needs to be heard. The library announces extensions that write: its first
// packet becomes a plain "version 3". And it answers a WRITE to a handle opened
// for reading with data: a WRITE becomes an extension that nobody knows, whose
// name is the handle, and is answered as unsupported. And it goes on serving
// what was already received when an answer can no longer be sent: reading ends
// with the first failed write.
type readOnlyWire struct {
	io.ReadWriteCloser
	// of the packet being read: bytes of its length seen, the length, and what
	// is left of it after the type
	seen   int
	length uint32
	left   uint32
	// the first packet written, as far as it is known
	first   []byte
	started bool

	broken atomic.Bool // a write failed
}

// Read is called by one goroutine.
func (w *readOnlyWire) Read(p []byte) (int, error) {
	if w.broken.Load() {
		return 0, io.ErrClosedPipe
	}
	n, err := w.ReadWriteCloser.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if w.left > 0 {
			skip := min(w.left, uint32(len(rest)))
			w.left -= skip
			rest = rest[skip:]
			continue
		}
		if w.seen < 4 {
			w.length = w.length<<8 | uint32(rest[0])
			w.seen++
		} else {
			if rest[0] == packetWrite {
				rest[0] = packetExtended
			}
			w.left, w.seen, w.length = w.length-1, 0, 0
		}
		rest = rest[1:]
		if w.seen == 4 && w.length == 0 {
			w.seen = 0 // the library ends the session at an empty packet
		}
	}
	return n, err
}

// Write is called by one goroutine at a time.
func (w *readOnlyWire) Write(p []byte) (int, error) {
	n, err := w.write(p)
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

func (w *readOnlyWire) write(p []byte) (int, error) {
	if w.started {
		return w.ReadWriteCloser.Write(p)
	}
	w.first = append(w.first, p...)
	if len(w.first) < 4 || uint64(len(w.first)) < 4+uint64(binary.BigEndian.Uint32(w.first)) {
		return len(p), nil
	}
	out := w.first
	if length := 4 + binary.BigEndian.Uint32(out); length >= 9 && out[4] == packetVersion {
		out = append([]byte{0, 0, 0, 5, packetVersion, 0, 0, 0, 3}, out[length:]...)
	}
	w.started, w.first = true, nil
	if _, err := w.ReadWriteCloser.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sftpHandlers answer the requests of one session.
type sftpHandlers struct {
	c *conn

	mu sync.Mutex
	// open finds an open file by its shown path: the library asks about a
	// handle by path, and the file may have left its name since.
	open map[string]*sftpFile
}

func (h *sftpHandlers) refuse(r *sftp.Request, err error) error {
	h.c.refuse("sftp", fmt.Errorf("%s %s: %w", strings.ToLower(r.Method), quote(r.Filepath), bare(err)))
	return status(err)
}

// status turns an error into what the library encodes as the right SFTP code.
func status(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sftp.ErrSSHFxNoSuchFile
	case errors.Is(err, ErrNotServed), errors.Is(err, ErrOutside), errors.Is(err, ErrReadOnly), errors.Is(err, fs.ErrPermission):
		return sftp.ErrSSHFxPermissionDenied
	}
	return bare(err)
}

// Filewrite refuses every open that could write.
func (h *sftpHandlers) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	return nil, h.refuse(r, ErrReadOnly)
}

// Filecmd refuses every request that changes something.
func (h *sftpHandlers) Filecmd(r *sftp.Request) error { return h.refuse(r, ErrReadOnly) }

// Readlink refuses: there are no links here.
func (h *sftpHandlers) Readlink(p string) (string, error) {
	return "", h.refuse(&sftp.Request{Method: "Readlink", Filepath: p}, ErrNotServed)
}

// RealPath makes a path canonical without asking whether it exists.
func (h *sftpHandlers) RealPath(p string) (string, error) {
	if len(p) > maxPath {
		return "", sftp.ErrSSHFxBadMessage
	}
	clean := path.Clean("/" + strings.ReplaceAll(p, `\`, "/"))
	if n, err := h.c.server.tree.locate(clean); err == nil {
		return h.c.server.tree.shown(n), nil
	}
	return clean, nil
}

// Fileread opens a file for reading.
func (h *sftpHandlers) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	t := h.c.server.tree
	n, err := t.locate(r.Filepath)
	if err != nil {
		return nil, h.refuse(r, err)
	}
	release, err := h.c.handle()
	if err != nil {
		return nil, h.refuse(r, err)
	}
	f, err := t.open(n)
	if err != nil {
		release()
		return nil, h.refuse(r, err)
	}
	sf := &sftpFile{handlers: h, file: f, shown: t.shown(n), release: release}
	h.mu.Lock()
	h.open[sf.shown] = sf
	h.mu.Unlock()
	return sf, nil
}

// Filelist answers a listing, or a question about one path or handle.
func (h *sftpHandlers) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method == "List" {
		return h.listDir(r)
	}
	return h.stat(r, true)
}

// Lstat answers a question about one path; there are no links to tell apart.
func (h *sftpHandlers) Lstat(r *sftp.Request) (sftp.ListerAt, error) { return h.stat(r, false) }

// stat describes a node; with handles, an open file of that path comes first.
func (h *sftpHandlers) stat(r *sftp.Request, handles bool) (sftp.ListerAt, error) {
	t := h.c.server.tree
	n, err := t.locate(r.Filepath)
	if err != nil {
		return nil, h.refuse(r, err)
	}
	if handles && n.name != "" {
		h.mu.Lock()
		sf := h.open[t.shown(n)]
		h.mu.Unlock()
		if sf != nil {
			return infoList{sf.file.fileInfo}, nil
		}
	}
	fi, err := t.stat(n)
	if err != nil {
		return nil, h.refuse(r, err)
	}
	return infoList{fi}, nil
}

func (h *sftpHandlers) listDir(r *sftp.Request) (sftp.ListerAt, error) {
	t := h.c.server.tree
	n, err := t.locate(r.Filepath)
	if err == nil && n.name != "" {
		err = ErrNotServed // files have no entries
	}
	if err != nil {
		return nil, h.refuse(r, err)
	}
	release, err := h.c.handle()
	if err != nil {
		return nil, h.refuse(r, err)
	}
	if n.dir == nil {
		return &handleList{infoList: t.children(n), release: release}, nil
	}
	l, err := t.list(n)
	if err != nil {
		release()
		return nil, h.refuse(r, err)
	}
	return &dirList{listing: l, release: release}, nil
}

// sftpFile is an open file of a session. ReadAt may be called concurrently.
type sftpFile struct {
	handlers *sftpHandlers
	file     *file
	shown    string
	release  func()
	sent     atomic.Int64
	broken   error // why the session ended with the file open
}

// ReadAt reads up to the announced size.
func (f *sftpFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= f.file.size {
		return 0, io.EOF
	}
	n, err := f.file.ReadAt(p[:min(int64(len(p)), f.file.size-off)], off)
	f.sent.Add(int64(n))
	if err != nil && err != io.EOF {
		err = bare(err)
	}
	return n, err
}

// TransferError is called before Close when the session ended first.
func (f *sftpFile) TransferError(err error) { f.broken = err }

// Close is called once, after all reads.
func (f *sftpFile) Close() error {
	h := f.handlers
	h.mu.Lock()
	if h.open[f.shown] == f {
		delete(h.open, f.shown)
	}
	h.mu.Unlock()
	err := f.file.File.Close()
	f.release()
	h.c.server.transferred(Transfer{Login: h.c.login, Protocol: "sftp", Name: f.file.name,
		Size: f.file.size, Sent: f.sent.Load(), Err: errors.Join(f.broken, err)})
	return err
}

// infoList lists a few things known beforehand.
type infoList []fs.FileInfo

// ListAt implements sftp.ListerAt.
func (l infoList) ListAt(to []fs.FileInfo, off int64) (int, error) {
	if off >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(to, l[off:])
	if n < len(to) {
		return n, io.EOF
	}
	return n, nil
}

// handleList is an infoList that a client opened as a directory.
type handleList struct {
	infoList
	release func()
}

func (l *handleList) Close() error { l.release(); return nil }

// dirList lists a served directory. The library asks in order, from one
// goroutine, so the offset is where the listing stands.
type dirList struct {
	*listing
	release func()
}

// ListAt implements sftp.ListerAt.
func (l *dirList) ListAt(to []fs.FileInfo, _ int64) (int, error) {
	for n := range to {
		fi, err := l.next("*")
		if err != nil {
			return n, err
		}
		to[n] = fi
	}
	return len(to), nil
}

func (l *dirList) Close() error { l.release(); return l.listing.Close() }
