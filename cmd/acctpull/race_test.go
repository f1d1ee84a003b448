package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/internal/depot/objectstore"
	"acctpull/internal/durable"
	"acctpull/internal/gen"
	"acctpull/internal/need"
	"acctpull/ledger"
)

// raceEnv makes the test binary a compactor that goes on until it is killed.
const raceEnv = "ACCTPULL_TEST_RACE"

// raceConfig is what it is told.
type raceConfig struct {
	Dir     string              // the dataset is below it, unless
	Store   *objectstore.Config // this is set
	Ledger  string
	Staging string
	Seed    uint64
	Grace   time.Duration
}

func (c *raceConfig) dataset() (depot.Depot, error) {
	if c.Store == nil {
		return depot.NewDir(filepath.Join(c.Dir, "dataset")), nil
	}
	s, err := objectstore.New(*c.Store)
	if err != nil {
		return nil, err
	}
	return depot.Sub(s, "dataset"), nil
}

// testCompactor replaces some files of some day by one, again and again, and
// prints a line each time.
func testCompactor(text string) int {
	if err := compactForever(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func compactForever(text string) error {
	var c raceConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	ctx, rng := context.Background(), rand.New(rand.NewPCG(c.Seed, 0))
	dataset, err := c.dataset()
	if err != nil {
		return err
	}
	l, err := ledger.Open(ctx, c.Ledger)
	if err != nil {
		return err
	}
	if _, err := durable.RemoveLeftovers(c.Staging); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for n := 0; ; n++ {
		if n%20 == 10 {
			if _, err := export.CleanReplaced(ctx, dataset, time.Now(), c.Grace); err != nil {
				return err
			}
		}
		done, err := compactSome(ctx, dataset, l, c.Staging, rng)
		switch {
		case errors.Is(err, export.ErrStale), errors.Is(err, fs.ErrNotExist):
			continue // the other one was faster
		case err != nil:
			return err
		case done:
			fmt.Println("done")
		}
	}
}

// compactSome replaces some files of one day.
func compactSome(ctx context.Context, dataset depot.Depot, l *ledger.Ledger, staging string, rng *rand.Rand) (bool, error) {
	outputs, err := l.Outputs(ctx, "")
	if err != nil {
		return false, err
	}
	known := map[string]ledger.Output{}
	for _, o := range outputs {
		known[o.Path] = o
	}
	s, err := export.ReadSnapshot(ctx, dataset)
	if err != nil || len(s.Files) == 0 {
		return false, err
	}
	day := path.Dir(s.Files[rng.IntN(len(s.Files))].Path)
	var files, old []string
	for _, f := range s.Files {
		if path.Dir(f.Path) == day {
			files = append(files, f.Path)
		}
	}
	if old, err = export.Unmade(ctx, dataset, files); err != nil {
		return false, err
	}
	files = slices.DeleteFunc(files, func(p string) bool { return slices.Contains(old, p) && known[p].Path == "" })
	if len(files) == 0 {
		return false, nil
	}
	if rng.IntN(2) == 0 {
		return compactDay(ctx, export.CompactOptions{Dataset: dataset, Staging: staging, Now: time.Now(),
			Tables: []string{s.Files[0].Table}, Days: []string{strings.TrimPrefix(path.Base(day), "date=")},
			Finished: func(p string) (ledger.Output, bool) { o, ok := known[p]; return o, ok }})
	}
	rng.Shuffle(len(files), func(i, k int) { files[i], files[k] = files[k], files[i] })
	if rng.IntN(4) > 0 {
		files = files[:1+rng.IntN(len(files))]
	}
	f, err := mergeFiles(ctx, dataset, staging, files)
	if err != nil {
		return false, err
	}
	err = export.Replace(ctx, dataset, export.Change{Reason: export.ReasonCompact, Remove: files, Add: []depot.File{f}},
		export.ReplaceOptions{Finished: func(p string) (ledger.Output, bool) { o, ok := known[p]; return o, ok }, Now: time.Now()})
	return err == nil, errors.Join(err, os.Remove(f.Local))
}

// compactDay compacts a day as acctpull compact does; done is false if there was
// nothing to do.
func compactDay(ctx context.Context, o export.CompactOptions) (done bool, err error) {
	res, err := export.Compact(ctx, o)
	for _, d := range res.Days {
		done, err = done || len(d.Outputs) > 0, errors.Join(err, d.Err)
	}
	return done && err == nil, err
}

// raceTruth is what the dataset was when: batch by batch, each of one day.
type raceTruth struct {
	mu      sync.Mutex
	batches []raceBatch
}

type raceBatch struct {
	date        string
	rows        int64
	sum         *big.Int
	begun, done int64 // nanoseconds of the monotonic clock; done is 0 before
}

// raceAnswer is what a reader said: rows and sum by date, or an error.
type raceAnswer struct {
	Engine string                     `json:"engine"`
	Begun  int64                      `json:"begun"`
	Done   int64                      `json:"done"`
	Days   map[string][2]*json.Number `json:"days"`
	Error  string                     `json:"error"`
}

// right tells whether an answer was the truth at some moment of the query: of the
// whole dataset, or where each day changes by itself, of each day.
func (r *raceTruth) right(a raceAnswer, whole bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	dates := map[string]bool{}
	for _, b := range r.batches {
		dates[b.date] = true
	}
	for d := range a.Days {
		if !dates[d] {
			return false
		}
	}
	if whole {
		return r.prefix(a, func(string) bool { return true })
	}
	for d := range dates {
		if !r.prefix(a, func(date string) bool { return date == d }) {
			return false
		}
	}
	return true
}

// prefix tells whether the answer has, for the days that count, the sums of a
// number of batches that were all that were published at some moment of it.
func (r *raceTruth) prefix(a raceAnswer, counts func(date string) bool) bool {
	rows, sums := map[string]int64{}, map[string]*big.Int{}
	fits := func() bool {
		for date, n := range rows {
			got, ok := a.Days[date]
			if !ok || got[0].String() != fmt.Sprint(n) || got[1].String() != sums[date].String() {
				return false
			}
		}
		for date := range a.Days {
			if _, ok := rows[date]; counts(date) && !ok {
				return false
			}
		}
		return true
	}
	for _, b := range r.batches {
		if !counts(b.date) {
			continue
		}
		if b.done == 0 || b.done > a.Begun {
			if fits() {
				return true
			}
			if b.begun > a.Done {
				return false
			}
		}
		if sums[b.date] == nil {
			sums[b.date] = new(big.Int)
		}
		rows[b.date] += b.rows
		sums[b.date].Add(sums[b.date], b.sum)
	}
	return fits()
}

// raceReader reads the dataset in a loop, each time with another engine, until
// its input ends.
const raceReader = `import sys, json, time, threading
config = json.loads(sys.argv[1])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
COUNTER = "in_profile_octets_forwarded"
import glob, pyarrow.dataset as ds, pyarrow.compute as pc
# Names as a directory lists them. The patterns of DuckDB and pyarrow look each
# name up once more, and leave out in silence one that is gone by then.
listed = lambda: sorted(glob.glob(config["table"] + "/*/*.parquet"))
def add(days, date, table):
    n, s = days.get(date, (0, 0))
    days[date] = (n + table.num_rows, s + sum(v for v in table.column(COUNTER).to_pylist() if v is not None))
def by_pyarrow():
    days = {}
    table = ds.dataset(listed(), format="parquet", partitioning="hive").to_table(columns=["date", COUNTER])
    for date in set(table.column("date").to_pylist()):
        add(days, str(date), table.filter(pc.field("date") == date))
    return days
def by_duckdb():
    import duckdb
    rows = duckdb.sql(f"select date::varchar, count(*), sum({COUNTER}) from read_parquet({listed()}, hive_partitioning=true) group by 1").fetchall()
    return {d: (n, int(s)) for d, n, s in rows}
def by_manifest():
    read = lambda p: json.loads(s3.open_input_file(config["root"] + "/" + p).read())
    newest = max(e.base_name for e in s3.get_file_info(fs.FileSelector(config["root"] + "/manifest")))
    files = [f for p in read("manifest/" + newest)["pages"] for f in read(p["path"])["files"]]
    days = {}
    for date in {f["date"] for f in files}:
        add(days, date, ds.dataset([config["root"] + "/" + f["path"] for f in files if f["date"] == date], filesystem=s3, format="parquet").to_table(columns=[COUNTER]))
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
    answer = {"engine": engine.__name__, "begun": time.clock_gettime_ns(time.CLOCK_MONOTONIC)}
    try:
        answer["days"] = {d: list(v) for d, v in engine().items()}
    except Exception as e:
        answer["error"] = type(e).__name__ + ": " + str(e)
    answer["done"] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    print(json.dumps(answer), flush=True)
`

func monotonic(t testing.TB) int64 {
	t.Helper()
	var ts unix.Timespec
	check(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano()
}

// race is one run of the race.
type race struct {
	t       *testing.T
	config  raceConfig
	reader  map[string]string // what the reader is told
	truth   raceTruth
	x       *export.Exporter
	l       *ledger.Ledger
	raw     string
	rng     *rand.Rand
	wrong   int
	answers map[string]int
	again   int // errors that say: run it again
	inARow  int
	most    int // of them one after the other
	first   chan struct{}
	started func() // closes first
}

// export adds one batch of one day, with known rows. Now and then an exporter
// that lost its lease long ago comes back with a batch of the past.
func (r *race) export(n int, past *[]ledger.Batch) {
	day := time.Date(2026, 3, 4+n%3, 12, 0, 0, 0, time.UTC)
	name := filepath.Join(r.raw, fmt.Sprintf("act1011-%s-%06d.xml.gz", day.Format("20060102"), n))
	f, err := os.Create(name)
	check(r.t, err)
	truth, err := gen.File(f, gen.Options{Seed: uint64(n), Objects: 3, Intervals: 2, Start: day.Add(time.Duration(n%600) * time.Minute), Idle: -1, Device: "dut"})
	check(r.t, errors.Join(err, f.Close()))
	sum, size, err := durable.Sum(name)
	check(r.t, err)
	_, err = r.l.AddLocal(r.t.Context(), time.Now(), []ledger.Input{{Device: "dut", Name: filepath.Base(name), SHA256: sum, Stored: name, Size: size}})
	check(r.t, err)
	batch, ok, err := r.l.PlanBatch(r.t.Context(), time.Now(), "exporter", time.Hour, 10, 0)
	if check(r.t, err); !ok || len(batch.Inputs) != 1 {
		r.t.Fatalf("batch %+v", batch)
	}
	octets := truth.Sums["in_profile_octets_forwarded"]
	b := raceBatch{date: day.Format(time.DateOnly), rows: truth.Records, sum: octets, begun: monotonic(r.t)}
	r.truth.mu.Lock()
	r.truth.batches = append(r.truth.batches, b)
	r.truth.mu.Unlock()
	res, err := r.x.Run(r.t.Context(), batch)
	check(r.t, err)
	if len(res.Outputs) != 1 {
		r.t.Fatalf("outputs %+v", res.Outputs)
	}
	r.truth.mu.Lock()
	r.truth.batches[len(r.truth.batches)-1].done = monotonic(r.t)
	r.truth.mu.Unlock()
	check(r.t, r.l.FinishBatch(r.t.Context(), time.Now(), batch.BatchClaim, res.Outputs, res.Inputs))
	*past = append(*past, batch)
	if r.rng.IntN(5) == 0 {
		_, err := r.x.Run(r.t.Context(), (*past)[r.rng.IntN(len(*past))])
		check(r.t, err)
	}
}

// read runs the reader and judges what it says until stop is closed.
func (r *race) read(stop <-chan struct{}) {
	told, err := json.Marshal(r.reader)
	check(r.t, err)
	cmd := exec.Command(duckPython, "-c", raceReader, string(told))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(r.t, err)
	out, err := cmd.StdoutPipe()
	check(r.t, err)
	check(r.t, cmd.Start())
	go func() { <-stop; _ = in.Close() }()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a raceAnswer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			r.t.Errorf("%v: %s", err, lines.Text())
			break
		}
		r.judge(a)
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		r.t.Error(err)
	}
}

func (r *race) judge(a raceAnswer) {
	defer r.started()
	switch {
	case a.Error != "" && !strings.Contains(a.Error, "No such file") && !strings.Contains(a.Error, "NoSuchKey") && !strings.Contains(a.Error, "FileNotFound") && !strings.Contains(a.Error, "No files found"):
		r.t.Errorf("%s: %s", a.Engine, a.Error)
	case a.Error != "":
		r.again++
		r.inARow++
		r.most = max(r.most, r.inARow)
	case r.truth.right(a, r.config.Store != nil):
		r.answers[a.Engine]++
		r.inARow = 0
	default:
		r.wrong++
		if text, err := json.Marshal(a); err == nil && r.wrong < 4 {
			r.t.Errorf("a wrong answer: %s", text)
		}
	}
}

// compactor is a process that is killed now and then.
func (r *race) compactor(n int, seed uint64, done chan<- struct{}, stop <-chan struct{}) (kills int) {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	for {
		c := r.config
		c.Staging, c.Seed = filepath.Join(r.config.Staging, fmt.Sprint(n)), rng.Uint64()
		text, err := json.Marshal(c)
		check(r.t, err)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), raceEnv+"="+string(text))
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		check(r.t, err)
		check(r.t, cmd.Start())
		ended, enough := make(chan struct{}), make(chan struct{})
		least := rng.IntN(20) // replacements before it is killed
		go func() {
			defer close(ended)
			if least == 0 {
				close(enough)
			}
			for n, lines := 1, bufio.NewScanner(out); lines.Scan(); n++ {
				if n == least {
					close(enough)
				}
				select {
				case done <- struct{}{}:
				case <-stop:
				}
			}
		}()
		stopped := false
		select {
		case <-enough:
			select {
			case <-time.After(time.Duration(rng.Int64N(int64(300 * time.Millisecond)))):
			case <-stop:
				stopped = true
			}
		case <-stop:
			stopped = true
		case <-ended:
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			r.t.Error(err)
		}
		<-ended
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			r.t.Errorf("compactor: %v\n%s", err, said.String())
			return kills
		}
		if kills++; stopped {
			return kills
		}
	}
}

