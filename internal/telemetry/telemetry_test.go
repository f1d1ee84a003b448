package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"acctpull/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

// Everything that moves has a number, which is there at zero from the start.
func TestMetrics(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	m := NewMetrics("1.2.3")
	h := Handler(m, &Health{})
	_, before := get(t, h, "/metrics")
	for _, want := range []string{
		`acctpull_files_total{outcome="quarantined"} 0`, `acctpull_visits_total{result="host_key"} 0`,
		`acctpull_events_total{application="LOGGER",event="tmnxLogAccountingDataLoss",severity="major"} 0`,
		`version="1.2.3"`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(before, want) {
			t.Errorf("no %s", want)
		}
	}
	m.File("stored", 100)
	m.File("stored", 50)
	m.File("lost", 0)
	m.Visit("ok", time.Second)
	m.Visit("login", 2*time.Second)
	m.Retry()
	m.Export(3, 2, 1000, time.Second, true)
	m.Export(1, 0, 0, time.Second, false)
	m.Config(now, true)
	m.Config(now.Add(time.Hour), false)
	m.Sink().Emit(event.PullFailed(now, "r1", "away"))
	err := error(nil)
	m.Ask(func(context.Context) ([]Sample, error) {
		return []Sample{
			{Name: "devices", Help: "h", Label: "standing", Of: "good", Value: 7},
			{Name: "devices", Help: "h", Label: "standing", Of: "losing", Value: 1},
			{Name: "next_loss_seconds", Help: "h", Value: -3},
		}, err
	})
	_, after := get(t, h, "/metrics")
	for _, want := range []string{
		`acctpull_files_total{outcome="stored"} 2`, `acctpull_fetched_bytes_total{outcome="stored"} 150`,
		`acctpull_files_total{outcome="lost"} 1`, `acctpull_visits_total{result="login"} 1`,
		`acctpull_visit_seconds_sum 3`, `acctpull_retries_total 1`, `acctpull_exported_total{kind="records"} 1000`,
		`acctpull_exports_total{result="failed"} 1`, `acctpull_config_loads_total{result="refused"} 1`,
		"acctpull_config_last_load_timestamp_seconds " + strconv.FormatFloat(float64(now.Unix()), 'g', -1, 64),
		`acctpull_events_total{application="ACCTPULL",event="pullFailed",severity="major"} 1`,
		`acctpull_devices{standing="losing"} 1`, `acctpull_next_loss_seconds -3`, `acctpull_state_error 0`,
	} {
		if !strings.Contains(after, want) {
			t.Errorf("no %s", want)
		}
	}
	err = errors.New("the ledger is away")
	if _, text := get(t, h, "/metrics"); !strings.Contains(text, "acctpull_state_error 1") || strings.Contains(text, "acctpull_devices") {
		t.Error("a state that cannot be read is not told")
	}
	if problems, err := testutil.GatherAndLint(m.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// A program that nobody can ask counts nothing and does not fail.
func TestNoMetrics(t *testing.T) {
	var m *Metrics
	m.File("stored", 1)
	m.Visit("ok", 1)
	m.Retry()
	m.Export(1, 1, 1, 1, true)
	m.Config(time.Now(), true)
	m.Ask(nil)
	m.Sink().Emit(event.Event{})
}

// It is alive while it starts, ready after, and neither when its probe fails.
func TestHealth(t *testing.T) {
	var err error
	h := &Health{Probe: func(context.Context) error { return err }}
	handler := Handler(NewMetrics(""), h)
	is := func(path string, code int, text string) {
		t.Helper()
		if c, body := get(t, handler, path); c != code || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q, want %d %q", path, c, body, code, text)
		}
	}
	is("/healthz", 200, "ok")
	is("/readyz", 503, "starting")
	h.Ready()
	is("/readyz", 200, "ok")
	err = errors.New("the ledger is away")
	h.asked = time.Time{}
	is("/healthz", 503, "the ledger is away")
	is("/readyz", 503, "the ledger is away")
	h.NotReady("stopping")
	is("/readyz", 503, "stopping")
	is("/other", 404, "")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/healthz", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

// A probe is asked once a second, however many want to know, and one that does
// not come back is an answer.
func TestHealthStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		block := make(chan struct{})
		h := &Health{Probe: func(context.Context) error { asked.Add(1); <-block; return nil }}
		answers := make(chan error)
		for range 3 {
			go func() { answers <- h.Check(t.Context(), time.Now()) }()
		}
		began := time.Now()
		for range 3 {
			if err := <-answers; !errors.Is(err, errStuck) {
				t.Error(err)
			}
		}
		if asked.Load() != 1 || time.Since(began) != probeFor {
			t.Errorf("%d probes, %v", asked.Load(), time.Since(began))
		}
		close(block)
		synctest.Wait()
		for range 5 {
			if err := h.Check(t.Context(), time.Now()); err != nil || asked.Load() != 1 {
				t.Errorf("%v, %d probes", err, asked.Load())
			}
		}
		time.Sleep(probeAge)
		if err := h.Check(t.Context(), time.Now()); err != nil || asked.Load() != 2 {
			t.Errorf("%v, %d probes", err, asked.Load())
		}
	})
}

func TestServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	h := &Health{Probe: func(context.Context) error { return nil }}
	go func() { done <- Serve(ctx, ln, Handler(NewMetrics(""), h)) }()
	client := &http.Client{}
	res, err := client.Get("http://" + ln.Addr().String() + "/healthz")
	if err != nil || res.StatusCode != 200 || res.Body.Close() != nil {
		t.Fatal(res, err)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The service manager hears what it needs, and silence when the service is stuck.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "2000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	next := func() string {
		b := make([]byte, 4096)
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	var n Notifier
	for _, step := range []struct {
		f    func() error
		want string
	}{
		{n.Ready, "READY=1"}, {n.Reloading, "RELOADING=1\nMONOTONIC_USEC="}, {n.Stopping, "STOPPING=1"},
		{func() error { return n.Status("7 devices") }, "STATUS=7 devices"},
	} {
		if err := step.f(); err != nil {
			t.Fatal(err)
		}
		if got := next(); !strings.HasPrefix(got, step.want) {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	stuck := make(chan bool, 1)
	stuck <- false
	go func() {
		done <- n.Watch(ctx, func(context.Context) error {
			s := <-stuck
			stuck <- s
			if s {
				return errStuck
			}
			return nil
		}, func() string { return "fine" })
	}()
	for range 3 {
		if a, b := next(), next(); a != "WATCHDOG=1" || b != "STATUS=fine" {
			t.Errorf("%q %q", a, b)
		}
	}
	<-stuck
	stuck <- true
	for quiet := 0; quiet < 3; { // what was sent before may still come
		if next() == "STATUS=fine" {
			quiet++
		} else {
			quiet = 0
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", path+"-gone")
	if err := n.Ready(); err == nil {
		t.Error("a socket that is not there is no error")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := n.Ready(); err != nil {
		t.Error(err)
	}
}
