package agent

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"acctpull/event"
	"acctpull/policy"
	"acctpull/rollover"
)

// This file is the one place where what the collector reports becomes an event.

// hooks are those of the collector: each emits its events and then calls the
// hook of the options.
func (a *Agent) hooks() policy.Hooks {
	return policy.Hooks{
		OnRecovered: func(r rollover.Recovered, err error) { a.recovered(r, err) },
		OnInterval:  func(i policy.Interval) { call(a.o.Hooks.OnInterval, i) },
		OnDataLoss: func(d policy.DataLoss) {
			a.emit(event.DataLoss(time.Now(), d.Policy, d.FileID, d.Objects, d.Records, d.Count, d.Err))
			call(a.o.Hooks.OnDataLoss, d)
		},
		OnFile: func(f rollover.File) {
			n := f.Size
			if st, err := f.Stat(); err == nil {
				n = st.Size
			}
			a.emit(event.FileRollover(time.Now(), f.Name.ID, f.Name.FileID, f.Name.String(), n))
			call(a.o.Hooks.OnFile, f)
		},
		OnContention: func(n policy.LocationNote) {
			a.emit(event.SpaceContention(time.Now(), n.Policy, n.FileID, n.Location, n.Err))
			call(a.o.Hooks.OnContention, n)
		},
		OnDeleted: func(d policy.Deletion) {
			name := d.File.Name
			location := filepath.Dir(filepath.Dir(d.File.Path)) // of location/act/file
			a.emit(event.FileDeleted(time.Now(), name.ID, name.FileID, name.String(), location, d.Created, string(d.Reason)))
			call(a.o.Hooks.OnDeleted, d)
		},
		OnLocationFailed: func(n policy.LocationNote) {
			failed := event.AdminLocFailed
			if n.Backup {
				failed = event.BackupLocFailed
			}
			a.emit(failed(time.Now(), n.Policy, n.FileID, n.Location, n.Err))
			call(a.o.Hooks.OnLocationFailed, n)
		},
		OnLeft: func(l policy.LeftFile) {
			a.emit(event.FileLeft(time.Now(), l.Policy, l.File.Name.FileID, l.File.Name.String(), l.Err))
			call(a.o.Hooks.OnLeft, l)
		},
		OnState: func(s policy.State) {
			if s.Up {
				a.emit(event.PolicyUp(time.Now(), s.Policy, s.FileID))
			} else {
				a.emit(event.PolicyDown(time.Now(), s.Policy, s.FileID, s.Err))
			}
			call(a.o.Hooks.OnState, s)
		},
		OnObject: func(n policy.ObjectNote) {
			a.object(n)
			call(a.o.Hooks.OnObject, n)
		},
	}
}

func (a *Agent) emit(e event.Event) { a.o.Events.Emit(e) }

func call[T any](hook func(T), v T) {
	if hook != nil {
		hook(v)
	}
}

// object reports what became of an object.
func (a *Agent) object(n policy.ObjectNote) {
	now, object := time.Now(), n.Object.String()
	switch n.Kind {
	case policy.ObjectMissing:
		a.emit(event.ObjectMissing(now, n.Policy, object, n.Text))
	case policy.ObjectFound:
		a.emit(event.ObjectFound(now, n.Policy, object))
	case policy.ObjectRestarted:
		a.emit(event.CountersRestarted(now, n.Policy, object, n.Text))
	}
}

// recovered reports what an earlier run had left.
func (a *Agent) recovered(r rollover.Recovered, err error) {
	now := time.Now()
	for _, f := range r.Sealed {
		a.emit(event.FileRecovered(now, f.Name.ID, f.Name.FileID, f.Name.String(), "completed and sealed"))
	}
	for _, f := range r.Torn {
		a.emit(event.FileRecovered(now, f.Name.ID, f.Name.FileID, f.Name.String(), "it holds no whole entry; kept in torn/"))
	}
	if err != nil {
		a.emit(event.RecoveryFailed(now, err))
	}
	if hook := a.o.Hooks.OnRecovered; hook != nil {
		hook(r, err)
	}
}

// replayed reports what became of a recorded file, or of a recording.
func replayed(events event.Sink, n policy.ReplayNote) {
	name := string(n.Record)
	if n.File == "" {
		reason := "nothing more is collected"
		if n.Again {
			reason = "it begins again"
		}
		events.Emit(event.RecordingEnded(time.Now(), name, reason))
		return
	}
	var left []string
	for _, part := range []struct {
		count int
		why   string
	}{
		{n.Other, "have another record name"},
		{n.Unlisted, "are of objects that are not listed"},
		{n.Bad, "cannot be used"},
		{n.Late, "came too late for their interval"},
	} {
		if part.count > 0 {
			left = append(left, fmt.Sprintf("%d %s", part.count, part.why))
		}
	}
	if n.UnknownFields > 0 {
		left = append(left, fmt.Sprintf("%d fields that nobody knows passed", n.UnknownFields))
	}
	if n.Err != nil {
		left = append(left, n.Err.Error())
	}
	reason := cmp.Or(strings.Join(left, ", "), "all of it passed")
	events.Emit(event.FileReplayed(time.Now(), name, n.File, n.Passed, n.Other+n.Unlisted+n.Bad+n.Late, reason))
}
