package retention

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// readClock looks at the clocks of this machine.
func readClock(now time.Time) (ClockState, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ClockState{}, err
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return ClockState{}, os.NewSyscallError("clock_gettime", err)
	}
	return ClockState{Wall: now.Round(0), BootID: strings.TrimSpace(string(id)), Uptime: time.Duration(ts.Nano())}, nil
}
