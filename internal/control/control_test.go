package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"acctpull/internal/durable"
	"acctpull/internal/show"
)

func TestMain(m *testing.M) {
	// A helper process that dies with its socket in place.
	if path := os.Getenv("CONTROL_DIE_AT"); path != "" {
		if _, err := Listen(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0) // no deferred call: as good as kill -9
	}
	goleak.VerifyTestMain(m)
}

// fake is an agent whose functions a test sets.
func fake() Agent {
	return Agent{
		Status: func(all bool) show.Agent {
			p := show.Policy{ID: 10, Objects: 1, Associations: []show.Association{{Kind: "SAP", Count: 1}}}
			if all {
				p.Associations[0].Objects = []show.Object{{ID: "1/1/1:100"}}
			}
			return show.Agent{Version: show.Version, Running: true, Policies: []show.Policy{p}, FileIDs: []show.FileID{}}
		},
		ClearLog: func(_ context.Context, t Target) ([]Closed, error) {
			if t.Log != 10 && t.FileID != 11 {
				return nil, fmt.Errorf("there is no such policy: %w", ErrNotFound)
			}
			return []Closed{{Name: "act1011-20260102-030405.xml.gz", Bytes: 7}}, nil
		},
		Reload: func(context.Context) error { return nil },
	}
}

// socket returns a path that is short enough, in a directory of its own.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "control-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "agent.sock")
}

