package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/internal/gen"
	"acctpull/internal/powercut"
	"acctpull/ledger"
)

// crashEnv makes the test binary a child that exports the raw files below a
// directory, batch after batch, until all are in the dataset.
const crashEnv = "ACCTPULL_EXPORT_CRASH"

// crashChild is what the child does: what acctpull export does.
func crashChild(dir string) (err error) {
	ctx := context.Background()
	lock, err := durable.AcquireLock(filepath.Join(dir, "lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	l, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	x, err := crashExporter(dir)
	if err != nil {
		return err
	}
	if _, err := x.RemoveLeftovers(); err != nil {
		return err
	}
	inputs, err := rawInputs(dir)
	if err != nil {
		return err
	}
	if _, err := l.AddLocal(ctx, time.Now(), inputs); err != nil {
		return err
	}
	for {
		batch, more, err := l.PlanBatch(ctx, time.Now(), "exporter", time.Hour, 7, 1<<30)
		if err != nil || !more {
			return err
		}
		res, err := x.Run(ctx, batch)
		if err != nil {
			return err
		}
		if err := l.FinishBatch(ctx, time.Now(), batch.BatchClaim, res.Outputs, res.Inputs); err != nil {
			return err
		}
	}
}

func crashExporter(dir string) (*Exporter, error) {
	return New(Options{
		Dataset: filepath.Join(dir, "dataset"), Quarantine: filepath.Join(dir, "quarantine"), Memory: 100_000,
		Open: func(in ledger.Input) (io.ReadCloser, error) { return os.Open(in.Stored) },
	})
}

// rawInputs are the files below dir/raw.
func rawInputs(dir string) ([]ledger.Input, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "raw", "*", "*.gz"))
	if err != nil {
		return nil, err
	}
	var inputs []ledger.Input
	for _, p := range paths {
		sum, size, err := durable.Sum(p)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, ledger.Input{Device: filepath.Base(filepath.Dir(p)), Name: filepath.Base(p), SHA256: sum, Stored: p, Size: size})
	}
	return inputs, nil
}

// rawTree makes small files of several devices.
func rawTree(t testing.TB, dir string, devices, files int) gen.Truth {
	t.Helper()
	truth, err := gen.Tree(filepath.Join(dir, "raw"), gen.TreeOptions{
		Options: gen.Options{Objects: 12, Intervals: 4, Start: noon.Add(8 * time.Hour), FinalEvery: 3}, Devices: devices, Files: files,
	})
	if err != nil {
		t.Fatal(err)
	}
	return truth
}

// checkOnce asks DuckDB whether every generated record is there exactly once.
// No two records of a device are alike in keys, interval end and final.
func checkOnce(t testing.TB, dataset string, truth gen.Truth) {
	t.Helper()
	const key = "(device, service_id, sap, meter_id, queue_id, sub_record, interval_end, final)"
	wantDuck(t, dataset, map[string]string{
		"SELECT count(*) || ' ' || count(DISTINCT " + key + ") FROM combined_service_ingress": fmt.Sprint(truth.Records, " ", truth.Records),
		"SELECT sum(in_profile_octets_forwarded) FROM combined_service_ingress":               truth.Sums["in_profile_octets_forwarded"].String(),
		"SELECT count(DISTINCT source_sha256) FROM combined_service_ingress":                  fmt.Sprint(truth.Files),
	})
}

// Killed at random moments and started again, the exporter publishes every
// record exactly once, and at no moment is there a file that is not whole: C4,
// C8, X11.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	truth := rawTree(t, dir, 4, proofScale(20, 500))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	start := time.Now()
	if err := crashChild(cloneRaw(t, dir)); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start) + 50*time.Millisecond
	kills, shorter := proofScale(12, 300), int64(proofScale(4, 12))
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashEnv+"="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rng.Int64N(int64(whole) / shorter))
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // killed, or done
		timer.Stop()
		for _, p := range published(t, filepath.Join(dir, "dataset")) {
			if strings.HasSuffix(p, ".parquet") {
				readSourcesOf(t, filepath.Join(dir, "dataset"), p)
			}
		}
	}
	if err := crashChild(dir); err != nil {
		t.Fatal(err)
	}
	for _, p := range published(t, filepath.Join(dir, "dataset")) {
		if !strings.HasSuffix(p, ".parquet") {
			t.Errorf("left: %s", p)
		}
	}
	checkOnce(t, filepath.Join(dir, "dataset"), truth)
}

