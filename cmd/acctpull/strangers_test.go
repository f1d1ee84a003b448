package main

import (
	"os"
	"path/filepath"
	"testing"

	"acctpull/internal/gen"
)

// A ledger that is an old copy would export twice, and readers would count a file
// that was put into the dataset by hand: nothing is exported before it is told.
func TestExportRefusesStrangers(t *testing.T) {
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{})
	out := filepath.Join(t.TempDir(), "data")
	f.add(2)
	expect(t, exitOK, nil, d.pullArgs(out)...)
	parquet := mustGlob(t, filepath.Join(out, "dataset/*/v1/*/*.parquet"))[0]
	text, err := os.ReadFile(parquet)
	check(t, err)
	copied := filepath.Join(filepath.Dir(parquet), "copy.parquet")
	check(t, os.WriteFile(copied, text, 0o640))
	catalog := filepath.Join(out, "dataset/catalog.sql")
	check(t, os.Remove(catalog))
	f.add(1)
	expect(t, exitFailed, []string{"1 Parquet file", "copy.parquet", "acctpull check"}, d.pullArgs(out)...)
	if _, err := os.Stat(catalog); err == nil {
		t.Error("there is a catalogue of a dataset that is not ours")
	}
	check(t, os.Remove(copied))
	expect(t, exitOK, []string{"1 exported"}, d.pullArgs(out)...)
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)

	// An old copy of the ledger.
	ledgerFile := filepath.Join(out, "ledger.db")
	old, err := os.ReadFile(ledgerFile)
	check(t, err)
	seal, err := os.ReadFile(ledgerFile + "-sum")
	check(t, err)
	f.add(2)
	expect(t, exitOK, []string{"2 exported"}, d.pullArgs(out)...)
	check(t, os.WriteFile(ledgerFile, old, 0o600))
	check(t, os.WriteFile(ledgerFile+"-sum", seal, 0o600))
	f.add(1) // without it the same batch would be made again, and found to be there
	expect(t, exitFailed, []string{"does not know", "check --rebuild"}, d.pullArgs(out)...)
	expect(t, exitOK, []string{"everything is whole"}, "check", "--data", out, "--rebuild")
	expect(t, exitOK, []string{"1 exported"}, d.pullArgs(out)...)
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
}
