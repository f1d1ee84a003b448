package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// sftpFetch fetches the files of a batch. Each file goes the way OPEN, READs,
// CLOSE; many files are on it at once. READs are asked for in the order of the
// files, so that the oldest is finished first, as far as the memory goes, and
// the last READ of each file lies behind its end: it must find nothing there.
type sftpFetch struct {
	t *sftpTransport
	r *receiver

	todo    []*sftpFile // not opened yet
	flying  []*sftpFile // opened, or being opened, oldest first
	handles int         // open on the device, as far as it told
	owed    int64       // bytes asked for, or held because an earlier block is missing
	limit   int64       // how many there may be
	stop    func() bool // the time limit of the oldest file
	timed   *sftpFile   // that file
}

// sftpFile is one file on its way.
type sftpFile struct {
	entry   entry
	handle  string
	open    bool
	again   bool // the device refused to open it once, when many others were open
	ended   bool // finished or failed; answers that are still due do not matter
	next    int64
	blocks  []*sftpBlk // asked for and not written, in order
	probing bool       // the READ behind the end was sent
	atEnd   bool       // and found it
	got     int64
	to      *download
}

// minSFTPBlock is the least one READ asks for, however little a device gives.
const minSFTPBlock = 4 << 10

// sftpBlk is one READ.
type sftpBlk struct {
	off  int64
	want int
	data []byte // what came before it could be written
	rest int    // how much of its READ the device gave before, 0 if it is whole
}

// newFetch begins to fetch files.
func (t *sftpTransport) newFetch(files []entry, r *receiver) *sftpFetch {
	x := &sftpFetch{t: t, r: r, limit: min(max(t.c.limits.Memory, sftpBlock), sftpOwed), stop: func() bool { return true }}
	if t.one {
		x.limit = 1
	}
	for _, e := range files {
		x.todo = append(x.todo, &sftpFile{entry: e})
	}
	x.advance()
	return x
}

// fetch gets the files.
func (t *sftpTransport) fetch(ctx context.Context, files []entry, r *receiver) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	x := t.newFetch(files, r)
	err := t.p.run()
	x.stop()
	for _, f := range x.flying {
		if f.to != nil && !f.ended {
			f.to.abandon(err)
		}
	}
	return err
}

// window is how many files may be open.
func (x *sftpFetch) window() int {
	if x.t.files > 0 {
		return x.t.files
	}
	return filesInFlight(x.t.c.limits.Parallel, x.t.p.rtt)
}

// advance asks for what may be asked for.
func (x *sftpFetch) advance() {
	x.flying = slices.DeleteFunc(x.flying, func(f *sftpFile) bool { return f.ended })
	for len(x.todo) > 0 && len(x.flying) < x.window() {
		f := x.todo[0]
		x.todo = x.todo[1:]
		x.flying = append(x.flying, f)
		x.t.p.send(func(a answer) error { return x.opened(f, a) }, fxpOpen, joinPath(x.t.dir, f.entry.name), uint32(1), uint32(0))
	}
	x.watch()
	for _, f := range x.flying {
		if f.open && !x.read(f) {
			return
		}
	}
}

// watch keeps the time limit of a file on the oldest one: a file that does not
// come becomes the oldest in the end, and one that only waits for the others on a
// slow line has time.
func (x *sftpFetch) watch() {
	var oldest *sftpFile
	if len(x.flying) > 0 {
		oldest = x.flying[0]
	}
	if oldest == x.timed {
		return
	}
	x.stop()
	if x.timed = oldest; oldest != nil {
		x.stop = x.t.c.fileLimit(oldest.entry.name)
	}
}

// read asks for the blocks of a file. It returns false if there is no room.
func (x *sftpFetch) read(f *sftpFile) bool {
	for f.next < f.entry.size {
		b := &sftpBlk{off: f.next, want: int(min(f.entry.size-f.next, int64(x.t.block)))}
		if x.owed > 0 && x.owed+int64(b.want) > x.limit {
			return false
		}
		f.next += int64(b.want)
		f.blocks = append(f.blocks, b)
		x.ask(f, b)
	}
	if !f.probing {
		if x.t.one && x.owed > 0 {
			return false
		}
		f.probing = true
		x.t.p.send(func(a answer) error { return x.probed(f, a) }, fxpRead, f.handle, uint64(f.entry.size), uint32(1))
	}
	return true
}

func (x *sftpFetch) ask(f *sftpFile, b *sftpBlk) {
	x.owed += int64(b.want)
	x.t.p.send(func(a answer) error { return x.came(f, b, a) }, fxpRead, f.handle, uint64(b.off), uint32(b.want))
}

