package policy

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"acctpull/internal/strictyaml"
	"acctpull/record"
)

// What the tables of keys are made of; package strictyaml has the kinds of keys
// that every configuration needs.
type (
	key[T any] = strictyaml.Key[T]
	decoder    = strictyaml.Decoder
	printer    = strictyaml.Printer
	schema     = strictyaml.Schema
	given      = strictyaml.Given
)

// countKey is a whole number from 1 to most. In Go its zero means the default,
// so in the YAML 0 is refused here.
func countKey[T any](name string, most int, doc string, at func(*T) *int) key[T] {
	k := strictyaml.NumberKey(name, 1, most, doc, at)
	k.Set = func(d *decoder, k string, n *yaml.Node, v *T) bool { return positive(d, k, n, most, at(v)) }
	return k
}

// anyWord and plainWord are for words that a rule judges, not the parser.
func anyWord(s string) (string, bool) { return s, true }
func plainWord(s string) string       { return s }

const (
	patternLine  = `^[ -~]{0,%d}$`
	patternLabel = `^[!-~]([ -~]{0,%d}[!-~])?$`
	patternFree  = `^[^\x00-\x1f\x7f]{1,%d}$`
	patternLink  = `^[!-.0-9;-~]{1,%d}$`
)

var (
	line80    = strictyaml.TextShape{Type: "text", Limits: fmt.Sprintf("up to %d printable ASCII characters", MaxDescription), Pattern: fmt.Sprintf(patternLine, MaxDescription)}
	label     = strictyaml.TextShape{Type: "text", Limits: fmt.Sprintf("up to %d printable ASCII characters", MaxText), Pattern: fmt.Sprintf(patternLabel, MaxText-2)}
	directory = strictyaml.TextShape{Type: "directory", Limits: fmt.Sprintf("up to %d bytes", maxDirPath), Pattern: fmt.Sprintf(patternFree, maxDirPath)}
	linkName  = strictyaml.TextShape{Type: "link name", Limits: fmt.Sprintf("1–%d bytes", MaxLink), Pattern: fmt.Sprintf(patternLink, MaxLink)}
)

func freeText(limits string, most int) strictyaml.TextShape {
	return strictyaml.TextShape{Type: "text", Limits: limits, Pattern: fmt.Sprintf(patternFree, most)}
}

func recordKey[T any](name, doc string, at func(*T) *record.Name) key[T] {
	var names []string
	for _, d := range record.Builtin().Definitions() {
		if _, ok := ParseType(d.PolicyType); ok {
			names = append(names, string(d.Name))
		}
	}
	k := strictyaml.TextKey(name, strictyaml.TextShape{Type: "record name", Limits: "one name; `acctpull records` lists them"}, doc, func(v *T) *string { return (*string)(at(v)) })
	// A name may be written in any case, and the catalogue can be another one.
	k.Schema = schema{"anyOf": []schema{{"enum": names}, {"type": "string", "pattern": "^[A-Za-z0-9-]+$"}}}
	return k
}

func destinationKey[T any](name, doc string, at func(*T) *Destination) key[T] {
	return key[T]{Name: name, Type: "`file N` or `no-file`", Limits: "a file-id that no other policy uses", Doc: doc,
		Schema: schema{"type": "string", "pattern": "^(no-file|file 0*[1-9][0-9]?)$"},
		Set:    func(d *decoder, k string, n *yaml.Node, v *T) bool { return destination(d, k, n, at(v)) },
		Get:    func(_ printer, v *T) *yaml.Node { return strictyaml.TextNode(at(v).String()) }}
}
