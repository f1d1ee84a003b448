package record

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"acctpull/internal/need"
)

// scan runs the scanner over a document and returns its events as text.
func scan(src io.Reader, lim Limits) (string, error) {
	return new(scanner).events(src, lim)
}

// events is scan with a scanner of which the window is used again.
func (s *scanner) events(src io.Reader, lim Limits) (string, error) {
	lim = lim.withDefaults()
	s.reset(src, "doc.xml", &lim)
	var b strings.Builder
	text := ""
	flush := func() {
		if text != "" {
			fmt.Fprintf(&b, "%q", text)
		}
		text = ""
	}
	depth := 0
	for {
		kind, err := s.next()
		if err != nil {
			return b.String(), err
		}
		switch kind {
		case tokenStart:
			flush()
			depth++
			fmt.Fprintf(&b, "<%s", s.elem.full)
			for _, a := range s.attrs {
				fmt.Fprintf(&b, " %s=%q", a.name.full, a.value)
				if a.raw >= 0 && string(s.buf[a.raw-s.base:][:len(a.value)]) != string(a.value) {
					return "", fmt.Errorf("attribute %s does not stand at its place", a.name.full)
				}
			}
			b.WriteByte('>')
		case tokenText:
			if s.textRaw >= 0 && string(s.buf[s.textRaw-s.base:][:len(s.text)]) != string(s.text) {
				return "", errors.New("text does not stand at its place")
			}
			text += string(s.text)
		case tokenEnd:
			flush()
			depth--
			b.WriteString("</>")
		case tokenEOF:
			if depth != 0 {
				return "", fmt.Errorf("the end came at depth %d", depth)
			}
			return b.String(), nil
		}
	}
}

// accepted documents, and what is in them.
var accepted = []struct{ doc, events string }{
	{`<a/>`, `<a></>`},
	{"\ufeff<a/>", `<a></>`},
	{" \r\n\t<a></a >\n", `<a></>`},
	{`<?xml version="1.0"?><a/>`, `<a></>`},
	{`<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><a/>`, `<a></>`},
	{`<?xml version="1.0" standalone="no"?><a/>`, `<a></>`},
	{`<?xml version = "1.0" encoding="us-ascii"?><a>x</a>`, `<a>"x"</>`},
	{`<a b="1" c='2'  d = "3"/>`, `<a b="1" c="2" d="3"></>`},
	{"<a\n\tb='x\ny'\r\n/>", `<a b="x y"></>`},
	{`<a b="&lt;&gt;&amp;&quot;&apos;&#65;&#x42;&#9;">&#10;&#xD;&#x1F600;</a>`, `<a b="<>&\"'AB\t">"\n\r😀"</>`},
	{"<a>x\r\ny\rz\n</a>", `<a>"x\ny\nz\n"</>`},
	{"<a b='x\r\ny\rz'/>", `<a b="x y z"></>`},
	{`<a><!-- <b> & - -->x<![CDATA[<b>&amp;]]]]>y<?p <q> ?>z</a>`, `<a>"x<b>&amp;]]yz"</>`},
	{`<!-- c --><?p?><a/><!----><?p x?>`, `<a></>`},
	{`<a><b><c/></b><b>t</b></a>`, `<a><b><c></></><b>"t"</></>`},
	{`<n:a xmlns:n="urn:x"><n:b n:c="1" c="2"/></n:a>`, `<n:a xmlns:n="urn:x"><n:b n:c="1" c="2"></></>`},
	{`<größe 東="京">Ω</größe>`, `<größe 東="京">"Ω"</>`},
	{`<_a.b-c1 _="."/>`, `<_a.b-c1 _="."></>`},
	{"<a>\u0085\u009b\u202e</a>", "<a>\"\\u0085\\u009b\\u202e\"</>"},
	{`<a>]] > ]></a>`, `<a>"]] > ]>"</>`},
	{`<a/><!--->--><!---->`, `<a></>`},
	{`<a>"'</a>`, `<a>"\"'"</>`},
	{`<a b=">"/>`, `<a b=">"></>`},
	{`<a b='"' c="'"/>`, `<a b="\"" c="'"></>`},
	{"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a b='\xe4'>\xfc\xb1\xff</a>", `<a b="ä">"ü±ÿ"</>`},
}

