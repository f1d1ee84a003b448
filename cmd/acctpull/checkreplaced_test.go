package main

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/internal/depot/objectstore"
	"acctpull/internal/need"
)

// replacedIn compacts the dataset of a data directory and removes what is left of
// the old files.
func replacedIn(t *testing.T, data string) (made []string) {
	t.Helper()
	dataset := depot.NewDir(filepath.Join(data, "dataset"))
	made = compactAll(t, dataset, filepath.Join(data, "merge"), filepath.Join(data, "ledger.db"))
	check(t, os.Remove(filepath.Join(data, "merge")))
	if len(made) == 0 {
		t.Fatal("nothing was replaced")
	}
	_, err := export.CleanReplaced(t.Context(), dataset, time.Now().Add(time.Second), 0)
	check(t, err)
	return made
}

// A dataset in which files were replaced is whole; its ledger can be made anew;
// what is exported later is not there twice; and everything that is wrong with
// what was replaced is found.
func TestCheckReplaced(t *testing.T) {
	out, d, _ := mixed(t)
	count := func() string {
		return duck(t, "select count(*) from read_parquet('"+out+"/dataset/*/v1/*/*.parquet', union_by_name=true)")[0][0]
	}
	before := count()
	made := replacedIn(t, out)
	if got := findings(t, out); len(got) != 0 || count() != before {
		t.Fatalf("%v, %s rows were %s", got, count(), before)
	}
	check(t, os.Remove(filepath.Join(out, "ledger.db")))
	expect(t, exitOK, []string{"ledger rebuilt", "everything is whole"}, "check", "--data", out, "--rebuild")
	expect(t, exitOK, nil, d.pullArgs(out)...) // with the file that waited
	if got := findings(t, out); len(got) != 0 {
		t.Fatalf("after more was exported: %v", got)
	}
	again := replacedIn(t, out)
	if got := findings(t, out); len(got) != 0 {
		t.Fatalf("replaced once more: %v", got)
	}
	if again[0] == made[0] {
		t.Errorf("%s was used twice", made[0])
	}
	at := filepath.Join(out, "dataset", again[0])
	history := filepath.Join(out, "dataset", ".replaced", filepath.Dir(again[0])+".jsonl")
	for _, c := range []struct {
		what, path string
		change     func(path string)
		want       string
	}{
		{"a file that stands in for others is gone", at, func(p string) { check(t, os.Remove(p)) }, "missing"},
		{"it has other bytes", at, func(p string) { check(t, os.WriteFile(p, []byte("PAR1PAR1"), 0o640)) }, "damaged"},
		{"the history is cut off", history, func(p string) { check(t, os.Truncate(p, 100)) }, "damaged"},
		{"the history is empty", history, func(p string) { check(t, os.Truncate(p, 0)) }, "damaged"},
	} {
		text, err := os.ReadFile(c.path)
		check(t, err)
		c.change(c.path)
		rel, err := filepath.Rel(out, c.path)
		check(t, err)
		if got := findings(t, out); got[rel] != c.want {
			t.Errorf("%s: %v, want %s", c.what, got, rel)
		}
		check(t, os.WriteFile(c.path, text, 0o640))
	}
	text, err := os.ReadFile(history)
	check(t, err)
	check(t, os.Remove(history))
	if got := findings(t, out); got["dataset/"+again[0]] != "unknown" || len(got) < 3 {
		t.Errorf("the history is gone: %v", got)
	}
	check(t, os.WriteFile(history, text, 0o640))
	copied := filepath.Join(filepath.Dir(at), strings.Repeat("ab", 16)+".parquet")
	text, err = os.ReadFile(at)
	check(t, err)
	check(t, os.WriteFile(copied, text, 0o640))
	rel, err := filepath.Rel(out, copied)
	check(t, err)
	if got := findings(t, out); got[rel] != "unknown" {
		t.Errorf("a copy beside it: %v", got)
	}
	check(t, os.Remove(copied))
	if got := findings(t, out); len(got) != 0 {
		t.Errorf("after all is as it was: %v", got)
	}
}

// TestFlippedBitStoreProof flips one bit at a time in the objects of a dataset in
// a bucket in which files were replaced: manifests, their pages, histories, and
// files. check finds every one and names the object.
func TestFlippedBitStoreProof(t *testing.T) {
	flips := 12
	if proof() {
		flips = 100
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	f := newFleet(t, 2, 2, nil)
	s := need.S3(t, "", "")
	f.toStore(t, s, "at")
	expect(t, exitOK, nil, "pull", "-c", f.file)
	for _, feed := range f.feeds {
		feed.add(2)
	}
	expect(t, exitOK, nil, "pull", "-c", f.file)
	store, err := objectstore.New(objectstore.Config{Bucket: s.Bucket, Prefix: "at", Endpoint: "http://" + s.Address, AccessKey: s.AccessKey, SecretKey: s.SecretKey})
	check(t, err)
	dataset := depot.Sub(store, "dataset")
	if made := compactAll(t, dataset, t.TempDir(), filepath.Join(f.data, "ledger.db")); len(made) == 0 {
		t.Fatal("nothing was replaced")
	}
	_, err = export.CleanReplaced(t.Context(), dataset, time.Now().Add(time.Second), 0)
	check(t, err)
	for _, feed := range f.feeds {
		feed.add(1)
	}
	expect(t, exitOK, nil, "pull", "-c", f.file)
	_, err = export.CleanReplaced(t.Context(), dataset, time.Now().Add(time.Second), 0)
	check(t, err)

	kinds := map[string][]string{}
	for _, dir := range []string{"", ".manifest"} {
		for e, err := range dataset.List(t.Context(), dir) {
			check(t, err)
			if strings.Contains(e.Path, "/") {
				kind := strings.SplitN(e.Path, "/", 2)[0] + filepath.Ext(e.Path)
				kinds[kind] = append(kinds[kind], e.Path)
			}
		}
	}
	names := []string{}
	for kind := range kinds {
		names = append(names, kind)
	}
	slices.Sort(names)
	if len(names) < 4 {
		t.Fatalf("only these kinds of objects: %q", names)
	}
	for n := range flips {
		all := kinds[names[n%len(names)]]
		p := all[rnd.IntN(len(all))]
		o, err := dataset.Open(t.Context(), p)
		check(t, err)
		text, err := io.ReadAll(o)
		check(t, errors.Join(err, o.Close()))
		flipped := slices.Clone(text)
		bit := rnd.IntN(len(text) * 8)
		flipped[bit/8] ^= 1 << (bit % 8)
		check(t, dataset.Replace(t.Context(), p, flipped))
		stdout, stderr, _ := command(t, "--json", "check", "-c", f.file)
		var res checkResult
		if err := json.Unmarshal([]byte(stdout), &res); err != nil {
			t.Fatalf("%v\n%s%s", err, stdout, stderr)
		}
		named := false
		for _, f := range res.Findings {
			named = named || f.File == "dataset/"+p
		}
		if !named {
			t.Errorf("a flipped bit in %s: %+v", p, res.Findings)
		}
		check(t, dataset.Replace(t.Context(), p, text))
	}
	expect(t, exitOK, nil, "check", "-c", f.file)
}
