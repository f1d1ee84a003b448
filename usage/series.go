package usage

import "slices"

// State is what is known of a series after a row: all that the next one needs.
type State struct {
	// Last is the row that came last.
	Last Point
	// Doubtful tells that rows with the end of Last contradict each other, so
	// that nothing may be subtracted from it.
	Doubtful bool
	// Step is the collection interval in µs as the distance of rows shows it,
	// for rows that do not tell their start; 0 if it is not known yet. Odd is the last
	// distance that was taken for a gap, 0 if the last one was not.
	Step, Odd int64
}

// Series applies the rules to one series: the rows with the same device,
// sub-record, scope and keys. The zero value is a series of which nothing is
// known. Its memory is that of one row.
type Series struct {
	// Narrow is, for each counter that is known to have 32 bits, the most it
	// counts in a second. Nil or 0 is for counters of 64 bits.
	Narrow []uint64

	seen  bool
	state State
	delta []uint64
	told  Delta
	at    moment
}

// moment is what all rows with one end have in common: what was before them.
type moment struct {
	seen       bool
	doubtful   bool  // the rows before contradict each other
	start, end int64 // of the row before
	step       int64 // collection interval of rows that do not tell their start
	conflict   bool  // these rows contradict each other
}

// Resume makes s go on from a state, which it copies.
func (s *Series) Resume(state *State) {
	s.seen = true
	s.keep(&state.Last)
	s.state.Doubtful, s.state.Step, s.state.Odd = state.Doubtful, state.Step, state.Odd
}

// Reset makes s a series of which nothing is known.
func (s *Series) Reset() { s.seen, s.state.Doubtful, s.state.Step, s.state.Odd = false, false, 0, 0 }

// State returns what is known after the last row, nil before the first one. It
// is valid until the next call of another method.
func (s *Series) State() *State {
	if !s.seen {
		return nil
	}
	return &s.state
}

// keep copies a point as the last one.
func (s *Series) keep(p *Point) {
	l := &s.state.Last
	values, present := append(l.Values[:0], p.Values...), append(l.Present[:0], p.Present...)
	*l = *p
	l.Values, l.Present = values, present
}

// Add takes all rows with one end, which is later than that of the call before,
// and calls yield for each of them in the order of the usage table. The Delta is
// valid only in the call. Rows that repeat another one are left out, whatever
// file they are from; their number is returned. Add may reorder the rows.
//
// Of rows that differ in nothing but the file the one with the first file name
// stays, and of these the one with the first hash.
func (s *Series) Add(rows []*Point, yield func(*Point, *Delta)) (repeated int) {
	all := len(rows)
	s.at = moment{seen: s.seen, doubtful: s.state.Doubtful, start: s.state.Last.Start, end: s.state.Last.End}
	if all > 1 {
		slices.SortFunc(rows, func(a, b *Point) int {
			if c := a.compareContent(b); c != 0 {
				return c
			}
			return a.Source.compare(b.Source)
		})
		rows = slices.CompactFunc(rows, func(a, b *Point) bool { return a.compareContent(b) == 0 })
		for i := range rows[1:] {
			s.at.conflict = s.at.conflict || rows[i].Final == rows[i+1].Final
		}
	}
	s.pace(rows[0])
	for _, p := range rows {
		s.told = s.judge(p)
		yield(p, &s.told)
		s.keep(p)
		s.seen = true
	}
	s.state.Doubtful = s.at.conflict
	return all - len(rows)
}

// pace learns the collection interval of rows that do not tell their start. A
// distance that is longer than usual is a gap at first, and the usual one if the
// next is the same.
func (s *Series) pace(p *Point) {
	st := &s.state
	switch span := p.End - s.at.end; {
	case !s.seen:
		st.Step, st.Odd = 0, 0
	case p.Start != NoTime:
		st.Step, st.Odd = p.End-p.Start, 0
	case st.Step > 0 && tooLong(span, st.Step) && span != st.Odd:
		st.Odd = span
	default:
		st.Step, st.Odd = span, 0
	}
	s.at.step = st.Step
}

// tooLong reports whether a time span is longer than one and a half collection
// intervals.
func tooLong(span, interval int64) bool { return 2*span > 3*interval }

// gap returns the time without rows before the collection interval of p, 0 if
// there is none.
func (s *Series) gap(p *Point) int64 {
	interval := s.at.step
	if p.Start != NoTime {
		interval = p.End - p.Start
	}
	if span := p.End - s.at.end; s.at.seen && interval > 0 && tooLong(span, interval) {
		return span - interval
	}
	return 0
}

// backwards returns why the times of p do not go on from those before, None if
// they do.
func (s *Series) backwards(p *Point) Break {
	switch {
	case s.at.conflict, s.at.doubtful && p.Semantics == Cumulative:
		return ClockStep
	case !s.at.seen || p.Start == NoTime || p.Start >= s.at.end:
		return None
	case s.at.start != NoTime && p.Start < s.at.start:
		return ClockStep
	}
	return Overlap
}

// judge applies the rules to one row.
func (s *Series) judge(p *Point) Delta {
	d := Delta{From: NoTime}
	if p.Semantics == NotSaid {
		d.Break = Unknown
		return d
	}
	if d.Break = s.backwards(p); d.Break != None {
		return d
	}
	d.Gap = s.gap(p)
	if p.Semantics == PerInterval {
		d.Known, d.Values, d.From = true, p.Values, p.Start
		if d.Gap > 0 {
			d.Break = Gap
		}
		return d
	}
	return s.subtract(p, d)
}

// subtract applies the rules to a row with readings. d has what is known of its
// times.
func (s *Series) subtract(p *Point, d Delta) Delta {
	last := &s.state.Last
	from := s.at.end
	if !s.at.seen {
		from = p.Start
	}
	// The ordinal tells by itself that the object is younger than the row before.
	younger := p.Final > 1 || s.seen && last.End == p.End && last.Final > 0
	switch {
	case younger && from != NoTime:
		d.Break, d.Known, d.From, d.Values = Final, true, from, p.Values
	case !s.at.seen:
		d.Break = First
	case last.Semantics != Cumulative, last.Final == 0 && !last.sameFields(p):
		d.Break = ModeChange
	case last.Final > 0:
		d.Break = Final
		if !last.sameFields(p) {
			d.Break = ModeChange
		} else if anyFell(last, p) {
			d.Known, d.From, d.Values = true, from, p.Values
		}
	default:
		s.difference(p, &d)
	}
	return d
}

// anyFell reports whether a counter of b is below that of a.
func anyFell(a, b *Point) bool {
	for i, v := range b.Values {
		if v < a.Values[i] {
			return true
		}
	}
	return false
}

// difference subtracts the last row from p.
func (s *Series) difference(p *Point, d *Delta) {
	last := &s.state.Last
	span := p.End - last.End
	s.delta = append(s.delta[:0], p.Values...)
	why := None
	for i, a := range last.Values {
		if b := s.delta[i]; b >= a {
			s.delta[i] = b - a
			continue
		}
		var narrow uint64
		if s.Narrow != nil {
			narrow = s.Narrow[i]
		}
		n, w, ok := difference(a, s.delta[i], span, narrow)
		if !ok {
			d.Break = Reset
			return
		}
		s.delta[i] = n
		if why == None || w == Wrap32 {
			why = w
		}
	}
	if why == None && d.Gap > 0 {
		why = Gap
	}
	d.Break, d.Known, d.Values, d.From, d.Previous = why, true, s.delta, last.End, last.Source
}
