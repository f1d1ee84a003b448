package columns

import (
	"encoding/binary"
	"math/bits"
)

// This file decodes the two packed encodings a few rows at a time. parquet-go's
// decoders take a whole page at once, of 128 KiB for each column of each input of
// a merge, and believe the lengths that they find in it.

// pad is how many bytes behind the input of a decoder can be read.
const pad = 8

// runReader reads the hybrid of runs and packed bits in which levels and
// dictionary indexes are kept. Its input has pad bytes behind it.
type runReader struct {
	src    []byte // rest of the input
	width  uint
	left   int // values left in the current run
	value  int32
	packed []byte // of the current run, if it is packed
	bit    uint   // next bit in packed
}

// reset begins an input.
func (r *runReader) reset(src []byte, width uint) { *r = runReader{src: src, width: width} }

// next begins the next run and reports whether there is one.
func (r *runReader) next() bool {
	h, n := binary.Uvarint(r.src)
	if n <= 0 || h>>1 == 0 || h>>1 > maxPage {
		return false
	}
	count, rest := int(h>>1), r.src[n:]
	size := int(r.width+7) / 8
	if h&1 != 0 {
		size = count * int(r.width)
		count *= 8
	}
	if size > len(rest) {
		return false
	}
	r.left, r.packed, r.bit = count, nil, 0
	if h&1 != 0 {
		r.packed = rest[: size : size+pad]
	} else {
		r.value = 0
		for i := range size {
			r.value |= int32(rest[i]) << (8 * i)
		}
		if uint64(uint32(r.value))>>r.width != 0 {
			return false
		}
	}
	r.src = rest[size:]
	return true
}

// read fills dst and reports whether the input had enough.
func (r *runReader) read(dst []int32) bool {
	for len(dst) > 0 {
		if r.left == 0 && !r.next() {
			return false
		}
		n := min(r.left, len(dst))
		if r.packed == nil {
			fill(dst[:n], r.value)
		} else {
			r.unpack(dst[:n])
		}
		r.left -= n
		dst = dst[n:]
	}
	return true
}

// allOf reports whether the input is one run of at least n times a value.
func (r *runReader) allOf(n int, value int32) bool {
	return (r.left > 0 || r.next()) && r.packed == nil && r.value == value && r.left >= n
}

func (r *runReader) unpack(dst []int32) {
	src, bit, width := r.packed[:len(r.packed)+pad], r.bit, r.width
	mask := uint64(1)<<width - 1
	for i := range dst {
		dst[i] = int32(binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask)
		bit += width
	}
	r.bit = bit
}

func fill[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// The shape of the blocks that are written.
const (
	deltaBlock     = 128
	deltaMini      = 32
	deltaMinis     = deltaBlock / deltaMini
	deltaMiniBytes = deltaMini / 8 // for each bit of width
)

// deltaReader reads DELTA_BINARY_PACKED numbers. Its input has pad bytes behind it.
type deltaReader struct {
	src    []byte // rest of the input
	left   int    // values left, without those in mini
	last   int64
	lowest int64 // of the differences in the block
	widths [deltaMinis]byte
	block  int // mini blocks of the block that were read
	mini   [deltaMini]int64
	at, to int // what is in mini and was not read
}

// reset begins an input of n values, not negative. It reports whether the head
// says so.
func (r *deltaReader) reset(src []byte, n int) bool {
	*r = deltaReader{left: n, block: deltaMinis}
	for _, want := range [...]uint64{deltaBlock, deltaMinis, uint64(n)} {
		v, k := binary.Uvarint(src)
		if k <= 0 || v != want {
			return false
		}
		src = src[k:]
	}
	first, k := binary.Varint(src)
	if k <= 0 {
		return false
	}
	r.src, r.last = src[k:], first
	if n > 0 {
		r.mini[0], r.to = first, 1
		r.left--
	}
	return true
}

// read fills dst and reports whether the input had enough.
func (r *deltaReader) read(dst []int64) bool {
	for len(dst) > 0 {
		if r.at < r.to {
			n := copy(dst, r.mini[r.at:r.to])
			r.at += n
			dst = dst[n:]
			continue
		}
		if r.left == 0 {
			return false
		}
		out := &r.mini
		if len(dst) >= deltaMini && r.left >= deltaMini {
			out = (*[deltaMini]int64)(dst)
		}
		if !r.next(out) {
			return false
		}
		n := min(r.left, deltaMini)
		r.left -= n
		if out == &r.mini {
			r.at, r.to = 0, n
		} else {
			dst = dst[deltaMini:]
		}
	}
	return true
}

// next decodes the next mini block.
func (r *deltaReader) next(dst *[deltaMini]int64) bool {
	if r.block == deltaMinis {
		lowest, n := binary.Varint(r.src)
		if n <= 0 || len(r.src)-n < deltaMinis {
			return false
		}
		r.lowest, r.block = lowest, 0
		copy(r.widths[:], r.src[n:])
		r.src = r.src[n+deltaMinis:]
	}
	width := uint(r.widths[r.block])
	r.block++
	size := int(width) * deltaMiniBytes
	if width > 64 || size > len(r.src) {
		return false
	}
	r.last = unpackDeltas(dst, r.src[:size+pad], width, r.lowest, r.last)
	r.src = r.src[size:]
	return true
}

// unpackDeltas adds up deltaMini differences of a width, each less than it is by
// lowest, and returns the last sum. Src has pad bytes behind them.
func unpackDeltas(dst *[deltaMini]int64, src []byte, width uint, lowest, last int64) int64 {
	switch {
	case width == 0:
		for i := range dst {
			last += lowest
			dst[i] = last
		}
	case width <= 57: // with up to 7 bits in front it fits into 64
		mask, bit := uint64(1)<<width-1, uint(0)
		for i := range dst {
			last += lowest + int64(binary.LittleEndian.Uint64(src[bit>>3:])>>(bit&7)&mask)
			dst[i] = last
			bit += width
		}
	default:
		mask, bit := ^uint64(0)>>(64-width), uint(0)
		for i := range dst {
			at, shift := bit>>3, bit&7
			v := binary.LittleEndian.Uint64(src[at:]) >> shift
			if shift > 0 {
				v |= uint64(src[at+8]) << (64 - shift)
			}
			last += lowest + int64(v&mask)
			dst[i] = last
			bit += width
		}
	}
	return last
}

// indexWidth is how many bits an index into n values takes as it is written.
func indexWidth(n int) int { return max(1, bits.Len(uint(n-1))) }
