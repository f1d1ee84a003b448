package usage

import (
	"slices"

	"acctpull/export"
	"acctpull/internal/columns"
)

// The columns of a record table that every row is read with, in the order of the
// batches; the keys and then the counters follow.
const (
	inDevice = iota
	inPolicy
	inSub
	inScope
	inMode
	inSemantics
	inFinal
	inStart
	inEnd
	inOverflow
	inSource
	inSourceHash
	inKeys
)

var inNames = [inKeys]string{colDevice, colPolicy, colSub, colScope, colMode, colSemantics, colFinal, colStart, colEnd, colOverflow, colSource, colSourceHash}

// The texts that a row has, as positions in row.text; those of the keys follow.
const (
	textDevice = iota
	textSub
	textScope
	textMode
	textSemantics
	textSource
	textSourceHash
	textKeys
)

// textIn are the input columns of the texts.
var textIn = [textKeys]int{inDevice, inSub, inScope, inMode, inSemantics, inSource, inSourceHash}

// key is a key column of a table.
type key struct {
	name string
	in   int // in the batches that are read
	text int // in row.text, -1 for a number
	num  int // in row.nums, -1 for a text
}

// layout says where things are in the tables that belong to a record name.
type layout struct {
	record, usage *export.Table
	carry         columns.Schema
	read          []string // the columns of the record table that are read
	keys          []key
	texts, nums   int      // lengths of row.text and row.nums
	counters      []string // their names
	words         int      // of Point.Present
	out           outLayout
}

// outLayout says where the columns of a usage table are.
type outLayout struct {
	device, policy, sub, scope, mode, semantics, final, start, end, seconds, why, gap int
	overflow, source, sourceHash, previous, previousHash                              int
	keys, counters                                                                    []int
}

func newLayout(record *export.Table) *layout {
	l := &layout{record: record, usage: Schema(record), read: slices.Clone(inNames[:]), texts: textKeys}
	for _, c := range record.Columns {
		if c.Role != roleKey {
			continue
		}
		k := key{name: c.Name, in: len(l.read), text: -1, num: -1}
		if c.Type == export.String {
			k.text = l.texts
			l.texts++
		} else {
			k.num = l.nums
			l.nums++
		}
		l.keys, l.read = append(l.keys, k), append(l.read, c.Name)
	}
	for _, c := range record.Columns {
		if c.Role == roleCounter {
			l.counters, l.read = append(l.counters, c.Name), append(l.read, c.Name)
		}
	}
	l.words = (len(l.counters) + 63) / 64
	at := l.usage.Index
	l.out = outLayout{device: at(colDevice), policy: at(colPolicy), sub: at(colSub), scope: at(colScope), mode: at(colMode), semantics: at(colSemantics),
		final: at(colFinal), start: at(colStart), end: at(colEnd), seconds: at(ColSeconds), why: at(ColBreak), gap: at(ColGap),
		overflow: at(colOverflow), source: at(colSource), sourceHash: at(colSourceHash), previous: at(ColPrevious), previousHash: at(ColPreviousHash)}
	for _, k := range l.keys {
		l.out.keys = append(l.out.keys, at(k.name))
	}
	for _, name := range l.counters {
		l.out.counters = append(l.out.counters, at(name))
	}
	l.carry = carrySchema(l)
	return l
}

// firstCounter is the position of the first counter in the batches that are read.
func (l *layout) firstCounter() int { return inKeys + len(l.keys) }
