package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"acctpull/record"
	"acctpull/rollover"
)

// Replay is a source that gives out recorded accounting files again: files of a
// device, in any shape that a record.Reader reads, or of this agent. Each
// collection of a policy takes the next recorded interval of the policy's
// record, whatever its time was; so the recording is as fast as the collections
// are, and its gaps are not kept. The times of the new files are those of the
// collections.
//
// Values, finals, absent and empty fields, counter modes and fields that nobody
// knows pass as they are. What cannot pass is left out, counted and told to
// OnNote: records that the Reader refuses, records of objects that are not
// among those of the request (all pass if it has none), and files that cannot
// be read.
type Replay struct {
	// Files are the recording, in the order in which they are given out.
	Files []string
	// Profile explains the files to the Reader; nil if they need no help.
	Profile *record.Profile
	// Catalogue holds the record names; nil for record.Builtin.
	Catalogue *record.Catalogue
	// Loop begins again behind the last recorded interval. Otherwise the
	// recording ends there, and all objects are missing.
	Loop bool
	// OnNote is told what happened to each file; nil for nobody. It is called
	// by the goroutine of the collection.
	OnNote func(ReplayNote)

	mu    sync.Mutex // held while feeds is looked at
	feeds map[record.Name]*feed
}

// ReplayNote is news of a recording: a file that came to its end for one
// record, or, with an empty File, the end of the recording itself.
type ReplayNote struct {
	Record record.Name
	File   string
	// Passed is how many records of the file were handed on. The others were
	// not: Other have another record name, so another policy may take them;
	// Unlisted belong to objects that the configuration does not list; Bad
	// cannot be used; Late belong to an interval whose collection had been
	// stopped.
	Passed, Other, Unlisted, Bad, Late int
	// UnknownFields is how many fields passed that the catalogue does not know.
	UnknownFields int
	// Again: the recording had ended and began once more.
	Again bool
	// Err says why the file, or the rest of it, could not be read.
	Err error
}

// errReplay is why an object of a recording is missing.
var (
	errReplayEnded   = errors.New("the recording has ended")
	errReplayAbsent  = errors.New("the recorded interval has no record of it")
	errReplayBetween = errors.New("a recording has no values between its intervals")
	errReplayNothing = errors.New("the recording has nothing for this record")
)

// newReplay finds the files and reads the profile that the configuration names.
func newReplay(s *Set) (*Replay, error) {
	c := s.Config()
	files, err := recordedFiles(c.Source.Path)
	if err != nil {
		return nil, fmt.Errorf("source replay: %w", err)
	}
	r := &Replay{Files: files, Catalogue: c.Catalogue, Loop: c.Source.Loop}
	if r.Catalogue == nil {
		r.Catalogue = record.Builtin()
	}
	if c.Source.Profile != "" {
		if r.Profile, err = readProfile(c.Source.Profile, r.Catalogue); err != nil {
			return nil, fmt.Errorf("source replay: %w", err)
		}
	}
	return r, nil
}

func readProfile(path string, c *record.Catalogue) (p *record.Profile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if p, err = record.LoadProfile(f, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// recordedFiles lists what the paths stand for: a file for itself, a directory
// for its .xml.gz and .xml files, not for those further below. Files of a
// directory with the names of accounting files come in the order of their
// creation, the others behind them by name.
func recordedFiles(paths []string) ([]string, error) {
	var all []string
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !st.IsDir() {
			all = append(all, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		var names []string
		for _, e := range entries {
			if name := e.Name(); e.Type().IsRegular() && (strings.HasSuffix(name, ".xml.gz") || strings.HasSuffix(name, ".xml")) {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%s holds no .xml.gz and no .xml file", path)
		}
		slices.SortFunc(names, byCreation)
		for _, name := range names {
			all = append(all, filepath.Join(path, name))
		}
	}
	return all, nil
}

func byCreation(a, b string) int {
	x, errX := rollover.ParseName(a)
	y, errY := rollover.ParseName(b)
	switch {
	case errX == nil && errY == nil:
		return rollover.Compare(x, y)
	case errX == nil:
		return -1
	case errY == nil:
		return 1
	}
	return cmp.Compare(a, b)
}

// Semantics implements Teller: that of the recording, so far as it was read.
func (r *Replay) Semantics(name record.Name) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.feeds[name]; f != nil {
		return f.semantics
	}
	return ""
}

// Sample implements Source. The time of the request does not matter.
func (r *Replay) Sample(ctx context.Context, req Request, out Sink) error {
	return r.feed(req.Record).sample(ctx, req, out)
}

// feed returns what is left of the recording for one record.
func (r *Replay) feed(d *record.Definition) *feed {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.feeds[d.Name]; f != nil {
		return f
	}
	if r.feeds == nil {
		r.feeds = map[record.Name]*feed{}
	}
	f := &feed{r: r, name: d.Name, places: map[*record.RowSet]*rowPlaces{}, reader: record.NewReader(record.ReaderOptions{Catalogue: r.Catalogue, Profile: r.Profile, Salvage: true})}
	r.feeds[d.Name] = f
	return f
}
