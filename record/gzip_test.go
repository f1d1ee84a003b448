package record

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
)

const smallXML = `<a record="service-egress-octets"><i end="2026-01-02T00:05:00Z"><seo svc="1" sap="2" eof="5"/><seo svc="1" sap="3" eof="6"/></i></a>`

// pack compresses each part to a member of its own.
func pack(tb testing.TB, parts ...string) []byte {
	tb.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		z := gzip.NewWriter(&b)
		if _, err := io.WriteString(z, p); err != nil {
			tb.Fatal(err)
		}
		if err := z.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

// count reads a gzip file to its end.
func count(o ReaderOptions, file []byte) (records int, err error) {
	r := NewReader(o)
	r.Reset(bytes.NewReader(file), "x.xml.gz")
	var rec Record
	for {
		err := r.Next(&rec)
		var bad *RecordError
		switch {
		case err == io.EOF:
			return records, nil
		case errors.As(err, &bad):
		case err != nil:
			return records, err
		default:
			records++
		}
	}
}

// wantFileError checks kind and wording of an error.
func wantFileError(t *testing.T, err error, kind Kind, parts ...string) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) {
		t.Fatalf("no FileError: %v", err)
	}
	if fe.Kind != kind {
		t.Errorf("kind %q, want %q: %v", fe.Kind, kind, err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error()+" | "+fe.Hint(), p) {
			t.Errorf("%v (hint %q) does not say %q", err, fe.Hint(), p)
		}
	}
}

// G1: wherever the file is cut, no reader takes it for whole; in salvage mode
// the complete records come, and only then the error says that it may be used.
func TestGzipTruncatedAnywhere(t *testing.T) {
	file := pack(t, smallXML)
	for n := range file {
		_, err := count(ReaderOptions{}, file[:n])
		wantFileError(t, err, KindTruncated, "x.xml.gz")
		if fe := err.(*FileError); fe.Truncated() || fe.Hint() == "" {
			t.Errorf("cut at %d: Truncated %v without salvage, hint %q", n, fe.Truncated(), fe.Hint())
		}
		records, err := count(ReaderOptions{Salvage: true}, file[:n])
		wantFileError(t, err, KindTruncated)
		if !err.(*FileError).Truncated() {
			t.Errorf("cut at %d: not Truncated in salvage mode", n)
		}
		if n == len(file)-1 && records != 2 {
			t.Errorf("cut in the trailer: %d records", records)
		}
	}
	if n, err := count(ReaderOptions{}, file); n != 2 || err != nil {
		t.Errorf("whole: %d, %v", n, err)
	}
	_, err := count(ReaderOptions{}, nil)
	wantFileError(t, err, KindTruncated, "0 bytes")
	_, err = count(ReaderOptions{}, file[:1])
	wantFileError(t, err, KindTruncated, "1 bytes")
}

// A file whose gzip is sound and whose XML stops is truncated as well.
func TestXMLTruncatedAnywhere(t *testing.T) {
	cut := strings.LastIndex(smallXML, "</a>") + len("</a>")
	for n := range cut {
		_, err := count(ReaderOptions{}, pack(t, smallXML[:n]))
		wantFileError(t, err, KindTruncated)
		records, err := count(ReaderOptions{Salvage: true}, pack(t, smallXML[:n]))
		wantFileError(t, err, KindTruncated)
		if want := strings.Count(smallXML[:n], "/>"); records != want || !err.(*FileError).Truncated() {
			t.Errorf("cut at %d: %d records, want %d", n, records, want)
		}
	}
}

// Damage is no truncation: salvage does not make it acceptable.
func TestGzipEveryBitFlip(t *testing.T) {
	file := pack(t, smallXML)
	harmless := 0 // flips of bits that mean nothing: time, system and text flag of the header, padding of the last byte
	for i := range file {
		for bit := range 8 {
			flipped := bytes.Clone(file)
			flipped[i] ^= 1 << bit
			if _, err := count(ReaderOptions{Salvage: true}, flipped); err != nil {
				continue
			}
			harmless++
			lim := DefaultLimits()
			var g gzipReader
			g.reset(bytes.NewReader(flipped), &lim)
			if text, err := io.ReadAll(&g); err != nil || string(text) != smallXML {
				t.Errorf("bit %d of byte %d: accepted with other content: %v", bit, i, err)
			}
		}
	}
	if harmless > 7*8 {
		t.Errorf("%d flips were accepted", harmless)
	}
}