// opened takes the answer to OPEN.
func (x *sftpFetch) opened(f *sftpFile, a answer) error {
	var err error
	switch a.kind {
	case fxpHandle:
		if f.handle, err = a.handle(); err != nil {
			return err
		}
		x.handles++
		f.open = true
		if f.to, err = x.r.begin(f.entry); err != nil {
			return err
		}
	case fxpStatus:
		var said *sftpError
		if said, err = a.status(); err != nil {
			return err
		}
		if said == nil {
			return a.unexpected()
		}
		x.refused(f, said)
	default:
		return a.unexpected()
	}
	x.advance()
	return nil
}

// refused takes back a file that the device did not open. It may be that it opens
// no more files at once than those it has opened: then it gets another chance,
// and the device fewer files.
func (x *sftpFetch) refused(f *sftpFile, said *sftpError) {
	f.ended = true
	if x.handles > 0 && !f.again && said.code != statusNoFile && said.code != statusPermission {
		x.t.files = max(min(x.handles, x.window()), 1)
		x.todo = slices.Insert(x.todo, 0, &sftpFile{entry: f.entry, again: true})
		return
	}
	x.r.failed(f.entry, fmt.Errorf("open on the device: %w", said))
}

// came takes the answer to a READ.
func (x *sftpFetch) came(f *sftpFile, b *sftpBlk, a answer) error {
	if f.ended {
		x.owed -= int64(b.want)
		x.advance()
		return nil
	}
	switch a.kind {
	case fxpData:
		d, err := a.data()
		if err != nil {
			return err
		}
		if len(d) > b.want {
			return x.fail(f, b, fmt.Errorf("%w: more than %d bytes", errSize, f.entry.size))
		}
		if b.rest > 0 {
			// It gives less than it is asked for, and that was not the end.
			x.t.block = min(x.t.block, max(b.rest, minSFTPBlock))
		}
		if len(d) < b.want {
			x.split(f, b, len(d))
		}
		return x.take(f, b, d)
	case fxpStatus:
		said, err := a.status()
		switch {
		case err != nil:
			return err
		case said == nil:
			return a.unexpected()
		case said.code == statusEOF:
			return x.fail(f, b, fmt.Errorf("%w: %d of %d bytes", errSize, f.got, f.entry.size))
		}
		return x.fail(f, b, fmt.Errorf("read on the device: %w", said))
	}
	return a.unexpected()
}

// split leaves n bytes to a block and asks for the rest.
func (x *sftpFetch) split(f *sftpFile, b *sftpBlk, n int) {
	rest := &sftpBlk{off: b.off + int64(n), want: b.want - n, rest: n}
	i := slices.Index(f.blocks, b)
	f.blocks = slices.Insert(f.blocks, i+1, rest)
	x.owed -= int64(rest.want)
	b.want = n
	x.ask(f, rest)
}

// take writes a block, and those after it that waited for it.
func (x *sftpFetch) take(f *sftpFile, b *sftpBlk, d []byte) error {
	if b != f.blocks[0] {
		b.data = slices.Clone(d)
		return nil
	}
	for d != nil {
		if _, err := f.to.Write(d); err != nil {
			return &localError{err}
		}
		f.got += int64(len(d))
		x.owed -= int64(len(d))
		f.blocks = f.blocks[1:]
		if d = nil; len(f.blocks) > 0 {
			d = f.blocks[0].data
		}
	}
	return x.done(f)
}

// probed takes the answer to the READ behind the end of a file.
func (x *sftpFetch) probed(f *sftpFile, a answer) error {
	if f.ended {
		return nil
	}
	switch a.kind {
	case fxpData:
		if _, err := a.data(); err != nil {
			return err
		}
		return x.fail(f, nil, fmt.Errorf("%w: more than %d bytes", errSize, f.entry.size))
	case fxpStatus:
		said, err := a.status()
		switch {
		case err != nil:
			return err
		case said == nil:
			return a.unexpected()
		case said.code != statusEOF:
			return x.fail(f, nil, fmt.Errorf("read on the device: %w", said))
		}
		f.atEnd = true
		return x.done(f)
	}
	return a.unexpected()
}

// done finishes a file when everything of it is there.
func (x *sftpFetch) done(f *sftpFile) error {
	if f.atEnd && f.got == f.entry.size {
		x.close(f)
		if f == x.timed { // what follows is our own disk
			x.stop()
			x.timed = nil
		}
		if err := f.to.finish(); err != nil {
			return err
		}
	}
	x.advance()
	return nil
}

// fail gives a file up. b is the block that is answered by that.
func (x *sftpFetch) fail(f *sftpFile, b *sftpBlk, why error) error {
	x.close(f)
	for _, held := range f.blocks {
		if held.data != nil || held == b {
			x.owed -= int64(held.want)
		}
	}
	f.to.abandon(why)
	x.advance()
	return nil
}

// close ends a file on the device. One that does not close is the device's loss,
// not ours.
func (x *sftpFetch) close(f *sftpFile) {
	f.ended = true
	x.t.p.send(func(answer) error { x.handles--; return nil }, fxpClose, f.handle)
}

// errSize says that a file did not have the size of the listing.
var errSize = errors.New("not the announced size")
