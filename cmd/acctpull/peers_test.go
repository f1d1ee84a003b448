package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"acctpull/internal/need"
)

// duckSession is one DuckDB, which has nothing of ours in it, for all tests: to
// start it takes longer than most queries.
type duckSession struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Scanner
	end func() error
}

var openDuck = sync.OnceValues(func() (*duckSession, error) {
	const script = `import duckdb, json, os, sys
con = duckdb.connect()
con.execute("SET TimeZone='UTC'")
for line in sys.stdin:
    try:
        there, sql = json.loads(line)
        os.chdir(there)
        rows = con.execute(sql).fetchall()
        print(json.dumps([[None if v is None else str(v) for v in row] for row in rows]), flush=True)
    except Exception as e:
        print(json.dumps(str(e)), flush=True)`
	cmd := exec.Command(duckPython, "-c", script)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	s := &duckSession{in: in, out: lines, end: func() error { return errors.Join(in.Close(), cmd.Wait()) }}
	return s, cmd.Start()
})

// duckPython is the interpreter that has DuckDB, "" until it is needed.
var (
	duckMutex  sync.Mutex
	duckPython string
)

// findDuck asks for DuckDB once.
func findDuck(t testing.TB) {
	t.Helper()
	duckMutex.Lock()
	defer duckMutex.Unlock()
	if duckPython == "" {
		duckPython = need.PythonModule(t, "duckdb")
	}
}

// ask sends one statement, for the directory the test is in, and returns the JSON
// of its rows, or its error as a JSON string.
func (s *duckSession) ask(sql string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(s.in).Encode([]string{there, sql}); err != nil {
		return nil, err
	}
	if !s.out.Scan() {
		return nil, errors.Join(s.out.Err(), io.ErrUnexpectedEOF)
	}
	return slices.Clone(s.out.Bytes()), nil
}

// duck runs one SQL statement in DuckDB and returns its rows as text.
func duck(t testing.TB, sql string) [][]string {
	t.Helper()
	findDuck(t)
	s, err := openDuck()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.ask(sql)
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
	if text := os.Getenv(raceEnv); text != "" {
		os.Exit(testCompactor(text))
	}
	dir, err := os.MkdirTemp("", "acctpull-test-")
	if err != nil {
		panic(err)
	}
	binaryDir = dir
	code := m.Run()
	if duckPython != "" {
		if s, err := openDuck(); err == nil {
			_ = s.end() // every answer was checked when it came
		}
	}
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
