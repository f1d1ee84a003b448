package pull

import (
	"context"
	"errors"
	"fmt"

	"acctpull/rollover"
)

// entry is one accounting file in the listing of a device. The name parsed as
// one, so it is safe everywhere: in a path here, in a command line there.
type entry struct {
	name  string
	size  int64
	mtime int64 // Unix seconds, 0 unknown
}

// same reports whether two entries of one name are one discovery key.
func (e entry) same(o entry) bool { return e.size == o.size && e.mtime == o.mtime }

// listing is what a directory of a device holds.
type listing struct {
	files   []entry
	ignored int // names beside them
	// complete is false if the device reported errors: a file that is not in
	// the listing may still be there.
	complete bool
}

// transport gets files off one directory of one device. Its methods are called
// one after the other. An error of a method means that the connection cannot be
// used any longer, except for errNoDirectory and localError.
type transport interface {
	// list lists the closed accounting files.
	list(ctx context.Context) (listing, error)
	// fetch gets the files into r. What happened to each file, r knows; a
	// file of which r knows nothing did not come. Each file is asked for at
	// most once.
	fetch(ctx context.Context, files []entry, r *receiver) error
	// confirm looks at files again after they were fetched: found has those
	// that are still there, as they are now. gone says that a file that is
	// not in found is known to be gone.
	confirm(ctx context.Context, files []entry) (found map[string]entry, gone bool, err error)
	// kind is SFTP or SCP.
	kind() Transport
}

// errNoDirectory: the directory is not there, or is none.
var errNoDirectory = errors.New("no such directory on the device")

// localError is a failure on our side of the transfer: the disk, not the
// device. It ends the run.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// openTransport chooses the way to fetch files. Auto is SFTP, and SCP if the
// device refuses the SFTP subsystem or ends it before it speaks.
func openTransport(ctx context.Context, c *conn, t Target) (transport, error) {
	want := or(t.Transport, Auto)
	if want == SCP {
		return newSCP(c, t.Path), nil
	}
	s, err := openSFTP(ctx, c, t.Path)
	err = c.lost(err)
	switch {
	case err == nil:
		return s, nil
	case c.ended() != nil:
		return nil, err
	case want == SFTP:
		return nil, &hinted{fmt.Errorf("%w: SFTP: %w", ErrNoTransport, fromPeer(err)), "try --transport scp, or enable the SFTP server of the device"}
	}
	if err := c.within(c.limits.Open, "answer after SFTP was refused", c.alive); err != nil {
		return nil, err
	}
	return newSCP(c, t.Path), nil
}

// accept turns one name of a listing into an entry, or reports that the file is
// not ours to fetch. Event logs have names of ours, and no records.
func accept(name string, size, mtime int64) (entry, bool) {
	n, err := rollover.ParseName(name)
	if err != nil || n.Prefix != rollover.Act || size < 0 {
		return entry{}, false
	}
	return entry{name: name, size: size, mtime: max(mtime, 0)}, true
}
