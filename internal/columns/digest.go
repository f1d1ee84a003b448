package columns

import (
	"context"
	"hash/maphash"
	"io"
	"math/bits"
)

// Digest tells whether two sets of rows are the same, whatever their order: the
// number of rows, and the sum of a hash over all columns of each row. Digests are
// comparable with == if they come from one Digester, and only then: its hashes are
// seeded at random, so that no choice of values can make two sets look alike.
type Digest struct {
	Rows   int64
	Lo, Hi uint64
}

// Digester makes digests. One goroutine may use it at a time.
type Digester struct {
	seed  maphash.Seed
	keys  [2]uint64
	rows  []uint64 // scratch: hash of each row
	known []uint64 // scratch: hash of each text of a batch
	stamp []uint32
	tick  uint32
}

// NewDigester returns a Digester.
func NewDigester() *Digester {
	d := &Digester{seed: maphash.MakeSeed()}
	d.keys[0], d.keys[1] = maphash.String(d.seed, "number"), maphash.String(d.seed, "null")
	return d
}

// mix spreads the bits of v.
func mix(v, key uint64) uint64 {
	hi, lo := bits.Mul64(v^key, 0x9E3779B97F4A7C15^key<<1)
	return hi ^ lo
}

// Add adds the rows of a batch. A column counts by its place.
func (d *Digester) Add(sum *Digest, b *Batch) {
	d.rows = grow(d.rows, b.Rows)
	same := uint64(0) // what all rows have in common
	clear(d.rows)
	for i := range b.Columns {
		v := &b.Columns[i]
		column := mix(uint64(i)+1, d.keys[0])
		switch {
		case v.AllNull:
			same += mix(column, d.keys[1])
		case v.Const && v.IDs != nil:
			same += mix(maphash.String(d.seed, v.Texts[v.IDs[0]]), column)
		case v.Const:
			same += mix(uint64(v.Ints[0]), column)
		case v.IDs != nil:
			d.addTexts(v, column)
		default:
			d.addInts(v, column)
		}
	}
	for _, h := range d.rows {
		h = mix(h+same, d.keys[0])
		lo, carry := bits.Add64(sum.Lo, h, 0)
		sum.Lo, sum.Hi = lo, sum.Hi+carry+mix(h, d.keys[1])
	}
	sum.Rows += int64(b.Rows)
}

func (d *Digester) addInts(v *Vector, column uint64) {
	if v.Null == nil {
		for i, n := range v.Ints {
			d.rows[i] += mix(uint64(n), column)
		}
		return
	}
	none := mix(column, d.keys[1])
	for i, n := range v.Ints {
		h := mix(uint64(n), column)
		if v.Null[i] {
			h = none
		}
		d.rows[i] += h
	}
}

func (d *Digester) addTexts(v *Vector, column uint64) {
	if len(d.stamp) < len(v.Texts) {
		d.stamp, d.known, d.tick = make([]uint32, 2*len(v.Texts)), make([]uint64, 2*len(v.Texts)), 0
	}
	if d.tick++; d.tick == 0 {
		clear(d.stamp)
		d.tick = 1
	}
	none := mix(column, d.keys[1])
	for i, id := range v.IDs {
		if id < 0 {
			d.rows[i] += none
			continue
		}
		if d.stamp[id] != d.tick {
			d.stamp[id], d.known[id] = d.tick, mix(maphash.String(d.seed, v.Texts[id]), column)
		}
		d.rows[i] += d.known[id]
	}
}

// AddFile adds all rows of a file, and so proves that they can be read.
func (d *Digester) AddFile(ctx context.Context, sum *Digest, f *File) error {
	s := f.Scan(ScanOptions{})
	for {
		b, err := s.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		d.Add(sum, b)
	}
}
