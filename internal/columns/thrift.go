package columns

import (
	"encoding/binary"
	"errors"
	"math"
)

// This file reads what Parquet keeps in Thrift's compact protocol. The decoder of
// parquet-go is not used for reading, because it allocates whatever length the
// input gives a list; here memory grows only with the bytes that are there.

// The types of the compact protocol.
const (
	tTrue   = 1
	tFalse  = 2
	tByte   = 3
	tI16    = 4
	tI32    = 5
	tI64    = 6
	tDouble = 7
	tBinary = 8
	tList   = 9
	tSet    = 10
	tMap    = 11
	tStruct = 12
)

// maxDepth is how deep structures may be nested.
const maxDepth = 16

var errThrift = errors.New("malformed Thrift structure")

// fields reads Thrift values from b. The first error sticks, and everything
// read after it is zero.
type fields struct {
	b     []byte
	at    int
	depth int
	err   error
}

func (r *fields) fail() {
	if r.err == nil {
		r.err = errThrift
	}
	r.at = len(r.b)
}

func (r *fields) byte() byte {
	if r.at >= len(r.b) {
		r.fail()
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *fields) uvarint() uint64 {
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

// int reads a number of any width.
func (r *fields) int() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *fields) int32() int32 {
	v := r.int()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.fail()
		return 0
	}
	return int32(v)
}

// bytes returns a part of the input.
func (r *fields) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)-r.at) {
		r.fail()
		return nil
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at : r.at]
}

// each reads a structure: field is called for each of its fields and reports
// whether it read the value, which is skipped otherwise.
func (r *fields) each(field func(id int, typ byte) bool) {
	if r.depth++; r.depth > maxDepth {
		r.fail()
	}
	id := int64(0)
	for r.err == nil {
		h := r.byte()
		if h == 0 {
			break
		}
		if h>>4 != 0 {
			id += int64(h >> 4)
		} else {
			id = r.int()
		}
		if id < 0 || id > math.MaxInt16 {
			r.fail()
		}
		if r.err == nil && !field(int(id), h&15) {
			r.skip(h & 15)
		}
	}
	r.depth--
}

// list reads the head of a list and calls element for each of its elements if
// they are of a type; otherwise the list is malformed.
func (r *fields) list(typ byte, element func()) {
	n, t := r.head()
	if t != typ && n > 0 {
		r.fail()
	}
	for range n {
		if element(); r.err != nil {
			return
		}
	}
}

// head reads the head of a list or set. Every element takes a byte at least.
func (r *fields) head() (n uint64, typ byte) {
	h := r.byte()
	if n = uint64(h >> 4); n == 15 {
		n = r.uvarint()
	}
	if n > uint64(len(r.b)-r.at) {
		r.fail()
		n = 0
	}
	return n, h & 15
}

// skip passes over a value.
func (r *fields) skip(typ byte) {
	switch typ {
	case tTrue, tFalse:
	case tByte:
		r.byte()
	case tI16, tI32, tI64:
		r.uvarint()
	case tDouble:
		for range 8 {
			r.byte()
		}
	case tBinary:
		r.bytes()
	case tList, tSet:
		n, t := r.head()
		for range n {
			r.skipElement(t)
		}
	case tMap:
		n := r.uvarint()
		if n == 0 {
			return
		}
		t := r.byte()
		for i := uint64(0); i < n && r.err == nil; i++ {
			r.skipElement(t >> 4)
			r.skipElement(t & 15)
		}
	case tStruct:
		r.each(func(int, byte) bool { return false })
	default:
		r.fail()
	}
}

// skipElement passes over an element of a container, where a bool takes a byte.
func (r *fields) skipElement(typ byte) {
	if r.depth++; r.depth > maxDepth {
		r.fail()
	}
	if r.err == nil {
		if typ == tTrue || typ == tFalse {
			r.byte()
		} else {
			r.skip(typ)
		}
	}
	r.depth--
}
