package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// sourceError is why a byte source ended; the scanner turns it into a FileError
// that knows the place.
type sourceError struct {
	kind Kind
	err  error
	hint string
}

func (e *sourceError) Error() string { return e.err.Error() }

func (e *sourceError) Unwrap() error { return e.err }

func sourceErrorf(kind Kind, hint, format string, a ...any) *sourceError {
	return &sourceError{kind: kind, err: fmt.Errorf(format, a...), hint: hint}
}

const (
	hintAgain   = "the file was cut off; fetch it again, or salvage what is complete in it"
	hintDamaged = "the file is damaged; fetch it again"
)

// gzipReader reads a gzip file of one or more members, strictly: the end is
// io.EOF only if every member's checksum and length are right and nothing
// follows the last one. Names inside the file are never used.
//
// It is built to be reset for thousands of small files without allocating.
type gzipReader struct {
	in      meteredReader
	buf     *bufio.Reader
	gz      gzip.Reader
	lim     *Limits
	out     int64 // decompressed bytes so far
	members int64
	inside  bool // within a member
	err     error
}

const gzipBuffer = 64 << 10

func (g *gzipReader) reset(src io.Reader, lim *Limits) {
	g.in = meteredReader{src: src, limit: lim.GzipBytes}
	if g.buf == nil {
		g.buf = bufio.NewReaderSize(&g.in, gzipBuffer)
	} else {
		g.buf.Reset(&g.in)
	}
	g.lim, g.out, g.members, g.inside, g.err = lim, 0, 0, false, nil
}

// consumed is how many compressed bytes have been used.
func (g *gzipReader) consumed() int64 { return g.in.n - int64(g.buf.Buffered()) }

func (g *gzipReader) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.read(p)
	if left := g.lim.XMLBytes - g.out; int64(n) > left {
		n, err = int(left), sourceErrorf(KindLimit, "", "more than %d bytes decompressed", g.lim.XMLBytes)
	}
	g.out += int64(n)
	if err == nil {
		err = g.check()
	}
	g.err = err
	return n, err
}

// check looks for more than a real file shrinks.
func (g *gzipReader) check() error {
	if used := g.consumed(); g.out > g.lim.RatioAfter && g.out/max(used, 1) >= g.lim.Ratio {
		return sourceErrorf(KindLimit, "an accounting file shrinks 8 to 12 times; this looks like a decompression bomb",
			"%d bytes decompress to %d, more than %d:1", used, g.out, g.lim.Ratio)
	}
	return nil
}

func (g *gzipReader) read(p []byte) (int, error) {
	for {
		if !g.inside {
			if err := g.nextMember(); err != nil {
				return 0, err
			}
		}
		n, err := g.gz.Read(p)
		if err == io.EOF { // of this member; its checksum is right
			g.inside = false
			err = nil
			if n == 0 {
				continue
			}
		}
		if err != nil {
			err = g.explain(err)
		}
		return n, err
	}
}

// nextMember opens the next member. It returns io.EOF at the clean end of the
// file.
func (g *gzipReader) nextMember() error {
	head, err := g.buf.Peek(2)
	switch {
	case err != nil && err != io.EOF:
		return g.explain(err)
	case len(head) == 0 && g.members > 0:
		return io.EOF
	case len(head) == 0:
		return sourceErrorf(KindTruncated, hintAgain, "the file is empty (0 bytes)")
	case head[0] == 0x1f && len(head) == 1:
		return g.explain(io.ErrUnexpectedEOF)
	case len(head) == 1 || head[0] != 0x1f || head[1] != 0x8b:
		return g.foreign()
	}
	if g.members++; g.members > g.lim.Members {
		return sourceErrorf(KindLimit, "", "more than %d gzip members", g.lim.Members)
	}
	if err := g.gz.Reset(g.buf); err != nil {
		return g.explain(err)
	}
	g.gz.Multistream(false)
	g.inside = true
	return nil
}

// foreign tells what stands where a gzip header should be.
func (g *gzipReader) foreign() error {
	head, err := g.buf.Peek(tarBlock)
	if err != nil && err != io.EOF {
		return g.explain(err)
	}
	if g.members > 0 {
		if len(bytes.Trim(head, "\x00")) == 0 {
			return sourceErrorf(KindGzip, "the end of the file is padding; cut the zero bytes off after comparing with the device",
				"zero bytes follow the gzip data, at compressed byte %d", g.consumed())
		}
		return sourceErrorf(KindGzip, hintDamaged, "bytes that are no gzip member follow the gzip data, at compressed byte %d: %s", g.consumed(), sample(head))
	}
	if what, hint := nameFormat(head); what != "" {
		return sourceErrorf(KindGzip, hint, "the file is %s, not gzip", what)
	}
	return sourceErrorf(KindGzip, "", "the file is not gzip; it begins with %s", sample(head))
}

func sample(b []byte) string { return fmt.Sprintf("%q", b[:min(len(b), 16)]) }

// nameFormat recognises what people send instead of a gzip file.
func nameFormat(head []byte) (what, hint string) {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case bytes.HasPrefix(text, []byte("<")):
		return "plain XML", "it is not compressed; rename it to .xml"
	case isTar(head):
		return "a tar archive", "unpack it, and take the files in it"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return "a ZIP archive", "unpack it, and take the files in it"
	case bytes.HasPrefix(head, []byte("BZh")):
		return "bzip2", "unpack it with bunzip2"
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return "xz", "unpack it with unxz"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return "zstd", "unpack it with unzstd"
	}
	return "", ""
}

const tarBlock = 512

// isTar tells whether head begins with a tar header: its checksum, the sum of
// all bytes of the block with the checksum itself taken as spaces, is right.
func isTar(head []byte) bool {
	if len(head) < tarBlock {
		return false
	}
	const at, length = 148, 8
	want, err := strconv.ParseInt(string(bytes.Trim(head[at:at+length], " \x00")), 8, 32)
	if err != nil {
		return false
	}
	sum := int64(length * ' ')
	for i, c := range head[:tarBlock] {
		if i < at || i >= at+length {
			sum += int64(c)
		}
	}
	return sum == want
}

// explain sorts an error of the decoder or of the source.
func (g *gzipReader) explain(err error) error {
	var corrupt flate.CorruptInputError
	var internal flate.InternalError
	var own *sourceError
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, io.ErrUnexpectedEOF):
		return sourceErrorf(KindTruncated, hintAgain, "the gzip data end too early, after %d bytes, in member %d", g.in.n, max(g.members, 1))
	case errors.Is(err, gzip.ErrChecksum):
		return sourceErrorf(KindGzip, hintDamaged, "checksum or length of gzip member %d does not match its content", g.members)
	case errors.Is(err, gzip.ErrHeader):
		return sourceErrorf(KindGzip, hintDamaged, "the header of gzip member %d is invalid", g.members)
	case errors.As(err, &corrupt), errors.As(err, &internal):
		return sourceErrorf(KindGzip, hintDamaged, "the data of gzip member %d are corrupt at compressed byte %d", g.members, g.consumed())
	}
	return &sourceError{kind: KindIO, err: err}
}

// meteredReader counts the bytes of src and ends exactly at a limit.
type meteredReader struct {
	src   io.Reader
	n     int64
	limit int64
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.src.Read(p)
	if left := m.limit - m.n; int64(n) > left {
		n, err = int(left), sourceErrorf(KindLimit, "", "the file is longer than %d bytes", m.limit)
	}
	m.n += int64(n)
	return n, err
}
