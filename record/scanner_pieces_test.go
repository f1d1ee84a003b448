package record

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// tight are limits that small documents reach.
var tight = Limits{Depth: 10, Attributes: 12, NameBytes: 40, TextBytes: 400, TokenBytes: 1000}

// smallWindow is the size of a window that is too small for most tokens.
const smallWindow = 64

// atLimits are documents with n bytes, or things, of what a limit counts.
var atLimits = []struct {
	name   string
	limit  int
	says   string
	before string
	fill   func(n int) string
	after  string
	class  int
}{
	{"white space before the root", 1000, "without a tag", "", of(" "), "<a/>", headCounts},
	{"mixed white space before the root", 1000, "without a tag", "", of("\r\n\t "), "<a/>", headCounts},
	{"white space after the root", 1000, "without a tag", "<a/>", of(" "), "", 0},
	{"comments before the root", 1000, "without a tag", "", comments(0), "<a/>", headCounts},
	{"comments after the root", 1000, "without a tag", "<a></a>", comments(0), "", 0},
	{"comments inside", 1000, "without a tag", "<a>", comments(0), "</a>", 0},
	{"comments and text", 1000, "without a tag", "<a>text", comments(9), "texts</a>", 0},
	{"instruction and section", 1000, "without a tag", "<a><?p?><![CDATA[x]]>", comments(18), "</a>", 0},
	{"comment", 1000, "without a tag", "<a><b/><!--", less(7, of("x")), "--></a>", 0},
	{"instruction", 1000, "without a tag", "<a><b/><?p ", less(6, of("x")), "?></a>", 0},
	{"text", 400, "text longer", "<a>", of("x"), "</a>", anyCharacter},
	{"section", 400, "CDATA section longer", "<a><![CDATA[", of("x"), "]]></a>", anyCharacter},
	{"attribute", 400, "attribute value longer", "<a><b c='", of("x"), "'/></a>", anyCharacter},
	{"second attribute", 400, "attribute value longer", `<a b='>"' c="`, of("'"), `">text</a>`, 0},
	{"tag of attributes", 1000, "tag longer", "<a b='" + xs390 + "' c='" + xs390 + "' d='", less(798, of("x")), "'/>", 0},
	{"tag of spaces", 1000, "tag longer", "<a", less(2, of(" ")), "></a>", 0},
	{"end tag", 1000, "tag longer", "<a></a", less(3, of("\n")), ">", 0},
	{"name", 40, "name longer", "<", of("n"), "/>", 0},
	{"prefixed name", 40, "name longer", "<a><p:", less(2, of("n")), " b='1'/></a>", 0},
	{"name of an attribute", 40, "name longer", "<a ", of("n"), "='1'/>", 0},
	{"name of an instruction", 40, "name longer", "<a/><?", of("n"), "?>", 0},
	{"attributes", 12, "12 attributes", "<a", attributes, "/>", 0},
	{"depth", 10, "10 elements deep", "", func(n int) string {
		return strings.Repeat("<a>", n) + strings.Repeat("</a>", n)
	}, "", 0},
	{"declaration", 160, "declaration longer", "<?xml version='1.0'", less(20, of(" ")), "?><a/>", atBeginning},
}

// What is special about documents at a limit.
const (
	headCounts   = 1 + iota // byte order mark and declaration count
	anyCharacter            // the filling may be of other characters
	atBeginning             // it stands at the very beginning itself
)

var xs390 = strings.Repeat("x", 390)

// of returns a filling of n bytes.
func of(s string) func(int) string {
	return func(n int) string { return strings.Repeat(s, n/len(s)+1)[:n] }
}

// less is a filling of fewer bytes, because what stands around it counts too.
func less(by int, fill func(int) string) func(int) string {
	return func(n int) string { return fill(n - by) }
}

// comments is a filling of all that may stand between tags.
func comments(around int) func(int) string {
	const some = "<!-- one --> <?two?>\n<!---->"
	return less(around+len(some)+107, func(n int) string {
		return some + strings.Repeat(" ", 100) + "<!--" + strings.Repeat("x", n) + "-->"
	})
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d='%d'", i, i)
	}
	return b.String()
}

// filledWith are characters that may make a difference.
var filledWith = []string{"é", "&#65;", "\r\n", "😀", ">", "\"", "]]", "\x01", "\xff", "\xe4"}