// serve runs a server until the test ends.
func serve(t *testing.T, a Agent, set ...func(*Server)) string {
	t.Helper()
	path := socket(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(a)
	for _, f := range set {
		f(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path
}

// say sends bytes as they are and returns the answer until the server closes.
func say(t *testing.T, path, text string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return "" // it closed before all was sent
	}
	answer, _ := io.ReadAll(c)
	return string(answer)
}

func TestAskAnAgent(t *testing.T) {
	path := serve(t, fake())
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode of the socket: %v, %v", st.Mode(), err)
	}
	ctx, c := context.Background(), NewClient(path)
	for _, all := range []bool{false, true} {
		a, err := c.Status(ctx, all)
		if err != nil || !a.Running || len(a.Policies) != 1 || (len(a.Policies[0].Associations[0].Objects) == 1) != all {
			t.Errorf("status %v: %+v, %v", all, a, err)
		}
	}
	for _, target := range []Target{{Log: 10}, {FileID: 11}} {
		closed, err := c.ClearLog(ctx, target)
		if err != nil || len(closed) != 1 || closed[0].Bytes != 7 {
			t.Errorf("clear %+v: %v, %v", target, closed, err)
		}
	}
	if _, err := c.ClearLog(ctx, Target{Log: 11}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no such policy") {
		t.Errorf("clear of a policy that is not there: %v", err)
	}
	if err := c.Reload(ctx); err != nil {
		t.Errorf("reload: %v", err)
	}
}

type hinted struct{ error }

func (hinted) Hint() string { return "do this" }

func TestErrorOfTheAgentArrives(t *testing.T) {
	a := fake()
	a.Reload = func(context.Context) error { return hinted{errors.New("line 3: no such key\nline 4: no such record")} }
	err := NewClient(serve(t, a)).Reload(context.Background())
	var r *Refusal
	if !errors.As(err, &r) || r.Status != 422 || !strings.Contains(err.Error(), "line 4") || r.Hint() != "do this" {
		t.Fatalf("%v", err)
	}
	if errors.Is(err, ErrNotFound) {
		t.Error("it counts as not found")
	}
}

func TestWhatIsNotOffered(t *testing.T) {
	a := fake()
	a.Reload = nil
	path := serve(t, a)
	if err := NewClient(path).Reload(context.Background()); err == nil {
		t.Error("reload is offered without a function for it")
	}
	for _, c := range []struct{ request, want string }{
		{"GET / HTTP/1.0\r\n\r\n", "404"},
		{"GET /v1/stop HTTP/1.0\r\n\r\n", "404"},
		{"POST /v1/status HTTP/1.0\r\n\r\n", "404"},
		{"GET /v1/clear-log HTTP/1.0\r\n\r\n", "404"},
		{"GET /v1/status?associations=some HTTP/1.0\r\n\r\n", "400"},
	} {
		if got := say(t, path, c.request); !strings.HasPrefix(got, "HTTP/1.0 "+c.want) {
			t.Errorf("%q: %.80q, want %s", c.request, got, c.want)
		}
	}
}

// Nothing that a client sends reaches the agent unless it is one well-formed
// request, and nothing ends the server.
func TestMisuse(t *testing.T) {
	var calls atomic.Int32
	a := fake()
	clear := a.ClearLog
	a.ClearLog = func(ctx context.Context, t Target) ([]Closed, error) { calls.Add(1); return clear(ctx, t) }
	path := serve(t, a)
	post := func(body string) string {
		return fmt.Sprintf("POST /v1/clear-log HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for _, c := range []struct{ name, request, want string }{
		{"garbage", "\x00\xff\x16\x03\x01 garbage\r\n\r\n", "HTTP/1.1 400"},
		{"no JSON", post("log=10"), "HTTP/1.0 400"},
		{"nothing", post(""), "HTTP/1.0 400"},
		{"empty", post("{}"), "HTTP/1.0 400"},
		{"both", post(`{"log":10,"file_id":11}`), "HTTP/1.0 400"},
		{"unknown key", post(`{"log":10,"force":true}`), "HTTP/1.0 400"},
		{"two values", post(`{"log":10}{"log":10}`), "HTTP/1.0 400"},
		{"wrong type", post(`{"log":"10"}`), "HTTP/1.0 400"},
		{"deep", post(strings.Repeat("[", maxBody-2)), "HTTP/1.0 400"},
		{"oversize", post(`{"log":` + strings.Repeat(" ", maxBody) + `10}`), "HTTP/1.0 413"},
		{"oversize without a length", "POST /v1/clear-log HTTP/1.0\r\nContent-Length: 99999999\r\n\r\n" + strings.Repeat(" ", maxBody+1), "HTTP/1.0 413"},
		{"large header", "GET /v1/status HTTP/1.0\r\nX: " + strings.Repeat("x", 4*maxHeader) + "\r\n\r\n", "HTTP/1."},
	} {
		got := say(t, path, c.request)
		if got != "" && !strings.HasPrefix(got, c.want) { // "": cut off while it sent
			t.Errorf("%s: %.80q, want %s", c.name, got, c.want)
		}
		if strings.HasPrefix(got, "HTTP/1.0 200") {
			t.Errorf("%s: taken", c.name)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("the agent was called %d times", n)
	}
	if _, err := NewClient(path).Status(context.Background(), false); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// Clients that never finish their request are cut off, and as many of them as
// there are places do not lock an operator out for good.
func TestSlowClients(t *testing.T) {
	path := serve(t, fake(), func(s *Server) { s.readTimeout = 50 * time.Millisecond })
	var slow []net.Conn
	for range maxConns + 4 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: a"); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	if _, err := NewClient(path).Status(context.Background(), false); err != nil {
		t.Errorf("behind slow clients: %v", err)
	}
	for _, c := range slow {
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("a slow client: %v", err)
		}
	}
}

func TestOnlyItsUser(t *testing.T) {
	path := serve(t, fake(), func(s *Server) { s.mayAsk = func(int) bool { return false } })
	_, err := NewClient(path).Status(context.Background(), false)
	var r *Refusal
	if !errors.As(err, &r) || r.Status != 403 || !strings.Contains(err.Error(), fmt.Sprint("uid ", os.Geteuid())) {
		t.Fatalf("%v", err)
	}
	own := NewServer(fake())
	if !own.mayAsk(0) || !own.mayAsk(os.Geteuid()) || own.mayAsk(os.Geteuid()+1) {
		t.Error("who may ask is not the own user and root")
	}
}

func TestNotRunning(t *testing.T) {
	path := socket(t)
	ask := func() error {
		_, err := NewClient(path).Status(context.Background(), false)
		return err
	}
	if err := ask(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	die(t, path)
	if err := ask(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket of a dead process: %v", err)
	}
	path = filepath.Join(path, "beyond")
	if err := ask(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no directory: %v", err)
	}
	path = "/" + strings.Repeat("x", MaxPath)
	err := ask()
	var e *Error
	if !errors.Is(err, ErrPath) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "control-socket") || !strings.Contains(err.Error(), "108 bytes, a socket takes 107") {
		t.Errorf("a long path: %v", err)
	}
}

// die runs a process that listens at path and ends without closing.
func die(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CONTROL_DIE_AT="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode().Type() != fs.ModeSocket {
		t.Fatalf("it left no socket: %v", err)
	}
}

func TestListen(t *testing.T) {
	path := socket(t)
	die(t, path)
	l, err := Listen(path) // the dead one's is replaced
	if err != nil {
		t.Fatal(err)
	}
	var locked *durable.LockedError
	if _, err := Listen(path); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("a live one is stolen: %v", err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after close: %v", err)
	}

	// Somebody listens there who knows nothing of our lock.
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("a foreign one is stolen: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
		t.Errorf("the file is now %q, %v", got, err)
	}
	if _, err := Listen("/" + strings.Repeat("x", MaxPath)); !errors.Is(err, ErrPath) {
		t.Errorf("a long path: %v", err)
	}
}

func TestDirectoryOfTheSocket(t *testing.T) {
	dir := filepath.Dir(socket(t))
	l, err := Listen(filepath.Join(dir, "new", "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, "new")); err != nil || st.Mode().Perm() != durable.DirMode {
		t.Errorf("the directory that was made: %v, %v", st.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := Listen(filepath.Join(dir, "agent.sock")); !errors.As(err, &e) || !strings.Contains(err.Error(), "mode 0777") || e.Hint() == "" {
		t.Errorf("a directory that everybody can write to: %v", err)
	}
}

// Closing does not remove a socket that another has put in place of ours.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	path := socket(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the other's socket is gone: %v", err)
	}
}

// A request that is under way when the agent ends is answered.
func TestEndWaitsForARequest(t *testing.T) {
	a := fake()
	began, end := make(chan struct{}), make(chan struct{})
	a.Reload = func(context.Context) error { close(began); <-end; return nil }
	path := socket(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served, asked := make(chan error, 1), make(chan error, 1)
	go func() { served <- NewServer(a).Serve(ctx, l) }()
	go func() { asked <- NewClient(path).Reload(context.Background()) }()
	<-began
	cancel()
	close(end)
	if err := <-asked; err != nil {
		t.Errorf("the request: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// An answer that is none is an error, not an agent without policies.
func TestForeignServer(t *testing.T) {
	path := socket(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http200(c)
		}
	}()
	if _, err := NewClient(path).Status(context.Background(), false); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("another version: %v", err)
	}
}

func http200(c net.Conn) (int, error) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == "\r\n" {
			break
		}
	}
	return io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"version\":9}")
}
