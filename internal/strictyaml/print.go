package strictyaml

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Printer turns a configuration into nodes, by the tables of keys.
type Printer struct {
	// Defaults: also keys that have their default value.
	Defaults bool
}

// YAML prints a mapping as YAML, with the given keys in their order.
func YAML[T any](p Printer, v *T, keys []Key[T]) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(Mapping(p, v, keys)); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// JSON prints a mapping as JSON, with the given keys in their order.
func JSON[T any](p Printer, v *T, keys []Key[T]) ([]byte, error) {
	var b, indented bytes.Buffer
	if err := nodeJSON(&b, Mapping(p, v, keys)); err != nil {
		return nil, err
	}
	if err := json.Indent(&indented, b.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	return append(indented.Bytes(), '\n'), nil
}

// Mapping prints one mapping; it has no content if nothing differs from zero.
func Mapping[T any](p Printer, v *T, keys []Key[T]) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range keys {
		if n := k.Get(p, v); n != nil {
			m.Content = append(m.Content, Scalar("!!str", k.Name), n)
		}
	}
	return m
}

func Scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// plainNumber is text that YAML reads back as it stands without quotes.
var plainNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)

// TextNode prints text, or nothing if there is none.
func TextNode(s string) *yaml.Node {
	switch {
	case s == "":
		return nil
	case plainNumber.MatchString(s):
		return Scalar("!!int", s)
	}
	return Scalar("!!str", s)
}

// nodeJSON writes the nodes that a Printer makes as JSON, in their order.
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

// Document returns the JSON Schema (draft 2020-12) of a document.
func (s Schema) Document(title, description string) ([]byte, error) {
	s = s.With("$schema", "https://json-schema.org/draft/2020-12/schema").With("title", title).With("description", description)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// plain takes the Markdown out of a text.
func plain(s string) string { return strings.ReplaceAll(s, "`", "") }
