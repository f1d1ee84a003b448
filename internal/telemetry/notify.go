package telemetry

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier speaks to the service manager through the socket in NOTIFY_SOCKET, as
// sd_notify(3) describes. Without that variable all methods do nothing.
type Notifier struct{}

// Ready says that the service does its work, after a start or a reload.
func (Notifier) Ready() error { return notify(daemon.SdNotifyReady) }

// Reloading says that the configuration is being read again; Ready ends it.
func (Notifier) Reloading() error {
	return notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the service is ending.
func (Notifier) Stopping() error { return notify(daemon.SdNotifyStopping) }

// Status sets the line that systemctl status shows.
func (Notifier) Status(text string) error { return notify("STATUS=" + text) }

// Watch tells the manager every half of WatchdogSec that the service works, as
// long as check says so: one that is stuck is silent and will be restarted. With
// the same beat, or every minute if there is no watchdog, it sets the status line.
func (n Notifier) Watch(ctx context.Context, check func(context.Context) error, status func() string) error {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read the watchdog's limit: %w", err)
	}
	every := limit / 2
	if limit == 0 {
		every = time.Minute
	}
	for {
		if limit > 0 && check(ctx) == nil {
			if err := notify(daemon.SdNotifyWatchdog); err != nil {
				return err
			}
		}
		if err := n.Status(status()); err != nil {
			return err
		}
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
