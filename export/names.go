package export

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
)

// null stands for no value wherever a text id, a number or an index can be.
const null = -1

// names gives small numbers to what rows have in common: texts, labels,
// intervals and origins. Rows in the sort buffer hold the numbers. They are
// forgotten together, for each may refer to others.
type names struct {
	texts     texts
	numbers   numbers
	labels    []label
	label     map[label]int32
	intervals []interval
	interval  map[interval]int32
	origins   []origin
	origin    map[origin]int32
	bytes     int // estimate of what all this holds, objects included
}

// label is what the row set and the device say about a row; text ids.
type label struct{ device, sub, scope, mode int32 }

// interval is a collection interval in microseconds since 1970 UTC; start is
// noStart if the file does not say.
type interval struct{ start, end int64 }

const noStart = -1 << 63

// origin is where a row comes from; text ids, and null for a policy or file id
// that is not known.
type origin struct {
	device, file, sum, semantics int32
	policy, fileID, final        int32
}

func newNames() *names {
	n := &names{label: map[label]int32{}, interval: map[interval]int32{}, origin: map[origin]int32{}}
	n.texts.seed = maphash.MakeSeed()
	return n
}

// reset forgets everything but the memory it took.
func (n *names) reset() {
	n.texts.reset()
	n.numbers.list = n.numbers.list[:0]
	n.numbers.slots.reset()
	n.labels, n.intervals, n.origins = n.labels[:0], n.intervals[:0], n.origins[:0]
	clear(n.label)
	clear(n.interval)
	clear(n.origin)
	n.bytes = 0
}

// What one entry costs, about, with what the sorter needs for it: a text beside
// its bytes, a number, an object beside its keys, anything else.
const (
	textCost   = 32
	numberCost = 16
	objectCost = 52
	recordCost = 96
)

// textID returns the number of s, which it copies if it is new.
func (n *names) textID(s string) int32 {
	id, fresh := n.texts.id(s)
	if fresh {
		n.bytes += len(s) + textCost
	}
	return id
}

// optionalID is textID with null for the empty text.
func (n *names) optionalID(s string) int32 {
	if s == "" {
		return null
	}
	return n.textID(s)
}

// numberID returns the number of a number.
func (n *names) numberID(v int64) int32 {
	id, fresh := n.numbers.id(v)
	if fresh {
		n.bytes += numberCost
	}
	return id
}

func (n *names) labelID(l label) int32 { return intern(n, &n.labels, n.label, l) }

func (n *names) intervalID(i interval) int32 { return intern(n, &n.intervals, n.interval, i) }

func (n *names) originID(o origin) int32 { return intern(n, &n.origins, n.origin, o) }

func intern[T comparable](n *names, list *[]T, index map[T]int32, v T) int32 {
	if id, ok := index[v]; ok {
		return id
	}
	id := int32(len(*list))
	*list = append(*list, v)
	index[v] = id
	n.bytes += recordCost
	return id
}

// slots is an open hash table of numbers that count up from 0. What they number
// is kept by its owner.
type slots struct {
	ids  []int32 // id + 1, or 0; the length is a power of two
	used int
}

// find returns the slot of the first id whose hash is h and that is the one
// wanted, or the free slot where it would be.
func (s *slots) find(h uint64, wanted func(id int32) bool) *int32 {
	mask := uint64(len(s.ids) - 1)
	at := h & mask
	for s.ids[at] != 0 && !wanted(s.ids[at]-1) {
		at = (at + 1) & mask
	}
	return &s.ids[at]
}

// grow makes room for one more id; hash tells the hashes of those there are.
func (s *slots) grow(hash func(id int32) uint64) {
	if 4*s.used < 3*len(s.ids) {
		return
	}
	s.ids = make([]int32, max(64, 2*len(s.ids)))
	for id := range int32(s.used) {
		*s.find(hash(id), func(int32) bool { return false }) = id + 1
	}
}

func (s *slots) reset() {
	clear(s.ids)
	s.used = 0
}

// numbers numbers numbers: the keys of objects are ids, whatever their type.
type numbers struct {
	list  []int64
	slots slots
}

func (t *numbers) id(v int64) (id int32, fresh bool) {
	t.slots.grow(func(id int32) uint64 { return mix(uint64(t.list[id])) })
	slot := t.slots.find(mix(uint64(v)), func(id int32) bool { return t.list[id] == v })
	if *slot != 0 {
		return *slot - 1, false
	}
	id = int32(len(t.list))
	t.list = append(t.list, v)
	*slot = id + 1
	t.slots.used++
	return id, true
}

// mix spreads the bits of v.
func mix(v uint64) uint64 {
	hi, lo := bits.Mul64(v, 0x9E3779B97F4A7C15)
	v = hi ^ lo
	return v ^ v>>32
}

// texts numbers strings. It keeps them in blocks, without a word of overhead
// for the garbage collector to look at but the string itself.
type texts struct {
	list  []string
	slots slots
	block strings.Builder
	seed  maphash.Seed
}

const textBlock = 64 << 10

