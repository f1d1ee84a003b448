package policy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

// valid is a configuration without a mistake; each case of the rule table
// changes one thing in it.
const valid = `source: {kind: synthetic, seed: 1}
file-ids:
  - id: 11
    location: /flash
  - id: 12
    location: /flash
accounting-policies:
  - id: 10
    record: service-ingress-octets
    to: file 11
    default: true
  - id: 20
    record: combined-sdp-ingress-egress
    to: file 12
objects:
  saps:
    - sap: 1/1/1:100
      service: 100
  sdps:
    - sdp: 7
      accounting-policy: 20
`

// validLinux is the same for a Linux machine.
var validLinux = strings.NewReplacer("source: {kind: synthetic, seed: 1}", "source: {kind: linux}", "    - sdp: 7\n", "    - sdp: 7\n      link: vxlan7\n", "      service: 100\n", "      service: 100\n      link: eth1.100\n").Replace(valid)

// ruleTable breaks every rule, each case by one replacement in valid. The
// messages stand in testdata/rules.txt.
var ruleTable = []struct {
	rule     Rule
	old, new string
}{
	{RuleSyntax, "file-ids:\n", "file-ids: [\n"},
	{RuleSyntax, "  sdps:", "--- {}\n"},
	{RuleUnknownKey, "    default: true", "    defualt: true"},
	{RuleUnknownKey, "  sdps:\n", "  tunnels:\n"},
	{RuleUnknownKey, "file-ids:", "logs: {}\nfile-ids:"},
	{RuleDuplicateKey, "    to: file 11\n", "    to: file 11\n    to: no-file\n"},
	{RuleValue, "  - id: 10\n", "  - id: ten\n"},
	{RuleValue, "    default: true", "    default: yes"},
	{RuleValue, "    to: file 11", "    to: 11"},
	{RuleValue, "    to: file 11", "    to:"},
	{RuleValue, "    to: file 11", "    to: file 11\n    type: accesss"},
	{RuleValue, "    to: file 11", "    to: file 11\n    collection-interval: 5 minutes"},
	{RuleValue, "    record: service-ingress-octets", "    record: [service-ingress-octets, service-egress-octets]"},
	{RuleValue, "      service: 100", "      service: 100\n      counter-mode: drop"},
	{RuleValue, "    - sap: 1/1/1:100\n", "    - &a\n      sap: 1/1/1:100\n"},
	{RuleValue, "seed: 1", "seed: -1"},
	{RuleValue, "objects:\n", "objects: 7\nx:\n"},
	{RuleSystem, "file-ids:", "system-name: \"a\\tb\"\nfile-ids:"},
	{RuleControl, "file-ids:", "control-socket: run/agent.sock\nfile-ids:"},
	{RuleControl, "file-ids:", "control-socket: \"\"\nfile-ids:"},
	{RuleControl, "file-ids:", "control-socket: /" + strings.Repeat("x", MaxControlSocket) + "\nfile-ids:"},
	{RuleSource, "kind: synthetic, seed: 1", "kind: snmp"},
	{RuleSource, "kind: synthetic, seed: 1", "kind: synthetic, idle: 101, namespace: blue"},
	{RuleSource, "kind: synthetic, seed: 1", "kind: replay, seed: 0, profile: \"a\\tb\""},
	{RuleSource, "kind: synthetic, seed: 1", "kind: linux, path: [a, b], loop: true"},
	{RuleSource, "kind: synthetic, seed: 1", "kind: replay, path: [a, \"\"]"},
	{RuleValue, "kind: synthetic, seed: 1", "kind: replay, path: {a: b}"},
	{RuleID, "  - id: 11\n", "  - id: 100\n"},
	{RuleID, "  - id: 20\n", "  - id: 0\n"},
	{RuleDuplicateID, "  - id: 12\n", "  - id: 11\n"},
	{RuleDuplicateID, "  - id: 20\n", "  - id: 10\n"},
	{RuleDescription, "  - id: 11\n", "  - id: 11\n    description: über\n"},
	{RuleDescription, "  - id: 10\n", "  - id: 10\n    description: " + strings.Repeat("x", 81) + "\n"},
	{RuleLocation, "    location: /flash\n", ""},
	{RuleLocation, "    location: /flash\n", "    location: \"/fl\\x07ash\"\n"},
	{RuleBackup, "    location: /flash\n", "    location: /flash\n    backup-location: /flash/\n"},
	{RuleLocation, "    location: /flash\n", "    location: /flash\n    backup-location: \"\"\n"},
	{RuleLocation, "    location: /flash\n", "    location: /flash\n    backup-location: \"/fl\\x07ash\"\n"},
	{RuleLogMemory, "    to: file 11\n", "    to: file 11\n    log-memory: true\n    log-memory-size: 129\n"},
	{RuleLogMemory, "    to: file 11\n", "    to: file 11\n    log-memory: true\n    log-memory-size: 0\n"},
	{RuleLogMemory, "    to: file 11\n", "    to: file 11\n    log-memory-size: 64\n"},
	{RuleRollover, "    location: /flash\n", "    location: /flash\n    rollover: 4\n"},
	{RuleRollover, "    location: /flash\n", "    location: /flash\n    rollover: 8d\n"},
	{RuleRetention, "    location: /flash\n", "    location: /flash\n    retention: 0\n"},
	{RuleRetention, "    location: /flash\n", "    location: /flash\n    retention: 90m\n"},
	{RuleRetention, "    location: /flash\n", "    location: /flash\n    retention: 501h\n"},
	{RuleInterval, "    to: file 11\n", "    to: file 11\n    collection-interval: 1\n"},
	{RuleInterval, "    to: file 11\n", "    to: file 11\n    collection-interval: 0\n"},
	{RuleInterval, "    to: file 11\n", "    to: file 11\n    collection-interval: 121\n"},
	{RuleRecordMissing, "    record: combined-sdp-ingress-egress\n", ""},
	{RuleRecordUnknown, "combined-sdp-ingress-egress", "combined-sdp-octets"},
	{RuleRecordType, "combined-sdp-ingress-egress", "aa-protocol"},
	{RuleRecordType, "    to: file 11\n", "    to: file 11\n    type: network\n"},
	{RuleRecordTwice, "combined-sdp-ingress-egress", "Service-Ingress-Octets"},
	{RuleRecordSource, "combined-sdp-ingress-egress", "combined-service-ing-egr-octets"},
	{RuleDefaultRecord, "    record: service-ingress-octets\n", ""},
	{RuleDefaultTwice, "    record: combined-sdp-ingress-egress\n", "    record: service-egress-octets\n    default: true\n"},
	{RuleDefaultLSP, "service-ingress-octets", "combined-ldp-lsp-egress"},
	{RuleDefaultSAA, "service-ingress-octets", "saa"},
	{RuleToMissing, "    to: file 12\n", ""},
	{RuleToUnknown, "    to: file 12\n", "    to: file 13\n"},
	{RuleToUnknown, "    to: file 12\n", "    to: file 0\n"},
	{RuleFileShared, "    to: file 12\n", "    to: file 11\n"},
	{RuleObject, "    - sap: 1/1/1:100\n      service: 100\n", "    - service: 100\n"},
	{RuleObject, "      service: 100\n", ""},
	{RuleObject, "1/1/1:100", "\" 1/1/1:100\""},
	{RuleObjectTwice, "      service: 100\n", "      service: 100\n    - {sap: 1/1/1:100, service: 300}\n"},
	{RuleObjectPolicy, "accounting-policy: 20", "accounting-policy: 21"},
	{RuleObjectType, "accounting-policy: 20", "accounting-policy: 10"},
	{RuleObjectType, "accounting-policy: 20", "accounting-policy: 20\n      service: 5"},
	{RuleObjectLink, "source: {kind: synthetic, seed: 1}", "source: {kind: linux}"},
	{RuleObjectFields, "      service: 100\n", "      service: 100\n      meters: 33\n"},
	{RuleObjectFields, "      service: 100\n", "      service: 100\n      egress-meters: 0\n"},
}

