package columns

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// pageReader reads pages. Its buffer serves many columns in turn.
type pageReader struct {
	zstd      *zstd.Decoder
	buf       []byte
	unchecked bool // checksums are not looked at: a fuzz target wants to get past them
}

func newPageReader() (*pageReader, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPage),
		zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true), zstd.IgnoreChecksum(true))
	return &pageReader{zstd: z}, err
}

// pageHeader is what stands before a page.
type pageHeader struct {
	typ          format.PageType
	size, packed int32
	crc          uint32
	hasCRC       bool
	values       int32
	encoding     format.Encoding
}

func (r *fields) pageHeader() (h pageHeader) {
	h.typ = -1
	of := func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tI32:
			h.values = r.int32()
		case id == 2 && typ == tI32:
			h.encoding = format.Encoding(r.int32())
		default:
			return false
		}
		return true
	}
	r.each(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tI32:
			h.typ = format.PageType(r.int32())
		case id == 2 && typ == tI32:
			h.size = r.int32()
		case id == 3 && typ == tI32:
			h.packed = r.int32()
		case id == 4 && typ == tI32:
			h.crc, h.hasCRC = uint32(r.int32()), true
		case (id == 5 || id == 7) && typ == tStruct:
			r.each(of)
		default:
			return false
		}
		return true
	})
	return h
}

// readAhead is how much of a column chunk is read at once, and headerRoom more
// than the header of a page takes.
const (
	readAhead  = 16 << 10
	headerRoom = 512
)

// pages reads the pages of a column chunk one after the other.
type pages struct {
	f       *File
	chunk   *chunkMeta
	at, end int64  // what of the chunk was not read
	ahead   []byte // read and not used yet
	data    []byte // of the current page; pad bytes follow
}

func (p *pages) open(f *File, c *chunkMeta) {
	p.f, p.chunk, p.at, p.end, p.ahead = f, c, c.start(), c.start()+c.packed, p.ahead[:0]
}

// more makes buf at least n bytes, if the chunk has as many.
func (p *pages) more(buf []byte, n int) ([]byte, error) {
	have := len(buf)
	if have >= n || p.at == p.end {
		return buf, nil
	}
	want := int(min(int64(max(n-have, readAhead)), p.end-p.at))
	buf = slices.Grow(buf, want)[:have+want]
	if err := readAt(p.f.r, buf[have:], p.at); err != nil {
		return buf[:have], err
	}
	p.at += int64(want)
	return buf, nil
}

// next reads the next page into data.
func (p *pages) next(r *pageReader) (pageHeader, error) {
	buf, err := p.more(append(r.buf[:0], p.ahead...), headerRoom)
	r.buf = buf
	switch {
	case err != nil:
		return pageHeader{}, err
	case len(buf) == 0:
		return pageHeader{}, damaged("a page is missing")
	}
	in := &fields{b: buf}
	h := in.pageHeader()
	switch {
	case in.err != nil:
		return h, damaged("page header")
	case h.size < 0 || h.size > maxPage || h.packed < 0 || int64(h.packed) > p.end-p.at+int64(len(buf)-in.at) || h.values < 0:
		return h, damaged("page of %d bytes with %d values", h.size, h.values)
	}
	end := in.at + int(h.packed)
	if buf, err = p.more(buf, end); err != nil {
		return h, err
	}
	r.buf = buf
	packed := buf[in.at:end]
	if !r.unchecked && (!h.hasCRC || crc32.ChecksumIEEE(packed) != h.crc) {
		return h, damaged("page checksum")
	}
	if cap(p.data) < int(h.size)+pad {
		p.data = make([]byte, int(h.size)+pad)
	}
	data, err := r.zstd.DecodeAll(packed, p.data[:0:h.size])
	if err != nil || len(data) != int(h.size) {
		return h, damaged("compressed page")
	}
	p.data = p.data[:h.size]
	p.ahead = append(p.ahead[:0], buf[end:]...)
	return h, nil
}

// cursorKind is how a column chunk holds its values.
type cursorKind uint8

const (
	allNull  cursorKind = iota
	constant            // one value, no NULL
	indexes             // into a dictionary
	numbers             // DELTA_BINARY_PACKED
	maps                // two leaves of PLAIN text
)

