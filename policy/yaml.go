package policy

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"acctpull/internal/strictyaml"
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
	var out []Violation
	d := &decoder{}
	if root := d.Document(data); root != nil {
		c.given = strictyaml.Decode(d, "configuration", root, &c, configKeys)
	}
	for _, p := range d.Problems() {
		out = append(out, Violation{Rule: Rule(p.Kind), Line: p.Line, Subject: p.Key, Text: p.Text})
	}
	return c, out
}

// positive reads a number of which 0, in Go the default, would be a mistake.
func positive(d *decoder, k string, n *yaml.Node, most int, v *int) bool {
	if !d.Number(k, n, v) {
		return false
	}
	if *v == 0 {
		d.Fail(strictyaml.Kind(RuleObjectFields), n.Line, k, "0 is outside 1–%d", most)
		return false
	}
	return true
}

// destination reads "file 11" or "no-file".
func destination(d *decoder, k string, n *yaml.Node, v *Destination) bool {
	if !d.Is(k, n, yaml.ScalarNode) {
		return false
	}
	if n.Value == NoFile.String() {
		*v = NoFile
		return true
	}
	number, ok := strings.CutPrefix(n.Value, "file ")
	i, err := strconv.Atoi(strings.TrimSpace(number))
	if !ok || err != nil {
		d.Fail(strictyaml.Kind(RuleValue), n.Line, k, "%q is neither \"file\" with the number of a file-id nor \"no-file\"", bounded(n.Value))
		return false
	}
	if i < MinID || i > MaxID {
		d.Fail(strictyaml.Kind(RuleToUnknown), n.Line, k, "there is no file-id %d: ids are %d–%d", i, MinID, MaxID)
		return false
	}
	*v = Destination(i)
	return true
}