// linuxRuleTable breaks the rules of the source linux, in validLinux.
var linuxRuleTable = []struct {
	rule     Rule
	old, new string
}{
	{RuleObjectLink, "link: eth1.100", "link: eth1/2"},
	{RuleObjectLink, "link: eth1.100", "tc: {link: a b, egress: 1:10}"},
	{RuleObjectCounters, "link: eth1.100", "nft: {table: acct, ingress: in 1}"},
	{RuleObjectCounters, "link: eth1.100", "nft: {table: inet acct, ingress: in, ingress-dropped: drop, queues: [{}]}"},
	{RuleObjectCounters, "link: eth1.100", "nft: {table: inet acct, ingress: in, egress: in}"},
	{RuleObjectCounters, "link: eth1.100", "nft: {table: inet acct, ingress: in, meters: [{}, {dropped: a b}]}"},
	{RuleObjectCounters, "link: eth1.100", "tc: {egress: 1:10, queues: [1:11]}"},
	{RuleObjectCounters, "link: eth1.100", "tc: {link: eth1}"},
	{RuleObjectCounters, "link: eth1.100", "link: eth1\n      nft: {table: inet acct, egress: out}\n      tc: {egress: 1:10}"},
	{RuleObjectCounters, "link: eth1.100", "nft: {table: inet acct, ingress: in}\n    - {sap: 1/1/1:200, service: 200, nft: {table: inet acct, ingress: in}}"},
	{RuleValue, "link: eth1.100", "tc: {link: eth1, egress: 1, egress-meters: [1:10, 1:0]}"},
	{RuleUnknownKey, "link: eth1.100", "nft: {table: inet acct, meters: [{in: x}]}"},
	{RuleRecordSource, "link: eth1.100", "nft: {table: inet acct, egress: out}"},
	{RuleRecordSource, "link: eth1.100", "counter-mode: forward-drop-count\n      nft: {table: inet acct, ingress: in, meters: [{dropped: m1}, {in-profile: m2}]}"},
}