// G2: bombs end at the ratio or size limit without their content being kept.
func TestGzipBombs(t *testing.T) {
	zeros := strings.Repeat("\x00", 1<<20)
	bomb := pack(t, strings.Repeat(zeros, 64))
	_, err := count(ReaderOptions{}, bomb)
	wantFileError(t, err, KindXML) // NUL is no XML, so it does not even get far

	spaces := pack(t, "<a>"+strings.Repeat(" ", 64<<20))
	_, err = count(ReaderOptions{}, spaces)
	wantFileError(t, err, KindLimit)

	// text that the scanner would take: comments of nearly a megabyte
	comments := pack(t, "<a>"+strings.Repeat("<b><!--"+strings.Repeat("x", 60_000)+"--></b>", 300)+"</a>")
	_, err = count(ReaderOptions{}, comments)
	wantFileError(t, err, KindLimit, "200:1", "bomb")
	_, err = count(ReaderOptions{Limits: Limits{Ratio: -1, XMLBytes: 3 << 20}}, comments)
	wantFileError(t, err, KindLimit, "3145728 bytes")
	_, err = count(ReaderOptions{Limits: Limits{Ratio: -1}}, comments)
	if fe := (*FileError)(nil); errors.As(err, &fe) && fe.Kind == KindLimit {
		t.Errorf("without the ratio limit: %v", err)
	}

	// 10,000 members of 1 MiB each: 10 GB out of 10 MB
	lim := DefaultLimits()
	var g gzipReader
	g.reset(&repeated{pack(t, zeros), 10_000, nil}, &lim)
	n, err := io.Copy(io.Discard, &g)
	var se *sourceError
	if !errors.As(err, &se) || se.kind != KindLimit || n > 2<<20 {
		t.Errorf("%d bytes came, then %v", n, err)
	}
	lim.Ratio = unlimited
	lim.XMLBytes = 32 << 20
	g.reset(&repeated{pack(t, zeros), 10_000, nil}, &lim)
	if n, err := io.Copy(io.Discard, &g); !errors.As(err, &se) || se.kind != KindLimit || n != 32<<20 {
		t.Errorf("%d bytes came, then %v", n, err)
	}

	nested := pack(t, string(pack(t, smallXML)))
	_, err = count(ReaderOptions{}, nested)
	wantFileError(t, err, KindXML, "gzip again")

	_, err = count(ReaderOptions{Limits: Limits{GzipBytes: 50}}, pack(t, smallXML))
	wantFileError(t, err, KindLimit, "50 bytes")
}

// repeated gives the same bytes n times.
type repeated struct {
	b    []byte
	n    int
	rest []byte
}

func (r *repeated) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.b
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestGzipMembers(t *testing.T) {
	// G5: a file that was appended to after a crash
	half := strings.Index(smallXML, `<seo svc="1" sap="3"`)
	if n, err := count(ReaderOptions{}, pack(t, smallXML[:half], "", smallXML[half:])); n != 2 || err != nil {
		t.Errorf("two members and an empty one: %d, %v", n, err)
	}
	empty := pack(t, "")
	many := func(n int) []byte { return append(bytes.Repeat(empty, n), pack(t, smallXML)...) }
	if n, err := count(ReaderOptions{}, many(10_080+2)); n != 2 || err != nil {
		t.Errorf("a week of one-minute collections: %d, %v", n, err)
	}
	_, err := count(ReaderOptions{}, many(100_000))
	wantFileError(t, err, KindLimit, "16384 gzip members")
	r := NewReader(ReaderOptions{})
	r.Reset(bytes.NewReader(many(3)), "")
	st, err := r.Verify()
	if err != nil || st.Members != 4 || st.GzipBytes != int64(len(many(3))) || st.XMLBytes != int64(len(smallXML)) {
		t.Errorf("%+v, %v", st, err)
	}
}

// G3, G4: headers and what follows the data.
func TestGzipFraming(t *testing.T) {
	file := pack(t, smallXML)
	with := func(at int, b ...byte) []byte {
		f := bytes.Clone(file)
		copy(f[at:], b)
		return f
	}
	end := len(file)
	_, stored, _ := bytes.Cut(file, file[:10])
	header := func(flags byte, extra string) []byte {
		h := append([]byte{0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255}, extra...)
		return append(h, stored...)
	}
	crc16 := func(h []byte) string {
		c := crc32.ChecksumIEEE(h)
		return string([]byte{byte(c), byte(c >> 8)})
	}
	plainHeader := []byte{0x1f, 0x8b, 8, 2, 0, 0, 0, 0, 0, 255}
	for _, c := range []struct {
		name string
		file []byte
		kind Kind // "" means accepted
		says string
	}{
		{"bad CRC", with(end-8, file[end-8]^1), KindGzip, "checksum"},
		{"bad ISIZE", with(end-1, 1), KindGzip, "length"},
		{"method 7", with(2, 7), KindGzip, "header of gzip member 1"},
		{"reserved flags", with(3, 0x20), KindGzip, "header"},
		{"name that climbs", header(8, "../../etc/passwd\x00"), "", ""},
		{"name and comment and extra", header(4|8|16, "\x02\x00xyname\x00comment\x00"), "", ""},
		{"endless name", header(8, strings.Repeat("n", 1<<20)), KindGzip, "header"},
		{"header CRC", append(append(bytes.Clone(plainHeader), crc16(plainHeader)...), stored...), "", ""},
		{"bad header CRC", append(append(bytes.Clone(plainHeader), "\x00\x00"...), stored...), KindGzip, "header"},
		{"trailing zeros", append(bytes.Clone(file), make([]byte, 700)...), KindGzip, "zero bytes follow"},
		{"trailing garbage", append(bytes.Clone(file), "\x1b[2Jgarbage"...), KindGzip, `\x1b[2Jgarbage`},
		{"one byte more", append(bytes.Clone(file), 'x'), KindGzip, "follow"},
		{"begun member", append(bytes.Clone(file), 0x1f), KindTruncated, "too early"},
		{"begun header", append(bytes.Clone(file), 0x1f, 0x8b, 8), KindTruncated, "too early"},
		{"corrupt data", with(10, 0xff, 0xff), KindGzip, "corrupt"},
	} {
		for _, salvage := range []bool{false, true} {
			n, err := count(ReaderOptions{Salvage: salvage}, c.file)
			if c.kind == "" {
				if n != 2 || err != nil {
					t.Errorf("%s: %d records, %v", c.name, n, err)
				}
				continue
			}
			t.Run(c.name, func(t *testing.T) { wantFileError(t, err, c.kind, c.says) })
		}
	}
}

