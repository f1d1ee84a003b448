package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDemo runs the demonstration, and the queries that it prints.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	stdout, _ := expect(t, exitOK, []string{"PULL FAILED", "is back", "swept act/", "GAPS"}, "demo", "--dir", dir)
	expect(t, exitUsage, []string{"not empty"}, "demo", "--dir", dir)
	queries := regexp.MustCompile(`(?ms)^  -- .*?;$`).FindAllString(stdout, -1)
	if len(queries) != 3 {
		t.Fatalf("%d queries in\n%s", len(queries), stdout)
	}
	t.Chdir(filepath.Join(dir, "data", "dataset"))
	for _, q := range queries {
		if rows := duck(t, strings.TrimSuffix(q, ";")); len(rows) == 0 {
			t.Errorf("no rows from\n%s", q)
		}
	}
}
