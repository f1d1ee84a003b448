package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"acctpull/record"
)

// key is one key of a mapping of T: how its value is read, printed, documented
// and described to an editor. The functions below make keys.
type key[T any] struct {
	name   string
	typ    string // the kind of value, for people
	limits string // the range of the value, for people
	def    string // the default, for people
	doc    string
	must   bool   // a mapping without the key is a mistake
	schema schema // what JSON Schema says of the value
	// set reads the value; false if it could not.
	set func(d *decoder, k string, n *yaml.Node, v *T) bool
	// get returns the value, or nil if the key can be left out.
	get func(p printer, v *T) *yaml.Node
}

// required marks a key without which its mapping is a mistake.
func (k key[T]) required() key[T] {
	k.must, k.def = true, "required"
	return k
}

// or says in words what holds if the key is left out.
func (k key[T]) or(def string) key[T] {
	k.def = def
	return k
}

// byDefault says which value holds if the key is left out.
func (k key[T]) byDefault(v any) key[T] {
	k.def, k.schema = fmt.Sprint(v), k.schema.with("default", v)
	return k
}

// only says in words which values are taken.
func (k key[T]) only(limits string) key[T] {
	k.limits = limits
	return k
}

// in names the unit of a number.
func (k key[T]) in(unit string) key[T] {
	k.limits += " " + unit
	return k
}

func limitsOf(lo, hi int) string { return fmt.Sprintf("%d–%d", lo, hi) }

// numberKey is a whole number from lo to hi. The rules check the range.
func numberKey[T any](name string, lo, hi int, doc string, at func(*T) *int) key[T] {
	return key[T]{name: name, typ: "number", limits: limitsOf(lo, hi), doc: doc,
		schema: schema{"type": "integer", "minimum": lo, "maximum": hi},
		set:    func(d *decoder, k string, n *yaml.Node, v *T) bool { return d.integer(k, n, at(v)) },
		get: func(_ printer, v *T) *yaml.Node {
			if *at(v) == 0 {
				return nil
			}
			return scalar("!!int", strconv.Itoa(*at(v)))
		}}
}

// countKey is a whole number from 1 to most. In Go its zero means the default,
// so in the YAML 0 is refused here.
func countKey[T any](name string, most int, doc string, at func(*T) *int) key[T] {
	k := numberKey(name, 1, most, doc, at)
	k.set = func(d *decoder, k string, n *yaml.Node, v *T) bool { return d.positive(k, n, most, at(v)) }
	return k
}

func seedKey[T any](name, doc string, at func(*T) *uint64) key[T] {
	return key[T]{name: name, typ: "number", limits: "0 to 2^64-1", doc: doc,
		schema: schema{"type": "integer", "minimum": 0, "maximum": uint64(math.MaxUint64)},
		set:    func(d *decoder, k string, n *yaml.Node, v *T) bool { return d.seed(k, n, at(v)) },
		get: func(_ printer, v *T) *yaml.Node {
			if *at(v) == 0 {
				return nil
			}
			return scalar("!!int", strconv.FormatUint(*at(v), 10))
		}}.byDefault(0)
}

// spanKey is a duration in whole units. The rules check the range.
func spanKey[T any](name string, lo, hi, unit time.Duration, doc string, at func(*T) *time.Duration) key[T] {
	return key[T]{name: name, typ: units[unit], limits: limitsOf(int(lo/unit), int(hi/unit)) + " " + units[unit], doc: doc,
		schema: schema{"type": []string{"integer", "string"}, "minimum": int(lo / unit), "maximum": int(hi / unit), "pattern": "^[0-9]+[mhd]?$"},
		set:    func(d *decoder, k string, n *yaml.Node, v *T) bool { return d.duration(k, n, unit, at(v)) },
		get: func(_ printer, v *T) *yaml.Node {
			switch d := *at(v); {
			case d == 0:
				return nil
			case d%unit == 0:
				return scalar("!!int", strconv.FormatInt(int64(d/unit), 10))
			case d%time.Minute == 0:
				return scalar("!!str", strconv.FormatInt(int64(d/time.Minute), 10)+"m")
			default:
				return scalar("!!str", d.String()) // no YAML can say it; Load refuses it
			}
		}}
}

