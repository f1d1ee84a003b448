package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/depot/objectstore"
	"acctpull/internal/need"
)

// rebuildReader reads all tables in a loop, each time with another engine: for
// every table and day the number of rows, and how many of them have the counter
// that only the right profile gives.
const rebuildReader = `import sys, json, threading
config = json.loads(sys.argv[1])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
import pyarrow.dataset as ds, pyarrow.parquet as pq
COUNTER = "octets_offered_to_the_sap_ingress"
def add(days, path, table):
    e = path.split("/")
    key = e[0] + " " + e[2]
    n, c = days.get(key, (0, 0))
    known = len([v for v in table.column(COUNTER).to_pylist() if v is not None]) if COUNTER in table.column_names else 0
    days[key] = (n + table.num_rows, c + known)
def by_duckdb():
    import duckdb, glob
    files = glob.glob(config["root"] + "/*/v1/*/*.parquet")
    rows = duckdb.sql(f"select regexp_extract(filename, '/dataset/([^/]+)/', 1) || ' date=' || date, count(*), count({COUNTER}) from read_parquet({files}, hive_partitioning=true, hive_types_autocast=false, union_by_name=true, filename=true) group by 1").fetchall()
    return {d: (n, c) for d, n, c in rows}
def by_pyarrow():
    import glob
    days = {}
    for p in glob.glob(config["root"] + "/*/v1/*/*.parquet"):
        add(days, p[len(config["root"]) + 1:], pq.ParquetFile(p).read())
    return days
def by_manifest():
    read = lambda p: json.loads(s3.open_input_file(config["root"] + "/" + p).read())
    newest = max(e.base_name for e in s3.get_file_info(fs.FileSelector(config["root"] + "/manifest")))
    days = {}
    for p in read("manifest/" + newest)["pages"]:
        for f in read(p["path"])["files"]:
            add(days, f["path"], pq.ParquetFile(s3.open_input_file(config["root"] + "/" + f["path"])).read())
    return days
if "address" in config:
    import pyarrow.fs as fs
    s3 = fs.S3FileSystem(access_key=config["key"], secret_key=config["secret"], endpoint_override="http://" + config["address"], region="us-east-1")
    engines = [by_manifest]
else:
    engines = [by_duckdb, by_pyarrow]
n = 0
while not stop.is_set():
    engine = engines[n % len(engines)]
    n += 1
    answer = {"engine": engine.__name__}
    try:
        answer["days"] = {d: list(v) for d, v in engine().items()}
    except Exception as e:
        answer["error"] = type(e).__name__ + ": " + str(e)
    print(json.dumps(answer), flush=True)
`

// rebuildState is what a reader sees: rows, and rows with the counter, of each
// table and day.
type rebuildState map[string][2]int64

// rebuildRace is a dataset whose rows are rebuilt, with one profile and with
// another, while readers read it.
type rebuildRace struct {
	t       *testing.T
	fleet   *testFleet
	dataset depot.Depot
	bucket  bool
	reader  map[string]string
	profile string
	states  [2]rebuildState // without and with the right profile
	mu      sync.Mutex
	answers map[string]int
	again   int
}

// raceProfiles are the wrong one and the right one. The wrong one knows neither
// the record of some files nor a counter of others.
var raceProfiles = [2]string{"time-zone: UTC\n", "time-zone: UTC\nrecords:\n  svcIngressOctet: service-ingress-octets\nfields:\n  bytesIn: ioo\n"}

