package record

import (
	"encoding/binary"
	"time"
)

// fastPath reads rows that look exactly like rows before them.
//
// Most of a file repeats: between the values of one record and of the next
// stand the same bytes. A row that was read in full leaves a pattern: those
// bytes, and where each value between them goes. The next row that follows the
// pattern byte for byte, with values that need no decoding, means the same and
// is read without looking at its XML again. Everything else, down to a
// different space, goes the full way. So the fast path knows no XML, no shape
// and no rule; it cannot accept what the full path would refuse.
type fastPath struct {
	patterns []*pattern // the last used first, more or less
	last     *pattern
	budget   int // bounds how often patterns are learned
	misses   int // rows in succession that began like a pattern and were none
	pause    int // rows to read in full before patterns are tried again
	spots    []spot
	serial   uint64
}

const (
	maxPatterns  = 16
	learnCost    = 32
	learnSavings = 16 * learnCost
	maxMisses    = 16
)

// spot is all that decides, outside a row, what the row means.
type spot struct {
	rec, header recordRef
	sub, text   string
	keys        uint64
	record      bool // elements of an unknown kind belong to the element around them
}

// pattern is one learned form of a row.
type pattern struct {
	spot    int // index into fastPath.spots
	depth   int // open elements around the row; with more of them it might be too deep
	b       *binding
	head    uint64 // its first bytes, up to 8
	mask    uint64 // which of the 8
	ops     []op
	tail    literal
	empty   []int // values that are elements without content
	unknown []unknownText
	own     uint64
	policy  int // valid if own has it
	next    *pattern
	frame   uint64  // serial of the frame that the inherited values are of
	inherit []Value // as binding.inherit
}

// op reads one value and the bytes before it.
type op struct {
	before literal
	kind   opKind
	end    byte // the byte behind the value
	value  int
	last   string // the last text
	time   time.Time
	refuse refusal
}

// unknownText is a field for Record.Unknown, in the order of the full path.
type unknownText struct {
	w     *word
	op    int    // the op that reads it, -1 if the text is always the same
	text  string // that text
	count int    // occurrences that are not in the word yet
}

// refusal tells which texts mean something else than the one the pattern was
// learned with, so that the full path must look at them.
type refusal uint8

const (
	refuseNothing  refusal = iota
	refuseMeasures         // id="iof" is the name of a pair, id="1" a key
	refuseRows             // type="sio" names a sub-record, type="x" does not
)

type opKind uint8

const (
	opNumber opKind = iota
	opText
	opUnknown
	opEnd
	opStart
	opFinal
)

// literal is bytes that must be there. Up to 16 bytes, which is what stands
// between two values, are compared as two words.
type literal struct {
	text        string
	first, last uint64 // its first and last 8 bytes
	mask        uint64 // which bytes of a word count, if it has less than 8; 0 if it has more than 16
	second      int    // where its last 8 bytes begin
}

func newLiteral(b []byte) literal {
	l := literal{text: string(b)}
	if n := len(b); n <= 16 {
		var padded [16]byte
		copy(padded[:], b)
		l.second = max(n-8, 0)
		l.mask = ^uint64(0) >> (64 - 8*min(n, 8))
		l.first, l.last = binary.LittleEndian.Uint64(padded[:]), binary.LittleEndian.Uint64(padded[l.second:])
	}
	return l
}

// at tells whether the literal stands at b[p:].
func (l *literal) at(b []byte, p int) bool {
	if len(b)-p < 16 {
		return len(b)-p >= len(l.text) && string(b[p:p+len(l.text)]) == l.text
	}
	if l.mask != 0 {
		b = b[p : p+16]
		return ((binary.LittleEndian.Uint64(b)^l.first)|(binary.LittleEndian.Uint64(b[l.second:])^l.last))&l.mask == 0
	}
	return len(b)-p >= len(l.text) && string(b[p:p+len(l.text)]) == l.text
}

// newFile forgets what holds for one file only.
func (p *fastPath) newFile() {
	kept := p.patterns[:0]
	for _, t := range p.patterns {
		t.frame = 0
		if !t.b.perFile {
			kept = append(kept, t)
		}
		for i := range t.unknown {
			t.unknown[i].count = 0
		}
	}
	clear(p.patterns[len(kept):])
	for _, t := range kept {
		if t.next != nil && t.next.b.perFile {
			t.next = nil
		}
	}
	p.patterns, p.last, p.misses, p.pause = kept, nil, 0, 0
	if p.budget < 4*learnCost {
		p.budget = 4 * learnCost
	}
}

// flushCounts adds the unknown fields seen on the fast path to their words.
func (p *fastPath) flushCounts(r *Reader) {
	for _, t := range p.patterns {
		t.flushCounts(r)
	}
}

func (t *pattern) flushCounts(r *Reader) {
	for i := range t.unknown {
		if u := &t.unknown[i]; u.count > 0 {
			r.v.countUnknown(u.w)
			u.w.count += u.count - 1
			u.count = 0
		}
	}
}

