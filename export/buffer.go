package export

// stripRows is how many values a strip holds: one column of a block of rows.
const stripRows = 512

// strip is the unit in which the sort buffer takes memory.
type strip [stripRows]int64

// stripBytes is what a strip costs. Strips lie a cache line further apart than
// their size, so that the strips of a row do not all fall into one cache set.
const stripBytes = (stripRows + 8) * 8

// slabStrips is how many strips are allocated at once.
const slabStrips = 64

// pool hands out strips and takes them back. It never returns memory, so what
// it holds is what was in use at the worst moment.
type pool struct {
	free []*strip
	used int
}

func (p *pool) get() *strip {
	if len(p.free) == 0 {
		slab := make([]int64, slabStrips*stripBytes/8)
		for i := slabStrips - 1; i >= 0; i-- {
			p.free = append(p.free, (*strip)(slab[i*stripBytes/8:]))
		}
	}
	s := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.used++
	return s
}

func (p *pool) put(s *strip) {
	p.free = append(p.free, s)
	p.used--
}

// The first two columns of every segment.
const (
	rowObject = iota // object id << 32 | interval id
	rowOrigin        // origin id << 32 | position of the extras + 1, or 0
	rowColumns
)

func pack(hi int32, lo uint32) int64 { return int64(hi)<<32 | int64(lo) }

// segment holds the rows of one shape in one part, column by column, in order of
// arrival: the two meta columns, then the cells of the shape.
type segment struct {
	shape   *shape
	columns [][]*strip
	tail    []*strip // the last strip of each column
	rows    int
}

func newSegment(s *shape) *segment {
	n := rowColumns + len(s.cells)
	return &segment{shape: s, columns: make([][]*strip, n), tail: make([]*strip, n)}
}

// next makes room for one row and returns its place in the tail strips.
func (g *segment) next(p *pool) int {
	at := g.rows % stripRows
	if at == 0 {
		for i := range g.columns {
			g.tail[i] = p.get()
			g.columns[i] = append(g.columns[i], g.tail[i])
		}
	}
	g.rows++
	return at
}

// truncate drops all rows but the first n.
func (g *segment) truncate(n int, p *pool) {
	keep := (n + stripRows - 1) / stripRows
	for i, c := range g.columns {
		for _, s := range c[keep:] {
			p.put(s)
		}
		clear(c[keep:])
		g.columns[i] = c[:keep]
		if keep > 0 {
			g.tail[i] = c[keep-1]
		}
	}
	g.rows = n
}
