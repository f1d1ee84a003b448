package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
	"acctpull/record"
)

// inputFile is one input being read.
type inputFile struct {
	run     *run
	reader  reader
	in      ledger.Input
	keep    bool
	src     *hashingReader
	rejects rejects
	records int64
}

// ctxEvery is after how many records the context is asked.
const ctxEvery = 4096

// read reads the file and decides its fate.
func (f *inputFile) read() (FileResult, error) {
	r := f.run
	if strings.HasSuffix(strings.ToLower(f.in.Name), ".xml") {
		f.reader.ResetXML(f.src, f.in.Name)
	} else {
		f.reader.Reset(f.src, f.in.Name)
	}
	r.store.begin(f.source())
	err := f.rows()
	truncated := false
	var broken *record.FileError
	var times *timeError
	switch {
	case err == nil:
	case errors.As(err, &times):
		return f.drop(times.Error(), times.hint)
	case errors.As(err, &broken):
		if f.src.err != nil || broken.Kind == record.KindIO {
			return FileResult{}, err
		}
		if !broken.Truncated() {
			return f.drop(err.Error(), broken.Hint())
		}
		truncated = true
	default:
		return FileResult{}, err
	}
	if err := f.verify(); err != nil {
		if f.src.err != nil {
			return FileResult{}, f.src.err
		}
		return f.drop(err.Error(), "")
	}
	return f.accept(truncated)
}

// source is what the file says of itself; its name fills the gaps.
func (f *inputFile) source() source {
	h := f.reader.Header()
	s := source{
		device: f.in.Device, file: f.in.Name, sum: f.in.SHA256, semantics: h.Semantics,
		policy: h.Policy, fileID: h.FileID,
	}
	if s.semantics == "" {
		s.semantics = "unknown"
	}
	if identify := f.run.x.o.Identify; identify != nil && (s.policy == 0 || s.fileID == 0) {
		policy, fileID := identify(f.in.Name)
		if s.policy == 0 {
			s.policy = policy
		}
		if s.fileID == 0 {
			s.fileID = fileID
		}
	}
	return s
}

// rows reads all records; nil means that the file ended cleanly.
func (f *inputFile) rows() error {
	r := f.run
	rec := &r.rec
	for n := 0; ; n++ {
		if n%ctxEvery == 0 {
			if err := r.ctx.Err(); err != nil {
				return err
			}
		}
		err := f.reader.Next(rec)
		if err != nil {
			var bad *record.RecordError
			switch {
			case err == io.EOF:
				return nil
			case errors.As(err, &bad):
				if err := f.reject(bad); err != nil {
					return err
				}
				continue
			}
			return err
		}
		if f.records == 0 {
			r.store.source = f.source() // the header has been read by now
		}
		f.records++
		if f.keep {
			err = r.store.add(rec)
		} else if rec.End != r.store.end || rec.Start != r.store.start {
			err = checkTimes(rec)
			r.store.start, r.store.end = rec.Start, rec.End
		}
		if err != nil {
			return err
		}
	}
}

// verify compares the hash of all bytes with the one the file is known by.
func (f *inputFile) verify() error {
	if _, err := io.Copy(io.Discard, f.src); err != nil {
		return err
	}
	if sum := hex.EncodeToString(f.src.h.Sum(nil)); sum != f.in.SHA256 {
		return fmt.Errorf("the file has changed since it was stored: its SHA-256 is %s, was %s", sum, f.in.SHA256)
	}
	return nil
}

// drop leaves no row of the file and says why.
func (f *inputFile) drop(reason, hint string) (FileResult, error) {
	if f.run.store.spilled {
		return FileResult{}, errSpilled
	}
	f.run.store.rollback()
	return quarantined(f.in, clip(reason, 4*maxText), hint), nil
}

// accept keeps the rows of the file.
func (f *inputFile) accept(truncated bool) (FileResult, error) {
	c := f.run.store.counts
	res := FileResult{
		Input: f.in, State: ledger.Exported, Records: c.records, Rejected: f.rejects.count,
		Repeated: c.repeated, Overflows: c.overflows, Truncated: truncated,
	}
	f.unknown(&res)
	if facts := f.run.x.o.Facts; facts != nil {
		if res.Facts = facts(f.reader.Header(), f.reader.Stats(), f.in.Name); res.Facts != nil {
			res.Facts.Truncated = truncated
		}
	}
	var notes []string
	note := func(n int64, format string) {
		if n > 0 {
			notes = append(notes, fmt.Sprintf(format, n))
		}
	}
	if truncated {
		notes = append(notes, "the file is truncated; its complete records were salvaged")
	}
	note(res.Rejected, "%d unusable records went to quarantine, the first: "+strings.ReplaceAll(f.rejects.first, "%", "%%"))
	note(res.Repeated, "%d records repeat an object at the same or an earlier interval end")
	note(res.Overflows, "%d numbers are above 2^63-1 and stand in the overflow column")
	note(res.Unknown, "%d fields are not in the catalogue: "+strings.ReplaceAll(strings.Join(res.UnknownNames, " "), "%", "%%"))
	note(res.Empty, "%d counters are empty and NULL in the dataset")
	res.Reason = strings.Join(notes, "; ")
	if !f.keep {
		return res, nil
	}
	var err error
	if res.Rejects, err = f.rejects.publish(f.run.ctx, f.run.x.o.Rejects, f.in); err != nil {
		return FileResult{}, err
	}
	f.run.store.commit()
	if truncated {
		f.run.truncated[ledgerKey{f.in.Device, f.in.SHA256}] = true
	}
	return res, nil
}

