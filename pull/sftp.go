package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// sftpBlock is how much one READ asks for: what every server must support.
const sftpBlock = 32 << 10

// sftpTransport fetches over SFTP: several files in flight, and of each file
// several blocks, because a device may be 100 ms away.
type sftpTransport struct {
	c      *conn
	s      *session
	client *sftp.Client
	guard  *sftpGuard
	dir    string
	blocks chan []byte // free blocks; its capacity bounds the memory
}

// openSFTP starts the subsystem. An error with a living connection means that
// the device has none.
func openSFTP(ctx context.Context, c *conn, dir string) (*sftpTransport, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s, err := c.open("SFTP", func(s *ssh.Session) error { return s.RequestSubsystem("sftp") })
	if err != nil {
		return nil, err
	}
	t := &sftpTransport{c: c, s: s, dir: dir, guard: &sftpGuard{r: s.out, c: c}}
	err = c.within(c.limits.Open, "SFTP version", func() error {
		var err error
		t.client, err = sftp.NewClientPipe(t.guard, s.in)
		return err
	})
	if err != nil {
		_ = s.Close() // the refusal is the news
		if text := s.errors.String(); text != "" {
			err = fmt.Errorf("%w (%s)", err, text)
		}
		return nil, err
	}
	t.blocks = make(chan []byte, max(c.limits.Memory/sftpBlock, 2))
	for range cap(t.blocks) {
		t.blocks <- nil
	}
	return t, nil
}

func (t *sftpTransport) kind() Transport { return SFTP }

// wait runs one request under the watch.
func (t *sftpTransport) wait(f func() error) error {
	err := t.c.wait(f)
	if errors.Is(err, sftp.ErrSSHFxConnectionLost) && t.c.ended() == nil {
		// The session ended and the connection may live: neither is of any
		// use any more.
		t.c.fail(fmt.Errorf("%w: the SFTP session ended", ErrCut))
		return t.c.ended()
	}
	return err
}

// list reads the directory. What is listed as a symbolic link, a directory or a
// device is ignored; an entry without a type is looked at, not followed.
func (t *sftpTransport) list(ctx context.Context) (listing, error) {
	t.guard.start(t.c.limits.ListFiles, t.c.limits.ListBytes)
	l := listing{complete: true}
	var unsure []entry
	err := t.wait(func() error {
		infos, err := t.client.ReadDirContext(ctx, t.dir)
		if err != nil {
			return err
		}
		seen := make(map[string]bool, len(infos))
		for _, info := range infos {
			e, ok := accept(info.Name(), info.Size(), info.ModTime().Unix())
			kind := modeKind(info.Sys())
			if !ok || seen[e.name] || kind != regularFile && kind != unknownFile {
				l.ignored++
				continue
			}
			seen[e.name] = true
			if kind == unknownFile {
				unsure = append(unsure, e)
			} else {
				l.files = append(l.files, e)
			}
		}
		return nil
	})
	if err != nil {
		if t.c.ended() != nil {
			return listing{}, t.c.ended()
		}
		if isMissing(err) {
			return listing{}, errNoDirectory
		}
		return listing{}, fromPeer(err)
	}
	found, _, err := t.lstat(ctx, unsure)
	if err != nil {
		return listing{}, err
	}
	l.ignored += len(unsure) - len(found)
	for _, e := range unsure {
		if f, ok := found[e.name]; ok {
			l.files = append(l.files, f)
		}
	}
	return l, nil
}

// The kinds of directory entries that matter.
const (
	unknownFile = 0
	regularFile = 0o100000
	fileKind    = 0o170000
)

func modeKind(sys any) uint32 {
	if st, ok := sys.(*sftp.FileStat); ok {
		return st.Mode & fileKind
	}
	return unknownFile
}

