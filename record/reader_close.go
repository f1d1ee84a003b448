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
	case f.child && len(own) != 2, f.rows:
		return false, nil
	case !f.child && len(own) == 0:
		if len(text) == 0 && f.w.sub != "" && !means {
			return true, nil // an empty sub-record
		}
		return true, r.give(parent, f, f.w, text)
	}
	if name, value := r.pair(f, own, text); name >= 0 {
		return true, r.givePair(f, parent, name, value, text)
	}
	if f.child {
		return false, nil
	}
	if len(text) > 0 && !blank(text) {
		return true, r.giveWithAttributes(f, parent, f.w, text)
	}
	if means || len(own) == 1 {
		for i := range own {
			if own[i].w.pairValue && !own[i].w.known() || own[i].w == f.w {
				return r.giveValue(f, parent, i)
			}
		}
	}
	return false, nil
}

// pair tells which fields are the name and the value in <x name="iof">5</x>,
// <x name="iof" value="5"/> or <x><name>iof</name><value>5</value></x>. The
// value is -1 if it is the text, the name -1 if f is no pair.
func (r *Reader) pair(f *frame, own []field, text []byte) (name, value int) {
	if f.w.field != nil || f.w.ctx != noContext && f.w.ctx != ctxRecord || f.w.sub != "" {
		return -1, -1
	}
	name, value = -1, -1
	for i := range own {
		w := own[i].w
		switch {
		case w.pairName && name < 0 && (!own[i].unknown && w.field == nil) && own[i].n <= r.lim.NameBytes && own[i].n > 0:
			name = i
		case w.pairValue && value < 0:
			value = i
		}
	}
	switch {
	case name < 0:
		return -1, -1
	case value >= 0 && len(text) > 0 && !blank(text):
		return -1, -1 // which of the two?
	case value >= 0 || len(text) > 0:
		return name, value
	}
	// <x name="iof"></x>: an empty field if the name is one, or if our dialect
	// writes it so, and if that is all
	w, ok := r.v.static[string(r.textOf(own[name]))]
	if (ok && w.field != nil || f.w.name == elemField) && len(own) == 1 && !f.child {
		return name, -1
	}
	return -1, -1
}

func (r *Reader) givePair(f, parent *frame, name, value int, text []byte) error {
	own := r.fields[f.fields:]
	w := r.v.lookup(r.textOf(own[name]))
	raw := f.textRaw
	if value >= 0 {
		text, raw = r.textOf(own[value]), own[value].raw
	}
	return r.replace(f, parent, w, text, raw, func(i int) bool { return i != name && i != value })
}

// give makes the text of f a field of its parent.
func (r *Reader) give(parent, f *frame, w *word, text []byte) error {
	return r.replace(f, parent, w, text, f.textRaw, nil)
}

// giveWithAttributes is give for an element that also has attributes: keys
// among them belong to the parent too, the others are kept as "iof@unit".
func (r *Reader) giveWithAttributes(f, parent *frame, w *word, text []byte) error {
	return r.replace(f, parent, w, text, f.textRaw, func(int) bool { return true })
}

// giveValue gives the parent <iof value="5"/> and <sap id="1/1/1:100"/>. The
// latter with more attributes may be an object of its own instead; then it is
// one unless the parent is a record already.
func (r *Reader) giveValue(f, parent *frame, value int) (bool, error) {
	own := r.fields[f.fields:]
	if len(own) > 1 && f.w.field != nil && f.w.field.key >= 0 && f.unknowns > 0 && !parent.namedSub && parent.counters == 0 {
		return false, nil
	}
	return true, r.replace(f, parent, f.w, r.textOf(own[value]), own[value].raw, func(i int) bool { return i != value })
}

// replace takes f's fields and texts away and adds to the parent the field w,
// and those of f's fields that others selects.
func (r *Reader) replace(f, parent *frame, w *word, text []byte, raw int64, others func(int) bool) error {
	r.oldFields = append(r.oldFields[:0], r.fields[f.fields:]...)
	own, base := r.oldFields, f.arena
	if others != nil {
		r.oldTexts = append(r.oldTexts[:0], r.arena[base:]...)
	}
	r.fields = r.fields[:f.fields]
	r.arena = append(r.arena[:f.arena], text...)
	if err := r.add(parent, field{w: w, off: base, n: len(text), raw: raw}); err != nil {
		return err
	}
	for i := range own {
		if others == nil || !others(i) {
			continue
		}
		fld := own[i]
		t := r.oldTexts[fld.off-base : fld.off-base+fld.n]
		if !fld.w.known() || fld.unknown || fld.w.field == nil && fld.w.ctx.bit() == 0 {
			name := r.keyBuf[:0]
			name = append(append(append(name, w.name...), '@'), fld.w.name...)
			r.keyBuf = name
			fld.w, fld.unknown = r.v.lookup(name), true
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
	header := !r.rowsSeen && len(r.frames) > 1
	for _, fld := range r.fields[f.fields:] {
		switch {
		case fld.w.ctx != noContext && !fld.unknown && (header || len(r.frames) == 1):
			if header {
				r.promote(fld)
			}
		case fld.unknown || !fld.w.known() && !fld.used || fld.w.ctx >= ctxFile:
			r.v.countUnknown(fld.w)
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
