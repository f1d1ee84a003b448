package main

import (
	"path/filepath"
	"testing"
	"time"

	"acctpull/event"
	"acctpull/ledger"
	"acctpull/pull"
)

// What a device tells of its clock is kept with the visit, also where nothing new
// was listed, and a clock that is off is told once.
func TestToldClock(t *testing.T) {
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	check(t, err)
	defer func() { check(t, l.Close()) }()
	var events event.Recorder
	a := &app{events: &events, pace: realPace()}
	began := time.Now().Add(-time.Hour)
	for i, told := range []pull.Skew{{Min: 3 * time.Minute, Max: 3*time.Minute + time.Second}, {Min: 3 * time.Minute, Max: 3*time.Minute + time.Second}, {}} {
		began = began.Add(15 * time.Minute)
		v, err := a.visitOf(t.Context(), l, "r1", began, pull.Result{Skew: told, Listing: pull.Listing{Began: began, Ended: began}}, nil)
		check(t, err)
		if v.SkewMin != told.Min || v.SkewMax != told.Max {
			t.Errorf("visit %d: the clock is %v to %v off, want %+v", i, v.SkewMin, v.SkewMax, told)
		}
		check(t, l.AddVisit(t.Context(), v))
	}
	if n := len(events.Events("clockOff")); n != 1 {
		t.Errorf("%d events", n)
	}
}
