package export

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
)

// names gives small numbers to what rows have in common: texts, labels,
// intervals and origins. Rows in the sort buffer hold the numbers.
type names struct {
	texts     []string
	text      map[string]int32
	labels    []label
	label     map[label]int32
	intervals []interval
	interval  map[interval]int32
	origins   []origin
	origin    map[origin]int32
	bytes     int // estimate of what all this holds, objects included
}

// null stands for no value wherever a text id, a number or an index can be.
const null = -1

// label is what the row set says about a row; text ids.
type label struct{ sub, scope, mode int32 }

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
	return &names{text: map[string]int32{}, label: map[label]int32{}, interval: map[interval]int32{}, origin: map[origin]int32{}}
}

// The estimates of what one entry costs beside its text.
const (
	textCost   = 80
	recordCost = 96
)

// textID returns the number of s, which it copies if it is new.
func (n *names) textID(s string) int32 {
	if id, ok := n.text[s]; ok {
		return id
	}
	s = strings.Clone(s)
	id := int32(len(n.texts))
	n.texts = append(n.texts, s)
	n.text[s] = id
	n.bytes += len(s) + textCost
	return id
}

// optionalID is textID with null for the empty text.
func (n *names) optionalID(s string) int32 {
	if s == "" {
		return null
	}
	return n.textID(s)
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

// objects numbers the accounting objects of one dataset: a device, a label and
// the values of the key columns.
type objects struct {
	names *names
	isNum []bool  // of each key column
	keys  []int64 // len(isNum) per object: a number or a text id, or null
	heads []object
	slots []int32 // open hash table of ids + 1; its length is a power of two
	order []int32 // ids sorted by device and keys, as far as sorted says
	last  int32   // the object found last, null at first
}

type object struct {
	device, label int32
	next          int32 // the object that came after this one last time
	seenIn        int32 // number of the input that had it last
	seenEnd       int64 // latest interval end in that input
}

func newObjects(n *names, isNum []bool) *objects {
	return &objects{names: n, isNum: isNum, slots: make([]int32, 64), last: null}
}

func (o *objects) key(id int32) []int64 {
	w := len(o.isNum)
	return o.keys[int(id)*w : int(id)*w+w]
}

// find returns the number of an object, adding it if it is new.
func (o *objects) find(device, label int32, key []int64) int32 {
	if 2*len(o.heads) >= len(o.slots) {
		o.grow()
	}
	mask := uint64(len(o.slots) - 1)
	at := o.hash(device, label, key) & mask
	for ; o.slots[at] != 0; at = (at + 1) & mask {
		id := o.slots[at] - 1
		if h := &o.heads[id]; h.device == device && h.label == label && slices.Equal(o.key(id), key) {
			return id
		}
	}
	id := int32(len(o.heads))
	o.heads = append(o.heads, object{device: device, label: label, next: null, seenIn: null})
	o.keys = append(o.keys, key...)
	o.slots[at] = id + 1
	o.names.bytes += 48 + 8*len(key)
	return id
}

func (o *objects) hash(device, label int32, key []int64) uint64 {
	const prime = 0x9E3779B97F4A7C15
	h := (uint64(device)<<32 | uint64(uint32(label))) * prime
	for _, k := range key {
		hi, lo := bits.Mul64(h^uint64(k), prime)
		h = hi ^ lo
	}
	return h ^ h>>32
}

func (o *objects) grow() {
	o.slots = make([]int32, 2*len(o.slots))
	mask := uint64(len(o.slots) - 1)
	for id := range o.heads {
		h := &o.heads[id]
		at := o.hash(h.device, h.label, o.key(int32(id))) & mask
		for o.slots[at] != 0 {
			at = (at + 1) & mask
		}
		o.slots[at] = int32(id) + 1
	}
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
	if c := o.compareText(int64(o.heads[a].device), int64(o.heads[b].device)); c != 0 {
		return c
	}
	ka, kb := o.key(a), o.key(b)
	for i, num := range o.isNum {
		c := 0
		if num {
			c = cmp.Compare(ka[i], kb[i])
		} else {
			c = o.compareText(ka[i], kb[i])
		}
		if c != 0 {
			return c
		}
	}
	if la, lb := o.heads[a].label, o.heads[b].label; la != lb {
		return o.compareText(int64(o.names.labels[la].sub), int64(o.names.labels[lb].sub))
	}
	return 0
}

// compareText orders text ids by their text.
func (o *objects) compareText(a, b int64) int {
	if a == b || a < 0 || b < 0 {
		return cmp.Compare(a, b)
	}
	return strings.Compare(o.names.texts[a], o.names.texts[b])
}
