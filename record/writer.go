package record

import (
	"errors"
	"io"
	"time"
)

// writerBuffer is how many bytes a Writer gathers before it writes them.
const writerBuffer = 64 << 10

// Writer writes a whole file in acctpull's dialect to an io.Writer: an Encoder
// with a buffer and a check of the order of calls. Whoever must place the parts
// of a file with more care, such as one gzip member per interval, uses the
// Encoder.
type Writer struct {
	w          io.Writer
	enc        *Encoder
	buf        []byte
	err        error // the first error of w; every later call returns it
	begun      bool  // the header is in buf or written
	inInterval bool
	closed     bool
}

// NewWriter returns a Writer that has written nothing yet. An invalid header is
// reported by the first call that writes.
func NewWriter(w io.Writer, h Header) *Writer {
	return &Writer{w: w, enc: NewEncoder(h)}
}

// errOrder tells that the calls came in an order that makes no file.
var errOrder = errors.New("calls out of order")

// BeginInterval opens a collection interval; see Encoder.AppendIntervalStart.
func (w *Writer) BeginInterval(start, end time.Time) error {
	if err := w.usable(w.inInterval, "begin interval"); err != nil {
		return err
	}
	if end.IsZero() || !writableTime(end) || !start.IsZero() && !writableTime(start) {
		return &WriteError{Op: "begin interval", Err: errors.New("times must lie in the years 1–9999, and the end must be set")}
	}
	w.header()
	w.inInterval = true
	w.buf = w.enc.AppendIntervalStart(w.buf, start, end)
	return nil
}

// Write writes one record into the open interval; see Encoder.AppendRecord. A
// record that cannot be encoded leaves no trace, and the Writer goes on.
func (w *Writer) Write(r *Record) error {
	if err := w.usable(!w.inInterval, "write record"); err != nil {
		return err
	}
	buf, err := w.enc.AppendRecord(w.buf, r)
	if err != nil {
		return &WriteError{Op: "write record", Err: err}
	}
	w.buf = buf
	if len(w.buf) >= writerBuffer {
		return w.flush()
	}
	return nil
}

// EndInterval closes the open interval and writes out all of it.
func (w *Writer) EndInterval() error {
	if err := w.usable(!w.inInterval, "end interval"); err != nil {
		return err
	}
	w.inInterval = false
	w.buf = w.enc.AppendIntervalEnd(w.buf)
	return w.flush()
}

// Close closes an interval that is still open, writes the end of the file, and
// also its header if nothing was written before. It does not close the
// io.Writer. A second Close does nothing.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	if err := w.usable(false, "close"); err != nil {
		return err
	}
	w.header()
	if w.inInterval {
		w.inInterval = false
		w.buf = w.enc.AppendIntervalEnd(w.buf)
	}
	w.buf = w.enc.AppendFooter(w.buf)
	w.closed = true
	return w.flush()
}

// usable returns why the operation cannot be done now.
func (w *Writer) usable(outOfOrder bool, op string) error {
	switch {
	case w.err != nil:
		return w.err
	case w.enc.headerErr != nil:
		return &WriteError{Op: op, Err: w.enc.headerErr}
	case outOfOrder || w.closed:
		return &WriteError{Op: op, Err: errOrder}
	}
	return nil
}

func (w *Writer) header() {
	if !w.begun {
		w.begun = true
		w.buf = w.enc.AppendHeader(w.buf)
	}
}

func (w *Writer) flush() error {
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	w.buf = w.buf[:0]
	if err != nil {
		w.err = &WriteError{Op: "write", Err: err}
	}
	return w.err
}

// WriteError says which call of a Writer failed, and why.
type WriteError struct {
	Op  string
	Err error
}

func (e *WriteError) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }
