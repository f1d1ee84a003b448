package record

import (
	"strconv"
	"time"
)

// addText adds a field whose text is not in the arena yet, or just behind its
// end.
func (r *Reader) addText(f *frame, w *word, text []byte, raw int64) error {
	off := len(r.arena)
	r.arena = append(r.arena, text...)
	return r.add(f, field{w: w, off: off, n: len(text), raw: raw})
}

// add gives f a field whose text lies at the end of the arena, or further down.
func (r *Reader) add(f *frame, fld field) error {
	if (fld.unknown || !fld.w.known()) && (len(r.fields)-f.fields >= maxFields || len(r.arena)-f.arena > maxFieldText) {
		f.crowded = true
		r.arena = r.arena[:fld.off]
		r.v.countUnknown(fld.w)
		return nil
	}
	if f.w.composite {
		if c := r.v.composed(f.w, fld.w); c != nil {
			fld.w = c
		}
	}
	f.spot, f.serial = 0, 0
	if r.identifies(f, fld) {
		fld.w, fld.ident, f.keyedValue = f.w, true, f.w
	}
	w := fld.w
	if w.known() && !fld.unknown {
		r.knownNames++
	}
	switch {
	case fld.unknown:
	case w.field != nil:
		return r.addField(f, fld)
	case w.ctx != noContext:
		return r.addContext(f, fld)
	case w.subName && r.namesSub(f, fld):
		fld.used = true
		r.fields = append(r.fields, fld)
		return nil
	}
	f.unknowns++
	r.fields = append(r.fields, fld)
	return nil
}

// identifies tells whether the field, called id or name, gives the value of the
// key (or policy, or record name) that its element is named after:
// <sap id="1/1/1:100">.
func (r *Reader) identifies(f *frame, fld field) bool {
	if !fld.w.ident || fld.w.field != nil || fld.w.ctx != noContext || f.keyedValue != nil {
		return false
	}
	text := r.textOf(fld)
	switch {
	case f.w.field != nil && f.w.field.key >= 0:
		// <meter><name>iof</name><value>5</value></meter> is a pair
		f.odd = f.odd || r.v.namesMeasure(text)
		return !r.v.namesMeasure(text)
	case f.w.ctx == ctxPolicy, f.w.ctx == ctxFile:
		f.odd = true
		_, ok := parseOrdinal(text)
		return ok
	case f.w.ctx == ctxRecord:
		f.odd = true
		_, ok := r.v.record(string(text))
		return ok
	}
	return false
}

// namesSub takes the value of type= or name= as the sub-record or record name
// if it is one.
func (r *Reader) namesSub(f *frame, fld field) bool {
	text := r.textOf(fld)
	if sub := r.v.subRecord(text); sub != "" && !f.namedSub {
		f.at.sub, f.at.subText, f.namedSub = sub, r.strings.get(text), true
		r.knownNames++
		return true
	}
	if def, ok := r.v.record(string(text)); ok {
		f.at.rec = recordRef{Name(r.strings.get(text)), def}
		r.knownNames++
		return true
	}
	return false
}

// addField adds a field of the catalogue or profile.
func (r *Reader) addField(f *frame, fld field) error {
	fw := fld.w.field
	if fw.key >= 0 {
		bit := uint64(1) << fw.key
		if f.own&bit != 0 {
			return r.repeatedKey(f, fld, bit)
		}
		if err := r.late(f, bit, fld.w); err != nil {
			return err
		}
		f.own |= bit
		f.at.conflict &^= bit
		r.fields = append(r.fields, fld)
		return nil
	}
	for i := f.fields; i < len(r.fields); i++ {
		if r.fields[i].w.field == fw && !r.fields[i].unknown {
			f.repeated = fld.w
			return nil
		}
	}
	if fw.role == Counter {
		f.counters++
	} else {
		f.infos++
	}
	r.fields = append(r.fields, fld)
	return nil
}

// repeatedKey deals with a key that stands on its element already: the same
// value again says nothing new, another one makes both useless.
func (r *Reader) repeatedKey(f *frame, fld field, bit uint64) error {
	for i := f.fields; i < len(r.fields); i++ {
		if r.fields[i].w.field == fld.w.field && string(r.textOf(r.fields[i])) == string(r.textOf(fld)) {
			f.odd = true
			return nil
		}
	}
	if err := r.late(f, bit, fld.w); err != nil {
		return err
	}
	f.repeated = fld.w
	f.at.conflict |= bit
	return nil
}

// late reports a key or context that stands behind rows it should hold for.
func (r *Reader) late(f *frame, bit uint64, w *word) error {
	if !f.rows || f.lacked&bit == 0 {
		return nil
	}
	return r.s.failAt(r.s.pos, KindShape, "a device that writes its files like this cannot be read without guessing; please report it with a sample",
		"%q of element <%s> stands behind rows that belong to it", w.name, f.w.name)
}

