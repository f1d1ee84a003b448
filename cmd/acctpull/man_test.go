package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every command has a manual page, and the same program writes the same bytes.
func TestManualPages(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	expect(t, exitOK, nil, "man", a)
	expect(t, exitOK, nil, "man", b)
	if sums(t, a) != sums(t, b) {
		t.Error("two runs write different pages")
	}
	for page, want := range map[string]string{"acctpull.1": "demo", "acctpull-pull.1": "known-hosts", "acctpull-hostkeys-approve.1": "EXAMPLE"} {
		text, err := os.ReadFile(filepath.Join(a, page))
		check(t, err)
		if !strings.Contains(strings.ReplaceAll(string(text), `\-`, "-"), want) {
			t.Errorf("%s does not speak of %s", page, want)
		}
	}
	expect(t, exitUsage, nil, "man")
}

// Names of devices and groups complete, and those that are there are not offered
// again.
func TestCompletion(t *testing.T) {
	f := newFleet(t, 2, 1, nil)
	out, _ := expect(t, exitOK, nil, "__complete", "status", "-c", f.file, "d0", "")
	if !strings.Contains(out, "d1\t") || !strings.Contains(out, "even\tgroup") || strings.Contains(out, "d0\t") {
		t.Error(out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, _ := expect(t, exitOK, nil, "completion", shell); !strings.Contains(out, "acctpull") {
			t.Error(shell)
		}
	}
	expect(t, exitOK, nil, "__complete", "status", "-c", f.file+"x", "")
	expect(t, exitOK, nil, "__complete", "status", "")
}
