package record

import (
	"math/bits"
	"slices"
	"strings"
)

// recordOf finds the record name of a row: the nearest element that gives it,
// what the file says of itself, the options, or the sub-records seen. It tells
// whether the answer holds for this file only.
func (r *Reader) recordOf(f *frame) (rec recordRef, perFile bool, err error) {
	switch {
	case f.at.rec.name != "":
		return f.at.rec, false, nil
	case r.headerRec.name != "":
		return r.headerRec, false, nil
	case r.o.Record != "":
		def, _ := r.v.record(string(r.o.Record))
		return recordRef{r.o.Record, def}, false, nil
	}
	sub := f.at.sub
	found := r.recordsWith(sub)
	if len(found) == 0 {
		return recordRef{}, true, nil
	}
	if !slices.Contains(r.seen, sub) {
		r.seen = append(r.seen, sub)
	}
	d, ok := r.bySub[sub]
	if !ok && len(found) == 1 {
		d, ok = found[0], true
	}
	if !ok {
		for _, s := range r.seen {
			with := r.recordsWith(s)
			found = slices.DeleteFunc(found, func(d *Definition) bool { return !slices.Contains(with, d) })
		}
		if len(found) != 1 {
			return recordRef{}, true, r.ambiguous(f, r.recordsWith(sub))
		}
		d = found[0]
	}
	r.bySub[sub] = d
	return recordRef{d.Name, d}, true, nil
}

// recordsWith lists the records that have this sub-record, those of the
// platform if any has it there.
func (r *Reader) recordsWith(sub string) []*Definition {
	if sub == "" {
		return nil
	}
	var all, here []*Definition
	for _, s := range r.v.cat.SubRecord(sub) {
		d, ok := r.v.cat.Lookup(s.Record)
		if !ok {
			continue
		}
		if !slices.Contains(all, d) {
			all = append(all, d)
		}
		if slices.Contains(s.Platforms, r.o.Platform) && !slices.Contains(here, d) {
			here = append(here, d)
		}
	}
	if len(here) > 0 {
		return here
	}
	return all
}

// ambiguous ends a file whose rows fit several records.
func (r *Reader) ambiguous(f *frame, found []*Definition) error {
	var names []string
	for _, d := range found {
		if !slices.Contains(names, string(d.Name)) {
			names = append(names, string(d.Name))
		}
	}
	what := "<" + f.w.name + ">"
	if f.at.subText != "" {
		what = "sub-record " + f.at.subText
	}
	e := r.s.failAt(r.s.pos, KindShape, "name the record, with --record or in a profile",
		"the file does not name its record, and %s may belong to %s", printable(what), orList(names))
	e.records = names
	return e
}

func orList(names []string) string {
	const most = 6
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " or others"
	}
	return strings.Join(names, " or ")
}

// candidate is a row set that has every field the row has.
type candidate struct {
	set     *RowSet
	missing int
	here    bool // it is one of the platform
}

// bind resolves the row set of a row and says where each field goes.
func (r *Reader) bind(f *frame, rec recordRef, own []field) (*binding, error) {
	set, err := r.resolve(f, rec, own)
	if err != nil {
		return nil, err
	}
	b := &binding{set: set, sub: f.at.subText}
	if b.sub == "" {
		b.sub = set.Sub
	}
	taken := make([]bool, len(set.Fields))
	b.values = make([]int16, len(r.v.fields))
	for i := range b.values {
		b.values[i] = toUnknown
	}
	for _, exactly := range []bool{true, false} { // a field's own name goes before its alias
		for i := range own {
			fw := own[i].w.field
			if fw == nil || own[i].unknown || exactly != (set.Index(fw.abbrev) >= 0) {
				continue
			}
			if at := r.index(set, fw); at >= 0 && !taken[at] {
				b.values[fw.id], taken[at] = int16(at), true
			}
		}
	}
	b.need = ^uint64(keyMask)
	for i, fw := range r.v.keys {
		bit := uint64(1) << i
		at := r.index(set, fw)
		if at >= 0 || !set.Known {
			b.need |= bit
		}
		if f.at.keys&bit == 0 || f.own&bit != 0 {
			continue
		}
		b.need |= bit
		in := inherited{key: i, value: toUnknown}
		if at >= 0 && !taken[at] {
			in.value, in.text, taken[at] = at, !set.Fields[at].Numeric, true
		}
		b.inherit = append(b.inherit, in)
	}
	return b, nil
}

// portAliases are pairs of abbreviations that mean the same on records of ports
// and network interfaces: 7210 and SR OS differ.
var portAliases = map[string]string{"port": "pId", "pId": "port", "qid": "mId", "mId": "qid"}