// lstat looks at files by name, many at a time. Files that are gone or no longer
// regular are not in the answer; sure is false if the device refused to tell
// about some of those that are missing.
func (t *sftpTransport) lstat(ctx context.Context, files []entry) (found map[string]entry, sure bool, err error) {
	found = make(map[string]entry, len(files))
	var refused atomic.Bool
	var mu sync.Mutex
	err = t.each(ctx, files, func(e entry) error {
		var now entry
		var regular bool
		err := t.wait(func() error {
			info, err := t.client.Lstat(joinPath(t.dir, e.name))
			if err != nil {
				return err
			}
			now, regular = accept(e.name, info.Size(), info.ModTime().Unix())
			kind := modeKind(info.Sys())
			regular = regular && (kind == regularFile || kind == unknownFile)
			return nil
		})
		switch {
		case t.c.ended() != nil:
			return t.c.ended()
		case err != nil && !isMissing(err):
			refused.Store(true)
		case err == nil && regular:
			mu.Lock()
			found[e.name] = now
			mu.Unlock()
		}
		return nil
	})
	return found, !refused.Load(), err
}

func (t *sftpTransport) confirm(ctx context.Context, files []entry) (map[string]entry, bool, error) {
	return t.lstat(ctx, files)
}

// isMissing reports whether an error says that a file or directory is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// each runs f for every file, Limits.Parallel at a time, and stops after the
// first error.
func (t *sftpTransport) each(ctx context.Context, files []entry, f func(entry) error) error {
	var next atomic.Int64
	var first error
	var once sync.Once
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range min(t.c.limits.Parallel, len(files)) {
		wg.Go(func() {
			for !stop.Load() && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				if err := f(files[i]); err != nil {
					once.Do(func() { first = err })
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
	if first == nil && ctx.Err() != nil {
		first = context.Cause(ctx)
	}
	return first
}

// fetch gets the files, several at a time.
func (t *sftpTransport) fetch(ctx context.Context, files []entry, r *receiver) error {
	return t.each(ctx, files, func(e entry) error { return t.fetchOne(e, r) })
}

// fetchOne returns an error only if nothing more can be fetched.
func (t *sftpTransport) fetchOne(e entry, r *receiver) error {
	stop := t.c.fileLimit(e.name)
	defer stop()
	var f *sftp.File
	err := t.wait(func() (err error) {
		f, err = t.client.Open(joinPath(t.dir, e.name))
		return err
	})
	if err != nil {
		if t.c.ended() != nil {
			return t.c.ended()
		}
		r.failed(e, fmt.Errorf("open on the device: %w", fromPeer(err)))
		return nil
	}
	d, err := r.begin(e)
	if err != nil {
		return err
	}
	err = t.copy(f, e.size, d)
	// A handle that does not close is the device's loss, not ours.
	_ = t.wait(f.Close)
	if err != nil {
		d.abandon(err)
		var local *localError
		switch {
		case t.c.ended() != nil:
			return t.c.ended()
		case errors.As(err, &local):
			return err
		}
		return nil
	}
	stop() // what follows is our own disk
	return d.finish()
}

// block is one READ on its way.
type block struct {
	buf  []byte
	n    int
	err  error
	done chan struct{}
}

// errSize says that a file did not have the size of the listing.
var errSize = errors.New("not the announced size")

// copy reads exactly size bytes and then makes sure that the file ends there.
// The READs, the one at the end included, are all on their way at once, as far
// as the memory goes; the bytes are written in order.
func (t *sftpTransport) copy(f *sftp.File, size int64, w io.Writer) error {
	queue := make(chan *block, cap(t.blocks))
	stop := make(chan struct{})
	go func() {
		defer close(queue)
		for off := int64(0); off <= size; off += sftpBlock {
			want := int(min(size-off, sftpBlock))
			if want == 0 {
				want = 1 // the end: this must be EOF
			}
			var buf []byte
			select {
			case buf = <-t.blocks:
			case <-stop:
				return
			}
			b := &block{buf: slices.Grow(buf[:0], sftpBlock)[:want], done: make(chan struct{})}
			queue <- b
			go t.read(f, b, off)
			if rest := size - off; rest > 0 && rest < sftpBlock {
				b := &block{buf: make([]byte, 1), done: make(chan struct{})}
				queue <- b
				go t.read(f, b, size)
			}
		}
	}()
	var got int64
	var err error
	for b := range queue {
		<-b.done
		if err == nil {
			err = t.take(b, &got, size, w)
			if err != nil {
				close(stop)
			}
		}
		if cap(b.buf) >= sftpBlock {
			t.blocks <- b.buf
		}
	}
	return err
}

// read does one READ.
func (t *sftpTransport) read(f *sftp.File, b *block, off int64) {
	defer close(b.done)
	b.err = t.wait(func() (err error) {
		b.n, err = f.ReadAt(b.buf, off)
		return err
	})
}

// take writes one block, or finds that the file is shorter or longer than it
// should be.
func (t *sftpTransport) take(b *block, got *int64, size int64, w io.Writer) error {
	atEnd := *got == size
	switch {
	case b.err != nil && !errors.Is(b.err, io.EOF):
		return fmt.Errorf("read on the device: %w", fromPeer(b.err))
	case atEnd && b.n > 0:
		return fmt.Errorf("%w: more than %d bytes", errSize, size)
	case atEnd:
		return nil
	case b.err != nil:
		return fmt.Errorf("%w: %d of %d bytes", errSize, *got+int64(b.n), size)
	}
	*got += int64(b.n)
	if _, err := w.Write(b.buf[:b.n]); err != nil {
		return &localError{err}
	}
	return nil
}

// sftpGuard reads the answers of an SFTP server before the SFTP library does.
// The library collects a listing of any length, and asks again for ever when a
// server answers a READ with an empty block; the guard ends both.
type sftpGuard struct {
	r io.Reader
	c *conn

	header [13]byte // length, type, id, count or length
	have   int
	skip   int64 // bytes of the packet that are not looked at

	mu           sync.Mutex
	files, bytes int64 // what a listing may still hold
}

// start begins a listing with its limits.
func (g *sftpGuard) start(files int, bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files, g.bytes = int64(files), bytes
}

// Read passes bytes on after it looked at the packets they are part of. The
// first violation ends the connection.
func (g *sftpGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	g.c.watch.got(n, time.Now())
	if bad := g.look(p[:n]); bad != nil {
		g.c.fail(bad)
		return 0, bad
	}
	return n, err
}

// Types of packets, draft-ietf-secsh-filexfer-02 section 3.
const (
	sftpData = 103
	sftpName = 104
)

// look follows the packets.
func (g *sftpGuard) look(p []byte) error {
	for len(p) > 0 {
		if g.skip > 0 {
			n := min(g.skip, int64(len(p)))
			g.skip -= n
			p = p[n:]
			continue
		}
		need := 5
		switch {
		case g.have < 4:
			need = 4
		case g.have >= 5 && (g.header[4] == sftpData || g.header[4] == sftpName):
			need = len(g.header)
		}
		n := copy(g.header[g.have:need], p)
		g.have += n
		p = p[n:]
		if g.have < need {
			continue
		}
		length := int64(be32(g.header[:4]))
		switch kind := g.header[4]; {
		case need == 4:
			if length == 0 || length > maxSFTPPacket {
				return protocolError("SFTP packet of %d bytes", length)
			}
			continue
		case need == len(g.header):
			if err := g.judge(length); err != nil {
				return err
			}
		case kind == sftpData || kind == sftpName:
			if length < 9 {
				return protocolError("SFTP packet of type %d with %d bytes", kind, length)
			}
			continue // the header is longer
		}
		g.skip, g.have = length+4-int64(need), 0
	}
	return nil
}

// judge checks one packet with data or names.
func (g *sftpGuard) judge(length int64) error {
	count := int64(be32(g.header[9:13]))
	if g.header[4] == sftpData {
		if count == 0 {
			return protocolError("SFTP: empty block instead of the end of the file")
		}
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files -= max(count, 1)
	g.bytes -= length
	if g.files < 0 || g.bytes < 0 {
		return &hinted{fmt.Errorf("%w: the listing does not end: more files or bytes than the limits allow", ErrProtocol),
			"check the directory; a directory of closed accounting files holds hundreds of files"}
	}
	return nil
}

// maxSFTPPacket is the longest packet the SFTP library takes.
const maxSFTPPacket = 256 << 10

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
