package record

import "bytes"

// binding says how the fields of a row become a Record. It is made once for
// each combination of fields in each schema.
type binding struct {
	set     *RowSet
	sub     string
	values  []int16     // by fieldWord.id: index of Record.Values, or toUnknown
	inherit []inherited // keys that come from enclosing elements
	need    uint64      // keys and contexts that must not follow the row
	perFile bool        // made with what only this file told
}

// Where a field goes that is not one of Record.Values.
const (
	toUnknown = -1 // to Record.Unknown
	toNowhere = -2 // it is a context, which the frame holds already
)

// place tells where a field of the row goes.
func (b *binding) place(fld *field) int {
	w := fld.w
	switch {
	case fld.used, w.ctx != noContext && w.ctx < ctxFile && !fld.unknown:
		return toNowhere
	case w.field == nil || fld.unknown:
		return toUnknown
	}
	return int(b.values[w.field.id])
}

// schema is all that decides what a row means, besides its own fields.
type schema struct {
	rec                 recordRef
	sub, text, elem     string
	scopeHint, modeHint string
	inherited           uint64
}

// fieldMask is a set of fields by fieldWord.id.
type fieldMask [4]uint64

func (m *fieldMask) add(id int) bool {
	if id >= len(m)*64 {
		return false
	}
	m[id/64] |= 1 << (id % 64)
	return true
}

// bindings are those of one schema.
type bindings map[fieldMask]*binding

// inherited is a key that the row takes from an enclosing element.
type inherited struct {
	key   int // index in vocabulary.keys
	value int // index of Record.Values, or toUnknown
	text  bool
}

// row makes a Record of f.
func (r *Reader) row(f *frame, rec *Record) error {
	r.fast.pause = max(r.fast.pause-1, 0)
	own := r.fields[f.fields:]
	b, err := r.bindingOf(f, own)
	if err != nil {
		return err
	}
	f.lacked = b.need &^ f.own
	if bad := r.checkRow(f, b); bad != nil {
		return bad
	}
	rec.Reset(b.set)
	r.fillScope(rec, f, b)
	for i := range own {
		fld := &own[i]
		at := b.place(fld)
		if at == toNowhere {
			continue
		}
		text := r.textOf(*fld)
		switch {
		case at == toUnknown:
			if fld.w.field != nil && fld.w.field.extra && fld.w.field.role == Counter {
				if _, ok := parseUint(text); !ok && len(text) > 0 {
					return r.bad(f, fld.w.name, text, numberReason(text))
				}
			}
			rec.Unknown = append(rec.Unknown, Pair{fld.w.name, string(text)})
		case !b.set.Fields[at].Numeric:
			rec.Values[at] = Value{State: Text, Text: r.strings.get(text)}
		default:
			if rec.Values[at], err = r.number(f, fld.w, text); err != nil {
				return err
			}
		}
	}
	if err := r.fillInherited(rec, f, b); err != nil {
		return err
	}
	r.countRow(own, b, rec)
	if !f.odd && r.effects == f.effects {
		r.fast.learn(r, f, own, b)
	}
	return nil
}

// checkRow reports what makes the row as a whole unusable.
func (r *Reader) checkRow(f *frame, b *binding) error {
	if f.repeated != nil {
		return r.bad(f, f.repeated.name, nil, "stands twice in the record")
	}
	if f.crowded {
		return r.bad(f, f.w.name, nil, "holds more fields than a record may have")
	}
	if clash := f.at.conflict & b.need &^ f.own; clash != 0 {
		return r.bad(f, r.v.bitName(clash), nil, "stands twice, with different values, on an enclosing element")
	}
	if spent := f.spent & b.need &^ f.own; spent != 0 {
		return r.bad(f, r.v.bitName(spent), nil, "stands in an element of its own with names nobody knows; make them extra fields in a profile")
	}
	for _, bad := range []*badContext{f.at.badTime, f.at.badFinal} {
		if bad != nil {
			return r.bad(f, bad.field, []byte(bad.text), bad.reason)
		}
	}
	return nil
}

func (r *Reader) fillScope(rec *Record, f *frame, b *binding) {
	rec.Sub, rec.Final, rec.Start, rec.End, rec.Offset = b.sub, f.at.final, f.at.start, f.at.end, f.offset
	if rec.Policy = f.at.policy; rec.Policy == 0 {
		rec.Policy = r.defaultPolicy()
	}
}

func (r *Reader) defaultPolicy() int {
	if r.header.Policy == 0 && r.o.Profile != nil {
		return r.o.Profile.Policy
	}
	return r.header.Policy
}

// number reads a numeric field. Empty is a state of its own, and everything
// that is not plain digits makes the record unusable: no trimming, no guessing.
func (r *Reader) number(f *frame, w *word, text []byte) (Value, error) {
	if len(text) == 0 {
		return Value{State: Empty}, nil
	}
	n, ok := parseUint(text)
	if !ok {
		return Value{}, r.bad(f, w.name, text, numberReason(text))
	}
	return Value{State: Number, N: n}, nil
}

