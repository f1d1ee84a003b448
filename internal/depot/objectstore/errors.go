package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
)

// ErrUnconditional: the store ignores `If-None-Match: *` and replaces objects.
var ErrUnconditional = errors.New("the store does not support conditional writes (If-None-Match)")

// errMarker: an object is said to be missing, and so is the one that cannot be.
var errMarker = errors.New("the store does not know our own marker any more")

// Error is what a store answered, or that it did not.
type Error struct {
	Op    string // what was being done
	Store string // the store, without secrets
	Path  string // the path in the depot, "" if none
	Err   error
}

// Error implements error. What the store said is escaped and bounded.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s the store %s: %v", e.Op, e.Store, e.Err)
	}
	return fmt.Sprintf("%s %q in the store %s: %v", e.Op, e.Path, e.Store, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what a person can do, "" if nothing is known.
func (e *Error) Hint() string {
	var a *answer
	switch {
	case errors.Is(e.Err, ErrUnconditional):
		return "use a store with conditional writes, or a shared directory"
	case errors.Is(e.Err, errMarker):
		return "look whether bucket and prefix are still the same, and whether something stands between us and the store"
	case isCertificate(e.Err):
		return "give the certificates that sign the one of the store: store-ca"
	case !errors.As(e.Err, &a):
		return ""
	}
	switch a.code {
	case "NoSuchBucket":
		return "make the bucket; it is never made here"
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity":
		return "check the access key, its secret and its rights: it needs to list the bucket and to get, put and delete objects"
	case "RequestTimeTooSkewed":
		return "set the clock of this machine"
	case "AuthorizationHeaderMalformed", "PermanentRedirect":
		return "check store-region and store-endpoint"
	}
	return ""
}

// fail makes the error of an operation.
func (s *Store) fail(op, path string, err error) error {
	return &Error{Op: op, Store: s.name, Path: path, Err: err}
}

// answer is an error that the store sent, or with status 0 one that the client
// library found before it asked.
type answer struct {
	status        int
	code, message string
}

func (a *answer) Error() string {
	if a.status == 0 {
		return fmt.Sprintf("%.256q", a.message)
	}
	return fmt.Sprintf("HTTP %d, %.64q: %.256q", a.status, a.code, a.message)
}

// Is tells a missing object from everything else.
func (a *answer) Is(target error) bool {
	return target == fs.ErrNotExist && a.status == http.StatusNotFound && a.code == minio.NoSuchKey
}

// translate makes an answer of what the client library returns.
func translate(err error) error {
	var r minio.ErrorResponse
	if errors.As(err, &r) {
		return &answer{status: r.StatusCode, code: r.Code, message: r.Message}
	}
	return err
}

// isTaken reports that the key has an object already.
func isTaken(err error) bool {
	var a *answer
	return errors.As(err, &a) && a.status == http.StatusPreconditionFailed
}

func isCertificate(err error) bool {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &verify) || errors.As(err, &unknown)
}

// passing reports whether the same request may succeed a little later.
func passing(err error) bool {
	var a *answer
	if !errors.As(err, &a) {
		var own *local
		return !errors.As(err, &own) && !isCertificate(err)
	}
	switch a.status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusConflict:
		return true // 409: somebody else wrote or removed the same key just now
	case http.StatusNotImplemented:
		return false
	}
	switch a.code {
	case "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "RequestTimeout", "SlowDown":
		return true // spoiled or cut on the way
	}
	return a.status >= 500
}

// local is an error that asking the store again does not change: of our own
// disk, or a store that breaks the rules.
type local struct{ error }

func (l *local) Unwrap() error { return l.error }

// How a request is tried again: at most attempts times, after waits that double
// from backoffMin to backoffMax, less a jitter of up to a half. One attempt may
// take attemptTime, and as much more as the bytes need at slowest bytes per
// second.
const (
	attempts               = 5
	backoffMin, backoffMax = 250 * time.Millisecond, 8 * time.Second
	attemptTime            = 30 * time.Second
	slowest                = 128 << 10
)

// try does something, and repeats it while its error may pass.
func (s *Store) try(ctx context.Context, bytes int64, do func(context.Context) error) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for n := 1; ; n++ {
		err := once(ctx, attemptTime+time.Duration(bytes/slowest)*time.Second, do)
		if err == nil || n == attempts || ctx.Err() != nil || !passing(err) {
			return err
		}
		if !pause(ctx, backoff(n, rand.Float64())) {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// once is one attempt.
func once(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	return translate(do(ctx))
}

// backoff is how long to wait after the n-th attempt.
func backoff(n int, jitter float64) time.Duration {
	d := min(backoffMin<<(n-1), backoffMax)
	return d - time.Duration(jitter*float64(d)/2)
}

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