func (t *texts) id(s string) (id int32, fresh bool) {
	t.slots.grow(func(id int32) uint64 { return maphash.String(t.seed, t.list[id]) })
	slot := t.slots.find(maphash.String(t.seed, s), func(id int32) bool { return t.list[id] == s })
	if *slot != 0 {
		return *slot - 1, false
	}
	id = int32(len(t.list))
	t.list = append(t.list, t.keep(s))
	*slot = id + 1
	t.slots.used++
	return id, true
}

// keep returns a copy of s.
func (t *texts) keep(s string) string {
	if len(s) > textBlock/8 {
		return strings.Clone(s)
	}
	if t.block.Cap()-t.block.Len() < len(s) {
		t.block = strings.Builder{} // what is in the old one lives on in list
		t.block.Grow(textBlock)
	}
	at := t.block.Len()
	t.block.WriteString(s)
	return t.block.String()[at:]
}

func (t *texts) reset() {
	clear(t.list)
	t.list = t.list[:0]
	t.slots.reset()
	t.block = strings.Builder{}
}

// objects numbers the accounting objects of one dataset: a label, which names
// the device, and the values of the key columns.
type objects struct {
	names *names
	isNum []bool  // of each key column
	keys  []int32 // len(isNum) per object: the id of a number or a text, or null
	heads []object
	slots slots
	order []int32 // all ids but those added since, in the order of compare
	last  int32   // the object found last, null at first
}

type object struct {
	label  int32
	next   int32 // the object that came after this one last time
	seenIn int32 // number of the input that had it last
	seenAt int32 // the latest interval in that input
}

func newObjects(n *names, isNum []bool) *objects {
	return &objects{names: n, isNum: isNum, last: null}
}

func (o *objects) reset() {
	o.keys, o.heads, o.order, o.last = o.keys[:0], o.heads[:0], o.order[:0], null
	o.slots.reset()
}

func (o *objects) key(id int32) []int32 {
	w := len(o.isNum)
	return o.keys[int(id)*w : int(id)*w+w]
}

// device is the text id of the object's device.
func (o *objects) device(id int32) int32 { return o.names.labels[o.heads[id].label].device }

// find returns the number of an object, adding it if it is new.
func (o *objects) find(label int32, key []int32) int32 {
	o.slots.grow(func(id int32) uint64 { return hashObject(o.heads[id].label, o.key(id)) })
	slot := o.slots.find(hashObject(label, key), func(id int32) bool {
		return o.heads[id].label == label && slices.Equal(o.key(id), key)
	})
	if *slot != 0 {
		return *slot - 1
	}
	id := int32(len(o.heads))
	o.heads = append(o.heads, object{label: label, next: null, seenIn: null})
	o.keys = append(o.keys, key...)
	*slot = id + 1
	o.slots.used++
	o.names.bytes += objectCost + 4*len(key)
	return id
}

func hashObject(label int32, key []int32) uint64 {
	h := mix(uint64(label) + 1)
	for _, k := range key {
		h = mix(h ^ uint64(uint32(k)))
	}
	return h
}

// sorted returns all objects in the order of compare.
func (o *objects) sorted() []int32 {
	old := o.order
	if len(old) == len(o.heads) {
		return old
	}
	fresh := make([]int32, 0, len(o.heads)-len(old))
	for id := len(old); id < len(o.heads); id++ {
		fresh = append(fresh, int32(id))
	}
	slices.SortStableFunc(fresh, o.compare)
	o.order = make([]int32, 0, len(o.heads))
	for len(old) > 0 && len(fresh) > 0 {
		if o.compare(fresh[0], old[0]) < 0 {
			o.order, fresh = append(o.order, fresh[0]), fresh[1:]
		} else {
			o.order, old = append(o.order, old[0]), old[1:]
		}
	}
	o.order = append(append(o.order, old...), fresh...)
	return o.order
}

// compare orders two objects by device, key columns and sub-record, NULL first.
// Objects that differ in scope or counter mode only are equal.
func (o *objects) compare(a, b int32) int {
	la, lb := &o.names.labels[o.heads[a].label], &o.names.labels[o.heads[b].label]
	if c := o.compareText(la.device, lb.device); c != 0 {
		return c
	}
	ka, kb := o.key(a), o.key(b)
	for i, num := range o.isNum {
		c := 0
		if num {
			c = o.compareNumber(ka[i], kb[i])
		} else {
			c = o.compareText(ka[i], kb[i])
		}
		if c != 0 {
			return c
		}
	}
	return o.compareText(la.sub, lb.sub)
}

// compareNumber orders number ids by their number.
func (o *objects) compareNumber(a, b int32) int {
	if a == b || a < 0 || b < 0 {
		return cmp.Compare(a, b)
	}
	return cmp.Compare(o.names.numbers.list[a], o.names.numbers.list[b])
}

// compareText orders text ids by their text.
func (o *objects) compareText(a, b int32) int {
	if a == b || a < 0 || b < 0 {
		return cmp.Compare(a, b)
	}
	return strings.Compare(o.names.texts.list[a], o.names.texts.list[b])
}
