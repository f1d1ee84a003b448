package policy

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"acctpull/record"
)

// The parts of docs/configuration.md that are made from the code are as the
// code is. -update rewrites them.
func TestDocumentation(t *testing.T) {
	const file = "../docs/configuration.md"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, part := range []struct{ name, content string }{
		{"example", "```yaml\n" + string(example) + "```\n"},
		{"linux", linuxTable()},
		{"keys", Reference()},
	} {
		begin, end := "<!-- "+part.name+": made by go test ./policy -update -->\n", "<!-- end of "+part.name+" -->\n"
		before, rest, ok := strings.Cut(text, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s: no part %q", file, part.name)
		}
		text = before + begin + "\n" + part.content + "\n" + end + after
	}
	compareGolden(t, file, text)
}

// linuxTable lists the records that a Linux link can fill.
func linuxTable() string {
	var b strings.Builder
	b.WriteString("| type | record | sub-record | fields |\n|---|---|---|---|\n")
	for _, d := range record.Builtin().Definitions() {
		if _, ok := ParseType(d.PolicyType); !ok {
			continue
		}
		for _, r := range linuxRows(d) {
			var fields []string
			for i, f := range r.fields {
				if f.key == keyID || f.key == keyService || f.link > 0 {
					fields = append(fields, "`"+r.set.Fields[i].Abbrev+"`")
				}
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", d.PolicyType, d.Name, r.set.Sub, strings.Join(fields, " "))
		}
	}
	return b.String()
}
