package actserver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// rekeyBytes is the amount of data after which session keys are renewed.
const rekeyBytes = 1 << 30

// Limits bound what clients can take. A zero field means its default, which is
// written beside it (the shape is that of OpenSSH's
// MaxStartups and PerSourcePenalties).
type Limits struct {
	// LoginGrace is the time from connection to login: 30 s.
	LoginGrace time.Duration
	// AuthTries is the number of failed attempts that end a connection: 3.
	AuthTries int
	// Unauthenticated connections at once, at most: 20.
	Unauthenticated int
	// EarlyDrop is the number of unauthenticated connections from which on new
	// ones are dropped at random: 10. The chance rises from EarlyDropPercent,
	// 30, to certainty at Unauthenticated.
	EarlyDrop        int
	EarlyDropPercent int
	// UnauthenticatedPerSource bounds the share of one source, so that one
	// source alone never brings others under the early drop: 8.
	UnauthenticatedPerSource int
	// Connections at once, logged in or not: 64.
	Connections int
	// Sessions open at once on one connection: 4.
	Sessions int
	// Handles, of files and of directories, open at once on one connection: 32.
	Handles int
	// Idle is the time without a byte of session data after which a connection
	// is closed: 5 min. Keep-alive messages are not session data.
	Idle time.Duration
	// PenaltyFailure is what one failed login attempt costs its source (a /32
	// or /64): 5 s. Letting LoginGrace pass costs twice as much, going away
	// without any attempt a fifth. A source that owes PenaltyMin, 15 s, or more
	// is refused until the debt has run down; no debt exceeds PenaltyMax,
	// 600 s. A connection that logs in owes nothing. PenaltyFailure below zero:
	// no penalties.
	PenaltyFailure, PenaltyMin, PenaltyMax time.Duration
}

