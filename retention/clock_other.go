//go:build unix && !linux

package retention

import "time"

// readClock has no boot id here: every sweep is judged like the first after a
// reboot.
func readClock(now time.Time) (ClockState, error) { return ClockState{Wall: now.Round(0)}, nil }
