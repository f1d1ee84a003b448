package strictyaml

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Key is one key of a mapping of T: how its value is read, printed, documented
// and described to an editor. The functions below make keys.
type Key[T any] struct {
	Name    string
	Type    string // the kind of value, for people
	Limits  string // the range of the value, for people
	Default string // the default, for people
	Doc     string
	Must    bool   // a mapping without the key is a mistake
	Schema  Schema // what JSON Schema says of the value
	// Set reads the value; false if it could not.
	Set func(d *Decoder, k string, n *yaml.Node, v *T) bool
	// Get returns the value, or nil if the key can be left out. A key
	// without it is not printed.
	Get func(p Printer, v *T) *yaml.Node
}

// Required marks a key without which its mapping is a mistake.
func (k Key[T]) Required() Key[T] {
	k.Must, k.Default = true, "required"
	return k
}

// Or says in words what holds if the key is left out.
func (k Key[T]) Or(def string) Key[T] {
	k.Default = def
	return k
}

// ByDefault says which value holds if the key is left out.
func (k Key[T]) ByDefault(v any) Key[T] {
	k.Default, k.Schema = fmt.Sprint(v), k.Schema.With("default", v)
	return k
}

// Only says in words which values are taken.
func (k Key[T]) Only(limits string) Key[T] {
	k.Limits = limits
	return k
}

// In names the unit of a number.
func (k Key[T]) In(unit string) Key[T] {
	k.Limits += " " + unit
	return k
}

// limitsOf says the range of a number.
func limitsOf(lo, hi int) string { return fmt.Sprintf("%d–%d", lo, hi) }

// NumberKey is a whole number from lo to hi. The rules check the range.
func NumberKey[T any](name string, lo, hi int, doc string, at func(*T) *int) Key[T] {
	return Key[T]{Name: name, Type: "number", Limits: limitsOf(lo, hi), Doc: doc,
		Schema: Schema{"type": "integer", "minimum": lo, "maximum": hi},
		Set:    func(d *Decoder, k string, n *yaml.Node, v *T) bool { return d.Number(k, n, at(v)) },
		Get: func(_ Printer, v *T) *yaml.Node {
			if *at(v) == 0 {
				return nil
			}
			return Scalar("!!int", strconv.Itoa(*at(v)))
		}}
}

// SeedKey is a number of 64 bits.
func SeedKey[T any](name, doc string, at func(*T) *uint64) Key[T] {
	return Key[T]{Name: name, Type: "number", Limits: "0 to 2^64-1", Doc: doc,
		Schema: Schema{"type": "integer", "minimum": 0, "maximum": uint64(math.MaxUint64)},
		Set:    func(d *Decoder, k string, n *yaml.Node, v *T) bool { return d.Seed(k, n, at(v)) },
		Get: func(_ Printer, v *T) *yaml.Node {
			if *at(v) == 0 {
				return nil
			}
			return Scalar("!!int", strconv.FormatUint(*at(v), 10))
		}}.ByDefault(0)
}

// SpanKey is a duration in whole units. The rules check the range.
func SpanKey[T any](name string, lo, hi, unit time.Duration, doc string, at func(*T) *time.Duration) Key[T] {
	return Key[T]{Name: name, Type: unitNames[unit], Limits: limitsOf(int(lo/unit), int(hi/unit)) + " " + unitNames[unit], Doc: doc,
		Schema: Schema{"type": []string{"integer", "string"}, "minimum": int(lo / unit), "maximum": int(hi / unit), "pattern": "^[0-9]+[mhd]?$"},
		Set:    func(d *Decoder, k string, n *yaml.Node, v *T) bool { return d.Units(k, n, unit, at(v)) },
		Get: func(_ Printer, v *T) *yaml.Node {
			switch d := *at(v); {
			case d == 0:
				return nil
			case d%unit == 0:
				return Scalar("!!int", strconv.FormatInt(int64(d/unit), 10))
			case d%time.Minute == 0:
				return Scalar("!!str", strconv.FormatInt(int64(d/time.Minute), 10)+"m")
			default:
				return Scalar("!!str", d.String()) // no YAML can say it; Load refuses it
			}
		}}
}

// FlagKey is true or false.
func FlagKey[T any](name string, def bool, doc string, at func(*T) *bool) Key[T] {
	return Key[T]{Name: name, Type: "true or false", Doc: doc,
		Schema: Schema{"type": "boolean"},
		Set:    func(d *Decoder, k string, n *yaml.Node, v *T) bool { return d.Boolean(k, n, at(v)) },
		Get: func(p Printer, v *T) *yaml.Node {
			if *at(v) == def && !p.Defaults {
				return nil
			}
			return Scalar("!!bool", strconv.FormatBool(*at(v)))
		}}.ByDefault(def)
}

// WordKey is one of a few words. The zero value of V is left out, unless it has
// a word of its own and defaults are printed.
func WordKey[T any, V comparable](name string, words []string, doc string, at func(*T) *V, parse func(string) (V, bool), str func(V) string) Key[T] {
	commas := strings.Join(words, ", ")
	limits := commas
	if len(words) == 2 {
		limits = words[0] + " or " + words[1]
	}
	return Key[T]{Name: name, Type: "word", Limits: limits, Doc: doc,
		Schema: Schema{"enum": words},
		Set: func(d *Decoder, k string, n *yaml.Node, v *T) bool {
			if !d.Is(k, n, yaml.ScalarNode) {
				return false
			}
			w, ok := parse(n.Value)
			if !ok {
				d.Fail(Value, n.Line, k, "%q is none of %s", Bounded(n.Value), commas)
				return false
			}
			*at(v) = w
			return true
		},
		Get: func(p Printer, v *T) *yaml.Node {
			var zero V
			w := str(*at(v))
			if *at(v) == zero && !p.Defaults || w == "" {
				return nil
			}
			return Scalar("!!str", w)
		}}
}