// G6: what people send instead of a gzip file.
func TestNotGzip(t *testing.T) {
	tar := make([]byte, 1024)
	copy(tar, "act1011-20260102-030405.xml.gz")
	copy(tar[100:], "0000644\x000000000\x000000000\x0000000000021\x0015126503545\x00")
	copy(tar[148:], "        ")
	tar[156] = '0'
	sum := 0
	for _, c := range tar[:512] {
		sum += int(c)
	}
	copy(tar[148:], fmt.Sprintf("%06o\x00 ", sum))
	for _, c := range []struct {
		file string
		says string
	}{
		{smallXML, "is plain XML"},
		{"\ufeff<a/>", "is plain XML"},
		{" \n<a/>", "is plain XML"},
		{string(tar), "is a tar archive"},
		{"PK\x03\x04....", "is a ZIP archive"},
		{"BZh9....", "is bzip2"},
		{"\xfd7zXZ\x00..", "is xz"},
		{"\x28\xb5\x2f\xfd..", "is zstd"},
		{"File Not Found\r\n", `begins with "File Not Found`},
	} {
		_, err := count(ReaderOptions{}, []byte(c.file))
		wantFileError(t, err, KindGzip, c.says)
	}
	_, err := count(ReaderOptions{}, pack(t, string(tar)))
	wantFileError(t, err, KindXML, "tar archive", "unpack")
}

func TestReadErrors(t *testing.T) {
	file := pack(t, smallXML)
	broken := errors.New("wire cut")
	for _, n := range []int{0, 1, 5, 12, len(file) - 4} {
		r := NewReader(ReaderOptions{})
		r.Reset(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken)), "f")
		var rec Record
		var err error
		for err == nil {
			err = r.Next(&rec)
		}
		wantFileError(t, err, KindIO, "wire cut")
		if !errors.Is(err, broken) {
			t.Errorf("%v does not wrap its cause", err)
		}
		if again := r.Next(&rec); again != err {
			t.Errorf("a second call: %v", again)
		}
	}
}

// FuzzGzip: what comes to a clean end here is what the standard library
// decompresses, byte for byte, and the size of the pieces does not matter.
func FuzzGzip(f *testing.F) {
	whole := pack(f, smallXML)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append(bytes.Clone(whole), whole...))
	f.Add(append(bytes.Clone(whole), 0))
	f.Add([]byte{0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0, 'n'})
	f.Fuzz(func(t *testing.T, file []byte) {
		lim := Limits{XMLBytes: 8 << 20}.withDefaults()
		var g gzipReader
		g.reset(bytes.NewReader(file), &lim)
		got, err := io.ReadAll(&g)
		var se *sourceError
		if err != nil && !errors.As(err, &se) {
			t.Fatalf("an unexplained error: %v", err)
		}
		if int64(len(got)) > lim.XMLBytes {
			t.Fatalf("%d bytes came", len(got))
		}
		var again gzipReader
		again.reset(iotest.OneByteReader(bytes.NewReader(file)), &lim)
		bytewise, bytewiseErr := io.ReadAll(&again)
		if !bytes.Equal(got, bytewise) || fmt.Sprint(err) != fmt.Sprint(bytewiseErr) {
			t.Fatalf("in one piece %d bytes, %v\nbyte by byte %d bytes, %v", len(got), err, len(bytewise), bytewiseErr)
		}
		if err != nil {
			return
		}
		z, err := stdgzip.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		want, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("accepted, but: %v, equal %v", err, bytes.Equal(got, want))
		}
	})
}
