package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"acctpull/internal/need"
)

// duck runs one SQL statement in DuckDB, which has nothing of ours in it, and
// returns its rows as text.
func duck(t testing.TB, sql string) [][]string {
	t.Helper()
	py := need.PythonModule(t, "duckdb")
	script := `import duckdb, json, sys
con = duckdb.connect()
con.execute("SET TimeZone='UTC'")
print(json.dumps([[None if v is None else str(v) for v in row] for row in con.execute(sys.argv[1]).fetchall()]))`
	cmd := exec.Command(py, "-c", script, sql)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("duckdb: %v\n%s", err, sql)
	}
	var rows [][]*string
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatalf("duckdb output: %v: %s", err, out)
	}
	text := make([][]string, len(rows))
	for i, r := range rows {
		for _, v := range r {
			if v == nil {
				text[i] = append(text[i], "NULL")
			} else {
				text[i] = append(text[i], *v)
			}
		}
	}
	return text
}

// binaryDir is where the tests that run the program as a process build it.
var binaryDir string

var buildBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir, "acctpull")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

// program returns the path of the built program.
func program(t testing.TB) string {
	t.Helper()
	path, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMain(m *testing.M) {
	if text := os.Getenv(nodeEnv); text != "" {
		os.Exit(testNode(text))
	}
	dir, err := os.MkdirTemp("", "acctpull-test-")
	if err != nil {
		panic(err)
	}
	binaryDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// proof tells whether the long form of a proof runs.
func proof() bool { return os.Getenv("ACCTPULL_PROOF") == "1" }

// command runs the program inside this process and returns what it printed.
func command(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var o, e buffer
	code = run(context.Background(), args, os.Environ(), nil, &o, &e)
	return o.String(), e.String(), code
}
