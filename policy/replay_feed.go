package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"acctpull/record"
)

// together is how far apart the times of two records of one interval may lie: a
// device may give each record its own time. The shortest collection interval is
// twice as long.
const together = 30 * time.Second

// feed is the recording as one policy sees it: the intervals of its record, one
// after the other.
type feed struct {
	r      *Replay
	name   record.Name
	busy   sync.Mutex // held during a collection
	reader *record.Reader

	next  int           // the next file
	file  io.ReadCloser // the file that is read; nil between files
	note  ReplayNote    // on that file
	rec   record.Record // the first record of the next interval, if ahead
	ahead bool
	cut   bool // the collection before was stopped; skip what is left of its interval
	end   time.Time
	at    int // the file in which the interval before ended

	passed   int  // records given out in this round
	finished bool // the end of the recording was told
	// semantics of the recording; r.mu is held while it is set.
	semantics string
	known     bool // semantics is that of a file

	places map[*record.RowSet]*rowPlaces
	listed map[objectKey]int // the objects of the request before
	of     []*Object
	seen   []bool
}

// sample gives out the next interval.
func (f *feed) sample(ctx context.Context, req Request, out Sink) error {
	f.busy.Lock()
	defer f.busy.Unlock()
	if req.Closing {
		for _, o := range req.Objects {
			out.Missing(o, errReplayBetween)
		}
		return nil
	}
	f.list(req.Objects)
	if f.cut {
		f.cut = false
		if err := f.skip(ctx); err != nil {
			return err
		}
	}
	ok, again, err := f.begin(ctx)
	if err != nil {
		return err
	}
	if !ok {
		f.missAll(out)
		return nil
	}
	for _, o := range req.Objects {
		if !again {
			break
		}
		out.Restarted(o, "the recording began again")
	}
	if err := f.interval(ctx, out); err != nil {
		f.cut = true
		return err
	}
	for i, o := range req.Objects {
		if !f.seen[i] {
			out.Missing(o, errReplayAbsent)
		}
	}
	return nil
}

// begin goes to the first record of the next interval. It is false at the end of
// the recording; again tells that the recording was begun once more.
func (f *feed) begin(ctx context.Context) (ok, again bool, err error) {
	if f.ahead {
		return true, false, nil
	}
	if ok, err := f.advance(ctx); ok || err != nil {
		return ok, false, err
	}
	if !f.r.Loop || f.passed == 0 {
		if !f.finished {
			f.finished = true
			f.tell(ReplayNote{Record: f.name})
		}
		return false, false, nil
	}
	f.tell(ReplayNote{Record: f.name, Again: true})
	f.next, f.passed = 0, 0
	ok, err = f.advance(ctx)
	return ok, ok, err
}

// interval hands out the records of the interval that begins with rec.
func (f *feed) interval(ctx context.Context, out Sink) error {
	clear(f.seen)
	f.end, f.at = f.rec.End, f.next
	for {
		if f.pass() {
			f.note.UnknownFields += len(f.rec.Unknown)
			if err := out.Record(&f.rec); err != nil {
				f.note.Late++
				return err
			}
			f.note.Passed++
			f.passed++
		} else {
			f.note.Unlisted++
		}
		more, err := f.advance(ctx)
		if err != nil {
			return err
		}
		if !more || !f.same() {
			return nil
		}
	}
}

// same tells whether rec belongs to the interval that is given out. Without
// times a file is an interval.
func (f *feed) same() bool {
	if f.rec.End.IsZero() || f.end.IsZero() {
		return f.next == f.at
	}
	apart := together
	if every := f.reader.Header().Interval; every > 0 {
		apart = min(apart, every/2)
	}
	return f.rec.End.Sub(f.end).Abs() < apart
}

// skip leaves out what is left of an interval.
func (f *feed) skip(ctx context.Context) error {
	for {
		more, err := f.advance(ctx)
		if err != nil {
			f.cut = true
			return err
		}
		if !more || !f.same() {
			return nil
		}
		f.note.Late++
	}
}

