package record

// pop closes the innermost element and decides what it was: a row, a field of
// its parent, a group of such fields, or a container. It tells whether rec was
// filled.
func (r *Reader) pop(rec *Record) (bool, error) {
	f := &r.frames[len(r.frames)-1]
	row, err := r.classify(f, rec)
	last := len(r.frames) - 1
	if row {
		r.rowsSeen = true
		r.tellAncestors(f)
	}
	if !row && last > 0 {
		r.frames[last-1].odd = r.frames[last-1].odd || f.odd
	}
	if row || err != nil {
		r.fields, r.arena = r.fields[:f.fields], r.arena[:f.arena]
	}
	r.frames = r.frames[:last]
	if row && last > 0 {
		r.frames[last-1].rows = true
	}
	return row, err
}

// classify does the work of pop, except for taking f itself away.
func (r *Reader) classify(f *frame, rec *Record) (row bool, err error) {
	text := r.arena[f.textAt:]
	if f.child {
		text = nil
	}
	var parent *frame
	if len(r.frames) > 1 {
		parent = &r.frames[len(r.frames)-2]
	}
	if f.counters == 0 && parent != nil {
		done, err := r.asField(f, parent, text)
		if done || err != nil {
			return false, err
		}
	}
	if len(text) > 0 && !blank(text) {
		n := len(text)
		r.arena = r.arena[:f.textAt]
		if err := r.addText(f, r.v.lookup(mixedText), r.arena[f.textAt:f.textAt+n], -1); err != nil {
			return false, err
		}
	}
	if r.isRow(f) {
		return true, r.row(f, rec)
	}
	return false, r.closeContainer(f)
}

// isRow tells whether f is a record: it has counters; or it is a sub-record by
// its own name and has anything; or it has unknown fields and belongs to an
// object, so it is a sub-record nobody knows.
func (r *Reader) isRow(f *frame) bool {
	switch {
	case f.counters > 0:
		return true
	case f.w.header:
		return false
	case f.namedSub && (f.infos > 0 || !f.rows && f.own&keyMask != 0):
		return true
	case f.own&ctxSub.bit() != 0 && f.unknowns > 0 && !f.rows:
		return true
	case f.rows:
		return false
	}
	return f.unknowns+f.infos > 0 && (f.own|f.at.keys)&keyMask != 0
}

// asField gives f to its parent if it is a field of it, or a group of fields.
func (r *Reader) asField(f, parent *frame, text []byte) (bool, error) {
	own := r.fields[f.fields:]
	means := f.w.field != nil || f.w.ctx != noContext
	switch {
	case f.w.header && (f.child || blank(text)):
		return true, r.hoist(f, parent)
	case f.rows:
		return false, nil
	case !f.child && len(own) == 0:
		if len(text) == 0 && f.w.sub != "" && !means {
			return true, nil // an empty sub-record
		}
		return true, r.give(parent, f, f.w, text)
	}
	if name, value := r.pair(f, parent, own, text); name >= 0 {
		return true, r.givePair(f, parent, name, value, text)
	}
	if f.child {
		return r.giveNested(f, parent)
	}
	measure := f.w.field != nil && f.w.field.role != Key
	if len(text) > 0 && (measure || !blank(text)) {
		return true, r.giveWithAttributes(f, parent, f.w, text)
	}
	if means || len(own) == 1 {
		for i := range own {
			if own[i].w.pairValue && !own[i].w.known() || own[i].w == f.w {
				return r.giveValue(f, parent, i)
			}
		}
	}
	if measure { // <iof unit="octets"/>
		return true, r.giveWithAttributes(f, parent, f.w, nil)
	}
	return r.giveNested(f, parent)
}

// giveNested gives a record the unknown fields of an unknown element inside it,
// as "element/field". Elsewhere such an element stands for itself.
func (r *Reader) giveNested(f, parent *frame) (bool, error) {
	if f.unknowns == 0 || f.own&keyMask != 0 || f.infos > 0 || f.namedSub || !parent.isRecord() {
		return false, nil
	}
	own := append(r.oldFields[:0], r.fields[f.fields:]...)
	r.oldFields, r.oldTexts = own, append(r.oldTexts[:0], r.arena[f.arena:]...)
	r.fields, r.arena = r.fields[:f.fields], r.arena[:f.arena]
	for _, fld := range own {
		text := r.oldTexts[fld.off-f.arena : fld.off-f.arena+fld.n]
		if fld.w.subName || fld.w.ident {
			parent.odd = true
		}
		fld.w, fld.unknown = r.joined(f.w, '/', fld.w), true
		fld.off = len(r.arena)
		r.arena = append(r.arena, text...)
		if err := r.add(parent, fld); err != nil {
			return true, err
		}
	}
	return true, nil
}

// isRecord tells whether an element is a record for sure before it ends.
func (f *frame) isRecord() bool { return f.namedSub || f.counters > 0 }

// joined is the word under which a field of a field is kept.
func (r *Reader) joined(a *word, by byte, b *word) *word {
	r.keyBuf = append(append(append(r.keyBuf[:0], a.name...), by), b.name...)
	return r.v.lookup(r.keyBuf)
}

