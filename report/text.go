package report

import (
	"fmt"
	"time"
)

func microTime(us int64) time.Time { return time.UnixMicro(us).UTC() }

// length writes seconds as 15m, 1h or 90s.
func length(seconds int64) string {
	switch {
	case seconds > 0 && seconds%3600 == 0:
		return fmt.Sprintf("%dh", seconds/3600)
	case seconds > 0 && seconds%60 == 0:
		return fmt.Sprintf("%dm", seconds/60)
	}
	return fmt.Sprintf("%ds", seconds)
}

func plural(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
