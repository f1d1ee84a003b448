package flash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/internal/need"
	"acctpull/retention"
	"acctpull/rollover"
)

// tmpfs mounts a file system of its own below root and returns its path.
func tmpfs(t *testing.T, root, name, options string) string {
	t.Helper()
	need.Root(t)
	path := filepath.Join(root, name)
	if err := os.MkdirAll(path, 0o750); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", path, "tmpfs", 0, options)
	return path
}

func mount(t *testing.T, source, path, kind string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(source, path, kind, flags, options); err != nil {
		t.Fatalf("mount %s: %v", path, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) }) // the test may have done it
}

// remount makes a file system read-only or writable again.
func remount(t *testing.T, path string, readOnly bool) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", path, "", flags, ""); err != nil {
		t.Fatal(err)
	}
}

// fill uses up the room with a file that is not ours, except for leave bytes.
func fill(t *testing.T, dir string, leave int64) string {
	t.Helper()
	path := filepath.Join(dir, "foreign")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(piece)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	st, err := f.Stat()
	if err == nil {
		err = f.Truncate(st.Size() - leave)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// breakPlace takes the collect directory of the location away, so that whatever
// is done to the open file fails, and mendPlace brings it back.
func (r *rig) breakPlace() {
	r.t.Helper()
	dir := filepath.Join(r.o.Places[0], CollectDir)
	r.must(os.Rename(dir, dir+".away"))
	r.must(os.WriteFile(dir, nil, 0o600))
}

func (r *rig) mendPlace() {
	r.t.Helper()
	dir := filepath.Join(r.o.Places[0], CollectDir)
	r.must(os.Remove(dir))
	r.must(os.Rename(dir+".away", dir))
}

// entries lists the numbers of the entries in all files, in order.
func (r *rig) entries() []string {
	var all []string
	for _, text := range r.content() {
		for _, word := range strings.Fields(text) {
			if word[0] >= '0' && word[0] <= '9' {
				all = append(all, word)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(a)*100 + strings.Compare(a, b) - len(b)*100 })
	return all
}

// In contention the files past retention go first, then the oldest one at a
// time, and nothing that is open, not ours or of unknown age.
func TestContention(t *testing.T) {
	root := t.TempDir()
	cf1 := tmpfs(t, root, "cf1", "size=256k")
	r := newRig(t, root, "cf1")
	r.o.RuleFor = func(n rollover.Name) (retention.Rule, bool) {
		return retention.Rule{Kind: retention.CreatedRetention, Retention: time.Hour}, n.FileID == 11
	}
	r.open()
	other := func(dir, name string) {
		t.Helper()
		r.must(os.MkdirAll(filepath.Join(cf1, dir), 0o750))
		r.must(os.WriteFile(filepath.Join(cf1, dir, name), []byte(noise(8000)), 0o640))
	}
	other("act", "act0101-20260301-000000.xml.gz")         // no rule: never expires
	other("act", "act0202-20260301-000100.xml.gz")         // open, see below
	other("act-collect", "act0202-20260301-000100.xml.gz") //
	other("act", "act0303-20260230-000000.xml.gz")         // no date
	other("act", "notes.txt")                              // not ours
	for range 4 {
		r.must(r.write(12_000))
		r.wait(15 * time.Minute)
	}
	r.diary = nil
	r.wait(16 * time.Minute) // two are past their retention of an hour, 12:00 and 12:15
	fill(t, cf1, 8192)
	r.must(r.write(12_000)) // the file of 12:45 is sealed, then there is no room for the entry
	r.happened(
		"sealed cf1/act/act1011-20260301-124500.xml.gz",
		"contention cf1",
		"deleted act1011-20260301-120000.xml.gz: expired",
		"deleted act1011-20260301-121500.xml.gz: expired",
	)
	r.must(os.Remove(filepath.Join(cf1, "foreign")))
	fill(t, cf1, 0)
	r.must(r.write(12_000))
	r.happened("contention cf1", "deleted act0101-20260301-000000.xml.gz: space contention", "deleted act1011-20260301-123000.xml.gz: space contention")
	r.must(os.Remove(filepath.Join(cf1, "foreign")))
	fill(t, cf1, 0)
	err := r.write(90_000)
	if !errors.Is(err, ErrDown) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	var hinted *Error
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "make room") {
		t.Fatalf("the error has no hint: %v", err)
	}
	r.happened("contention cf1", "failed cf1 backup=false", "up false") // nothing is deleted in vain
	r.must(r.write(8_000))
	r.happened("contention cf1", "deleted act1011-20260301-124500.xml.gz: space contention", "up true")
	r.must(r.l.Close(r.now))
	for _, name := range []string{"act/act0202-20260301-000100.xml.gz", "act/act0303-20260230-000000.xml.gz", "act/notes.txt", "act-collect/act0202-20260301-000100.xml.gz"} {
		if _, err := os.Stat(filepath.Join(cf1, name)); err != nil {
			t.Error(err)
		}
	}
	if got := r.entries(); !slices.Equal(got, []string{"5", "6", "8"}) {
		t.Errorf("entries %v", got)
	}
}

// A location without room and with nothing to delete gives way to the backup,
// and is used again with the next file once there is room.
func TestFullBackup(t *testing.T) {
	root := t.TempDir()
	cf1 := tmpfs(t, root, "cf1", "size=128k")
	r := newRig(t, root, "cf1", "cf2")
	foreign := fill(t, cf1, 0)
	r.must(r.write(1000))
	r.happened("contention cf1", "failed cf1 backup=false")
	if s := r.l.State(); !s.Up || !s.Backup || s.Place != r.o.Places[1] {
		t.Fatalf("%+v", s)
	}
	r.must(os.Remove(foreign))
	r.wait(5 * time.Minute)
	r.must(r.write(1000))
	r.wait(10 * time.Minute)
	r.must(r.write(1000))
	r.happened("sealed cf2/act/act1011-20260301-120000.xml.gz")
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf2/act/act1011-20260301-120000.xml.gz": "<log start> 1 2 </log>",
		"cf1/act/act1011-20260301-121500.xml.gz": "<log rollover> 3 </log>",
	})
}

