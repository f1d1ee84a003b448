package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/gen"
	"acctpull/usage"
)

// usageRun brings the usage of a dataset up to date.
func usageRun(t testing.TB, args ...string) []usage.TableReport {
	t.Helper()
	out, errs, code := command(t, append([]string{"--json", "usage"}, args...)...)
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	var got struct{ Tables []usage.TableReport }
	check(t, json.Unmarshal([]byte(out), &got))
	return got.Tables
}

// readings is a query for the usage of a dataset of the generator, as far as it
// can be told without the rules: an object that comes back within an interval
// begins at zero, and each series begins with a reading of which nothing is known.
const readings = `select count(*), count(a), sum(if(fresh, in_profile_octets_forwarded, in_profile_octets_forwarded - a))::varchar from
	(select *, lag(in_profile_octets_forwarded) over w a, coalesce(lag(final) over w, 0) > 0 fresh from read_parquet('%s/combined-service-ingress/v1/*/*.parquet')
	window w as (partition by device, service_id, sap, meter_id, queue_id, sub_record, scope order by interval_end, if(final = 0, 1000, final)))
	where a is not null or fresh is null`

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	files, dataset := filepath.Join(dir, "files"), filepath.Join(dir, "dataset")
	o := gen.TreeOptions{Options: gen.Options{Seed: 3, Objects: 6, Meters: 3, Intervals: 12, Interval: time.Hour, FinalEvery: 5, Idle: -1}, Devices: 2, Files: 5}
	truth, err := gen.Tree(files, o)
	check(t, err)
	late, err := filepath.Glob(filepath.Join(files, "gen-0001", "*.xml.gz"))
	check(t, err)
	slices.Sort(late)
	aside := filepath.Join(dir, filepath.Base(late[2]))
	check(t, os.Rename(late[2], aside))
	expect(t, exitOK, nil, "export", files, "--out", dataset)
	first := usageRun(t, "--dataset", dataset)
	if len(first) != 1 || first[0].Computed != 3 || first[0].GapSeconds == 0 || first[0].Breaks["gap"] == 0 {
		t.Fatalf("%+v", first)
	}
	// A file that comes late closes the gap.
	check(t, os.Rename(aside, late[2]))
	expect(t, exitOK, nil, "export", files, "--out", dataset)
	got := usageRun(t, "--dataset", dataset)
	if got[0].Rows != truth.Records || got[0].GapSeconds != 0 || got[0].Breaks["gap"] != 0 || got[0].Breaks["final"] == 0 {
		t.Fatalf("%+v, generated %d", got, truth.Records)
	}
	for _, r := range usageRun(t, "--data", dataset, "--table", "combined-service-ingress-usage") {
		if r.Computed != 0 || r.Unchanged != 3 {
			t.Errorf("once more: %+v", r)
		}
	}
	want := duck(t, fmt.Sprintf(readings, dataset))[0]
	have := duck(t, fmt.Sprintf(`select count(*), count(interval_seconds), sum(in_profile_octets_forwarded)::varchar from read_parquet('%s/combined-service-ingress-usage/v1/*/*.parquet') where "break" is distinct from 'first'`, dataset))[0]
	if !slices.Equal(have, want) {
		t.Errorf("usage has %v, the readings say %v", have, want)
	}
	expect(t, exitOK, []string{"COMPUTED", "combined-service-ingress-usage", "first ", "0s"}, "usage", "--dataset", dataset)
	expect(t, exitOK, []string{"no records with counters"}, "usage", "--dataset", dataset, "--table", "service-egress-octets")
}

func TestUsageRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{}, {"--dataset", dir, "--data", dir}, {"--dataset", filepath.Join(dir, "none")}, {"--dataset", dir, "--table", "wat"}, {"--dataset", dir, "--table", "unknown-records"},
		{"--dataset", dir, "--from", "2026-13-01"}, {"--dataset", dir, "--from", "2026-11-02", "--to", "2026-11-01"},
		{"--dataset", dir, "--counter32", "edge-1=3"}, {"--dataset", dir, "--counter32", "edge-1:wat=3"}, {"--dataset", dir, "--counter32", "edge-1:packets_dropped=0"},
	} {
		if _, errs, code := command(t, append([]string{"usage"}, args...)...); code != exitUsage || errs == "" {
			t.Errorf("%s: exit code %d, %s", strings.Join(args, " "), code, errs)
		}
	}
	expect(t, exitOK, []string{"no records"}, "usage", "--dataset", dir, "--counter32", "cpe:7:packets_dropped=3000000")
}

// TestKillUsage kills the making of usage at random moments. Every day has its
// rows once after each kill: those from before or those from after. Each run
// makes every day anew, because it declares another counter that nobody has.
func TestKillUsage(t *testing.T) {
	kills := 5
	if proof() {
		kills = 40
	}
	dir := t.TempDir()
	files, dataset := filepath.Join(dir, "files"), filepath.Join(dir, "dataset")
	_, err := gen.Tree(files, gen.TreeOptions{Options: gen.Options{Seed: 4, Objects: 30, Intervals: 24, Interval: time.Hour, FinalEvery: 5}, Devices: 2, Files: 3})
	check(t, err)
	expect(t, exitOK, nil, "export", files, "--out", dataset)
	usageRun(t, "--dataset", dataset)
	figures := func() []string {
		return duck(t, fmt.Sprintf(`select count(*), count("break"), sum(interval_seconds)::varchar, sum(in_profile_octets_forwarded)::varchar,
			string_agg(distinct "date"::varchar, ' ' order by "date"::varchar) from read_parquet('%s/combined-service-ingress-usage/v1/*/*.parquet', hive_partitioning=true)`, dataset))[0]
	}
	want := figures()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	k := newKiller(t, rand.New(rand.NewPCG(seed, 0)))
	for n := 0; k.done < kills; n++ {
		k.run("usage", "--dataset", dataset, "--counter32", fmt.Sprintf("nobody-%d:packets_dropped=1000", n))
		if got := figures(); !slices.Equal(got, want) {
			t.Fatalf("after %d kills: %v, want %v", k.done, got, want)
		}
	}
	if r := usageRun(t, "--dataset", dataset); r[0].Computed == 0 {
		t.Error("nothing was made anew")
	}
	if got := figures(); !slices.Equal(got, want) {
		t.Errorf("at the end: %v, want %v", got, want)
	}
	expect(t, exitOK, []string{"everything is whole"}, "check", "--data", dataset)
}