// cursor reads one column of one row group, a few rows at a time. Dictionaries
// are read by open, and a chunk of one page that is constant is known by it.
type cursor struct {
	r      *pageReader
	column Column
	leaf   leaf
	kind   cursorKind
	rows   int // of the group
	done   int // rows read
	pages  pages
	values pages // of the values of a map
	texts  []string
	ints   []int64
	size   int // of the dictionary
	width  uint
	page   struct {
		rows, left int
		valid      bool // no NULL
		null       bool // all NULL
		levels     runReader
		idx        runReader
		delta      deltaReader
	}
	levels []int32
	dense  []int64
	denseI []int32
	entry  map[string]int32 // maps: text of the rows so far
}

// open begins a column of a row group: its dictionary and first page are read.
func (c *cursor) open(r *pageReader, f *File, g *group, column int) error {
	at := f.firstLeaf[column]
	c.r, c.column, c.leaf, c.rows, c.done = r, f.schema.Columns[column], f.leaves[at], g.rows, 0
	c.texts, c.ints, c.size = nil, c.ints[:0], 0 // texts may be in use still
	c.kind = allNull
	c.page.left, c.page.rows = 0, 0
	if g.rows == 0 {
		return nil
	}
	if c.column.Type == Map {
		return c.openMap(f, g, at)
	}
	chunk := &g.chunks[at]
	c.pages.open(f, chunk)
	if chunk.dictAt != 0 {
		if err := c.dictionary(); err != nil {
			return err
		}
	}
	return c.first()
}

// first reads the first page and finds out what kind of column it is.
func (c *cursor) first() error {
	h, err := c.nextPage()
	if err != nil {
		return err
	}
	switch {
	case h.encoding == format.Plain:
		if c.page.rows != c.rows {
			return damaged("NULL in %d of %d rows", c.page.rows, c.rows)
		}
		c.kind = allNull
	case h.encoding == format.DeltaBinaryPacked:
		c.kind = numbers
	case h.encoding == format.RLEDictionary && c.size == 1 && c.page.rows == c.rows && c.page.valid && c.page.idx.allOf(c.rows, 0):
		c.kind = constant
	default:
		c.kind = indexes
	}
	return nil
}

// dictionary reads the dictionary page.
func (c *cursor) dictionary() error {
	h, err := c.pages.next(c.r)
	if err != nil {
		return err
	}
	if h.typ != format.DictionaryPage || h.encoding != format.Plain || h.values == 0 || int(h.values) > c.rows {
		return damaged("dictionary page")
	}
	b, n := c.pages.data, int(h.values)
	switch c.leaf.typ {
	case format.ByteArray:
		return c.textDictionary(b, n)
	case format.Int32:
		for ; len(b) >= 4; b = b[4:] {
			c.ints = append(c.ints, int64(int32(binary.LittleEndian.Uint32(b))))
		}
	default:
		for ; len(b) >= 8; b = b[8:] {
			c.ints = append(c.ints, int64(binary.LittleEndian.Uint64(b)))
		}
	}
	if len(b) != 0 || len(c.ints) != n {
		return damaged("dictionary of %d values", n)
	}
	c.size, c.width = n, uint(indexWidth(n))
	return nil
}

func (c *cursor) textDictionary(b []byte, n int) error {
	all := string(b)
	c.texts = make([]string, 0, min(n, len(b)/4))
	for at := 0; at < len(all); {
		if len(all)-at < 4 {
			return damaged("dictionary of %d values", n)
		}
		size := int(binary.LittleEndian.Uint32(b[at:]))
		at += 4
		if size > len(all)-at {
			return damaged("dictionary of %d values", n)
		}
		c.texts = append(c.texts, all[at:at+size])
		at += size
	}
	if len(c.texts) != n || !utf8.ValidString(all) && !validTexts(c.texts) {
		return damaged("dictionary of %d values", n)
	}
	c.size, c.width = n, uint(indexWidth(n))
	return nil
}

func validTexts(texts []string) bool {
	for _, t := range texts {
		if !utf8.ValidString(t) {
			return false
		}
	}
	return true
}

// nextPage begins the next data page.
func (c *cursor) nextPage() (pageHeader, error) {
	h, err := c.pages.next(c.r)
	if err != nil {
		return h, err
	}
	n, p := int(h.values), &c.page
	if h.typ != format.DataPage || n == 0 || n > c.rows-c.done {
		return h, damaged("data page of %d values", n)
	}
	p.rows, p.left, p.valid, p.null = n, n, true, false
	b := c.pages.data
	if c.leaf.nullable {
		levels, rest, ok := cutLevels(b)
		if !ok {
			return h, damaged("levels")
		}
		b = rest
		p.levels.reset(levels, 1)
		p.valid = p.levels.allOf(n, 1)
		p.null = p.levels.allOf(n, 0)
	}
	return h, c.pageValues(h, b)
}

