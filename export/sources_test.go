package export

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acctpull/ledger"

	"acctpull/internal/depot"
)

// The dataset knows what was exported into it, so that a lost ledger can be
// made again.
func TestSources(t *testing.T) {
	files, inputs, total := threeRecords(t)
	x := newExporter(t, Options{Open: files.open})
	one, err := x.Run(context.Background(), batchOf(inputs[0]))
	if err != nil {
		t.Fatal(err)
	}
	two, err := x.Run(context.Background(), batchOf(inputs[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	batches, err := Sources(t.Context(), x.o.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	if len(batches) != 2 {
		t.Fatalf("%d batches", len(batches))
	}
	var records int64
	for _, b := range batches {
		res, in := one, inputs[:1]
		if b.ID == ledger.BatchID(inputs[1:]) {
			res, in = two, inputs[1:]
		}
		if b.ID != ledger.BatchID(in) || len(b.Missing) != 0 || len(b.Outputs) != len(res.Outputs) || len(b.Sources) != len(in) {
			t.Errorf("batch %+v", b)
			continue
		}
		for i, o := range b.Outputs {
			want := res.Outputs[i]
			want.Batch, want.SHA256 = b.ID, ""
			if o != want {
				t.Errorf("output %+v, want %+v", o, want)
			}
		}
		for i, s := range b.Sources {
			if want := (Source{Device: in[i].Device, Name: in[i].Name, SHA256: in[i].SHA256, Records: res.Inputs[i].Records}); s != want {
				t.Errorf("source %+v, want %+v", s, want)
			}
			records += s.Records
		}
	}
	if records != total {
		t.Errorf("%d records, want %d", records, total)
	}

	// A batch that was cut off while it was published is told as such.
	if err := os.Remove(filepath.Join(x.o.Dataset, two.Outputs[1].Path)); err != nil {
		t.Fatal(err)
	}
	batches, err = Sources(t.Context(), x.o.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		var want []string
		if b.ID == ledger.BatchID(inputs[1:]) {
			want = []string{two.Outputs[1].Path}
		}
		if !slices.Equal(b.Missing, want) {
			t.Errorf("missing %v, want %v", b.Missing, want)
		}
	}
}

// Files that are not ours, or are not where they belong, are an error that names
// them.
func TestSourcesAreLoud(t *testing.T) {
	files, inputs, _ := threeRecords(t)
	for _, c := range []struct {
		name, want string
		spoil      func(path string) error
	}{
		{"empty", "x.parquet", func(p string) error { return os.WriteFile(filepath.Join(filepath.Dir(p), "x.parquet"), nil, 0o640) }},
		{"renamed", "not among the outputs", func(p string) error { return os.Rename(p, filepath.Join(filepath.Dir(p), "x.parquet")) }},
		{"truncated", ".parquet", func(p string) error { return os.Truncate(p, 1000) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newExporter(t, Options{Open: files.open})
			res, err := x.Run(context.Background(), batchOf(inputs[0]))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(filepath.Join(x.o.Dataset, res.Outputs[0].Path)); err != nil {
				t.Fatal(err)
			}
			if _, err := Sources(t.Context(), x.o.Outputs); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if b, err := Sources(t.Context(), depot.NewDir(dir)); err != nil || len(b) != 0 {
			t.Errorf("empty dataset: %v %v", b, err)
		}
	}
}
