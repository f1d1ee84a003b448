// Package strictyaml reads configurations: YAML whose keys are listed in tables,
// every one of them known, given once and of the right kind. It gathers every
// mistake with its line instead of stopping at the first, and the same tables
// print the reference of the keys, so that neither can know a key that the other
// does not.
//
// It takes a small YAML: one document, mappings, lists and single values; no
// anchors, aliases, merges or tags. Scalars keep their text: service 0100 is not
// the number 64.
package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Kind is the kind of a mistake in the text.
type Kind string

// The kinds.
const (
	Syntax       Kind = "yaml-syntax"        // it is not YAML
	UnknownKey   Kind = "yaml-unknown-key"   // there is no such key
	DuplicateKey Kind = "yaml-duplicate-key" // the key stands there twice
	Value        Kind = "yaml-value"         // the value is of the wrong kind
)

// Problem is one mistake.
type Problem struct {
	Kind Kind
	Line int    // 0 if it is not known
	Key  string // the key or mapping it concerns, "" for the whole
	Text string // what is wrong, in plain words
}

// Decoder turns nodes into values and gathers the mistakes. Its zero value is
// ready.
type Decoder struct {
	problems []Problem
}

// Problems returns the mistakes in the order of their lines.
func (d *Decoder) Problems() []Problem {
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return d.problems
}

// Mistakes is how many there are so far.
func (d *Decoder) Mistakes() int { return len(d.problems) }

// Fail adds a mistake.
func (d *Decoder) Fail(kind Kind, line int, key, format string, a ...any) {
	d.problems = append(d.problems, Problem{Kind: kind, Line: line, Key: key, Text: fmt.Sprintf(format, a...)})
}

// yamlLine finds the line in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// Document returns the root of the one document, or nil if there is none or if
// it cannot be read.
func (d *Decoder) Document(data []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil // an empty file is an empty configuration
	}
	if err != nil {
		d.syntax(err)
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		d.Fail(Syntax, second.Line, "", "there is a second document; a configuration is one")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}

func (d *Decoder) syntax(err error) {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	line := 0
	if m != nil {
		line, _ = strconv.Atoi(m[1]) // "" is line 0: none is known
		text = text[len(m[0]):]
	}
	d.Fail(Syntax, line, "", "this is not YAML: %s", Bounded(text))
}