// Without a backup the log goes down, keeps what was committed, and comes back
// by itself when there is room.
func TestFullDown(t *testing.T) {
	for _, options := range []string{"size=128k", "size=1m,nr_inodes=8"} {
		t.Run(options, func(t *testing.T) {
			root := t.TempDir()
			cf1 := tmpfs(t, root, "cf1", options)
			r := newRig(t, root, "cf1")
			r.must(r.write(1000))
			fill(t, cf1, 0)
			var more []string
			for i := range 10 {
				path := fmt.Sprintf("%s/more%d", cf1, i)
				if os.WriteFile(path, nil, 0o600) == nil {
					more = append(more, path)
				}
			}
			r.wait(5 * time.Minute)
			if err := r.write(60_000); !errors.Is(err, ErrDown) {
				t.Fatal(err)
			}
			if s := r.l.State(); s.Up || s.Err == nil {
				t.Fatalf("%+v", s)
			}
			if got := r.entries(); !slices.Equal(got, []string{"1"}) {
				t.Fatalf("while it is down: %v", r.content())
			}
			r.wait(5 * time.Minute)
			if err := r.write(60_000); !errors.Is(err, ErrDown) {
				t.Fatal(err)
			}
			for _, path := range append(more, filepath.Join(cf1, "foreign")) {
				r.must(os.Remove(path))
			}
			r.wait(5 * time.Minute)
			r.must(r.write(60_000))
			if !slices.Contains(r.diary, "up false") || r.diary[len(r.diary)-1] != "up true" {
				t.Fatal(r.diary)
			}
			r.must(r.l.Close(r.now))
			if got := r.entries(); !slices.Equal(got, []string{"1", "4"}) {
				t.Fatalf("%v", r.content())
			}
		})
	}
}

