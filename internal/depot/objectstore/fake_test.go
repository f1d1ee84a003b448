package objectstore

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is an object store in memory, as far as we use one. It is an
// http.RoundTripper: no connection is made, so it works in virtual time.
type fake struct {
	mu       sync.Mutex
	objects  map[string]fakeObject // by bucket/key
	requests []string              // method and key
	fault    func(n int, r *http.Request) fault
	plain    bool // it ignores If-None-Match
	forgets  bool // it keeps no checksum and no metadata
}

type fakeObject struct {
	data     []byte
	checksum string
	meta     string
}

// fault is what goes wrong with one request.
type fault int

const (
	none         fault = iota
	refused            // no connection
	error500           // HTTP 500 before anything is done
	error503           // SlowDown
	html502            // of a proxy
	html404            // of a proxy
	hangs              // no answer
	lostAnswer         // done, and the connection is cut before the answer
	hangsAfter         // done, and no answer
	conflict409        // somebody else is at it
	spoiledOnWay       // the store got other bytes than were sent
	cutBody            // the answer ends in the middle
	stalledBody        // the answer stops in the middle
	denied
	faults
)

var errCut = errors.New("connection reset by peer")

// newFake returns a store with an empty bucket "bucket".
func newFake() *fake {
	return &fake{objects: make(map[string]fakeObject), fault: func(int, *http.Request) fault { return none }}
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.requests)
	key := strings.TrimPrefix(r.URL.Path, "/")
	f.requests = append(f.requests, r.Method+" "+key)
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
	}
	bad := f.fault(n, r)
	answer := func(status int, code string) (*http.Response, error) {
		return respond(r, status, fmt.Sprintf(`<?xml version="1.0"?><Error><Code>%s</Code><Message>of the fake</Message></Error>`, code)), nil
	}
	switch bad {
	case refused:
		return nil, errCut
	case error500:
		return answer(500, "InternalError")
	case error503:
		return answer(503, "SlowDown")
	case html502:
		return respond(r, 502, "<html>bad gateway</html>"), nil
	case html404:
		return respond(r, 404, "<html>not here</html>"), nil
	case conflict409:
		return answer(409, "ConditionalRequestConflict")
	case denied:
		return answer(403, "AccessDenied")
	case spoiledOnWay:
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
	case hangs:
		f.wait(r)
		return nil, r.Context().Err()
	}
	resp := f.serve(r, key, body)
	switch bad {
	case lostAnswer:
		return nil, errCut
	case hangsAfter:
		f.wait(r)
		return nil, r.Context().Err()
	case cutBody, stalledBody:
		all, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		resp.Body = &brokenBody{Reader: strings.NewReader(string(all[:len(all)/2])), stall: bad == stalledBody, r: r}
	}
	return resp, nil
}

// wait waits until the caller gives up.
func (f *fake) wait(r *http.Request) {
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-r.Context().Done():
	case <-time.After(time.Hour):
	}
}

// brokenBody ends or stops early.
type brokenBody struct {
	io.Reader
	stall bool
	r     *http.Request
}

func (b *brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != io.EOF {
		return n, err
	}
	if b.stall {
		<-b.r.Context().Done()
		return 0, b.r.Context().Err()
	}
	return 0, io.ErrUnexpectedEOF
}

func (b *brokenBody) Close() error { return nil }

func respond(r *http.Request, status int, body string) *http.Response {
	w := httptest.NewRecorder()
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.WriteString(body)
	}
	resp := w.Result()
	resp.Request = r
	return resp
}

// serve does what a request asks for.
func (f *fake) serve(r *http.Request, key string, body []byte) *http.Response {
	fail := func(status int, code string) *http.Response {
		return respond(r, status, "<Error><Code>"+code+"</Code><Message>of the fake</Message></Error>")
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
		return fail(403, "AccessDenied")
	}
	if bucket, _, _ := strings.Cut(key, "/"); bucket != "bucket" {
		return fail(404, "NoSuchBucket")
	}
	if r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2" {
		return f.list(r)
	}
	o, there := f.objects[key]
	switch r.Method {
	case http.MethodPut:
		return f.put(r, key, body, there, fail)
	case http.MethodDelete:
		delete(f.objects, key)
		return respond(r, 204, "")
	}
	if !there {
		return fail(404, "NoSuchKey")
	}
	tag := md5.Sum(o.data)
	etag := `"` + hex.EncodeToString(tag[:]) + `"`
	if m := r.Header.Get("If-Match"); m != "" && m != etag {
		return fail(412, "PreconditionFailed")
	}
	status, data := 200, o.data
	if from, to, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"); ok {
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || a > b || b >= len(data) {
			return fail(416, "InvalidRange")
		}
		status, data = 206, data[a:b+1]
	}
	resp := respond(r, status, string(data))
	resp.ContentLength = int64(len(data))
	resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
	resp.Header.Set("ETag", etag)
	resp.Header.Set("Last-Modified", time.Unix(0, 0).UTC().Format(http.TimeFormat))
	if !f.forgets {
		resp.Header.Set("X-Amz-Checksum-Sha256", o.checksum)
		resp.Header.Set("X-Amz-Meta-Sha256", o.meta)
	}
	return resp
}

func (f *fake) put(r *http.Request, key string, body []byte, there bool, fail func(int, string) *http.Response) *http.Response {
	sum := sha256.Sum256(body)
	h := r.Header
	switch {
	case h.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]):
		return fail(400, "XAmzContentSHA256Mismatch")
	case h.Get("X-Amz-Checksum-Sha256") != base64.StdEncoding.EncodeToString(sum[:]):
		return fail(400, "BadDigest")
	case h.Get("If-None-Match") == "*" && there && !f.plain:
		return fail(412, "PreconditionFailed")
	}
	f.objects[key] = fakeObject{body, h.Get("X-Amz-Checksum-Sha256"), h.Get("X-Amz-Meta-Sha256")}
	resp := respond(r, 200, "")
	resp.Header.Set("ETag", `"x"`)
	resp.Header.Set("X-Amz-Checksum-Sha256", h.Get("X-Amz-Checksum-Sha256"))
	return resp
}

// list lists at most 7 keys at a time, so that every listing has pages.
func (f *fake) list(r *http.Request) *http.Response {
	type content struct {
		Key  string
		Size int
	}
	var result struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		EncodingType          string
		Contents              []content
	}
	q := r.URL.Query()
	result.EncodingType = "url"
	after := cmp.Or(q.Get("continuation-token"), q.Get("start-after"))
	for _, full := range slices.Sorted(maps.Keys(f.objects)) {
		key := strings.TrimPrefix(full, "bucket/")
		if !strings.HasPrefix(key, q.Get("prefix")) || key <= after {
			continue
		}
		if len(result.Contents) == 7 {
			result.IsTruncated = true
			break
		}
		result.NextContinuationToken = key
		result.Contents = append(result.Contents, content{strings.ReplaceAll(url.QueryEscape(key), "%2F", "/"), len(f.objects[full].data)})
	}
	text, err := xml.Marshal(result)
	if err != nil {
		panic(err)
	}
	return respond(r, 200, string(text))
}

// store returns a depot in the fake.
func (f *fake) store(t testing.TB) *Store {
	t.Helper()
	s, err := New(Config{Bucket: "bucket", Prefix: "some/where", Endpoint: "http://store.test", AccessKey: "key", SecretKey: "verysecret", Transport: f})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
