package record

import (
	"math/bits"
	"strconv"
	"time"
	"unicode/utf8"
)

// shortTag is the size up to which a tag is written without a loop.
const shortTag = 16

// tag is a start or end tag that is written over and over.
type tag struct {
	text  string
	short [shortTag]byte // the text, if it fits
}

func newTag(text string) tag {
	t := tag{text: text}
	if len(text) <= shortTag {
		copy(t.short[:], text)
	}
	return t
}

// put writes the tag at buf[at:] and returns where to go on. A short tag is
// stored as a whole array, which is much faster than a copy of unknown length;
// buf must have shortTag bytes of room for it.
func (t *tag) put(buf []byte, at int) int {
	if len(t.text) <= shortTag {
		*(*[shortTag]byte)(buf[at:]) = t.short
		return at + len(t.text)
	}
	return at + copy(buf[at:], t.text)
}

// maxDigits is the length of 2^64-1.
const maxDigits = 20

// twoDigits holds the numbers 00 to 99.
const twoDigits = "00010203040506070809101112131415161718192021222324" +
	"25262728293031323334353637383940414243444546474849" +
	"50515253545556575859606162636465666768697071727374" +
	"75767778798081828384858687888990919293949596979899"

// firstWith[i] is the smallest number with i+1 digits; 0 for one digit.
var firstWith = func() (p [maxDigits]uint64) {
	n := uint64(1)
	for i := 1; i < len(p); i++ {
		n *= 10
		p[i] = n
	}
	return p
}()

// putUint writes n in decimal at buf[at:] and returns where to go on. It takes
// half the time of strconv.AppendUint, which fills a second buffer.
func putUint(buf []byte, at int, n uint64) int {
	if n < 10 {
		buf[at] = '0' + byte(n)
		return at + 1
	}
	width := bits.Len64(n) * 1233 >> 12 // log10(2) is about 1233/4096
	if n >= firstWith[width] {
		width++
	}
	for i := at + width; ; {
		if n < 10 {
			buf[i-1] = '0' + byte(n)
			break
		}
		i -= 2
		rest := n % 100 * 2
		n /= 100
		buf[i], buf[i+1] = twoDigits[rest], twoDigits[rest+1]
		if n == 0 {
			break
		}
	}
	return at + width
}

// plain[c] tells that byte c stands for itself in text and attribute values.
var plain = func() (p [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		p[c] = c != '&' && c != '<' && c != '>' && c != '"'
	}
	return p
}()

// appendText appends s as it must stand in text and in attribute values.
func appendText(dst []byte, s string) ([]byte, error) {
	for i := 0; i < len(s); i++ {
		if !plain[s[i]] {
			if err := checkText(s); err != nil {
				return dst, err
			}
			return appendEscaped(dst, s), nil
		}
	}
	return append(dst, s...), nil
}

// appendEscaped appends s with everything escaped that XML would read as
// something else. Tab and line ends become character references, or attribute
// and line end normalisation (XML 1.0 sections 2.11 and 3.3.3) would change them.
func appendEscaped(dst []byte, s string) []byte {
	for _, r := range s {
		switch r {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '"':
			dst = append(dst, "&quot;"...)
		case '\t', '\n', '\r':
			dst = append(dst, "&#"...)
			dst = strconv.AppendUint(dst, uint64(r), 10)
			dst = append(dst, ';')
		default:
			if r < 0x20 || r == 0xFFFE || r == 0xFFFF {
				r = utf8.RuneError
			}
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

func appendAttr(dst []byte, name, value string) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=', '"')
	dst = appendEscaped(dst, value)
	return append(dst, '"')
}

func appendOptionalAttr(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendAttr(dst, name, value)
}

func appendIntAttr(dst []byte, name string, n int) []byte {
	return appendAttr(dst, name, strconv.Itoa(n))
}

func appendTimeAttr(dst []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	return appendAttr(dst, name, t.UTC().Format(timeLayout))
}

// appendSeconds appends d in seconds, cut to whole milliseconds.
func appendSeconds(dst []byte, d time.Duration) []byte {
	return strconv.AppendFloat(dst, float64(d.Milliseconds())/1000, 'f', -1, 64)
}
