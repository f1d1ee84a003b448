package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"acctpull/internal/need"
)

// mountCards makes FLASH/cf1 and FLASH/cf2 file systems of some KiB.
func (w *world) mountCards(t *testing.T, kib string) {
	need.Root(t)
	for _, name := range []string{"cf1", "cf2"} {
		dir := filepath.Join(w.dir, name)
		check(t, os.Mkdir(dir, 0o750))
		check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0750,size="+kib+"k"))
		t.Cleanup(func() {
			for _, at := range []string{w.slot(name), dir, dir} { // wherever the scenario ended
				if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
					t.Error(err)
				}
			}
		})
	}
}

// slot is where a flash card lies that is taken out.
func (w *world) slot(card string) string { return filepath.Join(w.dir, card+".out") }

// disk does something to a flash card.
func (w *world) disk(verb, card string) error {
	dir := filepath.Join(w.dir, card)
	filler := filepath.Join(dir, "filler")
	if w.s.Setting("flash") == "" {
		return errors.New("the scenario has no setting flash")
	}
	switch verb {
	case "disk full":
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		return f.Close()
	case "disk freed":
		return os.Remove(filler)
	case "card out":
		if err := os.Mkdir(w.slot(card), 0o750); err != nil {
			return err
		}
		return unix.Mount(dir, w.slot(card), "", unix.MS_MOVE, "")
	case "card in":
		if err := unix.Mount(w.slot(card), dir, "", unix.MS_MOVE, ""); err != nil {
			return err
		}
		return os.Remove(w.slot(card))
	case "read-only":
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	case "writable":
		return unix.Unmount(dir, unix.MNT_DETACH)
	}
	return fmt.Errorf("nobody does %q", verb)
}

// kill ends the agent as kill -9 does: what is on the disk at this moment is
// what will be there. The goroutines of this process cannot be killed, so the
// disk is put back to what it was after they have ended.
func (w *world) kill() {
	if w.agent == nil {
		return
	}
	synctest.Wait()
	w.flush()
	before := w.snapshot()
	w.mu.Lock()
	w.muted = true
	w.mu.Unlock()
	w.end()
	<-w.done // the error is that of a process which is dead
	w.agent = nil
	w.restore(before)
	w.mu.Lock()
	w.muted = false
	w.mu.Unlock()
}

// snapshot reads every file below the flash cards.
func (w *world) snapshot() map[string][]byte {
	all := map[string][]byte{}
	check(w.t, filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == LockName { // the lock goes with its process
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	}))
	return all
}

// restore puts back what snapshot read.
func (w *world) restore(before map[string][]byte) {
	for path := range w.snapshot() {
		if _, ok := before[path]; !ok {
			check(w.t, os.Remove(path))
		}
	}
	for path, data := range before {
		if now, err := os.ReadFile(path); err == nil && string(now) == string(data) {
			continue
		}
		check(w.t, os.MkdirAll(filepath.Dir(path), 0o750))
		check(w.t, os.WriteFile(path, data, 0o640))
	}
}
