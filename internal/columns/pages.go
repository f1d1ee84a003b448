package columns

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// pageRows is how many rows a data page holds. A page of counters is then at
// most 128 KiB before compression, which zstd encodes as one block without
// history, and a reader that looks for one object skips most pages by their
// bounds.
const pageRows = 15_360

// maxBound is the longest minimum or maximum that is written; a column chunk
// with a longer one goes without.
const maxBound = 128

// Encoder holds the encoders and buffers that several files can share. One
// goroutine may use it at a time.
type Encoder struct {
	zstd   *zstd.Encoder // for text
	fast   *zstd.Encoder // for packed numbers, from which entropy coding gains nothing
	delta  delta.BinaryPackedEncoding
	out    []byte // what is not written yet
	page   []byte // a page before compression
	packed []byte // the same after it
	values []byte // encoded values of a page
	levels []byte // definition or repetition levels, one byte each
	dense  []int64
	denseI []int32
	pages  []pageStats
	header bytes.Buffer
	thrift *thrift.Encoder
}

// NewEncoder returns an Encoder. An error means that the compressor refuses its
// settings.
func NewEncoder() (*Encoder, error) {
	e := &Encoder{}
	for _, z := range []struct {
		enc       **zstd.Encoder
		noEntropy bool
	}{{&e.zstd, false}, {&e.fast, true}} {
		var err error
		*z.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithNoEntropyCompression(z.noEntropy),
			zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false),
			zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
	}
	e.thrift = thrift.NewEncoder(new(thrift.CompactProtocol).NewWriter(&e.header))
	return e, nil
}

// marshal returns the Thrift form of v, valid until the next call.
func (e *Encoder) marshal(v any) []byte {
	e.header.Reset()
	if err := e.thrift.Encode(v); err != nil {
		panic("encode parquet metadata: " + err.Error()) // a bytes.Buffer takes everything
	}
	return e.header.Bytes()
}

// pageStats is what a page tells of its values.
type pageStats struct {
	rows, values int // values with NULLs
	nulls        int
	min, max     []byte // PLAIN form; nil if all values are NULL or the leaf has no bounds
}

// chunk is a column chunk being written.
type chunk struct {
	f        *ChunkWriter
	meta     format.ColumnMetaData
	index    chunkIndex
	leaf     *leaf
	encoding format.Encoding // of the values in the data pages
	nulls    int64
	pages    int32
	firstRow int64
	min, max []byte
	wide     bool // a bound was longer than maxBound
}

// beginChunk begins the column chunk of the next leaf.
func (f *ChunkWriter) beginChunk(enc format.Encoding) *chunk {
	l := &f.leaves[len(f.groups[len(f.groups)-1].Columns)]
	c := &chunk{f: f, leaf: l, encoding: enc}
	// The codec is always the same: some readers (parquet-go among them) take
	// that of the first row group for all.
	c.meta = format.ColumnMetaData{Type: l.typ, PathInSchema: l.path, Codec: format.Zstd, Encoding: []format.Encoding{enc, format.RLE}}
	if enc == format.RLEDictionary {
		c.meta.Encoding = append(c.meta.Encoding, format.Plain)
	}
	return c
}

// end adds the chunk to the row group.
func (c *chunk) end() {
	f := c.f
	g := len(f.groups) - 1
	c.meta.Statistics.NullCount = c.nulls
	c.index.bounded = !c.wide && !c.leaf.mapped
	if !c.wide {
		c.meta.Statistics.MinValue, c.meta.Statistics.MaxValue = c.min, c.max
	}
	c.meta.EncodingStats = append(c.meta.EncodingStats, format.PageEncodingStats{PageType: format.DataPage, Encoding: c.encoding, Count: c.pages})
	f.groups[g].Columns = append(f.groups[g].Columns, format.ColumnChunk{MetaData: c.meta})
	f.indexes[g] = append(f.indexes[g], c.index)
}

// dictionary writes the dictionary page.
func (c *chunk) dictionary(plain []byte, n int) {
	c.meta.DictionaryPageOffset = c.f.pos
	c.meta.EncodingStats = append(c.meta.EncodingStats, format.PageEncodingStats{PageType: format.DictionaryPage, Encoding: format.Plain, Count: 1})
	c.put(format.PageHeader{
		Type:                 format.DictionaryPage,
		DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: int32(n), Encoding: format.Plain, IsSorted: true}),
	}, plain)
}