// pair tells which fields are the name and the value in <x name="iof">5</x>,
// <x name="iof" value="5"/> or <x><name>iof</name><value>5</value></x>. The
// value is -1 if it is the text, the name -1 if f is no pair.
func (r *Reader) pair(f, parent *frame, own []field, text []byte) (name, value int) {
	if f.w.field != nil || f.w.ctx != noContext && f.w.ctx != ctxRecord || f.w.sub != "" {
		return -1, -1
	}
	name, value = -1, -1
	for i := range own {
		switch w := own[i].w; {
		case w.pairName && name < 0 && !own[i].unknown && w.field == nil:
			name = i
		case w.pairValue && value < 0:
			value = i
		}
	}
	if name < 0 {
		return -1, -1
	}
	if n := own[name].n; n > 0 && n <= r.lim.NameBytes {
		hasText := len(text) > 0 && !blank(text)
		switch {
		case value >= 0 && hasText: // which of the two?
		case value >= 0, hasText:
			return name, value
		case len(own) > 1 || f.child:
		case parent.isRecord(), f.w.name == elemField:
			return name, -1
		default: // <x name="iof"></x>: empty, if it is a field
			if w, ok := r.v.static[string(r.textOf(own[name]))]; ok && w.field != nil {
				return name, -1
			}
		}
	}
	f.odd = true // with another name or value it would be a pair
	return -1, -1
}

func (r *Reader) givePair(f, parent *frame, name, value int, text []byte) error {
	own := r.fields[f.fields:]
	fld := field{w: r.v.lookup(r.textOf(own[name])), raw: f.textRaw}
	if value >= 0 {
		text, fld.raw = r.textOf(own[value]), own[value].raw
	}
	return r.replace(f, parent, fld, text, func(i int) bool { return i != name && i != value })
}

// give makes the text of f a field of its parent.
func (r *Reader) give(parent, f *frame, w *word, text []byte) error {
	return r.replace(f, parent, field{w: w, raw: f.textRaw}, text, nil)
}

// giveWithAttributes is give for an element that also has attributes: keys
// among them belong to the parent too, the others are kept as "iof@unit".
func (r *Reader) giveWithAttributes(f, parent *frame, w *word, text []byte) error {
	return r.replace(f, parent, field{w: w, raw: f.textRaw}, text, func(int) bool { return true })
}

// giveValue gives the parent <iof value="5"/> and <sap id="1/1/1:100"/>. The
// latter with more attributes may be an object of its own instead; then it is
// one unless the parent is a record already.
func (r *Reader) giveValue(f, parent *frame, value int) (bool, error) {
	own := r.fields[f.fields:]
	if len(own) > 1 && f.w.field != nil && f.w.field.key >= 0 && f.unknowns > 0 && !parent.isRecord() {
		parent.spent |= 1 << f.w.field.key
		f.odd = true // a pattern would not tell the parent
		return false, nil
	}
	fld := field{w: f.w, raw: own[value].raw, ident: own[value].ident}
	return true, r.replace(f, parent, fld, r.textOf(own[value]), func(i int) bool { return i != value })
}

// replace takes f's fields and texts away and adds to the parent the field value
// with this text, and those of f's fields that others selects.
func (r *Reader) replace(f, parent *frame, value field, text []byte, others func(int) bool) error {
	r.oldFields = append(r.oldFields[:0], r.fields[f.fields:]...)
	own, base := r.oldFields, f.arena
	if others != nil {
		r.oldTexts = append(r.oldTexts[:0], r.arena[base:]...)
	}
	r.fields = r.fields[:f.fields]
	r.arena = append(r.arena[:f.arena], text...)
	w := value.w
	value.off, value.n = base, len(text)
	if err := r.add(parent, value); err != nil {
		return err
	}
	for i := range own {
		if others == nil || !others(i) {
			continue
		}
		fld := own[i]
		t := r.oldTexts[fld.off-base : fld.off-base+fld.n]
		if !fld.w.known() || fld.unknown || fld.w.field == nil && fld.w.ctx.bit() == 0 {
			fld.w, fld.unknown, fld.raw = r.joined(w, '@', fld.w), true, -1
		}
		fld.off = len(r.arena)
		r.arena = append(r.arena, t...)
		if err := r.add(parent, fld); err != nil {
			return err
		}
	}
	return nil
}

// hoist gives all fields of f to its parent.
func (r *Reader) hoist(f, parent *frame) error {
	own := r.fields[f.fields:]
	r.fields = r.fields[:f.fields]
	for _, fld := range own { // each place is read before it is written
		if err := r.add(parent, fld); err != nil {
			return err
		}
	}
	if f.repeated != nil {
		parent.repeated = f.repeated
	}
	parent.at.conflict |= f.at.conflict &^ parent.own
	return nil
}

// closeContainer counts what a container holds that nothing else took, and
// learns from it what the file says of itself.
func (r *Reader) closeContainer(f *frame) error {
	// an empty interval or object speaks for itself, not for the file
	header := !r.rowsSeen && len(r.frames) > 1 && f.own&(keyMask|ctxEnd.bit()|ctxStart.bit()) == 0
	for _, fld := range r.fields[f.fields:] {
		switch {
		case fld.w.ctx != noContext && !fld.unknown && (header || len(r.frames) == 1):
			if header {
				r.promote(fld)
			}
		case fld.unknown || !fld.w.known() && !fld.used || fld.w.ctx >= ctxFile:
			r.v.countUnknown(fld.w)
			r.effects++
		}
	}
	if f.rows && len(r.frames) > 1 {
		r.frames[len(r.frames)-2].rows = true
	}
	r.fields, r.arena = r.fields[:f.fields], r.arena[:f.arena]
	return nil
}

// tellAncestors notes what a row would have inherited, had it stood there, so
// that it cannot come later.
func (r *Reader) tellAncestors(f *frame) {
	r.tellFrom(len(r.frames)-2, f.lacked)
}

func (r *Reader) tellFrom(i int, need uint64) {
	for ; i >= 0 && need != 0; i-- {
		p := &r.frames[i]
		if p.rows && p.lacked&need == need {
			return
		}
		p.rows = true
		p.lacked |= need
		need &^= p.own
	}
}
