package policy

import (
	"os"
	"strings"
	"testing"
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
	var linux strings.Builder
	for _, f := range []struct{ name, kind string }{{"linux.nft", ""}, {"linux.tc", "sh"}, {"linux.yaml", "yaml"}} {
		b, err := os.ReadFile("testdata/" + f.name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if f.name == "linux.tc" {
			text = "tc " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\ntc ") + "\n"
		}
		linux.WriteString("```" + f.kind + "\n" + text + "```\n\n")
	}
	text := string(data)
	for _, part := range []struct{ name, content string }{
		{"example", "```yaml\n" + string(example) + "```\n"},
		{"linux example", strings.TrimSuffix(linux.String(), "\n")},
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
