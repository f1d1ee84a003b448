package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/internal/gen"
	"acctpull/ledger"
)

// mixed makes a data directory with a file of every kind: exported and waiting
// ones, another content under a taken name, a file in quarantine, one with an
// unusable record, and a dataset. It returns the directory, the device that
// made it and what is in the dataset.
func mixed(t *testing.T) (out string, d *testDevice, truth gen.Truth) {
	t.Helper()
	d = newDevice(t, nil)
	f := newFeed(t, d.act, gen.Options{Objects: 2, Meters: 2})
	f.add(3)
	names, err := filepath.Glob(filepath.Join(d.act, "*.xml.gz"))
	check(t, err)
	text := unzipped(t, names[0])
	// Cut off, and with one number that is none.
	check(t, os.WriteFile(filepath.Join(d.act, "act1011-20260301-000000.xml.gz"), zippedText(t, text[:len(text)-30]), 0o640))
	odd := strings.LastIndex(text, "</iof>")
	if odd < 0 {
		t.Fatalf("no counter in %s", text)
	}
	check(t, os.WriteFile(filepath.Join(d.act, "act1011-20260302-000000.xml.gz"), zippedText(t, text[:odd]+"-1"+text[odd:]), 0o640))
	out = filepath.Join(t.TempDir(), "data")
	expect(t, exitPartly, nil, d.pullArgs(out)...)
	// The device gives other content under a name that it gave before.
	check(t, os.WriteFile(names[0], zippedText(t, strings.ReplaceAll(text, "<svc>", "<svc>1")), 0o640))
	expect(t, exitOK, nil, d.pullArgs(out)...)
	f.add(1)
	expect(t, exitOK, nil, d.pullArgs(out, "--no-export")...)
	return out, d, f.truth
}

func unzipped(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	defer file.Close()
	z, err := gzip.NewReader(file)
	check(t, err)
	var b strings.Builder
	_, err = z.WriteTo(&b)
	check(t, err)
	return b.String()
}

func zippedText(t *testing.T, text string) []byte {
	t.Helper()
	var b strings.Builder
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	check(t, err)
	check(t, z.Close())
	return []byte(b.String())
}

