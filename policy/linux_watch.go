package policy

import (
	"io"
	"sync"
)

// maxDeparted is how many departures of one link name are kept between two
// collections. What goes beyond leaves no final record and counts as an overrun.
const maxDeparted = 64

// watch keeps what the kernel tells of links that went away, for every view that
// measures a link of that name.
type watch struct {
	life   sync.Mutex // held while the subscription is looked at
	socket notifier   // nil while there is none

	mu       sync.Mutex // held while what follows is looked at
	views    map[*view]map[string][]departed
	overruns uint64
}

// notifier is a subscription to link notifications.
type notifier interface {
	// drain hands over everything that has come.
	drain() error
	// follows tells whether it is alive and about this network namespace.
	follows(ns nsIdentity) bool
	io.Closer
}

// nsIdentity tells network namespaces apart.
type nsIdentity struct{ dev, ino uint64 }

// follow subscribes with open, unless there is a subscription for the namespace.
// A subscription keeps its namespace alive, so that of a namespace that has no
// name any more is closed.
func (w *watch) follow(ns nsIdentity, open func(*watch) (notifier, error)) error {
	w.life.Lock()
	defer w.life.Unlock()
	if w.socket != nil {
		if w.socket.follows(ns) {
			return nil
		}
		err := w.socket.Close()
		w.socket = nil
		if err != nil {
			return err
		}
		w.overrun()
	}
	socket, err := open(w)
	if err == nil {
		w.socket = socket
	}
	return err
}

// drain takes everything that has come so far.
func (w *watch) drain() error {
	w.life.Lock()
	defer w.life.Unlock()
	if w.socket == nil {
		return nil // closed meanwhile
	}
	return w.socket.drain()
}

// close ends the subscription.
func (w *watch) close() error {
	w.life.Lock()
	defer w.life.Unlock()
	if w.socket == nil {
		return nil
	}
	err := w.socket.Close()
	w.socket = nil
	return err
}

// replace takes over the departures of an older view, which may be nil.
func (w *watch) replace(old, v *view) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.views == nil {
		w.views = map[*view]map[string][]departed{}
	}
	queue := make(map[string][]departed, len(v.links))
	for name := range v.links {
		queue[name] = w.views[old][name]
	}
	for key := range v.resting {
		if key.kind == linkUnit {
			queue[key.name] = w.views[old][key.name]
		}
	}
	delete(w.views, old)
	w.views[v] = queue
}

// take notes that a link went away.
func (w *watch) take(name []byte, d departed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, queue := range w.views {
		had, wanted := queue[string(name)]
		switch {
		case !wanted:
		case len(had) == maxDeparted:
			w.overruns++
		default:
			queue[string(name)] = append(had, d)
		}
	}
}

// overrun notes that notifications were lost.
func (w *watch) overrun() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.overruns++
}

// settle compares what was read with the last collection and with what went
// away since.
func (w *watch) settle(v *view, boot string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rebooted := ""
	if v.boot != "" && v.boot != boot {
		rebooted = "boot id " + boot + ", was " + v.boot
	}
	v.now = boot
	for i := range v.units {
		u := &v.units[i]
		var gone []departed
		if u.key.kind == linkUnit {
			gone = w.views[v][u.key.name]
		}
		u.took = len(gone)
		u.keep = u.settle(gone, rebooted, w.overruns)
	}
}

// commit makes the collection that was settled the last one.
func (w *watch) commit(v *view) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	v.boot = v.now
	for i := range v.units {
		u := &v.units[i]
		if u.took > 0 {
			queue := w.views[v]
			queue[u.key.name] = append(u.keep, queue[u.key.name][u.took:]...)
		}
		u.commit(w.overruns)
	}
}
