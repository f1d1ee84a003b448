package record

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Encoder turns records into the bytes of acctpull's dialect. It owns no file:
// the caller writes the bytes wherever it likes, in the order header, then per
// interval its start, records and end, then footer. An Encoder holds no state
// but the interval that is open, so the header and footer of a file that was
// rolled over may come from another Encoder. It is not safe for concurrent use.
type Encoder struct {
	header     Header
	headerErr  error // what Header.Validate said
	err        error // why no record can be written now
	start, end time.Time
	last       *rowTags
	tags       map[rowKey]*rowTags
}

// NewEncoder returns an Encoder for files with this header. A header that does
// not pass Header.Validate makes every AppendRecord fail.
func NewEncoder(h Header) *Encoder {
	e := &Encoder{header: h, headerErr: h.Validate(), tags: map[rowKey]*rowTags{}}
	e.err = errors.Join(e.headerErr, errNoInterval)
	return e
}

var errNoInterval = errors.New("no interval is open")

// AppendHeader appends the XML declaration, the start of the root element and
// the log element. Fields of the Header that are zero are left out. Characters
// that XML forbids, which Header.Validate reports, become U+FFFD.
func (e *Encoder) AppendHeader(dst []byte) []byte {
	h := &e.header
	dst = append(dst, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<"+elemRoot+` xmlns="`+Namespace+`" `+attrVersion+`="`+DialectVersion+`"`...)
	if h.Policy != 0 {
		dst = appendIntAttr(dst, attrPolicy, h.Policy)
	}
	if h.FileID != 0 {
		dst = appendIntAttr(dst, attrFile, h.FileID)
	}
	dst = appendOptionalAttr(dst, attrRecord, string(h.Record))
	dst = appendTimeAttr(dst, attrCreated, h.Created)
	if h.Interval != 0 {
		dst = append(dst, " "+attrSeconds+`="`...)
		dst = appendSeconds(dst, h.Interval)
		dst = append(dst, '"')
	}
	dst = appendOptionalAttr(dst, attrSemantics, h.Semantics)
	dst = appendOptionalAttr(dst, attrSystem, h.System)
	dst = appendOptionalAttr(dst, attrSoftware, h.Software)
	dst = appendOptionalAttr(dst, attrZone, h.Zone)
	dst = append(dst, ">\n"...)
	if h.Description != "" || h.Reason != "" {
		dst = append(dst, "<"+elemLog...)
		dst = appendOptionalAttr(dst, attrDescription, h.Description)
		dst = appendOptionalAttr(dst, attrReason, h.Reason)
		dst = append(dst, "/>\n"...)
	}
	return dst
}

// AppendIntervalStart opens a collection interval. Both times are written in
// UTC and cut to whole milliseconds; a zero start is left out. A zero end, or a
// time outside the years 1–9999, makes AppendRecord fail.
func (e *Encoder) AppendIntervalStart(dst []byte, start, end time.Time) []byte {
	e.start, e.end = start.UTC().Truncate(time.Millisecond), end.UTC().Truncate(time.Millisecond)
	e.err = errors.Join(e.headerErr, checkInterval(e.start, e.end))
	dst = append(dst, "<"+elemInterval...)
	dst = appendTimeAttr(dst, attrStart, e.start)
	dst = appendTimeAttr(dst, attrEnd, e.end)
	return append(dst, ">\n"...)
}

func checkInterval(start, end time.Time) error {
	switch {
	case end.IsZero():
		return errors.New("the interval has no end")
	case !writableTime(end) || !start.IsZero() && !writableTime(start):
		return fmt.Errorf("the interval from year %d to %d is not in the years 1–9999", start.Year(), end.Year())
	}
	return nil
}

// AppendIntervalEnd closes the interval.
func (e *Encoder) AppendIntervalEnd(dst []byte) []byte {
	e.err = errors.Join(e.headerErr, errNoInterval)
	return append(dst, "</"+elemInterval+">\n"...)
}

// AppendFooter closes the root element.
func (e *Encoder) AppendFooter(dst []byte) []byte {
	return append(dst, "</"+elemRoot+">\n"...)
}

// AppendRecord appends one record of the open interval. If it returns an error,
// dst comes back as it was. An error is: an invalid header or interval, a
// record whose Start or End is set and is not that of the interval, a number of
// values that is not that of the row set, text in a numeric field, text that
// XML cannot carry, a negative final, and a policy above 99.
//
// Absent values are left out, Empty ones (and empty text) become empty
// elements, unknown pairs follow the known fields in their order.
func (e *Encoder) AppendRecord(dst []byte, r *Record) ([]byte, error) {
	t := e.last
	if t == nil || t.key.set != r.Set || t.key.sub != r.Sub {
		var err error
		if t, err = e.lookup(r); err != nil {
			return dst, err
		}
	}
	if err := e.check(r); err != nil {
		return dst, recordErr(t, err)
	}
	mark := len(dst)
	if r.Final == 0 && (r.Policy == 0 || r.Policy == e.header.Policy) {
		dst = append(dst, t.open...)
	} else {
		dst = e.appendOpenTag(dst, t, r, false)
	}
	dst, err := appendValues(dst, t, r, true)
	if err == errSparse {
		dst = e.appendOpenTag(dst[:mark], t, r, true)
		dst, err = appendValues(dst, t, r, false)
	}
	for i := range r.Unknown {
		if err != nil {
			break
		}
		dst, err = appendPair(dst, &r.Unknown[i])
	}
	if err != nil {
		return dst[:mark], recordErr(t, err)
	}
	return append(dst, t.close...), nil
}

func recordErr(t *rowTags, err error) error {
	return fmt.Errorf("encode %s record %q: %w", t.key.set.Record, bounded(t.sub), err)
}

// check tells what is wrong with r as a whole.
func (e *Encoder) check(r *Record) error {
	switch {
	case e.err != nil:
		return e.err
	case len(r.Values) != len(r.Set.Fields):
		return fmt.Errorf("%d values for %d fields", len(r.Values), len(r.Set.Fields))
	case r.Final < 0:
		return fmt.Errorf("final %d is negative", r.Final)
	case r.Policy < 0 || r.Policy > 99:
		return fmt.Errorf("policy %d is not in 1–99", r.Policy)
	case !r.End.IsZero() && !sameMillisecond(r.End, e.end):
		return fmt.Errorf("it ends at %v, the interval at %v", r.End.UTC(), e.end)
	case !r.Start.IsZero() && !sameMillisecond(r.Start, e.start):
		return fmt.Errorf("it starts at %v, the interval at %v", r.Start.UTC(), e.start)
	}
	return nil
}

func sameMillisecond(t, of time.Time) bool {
	return t == of || t.Truncate(time.Millisecond).Equal(of)
}

// rowKey tells which precomputed tags a record has.
type rowKey struct {
	set *RowSet
	sub string // Record.Sub as given, which may be empty or a misprint
}

// rowTags are the bytes that are the same in every record of one row set.
type rowTags struct {
	key    rowKey
	sub    string      // the sub-record name that is written
	open   []byte      // the start tag without final, policy, scope and mode
	hints  []byte      // scope and mode attributes
	close  []byte      // the end tag and a line feed
	fields []fieldTags // one per field of the row set
	size   int         // room that all fields need if they are numbers
}

// fieldTags are the bytes around the value of one field.
type fieldTags struct {
	open, close, empty tag
	numeric            bool
}

// lookup finds or makes the tags of the record's row set.
func (e *Encoder) lookup(r *Record) (*rowTags, error) {
	if r.Set == nil {
		return nil, errors.New("encode record: it has no row set")
	}
	k := rowKey{r.Set, r.Sub}
	t, ok := e.tags[k]
	if !ok {
		var err error
		if t, err = e.newTags(k); err != nil {
			return nil, err
		}
		e.tags[k] = t
	}
	e.last = t
	return t, nil
}

// newTags precomputes the tags of a row set. A row set outside the catalogue,
// or under a sub-record name that is not its own, is written by name and value
// throughout, so that the file stays valid against the schema.
func (e *Encoder) newTags(k rowKey) (*rowTags, error) {
	t := &rowTags{key: k, sub: k.sub}
	if t.sub == "" {
		t.sub = k.set.Sub
	}
	for _, s := range []string{t.sub, string(k.set.Record), k.set.Scope, k.set.CounterMode} {
		if err := checkText(s); err != nil {
			return nil, fmt.Errorf("encode record: row set: %w", err)
		}
	}
	known := k.set.Known && t.sub == k.set.Sub
	name := t.sub
	if known && isElementName(name) {
		t.open = append(t.open, "<"+name...)
	} else {
		name = elemRow
		t.open = append(t.open, "<"+elemRow...)
		t.open = appendOptionalAttr(t.open, attrSub, t.sub)
	}
	if k.set.Record != e.header.Record {
		t.open = appendOptionalAttr(t.open, attrRecord, string(k.set.Record))
	}
	t.open = append(t.open, '>')
	t.hints = appendOptionalAttr(t.hints, attrScope, k.set.Scope)
	t.hints = appendOptionalAttr(t.hints, attrMode, k.set.CounterMode)
	t.close = append(t.close, "</"+name+">\n"...)
	for i := range k.set.Fields {
		f := &k.set.Fields[i]
		if err := checkText(f.Abbrev); err != nil {
			return nil, fmt.Errorf("encode record: field name: %w", err)
		}
		tags := newFieldTags(f, known)
		t.fields = append(t.fields, tags)
		t.size += len(tags.open.text) + maxDigits + len(tags.close.text)
	}
	t.size += shortTag // a short tag is written with what lies behind it
	return t, nil
}

func newFieldTags(f *FieldDef, known bool) fieldTags {
	start, name := "<"+f.Abbrev, f.Abbrev
	if !known || !isElementName(f.Abbrev) {
		start, name = string(appendAttr([]byte("<"+elemField), attrName, f.Abbrev)), elemField
	}
	return fieldTags{open: newTag(start + ">"), close: newTag("</" + name + ">"), empty: newTag(start + "/>"), numeric: f.Numeric}
}

// appendOpenTag appends a start tag with the attributes that most records lack.
func (e *Encoder) appendOpenTag(dst []byte, t *rowTags, r *Record, hints bool) []byte {
	dst = append(dst, t.open[:len(t.open)-1]...)
	if hints {
		dst = append(dst, t.hints...)
	}
	if r.Policy != 0 && r.Policy != e.header.Policy {
		dst = appendIntAttr(dst, attrPolicy, r.Policy)
	}
	if r.Final != 0 {
		dst = appendIntAttr(dst, attrFinal, r.Final)
	}
	return append(dst, '>')
}

// errSparse tells that a field is absent, so the start tag must be another one.
var errSparse = errors.New("a field is absent")

// appendValues appends the fields that are there. If full is set and one is
// absent, it stops with errSparse.
func appendValues(dst []byte, t *rowTags, r *Record, full bool) ([]byte, error) {
	buf, at := room(dst, t)
	for i := range t.fields {
		f, v := &t.fields[i], &r.Values[i]
		if v.State == Number {
			at = f.open.put(buf, at)
			at = putUint(buf, at, v.N)
			at = f.close.put(buf, at)
			continue
		}
		if v.State == Absent {
			if full {
				return buf[:at], errSparse
			}
			continue
		}
		dst, err := appendNonNumber(buf[:at], t, i, v)
		if err != nil {
			return dst, err
		}
		buf, at = room(dst, t)
	}
	return buf[:at], nil
}

// room makes room behind dst for a record of numbers, and returns all there is
// and where to go on writing.
func room(dst []byte, t *rowTags) (buf []byte, at int) {
	buf = slices.Grow(dst, t.size)
	return buf[:cap(buf)], len(buf)
}

func appendNonNumber(dst []byte, t *rowTags, i int, v *Value) ([]byte, error) {
	f := &t.fields[i]
	if v.State == Empty || v.State == Text && v.Text == "" && !f.numeric {
		return append(dst, f.empty.text...), nil
	}
	name := t.key.set.Fields[i].Abbrev
	if v.State != Text {
		return dst, fmt.Errorf("field %q: state %d is unknown", name, v.State)
	}
	if f.numeric {
		return dst, fmt.Errorf("field %q is numeric and holds the text %q", name, bounded(v.Text))
	}
	dst = append(dst, f.open.text...)
	dst, err := appendText(dst, v.Text)
	if err != nil {
		return dst, fmt.Errorf("field %q: %w", name, err)
	}
	return append(dst, f.close.text...), nil
}

func appendPair(dst []byte, p *Pair) ([]byte, error) {
	dst = append(dst, "<"+elemField+" "+attrName+`="`...)
	dst, err := appendText(dst, p.Name)
	if err != nil {
		return dst, fmt.Errorf("name of an unknown field: %w", err)
	}
	if p.Text == "" {
		return append(dst, `"/>`...), nil
	}
	dst = append(dst, `">`...)
	if dst, err = appendText(dst, p.Text); err != nil {
		return dst, fmt.Errorf("unknown field %q: %w", bounded(p.Name), err)
	}
	return append(dst, "</"+elemField+">"...), nil
}
