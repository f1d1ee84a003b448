package rollover

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/gzip"
)

// footerMark is the gzip extra field (RFC 1952, 2.3.1.1) of the footer member:
// subfield "AP", one byte, 'F'. Recover knows by it that a file is complete.
// No other member of ours has an extra field.
const footerMark = "AP\x01\x00F"

// gzipMagic starts every member: the magic bytes and the method deflate.
const gzipMagic = "\x1f\x8b\x08"

const (
	defaultLevel = 6
	bufferSize   = 64 << 10
)

// member writes gzip members to the end of a file. It is reused.
type member struct {
	level int
	zw    *gzip.Writer  // nil until the first member: it takes most of a megabyte
	bw    *bufio.Writer // deflate writes in pieces of 246 bytes
	f     io.Writer
	at    int64 // end of the file, as far as it was told
}

func newMember(level int) *member {
	if level == 0 {
		level = defaultLevel
	}
	return &member{level: level}
}

// begin starts a member at the end of f, which is at offset at. What the
// member before left in buffers is forgotten.
func (m *member) begin(f io.Writer, at int64, extra string) error {
	m.f, m.at = f, at
	if m.zw == nil {
		m.bw = bufio.NewWriterSize(m, bufferSize)
		zw, err := gzip.NewWriterLevel(m.bw, m.level)
		if err != nil {
			return err
		}
		m.zw = zw
	} else {
		m.bw.Reset(m)
		m.zw.Reset(m.bw)
	}
	if extra != "" {
		m.zw.Extra = []byte(extra)
	}
	return nil
}

// Write gives compressed bytes to the file; bw calls it.
func (m *member) Write(p []byte) (int, error) {
	n, err := m.f.Write(p)
	m.at += int64(n)
	return n, err
}

// end completes the member and returns the offset behind it. Nothing is
// synced.
func (m *member) end() (int64, error) {
	if err := m.zw.Close(); err != nil {
		return 0, err
	}
	if err := m.bw.Flush(); err != nil {
		return 0, err
	}
	return m.at, nil
}

// put writes one whole member.
func (m *member) put(f io.Writer, at int64, extra string, p []byte) (int64, error) {
	if err := m.begin(f, at, extra); err != nil {
		return 0, err
	}
	if _, err := m.zw.Write(p); err != nil {
		return 0, err
	}
	return m.end()
}

// scan is what the gzip members of a file say.
type scan struct {
	end    int64 // offset behind the last whole member
	whole  bool  // there is one
	footer bool  // the last one is a footer
}

// scanMembers reads gzip members from r, which has size bytes, until the end
// or until the first byte that does not belong to a whole member. Only an
// error of r itself is returned: a torn or damaged member is an answer.
func scanMembers(r io.ReaderAt, size int64) (scan, error) {
	var s scan
	src := &countingReader{r: io.NewSectionReader(r, 0, size)}
	br := bufio.NewReaderSize(src, bufferSize)
	var zr gzip.Reader
	for {
		if err := zr.Reset(br); err != nil {
			return s, src.err
		}
		zr.Multistream(false)
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{&zr}); err != nil {
			return s, src.err
		}
		footer := string(zr.Extra) == footerMark
		if len(zr.Extra) > 0 && !footer {
			// The checksum does not cover the extra field: it is the mark of a
			// footer that did not reach the disk whole.
			return s, nil
		}
		s.end = src.n - int64(br.Buffered())
		s.whole, s.footer = true, footer
	}
}

// memberBehind reports whether a whole gzip member begins anywhere in the
// bytes from offset at. It tells a torn end, behind which there is nothing,
// from damage in the middle.
func memberBehind(r io.ReaderAt, at, size int64) (bool, error) {
	src := bufio.NewReaderSize(io.NewSectionReader(r, at, size-at), bufferSize)
	for {
		magic, err := src.Peek(len(gzipMagic))
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if string(magic) == gzipMagic {
			s, err := scanMembers(io.NewSectionReader(r, at, size-at), size-at)
			if err != nil || s.whole {
				return s.whole, err
			}
		}
		if _, err := src.Discard(1); err != nil {
			return false, err
		}
		at++
	}
}

// countingReader counts, and keeps the error of its source, to tell a disk
// that cannot be read from a file that is torn.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}
