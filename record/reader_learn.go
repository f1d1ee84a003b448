package record

import (
	"cmp"
	"slices"
)

// span is where the value of one field stands in the window.
type span struct {
	field    int
	from, to int
}

// learn makes a pattern of the row f that was just read, whose end is the
// current position, if it can be one: its values stand there literally, it holds
// no other rows, and it still lies in the window as a whole.
func (p *fastPath) learn(r *Reader, f *frame, own []field, b *binding) {
	s := &r.s
	if r.o.slow || p.budget < learnCost {
		p.budget = min(p.budget+1, learnSavings)
		return
	}
	if f.rows || f.start < s.base || len(r.frames) < 2 {
		return
	}
	t := &pattern{depth: len(r.frames) - 1, b: b, own: f.own, policy: f.at.policy}
	spans, ok := t.spans(r, own)
	if !ok {
		return
	}
	text := s.buf[int(f.start-s.base):s.pos]
	at := 0
	for _, sp := range spans {
		fld := own[sp.field]
		from, to := sp.from-int(f.start-s.base), sp.to-int(f.start-s.base)
		if from < at || to >= len(text) {
			return
		}
		o := op{before: newLiteral(text[at:from]), end: text[to], value: b.place(&fld)}
		if o.end != '<' && o.end != '"' && o.end != '\'' {
			return
		}
		if o.kind, ok = b.opOf(&fld); !ok {
			return
		}
		switch {
		case fld.ident:
			o.refuse = refuseMeasures
		case o.kind == opUnknown && fld.w.subName:
			o.refuse = refuseRows
		}
		for i := range t.unknown {
			if t.unknown[i].op == -2-sp.field {
				t.unknown[i].op = len(t.ops)
			}
		}
		t.ops = append(t.ops, o)
		at = to
	}
	if len(t.ops) == 0 {
		return
	}
	t.tail = newLiteral(text[at:])
	t.spot = p.addSpot(r, &r.frames[len(r.frames)-2])
	p.budget -= learnCost
	p.insert(r, t)
}

func (b *binding) opOf(fld *field) (opKind, bool) {
	switch at := b.place(fld); {
	case at == toUnknown:
		// counters that only a profile knows are checked on the full path
		return opUnknown, fld.w.field == nil || !fld.w.field.extra
	case at == toNowhere:
		switch fld.w.ctx {
		case ctxEnd, ctxTime:
			return opEnd, true
		case ctxStart:
			return opStart, true
		}
		return opFinal, fld.w.ctx == ctxFinal
	case !b.set.Fields[at].Numeric:
		return opText, true
	}
	return opNumber, true
}

// spans lists the values in the order of the file. What decides the meaning of
// the row, such as its policy, is no value: it becomes part of the pattern, and
// so do unknown texts that do not stand there literally.
func (t *pattern) spans(r *Reader, own []field) ([]span, bool) {
	var out []span
	base := r.s.base
	for i, fld := range own {
		at := t.b.place(&fld)
		if at == toNowhere && (fld.used || !changes(fld.w.ctx)) {
			continue
		}
		if at == toUnknown {
			u := unknownText{w: fld.w, op: -2 - i} // learn puts the op there
			if fld.raw < 0 {
				u.op, u.text = -1, string(r.textOf(fld))
			}
			t.unknown = append(t.unknown, u)
		}
		if fld.raw < 0 {
			if at == toUnknown {
				continue
			}
			if fld.n > 0 || at == toNowhere {
				return nil, false
			}
			t.empty = append(t.empty, at)
			continue
		}
		from := int(fld.raw - base)
		if from < 0 || from+fld.n > r.s.pos {
			return nil, false
		}
		out = append(out, span{i, from, from + fld.n})
	}
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	return out, true
}

// changes tells whether a context may differ from row to row.
func changes(c ctxKind) bool {
	return c == ctxEnd || c == ctxTime || c == ctxStart || c == ctxFinal
}

// insert adds a pattern, in the place of the least used if there are many.
func (p *fastPath) insert(r *Reader, t *pattern) {
	begin := t.ops[0].before.text
	for i := range min(8, len(begin)) {
		t.head |= uint64(begin[i]) << (8 * i)
		t.mask |= 0xFF << (8 * i)
	}
	if len(p.patterns) < maxPatterns {
		p.patterns = append(p.patterns, nil)
	} else {
		old := p.patterns[maxPatterns-1]
		old.flushCounts(r)
		for _, other := range p.patterns {
			if other.next == old {
				other.next = nil
			}
		}
		if p.last == old {
			p.last = nil
		}
	}
	copy(p.patterns[1:], p.patterns)
	p.patterns[0] = t
	if p.last != nil {
		p.last.next = t
	}
	p.last = t
}
