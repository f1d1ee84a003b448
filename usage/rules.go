package usage

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// RulesVersion changes with every change of the rules that could change a row.
const RulesVersion = 1

// Break says why a row does not simply go on from the row before it.
type Break uint8

// The reasons, and whether the row has deltas all the same.
const (
	// None: the row goes on from the one before. It has deltas.
	None Break = iota
	// First: nothing is known of the series before. No deltas.
	First
	// Reset: a counter fell, so all counters of the row began anew. No deltas.
	Reset
	// Wrap32: a counter known to have 32 bits passed its end. Deltas.
	Wrap32
	// Wrap64: a counter passed 2^64-1. Deltas.
	Wrap64
	// ModeChange: counter mode, set of counters, or semantics are others than
	// before. No deltas.
	ModeChange
	// Final: the row before was the last one of another object with the same
	// keys; the counters began at zero. Deltas, unless the row cannot be told
	// from one of an object that went on counting.
	Final
	// Gap: rows are missing between this one and the one before. Deltas, of
	// cumulative counters over the whole time.
	Gap
	// Overlap: the collection interval begins before the one before ended. No
	// deltas.
	Overlap
	// ClockStep: times do not increase, or two rows tell different things of
	// one time. No deltas.
	ClockStep
	// Unknown: it is not known whether the counters are cumulative. No deltas.
	Unknown

	breaks // their number
)

var breakNames = [breaks]string{"", "first", "reset", "wrap32", "wrap64", "mode-change", "final", "gap", "overlap", "clock-step", "unknown"}

// String returns the text in the column break, "" for None.
func (b Break) String() string { return breakNames[b] }

// Semantics is what the counters of a row are.
type Semantics uint8

// The semantics of a row.
const (
	NotSaid    Semantics = iota // the file does not say
	Cumulative                  // readings that grow
	PerInterval
)

// ParseSemantics reads the column semantics.
func ParseSemantics(s string) Semantics {
	switch s {
	case "cumulative":
		return Cumulative
	case "interval":
		return PerInterval
	}
	return NotSaid
}

// String returns the text in the column semantics.
func (s Semantics) String() string {
	return [...]string{NotSaid: "unknown", Cumulative: "cumulative", PerInterval: "interval"}[s]
}

// NoTime is the Start of a row whose file does not tell it.
const NoTime = math.MinInt64

// Source is the accounting file that a row comes from.
type Source struct {
	File, SHA256 string

	file, hash int32 // their numbers where the tables are read and written
}

// compare orders sources by name, then hash.
func (s *Source) compare(o *Source) int {
	return cmp.Or(strings.Compare(s.File, o.File), strings.Compare(s.SHA256, o.SHA256))
}

// Point is a row of a series as the rules see it.
type Point struct {
	Start, End int64 // collection interval in µs since 1970; Start may be NoTime
	Final      int32 // 0, or n for the n-th deleted object
	Semantics  Semantics
	Mode       string // counter mode, "" if none
	// Values are the readings, one per counter of the table; Present tells
	// which of them there are, bit i%64 of word i/64. Others are 0.
	Values  []uint64
	Present []uint64
	Source  *Source

	at int // of the caller, among the rows of one end
}

// sameFields reports whether two points have the same counters in the same mode.
func (p *Point) sameFields(o *Point) bool {
	return p.Mode == o.Mode && slices.Equal(p.Present, o.Present)
}

// compareContent orders points of one end by everything but their sources: the
// deleted objects first, in their order, then the one that lives.
func (p *Point) compareContent(o *Point) int {
	return cmp.Or(cmp.Compare(uint32(p.Final-1), uint32(o.Final-1)), cmp.Compare(p.Semantics, o.Semantics), cmp.Compare(p.Start, o.Start),
		strings.Compare(p.Mode, o.Mode), slices.Compare(p.Present, o.Present), slices.Compare(p.Values, o.Values))
}

// Delta is what the rules say of one row.
type Delta struct {
	// Break is why the row does not simply go on, None if it does.
	Break Break
	// Known tells that Values are what was counted from From to the end of the
	// row, for each counter that the row has.
	Known  bool
	Values []uint64
	// From is in µs since 1970; NoTime if not Known, or if an interval record
	// does not tell its start.
	From int64
	// Gap is the time without rows before the row's collection interval in µs,
	// 0 if there is none.
	Gap int64
	// Previous is the file of the row that was subtracted, nil if none was.
	Previous *Source
}

// fastest is how much a counter can count in a second: octets of a port of
// 800 Gbit/s.
const fastest = 100_000_000_000

// second is the unit of time spans in µs.
const second = int64(time.Second / time.Microsecond)

// difference returns what a counter counted from a to b in a time span of µs,
// and None, or how it passed its end; false if it began anew. narrow is the most
// it counts in a second if it is known to have 32 bits, else 0.
func difference(a, b uint64, span int64, narrow uint64) (uint64, Break, bool) {
	if b >= a {
		return b - a, None, true
	}
	if n := (b - a) & math.MaxUint32; narrow > 0 && a <= math.MaxUint32 && reach(narrow, span, 1<<32) < 0 && reach(narrow, span, n) >= 0 {
		return n, Wrap32, true
	}
	if a > math.MaxInt64 && reach(fastest, span, b-a) >= 0 {
		return b - a, Wrap64, true
	}
	return 0, Reset, false
}

// reach compares what a counter that counts rate in a second can count in a time
// span of µs with n.
func reach(rate uint64, span int64, n uint64) int {
	hi, lo := bits.Mul64(rate, uint64(span))
	nhi, nlo := bits.Mul64(n, uint64(second))
	return cmp.Or(cmp.Compare(hi, nhi), cmp.Compare(lo, nlo))
}
