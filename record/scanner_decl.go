package record

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// encoding is how the bytes of the file become UTF-8.
type encoding uint8

const (
	utf8Encoding encoding = iota
	asciiEncoding
	latin1Encoding
)

// encodings are the names that a declaration may give, in lower case.
var encodings = map[string]encoding{
	"utf-8": utf8Encoding, "utf8": utf8Encoding,
	"us-ascii": asciiEncoding, "ascii": asciiEncoding,
	"iso-8859-1": latin1Encoding, "iso8859-1": latin1Encoding, "iso_8859-1": latin1Encoding, "latin1": latin1Encoding, "latin-1": latin1Encoding,
}

const hintEncoding = "convert the file to UTF-8, for example with iconv"

// begin looks at what stands before the first token: a byte order mark and the
// XML declaration. It also recognises what is no XML at all.
func (s *scanner) begin() error {
	s.have(tarBlock)
	head := s.buf[s.pos:s.end]
	if s.end == s.pos {
		if s.srcErr != io.EOF {
			return s.ended()
		}
		return s.failAt(s.pos, KindTruncated, hintAgain, "the document is empty (0 bytes)")
	}
	mark := bytes.HasPrefix(head, []byte("\xef\xbb\xbf"))
	switch {
	case mark:
		s.pos += 3
	case bytes.HasPrefix(head, []byte("\xfe\xff")), bytes.HasPrefix(head, []byte("\xff\xfe")),
		bytes.HasPrefix(head, []byte("\x00<")), bytes.HasPrefix(head, []byte("<\x00")),
		bytes.HasPrefix(head, []byte("\x00\x00")):
		if isTar(head) {
			break
		}
		return s.failAt(s.pos, KindXML, hintEncoding, "encoding UTF-16 or UTF-32 is not supported")
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return s.failAt(s.pos, KindXML, "unpack it once with gunzip", "the content is gzip again, not XML")
	}
	if isTar(head) {
		return s.failAt(s.pos, KindXML, "unpack it, and take the files in it", "the content is a tar archive, not XML")
	}
	if !s.have(6) || !bytes.HasPrefix(s.buf[s.pos:s.end], []byte("<?xml")) || !isSpace(s.buf[s.pos+5]) {
		return nil
	}
	return s.scanXMLDeclaration(mark)
}

// scanXMLDeclaration reads <?xml version= encoding= standalone=?>, production
// [23], and switches to the encoding.
func (s *scanner) scanXMLDeclaration(mark bool) error {
	n, err := s.find(0, ">", s.lim.NameBytes*4, "XML declaration")
	if err != nil {
		return err
	}
	n--
	decl := s.buf[s.pos : s.pos+n]
	if s.buf[s.pos+n] != '?' || bytes.IndexByte(decl[1:], '<') >= 0 || classes(decl)&(classHigh|classBad) != 0 {
		return s.fail(0, "the XML declaration is not closed, or holds more than version, encoding and standalone")
	}
	if err := s.scanAttributes(decl, len("<?xml")); err != nil {
		return err
	}
	order := [...]string{"version", "encoding", "standalone"}
	at := 0
	name := "UTF-8"
	for i := range s.attrs {
		a := &s.attrs[i]
		for at < len(order) && order[at] != string(a.name.full) {
			at++
		}
		if at == len(order) || i == 0 && at != 0 || a.raw < 0 {
			return s.fail(0, "the XML declaration must give version, then encoding, then standalone")
		}
		value := string(a.value)
		switch at {
		case 0:
			if value != "1.0" {
				return s.fail(0, "XML version %q is not supported", value)
			}
		case 1:
			name = value
		case 2:
			if value != "yes" && value != "no" {
				return s.fail(0, "standalone is %q, neither yes nor no", value)
			}
		}
		at++
	}
	if len(s.attrs) == 0 {
		return s.fail(0, "the XML declaration gives no version")
	}
	enc, ok := encodings[strings.ToLower(name)]
	if !ok {
		return s.failAt(s.pos, KindXML, hintEncoding, "encoding %q is not supported", name)
	}
	if mark && enc == latin1Encoding {
		return s.fail(0, "the file has a UTF-8 byte order mark and declares %s: one of them lies", name)
	}
	s.pos += n + 2
	return s.setEncoding(enc)
}

func (s *scanner) setEncoding(enc encoding) error {
	s.encoding = enc
	if enc == utf8Encoding {
		return nil
	}
	rest := bytes.Clone(s.buf[s.pos:s.end])
	s.wide.on = enc == latin1Encoding
	if len(s.buf) < s.pos+2*len(rest) {
		grown := make([]byte, s.pos+2*len(rest))
		copy(grown, s.buf[:s.pos])
		s.buf = grown
	}
	s.end = s.pos
	_, s.srcErr = s.convert(rest, s.srcErr)
	return nil
}

// read fills the end of the window once.
func (s *scanner) read() (int, error) {
	if s.encoding == utf8Encoding {
		n, err := s.src.Read(s.buf[s.end:])
		s.end += n
		return n, err
	}
	if s.raw == nil {
		s.raw = make([]byte, 32<<10)
	}
	held := copy(s.raw, s.held)
	n, err := s.src.Read(s.raw[held:min(len(s.raw), (len(s.buf)-s.end)/2)])
	return s.convert(s.raw[:held+n], err)
}

