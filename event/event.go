// Package event is the event control of acctpull, reduced to what is needed so
// far: the Event value, the list of the events that acctpull itself raises
// (Own), and the Sink that takes events. Names and ranks follow the event logs
// of the 7210 SAS and SR OS.
//
// No other package raises events: packages return values or call the hooks they
// were given, and the program turns those into events with the constructors
// here, one for each entry of Own. docs/events.md lists them.
package event

import (
	"slices"
	"sync"
	"time"
)

// Event is something that happened at one moment. It is a plain value; a Sink
// may keep it.
type Event struct {
	// Time is when it happened.
	Time time.Time
	// Application and Number identify the kind of event; Name is its name.
	Application string
	Number      int
	Name        string
	Severity    Severity
	Stream      Stream
	// Subject is the object that it happened to: a device, a policy, a file.
	Subject string
	// Message is one sentence for a person, with the parameters in it. Text
	// in Subject, Message and Params may come from a device and is not
	// escaped; that is the duty of whoever prints it.
	Message string
	// Params are the parameters in the order of the definition.
	Params []Param
}

// Param is a named parameter of an event. Numbers are decimal text.
type Param struct{ Name, Value string }

// Value returns the value of a parameter, "" if the event has none of that name.
func (e Event) Value(name string) string {
	i := slices.IndexFunc(e.Params, func(p Param) bool { return p.Name == name })
	if i < 0 {
		return ""
	}
	return e.Params[i].Value
}

// Sink takes events. Emit is called from any goroutine, in no order between
// goroutines, and must not block for long; an event cannot be refused.
type Sink interface{ Emit(Event) }

// Discard is a Sink that forgets every event.
var Discard Sink = multi(nil)

// Multi returns a Sink that gives every event to each sink, in order.
func Multi(sinks ...Sink) Sink { return multi(slices.Clone(sinks)) }

type multi []Sink

func (m multi) Emit(e Event) {
	for _, s := range m {
		s.Emit(e)
	}
}

// Recorder is a Sink that keeps every event, for tests and for short runs. The
// zero value is ready.
type Recorder struct {
	mu     sync.Mutex
	events []Event
}

// Emit keeps the event.
func (r *Recorder) Emit(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events returns what was emitted so far, in order. With names it returns only
// events of these names.
func (r *Recorder) Events(names ...string) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var some []Event
	for _, e := range r.events {
		if len(names) == 0 || slices.Contains(names, e.Name) {
			some = append(some, e)
		}
	}
	return some
}