func newRebuildRace(t *testing.T, s *need.S3Server) *rebuildRace {
	t.Helper()
	findDuck(t)
	f := newFleet(t, 2, 1, nil)
	r := &rebuildRace{t: t, fleet: f, profile: filepath.Join(f.dir, "profile.yaml"), answers: map[string]int{}}
	root := filepath.Join(f.data, "dataset")
	r.dataset, r.reader = depot.NewDir(root), map[string]string{"root": root}
	if s != nil {
		f.toStore(t, s, "p")
		store, err := objectstore.New(objectstore.Config{Bucket: s.Bucket, Prefix: "p", Endpoint: "http://" + s.Address, AccessKey: s.AccessKey, SecretKey: s.SecretKey})
		check(t, err)
		r.dataset, r.bucket = depot.Sub(store, "dataset"), true
		r.reader = map[string]string{"address": s.Address, "key": s.AccessKey, "secret": s.SecretKey, "root": s.Bucket + "/p/dataset"}
	}
	text, err := os.ReadFile(f.file)
	check(t, err)
	check(t, os.WriteFile(f.file, []byte(strings.Replace(string(text), "groups: even", "groups: even, profile: "+r.profile, 1)), 0o600))
	r.use(0)
	for i, d := range f.devices {
		for n := range 4 {
			day := fmt.Sprintf("2026-02-0%d", n/2+1)
			record, counter := "svcIngressOctet", "ioo" // moves to another table
			if n%2 == 1 || i == 1 {
				record, counter = "service-ingress-octets", "bytesIn" // gets a value in its place
			}
			body := fmt.Sprintf(`<export><job record=%q end="%sT12:00:00Z">`, record, day)
			for sap := range 20 {
				body += fmt.Sprintf(`<sio><svc>7</svc><sap>1/1/1:%d</sap><ipo>1</ipo><%s>%d</%s></sio>`, sap, counter, sap, counter)
			}
			name := fmt.Sprintf("act1111-%s-%02d0000.xml", strings.ReplaceAll(day, "-", ""), n)
			check(t, os.WriteFile(filepath.Join(d.act, name), []byte(body+"</job></export>"), 0o640))
		}
	}
	_, stderr, code := command(t, "pull", "-c", f.file)
	if code != exitOK {
		t.Fatalf("pull: code %d\n%s", code, stderr)
	}
	r.states[0] = r.read()
	r.use(1)
	expect(t, exitOK, nil, r.rebuild()...)
	r.states[1] = r.read()
	if maps.Equal(r.states[0], r.states[1]) || len(r.states[0]) < 4 {
		t.Fatalf("the profiles do not differ: %v", r.states)
	}
	return r
}

// use puts a profile in place.
func (r *rebuildRace) use(n int) {
	r.t.Helper()
	check(r.t, os.WriteFile(r.profile, []byte(raceProfiles[n]), 0o640))
}

func (r *rebuildRace) rebuild() []string {
	return []string{"export", "--rebuild", "-c", r.fleet.file, "--from", "2026-02-01", "--to", "2026-03-01", "--device", "d0"}
}

// read is the reader that is written in Go.
func (r *rebuildRace) read() rebuildState {
	r.t.Helper()
	for {
		s, err := r.tryRead(r.t.Context())
		if errors.Is(err, fs.ErrNotExist) && !r.bucket {
			continue
		}
		check(r.t, err)
		return s
	}
}

func (r *rebuildRace) tryRead(ctx context.Context) (rebuildState, error) {
	snapshot, err := export.ReadSnapshot(ctx, r.dataset)
	if err != nil {
		return nil, err
	}
	state := rebuildState{}
	for _, f := range snapshot.Files {
		if err := r.count(ctx, f, state); err != nil {
			return nil, err
		}
	}
	return state, nil
}

