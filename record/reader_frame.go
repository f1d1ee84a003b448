package record

import "time"

// scope is what holds for every row inside an element. A child begins with a
// copy of its parent's.
type scope struct {
	rec        recordRef
	sub        string // sub-record, canonical; "" if none was named
	subText    string // as the file spells it
	policy     int
	final      int
	start, end time.Time
	badTime    *badContext // a time or final that could not be read
	badFinal   *badContext
	keys       uint64 // object keys that stand on an enclosing element
	conflict   uint64 // keys and contexts that stand there twice with different values
}

// badContext is a time or an ordinal that makes every row it holds for unusable.
type badContext struct{ field, text, reason string }

// frame is an open element.
type frame struct {
	w          *word
	at         scope
	own        uint64 // object keys and contexts that stand on the element itself
	lacked     uint64 // keys and contexts that rows inside would have inherited and did not find
	spent      uint64 // keys that went to rows inside although they may have been its own
	fields     int    // where its fields begin in Reader.fields
	arena      int    // where its texts begin in Reader.arena
	textAt     int    // where its own character data begin there
	textRaw    int64  // position of that in the window, -1 if it is not there literally
	start      int64  // of the element, in the window's count
	offset     int64  // the same in bytes of the file
	counters   int
	infos      int
	unknowns   int
	repeated   *word // a field that stands twice
	odd        bool  // something in it was decided by a value, so no pattern may be learned from it
	effects    int   // Reader.effects before the element
	crowded    bool  // more fields than one record may have
	scopeHint  string
	modeHint   string
	child      bool  // it has child elements
	rows       bool  // it holds rows
	exactTime  bool  // the end of the interval stands here under its own name
	namedSub   bool  // it names its sub-record itself
	keyedValue *word // the word its own name gave to an identifying attribute
	spot       int   // 1 + what fastPath calls the place inside it; 0 if not looked up
	serial     uint64
}

// field is a field of an open element.
type field struct {
	w       *word
	off, n  int   // its text in Reader.arena
	raw     int64 // position of the text in the window if it stands there literally, else -1
	unknown bool  // its name is known, but it does not mean that here
	used    bool  // it named the sub-record or record
	ident   bool  // it was called id or name, and is a key because of its element
}

const (
	maxFields    = 1024    // of one element
	maxFieldText = 1 << 20 // bytes of all its fields
)

func (r *Reader) textOf(f field) []byte { return r.arena[f.off : f.off+f.n] }

// push opens the element whose start tag was just read.
func (r *Reader) push() error {
	w := r.v.lookup(r.s.elem.local)
	if w.foreign {
		return r.s.failAt(r.s.pos, KindShape, "leave such files out; they are written by the same devices for another purpose",
			"a 3GPP TS 32.435 measurement file (<%s>), not an accounting file", w.name)
	}
	if n := len(r.frames); n > 0 {
		if err := r.endText(&r.frames[n-1]); err != nil {
			return err
		}
		r.frames[n-1].child = true
	}
	open := &r.s.open[len(r.s.open)-1]
	f := frame{w: w, fields: len(r.fields), arena: len(r.arena), start: open.start, offset: open.offset, textRaw: -1, effects: r.effects}
	if n := len(r.frames); n > 0 {
		p := &r.frames[n-1]
		f.at = p.at
		f.at.keys |= p.own & keyMask
	} else {
		f.at.end = r.nameEnd
	}
	if w.known() {
		r.knownNames++
	}
	if w.sub != "" {
		f.at.sub, f.at.subText, f.namedSub = w.sub, w.name, true
		if w.profiled {
			f.at.subText = w.sub
		}
	}
	if w.def != nil {
		f.at.rec = recordRef{Name(w.name), w.def}
	}
	r.frames = append(r.frames, f)
	top := &r.frames[len(r.frames)-1]
	for i := range r.s.attrs {
		a := &r.s.attrs[i]
		if a.infrastructure() {
			continue
		}
		if err := r.addText(top, r.v.lookup(a.name.local), a.value, a.raw); err != nil {
			return err
		}
	}
	top.textAt = len(r.arena)
	return nil
}

const keyMask = 1<<maxKeys - 1

// text takes character data of the innermost element.
func (r *Reader) text() error {
	f := &r.frames[len(r.frames)-1]
	if f.child {
		if !blank(r.s.text) {
			return r.addText(f, r.v.lookup(mixedText), r.s.text, -1)
		}
		return nil
	}
	if len(r.arena) == f.textAt {
		f.textRaw = r.s.textRaw
	} else {
		f.textRaw = -1
	}
	r.arena = append(r.arena, r.s.text...)
	if len(r.arena)-f.textAt > r.lim.TextBytes {
		return r.s.limit("text longer than %d bytes", r.lim.TextBytes)
	}
	return nil
}

// mixedText is the name under which text between child elements is kept.
var mixedText = []byte("#text")

func blank(b []byte) bool {
	for _, c := range b {
		if !isSpace(c) {
			return false
		}
	}
	return true
}

// endText deals with the text of an element that turns out to have children: it
// is white space between tags, or the value of the key the element is named
// after, or a field without a name.
func (r *Reader) endText(f *frame) error {
	if f.child || len(r.arena) == f.textAt {
		return nil
	}
	text := r.arena[f.textAt:]
	w := r.v.lookup(mixedText)
	if blank(text) {
		r.arena = r.arena[:f.textAt]
		return nil
	}
	if f.w.field != nil && f.w.field.key >= 0 {
		w = f.w
		text = trimSpace(text)
	}
	r.arena = r.arena[:f.textAt]
	return r.addText(f, w, text, -1)
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
