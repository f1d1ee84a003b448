package strictyaml

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

type leaf struct {
	Name  string
	Count int
}

type tree struct {
	Text   string
	Flag   bool
	Seed   uint64
	Span   time.Duration
	Word   string
	Paths  []string
	Leaves []leaf
	Sub    leaf
	lines  []int
}

var shape = TextShape{Type: "text", Limits: "up to 10 letters", Pattern: "^[a-z]{1,10}$"}

var leafKeys = []Key[leaf]{
	TextKey("name", shape, "A `name`.", func(l *leaf) *string { return &l.Name }).Required(),
	NumberKey("count", 0, 9, "How many.", func(l *leaf) *int { return &l.Count }).In("pieces").ByDefault(3),
}

var treeKeys = []Key[tree]{
	TextKey("text", shape, "A text.", func(t *tree) *string { return &t.Text }).Or("empty"),
	FlagKey("flag", false, "A flag.", func(t *tree) *bool { return &t.Flag }),
	SeedKey("seed", "A seed.", func(t *tree) *uint64 { return &t.Seed }),
	SpanKey("span", time.Minute, time.Hour, time.Minute, "A span.", func(t *tree) *time.Duration { return &t.Span }),
	WordKey("word", []string{"one", "two"}, "A word.", func(t *tree) *string { return &t.Word },
		func(s string) (string, bool) { return s, s == "one" || s == "two" }, func(s string) string { return s }).Only("or none"),
	TextsKey("paths", shape, "Paths.", func(t *tree) *[]string { return &t.Paths }),
	ListKey("leaves", "leaf", "Leaves.", leafKeys, leaf{Count: 1}, func(t *tree) []leaf { return t.Leaves },
		func(t *tree, l leaf, line int, _ Given) {
			t.Leaves, t.lines = append(t.Leaves, l), append(t.lines, line)
		}),
	SectionKey("sub", "A section.", leafKeys, func(t *tree) *leaf { return &t.Sub }, nil),
}

const sample = `text: abc
flag: true
seed: 18446744073709551615
span: 1h
word: two
paths: [a, b]
leaves:
  - name: x
  - name: 007
    count: 5
sub:
  name: y
`

func read(text string) (tree, []Problem) {
	var t tree
	d := &Decoder{}
	if root := d.Document([]byte(text)); root != nil {
		Decode(d, "tree", root, &t, treeKeys)
	}
	return t, d.Problems()
}

// What is printed is read back as it was, as YAML and as JSON.
func TestRoundTrip(t *testing.T) {
	v, problems := read(sample)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if !slices.Equal(v.lines, []int{8, 9}) || v.Leaves[1] != (leaf{"007", 5}) || v.Leaves[0].Count != 1 || v.Span != time.Hour || v.Seed != 1<<64-1 {
		t.Fatalf("%+v", v)
	}
	for _, print := range []func(Printer, *tree, []Key[tree]) ([]byte, error){YAML[tree], JSON[tree]} {
		for _, p := range []Printer{{}, {Defaults: true}} {
			text, err := print(p, &v, treeKeys)
			if err != nil {
				t.Fatal(err)
			}
			again, problems := read(string(text))
			again.lines = v.lines
			if len(problems) > 0 || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", v) {
				t.Errorf("%v\n%+v\n%+v\n%s", problems, again, v, text)
			}
		}
	}
}