func TestScannerAccepts(t *testing.T) {
	for _, c := range accepted {
		for _, src := range sources(c.doc) {
			got, err := scan(src, Limits{})
			if err != nil || got != c.events {
				t.Errorf("%q:\n got %s, %v\nwant %s", c.doc, got, err, c.events)
			}
		}
	}
}

// sources gives a document in one piece and in many.
func sources(doc string) []io.Reader {
	return []io.Reader{strings.NewReader(doc), iotest.OneByteReader(strings.NewReader(doc)), iotest.DataErrReader(strings.NewReader(doc))}
}

// refused are documents that are not well-formed, with a part of the message.
var refused = []struct{ doc, says string }{
	// structure (X5)
	{`<a></b>`, `</b>`}, {`<a></A>`, "does not match"}, {`<a></ab>`, "does not match"}, {`<ab></a>`, "does not match"},
	{`<a></a x>`, "more than its name"}, {`</a>`, "without a start tag"}, {`<a/></a>`, "without a start tag"},
	{`<a/><b/>`, "second root"}, {`<a/>x`, `text after the root element: "x"`}, {`x<a/>`, "before the root"}, {`<a/>&amp;`, "after the root"},
	{`<a/><![CDATA[x]]>`, "outside the root"}, {`<![CDATA[x]]><a/>`, "outside the root"}, {"\x00\x00<a/>", "UTF-16"},
	{`<a><b></a></b>`, "does not match start tag <b>"},
	// tags
	{`< a/>`, "no name"}, {`<>`, "no name"}, {`<1a/>`, "no name"}, {`<-a/>`, "no name"}, {`<a<b/>`, "no space"}, {`<a b/>`, "no value"}, {`<a b=/>`, "not quoted"},
	{`<a b=1/>`, "not quoted"}, {`<a b="1"c="2"/>`, "no space"}, {`<a/ >`, "no space"}, {`<a b="<"/>`, `"<"`}, {`<a b="1" b="1"/>`, "stands twice"},
	{`<a b="1" c="2" d="3" e="4" f="5" g="6" h="7" i="8" j="9" c="0"/>`, "stands twice"}, {`<a:/>`, "colon"}, {`<:a/>`, "colon"}, {`<a:b:c/>`, "colon"}, {`<a:1/>`, "colon"}, {`<a b:="1"/>`, "colon"}, {`<a =""/>`, "no name"},
	// references
	{`<a>&</a>`, "ampersand"}, {`<a>&foo;</a>`, "not defined"}, {`<a>&amp</a>`, "ampersand"}, {`<a>&#;</a>`, "reference"}, {`<a>&#x;</a>`, "reference"},
	{`<a>&#0;</a>`, "not a character"}, {`<a>&#xD800;</a>`, "not a character"}, {`<a>&#xFFFE;</a>`, "not a character"}, {`<a>&#27;</a>`, "not a character"},
	{`<a>&#x110000;</a>`, "not a character"}, {`<a>&#99999999999999999999;</a>`, "not a character"}, {`<a>&#1a;</a>`, "not a number"}, {`<a>&#X41;</a>`, "not a number"}, {`<a>& amp;</a>`, "not defined"},
	{`<a b="&foo;"/>`, "not defined"}, {`<a b="&"/>`, "ampersand"}, {`<a>&LT;</a>`, "not defined"},
	// characters
	{"<a>\x00</a>", "U+0000"}, {"<a>\x1b[2J</a>", "U+001B"}, {"<a b='\x08'/>", "U+0008"}, {"<a>\uFFFE</a>", "U+FFFE"}, {"<a>\uFFFF</a>", "U+FFFF"},
	{"<a>\xff</a>", "not UTF-8"}, {"<a>\xc3</a>", "not UTF-8"}, {"<a>\xed\xa0\x80</a>", "not UTF-8"}, {"<a>\xc0\x80</a>", "not UTF-8"}, {"<a>\xf5\x80\x80\x80</a>", "not UTF-8"},
	{"<a \xff='1'/>", "not UTF-8"}, {"<\xffa/>", "not UTF-8"}, {"<!-- \xff --><a/>", "not UTF-8"}, {"<a><!-- \x01 --></a>", "U+0001"}, {"<a><![CDATA[\x01]]></a>", "U+0001"}, {"<?p \x01?><a/>", "U+0001"},
	{"<a\u00d7/>", "no space"}, {"<a>]]></a>", `"]]>"`},
	// comments, instructions, sections
	{`<!-- -- --><a/>`, `"--"`}, {`<!----- --><a/>`, `"--"`}, {`<!-- x ---><a/>`, `"--"`}, {`<!- x --><a/>`, "not allowed"}, {`<? p?><a/>`, "no name"}, {`<?p+?><a/>`, "name of a processing"},
	{` <?xml version="1.0"?><a/>`, "not at the very beginning"}, {`<a><?xml version="1.0"?></a>`, "not at the very beginning"}, {`<?XML x?><a/>`, "not at the very beginning"}, {`<a><![cdata[x]]></a>`, "not allowed"}, {`<a><!x></a>`, "not allowed"},
	// declaration
	{`<?xml?><a/>`, "not at the very beginning"}, {`<?xml ?><a/>`, "no version"}, {`<?xml encoding="UTF-8"?><a/>`, "version, then encoding"}, {`<?xml version="1.0" standalone="yes" encoding="UTF-8"?><a/>`, "version, then encoding"},
	{`<?xml version="1.0" standalone="maybe"?><a/>`, "neither yes nor no"}, {`<?xml version="1.0" more="x"?><a/>`, "version, then encoding"}, {`<?xml version="1.0"encoding="UTF-8"?><a/>`, "no space"}, {`<?xml version="1.0"><a/>`, "not closed"},
	{`<?xml version="1.0" version="1.0"?><a/>`, "twice"}, {`<?xml version=1.0?><a/>`, "not quoted"},
}