// spotIn returns the index of the spot inside f, -1 if no pattern was learned
// there.
func (p *fastPath) spotIn(r *Reader, f *frame) int {
	if f.spot == 0 {
		s := r.spotOf(f)
		f.spot = -1
		for i := range p.spots {
			if p.spots[i] == s {
				f.spot = i + 1
				break
			}
		}
	}
	return f.spot - 1
}

func (r *Reader) spotOf(f *frame) spot {
	return spot{f.at.rec, r.headerRec, f.at.sub, f.at.subText, f.at.keys | f.own&keyMask, f.isRecord()}
}

// addSpot makes the inside of f a place where patterns are looked for.
func (p *fastPath) addSpot(r *Reader, f *frame) int {
	f.spot = 0
	if at := p.spotIn(r, f); at >= 0 {
		return at
	}
	const most = 64
	if len(p.spots) >= most {
		p.flushCounts(r)
		p.patterns, p.last, p.spots = nil, nil, p.spots[:0]
		for i := range r.frames {
			r.frames[i].spot = 0
		}
	}
	p.spots = append(p.spots, r.spotOf(f))
	f.spot = len(p.spots)
	return f.spot - 1
}

// try reads the next row if it follows a pattern. If it returns false it has
// consumed nothing.
func (p *fastPath) try(r *Reader, rec *Record) bool {
	s := &r.s
	if len(p.patterns) == 0 || p.pause > 0 || s.selfClosed || len(r.frames) == 0 {
		return false
	}
	f := &r.frames[len(r.frames)-1]
	if f.at.badTime != nil || f.at.badFinal != nil || f.at.conflict != 0 {
		return false
	}
	if !f.child && !blank(r.arena[f.textAt:]) {
		return false
	}
	const spare = 4096 // most rows are shorter
	if s.end-s.pos < spare && s.srcErr == nil {
		s.more()
		if r.doomed() {
			return false
		}
	}
	b := s.buf[:s.end]
	at := s.pos
	for most := at + 256; at < len(b) && at < most && isSpace(b[at]); at++ {
	}
	if at+1 >= len(b) || b[at] != '<' || b[at+1] == '/' || s.base+int64(at)-s.lastTag > int64(s.lim.TokenBytes) {
		return false
	}
	if guess := p.guess(); guess != nil && guess.match(r, rec, f, b, at) {
		p.last, p.misses = guess, 0
		return true
	}
	return p.search(r, rec, f, b, at)
}

// guess is the pattern that followed the last one the time before.
func (p *fastPath) guess() *pattern {
	if p.last == nil {
		return nil
	}
	return p.last.next
}

// search tries the other patterns, the last used first. Rows that follow none
// must not pay for all of them, so it gives up after a few that begin alike.
func (p *fastPath) search(r *Reader, rec *Record, f *frame, b []byte, at int) bool {
	const most = 4
	if len(b)-at < 8 {
		return false
	}
	head := binary.LittleEndian.Uint64(b[at:])
	guess, tried := p.guess(), 0
	for i, t := range p.patterns {
		if t.head != head&t.mask || t == guess {
			continue
		}
		if t.match(r, rec, f, b, at) {
			copy(p.patterns[1:i+1], p.patterns[:i])
			p.patterns[0] = t
			if p.last != nil {
				p.last.next = t
			}
			p.last, p.misses = t, 0
			return true
		}
		if tried++; tried == most {
			break
		}
	}
	if tried > 0 {
		if p.misses++; p.misses > maxMisses {
			p.pause = maxMisses
		}
	}
	return false
}

// match reads the row that begins at b[at] into rec if it follows the pattern.
func (t *pattern) match(r *Reader, rec *Record, f *frame, b []byte, at int) bool {
	if !t.ops[0].before.at(b, at) || t.spot != r.fast.spotIn(r, f) || len(r.frames) > t.depth {
		return false
	}
	n := len(t.b.set.Fields)
	if cap(rec.Values) < n {
		rec.Values = make([]Value, n)
	}
	rec.Values = rec.Values[:n]
	clear(rec.Values)
	rec.Unknown = rec.Unknown[:0]
	rec.Final, rec.Start, rec.End = f.at.final, f.at.start, f.at.end
	end, ok := t.values(r, rec, b, at)
	if !ok || !t.tail.at(b, end) {
		return false
	}
	end += len(t.tail.text)
	if end-at > min(r.lim.TextBytes, r.lim.TokenBytes) { // a value or a tag of it may be too long
		return false
	}
	for i := range t.unknown {
		u := &t.unknown[i]
		text := u.text
		if u.op >= 0 {
			text = t.ops[u.op].last
		}
		rec.Unknown = append(rec.Unknown, Pair{u.w.name, text})
	}
	rec.Set, rec.Sub = t.b.set, t.b.sub
	rec.Offset = r.s.offset(at)
	if rec.Policy = f.at.policy; t.own&ctxPolicy.bit() != 0 {
		rec.Policy = t.policy
	}
	if rec.Policy == 0 {
		rec.Policy = r.defaultPolicy()
	}
	if len(t.b.inherit) > 0 && !t.fillInherited(r, rec, f) {
		return false
	}
	t.done(r, rec, f, end)
	return true
}

