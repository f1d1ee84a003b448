package retention

import (
	"slices"
	"strings"
	"time"

	"acctpull/rollover"
)

// queueLimit is the number of expired files that one sweep can hold: 8 MiB.
const queueLimit = 1 << 20

// queue holds the oldest expired files in 8 bytes each:
//
//	39 bits  stamp, in seconds since the year 0 of the calendar
//	 7 bits  id
//	 7 bits  file-id
//	11 bits  prefix and extension, as an index into kinds
//
// so that their order is the order of creation. If there are more than the
// limit, the youngest are left for the next sweep.
type queue struct {
	limit int
	keys  []uint64 // a heap with the youngest on top once the limit is reached
	full  bool
	kinds []kind
}

type kind struct {
	prefix rollover.Prefix
	ext    string
}

const (
	kindBits = 11
	idBits   = 7
	idMask   = 1<<idBits - 1
)

// yearZero is where the seconds of a stamp are counted from.
const yearZero = -62167219200 // seconds from 0000-01-01 to 1970-01-01, negative

const stampLayout = "20060102-150405"

// add offers a file whose stamp is a date.
func (q *queue) add(n rollover.Name) {
	key, ok := q.pack(n)
	switch {
	case !ok:
	case len(q.keys) < q.limit:
		q.grow()
		q.keys = append(q.keys, key)
	default:
		if !q.full {
			q.full = true
			for i := len(q.keys)/2 - 1; i >= 0; i-- {
				q.down(i)
			}
		}
		if key < q.keys[0] {
			q.keys[0] = key
			q.down(0)
		}
	}
}

// grow makes room in few and large steps: the garbage of a slice that grows by
// itself would be as large as the slice.
func (q *queue) grow() {
	if len(q.keys) == cap(q.keys) {
		q.keys = append(make([]uint64, 0, min(q.limit, max(1<<10, 32*cap(q.keys)))), q.keys...)
	}
}

// down moves a key to its place in the heap.
func (q *queue) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(q.keys) {
			return
		}
		if child+1 < len(q.keys) && q.keys[child+1] > q.keys[child] {
			child++
		}
		if q.keys[i] >= q.keys[child] {
			return
		}
		q.keys[i], q.keys[child] = q.keys[child], q.keys[i]
		i = child
	}
}

// oldestFirst yields the names that are held.
func (q *queue) oldestFirst(yield func(rollover.Name) bool) {
	slices.Sort(q.keys)
	for _, key := range q.keys {
		if !yield(q.unpack(key)) {
			return
		}
	}
}

// pack fails if a directory holds more different extensions than there are
// bits for; such a file waits until others are gone.
func (q *queue) pack(n rollover.Name) (uint64, bool) {
	at, err := n.Time(nil)
	k := slices.Index(q.kinds, kind{n.Prefix, n.Ext})
	if k < 0 {
		k = len(q.kinds)
		if k < 1<<kindBits {
			q.kinds = append(q.kinds, kind{n.Prefix, strings.Clone(n.Ext)})
		}
	}
	key := uint64(at.Unix()-yearZero)<<(2*idBits+kindBits) | uint64(n.ID)<<(idBits+kindBits) | uint64(n.FileID)<<kindBits | uint64(k)
	return key, err == nil && k < 1<<kindBits
}

func (q *queue) unpack(key uint64) rollover.Name {
	k := q.kinds[key&(1<<kindBits-1)]
	return rollover.Name{
		Prefix: k.prefix,
		ID:     int(key >> (idBits + kindBits) & idMask),
		FileID: int(key >> kindBits & idMask),
		Stamp:  time.Unix(int64(key>>(2*idBits+kindBits))+yearZero, 0).UTC().Format(stampLayout),
		Ext:    k.ext,
	}
}