// findings runs check and returns what it found, by file.
func findings(t *testing.T, data string) map[string]string {
	t.Helper()
	stdout, stderr, code := command(t, "--json", "check", "--data", data)
	var res checkResult
	if err := json.Unmarshal([]byte(stdout), &res); err != nil {
		t.Fatalf("check: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if res.Whole != (code == exitOK) || !res.Whole && code != exitFailed {
		t.Errorf("exit code %d, whole: %t", code, res.Whole)
	}
	all := map[string]string{}
	for _, f := range res.Findings {
		all[f.File] += string(f.Kind)
		if f.What == "" || f.Do == "" {
			t.Errorf("%+v", f)
		}
	}
	return all
}

func TestCheck(t *testing.T) {
	out, _, _ := mixed(t)
	stdout, _ := expect(t, exitOK, []string{"everything is whole", "7 files seen = 6 fetched + 1 quarantined + 0 lost + 0 waiting"}, "check", "--data", out, "--days")
	if !strings.Contains(stdout, "2026-03-02") {
		t.Errorf("no sums of the days in\n%s", stdout)
	}
	for _, c := range []struct {
		what   string
		file   string // a pattern; its first match is changed
		change func(path string)
		want   string // file and kind
	}{
		{"a file of the archive is gone", "devices/dut/act/*.gz", func(p string) { check(t, os.Remove(p)) }, "missing"},
		{"a file of the dataset is gone", "dataset/*/v1/*/*.parquet", func(p string) { check(t, os.Remove(p)) }, "missing"},
		{"a note is gone", "quarantine/dut/*.txt", func(p string) { check(t, os.Remove(p)) }, "missing"},
		{"unusable records are gone", "quarantine/*.jsonl", func(p string) { check(t, os.Remove(p)) }, "missing"},
		{"a file was cut", "devices/dut/act/*.gz", func(p string) { check(t, os.Truncate(p, 100)) }, "damaged"},
	} {
		at, err := filepath.Glob(filepath.Join(out, c.file))
		check(t, err)
		if len(at) == 0 {
			t.Fatalf("no %s", c.file)
		}
		text, err := os.ReadFile(at[0])
		check(t, err)
		c.change(at[0])
		rel, err := filepath.Rel(out, at[0])
		check(t, err)
		if got := findings(t, out); got[rel] != c.want || len(got) != 1 {
			t.Errorf("%s: %v, want %s: %s", c.what, got, rel, c.want)
		}
		check(t, os.WriteFile(at[0], text, 0o640))
	}
	copyTo := func(from, to string) string {
		text, err := os.ReadFile(from)
		check(t, err)
		check(t, os.WriteFile(to, text, 0o640))
		rel, err := filepath.Rel(out, to)
		check(t, err)
		return rel
	}
	parquet, err := filepath.Glob(filepath.Join(out, "dataset/*/v1/*/*.parquet"))
	check(t, err)
	archive, err := filepath.Glob(filepath.Join(out, "devices/dut/act/*.gz"))
	check(t, err)
	for _, c := range [][2]string{
		{parquet[0], "copy.parquet"}, {parquet[0], "copy.txt"}, {archive[0], "act1011-20270101-000000.xml.gz"}, {archive[0], "notes"},
	} {
		rel := copyTo(c[0], filepath.Join(filepath.Dir(c[0]), c[1]))
		if got := findings(t, out); got[rel] != "unknown" || len(got) != 1 {
			t.Errorf("%s was put there: %v", rel, got)
		}
		check(t, os.Remove(filepath.Join(out, rel)))
	}
	if got := findings(t, out); len(got) != 0 {
		t.Fatalf("%v", got)
	}
	check(t, os.Remove(filepath.Join(out, "ledger.db")))
	if got := findings(t, out); got["ledger.db"] != "missing" {
		t.Errorf("the ledger is gone: %v", got)
	}
	expect(t, exitFailed, []string{"there is no data"}, "check", "--data", t.TempDir())
	expect(t, exitUsage, []string{"one of"}, "check")
}

// kinds are the files of a data directory, by what a flip in them is found by.
// The lock and what SQLite makes anew at every start prove nothing.
func kinds(t *testing.T, data string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	check(t, filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(data, path)
		check(t, err)
		base, kind := filepath.Base(rel), ""
		switch {
		case base == "lock", strings.HasSuffix(base, "-shm"):
			return nil
		case strings.HasPrefix(base, "ledger.db"):
			kind = base
		case strings.HasPrefix(rel, "dataset/.replaced/"):
			kind = "history"
		case strings.HasSuffix(base, ".parquet"):
			kind = "parquet"
		case strings.HasPrefix(rel, "devices"):
			kind = "archive"
		default:
			kind = filepath.Ext(base)
		}
		if st, err := e.Info(); err == nil && st.Size() > 0 {
			all[kind] = append(all[kind], path)
		}
		return nil
	}))
	return all
}

// TestFlippedBitProof flips one bit at a time anywhere below a data directory:
// check finds every one and names the file.
func TestFlippedBitProof(t *testing.T) {
	flips := 40
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		flips = 1000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	closed, _, _ := mixed(t)
	replacedIn(t, closed)
	crashed := crashedCopy(t, closed)
	found, where := 0, map[string]int{}
	for n := range flips {
		data := closed
		if n%5 == 4 {
			data = crashed
		}
		files := kinds(t, data)
		names := []string{}
		for kind := range files {
			// With a log beside it, the pages of the ledger are those of the log.
			if data == closed || kind == "ledger.db-wal" {
				names = append(names, kind)
			}
		}
		slices.Sort(names)
		kind := names[rnd.IntN(len(names))]
		path := files[kind][rnd.IntN(len(files[kind]))]
		undo := flipBit(t, path, rnd)
		where[kind]++
		got := findings(t, data)
		rel, err := filepath.Rel(data, path)
		check(t, err)
		if got[strings.TrimSuffix(rel, "-sum")] == "" {
			t.Errorf("a flipped bit in %s: found %v", rel, got)
		} else {
			found++
		}
		undo()
	}
	t.Logf("%d of %d found: %v", found, flips, where)
	for _, data := range []string{closed, crashed} {
		if got := findings(t, data); len(got) != 0 {
			t.Errorf("after all is as it was: %v", got)
		}
	}
	if len(where) < 9 {
		t.Errorf("only these kinds of files were hit: %v", where)
	}
}

// crashedCopy copies a data directory while a process works with its ledger: a
// log is beside it.
func crashedCopy(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "crashed")
	check(t, os.CopyFS(to, os.DirFS(from)))
	live := filepath.Join(t.TempDir(), "ledger.db")
	text, err := os.ReadFile(filepath.Join(from, "ledger.db"))
	check(t, err)
	check(t, os.WriteFile(live, text, 0o600))
	l, err := ledger.Open(t.Context(), live)
	check(t, err)
	defer l.Close()
	for i := range 3 {
		_, err = l.Discover(t.Context(), timeOf(2026), []ledger.Key{{Device: "dut", Path: "cf1:/act", Name: fmt.Sprintf("act1011-2026040%d-000000.xml.gz", i+1), Size: 9}})
		check(t, err)
	}
	check(t, os.Remove(filepath.Join(to, "ledger.db-sum")))
	for _, s := range []string{"", "-wal"} {
		text, err := os.ReadFile(live + s)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(to, "ledger.db"+s), text, 0o600))
	}
	return to
}

