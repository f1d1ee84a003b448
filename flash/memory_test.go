package flash

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acctpull/retention"
	"acctpull/rollover"
)

// Log-memory: entries are on the flash when the memory is full, at rollover, at
// Roll and at Close; State says what a crash would lose.
func TestMemory(t *testing.T) {
	r := newRig(t, t.TempDir(), "cf1")
	r.o.Memory = 1000
	r.open()
	held := func(entries int, since time.Time) {
		t.Helper()
		s := r.l.State()
		if s.Held != entries || !s.HeldSince.Equal(since) || s.Memory != 1000 || s.HeldBytes > 1000 || (s.HeldBytes == 0) != (entries == 0) {
			t.Fatalf("%+v", s)
		}
	}
	r.must(r.write(400))
	held(1, t0)
	r.holds(map[string]string{"cf1/act-collect/act1011-20260301-120000.xml.gz": "<log start>"})
	r.wait(5 * time.Minute)
	r.must(r.write(400))
	held(2, t0)
	r.wait(5 * time.Minute)
	r.must(r.write(400)) // it does not fit: all three are written
	held(0, time.Time{})
	r.holds(map[string]string{"cf1/act-collect/act1011-20260301-120000.xml.gz": "<log start> 1 2 3"})
	r.must(r.write(10))
	r.wait(5 * time.Minute)
	r.must(r.write(10)) // rollover: what is in memory belongs to the old file
	held(1, r.now)
	r.must(rollErr(r))
	held(0, time.Time{})
	r.wait(time.Minute)
	r.must(r.write(10))
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> 1 2 3 4 </log>",
		"cf1/act/act1011-20260301-121500.xml.gz": "<log rollover> 5 </log>",
		"cf1/act/act1011-20260301-121600.xml.gz": "<log manual rollover> 6 </log>",
	})
}

// What is in memory when every place fails stays there, entries that no longer
// fit are refused, and what was kept is written after Roll.
func TestMemoryDown(t *testing.T) {
	r := newRig(t, t.TempDir(), "cf1")
	r.o.Memory = 1000
	r.open()
	r.must(r.write(400))
	r.must(r.write(400))
	r.breakPlace()
	if err := r.write(400); !errors.Is(err, ErrDown) {
		t.Fatal(err)
	}
	if err := r.l.Close(r.now); err == nil || !strings.Contains(err.Error(), "2 committed entries are in memory only") {
		t.Fatal(err)
	}
	r.mendPlace()
	r.wait(time.Minute)
	if err := r.write(10); !errors.Is(err, ErrUntrusted) {
		t.Fatal(err)
	}
	r.must(rollErr(r))
	if s := r.l.State(); s.Held != 0 || !s.Up {
		t.Fatalf("%+v", s)
	}
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> </log>",
		"cf1/act/act1011-20260301-120100.xml.gz": "<log error> 1 2 </log>",
	})
}

// A place that fails while the memory is written gives way to the backup with
// everything that was in memory, in order.
func TestMemoryToBackup(t *testing.T) {
	r := newRig(t, t.TempDir(), "cf1", "cf2")
	r.o.Memory = 1000
	r.open()
	r.must(r.write(400))
	r.breakPlace()
	r.must(r.write(400))
	r.must(r.write(400))
	r.mendPlace()
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> </log>",
		"cf2/act/act1011-20260301-120001.xml.gz": "<log error> 1 2 3 </log>",
	})
}

