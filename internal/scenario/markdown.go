package scenario

import (
	"fmt"
	"strings"
)

// Markdown returns the settings and verbs of a language as tables, for the page
// that describes its scenarios.
func (l Language) Markdown() string {
	var b strings.Builder
	if len(l.Settings) > 0 {
		b.WriteString("| setting | meaning |\n|---|---|\n")
		for _, s := range l.Settings {
			fmt.Fprintf(&b, "| `%s` | %s |\n", s.Name, s.Doc)
		}
		b.WriteByte('\n')
	}
	b.WriteString("| verb | until | meaning |\n|---|---|---|\n")
	for _, v := range l.Verbs {
		undo := "–"
		if v.Undo != "" {
			undo = "`" + v.Undo + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.usage(), undo, v.Doc)
	}
	return b.String()
}

// usage writes a verb with its arguments: "clear log FILE-ID".
func (v *Verb) usage() string {
	words := []string{v.Name}
	if v.Targets {
		words = []string{"[TARGET… :]", v.Name}
	}
	for _, a := range v.Args {
		w := strings.ToUpper(a.Name)
		if a.Many {
			w += "…"
		}
		if a.Optional {
			w = "[" + w + "]"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}
