package record

import (
	"bytes"
	"unicode/utf8"
)

// What a byte may mean in text; the bits of all bytes are gathered in one pass.
const (
	classRef     uint8 = 1 << iota // & begins a reference
	classReturn                    // carriage return, normalised to line feed
	classBreak                     // tab and line feed, spaces in attribute values
	classGreater                   // may end "]]>"
	classLess
	classHigh // part of a character beyond ASCII
	classBad  // a control character that XML forbids
)

var textClass = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c == '&':
			t[c] = classRef
		case c == '\r':
			t[c] = classReturn
		case c == '\t', c == '\n':
			t[c] = classBreak
		case c == '>':
			t[c] = classGreater
		case c == '<':
			t[c] = classLess
		case c >= utf8.RuneSelf:
			t[c] = classHigh
		case c < 0x20:
			t[c] = classBad
		}
	}
	return t
}()

func classes(b []byte) (k uint8) {
	for _, c := range b {
		k |= textClass[c]
	}
	return k
}

// scanText reads text up to the next tag. Outside the root only white space may
// stand, which is no token.
func (s *scanner) scanText() (bool, error) {
	if len(s.open) == 0 {
		return false, s.skipOutside()
	}
	n, err := s.find(0, "<", s.lim.TextBytes, "text")
	if err != nil {
		return false, err
	}
	raw := s.buf[s.pos : s.pos+n]
	k := classes(raw)
	if err := s.checkChars(raw, k, 0); err != nil {
		return false, err
	}
	if k&classGreater != 0 {
		if i := bytes.Index(raw, []byte("]]>")); i >= 0 {
			return false, s.fail(i, `"]]>" in text`)
		}
	}
	s.text, s.textRaw = raw, s.base+int64(s.pos)
	if k&(classRef|classReturn) != 0 {
		if s.plain, err = s.decode(s.plain[:0], raw, 0, false); err != nil {
			return false, err
		}
		s.text, s.textRaw = s.plain, -1
	}
	s.pos += n
	return true, s.checkBetween()
}

// skipOutside skips white space before or after the root element. It stops at
// the limit, even if what stands behind that has been read already.
func (s *scanner) skipOutside() error {
	for s.pos < s.end && isSpace(s.buf[s.pos]) {
		s.pos++
		if err := s.checkBetween(); err != nil {
			return err
		}
	}
	if s.pos < s.end && s.buf[s.pos] != '<' {
		where := "before"
		if s.rootClosed {
			where = "after"
		}
		s.have(sampleBytes) // the message is the same however the bytes arrive
		return s.fail(0, "text %s the root element: %q", where, sampleAt(s.buf[:s.end], s.pos))
	}
	return nil
}

// attributeValue checks and decodes the value raw, which stands at distance at.
func (s *scanner) attributeValue(raw []byte, at int) (value []byte, pos int64, err error) {
	k := classes(raw)
	if err := s.checkChars(raw, k, at); err != nil {
		return nil, 0, err
	}
	if k&classLess != 0 {
		return nil, 0, s.fail(at+bytes.IndexByte(raw, '<'), `"<" in an attribute value`)
	}
	if len(raw) > s.lim.TextBytes {
		return nil, 0, s.limit("attribute value longer than %d bytes", s.lim.TextBytes)
	}
	if k&(classRef|classReturn|classBreak) == 0 {
		return raw, s.base + int64(s.pos+at), nil
	}
	n := len(s.scratch)
	if s.scratch, err = s.decode(s.scratch, raw, at, true); err != nil {
		return nil, 0, err
	}
	return s.scratch[n:], -1, nil
}

// checkChars reports a character that XML forbids or bytes that are no
// character.
func (s *scanner) checkChars(raw []byte, k uint8, at int) error {
	if k&(classBad|classHigh) == 0 {
		return nil
	}
	for i := 0; i < len(raw); {
		c := raw[i]
		if c < utf8.RuneSelf {
			if textClass[c] == classBad {
				return s.fail(at+i, "character U+%04X is not allowed in XML", c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && n == 1 {
			return s.notUTF8(at+i, c)
		}
		if r == 0xFFFE || r == 0xFFFF {
			return s.fail(at+i, "character U+%04X is not allowed in XML", r)
		}
		i += n
	}
	return nil
}

// decode appends raw with its references replaced and its white space
// normalised (XML 1.0 sections 2.11, 3.3.3 and 4.1).
func (s *scanner) decode(dst, raw []byte, at int, attribute bool) ([]byte, error) {
	for i := 0; i < len(raw); {
		c := raw[i]
		i++
		switch {
		case c == '&':
			r, n, err := s.reference(raw[i:], at+i)
			if err != nil {
				return dst, err
			}
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		case c == '\r':
			if i < len(raw) && raw[i] == '\n' {
				i++
			}
			c = '\n'
		}
		if attribute && (c == '\n' || c == '\t') {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst, nil
}

// reference reads what follows an ampersand: one of the five entities or a
// character reference. It returns the character and how many bytes it took.
func (s *scanner) reference(raw []byte, at int) (rune, int, error) {
	const longest = 64 // leading zeros included
	n := bytes.IndexByte(raw[:min(len(raw), longest)], ';')
	if n < 0 {
		return 0, 0, s.fail(at-1, "an ampersand that begins no reference")
	}
	name := raw[:n]
	switch string(name) {
	case "lt":
		return '<', n + 1, nil
	case "gt":
		return '>', n + 1, nil
	case "amp":
		return '&', n + 1, nil
	case "quot":
		return '"', n + 1, nil
	case "apos":
		return '\'', n + 1, nil
	}
	if n == 0 || name[0] != '#' {
		return 0, 0, s.fail(at-1, "entity %q is not defined", sampleAt(name, 0))
	}
	base, digits := rune(10), name[1:]
	if len(digits) > 0 && digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	r := rune(0)
	for _, c := range digits {
		d := digitValue(c)
		if d >= base {
			return 0, 0, s.fail(at-1, "character reference %q is not a number", sampleAt(name, 0))
		}
		if r = r*base + d; r > utf8.MaxRune {
			break
		}
	}
	if len(digits) == 0 || !isChar(r) {
		return 0, 0, s.fail(at-1, "character reference %q is not a character XML allows", sampleAt(name, 0))
	}
	return r, n + 1, nil
}

func digitValue(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	}
	return 99
}

// isChar is production [2] of XML 1.0.
func isChar(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return true
	case r < 0x20, r >= 0xD800 && r < 0xE000, r == 0xFFFE, r == 0xFFFF:
		return false
	}
	return r <= utf8.MaxRune
}
