package gen

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"acctpull/record"
)

// Shape is how the XML around the records looks. The records are the same in
// every shape.
type Shape int

// The shapes. All but Dialect are inventions too: no device's format is public,
// and a reader must not depend on one.
const (
	Dialect    Shape = iota // acctpull's own dialect
	Attributes              // every field is an attribute of an empty element
	Pairs                   // every field is <f name="iof" value="1"/>
	Nested                  // one element per object with its keys, the meters inside it
	Prefixed                // every element has a namespace prefix; indented, CRLF line ends
)

var shapeNames = [...]string{"dialect", "attributes", "pairs", "nested", "prefixed"}

// Shapes lists every shape.
func Shapes() []Shape { return []Shape{Dialect, Attributes, Pairs, Nested, Prefixed} }

func (s Shape) String() string { return shapeNames[s] }

func (s Shape) open(w io.Writer, h record.Header) document {
	if s == Dialect {
		return record.NewWriter(w, h)
	}
	return &foreign{w: w, shape: s, header: h}
}

// foreign writes records in a shape that is not ours. Only sub-record names
// that are XML names are supported; it is for the records that have one.
type foreign struct {
	w      io.Writer
	shape  Shape
	header record.Header
	buf    []byte
	begun  bool
	object string // the object whose element is open, in the Nested shape
}

const prefix = "acc:"

func (f *foreign) add(parts ...string) {
	for _, p := range parts {
		f.buf = append(f.buf, p...)
	}
}

func (f *foreign) begin() {
	if f.begun {
		return
	}
	f.begun = true
	h := f.header
	id, file := strconv.Itoa(h.Policy), strconv.Itoa(h.FileID)
	switch f.shape {
	case Attributes:
		f.add("<statistics policyId=\"", id, "\" fileId=\"", file, "\" recordName=\"", string(h.Record), "\">\n")
	case Pairs:
		f.add("<?xml version='1.0'?><log><!-- ", string(h.Record), " --><file policy='", id, "' record='", string(h.Record), "'/>\n")
	case Nested:
		f.add("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<accountingFile>\n<policy>", id, "</policy>\n<record>", string(h.Record), "</record>\n")
	case Prefixed:
		f.add("\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<", prefix, "accountingLog xmlns:acc=\"http://example.net/accounting\" xmlns=\"urn:other\" policy=\"", id, "\" record=\"", string(h.Record), "\">\r\n")
	}
}

// BeginInterval opens an interval; see Sink.
func (f *foreign) BeginInterval(start, end time.Time) error {
	f.begin()
	s, e := start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339)
	switch f.shape {
	case Attributes:
		f.add("<collection start=\"", s, "\" end=\"", e, "\">\n")
	case Pairs:
		f.add("<interval start='", s, "' end='", e, "'>\n")
	case Nested:
		f.add("<interval>\n<start>", s, "</start>\n<end>", e, "</end>\n")
	case Prefixed:
		f.add("  <", prefix, "interval start=\"", s, "\" end=\"", e, "\">\r\n")
	}
	return nil
}

// Write writes one record; see Sink.
func (f *foreign) Write(r *record.Record) error {
	if strings.ContainsAny(r.Sub, "() ") || r.Sub == "" {
		return fmt.Errorf("generate: sub-record %q in shape %v", r.Sub, f.shape)
	}
	final := ""
	if r.Final > 0 {
		final = " final=\"" + strconv.Itoa(r.Final) + "\""
	}
	switch f.shape {
	case Attributes:
		f.add("<", r.Sub)
		for def, v := range fields(r) {
			f.field(v, " ", def.Abbrev, "=\"", "\"")
		}
		f.add(final, "/>\n")
	case Pairs:
		f.add("<", r.Sub, final, ">")
		for def, v := range fields(r) {
			f.field(v, "<f name='", def.Abbrev, "' value='", "'/>")
		}
		f.add("</", r.Sub, ">\n")
	case Nested:
		f.nested(r, final)
	case Prefixed:
		f.add("    <", prefix, r.Sub, final, ">\r\n")
		for def, v := range fields(r) {
			f.field(v, "      <"+prefix, def.Abbrev, ">", "</"+prefix)
			f.add(def.Abbrev, ">\r\n")
		}
		f.add("    </", prefix, r.Sub, ">\r\n")
	}
	if len(f.buf) > 64<<10 {
		return f.flush()
	}
	return nil
}

// nested puts the text keys on an enclosing element, once for all records of
// the object that follow each other.
func (f *foreign) nested(r *record.Record, final string) {
	mark := len(f.buf)
	for def, v := range fields(r) {
		if textKey(def) {
			f.field(v, " ", def.Abbrev, "=\"", "\"")
		}
	}
	keys := string(f.buf[mark:])
	f.buf = f.buf[:mark]
	if f.object != keys {
		f.closeObject()
		f.object = keys
		f.add("<object", keys, ">\n")
	}
	f.add("<", r.Sub, final, ">")
	for def, v := range fields(r) {
		if !textKey(def) {
			f.field(v, "<", def.Abbrev, ">", "</")
			f.add(def.Abbrev, ">")
		}
	}
	f.add("</", r.Sub, ">\n")
}

func textKey(def *record.FieldDef) bool { return def.Role == record.Key && !def.Numeric }

func (f *foreign) closeObject() {
	if f.object != "" {
		f.add("</object>\n")
		f.object = ""
	}
}

// fields yields every field that is there.
func fields(r *record.Record) iter.Seq2[*record.FieldDef, *record.Value] {
	return func(yield func(*record.FieldDef, *record.Value) bool) {
		for i := range r.Values {
			if v := &r.Values[i]; v.State != record.Absent && !yield(&r.Set.Fields[i], v) {
				return
			}
		}
	}
}

// field writes one field between pieces of markup.
func (f *foreign) field(v *record.Value, before, name, between, after string) {
	f.add(before, name, between)
	switch {
	case v.State == record.Number:
		f.buf = strconv.AppendUint(f.buf, v.N, 10)
	case strings.ContainsAny(v.Text, "&<>\"'\t\r\n"):
		var b bytes.Buffer
		xml.EscapeText(&b, []byte(v.Text)) // memory: cannot fail
		f.add(b.String())
	default:
		f.add(v.Text)
	}
	f.add(after)
}

// EndInterval closes the interval; see Sink.
func (f *foreign) EndInterval() error {
	switch f.shape {
	case Attributes:
		f.add("</collection>\n")
	case Pairs:
		f.add("</interval>\n")
	case Nested:
		f.closeObject()
		f.add("</interval>\n")
	case Prefixed:
		f.add("  </", prefix, "interval>\r\n")
	}
	return f.flush()
}

// Close ends the document.
func (f *foreign) Close() error {
	f.begin()
	switch f.shape {
	case Attributes:
		f.add("</statistics>\n")
	case Pairs:
		f.add("</log>\n")
	case Nested:
		f.add("</accountingFile>\n")
	case Prefixed:
		f.add("</", prefix, "accountingLog>\r\n")
	}
	return f.flush()
}

func (f *foreign) flush() error {
	_, err := f.w.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}
