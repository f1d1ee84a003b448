package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"acctpull/internal/gen"
	"acctpull/internal/need"
)

// toStore puts an object store into the inventory of a fleet.
func (f *testFleet) toStore(t *testing.T, s *need.S3Server, prefix string) {
	t.Helper()
	secret := filepath.Join(f.dir, "store-secret")
	check(t, os.WriteFile(secret, []byte(s.SecretKey+"\n"), 0o600))
	text, err := os.ReadFile(f.file)
	check(t, err)
	head := fmt.Sprintf("store: s3://%s/%s\nstore-endpoint: http://%s\nstore-access-key: %s\nstore-secret-file: %s\n", s.Bucket, prefix, s.Address, s.AccessKey, secret)
	check(t, os.WriteFile(f.file, append([]byte(head), text...), 0o600))
}

// everyRecordOnceInStore compares the dataset with what was generated. pyarrow
// reads it from the store, so no code of ours is in between.
func everyRecordOnceInStore(t *testing.T, s *need.S3Server, prefix string, truth gen.Truth) {
	t.Helper()
	findDuck(t)
	columns := slices.Sorted(maps.Keys(truth.Sums))
	query := "select count(*), count(distinct (device, sub_record, scope, service_id, sap, queue_id, interval_end, final))"
	want := []string{strconv.FormatInt(truth.Records, 10), strconv.FormatInt(truth.Records, 10)}
	for _, c := range columns {
		query += ", coalesce(sum(" + c + "), 0)::varchar"
		want = append(want, truth.Sums[c].String())
	}
	script := `import sys, duckdb, pyarrow as pa, pyarrow.dataset as ds, pyarrow.fs as fs
key, secret, address, root, query = sys.argv[1:]
s3 = fs.S3FileSystem(access_key=key, secret_key=secret, endpoint_override="http://" + address, region="us-east-1")
import json
read = lambda p: json.loads(s3.open_input_file(root + "/" + p).read())
newest = max(e.base_name for e in s3.get_file_info(fs.FileSelector(root + "/manifest")))
files = [f for p in read("manifest/" + newest)["pages"] for f in read(p["path"])["files"]]
tables = [ds.dataset([root + "/" + f["path"] for f in files if f["table"] == t], filesystem=s3, format="parquet").to_table() for t in {f["table"] for f in files}]
everything = pa.concat_tables(tables, promote_options="default")
con = duckdb.connect()
con.register("everything", everything)
print(" ".join(str(v) for v in con.execute(query + " from everything").fetchone()))`
	root := s.Bucket + "/" + prefix + "/dataset"
	b, err := exec.Command(duckPython, "-c", script, s.AccessKey, s.SecretKey, s.Address, root, query).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if got := strings.Fields(string(b)); !slices.Equal(got, want) {
		t.Fatalf("rows, distinct rows and sums of %v\nin the dataset: %v\ngenerated:      %v", columns, got, want)
	}
}

// From devices through an object store to a reader that knows nothing of us, and
// the check of everything afterwards. Nothing but files on their way, ledger and
// locks is on the local disk.
func TestObjectStore(t *testing.T) {
	f := newFleet(t, 3, 4, nil)
	s := need.S3(t, "", "")
	f.toStore(t, s, "some/where")
	_, stderr := expect(t, exitOK, []string{"12 fetched"}, "pull", "-c", f.file)
	if strings.Contains(stderr, s.SecretKey) {
		t.Error("the secret is in the output")
	}
	for _, feed := range f.feeds {
		feed.add(2)
	}
	expect(t, exitOK, []string{"12 known, 6 fetched"}, "pull", "-c", f.file)
	everyRecordOnceInStore(t, s, "some/where", f.truth())
	expect(t, exitOK, nil, "check", "-c", f.file)
	check(t, filepath.WalkDir(f.data, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && (strings.HasSuffix(path, ".gz") || strings.HasSuffix(path, ".parquet") || strings.HasSuffix(path, ".sql")) {
			t.Errorf("%s is on the local disk", path)
		}
		return err
	}))

	// A lost ledger is noticed, and made anew without a double.
	for _, name := range []string{"ledger.db", "ledger.db-sum", "ledger.db-wal", "ledger.db-shm"} {
		if err := os.Remove(filepath.Join(f.data, name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	expect(t, exitFailed, []string{"s3://bucket/some/where"}, "pull", "-c", f.file)
	expect(t, exitOK, nil, "pull", "-c", f.file, "--rebuild-ledger")
	everyRecordOnceInStore(t, s, "some/where", f.truth())
	expect(t, exitOK, nil, "check", "-c", f.file)

	// Mistakes are told, without the secret.
	text, err := os.ReadFile(f.file)
	check(t, err)
	for _, c := range []struct {
		from, to, want string
		code           int
	}{
		{"store: s3://bucket/", "store: s3://elsewhere/", "NoSuchBucket", exitFailed},
		{"store: s3://bucket/", "store: bucket/", "s3://bucket", exitUsage},
		{"store-access-key: key\n", "store-access-key: another\n", "access key", exitFailed},
		{"store-access-key: key\n", "", "store-access-key", exitUsage},
		{"store: s3://bucket/some/where\n", "", "store", exitUsage},
		{"store-secret-file:", "store-secret-env:", "secret key of the store", exitUsage},
	} {
		check(t, os.WriteFile(f.file, []byte(strings.Replace(string(text), c.from, c.to, 1)), 0o600))
		if _, stderr := expect(t, c.code, []string{c.want}, "pull", "-c", f.file); strings.Contains(stderr, s.SecretKey) {
			t.Errorf("%s: the secret is in the output", c.to)
		}
	}
}

// A puller that is killed at random moments, with its archive and its dataset in
// an object store: one clean run later every record is there once.
func TestKillPullObjectStore(t *testing.T) {
	kills, perKill := 8, 6
	if proof() {
		kills, perKill = 60, 12
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	f := newFleet(t, 2, 20, nil)
	s := need.S3(t, "", "")
	f.toStore(t, s, "p")
	exe := program(t)
	k := newKiller(t, rng)
	for k.done < kills {
		f.feeds[k.done%2].add(perKill)
		k.run("pull", "-c", f.file)
	}
	if b, err := exec.Command(exe, "pull", "-c", f.file).CombinedOutput(); err != nil {
		t.Fatalf("the clean run: %v\n%s", err, b)
	}
	truth := f.truth()
	t.Logf("%d kills (%d runs were faster), %d files, %d records", k.done, k.faster, truth.Files, truth.Records)
	everyRecordOnceInStore(t, s, "p", truth)
	expect(t, exitOK, nil, "check", "-c", f.file)
	left, err := filepath.Glob(filepath.Join(f.data, "devices", "*", "act-collect", "*"))
	check(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