// A changed location takes effect at the next rollover or at Roll; rollover and
// log-memory at once.
func TestReconfigure(t *testing.T) {
	root := t.TempDir()
	r := newRig(t, root, "cf1")
	r.must(r.write(10))
	next := r.o
	next.Places = []string{filepath.Join(root, "cf2"), filepath.Join(root, "cf1")}
	next.Rollover = 10 * time.Minute
	r.must(r.l.Reconfigure(next))
	r.wait(5 * time.Minute)
	r.must(r.write(10))
	if s := r.l.State(); s.Place != r.o.Places[0] || !s.Backup {
		t.Fatalf("%+v", s)
	}
	r.wait(5 * time.Minute)
	r.must(r.write(10))
	next.Places = []string{filepath.Join(root, "cf3")}
	next.Memory = MaxMemory
	r.must(r.l.Reconfigure(next))
	r.must(r.write(10))
	if s := r.l.State(); s.Held != 1 || len(s.Places) != 2 {
		t.Fatalf("%+v", s)
	}
	r.must(rollErr(r))
	r.wait(time.Minute)
	r.must(r.write(10))
	r.must(r.l.Close(r.now))
	r.o.Places = []string{filepath.Join(root, "cf1"), filepath.Join(root, "cf2"), filepath.Join(root, "cf3")}
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> 1 2 </log>",
		"cf2/act/act1011-20260301-121000.xml.gz": "<log rollover> 3 4 </log>",
		"cf3/act/act1011-20260301-121100.xml.gz": "<log manual rollover> 5 </log>",
	})
	for _, bad := range []func(*Options){
		func(o *Options) { o.ID = 12 },
		func(o *Options) { o.Places = nil },
		func(o *Options) { o.Places = []string{"a", "b", "c"} },
		func(o *Options) { o.Places = []string{"a", "./a"} },
		func(o *Options) { o.Places = []string{"a", ""} },
		func(o *Options) { o.Memory = MaxMemory + 1 },
		func(o *Options) { o.Memory = -1 },
		func(o *Options) { o.Rollover = -1 },
	} {
		o := next
		bad(&o)
		if err := r.l.Reconfigure(o); err == nil {
			t.Errorf("taken: %+v", o)
		}
	}
	if _, err := Open(Options{Places: []string{"a"}}); err == nil {
		t.Error("options without a name are taken")
	}
}

// Recover looks at every place, and an entry that was taken back leaves nothing.
func TestRecoverAndAbort(t *testing.T) {
	r := newRig(t, t.TempDir(), "cf1", "cf2")
	r.must(r.write(10))
	e, err := r.l.Begin(r.now)
	r.must(err)
	if _, err := r.l.Begin(r.now); !errors.Is(err, rollover.ErrEntryOpen) {
		t.Fatal(err)
	}
	if _, _, err := r.l.Roll(r.now); !errors.Is(err, rollover.ErrEntryOpen) {
		t.Fatal(err)
	}
	if _, err := e.Write([]byte("entry 99 taken back\n")); err != nil {
		t.Fatal(err)
	}
	e.Abort()
	if err := e.Commit(); !errors.Is(err, rollover.ErrEntryDone) {
		t.Fatal(err)
	}
	if e, err = r.l.Begin(r.now); err != nil || e.Commit() != nil {
		t.Fatal("an empty entry")
	}
	r.breakPlace()
	r.must(r.write(10))
	r.mendPlace()
	// The process ends here; one file is open on each place.
	rec, err := Recover(r.o, r.now)
	if err != nil || len(rec.Sealed) != 2 {
		t.Fatal(rec, err)
	}
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> 1 </log>",
		"cf2/act/act1011-20260301-120001.xml.gz": "<log error> 2 </log>",
	})
}

// When deletions do not help because room is not what is missing, they end.
func TestContendStopsInVain(t *testing.T) {
	r := newRig(t, t.TempDir(), "cf1")
	for range 12 {
		r.must(r.write(1 << 20))
		r.must(rollErr(r))
		r.wait(time.Minute)
	}
	r.diary = nil
	p := r.l.places[0]
	noRoom := &Error{Op: "test", Err: syscall.ENOSPC}
	tries := 0
	err := r.l.room(p, 1000, r.now, func() error { tries++; return noRoom })
	deleted := 0
	for _, line := range r.diary {
		if strings.HasPrefix(line, "deleted") && strings.HasSuffix(line, string(retention.SpaceContention)) {
			deleted++
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || tries != deleted+1 || deleted < 4 || deleted > 6 {
		t.Fatalf("%d tries, %d deleted, %v", tries, deleted, err)
	}
}
