package powercut

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// The harness has to find what it is there to find: of the writing protocols
// that lose data on a power cut, each is seen to lose it, and the right one is
// seen to keep it.
func TestTheHarnessFindsLoss(t *testing.T) {
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			d := New(t, fsType)
			for name, c := range map[string]struct {
				syncFile, syncDir bool
				want              string // "absent", "empty" or "full"
			}{
				"nothing synced":     {false, false, "absent"},
				"directory only":     {false, true, "empty"},
				"file and directory": {true, true, "full"},
			} {
				d.Fresh()
				temp, final := filepath.Join(d.Dir, "temp"), filepath.Join(d.Dir, "final")
				f, err := os.Create(temp)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.Write(make([]byte, 140_000)); err != nil {
					t.Fatal(err)
				}
				if c.syncFile {
					err = f.Sync()
				}
				if err = errors.Join(err, f.Close(), os.Rename(temp, final)); err != nil {
					t.Fatal(err)
				}
				if c.syncDir {
					dir, err := os.Open(d.Dir)
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
						t.Fatal(err)
					}
				}
				if err := d.Cut(); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(final+"x", nil, 0o600); err == nil {
					t.Fatal("the file system still works after the cut")
				}
				d.Remount()
				got := "full"
				st, err := os.Stat(final)
				switch {
				case errors.Is(err, fs.ErrNotExist):
					got = "absent"
				case err != nil:
					t.Fatal(err)
				case st.Size() == 0:
					got = "empty"
				case st.Size() != 140_000:
					got = "torn"
				}
				if got != c.want {
					t.Errorf("%s: the file is %s, want %s", name, got, c.want)
				}
			}
		})
	}
}

// An unrelated fsync commits the name of a file whose data was never synced.
func TestNoise(t *testing.T) {
	d := New(t, "ext4")
	d.Noise()
	d.Noise() // replaces the first
	if err := d.Cut(); err != nil {
		t.Fatal(err)
	}
	d.Remount() // does not find the device busy
	if _, err := os.Stat(d.Dir); err != nil {
		t.Fatal(err)
	}
}