// maxUnknownNames is how many names of unknown fields are reported of one file.
const maxUnknownNames = 12

// unknown books what the reader met and does not know.
func (f *inputFile) unknown(res *FileResult) {
	stats := f.reader.Stats()
	res.Empty = stats.EmptyCounters
	for _, names := range []map[string]int{stats.UnknownFields, stats.UnknownSubs} {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			res.Unknown += int64(names[name])
			if len(res.UnknownNames) < maxUnknownNames {
				res.UnknownNames = append(res.UnknownNames, clip(name, maxText))
			}
		}
	}
}

// rejects is the file of unusable records of one input.
type rejects struct {
	temp  *durable.File
	hash  hash.Hash // of what was written
	count int64
	first string
}

// rejectsDigest ends the file: a JSON object like every other line.
var rejectsDigest = durable.Digest{Before: `{"digest":"`, After: `"}`}

// reject is one line of the file.
type reject struct {
	Device string `json:"device"`
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	Offset int64  `json:"offset"`
	Path   string `json:"path"`
	Field  string `json:"field"`
	Text   string `json:"text,omitempty"`
	Reason string `json:"reason"`
	Raw    string `json:"raw,omitempty"`
	// RawHex takes the place of Raw if the bytes are not UTF-8.
	RawHex string `json:"raw_hex,omitempty"`
}

// reject keeps an unusable record for the quarantine.
func (f *inputFile) reject(e *record.RecordError) error {
	q := &f.rejects
	q.count++
	if q.count == 1 {
		q.first = clip(e.Error(), maxText)
	}
	if !f.keep {
		return nil
	}
	dir := f.run.x.o.rejecting()
	if q.temp == nil {
		err := durable.MkdirAll(dir)
		if err == nil {
			q.temp, err = durable.Create(dir, rejectsName(f.in), durable.DataMode)
			q.hash = sha256.New()
		}
		if err != nil {
			return &Error{Op: "create quarantine file", Path: dir, Err: err}
		}
	}
	line := reject{
		Device: f.in.Device, File: f.in.Name, SHA256: f.in.SHA256, Offset: e.Offset,
		Path: e.Path, Field: e.Field, Text: e.Text, Reason: e.Reason,
	}
	if utf8.Valid(e.Raw) {
		line.Raw = string(e.Raw)
	} else {
		line.RawHex = hex.EncodeToString(e.Raw)
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	return q.write(append(b, '\n'))
}

func (q *rejects) write(b []byte) error {
	q.hash.Write(b)
	if _, err := q.temp.Write(b); err != nil {
		return &Error{Op: "write quarantine file", Path: q.temp.Path(), Err: err}
	}
	return nil
}

// rejectsName is the file name of an input's unusable records: made of hashes,
// so that no device chooses it.
func rejectsName(in ledger.Input) string {
	device := sha256.Sum256([]byte(in.Device))
	return in.SHA256[:16] + "-" + hex.EncodeToString(device[:8]) + RejectsSuffix
}

// publish gives the file its name in the quarantine and returns it, "" if there
// are no rejects. It replaces an earlier one of the same input.
func (q *rejects) publish(ctx context.Context, to depot.Depot, in ledger.Input) (string, error) {
	if q.temp == nil {
		return "", nil
	}
	name := rejectsName(in)
	if err := q.write(rejectsDigest.Line(q.hash)); err != nil {
		return "", err
	}
	if err := q.replace(ctx, to, name); err != nil {
		return "", &Error{Op: "publish quarantine file", Path: name, Err: err}
	}
	return name, nil
}

func (q *rejects) replace(ctx context.Context, to depot.Depot, name string) error {
	if err := q.temp.Sync(); err != nil {
		return err
	}
	sum := hex.EncodeToString(q.hash.Sum(nil))
	f := []depot.File{{Path: name, Local: q.temp.Path(), SHA256: sum, Size: q.temp.Size()}}
	for range 2 {
		placed, err := to.Publish(ctx, f)
		if err != nil || placed[0].Outcome != depot.Taken {
			return err
		}
		// The same file was read before: by a run that crashed, or with another
		// profile. What it said then can be made again from the file itself.
		if err := to.Remove(ctx, name); err != nil && !isMissing(err) {
			return err
		}
	}
	return ErrConflict
}

// abort removes the file unless it was published.
func (q *rejects) abort() error {
	if q.temp == nil {
		return nil
	}
	return q.temp.Abort()
}
