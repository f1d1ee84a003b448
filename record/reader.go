package record

import (
	"errors"
	"io"
	"slices"
	"time"
)

// ReaderOptions tell a Reader what the files do not say. The zero value reads
// everything whose record name stands in the file or follows from its
// sub-records.
type ReaderOptions struct {
	File      string     // name of the file for errors, if Reset gives none
	Catalogue *Catalogue // nil means Builtin
	Profile   *Profile   // how a kind of device spells things; nil if it needs no help
	Record    Name       // record name of files that do not give one
	Platform  string     // "7210 SAS" …, chooses between row sets that fit equally; "" for the profile's
	Limits    Limits
	// Salvage makes a file that was cut off yield all records that are
	// complete in it before the FileError, whose Truncated is then true. It
	// does not make damaged data acceptable. Without it an error of the gzip
	// data comes as soon as it is known.
	Salvage bool

	slow bool // without the fast path; tests compare the two
}

// Stats is what a Reader found in one file up to now.
type Stats struct {
	Records    int64 // records returned
	BadRecords int64 // records that ended in a RecordError
	// UnknownFields counts fields that neither catalogue nor profile knows, on
	// records (where they are kept in Record.Unknown) and around them. The
	// name "…" stands for all beyond the first thousand names.
	UnknownFields map[string]int
	// UnknownSubs counts records whose sub-record is not known; they were
	// returned with a RowSet that is not Known.
	UnknownSubs   map[string]int
	EmptyCounters int64     // numeric fields that were there without content
	MinEnd        time.Time // first and last interval end; zero if none was given
	MaxEnd        time.Time
	// Spans are the collection intervals that have records, by their ends.
	// Records without an end are in none. Of a file with more than maxSpans
	// different ends it is nil: they are no collection intervals.
	Spans     []Span
	XMLBytes  int64 // decompressed bytes
	GzipBytes int64 // compressed bytes; 0 for plain XML
	Members   int64 // gzip members; 0 for plain XML
}

// Span is one collection interval of a file.
type Span struct {
	Start   time.Time // the earliest start that one of its records gave; zero if none did
	End     time.Time
	Records int64
}

// maxSpans bounds Stats.Spans: a week, the longest rollover, has 10,080
// intervals of a minute, the shortest there is.
const maxSpans = 1 << 15

// Reader reads accounting files of any shape, one record after the other.
//
// A field may be a child element, an attribute or a name/value pair; root and
// namespaces are ignored; keys, times, policy and record name may stand on any
// enclosing element, before the rows they hold for. Rows inside the element of
// an object (meters or queues of a SAP) come before the row of that object.
//
// The Reader streams: records are returned while the end of the file is not
// known yet. Keep them aside until Next returns io.EOF, for only then the gzip
// checksums and the end of the XML were right; on a FileError throw them away,
// unless its Truncated is true.
//
// A Reader is reused with Reset for any number of files. It is not safe for
// concurrent use.
type Reader struct {
	o          ReaderOptions
	lim        Limits
	location   *time.Location
	profileErr error
	fileTime   bool // the interval end is in the file name
	v          *vocabulary
	s          scanner
	gz         gzipReader
	zipped     bool

	frames []frame
	fields []field // of all frames, in their order
	arena  []byte  // the texts of these fields

	oldFields []field // for replace
	oldTexts  []byte

	strings    interner
	binds      map[schema]bindings
	bound      int // bindings in binds
	newKinds   int // bindings made for this file
	lastSchema schema
	lastBinds  bindings
	sets       map[string]*RowSet     // made for what the catalogue does not have
	bySub      map[string]*Definition // record names found from sub-records in this file
	seen       []string               // sub-records seen in this file without a record name
	keyBuf     []byte
	times      timeCache
	fast       fastPath

	header     Header
	headerRec  recordRef
	nameEnd    time.Time // interval end taken from the file name
	rowsSeen   bool
	knownNames int64 // words that meant something
	effects    int   // things noted besides records: unknown names outside of them, facts of the file
	stats      Stats
	lastEnd    time.Time // of the record before, and its start
	lastStart  time.Time
	spans      []Span // by End; Records of the one at span is counted up to counted
	span       int
	counted    int64 // records that are in a span, or have no end
	tooMany    bool  // spans were given up
	subs       map[string]int
	err        error
}

