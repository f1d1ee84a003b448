package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"acctpull/internal/durable"
	"acctpull/internal/gen"
	"acctpull/internal/need"
	"acctpull/ledger"
	"acctpull/record"
)

// threeRecords are files of three record names over two days, two of them from
// one device.
func threeRecords(t testing.TB) (memFiles, []ledger.Input, int64) {
	t.Helper()
	files := memFiles{}
	var inputs []ledger.Input
	total := int64(0)
	for i, name := range []record.Name{"combined-service-ingress", "network-ingress-octets", "saa"} {
		b, truth := genFile(t, gen.Options{
			Seed: uint64(i), Record: name, Objects: 30, Intervals: 4, Start: noon.Add(11*time.Hour + 50*time.Minute),
		})
		inputs = append(inputs, files.add(fmt.Sprintf("r%d", i/2), fmt.Sprintf("act%d.xml.gz", i), b))
		total += truth.Records
	}
	return files, inputs, total
}

// A batch that is published already is adopted, whole or in part.
func TestPublishedBatchIsAdopted(t *testing.T) {
	files, inputs, total := threeRecords(t)
	x := newExporter(t, Options{Open: files.open})
	first, err := x.Run(context.Background(), batchOf(inputs...))
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Outputs) != 6 || first.Adopted != 0 || first.Records != total {
		t.Fatalf("%d outputs, %d adopted, %d records", len(first.Outputs), first.Adopted, first.Records)
	}
	if err := os.Remove(filepath.Join(x.o.Dataset, first.Outputs[2].Path)); err != nil {
		t.Fatal(err)
	}
	second, err := x.Run(context.Background(), batchOf(inputs...))
	if err != nil {
		t.Fatal(err)
	}
	if second.Adopted != 5 || !slices.Equal(first.Outputs, second.Outputs) || !slices.Equal(first.Inputs, second.Inputs) {
		t.Errorf("%d adopted, outputs %+v, want %+v", second.Adopted, second.Outputs, first.Outputs)
	}
	if p := published(t, x.o.Dataset); len(p) != 6 {
		t.Errorf("published: %v", p)
	}
}

// A name that other content has is an error, and nothing else is lost.
func TestConflictIsLoud(t *testing.T) {
	files, inputs, _ := threeRecords(t)
	x := newExporter(t, Options{Open: files.open})
	first, err := x.Run(context.Background(), batchOf(inputs...))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(x.o.Dataset, first.Outputs[3].Path)
	b := mustRead(t, path)
	b[len(b)/2] ^= 1 // one bit
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err = x.Run(context.Background(), batchOf(inputs...))
	var e *Error
	if !errors.Is(err, ErrConflict) || !errors.As(err, &e) || e.Path != path || e.Hint() == "" {
		t.Fatalf("error %v", err)
	}
	if !bytes.Equal(mustRead(t, path), b) {
		t.Error("the file was changed")
	}
	if p := published(t, x.o.Dataset); len(p) != 6 {
		t.Errorf("published: %v", p)
	}
}

// Exporters that run the same batch at once publish it once.
func TestRace(t *testing.T) {
	files, inputs, total := threeRecords(t)
	shared := newExporter(t, Options{Open: files.open}).o
	var wg sync.WaitGroup
	results := make([]Result, 4)
	errs := make([]error, len(results))
	for i := range results {
		x, err := New(shared)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { results[i], errs[i] = x.Run(context.Background(), batchOf(inputs...)) })
	}
	wg.Wait()
	made := 0
	for i, r := range results {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		made += len(r.Outputs) - r.Adopted
		if r.Records != total || !slices.Equal(r.Outputs, results[0].Outputs) {
			t.Errorf("exporter %d: %+v", i, r.Outputs)
		}
	}
	if p := published(t, shared.Dataset); len(p) != 6 || made != 6 {
		t.Errorf("%d were made, published: %v", made, p)
	}
}

// faulty fails at the n-th write of a run.
type faulty struct {
	w    io.Writer
	left *int
	err  error
}