// run lets them all loose until so many compactions were made.
func (r *race) run(compactions int) {
	seed := rand.Uint64()
	r.t.Logf("seed %d", seed)
	r.rng, r.answers = rand.New(rand.NewPCG(seed, 99)), map[string]int{}
	var past []ledger.Batch
	for n := range 6 {
		r.export(n, &past)
	}
	done, stop := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer end()
	var kills [2]int
	wg.Go(func() { r.read(stop) })
	select {
	case <-r.first: // a reader takes its time to start
	case <-time.After(2 * time.Minute):
		r.t.Error("no answer in two minutes")
	}
	for n := range kills {
		wg.Go(func() { kills[n] = r.compactor(n, seed, done, stop) })
	}
	limit := time.NewTimer(time.Hour)
	defer limit.Stop()
	n := 0
	for ; n < compactions && !r.t.Failed(); n++ {
		select {
		case <-done:
		case <-limit.C:
			r.t.Errorf("only %d compactions in an hour", n)
		}
		if n%8 == 0 {
			r.export(6+n/8, &past)
		}
	}
	end()
	r.t.Logf("%d compactions, %d kills, %d batches; answers %v, %d wrong, %d to be run again, at most %d in a row",
		n, kills[0]+kills[1], len(past), r.answers, r.wrong, r.again, r.most)
	r.end()
}