// data writes a data page.
func (c *chunk) data(page []byte, s pageStats) {
	if c.pages == 0 {
		c.meta.DataPageOffset = c.f.pos
	}
	at := c.f.pos
	c.put(format.PageHeader{
		Type: format.DataPage,
		DataPageHeader: thrift.New(format.DataPageHeader{
			NumValues: int32(s.values), Encoding: c.encoding, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
			Statistics: format.Statistics{NullCount: int64(s.nulls)},
		}),
	}, page)
	c.meta.NumValues += int64(s.values)
	c.nulls += int64(s.nulls)
	c.pages++
	c.bounds(s)
	x := &c.index
	x.columns.NullPages = append(x.columns.NullPages, s.nulls == s.values)
	x.columns.NullCounts = append(x.columns.NullCounts, int64(s.nulls))
	x.columns.MinValues = append(x.columns.MinValues, s.min)
	x.columns.MaxValues = append(x.columns.MaxValues, s.max)
	x.offsets.PageLocations = append(x.offsets.PageLocations, format.PageLocation{
		Offset: at, CompressedPageSize: int32(c.f.pos - at), FirstRowIndex: c.firstRow,
	})
	c.firstRow += int64(s.rows)
}

// bounds widens the bounds of the chunk by those of a page.
func (c *chunk) bounds(s pageStats) {
	if s.min == nil {
		return
	}
	if len(s.min) > maxBound || len(s.max) > maxBound {
		c.wide = true
		return
	}
	if c.min == nil || c.leaf.less(s.min, c.min) {
		c.min = s.min
	}
	if c.max == nil || c.leaf.less(c.max, s.max) {
		c.max = s.max
	}
}

// less orders two values in PLAIN form as the type defines.
func (l *leaf) less(a, b []byte) bool {
	switch l.typ {
	case format.Int32:
		return int32(binary.LittleEndian.Uint32(a)) < int32(binary.LittleEndian.Uint32(b))
	case format.Int64:
		return int64(binary.LittleEndian.Uint64(a)) < int64(binary.LittleEndian.Uint64(b))
	}
	return bytes.Compare(a, b) < 0
}

// put compresses and writes one page with its header.
func (c *chunk) put(h format.PageHeader, page []byte) {
	e := c.f.enc
	h.UncompressedPageSize = int32(len(page))
	z := e.zstd
	if h.Type == format.DataPage && c.encoding != format.Plain {
		z = e.fast
	}
	e.packed = z.EncodeAll(page, e.packed[:0])
	page = e.packed
	h.CompressedPageSize = int32(len(page))
	h.CRC = int32(crc32.ChecksumIEEE(page))
	header := e.marshal(&h)
	c.meta.TotalUncompressedSize += int64(len(header)) + int64(h.UncompressedPageSize)
	c.meta.TotalCompressedSize += int64(len(header)) + int64(h.CompressedPageSize)
	c.f.write(header)
	c.f.write(page)
}

// appendRun appends a run of n equal levels in the RLE encoding of levels up to
// three, with the length in front, as a data page of version 1 has it.
func appendRun(dst []byte, n int, level byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(n)<<1)
	dst = append(dst, level)
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// appendLevels appends levels in RLE encoding with the length in front.
func appendLevels(dst, levels []byte, width int) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	enc := rle.Encoding{BitWidth: width}
	packed, err := enc.EncodeLevels(dst[len(dst):], levels)
	if err != nil {
		panic("encode levels: " + err.Error()) // only a bad width can fail
	}
	dst = append(dst, packed...) // in place unless the encoder had to grow it
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// Null writes a column chunk of rows NULLs for the next leaf.
func (f *ChunkWriter) Null(rows int) {
	c := f.beginChunk(format.Plain)
	page := f.enc.page[:0]
	if c.leaf.mapped {
		page = appendRun(page, rows, 0)
	}
	page = appendRun(page, rows, 0)
	f.enc.page = page
	c.data(page, pageStats{rows: rows, values: rows, nulls: rows})
	c.end()
}