// disturbances stand between the filling and what ends it.
var disturbances = []string{
	"", "x", " ", "\x00@@\t\t\x00\x1d", "<", "</", "<!", "<!-", "<!--", "<!-- -- -->", "<!no declaration of any kind>", "<!DOCTYPE a>", "<!ELEMENT a EMPTY>",
	"<![CDATA[", "<![CDATA[]]>", "<?", "<?xml?>", "<?p", "]]>", "--", "-->", ">", "/>", "?>", "'", "\"", "&", "&#", "&amp", "&amp;", "&#x1F600;",
	"&#000000000000000000000000000000000000000000000000000000000000065;", "&#0000000000000000000000000000000000000000000000000000000000000065;",
	"\xc3", "\xe4", "\xc3\xbc", "\xf0\x9f\x98", "\x80", "\xff\xfe", "</a>", "</b>", "</a", "<a/>", "<b c='1' c='2'>", "=", "\u0085", "\ufffe",
}

var heads = []string{
	"", "\ufeff", "\ufeff<?xml version='1.0' encoding='utf-8'?>",
	"<?xml version='1.0' encoding='us-ascii'?>", "<?xml version='1.0' encoding='iso-8859-1'?>",
}

// pieces hands out n bytes at a time.
type pieces struct {
	src io.Reader
	n   int
}

func (p pieces) Read(b []byte) (int, error) { return p.src.Read(b[:min(len(b), p.n)]) }

// piecewise scans documents; its windows are used again.
type piecewise struct {
	*testing.T
	whole, pieces scanner
	docs          int
}

// scan scans a document in pieces of all sizes, in windows that are too small,
// and reports every difference that this makes.
func (p *piecewise) scan(doc string) (string, error) {
	p.Helper()
	p.docs++
	events, err := p.whole.events(strings.NewReader(doc), tight)
	compare := func(how any, src io.Reader) {
		p.pieces.buf = append(p.pieces.buf[:0], make([]byte, smallWindow)...)
		got, gotErr := p.pieces.events(src, tight)
		if got != events || fmt.Sprint(gotErr) != fmt.Sprint(err) {
			p.Errorf("%q\nin one piece %s, %v\nin pieces of %v %s, %v", doc, events, err, how, got, gotErr)
		}
	}
	for _, n := range []int{1, 2, 3, 7, 4096} {
		compare(n, pieces{strings.NewReader(doc), n})
	}
	compare("the whole, with the end", iotest.DataErrReader(strings.NewReader(doc)))
	return events, err
}

// Every limit holds exactly, however the bytes arrive.
func TestScannerExactLimits(t *testing.T) {
	p := piecewise{T: t}
	for _, c := range atLimits {
		for _, head := range heads {
			if c.class == atBeginning && head != "" {
				break
			}
			for n := c.limit - 1; n <= c.limit+1; n++ {
				fill := n
				if c.class == headCounts {
					fill -= len(head)
				}
				events, err := p.scan(head + c.before + c.fill(fill) + c.after)
				fe := (*FileError)(nil)
				switch {
				case n <= c.limit && err != nil:
					t.Errorf("%s, %d after %q: %v after %s", c.name, n, head, err, events)
				case n > c.limit && (!errors.As(err, &fe) || fe.Kind != KindLimit || !strings.Contains(err.Error(), c.says)):
					t.Errorf("%s, %d after %q: %v, want %q", c.name, n, head, err, c.says)
				}
			}
		}
	}
}

// What is wrong with a document does not depend on how its bytes arrive, also
// where a limit and another fault are near each other.
func TestScannerPieces(t *testing.T) {
	p := piecewise{T: t}
	for _, c := range atLimits {
		for n := c.limit - 1; n <= c.limit+1; n++ {
			for _, filling := range fillings(c.fill(n), c.class) {
				for _, d := range disturbances {
					for _, rest := range []string{d, d + c.after, d + strings.Repeat("x", 2*sampleBytes) + c.after, c.after + d} {
						p.scan(heads[p.docs%len(heads)] + c.before + filling + rest)
					}
				}
				if t.Failed() {
					return
				}
			}
		}
	}
	t.Logf("%d documents", p.docs)
}

// fillings are a filling as it is, and with other characters at both ends.
func fillings(fill string, class int) []string {
	all := []string{fill}
	if class != anyCharacter {
		return all
	}
	for _, with := range filledWith {
		all = append(all, with+fill[len(with):], fill[len(with):]+with)
	}
	return all
}

// The same, in documents of several windows: the beginnings of open elements are
// too far away to stay.
func TestScannerFarInside(t *testing.T) {
	p := piecewise{T: t}
	far := "<a>" + strings.Repeat("<b c='1'>text<!-- x --></b>\n", rawKept/28+1)
	for _, rest := range []string{"</a>", "", "<!no declaration of any kind>", "</b>", "<c>" + strings.Repeat("x", 401), "</a>" + strings.Repeat(" ", 1001), "<c", "<c \x01></c>", "\xc3\xbc</a>", "\xc3", "<c>&#0;</c>"} {
		for _, head := range heads {
			p.scan(head + far + rest)
		}
	}
}