// flagKey is true or false.
func flagKey[T any](name string, def bool, doc string, at func(*T) *bool) key[T] {
	return key[T]{name: name, typ: "true or false", doc: doc,
		schema: schema{"type": "boolean"},
		set:    func(d *decoder, k string, n *yaml.Node, v *T) bool { return d.boolean(k, n, at(v)) },
		get: func(p printer, v *T) *yaml.Node {
			if *at(v) == def && !p.defaults {
				return nil
			}
			return scalar("!!bool", strconv.FormatBool(*at(v)))
		}}.byDefault(def)
}

// wordKey is one of a few words. The zero value of V is left out, unless it has
// a word of its own and defaults are printed.
func wordKey[T any, V comparable](name string, words []string, doc string, at func(*T) *V, parse func(string) (V, bool), str func(V) string) key[T] {
	commas := strings.Join(words, ", ")
	limits := commas
	if len(words) == 2 {
		limits = words[0] + " or " + words[1]
	}
	return key[T]{name: name, typ: "word", limits: limits, doc: doc,
		schema: schema{"enum": words},
		set: func(d *decoder, k string, n *yaml.Node, v *T) bool {
			if !d.kind(k, n, yaml.ScalarNode) {
				return false
			}
			w, ok := parse(n.Value)
			if !ok {
				d.fail(RuleValue, n.Line, k, "%q is none of %s", bounded(n.Value), commas)
				return false
			}
			*at(v) = w
			return true
		},
		get: func(p printer, v *T) *yaml.Node {
			var zero V
			w := str(*at(v))
			if *at(v) == zero && !p.defaults || w == "" {
				return nil
			}
			return scalar("!!str", w)
		}}
}

// anyWord and plainWord are for words that a rule judges, not the parser.
func anyWord(s string) (string, bool) { return s, true }
func plainWord(s string) string       { return s }

// textShape is what a text may be.
type textShape struct{ typ, limits, pattern string }

const (
	patternLine  = `^[ -~]{0,%d}$`
	patternLabel = `^[!-~]([ -~]{0,%d}[!-~])?$`
	patternFree  = `^[^\x00-\x1f\x7f]{1,%d}$`
	patternLink  = `^[!-.0-9;-~]{1,%d}$`
)

var (
	line80    = textShape{"text", fmt.Sprintf("up to %d printable ASCII characters", MaxDescription), fmt.Sprintf(patternLine, MaxDescription)}
	label     = textShape{"text", fmt.Sprintf("up to %d printable ASCII characters", MaxText), fmt.Sprintf(patternLabel, MaxText-2)}
	directory = textShape{"directory", fmt.Sprintf("up to %d bytes", maxDirPath), fmt.Sprintf(patternFree, maxDirPath)}
	linkName  = textShape{"link name", fmt.Sprintf("1–%d bytes", MaxLink), fmt.Sprintf(patternLink, MaxLink)}
)

func freeText(limits string, most int) textShape {
	return textShape{"text", limits, fmt.Sprintf(patternFree, most)}
}

// textKey is text. Any scalar is taken as it is written, so that service 0100
// stays 0100, and so the schema takes numbers too.
func textKey[T any](name string, shape textShape, doc string, at func(*T) *string) key[T] {
	return key[T]{name: name, typ: shape.typ, limits: shape.limits, doc: doc,
		schema: schema{"type": []string{"string", "number"}, "pattern": shape.pattern},
		set: func(d *decoder, k string, n *yaml.Node, v *T) bool {
			if !d.kind(k, n, yaml.ScalarNode) {
				return false
			}
			*at(v) = n.Value
			return true
		},
		get: func(_ printer, v *T) *yaml.Node { return text(*at(v)) }}
}

// textsKey is one text or a list of them.
func textsKey[T any](name string, shape textShape, doc string, at func(*T) *[]string) key[T] {
	one := schema{"type": "string", "pattern": shape.pattern}
	return key[T]{name: name, typ: shape.typ + ", or a list", limits: shape.limits, doc: doc,
		schema: schema{"anyOf": []schema{one, {"type": "array", "minItems": 1, "items": one}}},
		set: func(d *decoder, k string, n *yaml.Node, v *T) bool {
			items := []*yaml.Node{n}
			if n.Kind == yaml.SequenceNode && d.kind(k, n, yaml.SequenceNode) {
				items = n.Content
			}
			for _, item := range items {
				if !d.kind(k, item, yaml.ScalarNode) {
					return false
				}
				*at(v) = append(*at(v), item.Value)
			}
			return true
		},
		get: func(_ printer, v *T) *yaml.Node {
			switch texts := *at(v); len(texts) {
			case 0:
				return nil
			case 1:
				return text(texts[0])
			default:
				seq := &yaml.Node{Kind: yaml.SequenceNode}
				for _, s := range texts {
					seq.Content = append(seq.Content, scalar("!!str", s))
				}
				return seq
			}
		}}
}