// A write that fails takes the location out of use until Roll: the entry goes
// whole to the backup, and the file is sealed as soon as that is possible.
func TestWriteFailure(t *testing.T) {
	root := t.TempDir()
	r := newRig(t, root, "cf1", "cf2")
	r.must(r.write(1000))
	r.breakPlace()
	r.wait(time.Minute)
	r.must(r.write(1000))
	r.happened("failed cf1 backup=false")
	if s := r.l.State(); !s.Up || !s.Backup || !s.Places[0].Untrusted || !s.Places[0].Unsealed {
		t.Fatalf("%+v", s)
	}
	r.mendPlace()
	r.wait(time.Minute)
	r.must(r.write(1000)) // the file in cf1 can be sealed now, but cf1 is not used
	r.happened("sealed cf1/act/act1011-20260301-120000.xml.gz")
	r.wait(15 * time.Minute)
	r.must(r.write(1000))
	r.happened("sealed cf2/act/act1011-20260301-120100.xml.gz")
	if _, _, err := r.l.Roll(r.now); err != nil {
		t.Fatal(err)
	}
	r.wait(time.Minute)
	r.must(r.write(1000))
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> 1 </log>",
		"cf2/act/act1011-20260301-120100.xml.gz": "<log error> 2 3 </log>",
		"cf2/act/act1011-20260301-121700.xml.gz": "<log rollover> 4 </log>",
		"cf1/act/act1011-20260301-121800.xml.gz": "<log manual rollover> 5 </log>",
	})
}

// Without a backup a write failure leaves the log down, whatever becomes of the
// card, until Roll. What was committed is sealed as soon as it can be.
func TestWriteFailureDown(t *testing.T) {
	r := newRig(t, t.TempDir(), "cf1")
	r.must(r.write(10))
	r.breakPlace()
	for range 2 {
		r.wait(time.Minute)
		if err := r.write(10); !errors.Is(err, ErrDown) || !errors.Is(err, ErrUntrusted) {
			t.Fatal(err)
		}
	}
	r.happened("failed cf1 backup=false", "up false")
	r.mendPlace()
	r.wait(time.Minute)
	err := r.write(10)
	if !errors.Is(err, ErrUntrusted) {
		t.Fatal(err)
	}
	var hinted *Error
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "clear log") {
		t.Fatalf("hint of %v", err)
	}
	r.happened("sealed cf1/act/act1011-20260301-120000.xml.gz")
	if _, ok, err := r.l.Roll(r.now); ok || err != nil {
		t.Fatal(ok, err)
	}
	r.wait(time.Minute)
	r.must(r.write(10))
	r.happened("up true")
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> 1 </log>",
		"cf1/act/act1011-20260301-120400.xml.gz": "<log manual rollover> 5 </log>",
	})
}

// Read-only flash: no file can be created, the log is down with the reason, and
// up by itself when the card can be written again.
func TestReadOnly(t *testing.T) {
	root := t.TempDir()
	cf1 := tmpfs(t, root, "cf1", "size=1m")
	cf2 := tmpfs(t, root, "cf2", "size=1m")
	r := newRig(t, root, "cf1", "cf2")
	remount(t, cf1, true)
	remount(t, cf2, true)
	err := r.write(10)
	if !errors.Is(err, ErrDown) || !errors.Is(err, syscall.EROFS) {
		t.Fatal(err)
	}
	var hinted *Error
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "read-only") {
		t.Fatalf("hint of %v", err)
	}
	r.happened("failed cf1 backup=false", "failed cf2 backup=true", "up false")
	if err := r.write(10); !errors.Is(err, ErrDown) {
		t.Fatal(err)
	}
	r.happened() // told once
	remount(t, cf2, false)
	r.must(r.write(10))
	r.happened("up true")
	remount(t, cf1, false)
	r.wait(20 * time.Minute)
	r.must(r.write(10))
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf2/act/act1011-20260301-120000.xml.gz": "<log start> 3 </log>",
		"cf1/act/act1011-20260301-122000.xml.gz": "<log rollover> 4 </log>",
	})
}

