package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/depot"
)

// replacedIn compacts the dataset of a data directory and removes what is left of
// the old files.
func replacedIn(t *testing.T, data string) (made []string) {
	t.Helper()
	dataset := depot.NewDir(filepath.Join(data, "dataset"))
	made = compactAll(t, dataset, filepath.Join(data, "merge"), filepath.Join(data, "ledger.db"))
	check(t, os.Remove(filepath.Join(data, "merge")))
	if len(made) == 0 {
		t.Fatal("nothing was replaced")
	}
	_, err := export.CleanReplaced(t.Context(), dataset, time.Now().Add(time.Second), 0)
	check(t, err)
	return made
}

// A dataset in which files were replaced is whole; its ledger can be made anew;
// what is exported later is not there twice; and everything that is wrong with
// what was replaced is found.
func TestCheckReplaced(t *testing.T) {
	out, d, _ := mixed(t)
	count := func() string {
		return duck(t, "select count(*) from read_parquet('"+out+"/dataset/*/v1/*/*.parquet', union_by_name=true)")[0][0]
	}
	before := count()
	made := replacedIn(t, out)
	if got := findings(t, out); len(got) != 0 || count() != before {
		t.Fatalf("%v, %s rows were %s", got, count(), before)
	}
	check(t, os.Remove(filepath.Join(out, "ledger.db")))
	expect(t, exitOK, []string{"ledger rebuilt", "everything is whole"}, "check", "--data", out, "--rebuild")
	expect(t, exitOK, nil, d.pullArgs(out)...) // with the file that waited
	if got := findings(t, out); len(got) != 0 {
		t.Fatalf("after more was exported: %v", got)
	}
	again := replacedIn(t, out)
	if got := findings(t, out); len(got) != 0 {
		t.Fatalf("replaced once more: %v", got)
	}
	if again[0] == made[0] {
		t.Errorf("%s was used twice", made[0])
	}
	at := filepath.Join(out, "dataset", again[0])
	history := filepath.Join(out, "dataset", ".replaced", filepath.Dir(again[0])+".jsonl")
	for _, c := range []struct {
		what, path string
		change     func(path string)
		want       string
	}{
		{"a file that stands in for others is gone", at, func(p string) { check(t, os.Remove(p)) }, "missing"},
		{"it has other bytes", at, func(p string) { check(t, os.WriteFile(p, []byte("PAR1PAR1"), 0o640)) }, "damaged"},
		{"the history is cut off", history, func(p string) { check(t, os.Truncate(p, 100)) }, "damaged"},
		{"the history is empty", history, func(p string) { check(t, os.Truncate(p, 0)) }, "damaged"},
	} {
		text, err := os.ReadFile(c.path)
		check(t, err)
		c.change(c.path)
		rel, err := filepath.Rel(out, c.path)
		check(t, err)
		if got := findings(t, out); got[rel] != c.want {
			t.Errorf("%s: %v, want %s", c.what, got, rel)
		}
		check(t, os.WriteFile(c.path, text, 0o640))
	}
	text, err := os.ReadFile(history)
	check(t, err)
	check(t, os.Remove(history))
	if got := findings(t, out); got["dataset/"+again[0]] != "unknown" || len(got) < 3 {
		t.Errorf("the history is gone: %v", got)
	}
	check(t, os.WriteFile(history, text, 0o640))
	copied := filepath.Join(filepath.Dir(at), strings.Repeat("ab", 16)+".parquet")
	text, err = os.ReadFile(at)
	check(t, err)
	check(t, os.WriteFile(copied, text, 0o640))
	rel, err := filepath.Rel(out, copied)
	check(t, err)
	if got := findings(t, out); got[rel] != "unknown" {
		t.Errorf("a copy beside it: %v", got)
	}
	check(t, os.Remove(copied))
	if got := findings(t, out); len(got) != 0 {
		t.Errorf("after all is as it was: %v", got)
	}
}