// betweenTwo are the rules between two objects that both stand in the text: the
// message has both, with their lines.
var betweenTwo = []Rule{RuleDuplicateID, RuleRecordTwice, RuleFileShared, RuleDefaultTwice, RuleObjectTwice, RuleObjectType}

func TestRules(t *testing.T) {
	var golden strings.Builder
	hit := map[Rule]bool{}
	for i, c := range append(slices.Clip(ruleTable), linuxRuleTable...) {
		base := valid
		if i >= len(ruleTable) {
			base = validLinux
		}
		text := strings.Replace(base, c.old, c.new, 1)
		if text == base {
			t.Fatalf("%s: the case replaces nothing: %q", c.rule, c.old)
		}
		_, err := Load([]byte(text))
		var ce *ConfigError
		if !errors.As(err, &ce) {
			t.Fatalf("%s: %q: no *ConfigError: %v", c.rule, c.new, err)
		}
		if !slices.ContainsFunc(ce.Violations, func(v Violation) bool { return v.Rule == c.rule }) {
			t.Errorf("%s: %q: not broken: %v", c.rule, c.new, err)
		}
		hit[c.rule] = true
		fmt.Fprintf(&golden, "%s: %q -> %q\n", c.rule, c.old, c.new)
		for _, v := range ce.Violations {
			fmt.Fprintf(&golden, "\t%s\n", v)
			if v.Line < 1 || v.Line > strings.Count(text, "\n")+1 {
				t.Errorf("%s: %q: line %d is not in the text", c.rule, c.new, v.Line)
			}
			if slices.Contains(betweenTwo, v.Rule) && (v.Subject == "" || v.Other == "" || v.OtherLine < 1 || !strings.Contains(v.String(), fmt.Sprintf("is in line %d", v.OtherLine))) {
				t.Errorf("%s: %q does not name both objects and lines", v.Rule, v)
			}
			if v.Other != "" && !strings.Contains(v.Text, v.Other) && v.Other != "the first" {
				t.Errorf("%s: %q does not name %q", c.rule, v.Text, v.Other)
			}
		}
	}
	compareGolden(t, "testdata/rules.txt", golden.String())
	for _, r := range Rules() {
		if !hit[r.Rule] {
			t.Errorf("no case breaks rule %s", r.Rule)
		}
	}
}

