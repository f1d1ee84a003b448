package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"acctpull/event"
	"acctpull/internal/actserver"
	"acctpull/pull"
)

// This file is where what the rooms of the central side and the server report
// becomes an event; those of the device side are in internal/agent.

// pullHooks turns what happens on one device into events and progress.
func (a *app) pullHooks(t pull.Target, p *progress) pull.Hooks {
	return pull.Hooks{
		OnFile: func(f pull.File) { a.pulledFile(a.pace.clock.Now(), f) },
		OnProgress: func(n pull.Progress) {
			p.set("%s: %d of %d files, %s of %s", describeTarget(t), n.Files, n.FilesTotal, size(n.Bytes), size(n.BytesTotal))
		},
		OnConnect: a.connected,
		OnRetry: func(r pull.Retry) {
			a.metrics.Retry()
			p.set("%s: try %d of %d in %s: %v", describeTarget(t), r.Attempt, r.Of, r.Wait.Round(time.Second), r.Err)
		},
	}
}

// connected warns of a connection without protection, and of old algorithms: once
// per device and process.
func (a *app) connected(c pull.Connected) {
	why := ""
	switch {
	case c.Clear:
		why = "FTP: password and files go over the line in clear, and nobody proved to be the device"
	case len(c.Insecure) > 0:
		why = "old algorithms that were allowed for it: " + strings.Join(c.Insecure, " ")
	default:
		return
	}
	if _, warned := a.warned.LoadOrStore(c.Device+"\x00"+why, true); warned {
		return
	}
	a.events.Emit(event.WeakConnection(a.pace.clock.Now(), c.Device, why))
	if c.Clear {
		fmt.Fprintf(a.stderr, "acctpull: WARNING: device %s is read over FTP: the password and the files go over the line in clear\n", safe(c.Device))
	}
}

// pulledFile reports the outcome of one file.
func (a *app) pulledFile(now time.Time, f pull.File) {
	switch f.Outcome {
	case pull.Stored, pull.Alias:
		a.events.Emit(event.FilePulled(now, f.Device, f.Name, f.Size, f.SHA256))
		if f.Warning != "" {
			a.events.Emit(event.NameReused(now, f.Device, f.Name, f.Warning))
		}
	case pull.Quarantined:
		a.events.Emit(event.FileQuarantined(now, f.Device, f.Name, f.Reason))
	case pull.Lost:
		a.events.Emit(event.FileLost(now, f.Device, f.Name, f.Reason))
	}
}

// removed reports what a visit removed from a device, and what it could not.
func (a *app) removed(now time.Time, device string, r pull.Removal) {
	if r.Files > 0 {
		a.events.Emit(event.FilesRemoved(now, device, r.Files, r.Bytes))
	}
	if r.Kept > 0 {
		a.events.Emit(event.RemovalRefused(now, device, r.Kept, r.Why))
	}
}

// pullFailed reports why a device gave no files, or not all.
func (a *app) pullFailed(now time.Time, t pull.Target, err error) {
	var key *pull.HostKeyError
	var auth *pull.AuthError
	switch {
	case errors.As(err, &key) && key.Problem == pull.HostKeyUnknown:
		a.events.Emit(event.HostKeyUnknown(now, t.Device, key.Host, key.Fingerprint))
	case errors.As(err, &key):
		known := ""
		for _, k := range key.Known {
			known = k.Fingerprint
		}
		a.events.Emit(event.HostKeyChanged(now, t.Device, key.Host, known, key.Fingerprint))
	case errors.As(err, &auth):
		a.events.Emit(event.AuthRefused(now, t.Device, auth.User, auth.Error()))
	default:
		a.events.Emit(event.PullFailed(now, t.Device, err.Error()))
	}
}

// serverHooks reports what the read-only server gives and refuses.
func (a *app) serverHooks() actserver.Hooks {
	return actserver.Hooks{
		OnFile: func(t actserver.Transfer) {
			a.events.Emit(event.FileServed(time.Now(), t.Name, t.User, t.Remote.String(), t.Protocol, t.Sent))
		},
		OnRefused: func(r actserver.Refusal) {
			a.events.Emit(event.AccessRefused(time.Now(), r.Remote.String(), r.User, r.What, errorText(r.Err)))
		},
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
