package report

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// Percentile is a percentile above 0 and up to 100 with at most three decimals, in
// thousandths of a percent. The zero value stands for 95.
type Percentile int

// DefaultPercentile is the 95th.
const DefaultPercentile Percentile = 95000

var percentileText = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,3})?$`)

// ParsePercentile reads "95" or "99.9".
func ParsePercentile(s string) (Percentile, error) {
	if percentileText.MatchString(s) {
		whole, part, _ := strings.Cut(s, ".")
		n, err := strconv.Atoi(whole + (part + "000")[:3])
		if err == nil && n > 0 && n <= 100000 {
			return Percentile(n), nil
		}
	}
	return 0, invalid("95, or 99.9; above 0 and at most 100", "%q is no percentile", clip(s))
}

func (p Percentile) value() Percentile {
	if p == 0 {
		return DefaultPercentile
	}
	return p
}

// String returns it as ParsePercentile takes it.
func (p Percentile) String() string {
	p = p.value()
	s := strconv.Itoa(int(p / 1000))
	if part := int(p % 1000); part > 0 {
		s += strings.TrimRight("."+strconv.Itoa(1000 + part)[1:], "0")
	}
	return s
}

// MarshalText makes String the JSON form.
func (p Percentile) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Percentile) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePercentile(string(b))
	return err
}

// Rank is which of n values in ascending order is the percentile, counted from 1: the
// nearest rank, ceil(n × p ÷ 100). It is 0 if there is none.
func (p Percentile) Rank(n int) int {
	if n == 0 {
		return 0
	}
	at := new(big.Int).Mul(big.NewInt(int64(n)), big.NewInt(int64(p.value())))
	at.Add(at, big.NewInt(99999))
	return int(at.Div(at, big.NewInt(100000)).Int64())
}

// smallest returns the k-th smallest value, counted from 1, of values that are in
// any order; it reorders them. The largest is at the end of what it has passed.
func smallest(v []float64, k int) float64 {
	k--
	lo, hi := 0, len(v)-1
	for lo < hi {
		// The median of three keeps sorted input from being the worst case.
		mid := lo + (hi-lo)/2
		if v[mid] < v[lo] {
			v[mid], v[lo] = v[lo], v[mid]
		}
		if v[hi] < v[lo] {
			v[hi], v[lo] = v[lo], v[hi]
		}
		if v[hi] < v[mid] {
			v[hi], v[mid] = v[mid], v[hi]
		}
		pivot := v[mid]
		i, j := lo, hi
		for i <= j {
			for v[i] < pivot {
				i++
			}
			for v[j] > pivot {
				j--
			}
			if i <= j {
				v[i], v[j] = v[j], v[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case k <= j:
			hi = j
		case k >= i:
			lo = i
		default:
			return v[k]
		}
	}
	return v[k]
}
