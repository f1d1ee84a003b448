package columns

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go/format"
)

// This file reads map columns. Few rows have an entry, so a page is decoded as a
// whole, and each different map becomes a text of the column.

// maxMapValues is how many entries a page of a map may have.
const maxMapValues = 8 * maxGroupRows

// mapPage is one page of the keys or the values of a map.
type mapPage struct {
	null       int // rows, if all are NULL; the levels are not decoded then
	reps, defs []int32
	plain      []byte
}

// openMap begins a map column.
func (c *cursor) openMap(f *File, g *group, leaf int) error {
	keys, values := &g.chunks[leaf], &g.chunks[leaf+1]
	if keys.dictAt != 0 || values.dictAt != 0 || keys.values != values.values {
		return damaged("map of %d keys and %d values", keys.values, values.values)
	}
	c.kind, c.entry = maps, map[string]int32{}
	c.pages.open(f, keys)
	c.values.open(f, values)
	if err := c.nextMapPage(); err != nil {
		return err
	}
	if len(c.texts) == 0 && c.page.rows == c.rows {
		c.kind = allNull
	}
	return nil
}

// nextMapPage decodes the next page into denseI: the text of each row, or -1.
func (c *cursor) nextMapPage() error {
	var keys, values mapPage
	if err := keys.read(&c.pages, c.r); err != nil {
		return err
	}
	if err := values.read(&c.values, c.r); err != nil {
		return err
	}
	if keys.null > 0 && keys.null == values.null && len(keys.plain)+len(values.plain) == 0 {
		if keys.null == c.rows { // nobody asks for the rows of a column that is all NULL
			c.page.rows, c.page.left = c.rows, 0
			return nil
		}
		c.denseI = grow(c.denseI, keys.null)
		fill(c.denseI, null)
		return c.beginRows(0)
	}
	if len(keys.defs) != len(values.defs) || len(keys.defs) == 0 || keys.reps[0] != 0 {
		return damaged("map page")
	}
	c.denseI = c.denseI[:0]
	var row []Pair
	for i, def := range keys.defs {
		if values.defs[i] != def || values.reps[i] != keys.reps[i] {
			return damaged("keys and values of a map differ")
		}
		switch {
		case def == 0 && keys.reps[i] == 0:
			c.denseI = append(c.denseI, -1)
			continue
		case def != 2 || keys.reps[i] == 1 && len(row) == 0:
			return damaged("map levels")
		}
		k, ok := keys.text()
		v, ok2 := values.text()
		if !ok || !ok2 {
			return damaged("map text")
		}
		row = append(row, Pair{k, v})
		if i+1 == len(keys.defs) || keys.reps[i+1] == 0 {
			c.denseI = append(c.denseI, c.entryOf(EncodePairs(row)))
			row = row[:0]
		}
	}
	return c.beginRows(len(keys.plain) + len(values.plain))
}

// beginRows takes the rows of denseI, if no bytes of the page are left over.
func (c *cursor) beginRows(over int) error {
	if over > 0 || len(c.denseI) > c.rows-c.done {
		return damaged("map page of %d rows", len(c.denseI))
	}
	c.page.rows, c.page.left = len(c.denseI), len(c.denseI)
	return nil
}

// entryOf returns the index of a text of the column.
func (c *cursor) entryOf(text string) int32 {
	id, ok := c.entry[text]
	if !ok {
		id = int32(len(c.texts))
		c.texts = append(c.texts, text)
		c.entry[text] = id
	}
	return id
}

// readMaps reads the next rows of a map column: indexes into texts, -1 is NULL.
func (c *cursor) readMaps(dst []int32) error {
	for len(dst) > 0 {
		if c.page.left == 0 {
			if err := c.nextMapPage(); err != nil {
				return err
			}
		}
		n := copy(dst, c.denseI[c.page.rows-c.page.left:])
		c.page.left -= n
		c.done += n
		dst = dst[n:]
	}
	return nil
}

// read decodes the levels of the next page.
func (m *mapPage) read(p *pages, r *pageReader) error {
	h, err := p.next(r)
	if err != nil {
		return err
	}
	n := int(h.values)
	if h.typ != format.DataPage || h.encoding != format.Plain || int64(n) > p.chunk.values {
		return damaged("map page of %d values in encoding %d", n, h.encoding)
	}
	reps, b, ok := cutLevels(p.data)
	defs, b, ok2 := cutLevels(b)
	if !ok || !ok2 || n == 0 || n > maxMapValues {
		return damaged("map levels")
	}
	var r1, r2 runReader
	r1.reset(reps, 1)
	r2.reset(defs, 2)
	m.plain = b
	if r1.allOf(n, 0) && r2.allOf(n, 0) {
		m.null = n
		return nil
	}
	m.reps, m.defs = make([]int32, n), make([]int32, n)
	if !r1.read(m.reps) || !r2.read(m.defs) {
		return damaged("map levels")
	}
	return nil
}

// text takes the next text.
func (m *mapPage) text() (string, bool) {
	if len(m.plain) < 4 {
		return "", false
	}
	n := binary.LittleEndian.Uint32(m.plain)
	if uint64(n) > uint64(len(m.plain)-4) {
		return "", false
	}
	s := string(m.plain[4 : 4+n])
	m.plain = m.plain[4+n:]
	return s, utf8.ValidString(s)
}
