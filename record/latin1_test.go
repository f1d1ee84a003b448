package record

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// A large file in ISO-8859-1: names come as UTF-8, offsets count the bytes of
// the file as it is.
func TestLatin1(t *testing.T) {
	var b strings.Builder
	b.WriteString("<?xml version='1.0' encoding='iso-8859-1'?><f record='network-interface-ingress-octets'><i end='2026-01-02T00:05:00Z'>\n")
	var offsets []int64
	const rows = 12_000
	for i := range rows {
		offsets = append(offsets, int64(b.Len()))
		n := fmt.Sprint(i)
		if i%1000 == 999 {
			n = "\xbd" // one half
		}
		fmt.Fprintf(&b, "<nifio><ifName>Z\xfcrich-Gen\xe8ve-%d</ifName><mId>1</mId><iof>%s</iof><oof>2</oof></nifio>\n", i%500, n)
	}
	b.WriteString("</i></f>")
	x := b.String()
	for _, o := range []ReaderOptions{{}, ReaderOptions{}.WithoutFastPath()} {
		for _, src := range []io.Reader{strings.NewReader(x), iotest.OneByteReader(strings.NewReader(x)), iotest.DataErrReader(strings.NewReader(x))} {
			r := NewReader(o)
			r.ResetXML(src, "f")
			var rec Record
			for i := range rows {
				err := r.Next(&rec)
				var bad *RecordError
				if errors.As(err, &bad) {
					if bad.Offset != offsets[i] || bad.Text != "½" || i%1000 != 999 {
						t.Fatalf("row %d: %v, want offset %d", i, err, offsets[i])
					}
					continue
				}
				if err != nil || rec.Offset != offsets[i] || rec.Get("ifName").Text != fmt.Sprintf("Zürich-Genève-%d", i%500) || rec.Get("iof") != Num(uint64(i)) {
					t.Fatalf("row %d: %v, offset %d (want %d), %+v", i, err, rec.Offset, offsets[i], rec.Values)
				}
			}
			if err := r.Next(&rec); err != io.EOF {
				t.Fatal(err)
			}
			if st := r.Stats(); st.XMLBytes != int64(len(x)) || st.BadRecords != rows/1000 {
				t.Errorf("%+v, the file has %d bytes", st, len(x))
			}
		}
	}
	// an encoding that lies far inside
	at := len(x) / 2
	at += strings.Index(x[at:], "ve-")
	r := NewReader(ReaderOptions{})
	r.ResetXML(strings.NewReader(x[:at]+"\x80"+x[at:]), "f")
	_, err := r.Verify()
	wantFileError(t, err, KindXML, "declares ISO-8859-1")
}
