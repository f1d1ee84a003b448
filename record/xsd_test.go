package record

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"
)

var update = flag.Bool("update", false, "rewrite the committed files that are made from the catalogue")

// current compares a committed file with what the code makes, or rewrites it.
func current(t *testing.T, path string, made []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, made) {
		t.Errorf("%s is not what the catalogue gives: go test ./record -update", path)
	}
}

func TestXSDIsCurrent(t *testing.T) {
	current(t, "accounting.xsd", XSD(Builtin()))
}

// Only the row element, which several sub-records share, may have its fields in
// any order; every other element is a strict sequence.
func TestXSDIsStrict(t *testing.T) {
	for _, e := range schemaElements(Builtin()) {
		fields, ordered := e.fields()
		if !ordered && e.name != elemRow {
			t.Errorf("element %s has no order of its fields", e.name)
		}
		for _, s := range e.sets {
			for _, f := range s.Fields {
				if isElementName(f.Abbrev) && !slices.Contains(fields, f.Abbrev) {
					t.Errorf("element %s lacks the field %s", e.name, f.Abbrev)
				}
			}
		}
	}
}

// xmllint validates files against the committed schema and returns its output.
func xmllint(t *testing.T, files ...string) ([]byte, error) {
	t.Helper()
	tool := need.Tool(t, "xmllint")
	args := append([]string{"--noout", "--nonet", "--schema", "accounting.xsd"}, files...)
	return exec.Command(tool, args...).CombinedOutput()
}

// Every row set of every record name, with all kinds of values, is valid.
func TestXSDAcceptsEveryRowSet(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, d := range Builtin().Definitions() {
		var b bytes.Buffer
		w := NewWriter(&b, edgeHeader(d.Name))
		for _, s := range d.RowSets {
			if err := w.BeginInterval(edgeStart, edgeEnd); err != nil {
				t.Fatal(err)
			}
			for _, r := range edgeRecords(s) {
				if err := w.Write(r); err != nil {
					t.Fatalf("%s/%s: %v", d.Name, s.Sub, err)
				}
			}
			if err := w.EndInterval(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, string(d.Name)+".xml")
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if out, err := xmllint(t, files...); err != nil {
		t.Errorf("xmllint: %v\n%.4000s", err, out)
	}
}

// What the catalogue does not know is valid too, and so are files with nothing
// in them.
func TestXSDAcceptsTheUnknownAndTheEmpty(t *testing.T) {
	unknown := &RowSet{Sub: "row", Record: "new-record", Fields: []FieldDef{{Abbrev: "x1", Numeric: true}, {Abbrev: "a b"}}}
	misprint := &Record{Set: Builtin().SubRecord("nip")[0], Sub: "nio"}
	misprint.Values = make([]Value, len(misprint.Set.Fields))
	misprint.Values[1] = Num(3)
	dir := t.TempDir()
	var files []string
	for i, write := range []func(w *Writer) error{
		func(w *Writer) error { return nil },
		func(w *Writer) error { return w.BeginInterval(time.Time{}, edgeEnd) },
		func(w *Writer) error {
			if err := w.BeginInterval(edgeStart, edgeEnd); err != nil {
				return err
			}
			for _, r := range append(edgeRecords(unknown), misprint) {
				if err := w.Write(r); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		var b bytes.Buffer
		w := NewWriter(&b, Header{})
		if err := write(w); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, fmt.Sprint(i, ".xml"))
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if out, err := xmllint(t, files...); err != nil {
		t.Errorf("xmllint: %v\n%.4000s", err, out)
	}
}

// Each file in testdata/xsd breaks one rule and is refused for that reason,
// which its first comment quotes from xmllint. valid.xml, of which the others
// are copies with one change, is accepted.
func TestXSDRefuses(t *testing.T) {
	files, err := filepath.Glob("testdata/xsd/*.xml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "<!-- ")
		want, _, _ := strings.Cut(rest, " -->")
		out, err := xmllint(t, file)
		if filepath.Base(file) == "valid.xml" {
			if err != nil {
				t.Errorf("%s: %s", file, out)
			}
			continue
		}
		if err == nil || want == "" || !strings.Contains(string(out), want) {
			t.Errorf("%s: error %v, want %q in\n%s", file, err, want, out)
		}
	}
}
