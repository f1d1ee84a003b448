package policy

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"acctpull/record"
)

// readArchive returns every record of every closed file, in the order of the
// names. Nothing may be open any more.
func readArchive(t testing.TB, set *Set) []*record.Record {
	t.Helper()
	var out []*record.Record
	var done []string
	reader := record.NewReader(record.ReaderOptions{Catalogue: set.Config().Catalogue})
	for _, f := range set.Config().FileIDs {
		if slices.Contains(done, f.Location) {
			continue
		}
		done = append(done, f.Location)
		if open, err := os.ReadDir(f.CollectDir()); err != nil || len(open) > 0 {
			t.Fatalf("%s: %v %v", f.CollectDir(), open, err)
		}
		names, err := os.ReadDir(f.ArchiveDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			out = append(out, readFile(t, reader, filepath.Join(f.ArchiveDir(), name.Name()))...)
		}
	}
	return out
}

// readFile returns every record of a file that has to decode to a clean end.
func readFile(t testing.TB, reader *record.Reader, path string) []*record.Record {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader.Reset(f, path)
	var out []*record.Record
	for {
		var r record.Record
		switch err := reader.Next(&r); {
		case err == nil:
			out = append(out, r.Clone())
		case errors.Is(err, io.EOF):
			return out
		default:
			t.Fatalf("%s: %v", path, err)
		}
	}
}
