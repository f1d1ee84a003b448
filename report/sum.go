package report

import (
	"fmt"
	"math/big"
	"math/bits"
	"strings"
)

// Sum is an exact sum of counters, 0 to 2^128-1. The zero value is 0.
type Sum struct{ hi, lo uint64 }

// NewSum returns a Sum of one number.
func NewSum(n uint64) Sum { return Sum{lo: n} }

func (s *Sum) add(n uint64) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, n, 0)
	s.hi += carry
}

func (s *Sum) addSum(o Sum) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, o.lo, 0)
	s.hi, _ = bits.Add64(s.hi, o.hi, carry)
}

// Cmp is negative, zero or positive as s is less than, equal to or above o.
func (s Sum) Cmp(o Sum) int {
	switch {
	case s.hi != o.hi && s.hi < o.hi, s.hi == o.hi && s.lo < o.lo:
		return -1
	case s == o:
		return 0
	}
	return 1
}

// IsZero reports whether the sum is 0.
func (s Sum) IsZero() bool { return s == Sum{} }

// Big returns the sum as a big integer.
func (s Sum) Big() *big.Int {
	b := new(big.Int).SetUint64(s.hi)
	return b.Or(b.Lsh(b, 64), new(big.Int).SetUint64(s.lo))
}

// Float returns the nearest float64, ties to even.
func (s Sum) Float() float64 {
	if s.hi == 0 {
		return float64(s.lo)
	}
	f, _ := new(big.Float).SetInt(s.Big()).Float64()
	return f
}

// Int64 returns the sum if it fits.
func (s Sum) Int64() (int64, bool) {
	return int64(s.lo), s.hi == 0 && s.lo < 1<<63
}

// String returns the decimal digits.
func (s Sum) String() string {
	if s.hi == 0 {
		return fmt.Sprint(s.lo)
	}
	return s.Big().String()
}

// MarshalJSON writes a JSON integer, all digits of it.
func (s Sum) MarshalJSON() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalJSON reads a JSON integer from 0 to 2^128-1.
func (s *Sum) UnmarshalJSON(b []byte) error {
	text := string(b)
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || len(text) > 40 || n.Sign() < 0 || n.BitLen() > 128 || strings.HasPrefix(text, "+") {
		return invalid("", "%q is no sum", clip(text))
	}
	low := new(big.Int).And(n, new(big.Int).SetUint64(1<<64-1))
	s.lo, s.hi = low.Uint64(), n.Rsh(n, 64).Uint64()
	return nil
}

// rate is the rate of a delta: octets in bits per second, packets per second. It is
// one division of two whole numbers that are exact up to 2^53; every program that
// divides IEEE doubles gets the same.
func rate(delta Sum, seconds int64, u Unit) float64 {
	if u == Octets {
		return delta.Float() * 8 / float64(seconds)
	}
	return delta.Float() / float64(seconds)
}
