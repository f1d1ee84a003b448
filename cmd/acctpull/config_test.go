package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/policy"
)

// agentYAML writes a configuration and returns its name.
func agentYAML(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	check(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

const goodYAML = `source: {kind: synthetic}
file-ids:
  - {id: 11, location: /flash, rollover: 60, retention: 24}
  - {id: 12, location: /flash}
accounting-policies:
  - {id: 10, record: service-ingress-octets, to: file 11, default: true}
objects:
  saps:
    - {sap: "1/1/1:100", service: 100}
`

func TestConfigCheck(t *testing.T) {
	good := agentYAML(t, goodYAML)
	want := []string{"no mistake, 1 accounting policy in service", "service-ingress-octets", "5 min", "of access", "warning: line 4: file-id 12: no accounting-policy writes to it"}
	for _, args := range [][]string{{"config", "check", good}, {"config", "check", "-c", good}, {"collect", "-c", good, "--check"}} {
		expect(t, exitOK, want, args...)
	}
	bad := agentYAML(t, strings.Replace(goodYAML, "objects:", "  - {id: 20, record: service-egress-octets, to: file 11, default: true}\nobjects:", 1))
	both := []string{
		"configuration has 2 mistakes",
		"line 7: accounting-policy 20: file 11 is that of accounting-policy 10 already; a file-id serves one policy (accounting-policy 10 is in line 6)",
		"line 7: accounting-policy 20: accounting-policy 10 is the default policy of type access already; a type has one (accounting-policy 10 is in line 6)",
	}
	expect(t, exitUsage, both, "config", "check", bad)
	expect(t, exitUsage, both, "collect", "-c", bad, "--once")

	var report checkReport
	stdout, _ := expect(t, exitUsage, nil, "config", "check", bad, "--json")
	check(t, json.Unmarshal([]byte(stdout), &report))
	if report.OK || len(report.Mistakes) != 2 || report.Mistakes[0].Rule != policy.RuleFileShared || report.Mistakes[0].Line != 7 || report.Mistakes[0].OtherLine != 6 {
		t.Errorf("report %+v", report)
	}
	stdout, _ = expect(t, exitOK, nil, "config", "check", good, "--json")
	report = checkReport{}
	check(t, json.Unmarshal([]byte(stdout), &report))
	if !report.OK || len(report.Warnings) != 1 || report.Warnings[0].Rule != policy.WarnFileUnused || len(report.Policies) != 1 || report.Policies[0].Objects != 1 {
		t.Errorf("report %+v", report)
	}
	expect(t, exitUsage, []string{"one configuration file is needed"}, "config", "check")
	expect(t, exitUsage, []string{"one configuration file is needed"}, "config", "check", good, "-c", good)
}

// What config show prints is a configuration that means the same.
func TestConfigShow(t *testing.T) {
	good := agentYAML(t, goodYAML)
	first, _ := expect(t, exitOK, []string{"rollover: 1440", "align: false"}, "config", "show", good)
	for _, args := range [][]string{{"--format", "json"}, {"--json"}, {"--format", "yaml"}} {
		shown, _ := expect(t, exitOK, nil, append([]string{"config", "show", good}, args...)...)
		again, _ := expect(t, exitOK, nil, "config", "show", agentYAML(t, shown))
		if again != first {
			t.Errorf("%v: shown again:\n%s\nfirst:\n%s", args, again, first)
		}
	}
	expect(t, exitUsage, []string{"no format"}, "config", "show", good, "--format", "xml")
}

func TestConfigSchema(t *testing.T) {
	shown, _ := expect(t, exitOK, nil, "config", "schema")
	committed, err := os.ReadFile("../../docs/schema/agent.schema.json")
	check(t, err)
	if shown != string(committed) {
		t.Error("config schema prints another schema than docs/schema/agent.schema.json")
	}
}

// The text of a whole node becomes a configuration that loads and means the
// same; what is not in it is named.
func TestConfigImport(t *testing.T) {
	const node = "../../policy/classic/testdata/node.cfg"
	yaml := filepath.Join(t.TempDir(), "agent.yaml")
	args := []string{"config", "import", node, "--source", "synthetic", "-o", yaml}
	_, stderr := expect(t, exitPartly, []string{"frobnication 5", "38–43", "filter 10", "lost: 3 lines", "quantum-tunnel 1 create"}, args...)
	if strings.Contains(stderr, "mistake:") || strings.Contains(stderr, "without a link") {
		t.Errorf("mistakes in\n%s", stderr)
	}
	expect(t, exitOK, []string{"6 accounting policies in service"}, "config", "check", yaml)
	expect(t, exitUsage, []string{"exists already"}, args...)

	// Printed as classic text and imported again it is the same.
	text, _ := expect(t, exitOK, []string{"not in the text: the source"}, "config", "show", yaml, "--format", "classic")
	again, _ := expect(t, exitOK, nil, "config", "import", agentYAML(t, text), "--source", "synthetic")
	first, _ := expect(t, exitOK, nil, "config", "show", yaml)
	if second, _ := expect(t, exitOK, nil, "config", "show", agentYAML(t, again)); second != first {
		t.Errorf("imported again:\n%s\nfirst\n%s", second, first)
	}

	var report struct {
		Lost     int `json:"lines_lost"`
		Linkless int `json:"objects_without_link"`
		Left     []leftJSON
		Mistakes []violationJSON
		YAML     string
	}
	stdout, _ := expect(t, exitPartly, nil, "config", "import", node, "--json", "--location", "cf1:=/srv/flash")
	check(t, json.Unmarshal([]byte(stdout), &report))
	if report.Lost != 3 || report.Linkless == 0 || len(report.Left) < 40 ||
		len(report.Mistakes) != 1 || report.Mistakes[0].Rule != policy.RuleRecordSource || // linux runs no SAA tests
		!strings.Contains(report.YAML, "location: /srv/flash") {
		t.Errorf("report %+v", report)
	}
	_, stderr = expect(t, exitPartly, []string{"link: eth1.100", "link: eth24", "without a link", "mistake: line 78"}, "config", "import", node, "--port", "1/1/1=eth1", "--port", "1/1/24=eth24")
	if strings.Contains(stderr, "mistake: line 1") {
		t.Errorf("mistakes of links in\n%s", stderr)
	}
	shared := agentYAML(t, "log\n    file-id 11\n    exit\n    log-id 20\n        to file 11\n    exit\n    accounting-policy 10\n        record saa\n        to file 11\n    exit\nexit\n")
	expect(t, exitPartly, []string{"mistake: line 9: accounting-policy 10: file 11 is that of log-id 20 already; a file-id serves one log or one policy (log-id 20 is in line 5)"}, "config", "import", shared)
	expect(t, exitUsage, []string{"as in --location cf1:=/srv/flash"}, "config", "import", node, "--location", "cf1")
	expect(t, exitUsage, []string{"no source"}, "config", "import", node, "--source", "snmp")
	expect(t, exitUsage, []string{"read configuration"}, "config", "import", "/does/not/exist")
}
