package flash

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/internal/durable"
	"acctpull/retention"
	"acctpull/rollover"
)

// clearTime bounds how long expired files are deleted before what had no room
// is tried again: that of the device's sweep (7210 SAS, "Log Files").
const clearTime = retention.DefaultBudget

// inVain is how many bytes are deleted, above four times what is needed, before
// it is plain that room is not what is missing, whatever the system says.
const inVain = 4 << 20

// room does something at a place. If there is no room for it, files past
// retention are deleted there, then the oldest closed files one at a time, and
// it is tried again after each. If even the deletion of all would not make room
// for need bytes, or much more than that was deleted in vain, none but those
// past retention are deleted.
func (l *Log) room(p *place, need int64, now time.Time, try func() error) error {
	err := try()
	if !rollover.NoSpace(err) {
		return err
	}
	if l.o.Hooks.OnContention != nil {
		l.o.Hooks.OnContention(p.path, p.backup, err)
	}
	plan, planErr := l.contend(p, now)
	if planErr != nil {
		return errors.Join(err, planErr)
	}
	var failed error // the first deletion that failed
	freed := int64(0)
	for len(plan) > 0 && rollover.NoSpace(err) {
		if plan[0].Reason != retention.Expired && (freed > 4*need+inVain || !enough(p, plan, need)) {
			break
		}
		var n int64
		var delErr error
		plan, n, delErr = l.clear(p, plan)
		if failed == nil {
			failed = delErr
		}
		if n >= 0 {
			freed += n
			err = try()
		}
	}
	if err == nil {
		return nil // what could not be deleted is left to the sweep
	}
	return errors.Join(err, failed)
}

// contend lists what may be deleted at a place, in order.
func (l *Log) contend(p *place, now time.Time) ([]retention.Decision, error) {
	dirs := Dirs(p.path)
	open := map[string]bool{}
	for name, err := range rollover.Names(dirs.Collect) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		open[name] = true
	}
	var files []rollover.File
	for f, err := range rollover.List(dirs.Archive) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	plan := retention.Contend(files, retention.Contention{
		RuleFor: l.o.RuleFor, Sealed: l.sealed,
		Open: func(n rollover.Name) bool { return open[n.String()] },
	}, now)
	for i, d := range plan {
		if !d.Remove {
			return plan[:i], nil
		}
	}
	return plan, nil
}

// enough tells whether need bytes have room once all files of a plan are gone.
// If that cannot be told, it can be.
func enough(p *place, plan []retention.Decision, need int64) bool {
	var fs unix.Statfs_t
	if unix.Statfs(p.path, &fs) != nil {
		return true
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) // their types differ between systems
	for _, d := range plan {
		if free >= need {
			return true
		}
		if f, err := d.File.Stat(); err == nil {
			free += f.Size
		}
	}
	return free >= need
}

// clear deletes the next of a plan: all that have expired, or one other file.
// It returns what is left of the plan and how many bytes were deleted, -1 if no
// file was.
func (l *Log) clear(p *place, plan []retention.Decision) (rest []retention.Decision, bytes int64, err error) {
	begun := time.Now()
	bytes = -1
	for len(plan) > 0 && (bytes < 0 || plan[0].Reason == retention.Expired && time.Since(begun) < clearTime) {
		d := plan[0]
		plan = plan[1:]
		f, delErr := remove(d.File)
		if delErr != nil {
			err = delErr
			continue
		}
		d.File = f
		bytes = max(0, bytes) + f.Size
		if l.o.Hooks.OnDeleted != nil {
			l.o.Hooks.OnDeleted(d)
		}
	}
	if bytes >= 0 {
		// Some file systems give the room back only now.
		err = errors.Join(err, durable.SyncDir(Dirs(p.path).Archive))
	}
	return plan, bytes, err
}

// remove deletes a file of ours and returns it with its size. One that somebody
// else deleted is an error like any other: nothing was gained by it.
func remove(f rollover.File) (rollover.File, error) {
	f, err := f.Stat()
	if err != nil {
		return f, err
	}
	if err := os.Remove(f.Path); err != nil {
		return f, &Error{Op: "delete", Err: err}
	}
	return f, nil
}