// Constant writes a column chunk of rows times the same value for the next leaf:
// a dictionary of one entry and one run. Value is the PLAIN form, bound the same
// without the length of a string.
func (f *ChunkWriter) Constant(rows int, value, bound []byte) {
	c := f.beginChunk(format.RLEDictionary)
	c.dictionary(value, 1)
	page := f.enc.page[:0]
	if c.leaf.nullable {
		page = appendRun(page, rows, 1)
	}
	page = append(page, 1) // bits per index
	page = binary.AppendUvarint(page, uint64(rows)<<1)
	page = append(page, 0)
	f.enc.page = page
	c.data(page, pageStats{rows: rows, values: rows, min: bound, max: bound})
	c.end()
}

// Dictionary is the values of a column chunk, each once and in ascending order.
type Dictionary struct {
	plain []byte
	ends  []int // end of the i-th value in plain
	text  bool  // values are strings, with their length in front
}

// Reset makes it the empty dictionary of strings, if text is set, or numbers.
func (d *Dictionary) Reset(text bool) {
	d.plain, d.ends, d.text = d.plain[:0], d.ends[:0], text
}

// Len returns the number of values.
func (d *Dictionary) Len() int { return len(d.ends) }

// Plain returns all values in PLAIN form, valid until the next change.
func (d *Dictionary) Plain() []byte { return d.plain }

// AddText adds a string. It has to be above those that are there.
func (d *Dictionary) AddText(s string) {
	d.plain = binary.LittleEndian.AppendUint32(d.plain, uint32(len(s)))
	d.plain = append(d.plain, s...)
	d.ends = append(d.ends, len(d.plain))
}

// AddInt64 adds a number of 64 bits. It has to be above those that are there.
func (d *Dictionary) AddInt64(v int64) {
	d.plain = binary.LittleEndian.AppendUint64(d.plain, uint64(v))
	d.ends = append(d.ends, len(d.plain))
}

// AddInt32 adds a number of 32 bits. It has to be above those that are there.
func (d *Dictionary) AddInt32(v int32) {
	d.plain = binary.LittleEndian.AppendUint32(d.plain, uint32(v))
	d.ends = append(d.ends, len(d.plain))
}

// Bound returns a copy of the i-th value without the length of a string.
func (d *Dictionary) Bound(i int) []byte {
	from := 0
	if i > 0 {
		from = d.ends[i-1]
	}
	if d.text {
		from += 4
	}
	return bytes.Clone(d.plain[from:d.ends[i]])
}

// Indexed writes a column chunk of indexes into a dictionary for the next leaf;
// -1 is NULL. Chunks of one value or none take the cheap forms.
func (f *ChunkWriter) Indexed(d *Dictionary, idx []int32) {
	c := f.beginChunk(format.RLEDictionary)
	c.dictionary(d.plain, len(d.ends))
	width := max(1, bits.Len(uint(len(d.ends)-1)))
	for from := 0; from < len(idx); from += pageRows {
		f.indexPage(c, d, idx[from:min(from+pageRows, len(idx))], width)
	}
	c.end()
}

func (f *ChunkWriter) indexPage(c *chunk, d *Dictionary, idx []int32, width int) {
	e := f.enc
	s := pageStats{rows: len(idx), values: len(idx)}
	lo, hi := int32(len(d.ends)), int32(-1)
	for _, v := range idx {
		hi = max(hi, v)
		if v < 0 {
			s.nulls++
		} else {
			lo = min(lo, v)
		}
	}
	if hi >= 0 {
		s.min, s.max = d.Bound(int(lo)), d.Bound(int(hi))
	}
	page := e.page[:0]
	if c.leaf.nullable {
		if s.nulls == 0 {
			page = appendRun(page, len(idx), 1)
		} else {
			e.levels, e.denseI = e.levels[:0], e.denseI[:0]
			for _, v := range idx {
				e.levels = append(e.levels, byte(^uint32(v)>>31))
				if v >= 0 {
					e.denseI = append(e.denseI, v)
				}
			}
			page = appendLevels(page, e.levels, 1)
			idx = e.denseI
		}
	}
	page = append(page, byte(width))
	enc := rle.Encoding{BitWidth: width}
	var err error
	if e.values, err = enc.EncodeInt32(e.values[:0], idx); err != nil {
		panic("encode indexes: " + err.Error()) // only a bad width can fail
	}
	e.page = append(page, e.values...)
	c.data(e.page, s)
}