// pass makes rec a record of the agent's own: its policy and times are those of
// the file that is written. It is false if its object is not listed.
func (f *feed) pass() bool {
	f.rec.Policy, f.rec.Start, f.rec.End = 0, time.Time{}, time.Time{}
	if len(f.of) == 0 {
		return true
	}
	p := f.places[f.rec.Set]
	if p == nil {
		p = placesOf(f.rec.Set)
		f.places[f.rec.Set] = p
	}
	at, ok := f.listed[p.object(f.of[0].Type, &f.rec)]
	if ok {
		f.seen[at] = true
	}
	return ok
}

// list remembers the objects of the request.
func (f *feed) list(objects []*Object) {
	if len(objects) == len(f.of) && (len(objects) == 0 || objects[0] == f.of[0]) {
		return
	}
	f.of, f.listed, f.seen = objects, make(map[objectKey]int, len(objects)), make([]bool, len(objects))
	for i, o := range objects {
		f.listed[keyOf(o)] = i
	}
}

// missAll reports every object at the end of the recording.
func (f *feed) missAll(out Sink) {
	why := errReplayEnded
	if f.passed == 0 {
		why = errReplayNothing
	}
	for _, o := range f.of {
		out.Missing(o, why)
	}
}

// advance reads the next record of the policy's record name into rec, from the
// next file if this one has come to its end. It is false at the end of the last
// one. The error is that of ctx.
func (f *feed) advance(ctx context.Context) (bool, error) {
	f.ahead = false
	for {
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		if f.file == nil {
			if f.next == len(f.r.Files) {
				return false, nil
			}
			f.open()
			continue
		}
		err := f.reader.Next(&f.rec)
		var bad *record.RecordError
		switch {
		case err == nil && f.rec.Set.Record != f.name:
			f.note.Other++
		case err == nil && f.means():
			f.ahead = true
			return true, nil
		case err == nil:
		case errors.As(err, &bad):
			f.note.Bad++
		case errors.Is(err, io.EOF):
			f.close(nil)
		default:
			f.close(err)
		}
	}
}

// means takes note of what the counters of the file are. A recording that says
// two things would end in one file that says one of them, so the rest of such a
// file is left out.
func (f *feed) means() bool {
	s := f.reader.Header().Semantics
	if !f.known {
		f.r.mu.Lock()
		f.semantics, f.known = s, true
		f.r.mu.Unlock()
	}
	if s == f.semantics {
		return true
	}
	f.close(fmt.Errorf("its counters are %q, those of the files before it are %q; replay them apart", s, f.semantics))
	return false
}

// open opens the next file, after a look at the whole of it: of a damaged file
// nothing is given out, of one that was cut off all that is complete.
func (f *feed) open() {
	path := f.r.Files[f.next]
	f.next++
	f.note = ReplayNote{Record: f.name, File: path}
	file, err := os.Open(path)
	if err != nil {
		f.tell(f.withError(err))
		return
	}
	f.file = file
	f.reset(file, path)
	_, err = f.reader.Verify()
	var fe *record.FileError
	if err != nil && !(errors.As(err, &fe) && fe.Truncated()) {
		f.close(err)
		return
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		f.close(err)
		return
	}
	f.reset(file, path)
}

func (f *feed) reset(src io.Reader, path string) {
	if strings.HasSuffix(path, ".xml") {
		f.reader.ResetXML(src, path)
	} else {
		f.reader.Reset(src, path)
	}
}

// close ends a file, and tells what became of it.
func (f *feed) close(err error) {
	err = errors.Join(err, f.file.Close())
	f.file = nil
	f.tell(f.withError(err))
}

func (f *feed) withError(err error) ReplayNote {
	f.note.Err = err
	return f.note
}

func (f *feed) tell(n ReplayNote) {
	if f.r.OnNote != nil {
		f.r.OnNote(n)
	}
}