func (r *rebuildRace) count(ctx context.Context, f export.DataFile, state rebuildState) (err error) {
	o, err := r.dataset.Open(ctx, f.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	c, err := columns.Open(o, o.Size())
	if err != nil {
		return err
	}
	key := f.Table + " date=" + f.Date
	n := state[key]
	n[0] += c.Rows()
	const counter = "octets_offered_to_the_sap_ingress"
	if c.Schema().Index(counter) >= 0 {
		s := c.Scan(columns.ScanOptions{Columns: []string{counter}})
		for {
			b, err := s.Next(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			for row := range b.Rows {
				if _, ok := b.Columns[0].Int(row); ok {
					n[1]++
				}
			}
		}
	}
	state[key] = n
	return nil
}

// judge takes an answer: in a bucket it is one of the two states as a whole, in a
// directory each day of a table is as in one of them.
func (r *rebuildRace) judge(engine string, got rebuildState, failed string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if failed != "" {
		if r.bucket || !strings.Contains(failed, "No such file") && !strings.Contains(failed, "no such file") && !strings.Contains(failed, "FileNotFound") && !strings.Contains(failed, "No files found") {
			r.t.Errorf("%s: %s", engine, failed)
		}
		r.again++
		return
	}
	right := maps.Equal(got, r.states[0]) || maps.Equal(got, r.states[1])
	if !r.bucket {
		right = true
		for _, key := range slices.Concat(slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(r.states[0])), slices.Collect(maps.Keys(r.states[1]))) {
			right = right && (got[key] == r.states[0][key] || got[key] == r.states[1][key])
		}
	}
	if r.answers[engine]++; !right {
		r.t.Errorf("%s saw %v,\nbefore and after are %v\nand %v", engine, got, r.states[0], r.states[1])
	}
}

// readers reads until stop is closed.
func (r *rebuildRace) readers(stop <-chan struct{}) {
	var wg sync.WaitGroup
	defer wg.Wait()
	told, err := json.Marshal(r.reader)
	check(r.t, err)
	cmd := exec.Command(duckPython, "-c", rebuildReader, string(told))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(r.t, err)
	out, err := cmd.StdoutPipe()
	check(r.t, err)
	check(r.t, cmd.Start())
	wg.Go(func() { <-stop; _ = in.Close() })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a struct {
			Engine, Error string
			Days          rebuildState
		}
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			r.t.Errorf("%v: %s", err, lines.Text())
			break
		}
		r.judge(a.Engine, a.Days, a.Error)
		s, err := r.tryRead(context.WithoutCancel(r.t.Context()))
		failed := ""
		if err != nil {
			failed = err.Error()
		}
		r.judge("go", s, failed)
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		r.t.Error(err)
	}
}

// run rebuilds, with this profile and that, and is killed, while readers read.
func (r *rebuildRace) run(kills int) {
	seed := uint64(time.Now().UnixNano())
	r.t.Logf("seed %d", seed)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); r.readers(stop) }()
	k := newKiller(r.t, rand.New(rand.NewPCG(seed, 1)))
	for n := 0; (k.done < kills || !r.heard()) && !r.t.Failed(); n++ {
		r.use(n % 2)
		k.run(r.rebuild()...)
	}
	close(stop)
	<-ended
	r.t.Logf("%d kills (%d runs were faster); answers %v, %d to be run again", k.done, k.faster, r.answers, r.again)
	for _, n := range []int{1, 0, 1} {
		r.use(n)
		expect(r.t, exitOK, nil, r.rebuild()...)
		if got := r.read(); !maps.Equal(got, r.states[n]) {
			r.t.Errorf("with profile %d: %v\nwant %v", n, got, r.states[n])
		}
		expect(r.t, exitOK, []string{"everything is whole"}, "check", "-c", r.fleet.file)
	}
	expect(r.t, exitOK, []string{"0 fetched"}, "pull", "-c", r.fleet.file)
	if got := r.read(); !maps.Equal(got, r.states[1]) {
		r.t.Errorf("after another pull: %v\nwant %v", got, r.states[1])
	}
}

// heard reports whether every kind of reader has had an answer.
func (r *rebuildRace) heard() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answers["go"] > 0 && r.answers[map[bool]string{true: "by_manifest", false: "by_duckdb"}[r.bucket]] > 0
}

// TestRebuildRaceProof: a profile is corrected, and the rows are rebuilt while
// readers read. Old rows go and new ones come; nobody sees both, or neither, not
// even when the rebuild is killed at random moments.
func TestRebuildRaceProof(t *testing.T) {
	kills := 2
	if proof() {
		kills = 40
	}
	t.Run("directory", func(t *testing.T) { newRebuildRace(t, nil).run(kills) })
	t.Run("store", func(t *testing.T) { newRebuildRace(t, need.S3(t, "", "")).run(kills) })
}