// end fails unless the readers had answers, and the dataset is whole and tidy.
func (r *race) end() {
	all := 0
	for _, n := range r.answers {
		all += n
	}
	if all == 0 || r.most > 50 || r.config.Store != nil && r.again > 0 {
		r.t.Errorf("answers %v, %d errors", r.answers, r.again)
	}
	dataset, err := r.config.dataset()
	check(r.t, err)
	_, err = export.CleanReplaced(r.t.Context(), dataset, time.Now().Add(time.Second), 0)
	check(r.t, err)
	v, err := export.TakeInventory(r.t.Context(), dataset)
	if check(r.t, err); len(v.Unsound)+len(v.Foreign) > 0 {
		r.t.Errorf("unsound %v, foreign %v", v.Unsound, v.Foreign)
	}
	rows := int64(0)
	for _, f := range v.Files {
		p, err := export.ReadPublished(r.t.Context(), dataset, f.Path)
		check(r.t, err)
		rows += p.Output.Rows
	}
	want := int64(0)
	for _, b := range r.truth.batches {
		want += b.rows
	}
	if rows != want {
		r.t.Errorf("%d rows, exported were %d", rows, want)
	}
}

// newRace prepares exporter and ledger.
func newRace(t *testing.T, store *objectstore.Config) *race {
	t.Helper()
	findDuck(t)
	first := make(chan struct{})
	r := &race{t: t, first: first, started: sync.OnceFunc(func() { close(first) }), config: raceConfig{Dir: t.TempDir(), Store: store, Grace: time.Second}}
	r.raw, r.config.Staging, r.config.Ledger = filepath.Join(r.config.Dir, "raw"), filepath.Join(r.config.Dir, "merge"), filepath.Join(r.config.Dir, "ledger.db")
	if store != nil {
		r.config.Grace = 30 * time.Second // longer than any query
	}
	check(t, os.Mkdir(r.raw, 0o750))
	outputs, err := r.config.dataset()
	check(t, err)
	r.l, err = ledger.Open(t.Context(), r.config.Ledger)
	check(t, err)
	t.Cleanup(func() { check(t, r.l.Close()) })
	r.x, err = export.New(export.Options{
		Dataset: filepath.Join(r.config.Dir, "dataset"), Outputs: outputs, Quarantine: filepath.Join(r.config.Dir, "quarantine"),
		Open: func(in ledger.Input) (io.ReadCloser, error) { return os.Open(in.Stored) },
	})
	check(t, err)
	return r
}