// refusedByPolicy are documents that a conforming parser may take, and we do not.
var refusedByPolicy = []struct{ doc, says string }{
	// X1, X2: nothing of a document type is looked at
	{`<!DOCTYPE a><a/>`, "document type declaration is refused"},
	{`<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a/>`, "document type declaration is refused"},
	{`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`, "document type declaration is refused"},
	{`<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><lolz>&b;</lolz>`, "document type declaration is refused"},
	{`<a><!DOCTYPE a></a>`, "document type declaration is refused"},
	{`<?xml version="1.1"?><a/>`, `version "1.1"`},
	// X7: encodings
	{`<?xml version="1.0" encoding="windows-1252"?><a/>`, `"windows-1252" is not supported`},
	{`<?xml version="1.0" encoding="UTF-16"?><a/>`, `"UTF-16" is not supported`},
	{"\xff\xfe<\x00a\x00/\x00>\x00", "UTF-16"}, {"\xfe\xff\x00<\x00a", "UTF-16"}, {"<\x00a\x00/\x00>\x00", "UTF-16"}, {"\x00<\x00a\x00/\x00>", "UTF-16"}, {"\x00\x00\xfe\xff", "UTF-16"},
	{"<a>Z\xfcrich</a>", "0xfc is not UTF-8"},
	{"<?xml version='1.0' encoding='UTF-8'?><a>Z\xfcrich</a>", "0xfc is not UTF-8"},
	{"<?xml version='1.0' encoding='ISO-8859-1'?><a>Zürich</a>", "declares ISO-8859-1"},
	{"<?xml version='1.0' encoding='ISO-8859-1'?><a>\x80uro</a>", "declares ISO-8859-1"},
	{"\ufeff<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "one of them lies"},
	{"<?xml version='1.0' encoding='US-ASCII'?><a>ü</a>", "declares US-ASCII"},
}

func TestScannerRefuses(t *testing.T) {
	for _, c := range append(append(refused[:0:0], refused...), refusedByPolicy...) {
		for _, src := range sources(c.doc) {
			events, err := scan(src, Limits{})
			var fe *FileError
			if !errors.As(err, &fe) || fe.Kind != KindXML {
				t.Errorf("%q: %v after %s", c.doc, err, events)
				break
			}
			if !strings.Contains(err.Error(), c.says) || fe.Offset > int64(len(c.doc)) {
				t.Errorf("%q: %v, want %q", c.doc, err, c.says)
				break
			}
		}
	}
}

// Errors tell file, byte and the way to the element.
func TestScannerErrorPlace(t *testing.T) {
	_, err := scan(strings.NewReader("<a><n:b x='1'><c>text</c><d>&no;</d></n:b></a>"), Limits{})
	var fe *FileError
	if !errors.As(err, &fe) || fe.File != "doc.xml" || fe.Offset != 28 || fe.Path != "/a/n:b/d" {
		t.Fatalf("%+v", fe)
	}
	if got, want := err.Error(), `read doc.xml: xml: entity "no" is not defined (byte 28 in /a/n:b/d)`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if strings.ContainsAny(func() string {
		_, err := scan(strings.NewReader("<a>\x1b[2J</a>"), Limits{})
		return err.Error()
	}(), "\x1b\n") {
		t.Error("an escape sequence reached the message")
	}
}

// libxml2 agrees on what is well-formed.
func TestScannerAgainstLibxml2(t *testing.T) {
	xmllint := need.Tool(t, "xmllint")
	dir := t.TempDir()
	check := func(doc string) error {
		file := filepath.Join(dir, "doc.xml")
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(xmllint, "--noout", "--nonet", file).Run()
	}
	for _, c := range accepted {
		if err := check(c.doc); err != nil {
			t.Errorf("xmllint does not take %q: %v", c.doc, err)
		}
	}
	for _, c := range refused {
		if strings.Contains(c.says, "colon") {
			continue // of namespaces, which xmllint only warns of
		}
		if err := check(c.doc); err == nil {
			t.Errorf("xmllint takes %q", c.doc)
		}
	}
}

// X3, X4: limits hold, and hostile documents do not fill the memory.
func TestScannerLimits(t *testing.T) {
	long := func(open string, n int, close string) io.Reader {
		return io.MultiReader(strings.NewReader(open), io.LimitReader(xs{}, int64(n)), strings.NewReader(close))
	}
	attributes := func(n int) string {
		var b strings.Builder
		b.WriteString("<a")
		for i := range n {
			fmt.Fprintf(&b, " a%d='%d'", i, i)
		}
		return b.String() + "/>"
	}
	nested := func(n int) io.Reader {
		return io.MultiReader(strings.NewReader(strings.Repeat("<a>", n)), strings.NewReader(strings.Repeat("</a>", n)))
	}
	const mega = 1 << 20
	for _, c := range []struct {
		name string
		src  io.Reader
		says string // "" means accepted
	}{
		{"depth 64", nested(64), ""},
		{"depth 65", nested(65), "64 elements deep"},
		{"depth 1 M", nested(mega), "64 elements deep"},
		{"attribute at the limit", long("<a b='", 64<<10, "'/>"), ""},
		{"attribute above it", long("<a b='", 64<<10+1, "'/>"), "attribute value longer"},
		{"attribute of 64 MiB", long("<a b='", 64*mega, "'/>"), "attribute value longer"},
		{"text at the limit", long("<a>", 64<<10, "</a>"), ""},
		{"text above it", long("<a>", 64<<10+1, "</a>"), "text longer"},
		{"text of 64 MiB", long("<a>", 64*mega, "</a>"), "text longer"},
		{"section above the limit", long("<a><![CDATA[", 64<<10+1, "]]></a>"), "CDATA section longer"},
		{"section of 64 MiB", long("<a><![CDATA[", 64*mega, "]]></a>"), "CDATA section longer"},
		{"comment of 500 KiB", long("<a><!--", mega/2, "--></a>"), ""},
		{"comment of 64 MiB", long("<a><!--", 64*mega, "--></a>"), "comment longer"},
		{"instruction of 64 MiB", long("<a><?p ", 64*mega, "?></a>"), "instruction longer"},
		{"many comments", strings.NewReader("<a>" + strings.Repeat("<!--"+strings.Repeat("x", 1000)+"-->", 1100) + "</a>"), "without a tag"},
		{"many comments before the root", strings.NewReader(strings.Repeat("<!--"+strings.Repeat("x", 1000)+"-->", 1100) + "<a/>"), "without a tag"},
		{"much white space after the root", io.MultiReader(strings.NewReader("<a/>"), strings.NewReader(strings.Repeat(" ", 2*mega))), "without a tag"},
		{"name at the limit", strings.NewReader("<" + strings.Repeat("n", 256) + "/>"), ""},
		{"name above it", strings.NewReader("<" + strings.Repeat("n", 257) + "/>"), "name longer"},
		{"name of 64 MiB", long("<", 64*mega, "/>"), "tag longer"},
		{"256 attributes", strings.NewReader(attributes(256)), ""},
		{"257 attributes", strings.NewReader(attributes(257)), "256 attributes"},
		{"1 M attributes", strings.NewReader(attributes(mega)), "tag longer"},
		{"end tag of 64 MiB", long("<a></a", 64*mega, ">"), "tag longer"},
		{"declaration of 64 MiB", long("<?xml version='", 64*mega, "'?>"), "XML declaration longer"},
		{"window edges", strings.NewReader("<a>" + strings.Repeat("<b c='"+strings.Repeat("x", 60_000)+"'>"+strings.Repeat("y", 60_000)+"</b>", 20) + "</a>"), ""},
	} {
		lim := DefaultLimits()
		var s scanner
		s.reset(c.src, "", &lim)
		var err error
		for kind := tokenNone; err == nil && kind != tokenEOF; {
			kind, err = s.next()
		}
		switch fe := (*FileError)(nil); {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.says != "" && (!errors.As(err, &fe) || fe.Kind != KindLimit || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if len(s.buf) > 4*mega {
			t.Errorf("%s: the window grew to %d bytes", c.name, len(s.buf))
		}
	}
}

// xs is an endless source of the letter x.
type xs struct{}

func (xs) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// FuzzScanner: what the scanner takes, encoding/xml takes too and sees the same
// in it, and the size of the pieces does not matter.
func FuzzScanner(f *testing.F) {
	for _, c := range accepted {
		f.Add([]byte(c.doc))
	}
	for _, c := range refused {
		f.Add([]byte(c.doc))
	}
	for _, c := range refusedByPolicy {
		f.Add([]byte(c.doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := scan(bytes.NewReader(doc), tight)
		small := scanner{buf: make([]byte, smallWindow)} // grows or moves all the time
		bytewise, bytewiseErr := small.events(iotest.OneByteReader(bytes.NewReader(doc)), tight)
		if got != bytewise || fmt.Sprint(err) != fmt.Sprint(bytewiseErr) {
			t.Fatalf("in one piece %s, %v\nbyte by byte %s, %v", got, err, bytewise, bytewiseErr)
		}
		if err != nil {
			if fe := (*FileError)(nil); !errors.As(err, &fe) {
				t.Fatalf("an unexplained error: %v", err)
			}
			return
		}
		want, err := stdEvents(doc)
		if err != nil && strings.Contains(err.Error(), "invalid XML name") && bytes.ContainsFunc(doc, func(r rune) bool { return r >= 0x80 }) {
			return // it knows the names of the fourth edition only
		}
		if err != nil {
			t.Fatalf("accepted as %s, but encoding/xml says: %v", got, err)
		}
		// encoding/xml does not normalise white space in attribute values
		spaces := strings.NewReplacer(`\n`, " ", `\t`, " ", `\r`, " ")
		if spaces.Replace(got) != spaces.Replace(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

// declaration is what encoding/xml reads only without space around "=".
var declaration = regexp.MustCompile(`^\x{feff}?<\?xml\s[^>]*\?>`)
var equals = regexp.MustCompile(`\s*=\s*`)

// stdEvents are the events that encoding/xml sees.
func stdEvents(doc []byte) (string, error) {
	doc = declaration.ReplaceAllFunc(doc, func(decl []byte) []byte { return equals.ReplaceAll(decl, []byte("=")) })
	d := xml.NewDecoder(bytes.NewReader(doc))
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if encodings[strings.ToLower(charset)] != latin1Encoding {
			return r, nil
		}
		rest, err := io.ReadAll(r)
		var b bytes.Buffer
		for _, c := range rest {
			b.WriteRune(rune(c))
		}
		return &b, err
	}
	var b strings.Builder
	text := ""
	depth := 0
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		if _, ok := tok.(xml.CharData); !ok && text != "" {
			switch tok.(type) {
			case xml.StartElement, xml.EndElement:
				if depth > 0 {
					fmt.Fprintf(&b, "%q", text)
				}
				text = ""
			}
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			depth++
			fmt.Fprintf(&b, "<%s", rawName(tok.Name))
			for _, a := range tok.Attr {
				fmt.Fprintf(&b, " %s=%q", rawName(a.Name), a.Value)
			}
			b.WriteByte('>')
		case xml.EndElement:
			depth--
			b.WriteString("</>")
		case xml.CharData:
			if depth > 0 {
				text += string(tok)
			}
		}
	}
}

func rawName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}
