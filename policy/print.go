package policy

import (
	"fmt"

	"acctpull/internal/strictyaml"
)

// YAML returns the configuration as the text that ParseYAML reads: keys in the
// order of docs/configuration.md, objects by type, only what is not zero. The
// same Config gives the same text. A Catalogue is not part of it, and a Config
// that breaks rules may not come back as it was.
func (c Config) YAML() ([]byte, error) { return printed(strictyaml.YAML(printer{}, &c, configKeys)) }

// JSON returns what YAML says as JSON, which ParseYAML reads too.
func (c Config) JSON() ([]byte, error) { return printed(strictyaml.JSON(printer{}, &c, configKeys)) }

// YAML returns the configuration with every default written out.
func (s *Set) YAML() ([]byte, error) {
	return printed(strictyaml.YAML(printer{Defaults: true}, &s.c, configKeys))
}

// JSON returns what YAML says as JSON.
func (s *Set) JSON() ([]byte, error) {
	return printed(strictyaml.JSON(printer{Defaults: true}, &s.c, configKeys))
}

func printed(text []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return text, nil
}

// Schema returns the JSON Schema (draft 2020-12) of the YAML, for editors and
// for programs that write configurations. It is looser than Load: it knows the
// keys and the values each can take, not the rules between them.
func Schema() ([]byte, error) {
	return printed(strictyaml.SchemaOf(configKeys).Document("Configuration of the acctpull agent",
		"File-ids, accounting policies and the objects that they are applied to, in the terms of the 7210 SAS."))
}