// pageValues begins the values of a data page.
func (c *cursor) pageValues(h pageHeader, b []byte) error {
	p := &c.page
	bad := func() error { return damaged("data page of %d values in encoding %d", h.values, h.encoding) }
	switch h.encoding {
	case format.Plain:
		if !p.null || len(b) != 0 {
			return bad()
		}
	case format.RLEDictionary:
		if len(b) == 0 || c.size == 0 || uint(b[0]) != c.width {
			return bad()
		}
		p.idx.reset(b[1:], c.width)
	case format.DeltaBinaryPacked:
		if c.leaf.typ != format.Int64 {
			return bad()
		}
		if p.null {
			return nil
		}
		n := p.rows
		if !p.valid {
			n = c.countValid()
		}
		if n < 0 || !p.delta.reset(b, n) {
			return bad()
		}
	default:
		return bad()
	}
	return nil
}

// countValid counts the values of a page that are there, -1 if it cannot.
func (c *cursor) countValid() int {
	levels, n := c.page.levels, 0
	c.levels = grow(c.levels, c.page.rows)
	if !levels.read(c.levels) {
		return -1
	}
	for _, l := range c.levels {
		n += int(l)
	}
	return n
}

// cutLevels takes levels with their length in front from a page.
func cutLevels(b []byte) (levels, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// window readies the next rows of the page and returns how many of dst's n
// there are.
func (c *cursor) window(n int) (int, error) {
	if c.page.left == 0 {
		h, err := c.nextPage()
		if err != nil {
			return 0, err
		}
		if (h.encoding == format.DeltaBinaryPacked) != (c.kind == numbers) {
			return 0, damaged("data page in encoding %d", h.encoding)
		}
	}
	n = min(n, c.page.left)
	c.page.left -= n
	c.done += n
	return n, nil
}

// present reads the levels of the next rows of a page that has both values and
// NULL, and counts the values. ok is false if the page is damaged.
func (c *cursor) present(n int) (valid int, ok bool) {
	c.levels = grow(c.levels, n)
	ok = c.page.levels.read(c.levels)
	for _, l := range c.levels {
		valid += int(l)
	}
	return valid, ok
}

// readInts reads the next rows of a numbers column. Null is what of them is
// NULL; it reports whether any is.
func (c *cursor) readInts(dst []int64, null []bool) (nulls bool, err error) {
	for len(dst) > 0 {
		n, err := c.window(len(dst))
		if err != nil {
			return nulls, err
		}
		ok := true
		switch p := &c.page; {
		case p.null:
			clear(dst[:n])
			fill(null[:n], true)
			nulls = true
		case p.valid:
			ok = p.delta.read(dst[:n])
			clear(null[:n])
		default:
			var valid int
			valid, ok = c.present(n)
			c.dense = grow(c.dense, valid)
			ok = ok && p.delta.read(c.dense)
			at := 0
			for i := 0; i < n && ok; i++ {
				null[i] = c.levels[i] == 0
				dst[i] = 0
				if !null[i] {
					dst[i] = c.dense[at]
					at++
				}
			}
			nulls = nulls || valid < n
		}
		if !ok {
			return nulls, damaged("numbers")
		}
		dst, null = dst[n:], null[n:]
	}
	return nulls, nil
}

// readIndexes reads the next rows of an indexes column; -1 is NULL.
func (c *cursor) readIndexes(dst []int32) error {
	for len(dst) > 0 {
		n, err := c.window(len(dst))
		if err != nil {
			return err
		}
		ok, p := true, &c.page
		switch {
		case p.null:
			fill(dst[:n], -1)
		case p.valid:
			ok = p.idx.read(dst[:n])
		default:
			var valid int
			valid, ok = c.present(n)
			c.denseI = grow(c.denseI, valid)
			ok = ok && p.idx.read(c.denseI)
			at := 0
			for i := 0; i < n && ok; i++ {
				dst[i] = -1
				if c.levels[i] != 0 {
					dst[i] = c.denseI[at]
					at++
				}
			}
		}
		highest := int32(-1)
		for _, v := range dst[:n] {
			highest = max(highest, v)
		}
		if !ok || int(highest) >= c.size {
			return damaged("dictionary indexes")
		}
		dst = dst[n:]
	}
	return nil
}