// addContext adds a time, policy, record name or their like.
func (r *Reader) addContext(f *frame, fld field) error {
	c := fld.w.ctx
	text := r.textOf(fld)
	bit := c.bit()
	if bit != 0 {
		weaker := c == ctxTime && f.own&bit != 0 && f.exactTime
		if r.fileTime && (c == ctxEnd || c == ctxTime) || weaker || (c == ctxEnd || c == ctxTime || c == ctxStart) && len(text) == 0 {
			fld.unknown = true // it is not used
			f.odd = f.odd || len(text) == 0
			return r.add(f, fld)
		}
		if err := r.late(f, bit, fld.w); err != nil {
			return err
		}
		if f.own&bit != 0 && !(c == ctxEnd && !f.exactTime) {
			f.odd = true
			if !r.sameContext(f, fld) {
				f.repeated = fld.w
				f.at.conflict |= bit
			}
			return nil
		}
	} else if r.hasContext(f, c) {
		fld.unknown = true
		return r.add(f, fld)
	}
	if !r.setContext(f, c, text, fld.w) {
		fld.unknown, f.odd = true, true
		return r.add(f, fld)
	}
	if bit != 0 {
		if f.own&bit == 0 {
			f.at.conflict &^= bit
		}
		f.own |= bit
	}
	r.fields = append(r.fields, fld)
	if f == &r.frames[0] {
		r.promote(fld)
	}
	return nil
}

func (r *Reader) sameContext(f *frame, fld field) bool {
	for i := f.fields; i < len(r.fields); i++ {
		if r.fields[i].w.ctx == fld.w.ctx && string(r.textOf(r.fields[i])) == string(r.textOf(fld)) {
			return true
		}
	}
	return false
}

func (r *Reader) hasContext(f *frame, c ctxKind) bool {
	for i := f.fields; i < len(r.fields); i++ {
		if r.fields[i].w.ctx == c && !r.fields[i].unknown {
			return true
		}
	}
	return false
}

// setContext changes the scope of f. It returns false if the text means nothing.
func (r *Reader) setContext(f *frame, c ctxKind, text []byte, w *word) bool {
	switch c {
	case ctxEnd, ctxTime:
		f.exactTime = f.exactTime || c == ctxEnd
		f.at.end, f.at.badTime = r.contextTime(text, w)
	case ctxStart:
		var bad *badContext
		if f.at.start, bad = r.contextTime(text, w); bad != nil {
			f.at.badTime = bad
		}
	case ctxFinal:
		n, ok := parseOrdinal(text)
		if f.at.final, f.at.badFinal = n, nil; !ok {
			f.at.badFinal = &badContext{w.name, bounded(string(text)), "is not an ordinal number"}
		}
	case ctxPolicy:
		n, ok := parseOrdinal(text)
		if !ok {
			return false
		}
		f.at.policy = n
	case ctxRecord:
		text = trimSpace(text)
		if len(text) == 0 {
			return false
		}
		name := r.strings.get(text)
		def, _ := r.v.record(name)
		f.at.rec = recordRef{Name(name), def}
	case ctxSub:
		f.at.subText = r.strings.get(trimSpace(text))
		f.at.sub, f.namedSub = f.at.subText, true
		if sub := r.v.subRecord(text); sub != "" {
			f.at.sub = sub
		}
	case ctxScope:
		f.scopeHint = r.strings.get(text)
	case ctxMode:
		f.modeHint = r.strings.get(text)
	}
	return true
}

// parseOrdinal reads a small decimal number.
func parseOrdinal(b []byte) (int, bool) {
	n, ok := parseUint(b)
	if !ok || n > 1<<31-1 {
		return 0, false
	}
	return int(n), true
}

// promote takes what an element says of the whole file into the header, unless
// it is known already.
func (r *Reader) promote(fld field) {
	r.effects++
	h := &r.header
	text := r.textOf(fld)
	number := func(p *int) {
		if n, ok := parseOrdinal(text); ok && *p == 0 {
			*p = n
		}
	}
	str := func(p *string) {
		if *p == "" {
			*p = r.strings.get(text)
		}
	}
	switch fld.w.ctx {
	case ctxPolicy:
		if !r.rowsSeen {
			number(&h.Policy)
		}
	case ctxRecord:
		if r.headerRec.name == "" && !r.rowsSeen {
			name := r.strings.get(trimSpace(text))
			def, _ := r.v.record(name)
			r.headerRec = recordRef{Name(name), def}
			for i := range r.frames {
				r.frames[i].spot = 0
			}
		}
	case ctxFile:
		number(&h.FileID)
	case ctxCreated:
		if t, ok := r.parseTime(text); ok && h.Created.IsZero() {
			h.Created = t
		}
	case ctxInterval:
		if d, ok := r.parseInterval(r.strings.get(text)); ok && h.Interval == 0 {
			h.Interval = d
		}
	case ctxSemantics:
		if string(text) == Cumulative || string(text) == PerInterval {
			str(&h.Semantics)
		}
	case ctxSystem:
		str(&h.System)
	case ctxSoftware:
		str(&h.Software)
	case ctxZone:
		str(&h.Zone)
	case ctxDescription:
		str(&h.Description)
	case ctxReason:
		str(&h.Reason)
	}
}

// parseInterval reads a collection interval. A number without a unit is taken
// as seconds in our own dialect only; elsewhere it could as well be minutes.
func (r *Reader) parseInterval(text string) (time.Duration, bool) {
	if n := len(text); n > 0 && text[n-1] > '9' {
		d, err := time.ParseDuration(text)
		return d, err == nil && d > 0
	}
	if r.frames[0].w.name != elemRoot {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds <= 0 || seconds > 1e9 {
		return 0, false
	}
	return time.Duration(seconds * 1000 * float64(time.Millisecond)).Round(time.Millisecond), true
}
