package telemetry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// probeFor is how long a probe may take before the service counts as stuck.
const probeFor = 10 * time.Second

// probeAge is how long the answer of a probe holds: a flood of questions asks
// the service once a second.
const probeAge = time.Second

// Health is what is known of a service's health. The zero value is a service
// that is starting; it has to be given a Probe before it is asked.
type Health struct {
	// Probe finds out whether the service works: whether its locks can be
	// taken and its ledger answers. It has to return soon after ctx ends; one
	// that does not is taken for an answer that the service is stuck.
	Probe func(context.Context) error

	mu      sync.Mutex
	state   string // why it is not ready, "" if it is
	asked   time.Time
	last    error
	running chan struct{} // closed when the probe under way has ended
}

// errStuck: the probe did not come back.
var errStuck = errors.New("the service does not answer its own question")

// Ready says that the service does its work.
func (h *Health) Ready() { h.set("") }

// NotReady says why it does not: "recovering the archive", "stopping".
func (h *Health) NotReady(why string) { h.set(why) }

func (h *Health) set(state string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state = state; state == "" {
		h.state = ready
	}
}

const (
	starting = "starting"
	ready    = "ready"
)

// State is "ready", or why the service is not.
func (h *Health) State() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == "" {
		return starting
	}
	return h.state
}

// Check asks the probe, at most once a second, and returns what it found.
func (h *Health) Check(ctx context.Context, now time.Time) error {
	h.mu.Lock()
	if h.running == nil && !h.asked.IsZero() && now.Sub(h.asked) < probeAge {
		defer h.mu.Unlock()
		return h.last
	}
	if h.running == nil {
		h.running = make(chan struct{})
		go h.probe(h.running)
	}
	running := h.running
	h.mu.Unlock()
	timer := time.NewTimer(probeFor)
	defer timer.Stop()
	select {
	case <-running:
	case <-timer.C:
		return errStuck
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// probe asks once. It goes on when nobody waits any more: the next question
// waits for the same answer.
func (h *Health) probe(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), probeFor)
	defer cancel()
	err := h.Probe(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last, h.asked, h.running = err, time.Now(), nil
	close(done)
}

// Handler serves /metrics, /healthz and /readyz. healthz answers 200 while the
// service works, readyz while it also does what it is for; both answer 503 with
// the reason in one line otherwise.
func Handler(m *Metrics, h *Health) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	answer := func(w http.ResponseWriter, why string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if why != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(why + "\n")) // the one who asks has gone
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		answer(w, reason(h.Check(r.Context(), time.Now())))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if s := h.State(); s != ready {
			answer(w, s)
			return
		}
		answer(w, reason(h.Check(r.Context(), time.Now())))
	})
	return mux
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Serve answers on ln until ctx ends.
func Serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() {
		calm, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if s.Shutdown(calm) != nil {
			_ = s.Close() // a reader that does not read: nothing of ours is lost
		}
	})
	defer stop()
	err := s.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
