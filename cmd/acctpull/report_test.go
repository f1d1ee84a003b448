package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/internal/gen"
	"acctpull/record"
	"acctpull/report"
	"acctpull/usage"
)

// reported makes a dataset with usage of a day, by the commands, and returns the
// directory of the files and that of the dataset.
func reportData(t *testing.T) (files, dataset string) {
	t.Helper()
	dir := t.TempDir()
	files, dataset = filepath.Join(dir, "files"), filepath.Join(dir, "dataset")
	if _, err := gen.Tree(files, gen.TreeOptions{Devices: 2, Files: 4, Options: gen.Options{Seed: 3, Record: "service-ingress-octets", Platform: "7210 SAS",
		CounterMode: "forward-drop-count", Objects: 3, Meters: 2, Intervals: 72, Idle: -1}}); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	expect(t, exitOK, nil, "export", "files", "--out", "./dataset")
	def, _ := record.Builtin().Lookup("service-ingress-octets")
	if _, err := usage.Refresh(context.Background(), usage.Options{Dataset: depot.NewDir(dataset), Scratch: filepath.Join(dataset, ".staging"), Tables: []*export.Table{export.Schema(def)}}); err != nil {
		t.Fatal(err)
	}
	return files, dataset
}

// The commands answer in every format, and a bill is proved from files that were moved.
func TestReportCommands(t *testing.T) {
	files, dataset := reportData(t)
	day := []string{"--dataset", dataset, "--from", "2026-01-02T00:05:00Z", "--to", "2026-01-02T18:00:00Z"}
	expect(t, exitOK, []string{"gap policy exclude", "gen-0001", "gen-0002"}, append([]string{"report", "volume"}, day...)...)
	expect(t, exitOK, []string{"percentile 95 by nearest rank", "bit/s"}, append([]string{"report", "p95", "--gaps", "refuse"}, day...)...)
	expect(t, exitOK, []string{"DROPPED", "PERCENT"}, append([]string{"report", "drops", "--by", "class", "--limit", "3"}, day...)...)
	expect(t, exitOK, []string{"PEAK UTILISATION"}, append([]string{"report", "top", "--speed", "100k", "--over", "1%"}, day...)...)
	expect(t, exitOK, []string{"percentile_method", "\r\n"}, append([]string{"report", "p95", "--format", "csv"}, day...)...)
	expect(t, exitPartly, []string{"refused"}, "report", "p95", "--gaps", "refuse", "--dataset", dataset, "--month", "2026-01")
	expect(t, exitFailed, nil, "report", "volume", "--dataset", dataset, "--month", "2025-01")
	for _, format := range []string{"html", "parquet", "json"} {
		out := filepath.Join(t.TempDir(), "report."+format)
		expect(t, exitOK, nil, append([]string{"report", "top", "--format", format, "--out", out}, day...)...)
		if st, err := os.Stat(out); err != nil || st.Size() < 1000 {
			t.Errorf("%s: %v", format, err)
		}
	}
	text, _ := expect(t, exitOK, nil, append([]string{"--json", "report", "p95", "--device", "gen-0001"}, day...)...)
	var r report.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil || len(r.Figures) != 3 || r.Figures[0].Coverage.Expected != 215 {
		t.Fatalf("%v: %s", err, text)
	}
	bill := filepath.Join(t.TempDir(), "bill.json")
	expect(t, exitOK, nil, append([]string{"report", "p95", "--device", "gen-0001", "--sap", r.Figures[1].Object[2], "--proof", bill}, day...)...)
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(files, moved); err != nil {
		t.Fatal(err)
	}
	expect(t, exitOK, []string{"the proof holds: 1 figure"}, "proof", "verify", bill, "--archive", moved)
	names, err := filepath.Glob(filepath.Join(moved, "gen-0001", "*"))
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	data, err := os.ReadFile(names[2])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(names[2], data, 0o640); err != nil {
		t.Fatal(err)
	}
	expect(t, exitFailed, []string{filepath.Base(names[2]), "was changed", "does not hold"}, "proof", "verify", bill, "--archive", moved)
}

// What is wrong with a command line or a file is said, with code 2.
func TestReportUsage(t *testing.T) {
	dataset := t.TempDir()
	groups := filepath.Join(dataset, "groups.csv")
	if err := os.WriteFile(groups, []byte("group,sap\nblue,\n,1\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"report"}, {"report", "volume"}, {"report", "volume", "--dataset", dataset}, {"report", "gossip"},
		{"report", "volume", "--dataset", dataset, "--month", "November"}, {"report", "volume", "--dataset", dataset, "--month", "2026-11", "--from", "2026-11-01"},
		{"report", "volume", "--dataset", dataset, "--month", "2026-11", "--by", "colour"}, {"report", "volume", "--dataset", dataset, "--month", "2026-11", "--by", "sap", "--sum"},
		{"report", "volume", "--dataset", dataset, "--month", "2026-11", "--gaps", "ignore"}, {"report", "volume", "--dataset", dataset, "--month", "2026-11", "--format", "html"},
		{"report", "volume", "--dataset", dataset, "--month", "2026-11"}, {"report", "top", "--dataset", dataset, "--month", "2026-11", "--over", "80%"},
		{"report", "p95", "--dataset", dataset, "--month", "2026-11", "--percentile", "101"}, {"proof", "verify", groups}, {"proof"},
	} {
		if want := exitUsage; args[0] == "proof" && len(args) > 1 {
			expect(t, exitFailed, nil, args...)
		} else {
			expect(t, want, nil, args...)
		}
	}
	_, stderr := expect(t, exitUsage, nil, "report", "volume", "--dataset", dataset, "--month", "2026-11", "--groups", groups)
	for _, line := range []string{"line 2", "line 3"} {
		if !strings.Contains(stderr, line) {
			t.Errorf("stderr has no %q: %s", line, stderr)
		}
	}
}
