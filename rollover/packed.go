package rollover

import "bytes"

// Packed is an entry that is compressed already: one whole gzip member in
// memory. It belongs to no file, so it can be written again, to another one,
// when the first would not take it. It does not change.
type Packed struct {
	pieces [][]byte
	size   int64
}

// Size returns how many bytes the entry takes in a file.
func (p *Packed) Size() int64 { return p.size }

// Write takes compressed bytes; the Packer calls it.
func (p *Packed) Write(b []byte) (int, error) {
	p.pieces = append(p.pieces, bytes.Clone(b))
	p.size += int64(len(b))
	return len(b), nil
}

// Packer compresses entries into memory, one at a time. Its compressor takes
// most of a megabyte, from the first entry on; logs that never work at the same
// moment may share one, see Options.Packer.
type Packer struct {
	out *member
	p   *Packed // the entry being compressed, nil if there is none
}

// NewPacker returns a Packer with a gzip level of 1 to 9; 0 means 6.
func NewPacker(level int) *Packer { return &Packer{out: newMember(level)} }

// Begin starts an entry and forgets one that was not ended.
func (k *Packer) Begin() error {
	k.p = &Packed{}
	return k.out.begin(k.p, 0, "")
}

// Write adds bytes to the entry.
func (k *Packer) Write(b []byte) (int, error) {
	if k.p == nil {
		return 0, &Error{Op: "write entry", Err: ErrEntryDone}
	}
	return k.out.zw.Write(b)
}

// End completes the entry.
func (k *Packer) End() (*Packed, error) {
	p := k.p
	if p == nil {
		return nil, &Error{Op: "end entry", Err: ErrEntryDone}
	}
	k.p = nil
	_, err := k.out.end()
	return p, err
}

// WritePacked appends entries to the open file and commits them together: after
// it returned nil they survive any crash. The rollover time is not tested, see
// [Log.Due]. With no open file the error matches [ErrNoFile].
//
// If there was no room, the file is cut back to what was committed before and
// takes entries as before. After any other error it takes none, and nothing
// may be claimed about the entries but that they are there whole or not at all
// once the file is sealed.
func (l *Log) WritePacked(entries ...*Packed) error {
	const op = "write entries"
	switch {
	case l.closed:
		return &Error{Op: op, Err: ErrClosed}
	case l.open == nil:
		return &Error{Op: op, Err: ErrNoFile}
	case l.entry != nil:
		return &Error{Op: op, File: l.open.name.String(), Err: ErrEntryOpen}
	case l.open.state != writable:
		return &Error{Op: op, File: l.open.name.String(), Err: ErrBroken}
	}
	f := l.open
	at, err := f.write(entries)
	full := NoSpace(err) // and not: the room was missing when it was synced
	if err == nil {
		err = l.sync(at)
	}
	if err == nil {
		f.committed = at
		return nil
	}
	// The entries may go to another file now. They must not be found here too,
	// should this file never be mended.
	cut := f.f.Truncate(f.committed) == nil
	if full && cut {
		return &Error{Op: op, File: f.name.String(), Err: err}
	}
	return l.fail(op, err)
}

// write writes entries to the end of the file and returns the offset behind
// them.
func (f *open) write(entries []*Packed) (int64, error) {
	at := f.committed
	for _, p := range entries {
		for _, b := range p.pieces {
			n, err := f.f.Write(b)
			at += int64(n)
			if err != nil {
				return at, err
			}
		}
	}
	return at, nil
}