// recordRef is a record name as a file gives it, and what it stands for.
type recordRef struct {
	name Name        // "" if there is none
	def  *Definition // nil if nobody knows the name
}

// NewReader returns a Reader that has no file yet; Reset gives it one.
func NewReader(o ReaderOptions) *Reader {
	if o.Catalogue == nil {
		o.Catalogue = Builtin()
	}
	r := &Reader{o: o, lim: o.Limits.withDefaults(), location: time.UTC, binds: map[schema]bindings{}, sets: map[string]*RowSet{}, bySub: map[string]*Definition{}, subs: map[string]int{}}
	if p := o.Profile; p != nil {
		if r.profileErr = p.Validate(o.Catalogue); r.profileErr != nil {
			r.o.Profile = nil // Reset reports it
			p = new(Profile)
		}
		r.location, _ = p.zone() // which Validate has tried
		r.fileTime = p.Time == TimeFileName
		if r.o.Platform == "" {
			r.o.Platform = p.Platform
		}
		if r.o.Record == "" {
			r.o.Record = p.Record
		}
	}
	r.v = newVocabulary(o.Catalogue, r.o.Profile)
	r.err = errNoFile
	return r
}

var errNoFile = errors.New("read: the Reader has no file; call Reset")

// Reset makes r read the gzip file src from its beginning. The name is used in
// errors, and for the time of profiles that say so.
func (r *Reader) Reset(src io.Reader, file string) {
	r.gz.reset(src, &r.lim)
	r.zipped = true
	r.reset(&r.gz, file)
}

// ResetXML is Reset for a file that is not compressed.
func (r *Reader) ResetXML(src io.Reader, file string) {
	r.zipped = false
	r.reset(&meteredReader{src: src, limit: r.lim.XMLBytes}, file)
}

func (r *Reader) reset(src io.Reader, file string) {
	if file == "" {
		file = r.o.File
	}
	r.s.reset(src, file, &r.lim)
	r.frames, r.fields, r.arena = r.frames[:0], r.fields[:0], r.arena[:0]
	r.v.resetCounts()
	clear(r.bySub)
	clear(r.subs)
	r.seen, r.newKinds = r.seen[:0], 0
	r.fast.newFile()
	r.header, r.headerRec, r.nameEnd = Header{}, recordRef{}, time.Time{}
	r.rowsSeen, r.knownNames, r.stats, r.lastEnd, r.lastStart, r.err = false, 0, Stats{}, time.Time{}, time.Time{}, nil
	r.spans, r.span, r.counted, r.tooMany = r.spans[:0], 0, 0, false
	switch {
	case r.profileErr != nil:
		r.err = r.s.failAt(0, KindShape, "correct the profile", "%w", r.profileErr)
	case r.fileTime:
		r.nameEnd, r.err = r.timeOfName(file)
	}
}

// Header returns what the file has said of itself so far; it is complete after
// the first record. What the profile says stands for what the file does not.
func (r *Reader) Header() Header {
	h := r.header
	h.Record = r.headerRec.name
	if r.headerRec.def != nil {
		h.Record = r.headerRec.def.Name
	}
	if h.Record == "" {
		h.Record = r.o.Record
	}
	if p := r.o.Profile; p != nil {
		if h.Policy == 0 {
			h.Policy = p.Policy
		}
		if h.Semantics == "" {
			h.Semantics = p.Semantics
		}
	}
	return h
}

// Stats returns what was found so far.
func (r *Reader) Stats() Stats {
	r.fast.flushCounts(r)
	st := r.stats
	r.closeSpan(r.stats.Records)
	if !r.tooMany {
		st.Spans = slices.Clone(r.spans)
	}
	st.UnknownFields = r.v.unknown()
	st.UnknownSubs = make(map[string]int, len(r.subs))
	for name, n := range r.subs {
		st.UnknownSubs[name] = n
	}
	st.XMLBytes = r.s.offset(r.s.end)
	if r.zipped {
		st.XMLBytes, st.GzipBytes, st.Members = r.gz.out, r.gz.consumed(), r.gz.members
	}
	return st
}

