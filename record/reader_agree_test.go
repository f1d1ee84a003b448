package record_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"acctpull/record"
)

// rowMaker makes documents whose rows are alike most of the time, with every
// kind of difference that a pattern must notice.
type rowMaker struct {
	*rand.Rand
	b     strings.Builder
	sound bool // nothing that ends the file
}

func (m *rowMaker) one(of ...string) string { return of[m.IntN(len(of))] }

// rarely is true once in n times.
func (m *rowMaker) rarely(n int) bool { return m.IntN(n) == 0 }

func (m *rowMaker) number() string {
	if m.rarely(200) && !m.sound {
		return "1<x/>2"
	}
	if m.rarely(60) {
		return m.one("", " 5", "5 ", "-1", "+1", "1e3", "0x1", "18446744073709551615", "18446744073709551616", "00000000000000000000000000000001", "1,0", "&#49;", "<![CDATA[7]]>", "<!--c-->8", "9<!--c-->", "٥")
	}
	return strconv.FormatUint(m.Uint64()>>m.IntN(64), 10)
}

func (m *rowMaker) text() string {
	if m.rarely(1000) && !m.sound {
		return m.one("a]]>b", "\xff", "&#0;", "a<b", "&x;")
	}
	if m.rarely(40) {
		return m.one("", "a b", "a&amp;b", "ü", "東京", "a\tb", "a\r\nb", "a'b", `a"b`, "a>b", "<![CDATA[x]]>", " 1/1/1 ")
	}
	return fmt.Sprintf("1/1/%d:%d", m.IntN(3), m.IntN(20))
}

