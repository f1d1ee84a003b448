package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReliabilityNamesTests: every test that docs/reliability.md names exists,
// and every row of its tables names one.
func TestReliabilityNamesTests(t *testing.T) {
	b, err := os.ReadFile("../../docs/reliability.md")
	check(t, err)
	named := regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	sources := map[string]string{} // by package
	rows := 0
	for line := range strings.Lines(string(b)) {
		found := named.FindAllStringSubmatch(line, -1)
		for _, m := range found {
			if sources[m[1]] == "" {
				files, err := filepath.Glob(filepath.Join("../..", m[1], "*_test.go"))
				check(t, err)
				for _, f := range files {
					text, err := os.ReadFile(f)
					check(t, err)
					sources[m[1]] += string(text)
				}
			}
			if !strings.Contains(sources[m[1]], "\nfunc "+m[2]+"(") {
				t.Errorf("there is no %s in %s", m[2], m[1])
			}
		}
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| case |") {
			if rows++; len(found) == 0 {
				t.Errorf("no test: %s", line)
			}
		}
	}
	if rows < 50 {
		t.Errorf("%d rows: the document was not read", rows)
	}
}