// index finds the field in a row set, under its name or its alias.
func (r *Reader) index(set *RowSet, fw *fieldWord) int {
	if i := set.Index(fw.abbrev); i >= 0 {
		return i
	}
	if d, ok := r.v.cat.Lookup(set.Record); ok && (strings.HasPrefix(d.PolicyType, "network") || d.PolicyType == "accessport") {
		if alias, ok := portAliases[fw.abbrev]; ok {
			return set.Index(alias)
		}
	}
	return -1
}

// resolve finds the row set of a row, or makes one.
func (r *Reader) resolve(f *frame, rec recordRef, own []field) (*RowSet, error) {
	var present []*fieldWord
	for i := range own {
		if fw := own[i].w.field; fw != nil && !own[i].unknown && !fw.extra {
			present = append(present, fw)
		}
	}
	switch {
	case rec.def != nil && f.at.sub != "":
		if sets := r.hinted(f, subSets(rec.def, f.at.sub)); len(sets) > 0 {
			return r.resolveSub(rec.def, f, sets, present), nil
		}
		// a misprint, perhaps: network-ingress-packets as nio
		if set, _ := r.resolveFields(f, r.hinted(f, rec.def.RowSets), present); set != nil {
			return set, nil
		}
		return r.unknownSet(rec, f.at.subText), nil
	case rec.def != nil:
		set, rivals := r.resolveFields(f, r.hinted(f, rec.def.RowSets), present)
		if set == nil && len(rivals) > 1 && f.counters > 0 {
			return nil, r.s.failAt(r.s.pos, KindShape, "map the element to its sub-record in a profile, under sub-records",
				"<%s> may be any of the sub-records %s of %s", f.w.name, orList(subNames(rivals)), rec.def.Name)
		}
		if set == nil {
			set = r.unknownSet(rec, f.w.name)
		}
		return set, nil
	case rec.name != "" || f.at.sub != "" || f.counters == 0:
		sub := f.at.subText
		if sub == "" {
			sub = f.w.name
		}
		return r.unknownSet(rec, sub), nil
	}
	var all []*RowSet
	for _, d := range r.v.cat.Definitions() {
		all = append(all, d.RowSets...)
	}
	set, rivals := r.resolveFields(f, r.hinted(f, all), present)
	if set == nil && len(rivals) > 1 {
		var defs []*Definition
		for _, s := range rivals {
			if d, ok := r.v.cat.Lookup(s.Record); ok {
				defs = append(defs, d)
			}
		}
		return nil, r.ambiguous(f, defs)
	}
	if set == nil {
		set = r.unknownSet(rec, f.w.name)
	}
	return set, nil
}

func subSets(d *Definition, sub string) []*RowSet {
	var out []*RowSet
	for _, s := range d.RowSets {
		if s.Sub == sub {
			out = append(out, s)
		}
	}
	return out
}

func subNames(sets []*RowSet) []string {
	var out []string
	for _, s := range sets {
		if !slices.Contains(out, s.Sub) {
			out = append(out, s.Sub)
		}
	}
	return out
}

// hinted keeps the row sets of the scope and counter mode that the row itself
// names, as our own dialect does where fields are missing.
func (r *Reader) hinted(f *frame, sets []*RowSet) []*RowSet {
	for _, hint := range []struct {
		text string
		of   func(*RowSet) string
	}{
		{f.scopeHint, func(s *RowSet) string { return s.Scope }},
		{f.modeHint, func(s *RowSet) string { return s.CounterMode }},
	} {
		if hint.text == "" {
			continue
		}
		var fit []*RowSet
		for _, s := range sets {
			if hint.of(s) == hint.text {
				fit = append(fit, s)
			}
		}
		if len(fit) > 0 {
			sets = fit
		}
	}
	return sets
}

// resolveSub chooses among the row sets of one sub-record. Fields that none of
// them has are left to Record.Unknown; if no row set has all the others
// together, one is made that does.
func (r *Reader) resolveSub(d *Definition, f *frame, sets []*RowSet, present []*fieldWord) *RowSet {
	known := present[:0:0]
	for _, fw := range present {
		if slices.ContainsFunc(sets, func(s *RowSet) bool { return r.index(s, fw) >= 0 }) {
			known = append(known, fw)
		}
	}
	if c := r.candidates(f, sets, known); len(c) > 0 {
		return best(c).set
	}
	union := RowSet{Record: d.Name, Sub: sets[0].Sub, Object: sets[0].Object}
	for _, fw := range known {
		for _, s := range sets {
			if i := r.index(s, fw); i >= 0 {
				if union.Index(s.Fields[i].Abbrev) < 0 {
					union.Fields = append(union.Fields, s.Fields[i])
				}
				break
			}
		}
	}
	for _, s := range sets { // inherited keys need their places too
		for _, fd := range s.Fields {
			if fd.Role == Key && union.Index(fd.Abbrev) < 0 {
				union.Fields = append(union.Fields, fd)
			}
		}
	}
	return r.intern(union)
}