// withCard makes a log that has written one entry to a card at its location cf1,
// which can be taken out and put back.
func withCard(t *testing.T, places ...string) (r *rig, card, cf1 string) {
	t.Helper()
	root := t.TempDir()
	card = tmpfs(t, root, "card", "size=128k")
	cf1 = filepath.Join(root, "cf1")
	r = newRig(t, root, places...)
	r.must(os.Mkdir(cf1, 0o750))
	mount(t, card, cf1, "", unix.MS_BIND, "")
	r.must(r.write(10))
	return r, card, cf1
}

// A card that is taken out: nothing is written into the empty directory below
// it, and it is used again when it is back.
func TestUnmounted(t *testing.T) {
	r, card, cf1 := withCard(t, "cf1", "cf2")
	foreign := fill(t, cf1, 0)
	r.wait(5 * time.Minute)
	r.must(r.write(20_000)) // to the backup
	r.wait(5 * time.Minute)
	r.must(r.write(10))
	r.must(os.Remove(foreign))
	r.must(unix.Unmount(cf1, unix.MNT_DETACH))
	r.diary = nil
	r.wait(20 * time.Minute)
	r.must(r.write(10))
	if s := r.l.State(); !s.Backup || !errors.Is(s.Places[0].Err, ErrOtherFileSystem) {
		t.Fatalf("%+v", s)
	}
	if left, err := os.ReadDir(cf1); err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	mount(t, card, cf1, "", unix.MS_BIND, "")
	r.wait(20 * time.Minute)
	r.must(r.write(10))
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> 1 </log>",
		"cf2/act/act1011-20260301-120500.xml.gz": "<log error> 2 3 </log>",
		"cf2/act/act1011-20260301-123000.xml.gz": "<log rollover> 4 </log>",
		"cf1/act/act1011-20260301-125000.xml.gz": "<log rollover> 5 </log>",
	})
}

// A card that is pulled while a file on it is open: what was committed is
// recovered when it is back and the log is cleared.
func TestPulledWhileOpen(t *testing.T) {
	r, card, cf1 := withCard(t, "cf1")
	r.must(unix.Unmount(cf1, unix.MNT_DETACH))
	r.wait(time.Minute)
	err := r.write(10)
	if !errors.Is(err, ErrDown) || !errors.Is(err, rollover.ErrGone) || !errors.Is(err, ErrUntrusted) {
		t.Fatal(err)
	}
	mount(t, card, cf1, "", unix.MS_BIND, "")
	r.wait(time.Minute)
	if err := r.write(10); !errors.Is(err, ErrUntrusted) {
		t.Fatal(err)
	}
	r.must(rollErr(r))
	r.wait(time.Minute)
	r.must(r.write(10))
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf1/act/act1011-20260301-120000.xml.gz": "<log start> 1 </log>",
		"cf1/act/act1011-20260301-120300.xml.gz": "<log manual rollover> 4 </log>",
	})
}

func rollErr(r *rig) error {
	_, _, err := r.l.Roll(r.now)
	return err
}

// A directory that somebody removed is made again; what was in it is gone, and
// that is said.
func TestRemovedDirectory(t *testing.T) {
	r := newRig(t, t.TempDir(), "cf1", "cf2")
	r.must(r.write(10))
	r.must(os.RemoveAll(r.o.Places[0]))
	r.wait(time.Minute)
	r.must(r.write(10)) // to the backup
	if s := r.l.State(); !s.Backup || !errors.Is(s.Places[0].Err, rollover.ErrGone) && !errors.Is(s.Places[0].Err, os.ErrNotExist) {
		t.Fatalf("%+v", s)
	}
	r.must(rollErr(r))
	r.wait(time.Minute)
	r.must(r.write(10))
	r.must(r.l.Close(r.now))
	r.holds(map[string]string{
		"cf2/act/act1011-20260301-120100.xml.gz": "<log error> 2 </log>",
		"cf1/act/act1011-20260301-120200.xml.gz": "<log manual rollover> 3 </log>",
	})
}
