package record

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Input is a file to inspect. It is opened twice.
type Input struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// FileInput is the Input of a file on disk.
func FileInput(path string) Input {
	return Input{Name: path, Open: func() (io.ReadCloser, error) { return os.Open(path) }}
}

// Report is what Inspect found. It is meant for people (WriteText) and, through
// encoding/json, for programs.
type Report struct {
	Files  []FileReport `json:"files"`
	Header HeaderReport `json:"header"` // of the first file that has one
	First  time.Time    `json:"first_end,omitzero"`
	Last   time.Time    `json:"last_end,omitzero"`
	// Interval is the most frequent distance between interval ends, in seconds;
	// 0 if there are fewer than two.
	Interval  float64         `json:"interval_seconds"`
	Intervals int             `json:"intervals"` // different interval ends
	Finals    int64           `json:"finals"`    // records with the last values of a deleted object
	Shape     []*ShapeNode    `json:"shape"`     // the root elements with all below them
	FieldsAre []string        `json:"fields_are"`
	RowSets   []RowSetReport  `json:"row_sets"`
	Unknown   []UnknownReport `json:"unknown"`
	// Problems are the errors met, each kind once, with what can be done.
	Problems []string `json:"problems"`
	// Profile is a skeleton profile in YAML. LoadProfile takes it as it is.
	Profile string `json:"profile"`
}

// FileReport is one inspected file.
type FileReport struct {
	Name       string `json:"name"`
	Gzip       bool   `json:"gzip"` // it is compressed, whatever its name says
	GzipBytes  int64  `json:"gzip_bytes"`
	XMLBytes   int64  `json:"xml_bytes"`
	Members    int64  `json:"gzip_members"`
	Records    int64  `json:"records"`
	BadRecords int64  `json:"bad_records"`
	Truncated  bool   `json:"truncated"`
	Error      string `json:"error,omitempty"`
}

// HeaderReport is a Header for people and programs.
type HeaderReport struct {
	Policy      int       `json:"policy,omitempty"`
	FileID      int       `json:"file_id,omitempty"`
	Record      Name      `json:"record,omitempty"`
	Created     time.Time `json:"created,omitzero"`
	Interval    float64   `json:"interval_seconds,omitempty"`
	Semantics   string    `json:"semantics,omitempty"`
	System      string    `json:"system,omitempty"`
	Software    string    `json:"software,omitempty"`
	Zone        string    `json:"zone,omitempty"`
	Description string    `json:"description,omitempty"`
	Reason      string    `json:"reason,omitempty"`
}

// RowSetReport is a row set that was met.
type RowSetReport struct {
	Record      Name     `json:"record"`
	Sub         string   `json:"sub_record"`
	Scope       string   `json:"scope,omitempty"`
	CounterMode string   `json:"counter_mode,omitempty"`
	Known       bool     `json:"known"` // it is in the catalogue
	Records     int64    `json:"records"`
	Fields      []string `json:"fields"` // those that were met, in order; unknown ones with a leading +
	set         *RowSet
}

// UnknownReport is a name that carries values and means nothing to us.
type UnknownReport struct {
	Path     string   `json:"path"` // "/file/collection/row/@octets"
	Name     string   `json:"name"`
	Count    int64    `json:"count"`
	Looks    string   `json:"looks"` // number, time or text
	Examples []string `json:"examples"`

	node, parent *ShapeNode
}

// inspection is the work of one Inspect.
type inspection struct {
	o      ReaderOptions
	r      *Reader
	tree   treeBuilder
	report *Report
	ends   map[time.Time]bool
	// records are the names that files may be of which do not say it
	records []string
}

const (
	// shapeBytes is how much of each file is looked at for its shape.
	shapeBytes = 64 << 20
	maxEnds    = 100_000
)

// Inspect looks at files of any shape, known or not, and reports what it could
// infer and what it could not. Files that cannot be read are reported, not
// returned as an error; the error is that of ctx.
func Inspect(ctx context.Context, files []Input, o ReaderOptions) (*Report, error) {
	o.Salvage = true
	in := &inspection{o: o, r: NewReader(o), report: new(Report), ends: map[time.Time]bool{}}
	in.tree.v = in.r.v
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		in.report.Files = append(in.report.Files, in.file(ctx, f))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in.finish()
	return in.report, nil
}

func (in *inspection) file(ctx context.Context, f Input) FileReport {
	fr := FileReport{Name: f.Name}
	if err := in.pass(f, func(src io.Reader, zipped bool) error {
		fr.Gzip = zipped
		return in.shapeOf(ctx, src, zipped, f.Name)
	}); err != nil {
		fr.Error = err.Error()
	}
	opened := false
	err := in.pass(f, func(src io.Reader, zipped bool) error {
		opened = true
		if zipped {
			in.r.Reset(src, f.Name)
		} else {
			in.r.ResetXML(src, f.Name)
		}
		return in.read(ctx)
	})
	if err != nil {
		in.problem(err)
		fr.Error = err.Error()
		if fe := (*FileError)(nil); errors.As(err, &fe) {
			fr.Truncated = fe.Truncated()
			in.records = append(in.records, fe.records...)
		}
	}
	if !opened {
		return fr
	}
	st := in.r.Stats()
	fr.GzipBytes, fr.XMLBytes, fr.Members, fr.Records, fr.BadRecords = st.GzipBytes, st.XMLBytes, st.Members, st.Records, st.BadRecords
	if in.report.Header == (HeaderReport{}) {
		in.report.Header = newHeaderReport(in.r.Header())
	}
	return fr
}

