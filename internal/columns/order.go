package columns

import (
	"math/bits"
	"slices"
	"strings"
)

// interner gives small numbers to texts. Dictionaries of files that are merged
// are mostly alike, so the text that came after the last one is tried first.
type interner struct {
	index map[string]int32
	texts []string
	next  []int32 // the text that came after this one last time, or null
	last  int32
	bytes int
}

// textCost is what a text costs beside its bytes, about.
const textCost = 80

func newInterner() *interner { return &interner{index: map[string]int32{}, last: null} }

func (t *interner) id(s string) int32 {
	if t.last >= 0 {
		if id := t.next[t.last]; id >= 0 && t.texts[id] == s {
			t.last = id
			return id
		}
	}
	id, ok := t.index[s]
	if !ok {
		id = int32(len(t.texts))
		s = strings.Clone(s) // it is a part of a whole page
		t.texts, t.next = append(t.texts, s), append(t.next, null)
		t.index[s] = id
		t.bytes += len(s) + textCost
	}
	if t.last >= 0 {
		t.next[t.last] = id
	}
	t.last = id
	return id
}

// sort makes the ids the ranks of the texts.
func (t *interner) sort() {
	order := make([]int32, len(t.texts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return strings.Compare(t.texts[a], t.texts[b]) })
	rank := make([]int32, len(order))
	texts := make([]string, len(order))
	for i, id := range order {
		rank[id], texts[i] = int32(i), t.texts[id]
		t.index[texts[i]] = int32(i)
	}
	next := make([]int32, len(order))
	for id, n := range t.next {
		if next[rank[id]] = n; n >= 0 {
			next[rank[id]] = rank[n]
		}
	}
	t.texts, t.next, t.last = texts, next, null
}

// keyField is one column of the order in the keys of rows: its rank among all
// values of the column, with NULL as 0, or the number itself with a bit in front
// that tells NULL.
type keyField struct {
	column  int // in merge.read
	texts   *interner
	count   int // of texts that have a rank
	numbers []int64
	raw     bool
	word    int
	shift   uint
	nullAt  struct { // raw: the bit in front
		word  int
		shift uint
	}
}

// layKeys gives every field its place in the words of a key, the first in the
// highest bits, and returns the number of words.
func layKeys(fields []keyField) int {
	word, free := 0, uint(64)
	place := func(width uint) (int, uint) {
		if width > free {
			word, free = word+1, 64
		}
		free -= width
		return word, free
	}
	for i := range fields {
		f := &fields[i]
		switch {
		case f.raw:
			f.nullAt.word, f.nullAt.shift = place(1)
			f.word, f.shift = place(64)
		case f.texts != nil:
			f.word, f.shift = place(uint(bits.Len(uint(len(f.texts.texts)))))
		default:
			f.word, f.shift = place(uint(bits.Len(uint(len(f.numbers)))))
		}
	}
	return word + 1
}

// radixBits is how many bits a pass of keySort takes.
const radixBits = 11

// keySort sorts references to rows by their keys. Rows of equal keys keep their
// order.
type keySort struct {
	refs, spare []uint32
	keys, other []uint64
	counts      [1 << radixBits]uint32
}

// smallSort is how many rows are not worth a pass over all counts.
const smallSort = 256

// sort orders refs by the words of their keys, the first the most significant.
func (s *keySort) sort(words [][]uint64) {
	if len(s.refs) < smallSort {
		slices.SortStableFunc(s.refs, func(a, b uint32) int { return compareKeys(words, a, b) })
		return
	}
	n := len(s.refs)
	s.spare, s.keys, s.other = grow(s.spare, n), grow(s.keys, n), grow(s.other, n)
	for w := len(words) - 1; w >= 0; w-- {
		all, some := ^uint64(0), uint64(0)
		for i, ref := range s.refs {
			k := words[w][ref]
			s.keys[i] = k
			all &= k
			some |= k
		}
		differ := all ^ some
		for differ != 0 {
			shift := uint(bits.TrailingZeros64(differ))
			s.pass(shift)
			differ &^= (1<<radixBits - 1) << shift
		}
	}
}

// pass is one pass of the sort, over the bits from shift on.
func (s *keySort) pass(shift uint) {
	const mask = 1<<radixBits - 1
	clear(s.counts[:])
	for _, k := range s.keys {
		s.counts[k>>shift&mask]++
	}
	at := uint32(0)
	for i, n := range s.counts {
		s.counts[i] = at
		at += n
	}
	for i, k := range s.keys {
		c := &s.counts[k>>shift&mask]
		s.other[*c], s.spare[*c] = k, s.refs[i]
		*c++
	}
	s.refs, s.spare = s.spare, s.refs
	s.keys, s.other = s.other, s.keys
}

// compareKeys orders two rows by their keys.
func compareKeys(words [][]uint64, a, b uint32) int {
	for _, w := range words {
		switch {
		case w[a] < w[b]:
			return -1
		case w[a] > w[b]:
			return 1
		}
	}
	return 0
}
