package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/internal/show"
)

// planned runs plan and returns what it prints as JSON.
func planned(t *testing.T, args ...string) show.Plan {
	t.Helper()
	out, errs, code := command(t, append([]string{"--json", "plan", "--delete-rate", "100", "--collect-time", "1s"}, args...)...)
	if code != exitOK {
		t.Fatalf("plan %v: exit code %d\n%s", args, code, errs)
	}
	var p show.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return p
}

// A plan of a configuration, and of the same policy as options, say the same.
func TestPlanOfAConfiguration(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	config := filepath.Join(t.TempDir(), "agent.yaml")
	var sap strings.Builder
	for _, id := range []string{"1/1/2:1", "1/1/3:2", "1/1/4:3"} {
		sap.WriteString("    - {sap: \"" + id + "\", service: 100" + id[6:] + ", meters: 2}\n")
	}
	check(t, os.WriteFile(config, []byte(`source: {kind: synthetic}
file-ids:
  - {id: 1, location: "cf1:", rollover: 60, retention: 3}
accounting-policies:
  - {id: 1, record: service-ingress-octets, collection-interval: 15, to: file 1, default: true}
  - {id: 2, record: service-egress-octets, to: no-file}
  - {id: 3, shutdown: true}
objects:
  saps:
`+sap.String()), 0o600))
	file := planned(t, "-c", config)
	options := planned(t, "--record", "service-ingress-octets", "--objects", "3", "--meters", "2", "--interval", "15m", "--rollover", "1h", "--retention", "3h")
	if len(file.Policies) != 2 || file.Policies[1].Stored || file.Policies[1].Objects != 0 || len(file.Locations) != 1 {
		t.Errorf("%+v", file.Policies)
	}
	p, q := file.Policies[0], options.Policies[0]
	if p.Objects != 3 || p.Records != 9 || p.Records != q.Records || math.Abs(p.BytesPerHour-q.BytesPerHour) > 0.05*q.BytesPerHour || p.WindowSeconds != 3*3600 {
		t.Errorf("of the file %+v\nof options %+v", p, q)
	}
	if math.Abs(p.BytesPerHour-p.FileBytes*p.FilesPerDay/24) > 1e-6 || p.BytesPerRecord < 1 || p.RowsPerDay != 96*9 || p.MostFiles != 6 {
		t.Errorf("the numbers do not agree: %+v", p)
	}
	if len(file.Warnings) != 1 || file.Warnings[0].Kind != "outage" || file.Warnings[0].Policy != 1 {
		t.Errorf("%+v", file.Warnings)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	expect(t, exitOK, []string{"Accounting Plan", "measured on this machine", "Warning (outage), policy 1", "What an outage loses at most"}, "plan", "-c", config)
}

// Every record of the device can be planned without a configuration.
func TestPlanOfEveryRecord(t *testing.T) {
	for _, r := range show.Records(nil) {
		p := planned(t, "--record", r.Name, "--objects", "3", "--outage", "0", "--poll", "0")
		if got := p.Policies[0]; got.Records < 3 || got.BytesPerRecord < 1 || len(p.Warnings) != 0 {
			t.Errorf("%s: %+v, %+v", r.Name, got, p.Warnings)
		}
	}
}

func TestPlanUsage(t *testing.T) {
	config, _ := agentConfig(t, "")
	for _, c := range []struct{ args, want string }{
		{"plan", "a configuration or a record is needed"},
		{"plan -c " + config + " --objects 3", "--objects is for a plan without a configuration"},
		{"plan --record nonsense", "no record"},
		{"plan --record service-ingress-octets --objects 0", "outside 1–1000000"},
		{"plan --record service-ingress-octets --interval 3m", "3"},
		{"plan --record service-ingress-octets --delete-rate 0", "delete rate is more than 0"},
		{"plan --record service-ingress-octets --rule never", "no retention rule"},
	} {
		expect(t, exitUsage, []string{c.want}, strings.Fields(c.args)...)
	}
}
