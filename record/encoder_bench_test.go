package record_test

import (
	stdgzip "compress/gzip"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/internal/gen"
	"acctpull/record"
)

// cpu returns the user and system time this process has used.
func cpu(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// samples are the records of one interval in little memory, as a collector's
// source has them: it fills one Record again and again.
type samples struct {
	start, end time.Time
	set        *record.RowSet
	texts      []string // the text values of all records
	numbers    []uint64 // the numbers of all records
	records    int
}

func (s *samples) BeginInterval(start, end time.Time) error {
	s.start, s.end = start, end
	return nil
}

func (s *samples) Write(r *record.Record) error {
	s.set = r.Set
	for _, v := range r.Values {
		if v.State == record.Text {
			s.texts = append(s.texts, v.Text)
		} else {
			s.numbers = append(s.numbers, v.N)
		}
	}
	s.records++
	return nil
}

func (s *samples) EndInterval() error { return nil }

// each calls f with every record.
func (s *samples) each(rec *record.Record, f func()) {
	rec.Reset(s.set)
	texts, numbers := s.texts, s.numbers
	for range s.records {
		for i := range rec.Values {
			if s.set.Fields[i].Numeric {
				rec.Values[i] = record.Num(numbers[0])
				numbers = numbers[1:]
			} else {
				rec.Values[i] = record.Str(texts[0])
				texts = texts[1:]
			}
		}
		f()
	}
}

// benchSamples returns several intervals, with the same number of records each.
func benchSamples(b *testing.B, intervals int) (record.Header, []*samples) {
	g, err := gen.New(gen.Options{Objects: 1000, Meters: 4})
	if err != nil {
		b.Fatal(err)
	}
	h := g.Header()
	var out []*samples
	for range intervals {
		s := new(samples)
		if _, err := g.Run(1, s); err != nil {
			b.Fatal(err)
		}
		out = append(out, s)
	}
	return h, out
}

// BenchmarkEncoder writes records of 3 keys and 14 counters and counts the CPU
// seconds of the whole process: the encoder alone; gzip level 6 alone on the
// same bytes, which is the floor; both, with a gzip member per interval of 4000
// records, as the collector writes; and the same with the standard library's
// encoding/xml and compress/gzip, as the baseline.
func BenchmarkEncoder(b *testing.B) {
	h, intervals := benchSamples(b, 8)
	b.Run("xml", func(b *testing.B) { benchEncoder(b, h, intervals, nil) })
	zw, err := gzip.NewWriterLevel(nil, gen.Level)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("gzip-alone", func(b *testing.B) { benchGzip(b, h, intervals, zw) })
	b.Run("xml+gzip", func(b *testing.B) { benchEncoder(b, h, intervals, zw) })
	b.Run("stdlib", func(b *testing.B) { benchStdlib(b, intervals) })
}

// BenchmarkEncoderLevels is the choice of the gzip level: processor time against
// bytes. Each level is measured on the same text, alone and behind the encoder.
func BenchmarkEncoderLevels(b *testing.B) {
	h, intervals := benchSamples(b, 8)
	for level := 1; level <= 6; level++ {
		zw, err := gzip.NewWriterLevel(nil, level)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("gzip-"+strconv.Itoa(level), func(b *testing.B) { benchGzip(b, h, intervals, zw) })
		b.Run("xml+gzip-"+strconv.Itoa(level), func(b *testing.B) { benchEncoder(b, h, intervals, zw) })
	}
}

// counted counts bytes.
type counted struct{ n int64 }

func (s *counted) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return len(p), nil
}

// piece is how many bytes are encoded before gzip takes them: few enough to
// stay in the cache.
const piece = 32 << 10

// encode encodes one interval and gives it to write piece by piece.
func encode(b *testing.B, enc *record.Encoder, s *samples, buf []byte, write func([]byte)) []byte {
	var rec record.Record
	buf = enc.AppendIntervalStart(buf[:0], s.start, s.end)
	s.each(&rec, func() {
		var err error
		if buf, err = enc.AppendRecord(buf, &rec); err != nil {
			b.Fatal(err)
		}
		if len(buf) >= piece {
			write(buf)
			buf = buf[:0]
		}
	})
	buf = enc.AppendIntervalEnd(buf)
	write(buf)
	return buf
}

