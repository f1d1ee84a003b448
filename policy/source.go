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
	// Objects are what to read, all of one type; none for all objects of a
	// recording.
	Objects []*Object
	// Closing asks for the values that objects have at the moment, because
	// they leave the policy or are reset. It is no collection of the policy: a
	// source that gives out one value after the other does not go on.
	Closing bool
}

// Source reads counters. A Collector calls one Source from several goroutines,
// one per policy.
type Source interface {
	// Sample reads the counters of every object of the request, as close to
	// one moment as it can, and hands the records to out: one Record that is
	// filled again and again. An object of which something cannot be read is
	// reported to out, and what cannot be read is left out; the rest goes on.
	// A value that the source cannot know is absent, never 0.
	//
	// What ended since the last collection leaves its last values, with
	// Record.Final from 1 on, before out is told that its counters began
	// again. A Source that holds something open is an io.Closer.
	//
	// An error means that the collection ended early; the records handed out
	// before it are good. Sample ends with the error of out.Record as soon as
	// there is one, and with ctx.
	Sample(ctx context.Context, req Request, out Sink) error
}

// Epocher is a Source that knows from what its counters of an object count, so
// that a baseline that outlived the program is not taken from counters that
// began again meanwhile. Two equal epochs mean that the counters went on. It is
// asked during a Sample of the record, and after it; only type, id, and service
// or owner of the object are set.
type Epocher interface {
	Epoch(name record.Name, o *Object) string
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

// Teller is a Source that knows better than the agent what its counters are.
type Teller interface {
	// Semantics returns record.Cumulative, record.PerInterval, or "" for not
	// known. It is asked when a file is made, while records are handed out.
	Semantics(name record.Name) string
}

// NewSource returns the source that the configuration asks for. Linux and
// synthetic sources open nothing before the first Sample; for a Replay its
// profile is read and its files are listed here. A source that is an io.Closer
// is to be closed.
func NewSource(s *Set) (Source, error) {
	c := s.Config().Source
	switch c.Kind {
	case SourceLinux:
		return &Linux{Namespace: c.Namespace}, nil
	case SourceSynthetic:
		return &Synthetic{Seed: c.Seed, Idle: c.Idle}, nil
	case SourceReplay:
		return newReplay(s)
	}
	return nil, fmt.Errorf("source %q: there is no such source", bounded(c.Kind))
}