// resolveFields chooses by the fields alone: the row set must be the only
// sub-record that has them all, or the only one that has exactly these. If
// there is none, rivals are those that have them all.
func (r *Reader) resolveFields(f *frame, sets []*RowSet, present []*fieldWord) (set *RowSet, rivals []*RowSet) {
	if f.counters+f.infos == 0 {
		return nil, nil
	}
	known := present[:0:0]
	measured := 0
	for _, fw := range present {
		if slices.ContainsFunc(sets, func(s *RowSet) bool { return r.index(s, fw) >= 0 }) {
			known = append(known, fw)
			if fw.role != Key {
				measured++
			}
		}
	}
	if measured == 0 {
		return nil, nil
	}
	c := r.candidates(f, sets, known)
	if only(c) {
		return best(c).set, nil
	}
	exact := slices.DeleteFunc(slices.Clone(c), func(c candidate) bool { return c.missing > 0 })
	if only(exact) {
		return best(exact).set, nil
	}
	for _, each := range c {
		rivals = append(rivals, each.set)
	}
	return nil, rivals
}

// only tells whether all candidates are one sub-record of one record.
func only(c []candidate) bool {
	for _, each := range c {
		if each.set.Sub != c[0].set.Sub || each.set.Record != c[0].set.Record {
			return false
		}
	}
	return len(c) > 0
}

// candidates returns the row sets that have all these fields.
func (r *Reader) candidates(f *frame, sets []*RowSet, fields []*fieldWord) []candidate {
	var out []candidate
	for _, s := range sets {
		has := make([]bool, len(s.Fields))
		fits := true
		for _, fw := range fields {
			i := r.index(s, fw)
			if i < 0 {
				fits = false
				break
			}
			has[i] = true
		}
		if !fits {
			continue
		}
		for k, fw := range r.v.keys {
			if f.at.keys&(1<<k) != 0 {
				if i := r.index(s, fw); i >= 0 {
					has[i] = true
				}
			}
		}
		c := candidate{set: s, here: slices.Contains(s.Platforms, r.o.Platform)}
		for _, h := range has {
			if !h {
				c.missing++
			}
		}
		out = append(out, c)
	}
	return out
}

// best is the candidate with the fewest missing fields; of equals the one of the
// platform, then the first of the catalogue.
func best(c []candidate) candidate {
	b := c[0]
	for _, each := range c[1:] {
		if each.missing < b.missing || each.missing == b.missing && each.here && !b.here {
			b = each
		}
	}
	return b
}

// unknownSet makes the row set of a sub-record nobody knows. The object keys of
// a known record keep their places; all other fields go to Record.Unknown, for
// the same letters may mean something else there.
func (r *Reader) unknownSet(rec recordRef, sub string) *RowSet {
	set := RowSet{Record: rec.name, Sub: sub}
	if rec.def == nil {
		return r.intern(set)
	}
	set.Record = rec.def.Name
	for _, c := range rec.def.Columns {
		for _, abbrev := range c.Abbrevs {
			if c.Role == Key && rec.def.oneColumn(abbrev) {
				set.Fields = append(set.Fields, FieldDef{Abbrev: abbrev, Column: c.Name, Meaning: c.Meaning, Unit: c.Unit, Role: Key, Numeric: c.Numeric})
			}
		}
	}
	return r.intern(set)
}

// oneColumn tells whether the abbreviation means the same in all sub-records.
func (d *Definition) oneColumn(abbrev string) bool {
	n := 0
	for _, c := range d.Columns {
		if slices.Contains(c.Abbrevs, abbrev) {
			n++
		}
	}
	return n == 1
}

// intern returns the one row set that says the same, so that pointers can be
// compared.
func (r *Reader) intern(set RowSet) *RowSet {
	k := []string{string(set.Record), set.Sub}
	for _, f := range set.Fields {
		k = append(k, f.Abbrev, f.Column)
	}
	key := strings.Join(k, "\x00")
	if s, ok := r.sets[key]; ok {
		return s
	}
	const most = 4096
	if len(r.sets) >= most {
		clear(r.sets)
	}
	r.sets[key] = &set
	return &set
}

// bitName names one of the keys or contexts of a mask.
func (v *vocabulary) bitName(mask uint64) string {
	i := bits.TrailingZeros64(mask)
	if i < len(v.keys) {
		return v.keys[i].abbrev
	}
	if c := ctxKind(i - maxKeys); c > noContext && c < contexts {
		return spellings[c][0]
	}
	return "?"
}
