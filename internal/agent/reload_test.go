package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acctpull/event"
	"acctpull/internal/durable"
	"acctpull/policy"
)

const twoPolicies = `
source: {kind: synthetic}
file-ids:
  - {id: 11, location: FLASH, rollover: 60, retention: 1}
  - {id: 12, location: FLASH/second, rollover: 60, retention: 1}
accounting-policies:
  - {id: 10, record: service-egress-octets, to: file 11, default: true}
  - {id: 20, record: service-ingress-octets, to: file 12}
objects:
  saps:
    - {sap: "1/1/1:1", service: 1}
    - {sap: "1/1/1:2", service: 1}
    - {sap: "1/1/1:3", service: 1, accounting-policy: 20}
`

// openFiles lists what is open in a location.
func openFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, policy.CollectDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "act") {
			names = append(names, e.Name())
		}
	}
	return names
}

// The agent takes a new configuration while it runs: what did not change goes
// on in its open file, what is new begins, and locks, sweeps and the recovery of
// new locations follow. Whatever is wrong with a new configuration, the old one
// stays in force, and an event has every mistake.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	second := filepath.Join(dir, "second")
	synctest.Test(t, func(t *testing.T) {
		var events event.Recorder
		a, err := New(Options{Set: load(t, dir, onePolicy), Events: &events, Unguarded: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(12 * time.Minute)
		before := openFiles(t, dir)
		if len(before) != 1 {
			t.Fatalf("open files %q", before)
		}
		reload := func(text string) error {
			return a.Load(ctx, "agent.yaml", []byte(strings.ReplaceAll(text, "FLASH", dir)), time.Now())
		}
		refused := func(what, text string, parts ...string) {
			t.Helper()
			was, n := a.Set(), len(events.Events("configRefused"))
			err := reload(text)
			all := events.Events("configRefused")
			if err == nil || a.Set() != was || len(all) != n+1 {
				t.Fatalf("%s: error %v, %d events, another set: %v", what, err, len(all)-n, a.Set() != was)
			}
			for _, part := range parts {
				if m := all[n].Message; !strings.Contains(m, part) || strings.Contains(m, "\n") {
					t.Errorf("%s: no %q in %q", what, part, m)
				}
			}
			if now := openFiles(t, dir); !slices.Equal(now, before) {
				t.Errorf("%s: open files %q, before %q", what, now, before)
			}
		}
		refused("mistakes", strings.NewReplacer("interval: 5", "interval: 1", "to: file 12", "to: file 11, collection-interval: 1").Replace(twoPolicies),
			"2 mistakes; line 8: accounting-policy 20: collection-interval 1 is outside", "file 11 is that of accounting-policy 10 already", "(accounting-policy 10 is in line 7)")
		refused("no text", "", "agent.yaml", "no accounting policy")
		refused("another source", strings.Replace(twoPolicies, "synthetic", "synthetic, seed: 2", 1), "source")
		refused("half a text", twoPolicies[:len(twoPolicies)/2], "mistake")

		// Another agent works in the new location.
		other, err := durable.AcquireLock(filepath.Join(second, ".acctpull.lock"))
		if err != nil { // the source was refused after the location had been made and locked
			t.Fatalf("a refused configuration keeps its locks: %v", err)
		}
		refused("a locked location", twoPolicies, "second")
		if err := other.Release(); err != nil {
			t.Fatal(err)
		}

		// What an earlier run left in the new location is brought to order.
		left := filepath.Join(second, policy.CollectDir, "act2012-19990101-000000.xml.gz")
		if err := os.MkdirAll(filepath.Dir(left), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(left, nil, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := reload(twoPolicies); err != nil {
			t.Fatal(err)
		}
		if len(a.Set().Plan()) != 2 || len(events.Events("configLoaded")) != 1 {
			t.Errorf("%d policies, events %v", len(a.Set().Plan()), events.Events("configLoaded"))
		}
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what an earlier run left in the new location is there still: %v", err)
		}
		time.Sleep(11 * time.Minute)
		if now := openFiles(t, dir); !slices.Equal(now, before) {
			t.Errorf("open files %q, before the reload %q", now, before)
		}
		if now := openFiles(t, second); len(now) != 1 {
			t.Errorf("open files of the new location: %q", now)
		}
		var locked *durable.LockedError
		if _, err := durable.AcquireLock(filepath.Join(second, ".acctpull.lock")); !errors.As(err, &locked) {
			t.Errorf("the new location is not locked: %v", err)
		}
		if n := len(events.Events("tmnxLogAccountingDataLoss")); n != 0 {
			t.Errorf("%d intervals were lost", n)
		}
		// A day later the sweep has deleted in the new location too.
		time.Sleep(24 * time.Hour)
		if n := len(events.Events("fileExpired")); n < 40 {
			t.Errorf("only %d files expired", n)
		}
		// Back to one policy: the other one's file is closed.
		if err := reload(onePolicy); err != nil {
			t.Fatal(err)
		}
		if now := openFiles(t, second); len(now) != 0 {
			t.Errorf("open files of a policy that is gone: %q", now)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, location := range []string{dir, second} {
			l, err := durable.AcquireLock(filepath.Join(location, ".acctpull.lock"))
			if err != nil {
				t.Fatalf("%s is locked after the end: %v", location, err)
			}
			if err := l.Release(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