func benchEncoder(b *testing.B, h record.Header, intervals []*samples, zw *gzip.Writer) {
	enc := record.NewEncoder(h)
	var text, packed counted
	var buf []byte
	var records int
	b.ReportAllocs()
	begin := cpu(b)
	for i := 0; b.Loop(); i++ {
		s := intervals[i%len(intervals)]
		if zw != nil {
			zw.Reset(&packed)
		}
		buf = encode(b, enc, s, buf, func(p []byte) {
			text.Write(p)
			if zw == nil {
				return
			}
			if _, err := zw.Write(p); err != nil {
				b.Fatal(err)
			}
		})
		if zw != nil {
			if err := zw.Close(); err != nil {
				b.Fatal(err)
			}
		}
		records += s.records
	}
	report(b, cpu(b)-begin, records, text.n, packed.n)
}

func benchGzip(b *testing.B, h record.Header, intervals []*samples, zw *gzip.Writer) {
	texts := make([][]byte, len(intervals))
	for i, s := range intervals {
		encode(b, record.NewEncoder(h), s, nil, func(p []byte) { texts[i] = append(texts[i], p...) })
	}
	var text, packed counted
	var records int
	begin := cpu(b)
	for i := 0; b.Loop(); i++ {
		i %= len(intervals)
		zw.Reset(&packed)
		for p := texts[i]; len(p) > 0; p = p[min(len(p), piece):] {
			if _, err := zw.Write(p[:min(len(p), piece)]); err != nil {
				b.Fatal(err)
			}
		}
		if err := zw.Close(); err != nil {
			b.Fatal(err)
		}
		text.Write(texts[i])
		records += intervals[i].records
	}
	report(b, cpu(b)-begin, records, text.n, packed.n)
}

// benchStdlib writes the same elements with encoding/xml's tokens.
func benchStdlib(b *testing.B, intervals []*samples) {
	var xmlBytes, packed counted
	zw, err := stdgzip.NewWriterLevel(&packed, gen.Level)
	if err != nil {
		b.Fatal(err)
	}
	var records int
	var rec record.Record
	begin := cpu(b)
	for i := 0; b.Loop(); i++ {
		s := intervals[i%len(intervals)]
		zw.Reset(&packed)
		enc := xml.NewEncoder(io.MultiWriter(zw, &xmlBytes))
		element := func(name string, inside func() error) error {
			start := xml.StartElement{Name: xml.Name{Local: name}}
			if err := enc.EncodeToken(start); err != nil {
				return err
			}
			return errors.Join(inside(), enc.EncodeToken(start.End()))
		}
		err := element("interval", func() (err error) {
			s.each(&rec, func() {
				err = errors.Join(err, element(s.set.Sub, func() (err error) {
					for i, v := range rec.Values {
						err = errors.Join(err, element(s.set.Fields[i].Abbrev, func() error {
							if v.State == record.Text {
								return enc.EncodeToken(xml.CharData(v.Text))
							}
							return enc.EncodeToken(xml.CharData(strconv.FormatUint(v.N, 10)))
						}))
					}
					return err
				}))
			})
			return err
		})
		if err := errors.Join(err, enc.Close(), zw.Close()); err != nil {
			b.Fatal(err)
		}
		records += s.records
	}
	report(b, cpu(b)-begin, records, xmlBytes.n, packed.n)
}

func report(b *testing.B, spent time.Duration, records int, text, packed int64) {
	b.ReportMetric(float64(records)/spent.Seconds(), "records/CPU-s")
	b.ReportMetric(float64(text)/spent.Seconds()/1e6, "MB/CPU-s")
	if packed > 0 {
		b.ReportMetric(float64(text)/float64(packed), "ratio")
	}
}
