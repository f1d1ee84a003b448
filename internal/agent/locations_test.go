package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/event"
	"acctpull/internal/durable"
	"acctpull/internal/need"
)

// A location that is missing keeps no agent from starting: the backup is used,
// and the location, lock and all, as soon as it is there.
func TestMissingLocation(t *testing.T) {
	dir := t.TempDir()
	need.Root(t)
	cf1, cf2 := filepath.Join(dir, "slot", "cf1"), filepath.Join(dir, "cf2")
	slot := filepath.Dir(cf1)
	check(t, os.Mkdir(slot, 0o750))
	check(t, unix.Mount("tmpfs", slot, "tmpfs", unix.MS_RDONLY, "size=1m")) // no directory can be made there
	t.Cleanup(func() { check(t, unix.Unmount(slot, unix.MNT_DETACH)) })
	config := strings.Replace(onePolicy, "location: FLASH,", "location: FLASH/slot/cf1, backup-location: FLASH/cf2,", 1)
	synctest.Test(t, func(t *testing.T) {
		var events event.Recorder
		a, err := New(Options{Set: load(t, dir, config), Events: &events, Unguarded: true})
		check(t, err)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(30 * time.Minute)
		if n := len(events.Events("tmnxLogAdminLocFailed")); n != 1 {
			t.Errorf("%d events of the location", n)
		}
		if lost := events.Events("tmnxLogAccountingDataLoss", "policyDown"); len(lost) > 0 {
			t.Errorf("records are lost: %v", lost)
		}
		check(t, unix.Mount("", slot, "", unix.MS_REMOUNT, ""))
		time.Sleep(2 * time.Hour)
		if _, err := durable.AcquireLock(filepath.Join(cf1, LockName)); err == nil {
			t.Error("the location is not locked")
		}
		stop()
		<-done // the recovery at the start failed, and Run says so
	})
	for _, act := range []string{filepath.Join(cf1, "act"), filepath.Join(cf2, "act")} {
		if names, err := os.ReadDir(act); err != nil || len(names) == 0 {
			t.Errorf("%s: %d files, %v", act, len(names), err)
		}
	}
}
