package pull

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	w := newWatch(Limits{Idle: 30 * time.Second, RateWindow: time.Minute, MinRate: 1024})
	now := time.Unix(1000, 0)
	step := func(d time.Duration, bytes int) error {
		now = now.Add(d)
		w.got(bytes, now)
		return w.check(now)
	}
	// Nobody waits: an hour of silence is ours.
	if err := step(time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	w.enter(now)
	for range 100 { // slow and steady enough
		if err := step(10*time.Second, 30<<10); err != nil {
			t.Fatal(err)
		}
	}
	if err := step(29*time.Second, 0); err != nil {
		t.Fatal(err)
	}
	if err := step(time.Second, 0); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "no byte for 30s") {
		t.Fatal(err)
	}
	w.leave(now)
	// A pause of ours does not count as idle.
	now = now.Add(time.Hour)
	w.enter(now)
	if err := step(29*time.Second, 1); err != nil {
		t.Fatal(err)
	}
	// A drip of a byte a second is ended after a minute of waiting.
	var err error
	n := 0
	for ; err == nil && n < 200; n++ {
		err = step(time.Second, 1)
	}
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "at least 1024 a second") || n > 61 {
		t.Fatalf("after %d s: %v", n, err)
	}
	// Two goroutines wait; one leaving does not stop the watch.
	w.enter(now)
	w.leave(now)
	if err := step(30*time.Second, 0); err == nil {
		t.Fatal("the watch sleeps while somebody waits")
	}
	w.leave(now)
	if err := step(time.Hour, 0); err != nil {
		t.Fatal(err)
	}
}

// Free text of a device never reaches a terminal as it is.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":             "plain",
		"a\x1b[31mb\r\n":    `a\x1b[31mb\r\n`,
		"C1 \u009b31m":      `C1 \u009b31m`,
		"bidi \u202e\u2066": `bidi \u202e\u2066`,
		`say "x" \ y`:       `say "x" \\ y`,
		"bad \xff":          `bad \xff`,
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
	long := strings.Repeat("ü", 1000)
	if got := quote(long); len(got) > 300 || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes", len(got))
	}
	if err := os.ErrNotExist; fromPeer(nil) != nil || !errors.Is(fromPeer(err), os.ErrNotExist) {
		t.Error("wrapping")
	}
}
