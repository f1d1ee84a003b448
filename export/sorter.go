package export

import (
	"fmt"
	"slices"
	"strings"

	"acctpull/internal/columns"
)

// sorter puts the rows of one part in order and encodes them as a row group. Its
// buffers serve all parts.
type sorter struct {
	enc *columns.Encoder

	p       *part
	names   *names
	file    *columns.ChunkWriter
	refs    []uint32 // rows in order: segment << rowBits | row
	objs    []int32  // their objects
	ivals   []int32  // their intervals
	origs   []int32  // their origins
	extras  []uint32 // their extras, if any row has some
	ranks   []int32  // rank of each object, by id
	starts  []int32  // first row of each rank
	usedObj []int32  // distinct ids among the rows, in ascending order but for objects
	usedIv  []int32
	usedOr  []int32
	seen    []bool  // scratch: ids met
	ids     []int32 // scratch: text ids of a column
	entry   []int32 // scratch: dictionary index of each text id
	of      []int32 // scratch: dictionary index of each object, interval or origin
	idx     []int32 // scratch: dictionary index of each row
	ints    []int64 // scratch: value of each row
	numbers []int64
	strips  [][]*strip
	dict    columns.Dictionary
	pairs   columns.Entries
}

// rowBits is how many bits of a ref are the row: groupRows fit.
const rowBits = 17

// flush writes the rows of a part as one row group and drops them.
func (s *store) flush(p *part) error {
	if p.rows == 0 {
		return nil
	}
	if p.mark.input == s.input && slices.Contains(s.touched, p) {
		s.spilled = true
	}
	if p.out == nil {
		out, err := s.open(p)
		if err != nil {
			return err
		}
		out.file = columns.NewChunkWriter(out, p.ds.table.layout(), s.sorter.enc)
		p.out = out
	}
	if p.out.file.Groups() == columns.MaxGroups {
		return &Error{Op: "write output", Path: p.out.temp.Path(),
			Err: fmt.Errorf("it has %d row groups; export fewer files at once or with more memory", columns.MaxGroups)}
	}
	if err := s.sorter.write(p, s.names); err != nil {
		return err
	}
	s.release(p)
	return nil
}

// write sorts and encodes the rows of p.
func (t *sorter) write(p *part, n *names) error {
	t.p, t.names, t.file = p, n, p.out.file
	t.sort()
	p.out.note(t)
	t.file.BeginGroup(len(t.refs))
	for i := range p.ds.table.Columns {
		t.column(i)
	}
	return t.file.EndGroup()
}

// sort orders the rows by device, key columns, sub-record and interval end; rows
// equal in these stay in the order of arrival, segment by segment.
func (t *sorter) sort() {
	o := t.p.ds.objects
	t.ranks = grow(t.ranks, len(o.heads))
	clear(t.ranks)
	for _, g := range t.p.segments {
		g.eachRow(func(_ int, object, _ int64) { t.ranks[object>>32]++ })
	}
	// Turn the counts of rows into ranks and the first row of each rank.
	t.starts, t.usedObj = t.starts[:0], t.usedObj[:0]
	first, before := int32(0), int32(null)
	for _, id := range o.sorted() {
		count := t.ranks[id]
		if count == 0 {
			continue
		}
		if before < 0 || o.compare(before, id) != 0 {
			t.starts = append(t.starts, first)
		}
		t.ranks[id] = int32(len(t.starts) - 1)
		t.usedObj = append(t.usedObj, id)
		first, before = first+count, id
	}
	rows := int(first)
	t.refs = grow(t.refs, rows)
	at := slices.Clone(t.starts)
	for slot, g := range t.p.segments {
		g.eachRow(func(row int, object, _ int64) {
			r := t.ranks[object>>32]
			t.refs[at[r]] = uint32(slot)<<rowBits | uint32(row)
			at[r]++
		})
	}
	t.gatherMeta()
	t.sortTimes()
}

// eachRow calls yield with the meta columns of every row.
func (g *segment) eachRow(yield func(row int, object, origin int64)) {
	if g == nil {
		return
	}
	for b, s := range g.columns[rowObject] {
		from := b * stripRows
		origins := g.columns[rowOrigin][b]
		for i := range min(stripRows, g.rows-from) {
			yield(from+i, s[i], origins[i])
		}
	}
}

