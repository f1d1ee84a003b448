package policy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memoryChild is set in the process whose memory is measured.
const memoryChild = "ACCTPULL_TEST_COLLECT_MEMORY"

// manyObjects is a configuration of so many SAPs, all in one policy.
func manyObjects(dir string, n int) Config {
	c := Config{
		Source:   SourceConfig{Kind: SourceSynthetic, Seed: 1, Idle: 50},
		FileIDs:  []FileID{{ID: 11, Location: dir}},
		Policies: []AccountingPolicy{{ID: 10, Record: "complete-service-ingress-egress", To: 11, Default: true}},
		Objects:  make([]Object, n),
	}
	for i := range c.Objects {
		c.Objects[i] = Object{Type: Access, ID: fmt.Sprintf("1/1/%d:%d", i/4096, i%4096), Service: fmt.Sprint(1000 + i/20), CollectStats: true, Meters: 2, EgressMeters: 1}
	}
	return c
}

// Two intervals of 100,000 objects with 16 counters each, in 5 records per
// object: a process that does nothing else, and has given back what it took to
// check the configuration, stays below 64 MiB, the configuration included.
func TestMemoryOfManyObjects(t *testing.T) {
	if dir := os.Getenv(memoryChild); dir != "" {
		collectMany(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryOfManyObjects$", "-test.v")
	cmd.Env = append(os.Environ(), memoryChild+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, after, ok := strings.Cut(string(out), "peak KiB: ")
	number, _, _ := strings.Cut(after, "\n")
	kib, err := strconv.Atoi(strings.TrimSpace(number))
	if !ok || err != nil {
		t.Fatalf("no figure in %s", out)
	}
	t.Logf("peak of the whole process: %.1f MiB", float64(kib)/1024)
	if kib > 64<<10 && !raceEnabled {
		t.Errorf("100,000 objects take %d KiB, more than 64 MiB", kib)
	}
}

func collectMany(t *testing.T, dir string) {
	const objects = 100_000
	set, err := New(manyObjects(dir, objects))
	if err != nil {
		t.Fatal(err)
	}
	source, err := NewSource(set)
	if err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak begins now
		t.Fatal(err)
	}
	col, err := NewCollector(Options{Set: set, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 2 {
		iv, err := col.Collect(context.Background(), 10, now.Add(time.Duration(i)*5*time.Minute))
		if err != nil || iv.Records != 5*objects {
			t.Fatalf("%+v: %v", iv, err)
		}
	}
	if err := col.Close(); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Printf("peak KiB: %s\n", strings.TrimSuffix(strings.TrimSpace(strings.Split(after, "\n")[0]), " kB"))
}