// parseUint reads an unsigned decimal number, exactly, up to 2^64-1.
func parseUint(b []byte) (uint64, bool) {
	const most = 1<<64 - 1
	n := uint64(0)
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > most/10 || n == most/10 && d > most%10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, len(b) > 0
}

func numberReason(text []byte) string {
	for _, c := range text {
		if c < '0' || c > '9' {
			return "is not an unsigned decimal number"
		}
	}
	return "does not fit into 64 bits"
}

// fillInherited takes the keys that enclosing elements have.
func (r *Reader) fillInherited(rec *Record, f *frame, b *binding) error {
	for _, in := range b.inherit {
		fld, ok := r.inheritedField(in.key, len(r.frames)-2)
		if !ok {
			continue
		}
		text := r.textOf(fld)
		switch {
		case in.value == toUnknown:
			rec.Unknown = append(rec.Unknown, Pair{r.v.keys[in.key].abbrev, r.strings.get(text)})
		case in.text:
			rec.Values[in.value] = Value{State: Text, Text: r.strings.get(text)}
		default:
			v, err := r.number(f, fld.w, text)
			if err != nil {
				return err
			}
			rec.Values[in.value] = v
		}
	}
	return nil
}

// inheritedField finds a key on the frames from the given one outwards.
func (r *Reader) inheritedField(key, from int) (field, bool) {
	end := len(r.fields)
	if from+1 < len(r.frames) {
		end = r.frames[from+1].fields
	}
	for i := from; i >= 0; i-- {
		f := &r.frames[i]
		if f.own&(1<<key) != 0 {
			for _, fld := range r.fields[f.fields:end] {
				if fw := fld.w.field; fw != nil && fw.key == key && !fld.unknown {
					return fld, true
				}
			}
		}
		end = f.fields
	}
	return field{}, false
}

// countRow keeps the statistics that do not follow from the Record count.
func (r *Reader) countRow(own []field, b *binding, rec *Record) {
	for i := range own {
		if b.place(&own[i]) == toUnknown && !(own[i].w.field != nil && own[i].w.field.extra) {
			r.v.countUnknown(own[i].w)
		}
	}
	for i := range rec.Values {
		if rec.Values[i].State == Empty {
			r.stats.EmptyCounters++
		}
	}
	if !b.set.Known {
		r.countSub(b.sub)
	}
}

func (r *Reader) countSub(sub string) {
	const most = 1000
	if _, ok := r.subs[sub]; !ok && len(r.subs) >= most {
		sub = otherUnknown
	}
	r.subs[sub]++
}

// bad makes the RecordError of a row.
func (r *Reader) bad(f *frame, name string, text []byte, reason string) error {
	from := max(f.start, r.s.base, r.s.base+int64(r.s.pos)-rawKept)
	to := r.s.base + int64(r.s.pos)
	return &RecordError{
		File: r.s.file, Offset: f.offset, Path: r.s.path() + "/" + f.w.name, Field: name,
		Text: string(text[:min(len(text), 256)]), Reason: reason,
		Raw: bytes.Clone(r.s.buf[from-r.s.base : to-r.s.base]),
	}
}

// bindingOf finds or makes the binding of a row.
func (r *Reader) bindingOf(f *frame, own []field) (*binding, error) {
	rec, perFile, err := r.recordOf(f)
	if err != nil {
		return nil, err
	}
	sc := schema{rec: rec, sub: f.at.sub, text: f.at.subText, scopeHint: f.scopeHint, modeHint: f.modeHint, inherited: f.at.keys}
	if sc.sub == "" {
		sc.elem = f.w.name
	}
	if r.lastBinds == nil || r.lastSchema != sc {
		r.lastSchema, r.lastBinds = sc, r.binds[sc]
	}
	var mask fieldMask
	fits := true
	for i := range own {
		if fw := own[i].w.field; fw != nil && !own[i].unknown {
			fits = mask.add(fw.id) && fits
		}
	}
	if b, ok := r.lastBinds[mask]; ok && fits {
		return b, nil
	}
	if r.newKinds++; r.newKinds > maxKinds {
		return nil, r.s.limit("more than %d kinds of rows", maxKinds)
	}
	b, err := r.bind(f, rec, own)
	if err != nil {
		return nil, err
	}
	b.perFile = perFile
	if fits {
		r.keepBinding(sc, mask, b)
	}
	return b, nil
}

// maxKinds is how many combinations of record name, sub-record, inherited keys
// and fields one file may have. Each costs more than a row does, and real files
// have a handful.
const maxKinds = 1 << 16

// keepBinding remembers a binding, for the next files too.
func (r *Reader) keepBinding(sc schema, mask fieldMask, b *binding) {
	if r.bound >= maxKinds/2 {
		clear(r.binds)
		r.bound, r.lastBinds = 0, nil
	}
	if r.lastBinds == nil {
		r.lastBinds = bindings{}
		r.binds[sc] = r.lastBinds
	}
	r.lastBinds[mask] = b
	r.bound++
}
