package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/ledger"
)

// commandAt runs the program with a clock that shows a time.
func commandAt(t *testing.T, at time.Time, code int, texts []string, args ...string) string {
	t.Helper()
	var o, e buffer
	p := realPace()
	p.clock = fastClock{Began: time.Now(), At: at, Rate: 1}
	a := &app{env: envMap(os.Environ()), stdout: &o, stderr: &e, pace: p}
	got := a.run(t.Context(), args)
	if got != code {
		t.Fatalf("acctpull %s at %v: exit code %d, want %d\n%s%s", strings.Join(args, " "), at, got, code, o.String(), e.String())
	}
	for _, text := range texts {
		if !strings.Contains(o.String()+e.String(), text) {
			t.Errorf("acctpull %s at %v: no %q in\n%s%s", strings.Join(args, " "), at, text, o.String(), e.String())
		}
	}
	return o.String()
}

// TestExpireChain goes the whole way: pull, export, usage, hold, expire, and
// everything that looks at it afterwards.
func TestExpireChain(t *testing.T) {
	f := newFleet(t, 2, 4, nil)
	retention := func(text string) {
		t.Helper()
		f.write(t, 2)
		inventory, err := os.ReadFile(f.file)
		check(t, err)
		check(t, os.WriteFile(f.file, append([]byte(text), inventory...), 0o600))
	}
	retention("")
	pulled := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
	commandAt(t, pulled, exitOK, []string{"8 fetched"}, "pull", "-c", f.file)
	certificate := filepath.Join(t.TempDir(), "january.json")
	commandAt(t, pulled, exitOK, []string{"8 files"}, "certificate", "-c", f.file, "--month", "2026-01", "--out", certificate)
	commandAt(t, pulled, exitUsage, []string{"no file-id", "docs/retention.md"}, "expire", "-c", f.file)
	commandAt(t, pulled, exitOK, []string{"no file-id"}, "expire", "-c", f.file, "--dry-run")

	retention(`
file-ids:
- {file-id: 1, location: archive, retention: 90d}
- {file-id: 2, location: dataset, retention: 400d}
- {file-id: 3, location: archive, retention: 200d, groups: odd}
`)
	commandAt(t, pulled, exitOK, []string{"nothing has expired"}, "expire", "-c", f.file)
	later := pulled.AddDate(0, 4, 0)
	commandAt(t, later, exitFailed, []string{"clock cannot be believed", "--confirm-clock"}, "expire", "-c", f.file)
	commandAt(t, later, exitOK, []string{"archive", "remove", "expired", "the sweep would refuse", "clock"}, "expire", "-c", f.file, "--dry-run")

	// A hold on the device that is about to expire.
	commandAt(t, later, exitUsage, []string{"no device"}, "hold", "add", "-c", f.file, "--device", "d9", "--reason", "case 1")
	commandAt(t, later, exitUsage, []string{"a hold names"}, "hold", "add", "-c", f.file, "--reason", "case 1")
	commandAt(t, later, exitUsage, []string{"not before"}, "hold", "add", "-c", f.file, "--from", "2026-02-01", "--to", "2026-01-01", "--reason", "case 1")
	commandAt(t, later, exitOK, []string{"no hold in force"}, "hold", "list", "-c", f.file)
	commandAt(t, later, exitOK, []string{"device d0", "case 1", "in force"}, "hold", "add", "--data", f.data, "--device", "d0", "--from", "2026-01-01", "--to", "2026-02-01", "--reason", "case 1")
	out := commandAt(t, later, exitOK, nil, "--json", "expire", "-c", f.file, "--dry-run", "--files", "--confirm-clock")
	var plan expiryResult
	check(t, json.Unmarshal([]byte(out), &plan))
	reasons := map[string]int{}
	for _, p := range plan.Files {
		reasons[string(p.Location)+" "+string(p.Reason)]++
		if p.Reason == "held" && (p.Device != "d0" || p.Note != "hold 1" || p.FileID != 1) {
			t.Errorf("%+v", p)
		}
	}
	if reasons["archive held"] != 4 || reasons["archive retained"] != 4 || reasons["dataset retained"] == 0 || plan.Refused != "" || !plan.DryRun {
		t.Errorf("%v\n%s", reasons, out)
	}
	commandAt(t, later, exitOK, []string{"kept", "held"}, "expire", "-c", f.file, "--confirm-clock")
	commandAt(t, later, exitFailed, []string{"no such hold"}, "hold", "release", "-c", f.file, "7", "--reason", "x")
	commandAt(t, later, exitOK, []string{"released", "closed"}, "hold", "release", "-c", f.file, "1", "--reason", "case 1 is closed")
	out = commandAt(t, later, exitOK, nil, "--json", "hold", "list", "-c", f.file, "--all")
	var holds []holdJSON
	check(t, json.Unmarshal([]byte(out), &holds))
	if len(holds) != 1 || holds[0].InForce || holds[0].Device != "d0" || holds[0].ReleaseReason != "case 1 is closed" || holds[0].By == "" {
		t.Errorf("%+v", holds)
	}

	// The archive of one device goes. Nothing calls it missing, and nobody fetches it again.
	commandAt(t, later, exitOK, []string{"archive", "removed", "expired", "devices/d0/act/"}, "expire", "-c", f.file, "--confirm-clock", "--files")
	if n := len(mustGlob(t, filepath.Join(f.data, "devices/*/act/*.gz"))); n != 4 {
		t.Errorf("%d files are left", n)
	}
	whole := []string{"8 files seen = 4 fetched + 0 quarantined + 0 lost + 0 waiting + 4 removed", "everything is whole"}
	commandAt(t, later, exitOK, whole, "check", "-c", f.file)
	commandAt(t, later, exitOK, []string{"4 files read back", "4 expired by retention", "the certificate holds"}, "check", "-c", f.file, "--certificate", certificate)
	commandAt(t, later, exitOK, []string{"8 known, 0 fetched"}, "pull", "-c", f.file)
	commandAt(t, later, exitOK, whole, "check", "-c", f.file)
	out = commandAt(t, later, exitOK, nil, "--json", "coverage", "-c", f.file, "--from", "2026-01-01", "--to", "2026-01-04")
	if !strings.Contains(out, "has expired on 2026-05-03 by retention") || strings.Contains(out, `"lost"`) {
		t.Errorf("coverage says %s", out)
	}
	everyRecordOnce(t, filepath.Join(f.data, "dataset"), f.truth())

	// Then the dataset.
	end := later.AddDate(2, 0, 0)
	commandAt(t, end, exitOK, []string{"archive", "dataset", "removed"}, "expire", "-c", f.file, "--confirm-clock")
	left, err := filepath.Glob(filepath.Join(f.data, "dataset/*/v1/*/*.parquet"))
	if check(t, err); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	commandAt(t, end, exitOK, []string{"8 files seen = 0 fetched", "8 removed", "everything is whole"}, "check", "-c", f.file)
	commandAt(t, end, exitOK, []string{"8 known, 0 fetched"}, "pull", "-c", f.file)
	commandAt(t, end, exitOK, []string{"nothing has expired"}, "expire", "-c", f.file)

	// What comes after it is pulled and exported as ever.
	f.feeds[0].add(1)
	commandAt(t, end, exitOK, []string{"1 fetched"}, "pull", "-c", f.file)
	commandAt(t, end, exitOK, []string{"9 files seen = 1 fetched", "everything is whole"}, "check", "-c", f.file)
	l, err := ledger.Open(t.Context(), filepath.Join(f.data, "ledger.db"))
	check(t, err)
	counts, err := l.Counts(t.Context())
	check(t, err)
	for _, c := range counts {
		if c.State != ledger.Exported {
			t.Errorf("%+v", c)
		}
	}
	check(t, l.Close())
}