// TestCompactionRaceProof: readers that know nothing of us read the dataset in a
// loop, while two compactors that are killed at random moments replace files
// under them, files are exported, and exporters come back late. Every answer was
// the truth at some moment of the query; an error says that a file is gone, and
// only in a directory. ACCTPULL_RACE is the number of compactions; in a bucket,
// where each takes a second, there are a tenth of them unless it is given.
func TestCompactionRaceProof(t *testing.T) {
	compactions := map[bool]int{false: 40, true: 400}[proof()]
	if n, err := strconv.Atoi(os.Getenv("ACCTPULL_RACE")); err == nil {
		compactions = n
	}
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		r := newRace(t, nil)
		r.reader = map[string]string{"table": filepath.Join(r.config.Dir, "dataset/combined-service-ingress/v1")}
		r.run(compactions)
	})
	t.Run("store", func(t *testing.T) {
		t.Parallel()
		s := need.S3(t, "", "")
		c := objectstore.Config{Bucket: s.Bucket, Prefix: "some/where", Endpoint: "http://" + s.Address, AccessKey: s.AccessKey, SecretKey: s.SecretKey}
		store, err := objectstore.New(c)
		check(t, err)
		check(t, store.Check(t.Context()))
		r := newRace(t, &c)
		r.reader = map[string]string{"address": s.Address, "key": s.AccessKey, "secret": s.SecretKey, "root": s.Bucket + "/some/where/dataset"}
		few := compactions
		if os.Getenv("ACCTPULL_RACE") == "" {
			few /= 10
		}
		r.run(few)
	})
}
