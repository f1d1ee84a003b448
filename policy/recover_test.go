package policy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"acctpull/rollover"
)

// leaveOpen collects one interval of a policy and goes without closing the file,
// as a crash does.
func leaveOpen(t *testing.T, location string, policy, file int, at time.Time) {
	t.Helper()
	if _, err := oneSAP(t, location, policy, file, Hooks{}).Collect(context.Background(), policy, at); err != nil {
		t.Fatal(err)
	}
}

func oneSAP(t *testing.T, location string, policy, file int, hooks Hooks) *Collector {
	t.Helper()
	set, err := New(Config{
		Source:   SourceConfig{Kind: SourceSynthetic},
		FileIDs:  []FileID{{ID: file, Location: location}},
		Policies: []AccountingPolicy{{ID: policy, Record: "service-egress-octets", To: Destination(file), Default: true}},
		Objects:  []Object{{Type: Access, ID: "1/1/1:1", Service: "1", CollectStats: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCollector(Options{Set: set, Source: &Synthetic{}, Hooks: hooks})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What an earlier run left is sealed, also that of a policy that is not
// configured any more.
func TestRecoverSealsEverything(t *testing.T) {
	location, at := t.TempDir(), time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	leaveOpen(t, location, 10, 11, at)
	leaveOpen(t, location, 77, 78, at)
	var told []rollover.Recovered
	var sealed []string
	c := oneSAP(t, location, 10, 11, Hooks{
		OnRecovered: func(r rollover.Recovered, err error) { told = append(told, r) },
		OnFile:      func(f rollover.File) { sealed = append(sealed, f.Name.String()) },
	})
	r, err := c.Recover(at.Add(time.Hour))
	if err != nil || len(r.Sealed) != 2 || len(told) != 1 || len(told[0].Sealed) != 2 || len(sealed) != 2 {
		t.Fatalf("recovered %+v, %v; hooks %+v %v", r, err, told, sealed)
	}
	if again, err := c.Recover(at.Add(time.Hour)); err != nil || len(again.Sealed) != 0 {
		t.Errorf("the second time: %+v, %v", again, err)
	}
	// A file of the same second gets another name.
	if _, err := c.Collect(context.Background(), 10, at); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	if len(sealed) != 3 || sealed[2] == sealed[0] || sealed[2] == sealed[1] {
		t.Errorf("sealed %v", sealed)
	}
}

// A policy recovers its own file if nobody did before.
func TestCollectWithoutRecover(t *testing.T) {
	location, at := t.TempDir(), time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	leaveOpen(t, location, 10, 11, at)
	c := oneSAP(t, location, 10, 11, Hooks{})
	iv, err := c.Collect(context.Background(), 10, at.Add(5*time.Minute))
	if err != nil || iv.Records != 1 || iv.File.Name.String() != "act1011-20260102-030500.xml.gz" {
		t.Fatalf("%+v, %v", iv, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(filepath.Join(location, ArchiveDir)); err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestCollectorOptions(t *testing.T) {
	set, err := New(Config{Source: SourceConfig{Kind: SourceSynthetic}})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {Set: set}, {Set: set, Source: &Synthetic{}, Minute: -1}} {
		if _, err := NewCollector(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	// A set without a policy runs until it is stopped.
	c, err := NewCollector(Options{Set: set, Source: &Synthetic{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	// Errors name the policy and pass on the hint of what is below.
	var failed *Error
	broken := filepath.Join(t.TempDir(), "flash")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = oneSAP(t, broken, 10, 11, Hooks{}).Collect(context.Background(), 10, time.Now())
	if !errors.As(err, &failed) || failed.Policy != 10 {
		t.Errorf("a file for a location: %v", err)
	}
}

func TestErrorHint(t *testing.T) {
	full := &Error{Op: "collect", Policy: 10, Err: &rollover.Error{Op: "commit entry", Err: syscall.ENOSPC}}
	if full.Hint() == "" || !errors.Is(full, syscall.ENOSPC) {
		t.Errorf("%v: hint %q", full, full.Hint())
	}
	if none := (&Error{Op: "collect", Err: ErrUnfinished}); none.Hint() != "" {
		t.Errorf("%v: hint %q", none, none.Hint())
	}
}

// The state can be looked at from a hook, in the middle of a collection.
func TestStatusFromHook(t *testing.T) {
	var c *Collector
	var seen []Status
	c = oneSAP(t, t.TempDir(), 10, 11, Hooks{OnInterval: func(Interval) { seen = c.Status() }})
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	if _, err := c.Collect(context.Background(), 10, at); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || !seen[0].Up || seen[0].Objects != 1 || !seen[0].Last.End.Equal(at) {
		t.Errorf("%+v", seen)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// A shortened minute shortens intervals and rollover alike.
func TestMinute(t *testing.T) {
	location := t.TempDir()
	c := oneSAP(t, location, 10, 11, Hooks{})
	c.o.Minute = 10 * time.Millisecond
	if sched, _ := c.workers[0].schedule(); sched.interval != 50*time.Millisecond || c.lasts(1440*time.Minute) != 14400*time.Millisecond {
		t.Errorf("interval %v, rollover %v", sched.interval, c.lasts(1440*time.Minute))
	}
}
