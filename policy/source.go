package policy

import (
	"context"
	"fmt"
	"time"

	"acctpull/record"
)

// Request is one collection of one policy.
type Request struct {
	// At is the moment of the collection; it becomes the end of the interval
	// of every record.
	At time.Time
	// Record is the record to produce.
	Record *record.Definition
	// Objects are what to read, all of one type.
	Objects []*Object
}

// Source reads counters. A Collector calls one Source from several goroutines,
// one per policy.
type Source interface {
	// Sample reads the counters of every object of the request, as close to
	// one moment as it can, and hands the records to out: one Record that is
	// filled again and again. An object that cannot be read is reported to
	// out and left out; the others go on. A value that the source cannot know
	// is absent, never 0.
	//
	// An error means that the collection ended early; the records handed out
	// before it are good. Sample ends with the error of out.Record as soon as
	// there is one, and with ctx.
	Sample(ctx context.Context, req Request, out Sink) error
}

// Sink takes what a Source finds. Its methods are called one at a time.
type Sink interface {
	// Record takes one record; the Sink keeps nothing of it. An error ends
	// the collection.
	Record(r *record.Record) error
	// Missing says that an object cannot be read now, and why.
	Missing(o *Object, err error)
	// Restarted says that the counters of an object began again since the
	// last collection, and how the source knows.
	Restarted(o *Object, why string)
}

// NewSource returns the source that the configuration asks for. It opens
// nothing before the first Sample.
func NewSource(s *Set) (Source, error) {
	c := s.Config().Source
	switch c.Kind {
	case SourceLinux:
		return &Linux{Namespace: c.Namespace}, nil
	case SourceSynthetic:
		return &Synthetic{Seed: c.Seed, Idle: c.Idle}, nil
	}
	return nil, fmt.Errorf("source %q: there is no such source", bounded(c.Kind))
}
