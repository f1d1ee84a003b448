package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/coverage"
	"acctpull/ledger"
)

// TestCheckCertificate proves a certificate, and finds whatever is changed: in it,
// in the archive, and in the ledger.
func TestCheckCertificate(t *testing.T) {
	f := newFleet(t, 2, 4, nil)
	expect(t, exitOK, nil, "pull", "-c", f.file)
	file := filepath.Join(t.TempDir(), "january.json")
	expect(t, exitOK, []string{"8 files"}, "certificate", "-c", f.file, "--month", "2026-01", "--out", file)
	prove := func(code int, texts ...string) {
		t.Helper()
		expect(t, code, texts, "check", "-c", f.file, "--certificate", file)
	}
	prove(exitOK, "8 files read back", "its own digest is right", "the certificate holds")

	// What came since does not make it wrong.
	f.feeds[0].add(2)
	expect(t, exitOK, nil, "pull", "-c", f.file)
	prove(exitOK, "8 files read back", "the certificate holds")

	// The archive.
	path := mustGlob(t, filepath.Join(f.data, "devices/d1/act/*.gz"))[1]
	text, err := os.ReadFile(path)
	check(t, err)
	bad := bytes.Clone(text)
	bad[len(bad)/2] ^= 1
	check(t, os.WriteFile(path, bad, 0o640))
	prove(exitFailed, "d1", filepath.Base(path), "is damaged", "1 difference")
	check(t, os.Remove(path))
	prove(exitFailed, "not in the archive any more", "1 difference")
	expect(t, exitOK, []string{"1 removed on purpose", "holds"}, "check", "-c", f.file, "--certificate", file, "--removed-before", "2026-02-01")
	stdout, _, _ := command(t, "--json", "check", "-c", f.file, "--certificate", file)
	var res certificateCheck
	if err := json.Unmarshal([]byte(stdout), &res); err != nil || res.Holds || res.Files != 7 || len(res.Differences) != 1 || res.Differences[0].File != filepath.Base(path) {
		t.Errorf("%v\n%s", err, stdout)
	}
	check(t, os.WriteFile(path, text, 0o640))
	prove(exitOK)

	// The certificate itself.
	whole, err := os.ReadFile(file)
	check(t, err)
	check(t, os.WriteFile(file, bytes.Replace(whole, []byte(`"intervals_received": `), []byte(`"intervals_received": 1`), 1), 0o640))
	prove(exitFailed, "changed after it was written")
	check(t, os.WriteFile(file, []byte("{}"), 0o640))
	prove(exitUsage)
	check(t, os.WriteFile(file, whole, 0o640))
	expect(t, exitUsage, nil, "check", "-c", f.file, "--certificate", file+"x")
	expect(t, exitUsage, nil, "check", "-c", f.file, "--certificate", file, "--rebuild")

	// The ledger.
	c, err := coverage.ParseCertificate(whole)
	check(t, err)
	l, err := ledger.Open(t.Context(), filepath.Join(f.data, "ledger.db"))
	check(t, err)
	var changed ledger.Row
	for row, err := range l.FileFacts(t.Context(), "d1", c.From, c.To) {
		check(t, err)
		if row.Name == c.Devices[1].Files[2].Name {
			changed = row
		}
	}
	if changed.Facts == nil {
		t.Fatal("no facts")
	}
	changed.Facts.Spans = changed.Facts.Spans[:1] // as if the others had not been in it
	check(t, l.SetFacts(t.Context(), changed.Key, *changed.Facts))
	check(t, l.Close())
	stdout, _ = expect(t, exitFailed, []string{"d1", "was present", "is lost", "1 difference"}, "check", "-c", f.file, "--certificate", file)
	if strings.Contains(stdout, "damaged") {
		t.Error(stdout)
	}
}