// cloneRaw returns a directory with the same raw files.
func cloneRaw(t testing.TB, dir string) string {
	t.Helper()
	clone := t.TempDir()
	if err := os.CopyFS(filepath.Join(clone, "raw"), os.DirFS(filepath.Join(dir, "raw"))); err != nil {
		t.Fatal(err)
	}
	return clone
}

// readSourcesOf fails unless the published file is whole.
func readSourcesOf(t testing.TB, dataset, rel string) {
	t.Helper()
	if err := readSources(t.Context(), map[string]*batchReader{}, depot.NewDir(dataset), rel); err != nil {
		t.Fatal(err)
	}
}

// Power cuts at random moments, with another program's fsync all the time: what
// was reported as published is there and right, what is visible is whole, and
// after the batches were run again every record is there once: C4, C5.
func TestPowerCut(t *testing.T) {
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			disk := powercut.New(t, fsType)
			raw := t.TempDir()
			truth := rawTree(t, raw, 2, 6)
			inputs, err := rawInputs(raw)
			if err != nil {
				t.Fatal(err)
			}
			var batches []ledger.Batch
			for len(inputs) > 0 {
				batches = append(batches, batchOf(inputs[:3]...))
				inputs = inputs[3:]
			}
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			start := time.Now()
			if err := runAll(disk.Dir, batches, nil); err != nil {
				t.Fatal(err)
			}
			whole := time.Since(start)
			for range proofScale(4, 100) {
				disk.Fresh()
				disk.Noise()
				var cutErr error
				done := make(chan struct{})
				timer := time.AfterFunc(time.Duration(rng.Int64N(int64(whole))), func() { cutErr = disk.Cut(); close(done) })
				var claimed []ledger.Output
				err := runAll(disk.Dir, batches, &claimed)
				if !timer.Stop() {
					<-done
				}
				if cutErr != nil {
					t.Fatal(cutErr)
				}
				if err != nil && claimed == nil {
					t.Logf("cut before the first batch: %v", err)
				}
				disk.Remount()
				checkClaims(t, disk.Dir, claimed)
				if err := runAll(disk.Dir, batches, nil); err != nil {
					t.Fatal(err)
				}
				checkWhole(t, disk.Dir, truth)
			}
			checkOnce(t, filepath.Join(disk.Dir, "dataset"), truth)
		})
	}
}

// runAll runs every batch and notes what was reported.
func runAll(dir string, batches []ledger.Batch, claimed *[]ledger.Output) error {
	x, err := crashExporter(dir)
	if err != nil {
		return err
	}
	if _, err := x.RemoveLeftovers(); err != nil {
		return err
	}
	for _, b := range batches {
		res, err := x.Run(context.Background(), b)
		if err != nil {
			return err
		}
		if claimed != nil {
			*claimed = append(*claimed, res.Outputs...)
		}
	}
	return nil
}

// checkClaims fails if something that was reported is not there, or something
// that is there is not whole.
func checkClaims(t *testing.T, dir string, claimed []ledger.Output) {
	t.Helper()
	dataset := filepath.Join(dir, "dataset")
	for _, o := range claimed {
		sum, _, err := durable.Sum(filepath.Join(dataset, o.Path))
		if err != nil || sum != o.SHA256 {
			t.Fatalf("claimed %s: %v %s, want %s", o.Path, err, sum, o.SHA256)
		}
	}
	for _, p := range published(t, dataset) {
		if strings.HasSuffix(p, ".parquet") {
			readSourcesOf(t, dataset, p)
		}
	}
}

// checkWhole fails unless the dataset tells of every record and of nothing
// twice.
func checkWhole(t *testing.T, dir string, truth gen.Truth) {
	t.Helper()
	batches, err := Sources(t.Context(), depot.NewDir(filepath.Join(dir, "dataset")))
	if err != nil {
		t.Fatal(err)
	}
	records, files := int64(0), map[string]bool{}
	for _, b := range batches {
		if len(b.Missing) > 0 {
			t.Fatalf("batch %s misses %v", b.ID, b.Missing)
		}
		for _, s := range b.Sources {
			records += s.Records
			if k := s.Device + " " + s.SHA256; files[k] {
				t.Fatalf("%s is in two batches", k)
			} else {
				files[k] = true
			}
		}
	}
	if records != truth.Records || len(files) != truth.Files {
		t.Fatalf("%d records of %d files, want %d of %d", records, len(files), truth.Records, truth.Files)
	}
}
