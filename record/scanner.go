package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// The XML scanner. It accepts well-formed documents without a document type
// declaration (XML 1.0, fifth edition) and refuses everything else: it is the
// only reader of these files, and a file that means two things to two parsers
// is a billing error. Namespace prefixes are part of a name for the matching of
// tags and are not resolved.
//
// It works on one window of bytes that it fills as it goes. A token lies in the
// window as a whole; its bytes are valid until the next call of next.

type tokenKind uint8

const (
	tokenNone  tokenKind = iota
	tokenStart           // a start tag; elem, attrs and selfClosed are set
	tokenEnd             // an end tag, or the end of a self-closed one
	tokenText            // text or CDATA inside the root; text is set
	tokenEOF             // the clean end of document and source
)

const (
	windowSize = 256 << 10
	// rawKept is how many bytes before the current position stay in the window
	// for the sake of RecordError.Raw.
	rawKept = 64 << 10
)

type scanner struct {
	file string
	src  io.Reader
	lim  *Limits

	buf      []byte
	pos, end int   // buf[pos:end] is not consumed yet
	base     int64 // position of buf[0] in the text as it is scanned, which is UTF-8
	srcErr   error // why src gave no more; io.EOF at its clean end
	encoding encoding
	raw      []byte // read buffer of an encoding that is converted
	held     []byte // what was read and waits for more before it can be converted
	wide     wideCount

	begun      bool // BOM and XML declaration are behind
	rootClosed bool
	selfClosed bool // the start tag just returned ends with />
	lastTag    int64
	open       []element
	names      []byte // the names of the open elements, one after the other

	elem    name // of the start tag
	attrs   []attribute
	text    []byte
	textRaw int64  // position of text in the window if it stands there literally, else -1
	scratch []byte // attribute values that had to be decoded
	plain   []byte // text that had to be decoded
	dup     duplicates
}

// element is an open element.
type element struct {
	name   int   // where its name begins in scanner.names
	start  int64 // position of its '<'
	offset int64 // the same in bytes of the file
}

// name is a name in the window.
type name struct {
	full  []byte
	local []byte // after the last colon
}

// attribute is one attribute of the start tag.
type attribute struct {
	name  name
	value []byte
	raw   int64 // position of the value if it stands in the file literally, else -1
}

// infrastructure tells whether the attribute belongs to XML itself: namespace
// declarations, xml:lang, xsi:schemaLocation and their like.
func (a *attribute) infrastructure() bool {
	full := a.name.full
	return string(full) == "xmlns" || bytes.HasPrefix(full, []byte("xmlns:")) ||
		bytes.HasPrefix(full, []byte("xml:")) || bytes.HasPrefix(full, []byte("xsi:"))
}

func (s *scanner) reset(src io.Reader, file string, lim *Limits) {
	if s.buf == nil || len(s.buf) > 4*windowSize {
		s.buf = make([]byte, windowSize)
	}
	*s = scanner{
		file: file, src: src, lim: lim, buf: s.buf, raw: s.raw, held: s.held[:0],
		open: s.open[:0], names: s.names[:0], attrs: s.attrs[:0], scratch: s.scratch[:0], plain: s.plain[:0], dup: s.dup,
	}
}

// offset is the position in bytes of the decompressed file.
func (s *scanner) offset(pos int) int64 {
	return s.base + int64(pos) - s.wide.before(s.buf, pos)
}

