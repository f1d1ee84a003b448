package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"acctpull/internal/show"
)

// Limits of a request.
const (
	maxBody     = 4 << 10 // bytes of a request
	maxHeader   = 4 << 10 // bytes of its header; net/http adds 4 KiB of its own
	maxConns    = 16      // connections at once
	readTimeout = 5 * time.Second
	workTimeout = 2 * time.Minute // for the answer: a rollover waits for a collection that runs
	stopTimeout = 2 * time.Second
)

// Agent is what a socket offers. Its functions may be called at any time,
// several at once.
type Agent struct {
	// Status returns the state of the agent; all asks for every object of
	// every policy, which may be a hundred thousand.
	Status func(all bool) show.Agent
	// ClearLog closes the file of a policy or file-id and moves it to act/. The
	// next collection begins another. An error that matches ErrNotFound says
	// that there is no such policy or file-id.
	ClearLog func(ctx context.Context, t Target) ([]Closed, error)
	// Reload reads the configuration again; if it is wrong, the old one stays
	// and the error says what is wrong. nil: it is not offered.
	Reload func(ctx context.Context) error
}

// Server answers at a socket.
type Server struct {
	agent Agent
	// readTimeout is how long a request may take to arrive.
	readTimeout time.Duration
	// mayAsk says whether a user may ask.
	mayAsk func(uid int) bool
}

// NewServer returns a Server. It opens nothing.
func NewServer(a Agent) *Server {
	return &Server{agent: a, readTimeout: readTimeout, mayAsk: func(uid int) bool { return uid == 0 || uid == os.Geteuid() }}
}

// Serve answers until ctx ends, finishes what it has begun, and closes the
// listener.
func (s *Server) Serve(ctx context.Context, l *Listener) error {
	slots := &limited{Listener: l, slots: make(chan struct{}, maxConns), done: make(chan struct{})}
	srv := &http.Server{
		Handler:        s.handler(),
		ReadTimeout:    s.readTimeout,
		WriteTimeout:   workTimeout,
		IdleTimeout:    s.readTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       log.New(io.Discard, "", 0), // a library prints nothing
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext:    func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	srv.SetKeepAlivesEnabled(false)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(slots) }()
	select {
	case err := <-served:
		return errors.Join(err, l.Close())
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := srv.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close() // who has not sent a request by now is cut off
	}
	<-served
	return errors.Join(err, l.Close())
}

type connKey struct{}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		which := r.URL.Query().Get("associations")
		if which != "" && which != "all" {
			refuse(w, http.StatusBadRequest, fmt.Errorf("associations=%q is not all", bounded(which)))
			return
		}
		reply(w, http.StatusOK, s.agent.Status(which == "all"))
	})
	mux.HandleFunc("POST /v1/clear-log", func(w http.ResponseWriter, r *http.Request) {
		var t Target
		if err := decode(r.Body, &t); err != nil {
			refuse(w, bodyStatus(err), err)
			return
		}
		if (t.Log == 0) == (t.FileID == 0) {
			refuse(w, http.StatusBadRequest, errors.New("one of log and file_id has to be given"))
			return
		}
		closed, err := s.agent.ClearLog(r.Context(), t)
		if err != nil {
			refuse(w, agentStatus(err), err)
			return
		}
		reply(w, http.StatusOK, closedFiles{Closed: closed})
	})
	if s.agent.Reload != nil {
		mux.HandleFunc("POST /v1/reload", s.reload)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, fmt.Errorf("there is no %q here", bounded(r.Method+" "+r.URL.Path)))
	})
	return s.guard(mux)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if err := s.agent.Reload(r.Context()); err != nil {
		refuse(w, agentStatus(err), err)
		return
	}
	reply(w, http.StatusOK, struct{}{})
}

// guard lets only those in who may ask, and bounds what they send.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, err := askedBy(r)
		if err != nil {
			refuse(w, http.StatusForbidden, fmt.Errorf("who asks: %w", err))
			return
		}
		if !s.mayAsk(uid) {
			refuse(w, http.StatusForbidden, fmt.Errorf("uid %d may not ask this agent, only its own user and root may", uid))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// askedBy returns the user behind a request.
func askedBy(r *http.Request) (int, error) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		return 0, errors.New("the connection is no Unix socket")
	}
	return peerUID(c.UnixConn)
}

// decode reads one JSON value and nothing else.
func decode(body io.Reader, v any) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the request is no JSON of this kind: %w", err)
	}
	if dec.More() {
		return errors.New("the request has more than one JSON value")
	}
	return nil
}

func bodyStatus(err error) int {
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

func agentStatus(err error) int {
	if errors.Is(err, ErrNotFound) {
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

func refuse(w http.ResponseWriter, status int, err error) {
	a := answer{Error: err.Error()}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		a.Hint = hinted.Hint()
	}
	reply(w, status, a)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Who does not read the answer has gone; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// limited accepts a number of connections at once; others wait in the kernel.
type limited struct {
	*Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.AcceptUnix()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &conn{UnixConn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close ends Accept, also while it waits for a connection to end.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type conn struct {
	*net.UnixConn
	release func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.release()
	return c.UnixConn.Close()
}
