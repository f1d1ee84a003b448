package fleet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Cron is a schedule in the five fields of crontab(5): minute, hour, day of the
// month, month, day of the week. Its times are UTC, so no change of the clocks
// skips or doubles one.
type Cron struct {
	spec     string
	schedule cron.Schedule
}

// ParseCron reads a schedule. Names of time zones and the words that begin with
// @ are not taken.
func ParseCron(spec string) (*Cron, error) {
	if strings.ContainsAny(spec, "@=") {
		return nil, errors.New("a schedule has the five fields of crontab, in UTC, such as 7-59/15 * * * *")
	}
	s, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse("TZ=UTC " + spec)
	if err != nil {
		return nil, fmt.Errorf("schedule %.80q: %w", spec, err)
	}
	c := &Cron{spec, s}
	if s.Next(epoch).IsZero() {
		return nil, fmt.Errorf("schedule %.80q: there is no such time", spec)
	}
	return c, nil
}

// epoch is where the search for the longest pause begins: a leap year, so that
// every date is found.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Next returns the first time of the schedule after t.
func (c *Cron) Next(t time.Time) time.Time { return c.schedule.Next(t.UTC()) }

// Longest returns the longest pause between two times of the schedule, among the
// first thousand in a year.
func (c *Cron) Longest() time.Duration {
	longest, last := time.Duration(0), c.schedule.Next(epoch)
	for range 1000 {
		next := c.schedule.Next(last)
		if next.IsZero() || next.Sub(epoch) > 400*24*time.Hour {
			longest = max(longest, min(next.Sub(last), 400*24*time.Hour))
			break
		}
		longest, last = max(longest, next.Sub(last)), next
	}
	return longest
}

// String returns the schedule as it was written.
func (c *Cron) String() string { return c.spec }