// gatherMeta fills objs, ivals, origs and extras in the order of refs.
func (t *sorter) gatherMeta() {
	rows := len(t.refs)
	t.objs, t.ivals, t.origs = grow(t.objs, rows), grow(t.ivals, rows), grow(t.origs, rows)
	t.extras = t.extras[:0]
	if len(t.p.extra) > 0 {
		t.extras = grow(t.extras, rows)
	}
	for i, ref := range t.refs {
		g, row := t.p.segments[ref>>rowBits], ref&(1<<rowBits-1)
		object := g.columns[rowObject][row/stripRows][row%stripRows]
		origin := g.columns[rowOrigin][row/stripRows][row%stripRows]
		t.objs[i], t.ivals[i], t.origs[i] = int32(object>>32), int32(object), int32(origin>>32)
		if len(t.extras) > 0 {
			t.extras[i] = uint32(origin)
		}
	}
	t.usedIv = t.distinct(t.usedIv, t.ivals, len(t.names.intervals))
	t.usedOr = t.distinct(t.usedOr, t.origs, len(t.names.origins))
}

// distinct returns the ids that occur, in ascending order.
func (t *sorter) distinct(dst, ids []int32, n int) []int32 {
	t.seen = grow(t.seen, n)
	clear(t.seen)
	last := int32(null)
	for _, id := range ids {
		if id != last {
			t.seen[id], last = true, id
		}
	}
	dst = dst[:0]
	for id, ok := range t.seen {
		if ok {
			dst = append(dst, int32(id))
		}
	}
	return dst
}

// sortTimes orders the rows of each rank by interval end. Files come in the
// order of time, so mostly there is nothing to do.
func (t *sorter) sortTimes() {
	end := func(i int) int64 { return t.names.intervals[t.ivals[i]].end }
	for r, from := range t.starts {
		to := len(t.refs)
		if r+1 < len(t.starts) {
			to = int(t.starts[r+1])
		}
		for i := int(from) + 1; i < to; i++ {
			if end(i) < end(i-1) {
				t.sortRange(int(from), to)
				break
			}
		}
	}
}

