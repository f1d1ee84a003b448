package powercut

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"acctpull/internal/need"
)

// A program in a mount namespace of its own keeps the disk that was there when it
// began. What is mounted after the cut is the disk of then, and not the one that is
// off.
func TestHeldByAnotherNamespace(t *testing.T) {
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			d := New(t, fsType)
			unshare := need.Tool(t, "unshare")
			cmd := exec.Command(unshare, "--mount", "sh", "-c", "echo; sleep 1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 1)); err != nil { // it has its namespace now
				t.Fatal(err)
			}
			if err := d.Cut(); err != nil {
				t.Fatal(err)
			}
			d.Remount()
			if err := os.WriteFile(filepath.Join(d.Dir, "x"), nil, 0o600); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
