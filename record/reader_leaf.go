package record

// leaf reads a whole field of the plainest form, <iof>5</iof>, without opening
// an element for it. It returns false, with nothing consumed, for every other
// form. The full path, which push, text and pop are, would do the same.
func (r *Reader) leaf() (bool, error) {
	s := &r.s
	if r.o.slow || s.selfClosed || len(r.frames) == 0 || len(s.open) >= s.lim.Depth {
		return false, nil
	}
	b := s.buf[s.pos:s.end]
	local, from, to := plainLeaf(b)
	if from == 0 || from-2 > s.lim.NameBytes || to-from > s.lim.TextBytes || to > s.lim.TokenBytes {
		return false, nil
	}
	w := r.v.lookup(b[local : from-1])
	if w.foreign || w.header {
		return false, nil
	}
	f := &r.frames[len(r.frames)-1]
	if !f.child {
		if !blank(r.arena[f.textAt:]) {
			return false, nil
		}
		f.child, r.arena = true, r.arena[:f.textAt]
	}
	if w.known() {
		r.knownNames++
	}
	raw := s.base + int64(s.pos+from)
	text := b[from:to]
	s.pos += to + from + 1 // the end tag is the start tag and a slash
	if len(text) == 0 && w.sub != "" && w.field == nil && w.ctx == noContext {
		s.tagSeen()
		return true, nil
	}
	err := r.addText(f, w, text, raw)
	s.tagSeen()
	return true, err
}

// plainLeaf recognises <name>text</name> at the beginning of b, if name and text
// are printable ASCII that needs no decoding. It returns where the local name
// and the text begin, and where the text ends; all zero if it is anything else.
func plainLeaf(b []byte) (local, from, to int) {
	if len(b) < 8 || b[0] != '<' || b[1] >= 0x80 || nameClass[b[1]] != anywhere || b[1] == ':' {
		return 0, 0, 0
	}
	i := 2
	local = 1
	for ; i < len(b) && b[i] < 0x80 && nameClass[b[i]] != notName; i++ {
		if b[i] == ':' {
			if local > 1 {
				return 0, 0, 0
			}
			local = i + 1
		}
	}
	if i == len(b) || b[i] != '>' || nameClass[b[local]] != anywhere {
		return 0, 0, 0
	}
	from = i + 1
	n, ok := plainText(b, from, '<')
	if !ok {
		return 0, 0, 0
	}
	to = from + n
	end := to + from + 1
	if end > len(b) || b[to+1] != '/' || string(b[to+2:end]) != string(b[1:from]) {
		return 0, 0, 0
	}
	return local, from, to
}
