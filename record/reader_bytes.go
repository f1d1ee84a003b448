package record

import (
	"encoding/binary"
	"math/bits"
)

// plainText returns how many bytes of printable ASCII stand before the end.
func plainText(b []byte, p int, end byte) (int, bool) {
	for i := p; i < len(b); i++ {
		if c := b[i]; !plain[c] || c == '\'' {
			return i - p, c == end
		}
	}
	return 0, false
}

// unplainText is plainText for text with other harmless characters in it.
func (r *Reader) unplainText(b []byte, p int, end byte) (int, bool) {
	limit := min(len(b), p+r.lim.TextBytes+1)
	for i := p; i < limit; i++ {
		if b[i] != end {
			continue
		}
		raw := b[p:i]
		k := classes(raw)
		return i - p, k&^classHigh == 0 && r.s.checkChars(raw, k, 0) == nil
	}
	return 0, false
}

// leadingDigits reads the decimal number at b[p:], up to 19 digits. It returns
// false if there are more, or if the window ends too near.
//
// Counters have between one and sixteen digits, with no pattern a processor
// could predict, so both halves are always computed and the length decides
// without a branch what counts.
func leadingDigits(b []byte, p int) (n uint64, size int, ok bool) {
	if len(b)-p < 24 {
		return 0, 0, false
	}
	b = b[p : p+24]
	low := binary.LittleEndian.Uint64(b) ^ asciiZeros
	high := binary.LittleEndian.Uint64(b[8:]) ^ asciiZeros
	k := digitsIn(low)
	l := digitsIn(high) & -(k >> 3) // the second half counts only behind a full first
	n = eightDigits(low<<(64-8*k))*tens[l] + eightDigits(high<<(64-8*l))
	size = int(k + l)
	for size >= 16 { // seldom
		d := uint64(b[size] - '0')
		if d > 9 {
			break
		}
		if size == 19 {
			return 0, 0, false
		}
		n = n*10 + d
		size++
	}
	return n, size, true
}

const asciiZeros = 0x3030303030303030

// digitsIn returns how many of the eight bytes, from the lowest, were digits
// before the zeros were taken off.
func digitsIn(v uint64) uint64 {
	notDigit := (v + 0x7676767676767676 | v) & 0x8080808080808080
	return uint64(bits.TrailingZeros64(notDigit)) >> 3
}

// eightDigits returns the number whose digits are the bytes of v, the first in
// the lowest byte.
func eightDigits(v uint64) uint64 {
	v = v * 2561 >> 8 & 0x00FF00FF00FF00FF
	v = v * 6553601 >> 16 & 0x0000FFFF0000FFFF
	return v * 42949672960001 >> 32
}

var tens = [9]uint64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}
