package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/internal/gen"
)

// A day of two exports becomes one file; what the command says is what it did.
func TestCompactCommand(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "dataset")
	g, err := gen.New(gen.Options{Seed: 7})
	check(t, err)
	for i := range 2 {
		name := filepath.Join(dir, fmt.Sprintf("act1011-20260102-00%d000.xml.gz", i))
		f, err := os.Create(name)
		check(t, err)
		_, err = g.WriteFile(f)
		check(t, err)
		check(t, f.Close())
		expect(t, exitOK, nil, "export", name, "--device", "r1", "--out", out)
	}
	files := func() int {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(out, "*", "v1", "*", "*.parquet"))
		check(t, err)
		return len(list)
	}
	before := files()
	expect(t, exitOK, []string{"2026-01-02", "to compact"}, "compact", "--dataset", out, "--dry-run")
	if files() != before {
		t.Errorf("a dry run left %d files of %d", files(), before)
	}
	stdout, _ := expect(t, exitOK, nil, "compact", "--data", out, "--json")
	var res compactResult
	check(t, json.Unmarshal([]byte(stdout), &res))
	if len(res.Days) != 1 || res.Days[0].InputFiles != 2 || res.Days[0].OutputFiles != 1 || res.Days[0].Rows == 0 || files() != before-1 {
		t.Errorf("%d files of %d, %s", files(), before, stdout)
	}
	expect(t, exitOK, []string{"every day is compacted"}, "compact", "--dataset", out)
	expect(t, exitOK, nil, "check", "--data", out)
	for args, want := range map[string]string{
		"compact":                          "one of -c FILE and --data DIR is needed",
		"compact --data x --dataset y":     "give one of",
		"compact --data x --day yesterday": "is no day",
		"compact --data " + dir:            "no ledger",
	} {
		expect(t, exitUsage, []string{want}, strings.Fields(args)...)
	}
}