// pairs are the fields of one row, in an order that seldom differs.
func (m *rowMaker) pairs() [][2]string {
	var out [][2]string
	switch {
	case m.rarely(6):
		out = [][2]string{{"svc", m.text()}, {"sap", m.text()}, {"ioo", m.number()}}
	case m.rarely(6):
		out = [][2]string{{"svc", m.text()}, {"sap", m.text()}, {"mId", m.number()}, {"of", m.number()}, {"od", m.number()}}
	default:
		out = [][2]string{{"svc", m.text()}, {"sap", m.text()}, {"mId", m.number()}, {"iof", m.number()}, {"oof", m.number()}}
	}
	if m.rarely(30) {
		m.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	if m.rarely(30) {
		out = out[1:]
	}
	if m.rarely(30) {
		out = append(out, out[m.IntN(len(out))])
	}
	if m.rarely(20) {
		out = append(out, [2]string{m.one("vendor", "build", "x"), m.text()})
	}
	if m.rarely(20) {
		out = append(out, [2]string{m.one("final", "end", "start", "policy", "time", "record"), m.one("1", "2", "2026-01-02T00:10:00Z", "2026-01-02T00:15:00Z", "sip", "", "service-egress-octets")})
	}
	return out
}

func (m *rowMaker) row(shape int) {
	name := "sio"
	if m.rarely(40) {
		name = m.one("sip", "row", "acc:sio", "sio ")
	}
	end := strings.TrimSpace(name)
	if m.rarely(1000) && !m.sound {
		end = "sip"
	}
	if shape == 0 {
		quote := `"`
		if m.rarely(40) {
			quote = "'"
		}
		m.b.WriteString("<" + name)
		for _, p := range m.pairs() {
			if !strings.ContainsAny(p[1], "<") {
				m.b.WriteString(" " + p[0] + "=" + quote + strings.ReplaceAll(p[1], quote, "") + quote)
			}
		}
		m.b.WriteString(m.one("/>", "/>", "></"+end+">") + m.one("", "\n"))
		return
	}
	m.b.WriteString("<" + name + ">")
	for _, p := range m.pairs() {
		if m.rarely(100) {
			m.b.WriteString(m.one(" ", "\n", "<!-- c -->", "text", "<empty/>", "<?p?>"))
		}
		if m.rarely(300) && !m.sound {
			m.b.WriteString(m.one("<deep><x>1</x></deep>", "<deep x='1'/>", "<deep type='sio'><x>1</x></deep>", "<sap id='4'/>", "<sap id='iof'/>", "<iof u='x'></iof>", "<oof value='3' u='y'/>"))
		}
		switch {
		case shape == 1 || p[0] == "":
			m.b.WriteString("<" + p[0] + ">" + p[1] + "</" + p[0] + ">")
		case shape == 2:
			m.b.WriteString(`<f name="` + p[0] + `">` + p[1] + "</f>")
		default:
			m.b.WriteString("<f><name>" + p[0] + "</name><value>" + p[1] + "</value></f>")
		}
	}
	m.b.WriteString("</" + end + ">" + m.one("", "\n"))
}

func (m *rowMaker) document(rows int) string {
	m.b.Reset()
	m.b.WriteString(`<acc xmlns:acc="u"`)
	if !m.rarely(5) {
		m.b.WriteString(` record="service-ingress-octets"`)
	}
	m.b.WriteString(">\n")
	shape := m.IntN(4)
	for i := 0; i < rows; {
		m.b.WriteString("<interval" + m.one(` end="2026-01-02T00:05:00Z"`, ` time="20260102-000500" policy="4"`, "", ` end="never"`) + ">")
		for n := m.IntN(rows); n >= 0; n-- {
			object := m.rarely(5)
			if object {
				m.b.WriteString("<object" + m.one(` svc="1"`, ` svc="1" sap="x"`, ` port="1/1/1"`, ` qid="3" final="2"`, "") + ">")
			}
			for range 1 + m.IntN(5) {
				m.row(shape)
				i++
			}
			if object {
				if m.rarely(100) {
					m.b.WriteString(m.one("<svc>9</svc>", "<end>x</end>", "<new>1</new>"))
				}
				m.b.WriteString("</object>")
			}
		}
		m.b.WriteString("</interval>\n")
	}
	m.b.WriteString("</acc>\n")
	x := m.b.String()
	if m.rarely(10) {
		x = x[:m.IntN(len(x))]
	}
	return x
}

// The fast path and the full one agree on documents that are made to tell them
// apart.
func TestFastPathAgrees(t *testing.T) {
	seed, documents := uint64(1), 600
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		documents = 20_000
	}
	if s, err := strconv.ParseUint(os.Getenv("ACCTPULL_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("seed %d", seed)
	m := &rowMaker{Rand: rand.New(rand.NewPCG(seed, 7))}
	for _, salvage := range []bool{false, true} {
		o := record.ReaderOptions{Salvage: salvage}
		fast, slow := record.NewReader(o), record.NewReader(o.WithoutFastPath())
		used := 0
		for i := range documents / 2 {
			x := m.document(1 + m.IntN(60))
			slow.ResetXML(strings.NewReader(x), "f.xml")
			want := outcome(slow)
			fast.ResetXML(strings.NewReader(x), "f.xml")
			got := outcome(fast)
			if fast.LearnedPattern() {
				used++
			}
			if got == want {
				fast.ResetXML(&pieces{m, []byte(x)}, "f.xml")
				got = outcome(fast)
			}
			if got != want {
				g, w := firstDifference(got, want)
				t.Fatalf("document %d of seed %d:\n%s\n got %s\nwant %s", i, seed, x, g, w)
			}
		}
		if used < documents/8 {
			t.Errorf("patterns were used in %d of %d documents only", used, documents/2)
		}
	}
}

// firstDifference returns the first lines that are not the same.
func firstDifference(a, b string) (string, string) {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i], y[i]
		}
	}
	return fmt.Sprint(len(x), " lines"), fmt.Sprint(len(y), " lines")
}

// pieces gives a document in pieces of any size.
type pieces struct {
	m    *rowMaker
	rest []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(len(p.rest), 1+p.m.IntN(1<<p.m.IntN(12)))])
	p.rest = p.rest[n:]
	return n, nil
}

// Files that are much larger than the window read the same in both ways, and in
// any pieces.
func TestWindowEdges(t *testing.T) {
	m := &rowMaker{Rand: rand.New(rand.NewPCG(5, 5)), sound: true}
	for len(m.b.String()) < 1_500_000 {
		m.row(1)
	}
	rows := m.b.String()
	x := `<acc xmlns:acc="u" record="service-ingress-octets"><i end="2026-01-02T00:05:00Z">` + rows + `</i></acc>`
	slow := record.NewReader(record.ReaderOptions{}.WithoutFastPath())
	slow.ResetXML(strings.NewReader(x), "f.xml")
	want := outcome(slow)
	fast := record.NewReader(record.ReaderOptions{})
	for _, src := range []io.Reader{strings.NewReader(x), &pieces{m, []byte(x)}, bytes.NewBufferString(x)} {
		fast.ResetXML(src, "f.xml")
		if got := outcome(fast); got != want {
			g, w := firstDifference(got, want)
			t.Fatalf(" got %s\nwant %s", g, w)
		}
	}
	if i := strings.LastIndex(want, "\nend "); !strings.HasPrefix(want[i:], "\nend EOF") {
		t.Errorf("the document was not read to its end: %s", want[i:])
	}
}
