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
	t := &pattern{b: b, own: f.own, policy: f.at.policy}
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
		o := op{before: newLiteral(text[at:from]), end: text[to], value: b.slots[sp.field].value}
		if o.end != '<' && o.end != '"' && o.end != '\'' {
			return
		}
		if o.kind, ok = opOf(b.slots[sp.field], fld); !ok {
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

func opOf(sl slot, fld field) (opKind, bool) {
	switch {
	case sl.value == toUnknown:
		// counters that only a profile knows are checked on the full path
		return opUnknown, fld.w.field == nil || !fld.w.field.extra
	case sl.value == toNowhere:
		switch fld.w.ctx {
		case ctxEnd, ctxTime:
			return opEnd, true
		case ctxStart:
			return opStart, true
		}
		return opFinal, fld.w.ctx == ctxFinal
	case sl.text:
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
	for i, sl := range t.b.slots {
		fld := own[i]
		if sl.value == toNowhere && (fld.used || !changes(fld.w.ctx)) {
			continue
		}
		if sl.value == toUnknown {
			u := unknownText{w: fld.w, op: -2 - i} // learn puts the op there
			if fld.raw < 0 {
				u.op, u.text = -1, string(r.textOf(fld))
			}
			t.unknown = append(t.unknown, u)
		}
		if fld.raw < 0 {
			if sl.value == toUnknown {
				continue
			}
			if fld.n > 0 || sl.value == toNowhere {
				return nil, false
			}
			t.empty = append(t.empty, sl.value)
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

// insert adds a pattern, in the place of the oldest if there are many.
func (p *fastPath) insert(r *Reader, t *pattern) {
	if len(p.patterns) < maxPatterns {
		p.patterns = append(p.patterns, t)
		p.follow(t)
		return
	}
	old := p.patterns[p.victim]
	old.flushCounts(r)
	p.patterns[p.victim] = t
	p.victim = (p.victim + 1) % maxPatterns
	for _, other := range p.patterns {
		if other.next == old {
			other.next = nil
		}
	}
	if p.last == old {
		p.last = nil
	}
	p.follow(t)
}

// follow remembers that t came after the last pattern.
func (p *fastPath) follow(t *pattern) {
	if p.last != nil {
		p.last.next = t
	}
	p.last = t
}
