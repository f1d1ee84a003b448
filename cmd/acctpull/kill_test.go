package main

import (
	"errors"
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
)

// feed writes accounting files into the device's act/ as the device would:
// complete under another name, then renamed.
type feed struct {
	t     testing.TB
	g     *gen.Generator
	dir   string
	truth gen.Truth
}

func newFeed(t testing.TB, dir string, o gen.Options) *feed {
	g, err := gen.New(o)
	check(t, err)
	return &feed{t: t, g: g, dir: dir}
}

func (f *feed) add(n int) {
	f.t.Helper()
	for range n {
		o := f.g.Options()
		name := gen.FileName(o.Policy, o.FileID, f.g.Now())
		part := filepath.Join(filepath.Dir(f.dir), name)
		file, err := os.Create(part)
		check(f.t, err)
		truth, err := f.g.WriteFile(file)
		check(f.t, err)
		check(f.t, file.Close())
		check(f.t, os.Rename(part, filepath.Join(f.dir, name)))
		f.truth.Add(truth)
	}
}

// everyRecordOnce compares the dataset with what was generated, by DuckDB.
func everyRecordOnce(t testing.TB, dataset string, truth gen.Truth) {
	t.Helper()
	from := fmt.Sprintf("read_parquet('%s/*/v1/date=*/*.parquet', hive_partitioning=true, union_by_name=true)", dataset)
	columns := slices.Sorted(maps.Keys(truth.Sums))
	query := "select count(*), count(distinct (device, sub_record, scope, service_id, sap, queue_id, interval_end, final))"
	want := []string{strconv.FormatInt(truth.Records, 10), strconv.FormatInt(truth.Records, 10)}
	for _, c := range columns {
		query += ", coalesce(sum(" + c + "), 0)::varchar"
		want = append(want, truth.Sums[c].String())
	}
	got := duck(t, query+" from "+from)[0]
	if !slices.Equal(got, want) {
		t.Fatalf("rows, distinct rows and sums of %v\nin the dataset: %v\ngenerated:      %v", columns, got, want)
	}
}

// killer kills the program at random moments. The moment lies anywhere in a run:
// how long one takes is learned from those that were faster than their kill.
type killer struct {
	t            *testing.T
	exe          string
	rng          *rand.Rand
	bound        time.Duration
	done, faster int // runs that were killed, and that ended before
}

func newKiller(t *testing.T, rng *rand.Rand) *killer {
	return &killer{t: t, exe: program(t), rng: rng, bound: 2 * time.Second}
}

// run runs the program once. That it ends by itself with an error is none of our
// doing.
func (k *killer) run(args ...string) {
	k.t.Helper()
	var output buffer
	cmd := exec.Command(k.exe, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	began := time.Now()
	check(k.t, cmd.Start())
	timer := time.AfterFunc(time.Duration(k.rng.Int64N(int64(k.bound))), func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	timer.Stop()
	switch {
	case err == nil:
		k.faster++
		k.bound = time.Since(began)
	case cmd.ProcessState.Exited():
		k.t.Fatalf("a restart after a kill ended with %v:\n%s", err, output.String())
	default:
		k.done++
		k.bound += k.bound / 20
	}
}

// TestKillPull kills a pull that exports, at random moments, while the device
// goes on writing files. One clean run later every record is there once.
func TestKillPull(t *testing.T) {
	kills, perKill, first := 12, 8, 64
	if proof() {
		kills, perKill, first = 300, 12, 400
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	d := newDevice(t, nil)
	out := filepath.Join(t.TempDir(), "data")
	f := newFeed(t, d.act, gen.Options{Seed: seed, Objects: 3, Meters: 2, Intervals: 2})
	f.add(first)
	exe := program(t)
	args := d.pullArgs(out)

	k := newKiller(t, rng)
	for k.done < kills {
		f.add(perKill)
		k.run(args...)
		noTornFile(t, out)
	}
	if b, err := exec.Command(exe, args...).CombinedOutput(); err != nil {
		t.Fatalf("the clean run: %v\n%s", err, b)
	}
	t.Logf("%d kills (%d runs were faster), %d files, %d records", k.done, k.faster, f.truth.Files, f.truth.Records)
	everyRecordOnce(t, filepath.Join(out, "dataset"), f.truth)
	left, err := filepath.Glob(filepath.Join(out, "devices", "*", "act-collect", "*"))
	check(t, err)
	staged, err := filepath.Glob(filepath.Join(out, "dataset", ".staging", "*"))
	check(t, err)
	if len(left)+len(staged) > 0 {
		t.Errorf("left behind: %d files in act-collect, %d in staging, for example %s", len(left), len(staged), append(left, staged...)[0])
	}
}

// noTornFile looks at what is visible right after a kill: every file in act/
// ends with the CRC and size of gzip, every Parquet file with its magic.
func noTornFile(t testing.TB, out string) {
	t.Helper()
	err := filepath.WalkDir(out, func(path string, e os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // killed before there was anything
		}
		if err != nil || e.IsDir() {
			return err
		}
		if strings.HasSuffix(path, ".parquet") && !strings.Contains(path, ".staging") {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if len(b) < 12 || string(b[:4]) != "PAR1" || string(b[len(b)-4:]) != "PAR1" {
				t.Errorf("torn Parquet file %s (%d bytes)", path, len(b))
			}
		}
		return nil
	})
	check(t, err)
}
