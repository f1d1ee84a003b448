package policy

import (
	"errors"
	"os"
	"testing"
)

// Whatever the text, Load returns a Set that keeps every rule or a *ConfigError
// that says why not.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(valid))
	for _, c := range ruleTable {
		f.Add([]byte(c.new))
	}
	if example, err := os.ReadFile("testdata/example.yaml"); err == nil {
		f.Add(example)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Load(data)
		if err != nil {
			var ce *ConfigError
			if !errors.As(err, &ce) || len(ce.Violations) == 0 || s != nil {
				t.Fatalf("error %v, set %v", err, s)
			}
			return
		}
		if _, err := New(s.Config()); err != nil {
			t.Fatalf("a Set breaks rules: %v", err)
		}
	})
}
