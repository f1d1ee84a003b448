package record

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func profilePage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/formats/profile.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// No spelling means two things, and all stand in the documentation.
func TestSpellings(t *testing.T) {
	page := profilePage(t)
	seen := map[string]string{}
	note := func(name, as string) {
		if other, ok := seen[name]; ok || squash(name) != name {
			t.Errorf("%q is %s and %s, or not in its plain form", name, other, as)
		}
		seen[name] = as
	}
	all := slices.Concat(headerSpellings, identSpellings, subSpellings, nameSpellings, valueSpellings)
	for c, names := range spellings {
		for _, n := range names {
			note(n, contextNames[c])
		}
		all = append(all, names...)
	}
	for key, names := range keySpellings {
		for _, n := range names {
			note(n, "key "+key)
		}
		all = append(all, names...)
		if newVocabulary(Builtin(), nil).fields[key] == nil {
			t.Errorf("no key %q in the catalogue", key)
		}
	}
	for _, n := range all {
		if !strings.Contains(page, "`"+n+"`") {
			t.Errorf("docs/formats/profile.md does not give %q", n)
		}
	}
}

// The example in the documentation is a valid profile, and uses every key.
func TestProfileExample(t *testing.T) {
	page := profilePage(t)
	_, rest, _ := strings.Cut(page, "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	p, err := LoadProfile(strings.NewReader(example), nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range p.Names.lists() {
		if len(l.names) == 0 {
			t.Errorf("the example lacks names of %s", l.key)
		}
	}
	again, err := LoadProfile(strings.NewReader(string(out)), nil)
	if err != nil || again.Names.End[0] != "te" || len(again.ExtraFields) != 3 {
		t.Errorf("written and read again: %v", err)
	}
	for _, key := range []string{"platform", "record", "policy", "semantics", "time-zone", "time", "fields", "sub-records", "records", "names", "extra-fields"} {
		if !strings.Contains(string(out), key+":") {
			t.Errorf("the example lacks %s", key)
		}
	}
}
