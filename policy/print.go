package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// printer turns a configuration into nodes, by the tables of keys.
type printer struct {
	// defaults: also keys that have their default value.
	defaults bool
}

// YAML returns the configuration as the text that ParseYAML reads: keys in the
// order of docs/configuration.md, objects by type, only what is not zero. The
// same Config gives the same text. A Catalogue is not part of it, and a Config
// that breaks rules may not come back as it was.
func (c Config) YAML() ([]byte, error) { return printer{}.yaml(c) }

// JSON returns what YAML says as JSON, which ParseYAML reads too.
func (c Config) JSON() ([]byte, error) { return printer{}.json(c) }

// YAML returns the configuration with every default written out.
func (s *Set) YAML() ([]byte, error) { return printer{defaults: true}.yaml(s.c) }

// JSON returns what YAML says as JSON.
func (s *Set) JSON() ([]byte, error) { return printer{defaults: true}.json(s.c) }

func (p printer) yaml(c Config) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(mapping(p, &c, configKeys)); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return b.Bytes(), nil
}

func (p printer) json(c Config) ([]byte, error) {
	var b, indented bytes.Buffer
	if err := nodeJSON(&b, mapping(p, &c, configKeys)); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	if err := json.Indent(&indented, b.Bytes(), "", "  "); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return append(indented.Bytes(), '\n'), nil
}

// mapping prints one mapping; it has no content if nothing differs from zero.
func mapping[T any](p printer, v *T, keys []key[T]) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range keys {
		if n := k.get(p, v); n != nil {
			m.Content = append(m.Content, scalar("!!str", k.name), n)
		}
	}
	return m
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// plainNumber is text that YAML reads back as it stands without quotes.
var plainNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)

// text prints text, or nothing if there is none.
func text(s string) *yaml.Node {
	switch {
	case s == "":
		return nil
	case plainNumber.MatchString(s):
		return scalar("!!int", s)
	}
	return scalar("!!str", s)
}

// nodeJSON writes the nodes that a printer makes as JSON, in their order.
func nodeJSON(b *bytes.Buffer, n *yaml.Node) error {
	switch {
	case n.Kind == yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := nodeJSON(b, n.Content[i]); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := nodeJSON(b, n.Content[i+1]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case n.Kind == yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := nodeJSON(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case n.Tag == "!!str":
		return jsonText(b, n.Value)
	default: // numbers and booleans are written alike in both
		b.WriteString(n.Value)
	}
	return nil
}

func jsonText(b *bytes.Buffer, s string) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line feed of Encode
	return nil
}

// Schema returns the JSON Schema (draft 2020-12) of the YAML, for editors and
// for programs that write configurations. It is looser than Load: it knows the
// keys and the values each can take, not the rules between them.
func Schema() ([]byte, error) {
	s := schemaOf(configKeys).with("$schema", "https://json-schema.org/draft/2020-12/schema").
		with("title", "Configuration of the acctpull agent").
		with("description", "File-ids, accounting policies and the objects that they are applied to, in the terms of the 7210 SAS.")
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("print schema: %w", err)
	}
	return b.Bytes(), nil
}

// plain takes the Markdown out of a text.
func plain(s string) string { return strings.ReplaceAll(s, "`", "") }