// Every mistake is found, with its line, and does not hide the others.
func TestProblems(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"~":                         "",
		"text: [":                   "1 yaml-syntax",
		"a: 1\n---\nb: 2":           "1 yaml-unknown-key tree, 2 yaml-syntax",
		"- 1":                       "1 yaml-value tree",
		"text: a\ntext: b":          "2 yaml-duplicate-key tree",
		"text:":                     "1 yaml-value tree",
		"flag: yes\nseed: -1":       "1 yaml-value flag, 2 yaml-value seed",
		"span: 5s\nword: three":     "1 yaml-value span, 2 yaml-value word",
		"text: &a b\nsub: *a":       "1 yaml-value text, 2 yaml-value sub",
		"leaves:\n- 1\n- {nme: x}":  "2 yaml-value leaf, 3 yaml-unknown-key leaf",
		"paths: [a, [b]]\ntext: {}": "1 yaml-value paths, 2 yaml-value text",
		"sub: {count: 1.5}":         "1 yaml-value count",
		"span: 99999999":            "1 yaml-value span",
	} {
		_, problems := read(text)
		var got []string
		for _, p := range problems {
			got = append(got, strings.TrimSpace(fmt.Sprint(p.Line, " ", p.Kind, " ", p.Key)))
			if p.Text == "" || strings.ContainsAny(p.Text, "\n") {
				t.Errorf("%q: %q", text, p.Text)
			}
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%q: %s, want %s", text, s, want)
		}
	}
	if s := Bounded(strings.Repeat("x", 1000)); len(s) > 300 {
		t.Errorf("%d bytes", len(s))
	}
}

// Layers of settings: the later one wins, key by key; mistakes were told before.
func TestLayers(t *testing.T) {
	d := &Decoder{}
	root := d.Document([]byte("low: {text: a, span: 5, flag: true}\nhigh: {text: b, word: nonsense}\nnone:\n"))
	layers := map[string]*yaml.Node{}
	if !Named(d, "layer", root, treeKeys, tree{}, func(name string, _ tree, item *yaml.Node) { layers[name] = item }) || len(layers) != 3 {
		t.Fatalf("%v %v", layers, d.Problems())
	}
	if p := d.Problems(); len(p) != 1 || p[0].Key != "word" || d.Mistakes() != 1 {
		t.Fatal(p)
	}
	var v tree
	for _, name := range []string{"low", "none", "high"} {
		Apply(layers[name], &v, treeKeys)
	}
	if v.Text != "b" || v.Span != 5*time.Minute || !v.Flag || v.Word != "" {
		t.Errorf("%+v", v)
	}
	if n := len(d.Problems()); n != 1 {
		t.Errorf("%d problems", n)
	}
}

func TestGiven(t *testing.T) {
	g := Given{"a": {Line: 3}, "b": {Line: 4, Bad: true}}
	if g.Line("a", 1) != 3 || g.Line("c", 1) != 1 || !g.Has("a") || g.Has("b") || !g.Bad("b") || g.Bad("a") || g.Has("c") {
		t.Error("wrong")
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "15m": 15 * time.Minute, "7d": 7 * 24 * time.Hour, "0s": 0, "8d": -1, "15": -1, "m": -1, "-5m": -1, "1.5h": -1, "9999999999d": -1} {
		d := &Decoder{}
		got := time.Duration(-1)
		ok := d.Duration("k", &yaml.Node{Kind: yaml.ScalarNode, Value: text}, 0, 7*24*time.Hour, &got)
		if got != want || ok != (want >= 0) || (d.Mistakes() == 0) != ok {
			t.Errorf("%s: %v, %v", text, got, d.Problems())
		}
		if ok && Span(got) != text {
			t.Errorf("%s is written %s", text, Span(got))
		}
	}
}

// The reference and the schema are made of the same tables.
func TestReferenceAndSchema(t *testing.T) {
	var b strings.Builder
	Table(&b, "Leaf", leafKeys)
	want := "### Leaf\n\n| key | value | range | default | meaning |\n|---|---|---|---|---|\n" +
		"| `name` | text | up to 10 letters | required | A `name`. |\n| `count` | number | 0–9 pieces | 3 | How many. |\n\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	text, err := SchemaOf(treeKeys).Document("Tree", "A tree.")
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Title                string
		AdditionalProperties *bool
		Properties           map[string]struct {
			Description string
			Items       struct{ Required []string }
		}
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if s.Title != "Tree" || s.AdditionalProperties == nil || *s.AdditionalProperties || len(s.Properties) != len(treeKeys) ||
		!slices.Equal(s.Properties["leaves"].Items.Required, []string{"name"}) || s.Properties["text"].Description != "Up to 10 letters. A text. Default: empty." {
		t.Errorf("%s", text)
	}
}