// more reads more bytes into the window, behind those that are there. It
// returns false if there are none; srcErr then tells why. The bytes from pos on
// keep their distance from pos, but pos itself may move.
func (s *scanner) more() bool {
	if s.srcErr != nil {
		return false
	}
	if len(s.buf)-s.end < len(s.buf)/4 {
		s.makeRoom()
	}
	for range 100 {
		n, err := s.read()
		s.srcErr = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	s.srcErr = &sourceError{kind: KindIO, err: io.ErrNoProgress}
	return false
}

// makeRoom drops what is behind pos, except what an error may show of open
// elements; if that is not enough the window grows. Token limits bound its size.
func (s *scanner) makeRoom() {
	hold := s.pos
	if len(s.open) > 0 {
		hold = max(int(s.open[0].start-s.base), s.pos-rawKept, 0)
	}
	if len(s.buf)-(s.end-hold) < len(s.buf)/4 {
		grown := make([]byte, 2*len(s.buf))
		copy(grown, s.buf[:s.end])
		s.buf = grown
	}
	s.wide.drop(s.buf, hold)
	copy(s.buf, s.buf[hold:s.end])
	s.base += int64(hold)
	s.pos -= hold
	s.end -= hold
}

// have makes sure that n bytes from pos on are in the window.
func (s *scanner) have(n int) bool {
	for s.end-s.pos < n {
		if !s.more() {
			return false
		}
	}
	return true
}

// find returns the distance from pos to the first occurrence of stop at or
// after distance from. The token may not become longer than most bytes.
func (s *scanner) find(from int, stop string, most int, what string) (int, error) {
	for {
		if i := bytes.Index(s.buf[s.pos+from:s.end], []byte(stop)); i >= 0 && from+i <= most {
			return from + i, nil
		}
		// the next search begins where the first byte of stop may already stand
		from = max(from, s.end-s.pos-len(stop)+1)
		if from > most {
			return 0, s.limit("%s longer than %d bytes", what, most)
		}
		if !s.more() {
			return 0, s.ended()
		}
	}
}

// next returns the next token.
func (s *scanner) next() (tokenKind, error) {
	if s.selfClosed {
		s.selfClosed = false
		s.closeElement()
		return tokenEnd, nil
	}
	if !s.begun {
		if err := s.begin(); err != nil {
			return tokenNone, err
		}
		s.begun = true
	}
	for {
		if s.pos == s.end && !s.more() {
			return s.finish()
		}
		if s.buf[s.pos] != '<' {
			ok, err := s.scanText()
			if ok || err != nil {
				return tokenText, err
			}
			continue
		}
		if !s.have(2) {
			return tokenNone, s.ended()
		}
		switch s.buf[s.pos+1] {
		case '/':
			return tokenEnd, s.scanEnd()
		case '?':
			if err := s.scanInstruction(); err != nil {
				return tokenNone, err
			}
		case '!':
			ok, err := s.scanDeclaration()
			if ok || err != nil {
				return tokenText, err
			}
		default:
			return tokenStart, s.scanStart()
		}
	}
}

// finish is the end of the source.
func (s *scanner) finish() (tokenKind, error) {
	if s.srcErr != io.EOF || len(s.open) > 0 {
		return tokenNone, s.ended()
	}
	if !s.rootClosed {
		return tokenNone, s.failAt(s.pos, KindTruncated, hintAgain, "no root element: the document is empty")
	}
	return tokenEOF, nil
}

// ended explains an end of the source that is not the end of the document.
func (s *scanner) ended() error {
	if s.srcErr == io.EOF {
		return s.failAt(s.end, KindTruncated, hintAgain, "the XML ends too early")
	}
	var src *sourceError
	if errors.As(s.srcErr, &src) {
		return &FileError{File: s.file, Offset: s.offset(s.end), Path: s.path(), Kind: src.kind, Err: src.err, hint: src.hint}
	}
	return &FileError{File: s.file, Offset: s.offset(s.end), Path: s.path(), Kind: KindIO, Err: s.srcErr}
}

// path names the open elements.
func (s *scanner) path() string {
	const most = 1024
	var p []byte
	for i := range s.open {
		p = append(p, '/')
		p = append(p, s.nameOf(i)...)
		if len(p) > most {
			return string(p[:most]) + "…"
		}
	}
	return string(p)
}

// nameOf returns the full name of the i-th open element.
func (s *scanner) nameOf(i int) []byte {
	end := len(s.names)
	if i+1 < len(s.open) {
		end = s.open[i+1].name
	}
	return s.names[s.open[i].name:end]
}

func (s *scanner) failAt(pos int, kind Kind, hint, format string, a ...any) *FileError {
	return &FileError{File: s.file, Offset: s.offset(pos), Path: s.path(), Kind: kind, Err: fmt.Errorf(format, a...), hint: hint}
}

// fail reports text that is not well-formed, at a distance from pos.
func (s *scanner) fail(at int, format string, a ...any) error {
	return s.failAt(s.pos+at, KindXML, "", format, a...)
}

func (s *scanner) limit(format string, a ...any) error {
	return s.failAt(s.pos, KindLimit, "", format, a...)
}

// tagSeen notes that everything up to pos belongs to tags that are done.
func (s *scanner) tagSeen() { s.lastTag = s.base + int64(s.pos) }

// checkBetween bounds what stands between two tags.
func (s *scanner) checkBetween() error {
	if s.base+int64(s.pos)-s.lastTag > int64(s.lim.TokenBytes) {
		return s.limit("more than %d bytes without a tag", s.lim.TokenBytes)
	}
	return nil
}

// wideCount counts the characters of a converted encoding that take two bytes
// in the window and one in the file.
type wideCount struct {
	on     bool
	proven bool  // a high byte was seen that is not part of UTF-8
	base   int64 // before the window
	pos    int   // counted up to here
	inside int64 // within buf[:pos]
}

func (w *wideCount) before(buf []byte, pos int) int64 {
	if !w.on {
		return 0
	}
	if pos < w.pos {
		w.pos, w.inside = 0, 0
	}
	for _, c := range buf[w.pos:pos] {
		if c >= 0xC0 {
			w.inside++
		}
	}
	w.pos = pos
	return w.base + w.inside
}

func (w *wideCount) drop(buf []byte, n int) {
	if w.on {
		w.base = w.before(buf, n)
		w.pos, w.inside = 0, 0
	}
}

// duplicates finds attributes that occur twice in one tag without comparing
// each with each.
type duplicates struct {
	stamp [512]uint32
	index [512]uint16
	now   uint32
}

func (d *duplicates) begin() {
	if d.now++; d.now == math.MaxUint32 {
		*d = duplicates{now: 1}
	}
}

// seen returns whether one of attrs[:i] has the name of attrs[i].
func (d *duplicates) seen(attrs []attribute, i int) bool {
	name := attrs[i].name.full
	if i < 8 {
		for j := range i {
			if bytes.Equal(attrs[j].name.full, name) {
				return true
			}
		}
		if i < 7 {
			return false
		}
		for j := range i { // the table takes over from here
			d.insert(attrs, j)
		}
	}
	return d.insert(attrs, i)
}

func (d *duplicates) insert(attrs []attribute, i int) bool {
	name := attrs[i].name.full
	h := uint32(2166136261)
	for _, c := range name {
		h = (h ^ uint32(c)) * 16777619
	}
	for k, probes := h%uint32(len(d.stamp)), 0; probes < len(d.stamp); k, probes = (k+1)%uint32(len(d.stamp)), probes+1 {
		if d.stamp[k] != d.now {
			d.stamp[k], d.index[k] = d.now, uint16(i)
			return false
		}
		if bytes.Equal(attrs[d.index[k]].name.full, name) {
			return true
		}
	}
	// full: more attributes than the table has places, so each with each
	for j := range i {
		if bytes.Equal(attrs[j].name.full, name) {
			return true
		}
	}
	return false
}