// Integers writes a column chunk of numbers for the next leaf; a negative one is
// NULL.
func (f *ChunkWriter) Integers(values []int64) {
	nulls, lo, hi := f.enc.measure(values)
	switch {
	case nulls == len(values):
		f.Null(len(values))
		return
	case nulls == 0 && lo == hi:
		b := int64Bound(lo)
		f.Constant(len(values), b, b)
		return
	}
	c := f.beginChunk(format.DeltaBinaryPacked)
	for i, from := 0, 0; from < len(values); i, from = i+1, from+pageRows {
		f.integerPage(c, values[from:min(from+pageRows, len(values))], f.enc.pages[i])
	}
	c.end()
}

func int64Bound(v int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }

// measure counts the NULLs and finds the bounds of the values and of each page.
func (e *Encoder) measure(values []int64) (nulls int, lo, hi int64) {
	e.pages = e.pages[:0]
	lowest, hi := uint64(math.MaxUint64), int64(-1)
	for from := 0; from < len(values); from += pageRows {
		page := values[from:min(from+pageRows, len(values))]
		n, l, h := uint64(0), uint64(math.MaxUint64), int64(-1)
		for _, v := range page {
			n += uint64(v) >> 63
			l = min(l, uint64(v)) // NULL is the largest
			h = max(h, v)
		}
		s := pageStats{rows: len(page), values: len(page), nulls: int(n)}
		if h >= 0 {
			s.min, s.max = int64Bound(int64(l)), int64Bound(h)
		}
		e.pages = append(e.pages, s)
		nulls += s.nulls
		lowest, hi = min(lowest, l), max(hi, h)
	}
	return nulls, int64(lowest), hi
}

func (f *ChunkWriter) integerPage(c *chunk, values []int64, s pageStats) {
	e := f.enc
	page := e.page[:0]
	switch {
	case !c.leaf.nullable:
	case s.nulls == 0:
		page = appendRun(page, len(values), 1)
	default:
		e.levels, e.dense = e.levels[:0], e.dense[:0]
		for _, v := range values {
			e.levels = append(e.levels, byte(^uint64(v)>>63))
			if v >= 0 {
				e.dense = append(e.dense, v)
			}
		}
		page = appendLevels(page, e.levels, 1)
		values = e.dense
	}
	var err error
	if e.values, err = e.delta.EncodeInt64(e.values[:0], values); err != nil {
		panic("encode integers: " + err.Error()) // the encoder has no error
	}
	e.page = append(page, e.values...)
	c.data(e.page, s)
}

// Entries are those of a map column, row after row: Counts has the entries
// of each row, 0 for NULL; Keys and Values have them all.
type Entries struct {
	Counts []int32 // entries of each row; 0 is NULL
	Keys   []string
	Values []string
}

// Maps writes the two column chunks of a map for the next two leaves. Some row
// has an entry.
func (f *ChunkWriter) Maps(p *Entries) {
	f.mapLeaf(p.Counts, p.Keys)
	f.mapLeaf(p.Counts, p.Values)
}

func (f *ChunkWriter) mapLeaf(counts []int32, texts []string) {
	e := f.enc
	c := f.beginChunk(format.Plain)
	for from := 0; from < len(counts); from += pageRows {
		rows := counts[from:min(from+pageRows, len(counts))]
		s := pageStats{rows: len(rows)}
		var defs []byte
		e.levels, e.values = e.levels[:0], e.values[:0]
		for _, n := range rows {
			if n == 0 {
				e.levels, defs = append(e.levels, 0), append(defs, 0)
				s.nulls++
				s.values++
				continue
			}
			for i := range n {
				e.levels, defs = append(e.levels, byte(min(i, 1))), append(defs, 2)
				e.values = binary.LittleEndian.AppendUint32(e.values, uint32(len(texts[i])))
				e.values = append(e.values, texts[i]...)
			}
			texts = texts[n:]
			s.values += int(n)
		}
		e.page = append(appendLevels(appendLevels(e.page[:0], e.levels, 1), defs, 2), e.values...)
		c.data(e.page, s)
	}
	c.end()
}
