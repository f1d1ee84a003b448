package record_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"acctpull/record"
)

// portions hands out n bytes at a time.
type portions struct {
	src io.Reader
	n   int
}

func (p portions) Read(b []byte) (int, error) { return p.src.Read(b[:min(len(b), p.n)]) }

// What a file holds, and what is wrong with it, does not depend on how its bytes
// arrive, nor on whether a row is read by a pattern: near every limit, and cut
// off anywhere.
func TestReaderPieces(t *testing.T) {
	for _, salvage := range []bool{false, true} {
		o := record.ReaderOptions{Salvage: salvage}
		p := twoReaders{T: t, fast: record.NewReader(o), slow: record.NewReader(o.WithoutFastPath())}
		p.limits()
		p.cuts()
		for i, x := range seeds(t) {
			p.read(string(x), tightLimits)
			p.read(string(x)+fmt.Sprint(i), tightLimits)
		}
		t.Logf("%d documents", p.docs)
	}
}

// twoReaders read documents in pieces of all sizes, with the fast path, and in
// one piece without it.
type twoReaders struct {
	*testing.T
	fast, slow *record.Reader
	docs       int
}

// read reports every difference that this makes.
func (p *twoReaders) read(doc string, lim record.Limits) {
	p.Helper()
	p.docs++
	p.slow.Refit(1024, lim)
	p.slow.ResetXML(strings.NewReader(doc), "f.xml")
	want := outcome(p.slow)
	for _, c := range []struct {
		how string
		src io.Reader
	}{
		{"in one piece", strings.NewReader(doc)}, {"in one piece, again", strings.NewReader(doc)},
		{"byte by byte", portions{strings.NewReader(doc), 1}}, {"in pieces of 7", portions{strings.NewReader(doc), 7}},
		{"in pieces of 100", portions{strings.NewReader(doc), 100}}, {"in pieces of 4096", portions{strings.NewReader(doc), 4096}},
		{"with the end", iotest.DataErrReader(strings.NewReader(doc))},
	} {
		p.fast.Refit(64, lim)
		p.fast.ResetXML(c.src, "f.xml")
		if got := outcome(p.fast); got != want {
			g, w := firstDifference(got, want)
			p.Errorf("%q\n%s %s\nin full %s", doc, c.how, g, w)
		}
	}
}

const (
	piecesHead = `<a record="service-ingress-octets"><i end="2026-01-02T00:05:00Z">`
	piecesTail = `</i></a>`
)

func pieceRow(sap, more string) string {
	return "<sio><svc>100</svc><sap>" + sap + "</sap><mId>1</mId><iof>5</iof><oof>6</oof>" + more + "</sio>"
}

// limits reads documents in which one thing is at its limit, or one beside it.
func (p *twoReaders) limits() {
	attributes := func(sap, x string) string {
		return `<sio svc="100" sap="` + sap + `" x="` + x + `" y="` + x + `" mId="1" iof="5" oof="6"/>`
	}
	row := pieceRow("1/1/1:100", "")
	rest := pieceRow("1/1/1:101", "") + piecesTail
	for n := range 3 {
		x := func(limit, less int) string { return strings.Repeat("x", limit-1-less+n) }
		for _, middle := range []string{
			pieceRow(x(400, 0), ""),
			pieceRow("1", "<x>y</x>") + pieceRow("1", "<x>"+x(400, 0)+"</x>"),
			attributes("1", "2") + attributes("1", "2") + attributes(x(400, 0), ""),
			attributes("1", "2") + attributes("1", "2") + attributes(x(1000, 700+52), strings.Repeat("x", 350)),
			"<!--" + x(1000, 7) + "-->" + row,
			"<!--" + x(1000, 7+13+100) + "--><![CDATA[ ]]>" + strings.Repeat(" ", 100) + row,
			strings.Repeat("<i>", 6+n) + row + strings.Repeat("</i>", 6+n),
			strings.Repeat(row, 4+n),
			"<sio><svc>100</svc><sap>1</sap><" + x(40, 0) + ">5</" + x(40, 0) + "><mId>1</mId><iof>5</iof><oof>6</oof></sio>",
			pieceRow(" "+x(400, 1), ""), pieceRow(x(400, 2)+"ü", ""), pieceRow(x(400, 4)+"&amp;", ""),
		} {
			doc := piecesHead + strings.Repeat(row, 3) + middle
			p.read(doc+rest, tightLimits)
			p.read(doc+pieceRow("1", "<iof>5</iof>")+rest, tightLimits)
			p.read(doc+"<!no declaration>", tightLimits)
		}
	}
	// rows that cannot be used and are longer than what is shown of them
	long := pieceRow("1/1/1:100", strings.Repeat("<x>"+strings.Repeat("y", 900)+"</x>", 150)+"<iof>5</iof>")
	p.read(piecesHead+row+long+row+strings.Repeat(long, 3)+rest, record.Limits{})
}

// cuts reads documents that end anywhere, and that have more bytes than a file
// may have.
func (p *twoReaders) cuts() {
	rows := strings.Repeat(pieceRow("1/1/1:100", ""), 3)
	doc := piecesHead + rows + "\n" + strings.Replace(rows, ">5<", ">x<", 1) + piecesTail + "\n"
	latin1 := "<?xml version='1.0' encoding='iso-8859-1'?>" + doc[:len(doc)-20] + "Z\xc3\xbcrich</iof>"
	for n := range doc {
		p.read(doc[:n], tightLimits)
		lim := tightLimits
		lim.XMLBytes = int64(n + 1)
		p.read(doc, lim)
		p.read(latin1[:n]+"<"+latin1[n:], tightLimits)
	}
}
