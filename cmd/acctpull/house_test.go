package main

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestImportTable fails on any import between our packages that the table in
// docs/architecture.md does not allow, and on any package the table forgets.
func TestImportTable(t *testing.T) {
	allowed := importTable(t)
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "acctpull/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		pkg = strings.TrimPrefix(pkg, "acctpull/")
		may, ok := allowed[pkg]
		if !ok {
			t.Errorf("package %s is not in the import table of docs/architecture.md", pkg)
			continue
		}
		for _, imp := range strings.Fields(imports) {
			imp, ours := strings.CutPrefix(imp, "acctpull/")
			if ours && !slices.Contains(may, "*") && !slices.Contains(may, imp) {
				t.Errorf("%s imports %s: the import table does not allow it", pkg, imp)
			}
		}
		delete(allowed, pkg)
	}
	for pkg := range allowed {
		t.Errorf("the import table names %s, which does not exist", pkg)
	}
}

// importTable reads the rows `| pkg | imports |` of docs/architecture.md.
func importTable(t *testing.T) map[string][]string {
	f, err := os.Open("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	row := regexp.MustCompile("^\\| `([a-z/]+)` \\| ([^|]*)\\|")
	table := map[string][]string{}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if m := row.FindStringSubmatch(sc.Text()); m != nil {
			table[m[1]] = strings.Fields(strings.NewReplacer("`", "", ",", "", "none", "", "everything", "*").Replace(m[2]))
		}
	}
	if len(table) < 5 {
		t.Fatalf("only %d rows in the import table", len(table))
	}
	return table
}
