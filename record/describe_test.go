package record

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDictionaryIsCurrent(t *testing.T) {
	current(t, "../docs/data-dictionary.md", Dictionary(Builtin()))
}

// The overview names every record once, and says what is only a hypothesis.
func TestOverview(t *testing.T) {
	text := Overview(Builtin())
	lines := strings.Split(text, "\n")
	for i, d := range Builtin().Definitions() {
		f := strings.Fields(lines[i+1])
		if f[0] != numberText(d.Number) || f[1] != string(d.Name) {
			t.Errorf("line %d: %q, want %s", i+1, lines[i+1], d.Name)
		}
		if !strings.HasSuffix(lines[i+1], "documented") && !strings.HasSuffix(lines[i+1], "inferred") && !strings.HasSuffix(lines[i+1], "hypothesis") {
			t.Errorf("no confidence: %q", lines[i+1])
		}
	}
	if !strings.Contains(text, "working hypothesis") || !strings.Contains(text, "acctpull's choice") {
		t.Error("the list is shown as a fact")
	}
	aligned(t, lines[:len(Builtin().Definitions())+1])
}

// aligned checks that every column of a table begins where its head begins.
func aligned(t *testing.T, lines []string) {
	t.Helper()
	head := lines[0]
	for at := 2; ; {
		for _, line := range lines {
			if r := []rune(line); len(r) <= at || r[at] == ' ' || r[at-1] != ' ' {
				t.Fatalf("column at %d of %q is not in line with %q", at, line, head)
			}
		}
		next := strings.Index(head[at:], "  ")
		if next < 0 {
			return
		}
		at += next
		at += len(head[at:]) - len(strings.TrimLeft(head[at:], " "))
	}
}

// Every field of every row set is described with its confidence and source.
func TestDescribe(t *testing.T) {
	for _, d := range Builtin().Definitions() {
		text := Describe(d)
		if !utf8.ValidString(text) || strings.Contains(text, "\t") {
			t.Errorf("%s: %q", d.Name, text)
		}
		blocks := strings.Split(text, "\n\n")
		for _, s := range d.RowSets {
			block := ""
			for _, b := range blocks {
				if strings.HasPrefix(b, s.title()+"\n") && strings.Count(b, "\n") == len(s.Fields)+1 {
					block = b
				}
			}
			lines := strings.Split(block, "\n")
			if len(lines) != len(s.Fields)+2 {
				t.Errorf("%s: no table for %s", d.Name, s.title())
				continue
			}
			aligned(t, lines[1:])
			for i, f := range s.Fields {
				line := lines[i+2]
				for _, want := range []string{f.Abbrev, f.Column, f.Unit, f.Role.String(), f.Meaning, f.Evidence[0].Confidence.String() + " ["} {
					if !strings.Contains(line, want) {
						t.Errorf("%s/%s: %q lacks %q", d.Name, s.Sub, line, want)
					}
				}
				for _, e := range f.Evidence {
					if !strings.Contains(text, "]  "+e.Source+"\n") && !strings.Contains(text, "] "+e.Source+"\n") {
						t.Errorf("%s: source %q is missing", d.Name, e.Source)
					}
				}
			}
		}
		if strings.Contains(text, "working hypothesis") != (len(d.On("7210 SAS")) > 0) {
			t.Errorf("%s: note on the 7210 SAS list", d.Name)
		}
	}
}

func TestDescribeJSON(t *testing.T) {
	text, err := OverviewJSON(Builtin())
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Notes   []string
		Records []struct {
			Name      Name
			Number    int
			Platforms []struct{ Name, Confidence string }
		}
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Records) != len(Builtin().Definitions()) || len(all.Notes) == 0 {
		t.Fatalf("%d records, notes %v", len(all.Records), all.Notes)
	}
	for i, d := range Builtin().Definitions() {
		if r := all.Records[i]; r.Name != d.Name || r.Number != d.Number || len(r.Platforms) == 0 || r.Platforms[0].Confidence == "" {
			t.Errorf("%+v", r)
		}
		text, err := DescribeJSON(d)
		if err != nil {
			t.Fatal(err)
		}
		var one struct {
			RowSets []struct {
				Sub    string `json:"sub_record"`
				Fields []struct {
					Field, Column, Type string
					Evidence            []struct{ Platform, Confidence, Source string }
				}
			} `json:"row_sets"`
			Columns []struct{ Column string }
			Notes   []string
		}
		if err := json.Unmarshal(text, &one); err != nil {
			t.Fatal(err)
		}
		if len(one.RowSets) != len(d.RowSets) || len(one.Columns) != len(d.Columns) || len(one.Notes) == 0 {
			t.Fatalf("%s: %s", d.Name, text)
		}
		for j, s := range d.RowSets {
			for k, f := range s.Fields {
				got := one.RowSets[j].Fields[k]
				if got.Field != f.Abbrev || got.Column != f.Column || len(got.Evidence) != len(f.Evidence) || got.Evidence[0].Source != f.Evidence[0].Source {
					t.Errorf("%s/%s: %+v, want %+v", d.Name, s.Sub, got, f)
				}
			}
		}
	}
}