// convert puts src as UTF-8 at the end of the window, which has room for twice
// its length, and returns how many bytes that were. The error is that of the
// source, or comes from the first byte that shows the declaration to be a lie:
// anything beyond ASCII in US-ASCII, and in ISO-8859-1 a C1 control character,
// which real Latin-1 text does not hold and UTF-8 or Windows-1252 text does, or
// a first run of high bytes that is UTF-8. As long as the source goes on, a run
// that is cut off is held back until the rest of it is there.
func (s *scanner) convert(src []byte, srcErr error) (int, error) {
	s.held = s.held[:0]
	begin := s.end
	for i, c := range src {
		if c < utf8.RuneSelf {
			s.buf[s.end] = c
			s.end++
			continue
		}
		if s.encoding == asciiEncoding {
			return s.end - begin, sourceErrorf(KindXML, hintEncoding, "byte %#02x, in a file that declares US-ASCII", c)
		}
		if c < 0xA0 {
			return s.end - begin, sourceErrorf(KindXML, hintEncoding, "byte %#02x, a control character, in a file that declares ISO-8859-1: it is another encoding", c)
		}
		if !s.wide.proven {
			if srcErr == nil && !utf8.FullRune(src[i:]) {
				s.held = append(s.held, src[i:]...)
				break
			}
			s.wide.proven = true
			if r, size := utf8.DecodeRune(src[i:]); r != utf8.RuneError && size > 1 {
				return s.end - begin, sourceErrorf(KindXML, "remove the encoding from the XML declaration", "UTF-8 text (%q) in a file that declares ISO-8859-1", r)
			}
		}
		s.buf[s.end], s.buf[s.end+1] = 0xC0|c>>6, 0x80|c&0x3F
		s.end += 2
	}
	return s.end - begin, srcErr
}

// notUTF8 reports a byte that is no UTF-8.
func (s *scanner) notUTF8(at int, c byte) error {
	return s.failAt(s.pos+at, KindXML, hintEncoding, "byte %#02x is not UTF-8, which the file declares or implies", c)
}

// scanDeclaration reads what begins with "<!": a comment, or a CDATA section,
// which is a token. Document type declarations are refused.
func (s *scanner) scanDeclaration() (isToken bool, err error) {
	const comment, cdata = "<!--", "<![CDATA["
	if s.have(len(comment)) && string(s.buf[s.pos:s.pos+len(comment)]) == comment {
		return false, s.scanComment(len(comment))
	}
	if s.have(len(cdata)) && string(s.buf[s.pos:s.pos+len(cdata)]) == cdata {
		return s.scanCDATA(len(cdata))
	}
	s.have(sampleBytes) // the message is the same however the bytes arrive
	rest := s.buf[s.pos:s.end]
	if len(rest) < len(cdata) && (strings.HasPrefix(comment, string(rest)) || strings.HasPrefix(cdata, string(rest)) || strings.HasPrefix("<!DOCTYPE", string(rest))) {
		return false, s.ended()
	}
	if bytes.HasPrefix(rest, []byte("<!DOCTYPE")) {
		return false, s.failAt(s.pos, KindXML, "accounting files have none; nothing of it was looked at", "a document type declaration is refused")
	}
	return false, s.fail(0, "%q is not allowed here", sampleAt(rest, 0))
}

func (s *scanner) scanComment(open int) error {
	n, err := s.find(open, "--", s.lim.TokenBytes, "comment")
	if err != nil {
		return err
	}
	if !s.have(n + 3) {
		return s.ended()
	}
	if s.buf[s.pos+n+2] != '>' {
		return s.fail(n, `"--" within a comment`)
	}
	body := s.buf[s.pos : s.pos+n]
	if err := s.checkChars(body, classes(body), 0); err != nil {
		return err
	}
	s.pos += n + 3
	return s.checkBetween()
}

func (s *scanner) scanCDATA(open int) (bool, error) {
	if len(s.open) == 0 {
		return false, s.fail(0, "a CDATA section outside the root element")
	}
	n, err := s.find(open, "]]>", s.lim.TextBytes+open, "CDATA section")
	if err != nil {
		return false, err
	}
	raw := s.buf[s.pos+open : s.pos+n]
	k := classes(raw)
	if err := s.checkChars(raw, k, open); err != nil {
		return false, err
	}
	s.text, s.textRaw = raw, -1
	if k&classReturn != 0 {
		s.plain = s.plain[:0]
		for i, c := range raw {
			if c == '\r' {
				if i+1 < len(raw) && raw[i+1] == '\n' {
					continue
				}
				c = '\n'
			}
			s.plain = append(s.plain, c)
		}
		s.text = s.plain
	}
	s.pos += n + 3
	return true, s.checkBetween()
}

// scanInstruction skips a processing instruction.
func (s *scanner) scanInstruction() error {
	n, err := s.find(2, "?>", s.lim.TokenBytes, "processing instruction")
	if err != nil {
		return err
	}
	body := s.buf[s.pos : s.pos+n]
	i, err := s.scanName(body, 2)
	if err != nil {
		return err
	}
	if i < n && !isSpace(body[i]) {
		return s.fail(i, "the name of a processing instruction ends in %q", sampleAt(body, i))
	}
	if strings.EqualFold(string(body[2:i]), "xml") {
		return s.fail(0, "an XML declaration that is not at the very beginning")
	}
	if err := s.checkChars(body, classes(body), 0); err != nil {
		return err
	}
	s.pos += n + 2
	return s.checkBetween()
}
