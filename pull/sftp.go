package pull

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// sftpBlock is how much one READ asks for: what every server must support.
const sftpBlock = 32 << 10

// sftpTransport fetches over SFTP. Everything is pipelined, because a device may
// be 100 ms away: the packets of a listing, the files, and the blocks of each
// file; see sftpfetch.go.
type sftpTransport struct {
	c     *conn
	p     *sftpClient
	dir   string
	block int  // how much one READ asks for
	one   bool // one READ at a time; see Quirks.OneRead
	files int  // how many files may be open, 0: as many as the round trip asks for
}

// openSFTP starts the subsystem. An error with a living connection means that
// the device has none.
func openSFTP(ctx context.Context, c *conn, dir string) (*sftpTransport, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, err := openSFTPSession(c)
	if err != nil {
		return nil, err
	}
	return &sftpTransport{c: c, p: p, dir: dir, block: sftpBlock}, nil
}

func (t *sftpTransport) kind() Transport { return SFTP }

// sftpList is a listing on its way.
type sftpList struct {
	t      *sftpTransport
	handle string
	ahead  int // READDIRs on their way
	window int // how many there may be
	end    bool
	err    error // what the device said instead of going on

	files, bytes int64 // what may still come
	seen         map[string]bool
	l            listing
	unsure       []entry
}

// maxListAhead is how many READDIRs are on their way at most.
const maxListAhead = 16

// list reads the directory. What is listed as a symbolic link, a directory or a
// device is ignored; an entry without a type or size is looked at, not followed.
func (t *sftpTransport) list(ctx context.Context) (listing, error) {
	if ctx.Err() != nil {
		return listing{}, context.Cause(ctx)
	}
	s := &sftpList{t: t, window: 2, files: int64(t.c.limits.ListFiles), bytes: t.c.limits.ListBytes,
		seen: make(map[string]bool), l: listing{complete: true}}
	t.p.send(s.opened, fxpOpendir, t.dir)
	if err := t.p.run(); err != nil {
		return listing{}, err
	}
	if s.err != nil {
		if errors.Is(s.err, fs.ErrNotExist) {
			return listing{}, errNoDirectory
		}
		return listing{}, s.err
	}
	found, _, err := t.confirm(ctx, s.unsure)
	if err != nil {
		return listing{}, err
	}
	s.l.ignored += len(s.unsure) - len(found)
	for _, e := range s.unsure {
		if f, ok := found[e.name]; ok {
			s.l.files = append(s.l.files, f)
		}
	}
	return s.l, nil
}

func (s *sftpList) opened(a answer) error {
	switch a.kind {
	case fxpHandle:
		var err error
		if s.handle, err = a.handle(); err == nil {
			s.more()
		}
		return err
	case fxpStatus:
		e, err := a.status()
		switch {
		case err != nil:
			return err
		case e == nil:
			return a.unexpected()
		}
		s.err = e
		return nil
	}
	return a.unexpected()
}

// more keeps the READDIRs on their way, and closes the directory after the last.
func (s *sftpList) more() {
	for !s.end && s.ahead < s.window {
		s.ahead++
		s.t.p.send(s.part, fxpReaddir, s.handle)
	}
	if s.end && s.ahead == 0 {
		// A directory that does not close is the device's loss, not ours.
		s.t.p.send(func(answer) error { return nil }, fxpClose, s.handle)
	}
}

func (s *sftpList) part(a answer) error {
	s.ahead--
	var err error
	switch {
	case s.end: // asked for ahead, after the end
	case a.kind == fxpName:
		err = s.names(a)
		s.window = min(2*s.window, maxListAhead)
	case a.kind == fxpStatus:
		var e *sftpError
		if e, err = a.status(); err == nil && e == nil {
			err = a.unexpected()
		}
		if e != nil && e.code != statusEOF {
			s.err = e
		}
		s.end = true
	default:
		err = a.unexpected()
	}
	if err == nil {
		s.more()
	}
	return err
}

// names takes one part of the listing.
func (s *sftpList) names(a answer) error {
	s.files -= max(int64(a.count()), 1)
	s.bytes -= int64(len(a.body))
	if s.files < 0 || s.bytes < 0 {
		return &hinted{protocolError("the listing does not end: more files or bytes than the limits allow"),
			"check the directory; a directory of closed accounting files holds hundreds of files"}
	}
	return a.names(func(name []byte, st sftpStat) {
		if string(name) == "." || string(name) == ".." {
			return
		}
		e, ok := accept(string(name), int64(st.size), int64(st.mtime))
		if !ok || s.seen[e.name] || st.kind() != regularFile && st.kind() != unknownFile {
			s.l.ignored++
			return
		}
		s.seen[e.name] = true
		if st.kind() == unknownFile || !st.sized {
			s.unsure = append(s.unsure, e)
		} else {
			s.l.files = append(s.l.files, e)
		}
	})
}

// confirm looks at files by name, all at once. Files that are gone or no longer
// regular are not in the answer; sure is false if the device refused to tell
// about some of those that are missing.
func (t *sftpTransport) confirm(ctx context.Context, files []entry) (found map[string]entry, sure bool, err error) {
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	found, sure = make(map[string]entry, len(files)), true
	for _, e := range files {
		t.p.send(func(a answer) error {
			switch a.kind {
			case fxpAttrs:
				st, err := a.stat()
				now, ok := accept(e.name, int64(st.size), int64(st.mtime))
				if ok && st.sized && (st.kind() == regularFile || st.kind() == unknownFile) {
					found[e.name] = now
				}
				return err
			case fxpStatus:
				said, err := a.status()
				if err == nil && said == nil {
					return a.unexpected()
				}
				sure = sure && said != nil && said.code == statusNoFile
				return err
			}
			return a.unexpected()
		}, fxpLstat, joinPath(t.dir, e.name))
	}
	return found, sure, t.p.run()
}

// filesInFlight returns how many files are fetched at the same time: the limit
// for a device nearby, and up to eight times as many the longer the round trip
// is, because each file needs two of them whatever its size.
func filesInFlight(limit int, rtt time.Duration) int {
	const near, most = 5 * time.Millisecond, 8
	return limit * int(min(max(rtt/near, 1), most))
}
