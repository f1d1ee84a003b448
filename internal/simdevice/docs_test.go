package simdevice

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated parts of docs/simulator.md")

// The tables of docs/simulator.md are those of the code.
func TestDocumentation(t *testing.T) {
	const file = "../../docs/simulator.md"
	data, err := os.ReadFile(file)
	must(t, err)
	text := string(data)
	for name, content := range map[string]string{"groups": groupTable(), "verbs": Language().Markdown()} {
		begin, end := "<!-- "+name+": made by go test ./internal/simdevice -update -->\n", "<!-- end of "+name+" -->\n"
		before, rest, ok := strings.Cut(text, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s: no part %q", file, name)
		}
		text = before + begin + "\n" + content + "\n" + end + after
	}
	if text == string(data) {
		return
	}
	if !*update {
		t.Fatalf("%s is not as the code is; run: go test ./internal/simdevice -run Documentation -update", file)
	}
	must(t, os.WriteFile(file, []byte(text), 0o644))
}

func groupTable() string {
	var b strings.Builder
	b.WriteString("| key | default | meaning |\n|---|---|---|\n")
	for _, k := range GroupKeys() {
		name := k.Name + "="
		if k.Default == "no" {
			name = k.Name
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, k.Default, k.Doc)
	}
	return b.String()
}
