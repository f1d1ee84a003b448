package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"acctpull/record"
)

// succession follows the files of one device: where the first interval of a
// file does not begin where the last one of the file before ended, records are
// missing.
type succession struct {
	mu    sync.Mutex
	spans []span
}

// span is what one file covers.
type span struct {
	policy      int
	first, last time.Time     // ends of the first and last interval
	interval    time.Duration // the collection interval the file gives
}

// verifier reads a file to its end and remembers what it covers.
func (s *succession) verifier() func(context.Context, string) (int64, error) {
	return func(ctx context.Context, path string) (n int64, err error) {
		f, err := os.Open(path)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		r := record.NewReader(record.ReaderOptions{})
		r.Reset(&ctxReader{ctx, f}, filepath.Base(path))
		stats, err := r.Verify()
		if err != nil {
			return stats.Records, err
		}
		h := r.Header()
		s.mu.Lock()
		defer s.mu.Unlock()
		if stats.Records > 0 {
			s.spans = append(s.spans, span{h.Policy, stats.MinEnd, stats.MaxEnd, h.Interval})
		}
		return stats.Records, nil
	}
}

// gaps counts the places where files of a policy do not follow each other: more
// than one and a half intervals lie between the last collection of one file and
// the first of the next, by the longer of the two collection intervals: a file
// that was open when the interval changed has that with which it was made.
func (s *succession) gaps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.policy, b.policy), a.first.Compare(b.first))
	})
	n := 0
	for i := 1; i < len(s.spans); i++ {
		a, b := s.spans[i-1], s.spans[i]
		if a.policy == b.policy && b.first.Sub(a.last) > max(a.interval, b.interval)*3/2 {
			n++
		}
	}
	return n
}