func (f faulty) Write(p []byte) (int, error) {
	if *f.left--; *f.left == 0 {
		n, err := f.w.Write(p[:len(p)/2])
		return n, errors.Join(f.err, err)
	}
	return f.w.Write(p)
}

// Whichever write fails, nothing becomes visible, nothing is left, and the next
// run succeeds.
func TestFailingWrites(t *testing.T) {
	files, inputs, total := threeRecords(t)
	full := errors.New("no space left")
	for n := 1; ; n++ {
		x := newExporter(t, Options{Open: files.open, Memory: 200_000})
		left := n
		x.wrap = func(w io.Writer) io.Writer { return faulty{w, &left, full} }
		_, err := x.Run(context.Background(), batchOf(inputs...))
		if left > 0 {
			if err != nil || n < 10 {
				t.Fatalf("after %d writes: %v", n, err)
			}
			break // there was no n-th write
		}
		if !errors.Is(err, full) {
			t.Fatalf("write %d: %v", n, err)
		}
		if p := published(t, x.o.Dataset); len(p) != 0 {
			t.Fatalf("write %d left %v", n, p)
		}
		x.wrap = nil
		res, err := x.Run(context.Background(), batchOf(inputs...))
		if err != nil || res.Records != total || res.Adopted != 0 {
			t.Fatalf("after write %d: %v, %d records", n, err, res.Records)
		}
	}
}

// A disk that is really full: C10.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	mount, umount := need.Tool(t, "mount"), need.Tool(t, "umount")
	files, inputs, total := threeRecords(t)
	x := newExporter(t, Options{Open: files.open})
	if err := os.MkdirAll(x.o.Dataset, 0o750); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mount, "-t", "tmpfs", "-o", "size=64k", "t", x.o.Dataset).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v %s", err, out)
	}
	defer func() {
		if out, err := exec.Command(umount, x.o.Dataset).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	}()
	_, err := x.Run(context.Background(), batchOf(inputs...))
	var e *Error
	if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "free space") {
		t.Fatalf("error %v", err)
	}
	if p := published(t, x.o.Dataset); len(p) != 0 {
		t.Errorf("left: %v", p)
	}
	if out, err := exec.Command(mount, "-o", "remount,size=10m", x.o.Dataset).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v %s", err, out)
	}
	if res, err := x.Run(context.Background(), batchOf(inputs...)); err != nil || res.Records != total {
		t.Fatalf("%v, %d records", err, res.Records)
	}
}

// Where publishing fails nothing half-made is visible, and the batch can be
// repeated when the obstacle is gone.
func TestFailingPublication(t *testing.T) {
	files, inputs, total := threeRecords(t)
	for _, c := range []struct{ name, obstacle string }{
		{"record directory", "network-ingress-octets"},
		{"partition", "network-ingress-octets/v1/date=2026-03-04"},
		{"staging", stagingDir},
		{"catalog", catalogFile + "/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newExporter(t, Options{Open: files.open})
			path := filepath.Join(x.o.Dataset, filepath.FromSlash(c.obstacle))
			if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o640); err != nil { // a file where a directory goes, or the reverse
				t.Fatal(err)
			}
			_, err := x.Run(context.Background(), batchOf(inputs...))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			for _, p := range published(t, x.o.Dataset) {
				if strings.HasPrefix(p, stagingDir+"/") {
					t.Errorf("left: %s", p)
				}
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if c.name == "catalog" {
				if err := os.Remove(filepath.Dir(path)); err != nil {
					t.Fatal(err)
				}
			}
			res, err := x.Run(context.Background(), batchOf(inputs...))
			if err != nil || res.Records != total {
				t.Fatalf("%v, %d records", err, res.Records)
			}
		})
	}
}

// What a crash left is removed, and nothing else.
func TestRemoveLeftovers(t *testing.T) {
	x := newExporter(t, Options{Open: memFiles{}.open})
	if n, err := x.RemoveLeftovers(); n != 0 || err != nil {
		t.Fatalf("nothing there: %d %v", n, err)
	}
	dirs := []string{filepath.Join(x.o.Dataset, stagingDir), x.o.Quarantine}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if _, err := durable.Create(dir, "left.part", durable.DataMode); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := x.RemoveLeftovers(); n != 2 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	for _, dir := range dirs {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "mine" {
			t.Errorf("%v %v", left, err)
		}
	}
}