// Next reads the next record into rec. It returns nil; io.EOF at the clean end
// of the file; a *RecordError for a record that cannot be used, after which Next
// goes on with the next one; or a *FileError, which ends the file.
func (r *Reader) Next(rec *Record) error {
	if r.err != nil {
		return r.err
	}
	err := r.next(rec)
	if r.stats.Records+r.stats.BadRecords >= r.lim.Records && !isFileError(err) && err != io.EOF {
		err = r.s.limit("more than %d records", r.lim.Records)
	}
	if err == nil {
		r.stats.Records++
		r.count(rec)
		return nil
	}
	switch e := err.(type) { // these are made here, and not wrapped
	case *RecordError:
		r.stats.BadRecords++
		return err
	case *FileError:
		e.salvage = r.o.Salvage
	}
	r.err = err
	return err
}

func isFileError(err error) bool {
	_, ok := err.(*FileError)
	return ok
}

func (r *Reader) count(rec *Record) {
	if rec.End == r.lastEnd {
		if rec.Start != r.lastStart {
			r.started(rec)
		}
		return
	}
	r.closeSpan(r.stats.Records - 1)
	r.lastEnd, r.lastStart = rec.End, rec.Start
	if rec.End.IsZero() {
		return
	}
	if r.stats.MinEnd.IsZero() || rec.End.Before(r.stats.MinEnd) {
		r.stats.MinEnd = rec.End
	}
	if rec.End.After(r.stats.MaxEnd) {
		r.stats.MaxEnd = rec.End
	}
	r.openSpan(rec)
}

// next advances to the next record.
func (r *Reader) next(rec *Record) error {
	for {
		if r.doomed() {
			return r.s.ended()
		}
		if r.fast.try(r, rec) {
			return nil
		}
		if done, err := r.leaf(); err != nil {
			return err
		} else if done {
			continue
		}
		kind, err := r.s.next()
		if err != nil {
			return err
		}
		switch kind {
		case tokenStart:
			err = r.push()
		case tokenText:
			err = r.text()
		case tokenEnd:
			var row bool
			if row, err = r.pop(rec); row && err == nil {
				return nil
			}
		case tokenEOF:
			return r.finish()
		}
		if err != nil {
			return err
		}
	}
}

// doomed tells that the gzip data are bad further on, so that nothing of the file
// can be used, whatever its XML is like. Of plain XML the first fault is told.
func (r *Reader) doomed() bool {
	return r.zipped && !r.o.Salvage && r.s.srcErr != nil && r.s.srcErr != io.EOF
}

// finish decides whether a file that ended cleanly was an accounting file.
func (r *Reader) finish() error {
	if r.stats.Records+r.stats.BadRecords == 0 && r.knownNames == 0 && len(r.v.touched) > 0 {
		return r.s.failAt(r.s.pos, KindShape, hintInspect, "nothing in the file is known: no record name, no sub-record, no field")
	}
	return io.EOF
}

const hintInspect = "run acctpull inspect on the file; with --profile-out it writes a profile in which the names can be explained"

// Verify reads a whole gzip file and returns what is in it. The error is nil if
// gzip and XML both come to a clean end; records that cannot be used are counted
// in Stats.BadRecords. A FileError of KindShape means: the file is intact, but
// what it means cannot be told; all other errors mean that it is not intact.
func Verify(src io.Reader, file string, o ReaderOptions) (Stats, error) {
	r := NewReader(o)
	r.Reset(src, file)
	return r.Verify()
}

// Verify is like the function of that name, for a Reader that was just reset.
func (r *Reader) Verify() (Stats, error) {
	var rec Record
	var err error
	for {
		err = r.Next(&rec)
		var bad *RecordError
		if err != nil && !errors.As(err, &bad) {
			break
		}
	}
	if err == io.EOF {
		return r.Stats(), nil
	}
	var shape *FileError
	if errors.As(err, &shape) && shape.Kind == KindShape {
		if broken := r.drain(); broken != nil {
			err = broken
		}
	}
	return r.Stats(), err
}

// drain checks the rest of the file for being well-formed, whatever it means.
func (r *Reader) drain() error {
	for {
		kind, err := r.s.next()
		if err != nil {
			return err
		}
		if kind == tokenEOF {
			return nil
		}
	}
}
