package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryRuleHasAScenario: every rule of testdata/rules.txt is proved by at
// least one scenario, and no scenario claims to prove another.
func TestEveryRuleHasAScenario(t *testing.T) {
	text, err := os.ReadFile("testdata/rules.txt")
	check(t, err)
	proofs := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, "|")
		if len(parts) != 3 {
			t.Errorf("no rule with its place and text: %s", line)
			continue
		}
		id := strings.TrimSpace(parts[0])
		if _, twice := proofs[id]; twice || id == "" || strings.TrimSpace(parts[1]) == "" || strings.TrimSpace(parts[2]) == "" {
			t.Errorf("a rule twice or without a place or text: %s", line)
		}
		proofs[id] = nil
	}
	for _, s := range scenarios(t) {
		for _, id := range strings.Fields(s.Setting("proves")) {
			if _, ok := proofs[id]; !ok {
				t.Errorf("%s: there is no rule %q", s.path, id)
			}
			proofs[id] = append(proofs[id], filepath.Base(s.path))
		}
	}
	for id, by := range proofs {
		if len(by) == 0 {
			t.Errorf("no scenario proves the rule %s", id)
		}
	}
	if len(proofs) < 10 {
		t.Errorf("only %d rules", len(proofs))
	}
}

const (
	docs  = "../../docs/scenarios.md"
	begin = "<!-- agent verbs: made by go test ./internal/agent -run Docs -update -->\n"
	end   = "<!-- end of agent verbs -->\n"
)

// TestDocs keeps the verbs and rules in docs/scenarios.md equal to the code.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(docs)
	check(t, err)
	head, rest, ok1 := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the verbs", docs)
	}
	want := head + begin + "\n" + language.Markdown() + "\n" + end + tail
	if *update {
		check(t, os.WriteFile(docs, []byte(want), 0o644))
	} else if string(text) != want {
		t.Errorf("%s is not current; run: go test ./internal/agent -run Docs -update", docs)
	}
}

// The sections that a scenario must have.
func TestScenariosAreWhole(t *testing.T) {
	for _, s := range scenarios(t) {
		for _, section := range []string{"config", "events", "files"} {
			if _, ok := s.Section(section); !ok {
				t.Errorf("%s has no section %s", s.path, section)
			}
		}
		if s.Title == "" || s.Setting("proves") == "" {
			t.Errorf("%s says neither what it is about nor what it proves", s.path)
		}
	}
}
