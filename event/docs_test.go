package event

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/events.md")

// TestDocs keeps docs/events.md equal to the list of events.
// go test ./event -run TestDocs -update writes it.
func TestDocs(t *testing.T) {
	const path = "../docs/events.md"
	want := markdown()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not current; run: go test ./event -run TestDocs -update", path)
	}
}

func markdown() string {
	var b strings.Builder
	b.WriteString(`# Events

Everything that acctpull reports while it works is an event. This page is made from the list in the package
` + "`event`" + ` (` + "`go test ./event -run TestDocs -update`" + `); a test fails when the two differ.

An event has a time, an application and a number (together they name the kind and never change), a name, a severity, a
stream, a subject (the device, policy or directory it happened to), a message, and parameters. The application LOGGER has
the events of the device model, with its numbers and names; ACCTPULL has those that only acctpull knows.

Commands that run until they are stopped (` + "`collect`, `serve`, `serve-act`" + `) write events to standard error as log lines; the others
tell everything at their end, and events too with ` + "`--verbose`" + `. The keys ` + "`application`, `number`, `name`, `severity`, `stream` and `subject`" + ` are in every line, the parameters
follow under the names below. Text from a device is escaped: an event is always one line of at most 8 KiB.

## Severity

Compare by rank, not by number: the numbers are those of the device documentation (table 41).

| rank | severity | number | level in the log |
|---|---|---|---|
`)
	for _, s := range []Severity{Critical, Major, Minor, Warning, Indeterminate, Cleared} {
		fmt.Fprintf(&b, "| %d | %s | %d | %s |\n", s.Rank(), s, int(s), s.level())
	}
	b.WriteString("\n## List\n\n| application | number | name | severity | stream | parameters |\n|---|---|---|---|---|---|\n")
	for _, d := range Own() {
		fmt.Fprintf(&b, "| %s | %d | [%s](#%s) | %s | %s | %s |\n", d.Application, d.Number, d.Name,
			strings.ToLower(d.Name), d.Severity, d.Stream, strings.Join(d.Params, ", "))
	}
	b.WriteString("\n## Meaning\n")
	for i, d := range Own() {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n```text\n%s\n```\n", d.Name, d.Meaning, examples()[i].Message)
	}
	return b.String()
}
