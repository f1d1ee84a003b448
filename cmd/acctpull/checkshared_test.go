package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/internal/actserver"
	"acctpull/internal/pgserver"
)

// TestCheckSharedLedger is a fleet whose ledger is a database that gets lost:
// check says so, a rebuild fills a new one, and nothing is fetched or exported
// twice afterwards. The password is printed nowhere.
func TestCheckSharedLedger(t *testing.T) {
	server := pgserver.Start(t)
	f := newFleet(t, 2, 3, func(int, *actserver.Options) {})
	text, err := os.ReadFile(f.file)
	check(t, err)
	use := func(database string) {
		t.Helper()
		check(t, os.WriteFile(f.file, append([]byte(sharedLedger(t, database)), text...), 0o600))
	}
	var said strings.Builder
	run := func(code int, texts []string, args ...string) string {
		t.Helper()
		stdout, stderr := expect(t, code, texts, args...)
		said.WriteString(stdout + stderr)
		return stdout
	}
	first := server.Database()
	use(first)
	cut := filepath.Join(f.devices[0].act, cutName)
	names, err := filepath.Glob(filepath.Join(f.devices[0].act, "*.gz"))
	check(t, err)
	whole := unzipped(t, names[0])
	check(t, os.WriteFile(cut, zippedText(t, whole[:len(whole)-30]), 0o640))
	run(exitPartly, []string{"6 fetched"}, "pull", "-c", f.file)
	everyRecordOnce(t, filepath.Join(f.data, "dataset"), f.truth())
	run(exitOK, []string{"everything is whole", "7 files seen = 6 fetched + 1 quarantined"}, "check", "-c", f.file)
	run(exitOK, []string{cutName, "1 file in quarantine"}, "quarantine", "list", "-c", f.file)
	run(exitOK, []string{"still broken"}, "quarantine", "retry", "-c", f.file, "d0", cutName)
	if _, err := os.Stat(filepath.Join(f.data, "ledger.db")); err == nil {
		t.Error("there is a ledger in the data directory")
	}
	run(exitUsage, []string{"is not empty", "empty database"}, "check", "-c", f.file, "--rebuild")

	use(server.Database())
	run(exitFailed, []string{"the ledger is empty", "--rebuild"}, "check", "-c", f.file)
	run(exitFailed, []string{"--rebuild-ledger"}, "pull", "-c", f.file)
	run(exitOK, []string{"ledger rebuilt: 7 files, 6 of them exported, 1 in quarantine", "everything is whole"}, "check", "-c", f.file, "--rebuild")
	rows := rowCount(t, f.data)
	run(exitOK, []string{"0 fetched", "0 exported"}, "pull", "-c", f.file)
	if n := rowCount(t, f.data); n != rows {
		t.Errorf("%d rows became %d", rows, n)
	}
	everyRecordOnce(t, filepath.Join(f.data, "dataset"), f.truth())

	// The other way to say it.
	use(server.Database())
	run(exitOK, []string{"ledger rebuilt: 7 files", "0 fetched"}, "pull", "-c", f.file, "--rebuild-ledger")
	run(exitOK, []string{"everything is whole"}, "check", "-c", f.file)

	// Damage is found as with a file.
	check(t, os.Remove(mustGlob(t, filepath.Join(f.data, "devices/d1/act/*.gz"))[0]))
	stdout, stderr, code := command(t, "--json", "check", "-c", f.file)
	var res checkResult
	if err := json.Unmarshal([]byte(stdout), &res); err != nil || code != exitFailed || len(res.Findings) != 1 || res.Findings[0].Kind != "missing" {
		t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if strings.Contains(said.String(), "geheim") {
		t.Errorf("the password is in\n%s", said.String())
	}
}

func mustGlob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	check(t, err)
	if len(found) == 0 {
		t.Fatalf("no %s", pattern)
	}
	return found
}
