package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"acctpull/policy"
	"acctpull/record"
)

// scripted is the source of the scenarios. Every counter of an object is the
// number of seconds since the object came to be, so a listing shows at a glance
// what was counted and what was not.
type scripted struct {
	mu     sync.Mutex
	pause  time.Duration // for each object
	err    error         // instead of the second object
	born   time.Time     // of every object that is not in objects
	object map[string]*life
}

// life is what a scenario did to an object.
type life struct {
	born    time.Time
	died    []deadObject // since the last collection
	dead    bool         // there is no object now
	hidden  bool         // it cannot be read
	changed bool         // it was born since the last collection
}

// deadObject is an object that ended and was not collected since.
type deadObject struct {
	born, died time.Time
}

// do changes what the source gives.
func (s *scripted) do(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *scripted) life(id string) *life {
	l := s.object[id]
	if l == nil {
		l = &life{born: s.born}
		s.object[id] = l
	}
	return l
}

func (s *scripted) delete(id string) {
	l := s.life(id)
	l.died = append(l.died, deadObject{l.born, time.Now()})
	l.dead = true
}

func (s *scripted) create(id string) {
	l := s.life(id)
	l.born, l.dead, l.changed = time.Now(), false, true
}

// restart makes all counters begin again, as a reboot does.
func (s *scripted) restart() {
	s.born = time.Now()
	s.object = map[string]*life{}
}

var (
	errGone   = errors.New("there is no such object")
	errHidden = errors.New("it does not answer")
)

// Sample implements policy.Source.
func (s *scripted) Sample(ctx context.Context, req policy.Request, out policy.Sink) error {
	for i, o := range req.Objects {
		s.mu.Lock()
		l := s.life(o.ID)
		pause, err, born := s.pause, s.err, l.born
		dead, hidden, changed, died := l.dead, l.hidden, l.changed, l.died
		if !hidden {
			l.changed, l.died = false, nil
		}
		s.mu.Unlock()
		time.Sleep(pause)
		if i > 0 && err != nil {
			return err
		}
		if hidden {
			out.Missing(o, errHidden)
			continue
		}
		for n, d := range died {
			if err := s.sample(ctx, req, o, &ageing{out, d.died.Sub(d.born), n + 1}); err != nil {
				return err
			}
		}
		if dead {
			out.Missing(o, errGone)
			continue
		}
		if changed {
			out.Restarted(o, "made anew")
		}
		if err := s.sample(ctx, req, o, &ageing{out, req.At.Sub(born), 0}); err != nil {
			return err
		}
	}
	return nil
}

func (s *scripted) sample(ctx context.Context, req policy.Request, o *policy.Object, out policy.Sink) error {
	req.Objects = []*policy.Object{o}
	return new(policy.Synthetic).Sample(ctx, req, out)
}

// ageing gives every counter the age of the object, in seconds.
type ageing struct {
	policy.Sink
	age   time.Duration
	final int
}

// Record implements policy.Sink.
func (a *ageing) Record(r *record.Record) error {
	r.Final = a.final
	for i := range r.Set.Fields {
		if r.Set.Fields[i].Role == record.Counter && r.Values[i].State == record.Number {
			r.Values[i] = record.Num(uint64(a.age / time.Second))
		}
	}
	return a.Sink.Record(r)
}
