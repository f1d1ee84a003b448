package columns

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
)

// sample is a small file with columns of every kind.
func sample(tb testing.TB, seed uint64, rows int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	tab := randomTable(rng, randomSchema(rng), rows)
	tab.sortGroups(150)
	return tab.write(tb, rng, 150, WriterOptions{})
}

// readAll reads a file in every way; what it finds does not matter.
func readAll(b []byte, unchecked bool) error {
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	s := f.Scan(ScanOptions{})
	if s.r != nil {
		s.r.unchecked = unchecked
	}
	var sum Digest
	d := NewDigester()
	for range 2000 {
		batch, err := s.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		d.Add(&sum, batch)
		for i := range batch.Columns {
			if v := &batch.Columns[i]; f.schema.Columns[i].Type == Map {
				if text, ok := v.Text(0); ok {
					Pairs(text)
				}
			}
		}
	}
	if len(f.schema.Sorted) == 0 {
		return nil
	}
	m, err := Merge([]*File{f, f}, MergeOptions{})
	if err != nil {
		return err
	}
	for range 2000 {
		if _, err = m.Next(context.Background()); err != nil {
			break
		}
	}
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, m.Close())
}

// FuzzFile: whatever the bytes of a file, reading it ends with rows or an error.
func FuzzFile(f *testing.F) {
	for seed := range uint64(2) {
		f.Add(sample(f, seed, 3), true)
		f.Add(sample(f, seed, 12), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, unchecked bool) {
		if err := readAll(b, unchecked); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}

// FuzzDecoders: our decoders read what parquet-go writes, in pieces of any size,
// and survive everything else.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 200, 0, 0, 0, 0, 255}, uint8(3), uint8(5))
	f.Add(bytes.Repeat([]byte{0x80, 7}, 600), uint8(64), uint8(33))
	f.Fuzz(func(t *testing.T, raw []byte, width, step uint8) {
		w, piece := uint(width%21)+1, int(step)+1
		padded := append(bytes.Clone(raw), make([]byte, pad)...)[:len(raw)]
		var runs runReader
		runs.reset(padded, w)
		for i, idx := 0, make([]int32, piece); i < 100 && runs.read(idx); i++ {
		}
		var deltas deltaReader
		if deltas.reset(padded, len(raw)) {
			for i, ints := 0, make([]int64, piece); i < 100 && deltas.read(ints); i++ {
			}
		}

		ints, idx := make([]int64, len(raw)), make([]int32, len(raw))
		last := int64(0)
		for i, v := range raw {
			last = last*31 + int64(v)<<(uint(width)%57) - int64(step)
			ints[i], idx[i] = last, int32(uint32(last)&(1<<w-1))
			if v%4 == 0 && i > 0 {
				ints[i], idx[i] = ints[i-1], idx[i-1]
			}
		}
		var d delta.BinaryPackedEncoding
		packed, err := d.EncodeInt64(nil, ints)
		if err != nil || !deltas.reset(append(packed, make([]byte, pad)...)[:len(packed)], len(ints)) {
			t.Fatal("deltas", err)
		}
		e := rle.Encoding{BitWidth: int(w)}
		packed, err = e.EncodeInt32(nil, idx)
		if err != nil {
			t.Fatal(err)
		}
		runs.reset(append(packed, make([]byte, pad)...)[:len(packed)], w)
		for at := 0; at < len(raw); at += piece {
			n := min(piece, len(raw)-at)
			gotInts, gotIdx := make([]int64, n), make([]int32, n)
			if !deltas.read(gotInts) || !runs.read(gotIdx) {
				t.Fatalf("ended before row %d of %d", at+n, len(raw))
			}
			for i := range n {
				if gotInts[i] != ints[at+i] || gotIdx[i] != idx[at+i] {
					t.Fatalf("row %d: %d and %d, want %d and %d", at+i, gotInts[i], gotIdx[i], ints[at+i], idx[at+i])
				}
			}
		}
		if len(raw) > 0 && deltas.read(make([]int64, 1)) {
			t.Fatal("more numbers than were written")
		}
	})
}

// Every byte of a small file is changed, and every length cut off: reading gives
// an error that tells of damage, or the rows.
func TestHostileBytes(t *testing.T) {
	b := sample(t, 3, 40)
	if err := readAll(b, false); err != nil {
		t.Fatal(err)
	}
	for at := range b {
		c := bytes.Clone(b)
		c[at] ^= 1 << (at % 8)
		if err := readAll(c, at%2 == 0); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: %v", at, err)
		}
		if at%7 == 0 && readAll(b[:at], false) == nil {
			t.Fatalf("%d bytes of %d were read as a file", at, len(b))
		}
	}
}
