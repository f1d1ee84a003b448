package flash

import "time"

// State is what a Log is doing.
type State struct {
	// Up is false if no place takes files; Err says why.
	Up  bool
	Err error
	// Place is where the open file is, "" if there is none, and Backup tells
	// that it is the backup location (the device's oper-location).
	Place  string
	Backup bool
	// Places are the location and the backup location, then former locations
	// that still have a file which could not be sealed.
	Places []PlaceState
	// Memory is the size of the log-memory. Held entries of HeldBytes in it
	// are committed and not on the flash: a crash now loses everything that
	// was committed since HeldSince, and nothing else.
	Memory    int
	Held      int
	HeldBytes int64
	HeldSince time.Time
}

// PlaceState is the state of one place.
type PlaceState struct {
	Path   string
	Backup bool
	// Err says why it could not be used the last time, nil if it could.
	Err error
	// Untrusted: a write failed here, and the place is not used before Roll.
	Untrusted bool
	// Unsealed: a file is here that could not be sealed yet.
	Unsealed bool
}

// State returns the state.
func (l *Log) State() State {
	s := State{Up: l.err == nil, Err: l.err, Memory: l.o.Memory, Held: len(l.held), HeldBytes: l.heldBytes(), HeldSince: l.since}
	if l.cur != nil {
		s.Place, s.Backup = l.cur.path, l.cur.backup
	}
	for _, p := range l.places {
		s.Places = append(s.Places, PlaceState{Path: p.path, Backup: p.backup, Err: p.err, Untrusted: p.bad, Unsealed: p != l.cur && p.log != nil})
	}
	return s
}
