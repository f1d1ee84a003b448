package objectstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acctpull/internal/depot"
)

// calm are the faults that pass: a request that is repeated succeeds.
var calm = []fault{refused, error500, error503, html502, hangs, lostAnswer, hangsAfter, conflict409, spoiledOnWay}

// Every passing fault at the first, second … request of a publication: it
// succeeds in bounded time, the object is there once and whole, and what is
// told of it is true.
func TestPublishSurvives(t *testing.T) {
	for _, bad := range calm {
		for times := 1; times < attempts; times++ {
			for _, taken := range []string{"", "content", "other"} {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					s := f.store(t)
					check(t, s)
					if taken != "" {
						if _, err := s.Publish(t.Context(), []depot.File{finished(t, dir, "a/b", taken)}); err != nil {
							t.Fatal(err)
						}
					}
					left := times
					f.fault = func(int, *http.Request) fault {
						if left--; left >= 0 {
							return bad
						}
						return none
					}
					began := time.Now()
					mine := finished(t, dir, "a/b", "content")
					placed, err := s.Publish(t.Context(), []depot.File{mine})
					if err != nil {
						t.Fatalf("fault %d, %d times: %v", bad, times, err)
					}
					if took := time.Since(began); took > attempts*(attemptTime+backoffMax) {
						t.Fatalf("fault %d, %d times: %v", bad, times, took)
					}
					want := []depot.Outcome{depot.Placed, depot.Same} // the answer may have been lost
					switch taken {
					case "content":
						want = want[1:]
					case "other":
						want = []depot.Outcome{depot.Taken}
					}
					if !slices.Contains(want, placed[0].Outcome) || (placed[0].SHA256 == mine.SHA256) != (taken != "other") {
						t.Fatalf("fault %d, %d times: %v", bad, times, placed)
					}
					f.fault = func(int, *http.Request) fault { return none }
					if got := content(t, s, "a/b"); taken == "" && got != "content" || taken != "" && got != taken {
						t.Fatalf("fault %d, %d times: there is %q", bad, times, got)
					}
				})
			}
		}
	}
}

// What does not pass ends the call: in bounded time, with nothing claimed, the
// local file left as it was, and no secret in the error.
func TestPublishFails(t *testing.T) {
	for bad := refused; bad < faults; bad++ {
		if bad == cutBody || bad == stalledBody {
			continue // they are about reading
		}
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			s := f.store(t)
			check(t, s)
			before := len(f.requests)
			f.fault = func(int, *http.Request) fault { return bad }
			began := time.Now()
			mine := finished(t, dir, "a/b", "content")
			placed, err := s.Publish(t.Context(), []depot.File{mine})
			var e *Error
			if err == nil || placed != nil || !errors.As(err, &e) || e.Path != "a/b" || strings.Contains(err.Error(), "verysecret") {
				t.Fatalf("fault %d: %v %v", bad, placed, err)
			}
			if took, n := time.Since(began), len(f.requests)-before; took > 5*time.Minute || n > attempts || bad == denied && (n != 1 || e.Hint() == "") {
				t.Fatalf("fault %d: %v, %d requests, hint %q", bad, took, n, e.Hint())
			}
			if b, err := os.ReadFile(mine.Local); err != nil || string(b) != "content" {
				t.Fatalf("fault %d: %v", bad, err)
			}
			// Whatever the store did, to repeat it is safe.
			f.fault = func(int, *http.Request) fault { return none }
			if placed, err := s.Publish(t.Context(), []depot.File{mine}); err != nil || placed[0].Outcome == depot.Taken {
				t.Fatalf("fault %d, repeated: %v %v", bad, placed, err)
			}
		})
	}
}

// A caller that stops is not kept waiting.
func TestStops(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := f.store(t)
		f.fault = func(n int, _ *http.Request) fault { return []fault{hangs, error503}[n%2] }
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := s.Publish(ctx, []depot.File{finished(t, dir, "a", "b")}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Fatal(took)
		}
	})
}

// Reading goes on where it was cut, and gives up in bounded time.
func TestReadingSurvives(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("0123456789abcdef", 4096)
	sum := sha256.Sum256([]byte(text))
	for _, bad := range append([]fault{cutBody, stalledBody}, calm[:5]...) {
		for period := 2; period < 5; period++ {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				s := f.store(t)
				check(t, s)
				if _, err := s.Publish(t.Context(), []depot.File{finished(t, dir, "a", text)}); err != nil {
					t.Fatal(err)
				}
				f.fault = func(n int, r *http.Request) fault {
					if n%period != 0 && r.Method == http.MethodGet {
						return bad
					}
					return none
				}
				if got, n, err := s.Sum(t.Context(), "a"); err != nil || n != int64(len(text)) || got != hex.EncodeToString(sum[:]) {
					t.Fatalf("fault %d, period %d: %s %d %v", bad, period, got, n, err)
				}
				f.fault = func(n int, r *http.Request) fault {
					if r.Method == http.MethodGet {
						return error500
					}
					return none
				}
				began := time.Now()
				if _, _, err := s.Sum(t.Context(), "a"); err == nil || time.Since(began) > 5*time.Minute {
					t.Fatalf("fault %d: %v after %v", bad, err, time.Since(began))
				}
			})
		}
	}
}

