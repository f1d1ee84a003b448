package record_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"acctpull/internal/gen"
	"acctpull/record"
)

// benchFile is one large file of the benchmark record (3 keys, 14 counters).
func benchFile(b *testing.B, shape gen.Shape) ([]byte, gen.Truth) {
	b.Helper()
	var x bytes.Buffer
	t, err := gen.XML(&x, gen.Options{Shape: shape, Objects: 500, Meters: 4, Intervals: 20, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	return x.Bytes(), t
}

// drainReader reads the records of a file that was just given to r.
func drainReader(b *testing.B, r *record.Reader, want int64) {
	var rec record.Record
	n := int64(0)
	for {
		err := r.Next(&rec)
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	if n != want {
		b.Fatalf("%d records, generated %d", n, want)
	}
}

// tokens is the baseline that does least: encoding/xml's tokens, thrown away.
func tokens(b *testing.B, x []byte) {
	d := xml.NewDecoder(bytes.NewReader(x))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			b.Fatal(err)
		}
	}
}

// cpuOf returns the processor time of one call of f, on average over enough
// calls to be worth measuring.
func cpuOf(b *testing.B, f func()) time.Duration {
	f()
	begin, n := cpu(b), 0
	for used := time.Duration(0); used < 200*time.Millisecond; used = cpu(b) - begin {
		f()
		n++
	}
	return (cpu(b) - begin) / time.Duration(n)
}

// measure runs f b.N times and reports processor time, and how many times
// longer the baseline takes for the same bytes.
func measure(b *testing.B, bytes, records int64, f, baseline func(), baselineName string) {
	base := time.Duration(0)
	if baseline != nil {
		base = cpuOf(b, baseline)
	}
	b.SetBytes(bytes)
	b.ReportAllocs()
	b.ResetTimer()
	begin, n := cpu(b), 0
	for b.Loop() {
		f()
		n++
	}
	used := (cpu(b) - begin).Seconds() / float64(n)
	b.ReportMetric(float64(bytes)/1e6/used, "MB/cpu-s")
	b.ReportMetric(float64(records)/used, "records/cpu-s")
	if baseline != nil {
		b.ReportMetric(base.Seconds()/used, "x-"+baselineName)
	}
}

// BenchmarkReader parses XML to records in every shape, against the tokens of
// encoding/xml over the same bytes.
func BenchmarkReader(b *testing.B) {
	for _, s := range gen.Shapes() {
		b.Run(s.String(), func(b *testing.B) {
			x, t := benchFile(b, s)
			r := record.NewReader(record.ReaderOptions{})
			measure(b, t.XML, t.Records, func() {
				r.ResetXML(bytes.NewReader(x), "bench.xml")
				drainReader(b, r, t.Records)
			}, func() { tokens(b, x) }, "xml.Token")
		})
	}
}

// sparse drops fields at random, so that no row looks like the one before.
type sparse struct {
	*record.Writer
	rng *rand.Rand
	out record.Record
}

func (s *sparse) Write(r *record.Record) error {
	s.out = *r.Clone()
	for i, f := range r.Set.Fields {
		if f.Role != record.Key && s.rng.IntN(3) == 0 {
			s.out.Values[i] = record.Value{}
		}
	}
	return s.Writer.Write(&s.out)
}

// BenchmarkReaderIrregular reads rows that follow no pattern.
func BenchmarkReaderIrregular(b *testing.B) {
	g, err := gen.New(gen.Options{Objects: 500, Meters: 4, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	var x bytes.Buffer
	w := &sparse{Writer: record.NewWriter(&x, g.Header()), rng: rand.New(rand.NewPCG(1, 1))}
	t, err := g.Run(10, w)
	if err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	r := record.NewReader(record.ReaderOptions{})
	measure(b, int64(x.Len()), t.Records, func() {
		r.ResetXML(bytes.NewReader(x.Bytes()), "bench.xml")
		drainReader(b, r, t.Records)
	}, func() { tokens(b, x.Bytes()) }, "xml.Token")
}

// BenchmarkEncodingXMLToken is the baseline by itself.
func BenchmarkEncodingXMLToken(b *testing.B) {
	x, t := benchFile(b, gen.Dialect)
	measure(b, t.XML, t.Records, func() { tokens(b, x) }, nil, "")
}

// stdFile is what a program written in an afternoon unmarshals into.
type stdFile struct {
	Intervals []struct {
		End  time.Time `xml:"end,attr"`
		Rows []stdRow  `xml:",any"`
	} `xml:"interval"`
}

type stdRow struct {
	Svc  string `xml:"svc"`
	Sap  string `xml:"sap"`
	QID  uint64 `xml:"qid"`
	HPO  uint64 `xml:"hpo"`
	HPD  uint64 `xml:"hpd"`
	LPO  uint64 `xml:"lpo"`
	LPD  uint64 `xml:"lpd"`
	UCP  uint64 `xml:"ucp"`
	HOO  uint64 `xml:"hoo"`
	HOD  uint64 `xml:"hod"`
	LOO  uint64 `xml:"loo"`
	LOD  uint64 `xml:"lod"`
	UCO  uint64 `xml:"uco"`
	IPF  uint64 `xml:"ipf"`
	OPF  uint64 `xml:"opf"`
	IOF  uint64 `xml:"iof"`
	OOF  uint64 `xml:"oof"`
	Name xml.Name
}

// BenchmarkStdUnmarshal is the other baseline: stdlib gzip and Unmarshal.
func BenchmarkStdUnmarshal(b *testing.B) {
	packed, t := benchReadGzip(b)
	measure(b, t.XML, t.Records, func() { unmarshal(b, packed, t.Records) }, nil, "")
}

func unmarshal(b *testing.B, packed []byte, want int64) {
	z, err := stdgzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		b.Fatal(err)
	}
	x, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	var f stdFile
	if err := xml.Unmarshal(x, &f); err != nil {
		b.Fatal(err)
	}
	n := int64(0)
	for _, i := range f.Intervals {
		n += int64(len(i.Rows))
	}
	if n != want {
		b.Fatalf("%d rows, generated %d", n, want)
	}
}

func benchReadGzip(b *testing.B) ([]byte, gen.Truth) {
	b.Helper()
	var x bytes.Buffer
	t, err := gen.File(&x, gen.Options{Objects: 500, Meters: 4, Intervals: 20, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	return x.Bytes(), t
}

// BenchmarkReaderGzip is the whole of reading: gzip and XML to records, against
// the afternoon's program.
func BenchmarkReaderGzip(b *testing.B) {
	packed, t := benchReadGzip(b)
	r := record.NewReader(record.ReaderOptions{})
	measure(b, t.XML, t.Records, func() {
		r.Reset(bytes.NewReader(packed), "bench.xml.gz")
		drainReader(b, r, t.Records)
	}, func() { unmarshal(b, packed, t.Records) }, "gzip+Unmarshal")
}

// BenchmarkReaderSmallFiles reads 3,000 files of about 60 KB of XML with one
// Reader.
func BenchmarkReaderSmallFiles(b *testing.B) {
	const files = 3000
	var all [][]byte
	var total gen.Truth
	for i := range 50 {
		var x bytes.Buffer
		t, err := gen.File(&x, gen.Options{Objects: 57, Meters: 4, Intervals: 1, Seed: uint64(i), Device: fmt.Sprint("edge-", i)})
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, x.Bytes())
		total.Add(t)
	}
	r := record.NewReader(record.ReaderOptions{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rounds := int64(0)
	read := func() {
		for i := range files {
			r.Reset(bytes.NewReader(all[i%len(all)]), "small.xml.gz")
			drainReader(b, r, total.Records/int64(len(all)))
		}
		rounds++
	}
	measure(b, total.XML*files/int64(len(all)), total.Records*files/int64(len(all)), read, nil, "")
	used := cpuOf(b, read)
	runtime.ReadMemStats(&after)
	b.ReportMetric(files/used.Seconds(), "files/cpu-s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(rounds*files), "allocs/file")
}
