package record

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// XSD returns the XML Schema of acctpull's dialect for the records of c. The
// schema of the embedded catalogue is committed as record/accounting.xsd.
//
// It is strict: an element per sub-record, in it every field of its row sets at
// most once, in the order in which the Encoder writes them, numbers as unsigned
// 64-bit decimals or empty. Only row sets that share one element and order
// their fields in contrary ways, which is so for the row element, get any
// number of their fields in any order.
func XSD(c *Catalogue) []byte {
	var b bytes.Buffer
	b.WriteString(xsdHead)
	for _, e := range schemaElements(c) {
		e.write(&b)
	}
	b.WriteString(xsdTail)
	return b.Bytes()
}

const xsdHead = `<?xml version="1.0" encoding="UTF-8"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="` + Namespace + `" targetNamespace="` + Namespace + `" elementFormDefault="qualified" version="` + DialectVersion + `">
  <xs:annotation>
    <xs:documentation xml:lang="en">
      Accounting files of acctpull, described in docs/formats/accounting-xml.md.
      This is acctpull's own dialect, not the format of any device: that one is not public.
      Made from the record catalogue; do not edit.
    </xs:documentation>
  </xs:annotation>
  <xs:simpleType name="number.type">
    <xs:annotation>
      <xs:documentation xml:lang="en">An unsigned 64-bit number without sign or leading zeros.</xs:documentation>
    </xs:annotation>
    <xs:restriction base="xs:unsignedLong">
      <xs:pattern value="0|[1-9][0-9]*"/>
    </xs:restriction>
  </xs:simpleType>
  <xs:simpleType name="empty.type">
    <xs:restriction base="xs:string">
      <xs:length value="0"/>
    </xs:restriction>
  </xs:simpleType>
  <xs:simpleType name="count.type">
    <xs:annotation>
      <xs:documentation xml:lang="en">A number, or nothing: the device gave the field and no value.</xs:documentation>
    </xs:annotation>
    <xs:union memberTypes="number.type empty.type"/>
  </xs:simpleType>
  <xs:simpleType name="time.type">
    <xs:annotation>
      <xs:documentation xml:lang="en">UTC, whole milliseconds.</xs:documentation>
    </xs:annotation>
    <xs:restriction base="xs:dateTime">
      <xs:pattern value="[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"/>
    </xs:restriction>
  </xs:simpleType>
  <xs:simpleType name="id.type">
    <xs:restriction base="xs:positiveInteger">
      <xs:maxInclusive value="99"/>
    </xs:restriction>
  </xs:simpleType>
  <xs:simpleType name="seconds.type">
    <xs:restriction base="xs:decimal">
      <xs:minInclusive value="0"/>
      <xs:fractionDigits value="3"/>
    </xs:restriction>
  </xs:simpleType>
  <xs:simpleType name="semantics.type">
    <xs:restriction base="xs:string">
      <xs:enumeration value="` + Cumulative + `"/>
      <xs:enumeration value="` + PerInterval + `"/>
    </xs:restriction>
  </xs:simpleType>
  <xs:complexType name="field.type">
    <xs:annotation>
      <xs:documentation xml:lang="en">A field whose name is not an XML name, or that the catalogue does not know.</xs:documentation>
    </xs:annotation>
    <xs:simpleContent>
      <xs:extension base="xs:string">
        <xs:attribute name="` + attrName + `" type="xs:string" use="required"/>
      </xs:extension>
    </xs:simpleContent>
  </xs:complexType>
  <xs:attributeGroup name="record.attributes">
    <xs:attribute name="` + attrRecord + `" type="xs:string"/>
    <xs:attribute name="` + attrPolicy + `" type="id.type"/>
    <xs:attribute name="` + attrScope + `" type="xs:string"/>
    <xs:attribute name="` + attrMode + `" type="xs:string"/>
    <xs:attribute name="` + attrFinal + `" type="xs:positiveInteger"/>
  </xs:attributeGroup>
  <xs:element name="` + elemRoot + `">
    <xs:complexType>
      <xs:sequence>
        <xs:element name="` + elemLog + `" minOccurs="0">
          <xs:complexType>
            <xs:attribute name="` + attrDescription + `" type="xs:string"/>
            <xs:attribute name="` + attrReason + `" type="xs:string"/>
          </xs:complexType>
        </xs:element>
        <xs:element name="` + elemInterval + `" type="interval.type" minOccurs="0" maxOccurs="unbounded"/>
      </xs:sequence>
      <xs:attribute name="` + attrVersion + `" type="xs:string" use="required" fixed="` + DialectVersion + `"/>
      <xs:attribute name="` + attrPolicy + `" type="id.type"/>
      <xs:attribute name="` + attrFile + `" type="id.type"/>
      <xs:attribute name="` + attrRecord + `" type="xs:string"/>
      <xs:attribute name="` + attrCreated + `" type="time.type"/>
      <xs:attribute name="` + attrSeconds + `" type="seconds.type"/>
      <xs:attribute name="` + attrSemantics + `" type="semantics.type"/>
      <xs:attribute name="` + attrSystem + `" type="xs:string"/>
      <xs:attribute name="` + attrSoftware + `" type="xs:string"/>
      <xs:attribute name="` + attrZone + `" type="xs:string"/>
    </xs:complexType>
  </xs:element>
  <xs:complexType name="interval.type">
    <xs:choice minOccurs="0" maxOccurs="unbounded">
`