// pass opens the file, finds out whether it is compressed, and gives it to do.
func (in *inspection) pass(f Input, do func(src io.Reader, zipped bool) error) (err error) {
	file, err := f.Open()
	if err != nil {
		return &FileError{File: f.Name, Kind: KindIO, Err: err}
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	src := bufio.NewReaderSize(file, gzipBuffer)
	head, err := src.Peek(2)
	if err != nil && err != io.EOF {
		return &FileError{File: f.Name, Kind: KindIO, Err: err}
	}
	// whatever cannot be XML goes to the gzip reader, which says what it is
	xml := len(head) > 0 && strings.IndexByte("< \t\r\n\xef\xfe\xff\x00", head[0]) >= 0
	return do(src, !xml)
}

// read reads the records of one file with the Reader.
func (in *inspection) read(ctx context.Context) error {
	var rec Record
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		err := in.r.Next(&rec)
		var bad *RecordError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &bad):
			in.problem(err)
		case err != nil:
			return err
		default:
			in.note(&rec)
		}
	}
}

func (in *inspection) note(rec *Record) {
	if !rec.End.IsZero() && len(in.ends) < maxEnds {
		in.ends[rec.End] = true
	}
	if rec.Final > 0 {
		in.report.Finals++
	}
	sets := in.report.RowSets
	i := slices.IndexFunc(sets, func(s RowSetReport) bool { return s.set == rec.Set && s.Sub == rec.Sub })
	if i < 0 {
		const most = 1000
		if len(sets) >= most {
			return
		}
		s := rec.Set
		i = len(sets)
		sets = append(sets, RowSetReport{Record: s.Record, Sub: rec.Sub, Scope: s.Scope, CounterMode: s.CounterMode, Known: s.Known, set: s})
		in.report.RowSets = sets
	}
	s := &sets[i]
	s.Records++
	if s.Records > 100 { // the fields of the first hundred are enough
		return
	}
	for k, v := range rec.Values {
		if name := rec.Set.Fields[k].Abbrev; v.State != Absent && !slices.Contains(s.Fields, name) {
			s.Fields = append(s.Fields, name)
		}
	}
	for _, p := range rec.Unknown {
		if name := "+" + p.Name; len(s.Fields) < maxFields && !slices.Contains(s.Fields, name) {
			s.Fields = append(s.Fields, name)
		}
	}
}

// problem notes an error, once for each thing that is wrong.
func (in *inspection) problem(err error) {
	text := err.Error()
	var bad *RecordError
	var fe *FileError
	switch {
	case errors.As(err, &bad):
		text = fmt.Sprintf("unusable records: field %s %s; the first is at byte %d of %s, with %q", printable(bad.Field), bad.Reason, bad.Offset, printable(bad.File), bounded(bad.Text))
		if slices.ContainsFunc(in.report.Problems, func(p string) bool {
			return strings.HasPrefix(p, fmt.Sprintf("unusable records: field %s %s;", printable(bad.Field), bad.Reason))
		}) {
			return
		}
	case errors.As(err, &fe) && fe.Hint() != "":
		text += "; " + fe.Hint()
	}
	const most = 100
	if len(in.report.Problems) < most && !slices.Contains(in.report.Problems, text) {
		in.report.Problems = append(in.report.Problems, text)
	}
}

func newHeaderReport(h Header) HeaderReport {
	return HeaderReport{h.Policy, h.FileID, h.Record, h.Created, h.Interval.Seconds(), h.Semantics, h.System, h.Software, h.Zone, h.Description, h.Reason}
}

// finish draws the conclusions.
func (in *inspection) finish() {
	rep := in.report
	in.tree.finish()
	rep.Shape = in.tree.roots
	rep.FieldsAre = in.tree.placement()
	rep.Unknown = in.tree.unknown()
	var ends []time.Time
	for t := range in.ends {
		ends = append(ends, t)
	}
	slices.SortFunc(ends, time.Time.Compare)
	rep.Intervals = len(ends)
	if len(ends) > 0 {
		rep.First, rep.Last = ends[0], ends[len(ends)-1]
	}
	steps := map[time.Duration]int{}
	best := time.Duration(0)
	for i := 1; i < len(ends); i++ {
		d := ends[i].Sub(ends[i-1])
		if steps[d]++; steps[d] > steps[best] || steps[d] == steps[best] && d < best {
			best = d
		}
	}
	rep.Interval = best.Seconds()
	rep.Profile = in.skeleton()
}
