package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/event"
	"acctpull/internal/need"
	"acctpull/policy"
	"acctpull/record"
	"acctpull/rollover"
)

// TestVirtualYear runs an agent from the first to the last second of 2026 in
// Europe/Berlin, with names by local time, a file an hour kept for 72 hours, and
// a sweep an hour. No name is given twice, every interval is there once, nothing
// is deleted early or late, and the files never become many.
func TestVirtualYear(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"))
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	berlin, err := time.LoadLocation("Europe/Berlin")
	check(t, err)
	const rolled, kept = time.Hour, 72 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		begin, finish := time.Date(2026, 1, 1, 0, 0, 0, 0, berlin), time.Date(2027, 1, 1, 0, 0, 0, 0, berlin)
		time.Sleep(time.Until(begin))
		y := &year{t: t, reader: record.NewReader(record.ReaderOptions{}), created: map[string]time.Time{}, last: begin, zone: berlin, kept: rolled + kept}
		a, err := New(Options{Zone: berlin, Source: &scripted{born: begin, object: map[string]*life{}}, Unguarded: true, Events: y,
			Hooks: policy.Hooks{OnFile: y.sealed},
			Set: load(t, dir, `
source: {kind: synthetic}
file-ids: [{id: 11, location: FLASH, rollover: 60, retention: 72}]
accounting-policies: [{id: 10, record: service-egress-octets, collection-interval: 60, to: file 11, default: true, align: true}]
objects: {saps: [{sap: "1/1/1:1", service: 1}]}
`)})
		check(t, err)
		ctx, cancel := context.WithDeadline(t.Context(), finish.Add(time.Second))
		defer cancel()
		check(t, a.Run(ctx))
		if !y.last.Equal(finish) {
			t.Errorf("the last interval ends at %v", y.last)
		}
		hours := int(finish.Sub(begin) / time.Hour)
		if y.intervals != hours || y.files != hours || y.files-y.deleted != len(y.created) {
			t.Errorf("%d intervals in %d files of %d hours, %d deleted, %d left", y.intervals, y.files, hours, y.deleted, len(y.created))
		}
		if y.most > 72+3 {
			t.Errorf("there were %d files at once", y.most)
		}
		t.Logf("%d intervals, %d files, %d deleted, at most %d at once; the latest %v after its time", y.intervals, y.files, y.deleted, y.most, y.latest)
	})
}

// year is what is remembered of a year.
type year struct {
	mu      sync.Mutex // the collector and the sweep report at the same time
	t       *testing.T
	reader  *record.Reader
	zone    *time.Location
	kept    time.Duration
	created map[string]time.Time // the files there are
	last    time.Time            // the end of the last interval
	names   map[string]bool
	latest  time.Duration

	intervals, files, deleted, most int
}

// sealed reads a file that was just closed.
func (y *year) sealed(f rollover.File) {
	y.mu.Lock()
	defer y.mu.Unlock()
	file, err := os.Open(f.Path)
	check(y.t, err)
	defer file.Close()
	y.reader.Reset(file, f.Name.String())
	var r record.Record
	for err = y.reader.Next(&r); err == nil; err = y.reader.Next(&r) {
		if !r.Start.Equal(y.last) {
			y.t.Errorf("%s: the interval from %v follows one to %v", f.Name, r.Start, y.last)
		}
		y.last = r.End
		y.intervals++
	}
	if !errors.Is(err, io.EOF) {
		y.t.Error(err)
	}
	if y.names == nil {
		y.names = map[string]bool{}
	}
	if y.names[f.Name.String()] {
		y.t.Errorf("the name %s was given twice", f.Name)
	}
	y.names[f.Name.String()] = true
	y.created[f.Name.String()] = y.reader.Header().Created
	y.files++
	y.most = max(y.most, len(y.created))
}

// Emit looks at deletions.
func (y *year) Emit(e event.Event) {
	y.mu.Lock()
	defer y.mu.Unlock()
	switch e.Name {
	case "tmnxLogFileRollover":
		return
	case "fileExpired":
	default:
		y.t.Errorf("%v %s: %s", e.Time, e.Name, e.Message)
		return
	}
	name := e.Value("file")
	created, ok := y.created[name]
	n, err := rollover.ParseName(name)
	check(y.t, err)
	late := e.Time.Sub(created.Add(y.kept))
	allowed := time.Hour // the pause between sweeps
	if n.Ambiguous(y.zone) {
		allowed += time.Hour // the later of the two instants counts
	}
	if !ok || late <= 0 || late > allowed {
		y.t.Errorf("%s, created %v, was deleted %v after its time", name, created, late)
	}
	y.latest = max(y.latest, late)
	delete(y.created, name)
	y.deleted++
}