// Bounded cuts a text of somebody else to what a message can hold.
func Bounded(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// Given tells where the keys of a mapping stood.
type Given map[string]State

// State is what is remembered of one key.
type State struct {
	Line int
	Bad  bool // its value could not be read
}

// Line returns the line of the key, or that of the whole object.
func (g Given) Line(key string, object int) int {
	if s, ok := g[key]; ok {
		return s.Line
	}
	return object
}

// Has tells whether the key stands in the text, with a value that was read. A
// zero value is a mistake there, and in a Go struct it means the default.
func (g Given) Has(key string) bool {
	s, ok := g[key]
	return ok && !s.Bad
}

// Bad tells whether the value was refused already: one mistake, one message.
func (g Given) Bad(key string) bool { return g[key].Bad }

// Decode reads a mapping into v and returns where its keys stood, nil if it is
// no mapping.
func Decode[T any](d *Decoder, what string, n *yaml.Node, v *T, keys []Key[T]) Given {
	if !d.Is(what, n, yaml.MappingNode) {
		return nil
	}
	g := Given{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, vn := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(keys, func(k Key[T]) bool { return k.Name == kn.Value })
		if at < 0 || kn.Kind != yaml.ScalarNode {
			d.Fail(UnknownKey, kn.Line, what, "there is no key %q; the keys are %s", Bounded(kn.Value), names(keys))
			continue
		}
		if first, ok := g[kn.Value]; ok {
			d.Fail(DuplicateKey, kn.Line, what, "the key %s stands in line %d already", kn.Value, first.Line)
			continue
		}
		if isNull(vn) {
			d.Fail(Value, kn.Line, what, "%s has no value", kn.Value)
			g[kn.Value] = State{Line: kn.Line, Bad: true}
			continue
		}
		g[kn.Value] = State{Line: kn.Line, Bad: !keys[at].Set(d, kn.Value, vn, v)}
	}
	return g
}

func names[T any](keys []Key[T]) string {
	var all []string
	for _, k := range keys {
		all = append(all, k.Name)
	}
	return strings.Join(all, ", ")
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// Items reads a list of mappings; each begins as empty. add gets the node too,
// for its line and for reading it again.
func Items[T any](d *Decoder, what string, n *yaml.Node, keys []Key[T], empty T, add func(v T, item *yaml.Node, g Given)) bool {
	if !d.Is(what, n, yaml.SequenceNode) {
		return false
	}
	for _, item := range n.Content {
		v := empty
		if g := Decode(d, what, item, &v, keys); g != nil {
			add(v, item, g)
		}
	}
	return true
}

// Named reads a mapping from names to mappings, such as groups. add gets the node
// too; it is a null for a name without a value, which stands for an empty
// mapping.
func Named[T any](d *Decoder, what string, n *yaml.Node, keys []Key[T], empty T, add func(name string, v T, item *yaml.Node)) bool {
	if !d.Is(what, n, yaml.MappingNode) {
		return false
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, vn := n.Content[i], n.Content[i+1]
		if !d.Is(what, kn, yaml.ScalarNode) {
			continue
		}
		if first, ok := seen[kn.Value]; ok {
			d.Fail(DuplicateKey, kn.Line, what, "the name %q stands in line %d already", Bounded(kn.Value), first)
			continue
		}
		seen[kn.Value] = kn.Line
		v := empty
		if isNull(vn) {
			add(kn.Value, v, vn)
		} else if g := Decode(d, what+" "+Bounded(kn.Value), vn, &v, keys); g != nil {
			add(kn.Value, v, vn)
		}
	}
	return true
}

var kindNames = map[yaml.Kind]string{
	yaml.MappingNode: "a mapping (key: value)", yaml.SequenceNode: "a list (- …)", yaml.ScalarNode: "one value", yaml.AliasNode: "an alias",
}

// Apply reads a mapping that Decode read before over the values v has already;
// what was a mistake then is passed over. Layers of settings are put on top of
// each other with it.
func Apply[T any](n *yaml.Node, v *T, keys []Key[T]) {
	if n != nil && n.Kind == yaml.MappingNode {
		Decode(&Decoder{}, "", n, v, keys)
	}
}

// Is checks the kind of a node.
func (d *Decoder) Is(what string, n *yaml.Node, want yaml.Kind) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "" || n.ShortTag() == "!!merge":
		d.Fail(Value, n.Line, what, "anchors and aliases are not taken here")
		return false
	case n.Kind != want:
		d.Fail(Value, n.Line, what, "this must be %s, it is %s", kindNames[want], kindNames[n.Kind])
		return false
	}
	return true
}

// Text reads a single value as it is written.
func (d *Decoder) Text(k string, n *yaml.Node, v *string) bool {
	if !d.Is(k, n, yaml.ScalarNode) {
		return false
	}
	*v = n.Value
	return true
}

// Texts reads a list of single values, or one.
func (d *Decoder) Texts(k string, n *yaml.Node, v *[]string) bool {
	if n.Kind == yaml.ScalarNode {
		*v = []string{n.Value}
		return true
	}
	if !d.Is(k, n, yaml.SequenceNode) {
		return false
	}
	*v = []string{}
	for _, item := range n.Content {
		var s string
		if !d.Text(k, item, &s) {
			return false
		}
		*v = append(*v, s)
	}
	return true
}

// Integer reads a whole number from least to most.
func (d *Decoder) Integer(k string, n *yaml.Node, least, most int, v *int) bool {
	if !d.Is(k, n, yaml.ScalarNode) {
		return false
	}
	i, err := strconv.Atoi(n.Value)
	if err != nil || n.ShortTag() != "!!int" {
		d.Fail(Value, n.Line, k, "%q is not a whole number", Bounded(n.Value))
		return false
	}
	if i < least || i > most {
		d.Fail(Value, n.Line, k, "%d is outside %d–%d", i, least, most)
		return false
	}
	*v = i
	return true
}

