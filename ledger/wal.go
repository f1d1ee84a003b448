package ledger

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"acctpull/internal/durable"
)

// Sizes and marks of a write-ahead log: SQLite file format, section 4.
const (
	walHeader  = 32
	walFrame   = 24
	walMagic   = 0x377f0682 // with bit 0 set, checksums read big-endian words
	walVersion = 3007000
)

// CheckLog proves the write-ahead log of the ledger file at path, which is there
// while a process has the ledger open and after a crash. SQLite takes the log to
// end where a checksum is wrong: what follows would be lost without a word.
// CheckLog reads the file only and does not open the ledger. Damage is
// ErrDamaged; a process that writes meanwhile can look like it, so ask again
// before you believe it. A log that is missing or empty is whole.
//
// What it cannot see is a flipped bit in frames of an earlier round, which stay
// behind the end of a log that began again and which nobody reads.
func CheckLog(path string) error {
	if err := checkLog(path + "-wal"); err != nil {
		return &Error{Op: "check the log of", Path: path, Err: err}
	}
	return nil
}

func checkLog(path string) (err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := durable.DropCache(f); err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, 1<<17)
	var head [walHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil // a crash while it was made: there is nothing in it
		}
		return err
	}
	w, err := newWal(head[:])
	if err != nil {
		return err
	}
	return w.walk(r)
}

// wal is the state of a walk through a log.
type wal struct {
	order  binary.ByteOrder
	salt   [8]byte
	s0, s1 uint32 // the running checksum
	frame  []byte
}

func newWal(head []byte) (*wal, error) {
	be := binary.BigEndian
	magic, page := be.Uint32(head), be.Uint32(head[8:])
	if magic&^1 != walMagic || be.Uint32(head[4:]) != walVersion || page < 512 || page > 65536 || page&(page-1) != 0 {
		return nil, fmt.Errorf("%w: the header of the log is wrong", ErrDamaged)
	}
	w := &wal{order: binary.LittleEndian, frame: make([]byte, walFrame+page)}
	if magic&1 != 0 {
		w.order = be
	}
	copy(w.salt[:], head[16:24])
	w.add(head[:24])
	if !w.sum(head[24:]) {
		return nil, fmt.Errorf("%w: the checksum of the header of the log is wrong", ErrDamaged)
	}
	return w, nil
}

// add takes bytes into the running checksum.
func (w *wal) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		w.s0 += w.order.Uint32(b) + w.s1
		w.s1 += w.order.Uint32(b[4:]) + w.s0
	}
}

// sum compares the running checksum with the one that is written.
func (w *wal) sum(b []byte) bool {
	return binary.BigEndian.Uint32(b) == w.s0 && binary.BigEndian.Uint32(b[4:]) == w.s1
}

// walk reads the frames: valid ones up to the end of the log, and behind it
// only what an earlier round left.
func (w *wal) walk(r io.Reader) error {
	ended := false
	for n := 1; ; n++ {
		_, err := io.ReadFull(r, w.frame)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil // the last frame was being written
		}
		if err != nil {
			return err
		}
		salt := w.frame[8:16]
		first, second := string(salt[:4]) == string(w.salt[:4]), string(salt[4:]) == string(w.salt[4:])
		switch {
		case ended && first && second:
			return fmt.Errorf("%w: frame %d of the log lies behind its end", ErrDamaged, n)
		case ended:
			continue
		case first != second:
			return fmt.Errorf("%w: frame %d of the log has half of a salt", ErrDamaged, n)
		case !first:
			ended = true
			continue
		}
		w.add(w.frame[:8])
		w.add(w.frame[walFrame:])
		if !w.sum(w.frame[16:walFrame]) {
			return fmt.Errorf("%w: frame %d of the log has a wrong checksum; it and what follows was lost in a power cut, or damaged", ErrDamaged, n)
		}
	}
}
