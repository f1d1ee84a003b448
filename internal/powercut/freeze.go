package powercut

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Freeze stops a child before the power is cut: when it returns no thread of it
// runs any more, and a thread that waits for the disk in a system call stops
// when that returns. Without it an fsync that is under way may find its
// transaction gone, return without an error, and the child would boast of
// something after its own death. A child that has ended is frozen enough.
func Freeze(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		return err
	}
	for {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
		if err != nil {
			return err
		}
		running := len(stats) == 0
		for _, path := range stats {
			stat, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
				continue // the thread ended meanwhile
			}
			if err != nil {
				return err
			}
			_, after, _ := strings.Cut(string(stat), ") ")
			running = running || after == "" || !strings.ContainsRune("TDZX", rune(after[0]))
		}
		if !running {
			return nil
		}
		runtime.Gosched()
	}
}