// done notes the row as the full path would.
func (t *pattern) done(r *Reader, rec *Record, f *frame, end int) {
	for i := range t.unknown {
		t.unknown[i].count++
	}
	for _, i := range t.empty {
		if rec.Set.Fields[i].Numeric {
			rec.Values[i].State = Empty
			r.stats.EmptyCounters++
		} else {
			rec.Values[i].State = Text
		}
	}
	if !f.child {
		f.child, r.arena = true, r.arena[:f.textAt]
	}
	f.rows, r.rowsSeen = true, true
	if need := t.b.need &^ t.own; f.lacked&need != need {
		r.tellFrom(len(r.frames)-1, need)
	}
	if !rec.Set.Known {
		r.countSub(t.b.sub)
	}
	r.s.pos = end
	r.s.tagSeen()
	if r.fast.budget < learnSavings {
		r.fast.budget++
	}
}

// values reads the values and the literals before them. Values without content
// are left to the full path, where some of them mean that there is no field.
func (t *pattern) values(r *Reader, rec *Record, b []byte, p int) (end int, ok bool) {
	vals := rec.Values
	for i := range t.ops {
		o := &t.ops[i]
		if !o.before.at(b, p) {
			return 0, false
		}
		p += len(o.before.text)
		if o.kind == opNumber {
			n, size, ok := leadingDigits(b, p)
			if !ok || size == 0 {
				return 0, false
			}
			v := &vals[o.value]
			v.State, v.N = Number, n
			p += size
			continue
		}
		size, ok := o.other(r, rec, b, p)
		if !ok {
			return 0, false
		}
		p += size
	}
	return p, true
}

// text reads the text at b[p:] up to the byte that ends it into o.last.
func (o *op) text(r *Reader, b []byte, p int) (int, bool) {
	if n := len(o.last); n > 0 && len(b)-p > n && b[p+n] == o.end && string(b[p:p+n]) == o.last {
		return n, true
	}
	n, ok := plainText(b, p, o.end)
	if !ok {
		if n, ok = r.unplainText(b, p, o.end); !ok {
			return 0, false
		}
	}
	text := b[p : p+n]
	switch {
	case n == 0, b[p] == ' ' && blank(text),
		o.refuse == refuseMeasures && r.v.namesMeasure(text), o.refuse == refuseRows && r.v.namesRows(text):
		return 0, false
	case o.kind == opUnknown:
		o.last = string(text)
	default:
		o.last = r.strings.get(text)
	}
	return n, true
}

// other reads what is no number of the row set.
func (o *op) other(r *Reader, rec *Record, b []byte, p int) (int, bool) {
	if o.kind == opFinal {
		n, size, ok := leadingDigits(b, p)
		rec.Final = int(n)
		return size, ok && size > 0 && n < 1<<31
	}
	last := o.last
	size, ok := o.text(r, b, p)
	if !ok {
		return 0, false
	}
	switch o.kind {
	case opText:
		rec.Values[o.value] = Value{State: Text, Text: o.last}
	case opEnd, opStart:
		if o.last != last || o.time.IsZero() {
			if o.time, ok = r.parseTime(b[p : p+size]); !ok {
				o.time = time.Time{}
				return 0, false
			}
		}
		if o.kind == opEnd {
			rec.End = o.time
		} else {
			rec.Start = o.time
		}
	}
	return size, true
}

// fillInherited takes the keys that enclosing elements have; they are the same
// for all rows of one frame.
func (t *pattern) fillInherited(r *Reader, rec *Record, f *frame) bool {
	if f.serial == 0 {
		r.fast.serial++
		f.serial = r.fast.serial
	}
	if t.frame != f.serial {
		t.inherit = t.inherit[:0]
		for _, in := range t.b.inherit {
			fld, ok := r.inheritedField(in.key, len(r.frames)-1)
			v := Value{}
			if text := r.textOf(fld); ok {
				v = Value{State: Text, Text: r.strings.get(text)}
				if !in.text && in.value != toUnknown {
					if v, ok = numericValue(text); !ok {
						return false
					}
				}
			}
			t.inherit = append(t.inherit, v)
		}
		t.frame = f.serial
	}
	for i, in := range t.b.inherit {
		v := t.inherit[i]
		switch {
		case v.State == Absent:
		case in.value == toUnknown:
			rec.Unknown = append(rec.Unknown, Pair{r.v.keys[in.key].abbrev, v.Text})
		default:
			rec.Values[in.value] = v
			if v.State == Empty {
				r.stats.EmptyCounters++
			}
		}
	}
	return true
}

func numericValue(text []byte) (Value, bool) {
	if len(text) == 0 {
		return Value{State: Empty}, true
	}
	n, ok := parseUint(text)
	return Value{State: Number, N: n}, ok
}