// flipBit flips one bit of a file. Undoing it brings the whole file back, and
// those that SQLite makes beside a ledger.
func flipBit(t *testing.T, path string, rnd *rand.Rand) (undo func()) {
	t.Helper()
	saved := map[string][]byte{}
	beside, err := filepath.Glob(path[:len(path)-len(filepath.Ext(path))] + ".db*")
	check(t, err)
	for _, p := range append(beside, path) {
		text, err := os.ReadFile(p)
		check(t, err)
		saved[p] = text
	}
	text := slices.Clone(saved[path])
	bit := rnd.IntN(len(text) * 8)
	text[bit/8] ^= 1 << (bit % 8)
	check(t, os.WriteFile(path, text, 0o640))
	return func() {
		after, err := filepath.Glob(path[:len(path)-len(filepath.Ext(path))] + ".db*")
		check(t, err)
		for _, p := range after {
			if _, was := saved[p]; !was {
				check(t, os.Remove(p))
			}
		}
		for p, text := range saved {
			check(t, os.WriteFile(p, text, 0o640))
		}
	}
}

func timeOf(year int) time.Time { return time.Date(year, 5, 1, 0, 0, 0, 0, time.UTC) }

// A lost or damaged ledger is made anew, and kept: after that the check is
// clean, a pull fetches nothing twice, and an export adds no row.
func TestCheckRebuild(t *testing.T) {
	for what, harm := range map[string]func(path string){
		"lost": func(path string) { check(t, os.Remove(path)) },
		"damaged": func(path string) {
			text, err := os.ReadFile(path)
			check(t, err)
			check(t, os.WriteFile(path, append(text[:4096:4096], make([]byte, len(text)-4096)...), 0o600))
		},
		"whole": func(string) {},
	} {
		t.Run(what, func(t *testing.T) {
			out, d, _ := mixed(t)
			before := rowCount(t, out)
			harm(filepath.Join(out, "ledger.db"))
			if what != "whole" {
				expect(t, exitFailed, []string{"ledger.db", what[:4], "--rebuild"}, "check", "--data", out)
			}
			expect(t, exitOK, []string{"ledger rebuilt: 7 files", "everything is whole"}, "check", "--data", out, "--rebuild")
			kept, err := filepath.Glob(filepath.Join(out, "set-aside", "*", "ledger.db"))
			check(t, err)
			if (len(kept) == 1) != (what != "lost") {
				t.Errorf("kept: %v", kept)
			}
			if n := rowCount(t, out); n != before {
				t.Errorf("the rebuild made %d rows of %d", n, before)
			}
			// One file of the device changed before, so it lists six; the one
			// that waited is exported now.
			expect(t, exitOK, []string{"6 files listed, 6 known, 0 fetched"}, d.pullArgs(out)...)
			if n := rowCount(t, out); n <= before {
				t.Errorf("%d rows of %d: the file that waited was not exported", n, before)
			}
			everyInputOnce(t, out)
			expect(t, exitOK, []string{"everything is whole"}, "check", "--data", out)
			before = rowCount(t, out)
			expect(t, exitOK, []string{"0 fetched", "0 exported"}, d.pullArgs(out)...)
			if n := rowCount(t, out); n != before {
				t.Errorf("%d rows became %d", before, n)
			}
		})
	}
}

// everyInputOnce proves that no file is in a dataset twice.
func everyInputOnce(t *testing.T, data string) {
	t.Helper()
	got := duck(t, "select count(*), count(distinct (device, source_sha256, sub_record, scope, service_id, sap, queue_id, interval_end, final)) from read_parquet('"+
		data+"/dataset/*/v1/*/*.parquet', union_by_name=true)")[0]
	if got[0] != got[1] || got[0] == "0" {
		t.Errorf("%s rows, %s of them different", got[0], got[1])
	}
}

// rowCount counts the rows of a dataset with DuckDB.
func rowCount(t *testing.T, data string) int {
	t.Helper()
	n, err := strconv.Atoi(duck(t, "select count(*) from read_parquet('"+data+"/dataset/*/v1/*/*.parquet')")[0][0])
	check(t, err)
	return n
}