const xsdTail = `    </xs:choice>
    <xs:attribute name="` + attrStart + `" type="time.type"/>
    <xs:attribute name="` + attrEnd + `" type="time.type" use="required"/>
  </xs:complexType>
</xs:schema>
`

// schemaElement is one element that stands for a record.
type schemaElement struct {
	name    string
	records []string // record names that use it
	sets    []*RowSet
}

// schemaElements returns the elements of all row sets of c in catalogue order,
// and the row element last.
func schemaElements(c *Catalogue) []*schemaElement {
	row := &schemaElement{name: elemRow, records: []string{"records whose sub-record has no element of its own"}}
	var list []*schemaElement
	for _, d := range c.Definitions() {
		for _, s := range d.RowSets {
			if !isElementName(s.Sub) {
				row.sets = append(row.sets, s)
				continue
			}
			i := slices.IndexFunc(list, func(e *schemaElement) bool { return e.name == s.Sub })
			if i < 0 {
				i = len(list)
				list = append(list, &schemaElement{name: s.Sub})
			}
			e := list[i]
			e.sets = append(e.sets, s)
			if !slices.Contains(e.records, string(d.Name)) {
				e.records = append(e.records, string(d.Name))
			}
		}
	}
	return append(list, row)
}

func (e *schemaElement) write(b *bytes.Buffer) {
	fields, ordered := e.fields()
	ordered = ordered && e.name != elemRow
	fmt.Fprintf(b, "      <xs:element name=\"%s\">\n", e.name)
	fmt.Fprintf(b, "        <xs:annotation>\n          <xs:documentation xml:lang=\"en\">%s</xs:documentation>\n        </xs:annotation>\n", appendEscaped(nil, strings.Join(e.records, ", ")))
	b.WriteString("        <xs:complexType>\n")
	once := ` minOccurs="0"`
	if ordered {
		b.WriteString("          <xs:sequence>\n")
	} else {
		b.WriteString("          <xs:choice minOccurs=\"0\" maxOccurs=\"unbounded\">\n")
		once = ""
	}
	for _, name := range fields {
		fmt.Fprintf(b, "            <xs:element name=\"%s\" type=\"%s\"%s/>\n", name, e.typeOf(name), once)
	}
	if ordered {
		fmt.Fprintf(b, "            <xs:element name=\"%s\" type=\"field.type\" minOccurs=\"0\" maxOccurs=\"unbounded\"/>\n          </xs:sequence>\n", elemField)
	} else {
		fmt.Fprintf(b, "            <xs:element name=\"%s\" type=\"field.type\"/>\n          </xs:choice>\n", elemField)
	}
	if e.name == elemRow {
		fmt.Fprintf(b, "          <xs:attribute name=\"%s\" type=\"xs:string\"/>\n", attrSub)
	}
	b.WriteString("          <xs:attributeGroup ref=\"record.attributes\"/>\n        </xs:complexType>\n      </xs:element>\n")
}

// typeOf returns the type of a field: a count unless some row set has text in it.
func (e *schemaElement) typeOf(abbrev string) string {
	for _, s := range e.sets {
		if i := s.Index(abbrev); i >= 0 && !s.Fields[i].Numeric {
			return "xs:string"
		}
	}
	return "count.type"
}

// fields returns the fields that are elements, in an order in which every row
// set has its own, earliest in the catalogue first. It is false if there is no
// such order, or if a field that is not an element may stand between them.
func (e *schemaElement) fields() (order []string, ok bool) {
	ok = true
	after := map[string]map[string]bool{} // field -> the fields that must come before it
	var all []string
	for _, s := range e.sets {
		previous := ""
		for _, f := range s.Fields {
			if !isElementName(f.Abbrev) {
				ok = false
				continue
			}
			if after[f.Abbrev] == nil {
				after[f.Abbrev] = map[string]bool{}
				all = append(all, f.Abbrev)
			}
			if previous != "" {
				after[f.Abbrev][previous] = true
			}
			previous = f.Abbrev
		}
	}
	for len(all) > 0 {
		next := slices.IndexFunc(all, func(name string) bool {
			for before := range after[name] {
				if !slices.Contains(order, before) {
					return false
				}
			}
			return true
		})
		if next < 0 {
			return append(order, all...), false
		}
		order = append(order, all[next])
		all = slices.Delete(all, next, next+1)
	}
	return order, ok
}