// complete fills in the defaults and refuses what cannot work.
func (l Limits) complete() (Limits, error) {
	var errs []error
	for _, f := range []struct {
		name string
		v    *int
		def  int
	}{
		{"auth tries", &l.AuthTries, 3},
		{"unauthenticated connections", &l.Unauthenticated, 20},
		{"early drop", &l.EarlyDrop, min(10, orDefault(l.Unauthenticated, 20))},
		{"early drop percent", &l.EarlyDropPercent, 30},
		{"unauthenticated connections per source", &l.UnauthenticatedPerSource, 8},
		{"connections", &l.Connections, 64},
		{"sessions", &l.Sessions, 4},
		{"handles", &l.Handles, 32},
	} {
		if *f.v < 0 {
			errs = append(errs, fmt.Errorf("limit on %s: %d is below zero", f.name, *f.v))
		}
		*f.v = orDefault(*f.v, f.def)
	}
	for _, f := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{
		{"login grace", &l.LoginGrace, 30 * time.Second},
		{"idle", &l.Idle, 5 * time.Minute},
		{"penalty minimum", &l.PenaltyMin, 15 * time.Second},
		{"penalty maximum", &l.PenaltyMax, 600 * time.Second},
	} {
		if *f.v < 0 {
			errs = append(errs, fmt.Errorf("limit %s: %s is below zero", f.name, *f.v))
		}
		*f.v = orDefault(*f.v, f.def)
	}
	l.PenaltyFailure = orDefault(l.PenaltyFailure, 5*time.Second)
	if l.EarlyDrop > l.Unauthenticated {
		errs = append(errs, fmt.Errorf("early drop at %d is above the %d unauthenticated connections allowed", l.EarlyDrop, l.Unauthenticated))
	}
	if l.EarlyDropPercent > 100 {
		errs = append(errs, fmt.Errorf("early drop of %d percent is above 100", l.EarlyDropPercent))
	}
	if l.PenaltyMin > l.PenaltyMax {
		errs = append(errs, fmt.Errorf("penalty minimum %s is above the maximum %s", l.PenaltyMin, l.PenaltyMax))
	}
	return l, errors.Join(errs...)
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// earlyDrop decides about one more connection while n are not logged in yet;
// roll is uniform in 0..99.
func earlyDrop(l Limits, n, roll int) bool {
	switch {
	case n >= l.Unauthenticated:
		return true
	case n < l.EarlyDrop:
		return false
	}
	chance := l.EarlyDropPercent + (100-l.EarlyDropPercent)*(n-l.EarlyDrop)/(l.Unauthenticated-l.EarlyDrop)
	return roll < chance
}

// source is the network a penalty falls on: an IPv4 address or an IPv6 /64.
// Addresses that are no IP addresses share the zero source.
func source(a net.Addr) netip.Prefix {
	if a == nil {
		return netip.Prefix{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	bits := 64
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is4() {
		bits = 32
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// maxPenalties bounds the table of sources; beyond it the debt that runs out
// first is forgotten.
const maxPenalties = 4096

// penalties is the table of what sources owe. It is not safe for concurrent
// use; time is an argument.
type penalties struct {
	min, max time.Duration
	owed     map[netip.Prefix]debt
}

// debt runs down with time; active says that it once reached the minimum and
// is enforced until it is gone.
type debt struct {
	until  time.Time
	active bool
}

// refuse says whether a source has to wait.
func (p *penalties) refuse(now time.Time, src netip.Prefix) bool {
	d, ok := p.owed[src]
	if !ok {
		return false
	}
	if !now.Before(d.until) {
		delete(p.owed, src)
		return false
	}
	return d.active
}

// charge adds to what a source owes.
func (p *penalties) charge(now time.Time, src netip.Prefix, amount time.Duration) {
	if amount <= 0 {
		return
	}
	d, ok := p.owed[src]
	if !ok && len(p.owed) >= maxPenalties {
		p.makeRoom(now)
	}
	if d.until.Before(now) {
		d = debt{until: now}
	}
	d.until = d.until.Add(amount)
	if limit := now.Add(p.max); d.until.After(limit) {
		d.until = limit
	}
	d.active = d.active || d.until.Sub(now) >= p.min
	p.owed[src] = d
}

// makeRoom forgets every debt that has run out, or else the next one to do so.
func (p *penalties) makeRoom(now time.Time) {
	var first netip.Prefix
	var until time.Time
	for src, d := range p.owed {
		if !now.Before(d.until) {
			delete(p.owed, src)
		} else if until.IsZero() || d.until.Before(until) {
			first, until = src, d.until
		}
	}
	if len(p.owed) >= maxPenalties {
		delete(p.owed, first)
	}
}

// gate counts connections and decides who may enter.
type gate struct {
	limits Limits

	mu        sync.Mutex
	total     int
	pending   int // not logged in yet
	bySource  map[netip.Prefix]int
	penalties penalties
}

func newGate(l Limits) *gate {
	return &gate{
		limits:    l,
		bySource:  make(map[netip.Prefix]int),
		penalties: penalties{min: l.PenaltyMin, max: l.PenaltyMax, owed: make(map[netip.Prefix]debt)},
	}
}

// ticket is the right of one connection to be here. Its methods lock the gate.
type ticket struct {
	gate    *gate
	src     netip.Prefix
	pending bool
}

// enter admits a connection or says why not.
func (g *gate) enter(remote net.Addr, now time.Time) (*ticket, error) {
	src := source(remote)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.penalties.refuse(now, src):
		return nil, ErrPenalty
	case g.total >= g.limits.Connections:
		return nil, fmt.Errorf("%w: %d connections", ErrTooMany, g.total)
	case g.bySource[src] >= g.limits.UnauthenticatedPerSource:
		return nil, fmt.Errorf("%w: %d connections from this source are not logged in", ErrTooMany, g.bySource[src])
	case earlyDrop(g.limits, g.pending, rand.IntN(100)):
		return nil, fmt.Errorf("%w: %d connections are not logged in", ErrTooMany, g.pending)
	}
	g.total++
	g.pending++
	g.bySource[src]++
	return &ticket{gate: g, src: src, pending: true}, nil
}

// loggedIn moves the connection out of the count of those not logged in.
func (t *ticket) loggedIn() {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	t.settle()
}

func (t *ticket) settle() {
	if !t.pending {
		return
	}
	t.pending = false
	t.gate.pending--
	if t.gate.bySource[t.src]--; t.gate.bySource[t.src] == 0 {
		delete(t.gate.bySource, t.src)
	}
}

// leave ends the connection and charges its source.
func (t *ticket) leave(now time.Time, penalty time.Duration) {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	t.settle()
	t.gate.total--
	t.gate.penalties.charge(now, t.src, penalty)
}

// penalty is what a connection that ended without a login owes.
func (l Limits) penalty(failures int, graceOver bool) time.Duration {
	unit := max(l.PenaltyFailure, 0)
	switch {
	case failures > 0:
		return time.Duration(failures) * unit
	case graceOver:
		return 2 * unit
	}
	return unit / 5
}
