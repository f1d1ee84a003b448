package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/internal/gen"
)

// isolatedFiles is what quarantine list tells.
func isolatedFiles(t *testing.T, data string) []quarantined {
	t.Helper()
	stdout, _ := expect(t, exitOK, nil, "--json", "quarantine", "list", "--data", data)
	var all []quarantined
	check(t, json.Unmarshal([]byte(stdout), &all))
	return all
}

const cutName = "act1011-20260301-000000.xml.gz"

// A file that was cut off: it is listed and shown, it is not released by
// accident, and on a person's word its whole records are exported once.
func TestQuarantineRelease(t *testing.T) {
	out, d, _ := mixed(t)
	expect(t, exitOK, []string{cutName, "1 file in quarantine"}, "quarantine", "list", "--data", out)
	expect(t, exitOK, []string{"quarantine/dut/" + cutName, "cut off, with"}, "quarantine", "show", "--data", out, "dut", cutName)
	expect(t, exitUsage, []string{"is not in quarantine"}, "quarantine", "show", "--data", out, "dut", "act1011-20260302-000000.xml.gz")
	expect(t, exitUsage, []string{"--why"}, "quarantine", "release", "--data", out, "dut", cutName)
	expect(t, exitUsage, []string{"cut off", "--salvage takes its"}, "quarantine", "release", "--data", out, "dut", cutName, "--why", "because")
	before := rowCount(t, out)
	expect(t, exitOK, []string{"released with"}, "quarantine", "release", "--data", out, "dut", cutName, "--why", "nothing better\nwill come", "--salvage")
	if all := isolatedFiles(t, out); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	expect(t, exitOK, []string{"everything is whole"}, "check", "--data", out)
	expect(t, exitPartly, []string{"truncated"}, d.pullArgs(out)...)
	got := duck(t, "select count(*) from read_parquet('"+out+"/dataset/*/v1/*/*.parquet') where source_file = '"+cutName+"'")
	if rowCount(t, out) <= before || got[0][0] == "0" {
		t.Errorf("the records of the file are not in the dataset: %v", got)
	}
	everyInputOnce(t, out)
	expect(t, exitOK, []string{"everything is whole", "0 quarantined"}, "check", "--data", out)
	notes, err := filepath.Glob(filepath.Join(out, "quarantine/dut/*.txt"))
	check(t, err)
	text, err := os.ReadFile(notes[0])
	check(t, err)
	if !strings.Contains(string(text), "why: nothing better") || !strings.Contains(string(text), "salvage: true") {
		t.Errorf("note: %s", text)
	}
	// A ledger that is made anew still knows what was decided.
	n := rowCount(t, out)
	check(t, os.Remove(filepath.Join(out, "ledger.db")))
	expect(t, exitOK, []string{"everything is whole"}, "check", "--data", out, "--rebuild")
	expect(t, exitOK, []string{"0 exported"}, d.pullArgs(out)...)
	if rowCount(t, out) != n {
		t.Errorf("%d rows became %d", n, rowCount(t, out))
	}
}

// A file that is still broken is fetched again; one that is whole by then is
// stored, and the dataset has it once.
func TestQuarantineRetry(t *testing.T) {
	d := newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Objects: 2, Meters: 2})
	f.add(1)
	names, err := filepath.Glob(filepath.Join(d.act, "*.gz"))
	check(t, err)
	whole, err := os.ReadFile(names[0])
	check(t, err)
	// The same size and time, and broken: only asking again can tell.
	bad := append([]byte(nil), whole...)
	bad[len(bad)-5] ^= 1
	st, err := os.Stat(names[0])
	check(t, err)
	check(t, os.WriteFile(names[0], bad, 0o640))
	check(t, os.Chtimes(names[0], st.ModTime(), st.ModTime()))
	out := filepath.Join(t.TempDir(), "data")
	expect(t, exitPartly, nil, d.pullArgs(out)...)
	check(t, os.WriteFile(names[0], whole, 0o640))
	check(t, os.Chtimes(names[0], st.ModTime(), st.ModTime()))
	expect(t, exitOK, []string{"0 fetched"}, d.pullArgs(out)...)
	expect(t, exitFailed, []string{"cannot be exported whoever releases it"}, "quarantine", "release", "--data", out, "dut", filepath.Base(names[0]), "--why", "x", "--salvage")
	expect(t, exitOK, []string{"fetched again at the next visit"}, "quarantine", "retry", "--data", out)
	expect(t, exitOK, []string{"1 fetched"}, d.pullArgs(out)...)
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
	if all := isolatedFiles(t, out); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	expect(t, exitOK, []string{"everything is whole"}, "check", "--data", out)
}

// Purging removes bytes and nothing that is known about them.
func TestQuarantinePurge(t *testing.T) {
	out, _, _ := mixed(t)
	expect(t, exitOK, []string{"nothing to do"}, "quarantine", "purge", "--data", out)
	expect(t, exitOK, []string{cutName, "would go"}, "quarantine", "purge", "--data", out, "--mib", "0", "--dry-run")
	expect(t, exitOK, []string{cutName, "removed"}, "quarantine", "purge", "--data", out, "--mib", "0")
	if all := isolatedFiles(t, out); len(all) != 1 || !all[0].Purged {
		t.Errorf("%+v", all)
	}
	expect(t, exitOK, []string{"everything is whole", "1 quarantined"}, "check", "--data", out)
	expect(t, exitFailed, []string{"purged"}, "quarantine", "release", "--data", out, "dut", cutName, "--why", "x")
	expect(t, exitOK, []string{"the bytes were purged"}, "quarantine", "show", "--data", out, "dut", cutName)
	expect(t, exitOK, []string{"nothing to do"}, "quarantine", "purge", "--data", out, "--mib", "0")
}

func TestPurgeable(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	file := func(days int, bytes int64, stored string) *quarantined {
		return &quarantined{Since: now.AddDate(0, 0, -days), Bytes: bytes, Stored: stored}
	}
	old, big, young := file(40, 1, "quarantine/a"), file(20, 3<<20, "quarantine/b"), file(1, 1<<20, "quarantine/c")
	kept := file(90, 9<<20, "devices/r1/act/x")
	qs := []*quarantined{young, kept, big, old}
	for _, c := range []struct {
		f    purgeFlags
		want int
	}{{purgeFlags{days: 30, mib: 100}, 1}, {purgeFlags{days: 30, mib: 3}, 2}, {purgeFlags{days: 30, mib: 0}, 3}, {purgeFlags{days: 99, mib: 4}, 1}, {purgeFlags{days: 99, mib: 5}, 0}} {
		got := purgeable(qs, now, c.f)
		if len(got) != c.want || len(got) > 0 && got[0] != old {
			t.Errorf("%+v: %d files go, want %d", c.f, len(got), c.want)
		}
	}
}
