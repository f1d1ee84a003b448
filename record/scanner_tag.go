package record

import (
	"bytes"
	"unicode/utf8"
)

// scanStart reads a start tag.
func (s *scanner) scanStart() error {
	n, err := s.tagEnd()
	if err != nil {
		return err
	}
	if s.rootClosed {
		return s.fail(0, "a second root element")
	}
	if len(s.open) >= s.lim.Depth {
		return s.limit("more than %d elements deep", s.lim.Depth)
	}
	tag := s.buf[s.pos : s.pos+n] // without '>'
	closed := tag[n-1] == '/'
	if closed {
		tag = tag[:n-1]
	}
	i, err := s.scanName(tag, 1)
	if err != nil {
		return err
	}
	if s.elem, err = s.qualified(tag, 1, i); err != nil {
		return err
	}
	if err := s.scanAttributes(tag, i); err != nil {
		return err
	}
	s.open = append(s.open, element{name: len(s.names), start: s.base + int64(s.pos), offset: s.offset(s.pos)})
	s.names = append(s.names, s.elem.full...)
	s.selfClosed = closed
	s.pos += n + 1
	s.tagSeen()
	return nil
}

// tagEnd returns the distance of the '>' that ends the tag at pos. What it says
// does not depend on how much of the tag has been read yet.
func (s *scanner) tagEnd() (int, error) {
	i := 1
	for {
		tag := s.buf[s.pos:s.end]
		for i < len(tag) && i <= s.lim.TokenBytes {
			c := tag[i]
			if c == '>' {
				return i, nil
			}
			if c != '"' && c != '\'' {
				i++
				continue
			}
			value := tag[i+1:]
			n := bytes.IndexByte(value, c)
			if n > s.lim.TextBytes || n < 0 && len(value) > s.lim.TextBytes {
				return 0, s.limit("attribute value longer than %d bytes", s.lim.TextBytes)
			}
			if n < 0 {
				break // look for its end again when there is more
			}
			i += n + 2
		}
		if i > s.lim.TokenBytes {
			return 0, s.limit("tag longer than %d bytes", s.lim.TokenBytes)
		}
		if !s.more() {
			return 0, s.ended()
		}
	}
}

// scanAttributes reads the attributes that begin at tag[i].
func (s *scanner) scanAttributes(tag []byte, i int) error {
	s.attrs, s.scratch = s.attrs[:0], s.scratch[:0]
	if i == len(tag) {
		return nil
	}
	s.dup.begin()
	for {
		spaced := i
		i = skipSpace(tag, i)
		if i == len(tag) {
			return nil
		}
		if i == spaced {
			return s.fail(i, "no space before attribute at %q", sampleAt(tag, i))
		}
		if len(s.attrs) == s.lim.Attributes {
			return s.limit("more than %d attributes", s.lim.Attributes)
		}
		begin := i
		var err error
		if i, err = s.scanName(tag, i); err != nil {
			return err
		}
		var a attribute
		if a.name, err = s.qualified(tag, begin, i); err != nil {
			return err
		}
		i = skipSpace(tag, i)
		if i == len(tag) || tag[i] != '=' {
			return s.fail(i, "attribute %q has no value", bounded(string(a.name.full)))
		}
		i = skipSpace(tag, i+1)
		if i == len(tag) || tag[i] != '"' && tag[i] != '\'' {
			return s.fail(i, "the value of attribute %q is not quoted", bounded(string(a.name.full)))
		}
		n := bytes.IndexByte(tag[i+1:], tag[i])
		if n < 0 {
			return s.fail(i, "the value of attribute %q is not closed", bounded(string(a.name.full)))
		}
		if a.value, a.raw, err = s.attributeValue(tag[i+1:i+1+n], i+1); err != nil {
			return err
		}
		i += n + 2
		s.attrs = append(s.attrs, a)
		if s.dup.seen(s.attrs, len(s.attrs)-1) {
			return s.fail(begin, "attribute %q stands twice", bounded(string(a.name.full)))
		}
	}
}