// Of several nodes each stages apart, and the living keep what they have.
func TestRemoveLeftoversOfNodes(t *testing.T) {
	x := newExporter(t, Options{Open: memFiles{}.open, Node: "one"})
	for _, dir := range []string{x.o.Dataset, x.o.Quarantine} {
		for _, node := range []string{"one", "two", "three"} {
			at := filepath.Join(dir, stagingDir, node)
			if err := os.MkdirAll(at, 0o750); err != nil {
				t.Fatal(err)
			}
			if _, err := durable.Create(at, "left.part", durable.DataMode); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n, err := x.RemoveLeftovers(); n != 2 || err != nil {
		t.Fatalf("its own: %d %v", n, err)
	}
	if n, err := x.RemoveLeftoversOf(func(node string) bool { return node != "two" }); n != 2 || err != nil {
		t.Fatalf("those of two: %d %v", n, err)
	}
	for _, dir := range []string{x.o.Dataset, x.o.Quarantine} {
		left, err := filepath.Glob(filepath.Join(dir, stagingDir, "*", "*"))
		if err != nil || len(left) != 1 || filepath.Base(filepath.Dir(left[0])) != "three" {
			t.Errorf("%v %v", left, err)
		}
	}
}

// Staged files have names that no reader takes for data, and modes that keep
// others out.
func TestNamesAndModes(t *testing.T) {
	files, inputs, _ := threeRecords(t)
	x := newExporter(t, Options{Open: files.open})
	x.wrap = func(w io.Writer) io.Writer {
		for _, p := range published(t, x.o.Dataset) {
			if !strings.HasPrefix(p, stagingDir+"/.tmp-") || strings.HasSuffix(p, ".parquet") {
				t.Errorf("staged: %s", p)
			}
		}
		return w
	}
	res, err := x.Run(context.Background(), batchOf(inputs...))
	if err != nil {
		t.Fatal(err)
	}
	id := ledger.BatchID(inputs)
	for _, o := range res.Outputs {
		if want := o.Record + "/v1/date=" + o.Date + "/" + id[:32] + ".parquet"; o.Path != want {
			t.Errorf("path %s, want %s", o.Path, want)
		}
	}
	err = filepath.WalkDir(x.o.Dataset, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil && st.Mode().Perm()&0o027 != 0 {
			t.Errorf("%s has mode %v", path, st.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The catalog lists what is there, is left alone when it is right, and its
// example queries run.
func TestCatalog(t *testing.T) {
	files, inputs, total := threeRecords(t)
	x := newExporter(t, Options{Open: files.open})
	for _, in := range inputs[:2] {
		if _, err := x.Run(context.Background(), batchOf(in)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(x.o.Dataset, catalogFile)
	text := string(mustRead(t, path))
	if strings.Count(text, "CREATE OR REPLACE VIEW") != 2 || strings.Contains(text, x.o.Dataset) {
		t.Errorf("catalog:\n%s", text)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.WriteSidecars(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("written again: %v", err)
	}
	if _, err := x.Run(context.Background(), batchOf(inputs[2])); err != nil {
		t.Fatal(err)
	}
	v := python(t, "duckdb", x.o.Dataset, `
import duckdb, json, re
c = duckdb.connect()
text = open("catalog.sql").read()
c.execute(text)
queries = re.findall(r"^--   (SELECT.*?;)$", text, re.S | re.M)
rows = [len(c.execute(q.replace("\n--", "\n")).fetchall()) for q in queries]
total = sum(c.execute("SELECT count(*) FROM " + v).fetchone()[0] for (v,) in c.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall())
print(json.dumps({"rows": rows, "total": total}))`)
	// Two days of one device; all rows of the last day; no overflow.
	if got, want := fmt.Sprint(v["total"], " ", v["rows"]), fmt.Sprint(total, " [2 360 0]"); got != want {
		t.Errorf("queries: %s, want %s", got, want)
	}
}
