package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ParseYAML reads the agent's YAML; docs/configuration.md describes it. What
// is wrong with the text comes back as a *ConfigError that holds every mistake
// with its line, together with the Config of what could be read. Whether a
// Config makes sense is for New to say; Load does both.
func ParseYAML(data []byte) (Config, error) {
	c, violations := parse(data)
	if len(violations) > 0 {
		return c, &ConfigError{Violations: violations}
	}
	return c, nil
}

// parse returns what could be read and what could not, by line.
func parse(data []byte) (Config, []Violation) {
	var c Config
	d := &decoder{}
	if root := d.document(data); root != nil {
		c.given = decode(d, "configuration", root, &c, configKeys)
	}
	slices.SortStableFunc(d.out, func(a, b Violation) int { return cmp.Compare(a.Line, b.Line) })
	return c, d.out
}

// decoder turns nodes into values and gathers every mistake.
type decoder struct{ out []Violation }

func (d *decoder) fail(rule Rule, line int, subject, format string, a ...any) {
	d.out = append(d.out, Violation{Rule: rule, Line: line, Subject: subject, Text: fmt.Sprintf(format, a...)})
}

// yamlLine finds the line in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document returns the root mapping of the one document, or nil.
func (d *decoder) document(data []byte) *yaml.Node {
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
		d.fail(RuleSyntax, second.Line, "", "there is a second document; a configuration is one")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}

func (d *decoder) syntax(err error) {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	line := 0
	if m != nil {
		line, _ = strconv.Atoi(m[1]) // "" is line 0: none is known
		text = text[len(m[0]):]
	}
	d.fail(RuleSyntax, line, "", "this is not YAML: %s", bounded(text))
}

// decode reads a mapping into v with the given keys and returns where they
// stood.
func decode[T any](d *decoder, what string, n *yaml.Node, v *T, keys []key[T]) given {
	if !d.kind(what, n, yaml.MappingNode) {
		return nil
	}
	g := given{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, vn := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(keys, func(k key[T]) bool { return k.name == kn.Value })
		if at < 0 || kn.Kind != yaml.ScalarNode {
			d.fail(RuleUnknownKey, kn.Line, what, "there is no key %q; the keys are %s", bounded(kn.Value), keyNames(keys))
			continue
		}
		if first, ok := g[kn.Value]; ok {
			d.fail(RuleDuplicateKey, kn.Line, what, "the key %s stands in line %d already", kn.Value, first.line)
			continue
		}
		if isNull(vn) {
			d.fail(RuleValue, kn.Line, what, "%s has no value", kn.Value)
			g[kn.Value] = keyState{line: kn.Line, bad: true}
			continue
		}
		g[kn.Value] = keyState{line: kn.Line, bad: !keys[at].set(d, kn.Value, vn, v)}
	}
	return g
}

func keyNames[T any](keys []key[T]) string {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	return strings.Join(names, ", ")
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

var kindNames = map[yaml.Kind]string{
	yaml.MappingNode: "a mapping (key: value)", yaml.SequenceNode: "a list (- …)", yaml.ScalarNode: "one value", yaml.AliasNode: "an alias",
}

func (d *decoder) kind(what string, n *yaml.Node, want yaml.Kind) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "" || n.ShortTag() == "!!merge":
		d.fail(RuleValue, n.Line, what, "anchors and aliases are not taken here")
		return false
	case n.Kind != want:
		d.fail(RuleValue, n.Line, what, "this must be %s, it is %s", kindNames[want], kindNames[n.Kind])
		return false
	}
	return true
}

func (d *decoder) integer(k string, n *yaml.Node, v *int) bool {
	if !d.kind(k, n, yaml.ScalarNode) {
		return false
	}
	i, err := strconv.Atoi(n.Value)
	if err != nil || n.ShortTag() != "!!int" {
		d.fail(RuleValue, n.Line, k, "%q is not a whole number", bounded(n.Value))
		return false
	}
	*v = i
	return true
}

// positive reads a number of which 0, in Go the default, would be a mistake.
func (d *decoder) positive(k string, n *yaml.Node, most int, v *int) bool {
	if !d.integer(k, n, v) {
		return false
	}
	if *v == 0 {
		d.fail(RuleObjectFields, n.Line, k, "0 is outside 1–%d", most)
		return false
	}
	return true
}

func (d *decoder) seed(k string, n *yaml.Node, v *uint64) bool {
	if !d.kind(k, n, yaml.ScalarNode) {
		return false
	}
	i, err := strconv.ParseUint(n.Value, 10, 64)
	if err != nil {
		d.fail(RuleValue, n.Line, k, "%q is not a whole number from 0 to 2^64-1", bounded(n.Value))
		return false
	}
	*v = i
	return true
}

func (d *decoder) boolean(k string, n *yaml.Node, v *bool) bool {
	if !d.kind(k, n, yaml.ScalarNode) {
		return false
	}
	if n.ShortTag() != "!!bool" || n.Value != "true" && n.Value != "false" {
		d.fail(RuleValue, n.Line, k, "%q is neither true nor false", bounded(n.Value))
		return false
	}
	*v = n.Value == "true"
	return true
}

// suffixes of durations. The device's commands have none: they count rollover
// and intervals in minutes and retention in hours, and so does a bare number.
var suffixes = map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}

func (d *decoder) duration(k string, n *yaml.Node, unit time.Duration, v *time.Duration) bool {
	if !d.kind(k, n, yaml.ScalarNode) {
		return false
	}
	digits, u := n.Value, unit
	if len(digits) > 1 {
		if s, ok := suffixes[digits[len(digits)-1]]; ok {
			digits, u = digits[:len(digits)-1], s
		}
	}
	const most = 1 << 16 // above every range, and in days below an overflow
	i, err := strconv.Atoi(digits)
	if err != nil || i > most || i < -most {
		d.fail(RuleValue, n.Line, k, "%q is not a number of %s, or one with the unit m, h or d", bounded(n.Value), units[unit])
		return false
	}
	*v = time.Duration(i) * u
	return true
}

// destination reads "file 11" or "no-file".
func (d *decoder) destination(k string, n *yaml.Node, v *Destination) bool {
	if !d.kind(k, n, yaml.ScalarNode) {
		return false
	}
	if n.Value == NoFile.String() {
		*v = NoFile
		return true
	}
	number, ok := strings.CutPrefix(n.Value, "file ")
	i, err := strconv.Atoi(strings.TrimSpace(number))
	if !ok || err != nil {
		d.fail(RuleValue, n.Line, k, "%q is neither \"file\" with the number of a file-id nor \"no-file\"", bounded(n.Value))
		return false
	}
	if i < MinID || i > MaxID {
		d.fail(RuleToUnknown, n.Line, k, "there is no file-id %d: ids are %d–%d", i, MinID, MaxID)
		return false
	}
	*v = Destination(i)
	return true
}