// sortRange sorts rows of one rank, keeping the order of equal ones.
func (t *sorter) sortRange(from, to int) {
	perm := make([]int, to-from)
	for i := range perm {
		perm[i] = from + i
	}
	slices.SortStableFunc(perm, func(a, b int) int {
		x, y := t.names.intervals[t.ivals[a]].end, t.names.intervals[t.ivals[b]].end
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	permute(t.refs, perm, from)
	permute(t.objs, perm, from)
	permute(t.ivals, perm, from)
	permute(t.origs, perm, from)
	if len(t.extras) > 0 {
		permute(t.extras, perm, from)
	}
}

// permute makes list[from+i] what list[perm[i]] was.
func permute[T any](list []T, perm []int, from int) {
	old := make([]T, len(perm))
	for i, at := range perm {
		old[i] = list[at]
	}
	copy(list[from:], old)
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// column encodes one column of the schema.
func (t *sorter) column(i int) {
	c := &t.p.ds.table.Columns[i]
	o, n := t.p.ds.objects, t.names
	if k := slices.Index(t.p.ds.keys, i); k >= 0 {
		if c.Type == Int64 {
			t.numberColumn(t.usedObj, t.objs, len(o.heads), func(id int32) int64 {
				if v := o.key(id)[k]; v >= 0 {
					return n.numbers.list[v]
				}
				return null
			}, null)
		} else {
			t.textColumn(t.usedObj, t.objs, len(o.heads), func(id int32) int32 { return o.key(id)[k] })
		}
		return
	}
	if c.Role != "common" {
		t.cellColumn(i)
		return
	}
	fromObject := func(text func(id int32) int32) { t.textColumn(t.usedObj, t.objs, len(o.heads), text) }
	fromOrigin := func(text func(o *origin) int32) {
		t.textColumn(t.usedOr, t.origs, len(n.origins), func(id int32) int32 { return text(&n.origins[id]) })
	}
	numberOfOrigin := func(number func(o *origin) int32) {
		t.int32Column(func(id int32) int32 { return number(&n.origins[id]) })
	}
	switch c.Name {
	case colDevice:
		fromObject(func(id int32) int32 { return o.device(id) })
	case colSub:
		fromObject(func(id int32) int32 { return n.labels[o.heads[id].label].sub })
	case colScope:
		fromObject(func(id int32) int32 { return n.labels[o.heads[id].label].scope })
	case colCounterMode:
		fromObject(func(id int32) int32 { return n.labels[o.heads[id].label].mode })
	case colSemantics:
		fromOrigin(func(o *origin) int32 { return o.semantics })
	case colSourceFile:
		fromOrigin(func(o *origin) int32 { return o.file })
	case colSourceSum:
		fromOrigin(func(o *origin) int32 { return o.sum })
	case colPolicy:
		numberOfOrigin(func(o *origin) int32 { return o.policy })
	case colFileID:
		numberOfOrigin(func(o *origin) int32 { return o.fileID })
	case colFinal:
		numberOfOrigin(func(o *origin) int32 { return o.final })
	case colStart:
		t.numberColumn(t.usedIv, t.ivals, len(n.intervals), func(id int32) int64 { return n.intervals[id].start }, noStart)
	case colEnd:
		t.numberColumn(t.usedIv, t.ivals, len(n.intervals), func(id int32) int64 { return n.intervals[id].end }, noStart)
	case colOverflow:
		t.mapColumn(extraOverflow)
	case colUnknown:
		t.mapColumn(extraUnknown)
	default:
		panic("no column " + c.Name) // a test writes every schema
	}
}

// textColumn encodes a column whose text follows from an object, interval or
// origin: used are the ids that occur, rows those of each row, n bounds the ids.
func (t *sorter) textColumn(used, rows []int32, n int, text func(id int32) int32) {
	t.textDictionary(func(yield func(int32)) {
		for _, id := range used {
			yield(text(id))
		}
	})
	t.of = grow(t.of, n)
	nulls := false
	for _, id := range used {
		if x := text(id); x >= 0 {
			t.of[id] = t.entry[x]
		} else {
			t.of[id], nulls = null, true
		}
	}
	t.emit(rows, nulls)
}

// textDictionary makes the dictionary of the texts that each yields, and entry
// their indexes. Null is skipped.
func (t *sorter) textDictionary(each func(yield func(id int32))) {
	t.seen = grow(t.seen, len(t.names.texts.list))
	clear(t.seen)
	t.ids = t.ids[:0]
	each(func(id int32) {
		if id >= 0 && !t.seen[id] {
			t.seen[id] = true
			t.ids = append(t.ids, id)
		}
	})
	texts := t.names.texts.list
	slices.SortFunc(t.ids, func(a, b int32) int { return strings.Compare(texts[a], texts[b]) })
	t.entry = grow(t.entry, len(texts))
	t.dict.Reset(true)
	for i, id := range t.ids {
		t.entry[id] = int32(i)
		t.dict.AddText(texts[id])
	}
}

// numberColumn is textColumn for numbers of 64 bits; none stands for NULL.
func (t *sorter) numberColumn(used, rows []int32, n int, number func(id int32) int64, none int64) {
	nulls := t.numberList(used, number, none)
	t.dict.Reset(false)
	for _, v := range t.numbers {
		t.dict.AddInt64(v)
	}
	t.numberIndexes(used, n, number, none)
	t.emit(rows, nulls)
}

// int32Column is numberColumn for numbers of 32 bits of an origin.
func (t *sorter) int32Column(number func(id int32) int32) {
	wide := func(id int32) int64 { return int64(number(id)) }
	nulls := t.numberList(t.usedOr, wide, null)
	t.dict.Reset(false)
	for _, v := range t.numbers {
		t.dict.AddInt32(int32(v))
	}
	t.numberIndexes(t.usedOr, len(t.names.origins), wide, null)
	t.emit(t.origs, nulls)
}

// numberList makes numbers the distinct values, sorted, and reports NULLs.
func (t *sorter) numberList(used []int32, number func(id int32) int64, none int64) (nulls bool) {
	t.numbers = t.numbers[:0]
	for _, id := range used {
		if v := number(id); v != none {
			t.numbers = append(t.numbers, v)
		} else {
			nulls = true
		}
	}
	slices.Sort(t.numbers)
	t.numbers = slices.Compact(t.numbers)
	return nulls
}

// numberIndexes makes of the index of each id's number.
func (t *sorter) numberIndexes(used []int32, n int, number func(id int32) int64, none int64) {
	t.of = grow(t.of, n)
	for _, id := range used {
		t.of[id] = null
		if v := number(id); v != none {
			i, _ := slices.BinarySearch(t.numbers, v)
			t.of[id] = int32(i)
		}
	}
}

// emit writes a column chunk from the dictionary and of.
func (t *sorter) emit(rows []int32, nulls bool) {
	switch {
	case t.dict.Len() == 0:
		t.file.Null(len(rows))
		return
	case t.dict.Len() == 1 && !nulls:
		t.file.Constant(len(rows), t.dict.Plain(), t.dict.Bound(0))
		return
	}
	t.idx = grow(t.idx, len(rows))
	for i, id := range rows {
		t.idx[i] = t.of[id]
	}
	t.file.Indexed(&t.dict, t.idx)
}

// cellColumn encodes a counter or an info.
func (t *sorter) cellColumn(column int) {
	if !t.gather(column) {
		t.file.Null(len(t.refs))
		return
	}
	if t.p.ds.table.Columns[column].Type == Int64 {
		t.file.Integers(t.ints)
		return
	}
	t.textDictionary(func(yield func(int32)) {
		for _, v := range t.ints {
			yield(int32(v))
		}
	})
	nulls := false
	t.idx = grow(t.idx, len(t.ints))
	for i, v := range t.ints {
		t.idx[i] = null
		if v >= 0 {
			t.idx[i] = t.entry[v]
		}
		nulls = nulls || v < 0
	}
	switch {
	case t.dict.Len() == 0:
		t.file.Null(len(t.idx))
	case t.dict.Len() == 1 && !nulls:
		t.file.Constant(len(t.idx), t.dict.Plain(), t.dict.Bound(0))
	default:
		t.file.Indexed(&t.dict, t.idx)
	}
}

// gather makes ints the values of a column in the order of the rows. It reports
// false if no segment has the column.
func (t *sorter) gather(column int) bool {
	t.strips = t.strips[:0]
	found := false
	var only []*strip
	segments := 0
	for _, g := range t.p.segments {
		var strips []*strip
		if g != nil && g.rows > 0 {
			segments++
			if i := slices.IndexFunc(g.shape.cells, func(c cell) bool { return c.column == column }); i >= 0 {
				strips, only, found = g.columns[rowColumns+i], g.columns[rowColumns+i], true
			}
		}
		t.strips = append(t.strips, strips)
	}
	if !found {
		return false
	}
	t.ints = grow(t.ints, len(t.refs))
	if segments == 1 {
		for i, ref := range t.refs {
			row := ref & (1<<rowBits - 1)
			t.ints[i] = only[row/stripRows][row%stripRows]
		}
		return true
	}
	for i, ref := range t.refs {
		v := int64(null)
		if s := t.strips[ref>>rowBits]; s != nil {
			row := ref & (1<<rowBits - 1)
			v = s[row/stripRows][row%stripRows]
		}
		t.ints[i] = v
	}
	return true
}

// mapColumn encodes one of the map columns.
func (t *sorter) mapColumn(kind byte) {
	m := &t.pairs
	m.Counts, m.Keys, m.Values = m.Counts[:0], m.Keys[:0], m.Values[:0]
	for i := range t.extras {
		before := len(m.Keys)
		t.p.eachExtra(t.extras[i], kind, func(name int32, text []byte) {
			m.Keys = append(m.Keys, t.names.texts.list[name])
			m.Values = append(m.Values, string(text))
		})
		m.Counts = append(m.Counts, int32(len(m.Keys)-before))
	}
	if len(m.Keys) == 0 {
		t.file.Null(len(t.refs))
		t.file.Null(len(t.refs))
		return
	}
	t.file.Maps(m)
	clear(m.Keys)
	clear(m.Values)
}