// scanEnd reads an end tag; it must be that of the innermost open element.
func (s *scanner) scanEnd() error {
	if len(s.open) == 0 {
		return s.fail(0, "an end tag without a start tag")
	}
	want := s.nameOf(len(s.open) - 1)
	n := 2 + len(want)
	whole := s.have(n + 1)
	got := s.buf[s.pos+2 : min(s.pos+n, s.end)]
	if !bytes.HasPrefix(want, got) || whole && s.buf[s.pos+n] != '>' && !isSpace(s.buf[s.pos+n]) {
		end, err := s.find(0, ">", s.lim.TokenBytes, "tag")
		if err != nil {
			return err
		}
		return s.fail(0, "end tag %q does not match start tag <%s>", bounded(string(s.buf[s.pos:s.pos+end+1])), bounded(string(want)))
	}
	for {
		if n > s.lim.TokenBytes {
			return s.limit("tag longer than %d bytes", s.lim.TokenBytes)
		}
		if !s.have(n + 1) {
			return s.ended()
		}
		if !isSpace(s.buf[s.pos+n]) {
			break
		}
		n++
	}
	if s.buf[s.pos+n] != '>' {
		return s.fail(n, "end tag of <%s> holds more than its name", bounded(string(want)))
	}
	s.pos += n + 1
	s.tagSeen()
	s.closeElement()
	return nil
}

func (s *scanner) closeElement() {
	last := len(s.open) - 1
	s.names = s.names[:s.open[last].name]
	s.open = s.open[:last]
	s.rootClosed = last == 0
}

// scanName returns where the name that begins at tag[i] ends.
func (s *scanner) scanName(tag []byte, i int) (int, error) {
	begin := i
	for i < len(tag) {
		c := tag[i]
		if c < utf8.RuneSelf {
			if k := nameClass[c]; k == notName || k == notFirst && i == begin {
				break
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(tag[i:])
		if r == utf8.RuneError && n == 1 {
			return 0, s.notUTF8(i, c)
		}
		if !isNameRune(r, i == begin) {
			break
		}
		i += n
	}
	if i == begin {
		return 0, s.fail(i, "no name at %q", sampleAt(tag, i))
	}
	if i-begin > s.lim.NameBytes {
		return 0, s.limit("name longer than %d bytes", s.lim.NameBytes)
	}
	return i, nil
}

// qualified splits the name tag[from:to] at its colon. Names with a colon that
// does not stand between two names have no meaning in any namespace.
func (s *scanner) qualified(tag []byte, from, to int) (name, error) {
	full := tag[from:to]
	colon := bytes.IndexByte(full, ':')
	if colon < 0 {
		return name{full, full}, nil
	}
	local := full[colon+1:]
	misplaced := colon == 0 || len(local) == 0 || bytes.IndexByte(local, ':') >= 0
	if !misplaced && local[0] < utf8.RuneSelf && nameClass[local[0]] != anywhere {
		misplaced = true
	}
	if misplaced {
		return name{}, s.fail(from, "name %q has a colon that does not stand between two names", bounded(string(full)))
	}
	return name{full, local}, nil
}

// sampleBytes is how much of a document an error shows.
const sampleBytes = 16

func sampleAt(b []byte, i int) []byte { return b[i:min(len(b), i+sampleBytes)] }

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

const (
	notName  uint8 = iota // ends a name
	notFirst              // may stand in a name, not at its beginning
	anywhere
)

// nameClass says where an ASCII byte may stand in a name (productions [4], [4a]).
var nameClass = func() (t [utf8.RuneSelf]uint8) {
	for c := range t {
		switch c := byte(c); {
		case c == ':', c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			t[c] = anywhere
		case c == '-', c == '.', '0' <= c && c <= '9':
			t[c] = notFirst
		}
	}
	return t
}()

// isNameRune is the part of productions [4] and [4a] beyond ASCII.
func isNameRune(r rune, first bool) bool {
	switch {
	case r >= 0xC0 && r <= 0x2FF && r != 0xD7 && r != 0xF7,
		r >= 0x370 && r <= 0x1FFF && r != 0x37E,
		r == 0x200C, r == 0x200D,
		r >= 0x2070 && r <= 0x218F, r >= 0x2C00 && r <= 0x2FEF, r >= 0x3001 && r <= 0xD7FF,
		r >= 0xF900 && r <= 0xFDCF, r >= 0xFDF0 && r <= 0xFFFD, r >= 0x10000 && r <= 0xEFFFF:
		return true
	case r == 0xB7, r >= 0x300 && r <= 0x36F, r == 0x203F, r == 0x2040:
		return !first
	}
	return false
}
