package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"acctpull/internal/actserver"
)

// A service that others look at: it starts, becomes ready, feeds the watchdog,
// reloads and stops as systemd wants it, and answers over HTTP.
func TestServeWatched(t *testing.T) {
	f := newFleet(t, 2, 2, func(i int, o *actserver.Options) {})
	f.write(t, 2)
	manager := newManager(t)
	cmd, log := startServe(t, []string{"NOTIFY_SOCKET=" + manager.path, "WATCHDOG_USEC=200000"}, "serve", "-c", f.file, "--http", "127.0.0.1:0")
	manager.await(t, log, "READY=1")
	manager.await(t, log, "WATCHDOG=1")
	base := regexp.MustCompile(`http://\S+`).FindString(log.String())
	eventually(t, log, func() bool {
		eventually(t, log, func() bool { // the first export may have come after the first device
			_, text := fetch(t, base+"/metrics")
			return strings.Contains(text, `acctpull_exports_total{result="ok"} 1`)
		})
		_, text := fetch(t, base+"/metrics")
		return strings.Contains(text, `acctpull_files_total{outcome="stored"} 4`)
	})
	eventually(t, log, func() bool { // the first export may have come after the first device
		_, text := fetch(t, base+"/metrics")
		return strings.Contains(text, `acctpull_exports_total{result="ok"} 1`)
	})
	_, text := fetch(t, base+"/metrics")
	for _, want := range []string{
		`acctpull_visits_total{result="ok"} 2`, `acctpull_devices{standing="good"} 2`, `acctpull_backlog_files{stage="fetch"} 0`,
		`acctpull_events_total{application="ACCTPULL",event="filePulled",severity="indeterminate"} 4`, "acctpull_next_loss_seconds", "acctpull_state_error 0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, text := fetch(t, base+path); code != 200 || text != "ok\n" {
			t.Errorf("%s: %d %q", path, code, text)
		}
	}
	manager.await(t, log, "STATUS=2 devices, 2 good")
	manager.forget()
	check(t, cmd.Process.Signal(syscall.SIGHUP))
	manager.await(t, log, "RELOADING=1\nMONOTONIC_USEC=")
	manager.await(t, log, "READY=1")
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after SIGTERM: %v\n%s", err, log.String())
	}
	manager.await(t, log, "STOPPING=1")
}

func TestHTTPAddress(t *testing.T) {
	f := newFleet(t, 1, 1, nil)
	expect(t, exitUsage, []string{"serve metrics", "--http takes HOST:PORT"}, "serve", "-c", f.file, "--http", "nonsense")
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	check(t, err)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	check(t, err)
	text, err := io.ReadAll(res.Body)
	check(t, err)
	check(t, res.Body.Close())
	return res.StatusCode, string(text)
}

// manager is the end of a notify socket.
type manager struct {
	path string
	mu   sync.Mutex
	said []string
}

func newManager(t *testing.T) *manager {
	dir, err := os.MkdirTemp("", "notify") // the path of a socket has to be short
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &manager{path: filepath.Join(dir, "s")}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	check(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.said = append(m.said, string(b[:n]))
			m.mu.Unlock()
		}
	}()
	return m
}

// await waits until the service has said something that begins with text.
func (m *manager) await(t *testing.T, log *buffer, text string) {
	t.Helper()
	eventually(t, log, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, s := range m.said {
			if strings.HasPrefix(s, text) {
				return true
			}
		}
		return false
	})
}

// forget drops what was said.
func (m *manager) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said = nil
}