// TextShape is what a text may be.
type TextShape struct{ Type, Limits, Pattern string }

// TextKey is text. Any scalar is taken as it is written, so that service 0100
// stays 0100, and so the schema takes numbers too.
func TextKey[T any](name string, shape TextShape, doc string, at func(*T) *string) Key[T] {
	return Key[T]{Name: name, Type: shape.Type, Limits: shape.Limits, Doc: doc,
		Schema: Schema{"type": []string{"string", "number"}, "pattern": shape.Pattern},
		Set: func(d *Decoder, k string, n *yaml.Node, v *T) bool {
			if !d.Is(k, n, yaml.ScalarNode) {
				return false
			}
			*at(v) = n.Value
			return true
		},
		Get: func(_ Printer, v *T) *yaml.Node { return TextNode(*at(v)) }}
}

// TextsKey is one text or a list of them.
func TextsKey[T any](name string, shape TextShape, doc string, at func(*T) *[]string) Key[T] {
	one := Schema{"type": "string", "pattern": shape.Pattern}
	return Key[T]{Name: name, Type: shape.Type + ", or a list", Limits: shape.Limits, Doc: doc,
		Schema: Schema{"anyOf": []Schema{one, {"type": "array", "minItems": 1, "items": one}}},
		Set: func(d *Decoder, k string, n *yaml.Node, v *T) bool {
			items := []*yaml.Node{n}
			if n.Kind == yaml.SequenceNode && d.Is(k, n, yaml.SequenceNode) {
				items = n.Content
			}
			for _, item := range items {
				if !d.Is(k, item, yaml.ScalarNode) {
					return false
				}
				*at(v) = append(*at(v), item.Value)
			}
			return true
		},
		Get: func(_ Printer, v *T) *yaml.Node {
			switch texts := *at(v); len(texts) {
			case 0:
				return nil
			case 1:
				return TextNode(texts[0])
			default:
				seq := &yaml.Node{Kind: yaml.SequenceNode}
				for _, s := range texts {
					seq.Content = append(seq.Content, Scalar("!!str", s))
				}
				return seq
			}
		}}
}

// SectionKey is a mapping in a mapping. seen is told where it stood; it may be
// nil.
func SectionKey[T, V any](name, doc string, keys []Key[V], at func(*T) *V, seen func(v *T, line int, g Given)) Key[T] {
	return Key[T]{Name: name, Type: "mapping", Doc: doc, Schema: SchemaOf(keys),
		Set: func(d *Decoder, k string, n *yaml.Node, v *T) bool {
			g := Decode(d, k, n, at(v), keys)
			if seen != nil {
				seen(v, n.Line, g)
			}
			return g != nil
		},
		Get: func(p Printer, v *T) *yaml.Node {
			if m := Mapping(p, at(v), keys); len(m.Content) > 0 {
				return m
			}
			return nil
		}}
}

// ListKey is a list of mappings, each of which begins as empty.
func ListKey[T, V any](name, what, doc string, keys []Key[V], empty V, all func(*T) []V, add func(v *T, item V, line int, g Given)) Key[T] {
	return Key[T]{Name: name, Type: "list", Default: "none", Doc: doc, Schema: Schema{"type": "array", "items": SchemaOf(keys)},
		Set: func(d *Decoder, _ string, n *yaml.Node, v *T) bool {
			if !d.Is(what, n, yaml.SequenceNode) {
				return false
			}
			for _, item := range n.Content {
				one := empty
				if g := Decode(d, what, item, &one, keys); g != nil {
					add(v, one, item.Line, g)
				}
			}
			return true
		},
		Get: func(p Printer, v *T) *yaml.Node {
			items := all(v)
			if len(items) == 0 {
				return nil
			}
			seq := &yaml.Node{Kind: yaml.SequenceNode}
			for i := range items {
				seq.Content = append(seq.Content, Mapping(p, &items[i], keys))
			}
			return seq
		}}
}

// Schema is a JSON Schema.
type Schema map[string]any

// With returns the schema with one more keyword.
func (s Schema) With(keyword string, v any) Schema {
	out := Schema{keyword: v}
	for k, old := range s {
		if _, ok := out[k]; !ok {
			out[k] = old
		}
	}
	return out
}

// SchemaOf describes a mapping.
func SchemaOf[T any](keys []Key[T]) Schema {
	properties := Schema{}
	var must []string
	for _, k := range keys {
		properties[k.Name] = k.Schema.With("description", k.About())
		if k.Must {
			must = append(must, k.Name)
		}
	}
	s := Schema{"type": "object", "properties": properties, "additionalProperties": false}
	if must != nil {
		s["required"] = must
	}
	return s
}

// About is the key in words, for an editor: `5–10080 minutes. How long … Default: 1440.`
func (k Key[T]) About() string {
	s := k.Doc
	if k.Limits != "" && k.Type != "word" {
		s = strings.ToUpper(k.Limits[:1]) + k.Limits[1:] + ". " + s
	}
	if k.Default != "" && !k.Must {
		s += " Default: " + k.Default + "."
	}
	return plain(s)
}

// Table writes the keys as a Markdown table under a heading.
func Table[T any](b *strings.Builder, title string, keys []Key[T]) {
	fmt.Fprintf(b, "### %s\n\n| key | value | range | default | meaning |\n|---|---|---|---|---|\n", title)
	for _, k := range keys {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", k.Name, k.Type, cmp.Or(k.Limits, "–"), cmp.Or(k.Default, "none"), k.Doc)
	}
	b.WriteString("\n")
}
