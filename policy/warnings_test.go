package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// calm is a configuration without a warning; each case changes one thing in it.
const calm = `source: {kind: synthetic}
file-ids:
  - id: 11
    location: /flash
    rollover: 60
    retention: 2
accounting-policies:
  - id: 10
    record: service-ingress-octets
    to: file 11
    default: true
  - id: 20
    record: combined-sdp-ingress-egress
    to: no-file
objects:
  saps:
    - sap: 1/1/1:100
      service: 100
  sdps:
    - sdp: 7
      accounting-policy: 20
`

var warningTable = []struct {
	warning  Rule
	old, new string
}{
	{WarnPolicyEmpty, "      service: 100\n", "      service: 100\n      collect-stats: false\n"},
	{WarnPolicyEmpty, "accounting-policy: 20", "collect-stats: false"},
	{WarnPolicyShutdown, "    default: true\n", "    default: true\n    shutdown: true\n"},
	{WarnObjectNotCollected, "      accounting-policy: 20\n", ""},
	{WarnFileUnused, "    to: file 11\n", "    to: no-file\n"},
	{WarnRolloverShort, "    to: file 11\n", "    to: file 11\n    collection-interval: 61\n"},
	{WarnRetentionShort, "    rollover: 60\n", "    rollover: 61\n"},
	{WarnRetentionShort, "    rollover: 60\n    retention: 2\n", ""},
}

// Every warning has a case, a stable text and a line, and none comes without a
// cause.
func TestWarnings(t *testing.T) {
	set, err := Load([]byte(calm))
	if err != nil {
		t.Fatal(err)
	}
	if w := set.Warnings(); len(w) != 0 {
		t.Errorf("warnings without a cause: %v", w)
	}
	var golden strings.Builder
	hit := map[Rule]bool{}
	for _, c := range warningTable {
		text := strings.Replace(calm, c.old, c.new, 1)
		if text == calm {
			t.Fatalf("%s: the case replaces nothing: %q", c.warning, c.old)
		}
		set, err := Load([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", c.warning, err)
		}
		warnings := set.Warnings()
		if !slices.ContainsFunc(warnings, func(v Violation) bool { return v.Rule == c.warning }) {
			t.Errorf("%s: %q: no such warning: %v", c.warning, c.new, warnings)
		}
		hit[c.warning] = true
		fmt.Fprintf(&golden, "%s: %q -> %q\n", c.warning, c.old, c.new)
		for _, v := range warnings {
			fmt.Fprintf(&golden, "\t%s\n", v)
			if v.Line < 1 || v.Line > strings.Count(text, "\n")+1 {
				t.Errorf("%s: line %d is not in the text", c.warning, v.Line)
			}
		}
	}
	compareGolden(t, "testdata/warnings.txt", golden.String())
	for _, w := range Warnings() {
		if !hit[w.Rule] {
			t.Errorf("no case for the warning %s", w.Rule)
		}
	}
}
