package pull

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Skew is what is known about the clock of a device: its clock less ours is
// between Min and Max. The zero value is nothing.
type Skew struct{ Min, Max time.Duration }

// openFiles opens the transport with the quirks of the device, and joins it with
// another way to list if that was asked for.
func openFiles(ctx context.Context, c *conn, t Target) (transport, error) {
	want := or(t.Listing, or(t.Quirks.Listing, ListAuto))
	t.Path = t.Quirks.path(t.Path)
	if c.ftp != nil {
		c.ftp.dir = t.Path
		return c.ftp, nil
	}
	tr, err := openTransport(ctx, c, t)
	if err != nil {
		return nil, err
	}
	t.Quirks.apply(tr, want)
	kind := tr.kind()
	switch {
	case want == ListCLI:
		return &listedElsewhere{tr, newCLILister(c, t.Path)}, nil
	case want == ListSCP && kind != SCP:
		s := newSCP(c, t.Path)
		t.Quirks.apply(s, want)
		return &listedElsewhere{tr, s}, nil
	case want == ListSFTP && kind != SFTP:
		s, err := openSFTP(ctx, c, t.Path)
		if err != nil {
			return nil, fmt.Errorf("%w: listing over SFTP: %w", ErrNoTransport, fromPeer(err))
		}
		t.Quirks.apply(s, want)
		return &listedElsewhere{tr, s}, nil
	case want == ListAuto && kind == SCP && isDevicePath(t.Path):
		return &listedSomehow{listedElsewhere{tr, tr}, newCLILister(c, t.Path)}, nil
	}
	return tr, nil
}

// lister lists a directory of a device; see transport.
type lister interface {
	list(ctx context.Context) (listing, error)
	confirm(ctx context.Context, files []entry) (found map[string]entry, gone bool, err error)
}

// listedElsewhere fetches by one transport and lists by another.
type listedElsewhere struct {
	transport
	by lister
}

func (t *listedElsewhere) list(ctx context.Context) (listing, error) { return t.by.list(ctx) }

func (t *listedElsewhere) confirm(ctx context.Context, files []entry) (map[string]entry, bool, error) {
	return t.by.confirm(ctx, files)
}

// skew is what the lister learned about the clock.
func (t *listedElsewhere) skew() Skew {
	if c, ok := t.by.(*cliLister); ok {
		return c.clock
	}
	return Skew{}
}

// listedSomehow lists by SCP, and from the first time on that SCP finds no
// directory, by the command line, if that finds it.
type listedSomehow struct {
	listedElsewhere
	cli *cliLister
}

func (t *listedSomehow) list(ctx context.Context) (listing, error) {
	l, err := t.by.list(ctx)
	if !errors.Is(err, errNoDirectory) || t.by != lister(t.transport) {
		return l, err
	}
	l, other := t.cli.list(ctx)
	if other != nil {
		if t.cli.c.ended() != nil {
			return listing{}, other
		}
		return listing{}, err
	}
	t.by = t.cli
	if s, ok := t.transport.(*scpTransport); ok {
		s.noTimes = true
	}
	return l, nil
}

// confirmByListing makes a new listing, for transports that cannot ask for
// single files.
func confirmByListing(ctx context.Context, by lister) (map[string]entry, bool, error) {
	l, err := by.list(ctx)
	if err != nil {
		return nil, false, err
	}
	found := make(map[string]entry, len(l.files))
	for _, e := range l.files {
		found[e.name] = e
	}
	return found, l.complete, nil
}