// A file is missing only if a store that knows us says so: not if the bucket is
// gone, a proxy answers, or the rights are.
func TestMissingIsSure(t *testing.T) {
	for _, bad := range []fault{html404, html502, denied, refused, error500} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			s := f.store(t)
			check(t, s)
			f.fault = func(int, *http.Request) fault { return bad }
			_, err := s.Open(t.Context(), "a")
			if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				t.Fatalf("fault %d: %v", bad, err)
			}
			if err := s.Remove(t.Context(), "a"); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("fault %d: remove: %v", bad, err)
			}
		})
	}
	s := newFake().store(t) // never checked: the prefix may be another than it was
	if _, err := s.Open(t.Context(), "a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// A listing is whole or an error.
func TestListingSurvives(t *testing.T) {
	dir := t.TempDir()
	for _, bad := range calm[:5] {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			s := f.store(t)
			check(t, s)
			var files []depot.File
			for i := range 30 {
				files = append(files, finished(t, dir, fmt.Sprintf("d/%d", i), "x"))
			}
			if _, err := s.Publish(t.Context(), files); err != nil {
				t.Fatal(err)
			}
			f.fault = func(n int, r *http.Request) fault {
				if n%9 == 0 {
					return bad
				}
				return none
			}
			if got := listed(t, s, "d"); len(got) != 30 {
				t.Fatalf("fault %d: %q", bad, got)
			}
			f.fault = func(n int, r *http.Request) fault { return bad }
			n := 0
			for _, err := range s.List(t.Context(), "d") {
				if n++; err == nil {
					t.Fatalf("fault %d: an entry", bad)
				}
			}
			if n != 1 {
				t.Fatalf("fault %d: %d", bad, n)
			}
		})
	}
}

// Random faults at random requests, and a process that dies at any of them and
// starts again: every file is there once, with its own content, and whoever was
// told that a file is placed or the same was told the truth.
func TestRandomFaults(t *testing.T) {
	rng := seeded(t)
	dir := t.TempDir()
	rounds := 30
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		rounds = 1000
	}
	for range rounds {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			check(t, f.store(t))
			f.fault = func(int, *http.Request) fault {
				if rng.IntN(3) == 0 {
					return calm[rng.IntN(len(calm))]
				}
				return none
			}
			var files []depot.File
			for i := range 12 {
				files = append(files, finished(t, dir, fmt.Sprintf("d/%d", i), fmt.Sprint("content ", i)))
			}
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.Int64N(int64(2*time.Minute))))
				placed, err := f.store(t).Publish(ctx, files)
				cancel()
				if err != nil {
					continue // it died; the local files are there
				}
				for i, p := range placed {
					if p.Outcome == depot.Taken || p.SHA256 != files[i].SHA256 {
						t.Fatalf("%s: %v", files[i].Path, p)
					}
				}
				break
			}
			f.fault = func(int, *http.Request) fault { return none }
			for i, file := range files {
				if got := content(t, f.store(t), file.Path); got != fmt.Sprint("content ", i) {
					t.Fatalf("%s: %q", file.Path, got)
				}
			}
		})
	}
}

// A store that replaces objects is refused before anything is kept there.
func TestCheckRefuses(t *testing.T) {
	f := newFake()
	f.plain = true
	err := f.store(t).Check(t.Context())
	var e *Error
	if !errors.Is(err, ErrUnconditional) || !errors.As(err, &e) || e.Hint() == "" {
		t.Fatal(err)
	}
	f = newFake()
	s := f.store(t)
	s.bucket = "another"
	if err := s.Check(t.Context()); !errors.As(err, &e) || !strings.Contains(err.Error(), "NoSuchBucket") || e.Hint() == "" {
		t.Fatal(err)
	}
	f.fault = func(int, *http.Request) fault { return denied }
	if err := f.store(t).Check(t.Context()); !errors.As(err, &e) || e.Hint() == "" || strings.Contains(err.Error(), "verysecret") {
		t.Fatal(err)
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"s3://bucket": "bucket|", "s3://bucket/": "bucket|", "s3://my.bucket-1/a/b": "my.bucket-1|a/b", "s3://bucket/a/": "bucket|a",
		"bucket": "", "s3://": "", "s3://b": "", "s3://Bucket": "", "s3://bucket//a": "", "s3://bucket/../a": "", "https://bucket": "", "s3://user:pw@host/b": "",
	} {
		b, p, err := ParseURL(in)
		if got := b + "|" + p; (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := Config{Bucket: "bucket", AccessKey: "a", SecretKey: "verysecret"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Endpoint = "store.test" },
		func(c *Config) { c.Endpoint = "ftp://store.test" },
		func(c *Config) { c.Endpoint = "https://me:verysecret@store.test" },
		func(c *Config) { c.Endpoint = "https://store.test/path" },
		func(c *Config) { c.AccessKey = "" },
		func(c *Config) { c.SecretKey = "" },
		func(c *Config) { c.CA = []byte("verysecret") },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "verysecret") {
			t.Errorf("%+v: %v", c.Endpoint, err)
		}
	}
}

// The certificate of the store is checked, and a wrong one is not asked twice.
func TestUnknownCertificate(t *testing.T) {
	g := startGateway(t, true)
	g.ca = nil
	err := g.store(t, "").Check(t.Context())
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "store-ca") {
		t.Fatal(err)
	}
}

// Backoff grows, is bounded, and jitter only shortens it.
func TestBackoff(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 12; n++ {
		long, short := backoff(n, 0), backoff(n, 1)
		if long < last || long > backoffMax || short*2 != long {
			t.Fatalf("%d: %v %v", n, short, long)
		}
		last = long
		if n == 6 && last != backoffMax {
			t.Fatal(last)
		}
	}
}