func recordKey[T any](name, doc string, at func(*T) *record.Name) key[T] {
	var names []string
	for _, d := range record.Builtin().Definitions() {
		if _, ok := ParseType(d.PolicyType); ok {
			names = append(names, string(d.Name))
		}
	}
	k := textKey(name, textShape{typ: "record name", limits: "one name; `acctpull records` lists them"}, doc, func(v *T) *string { return (*string)(at(v)) })
	// A name may be written in any case, and the catalogue can be another one.
	k.schema = schema{"anyOf": []schema{{"enum": names}, {"type": "string", "pattern": "^[A-Za-z0-9-]+$"}}}
	return k
}

func destinationKey[T any](name, doc string, at func(*T) *Destination) key[T] {
	return key[T]{name: name, typ: "`file N` or `no-file`", limits: "a file-id that no other policy uses", doc: doc,
		schema: schema{"type": "string", "pattern": "^(no-file|file 0*[1-9][0-9]?)$"},
		set:    func(d *decoder, k string, n *yaml.Node, v *T) bool { return d.destination(k, n, at(v)) },
		get:    func(_ printer, v *T) *yaml.Node { return text(at(v).String()) }}
}

// sectionKey is a mapping in a mapping. seen is told where it stood; it may be
// nil.
func sectionKey[T, V any](name, doc string, keys []key[V], at func(*T) *V, seen func(v *T, line int, g given)) key[T] {
	return key[T]{name: name, typ: "mapping", doc: doc, schema: schemaOf(keys),
		set: func(d *decoder, k string, n *yaml.Node, v *T) bool {
			g := decode(d, k, n, at(v), keys)
			if seen != nil {
				seen(v, n.Line, g)
			}
			return g != nil
		},
		get: func(p printer, v *T) *yaml.Node {
			if m := mapping(p, at(v), keys); len(m.Content) > 0 {
				return m
			}
			return nil
		}}
}

// listKey is a list of mappings, each of which begins as empty.
func listKey[T, V any](name, what, doc string, keys []key[V], empty V, all func(*T) []V, add func(v *T, item V, line int, g given)) key[T] {
	return key[T]{name: name, typ: "list", def: "none", doc: doc, schema: schema{"type": "array", "items": schemaOf(keys)},
		set: func(d *decoder, _ string, n *yaml.Node, v *T) bool {
			if !d.kind(what, n, yaml.SequenceNode) {
				return false
			}
			for _, item := range n.Content {
				one := empty
				if g := decode(d, what, item, &one, keys); g != nil {
					add(v, one, item.Line, g)
				}
			}
			return true
		},
		get: func(p printer, v *T) *yaml.Node {
			items := all(v)
			if len(items) == 0 {
				return nil
			}
			seq := &yaml.Node{Kind: yaml.SequenceNode}
			for i := range items {
				seq.Content = append(seq.Content, mapping(p, &items[i], keys))
			}
			return seq
		}}
}

// schema is a JSON Schema.
type schema map[string]any

// with returns the schema with one more keyword.
func (s schema) with(keyword string, v any) schema {
	out := schema{keyword: v}
	for k, old := range s {
		if _, ok := out[k]; !ok {
			out[k] = old
		}
	}
	return out
}

// schemaOf describes a mapping.
func schemaOf[T any](keys []key[T]) schema {
	properties := schema{}
	var must []string
	for _, k := range keys {
		properties[k.name] = k.schema.with("description", k.about())
		if k.must {
			must = append(must, k.name)
		}
	}
	s := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if must != nil {
		s["required"] = must
	}
	return s
}

// about is the key in words, for an editor: `5–10080 minutes. How long … Default: 1440.`
func (k key[T]) about() string {
	s := k.doc
	if k.limits != "" && k.typ != "word" {
		s = strings.ToUpper(k.limits[:1]) + k.limits[1:] + ". " + s
	}
	if k.def != "" && !k.must {
		s += " Default: " + k.def + "."
	}
	return plain(s)
}
