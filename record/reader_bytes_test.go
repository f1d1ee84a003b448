package record

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// A literal is found where it stands, and nowhere else: not with any bit of it
// changed, whatever follows and wherever the window ends.
func TestLiteral(t *testing.T) {
	const seed = 3
	rng := rand.New(rand.NewPCG(seed, seed))
	for n := 1; n <= 40; n++ {
		for range 20 {
			text := make([]byte, n+3+rng.IntN(30))
			for i := range text {
				text[i] = byte(rng.UintN(256))
			}
			l := newLiteral(text[3 : 3+n])
			for end := range len(text) + 1 {
				if got, want := l.at(text[:end], 3), end >= 3+n; end >= 3 && got != want {
					t.Fatalf("%d bytes in a window of %d: %v", n, end-3, got)
				}
			}
			for i := range text {
				for bit := range 8 {
					text[i] ^= 1 << bit
					if got, want := l.at(text, 3), i < 3 || i >= 3+n; got != want {
						t.Fatalf("%d bytes, bit %d of byte %d changed: %v", n, bit, i-3, got)
					}
					text[i] ^= 1 << bit
				}
			}
		}
	}
}

// leadingDigits agrees with strconv for every length, whatever follows.
func TestLeadingDigits(t *testing.T) {
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, seed))
	check := func(digits string, tail byte) {
		text := []byte("x" + digits + string(rune(tail)) + "0123456789012345678901234567890")
		n, size, ok := leadingDigits(text, 1)
		want, err := strconv.ParseUint("0"+digits, 10, 64)
		if len(digits) > 19 {
			if ok {
				t.Fatalf("%q: %d, of %d digits", digits, n, size)
			}
			return
		}
		if err != nil || !ok || size != len(digits) || n != want {
			t.Fatalf("%q before %q: %d, %d digits, %v", digits, tail, n, size, ok)
		}
	}
	for length := range 25 {
		for tail := range byte(128) {
			if tail >= '0' && tail <= '9' {
				continue
			}
			digits := make([]byte, length)
			for i := range digits {
				digits[i] = byte('0' + rng.IntN(10))
			}
			check(string(digits), tail)
		}
		digits := fmt.Sprintf("%0*d", length, 0)
		check(digits[:length], '<')
	}
	for _, n := range []uint64{0, 9, 10, 99999999, 100000000, 9999999999999999, 10000000000000000, math.MaxInt64, 9999999999999999999} {
		check(strconv.FormatUint(n, 10), '<')
	}
	for size := range 26 { // too near to the end of the window
		if _, _, ok := leadingDigits([]byte("1<345678901234567890123456")[:size], 0); ok && size < 24 {
			t.Errorf("%d bytes were enough", size)
		}
	}
}

// parseUint agrees with strconv, except that it takes digits only.
func TestParseUint(t *testing.T) {
	for _, s := range []string{"", "0", "00", "1", "18446744073709551615", "18446744073709551616", "18446744073709551620", "99999999999999999999", "184467440737095516150", "000000000000000000000000018446744073709551615", "-0", "+0", "1_0", "1 ", " 1", "1.", "٣", "0x1"} {
		n, ok := parseUint([]byte(s))
		want, err := strconv.ParseUint(s, 10, 64)
		if ok != (err == nil) || ok && n != want {
			t.Errorf("%q: %d %v, strconv says %d %v", s, n, ok, want, err)
		}
	}
}