// Every constant of type Rule is documented, and nothing else is.
func TestRulesAreDocumented(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, m := range regexp.MustCompile(`Rule = "([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		want = append(want, m[1])
	}
	for _, r := range Rules() {
		got = append(got, string(r.Rule))
	}
	if !slices.Equal(got, want) {
		t.Errorf("Rules: %v, constants: %v", got, want)
	}
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Errorf("%s (go test -update rewrites it) line %d: got\n%s\nwant\n%s", file, i+1, strings.Join(g[min(i, len(g)):min(i+5, len(g))], "\n"), strings.Join(w[min(i, len(w)):min(i+5, len(w))], "\n"))
			return
		}
	}
}

// All mistakes are reported at once, those of the text and those of its sense,
// by line.
func TestAllMistakesAtOnce(t *testing.T) {
	_, err := Load([]byte(`file-ids:
  - {id: 11, location: /flash, rollover: 3}
  - {id: 11, retention: x}
accounting-policies:
  - {id: 10, record: service-ingress-octets, to: file 12, color: red}
  - {id: 11, to: no-file}
objects:
  saps:
    - {sap: 1/1/1:1, service: 1, accounting-policy: 9, link: eth0}
`))
	want := `configuration has 8 mistakes
  line 2: file-id 11: rollover 3 is outside 5–10080 minutes
  line 3: retention: "x" is not a number of hours, or one with the unit m, h or d
  line 3: file-id 11: the id is given twice (the first is in line 2)
  line 3: file-id 11: location is missing: it takes the directory below which act-collect/ and act/ are made
  line 5: accounting-policy: there is no key "color"; the keys are id, description, type, record, collection-interval, to, default, align, include-system-info, log-memory, log-memory-size, shutdown
  line 5: accounting-policy 10: to file 12: there is no file-id 12
  line 6: accounting-policy 11: it has no record
  line 9: SAP 1/1/1:1: there is no accounting-policy 9`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var ce *ConfigError
	if !errors.As(err, &ce) || ce.Hint() == "" {
		t.Errorf("no hint: %v", err)
	}
}

// Configurations made in Go obey the same rules, without lines.
func TestNewWithoutYAML(t *testing.T) {
	c := Config{
		Source:   SourceConfig{Kind: SourceSynthetic},
		FileIDs:  []FileID{{ID: 11, Location: "/flash"}},
		Policies: []AccountingPolicy{{ID: 10, Record: "Service-Ingress-Octets", To: 11, Default: true}},
		Objects:  []Object{{Type: Access, ID: "1/1/1:1", Service: "1", CollectStats: true}},
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Config()
	p, f := got.Policies[0], got.FileIDs[0]
	if p.Type != Access || p.Record != "service-ingress-octets" || p.CollectionInterval != 5*time.Minute || f.Rollover != 1440*time.Minute || f.Retention != 12*time.Hour || got.Objects[0].Meters != 1 {
		t.Errorf("defaults: %+v %+v %+v", p, f, got.Objects[0])
	}
	if c.FileIDs[0].Rollover != 0 {
		t.Error("New changed the caller's Config")
	}
	c.FileIDs = append(c.FileIDs, FileID{ID: 11})
	c.Objects = append(c.Objects, Object{Type: 9, ID: "x"}, Object{Type: Network, ID: "1/1/1", Meters: 1, CounterMode: 5, Service: "7"})
	_, err = New(c)
	want := `configuration has 6 mistakes
  file-id 11: the id is given twice
  file-id 11: location is missing: it takes the directory below which act-collect/ and act/ are made
  object "x": its type is none of access, accessport, network, networkIf, sdp, saa
  network port 1/1/1: it cannot have a service
  network port 1/1/1: it cannot have the counter-mode CounterMode(5)
  network port 1/1/1: it cannot have meters`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// An object's policy is its explicit one, else the default of its type, else
// none (7210 SAS, "Accounting Records").
func TestFor(t *testing.T) {
	s, err := New(Config{
		Source:  SourceConfig{Kind: SourceSynthetic},
		FileIDs: []FileID{{ID: 1, Location: "/flash"}, {ID: 2, Location: "/flash"}, {ID: 3, Location: "/flash"}},
		Policies: []AccountingPolicy{
			{ID: 30, Record: "network-egress-octets", To: 3, Default: true, Shutdown: true},
			{ID: 10, Record: "service-ingress-octets", To: 1, Default: true},
			{ID: 20, Record: "service-egress-octets", To: 2},
		},
		Objects: []Object{
			{Type: Access, ID: "1/1/1:1", Service: "1", CollectStats: true},
			{Type: Access, ID: "1/1/1:2", Service: "1", CollectStats: true, Policy: 20},
			{Type: Access, ID: "1/1/1:3", Service: "1", CollectStats: false},
			{Type: SDP, ID: "7", CollectStats: true},
			{Type: Network, ID: "1/1/2", CollectStats: true},
			{Type: Access, ID: "1/1/1:4", Service: "1", CollectStats: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []int{10, 20, 0, 0, 30, 10}
	c := s.Config()
	for i := range c.Objects {
		p, ok := s.For(&c.Objects[i])
		if p.ID != want[i] || ok != (want[i] != 0) {
			t.Errorf("%s: policy %d %v, want %d", &c.Objects[i], p.ID, ok, want[i])
		}
	}
	var got []string
	for _, p := range s.Plan() {
		line := fmt.Sprintf("%d file %d:", p.Policy.ID, p.File.ID)
		for _, o := range p.Objects {
			line += " " + o.ID
		}
		got = append(got, line)
	}
	if want := []string{"10 file 1: 1/1/1:1 1/1/1:4", "20 file 2: 1/1/1:2"}; !slices.Equal(got, want) {
		t.Errorf("plan %q, want %q", got, want)
	}
}

func TestValid(t *testing.T) {
	if _, err := Load([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"example.yaml", "linux.yaml"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(data); err != nil {
			t.Fatal(err)
		}
	}
}