// Number reads a whole number, of whatever size; rules judge it later.
func (d *Decoder) Number(k string, n *yaml.Node, v *int) bool {
	return d.Integer(k, n, math.MinInt, math.MaxInt, v)
}

// Seed reads a whole number of 64 bits.
func (d *Decoder) Seed(k string, n *yaml.Node, v *uint64) bool {
	if !d.Is(k, n, yaml.ScalarNode) {
		return false
	}
	i, err := strconv.ParseUint(n.Value, 10, 64)
	if err != nil {
		d.Fail(Value, n.Line, k, "%q is not a whole number from 0 to 2^64-1", Bounded(n.Value))
		return false
	}
	*v = i
	return true
}

// unitNames are the units that a bare number can have.
var unitNames = map[time.Duration]string{time.Minute: "minutes", time.Hour: "hours"}

// Units reads a number of a unit, minutes or hours, as devices take them, or one
// with the suffix m, h or d; rules judge the range later.
func (d *Decoder) Units(k string, n *yaml.Node, unit time.Duration, v *time.Duration) bool {
	if !d.Is(k, n, yaml.ScalarNode) {
		return false
	}
	digits, u := n.Value, unit
	if len(digits) > 1 {
		if s, ok := suffixes[digits[len(digits)-1]]; ok && s >= time.Minute {
			digits, u = digits[:len(digits)-1], s
		}
	}
	const most = 1 << 16 // above every range, and in days below an overflow
	i, err := strconv.Atoi(digits)
	if err != nil || i > most || i < -most {
		d.Fail(Value, n.Line, k, "%q is not a number of %s, or one with the unit m, h or d", Bounded(n.Value), unitNames[unit])
		return false
	}
	*v = time.Duration(i) * u
	return true
}

// Boolean reads true or false.
func (d *Decoder) Boolean(k string, n *yaml.Node, v *bool) bool {
	if !d.Is(k, n, yaml.ScalarNode) {
		return false
	}
	if n.ShortTag() != "!!bool" || n.Value != "true" && n.Value != "false" {
		d.Fail(Value, n.Line, k, "%q is neither true nor false", Bounded(n.Value))
		return false
	}
	*v = n.Value == "true"
	return true
}

// suffixes of durations.
var suffixes = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}

// Duration reads a whole number with the suffix s, m, h or d, from least to
// most.
func (d *Decoder) Duration(k string, n *yaml.Node, least, most time.Duration, v *time.Duration) bool {
	if !d.Is(k, n, yaml.ScalarNode) {
		return false
	}
	const largest = 1 << 20 // above every range, and in days below an overflow
	if len(n.Value) > 1 {
		digits, unit := n.Value[:len(n.Value)-1], suffixes[n.Value[len(n.Value)-1]]
		i, err := strconv.Atoi(digits)
		if err == nil && unit > 0 && i >= 0 && i <= largest {
			got := time.Duration(min(int64(i)*int64(unit/time.Second), largest*86400)) * time.Second
			if got >= least && got <= most {
				*v = got
				return true
			}
			d.Fail(Value, n.Line, k, "%s is outside %s–%s", n.Value, Span(least), Span(most))
			return false
		}
	}
	d.Fail(Value, n.Line, k, "%q is not a time such as 30s, 15m, 12h or 7d", Bounded(n.Value))
	return false
}

// Span writes a duration as Duration reads it, in the largest unit that leaves
// no rest.
func Span(v time.Duration) string {
	switch {
	case v%(24*time.Hour) == 0 && v > 0:
		return strconv.FormatInt(int64(v/(24*time.Hour)), 10) + "d"
	case v%time.Hour == 0 && v > 0:
		return strconv.FormatInt(int64(v/time.Hour), 10) + "h"
	case v%time.Minute == 0 && v > 0:
		return strconv.FormatInt(int64(v/time.Minute), 10) + "m"
	}
	return strconv.FormatInt(int64(v/time.Second), 10) + "s"
}
